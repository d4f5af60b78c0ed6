// A link where it leaves its zone: whether it packs, and its turns and bytes on their way through
// link_packing.h. A link inside a zone comes here once, when it meets its peer.
#include <numeric>
#include <utility>

#include "proxy/control/log.h"
#include "proxy/peer/link.h"
#include "proxy/peer/links.h"

namespace azimuth {

bool Link::offers_packing() {
  if (links_.settings().compression == Compression::kOff) return false;
  // Nothing is taken yet: whether the peer will pack is not known. (Links that are made here are
  // few, and one of them may bring this node's replication.)
  const PackFor purpose = opener_ ? PackFor::kReplication : PackFor::kAnything;
  const bool offered = links_.pack_.promised.has_room(kUnpackerBytes, purpose);
  if (!offered) {
    log_warning("packing_without_memory", {{"peer", name_}, {"direction", "in"}});
  }
  return offered;
}

// The peer is known from here on. What the group has on record of it counts, and its own word only
// where there is none; each side decides for what it sends.
void Link::meet_peer() {
  const LinkSettings& own = links_.settings();
  const auto place = links_.place_of(peer_.node);
  const std::string& zone = place ? place->zone : peer_.zone;
  const std::string& region = place ? place->region : peer_.region;
  if (zone != peer_.zone) {
    log_warning("zone_mismatch",
                {{"peer", name_}, {"node", peer_.node}, {"says", peer_.zone}, {"record", zone}});
  }
  traffic_ = &links_.metrics().traffic.of(peer_.node, zone, place.has_value());
  const bool crosses = zone != own.zone || region != own.region;
  if (!crosses || own.compression == Compression::kOff || (peer_.packs & kPackFormat) == 0) return;
  packing_ = std::make_unique<LinkPacking>(own, opener_, links_.pack_, *traffic_, links_.now_ms());
  // Straight to the channel: what waits in plain_ is the first to be packed.
  const std::string payload = encode_packed(kPackFormat);
  std::string frame(kFrameHeaderBytes, '\0');
  write_frame_header(frame.data(), FrameType::kPacked, 0, payload.size());
  channel_->write(frame + payload);
  mark_dirty();
}

void Link::on_packed(std::string_view payload) {
  const auto format = decode_packed(payload);
  if (!offered_ || unpacking_ != nullptr || !format || *format != kPackFormat) {
    return protocol_error("a PACKED that makes no sense");
  }
  unpacking_ = std::make_unique<LinkUnpacking>(links_.pack_, *traffic_);
  if (tunnels_) note_tunnel();
}

// Replication goes one way: out of the side that did not make the link. There it is worth a wide
// window.
void Link::note_tunnel() {
  tunnels_ = true;
  if (opener_ && unpacking_ != nullptr) unpacking_->carry_replication();
  if (!opener_ && packing_ != nullptr) packing_->carry_replication();
}

void Link::end_packing() {
  packing_ = nullptr;
  if (unpacking_ != nullptr) unpacking_->let_go();  // it may be inside one of its calls
}

// Whether this turn's bytes wait for more.
bool Link::holds_back() {
  const bool waits =
      packing_->holds_back(links_.now_ms(), turn_out_, plain_.size(), channel_->wire().empty());
  if (waits) links_.wake_at(*this, packing_->due_ms());
  return waits;
}

void Link::pack_turn() {
  std::string& out = links_.packed_out_;
  out.clear();
  packing_->pack(links_.now_ms(), plain_, out);
  channel_->write(out);
  if (packing_->takes_note_of_starving()) {
    log_warning("packing_without_memory",
                {{"peer", name_}, {"node", peer_.node}, {"direction", "out"}});
  }
}

void Link::tick_packing(std::uint64_t now_ms) {
  if (unpacking_ != nullptr) unpacking_->on_tick();
  if (packing_ == nullptr) return;
  std::string& out = links_.packed_out_;
  out.clear();
  packing_->on_tick(now_ms, want_write_, out);
  if (out.empty()) return;
  channel_->write(out);
  mark_dirty();
}

// Whether there was anything.
bool Link::read_packed() {
  std::vector<char>& packed = links_.packed_in_;
  packed.resize(kReceiveBlockBytes);
  const std::size_t got = channel_->read(packed.data(), packed.size());
  after_channel();
  if (got == 0 || dead()) return false;
  unpack({packed.data(), got});
  return true;
}

void Link::unpack(std::string_view wire) {
  if (dead()) return;
  LinkUnpacking& unpacking = *unpacking_;
  unpacking.give(wire);
  while (!dead() && !unpacking.done()) {
    const Links::Space space = links_.receive_space();
    const std::size_t got = unpacking.read(space.data, space.size);
    links_.received(got);
    const std::size_t paid_before = paid_in();
    consume(space.block, space.data, space.data + got);
    if (dead()) return;
    if (!unpacking.cover(got - (paid_in() - paid_before))) {
      return die(LinkFault::kCorrupt, "it unpacks to more than any stream's window allows");
    }
  }
  if (unpacking.failed()) die(LinkFault::kCorrupt, unpacking.why());
}

// What has come for streams, since it was last counted: their windows have let it.
std::size_t Link::paid_in() const {
  static_assert(static_cast<std::size_t>(LinkKind::kControl) == 0);
  return std::accumulate(turn_in_.begin() + 1, turn_in_.end(), std::size_t{0});
}

}  // namespace azimuth
