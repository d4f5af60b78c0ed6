// Faults of all kinds, drawn from a seed. AZIMUTH_LEADERSHIP_SEEDS=N plays the first N; without it
// there are fewer under a sanitizer, which makes each one twenty times as long.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "leadership_world.h"

using namespace azimuth;
using azimuth::test::Words;
using azimuth::test::World;

namespace {

// What befalls one node, or the network.
void befall(World& world, const std::string& id, std::uint64_t draw) {
  switch (draw % 9) {
    case 0:
      if (world.node(id).machine) world.kill(id);
      break;
    case 1:
      world.isolate(id);
      break;
    case 2:
      world.node(id).paused = !world.node(id).paused;
      break;
    case 3:
      world.kill_redis(id);
      world.start_redis(id);
      break;
    case 4:
      world.kill_redis(id);
      break;
    case 5:
      if (world.node(id).machine) (void)world.switch_over(id, "");
      break;
    case 6:
      world.kill(id);
      if (draw % 4 == 0 && world.majority_remembers_without(id)) world.node(id).disk.reset();
      world.start(id);
      break;
    default:
      world.heal();
  }
}

void chaos(std::uint64_t seed, const Words& ids) {
  INFO("seed " << seed);
  World world(seed * 7919);
  for (const std::string& id : ids)
    world.add(id, id != "w", static_cast<std::uint32_t>(ids.size() - (ids.back() == "w")));
  for (const std::string& id : ids) world.start(id);
  REQUIRE(world.run_until_settled());
  world.loss = 0.05;
  world.jitter = 20;
  std::uint64_t draw = seed;
  for (int round = 0; round < 40; ++round) {
    draw = draw * 6364136223846793005U + 1442695040888963407U;
    world.write("w" + std::to_string(round));
    befall(world, ids[(draw >> 33U) % ids.size()], draw >> 36U);
    for (const std::string& id : ids) {
      if (((draw >> 50U) & 3U) != 0) continue;
      if (!world.node(id).machine) world.start(id);
      if (!world.node(id).redis.alive) world.start_redis(id);
    }
    world.run(static_cast<std::int64_t>((draw >> 45U) % 1500));
  }
  world.heal();
  world.loss = 0;
  for (const std::string& id : ids) {
    world.node(id).paused = false;
    if (!world.node(id).machine) world.start(id);
    if (!world.node(id).redis.alive) world.start_redis(id);
  }
  if (world.run_until_settled(15'000)) return;
  // Too much is lost for anybody but an operator to decide.
  for (const std::string& id : ids) UNSCOPED_INFO(id << ": " << world.machine(id).view().why);
  REQUIRE(world.leader().empty());
  world.forgive();
  const auto forced = [&] {
    for (const std::string& asked : ids)
      for (const std::string& to : ids)
        if (to != "w" && world.force(asked, to).ok() && world.run_until_settled(3000)) return true;
    return false;
  };
  REQUIRE(world.run_until(forced, 20'000));
}

#ifdef AZIMUTH_SANITIZED
constexpr std::uint64_t kSeeds = 2;
#else
constexpr std::uint64_t kSeeds = 20;
#endif

std::uint64_t seeds() {
  const char* wanted = std::getenv("AZIMUTH_LEADERSHIP_SEEDS");
  return wanted ? std::strtoull(wanted, nullptr, 10) : kSeeds;
}

}  // namespace

TEST_CASE(
    "chaos: at every moment one leader at most, no quorum write lost, and at the end a leader") {
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    chaos(seed, {"a1", "b2", "c3"});
    chaos(seed, {"a1", "b2", "w"});
    chaos(seed, {"a1", "b2", "c3", "d4", "e5"});
  }
}
