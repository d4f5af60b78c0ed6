// What the data path must know of leadership at the very moment that it writes: the epoch that this
// node leads, and until when.
//
// Invariants: written by the control thread alone, read by every worker right before each write to
// the local Redis (I2). `until` of an epoch only grows, until the lease is dropped by setting it to
// zero. A lease of another epoch than asked for is no lease. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "proxy/clock.h"

namespace azimuth {

class Lease {
 public:
  // In front of a single Redis: nobody to ask, for ever.
  void grant_for_ever() { set(0, kNever); }
  void set(std::uint64_t epoch, Instant until) {
    if (epoch != epoch_.load(std::memory_order_relaxed)) until_ms_.store(0);
    epoch_.store(epoch);
    until_ms_.store(until.ms);
  }
  void drop() { until_ms_.store(0); }
  bool holds(std::uint64_t epoch) const {
    const std::int64_t until_ms = until_ms_.load();
    if (until_ms == kNever.ms) return true;
    // The epoch is read again behind the deadline: between the two it may have become another one.
    return clock_now().ms < until_ms && epoch_.load() == epoch;
  }

 private:
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<std::int64_t> until_ms_{0};
};

}  // namespace azimuth
