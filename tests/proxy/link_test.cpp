// Links between two nodes on one loop: streams, windows, fairness, and links that break.
#include "proxy/peer/link.h"

#include <catch2/catch.hpp>
#include <string>

#include "tests/proxy/link_stage.h"

using namespace azimuth;
using namespace azimuth::stage;

TEST_CASE("many streams share one link, each in its own order") {
  const bool plaintext = GENERATE(false, true);
  Pair pair({}, plaintext);
  pair.host.on_new = echo;
  constexpr int kStreams = 200;
  std::vector<std::unique_ptr<User>> users;
  for (int i = 0; i < kStreams; ++i) {
    users.push_back(std::make_unique<User>());
    pair.open(*users.back());
    for (int k = 0; k < 20; ++k)
      users.back()->say(std::to_string(i) + ":" + std::to_string(k) + " ");
  }
  std::vector<std::string> expected(kStreams);
  for (int i = 0; i < kStreams; ++i) {
    for (int k = 0; k < 20; ++k) expected[i] += std::to_string(i) + ":" + std::to_string(k) + " ";
  }
  REQUIRE(pair.loop.until([&] {
    for (int i = 0; i < kStreams; ++i) {
      if (users[i]->heard.size() < expected[i].size()) return false;
    }
    return true;
  }));
  for (int i = 0; i < kStreams; ++i) REQUIRE(users[i]->heard == expected[i]);
  CHECK(users[0]->opens == 1);
  CHECK(pair.near.metrics.links_made.get() == 1);
  CHECK(pair.near.metrics.streams.get() == kStreams);
  CHECK(pair.far.metrics.streams.get() == kStreams);
  for (auto& user : users) user->close();
  REQUIRE(pair.loop.until([&] { return pair.far.metrics.streams.get() == 0; }));
  CHECK(pair.host.users[0]->end == StreamEnd::kDone);
}

TEST_CASE("the bytes of a turn leave in one write") {
  Pair pair;
  User first;
  pair.open(first);
  REQUIRE(pair.loop.until([&] { return first.opens == 1; }));
  std::vector<std::unique_ptr<User>> users;
  for (int i = 0; i < 50; ++i) {
    users.push_back(std::make_unique<User>());
    pair.open(*users.back());
  }
  REQUIRE(pair.loop.until([&] { return users.back()->opens == 1; }));
  const std::uint64_t before = pair.near.metrics.writes.get();
  for (auto& user : users) {
    user->say("GET a\r\n");
    user->say("GET b\r\n");
  }
  REQUIRE(pair.loop.until([&] { return pair.host.users.back()->heard_bytes == 14; }));
  CHECK(pair.near.metrics.writes.get() == before + 1);
}

TEST_CASE("large transfers both ways arrive as they were sent") {
  const bool plaintext = GENERATE(false, true);
  Pair pair({}, plaintext);
  pair.host.on_new = echo;
  User user, tunnel;
  pair.open(user);
  pair.open(tunnel, StreamKind::kTunnel);
  const std::string text = random_text(20 << 20, 1), other = random_text(20 << 20, 2);
  user.say(text);
  tunnel.say(other);
  REQUIRE(pair.loop.until(
      [&] { return user.heard.size() >= text.size() && tunnel.heard.size() >= other.size(); }));
  CHECK((user.heard == text));
  CHECK((tunnel.heard == other));
}

TEST_CASE("I8: a stream that is not read takes a window's bytes, and stops nobody else") {
  Pair pair;
  User stuck, lively;
  pair.host.on_new = [&](User& user) {
    if (pair.host.users.size() == 1) user.stream->pause_reading(true);
    if (pair.host.users.size() == 2) echo(user);
  };
  pair.open(stuck);
  pair.open(lively);
  const std::string much(4 << 20, 'm');
  stuck.say(much);
  for (int i = 1; i <= 50; ++i) {
    lively.say("ping");
    REQUIRE(pair.loop.until([&] { return lively.heard.size() == 4U * static_cast<unsigned>(i); }));
  }
  REQUIRE(pair.loop.until([&] { return stuck.sent == kStreamWindowBytes; }));
  User& far = *pair.host.users[0];
  REQUIRE(pair.loop.until([&] { return far.heard_bytes == kStreamWindowBytes; }));
  CHECK(stuck.sent == kStreamWindowBytes);
  far.stream->pause_reading(false);
  REQUIRE(pair.loop.until([&] { return far.heard_bytes == much.size(); }));
}

