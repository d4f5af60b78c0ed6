// The probe as stories: what the owner reports, and what the probe wants and tells.
#include "health/redis_probe.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

using namespace azimuth;

namespace {

struct Story {
  RedisProbe probe;
  Instant now{1000};
  ProbeOutbox out;
  std::string run_id = "r1", loading = "0", role = "master";

  void collect() { out = probe.take_outbox(); }
  void tick() {
    probe.on_tick(now, 0);
    collect();
  }
  void tick_at_wakeup() {
    now = later_of(now, probe.next_wakeup());
    tick();
  }
  void connected() {
    probe.on_connected(now);
    collect();
  }
  void disconnected(std::string_view reason) {
    probe.on_disconnected(now, reason, 0);
    collect();
  }
  void reply(RedisReply::Kind kind, std::string_view text) {
    probe.on_reply(now, RedisReply{kind, text, {}}, 0);
  }
  void answer() {
    using Kind = RedisReply::Kind;
    reply(Kind::kText, "redis_version:7.0.15\r\nrun_id:" + run_id + "\r\n");
    reply(Kind::kText, "role:" + role + "\r\nmaster_replid:" + run_id + "x\r\n");
    reply(Kind::kText, "loading:" + loading + "\r\n");
    const std::vector<std::string_view> as_master = {"master", "5"};
    const std::vector<std::string_view> as_replica = {"slave", "h", "1", "connected", "5"};
    const auto& elements = role == "master" ? as_master : as_replica;
    probe.on_reply(now, RedisReply{Kind::kList, "", elements}, 0);
    collect();
  }
  void bring_up() {
    tick();
    connected();
    answer();
  }
  // Another round, on an open connection.
  void round() {
    tick_at_wakeup();
    REQUIRE(out.ask);
    answer();
  }
  std::string events() const {
    std::string names;
    for (const RedisEvent& event : out.events) {
      names += (names.empty() ? "" : " ") + std::string(to_string(event.kind));
    }
    return names;
  }
};

}  // namespace

TEST_CASE("a Redis comes up") {
  Story s;
  s.tick();
  CHECK(s.out.connect);
  CHECK_FALSE(s.probe.reachable());
  s.connected();
  CHECK(s.out.ask);
  s.answer();
  CHECK(s.events() == "redis_up");
  CHECK(s.out.events[0].reason == "it answers, version 7.0.15");
  CHECK(s.probe.ready());
  CHECK(s.probe.since() == s.now);
  CHECK(s.probe.next_wakeup() == s.now + milliseconds(1000));
  s.round();
  CHECK(s.events().empty());
}

TEST_CASE("a Redis that is not there: one event, then tries that back off") {
  Story s;
  s.tick();
  s.disconnected("connection refused");
  CHECK(s.events() == "redis_down");
  CHECK(s.out.events[0].reason == "connection refused");
  Instant last = s.now;
  for (int i = 0; i < 20; ++i) {
    s.tick_at_wakeup();
    REQUIRE(s.out.connect);
    CHECK((s.now - last).ms <= 1000);
    last = s.now;
    s.disconnected("connection refused");
    CHECK(s.events().empty());
  }
  CHECK((s.probe.next_wakeup() - s.now).ms >= 500);
  s.tick_at_wakeup();
  s.connected();
  s.answer();
  CHECK(s.events() == "redis_up");
}

TEST_CASE("a lost connection is news at once") {
  Story s;
  s.bring_up();
  s.disconnected("connection reset by peer");
  CHECK(s.events() == "redis_down");
  CHECK(s.probe.status() == RedisStatus::kDown);
  CHECK((s.probe.next_wakeup() - s.now).ms <= 20);
}

TEST_CASE("silence is first stuck, and only then down") {
  Story s;
  s.bring_up();
  s.tick_at_wakeup();
  CHECK(s.out.ask);
  s.tick_at_wakeup();
  CHECK(s.events() == "redis_stuck");
  CHECK_FALSE(s.out.close);
  CHECK_FALSE(s.probe.reachable());
  SECTION("it answers after all") {
    s.now = s.now + milliseconds(3000);
    s.answer();
    CHECK(s.events() == "redis_up");
  }
  SECTION("it does not") {
    s.tick_at_wakeup();
    CHECK(s.out.close);
    CHECK(s.events() == "redis_down");
    s.tick_at_wakeup();
    CHECK(s.out.connect);
    CHECK_FALSE(s.out.ask);
  }
}

