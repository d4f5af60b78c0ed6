// What the data path must know of leadership at the very moment that it writes: the epoch that this
// node leads, until when, and which process of redis-server it was that was promoted.
//
// Invariants: written by the control thread alone, read by every worker right before each write to
// the local Redis (I2). `until` of an epoch only grows, until the lease is dropped by setting it to
// zero. A lease of another epoch than asked for is no lease. `process` names a redis-server that
// was seen promoted, with its order carried out, and never merely what listens at its address. Any
// thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "proxy/clock.h"
#include "proxy/group/quorum_count.h"

namespace azimuth {

class Lease {
 public:
  static constexpr std::uint64_t kAnyProcess = 0;
  static constexpr std::uint64_t kNoProcess = 1;  // none has been promoted yet

  // In front of a single Redis: nobody to ask, for ever, and whatever answers is it.
  void grant_for_ever() {
    set(0, kNever);
    set_process(kAnyProcess);
  }
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

  // As process_of() of proxy/data/redis_proof.h makes it.
  void set_process(std::uint64_t process) { process_.store(process); }
  bool any_process() const { return process_.load() == kAnyProcess; }
  bool is_promoted(std::uint64_t process) const { return process_.load() == process; }

  // Of the epoch that this node leads.
  QuorumCount quorum;

 private:
  std::atomic<std::uint64_t> process_{kNoProcess};
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<std::int64_t> until_ms_{0};
};

}  // namespace azimuth
