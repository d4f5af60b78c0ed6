#include "proxy/peer/link_packing.h"

#include <time.h>

#include <algorithm>
#include <numeric>

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

int level_first(const LinkSettings& own) {
  return static_cast<int>(own.compression == Compression::kAuto ? own.level_min : own.level_max);
}

}  // namespace

// --- sending -----------------------------------------------------------------------------------

LinkPacking::LinkPacking(const LinkSettings& own, bool made_here, PackWork& work,
                         PeerTraffic& traffic, std::uint64_t now_ms)
    : work_(work),
      traffic_(traffic),
      adapts_(own.compression == Compression::kAuto),
      level_(level_first(own), static_cast<int>(own.level_max)),
      packer_({.level = level_.level()}, adapts_),
      // Replication flows out of the side that did not make the link.
      delay_(made_here ? 0 : own.delay_ms),
      share_(work.memory),
      work_ns_seen_(work.zstd_ns),
      used_ms_(now_ms) {
  traffic_.packed.add(1);
  traffic_.level.set(level_.level());
}

LinkPacking::~LinkPacking() {
  set_starved(false);
  traffic_.packed.add(-1);
}

void LinkPacking::set_starved(bool starved) {
  if (std::exchange(starved_, starved) == starved) return;
  traffic_.packed.add(starved ? -1 : 1);
  traffic_.starved.add(starved ? 1 : -1);
}

void LinkPacking::note(StreamKind kind, std::uint64_t now_ms, std::string_view plain,
                       std::size_t taken) {
  if (kind != StreamKind::kTunnel || !delay_.delays()) return;
  delay_.note(now_ms, taken);
  // What is as long as a batch does not wait in any case.
  if (urgent_ || taken >= kPackBatchBytes) return;
  urgent_ = plain.substr(plain.size() - taken).find(kAsksForAck) != std::string_view::npos;
}

bool LinkPacking::holds_back(std::uint64_t now_ms, const KindBytes& turn, std::size_t bytes,
                             bool nothing_before) {
  constexpr auto kTunnels = static_cast<std::size_t>(LinkKind::kTunnels);
  const std::size_t all = std::accumulate(turn.begin(), turn.end(), std::size_t{0});
  const bool may_wait =
      delay_.delays() && !urgent_ && all != 0 && turn[kTunnels] == all && nothing_before;
  if (may_wait && delay_.wait(now_ms, bytes)) return true;
  delay_.sent();
  urgent_ = false;
  return false;
}

// Whether there is memory, and how wide a window it is enough for.
bool LinkPacking::take_memory() {
  const bool wide = purpose_ == PackFor::kReplication;
  const std::size_t wanted = wide ? kPackerTunnelBytes : kPackerBytes;
  if (share_.bytes() >= wanted) return true;
  PackShape shape = packer_.shape();
  if (share_.grow(wanted, purpose_)) {
    shape.window_log = wide ? kPackTunnelWindowLog : kPackWindowLog;
  } else if (share_.bytes() == 0 && wide && share_.grow(kPackerBytes, purpose_)) {
    shape.window_log = kPackWindowLog;
  }
  packer_.reshape(shape);
  return share_.bytes() != 0;
}

void LinkPacking::pack(std::uint64_t now_ms, std::string_view plain, std::string& out) {
  if (plain.size() > kHeartbeatBytesMax) used_ms_ = now_ms;
  if (!packer_.wants(plain.size())) return packer_.pass(plain, out);
  set_starved(!take_memory());
  if (starved_) {
    traffic_.passed.add(plain.size());
    return packer_.pass(plain, out);
  }
  const std::uint64_t skipped = packer_.skipped();
  const std::uint64_t began_ns = thread_cpu_ns();
  packer_.pack(plain, out);
  const std::uint64_t took_ns = thread_cpu_ns() - began_ns;
  own_ns_ += took_ns;
  work_.zstd_ns += took_ns;
  traffic_.out.zstd_ns.add(took_ns);
  traffic_.skipped.add(packer_.skipped() - skipped);
}

void LinkPacking::on_tick(std::uint64_t now_ms, bool stuck, std::string& out) {
  const PackLoad load{.own_ns = std::exchange(own_ns_, 0),
                      .worker_ns = work_.zstd_ns - work_ns_seen_,
                      .stuck = stuck};
  work_ns_seen_ = work_.zstd_ns;
  if (adapts_ && level_.on_tick(now_ms, load)) {
    packer_.reshape({level_.level(), packer_.shape().window_log});
    traffic_.level.set(level_.level());
  }
  const bool idle = now_ms - used_ms_ >= kPackIdleMsMax;
  const bool gives_way = purpose_ == PackFor::kAnything && work_.memory.tight();
  if (idle) set_starved(false);
  if (share_.bytes() == 0 || !(idle || gives_way)) return;
  packer_.rest(out);
  share_.hold(0);
}

// --- reading -----------------------------------------------------------------------------------

LinkUnpacking::LinkUnpacking(PackWork& work, PeerTraffic& traffic)
    : traffic_(traffic), promise_(work.promised), share_(work.memory) {
  promise_.hold(kUnpackerBytes);  // it was offered
}

void LinkUnpacking::carry_replication() {
  unpacker_.set_window(kPackTunnelWindowLog);
  promise_.hold(kUnpackerTunnelBytes);
}

void LinkUnpacking::give(std::string_view wire) {
  // Frames that are much alike shrink to little, by themselves to hardly less than this.
  by_wire_ = kPackUnpaidRatioMax * static_cast<std::int64_t>(wire.size());
  unpacker_.give(wire);
}

// (The read in which a stream begins is not measured.)
std::size_t LinkUnpacking::read(char* to, std::size_t size) {
  const bool measured = unpacker_.awake();
  const std::uint64_t began_ns = measured ? thread_cpu_ns() : 0;
  const std::size_t got = unpacker_.read(to, size);
  if (measured) traffic_.in.zstd_ns.add(thread_cpu_ns() - began_ns);
  share_.hold(unpacker_.awake() ? promise_.bytes() : 0);
  return got;
}

bool LinkUnpacking::cover(std::size_t unpaid) {
  const std::int64_t covered = std::min(static_cast<std::int64_t>(unpaid), by_wire_);
  by_wire_ -= covered;
  unpaid_left_ -= static_cast<std::int64_t>(unpaid) - covered;
  return unpaid_left_ >= 0;
}

// What was allowed for streams that this side has closed is forgotten little by little: what was on
// its way has come by then.
void LinkUnpacking::on_tick() {
  const std::int64_t above = std::max(unpaid_left_ - kPackUnpaidBytesMax, std::int64_t{0});
  unpaid_left_ = kPackUnpaidBytesMax + above - above / 32;
}

void LinkUnpacking::let_go() {
  share_.hold(0);
  promise_.hold(0);
}

}  // namespace azimuth
