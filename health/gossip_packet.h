// What gossip says on the wire: one packet, one datagram.
//
//   version u8 | kind u8 | block: head | block: the sender's record | item ...   to the end
//   item = block: (block: record | number of accusers | their ids)
//
// Each block carries its length, so that a newer release may append fields; an older one skips
// them. Numbers, texts and blocks: health/wire.h.
//
// Invariants: every packet carries its sender's own record, whole and fresh: whoever hears from a
// node knows what it says of itself. No packet exceeds kGossipPacketBytesMax. What decodes is
// within all bounds, and its texts are printable ASCII without spaces. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "health/gossip.h"

namespace azimuth {

enum class GossipKind : std::uint8_t {
  kPing = 1,         // answer me: an ack
  kPingRequest = 2,  // ask `target` at `address` for me
  kAck = 3,          // `target` lives
  kNack = 4,         // `target` has not answered me yet, but I am here
  kPull = 5,         // send me the records that follow `target` in the order of ids
  kPage = 6,         // here they are; none: there are no more
  kNews = 7,         // asks for nothing
};

struct GossipHead {
  GossipKind kind = GossipKind::kNews;
  std::uint64_t number = 0;  // of the question, repeated in its answer
  std::string target;        // a node's id
  std::string address;       // kPingRequest: where the target is

  friend bool operator==(const GossipHead&, const GossipHead&) = default;
};

struct GossipItem {
  NodeRecord record;
  std::vector<std::string> accusers;  // of a suspect: who has found it silent

  friend bool operator==(const GossipItem&, const GossipItem&) = default;
};

struct GossipPacket {
  GossipHead head;
  NodeRecord sender;
  std::vector<GossipItem> items;
};

// Builds a packet piece by piece, as far as it has room.
class GossipPacketWriter {
 public:
  GossipPacketWriter(const GossipHead& head, const NodeRecord& sender);
  // False, and nothing is added, where it does not fit. Accusers are left out before the record is.
  bool add(const NodeRecord& record, const std::vector<std::string>& accusers);
  std::size_t size() const { return bytes_.size(); }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

std::optional<GossipPacket> decode_gossip_packet(std::string_view bytes);

}  // namespace azimuth
