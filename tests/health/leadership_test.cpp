#include "health/leadership.h"

#include <catch2/catch.hpp>

#include "leadership_world.h"

using namespace azimuth;
using azimuth::test::three;
using azimuth::test::Words;
using azimuth::test::World;

TEST_CASE("a new group waits for its members, and then elects the lowest id") {
  World world;
  for (const char* id : {"a1", "b2", "c3"}) world.add(id);
  world.start("b2");
  world.start("c3");
  world.run(3000);
  CHECK(world.leader().empty());
  CHECK_THAT(world.machine("b2").view().why, Catch::Contains("1 more member"));
  world.start("a1");
  REQUIRE(world.run_until_settled());
  CHECK(world.leader() == "a1");
  CHECK(world.epoch() == 1);
  CHECK(world.machine("c3").state().electorate.voters == Words{"a1", "b2", "c3"});
}

TEST_CASE("a new group takes the one Redis that holds data; two are refused until a word is said") {
  World world;
  for (const char* id : {"a1", "b2", "c3"}) world.add(id);
  world.start_redis("b2", {"x", "y"});
  SECTION("one") {
    for (const char* id : {"a1", "b2", "c3"}) world.start(id);
    REQUIRE(world.run_until_settled());
    CHECK(world.leader() == "b2");
    CHECK(world.node("a1").redis.words == Words{"x", "y"});
  }
  SECTION("two") {
    world.start_redis("c3", {"z"});
    for (const char* id : {"a1", "b2", "c3"}) world.start(id);
    world.run(3000);
    CHECK(world.leader().empty());
    CHECK_THAT(world.machine("a1").view().why, Catch::Contains("b2 and c3 hold data"));
    CHECK(world.node("b2").redis.words == Words{"x", "y"});
    REQUIRE(world.force("b2", "c3").ok());
    REQUIRE(world.run_until_settled());
    CHECK(world.leader() == "c3");
    CHECK(world.node("b2").redis.words == Words{"z"});
  }
}

TEST_CASE(
    "I1 I2: a dead leader's node is replaced within a second and a half, by the highest offset") {
  World world;
  three(world);
  world.cut("a1", "b2");
  REQUIRE(world.write("only c3 has it"));
  world.run(20);
  world.kill("a1");
  world.heal();
  const std::int64_t killed = world.now();
  REQUIRE(world.run_until([&] { return !world.leader().empty(); }));
  CHECK(world.leader() == "c3");
  CHECK(world.now() - killed <= 1300);
  REQUIRE(world.run_until_settled());
  CHECK(world.node("b2").redis.words == Words{"only c3 has it"});
}

TEST_CASE("a leader whose Redis died says so at once; no lease is waited for") {
  World world;
  three(world);
  world.write("x");
  world.run(50);
  world.kill_redis("a1");
  const std::int64_t killed = world.now();
  REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
  CHECK(world.now() - killed <= 60);
}

TEST_CASE("I5: an empty primary, restarted at once, becomes a replica") {
  World world;
  three(world);
  for (int round = 0; round < 10; ++round) {
    const std::string led = world.leader();
    REQUIRE(world.write("w" + std::to_string(round)));
    world.run(20);
    world.kill_redis(led);
    world.run(1);
    world.start_redis(led);
    REQUIRE(world.run_until_settled());
    CHECK(world.leader() != led);
    CHECK(world.node(led).redis.words.size() == static_cast<std::size_t>(round) + 1);
  }
}

TEST_CASE("I2: a leader cut off from its majority stops before another begins, and follows later") {
  World world;
  three(world);
  world.isolate("a1");
  REQUIRE(world.write("never replicated"));
  REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
  CHECK(world.machine("a1").view().leader.empty());
  CHECK_FALSE(world.machine("a1").view().leading);
  CHECK(world.machine("a1").view().isolated);
  world.write("after");
  world.heal();
  REQUIRE(world.run_until_settled());
  CHECK(world.leader() == "b2");
  CHECK(world.node("a1").redis.words == Words{"after"});
}

TEST_CASE("no election comes of loss, jitter and pauses") {
  World world(7);
  three(world);
  world.loss = 0.1;
  world.jitter = 50;
  const std::uint64_t epoch = world.epoch();
  for (int round = 0; round < 120; ++round) {
    const std::string id = Words{"a1", "b2", "c3"}[static_cast<std::size_t>(round) % 3];
    world.node(id).paused = true;
    world.run(300);
    world.node(id).paused = false;
    world.run(700);
  }
  CHECK(world.epoch() == epoch);
  CHECK(world.leader() == "a1");
}

