// What links between zones may spend on packing: who gets memory, who goes without, and that both
// can be read.
#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "proxy/peer/link.h"
#include "tests/proxy/link_rogue.h"
#include "tests/proxy/log_capture.h"
#include "tests/proxy/packing_stage.h"

using namespace azimuth;
using namespace azimuth::stage;

TEST_CASE("memory for packing: a quarter is for replication, and shares give back what they had") {
  PackMemory memory(400);
  PackShare first(memory);
  CHECK(first.grow(200, PackFor::kAnything));
  CHECK(first.grow(150, PackFor::kAnything));  // it has that
  CHECK(memory.used() == 200);
  {
    PackShare second(memory), tunnel(memory);
    CHECK_FALSE(second.grow(101, PackFor::kAnything));
    CHECK(second.grow(100, PackFor::kAnything));
    CHECK_FALSE(second.grow(101, PackFor::kAnything));
    CHECK_FALSE(tunnel.grow(101, PackFor::kReplication));
    CHECK_FALSE(memory.tight());
    CHECK(tunnel.grow(100, PackFor::kReplication));
    CHECK(memory.used() == 400);
    CHECK(memory.tight());
    tunnel.hold(300);  // what has to be
    CHECK(memory.used() == 600);
    CHECK_FALSE(memory.has_room(1, PackFor::kReplication));
  }
  CHECK(memory.used() == 200);
  CHECK_FALSE(memory.tight());
  first.hold(0);
  CHECK(memory.used() == 0);
}

TEST_CASE("a turn that is worth no stream takes neither memory nor a look at the clock") {
  Pair pair(stands_elsewhere);
  pair.host.on_new = echo;
  User user;
  pair.open(user);
  for (int i = 0; i < 20; ++i) {
    const std::size_t before = user.heard_bytes;
    user.say("*1\r\n$4\r\nPING\r\n");
    REQUIRE(pair.loop.until([&] { return user.heard_bytes > before; }));
  }
  // Heartbeats, too.
  const std::uint64_t frames = pair.near.metrics.frames_in.get();
  REQUIRE(pair.loop.until([&] { return pair.near.metrics.frames_in.get() >= frames + 2; }));
  for (const auto& [node, peer] : {std::pair(&pair.near, "far"), std::pair(&pair.far, "near")}) {
    const PeerTraffic* seen = traffic(*node, peer);
    CHECK(seen->packed.get() == 1);
    CHECK(seen->starved.get() == 0);
    CHECK(seen->out.zstd_ns.get() == 0);
    CHECK(seen->in.zstd_ns.get() == 0);
    CHECK(node->links.packing().memory.used() == 0);
  }
}

TEST_CASE("memory for reading is held while there is a stream, and no longer") {
  Pair pair;
  pair.host.on_new = echo;
  const PackMemory& memory = pair.far.links.packing().memory;
  const PackMemory& promised = pair.far.links.packing().promised;
  {
    Rogue rogue(pair.far.address);
    REQUIRE(pair.loop.until([&] { return rogue.open(); }));
    // In its own zone, so that nothing but this comes packed.
    rogue.channel->write(Rogue::hello("z1", 0) + begins_packing());
    const auto says = [&](const std::string& wire) {
      const std::uint64_t frames = pair.far.metrics.frames_in.get();
      rogue.channel->write(wire);
      REQUIRE(pair.loop.until([&] {
        rogue.push();
        rogue.pull();
        return pair.far.metrics.frames_in.get() > frames;
      }));
    };
    const std::string ping = framed(FrameType::kPing, 0, "");
    says(chunk(0, ping));
    REQUIRE(pair.loop.until([&] { return promised.used() == kUnpackerBytes; }));
    CHECK(memory.used() == 0);
    std::string many;
    for (int i = 0; i < 100; ++i) many += ping;
    says(packed(many));
    CHECK(memory.used() == kUnpackerBytes);
    says(chunk(3, "") + chunk(0, ping));
    CHECK(memory.used() == 0);
    says(packed(many));
    CHECK(memory.used() == kUnpackerBytes);
  }
  REQUIRE(pair.loop.until([&] { return pair.far.metrics.links.get() == 0; }));
  CHECK(memory.used() == 0);
  CHECK(promised.used() == 0);
}

