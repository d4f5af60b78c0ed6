// Troubles that are made for one purpose each, where chance alone would take thousands of seeds:
// two coordinators at once, a voter whose disk is lost right after it promised ... Every deliberate
// defect (defects.cpp) has the one that shows it; without a defect each must end well.
//
// Invariant: a scenario draws from the world's random numbers alone. Owned by one run.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "tests/sim/faults.h"
#include "tests/sim/plan.h"
#include "tests/sim/world.h"

namespace azimuth::sim {

// What a run and its scenario do the same way: let time pass, wait, say who writes.
class Stage {
 public:
  explicit Stage(World& of) : world(of), faults(of) {}

  World& world;
  Faults faults;
  // Of the clients' writes.
  std::optional<std::size_t> origin;
  std::uint64_t write_bytes_most = 0;  // 0: as planned

  bool going() const { return !world.failure(); }
  Time now() const { return world.scheduler.now(); }
  void pass(Time how_long) {
    world.scheduler.run_until(now() + how_long, [this] { return !going(); });
  }
  template <class Condition>
  bool wait_for(Time how_long, Condition condition, Time step = ms(20)) {
    const Time end = now() + how_long;
    while (going() && now() < end) {
      if (condition()) return true;
      pass(step);
    }
    return going() && condition();
  }

  // Waits for a whole group; its leader, and the other machines in the order of their ids.
  struct Cast {
    std::size_t leader = 0;
    std::vector<std::size_t> others;
  };
  std::optional<Cast> cast();
  // Another node than this leads, with a live lease.
  bool other_leads(std::size_t than, Time within = seconds_of(5));
  void part(std::size_t a, std::size_t b, bool is_cut = true);
  void isolate(std::size_t machine, bool is_cut = true);
};

struct Scenario {
  const char* name;
  unsigned members;
  void (*prepare)(Plan& plan, Random& random);
  void (*play)(Stage& stage);
};

const std::vector<Scenario>& scenarios();
const Scenario* scenario_named(std::string_view name);  // null: there is none

}  // namespace azimuth::sim
