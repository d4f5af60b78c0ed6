#include "health/gossip_packet.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>

#include "conf/limits.h"
#include "health/wire.h"

namespace azimuth {
namespace {

constexpr std::uint8_t kFormatVersion = 1;

// A release that adds a flag leaves the others alone.
struct Flag {
  std::uint64_t bit;
  bool NodeRecord::*field;
};
constexpr Flag kFlags[] = {
    {1, &NodeRecord::member},      {2, &NodeRecord::wants_vote},   {4, &NodeRecord::has_state},
    {8, &NodeRecord::redis_ready}, {16, &NodeRecord::redis_empty}, {32, &NodeRecord::readable},
};

std::string encode_record(const NodeRecord& record) {
  WireWriter out;
  for (const std::string* text : {&record.id, &record.zone, &record.region, &record.address,
                                  &record.leader, &record.replid}) {
    out.text(*text);
  }
  out.number(record.boot);
  out.number(record.incarnation);
  out.number(record.version);
  out.u8(static_cast<std::uint8_t>(record.status));
  std::uint64_t flags = 0;
  for (const Flag& flag : kFlags) flags |= record.*flag.field ? flag.bit : 0;
  out.number(flags);
  out.number(record.bootstrap_expect);
  out.number(record.epoch);
  out.number(record.offset);
  out.number(record.replica_port);
  out.number(record.begin);
  out.number(record.after);
  return out.take();
}

std::string printable(WireReader& in, std::size_t bytes_max) {
  const std::string_view text = in.text(bytes_max);
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; })) {
    in.fail();
    return {};
  }
  return std::string(text);
}

std::uint32_t number32(WireReader& in) {
  return static_cast<std::uint32_t>(in.number(std::numeric_limits<std::uint32_t>::max()));
}

bool decode_record(WireReader in, NodeRecord& record) {
  record.id = printable(in, kNameBytesMax);
  record.zone = printable(in, kNameBytesMax);
  record.region = printable(in, kNameBytesMax);
  record.address = printable(in, kGossipAddressBytesMax);
  record.leader = printable(in, kNameBytesMax);
  record.replid = printable(in, kGossipReplidBytesMax);
  record.boot = in.number();
  record.incarnation = number32(in);
  record.version = number32(in);
  const std::uint8_t status = in.u8();
  if (status > static_cast<std::uint8_t>(NodeStatus::kLeft)) return false;
  record.status = static_cast<NodeStatus>(status);
  const std::uint64_t flags = in.number();
  for (const Flag& flag : kFlags) record.*flag.field = (flags & flag.bit) != 0;
  record.bootstrap_expect = number32(in);
  record.epoch = in.number();
  record.offset = in.number();
  // (Releases that knew less end here, or behind this.)
  record.replica_port = in.at_end() ? 0 : static_cast<std::uint16_t>(in.number(UINT16_MAX));
  record.begin = in.at_end() ? 0 : in.number();
  record.after = in.at_end() ? 0 : in.number();
  return in.ok() && !record.id.empty() && !record.address.empty();
}

bool decode_item(WireReader in, GossipItem& item) {
  if (!decode_record(in.block(kGossipPacketBytesMax), item.record)) return false;
  const std::uint64_t count = in.number(kGossipAccusersMax);
  for (std::uint64_t i = 0; i < count; ++i) item.accusers.push_back(printable(in, kNameBytesMax));
  return in.ok();
}

std::string encode_item(const std::string& record, const std::vector<std::string>& accusers) {
  WireWriter out;
  out.text(record);
  out.number(accusers.size());
  for (const std::string& accuser : accusers) out.text(accuser);
  return out.take();
}

}  // namespace

GossipPacketWriter::GossipPacketWriter(const GossipHead& head, const NodeRecord& sender) {
  WireWriter inner;
  inner.number(head.number);
  inner.text(head.target);
  inner.text(head.address);
  WireWriter out;
  out.u8(kFormatVersion);
  out.u8(static_cast<std::uint8_t>(head.kind));
  out.text(inner.bytes());
  out.text(encode_record(sender));
  bytes_ = out.take();
}

bool GossipPacketWriter::add(const NodeRecord& record, const std::vector<std::string>& accusers) {
  const std::string encoded = encode_record(record);
  WireWriter block;
  block.text(encode_item(encoded, accusers));
  if (bytes_.size() + block.size() > kGossipPacketBytesMax && !accusers.empty()) {
    block = WireWriter();
    block.text(encode_item(encoded, {}));
  }
  if (bytes_.size() + block.size() > kGossipPacketBytesMax) return false;
  bytes_ += block.bytes();
  return true;
}

std::optional<GossipPacket> decode_gossip_packet(std::string_view bytes) {
  if (bytes.size() > kGossipPacketBytesMax) return std::nullopt;
  WireReader in(bytes);
  if (in.u8() != kFormatVersion) return std::nullopt;
  const std::uint8_t kind = in.u8();
  if (kind < static_cast<std::uint8_t>(GossipKind::kPing) ||
      kind > static_cast<std::uint8_t>(GossipKind::kNews)) {
    return std::nullopt;
  }
  GossipPacket packet;
  packet.head.kind = static_cast<GossipKind>(kind);
  WireReader head = in.block(kGossipPacketBytesMax);
  packet.head.number = head.number();
  packet.head.target = printable(head, kNameBytesMax);
  packet.head.address = printable(head, kGossipAddressBytesMax);
  if (!head.ok()) return std::nullopt;
  if (!decode_record(in.block(kGossipPacketBytesMax), packet.sender)) return std::nullopt;
  while (in.ok() && !in.at_end()) {
    packet.items.emplace_back();
    if (!decode_item(in.block(kGossipPacketBytesMax), packet.items.back())) return std::nullopt;
  }
  if (!in.ok()) return std::nullopt;
  return packet;
}

}  // namespace azimuth
