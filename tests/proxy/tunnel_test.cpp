// Tunnels: a real redis-server replicates from another through a tunnel port, a link and a relay.
#include "proxy/peer/tunnel.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "conf/limits.h"
#include "tests/proxy/link_stage.h"

using namespace azimuth;
using namespace azimuth::stage;

namespace {

constexpr std::uint64_t kEpoch = 3;

struct Zones {
  RedisServer primary, replica;
  Loop loop;
  Lease lease;
  LinkMetrics relay_metrics;
  Relays relays;
  Node far, near;
  std::string refused;

  Zones()
      : relays(&loop.loop, relay_metrics, lease, primary.address()),
        far(loop, settings_of("far"), &relays, true),
        near(loop, settings_of("near")) {
    relays.set_tunnel_epoch(kEpoch);
    // The first replica that a fresh Redis sees makes it choose its lineage's name anew.
    primary.ask("PSYNC ? -1");
  }
  ~Zones() {
    near.links.close();
    far.links.close();
    relays.close();
  }
  TunnelListener::Hooks hooks() {
    return {.on_refused = [this](std::uint64_t, const std::string& why) { refused = why; }};
  }
  std::string replid() const { return field(primary, "master_replid"); }
  static std::string field(const RedisServer& redis, const std::string& name) {
    const std::string info = redis.ask("INFO everything");
    const std::size_t at = info.find("\n" + name + ":");
    if (at == std::string::npos) return {};
    const std::size_t from = at + name.size() + 2;
    return info.substr(from, info.find('\r', from) - from);
  }
  void replicate(std::uint16_t port) const {
    REQUIRE(replica.ask("REPLICAOF 127.0.0.1 " + std::to_string(port)) == "+OK\r\n");
  }
  bool linked() { return field(replica, "master_link_status") == "up"; }
  bool replica_has(const std::string& key, const std::string& value) {
    return replica.ask("GET " + key) ==
           "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
  }
};

}  // namespace

TEST_CASE("a replica copies and follows its primary through a tunnel") {
  Zones zones;
  zones.primary.ask("SET before 1");
  TunnelListener tunnel(zones.near.links, kEpoch, {}, zones.hooks());
  const auto port = tunnel.open();
  REQUIRE(port.ok());
  // Redis dials before the leader is known: it is held, not refused.
  zones.replicate(*port);
  REQUIRE(zones.loop.until([&] { return tunnel.connections() == 1; }));
  CHECK(zones.far.metrics.links_accepted.get() == 0);
  tunnel.set_source(zones.far.address, "far", zones.replid());
  REQUIRE(zones.loop.until([&] { return zones.linked(); }));
  zones.primary.ask("SET after 2");
  REQUIRE(zones.loop.until([&] { return zones.replica_has("after", "2"); }));
  CHECK(zones.replica_has("before", "1"));
  const std::string copies = zones.field(zones.primary, "sync_full");

  // A link that breaks costs a partial sync.
  zones.relays.refuse(StreamKind::kTunnel, kEpoch);
  REQUIRE(zones.loop.until([&] { return tunnel.connections() == 0; }));
  zones.primary.ask("SET later 3");
  REQUIRE(zones.loop.until([&] { return zones.replica_has("later", "3"); }));
  CHECK(zones.field(zones.primary, "sync_full") == copies);
  CHECK(zones.field(zones.primary, "sync_partial_ok") == "1");
  CHECK(zones.refused.empty());
}

TEST_CASE("a large copy and the writes beside it arrive whole") {
  Zones zones;
  zones.primary.ask("DEBUG POPULATE 20000 key 1000");
  TunnelListener tunnel(zones.near.links, kEpoch, {}, zones.hooks());
  const auto port = tunnel.open();
  REQUIRE(port.ok());
  tunnel.set_source(zones.far.address, "far", zones.replid());
  zones.replicate(*port);
  int writes = 0;
  REQUIRE(zones.loop.until([&] {
    zones.primary.ask("INCR writes");
    ++writes;
    return zones.linked();
  }));
  REQUIRE(zones.loop.until([&] { return zones.replica_has("writes", std::to_string(writes)); }));
  CHECK(zones.replica.ask("DBSIZE") == zones.primary.ask("DBSIZE"));
}

TEST_CASE("I5: a full sync of another lineage is cut before it wipes the replica") {
  Zones zones;
  zones.replica.ask("SET mine 1");
  TunnelListener tunnel(zones.near.links, kEpoch, {}, zones.hooks());
  const auto port = tunnel.open();
  REQUIRE(port.ok());
  tunnel.set_source(zones.far.address, "far", std::string(40, 'a'));
  zones.replicate(*port);
  REQUIRE(zones.loop.until([&] { return !zones.refused.empty(); }));
  CHECK(zones.refused.find(zones.replid()) != std::string::npos);
  CHECK(zones.near.metrics.tunnels_refused.get() >= 1);
  CHECK_FALSE(zones.linked());
  CHECK(zones.replica_has("mine", "1"));
}

