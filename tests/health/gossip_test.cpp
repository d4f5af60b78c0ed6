// Gossip: joining, detection, refutation, dissemination, two nodes of one id; on a network in
// virtual time.
#include "health/gossip.h"

#include <catch2/catch.hpp>

#include "conf/limits.h"
#include "tests/health/gossip_network.h"

using namespace azimuth;
using namespace azimuth::gossip_test;

namespace {

// A group in which everybody knows everybody.
void form(Network& network, int count) {
  network.start_many(count);
  REQUIRE(network.run_until(seconds(20), [&] { return network.alive_everywhere(); }));
  network.run(seconds(1));
  network.forget_seen();
}

}  // namespace

TEST_CASE("nodes that start together find each other through their seeds") {
  for (const int count : {2, 3, 5, 30}) {
    Network network(static_cast<std::uint64_t>(count));
    network.start_many(count);
    CHECK(network.run_until(seconds(2), [&] { return network.alive_everywhere(); }));
    network.run(seconds(5));
    CHECK(network.alive_everywhere());
    CHECK(network.count(News::kSuspect) == 0);
  }
}

TEST_CASE("a seed that starts late, or is down, does not keep the others apart") {
  Network network(1);
  for (const char* id : {"b", "c"}) {
    network.start(id, {Network::address("a"), Network::address("b"), Network::address("c")});
  }
  CHECK(network.run_until(seconds(3), [&] { return network.alive_everywhere(); }));
  network.start("a", {Network::address("b")});
  CHECK(network.run_until(seconds(3), [&] { return network.alive_everywhere(); }));
}

TEST_CASE("two groups that formed apart become one when a seed joins them") {
  Network network(2);
  for (const char* id : {"a", "b"}) network.start(id, {Network::address("a")});
  for (const char* id : {"c", "d"}) network.start(id, {Network::address("c")});
  network.run(seconds(3));
  REQUIRE_FALSE(network.alive_everywhere());
  network.gossip("b").set_seeds({Network::address("d")});
  network.touched("b");
  CHECK(network.run_until(seconds(5), [&] { return network.alive_everywhere(); }));
}

TEST_CASE("a node joins a large group by pages, in spite of loss") {
  Network network(3);
  form(network, 100);
  network.loss = 0.2;
  network.start("new", {Network::address("n7")});
  CHECK(
      network.run_until(seconds(10), [&] { return network.gossip("new").nodes().size() == 100; }));
  CHECK(network.run_until(seconds(10),
                          [&] { return network.everywhere("new", NodeStatus::kAlive); }));
  for (auto& [name, node] : network.nodes()) CHECK(node.longest <= kGossipPacketBytesMax);
}

TEST_CASE("a killed node is found dead by all, and not sooner than it could have refuted") {
  struct Row {
    int nodes;
    Duration most;
  };
  for (const Row row : {Row{3, milliseconds(1500)}, Row{5, milliseconds(2200)},
                        Row{30, milliseconds(3500)}, Row{100, milliseconds(4000)}}) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      INFO(row.nodes << " nodes, seed " << seed);
      Network network(seed);
      form(network, row.nodes);
      const Instant killed = network.now();
      network.kill("n1");
      CHECK(
          network.run_until(row.most, [&] { return network.everywhere("n1", NodeStatus::kDead); }));
      for (auto& [name, node] : network.nodes()) {
        for (const Seen& seen : node.seen) {
          REQUIRE(seen.id == "n1");
          if (seen.news == News::kDead) CHECK((seen.at - killed).ms >= 600);
        }
      }
      CHECK(network.count(News::kDead, "n1") == row.nodes - 1);
      CHECK(network.count(News::kSuspect, "n1") >= 1);
    }
  }
}

TEST_CASE("loss, jitter and pauses kill nobody") {
  for (const int count : {3, 5, 30}) {
    INFO(count << " nodes");
    Network network(static_cast<std::uint64_t>(40 + count));
    form(network, count);
    network.loss = 0.1;
    network.jitter = milliseconds(50);
    for (int round = 0; round < 240; ++round) {
      const auto one = network.random()() % static_cast<std::uint64_t>(count);
      network.pause("n" + std::to_string(one), milliseconds(300));
      network.run(milliseconds(500));
    }
    CHECK(network.count(News::kDead) == 0);
    // Suspicions there may be; each is refuted soon.
    network.loss = 0;
    CHECK(network.run_until(seconds(3), [&] { return network.alive_everywhere(); }));
  }
}

