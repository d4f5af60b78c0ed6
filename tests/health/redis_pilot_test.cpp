// The pilot as stories, against a Redis that is only as real as its answers. The real one is driven
// in tests/proxy/redis_control_test.cpp.
#include "health/redis_pilot.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <string>
#include <vector>

#include "health/redis_pilot_settings.h"
#include "tests/health/pilot_fake_redis.h"

using namespace azimuth;

namespace {

struct Story {
  FakeRedis redis;
  RedisPilot pilot{"10.0.0.9", 7380, Instant{1000}};
  Instant now{1000};
  PilotOutbox out;
  Words commands;     // all but questions
  std::string first;  // of all that was sent on this connection
  std::vector<PilotOutbox::Event> events;
  bool connected = false;
  bool silent = false;  // Redis does not answer
  std::deque<Words> unanswered;

  // Carries out what the pilot wants until it wants nothing more.
  void settle() {
    for (int i = 0; i < 100; ++i) {
      out = pilot.take_outbox();
      events.insert(events.end(), out.events.begin(), out.events.end());
      if (out.close) {
        connected = false;
        unanswered.clear();
      }
      if (out.connect) {
        connected = true;
        first.clear();
        pilot.on_connected(now);
        continue;
      }
      for (const Words& words : out.commands) {
        if (words[0] == "REPLCONF" || words[0] == "REPLICAOF" ||
            words[1 % words.size()] == "KILL" || (words[0] == "CONFIG" && words[1] == "SET")) {
          commands.push_back(text_of(words));
        }
        if (first.empty()) first = text_of(words);
        unanswered.push_back(words);
      }
      if (unanswered.empty() || silent) return;
      while (!unanswered.empty() && connected) {
        const Words words = unanswered.front();
        unanswered.pop_front();
        const bool replyless = words[0] == "REPLCONF" && !redis.errors.contains("REPLCONF");
        if (!replyless) pilot.on_reply(now, redis.answer(words));
      }
    }
    FAIL("the pilot does not come to rest");
  }
  void pass(std::int64_t ms) {
    const Instant until = now + milliseconds(ms);
    while (pilot.next_wakeup() <= until) {
      now = later_of(now, pilot.next_wakeup());
      pilot.on_tick(now, 1);
      settle();
    }
    now = until;
  }
  void order(OrderKind kind, std::uint64_t epoch, const std::string& leader = {},
             const std::string& replid = {}) {
    pilot.set_order(now, {kind, epoch, leader, replid});
    settle();
  }
  void attach_tap() {
    redis.tap = true;
    if (!redis.backlog) redis.replid = "B";
    redis.backlog = true;
    pilot.on_tap(now, true, redis.replid);
    settle();
  }
  void lose(const char* reason = "reset") {
    connected = false;
    unanswered.clear();
    pilot.on_disconnected(now, reason, 1);
    settle();
  }
  void lead(std::uint64_t epoch) {
    pass(0);
    order(OrderKind::kLead, epoch);
    attach_tap();
    REQUIRE(done(OrderKind::kLead, epoch));
  }
  bool done(OrderKind kind, std::uint64_t epoch) const {
    return pilot.facts().done == kind && pilot.facts().done_epoch == epoch;
  }
  bool sent(const std::string& begin) const {
    return std::any_of(commands.begin(), commands.end(),
                       [&](const std::string& each) { return each.starts_with(begin); });
  }
  bool told(const std::string& name) const {
    return std::any_of(events.begin(), events.end(),
                       [&](const auto& event) { return event.name == name; });
  }
};

const std::string kFence = "CONFIG SET min-replicas-to-write 999999";
const std::string kLift = "CONFIG SET min-replicas-to-write 1";

}  // namespace

TEST_CASE("the fence comes first on each connection") {
  Story s;
  CHECK_FALSE(s.pilot.facts().fenced);
  s.pass(0);
  CHECK(s.first == kFence);
  CHECK(s.pilot.facts().alive);
  CHECK(s.pilot.facts().fenced);
  CHECK(s.pilot.facts().empty);
  CHECK(s.done(OrderKind::kFence, 0));
  s.commands.clear();
  s.redis.config["min-replicas-to-write"] = "0";
  s.lose();
  CHECK_FALSE(s.pilot.facts().alive);
  CHECK_FALSE(s.pilot.facts().fenced);
  s.pass(50);
  CHECK(s.first == kFence);
  CHECK(s.pilot.facts().fenced);
}