TEST_CASE("a connection attempt that hangs is given up") {
  Story s;
  s.tick();
  s.tick_at_wakeup();
  CHECK(s.out.close);
  CHECK_FALSE(s.out.connect);
  CHECK(s.events() == "redis_down");
  s.connected();  // too late, of the connection given up
  CHECK_FALSE(s.out.ask);
  s.disconnected("closed");
  CHECK(s.events().empty());
}

TEST_CASE("loading is up, and not ready") {
  Story s;
  s.loading = "1";
  s.bring_up();
  CHECK(s.events() == "redis_up redis_loading");
  CHECK(s.probe.reachable());
  CHECK_FALSE(s.probe.ready());
  s.loading = "0";
  s.round();
  CHECK(s.events() == "redis_loaded");
  CHECK(s.probe.ready());
}

TEST_CASE("another process behind the same address is a restart, of another lineage") {
  Story s;
  s.bring_up();
  s.disconnected("connection reset by peer");
  s.run_id = "r2";
  s.tick_at_wakeup();
  s.connected();
  s.answer();
  CHECK(s.events() == "redis_up redis_restarted redis_lineage_changed");
}

TEST_CASE("a role that changes is news") {
  Story s;
  s.bring_up();
  s.role = "slave";
  s.round();
  CHECK(s.events() == "redis_role_changed");
  CHECK(s.out.events[0].reason == "master -> replica");
}

TEST_CASE("errors are answers: the process is alive") {
  for (const std::string_view error :
       {"NOAUTH Authentication required.", "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script.", "MASTERDOWN Link with MASTER is down",
        "MISCONF Redis is configured to save RDB snapshots"}) {
    Story s;
    s.tick();
    s.connected();
    for (size_t i = 0; i < kProbeCommands.size(); ++i) s.reply(RedisReply::Kind::kError, error);
    s.collect();
    CHECK(s.probe.reachable());
    CHECK(s.probe.ready() == (refusal_of(error) != RedisRefusal::kLoading));
    CHECK(s.events().find("redis_up") == 0);
    CHECK(s.events().find("redis_refused") != std::string::npos);
    s.round();
    CHECK(s.events().find("redis_accepted") != std::string::npos);
  }
}

TEST_CASE("a peer that is no Redis is left") {
  using Kind = RedisReply::Kind;
  SECTION("by the kind of a reply") {
    Story s;
    s.tick();
    s.connected();
    s.reply(Kind::kOther, "");
    s.collect();
    CHECK(s.out.close);
    CHECK(s.events() == "redis_down");
  }
  SECTION("by a reply to no question") {
    Story s;
    s.bring_up();
    s.reply(Kind::kText, "role:master\r\n");
    s.collect();
    CHECK(s.out.close);
    CHECK(s.probe.status() == RedisStatus::kDown);
  }
}

TEST_CASE("whatever happens, at most one round is asked at a time and each status is told once") {
  for (unsigned seed = 0; seed < 200; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    Story s;
    RedisStatus told = RedisStatus::kDown;
    bool first = true, open = false, connecting = false;
    size_t outstanding = 0;
    for (int step = 0; step < 300; ++step) {
      s.now = s.now + milliseconds(random() % 4000);
      switch (random() % 4) {
        case 0:
          s.probe.on_tick(s.now, random());
          break;
        case 1:
          if (connecting) {
            open = true;
            connecting = false;
            s.probe.on_connected(s.now);
          }
          break;
        case 2:
          if (random() % 4 == 0 && (open || connecting)) {
            open = connecting = false;
            outstanding = 0;
            s.probe.on_disconnected(s.now, "reset", random());
          }
          break;
        case 3:
          if (open && outstanding > 0) {
            --outstanding;
            s.reply(RedisReply::Kind::kError, "NOAUTH x");
          }
          break;
      }
      s.collect();
      if (s.out.close) {
        open = connecting = false;
        outstanding = 0;
      }
      if (s.out.connect) {
        REQUIRE_FALSE(open);
        REQUIRE_FALSE(connecting);
        connecting = true;
      }
      if (s.out.ask) {
        REQUIRE(open);
        REQUIRE(outstanding == 0);
        outstanding = kProbeCommands.size();
      }
      for (const RedisEvent& event : s.out.events) {
        RedisStatus next = told;
        if (event.kind == RedisEventKind::kUp) next = RedisStatus::kUp;
        if (event.kind == RedisEventKind::kDown) next = RedisStatus::kDown;
        if (event.kind == RedisEventKind::kStuck) next = RedisStatus::kStuck;
        if (event.kind > RedisEventKind::kStuck) continue;
        REQUIRE((first || next != told));
        first = false;
        told = next;
      }
      REQUIRE(told == s.probe.status());
    }
  }
}
