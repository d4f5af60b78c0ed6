// How far the local Redis, a replica, is known to have applied the history of the present epoch:
// what the tap has pushed. A hint and no proof: it says where a read is worth trying.
//
// Invariants: written by the control thread alone, read by every worker. Within an epoch it only
// grows. A worker that has asked for an offset is woken once when it is reached. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "conf/position.h"

namespace azimuth {

class Applied {
 public:
  // Before the threads run. `wake` may be called on the control thread.
  void set_workers(unsigned workers, std::function<void(unsigned worker)> wake) {
    wanted_ = std::make_unique<std::atomic<std::uint64_t>[]>(workers);
    for (unsigned i = 0; i < workers; ++i) wanted_[i] = kNothing;
    workers_ = workers;
    wake_ = std::move(wake);
  }

  // The control thread.
  void set(Position position) {
    if (position.epoch != epoch_.load(std::memory_order_relaxed)) offset_.store(0);
    epoch_.store(position.epoch);
    offset_.store(position.offset);
    for (unsigned i = 0; i < workers_; ++i) {
      if (wanted_[i].load() > position.offset) continue;
      if (wanted_[i].exchange(kNothing) != kNothing) wake_(i);
    }
  }

  // A worker. Of another epoch: nothing.
  std::uint64_t of(std::uint64_t epoch) const {
    const std::uint64_t offset = offset_.load();
    return epoch_.load() == epoch ? offset : 0;
  }
  // Wakes `worker` when `offset` is applied; the lowest that it has asked for counts.
  void want(unsigned worker, std::uint64_t offset) {
    if (offset < wanted_[worker].load()) wanted_[worker].store(offset);
  }

 private:
  static constexpr std::uint64_t kNothing = UINT64_MAX;
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<std::uint64_t> offset_{0};
  std::unique_ptr<std::atomic<std::uint64_t>[]> wanted_;
  unsigned workers_ = 0;
  std::function<void(unsigned)> wake_;
};

}  // namespace azimuth
