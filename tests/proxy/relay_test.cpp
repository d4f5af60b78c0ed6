// Relays between a link and a real redis-server: commands of another node run here as long as this
// node leads, and what did not run is known to the byte.
#include "proxy/peer/relay.h"

#include <catch2/catch.hpp>
#include <string>

#include "proxy/data/redis_proof.h"
#include "tests/proxy/link_stage.h"

using namespace azimuth;
using namespace azimuth::stage;

namespace {

constexpr std::uint64_t kEpoch = 5;

// A node that has a Redis, and one that speaks to it.
struct Group {
  Loop loop;
  Lease lease;
  LinkMetrics relay_metrics;
  Relays relays;
  Node far, near;

  explicit Group(const SocketAddress& redis)
      : relays(&loop.loop, relay_metrics, lease, redis),
        far(loop, settings_of("far"), &relays, true),
        near(loop, settings_of("near")) {
    lease.set(kEpoch, clock_now() + seconds(3600));
    lease.set_process(Lease::kAnyProcess);
  }
  ~Group() {
    far.links.close();
    relays.close();
  }
  void open(User& user, std::uint64_t epoch = kEpoch, StreamKind kind = StreamKind::kCommands) {
    near.open(user, far.address, kind, epoch);
  }
};

std::string bulk_command(std::initializer_list<std::string> words) {
  std::string out = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) {
    out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return out;
}

std::size_t count(const std::string& text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++n;
  return n;
}

// A Redis that takes what it is told to take, and counts.
struct SlowServer {
  int listener = listen_anywhere();
  int fd = -1;
  std::size_t heard = 0;

  ~SlowServer() {
    if (fd >= 0) ::close(fd);
    ::close(listener);
  }
  bool accepted() {
    if (fd < 0) fd = accept_from(listener);
    return fd >= 0;
  }
  // Reads what is there; whether that was the end.
  bool drain() {
    char bytes[65536];
    ssize_t n = 0;
    while ((n = ::recv(fd, bytes, sizeof(bytes), 0)) > 0) heard += static_cast<std::size_t>(n);
    return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
  }
};

}  // namespace

TEST_CASE("commands of many streams run on the far Redis and are answered in order") {
  RedisServer redis;
  Group group(redis.address());
  std::vector<std::unique_ptr<User>> users;
  constexpr int kUsers = 20, kCommands = 500;
  for (int i = 0; i < kUsers; ++i) {
    users.push_back(std::make_unique<User>());
    group.open(*users.back());
    for (int k = 0; k < kCommands; ++k) {
      users.back()->say(bulk_command({"INCR", "counter:" + std::to_string(i)}));
    }
  }
  std::string expected;
  for (int k = 1; k <= kCommands; ++k) expected += ":" + std::to_string(k) + "\r\n";
  REQUIRE(group.loop.until([&] {
    for (auto& user : users) {
      if (user->heard.size() < expected.size()) return false;
    }
    return true;
  }));
  for (auto& user : users) {
    CHECK(user->opens == 1);
    REQUIRE(user->heard == expected);
  }
  CHECK(group.relays.open_commands() == kUsers);
  for (auto& user : users) user->close();
  REQUIRE(group.loop.until([&] { return group.relays.open_commands() == 0; }));
}

TEST_CASE("I4: reads pass while this node's Redis is a replica in their epoch, without a lease") {
  RedisServer redis;
  Group group(redis.address());
  group.lease.drop();
  group.relays.set_reads_epoch(kEpoch);
  User reads, older, commands;
  group.open(reads, kEpoch, StreamKind::kReads);
  group.open(older, kEpoch - 1, StreamKind::kReads);
  group.open(commands);
  reads.say(bulk_command({"PING"}));
  older.say(bulk_command({"PING"}));
  commands.say(bulk_command({"PING"}));
  REQUIRE(group.loop.until(
      [&] { return reads.heard == "+PONG\r\n" && older.ends == 1 && commands.ends == 1; }));
  CHECK(older.heard.empty());
  CHECK(commands.heard.empty());
  group.relays.set_reads_epoch(kEpoch + 1);
  REQUIRE(group.loop.until([&] { return reads.ends == 1; }));
}