TEST_CASE("two coordinators that begin at one moment do not keep each other waiting") {
  for (std::int64_t delay : {1, 5, 30}) {
    World world;
    three(world);
    world.delay = delay;
    world.run(1000);
    // Both survivors take themselves for the first to act.
    world.filter = [&](const std::string& from, const std::string&, const GroupMessage& message) {
      return from != "b2" || !std::holds_alternative<Probe>(message);
    };
    world.kill("a1");
    REQUIRE(world.run_until([&] { return world.count("ballot") > 1; }));
    world.filter = nullptr;
    const std::int64_t begun = world.now();
    // b2 begins too, before it hears of c3's.
    world.inject("b2", "c3", ProbeReply{1, 1, 1, 0});
    REQUIRE(world.run_until([&] { return !world.leader().empty(); }));
    CHECK(world.now() - begun < 100 + 12 * delay);
  }
}

TEST_CASE("I1: a promise outlives the process") {
  World world;
  three(world);
  world.kill_redis("a1");
  // b2 and c3 promise; nobody hears who won.
  world.filter = [](const std::string&, const std::string&, const GroupMessage& message) {
    return !std::holds_alternative<Elected>(message) && !std::holds_alternative<Renew>(message);
  };
  REQUIRE(world.run_until([&] { return world.machine("c3").state().promised > 1; }));
  const std::uint64_t promised = world.machine("c3").state().promised;
  world.kill("c3");
  world.start("c3");
  CHECK(world.machine("c3").state().promised >= promised);
  world.filter = nullptr;
  REQUIRE(world.run_until_settled());
  CHECK(world.epoch() > 1);
}

TEST_CASE(
    "I2: a voter that has just started promises nothing until what it may have granted is over") {
  World world;
  three(world);
  world.cut("a1", "b2");  // b2 will miss a1; a1 keeps its lease by c3
  world.kill("c3");
  world.start("c3");
  world.cut("a1", "c3");
  // check() fails if c3 helped b2 to a lease while a1's lives.
  REQUIRE(world.run_until([&] { return !world.leader().empty() && world.leader() != "a1"; }));
}

TEST_CASE("the process of a leader restarts, its Redis lives: the same epoch goes on") {
  World world;
  three(world);
  world.write("x");
  world.run(20);
  world.kill("a1");
  world.run(50);
  world.start("a1");
  const std::int64_t started = world.now();
  REQUIRE(world.run_until([&] { return world.leader() == "a1"; }));
  CHECK(world.now() - started < 100);
  CHECK(world.epoch() == 1);
  REQUIRE(world.run_until_settled());
}

TEST_CASE("I3: members that lost their memory do not make a majority") {
  World world;
  three(world);
  world.cut("b2", "a1");
  REQUIRE(world.write("a1 and c3 have it"));
  world.run(100);
  // c3's Redis restarts empty and a1 dies: b2 alone is whole, and lacks the write.
  world.kill("a1");
  world.kill_redis("c3");
  world.start_redis("c3");
  world.heal();
  world.run(5000);
  CHECK(world.leader().empty());
  CHECK_THAT(world.machine("b2").view().why, Catch::Contains("a1"));
  // The one that knows comes back.
  world.start("a1");
  REQUIRE(world.run_until_settled());
  CHECK(world.node("b2").redis.words == Words{"a1 and c3 have it"});
}

TEST_CASE("the first leader may be lost for good as soon as the others are in sync") {
  World world;
  for (const char* id : {"a1", "b2", "c3"}) world.add(id);
  for (const char* id : {"a1", "b2", "c3"}) world.start(id);
  REQUIRE(world.run_until([&] {
    return world.leader() == "a1" && world.node("b2").redis.link_up &&
           world.node("c3").redis.link_up;
  }));
  world.kill("a1");
  CHECK(world.run_until([&] { return !world.leader().empty(); }, 5000));
}

