// Where a worker's connections to Redis lead: to the primary, wherever that is.
//
// Invariants: derived from the topology and nothing else; connections that stand when it becomes
// another one are given up. Owned by one worker.
#pragma once

#include <cstdint>
#include <string>

#include "proxy/data/socket.h"
#include "router/topology.h"

namespace azimuth {

enum class TargetKind : uint8_t {
  kNone,  // nobody leads: requests wait
  kNear,  // this node's own Redis, as long as the lease of the epoch holds
  kFar,   // the Redis of another node, by a stream that is good for the epoch
};

struct Target {
  TargetKind kind = TargetKind::kNone;
  uint64_t epoch = 0;
  std::string node;       // kFar
  std::string peer;       // kFar: "host:port"
  SocketAddress address;  // ... the same; of size 0 if it is none

  // A new epoch of the same leader concerns the lease, not the connections to its own Redis.
  bool same_place(const Target& other) const {
    if (kind != other.kind) return false;
    return kind != TargetKind::kFar || (epoch == other.epoch && peer == other.peer);
  }
};

Target target_of(const Topology& topology);

}  // namespace azimuth