TEST_CASE("after the cut nothing passes and nobody gets in") {
  Zones zones;
  TunnelListener tunnel(zones.near.links, kEpoch, {}, zones.hooks());
  const auto port = tunnel.open();
  REQUIRE(port.ok());
  tunnel.set_source(zones.far.address, "far", zones.replid());
  zones.replicate(*port);
  REQUIRE(zones.loop.until([&] { return zones.linked(); }));
  tunnel.cut();
  CHECK(tunnel.connections() == 0);
  REQUIRE(zones.loop.until([&] { return !zones.linked(); }));
  const int fd = connect_to(*numeric_address(tcp_endpoint("127.0.0.1", *port)));
  CHECK((fd < 0 || connect_result(fd) == -ECONNREFUSED));
  if (fd >= 0) ::close(fd);
}

TEST_CASE("a tunnel port keeps few connections, and the newest") {
  Zones zones;
  TunnelListener tunnel(zones.near.links, kEpoch, {}, zones.hooks());
  const auto port = tunnel.open();
  REQUIRE(port.ok());
  int fds[kTunnelConnectionsMax + 3];
  for (int& fd : fds) fd = connect_to(*numeric_address(tcp_endpoint("127.0.0.1", *port)));
  const auto closed = [](int fd) {
    char byte = 0;
    return ::recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
  };
  REQUIRE(zones.loop.until([&] { return closed(fds[0]) && closed(fds[1]) && closed(fds[2]); }));
  CHECK(tunnel.connections() == kTunnelConnectionsMax);
  CHECK_FALSE(closed(fds[kTunnelConnectionsMax + 2]));
  for (const int fd : fds) ::close(fd);
}

TEST_CASE(
    "a full copy waits until it is let through, a partial sync does not, and both ends know") {
  std::vector<CopyNews> copies;
  std::vector<SyncNews> syncs;
  Zones zones;
  zones.primary.ask("SET before 1");
  zones.relays.set_on_copy([&](const CopyNews& news) { copies.push_back(news); });
  TunnelListener::Hooks hooks = zones.hooks();
  hooks.on_sync = [&](const SyncNews& news) { syncs.push_back(news); };
  const auto told = [&](CopyNews::Kind kind) {
    return std::any_of(copies.begin(), copies.end(),
                       [&](const CopyNews& each) { return each.kind == kind; });
  };
  const auto heard = [&](SyncNews::Kind kind) {
    return std::any_of(syncs.begin(), syncs.end(),
                       [&](const SyncNews& each) { return each.kind == kind; });
  };
  TunnelListener tunnel(zones.near.links, kEpoch, {}, hooks);
  const auto port = tunnel.open();
  REQUIRE(port.ok());
  tunnel.set_source(zones.far.address, "far", zones.replid());
  const std::string before = zones.field(zones.primary, "sync_full");
  zones.replicate(*port);
  REQUIRE(zones.loop.until([&] { return told(CopyNews::Kind::kWant); }));
  CHECK(copies[0].node == "near");
  CHECK(copies[0].choice.reason == SyncReason::kFirstCopy);
  CHECK(heard(SyncNews::Kind::kAsked));
  CHECK(syncs[0].source == "far");
  SyncNote note;
  note.kind = SyncNote::Kind::kWaits;
  note.choice = copies[0].choice;
  note.busy = "c1";
  zones.relays.tell(copies[0].relay, note);
  REQUIRE(zones.loop.until([&] { return heard(SyncNews::Kind::kNote); }));
  CHECK(syncs.back().note == note);
  CHECK(zones.field(zones.primary, "sync_full") == before);
  CHECK(zones.field(zones.primary, "connected_slaves") == "0");

  zones.relays.let_copy(copies[0].relay);
  REQUIRE(zones.loop.until([&] { return zones.linked() && told(CopyNews::Kind::kOver); }));
  CHECK(zones.replica_has("before", "1"));
  CHECK(told(CopyNews::Kind::kFull));
  CHECK(copies.back().whole);
  CHECK(copies.back().bytes > 100);
  CHECK(heard(SyncNews::Kind::kFull));
  CHECK(heard(SyncNews::Kind::kCopied));
  CHECK(syncs.back().replid == zones.replid());

  copies.clear();
  syncs.clear();
  zones.relays.refuse(StreamKind::kTunnel, kEpoch);
  REQUIRE(zones.loop.until([&] { return heard(SyncNews::Kind::kEnded); }));
  zones.primary.ask("SET later 2");
  REQUIRE(zones.loop.until([&] { return zones.replica_has("later", "2"); }));
  CHECK(heard(SyncNews::Kind::kPartial));
  REQUIRE(copies.size() == 1);
  CHECK(copies[0].kind == CopyNews::Kind::kPartial);
  CHECK(copies[0].choice.reason == SyncReason::kInBacklog);
  CHECK(copies[0].choice.missing_bytes > 0);
}

