// What a node's links have carried, peer by peer, added up over its workers for the pages that show
// it. Values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "proxy/peer/link_traffic.h"

namespace azimuth {

struct WayReport {
  std::array<uint64_t, kLinkKinds> plain{}, wire{};  // bytes, by LinkKind
  double zstd_seconds = 0;
};

struct PeerReport {
  std::string node, zone;
  int64_t packed_links = 0;   // on which this side compresses
  int64_t starved_links = 0;  // on which it would, and has no memory
  int64_t level = 0;          // of zstd, the highest of the first; 0: none
  uint64_t skipped = 0;       // bytes sent without, since they do not shrink
  uint64_t passed = 0;        // ... and for want of memory
  WayReport out, in;
};

// Adds what one worker has counted, in the order in which peers were met.
void add_traffic(std::vector<PeerReport>& peers, const LinkTraffic& traffic);

uint64_t sum_of(const std::array<uint64_t, kLinkKinds>& bytes);

}  // namespace azimuth