TEST_CASE("tunnels of a node that was taken out end, and no new one is let in") {
  RedisServer redis;
  Group group(redis.address());
  User tunnel, commands;
  group.open(tunnel, kEpoch, StreamKind::kTunnel);
  group.open(commands);
  tunnel.say(bulk_command({"PING"}));
  REQUIRE(group.loop.until([&] { return tunnel.heard == "+PONG\r\n" && commands.opens == 1; }));
  group.relays.refuse_tunnels_of({"a1", "near"});
  REQUIRE(group.loop.until([&] { return tunnel.ends == 1; }));
  User again;
  group.open(again, kEpoch, StreamKind::kTunnel);
  REQUIRE(group.loop.until([&] { return again.ends == 1; }));
  // Its clients still get to the primary.
  commands.say(bulk_command({"PING"}));
  REQUIRE(group.loop.until([&] { return commands.heard == "+PONG\r\n"; }));
  group.relays.refuse_tunnels_of({});
  User back;
  group.open(back, kEpoch, StreamKind::kTunnel);
  back.say(bulk_command({"PING"}));
  REQUIRE(group.loop.until([&] { return back.heard == "+PONG\r\n"; }));
}

TEST_CASE("big values pass both ways, and small commands beside them") {
  RedisServer redis;
  Group group(redis.address());
  User big, small;
  group.open(big);
  group.open(small);
  const std::string value(30 << 20, 'v');
  big.say(bulk_command({"SET", "big", value}));
  big.say(bulk_command({"GET", "big"}));
  const std::string answer = "+OK\r\n$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
  int pings = 0;
  REQUIRE(group.loop.until([&] {
    if (small.heard.size() == static_cast<std::size_t>(pings) * 7) {
      ++pings;
      small.say("PING\r\n");
    }
    return big.heard.size() >= answer.size();
  }));
  CHECK((big.heard == answer));
  CHECK(pings > 20);
}

TEST_CASE("I8: a client that does not read stops its own relay, and Redis keeps the rest") {
  RedisServer redis;
  Group group(redis.address());
  User user;
  group.open(user);
  user.say(bulk_command({"SET", "big", std::string(8 << 20, 'v')}));
  REQUIRE(group.loop.until([&] { return user.heard == "+OK\r\n"; }));
  user.stream->pause_reading(true);
  user.keep = false;
  user.say("GET big\r\n");
  REQUIRE(group.loop.until([&] { return user.heard_bytes >= kStreamWindowBytes; }));
  User other;
  group.open(other);
  other.say("PING\r\n");
  REQUIRE(group.loop.until([&] { return other.heard == "+PONG\r\n"; }));
  CHECK(user.heard_bytes <= kStreamWindowBytes + 5);
  user.stream->pause_reading(false);
  REQUIRE(group.loop.until([&] { return user.heard_bytes > (8U << 20); }));
}

TEST_CASE("I2: a stream of an epoch that this node does not lead is refused") {
  RedisServer redis;
  Group group(redis.address());
  User stale, coming, late;
  group.open(stale, kEpoch - 1);
  group.open(coming, kEpoch + 1);
  stale.say("SET a 1\r\n");
  coming.say("SET a 2\r\n");
  REQUIRE(group.loop.until([&] { return stale.ends == 1 && coming.ends == 1; }));
  CHECK(stale.end == StreamEnd::kRefused);
  CHECK(stale.delivered == 0);
  CHECK(coming.end == StreamEnd::kRefused);
  CHECK(coming.delivered == 0);
  group.lease.drop();
  group.open(late);
  late.say("SET a 3\r\n");
  REQUIRE(group.loop.until([&] { return late.ends == 1; }));
  CHECK(late.end == StreamEnd::kRefused);
  CHECK(late.delivered == 0);
  CHECK(redis.ask("EXISTS a") == ":0\r\n");
}

namespace {

std::uint64_t process_at(const RedisServer& redis) {
  const std::string info = redis.ask("INFO server");
  const std::size_t at = info.find("run_id:") + 7;
  return process_of(std::string_view(info).substr(at, info.find('\r', at) - at));
}

}  // namespace

