// Links between zones: who packs towards whom, what is counted, what waits, and what a peer that
// packs lies about.
#include <zstd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <string>

#include "proxy/peer/link.h"
#include "tests/proxy/link_rogue.h"
#include "tests/proxy/log_capture.h"
#include "tests/proxy/packing_stage.h"

using namespace azimuth;
using namespace azimuth::stage;

TEST_CASE("between zones both directions are packed, and arrive as they were sent") {
  const bool plaintext = GENERATE(false, true);
  Pair pair(stands_elsewhere, plaintext);
  pair.host.on_new = echo;
  const std::string text = lines(8 << 20);
  there_and_back(pair, text);
  for (const auto& [node, peer] : {std::pair(&pair.near, "far"), std::pair(&pair.far, "near")}) {
    const PeerTraffic* seen = traffic(*node, peer);
    REQUIRE(seen != nullptr);
    CHECK(seen->packed.get() == 1);
    for (const WayTraffic* way : {&seen->out, &seen->in}) {
      CHECK(of(way->plain, LinkKind::kCommands) == text.size());
      CHECK(of(way->plain, LinkKind::kTunnels) == 0);
      CHECK(of(way->wire, LinkKind::kCommands) < text.size() / 4);
      CHECK(of(way->plain, LinkKind::kControl) > 0);
      CHECK(way->zstd_ns.get() > 0);
    }
    // The handshake and HELLO came before anybody knew whom to count them under.
    CHECK(sum(seen->out.wire) <= node->metrics.bytes_out.get());
    CHECK(sum(seen->out.wire) + 2000 > node->metrics.bytes_out.get());
    CHECK(sum(seen->in.wire) == node->metrics.bytes_in.get());
  }
}

TEST_CASE("within a zone nothing is packed, and no more goes over the wire than TLS adds") {
  Pair pair;
  pair.host.on_new = echo;
  const std::string text = lines(4 << 20);
  there_and_back(pair, text);
  const PeerTraffic* seen = traffic(pair.near, "far");
  REQUIRE(seen != nullptr);
  CHECK(seen->packed.get() == 0);
  CHECK(seen->out.zstd_ns.get() == 0);
  CHECK(seen->in.zstd_ns.get() == 0);
  CHECK(of(seen->out.plain, LinkKind::kCommands) == text.size());
  CHECK(of(seen->out.wire, LinkKind::kCommands) > text.size());
  CHECK(of(seen->out.wire, LinkKind::kCommands) < text.size() + text.size() / 100);
  CHECK(traffic(pair.far, "near")->packed.get() == 0);
}