TEST_CASE("to be ordered to follow, and to take a whole copy, make no Redis forget") {
  World world;
  three(world);
  SECTION("ordered: the new leader is lost before a copy has begun") {
    world.isolate("a1");
    REQUIRE(world.write("a1 alone has it"));
    REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
    world.run(200);
    world.heal();
    REQUIRE(world.run_until([&] { return world.machine("a1").view().leader == "b2"; }));
    world.kill("b2");
    CHECK(world.run_until([&] { return !world.leader().empty(); }, 5000));
  }
  SECTION("copied: the leader is lost right afterwards") {
    const std::string process = world.node("c3").redis.run_id;
    world.node("c3").redis.loading = true;
    world.run(20);
    CHECK(world.machine("c3").state().intact_run_id.empty());
    world.node("c3").redis.loading = false;
    world.run(2);
    CHECK(world.machine("c3").state().intact_run_id == process);
  }
  SECTION("copied, and another process is there afterwards") {
    world.node("c3").redis.loading = true;
    world.run(20);
    world.kill_redis("c3");
    world.node("c3").redis.loading = false;
    world.start_redis("c3");
    world.run(2);
    CHECK(world.machine("c3").state().intact_run_id.empty());
  }
}

TEST_CASE("a group that was switched off starts again with the newest of all") {
  World world;
  three(world);
  REQUIRE(world.write("x"));
  world.run(500);
  world.isolate("a1");
  REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
  REQUIRE(world.write("y"));
  world.run(50);
  // All stop; each Redis comes back from its disk, with its replid as it was.
  std::map<std::string, azimuth::test::FakeRedis> disks;
  for (const char* id : {"a1", "b2", "c3"}) {
    world.kill(id);
    disks[id] = world.node(id).redis;
  }
  world.heal();
  for (const char* id : {"a1", "c3"}) {
    world.node(id).redis.run_id += "again";
    world.start(id);
  }
  world.run(5000);
  CHECK(world.leader().empty());  // b2 may have more
  world.node("b2").redis.run_id += "again";
  world.start("b2");
  REQUIRE(world.run_until_settled());
  CHECK(world.node("a1").redis.words == Words{"x", "y"});
}

TEST_CASE("two members and a witness survive the loss of any one") {
  World world;
  world.add("a1", true, 2);
  world.add("b2", true, 2);
  world.add("w", false, 2);
  for (const char* id : {"w", "a1", "b2"}) world.start(id);
  REQUIRE(world.run_until_settled());
  REQUIRE(world.write("x"));
  world.run(20);
  SECTION("the leader") {
    world.kill("a1");
    REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
    world.start("a1");
    REQUIRE(world.run_until_settled());
  }
  SECTION("the witness") {
    world.kill("w");
    world.run(5000);
    CHECK(world.leader() == "a1");
    CHECK(world.epoch() == 1);
  }
  SECTION("the leader's Redis") {
    world.kill_redis("a1");
    REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
  }
}

TEST_CASE("a planned hand-over: nothing is lost, nobody copies anew") {
  World world;
  three(world);
  REQUIRE(world.write("x"));
  world.run(300);
  SECTION("to a named one, asked of any node") {
    REQUIRE(world.switch_over("c3", "c3").ok());
    const std::int64_t begun = world.now();
    REQUIRE(world.run_until([&] { return world.leader() == "c3"; }));
    CHECK(world.now() - begun < 60);
    REQUIRE(world.run_until_settled());
    CHECK(world.node("a1").redis.words == Words{"x"});
    CHECK(world.epoch() == 2);
  }
  SECTION("there and back, many times") {
    for (int round = 0; round < 10; ++round) {
      const std::string led = world.leader();
      REQUIRE(world.write("y"));
      world.run(5);  // the leader is told
      REQUIRE(world.switch_over(led, "").ok());
      REQUIRE(world.run_until([&] { return !world.leader().empty() && world.leader() != led; }));
      REQUIRE(world.run_until_settled());
    }
    CHECK(world.node("c3").redis.words.size() == 11);
  }
  SECTION("refused, with the reason") {
    Outcome outcome = world.switch_over("a1", "d4");
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().message.find("d4 is not known") != std::string::npos);
    world.kill("b2");
    world.kill("c3");
    world.run(100);
    world.start("b2");  // keeps the lease alive
    world.kill_redis("b2");
    world.run(2000);
    outcome = world.switch_over("a1", "");
    REQUIRE_FALSE(outcome.ok());
  }
  SECTION("abandoned when writes do not end") {
    world.handed_over_drains = false;
    REQUIRE(world.switch_over("a1", "b2").ok());
    world.run(4000);
    CHECK(world.machine("a1").view().handing_over);
    REQUIRE(world.run_until([&] { return !world.machine("a1").view().handing_over; }, 2000));
    REQUIRE(world.run_until([&] { return world.leader() == "a1"; }));
    CHECK(world.epoch() == 1);
  }
}

