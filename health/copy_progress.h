// How far a transfer is: bytes, share, rate and the time that it will still take.
//
// Invariants: percent() is known only where the size is, or the share that the source tells; the
// rate is measured over the last few seconds and falls when nothing comes. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "conf/instant.h"

namespace azimuth {

class CopyProgress {
 public:
  // `total_bytes`: 0 where it is not known.
  void begin(Instant now, std::uint64_t total_bytes = 0);
  // So many in all, by now; also when nothing has come.
  void on_bytes(Instant now, std::uint64_t bytes, std::uint64_t total_bytes);
  // Of the whole, 0 to 1, where the size is not known.
  void on_share(double share) { share_ = share; }

  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t total_bytes() const { return total_; }
  std::optional<double> percent() const;
  std::uint64_t bytes_per_s() const { return static_cast<std::uint64_t>(rate_); }
  std::optional<std::uint64_t> seconds_left() const;
  Duration since(Instant now) const { return now - began_; }

 private:
  double share() const;

  Instant began_{}, sampled_{};
  std::uint64_t sampled_bytes_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t total_ = 0;
  double share_ = 0;
  double rate_ = 0;  // bytes a second
};

}  // namespace azimuth