TEST_CASE("a node that was paused blames itself, not the others") {
  Network network(5);
  form(network, 5);
  network.pause("n2", seconds(4));
  network.run(milliseconds(4050));
  for (const Seen& seen : network.at("n2").seen) CHECK(seen.news != News::kSuspect);
  CHECK(network.gossip("n2").local_health() > 0);
  network.forget_seen();
  // The others had declared it dead by then: it hears of it, and refutes.
  CHECK(network.run_until(seconds(2), [&] { return network.alive_everywhere(); }));
  CHECK(network.gossip("n2").self().incarnation > 0);
}

TEST_CASE("a suspect refutes before it is declared dead, and everybody hears it") {
  Network network(6);
  form(network, 10);
  network.pause("n4", milliseconds(700));
  CHECK(network.run_until(seconds(1), [&] { return network.count(News::kSuspect, "n4") > 0; }));
  CHECK(
      network.run_until(seconds(2), [&] { return network.everywhere("n4", NodeStatus::kAlive); }));
  CHECK(network.count(News::kDead) == 0);
  CHECK(network.gossip("n4").self().incarnation >= 1);
  for (auto& [name, node] : network.nodes()) {
    if (name != "n4") {
      CHECK(node.gossip->find("n4")->incarnation == network.gossip("n4").self().incarnation);
    }
  }
}

TEST_CASE("a cut between two nodes, either way or both, is bridged by the others") {
  for (const int way : {0, 1, 2}) {
    Network network(static_cast<std::uint64_t>(70 + way));
    form(network, 5);
    if (way != 1) network.cut("n0", "n1");
    if (way != 0) network.cut("n1", "n0");
    network.run(seconds(20));
    CHECK(network.count(News::kDead) == 0);
    CHECK(network.count(News::kSuspect) == 0);
  }
}

TEST_CASE("a node that hears nothing is found dead although it speaks") {
  Network network(8);
  form(network, 5);
  for (auto& [name, node] : network.nodes()) network.cut(name, "n3");
  CHECK(network.run_until(seconds(8), [&] {
    for (const char* at : {"n0", "n1", "n2", "n4"}) {
      if (network.status(at, "n3") != NodeStatus::kDead) return false;
    }
    return true;
  }));
}

TEST_CASE("the two sides of a partition find each other again") {
  Network network(9);
  form(network, 6);
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j) {
      if (i / 3 != j / 3) network.cut("n" + std::to_string(i), "n" + std::to_string(j));
    }
  }
  network.run(seconds(10));
  CHECK(network.status("n0", "n5") == NodeStatus::kDead);
  CHECK(network.status("n5", "n0") == NodeStatus::kDead);
  CHECK(network.status("n0", "n2") == NodeStatus::kAlive);
  network.cuts.clear();
  CHECK(network.run_until(seconds(5), [&] { return network.alive_everywhere(); }));
}

TEST_CASE("a restarted node is taken back at once, with its new boot") {
  for (const bool detected : {false, true}) {
    Network network(10);
    form(network, 5);
    network.kill("n1");
    if (detected) network.run(seconds(5));
    CHECK(network.everywhere("n1", NodeStatus::kDead) == detected);
    network.start("n1", {Network::address("n3")});
    const std::uint64_t boot = network.gossip("n1").self().boot;
    CHECK(network.run_until(seconds(1), [&] {
      for (auto& [name, node] : network.nodes()) {
        if (name == "n1") continue;
        const NodeRecord* found = node.gossip->find("n1");
        if (found->boot != boot || found->status != NodeStatus::kAlive) return false;
      }
      return network.alive_everywhere();
    }));
    CHECK(network.count(News::kIdTaken) == 0);
  }
}

TEST_CASE("a node that moved to another address is taken back when the old one is gone") {
  Network network(11);
  form(network, 4);
  network.kill("n1");
  network.start("n1 moved", Network::record("n1", "elsewhere:7380"), {Network::address("n0")});
  CHECK(network.run_until(seconds(2), [&] {
    for (const char* at : {"n0", "n2", "n3"}) {
      if (network.gossip(at).find("n1")->address != "elsewhere:7380") return false;
      if (network.status(at, "n1") != NodeStatus::kAlive) return false;
    }
    return true;
  }));
  CHECK(network.count(News::kIdTaken) == 0);
}

