// How long to wait before a lost connection is tried again: doubling, bounded, jittered.
//
// Invariants: the n-th delay in a row is at least half and at most the whole of
// min(most, least * 2^n), so a crowd of connections that fell together does not come back together,
// and none of them hammers. The random number is passed in. Pure.
#pragma once

#include <cstdint>

#include "conf/instant.h"
#include "conf/limits.h"

namespace azimuth {

class Backoff {
 public:
  // 0 < least <= most.
  explicit Backoff(Duration least = milliseconds(kReconnectDelayLeastMs),
                   Duration most = milliseconds(kReconnectDelayMostMs));

  // The delay before the next try. `random` is any 64 random bits.
  [[nodiscard]] Duration next(uint64_t random);
  // A try succeeded, and lasted: the next row starts from `least`.
  void reset() { failures_ = 0; }
  // Delays handed out since the last reset.
  uint32_t failures() const { return failures_; }

 private:
  Duration least_;
  Duration most_;
  uint32_t failures_ = 0;
};

}  // namespace azimuth
