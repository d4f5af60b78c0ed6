// Which workers have nothing in flight any more, in the hand-over that is under way.
//
// Invariants: what a worker has said of an earlier hand-over, which was given up, does not count
// for this one. Pure; owned by the control thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace azimuth {

class QuietWorkers {
 public:
  // A hand-over begins, and nobody is quiet yet.
  void begin(std::size_t workers) {
    ++hand_over_;
    quiet_.assign(workers, false);
  }
  // Of the last hand-over, under way or not; workers say it with their word.
  std::uint64_t hand_over() const { return hand_over_; }
  // Whether it counts.
  bool say(unsigned worker, std::uint64_t hand_over) {
    if (hand_over != hand_over_ || worker >= quiet_.size()) return false;
    quiet_[worker] = true;
    return true;
  }
  bool is_quiet(std::size_t worker) const { return quiet_[worker]; }

 private:
  std::uint64_t hand_over_ = 0;
  std::vector<bool> quiet_;
};

}  // namespace azimuth