TEST_CASE("a second node of one id falls silent, both say so, and the record does not flap") {
  Network network(12);
  form(network, 4);
  network.run(seconds(2));
  const std::uint64_t boot = network.gossip("n1").self().boot;
  network.start("twin", Network::record("n1", "twin:7380"), {Network::address("n0")});
  for (int i = 0; i < 200; ++i) {
    network.run(milliseconds(100));
    for (const char* at : {"n0", "n2", "n3"}) {
      REQUIRE(network.gossip(at).find("n1")->boot == boot);
      REQUIRE(network.status(at, "n1") == NodeStatus::kAlive);
    }
  }
  const auto taken = [&](const std::string& name) {
    std::string text;
    for (const Seen& seen : network.at(name).seen) {
      if (seen.news == News::kIdTaken) text = seen.text;
    }
    return text;
  };
  CHECK(taken("twin").find("n1.test:7380") != std::string::npos);
  CHECK(taken("twin").find("twin:7380") != std::string::npos);
  CHECK(taken("n1").find("twin:7380") != std::string::npos);
  CHECK(network.gossip("twin").id_taken());
  CHECK_FALSE(network.gossip("n1").id_taken());
  // The first one goes: its id is free, and the twin comes in by itself.
  network.kill("n1");
  CHECK(network.run_until(seconds(20), [&] {
    const NodeRecord* found = network.gossip("n0").find("n1");
    return found->address == "twin:7380" && found->status == NodeStatus::kAlive;
  }));
}

TEST_CASE("two processes with one id and one address do not outbid each other for ever") {
  Network network(13);
  form(network, 4);
  NodeRecord copy = Network::record("n1", "copy:7380");
  network.start("copy", copy, {Network::address("n0")});
  // Its settings tell the others the first one's address.
  copy.address = Network::address("n1");
  network.gossip("copy").update_self(copy);
  network.touched("copy");
  network.run(seconds(10));
  CHECK(network.count(News::kIdTaken) >= 1);
  network.run(seconds(20));
  CHECK(network.gossip("n0").find("n1")->incarnation < 60);
}

TEST_CASE("a node that leaves is gone at once, for all, and is not called dead") {
  Network network(14);
  form(network, 30);
  network.gossip("n9").leave(network.now(), network.random()());
  network.touched("n9");
  CHECK(network.gossip("n9").next_wakeup() == kNever);
  CHECK(network.run_until(seconds(2), [&] { return network.everywhere("n9", NodeStatus::kLeft); }));
  network.run(seconds(10));
  CHECK(network.count(News::kDead) == 0);
  CHECK(network.count(News::kSuspect) == 0);
  CHECK(network.count(News::kLeft, "n9") == 29);
  network.kill("n9");
  network.start("n9", {Network::address("n0")});
  CHECK(network.run_until(seconds(2), [&] { return network.alive_everywhere(); }));
}

TEST_CASE("a change of facts reaches everybody, quickly and once") {
  for (const int count : {3, 30}) {
    Network network(static_cast<std::uint64_t>(150 + count));
    form(network, count);
    NodeRecord facts = network.gossip("n2").self();
    facts.epoch = 7;
    facts.leader = "n0";
    facts.replid = "0123456789012345678901234567890123456789";
    facts.redis_ready = true;
    facts.redis_empty = false;
    facts.readable = true;
    facts.has_state = true;
    network.gossip("n2").update_self(facts);
    network.touched("n2");
    const auto known = [&] {
      for (auto& [name, node] : network.nodes()) {
        if (name == "n2") continue;
        NodeRecord found = *node.gossip->find("n2");
        found.offset = network.gossip("n2").self().offset;
        if (found != network.gossip("n2").self()) return false;
      }
      return true;
    };
    CHECK(network.run_until(milliseconds(count == 3 ? 60 : 1000), known));
    network.run(seconds(5));
    CHECK(network.count(News::kUpdated, "n2") == count - 1);
  }
}

TEST_CASE("an offset that moves all the time is known, and floods nobody") {
  Network network(16);
  form(network, 10);
  const auto sent = [&] {
    std::uint64_t packets = 0;
    for (auto& [name, node] : network.nodes()) packets += node.sent_packets;
    return packets;
  };
  const std::uint64_t before = sent();
  network.run(seconds(10));
  const std::uint64_t quiet = sent() - before;
  const std::uint32_t version = network.gossip("n0").self().version;
  for (int i = 0; i < 1000; ++i) {
    NodeRecord facts = network.gossip("n0").self();
    facts.offset += 1000;
    network.gossip("n0").update_self(facts);
    network.touched("n0");
    network.run(milliseconds(10));
  }
  CHECK(network.gossip("n0").self().version == version);
  CHECK(sent() - before - quiet < quiet + quiet / 10);
  CHECK(network.count(News::kUpdated) == 0);
  network.run(seconds(5));
  for (auto& [name, node] : network.nodes()) {
    if (name == "n0") continue;
    CHECK(node.gossip->find("n0")->offset > 0);
  }
}