TEST_CASE("a replica goes over to a replica, which feeds it as long as it follows the epoch") {
  Zones zones;
  RedisServer middle;
  LinkMetrics metrics;
  Relays relays(&zones.loop.loop, metrics, zones.lease, middle.address());
  Node mid(zones.loop, settings_of("mid"), &relays, true);
  const auto feeds = [&] { return zones.field(middle, "connected_slaves") == "1"; };
  TunnelListener to_middle(zones.near.links, kEpoch, {}, zones.hooks());
  TunnelListener tunnel(zones.near.links, kEpoch, {}, zones.hooks());
  const auto port = tunnel.open(), middle_port = to_middle.open();
  REQUIRE((port.ok() && middle_port.ok()));
  to_middle.set_source(zones.far.address, "far", zones.replid());
  tunnel.set_source(zones.far.address, "far", zones.replid());
  REQUIRE(middle.ask("REPLICAOF 127.0.0.1 " + std::to_string(*middle_port)) == "+OK\r\n");
  zones.replicate(*port);
  REQUIRE(zones.loop.until(
      [&] { return zones.linked() && zones.field(middle, "master_link_status") == "up"; }));

  relays.set_fed_epoch(kEpoch);
  relays.set_reads_epoch(kEpoch);
  tunnel.set_source(mid.address, "mid", zones.replid());
  REQUIRE(zones.loop.until(feeds));
  REQUIRE(zones.loop.until([&] { return zones.linked(); }));
  zones.primary.ask("SET chained 1");
  REQUIRE(zones.loop.until([&] { return zones.replica_has("chained", "1"); }));
  CHECK(zones.field(middle, "sync_full") == "0");
  CHECK(zones.field(middle, "sync_partial_ok") == "1");

  // Its own link may come and go; what it feeds stays. Nobody new comes in meanwhile.
  relays.set_reads_epoch(0);
  relays.refuse(StreamKind::kTunnel, kEpoch);
  CHECK(relays.size() == 1);
  // Another epoch: they end, and none is let in any more.
  relays.set_fed_epoch(0);
  REQUIRE(zones.loop.until([&] { return !feeds() && !zones.linked(); }));
  REQUIRE(zones.loop.until([&] { return metrics.relays_refused.get() >= 2; }));
  tunnel.set_source(zones.far.address, "far", zones.replid());
  REQUIRE(zones.loop.until([&] { return zones.linked(); }));
  zones.primary.ask("SET straight 1");
  REQUIRE(zones.loop.until([&] { return zones.replica_has("straight", "1"); }));
  mid.links.close();
  relays.close();
}

TEST_CASE("a replica that is ahead of a replica waits until that one has come so far") {
  const auto history = [](int end) {
    const std::string text = "master_replid:" + std::string(40, 'a') +
                             "\r\nmaster_repl_offset:" + std::to_string(end) +
                             "\r\nrepl_backlog_active:1\r\nrepl_backlog_first_byte_offset:1"
                             "\r\nrepl_backlog_histlen:" +
                             std::to_string(end) + "\r\n";
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
  };
  const std::string psync =
      "*3\r\n$5\r\nPSYNC\r\n$40\r\n" + std::string(40, 'a') + "\r\n$3\r\n501\r\n";
  std::vector<CopyNews> copies;
  const std::function<void(const CopyNews&)> on_copy = [&](const CopyNews& news) {
    copies.push_back(news);
  };
  using Answer = RelaySync::Answer;
  for (const bool follows : {true, false}) {
    copies.clear();
    RelaySync sync(1, "b2", on_copy);
    sync.set_follows(follows);
    sync.on_replica(psync);
    REQUIRE(sync.wants_to_ask());
    if (!follows) {  // a primary has no more to come: it says so by a full copy
      CHECK(sync.on_answer(history(400)) == Answer::kWaits);
      continue;
    }
    CHECK(sync.on_answer(history(400)) == Answer::kBehind);
    CHECK(sync.is_behind());
    REQUIRE(sync.ask_again());
    CHECK(sync.on_answer(history(499)) == Answer::kBehind);
    REQUIRE(sync.ask_again());
    CHECK(sync.on_answer(history(500)) == Answer::kGoes);
    CHECK(sync.go() == psync);
    CHECK(copies.empty());
  }
  // Not for ever.
  RelaySync sync(1, "b2", on_copy);
  sync.set_follows(true);
  sync.on_replica(psync);
  REQUIRE(sync.wants_to_ask());
  unsigned asked = 0;
  while (sync.on_answer(history(400)) == Answer::kBehind && sync.ask_again()) ++asked;
  CHECK(asked == kSyncAskedAgainMax - 1);
}
