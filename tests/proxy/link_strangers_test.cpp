// Whoever connects and does not belong, or belongs and does not keep to the protocol.
#include <catch2/catch.hpp>
#include <string>

#include "proxy/peer/link.h"
#include "tests/proxy/link_rogue.h"
#include "tests/proxy/link_stage.h"

using namespace azimuth;
using namespace azimuth::stage;

TEST_CASE("I9: a peer with another key gets nothing and says nothing") {
  const bool plaintext = GENERATE(false, true);
  Pair pair([](LinkSettings& settings) { settings.psk = std::string(32, 'w'); }, plaintext);
  User user;
  pair.open(user);
  user.say("SET a b\r\n");
  REQUIRE(pair.loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kRefused);
  CHECK(user.delivered == 0);
  CHECK(user.opens == 0);
  REQUIRE(pair.loop.until([&] { return pair.far.metrics.links_unsafe.get() == 1; }));
  CHECK(pair.host.users.empty());
  CHECK(pair.far.metrics.links.get() == 0);
  CHECK(pair.far.metrics.links_accepted.get() == 0);
}

TEST_CASE("a peer of another cluster with the same key is refused") {
  Pair pair([](LinkSettings& settings) { settings.cluster = "billing"; });
  User user;
  pair.open(user);
  REQUIRE(pair.loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kRefused);
  REQUIRE(pair.loop.until([&] { return pair.far.metrics.links_foreign.get() == 1; }));
  CHECK(pair.host.users.empty());
}

TEST_CASE("I9: plain text and TLS do not mix") {
  const bool near_plain = GENERATE(false, true);
  Loop loop;
  Host host;
  LinkSettings far_settings = settings_of("far"), near_settings = settings_of("near");
  far_settings.plaintext = !near_plain;
  near_settings.plaintext = near_plain;
  Node far(loop, far_settings, &host, true), near(loop, near_settings);
  User user;
  near.open(user, far.address);
  REQUIRE(loop.until([&] { return user.ends == 1; }));
  CHECK(user.end == StreamEnd::kRefused);
  CHECK(host.users.empty());
}