TEST_CASE("what a node sends does not grow with the group") {
  std::map<int, double> bytes;
  for (const int count : {3, 30, 120}) {
    Network network(static_cast<std::uint64_t>(17 + count));
    form(network, count);
    network.run(seconds(15));  // until all have been told of all
    for (auto& [name, node] : network.nodes()) node.sent_bytes = 0;
    const Instant from = network.now();
    network.run(seconds(10));
    double sum = 0;
    for (auto& [name, node] : network.nodes()) sum += static_cast<double>(node.sent_bytes);
    bytes[count] = sum / count / static_cast<double>((network.now() - from).ms) * 1000;
    CHECK(network.count(News::kSuspect) == 0);
    CHECK(bytes[count] < 2000);
  }
  CHECK(bytes[120] < bytes[30] * 1.3 + 100);
  CHECK(bytes[30] < bytes[3] * 1.6 + 300);
}

TEST_CASE("nodes of another region are watched, less often and with more patience") {
  Network network(18);
  network.delay = milliseconds(120);  // a round trip longer than the time for a probe at home
  const auto region_of = [](int i) { return i < 4 ? "near" : "far"; };
  for (int i = 0; i < 8; ++i) {
    const std::string id = "n" + std::to_string(i);
    NodeRecord own = Network::record(id, Network::address(id));
    own.region = region_of(i);
    network.start(id, own, {Network::address("n0"), Network::address("n4")});
  }
  network.times.probe_interval = milliseconds(200);
  REQUIRE(network.run_until(seconds(20), [&] { return network.alive_everywhere(); }));
  network.delay = milliseconds(40);
  network.run(seconds(10));
  network.forget_seen();
  network.run(seconds(20));
  CHECK(network.count(News::kDead) == 0);
  network.kill("n6");
  CHECK(
      network.run_until(seconds(10), [&] { return network.everywhere("n6", NodeStatus::kDead); }));
  for (int i = 4; i < 8; ++i) {
    if (i != 6) network.kill("n" + std::to_string(i));
  }
  // Nobody of that region is left to tell: the others find out by themselves.
  CHECK(network.run_until(seconds(60), [&] {
    for (int i = 4; i < 8; ++i) {
      if (network.status("n1", "n" + std::to_string(i)) != NodeStatus::kDead) return false;
    }
    return true;
  }));
}

TEST_CASE("evidence from elsewhere excuses missing answers, but not for ever") {
  Network network(19);
  form(network, 2);
  network.cut("n0", "n1");
  network.cut("n1", "n0");
  bool excused = true;
  for (int i = 0; i < 60; ++i) {
    network.gossip("n0").on_heard(network.now(), "n1");
    network.run(milliseconds(50));
    if (i == 12) excused = network.status("n0", "n1") == NodeStatus::kAlive;
  }
  CHECK(excused);
  CHECK(network.run_until(seconds(5),
                          [&] { return network.status("n0", "n1") == NodeStatus::kDead; }));
}

TEST_CASE("I9: garbage, and packets cut short, change nothing") {
  Network network(20);
  form(network, 3);
  Gossip& gossip = network.gossip("n0");
  gossip.update_self(gossip.self());
  network.gossip("n1").on_tick(network.now() + seconds(1), 1);
  const GossipOutbox outbox = network.gossip("n1").take_outbox();
  REQUIRE_FALSE(outbox.packets.empty());
  const auto before = *gossip.find("n1");
  const auto size = gossip.nodes().size();
  for (const auto& packet : outbox.packets) {
    for (std::size_t cut = 0; cut < packet.bytes.size(); ++cut) {
      const std::string part = packet.bytes.substr(0, cut);
      gossip.on_packet(network.now(), "x:1", part, 1);
    }
    for (std::size_t i = 0; i < packet.bytes.size(); ++i) {
      for (const char bit : {'\x01', '\x80'}) {
        std::string altered = packet.bytes;
        altered[i] = static_cast<char>(altered[i] ^ bit);
        gossip.on_packet(network.now(), "x:1", altered + "\xFF", 1);
      }
    }
  }
  (void)gossip.take_outbox();
  CHECK(*gossip.find("n1") == before);
  CHECK(gossip.nodes().size() == size);
}

TEST_CASE("I8: however many nodes are told of, memory is bounded") {
  Gossip gossip(Network::record("me", "me:1"), GossipTimes{}, Instant{0});
  for (int i = 0; i < static_cast<int>(kGossipNodesMax) + 500; ++i) {
    const std::string id = "x" + std::to_string(i);
    Gossip other(Network::record(id, id + ":1"), GossipTimes{}, Instant{0});
    other.set_seeds({"me:1"});
    other.on_tick(Instant{1}, 1);
    for (const auto& packet : other.take_outbox().packets) {
      gossip.on_packet(Instant{1}, id + ":1", packet.bytes, 1);
    }
    (void)gossip.take_outbox();
  }
  CHECK(gossip.nodes().size() == kGossipNodesMax);
}