TEST_CASE("I3: a redis-server that was not promoted is sent nothing, whatever the lease says") {
  RedisServer redis;
  Group group(redis.address());
  User early, right, late;
  const std::uint64_t promoted = process_at(redis);
  group.lease.set_process(Lease::kNoProcess);
  group.open(early);
  early.say("SET a early\r\n");
  REQUIRE(group.loop.until([&] { return early.ends == 1; }));
  CHECK(early.opens == 0);
  CHECK(early.end == StreamEnd::kRefused);
  CHECK(early.delivered == 0);

  group.lease.set_process(promoted);
  group.open(right);
  right.say("SET b right\r\n");
  REQUIRE(group.loop.until([&] { return right.heard == "+OK\r\n"; }));

  redis.kill();
  redis.start();  // empty, at once, at the same address
  group.open(late);
  late.say("SET c late\r\nGET b\r\n");
  REQUIRE(group.loop.until([&] { return late.ends == 1 && right.ends == 1; }));
  CHECK(late.end == StreamEnd::kRefused);
  CHECK(late.delivered == 0);
  CHECK(late.heard.empty());
  CHECK(redis.ask("DBSIZE") == ":0\r\n");
}

TEST_CASE("I9: the login by which a relay asks who it is, is not left to whom it serves") {
  RedisServer redis;
  Group group(redis.address());
  const std::uint64_t promoted = process_at(redis);
  redis.ask("ACL SETUSER keeper on >secret +info");
  redis.ask("ACL SETUSER default on >other");
  group.lease.set_process(promoted);
  User refused, user;
  group.open(refused);  // without a login the question is refused
  REQUIRE(group.loop.until([&] { return refused.ends == 1; }));
  CHECK(refused.end == StreamEnd::kRefused);
  group.relays.set_login("keeper", "secret");
  group.open(user);
  user.say("INFO server\r\n");
  REQUIRE(group.loop.until([&] { return user.heard.ends_with("\r\n"); }));
  CHECK(user.heard == "-NOAUTH Authentication required.\r\n");
  user.heard.clear();
  user.say("AUTH default other\r\nACL WHOAMI\r\n");
  REQUIRE(group.loop.until([&] { return user.heard == "+OK\r\n$7\r\ndefault\r\n"; }));
  CHECK(user.delivered == 0);
}

TEST_CASE("I2, I6: when the lease is lost, nothing more is written, and how far it came is exact") {
  SlowServer server;
  Group group(bound_address(server.listener));
  User user;
  group.open(user);
  user.say(std::string(16 << 20, 'x'));
  REQUIRE(group.loop.until([&] { return server.accepted(); }));
  // Until both sockets are full and the window is used up.
  std::uint64_t sent = 0;
  int quiet = 0;
  REQUIRE(group.loop.until([&] {
    quiet = sent == user.sent ? quiet + 1 : 0;
    sent = user.sent;
    return quiet > 20 && sent > kStreamWindowBytes;
  }));
  group.lease.drop();
  server.drain();  // there is room again; the relay may not use it
  REQUIRE(group.loop.until([&] { return user.ends == 1; }));
  REQUIRE(group.loop.until([&] { return server.drain(); }));
  CHECK(user.end == StreamEnd::kRefused);
  CHECK(user.delivered == server.heard);
  CHECK(user.delivered < user.sent);
}

TEST_CASE(
    "I4: what Redis says when the lease is over is kept back, and passed on if it is renewed") {
  SlowServer server;
  Group group(bound_address(server.listener));
  User renewed;
  group.open(renewed);
  renewed.say("GET a\r\n");
  REQUIRE(group.loop.until([&] { return server.accepted(); }));
  REQUIRE(group.loop.until([&] { return !server.drain() && server.heard == 7; }));
  group.lease.drop();
  REQUIRE(::send(server.fd, "$1\r\nx\r\n", 7, 0) == 7);
  for (int turn = 0; turn < 20; ++turn) group.loop.turn();
  CHECK(renewed.heard.empty());
  CHECK(renewed.ends == 0);
  group.lease.set(kEpoch, clock_now() + seconds(3600));
  REQUIRE(group.loop.until([&] { return renewed.heard == "$1\r\nx\r\n"; }));

  renewed.say("GET b\r\n");
  REQUIRE(group.loop.until([&] { return !server.drain() && server.heard == 14; }));
  group.lease.drop();
  REQUIRE(::send(server.fd, "$1\r\ny\r\n", 7, 0) == 7);
  for (int turn = 0; turn < 20; ++turn) group.loop.turn();
  group.relays.refuse(StreamKind::kCommands, kEpoch);
  REQUIRE(group.loop.until([&] { return renewed.ends == 1; }));
  CHECK(renewed.heard == "$1\r\nx\r\n");
  CHECK(renewed.delivered == 14);
}

