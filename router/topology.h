// The group as one moment saw it: who its members are, and which of them takes writes.
//
// Invariants: a Topology is built by the control thread and never changed afterwards; workers share
// it by pointer and drop it for the next one. `primary` and `local` are -1 or index `members`. The
// epoch only grows from one snapshot to the next. `primary` takes writes in `epoch` as far as this
// node knows; whether it still does is for the lease to say, at each write. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "conf/endpoint.h"
#include "conf/position.h"
#include "session/floor.h"

namespace azimuth {

// What the first check of the gate found out about a replica when the snapshot was made: it follows
// this epoch's primary, its link is up, its first sync is over, it is nearly current.
enum class Readiness : std::uint8_t { kNotReady, kReady };

struct Member {
  std::string id;
  std::string zone;
  std::string region;
  Endpoint redis;         // of this very node alone
  std::string peer = {};  // "host:port" where its links are accepted; empty without a cluster
  bool alive = true;      // no suspicion against it
  Readiness readiness = Readiness::kNotReady;  // as a replica; the primary needs none
  // Its Redis, as a replica, follows this epoch's primary through this port of its node's; 0: not.
  std::uint16_t replica_port = 0;

  friend bool operator==(const Member&, const Member&) = default;
};

struct Topology {
  std::uint64_t epoch = 0;
  std::vector<Member> members;
  int primary = -1;  // -1: vacant, writes are held
  int local = -1;    // the member of this very node; -1: a sidecar
  // While this node leads: copies beside its own that every election must find one of. What judges a
  // `quorum` write is looked up later than this is posted (proxy/group/quorum_count.h).
  unsigned quorum_replicas = 0;
  // Of the history that goes on, as far as it is known: the last one is `epoch`'s. Empty: not
  // known.
  std::vector<EpochStart> starts;
  // Whose Redises get nothing from this node's: taken out of the group by an operator, or (at the
  // primary) silent for so long that a `quorum` is not to count them.
  std::vector<std::string> unfed = {};
  std::string why;       // there is no primary, for people; empty: not known
  bool holding = false;  // this node leads and is about to step down: nothing new is begun here
  // This node's Redis follows this epoch, and may feed the Redises of other members; 0: it may not.
  std::uint64_t fed_epoch = 0;

  bool vacant() const noexcept { return primary < 0; }
  friend bool operator==(const Topology&, const Topology&) = default;
};

// One stock Redis, which this node stands in front of.
inline Topology single_redis(std::string node_id, std::string zone, std::string region,
                             Endpoint redis) {
  Topology topology;
  topology.members.push_back(Member{.id = std::move(node_id),
                                    .zone = std::move(zone),
                                    .region = std::move(region),
                                    .redis = std::move(redis)});
  topology.primary = 0;
  topology.local = 0;
  return topology;
}

}  // namespace azimuth
