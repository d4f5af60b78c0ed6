// Virtual time: a queue of things to happen, and the only clock of a simulation.
//
// Invariants: events happen in the order of their times, and of two at one time in the order in
// which they were asked for; so a run is decided by its seed alone. `fingerprint` mixes in every
// event's time and every note: two runs of a seed that differ anywhere differ there. Owned by one
// simulation.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <string_view>
#include <utility>
#include <vector>

namespace azimuth::sim {

// Microseconds since the simulation began: true time, which no node sees.
using Time = std::int64_t;
constexpr Time us(std::int64_t count) { return count; }
constexpr Time ms(std::int64_t count) { return count * 1000; }
constexpr Time seconds_of(std::int64_t count) { return count * 1'000'000; }

class Scheduler {
 public:
  Time now() const { return now_; }
  std::uint64_t fingerprint() const { return fingerprint_; }
  std::uint64_t events() const { return done_; }

  void at(Time when, std::function<void()> happen) {
    queue_.push({when < now_ ? now_ : when, asked_++, std::move(happen)});
  }
  void after(Time delay, std::function<void()> happen) { at(now_ + delay, std::move(happen)); }

  // Until `end`, or until `stop` says so.
  template <class Stop>
  void run_until(Time end, Stop stop) {
    while (!queue_.empty() && queue_.top().when <= end && !stop()) {
      // The queue gives constant access only; the element is taken off right after.
      Event event = std::move(const_cast<Event&>(queue_.top()));
      queue_.pop();
      now_ = event.when;
      ++done_;
      mix(static_cast<std::uint64_t>(event.when));
      event.happen();
    }
    if (now_ < end && !stop()) now_ = end;
  }

  void note(std::string_view what) {
    for (const char c : what) mix(static_cast<unsigned char>(c));
  }

 private:
  struct Event {
    Time when;
    std::uint64_t order;
    std::function<void()> happen;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
  };

  void mix(std::uint64_t value) {
    fingerprint_ = (fingerprint_ ^ value) * 0x100000001b3;  // FNV-1a's prime
    fingerprint_ ^= fingerprint_ >> 29;
  }

  std::priority_queue<Event, std::vector<Event>, Later> queue_;
  Time now_ = 0;
  std::uint64_t asked_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t fingerprint_ = 0xcbf29ce484222325;
};

}  // namespace azimuth::sim