TEST_CASE("a command is not stuck behind bulk transfers") {
  Pair pair;
  User bulk[3], command;
  pair.host.on_new = [&](User& user) {
    user.keep = false;
    if (pair.host.users.size() == 4) echo(user);
  };
  for (User& user : bulk) pair.open(user, StreamKind::kTunnel);
  pair.open(command);
  const std::string much(64 << 20, 'm');
  for (User& user : bulk) user.say(much);
  REQUIRE(pair.loop.until([&] { return pair.host.users.size() == 4; }));
  const auto bulk_bytes = [&] {
    std::size_t sum = 0;
    for (int i = 0; i < 3; ++i) sum += pair.host.users[static_cast<std::size_t>(i)]->heard_bytes;
    return sum;
  };
  REQUIRE(pair.loop.until([&] { return bulk_bytes() > (1U << 20); }));
  const std::size_t before = bulk_bytes();
  for (int i = 1; i <= 8; ++i) {
    command.say("x");
    REQUIRE(pair.loop.until([&] { return command.heard.size() == static_cast<unsigned>(i); }));
  }
  // Each round trip costs what was in the buffers, here and in the kernel, and not the whole.
  CHECK(bulk_bytes() - before < (48U << 20));
  CHECK(bulk_bytes() < 3 * much.size());
  // The three have had about the same.
  for (int i = 0; i < 3; ++i) {
    CHECK(pair.host.users[static_cast<std::size_t>(i)]->heard_bytes > bulk_bytes() / 6);
  }
}

TEST_CASE("streams to where nobody is end at once, with nothing delivered") {
  Loop loop;
  Node near(loop, settings_of("near"));
  SocketAddress nowhere;
  {
    const int fd = listen_anywhere();
    nowhere = bound_address(fd);
    ::close(fd);
  }
  User users[3];
  for (User& user : users) {
    near.open(user, nowhere);
    user.say("SET a b\r\n");
    CHECK(user.ends == 0);  // never from inside open()
  }
  REQUIRE(loop.until([&] { return users[2].ends == 1; }));
  for (User& user : users) {
    CHECK(user.end == StreamEnd::kRefused);
    CHECK(user.delivered == 0);
  }
  User unknown;
  near.open(unknown, SocketAddress{});
  REQUIRE(loop.until([&] { return unknown.ends == 1; }));
  CHECK(unknown.end == StreamEnd::kRefused);
}

TEST_CASE("a peer that accepts and says nothing is given up after the deadline") {
  Loop loop;
  Node near(loop, settings_of("near"));
  const int silent = listen_anywhere();
  User user;
  near.open(user, bound_address(silent));
  REQUIRE(loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kRefused);
  CHECK(user.delivered == 0);
  ::close(silent);
}

TEST_CASE("a stream meant for another node is refused") {
  Pair pair;
  User user;
  user.stream = pair.near.links.open(pair.far.address, "somebody", StreamKind::kCommands, 1, user);
  REQUIRE(pair.loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kRefused);
  CHECK(user.delivered == 0);
  user.stream = pair.near.links.open(pair.far.address, "far", StreamKind::kCommands, 1, user);
  REQUIRE(pair.loop.until([&] { return user.opens == 1; }));
}