TEST_CASE("a region makes another zone of the same name") {
  Pair pair([](LinkSettings& settings) { settings.region = "elsewhere"; });
  pair.host.on_new = echo;
  there_and_back(pair, lines(100'000));
  CHECK(traffic(pair.near, "far")->packed.get() == 1);
}

TEST_CASE("what the group has on record of a peer counts for more than what it says") {
  const bool lies_away = GENERATE(true, false);
  LogCapture log;
  // It says that it stands elsewhere, and is next door; and the other way round.
  Pair pair([&](LinkSettings& settings) { settings.zone = lies_away ? "z2" : "z1"; });
  pair.host.on_new = echo;
  pair.far.links.set_places([&](std::string_view node) -> std::optional<PeerPlace> {
    if (node != "near") return std::nullopt;
    return PeerPlace{lies_away ? "z1" : "z2", ""};
  });
  there_and_back(pair, lines(500'000));
  const std::string told = log.of("zone_mismatch");
  CHECK(std::count(told.begin(), told.end(), '\n') == 1);
  CHECK(told.find(std::string(" node=near says=") +
                  (lies_away ? "z2 record=z1" : "z1 record=z2")) != std::string::npos);
  // Each side decides for what it sends; what the other sends is read either way.
  CHECK(traffic(pair.far, "near")->zone == (lies_away ? "z1" : "z2"));
  CHECK(traffic(pair.far, "near")->packed.get() == (lies_away ? 0 : 1));
  CHECK(traffic(pair.near, "far")->packed.get() == (lies_away ? 1 : 0));
}

TEST_CASE("a side that wants no packing is sent none, and sends none") {
  Pair pair([](LinkSettings& settings) {
    settings.zone = "z2";
    settings.compression = Compression::kOff;
  });
  pair.host.on_new = echo;
  there_and_back(pair, lines(500'000));
  CHECK(traffic(pair.near, "far")->packed.get() == 0);
  CHECK(traffic(pair.far, "near")->packed.get() == 0);
}

TEST_CASE("a peer that knows nothing of packing, or another format of it, is sent plain bytes") {
  const std::uint32_t packs = GENERATE(0U, 6U);
  Pair pair;
  Rogue old(pair.far.address);
  REQUIRE(pair.loop.until([&] { return old.open(); }));
  old.channel->write(Rogue::hello("z2", packs) + Rogue::open_stream(1) +
                     framed(FrameType::kPing, 0, ""));
  const std::string opened = framed(FrameType::kOpened, 1, "");
  const std::string pong = framed(FrameType::kPong, 0, "");
  REQUIRE(pair.loop.until([&] {
    old.pull();
    return old.heard.ends_with(opened + pong);
  }));
  CHECK(traffic(pair.far, "rogue")->packed.get() == 0);
  // A HELLO without the newer fields is as good.
  HelloFrame hello;
  hello.cluster = "orders";
  std::string payload = encode(hello);
  payload.resize(payload.size() - 2);
  REQUIRE(decode_hello(payload));
  CHECK(decode_hello(payload)->packs == 0);
}

TEST_CASE("streams of all kinds are counted apart") {
  Pair pair(stands_elsewhere);
  pair.host.on_new = echo;
  const std::string text = lines(300'000);
  there_and_back(pair, text, StreamKind::kReads);
  there_and_back(pair, text + text, StreamKind::kTunnel);
  const PeerTraffic* seen = traffic(pair.near, "far");
  CHECK(of(seen->out.plain, LinkKind::kReads) == text.size());
  CHECK(of(seen->in.plain, LinkKind::kTunnels) == 2 * text.size());
  CHECK(of(seen->out.plain, LinkKind::kCommands) == 0);
}

TEST_CASE("wire bytes are shared out in proportion, to the last one") {
  CHECK(share_out({10, 20, 30, 40}, 50) == KindBytes{5, 10, 15, 20});
  CHECK(share_out({1, 1, 1, 0}, 100) == KindBytes{34, 33, 33, 0});
  CHECK(share_out({0, 0, 0, 0}, 7) == KindBytes{7, 0, 0, 0});
  CHECK(share_out({0, 0, 5, 0}, 0) == KindBytes{0, 0, 0, 0});
}

TEST_CASE("peers are counted one by one as long as there is room, members in any case") {
  LinkTraffic all;
  for (std::size_t i = 0; i < 2 * kLinkPeersCountedMax; ++i) {
    all.of("sidecar" + std::to_string(i), "z", false);
  }
  CHECK(all.size() == kLinkPeersCountedMax / 2 + 1);
  CHECK(&all.of("sidecar9999", "z", false) == &all.of("sidecar9998", "z", false));
  for (std::size_t i = 0; i < kMembersMax; ++i) {
    CHECK(all.of("member" + std::to_string(i), "z", true).node == "member" + std::to_string(i));
  }
  for (std::size_t i = 0; i < kLinkPeersCountedMax; ++i) {
    all.of("more" + std::to_string(i), "z", true);
  }
  CHECK(all.size() <= kLinkPeersCountedMax + 1);
  CHECK(&all.of("member3", "z", true) == &all.of("member3", "z", false));
}

TEST_CASE("replication waits for more of its kind, not when a write waits for it") {
  Pair pair(stands_elsewhere);
  Host host;
  LinkSettings settings = settings_of("primary");
  settings.delay_ms = 100;
  Node primary(pair.loop, settings, &host, true);
  User tunnel, other;
  pair.near.open(tunnel, primary.address, StreamKind::kTunnel);
  REQUIRE(pair.loop.until([&] { return tunnel.opens == 1; }));
  User& source = *host.users[0];
  // A stream of more than two kilobytes in a hundred milliseconds.
  const auto now = [&] { return uv_now(&pair.loop.loop); };
  const std::string write = lines(600);
  std::size_t said = 0;
  const auto busy = [&](int turns) {
    for (int i = 0; i < turns; ++i) {
      source.say(write);
      said += write.size();
      pair.loop.turn();
    }
  };
  for (const std::uint64_t began = now(); now() - began < 150;) busy(1);
  REQUIRE(pair.loop.until([&] { return tunnel.heard_bytes == said; }));
  const auto waits_for = [&](std::string_view text) {
    const std::uint64_t began = now();
    source.say(text);
    said += text.size();
    REQUIRE(pair.loop.until([&] { return tunnel.heard_bytes == said; }));
    return now() - began;
  };
  const std::uint64_t writes = primary.metrics.writes.get();
  busy(40);
  REQUIRE(pair.loop.until([&] { return tunnel.heard_bytes == said; }));
  CHECK(primary.metrics.writes.get() - writes < 20);  // of 40 turns
  CHECK(waits_for(write) >= 90);
  CHECK(waits_for(write + "*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n") < 90);
  // Nor does it when something else goes the same way.
  pair.near.open(other, primary.address);
  REQUIRE(pair.loop.until([&] { return other.opens == 1; }));
  for (const std::uint64_t began = now(); now() - began < 150;) busy(1);
  REQUIRE(pair.loop.until([&] { return tunnel.heard_bytes == said; }));
  const std::uint64_t began = now();
  source.say(write);
  said += write.size();
  host.users[1]->say("+OK\r\n");
  REQUIRE(pair.loop.until([&] { return other.heard == "+OK\r\n"; }));
  CHECK(tunnel.heard_bytes == said);
  CHECK(now() - began < 90);
}

TEST_CASE("I8: a peer whose bytes unpack to more than windows allow loses its link, and no more") {
  Pair pair;
  pair.host.on_new = echo;
  User honest;
  pair.open(honest);
  REQUIRE(pair.loop.until([&] { return honest.opens == 1; }));
  const std::string hello = Rogue::hello("z2", kPackFormat) + begins_packing();
  std::string zeros(kPackChunkBytesMax,
                    '\0');  // zero-length frames of no known type, 8,192 a chunk
  Packer packer({3, kPackWindowLog}, false);
  std::string bomb;
  for (int i = 0; i < 2000; ++i) packer.pack(zeros, bomb);
  REQUIRE(bomb.size() < 100'000);  // which would be 128 MiB
  const std::string swollen = chunk(2, [] {
    std::string out(64 * kKiB, '\0');
    const std::string big(1 << 20, 'x');
    out.resize(ZSTD_compress(out.data(), out.size(), big.data(), big.size(), 3));
    return out;
  }());
  const std::vector<std::string> cases = {
      hello + bomb,
      hello + swollen,
      hello + chunk(2, "no zstd at all"),
      hello + packed(framed(FrameType::kPacked, 0, encode_packed(kPackFormat))),  // once more
      Rogue::hello("z2", kPackFormat) + framed(FrameType::kPacked, 0, encode_packed(2)),
      hello + packed(std::string(600, '\xFF')),  // a frame longer than any
  };
  std::uint64_t corrupt = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    INFO("case " << i);
    Rogue rogue(pair.far.address);
    REQUIRE(pair.loop.until([&] { return rogue.open(); }));
    rogue.channel->write(cases[i]);
    REQUIRE(pair.loop.until([&] {
      rogue.push();
      return rogue.pull();
    }));
    corrupt += i < 3 ? 1 : 0;
    CHECK(pair.far.metrics.links_corrupt.get() == corrupt);
  }
  honest.say("still here");
  REQUIRE(pair.loop.until([&] { return honest.heard == "still here"; }));
}

TEST_CASE("a peer that packs though it was told not to loses its link") {
  Loop loop;
  Host host;
  LinkSettings settings = settings_of("far");
  settings.compression = Compression::kOff;
  Node far(loop, settings, &host, true);
  Rogue rogue(far.address);
  REQUIRE(loop.until([&] { return rogue.open(); }));
  rogue.channel->write(Rogue::hello("z2", kPackFormat) + begins_packing());
  REQUIRE(loop.until([&] {
    rogue.push();
    return rogue.pull();
  }));
  CHECK(far.metrics.links_lost.get() == 1);
}

TEST_CASE("streams that are closed while much is on its way are no bomb") {
  Pair pair(stands_elsewhere);
  const std::string text(kStreamWindowBytes, 'x');  // which shrinks to next to nothing
  pair.host.on_new = [&](User& user) { user.say(text); };
  for (int round = 0; round < 100; ++round) {
    std::vector<std::unique_ptr<User>> users;
    for (int i = 0; i < 20; ++i) {
      users.push_back(std::make_unique<User>());
      pair.open(*users.back());
    }
    REQUIRE(pair.loop.until([&] { return users.back()->heard_bytes > 0; }));
    for (auto& user : users) {
      REQUIRE(user->ends == 0);
      user->close();
    }
  }
  CHECK(pair.near.metrics.links_corrupt.get() == 0);
  CHECK(pair.near.metrics.links.get() == 1);
}

TEST_CASE("replication has a wide window, on a link that was made for something else as well") {
  Pair pair(stands_elsewhere);
  User commands, tunnel;
  pair.open(commands);
  commands.say("PING\r\n");
  REQUIRE(pair.loop.until([&] { return pair.host.users.size() == 1; }));
  REQUIRE(pair.loop.until([&] { return pair.host.users[0]->heard_bytes != 0; }));
  pair.open(tunnel, StreamKind::kTunnel);
  tunnel.keep = false;
  REQUIRE(pair.loop.until([&] { return tunnel.opens == 1; }));
  // What was said a megabyte ago is found again: letters that are drawn, and drawn only once.
  std::string noise = random_text(1 << 20, 5);
  for (char& c : noise) c = static_cast<char>('@' + (c & 31));
  User& source = *pair.host.users[1];
  for (int i = 0; i < 8; ++i) {
    const std::size_t before = tunnel.heard_bytes;
    source.say(noise);
    REQUIRE(pair.loop.until([&] { return tunnel.heard_bytes == before + noise.size(); }));
  }
  const PeerTraffic* seen = traffic(pair.far, "near");
  CHECK(of(seen->out.wire, LinkKind::kTunnels) < noise.size());
}

TEST_CASE("a peer that stands where it says is no news") {
  LogCapture log;
  Pair pair(stands_elsewhere);
  pair.host.on_new = echo;
  pair.far.links.set_places([](std::string_view) { return PeerPlace{"z2", ""}; });
  there_and_back(pair, lines(1000));
  CHECK(log.of("zone_mismatch").empty());
}