TEST_CASE("a fence that somebody else took down is put up again") {
  Story s;
  s.pass(0);
  s.redis.config["min-replicas-to-write"] = "0";
  s.pass(600);
  CHECK_FALSE(s.redis.writable());
  s.redis.config["min-replicas-max-lag"] = "0";
  s.pass(600);
  CHECK_FALSE(s.redis.writable());
}

TEST_CASE("I2: leading: the fence is lifted last, when the tap counts") {
  Story s;
  s.pass(0);
  CHECK_FALSE(s.out.want_tap);
  s.order(OrderKind::kLead, 3);
  s.pass(500);
  CHECK(s.out.want_tap);
  CHECK_FALSE(s.sent(kLift));
  CHECK_FALSE(s.redis.writable());
  s.attach_tap();
  CHECK(s.done(OrderKind::kLead, 3));
  CHECK(s.redis.writable());
  // The replid that the first replica has brought, and not the one before it.
  CHECK(s.pilot.facts().replid == "B");
  CHECK(s.redis.config["min-replicas-to-write"] == "1");
  CHECK(s.redis.config["min-replicas-max-lag"] == "1");

  // Once it leads, a tap that is lost for a moment does not end that.
  s.redis.tap = false;
  s.pilot.on_tap(s.now, false);
  s.settle();
  s.pass(200);
  CHECK(s.done(OrderKind::kLead, 3));
  CHECK(s.out.want_tap);

  s.order(OrderKind::kFence, 4);
  CHECK_FALSE(s.redis.writable());
  CHECK(s.done(OrderKind::kFence, 4));
  CHECK_FALSE(s.out.want_tap);
}

TEST_CASE("an order is done by what was measured after it, when the offset grows no more") {
  Story s;
  s.pass(0);
  REQUIRE(s.done(OrderKind::kFence, 0));
  s.silent = true;
  s.order(OrderKind::kFence, 4);
  CHECK_FALSE(s.done(OrderKind::kFence, 4));
  s.redis.offset = 70;
  s.silent = false;
  s.settle();
  CHECK(s.done(OrderKind::kFence, 4));
  CHECK(s.pilot.facts().offset == 70);

  s.redis.master = false;
  s.redis.link = "connected";
  s.order(OrderKind::kFence, 5);
  s.pass(300);
  CHECK_FALSE(s.done(OrderKind::kFence, 5));
  s.redis.offset = 90;
  s.redis.link = "connect";
  s.pass(20);
  CHECK(s.done(OrderKind::kFence, 5));
  CHECK(s.pilot.facts().offset == 90);
}

TEST_CASE("I2: the fence does not wait for a Redis that is silent") {
  Story s;
  s.lead(3);
  s.silent = true;
  s.pass(600);
  s.commands.clear();
  s.order(OrderKind::kFence, 3);
  CHECK(s.sent(kFence));
  CHECK_FALSE(s.done(OrderKind::kFence, 3));
  s.silent = false;
  s.settle();
  CHECK(s.done(OrderKind::kFence, 3));
}

TEST_CASE("a new epoch in place changes nothing in Redis") {
  Story s;
  s.lead(3);
  s.commands.clear();
  s.order(OrderKind::kLead, 4);
  CHECK(s.done(OrderKind::kLead, 4));
  CHECK(s.commands.empty());
}

