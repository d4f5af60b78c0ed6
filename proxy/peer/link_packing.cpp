// A link that leaves its zone: whether what goes out is packed, when, and reading what comes in
// packed. A link inside a zone comes here once, when it meets its peer.
#include "proxy/peer/link_packing.h"

#include <time.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "proxy/control/log.h"
#include "proxy/peer/link.h"
#include "proxy/peer/links.h"

namespace azimuth {
namespace {

// What the primary's Redis says at the end of its stream where somebody waits for copies of what
// stands before it: that is not held back. (Where it is cut in two, it goes with the delay.)
constexpr std::string_view kAsksForAck = "\r\nGETACK\r\n";

// Frames that keep an idle link alive are no use of it.
constexpr std::size_t kHeartbeatBytesMax = 64;

std::uint64_t thread_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

void LinkPacking::note(StreamKind kind, std::uint64_t now_ms, std::string_view plain,
                       std::size_t taken) {
  if (kind != StreamKind::kTunnel || !delay.delays()) return;
  delay.note(now_ms, taken);
  // What is as long as a batch does not wait in any case.
  if (urgent || taken >= kPackBatchBytes) return;
  urgent = plain.substr(plain.size() - taken).find(kAsksForAck) != std::string_view::npos;
}

// What was allowed for streams that this side has closed is forgotten little by little: what was on
// its way has come by then.
void LinkUnpacking::on_tick() {
  const std::int64_t above = std::max(unpaid_left - kPackUnpaidBytesMax, std::int64_t{0});
  unpaid_left = kPackUnpaidBytesMax + above - above / 32;
}

// --- who packs ---------------------------------------------------------------------------------

bool Link::offers_packing() {
  if (links_.settings().compression == Compression::kOff) return false;
  // Nothing is taken yet: whether the peer will pack is not known.
  if (!links_.charge(kUnpackerBytes)) return false;
  links_.release(kUnpackerBytes);
  return true;
}

// The peer is known from here on. What the group has on record of it counts, and its own word only
// where there is none; each side decides for what it sends.
void Link::meet_peer() {
  const LinkSettings& own = links_.settings();
  const auto place = links_.place_of(peer_.node);
  const std::string& zone = place ? place->zone : peer_.zone;
  const std::string& region = place ? place->region : peer_.region;
  if (zone != peer_.zone) {
    log_event(LogLevel::kWarn, "zone_mismatch",
              {{"peer", name_}, {"node", peer_.node}, {"says", peer_.zone}, {"record", zone}});
  }
  traffic_ = &links_.metrics().traffic.of(peer_.node, zone, place.has_value());
  const bool crosses = zone != own.zone || region != own.region;
  if (!crosses || own.compression == Compression::kOff || (peer_.packs & kPackFormat) == 0) return;
  begin_packing();
}

void Link::begin_packing() {
  const LinkSettings& own = links_.settings();
  const bool adapts = own.compression == Compression::kAuto;
  const PackLevel level(static_cast<int>(adapts ? own.level_min : own.level_max),
                        static_cast<int>(own.level_max));
  PackShape shape;
  shape.level = level.level();
  // Replication flows out of the side that did not make the link.
  packing_.reset(new LinkPacking{.packer = Packer(shape, adapts),
                                 .level = level,
                                 .delay = PackDelay(opener_ ? 0 : own.delay_ms),
                                 .adapts = adapts,
                                 .worker_ns_seen = links_.pack_ns_,
                                 .used_ms = links_.now_ms()});
  traffic_->packed.add(1);
  traffic_->level.set(shape.level);
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
  unpacking_.reset(new LinkUnpacking{.unpacker = Unpacker(kPackWindowLog)});
  unpacking_->charged = kUnpackerBytes;
  links_.pack_bytes_ += kUnpackerBytes;  // it was offered
  if (tunnels_) note_tunnel();
}

// Replication goes one way: out of the side that did not make the link. There it is worth a wide
// window.
void Link::note_tunnel() {
  tunnels_ = true;
  if (!opener_ || unpacking_ == nullptr || unpacking_->charged == kUnpackerTunnelBytes) return;
  unpacking_->unpacker.set_window(kPackTunnelWindowLog);
  links_.pack_bytes_ += kUnpackerTunnelBytes - unpacking_->charged;
  unpacking_->charged = kUnpackerTunnelBytes;
}

void Link::end_packing() {
  if (packing_ != nullptr) {
    links_.release(std::exchange(packing_->charged, 0));
    traffic_->packed.add(-1);
    packing_ = nullptr;
  }
  if (unpacking_ != nullptr) links_.release(std::exchange(unpacking_->charged, 0));
}

// --- out ---------------------------------------------------------------------------------------

// Whether this turn's bytes wait for more: replication alone, and not for long.
bool Link::holds_back() {
  LinkPacking& packing = *packing_;
  constexpr auto kTunnels = static_cast<std::size_t>(LinkKind::kTunnels);
  const std::size_t all = std::accumulate(turn_out_.begin(), turn_out_.end(), std::size_t{0});
  const bool may_wait = packing.delay.delays() && !packing.urgent && all != 0 &&
                        turn_out_[kTunnels] == all && channel_->wire().empty();
  if (may_wait && packing.delay.wait(links_.now_ms(), plain_.size())) {
    links_.wake_at(*this, packing.delay.due_ms());
    return true;
  }
  packing.delay.sent();
  packing.urgent = false;
  return false;
}

// Whether there is memory, and how wide a window it is enough for.
bool Link::room_to_pack() {
  LinkPacking& packing = *packing_;
  const bool wide = tunnels_ && !opener_;
  const std::size_t wanted = wide ? kPackerTunnelBytes : kPackerBytes;
  if (packing.charged >= wanted) return true;
  PackShape shape = packing.packer.shape();
  if (links_.charge(wanted - packing.charged)) {
    packing.charged = wanted;
    shape.window_log = wide ? kPackTunnelWindowLog : kPackWindowLog;
  } else if (packing.charged == 0 && wide && links_.charge(kPackerBytes)) {
    packing.charged = kPackerBytes;
    shape.window_log = kPackWindowLog;
  }
  packing.packer.reshape(shape);
  return packing.charged != 0;
}

void Link::pack_turn() {
  LinkPacking& packing = *packing_;
  if (plain_.size() > kHeartbeatBytesMax) packing.used_ms = links_.now_ms();
  std::string& out = links_.packed_out_;
  out.clear();
  const std::uint64_t skipped = packing.packer.skipped();
  const std::uint64_t began_ns = thread_cpu_ns();
  if (room_to_pack()) {
    packing.packer.pack(plain_, out);
  } else {
    packing.packer.pass(plain_, out);
  }
  const std::uint64_t took_ns = thread_cpu_ns() - began_ns;
  packing.own_ns += took_ns;
  links_.pack_ns_ += took_ns;
  traffic_->out.zstd_ns.add(took_ns);
  traffic_->skipped.add(packing.packer.skipped() - skipped);
  channel_->write(out);
}

void Link::tick_packing(std::uint64_t now_ms) {
  if (unpacking_ != nullptr) unpacking_->on_tick();
  if (packing_ == nullptr) return;
  LinkPacking& packing = *packing_;
  const PackLoad load{.own_ns = std::exchange(packing.own_ns, 0),
                      .worker_ns = links_.pack_ns_ - packing.worker_ns_seen,
                      .stuck = want_write_};
  packing.worker_ns_seen = links_.pack_ns_;
  if (packing.adapts && packing.level.on_tick(now_ms, load)) {
    packing.packer.reshape({packing.level.level(), packing.packer.shape().window_log});
    traffic_->level.set(packing.level.level());
  }
  if (packing.charged != 0 && up() && now_ms - packing.used_ms >= kPackIdleMsMax) {
    std::string rest;
    packing.packer.rest(rest);
    channel_->write(rest);
    links_.release(std::exchange(packing.charged, 0));
    mark_dirty();
  }
}

// --- in ----------------------------------------------------------------------------------------

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
  Unpacker& unpacker = unpacking_->unpacker;
  // Frames that are much alike shrink to little, by themselves to hardly less than this.
  std::int64_t by_wire = kPackUnpaidRatioMax * static_cast<std::int64_t>(wire.size());
  unpacker.give(wire);
  while (!dead() && !unpacker.done()) {
    const Links::Space space = links_.receive_space();
    const std::uint64_t began_ns = thread_cpu_ns();
    const std::size_t got = unpacker.read(space.data, space.size);
    traffic_->in.zstd_ns.add(thread_cpu_ns() - began_ns);
    links_.received(got);
    const std::size_t paid_before = paid_in();
    consume(space.block, space.data, space.data + got);
    if (dead()) return;
    std::int64_t unpaid = static_cast<std::int64_t>(got - (paid_in() - paid_before));
    const std::int64_t covered = std::min(unpaid, by_wire);
    by_wire -= covered;
    unpacking_->unpaid_left -= unpaid - covered;
    if (unpacking_->unpaid_left < 0) {
      return die(LinkFault::kCorrupt, "it unpacks to more than any stream's window allows");
    }
  }
  if (unpacker.failed()) die(LinkFault::kCorrupt, unpacker.why());
}

// What has come for streams, since it was last counted: their windows have let it.
std::size_t Link::paid_in() const {
  static_assert(static_cast<std::size_t>(LinkKind::kControl) == 0);
  return std::accumulate(turn_in_.begin() + 1, turn_in_.end(), std::size_t{0});
}

}  // namespace azimuth