TEST_CASE("I9: garbage costs its sender the connection") {
  const bool plaintext = GENERATE(false, true);
  Pair pair({}, plaintext);
  const std::string cases[] = {"GET / HTTP/1.1\r\n\r\n" + std::string(64, 'x'),
                               random_text(100'000, 3), std::string(70'000, '\0'),
                               std::string("\x16\x03\x01\xff\xff", 5) + random_text(70'000, 4)};
  for (const std::string& garbage : cases) {
    Raw raw(pair.far.address);
    REQUIRE(pair.loop.until([&] { return ::send(raw.fd, "", 0, MSG_NOSIGNAL) == 0; }));
    raw.say(garbage);
    REQUIRE(pair.loop.until([&] { return raw.closed(); }));
    CHECK(raw.heard.size() < 64);  // an alert at most: nothing of ours
  }
  CHECK(pair.host.users.empty());
  CHECK(pair.far.metrics.links.get() == 0);
}

TEST_CASE("I9: unfinished handshakes are bounded, and an honest peer still gets in") {
  Pair pair;
  std::vector<std::unique_ptr<Raw>> crowd;
  for (std::size_t i = 0; i < kLinkHandshakesMax + 50; ++i) {
    crowd.push_back(std::make_unique<Raw>(pair.far.address));
  }
  REQUIRE(pair.loop.until([&] { return pair.far.metrics.links_crowded.get() >= 50; }));
  User user;
  pair.open(user);
  REQUIRE(pair.loop.until([&] { return user.opens == 1; }));
  // And those that say nothing are gone after a while.
  REQUIRE(pair.loop.until([&] {
    for (auto& raw : crowd) {
      if (!raw->closed()) return false;
    }
    return true;
  }));
  CHECK(user.ends == 0);
}

TEST_CASE("a peer that breaks the protocol loses its link, and nobody else anything") {
  Pair pair;
  pair.host.on_new = echo;
  User honest;
  pair.open(honest);
  REQUIRE(pair.loop.until([&] { return honest.opens == 1; }));

  HelloFrame newer;
  newer.cluster = "orders";
  newer.version_least = kLinkVersionMost + 1;
  newer.version_most = kLinkVersionMost + 9;
  const std::string hello = Rogue::hello(), stream = Rogue::open_stream(1);
  const std::string window(kStreamWindowBytes / 8, 'w');
  std::string overrun = hello + stream;
  for (int i = 0; i < 8; ++i) {
    for (std::size_t at = 0; at < window.size(); at += kLinkFrameBytesMax) {
      overrun += framed(FrameType::kData, 1, window.substr(at, kLinkFrameBytesMax));
    }
  }
  std::string lying = framed(FrameType::kData, 1, "");
  lying[1] = 9;
  const std::vector<std::string> cases = {
      stream,                                                  // before HELLO
      framed(FrameType::kData, 1, "x"),                        // the same
      framed(FrameType::kHello, 0, "no"),                      // no HELLO at all
      hello + hello,                                           // twice
      framed(FrameType::kHello, 0, encode(newer)),             // nothing in common
      hello + framed(FrameType::kData, 1, "x"),                // never opened
      hello + framed(FrameType::kEnd, 3, encode(EndFrame{})),  // never opened
      hello + stream + stream,                                 // opened twice
      hello + framed(FrameType::kOpen, 0, "\x01"),             // cut short, and number 0
      hello + stream + framed(FrameType::kWindow, 1, "\x01"),  // wider than it was
      hello + stream + framed(FrameType::kEnd, 1, ""),         // says nothing
      hello + lying,                                           // a length that lies
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    INFO("case " << i);
    Rogue rogue(pair.far.address);
    REQUIRE(pair.loop.until([&] { return rogue.open(); }));
    rogue.channel->write(cases[i]);
    REQUIRE(pair.loop.until([&] {
      rogue.push();
      return rogue.pull();
    }));
  }
  {
    // As much as the window allows is taken, and not a byte more where the user does not read.
    pair.host.on_new = [](User& user) { user.stream->pause_reading(true); };
    Rogue rogue(pair.far.address);
    REQUIRE(pair.loop.until([&] { return rogue.open(); }));
    rogue.channel->write(overrun);
    rogue.push();
    REQUIRE(pair.loop.until([&] {
      rogue.push();
      return pair.host.users.back()->heard_bytes == kStreamWindowBytes;
    }));
    CHECK_FALSE(rogue.pull());
    rogue.channel->write(framed(FrameType::kData, 1, "x"));
    REQUIRE(pair.loop.until([&] { return rogue.pull(); }));
    CHECK(pair.host.users.back()->end == StreamEnd::kLost);
  }
  honest.say("still here");
  REQUIRE(pair.loop.until([&] { return honest.heard == "still here"; }));
}

TEST_CASE("a frame that breaks off in the middle is not acted upon") {
  Pair pair;
  Rogue rogue(pair.far.address);
  REQUIRE(pair.loop.until([&] { return rogue.open(); }));
  const std::string open = Rogue::open_stream(1);
  rogue.channel->write(Rogue::hello() + open.substr(0, open.size() - 1));
  rogue.push();
  REQUIRE(pair.loop.until([&] { return pair.far.metrics.links.get() == 1; }));
  ::shutdown(rogue.raw.fd, SHUT_WR);
  REQUIRE(pair.loop.until([&] { return pair.far.metrics.links.get() == 0; }));
  CHECK(pair.host.users.empty());
}

TEST_CASE("I8: a peer that provokes answers and does not take them is read no further") {
  Pair pair;
  Rogue rogue(pair.far.address);
  REQUIRE(pair.loop.until([&] { return rogue.open(); }));
  std::string pings;
  for (int i = 0; i < 2000; ++i) pings += framed(FrameType::kPing, 0, "");
  rogue.channel->write(Rogue::hello());
  std::uint64_t taken = 0;
  int quiet = 0;
  REQUIRE(pair.loop.until([&] {
    while (rogue.push() && taken < (1U << 30)) rogue.channel->write(pings);
    const std::uint64_t now = pair.far.metrics.bytes_in.get();
    quiet = now == taken ? quiet + 1 : 0;
    taken = now;
    return quiet > 100;
  }));
  // What the kernels hold, and a bound of ours.
  CHECK(taken < (64U << 20));
  // It goes on when the answers are taken.
  REQUIRE(pair.loop.until([&] {
    rogue.pull();
    return pair.far.metrics.bytes_in.get() > taken;
  }));
}