TEST_CASE("following: by this epoch's tunnel port and no other") {
  Story s;
  s.pass(0);
  s.order(OrderKind::kFollow, 5, "a1", "L");
  CHECK(s.out.want_tunnel_epoch == 5);
  s.pass(100);
  CHECK_FALSE(s.sent("REPLICAOF"));
  s.pilot.on_tunnel_port(s.now, {4, 999});
  s.settle();
  CHECK_FALSE(s.sent("REPLICAOF"));
  s.pilot.on_tunnel_port(s.now, {5, 1234});
  s.settle();
  CHECK(s.sent("REPLICAOF 127.0.0.1 1234"));
  CHECK_FALSE(s.done(OrderKind::kFollow, 5));

  s.redis.link = "sync";
  s.redis.syncing = true;
  s.pass(50);
  CHECK(s.pilot.facts().loading);
  CHECK_FALSE(s.done(OrderKind::kFollow, 5));
  s.redis.link = "connected";
  s.redis.syncing = false;
  s.redis.offset = 70;
  s.pass(50);
  // Of another lineage than the epoch's: not what was ordered.
  CHECK(s.pilot.facts().link_up);
  CHECK_FALSE(s.done(OrderKind::kFollow, 5));
  s.redis.replid = "L";
  s.pass(150);
  CHECK(s.done(OrderKind::kFollow, 5));
  CHECK(s.pilot.facts().offset == 70);
  CHECK(s.out.want_tap);
  CHECK_FALSE(s.redis.writable());

  s.commands.clear();
  s.order(OrderKind::kFollow, 6, "b2", "M");
  CHECK(s.out.want_tunnel_epoch == 6);
  CHECK_FALSE(s.done(OrderKind::kFollow, 6));
  s.pilot.on_tunnel_port(s.now, {6, 1235});
  s.settle();
  CHECK(s.sent("REPLICAOF 127.0.0.1 1235"));
}

TEST_CASE("a leader whose lineage is not known yet is dialled, and not followed") {
  Story s;
  s.lead(5);
  s.order(OrderKind::kFollow, 6, "b2", "");
  CHECK(s.out.want_tunnel_epoch == 6);
  s.pilot.on_tunnel_port(s.now, {6, 1234});
  s.settle();
  CHECK_FALSE(s.pilot.facts().master);
  CHECK_FALSE(s.done(OrderKind::kFollow, 6));
  // Nobody to follow at all is a fence.
  s.order(OrderKind::kFollow, 7, "", "");
  CHECK(s.out.want_tunnel_epoch == 0);
}

TEST_CASE("a link that has just come up is nudged for its stream, and no reply is missed for it") {
  Story s;
  s.pass(0);
  s.order(OrderKind::kFollow, 5, "a1", "L");
  s.pilot.on_tunnel_port(s.now, {5, 1234});
  s.settle();
  s.redis.link = "connected";
  s.redis.replid = "L";
  SECTION("as Redis has it: without an answer") {}
  SECTION("refused: with an answer that belongs to nothing") {
    s.redis.errors["REPLCONF"] =
        "NOPERM this user has no permissions to run the 'replconf' command";
  }
  s.pass(300);
  CHECK(s.sent("REPLCONF GETACK *"));
  CHECK(s.done(OrderKind::kFollow, 5));
  s.pass(2000);
  s.commands.clear();
  s.pass(2000);
  CHECK_FALSE(s.sent("REPLCONF"));
  CHECK(s.pilot.facts().alive);
  CHECK(s.pilot.trouble().empty());
}

TEST_CASE("promotion: fenced, REPLICAOF NO ONE, tap, lifted") {
  Story s;
  s.redis.master = false;
  s.redis.link = "connected";
  s.redis.replid = "L";
  s.redis.offset = 500;
  s.redis.backlog = true;
  s.pass(0);
  s.commands.clear();
  s.order(OrderKind::kLead, 6);
  CHECK(s.sent("REPLICAOF NO ONE"));
  CHECK_FALSE(s.sent(kLift));
  CHECK(s.pilot.facts().master);
  s.attach_tap();
  CHECK(s.done(OrderKind::kLead, 6));
  CHECK(s.pilot.facts().replid == "L'");
  CHECK(s.pilot.facts().replid2 == "L");
  CHECK(s.pilot.facts().second_offset == 501);
}

