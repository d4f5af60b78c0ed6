#include "proxy/control/peer_report.h"

#include <algorithm>
#include <numeric>

namespace azimuth {

namespace {

void add_way(WayReport& to, const WayTraffic& way) {
  for (size_t i = 0; i < kLinkKinds; ++i) {
    to.plain[i] += way.plain[i].get();
    to.wire[i] += way.wire[i].get();
  }
  to.zstd_seconds += static_cast<double>(way.zstd_ns.get()) / 1e9;
}

}  // namespace

void add_traffic(std::vector<PeerReport>& peers, const LinkTraffic& traffic) {
  for (size_t i = 0; i < traffic.size(); ++i) {
    const PeerTraffic& each = traffic.at(i);
    auto to = std::find_if(peers.begin(), peers.end(), [&](const PeerReport& known) {
      return known.node == each.node && known.zone == each.zone;
    });
    if (to == peers.end()) {
      to = peers.insert(to, PeerReport{});
      to->node = each.node;
      to->zone = each.zone;
    }
    const int64_t packed = each.packed.get();
    to->packed_links += packed;
    if (packed > 0) to->level = std::max(to->level, each.level.get());
    to->starved_links += each.starved.get();
    to->skipped += each.skipped.get();
    to->passed += each.passed.get();
    add_way(to->out, each.out);
    add_way(to->in, each.in);
  }
}

uint64_t sum_of(const std::array<uint64_t, kLinkKinds>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
}

}  // namespace azimuth
