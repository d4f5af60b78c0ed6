// What one seed is about: the machines, their persistence, the weather, and which kind of trouble.
//
// Invariant: a plan is a function of its seed. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/network.h"
#include "tests/sim/node.h"

namespace azimuth::sim {

struct Scenario;

enum class Trouble : std::uint8_t {
  kCalm,    // nothing happens: no election may happen either
  kMild,    // packet loss, jitter and short pauses: the same
  kSingle,  // one fault at a time, each mended before the next
  kChaos,   // everything, at once
  kStaged,  // a scenario
};
std::string_view to_string(Trouble trouble);

struct MachinePlan {
  NodeSetup node;
  RedisSetup redis;
  NodeClock clock;
  bool joins_late = false;  // after the group exists
};

struct Plan {
  std::uint64_t seed = 0;
  Trouble trouble = Trouble::kCalm;
  std::vector<MachinePlan> machines;
  NetworkWeather weather;
  std::uint64_t write_bytes_most = 200;
  Time write_every = ms(25);
  std::size_t sessions = 4;  // that read as well
  Time trouble_for = seconds_of(30);
  bool changes_members = false;  // operators take nodes out and let them in again
  double disk_loss = 0;          // of the crashes of a machine
  const Scenario* scenario = nullptr;
};

// `nodes`: how many machines; 0: as the seed will have it.
Plan draw_plan(std::uint64_t seed, unsigned nodes);
Plan draw_plan(std::uint64_t seed, const Scenario& scenario);
std::string describe(const Plan& plan);

}  // namespace azimuth::sim
