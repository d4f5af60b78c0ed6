#include "tests/sim/plan.h"

#include <algorithm>
#include <array>

#include "tests/sim/scenarios.h"

namespace azimuth::sim {

namespace {

// Offsets of clocks are far apart, so that one node's instant used on another shows at once.
NodeClock draw_clock(Random& random) {
  return {random.between(1'000, 1'000'000'000), random.between(-10'000, 10'000)};
}

MachinePlan draw_machine(Random& random, std::size_t index, Persistence persistence) {
  MachinePlan machine;
  machine.node.id = std::string(1, static_cast<char>('a' + index % 26)) + std::to_string(index);
  machine.node.zone = "z" + std::to_string(index % 3);
  machine.clock = draw_clock(random);
  machine.redis.persistence = persistence;
  machine.redis.boots_fenced = random.chance(0.7);
  return machine;
}

NetworkWeather draw_weather(Random& random, Trouble trouble) {
  NetworkWeather weather;
  weather.delay = random.mostly_little(us(50), ms(20));
  weather.jitter = random.mostly_little(us(50), ms(10));
  if (trouble == Trouble::kMild) {
    weather.jitter = ms(50);
    weather.loss = 0.1;
    weather.duplicate = 0.02;
  } else if (trouble == Trouble::kChaos) {
    weather.loss = random.chance(0.5) ? 0 : random.unit() * 0.15;
    weather.duplicate = random.chance(0.5) ? 0 : 0.05;
    weather.straggle = random.chance(0.5) ? 0 : 0.02;
  }
  return weather;
}

// In some of the worlds several of a zone, or two regions: there replicas feed from each other.
// (Drawn apart, so that all else of a seed is what it was before there were such.)
void place_in_zones(Plan& plan) {
  Random random(plan.seed * 2 + 2);
  const std::size_t zones = std::array<std::size_t, 4>{1, 2, 2, 3}[random.below(4)];
  const bool regions = random.chance(0.3);
  for (std::size_t i = 0; i < plan.machines.size(); ++i) {
    const std::size_t zone = random.chance(0.2) ? random.below(zones) : i % zones;
    plan.machines[i].node.zone = "z" + std::to_string(zone);
    if (regions && zone == 1) plan.machines[i].node.region = "far";
  }
}

}  // namespace

std::string_view to_string(Trouble trouble) {
  switch (trouble) {
    case Trouble::kCalm:
      return "calm";
    case Trouble::kMild:
      return "mild";
    case Trouble::kSingle:
      return "single";
    case Trouble::kChaos:
      return "chaos";
    case Trouble::kStaged:
      return "staged";
  }
  return "?";
}

Plan draw_plan(std::uint64_t seed, unsigned nodes) {
  Random random(seed * 2 + 1);
  Plan plan;
  plan.seed = seed;
  const std::uint64_t kind = random.below(100);
  plan.trouble = kind < 4    ? Trouble::kCalm
                 : kind < 12 ? Trouble::kMild
                 : kind < 40 ? Trouble::kSingle
                             : Trouble::kChaos;
  plan.weather = draw_weather(random, plan.trouble);
  const Persistence persistence = static_cast<Persistence>(random.below(3));
  std::size_t members = std::vector<std::size_t>{3, 3, 3, 3, 2, 5, 4, 1}[random.below(8)];
  std::size_t witnesses = members == 2 || random.chance(0.15) ? 1 : 0;
  if (nodes > 0) {
    members = nodes;
    witnesses = 0;
  }
  for (std::size_t i = 0; i < members + witnesses; ++i) {
    MachinePlan machine = draw_machine(random, i, persistence);
    machine.node.bootstrap_expect = static_cast<std::uint32_t>(members);
    machine.node.member = i < members;
    machine.joins_late = i >= members && random.chance(0.3);
    plan.machines.push_back(machine);
  }
  if (nodes == 0 && random.chance(0.2)) {
    plan.machines.push_back(draw_machine(random, plan.machines.size(), persistence));
    // With 1 it would make a group of its own.
    plan.machines.back().node.bootstrap_expect =
        std::max<std::uint32_t>(static_cast<std::uint32_t>(members), 2);
    plan.machines.back().joins_late = true;
  }
  if (nodes == 0 && random.chance(0.15)) {
    plan.machines.push_back(draw_machine(random, plan.machines.size(), persistence));
    plan.machines.back().node.bootstrap_expect = static_cast<std::uint32_t>(members);
    plan.machines.back().node.member = plan.machines.back().node.votes = false;
  }
  if (nodes == 0) place_in_zones(plan);
  if (random.chance(0.3)) plan.write_bytes_most = 50'000;
  plan.write_every = random.between(ms(5), ms(60));
  // Who is alone and loses its disk knows of no group, and makes another one.
  if (random.chance(0.2) && members > 1) plan.disk_loss = 0.3;
  if (plan.trouble == Trouble::kMild) plan.trouble_for = seconds_of(60);
  plan.changes_members = plan.trouble == Trouble::kChaos && random.chance(0.3);
  return plan;
}

// A bare stage: nothing goes wrong but what the scenario does.
Plan draw_plan(std::uint64_t seed, const Scenario& scenario) {
  Plan plan = draw_plan(seed, scenario.members);
  Random random(seed * 2 + 1);
  plan.trouble = Trouble::kStaged;
  plan.scenario = &scenario;
  plan.weather = {};
  plan.disk_loss = 0;
  plan.write_bytes_most = 200;
  plan.write_every = random.between(ms(5), ms(20));
  scenario.prepare(plan, random);
  return plan;
}

std::string describe(const Plan& plan) {
  std::string text =
      plan.scenario != nullptr ? plan.scenario->name : to_string(plan.trouble).data();
  text += ",";
  for (const MachinePlan& machine : plan.machines) {
    text += " " + machine.node.id;
    if (!machine.node.member) text += machine.node.votes ? "(witness)" : "(sidecar)";
    if (machine.joins_late) text += "(late)";
  }
  if (plan.changes_members) text += ", members change";
  const Persistence persistence = plan.machines[0].redis.persistence;
  text += persistence == Persistence::kNone  ? ", no persistence"
          : persistence == Persistence::kRdb ? ", rdb"
                                             : ", aof";
  text += ", delay " + std::to_string(plan.weather.delay) + "+" +
          std::to_string(plan.weather.jitter) + " us, loss " +
          std::to_string(static_cast<int>(plan.weather.loss * 100)) + " %";
  return text;
}

}  // namespace azimuth::sim