TEST_CASE("an operator's word elects the one that he names, with a majority's promise") {
  World world;
  three(world);
  REQUIRE(world.write("x"));
  world.run(300);
  world.kill("a1");
  world.kill_redis("b2");
  world.start_redis("b2");
  world.run(5000);
  REQUIRE(world.leader().empty());
  SECTION("done") {
    REQUIRE(world.force("b2", "c3").ok());
    REQUIRE(world.run_until([&] { return world.leader() == "c3"; }));
    world.start("a1");
    REQUIRE(world.run_until_settled());
  }
  SECTION("not without a majority") {
    world.kill("b2");
    world.run(1000);
    const Outcome outcome = world.force("c3", "c3");
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().message.find("a1 and b2") != std::string::npos);
  }
}

TEST_CASE("an operator's word goes on even where most voters have lost their disks") {
  World world;
  three(world);
  REQUIRE(world.write("x"));
  world.run(300);
  for (const char* id : {"a1", "b2"}) {
    world.kill(id);
    world.node(id).disk.reset();
  }
  world.run(1000);
  for (const char* id : {"a1", "b2"}) world.start(id);
  world.run(5000);
  REQUIRE(world.leader().empty());
  CHECK_THAT(world.machine("c3").view().why, Catch::Contains("a1 and b2 lost what"));
  CHECK_FALSE(world.force("a1", "c3").ok());  // it knows of no group
  const std::uint64_t before = world.epoch();
  REQUIRE(world.force("c3", "c3").ok());
  REQUIRE(world.run_until_settled());
  CHECK(world.leader() == "c3");
  CHECK(world.epoch() > before + 10);  // epochs may have been forgotten
  CHECK(world.node("a1").redis.words == Words{"x"});
  world.kill("c3");
  REQUIRE(world.run_until([&] { return !world.leader().empty(); }));
}

TEST_CASE("one member alone is its own group, through restarts") {
  World world;
  world.add("a1", true, 1);
  world.start_redis("a1", {"old"});
  world.start("a1");
  REQUIRE(world.run_until([&] { return world.leader() == "a1"; }, 2000));
  world.write("x");
  world.kill_redis("a1");
  world.run(2000);
  CHECK(world.leader().empty());
  world.start_redis("a1", {"from disk"});
  REQUIRE(world.run_until([&] { return world.leader() == "a1"; }, 2000));
  world.kill("a1");
  world.start("a1");
  REQUIRE(world.run_until([&] { return world.leader() == "a1"; }, 1000));
}

TEST_CASE("a Redis that cannot be driven leads nothing, and its node says so") {
  const std::string trouble = "Redis refuses CONFIG GET";
  World world;
  SECTION("in a group that begins") {
    for (const char* id : {"a1", "b2", "c3"}) world.add(id);
    world.node("a1").redis.trouble = trouble;
    for (const char* id : {"a1", "b2", "c3"}) world.start(id);
    REQUIRE(world.run_until([&] { return world.leader() == "b2"; }, 3000));
    CHECK(world.run_until([&] { return !world.machine("a1").view().leader.empty(); }, 500));
    CHECK_THAT(world.machine("a1").view().why, Catch::Contains(trouble));
    CHECK(world.machine("b2").view().why.empty());
  }
  SECTION("later in life") {
    three(world);
    REQUIRE(world.write("x"));
    world.run(50);
    world.node("b2").redis.trouble = trouble;
    world.run(50);
    world.kill("a1");
    world.kill_redis("a1");
    REQUIRE(world.run_until([&] { return world.leader() == "c3"; }, 2000));
  }
  SECTION("nor does it lose what it alone holds") {
    three(world);
    world.cut("a1", "c3");
    REQUIRE(world.write("only b2 has it"));
    world.run(20);
    world.node("b2").redis.trouble = trouble;
    world.run(20);
    world.kill("a1");
    world.kill_redis("a1");
    world.heal();
    world.run(5000);
    CHECK(world.leader().empty());
    for (const char* id : {"b2", "c3"}) {
      CHECK_THAT(world.machine(id).view().why, Catch::Contains("b2 (" + trouble + ")"));
      CHECK_THAT(world.machine(id).view().why, Catch::Contains("holds more"));
    }
    world.node("b2").redis.trouble.clear();
    REQUIRE(world.run_until([&] { return world.leader() == "b2"; }));
  }
  SECTION("of the primary, before it is promoted") {
    three(world);
    world.kill("a1");
    world.kill_redis("a1");
    REQUIRE(world.run_until([&] { return world.machine("b2").view().leading; }, 3000));
    world.node("b2").redis.trouble = trouble;
    REQUIRE(world.run_until([&] { return world.leader() == "c3"; }, 2000));
  }
}

