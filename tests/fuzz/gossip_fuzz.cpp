// Gossip: packets of any content, in any order and from anywhere, between ticks. No crash, no
// packet too long, no memory without bound, no clock that stands still; what decodes encodes to the
// same again.
//
// The input is a row of steps: a byte that says what happens, then, for a packet, its length in two
// bytes and its content.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "conf/limits.h"
#include "health/gossip.h"
#include "health/gossip_packet.h"

namespace {

using namespace azimuth;

#define HOLDS(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "does not hold: %s (line %d)\n", #condition, __LINE__); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

NodeRecord record(const std::string& id) {
  NodeRecord out;
  out.id = id;
  out.region = "r";
  out.address = id + ":1";
  out.boot = 7;
  return out;
}

void decodes_to_itself(std::string_view bytes) {
  const auto packet = decode_gossip_packet(bytes);
  if (!packet) return;
  GossipPacketWriter writer(packet->head, packet->sender);
  bool all = true;
  for (const GossipItem& item : packet->items) all = writer.add(item.record, item.accusers) && all;
  const std::string again = writer.take();
  HOLDS(again.size() <= kGossipPacketBytesMax);
  const auto twice = decode_gossip_packet(again);
  HOLDS(twice.has_value());
  HOLDS(twice->head == packet->head);
  HOLDS(twice->sender == packet->sender);
  // Accusers may give way where bytes ran short; records do not, as numbers only get shorter.
  HOLDS(!all || twice->items.size() == packet->items.size());
}

void carry_out(Gossip& gossip) {
  for (const auto& packet : gossip.take_outbox().packets) {
    HOLDS(!packet.to.empty());
    HOLDS(packet.bytes.size() <= kGossipPacketBytesMax);
    HOLDS(decode_gossip_packet(packet.bytes).has_value());
  }
  HOLDS(gossip.nodes().size() <= kGossipNodesMax);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  Instant now{1000};
  Gossip gossip(record("me"), GossipTimes{}, now);
  gossip.set_seeds({"me:1", "seed:1"});
  std::uint64_t random = size;
  while (!rest.empty()) {
    const auto step = static_cast<unsigned char>(rest.front());
    rest.remove_prefix(1);
    random = random * 6364136223846793005U + step;
    if (step < 64) {
      now = now + milliseconds(step * step);
      gossip.on_tick(now, random);
      HOLDS(gossip.next_wakeup() > now - milliseconds(100));
    } else if (step < 72) {
      NodeRecord facts = gossip.self();
      facts.offset += step;
      facts.epoch += step % 2;
      gossip.update_self(facts);
    } else if (step < 74) {
      gossip.leave(now, random);
    } else {
      if (rest.size() < 2) break;
      const std::size_t length =
          static_cast<unsigned char>(rest[0]) + 256U * (static_cast<unsigned char>(rest[1]) % 8);
      rest.remove_prefix(2);
      // Exactly as large as its content, so that the sanitizer sees each byte read beyond it.
      const std::string bytes(rest.substr(0, length));
      rest.remove_prefix(bytes.size());
      decodes_to_itself(bytes);
      gossip.on_packet(now, step % 2 == 0 ? "x:1" : "seed:1", bytes, random);
      gossip.on_heard(now, "x");
    }
    carry_out(gossip);
  }
  return 0;
}