TEST_CASE(
    "I2: a stream that is parked hears what its Redis says, and writes no more without a lease") {
  SlowServer server;
  Group group(bound_address(server.listener));
  User user;
  group.open(user);
  user.say("BLPOP q 0\r\n");
  REQUIRE(group.loop.until([&] { return server.accepted(); }));
  REQUIRE(group.loop.until([&] { return !server.drain() && server.heard == 11; }));
  user.stream->hold();
  REQUIRE(group.loop.until([&] { return group.relays.open_commands() == 0; }));
  group.lease.drop();
  REQUIRE(::send(server.fd, "-UNBLOCKED\r\n", 12, 0) == 12);
  REQUIRE(group.loop.until([&] { return user.heard == "-UNBLOCKED\r\n"; }));
  user.say("SET a b\r\n");
  REQUIRE(group.loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kRefused);
  CHECK(user.delivered == 11);
}

TEST_CASE("I6: no command behind the cut has run on Redis, and none that was answered is lost") {
  RedisServer redis;
  Group group(redis.address());
  User user;
  group.open(user);
  const std::string command = bulk_command({"INCR", "c"});
  // The lease goes at some turn in the middle of the pipeline.
  int turns = 0;
  for (int i = 0; i < 200'000; ++i) user.to_send += command;
  user.push();
  REQUIRE(group.loop.until([&] {
    if (++turns == 25) group.lease.drop();
    return user.ends == 1;
  }));
  CHECK(user.end == StreamEnd::kRefused);
  REQUIRE(user.delivered > 0);
  REQUIRE(user.delivered < user.sent);
  // Redis may still be working on what the kernel has taken.
  REQUIRE(group.loop.until([&] { return count(redis.ask("CLIENT LIST"), " addr=") == 1; }));
  const std::string reply = redis.ask("GET c");
  const auto ran = static_cast<std::uint64_t>(std::atoll(reply.c_str() + reply.find('\n') + 1));
  // A command that was cut in two has not run; one that was answered has.
  CHECK(ran <= user.delivered / command.size());
  CHECK(ran >= count(user.heard, ":"));
  CHECK(ran > 0);
}

TEST_CASE("an owner that loses its role ends the streams of its epochs") {
  RedisServer redis;
  Group group(redis.address());
  group.relays.set_tunnel_epoch(kEpoch);
  User commands, tunnel;
  group.open(commands);
  group.open(tunnel, kEpoch, StreamKind::kTunnel);
  commands.say("BLPOP nothing 0\r\n");
  REQUIRE(group.loop.until([&] { return commands.opens == 1 && tunnel.opens == 1; }));
  group.relays.refuse(StreamKind::kCommands, kEpoch - 1);
  group.loop.turn();
  CHECK(group.relays.open_commands() == 1);
  group.relays.refuse(StreamKind::kCommands, kEpoch);
  REQUIRE(group.loop.until([&] { return commands.ends == 1; }));
  CHECK(commands.end == StreamEnd::kRefused);
  CHECK(commands.delivered == 17);
  CHECK(tunnel.ends == 0);
  group.relays.refuse(StreamKind::kTunnel, kEpoch);
  REQUIRE(group.loop.until([&] { return tunnel.ends == 1; }));
}

TEST_CASE("a tunnel outlives a lease that is late, and ends with its epoch") {
  RedisServer redis;
  Group group(redis.address());
  group.lease.drop();
  User tunnel, stale;
  group.relays.set_tunnel_epoch(kEpoch);
  group.open(tunnel, kEpoch, StreamKind::kTunnel);
  group.open(stale, kEpoch - 1, StreamKind::kTunnel);
  tunnel.say("PING\r\n");
  REQUIRE(group.loop.until([&] { return tunnel.heard == "+PONG\r\n" && stale.ends == 1; }));
  CHECK(stale.end == StreamEnd::kRefused);
}

TEST_CASE("a planned hand-over asks the streams to close and takes no new ones") {
  RedisServer redis;
  Group group(redis.address());
  User before, after;
  group.open(before);
  before.say("SET a 1\r\n");
  REQUIRE(group.loop.until([&] { return before.heard == "+OK\r\n"; }));
  group.relays.hold(true);
  REQUIRE(group.loop.until([&] { return before.holds == 1; }));
  // What is under way is still answered.
  before.say("GET a\r\n");
  REQUIRE(group.loop.until([&] { return before.heard == "+OK\r\n$1\r\n1\r\n"; }));
  group.open(after);
  REQUIRE(group.loop.until([&] { return after.ends == 1; }));
  CHECK(after.end == StreamEnd::kRefused);
  CHECK(after.delivered == 0);
  before.close();
  REQUIRE(group.loop.until([&] { return group.relays.open_commands() == 0; }));
  group.relays.hold(false);
  group.open(after);
  REQUIRE(group.loop.until([&] { return after.opens == 1; }));
}

TEST_CASE("I6: what comes when the time of a hand-over is up is refused, and Redis never sees it") {
  RedisServer redis;
  Group group(redis.address());
  User late, early;
  group.open(late);
  late.say("MULTI\r\nSET a 1\r\n");
  REQUIRE(group.loop.until([&] { return late.heard == "+OK\r\n+QUEUED\r\n"; }));
  group.relays.break_off();  // without a hand-over it means nothing
  late.say("SET b 1\r\n");
  REQUIRE(group.loop.until([&] { return late.heard == "+OK\r\n+QUEUED\r\n+QUEUED\r\n"; }));
  group.relays.hold(true);
  group.relays.break_off();
  late.say("EXEC\r\n");
  REQUIRE(group.loop.until([&] { return late.ends == 1; }));
  CHECK(late.end == StreamEnd::kRefused);
  CHECK(late.delivered == 25);
  CHECK(redis.ask("EXISTS a") == ":0\r\n");
  // The hand-over has been given up: all is as before.
  group.relays.hold(false);
  group.open(early);
  early.say("SET a 1\r\n");
  REQUIRE(group.loop.until([&] { return early.heard == "+OK\r\n"; }));
}

TEST_CASE(
    "a Redis that dies ends its streams; one that is away refuses them; one that is back serves") {
  RedisServer redis;
  Group group(redis.address());
  User user;
  group.open(user);
  user.say("PING\r\n");
  REQUIRE(group.loop.until([&] { return user.heard == "+PONG\r\n"; }));
  redis.kill();
  REQUIRE(group.loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kDone);
  CHECK(user.delivered == 6);
  group.open(user);
  REQUIRE(group.loop.until([&] { return user.ends == 2; }));
  CHECK(user.end == StreamEnd::kRefused);
  CHECK(user.delivered == 0);
  redis.start();
  user.heard.clear();
  group.open(user);
  user.say("PING\r\n");
  REQUIRE(group.loop.until([&] { return user.heard == "+PONG\r\n"; }));
}

TEST_CASE("what Redis says before it closes arrives, and then the end") {
  RedisServer redis;
  Group group(redis.address());
  User user;
  group.open(user);
  user.say("PING\r\nQUIT\r\n");
  REQUIRE(group.loop.until([&] { return user.ends == 1; }));
  CHECK(user.heard == "+PONG\r\n+OK\r\n");
  CHECK(user.end == StreamEnd::kDone);
  CHECK(user.delivered == 12);
}

TEST_CASE("what a client sent before it closed still reaches Redis") {
  RedisServer redis;
  Group group(redis.address());
  User user;
  group.open(user);
  REQUIRE(group.loop.until([&] { return user.opens == 1; }));
  user.say("SET last word\r\n");
  user.close();
  REQUIRE(group.loop.until([&] { return redis.ask("GET last") == "$4\r\nword\r\n"; }));
}

TEST_CASE("I8: relays are bounded") {
  // Descriptors are what a relay costs; the bound is tried with a limit of its own.
  SlowServer server;
  Group group(bound_address(server.listener));
  group.relays.set_most(4);  // the fourth is another node's
  User users[5];
  for (User& user : users) group.open(user);
  REQUIRE(group.loop.until([&] { return users[3].ends + users[4].ends == 2; }));
  CHECK(users[4].end == StreamEnd::kRefused);
  CHECK(users[4].delivered == 0);
  CHECK(group.relays.size() == 3);
  // A replica finds its place all the same.
  group.relays.set_tunnel_epoch(kEpoch);
  User tunnel;
  group.open(tunnel, kEpoch, StreamKind::kTunnel);
  REQUIRE(group.loop.until([&] { return group.relays.size() == 4; }));
  CHECK(tunnel.ends == 0);
}

TEST_CASE("I8: a tunnel's handshake is bounded, and what is none goes at the pace of its Redis") {
  SlowServer server;
  Group group(bound_address(server.listener));
  group.relays.set_tunnel_epoch(kEpoch);
  User asks, babbles;
  group.open(asks, kEpoch, StreamKind::kTunnel);
  for (int i = 0; i < 100'000; ++i) asks.to_send += "PING\r\n";
  asks.push();
  REQUIRE(group.loop.until([&] { return asks.ends == 1; }));
  CHECK(asks.end == StreamEnd::kRefused);
  CHECK(asks.delivered <= kSyncHeldBytesMax);

  group.open(babbles, kEpoch, StreamKind::kTunnel);
  babbles.say(std::string(64 << 20, 'x'));
  std::uint64_t sent = 0;
  int quiet = 0;
  REQUIRE(group.loop.until([&] {
    quiet = sent == babbles.sent ? quiet + 1 : 0;
    sent = babbles.sent;
    return quiet > 50 && sent > kTunnelWindowBytes;
  }));
  // What the kernel's buffers have, and a window.
  CHECK(babbles.sent < 32U << 20);
  CHECK(babbles.ends == 0);
}

TEST_CASE("a tunnel that waits for its turn is no idle client to its Redis") {
  RedisServer redis;
  redis.ask("CONFIG SET timeout 1");
  std::uint64_t waiting = 0;
  Group group(redis.address());
  group.relays.set_on_copy([&](const CopyNews& news) { waiting = news.relay; });
  User replica;
  group.open(replica, kEpoch, StreamKind::kTunnel);
  replica.say("PSYNC ? -1\r\n");
  REQUIRE(group.loop.until([&] { return waiting != 0; }));
  SyncNote note;
  note.kind = SyncNote::Kind::kWaits;
  const Instant begun = clock_now();
  Instant told = begun;
  REQUIRE(group.loop.until([&] {
    if (clock_now() - told > milliseconds(500)) {
      told = clock_now();
      group.relays.tell(waiting, note);
    }
    return replica.ends == 1 || clock_now() - begun > seconds(4);
  }));
  REQUIRE(replica.ends == 0);
  CHECK(replica.heard.find_first_not_of('\n') == std::string::npos);
  replica.heard.clear();
  group.relays.let_copy(waiting);
  REQUIRE(group.loop.until([&] { return replica.heard.starts_with("+FULLRESYNC "); }));
}

TEST_CASE("a question that Redis refuses keeps nobody waiting") {
  RedisServer redis;
  redis.ask("ACL SETUSER default -info");
  std::vector<CopyNews::Kind> news;  // (outlives the relays: their end is news, too)
  Group group(redis.address());
  group.relays.set_on_copy([&](const CopyNews& each) { news.push_back(each.kind); });
  User replica;
  group.open(replica, kEpoch, StreamKind::kTunnel);
  replica.say("PSYNC ? -1\r\n");
  REQUIRE(group.loop.until([&] { return !news.empty() && !replica.heard.empty(); }));
  CHECK(news[0] == CopyNews::Kind::kFull);
  CHECK(replica.heard.starts_with("+FULLRESYNC "));
}