TEST_CASE("I8: without memory links send plain, which is told; replication has a part of its own") {
  LogCapture log;
  Loop loop;
  Host host;
  LinkSettings settings = settings_of("primary");
  settings.pack_memory_bytes_max = 8 << 20;  // of which two megabytes are for replication
  Node primary(loop, settings, &host, true);
  const PackMemory& memory = primary.links.packing().memory;
  const std::string text = lines(300'000);
  host.on_new = [&](User& user) { user.say(text); };

  struct Side {
    Node node;
    User user;
    explicit Side(Loop& on, const std::string& name)
        : node(on, [&] {
            LinkSettings own = settings_of(name);
            own.zone = "z2";
            return own;
          }()) {}
  };
  std::vector<std::unique_ptr<Side>> sides;
  const auto side = [&](StreamKind kind) -> const PeerTraffic& {
    const std::string name = "side" + std::to_string(sides.size());
    sides.push_back(std::make_unique<Side>(loop, name));
    Side& added = *sides.back();
    added.node.open(added.user, primary.address, kind);
    REQUIRE(loop.until([&] { return added.user.heard_bytes == text.size(); }));
    CHECK((added.user.heard == text));
    CHECK(memory.used() <= settings.pack_memory_bytes_max);
    return *traffic(primary, name);
  };
  for (int i = 0; i < 4; ++i) {  // of a megabyte and a half each
    const PeerTraffic& each = side(StreamKind::kCommands);
    CHECK(each.packed.get() == 1);
    CHECK(of(each.out.wire, LinkKind::kCommands) < text.size() / 2);
  }
  CHECK(memory.used() == 4 * kPackerBytes);
  for (int i = 0; i < 3; ++i) {
    const PeerTraffic& each = side(StreamKind::kCommands);
    CHECK(each.packed.get() == 0);
    CHECK(each.starved.get() == 1);
    CHECK(each.passed.get() >= text.size());
    CHECK(of(each.out.wire, LinkKind::kCommands) > text.size());
  }
  const std::string told = log.of("packing_without_memory");
  CHECK(std::count(told.begin(), told.end(), '\n') == 3);  // once a link
  CHECK(told.find(" node=side4 direction=out") != std::string::npos);
  const PeerTraffic& replica = side(StreamKind::kTunnel);
  CHECK(replica.packed.get() == 1);
  CHECK(replica.passed.get() == 0);
  CHECK(of(replica.out.wire, LinkKind::kTunnels) < text.size() / 2);
  // So it is tight: the others give back, and what they are sent can be read all the same.
  REQUIRE(loop.until([&] { return !memory.tight(); }));
  for (const auto& user : host.users) user->say(text);
  for (const auto& each : sides) {
    REQUIRE(loop.until([&] { return each->user.heard_bytes == 2 * text.size(); }));
    CHECK((each->user.heard == text + text));
  }
  CHECK(traffic(primary, "side7")->packed.get() == 1);
  // Room again: who had none packs.
  for (int i = 0; i < 4; ++i) {
    sides[static_cast<std::size_t>(i)]->user.close();
    sides[static_cast<std::size_t>(i)]->node.links.close();
  }
  REQUIRE(loop.until([&] { return primary.metrics.links.get() == 4; }));
  const PeerTraffic* starved = traffic(primary, "side5");
  const std::uint64_t passed = starved->passed.get();
  host.users[5]->say(text);
  REQUIRE(loop.until([&] { return sides[5]->user.heard_bytes == 3 * text.size(); }));
  CHECK(starved->passed.get() == passed);
  CHECK(starved->packed.get() == 1);
  CHECK(starved->starved.get() == 0);
}

TEST_CASE("I8: links that could not be read are not offered, while this node's own links are") {
  LogCapture log;
  Loop loop;
  Host host;
  host.on_new = echo;
  LinkSettings settings = settings_of("far");
  settings.pack_memory_bytes_max = 3 << 20;  // of which three links that others make may have 2.25
  Node far(loop, settings, &host, true);
  const PackMemory& promised = far.links.packing().promised;
  std::vector<std::unique_ptr<Rogue>> rogues;
  // What it says to a newcomer that it can read.
  const auto offer = [&] {
    rogues.push_back(std::make_unique<Rogue>(far.address));
    Rogue& rogue = *rogues.back();
    REQUIRE(loop.until([&] { return rogue.open(); }));
    const std::size_t before = promised.used();
    REQUIRE(loop.until([&] {
      rogue.pull();
      return rogue.heard.size() > kFrameHeaderBytes + 10;
    }));
    const auto* bytes = reinterpret_cast<const unsigned char*>(rogue.heard.data());
    const std::size_t length = bytes[1] * 65536U + bytes[2] * 256U + bytes[3];
    const auto hello =
        decode_hello(std::string_view(rogue.heard).substr(kFrameHeaderBytes, length));
    REQUIRE(hello);
    if (hello->packs != 0) {
      rogue.channel->write(Rogue::hello("z1", 0) + begins_packing());
      REQUIRE(loop.until([&] {
        rogue.push();
        return promised.used() > before;
      }));
    }
    return hello->packs;
  };
  for (int i = 0; i < 3; ++i) CHECK(offer() == kPackFormat);
  CHECK(log.of("packing_without_memory").empty());
  CHECK(offer() == 0);
  CHECK(log.of("packing_without_memory").find(" direction=in") != std::string::npos);
  CHECK(promised.used() == 3 * kUnpackerBytes);
  // The primary, to which it makes a link.
  LinkSettings elsewhere = settings_of("primary");
  elsewhere.zone = "z2";
  Node primary(loop, elsewhere, &host, true);
  User user;
  far.open(user, primary.address);
  user.say("here");
  REQUIRE(loop.until([&] { return user.heard == "here"; }));
  CHECK(traffic(primary, "far")->packed.get() == 1);
}
