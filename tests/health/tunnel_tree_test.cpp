#include "health/tunnel_tree.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "conf/limits.h"

namespace azimuth {
namespace {

constexpr Duration kRound = milliseconds(100);

// A group around one leader: orders come late, twice and in any order, nodes carry them out late,
// and tell of it late.
struct Group {
  struct Replica {
    TreeNode known;  // what the leader has of it
    bool alive = true, suspected = false, in_sync = true, leaving = false;
    std::string source;                   // where its tunnel leads
    TreeOrder carried;                    // newest order
    std::vector<TreeOrder> on_their_way;  // to it
    std::uint64_t offset = 1000;
    bool copying = false;
  };

  Instant now{1'000'000};
  TunnelTree tree{now};
  TreeSight sight;
  std::map<std::string, Replica> replicas;
  std::vector<TreeChange> changes;  // of the last round

  explicit Group(std::size_t needed = 1) {
    sight.zone = "a";
    sight.region = "r";
    sight.direct_needed = needed;
  }
  void add(const std::string& id, const std::string& zone, const std::string& region = "r",
           bool in_sync = true) {
    Replica& added = replicas[id];
    added.known.id = id;
    added.known.zone = zone;
    added.known.region = region;
    added.in_sync = in_sync;
  }

  // Carries out what has come, the newest alone.
  void hear(Replica& replica) {
    for (const TreeOrder& order : replica.on_their_way) {
      if (order.version <= replica.carried.version) continue;
      replica.carried = order;
      replica.source = order.source;
    }
    replica.on_their_way.clear();
  }
  void tell(Replica& replica) {
    replica.known.heard = true;
    replica.known.in_sync = replica.in_sync;
    replica.known.leaving = replica.leaving;
    replica.known.copying = replica.copying;
    replica.known.offset = replica.offset;
    replica.known.version = replica.carried.version;
    replica.known.source = replica.source;
  }
  void decide() {
    sight.nodes.clear();
    for (auto& [id, replica] : replicas) {
      replica.known.alive = replica.alive && !replica.suspected;
      sight.nodes.push_back(replica.known);
    }
    changes = tree.update(now, sight);
    for (auto& [id, replica] : replicas) {
      const TreeOrder order = tree.order_of(id);
      if (order.version != 0) replica.on_their_way.push_back(order);
    }
  }
  void round() {
    now = now + kRound;
    decide();
    for (auto& [id, replica] : replicas) {
      replica.known.heard = false;  // what it told last is too old
      if (!replica.alive) continue;
      hear(replica);
      tell(replica);
    }
  }
  void pass(Duration how_long) {
    for (const Instant end = now + how_long; now < end;) round();
  }

