// What a worker's links carry, by peer and by what it is for: bytes before they were packed and
// encrypted, bytes on the wire, and what packing cost. Frames other than DATA are `control`.
//
// What several kinds send in one turn is packed together: its bytes on the wire are shared out in
// proportion to what each put in. The wire is TLS's: the headers of TCP and IP are not counted.
//
// Invariants: one writer, the worker; anyone may read at any time, and reads values that are each
// true, though not all of one instant. A peer's entry stays, with its name, once it is there; there
// are at most kLinkPeersCountedMax, what is beyond is counted under kOtherPeers.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "conf/limits.h"
#include "proxy/control/metrics.h"

namespace azimuth {

enum class LinkKind : std::uint8_t { kControl, kCommands, kReads, kTunnels };
inline constexpr std::array<std::string_view, 4> kLinkKindNames = {"control", "commands", "reads",
                                                                   "tunnels"};
inline constexpr std::size_t kLinkKinds = kLinkKindNames.size();
inline constexpr std::string_view kOtherPeers = "(others)";

// Bytes by kind.
using KindBytes = std::array<std::size_t, kLinkKinds>;

// Shares `wire` out in proportion to `plain`; the parts add up to it. All of it is control's where
// there is nothing else.
KindBytes share_out(const KindBytes& plain, std::size_t wire);

struct WayTraffic {  // in one direction
  std::array<Counter, kLinkKinds> plain, wire;
  Counter zstd_ns;  // of this thread's CPU

  void add(const KindBytes& plain_bytes, std::size_t wire_bytes);
};

struct PeerTraffic {
  PeerTraffic(std::string node_id, std::string zone_name)
      : node(std::move(node_id)), zone(std::move(zone_name)) {}

  const std::string node, zone;
  WayTraffic out, in;
  Counter skipped;  // bytes out that were not packed, since they look as if they would not shrink
  Counter passed;   // ... and since there was no memory for it
  Gauge packed;     // links to it, and from it, on which this side packs
  Gauge starved;    // ... and on which it would, and has no memory
  Gauge level;      // of zstd, the one that was last chosen
};

class LinkTraffic {
 public:
  // The writer's. `member`: it has a place of its own in any case.
  PeerTraffic& of(std::string_view node, std::string_view zone, bool member);

  std::size_t size() const { return size_.load(std::memory_order_acquire); }
  const PeerTraffic& at(std::size_t index) const { return *peers_[index]; }

 private:
  PeerTraffic& add(std::string_view node, std::string_view zone);

  std::array<std::unique_ptr<PeerTraffic>, kLinkPeersCountedMax + 1> peers_;
  PeerTraffic* others_ = nullptr;
  std::atomic<std::size_t> size_{0};
};

}  // namespace azimuth
