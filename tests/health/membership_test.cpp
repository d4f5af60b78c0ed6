// Voters and members that come, go, or have lost their memory.
#include <catch2/catch.hpp>

#include "leadership_world.h"

using namespace azimuth;
using azimuth::test::three;
using azimuth::test::Words;
using azimuth::test::World;

TEST_CASE("a voter that has lost its disk votes again only when it has been readmitted") {
  World world;
  three(world);
  world.write("x");
  world.run(20);
  world.kill("c3");
  world.node("c3").disk.reset();
  world.start("c3");
  REQUIRE(world.run_until([&] { return world.machine("c3").state().electorate.version > 0; }));
  CHECK(world.machine("c3").state().forgetful);
  REQUIRE(world.run_until([&] { return !world.machine("c3").state().forgetful; }));
  CHECK(world.epoch() == 2);  // in place
  CHECK(world.leader().empty() == false);
  REQUIRE(world.run_until_settled());
  CHECK(world.leader() == "a1");
  world.kill("b2");
  world.run(5000);
  CHECK(world.leader() == "a1");
}

TEST_CASE("members join one at a time, once they are in sync") {
  World world;
  three(world);
  world.write("x");
  for (const char* id : {"d4", "e5"}) {
    world.add(id);
    world.start(id);
  }
  REQUIRE(world.run_until([&] {
    return world.machine("b2").state().electorate.voters == Words{"a1", "b2", "c3", "d4", "e5"};
  }));
  REQUIRE(world.run_until_settled());
  world.run(100);  // until a1 knows that they know
  CHECK(world.epoch() == 1);
  CHECK(world.machine("a1").view().quorum_copies == 3);
  world.kill("a1");
  world.kill("d4");
  REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
}

TEST_CASE("I3: until a majority knows of a new voter a quorum does without its copy") {
  World world;
  three(world);
  world.add("d4");
  world.start("d4");
  const auto voters = [&] { return world.machine("a1").state().electorate.voters.size(); };
  world.filter = [&](const std::string& from, const std::string&, const GroupMessage&) {
    return from != "a1" || voters() < 4;
  };
  REQUIRE(world.run_until([&] { return voters() == 4; }));
  world.run(1);
  CHECK(world.machine("a1").view().quorum_copies == 3);
  world.filter = nullptr;
  world.run(400);
  REQUIRE(world.leader() == "a1");
  CHECK(world.machine("a1").view().quorum_copies == 2);
}

TEST_CASE("I3: copies count from an offset that was asked for when all knew how many it takes") {
  World world;
  three(world);
  world.write("x");
  world.run(100);
  world.redis_rounds = false;
  world.add("d4");
  world.start("d4");
  const auto voters = [&] { return world.machine("a1").state().electorate.voters.size(); };
  REQUIRE(world.run_until([&] { return world.machine("a1").view().quorum_copies == 3; }));
  world.run(4000);
  CHECK(voters() == 3);
  world.redis_rounds = true;
  REQUIRE(world.run_until([&] { return voters() == 4; }));
}

TEST_CASE("I3: a change of voters that died with its leader does not come back") {
  World world;
  const Words four{"a1", "b2", "c3", "d4"};
  for (const std::string& id : four) world.add(id, true, 4);
  for (const std::string& id : four) world.start(id);
  REQUIRE(world.run_until_settled());
  world.add("e5", true, 4);
  world.start("e5");
  const auto voters = [&](const char* id) {
    return world.machine(id).state().electorate.voters.size();
  };
  // Only a1 and e5 hear that e5 votes.
  world.filter = [&](const std::string& from, const std::string& to, const GroupMessage&) {
    return from != "a1" || to == "e5" || voters("a1") < 5;
  };
  REQUIRE(world.run_until([&] { return voters("e5") == 5; }));
  world.kill("a1");
  world.kill("e5");
  world.filter = nullptr;
  REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
  REQUIRE(world.run_until_settled());
  world.run(6000);
  REQUIRE(world.machine("b2").view().quorum_copies == 2);
  world.cut("b2", "d4");
  REQUIRE(world.write("b2 and c3 have it"));
  world.run(20);
  world.kill("b2");
  world.kill("c3");
  world.start("a1");
  world.start("e5");
  world.run(10'000);
  CHECK(world.leader().empty());
  world.heal();
  world.start("b2");
  REQUIRE(world.run_until_settled());
  CHECK(world.node("d4").redis.words == Words{"b2 and c3 have it"});
}

TEST_CASE("I3: a member that has fallen silent may still copy, and counts for a while") {
  World world;
  three(world);
  world.add("d4");
  world.node("d4").settings.wants_vote = false;
  world.start("d4");
  REQUIRE(world.run_until_settled());
  CHECK(world.machine("a1").view().quorum_copies == 3);
  world.kill("d4");
  world.run(3000);
  CHECK(world.machine("a1").view().quorum_copies == 3);
  CHECK(world.machine("b2").view().quorum_copies == 3);  // its clients write there, too
  // Its tunnel may outlive its datagrams: it is ended before it counts no more.
  REQUIRE(world.run_until([&] { return !world.machine("a1").view().unfed.empty(); }));
  CHECK(world.machine("a1").view().unfed == Words{"d4"});
  CHECK(world.machine("a1").view().quorum_copies == 3);
  world.run(5000);
  CHECK(world.machine("a1").view().quorum_copies == 2);
  CHECK(world.machine("a1").view().unfed == Words{"d4"});
  world.start("d4");
  REQUIRE(world.run_until([&] { return world.machine("a1").view().unfed.empty(); }));
  CHECK(world.machine("a1").view().quorum_copies == 3);
}

TEST_CASE("I5: a member with data of its own is not taken in") {
  World world;
  three(world);
  world.write("x");
  world.add("d4");
  world.start_redis("d4", {"precious"});
  world.start("d4");
  world.run(3000);
  CHECK(world.node("d4").redis.words == Words{"precious"});
  CHECK_THAT(world.machine("d4").view().why, Catch::Contains("unknown origin"));
  world.start_redis("d4");
  REQUIRE(world.run_until_settled());
  CHECK(world.node("d4").redis.words == Words{"x"});
}

TEST_CASE("an operator may name a member that does not vote yet, and it becomes a voter") {
  World world;
  three(world);
  REQUIRE(world.write("x"));
  world.run(300);
  world.add("d4");
  world.start("d4");
  REQUIRE(world.run_until([&] { return world.node("d4").redis.words == Words{"x"}; }));
  REQUIRE(world.machine("a1").state().electorate.voters == Words{"a1", "b2", "c3"});
  world.kill("b2");
  for (const char* id : {"a1", "c3"}) {
    world.kill_redis(id);
    world.start_redis(id);
  }
  world.run(5000);
  REQUIRE(world.leader().empty());
  REQUIRE(world.force("a1", "d4").ok());
  REQUIRE(world.run_until([&] { return world.leader() == "d4"; }));
  REQUIRE(world.run_until_settled());
  CHECK(world.node("a1").redis.words == Words{"x"});
  REQUIRE(world.run_until([&] { return world.machine("a1").state().electorate.has("d4"); }));
}