TEST_CASE("I5: a Redis in the middle of a copy is not promoted") {
  Story s;
  s.redis.master = false;
  s.pass(0);
  s.redis.loading = true;
  s.redis.link = "sync";
  s.pass(600);
  CHECK(s.pilot.facts().loading);
  // It breaks off: the old id is left, and no data.
  s.redis.loading = false;
  s.redis.link = "connect";
  s.pass(600);
  CHECK(s.pilot.facts().loading);
  s.order(OrderKind::kLead, 6);
  s.pass(1000);
  CHECK_FALSE(s.sent("REPLICAOF NO ONE"));
  s.order(OrderKind::kFence, 6);
  s.redis.link = "connected";
  s.pass(1000);
  CHECK_FALSE(s.pilot.facts().loading);
}

TEST_CASE("I5: another process does not lead the epoch that was given to the first") {
  Story s;
  s.lead(3);
  s.lose();
  s.redis = FakeRedis{};
  s.redis.run_id = "run2";
  s.pilot.on_tap(s.now, false);
  s.pass(500);
  CHECK(s.told("redis_restarted"));
  CHECK(s.pilot.facts().run_id == "run2");
  s.attach_tap();
  s.pass(500);
  CHECK_FALSE(s.redis.writable());
  CHECK_FALSE(s.done(OrderKind::kLead, 3));
  s.order(OrderKind::kFence, 3);
  s.order(OrderKind::kLead, 3);
  s.pass(500);
  CHECK_FALSE(s.redis.writable());
  s.order(OrderKind::kLead, 4);
  s.attach_tap();
  CHECK(s.done(OrderKind::kLead, 4));
}

TEST_CASE("standing: fenced, still a primary, its tap attached") {
  Story s;
  s.lead(3);
  s.order(OrderKind::kStand, 3);
  CHECK(s.done(OrderKind::kStand, 3));
  CHECK_FALSE(s.redis.writable());
  CHECK(s.pilot.facts().master);
  CHECK(s.out.want_tap);
}