TEST_CASE("nobody hands over to who leaves, or has left") {
  World world;
  three(world);
  world.run(500);
  const std::int64_t asked = world.now();
  SECTION("before") {
    world.leave("b2");
    world.run(2);
    CHECK_FALSE(world.switch_over("a1", "b2").ok());
    CHECK(world.machine("a1").view().leader_ready);
    REQUIRE(world.switch_over("a1", "").ok());
  }
  SECTION("about to") {
    world.node("b2").machine->on_leaving(Instant{world.now()});
    world.run(250);
    CHECK_FALSE(world.switch_over("a1", "b2").ok());
    REQUIRE(world.switch_over("a1", "").ok());
  }
  SECTION("in the middle") {
    world.handed_over_drains = false;
    REQUIRE(world.switch_over("a1", "").ok());
    world.run(5);
    world.leave("b2");
    world.run(5);
    world.handed_over_drains = true;
  }
  REQUIRE(world.run_until([&] { return world.leader() == "c3"; }, 400));
  CHECK(world.now() - asked <= 500);
  CHECK_FALSE(world.saw("hand_over_failed"));
}

TEST_CASE("a hand-over to a named node that leaves in the middle is over at once") {
  World world;
  three(world);
  world.run(500);
  world.handed_over_drains = false;
  REQUIRE(world.switch_over("a1", "b2").ok());
  world.run(5);
  world.leave("b2");
  world.run(5);
  CHECK(world.saw("hand_over_failed"));
  CHECK_FALSE(world.machine("a1").view().handing_over);
  CHECK(world.leader() == "a1");
}

TEST_CASE("all ended and started again with what their disks kept: from who led last") {
  World world;
  three(world);
  REQUIRE(world.write("x"));
  world.run(50);
  const auto end = [&](bool orderly) {
    for (const char* id : {"c3", "b2", "a1"}) {
      if (orderly)
        world.leave(id);
      else
        world.kill(id);
      world.kill_redis(id);
    }
    world.run(3000);
    for (const char* id : {"a1", "b2", "c3"}) {
      world.start_redis(id, {"x"});
      world.start(id);
    }
  };
  SECTION("in an orderly way, it comes back") {
    end(true);
    REQUIRE(world.run_until_settled());
    CHECK(world.leader() == "a1");
    CHECK(world.node("c3").redis.words == Words{"x"});
    // Once: what was written since is not covered by it.
    CHECK(world.machine("a1").state().rested == 0);
  }
  SECTION("killed, its disk may lack what others have: an operator is told who led last") {
    end(false);
    world.run(6000);
    CHECK(world.leader().empty());
    CHECK_THAT(world.machine("b2").view().why, Catch::Contains("a1 led last (epoch 1)"));
    CHECK_THAT(world.machine("b2").view().why, Catch::Contains("AZIMUTH ELECT FORCE a1"));
    REQUIRE(world.force("b2", "a1").ok());
    REQUIRE(world.run_until_settled());
  }
  SECTION("not all of them: it waits") {
    end(true);
    world.kill("c3");
    world.run(6000);
    CHECK(world.leader().empty());
    world.start("c3");
    REQUIRE(world.run_until_settled());
  }
}

TEST_CASE("bootstrap_expect counts members, and says so where there is a witness") {
  World world;
  world.add("a1");
  world.add("b2");
  world.add("w1", false);
  for (const char* id : {"a1", "b2", "w1"}) world.start(id);
  world.run(1000);
  CHECK_THAT(world.machine("a1").view().why, Catch::Contains("w1 is a witness"));
}
