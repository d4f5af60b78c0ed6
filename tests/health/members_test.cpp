// Members that an operator takes out and lets in again: `azimuth member remove|add`.
#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>

#include "conf/limits.h"
#include "leadership_world.h"

using namespace azimuth;
using azimuth::test::three;
using azimuth::test::Words;
using azimuth::test::World;

namespace {

constexpr auto kRemove = Wish::Kind::kRemove;
constexpr auto kAdd = Wish::Kind::kAdd;

// Asks as proxy/group does: again and again until there is an answer.
WishResult change(World& world, const std::string& asked, Wish::Kind kind,
                  const std::string& node) {
  static std::uint64_t ids = 0;
  const std::uint64_t id = ++ids;
  WishResult last;
  last.standing = WishStanding::kNotYet;
  std::int64_t next = 0;
  world.run_until(
      [&] {
        auto& results = world.node(asked).results;
        const auto found = std::find_if(results.begin(), results.end(),
                                        [&](const WishResult& each) { return each.id == id; });
        if (found != results.end()) last = *found;
        results.clear();
        if (last.standing != WishStanding::kNotYet) return true;
        if (world.now() >= next && world.node(asked).machine) {
          next = world.now() + 200;
          world.change_members(asked, kind, node, id);
        }
        return false;
      },
      12'000);
  return last;
}

World& with(World& world, const Words& ids) {
  for (const std::string& id : ids)
    world.add(id, id[0] != 'w', static_cast<std::uint32_t>(ids.size()));
  for (const std::string& id : ids) {
    if (id[0] == 'w') {
      for (const std::string& other : ids)
        world.node(other).settings.bootstrap_expect = static_cast<std::uint32_t>(ids.size() - 1);
    }
  }
  for (const std::string& id : ids) world.start(id);
  REQUIRE(world.run_until_settled());
  REQUIRE(world.run_until(
      [&] { return world.machine(ids[0]).state().electorate.voters.size() == ids.size(); }));
  world.run(500);
  return world;
}

const Electorate& electorate(World& world, const char* at) {
  return world.machine(at).state().electorate;
}

}  // namespace

TEST_CASE("writes do not wait for one that was taken out") {
  World world;
  with(world, {"a1", "b2", "c3", "d4"});
  const auto ids = [&] {
    Words found;
    for (const ReplicaProgress& each : world.machine("a1").replicas()) found.emplace_back(each.id);
    return found;
  };
  CHECK(ids() == Words{"b2", "c3", "d4"});
  REQUIRE(change(world, "a1", kRemove, "d4").standing == WishStanding::kDone);
  CHECK(ids() == Words{"b2", "c3"});
  REQUIRE(change(world, "a1", kAdd, "d4").standing == WishStanding::kDone);
  CHECK(ids() == Words{"b2", "c3", "d4"});
}

TEST_CASE("a voter is taken out: fenced, told, and kept out over restarts of everybody") {
  World world;
  with(world, {"a1", "b2", "c3", "d4"});
  REQUIRE(world.write("x"));
  world.run(50);
  const WishResult result = change(world, "b2", kRemove, "d4");
  INFO(result.text);
  REQUIRE(result.standing == WishStanding::kDone);
  REQUIRE(world.run_until([&] { return world.machine("d4").view().removed; }, 300));
  CHECK(electorate(world, "a1").voters == Words{"a1", "b2", "c3"});
  CHECK(electorate(world, "a1").removed == Words{"d4"});
  CHECK_THAT(world.machine("d4").view().why, Catch::Contains("azimuth member add d4"));
  CHECK(world.machine("d4").view().leader == "a1");  // its clients still find the primary
  REQUIRE(world.run_until([&] { return !world.node("d4").redis.link_up; }, 300));
  CHECK(world.node("d4").redis.fenced);
  world.run(400);
  CHECK(world.machine("a1").view().quorum_copies == 2);
  REQUIRE(world.write("y"));
  for (const char* id : {"a1", "b2", "c3", "d4"}) world.kill(id);
  world.run(100);
  for (const char* id : {"a1", "b2", "c3", "d4"}) world.start(id);
  REQUIRE(world.run_until([&] { return !world.leader().empty(); }));
  world.run(5000);
  CHECK(world.machine("d4").view().removed);
  CHECK(electorate(world, world.leader().c_str()).voters == Words{"a1", "b2", "c3"});
  CHECK(world.node("d4").redis.words == Words{"x"});
}

TEST_CASE("one that was taken out and has lost its disk is told once more") {
  World world;
  with(world, {"a1", "b2", "c3"});
  REQUIRE(change(world, "a1", kRemove, "c3").accepted);
  world.kill("c3");
  world.node("c3").disk.reset();
  world.start_redis("c3");
  world.start("c3");
  REQUIRE(world.run_until([&] { return world.machine("c3").view().removed; }));
  world.run(3000);
  CHECK_FALSE(electorate(world, "a1").has("c3"));
  REQUIRE(change(world, "a1", kAdd, "c3").accepted);
  REQUIRE(world.run_until([&] { return electorate(world, "a1").has("c3"); }));
  REQUIRE(world.run_until_settled());
}

TEST_CASE("a dead voter is taken out, and the loss of another one is survived") {
  World world;
  with(world, {"a1", "b2", "c3", "d4"});
  world.kill("d4");
  world.kill_redis("d4");
  world.run(2000);
  const WishResult result = change(world, "c3", kRemove, "d4");
  INFO(result.text);
  REQUIRE(result.accepted);
  CHECK(electorate(world, "a1").voters == Words{"a1", "b2", "c3"});
  REQUIRE(world.write("x"));
  world.run(50);
  world.kill("a1");
  REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
  // Who was dead does not know; it hears of it before it can do harm.
  world.start_redis("d4");
  world.start("d4");
  REQUIRE(world.run_until([&] { return world.machine("d4").view().removed; }));
  world.run(3000);
  CHECK(world.leader() == "b2");
  CHECK(world.node("d4").redis.words.empty());
  REQUIRE(change(world, "d4", kAdd, "d4").accepted);  // it knows the way itself
  REQUIRE(world.run_until([&] { return electorate(world, "b2").has("d4"); }));
  REQUIRE(world.run_until([&] { return world.node("d4").redis.words == Words{"x"}; }));
}

TEST_CASE("a leader that is to be taken out hands over first") {
  World world;
  three(world);
  world.run(500);
  REQUIRE(world.write("x"));
  for (const char* asked : {"a1", "c3"}) {
    const std::string old = world.leader();
    INFO("asked " << asked << ", leader " << old);
    const WishResult result = change(world, asked, kRemove, old);
    INFO(result.text);
    REQUIRE(result.accepted);
    REQUIRE(world.run_until([&] { return world.machine(old).view().removed; }, 500));
    CHECK(world.leader() != old);
    CHECK(world.node(old).redis.fenced);
    REQUIRE(change(world, asked, kAdd, old).accepted);
    REQUIRE(world.run_until([&] { return electorate(world, asked).has(old); }));
    REQUIRE(world.run_until_settled());
    world.run(500);
  }
  CHECK(world.node("a1").redis.words == Words{"x"});
  CHECK(world.count("member_removed") == 2);
}

TEST_CASE("down to one, and no further") {
  World world;
  three(world);
  world.run(500);
  REQUIRE(change(world, "a1", kRemove, "c3").accepted);
  REQUIRE(change(world, "a1", kRemove, "b2").accepted);
  CHECK(electorate(world, "a1").voters == Words{"a1"});
  world.run(300);
  CHECK(world.machine("a1").view().quorum_copies == 1);
  const WishResult last = change(world, "a1", kRemove, "a1");
  CHECK(last.standing == WishStanding::kRefused);
  CHECK_THAT(last.text, Catch::Contains("last member"));
  CHECK(world.leader() == "a1");
  REQUIRE(world.write("alone"));
  world.run(300);
  REQUIRE(change(world, "c3", kAdd, "c3").accepted);
  REQUIRE(world.run_until([&] { return world.node("c3").redis.words == Words{"alone"}; }));
}

TEST_CASE("changes of members that are refused change nothing, and say why") {
  World world;
  with(world, {"a1", "b2", "c3"});
  world.add("s", false);
  world.node("s").settings.wants_vote = false;
  world.start("s");
  world.run(500);
  const Electorate before = electorate(world, "a1");
  const auto refused = [&](Wish::Kind kind, const std::string& node) {
    const WishResult result = change(world, "b2", kind, node);
    CHECK_FALSE(result.accepted);
    return result.text;
  };
  CHECK_THAT(refused(kRemove, "z9"), Catch::Contains("no member or witness z9"));
  CHECK_THAT(refused(kAdd, "z9"), Catch::Contains("joins by itself"));
  CHECK_THAT(refused(kAdd, "c3"), Catch::Contains("c3 is a member already"));
  CHECK_THAT(refused(kRemove, "s"), Catch::Contains("sidecar"));
  CHECK_THAT(refused(kRemove, ""), Catch::Contains("no node"));
  CHECK_THAT(refused(kRemove, std::string(kNameBytesMax + 1, 'n')), Catch::Contains("no node"));
  SECTION("the last voter of a majority") {
    world.kill("c3");
    world.run(2000);
    CHECK_THAT(refused(kRemove, "b2"), Catch::Contains("no word from c3"));
    CHECK_THAT(refused(kRemove, "a1"), Catch::Contains("no word from c3"));
    CHECK(world.leader() == "a1");
    CHECK(world.epoch() == 1);  // it was not even begun
  }
  SECTION("one without whom `quorum` writes could not be held") {
    world.kill_redis("c3");
    world.run(2000);
    CHECK_THAT(refused(kRemove, "b2"), Catch::Contains("c3 is not in sync"));
  }
  SECTION("without a primary") {
    world.kill("a1");
    world.kill("c3");
    world.run(3000);
    CHECK(change(world, "b2", kRemove, "c3").standing == WishStanding::kNotYet);
  }
  CHECK(electorate(world, "b2") == before);
  CHECK(world.count("voters") == 0);
}

TEST_CASE("what was refused when it had been begun is not done later") {
  World world;
  with(world, {"a1", "b2", "c3", "d4", "e5"});
  world.change_members("a1", kRemove, "e5", 9);
  world.run(50);  // copies are being counted
  world.kill("b2");
  world.kill("c3");
  REQUIRE(world.run_until([&] { return !world.node("a1").results.empty(); }));
  CHECK(world.node("a1").results[0].standing == WishStanding::kRefused);
  world.start("b2");
  world.start("c3");
  world.run(8000);
  CHECK(world.leader() == "a1");
  CHECK(electorate(world, "a1").has("e5"));
}

TEST_CASE("replicas that are behind for a moment are waited for") {
  World world;
  with(world, {"a1", "b2", "c3"});
  world.kill_redis("c3");
  world.run(2000);
  world.change_members("a1", kRemove, "b2", 9);
  world.run(20);
  REQUIRE(world.node("a1").results.size() == 1);
  CHECK(world.node("a1").results[0].standing == WishStanding::kNotYet);
  CHECK_THAT(world.node("a1").results[0].text, Catch::Contains("c3 is not in sync"));
  world.start_redis("c3", world.node("a1").redis.words);
  CHECK(change(world, "a1", kRemove, "b2").accepted);
  CHECK(world.count("member_change_refused") == 0);
}

TEST_CASE("a switchover that fails ends the removal of a leader, and is not tried again") {
  World world;
  three(world);
  world.run(500);
  world.handed_over_drains = false;
  const WishResult result = change(world, "c3", kRemove, "a1");
  CHECK(result.standing == WishStanding::kRefused);
  CHECK_THAT(result.text, Catch::Contains("writes in flight did not end in time"));
  CHECK(world.count("hand_over") == 1);
  world.run(3000);
  CHECK(world.leader() == "a1");
  CHECK(electorate(world, "a1").has("a1"));
}

TEST_CASE("one that is let in again with other data does not lose them") {
  World world;
  three(world);
  world.run(500);
  REQUIRE(world.write("ours"));
  world.run(100);
  REQUIRE(change(world, "a1", kRemove, "c3").accepted);
  world.run(300);
  world.start_redis("c3", {"somebody's"});
  REQUIRE(change(world, "a1", kAdd, "c3").accepted);
  world.run(5000);
  CHECK(world.node("c3").redis.words == Words{"somebody's"});
  CHECK(world.saw("stays_out"));
  world.start_redis("c3");
  REQUIRE(world.run_until([&] { return world.node("c3").redis.words == Words{"ours"}; }));
  REQUIRE(world.run_until([&] { return electorate(world, "a1").has("c3"); }));
}

TEST_CASE("twice is an error that says so; asked again under one id it is one wish") {
  World world;
  with(world, {"a1", "b2", "c3", "d4"});
  world.change_members("b2", kRemove, "d4", 77'000);
  world.run(3000);
  world.change_members("b2", kRemove, "d4", 77'000);
  world.run(20);
  REQUIRE(world.node("b2").results.size() == 2);
  CHECK(world.node("b2").results[0] == world.node("b2").results[1]);
  CHECK(world.node("b2").results[0].accepted);
  const WishResult again = change(world, "c3", kRemove, "d4");
  CHECK(again.standing == WishStanding::kAlready);
  CHECK_THAT(again.text, Catch::Contains("already"));
  CHECK(change(world, "c3", kAdd, "d4").accepted);
  const WishResult twice = change(world, "b2", kAdd, "d4");
  CHECK(twice.standing == WishStanding::kAlready);
  CHECK_THAT(world.switch_over("a1", "z9").error().message, Catch::Contains("z9"));
}

TEST_CASE("neither a switchover nor force moves the writes to one that was taken out") {
  World world;
  three(world);
  world.run(500);
  REQUIRE(change(world, "a1", kRemove, "c3").accepted);
  CHECK_THAT(world.switch_over("a1", "c3").error().message, Catch::Contains("taken out"));
  world.kill_redis("a1");
  world.kill_redis("b2");
  world.run(3000);
  REQUIRE(world.leader().empty());
  const Outcome forced = world.force("b2", "c3");
  REQUIRE_FALSE(forced.ok());
  CHECK_THAT(forced.error().message, Catch::Contains("taken out"));
  CHECK_THAT(world.force("c3", "c3").error().message, Catch::Contains("taken out"));
}

TEST_CASE("I1: a removal that no majority has is not said to be done, and dies with its leader") {
  World world;
  with(world, {"a1", "b2", "c3", "d4"});
  const auto written = [&] { return electorate(world, "a1").removes("d4"); };
  world.filter = [&](const std::string& from, const std::string&, const GroupMessage&) {
    return from != "a1" || !written();
  };
  world.change_members("a1", kRemove, "d4", 5);
  REQUIRE(world.run_until(written));
  world.run(1000);
  CHECK(world.node("a1").results.empty());
  REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
  world.filter = nullptr;
  REQUIRE(world.run_until_settled());
  CHECK(electorate(world, "a1").has("d4"));
  CHECK_FALSE(world.machine("d4").view().removed);
}

TEST_CASE("I3: until a majority knows of a removal a quorum needs as many copies as before") {
  World world;
  with(world, {"a1", "b2", "c3", "d4", "e5"});
  world.kill("e5");
  world.kill_redis("e5");
  world.run(7000);  // it counts no more for who may be attached
  REQUIRE(world.machine("a1").view().quorum_copies == 3);
  world.filter = [&](const std::string& from, const std::string&, const GroupMessage&) {
    return from != "a1" || !electorate(world, "a1").removes("e5");
  };
  world.change_members("a1", kRemove, "e5", 6);
  REQUIRE(world.run_until([&] { return electorate(world, "a1").removes("e5"); }));
  world.run(1);
  CHECK(world.machine("a1").view().quorum_copies == 3);
  world.filter = nullptr;
  world.run(400);
  REQUIRE(world.leader() == "a1");
  CHECK(world.machine("a1").view().quorum_copies == 2);
}

TEST_CASE("what is kept out is bounded, and the bound is said") {
  World world;
  Words ids = {"a1", "b2", "c3"};
  three(world);
  world.run(500);
  for (std::size_t i = 0; i <= kRemovedMax; ++i) {
    const std::string id = "m" + std::to_string(100 + i);
    world.add(id);
    world.node(id).settings.wants_vote = false;
    world.start(id);
    world.run(20);
    const WishResult result = change(world, "a1", kRemove, id);
    INFO(id << ": " << result.text);
    CHECK(result.accepted == (i < kRemovedMax));
    if (i == kRemovedMax) CHECK_THAT(result.text, Catch::Contains("azimuth member add"));
    world.kill(id);
  }
  REQUIRE(change(world, "a1", kAdd, "m100").accepted);
  REQUIRE(
      world.run_until([&] { return electorate(world, "c3").removed.size() == kRemovedMax - 1; }));
}

TEST_CASE("a witness is taken out, too") {
  World world;
  with(world, {"a1", "b2", "c3", "w"});
  REQUIRE(change(world, "b2", kRemove, "w").accepted);
  REQUIRE(world.run_until([&] { return world.machine("w").view().removed; }, 500));
  CHECK(electorate(world, "a1").voters == Words{"a1", "b2", "c3"});
  REQUIRE(change(world, "b2", kAdd, "w").accepted);
  REQUIRE(world.run_until([&] { return electorate(world, "a1").has("w"); }));
}

TEST_CASE("chaos: members come and go while nodes die and lose each other") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    INFO("seed " << seed);
    World world(seed * 104'729);
    const Words ids{"a1", "b2", "c3", "d4", "e5"};
    with(world, ids);
    world.loss = 0.05;
    world.jitter = 20;
    std::uint64_t draw = seed, wish = 1'000'000 * seed;
    for (int round = 0; round < 60; ++round) {
      draw = draw * 6364136223846793005U + 1442695040888963407U;
      world.write("w" + std::to_string(round));
      const std::string& id = ids[(draw >> 33U) % ids.size()];
      const std::string& other = ids[(draw >> 40U) % ids.size()];
      const bool runs = world.node(id).machine != nullptr;
      switch ((draw >> 48U) % 8) {
        case 0:
          if (runs) world.kill(id);
          break;
        case 1:
          world.isolate(id);
          break;
        case 2:
          world.heal();
          break;
        case 3:
          if (runs) world.change_members(id, kAdd, other, ++wish);
          break;
        case 4:
          if (runs) world.change_members(id, kRemove, other, ++wish);
          break;
        default:
          if (!runs) world.start(id);
      }
      world.run(static_cast<std::int64_t>((draw >> 45U) % 1000));
    }
    world.heal();
    world.loss = 0;
    for (const std::string& id : ids)
      if (!world.node(id).machine) world.start(id);
    REQUIRE(world.run_until([&] { return !world.leader().empty(); }));
    for (const std::string& id : ids) {
      if (electorate(world, world.leader().c_str()).removes(id))
        REQUIRE(change(world, id, kAdd, id).accepted);
    }
    REQUIRE(world.run_until_settled());
  }
}