TEST_CASE("a silent Redis is stuck after a second, and anew after fifteen") {
  Story s;
  s.lead(3);
  s.silent = true;
  s.pass(1400);
  CHECK(s.pilot.facts().alive);
  s.pass(200);
  CHECK_FALSE(s.pilot.facts().alive);
  CHECK(s.told("redis_stuck"));
  s.silent = false;
  s.settle();
  CHECK(s.pilot.facts().alive);
  s.silent = true;
  s.pass(15'600);
  CHECK(s.told("redis_down"));
}

TEST_CASE("the tap is earlier than asking, within its own lineage") {
  Story s;
  s.redis.offset = 100;
  s.lead(3);
  s.pilot.on_applied(s.now, 150);
  CHECK(s.pilot.facts().offset == 150);
  CHECK(s.pilot.take_outbox().facts_changed);
  // A question that was answered before does not turn it back.
  s.pass(600);
  CHECK(s.pilot.facts().offset == 150);
  s.redis.replid = "other";
  s.redis.offset = 20;
  s.pass(600);
  CHECK(s.pilot.facts().offset == 20);
  s.pilot.on_applied(s.now, 200);
  CHECK(s.pilot.facts().offset == 20);
}

TEST_CASE("a replica without its link knows how far it has come") {
  Story s;
  s.redis.master = false;
  s.redis.offset = 4711;  // and slave_repl_offset says 1
  s.pass(0);
  CHECK(s.pilot.facts().offset == 4711);
}

TEST_CASE("empty is: no key and no function") {
  Story s;
  s.pass(0);
  CHECK(s.pilot.facts().empty);
  s.redis.keys = 1;
  s.pass(600);
  CHECK_FALSE(s.pilot.facts().empty);
  s.redis.keys = 0;
  s.redis.functions = 1;
  s.pass(600);
  CHECK_FALSE(s.pilot.facts().empty);
}

TEST_CASE("settings: changed once, told, and given back on leaving") {
  Story s;
  s.lead(3);
  CHECK(s.redis.config["repl-backlog-ttl"] == "0");
  CHECK(s.redis.config["repl-backlog-size"] == "16777216");
  CHECK(s.redis.config["replica-announce-ip"] == "10.0.0.9");
  // Redis 6 has no shutdown-timeout: it is left alone.
  CHECK_FALSE(s.sent("CONFIG SET shutdown-timeout"));
  const auto told = [&](const std::string& text) {
    return std::any_of(s.events.begin(), s.events.end(),
                       [&](const auto& event) { return event.text == text; });
  };
  CHECK(told("repl-backlog-ttl 3600 0"));
  s.commands.clear();
  s.pass(40'000);
  CHECK(s.commands.empty());

  s.pilot.leave(s.now);
  s.settle();
  CHECK(s.pilot.left());
  CHECK(s.commands.front() == kFence);
  CHECK(s.redis.config["repl-backlog-ttl"] == "3600");
  CHECK(s.redis.config["replica-announce-ip"].empty());
  CHECK(s.redis.config["repl-backlog-size"] == "16777216");
  CHECK_FALSE(s.redis.writable());
  CHECK_FALSE(s.out.want_tap);
}

TEST_CASE("a restarted Redis gets back what it has read from its own configuration") {
  Story s;
  s.lead(3);
  s.lose();
  s.redis = FakeRedis{};
  s.redis.run_id = "run2";
  s.redis.config["repl-backlog-ttl"] = "55";
  s.pass(500);
  CHECK(s.redis.config["repl-backlog-ttl"] == "0");
  s.pilot.leave(s.now);
  s.settle();
  CHECK(s.redis.config["repl-backlog-ttl"] == "55");
}

TEST_CASE("leaving does not wait for a Redis that is away or silent") {
  Story s;
  SECTION("away") {
    s.pass(0);
    s.lose();
    s.pilot.leave(s.now);
    CHECK(s.pilot.left());
    s.pass(10'000);
    CHECK_FALSE(s.connected);
  }
  SECTION("silent") {
    s.lead(3);
    s.silent = true;
    s.pilot.leave(s.now);
    s.settle();
    CHECK_FALSE(s.pilot.left());
    s.pass(1500);
    CHECK(s.pilot.left());
  }
}

TEST_CASE("trouble says what is refused and what to do, until it is over") {
  Story s;
  s.redis.errors["CONFIG SET repl-backlog-ttl"] =
      "ERR CONFIG SET failed (possibly related to argument 'repl-backlog-ttl') - can't set "
      "protected config";
  s.pass(0);
  CHECK(s.pilot.trouble().find("repl-backlog-ttl") != std::string::npos);
  CHECK(s.pilot.trouble().find("enable-protected-configs") != std::string::npos);
  CHECK(s.pilot.facts().fenced);
  // It is not hammered.
  s.commands.clear();
  s.pass(4000);
  CHECK(s.commands.empty());
  s.redis.errors.clear();
  s.pass(5000);
  CHECK(s.pilot.trouble().empty());
  CHECK(s.redis.config["repl-backlog-ttl"] == "0");
}

TEST_CASE("a Redis that cannot be asked is not counted on") {
  Story s;
  s.redis.errors["INFO"] = "NOAUTH Authentication required.";
  s.pass(0);
  CHECK_FALSE(s.pilot.facts().alive);
  CHECK(s.pilot.trouble().find("redis.password") != std::string::npos);
  s.redis.errors["INFO"] = "BUSY Redis is busy running a script";
  s.pass(200);
  CHECK_FALSE(s.pilot.facts().alive);
  s.redis.errors.clear();
  s.pass(200);
  CHECK(s.pilot.facts().alive);
  CHECK(s.pilot.trouble().empty());
}

TEST_CASE("a secret is not told") {
  PilotSettings settings;
  settings.need("masterauth", "sesame", PilotSettings::Rule::kEqual, true);
  CHECK(settings.due().empty());
  settings.on_value("masterauth", "before");
  REQUIRE(settings.due().size() == 1);
  CHECK(settings.due()[0].value == "sesame");
  CHECK(settings.due()[0].text == "masterauth (secret) (secret)");
}

TEST_CASE("a Redis that refuses CONFIG is known as such, told once, and not hammered") {
  Story s;
  for (const char* name : {"GET", "SET"}) {
    s.redis.errors[std::string("CONFIG ") + name] =
        std::string("ERR unknown command 'CONFIG', with args beginning with: '") + name + "' ";
  }
  s.pass(0);
  CHECK(s.pilot.facts().alive);
  CHECK(s.pilot.facts().trouble.find("rename-command") != std::string::npos);
  s.pass(2000);
  s.redis.asked = 0;
  s.pass(10'000);
  CHECK(s.redis.asked < 300);
  CHECK(std::count_if(s.events.begin(), s.events.end(),
                      [](const auto& event) { return event.name == "redis_trouble"; }) <= 2);
  s.redis.errors.clear();
  s.pass(6000);
  CHECK(s.pilot.facts().trouble.empty());
  // What it can do without is no reason.
  s.redis.errors["CONFIG SET repl-backlog-ttl"] = "ERR no";
  s.redis.config["repl-backlog-ttl"] = "7";
  s.pass(12'000);
  CHECK_FALSE(s.pilot.trouble().empty());
  CHECK(s.pilot.facts().trouble.empty());
}

TEST_CASE("a Redis that refuses the tap cannot lead, until it takes it or some time has gone by") {
  Story s;
  s.pass(0);
  s.order(OrderKind::kLead, 3);
  s.pilot.on_tap_trouble(s.now, "Redis refuses PSYNC");
  s.settle();
  CHECK(s.pilot.facts().trouble == "Redis refuses PSYNC");
  s.lose();
  s.pass(500);
  CHECK(s.pilot.facts().trouble == "Redis refuses PSYNC");
  SECTION("time") {
    s.pass(11'000);
    CHECK(s.pilot.facts().trouble.empty());
  }
  SECTION("attached") {
    s.attach_tap();
    CHECK(s.pilot.facts().trouble.empty());
  }
}

TEST_CASE("a busy Redis is borne as long as the settings say") {
  Story s;
  s.pilot.set_silence(milliseconds(5000));
  s.lead(3);
  s.silent = true;
  s.pass(4400);
  CHECK(s.pilot.facts().alive);
  s.pass(1200);
  CHECK_FALSE(s.pilot.facts().alive);
  s.silent = false;
  s.settle();
  CHECK(s.pilot.facts().alive);
  // Also when it says so itself.
  for (const char* each : {"INFO", "ROLE", "CONFIG"}) {
    s.redis.errors[each] = "BUSY Redis is busy running a script";
  }
  s.pass(4000);
  CHECK(s.pilot.facts().alive);
  s.pass(1700);
  CHECK_FALSE(s.pilot.facts().alive);
}

TEST_CASE("a script that makes a replica say BUSY is ended; a primary's is its client's own") {
  Story s;
  s.order(OrderKind::kFollow, 4, "b2", "R4");
  SECTION("a replica") {
    s.redis.master = false;
    s.pass(1000);
    s.redis.errors["INFO"] = "BUSY Redis is busy running a script";
    s.redis.errors["SCRIPT"] = "NOTBUSY No scripts in execution right now.";
    s.pass(200);
    CHECK(s.sent("SCRIPT KILL"));
    CHECK(s.sent("FUNCTION KILL"));
    CHECK(s.pilot.facts().trouble.empty());
  }
  SECTION("a primary, until it is to follow another") {
    s.lead(5);
    s.redis.errors["INFO"] = "BUSY Redis is busy running a script";
    s.redis.errors["SCRIPT"] = "NOTBUSY No scripts in execution right now.";
    s.pass(2000);
    CHECK_FALSE(s.sent("SCRIPT KILL"));
    s.order(OrderKind::kFollow, 6, "b2", "R6");
    s.pass(1000);
    CHECK(s.sent("SCRIPT KILL"));
  }
}

TEST_CASE(
    "what a client has changed in the replication's settings is put right while no link is up") {
  Story s;
  s.redis.config["masterauth"] = "";
  s.pilot.set_login("", "");
  s.lead(3);
  s.redis.config["masterauth"] = "sesame";
  s.redis.config["replica-announce-port"] = "1";
  s.order(OrderKind::kFollow, 4, "b2", "R4");
  s.pass(2000);
  CHECK(s.redis.config["masterauth"].empty());
  CHECK(s.redis.config["replica-announce-port"] == "7380");
}

TEST_CASE("a Redis that keeps nothing on its disk is told of, once a process") {
  Story s;
  s.redis.config["save"] = "";
  s.pass(0);
  CHECK_FALSE(s.told("redis_keeps_nothing"));  // INFO does not say
  s.redis.extra_info = "aof_enabled:0\r\n";
  s.pass(20'000);
  CHECK(std::count_if(s.events.begin(), s.events.end(),
                      [](const auto& event) { return event.name == "redis_keeps_nothing"; }) == 1);
}

TEST_CASE("a primary that was busy is made to count its replicas at once") {
  Story s;
  s.pilot.set_silence(milliseconds(5000));
  s.lead(3);
  s.silent = true;
  s.pass(3000);
  s.commands.clear();
  s.silent = false;
  s.settle();
  CHECK(s.commands == Words{"CONFIG SET min-replicas-max-lag 1"});
}

TEST_CASE("the backlog grows with what is written, and is not given back") {
  Story s;
  s.lead(3);
  CHECK(s.redis.config["repl-backlog-size"] == "16777216");
  for (int i = 0; i < 40; ++i) {
    s.redis.offset += 500'000;
    s.redis.extra_info = "repl_backlog_size:" + s.redis.config["repl-backlog-size"] + "\r\n";
    s.pass(500);
  }
  // 60 s of 1 MB/s, and a quarter.
  CHECK(s.redis.config["repl-backlog-size"] == "134217728");
  CHECK(s.pilot.numbers().backlog_wanted == 134'217'728);
  CHECK(s.pilot.numbers().write_bytes_per_s > 900'000);
  CHECK(std::any_of(s.events.begin(), s.events.end(), [](const auto& event) {
    return event.text.starts_with("repl-backlog-size ") &&
           event.text.find("for an outage of 60000 ms") != std::string::npos;
  }));
  s.commands.clear();
  s.pilot.leave(s.now);
  s.settle();
  CHECK_FALSE(s.sent("CONFIG SET repl-backlog-size"));
}

TEST_CASE("what a replica is behind by is no measure of what is written") {
  Story s;
  s.pass(0);
  s.order(OrderKind::kFollow, 5, "a1", "L");
  s.pilot.on_tunnel_port(s.now, {5, 1234});
  s.settle();
  s.redis.link = "connected";
  s.redis.replid = "L";
  // 300 MB are missing; 100 KB a second are written.
  std::uint64_t primary = 300'000'000;
  const auto pass = [&](int s_, std::int64_t most) {
    for (int i = 0; i < 2 * s_; ++i) {
      primary += 50'000;
      s.redis.offset = std::min(s.redis.offset + most, static_cast<std::int64_t>(primary));
      s.redis.extra_info = "repl_backlog_size:" + s.redis.config["repl-backlog-size"] + "\r\n";
      s.pilot.on_primary("L", primary);
      s.pass(500);
    }
  };
  pass(20, 6'000'000);
  CHECK_FALSE(s.pilot.abreast(s.now));
  CHECK(s.pilot.numbers().write_bytes_per_s == 0);
  pass(60, 6'000'000);
  CHECK(s.pilot.abreast(s.now));
  CHECK(s.pilot.numbers().write_bytes_per_s > 90'000);
  CHECK(s.pilot.numbers().write_bytes_per_s < 1'000'000);
  CHECK(s.redis.config["repl-backlog-size"] == "16777216");
}

TEST_CASE("what an azimuth that was here before has made of the backlog shrinks again") {
  Story s;
  s.redis.config["repl-backlog-size"] = "268435456";
  s.lead(3);
  for (int i = 0; i < 700; ++i) {
    s.redis.extra_info = "repl_backlog_size:" + s.redis.config["repl-backlog-size"] + "\r\n";
    s.pass(1000);
  }
  CHECK(s.redis.config["repl-backlog-size"] == "33554432");
}
