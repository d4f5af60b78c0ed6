#include "router/route.h"

#include <catch2/catch.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "router/extra_commands.h"

namespace azimuth {
namespace {

const CommandRow* row(CommandId id) { return &command_row(id); }

Topology one() {
  return single_redis("a1", "z1", "r1", Endpoint{Endpoint::Kind::kTcp, "127.0.0.1", 6379, ""});
}

// Three members in epoch 4; the first is primary, the second stands next door, ready.
Topology three() {
  Topology t;
  t.epoch = 4;
  for (const char* id : {"a1", "b1", "c1"}) {
    t.members.push_back(Member{.id = id, .zone = id, .region = "r1", .redis = {}});
  }
  t.primary = 0;
  t.local = 1;
  t.members[1].readiness = Readiness::kReady;
  return t;
}

// Next door at offset 100, which is current.
ReplicaSight at_100() {
  return {.member = 1, .reachable = true, .applied = 100, .current = 90, .bound = {}};
}

TEST_CASE("one Redis gets everything, on the right connection") {
  const Topology t = one();
  const SessionView s;
  const auto expect = [&](CommandId id, Channel channel, bool blocks = false) {
    INFO(command_row(id).name);
    CHECK(decide(t, s, row(id), {}, blocks) == Route{0, channel, Reason::kOnlyNode});
  };
  expect(CommandId::kGet, Channel::kReads);
  expect(CommandId::kScan, Channel::kReads);
  expect(CommandId::kTouch, Channel::kReads);
  expect(CommandId::kEvalRo, Channel::kReads);
  expect(CommandId::kInfo, Channel::kReads);
  expect(CommandId::kXread, Channel::kReads);
  expect(CommandId::kConfigSet, Channel::kReads);
  expect(CommandId::kSet, Channel::kWrites);
  expect(CommandId::kGetex, Channel::kWrites);
  expect(CommandId::kEval, Channel::kWrites);
  expect(CommandId::kPublish, Channel::kWrites);
  expect(CommandId::kPfcount, Channel::kWrites);
  expect(CommandId::kXreadgroup, Channel::kWrites);
  expect(CommandId::kMulti, Channel::kDedicated);
  expect(CommandId::kWatch, Channel::kDedicated);
  expect(CommandId::kBlpop, Channel::kDedicated);
  expect(CommandId::kSubscribe, Channel::kDedicated);
  expect(CommandId::kUnsubscribe, Channel::kDedicated);
  expect(CommandId::kWait, Channel::kDedicated);
  expect(CommandId::kMonitor, Channel::kDedicated);
  expect(CommandId::kPsync, Channel::kDedicated);
  expect(CommandId::kScriptKill, Channel::kDedicated);
  expect(CommandId::kScriptDebug, Channel::kDedicated);
  expect(CommandId::kXread, Channel::kDedicated, true);
  expect(CommandId::kXreadgroup, Channel::kDedicated, true);
  CHECK(decide(t, s, nullptr) == Route{0, Channel::kWrites, Reason::kOnlyNode});
}

TEST_CASE("what CLIENT PAUSE WRITE would postpone never shares a connection with reads") {
  for (const CommandRow& r : all_commands()) {
    INFO(r.name);
    if (has_flag(r, kWrite) || has_flag(r, kMayReplicate)) {
      CHECK(channel_of({}, &r) != Channel::kReads);
    }
  }
}

TEST_CASE("a module's command goes to the primary, a readonly one beside the reads") {
  const std::vector<BackendCommand> listed = {{"m.get", 2, {"readonly"}, 1, 1, 1},
                                              {"m.odd", 2, {}, 1, 1, 1}};
  const ExtraCommands extra(listed);
  const Topology t = three();
  CHECK(decide(t, {}, extra.find("m.get")) == Route{0, Channel::kReads, Reason::kNotReplicaSafe});
  CHECK(decide(t, {}, extra.find("m.odd")) == Route{0, Channel::kWrites, Reason::kPrimaryOnly});
  CHECK(decide(t, {}, nullptr) == Route{0, Channel::kWrites, Reason::kPrimaryOnly});
}

TEST_CASE("within MULTI or WATCH everything stays on the client's own connection") {
  for (const SessionView s : {SessionView{.in_multi = true}, SessionView{.watching = true}}) {
    for (const CommandRow* r :
         {row(CommandId::kGet), row(CommandId::kSet), static_cast<const CommandRow*>(nullptr)}) {
      CHECK(decide(one(), s, r) == Route{0, Channel::kDedicated, Reason::kOnlyNode});
      CHECK(decide(three(), s, r) == Route{0, Channel::kDedicated, Reason::kInTransaction});
    }
  }
}

TEST_CASE("a vacant group: nobody takes a command, but for eventual reads next door") {
  Topology t = three();
  t.primary = -1;
  for (const CommandRow& r : all_commands()) {
    INFO(r.name);
    const Route route = decide(t, {}, &r);
    CHECK(route.member == -1);
    CHECK(route.reason == Reason::kVacant);
    CHECK(route.channel == channel_of({}, &r));
  }
  CHECK(decide(t, {}, nullptr).member == -1);

  const SessionView eventual{.consistency = Consistency::kEventual};
  const auto reason = [&](const SessionView& s, CommandId id, bool blocks = false) {
    return decide(t, s, row(id), at_100(), blocks).reason;
  };
  CHECK(decide(t, eventual, row(CommandId::kGet), at_100()) ==
        Route{1, Channel::kReads, Reason::kReadLocal});
  CHECK(decide(t, eventual, row(CommandId::kGet)).reason == Reason::kVacant);
  CHECK(reason(eventual, CommandId::kSet) == Reason::kVacant);
  CHECK(reason(eventual, CommandId::kScan) == Reason::kVacant);
  CHECK(reason(eventual, CommandId::kXread, true) == Reason::kVacant);
  SessionView transaction = eventual;
  transaction.in_multi = true;
  CHECK(reason(transaction, CommandId::kGet) == Reason::kVacant);
  t.local = -1;
  CHECK(reason(eventual, CommandId::kGet) == Reason::kReadRegion);
}

TEST_CASE("a vacant group of one holds as well") {
  Topology t = one();
  t.primary = -1;
  CHECK(decide(t, {}, row(CommandId::kSet)) == Route{-1, Channel::kWrites, Reason::kVacant});
  CHECK(decide(t, {}, row(CommandId::kGet)) == Route{-1, Channel::kReads, Reason::kVacant});
}

TEST_CASE("no write is ever routed to a replica, whatever the session") {
  const Topology t = three();
  for (const CommandRow& r : all_commands()) {
    for (std::size_t level = 0; level < kConsistencyNames.size(); ++level) {
      const SessionView s{.consistency = static_cast<Consistency>(level)};
      INFO(r.name);
      if (r.place != Place::kAnywhere) CHECK(decide(t, s, &r).member == t.primary);
    }
  }
}

TEST_CASE("I4: the gate") {
  Topology t = three();
  SessionView s;
  ReplicaSight replica = at_100();
  const auto get = [&] { return decide(t, s, row(CommandId::kGet), replica); };
  const auto expect = [&](int member, Reason reason) {
    CHECK(get() == Route{member, Channel::kReads, reason});
  };
  expect(1, Reason::kReadLocal);

  SECTION("check 1: the replica is there, follows, and is nearly current") {
    SECTION("there is none") { replica.member = -1; }
    SECTION("no connection") { replica.reachable = false; }
    SECTION("it does not follow") { t.members[1].readiness = Readiness::kNotReady; }
    SECTION("too far behind") { replica.current = 101; }
    SECTION("nothing shows how far behind") { replica.current.reset(); }
    expect(0, Reason::kNotReady);
  }
  SECTION("eventual minds only that it can be reached") {
    s.consistency = Consistency::kEventual;
    t.members[1].readiness = Readiness::kNotReady;
    replica.current.reset();
    s.untagged = true;
    s.floor = {4, 1000};
    expect(1, Reason::kReadLocal);
    replica.reachable = false;
    expect(0, Reason::kNotReady);
  }
  SECTION("check 2: the floor covers all that the session has done and seen") {
    s.untagged = true;
    for (const Consistency level :
         {Consistency::kCausal, Consistency::kReadMyWrites, Consistency::kMonotonicReads}) {
      s.consistency = level;
      expect(0, Reason::kWriteInFlight);
    }
    s.consistency = Consistency::kConsistentPrefix;
    expect(1, Reason::kReadLocal);
  }
  SECTION("check 3: the floor is applied") {
    s.floor = {4, 100};
    expect(1, Reason::kReadLocal);
    s.floor = {4, 101};
    expect(0, Reason::kBehindFloor);
    s.consistency = Consistency::kMonotonicReads;
    expect(0, Reason::kBehindFloor);
    s.consistency = Consistency::kConsistentPrefix;
    expect(1, Reason::kReadLocal);
  }
  SECTION("offsets of different epochs are not compared") {
    s.floor = {3, 1};
    expect(0, Reason::kWriteInFlight);
    s.floor = {5, 1};
    expect(0, Reason::kWriteInFlight);
  }
  SECTION("strong always asks the primary") {
    s.consistency = Consistency::kStrong;
    expect(0, Reason::kPrimaryOnly);
  }
  SECTION("bounded staleness needs a proof of its own bound") {
    s.consistency = Consistency::kBoundedStaleness;
    expect(0, Reason::kStaleBound);
    replica.bound = 100;
    expect(1, Reason::kReadLocal);
    replica.bound = 101;
    expect(0, Reason::kStaleBound);
  }
  SECTION("another one of the region") {
    t.local = -1;
    expect(1, Reason::kReadRegion);
    s.floor = {4, 101};
    expect(0, Reason::kBehindFloor);
  }
  SECTION("the primary's own node needs no gate") {
    t.local = 0;
    s.untagged = true;
    s.floor = {4, 1000};
    expect(0, Reason::kReadLocal);
  }
  SECTION("read-only scripts, unless one has kept the replica busy of late") {
    for (const CommandId id : {CommandId::kEvalRo, CommandId::kEvalshaRo, CommandId::kFcallRo}) {
      CHECK(decide(t, s, row(id), replica) == Route{1, Channel::kReads, Reason::kReadLocal});
      replica.runs_scripts = false;
      CHECK(decide(t, s, row(id), replica) == Route{0, Channel::kReads, Reason::kNotReady});
      replica.runs_scripts = true;
    }
    CHECK(decide(t, s, row(CommandId::kEval), replica).reason == Reason::kPrimaryOnly);
  }
  SECTION("reads that a replica must not serve") {
    const auto reason = [&](CommandId id) { return decide(t, s, row(id), replica).reason; };
    CHECK(reason(CommandId::kScan) == Reason::kNotReplicaSafe);
    CHECK(reason(CommandId::kTouch) == Reason::kNotReplicaSafe);
    CHECK(reason(CommandId::kPfcount) == Reason::kNotReplicaSafe);
    CHECK(reason(CommandId::kObjectFreq) == Reason::kNotReplicaSafe);
    CHECK(reason(CommandId::kSet) == Reason::kPrimaryOnly);
    CHECK(reason(CommandId::kPublish) == Reason::kPrimaryOnly);
    CHECK(decide(t, s, row(CommandId::kXread), replica, true) ==
          Route{0, Channel::kDedicated, Reason::kNotReplicaSafe});
    CHECK(decide(t, s, row(CommandId::kXread), replica) ==
          Route{1, Channel::kReads, Reason::kReadLocal});
  }
}

TEST_CASE("the replica to read at: next door, else in the zone, else in the region") {
  Topology t = three();
  const auto member = [](const char* id, const char* zone, const char* region) {
    return Member{
        .id = id, .zone = zone, .region = region, .redis = {}, .readiness = Readiness::kReady};
  };
  t.members = {member("a1", "z1", "r1"), member("b1", "z2", "r1"), member("c1", "z3", "r1"),
               member("d1", "z3", "r1"), member("e1", "z9", "r2")};
  t.primary = 0;
  t.local = 1;
  const auto chosen = [&](const char* zone, const char* region = "r1", std::size_t salt = 0,
                          int avoided = -1) { return replica_for(t, zone, region, salt, avoided); };
  CHECK(chosen("z2") == 1);
  t.members[1].readiness = Readiness::kNotReady;
  CHECK(chosen("z2") == 2);
  CHECK(chosen("z2", "r1", 1) == 3);
  CHECK(chosen("z2", "r1", 0, 2) == 3);
  t.local = -1;
  CHECK(chosen("z3", "r1", 1) == 3);
  CHECK(chosen("z1") == -1);  // the primary is next door
  CHECK(chosen("z7", "r2") == 4);
  CHECK(chosen("z7", "r3") == -1);
  t.members[2].alive = t.members[3].alive = false;
  CHECK(chosen("z3") == -1);
  t.primary = -1;
  CHECK(chosen("z7", "r2") == -1);
  t.local = 1;
  CHECK(chosen("z2") == 1);
}

TEST_CASE("reasons and channels have names") {
  CHECK(to_string(Reason::kOnlyNode) == "only-node");
  CHECK(to_string(Reason::kPrimaryOnly) == "primary-only");
  CHECK(to_string(Reason::kReadLocal) == "read-local");
  CHECK(to_string(Reason::kReadRegion) == "read-region");
  CHECK(to_string(Reason::kNotReady) == "not-ready");
  CHECK(to_string(Reason::kInTransaction) == "in-transaction");
  CHECK(to_string(Reason::kWriteInFlight) == "write-in-flight");
  CHECK(to_string(Reason::kBehindFloor) == "behind-floor");
  CHECK(to_string(Reason::kStaleBound) == "stale-bound");
  CHECK(to_string(Reason::kNotReplicaSafe) == "not-replica-safe");
  CHECK(to_string(Reason::kVacant) == "vacant");
  CHECK(to_string(Channel::kReads) == "reads");
  CHECK(to_string(Channel::kDedicated) == "dedicated");
}

}  // namespace
}  // namespace azimuth
