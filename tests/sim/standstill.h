// A process that is stopped for a while: what happens to it waits, and happens in its order when
// the process goes on. Owned by the process's machine.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <utility>

#include "tests/sim/scheduler.h"

namespace azimuth::sim {

class Standstill {
 public:
  explicit Standstill(Scheduler& scheduler) : scheduler_(scheduler) {}

  void stop(Time until) { until_ = std::max(until_, until); }
  Time resumes() const { return until_; }
  // At once, or when the process goes on.
  void run(std::function<void()> happen) {
    if (scheduler_.now() >= until_ && waiting_.empty()) return happen();
    waiting_.push_back(std::move(happen));
    arm();
  }
  // Another process: what waited for the old one is lost.
  void reset() {
    until_ = 0;
    waiting_.clear();
  }

 private:
  void arm() {
    if (std::exchange(armed_, true)) return;
    scheduler_.at(until_, [this] {
      armed_ = false;
      go_on();
    });
  }
  void go_on() {
    while (!waiting_.empty()) {
      if (scheduler_.now() < until_) return arm();
      const std::function<void()> happen = std::move(waiting_.front());
      waiting_.pop_front();
      happen();
    }
  }

  Scheduler& scheduler_;
  Time until_ = 0;
  std::deque<std::function<void()>> waiting_;
  bool armed_ = false;
};

}  // namespace azimuth::sim