TEST_CASE("a broken link says that what was sent is uncertain; the next stream makes a new one") {
  Loop loop;
  Host host;
  auto far = std::make_unique<Node>(loop, settings_of("far"), &host, true);
  Node near(loop, settings_of("near"));
  User user;
  near.open(user, far->address);
  user.say("SET a b\r\n");
  REQUIRE(loop.until([&] { return host.users.size() == 1 && host.users[0]->heard_bytes == 9; }));
  far->links.close();
  REQUIRE(loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kLost);
  CHECK(user.delivered == kDeliveredUnknown);
  CHECK(near.metrics.links_lost.get() == 1);
  CHECK(near.metrics.streams.get() == 0);
  host.users.clear();
  Node back(loop, settings_of("far"), &host, true);
  near.open(user, back.address);
  user.say("PING");
  REQUIRE(loop.until([&] { return host.users.size() == 1 && host.users[0]->heard_bytes == 4; }));
}

TEST_CASE("a peer that falls silent is noticed while streams are open") {
  Loop loop, frozen;
  Host host;
  Node far(frozen, settings_of("far"), &host, true), near(loop, settings_of("near"));
  User user;
  const auto start = std::chrono::steady_clock::now();
  near.open(user, far.address);
  REQUIRE(loop.until([&] {
    uv_run(&frozen.loop, UV_RUN_NOWAIT);
    return user.opens == 1;
  }));
  REQUIRE(loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kLost);
  const auto waited = std::chrono::steady_clock::now() - start;
  CHECK(waited >= std::chrono::milliseconds(kLinkSilentMsMax));
}

TEST_CASE("a quiet link with streams lives on by its heartbeat") {
  Pair pair;
  User user;
  pair.open(user);
  REQUIRE(pair.loop.until([&] { return user.opens == 1; }));
  const std::uint64_t frames = pair.far.metrics.frames_in.get();
  // Longer than the silence that would end it: four pings.
  REQUIRE(pair.loop.until([&] { return pair.far.metrics.frames_in.get() >= frames + 5; }));
  CHECK(user.ends == 0);
}

TEST_CASE("the pace of writes is told on each link, to whoever made it, and goes with the link") {
  Pair pair;
  int changes = 0;
  pair.near.links.on_pace_changed([&] { ++changes; });
  pair.far.links.set_pace(5000);
  CHECK(pair.near.links.pace_us(pair.far.address) == 0);  // no link, nothing said
  User user;
  pair.open(user);
  REQUIRE(pair.loop.until([&] { return pair.near.links.pace_us(pair.far.address) == 5000; }));
  pair.far.links.set_pace(700);
  REQUIRE(pair.loop.until([&] { return pair.near.links.pace_us(pair.far.address) == 700; }));
  CHECK(changes == 2);
  // Who has made the link does not say how it is to be slowed.
  pair.near.links.set_pace(9000);
  user.say("x");
  REQUIRE(pair.loop.until([&] { return pair.host.users.back()->heard_bytes == 1; }));
  CHECK(pair.near.links.pace_us(pair.far.address) == 700);
  pair.far.links.close();
  REQUIRE(pair.loop.until([&] { return user.ends == 1; }));
  CHECK(pair.near.links.pace_us(pair.far.address) == 0);
  CHECK(changes == 3);
}

TEST_CASE("a user may close its stream, and open another, inside any call") {
  Pair pair;
  pair.host.on_new = echo;
  User next;
  User user;
  user.on_data = [&](std::string_view) {
    user.close();
    pair.open(next);
    next.say("again");
  };
  pair.open(user);
  user.say(std::string(300'000, 'a'));
  REQUIRE(pair.loop.until([&] { return next.heard == "again"; }));
  CHECK(user.ends == 0);
  CHECK(pair.near.metrics.streams.get() == 1);
}

TEST_CASE("a process that stood still does not take its peers for silent") {
  Pair pair;
  User user;
  pair.open(user);
  REQUIRE(pair.loop.until([&] { return user.opens == 1; }));
  // As SIGSTOP and SIGCONT would.
  ::usleep((kLinkSilentMsMax + 300) * 1000);
  pair.host.on_new = echo;
  User after;
  pair.open(after);
  after.say("awake");
  REQUIRE(pair.loop.until([&] { return after.heard == "awake"; }));
  CHECK(user.ends == 0);
  CHECK(pair.near.metrics.links_made.get() == 1);
}
