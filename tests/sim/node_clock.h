// A machine's monotonic clock: started at some instant of its own, and a little fast or slow.
//
// Invariant: at() never goes back. It goes on while the processes of the machine are paused, as
// CLOCK_BOOTTIME does. Pure.
#pragma once

#include <cstdint>

#include "conf/instant.h"
#include "tests/sim/scheduler.h"

namespace azimuth::sim {

struct NodeClock {
  std::int64_t offset_ms = 0;
  std::int64_t drift_ppm = 0;  // parts per million; positive: runs fast

  Instant at(Time now) const {
    return {offset_ms + now * (1'000'000 + drift_ppm) / 1'000'000 / 1000};
  }
  // The first true time at which at() is `instant` or later.
  Time when(Instant instant) const {
    Time guess = (instant.ms - offset_ms) * 1000 * 1'000'000 / (1'000'000 + drift_ppm) - 2;
    while (at(guess) < instant) ++guess;
    return guess;
  }
};

}  // namespace azimuth::sim