  std::map<std::string, std::string> sources() const {
    std::map<std::string, std::string> found;
    for (const auto& [id, replica] : replicas) found[id] = replica.source;
    return found;
  }
  // Hops to the primary; 0: none leads there.
  std::size_t depth(const std::string& id) const {
    std::size_t hops = 1;
    for (std::string at = replicas.at(id).source; !at.empty(); at = replicas.at(at).source) {
      if (++hops > replicas.size() + 1 || !replicas.contains(at)) return 0;
    }
    return hops;
  }
  bool fit(const Replica& replica) const {
    return replica.alive && replica.in_sync && !replica.leaving;
  }
};

using Sources = std::map<std::string, std::string>;

}  // namespace

TEST_CASE("a zone of the same region has one head, and another region one for all of it") {
  Group group;
  group.add("a2", "a");
  for (const char* id : {"b1", "b2", "b3"}) group.add(id, "b");
  for (const char* id : {"f1", "f2"}) group.add(id, "f", "far");
  for (const char* id : {"g1", "g2"}) group.add(id, "g", "far");
  group.pass(milliseconds(2500));
  CHECK(group.sources() == Sources{{"a2", ""},
                                   {"b1", ""},
                                   {"b2", ""},
                                   {"b3", ""},
                                   {"f1", ""},
                                   {"f2", ""},
                                   {"g1", ""},
                                   {"g2", ""}});
  group.pass(seconds(20));
  CHECK(group.sources() == Sources{{"a2", ""},
                                   {"b1", ""},
                                   {"b2", "b1"},
                                   {"b3", "b1"},
                                   {"f1", ""},
                                   {"f2", "f1"},
                                   {"g1", "f1"},
                                   {"g2", "g1"}});
  CHECK(group.depth("g2") == 3);
  // Nothing moves any more.
  for (int i = 0; i < 100; ++i) {
    group.round();
    CHECK(group.changes.empty());
  }
}

TEST_CASE("as many replicate straight from the primary as quorum needs, and one more") {
  for (std::size_t needed = 0; needed < 7; ++needed) {
    INFO("needed " << needed);
    Group group(needed);
    for (const char* id : {"b1", "b2", "b3", "c1", "c2", "c3"})
      group.add(id, id[0] == 'b' ? "b" : "c");
    group.pass(seconds(30));
    const Sources sources = group.sources();
    const auto direct = std::count_if(sources.begin(), sources.end(),
                                      [](const auto& each) { return each.second.empty(); });
    const auto in_b = std::count_if(sources.begin(), sources.end(), [](const auto& each) {
      return each.second.empty() && each.first[0] == 'b';
    });
    // Either zone may go, too, where the other one has enough.
    const std::vector<std::pair<long, long>> wanted = {{2, 1}, {2, 1}, {4, 2}, {6, 3},
                                                       {6, 3}, {6, 3}, {6, 3}};
    CHECK(std::pair(static_cast<long>(direct), static_cast<long>(in_b)) == wanted[needed]);
  }
}

TEST_CASE("a source that is lost is left at once, and its place is taken by the next") {
  Group group;
  group.add("a2", "a");
  for (const char* id : {"b1", "b2", "b3"}) group.add(id, "b");
  group.pass(seconds(20));
  REQUIRE(group.replicas.at("b2").source == "b1");
  SECTION("it is dead") {
    group.replicas.at("b1").alive = false;
    group.round();
  }
  SECTION("its link is down") { group.replicas.at("b1").in_sync = false; }
  SECTION("it is about to leave") { group.replicas.at("b1").leaving = true; }
  SECTION("it was taken out") { group.replicas.erase("b1"); }
  group.round();
  group.round();
  CHECK(group.replicas.at("b2").source.empty());
  CHECK(group.replicas.at("b3").source.empty());
  group.pass(seconds(20));
  CHECK(group.replicas.at("b2").source.empty());
  CHECK(group.replicas.at("b3").source == "b2");
  if (!group.replicas.contains("b1")) return;
  // It comes back, and is one of them: the head stays.
  group.replicas.at("b1").alive = group.replicas.at("b1").in_sync = true;
  group.replicas.at("b1").leaving = false;
  group.pass(seconds(20));
  CHECK(group.replicas.at("b1").source == "b2");
  CHECK(group.replicas.at("b3").source == "b2");
}

TEST_CASE("a suspicion breaks no copy off, neither of the source nor of who copies") {
  Group group;
  group.add("a2", "a");
  for (const char* id : {"b1", "b2"}) group.add(id, "b");
  group.pass(seconds(20));
  group.add("b3", "b", "r", false);
  group.replicas.at("b3").copying = true;
  group.pass(seconds(5));
  REQUIRE(group.replicas.at("b3").source == "b1");
  for (const char* id : {"b1", "b3"}) {
    group.replicas.at(id).suspected = true;
    group.pass(seconds(2));
    CHECK(group.replicas.at("b3").source == "b1");
    group.replicas.at(id).suspected = false;
    group.pass(seconds(2));
    CHECK(group.replicas.at("b3").source == "b1");
  }
}

TEST_CASE("a new member gets its first copy from the head of its zone") {
  Group group;
  group.add("a2", "a");
  for (const char* id : {"b1", "b2"}) group.add(id, "b");
  group.pass(seconds(20));
  group.add("b3", "b", "r", false);
  group.decide();
  CHECK(group.tree.order_of("b3").source == "b1");
  REQUIRE(group.changes.size() == 1);
  CHECK(group.changes[0].why == "its first place");
  // As long as it copies it stays there, however long that takes.
  group.replicas.at("b3").copying = true;
  group.pass(seconds(60));
  CHECK(group.replicas.at("b3").source == "b1");
  // But not when nothing comes; and it does not come back there at once.
  group.replicas.at("b3").copying = false;
  group.pass(seconds(11));
  CHECK(group.replicas.at("b3").source.empty());
  group.replicas.at("b3").in_sync = true;
  group.pass(seconds(30));
  CHECK(group.replicas.at("b3").source.empty());
  group.pass(seconds(40));
  CHECK(group.replicas.at("b3").source == "b1");
}

TEST_CASE("at the start of an epoch nobody is sent away from the primary") {
  Group group;
  for (const char* id : {"b1", "b2", "b3", "b4"}) group.add(id, "b", "r", id[1] == '1');
  group.pass(seconds(10));
  for (const auto& [id, source] : group.sources()) CHECK(source.empty());
}

TEST_CASE("who is far apart, quiet times and an older release are left alone") {
  Group group;
  group.add("a2", "a");
  group.add("b1", "b");
  group.add("b2", "b");
  SECTION("its offset is too far from the head's") {
    group.replicas.at("b2").offset += 2 * kTunnelMoveLagBytesMax;
  }
  SECTION("a hand-over is under way") { group.sight.quiet = true; }
  SECTION("it is not wanted") { group.sight.wanted = false; }
  SECTION("it knows of no sources") { group.replicas.at("b2").known.able = false; }
  group.pass(seconds(20));
  CHECK(group.replicas.at("b2").source.empty());
}

TEST_CASE("a chain is undone when it is not wanted any more") {
  Group group;
  group.add("a2", "a");
  for (const char* id : {"b1", "b2"}) group.add(id, "b");
  group.pass(seconds(20));
  REQUIRE(group.replicas.at("b2").source == "b1");
  group.sight.wanted = false;
  group.pass(seconds(5));
  CHECK(group.replicas.at("b2").source.empty());
}

TEST_CASE("nobody feeds from one that may still feed from it") {
  Group group;
  group.add("a2", "a");
  for (const char* id : {"b1", "b2"}) group.add(id, "b");
  group.pass(seconds(20));
  Group::Replica &b1 = group.replicas.at("b1"), &b2 = group.replicas.at("b2");
  REQUIRE(b2.source == "b1");
  b1.alive = b1.in_sync = b1.known.in_sync = false;
  group.decide();
  CHECK(group.tree.order_of("b2").source.empty());
  // That order is late, when b1 is back, and b2 the one that is in sync in their zone.
  b1.alive = true;
  for (int i = 0; i < 5; ++i) {
    group.now = group.now + kRound;
    group.decide();
    CHECK(group.tree.order_of("b1").source.empty());
  }
}

TEST_CASE("who needs more copies gets them at once") {
  Group group;
  group.add("a2", "a");
  for (const char* id : {"b1", "b2", "b3"}) group.add(id, "b");
  group.pass(seconds(20));
  REQUIRE(group.replicas.at("b3").source == "b1");
  group.sight.direct_needed = 3;
  group.round();
  CHECK(group.replicas.at("b2").source.empty());
  CHECK(group.replicas.at("b3").source.empty());
}

TEST_CASE("a leader that has restarted takes the tree as it is") {
  Group group;
  group.add("a2", "a");
  for (const char* id : {"b1", "b2", "b3"}) group.add(id, "b");
  group.pass(seconds(20));
  const Sources before = group.sources();
  group.tree = TunnelTree(group.now);
  for (auto& [id, replica] : group.replicas) {
    replica.known.heard = replica.known.in_sync = false;
    replica.carried = {};
    replica.on_their_way.clear();
  }
  for (int i = 0; i < 100; ++i) {
    group.round();
    CHECK(group.changes.empty());
  }
  CHECK(group.sources() == before);
}

// Random groups and events. Whatever was lost or late: tunnels never make a ring; and once nothing
// happens any more, all is as it should be.
TEST_CASE("no ring ever, and a good tree in the end") {
  for (unsigned seed = 0; seed < 400; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const auto below = [&](std::size_t most) { return random() % most; };
    Group group(below(5));
    const std::size_t members = 1 + below(10);
    const std::size_t slowness = 1 + below(30);  // of what is on its way
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < members; ++i) {
      const std::size_t zone = below(4);
      ids.push_back("n" + std::to_string(i));
      group.add(ids.back(), std::string(1, static_cast<char>('a' + zone)), zone == 3 ? "far" : "r",
                below(4) != 0);
      group.replicas.at(ids.back()).known.votes = below(5) != 0;
    }
    for (int step = 0; step < 600; ++step) {
      group.now = group.now + milliseconds(static_cast<std::int64_t>(below(300)));
      if (group.replicas.empty()) break;
      auto chosen = group.replicas.begin();
      std::advance(chosen, below(group.replicas.size()));
      Group::Replica& replica = chosen->second;
      switch (below(12)) {
        case 0:
        case 6:
          replica.alive = !replica.alive;
          break;
        case 7:  // it comes back, and has to catch up
          replica.alive = true;
          replica.in_sync = replica.known.in_sync = false;
          break;
        case 8:
          replica.in_sync = true;
          break;
        case 1:
          replica.in_sync = !replica.in_sync;
          break;
        case 2:
          replica.leaving = below(4) == 0;
          break;
        case 3:
          group.sight.direct_needed = below(5);
          break;
        case 4:  // its process restarts
          replica.carried = {};
          replica.source.clear();
          replica.on_their_way.clear();
          break;
        case 5:
          replica.offset += below(1000);
          break;
        default:
          break;
      }
      group.decide();
      for (auto& [id, each] : group.replicas) {
        std::shuffle(each.on_their_way.begin(), each.on_their_way.end(), random);
        if (below(slowness) == 0) group.hear(each);
        if (below(3) == 0 && each.alive) group.tell(each);
      }
      for (const auto& [id, each] : group.replicas) REQUIRE(group.depth(id) != 0);
    }
    // Peace.
    for (auto& [id, each] : group.replicas) {
      each.alive = each.in_sync = true;
      each.leaving = false;
    }
    group.pass(seconds(200));
    const Sources settled = group.sources();
    group.pass(seconds(10));
    CHECK(group.sources() == settled);
    std::map<std::string, std::size_t> direct_in, all_in;
    std::size_t direct = 0, outside = 0;
    for (const auto& [id, each] : group.replicas) {
      CHECK(group.depth(id) >= 1);
      CHECK(group.depth(id) <= kTunnelDepthMax);
      const std::string& zone = each.known.zone;
      ++all_in[zone];
      direct_in[zone] += each.source.empty();
      direct += each.source.empty();
      outside += each.source.empty() && zone != "a";
    }
    CHECK(direct_in["a"] == all_in["a"]);
    const std::size_t needed = group.sight.direct_needed, all = group.replicas.size();
    if (needed > 0) CHECK(direct >= std::min(needed + 1, all));
    std::size_t heads = 0;
    bool tight = needed > 0 && direct <= needed + 1;
    for (const auto& [zone, count] : all_in) {
      heads += zone != "a" && count > 0;
      if (zone == "a" || needed == 0) continue;
      const std::size_t without = direct - direct_in[zone];
      CHECK(without >= std::min(needed, all - count));
      tight = tight || without <= std::min(needed, all - count);
    }
    // No more cross the boundary than one a zone, but for what `quorum` needs.
    if (outside > heads) CHECK(tight);
  }
}

}  // namespace azimuth
