// What gossip, leadership and the local Redis know, put into the words of others: the topology that
// the workers route by, what leadership is told of a peer, what /status shows of the group.
//
// Invariants: members are nodes with a Redis, ordered by id, each once; the primary is named only
// when its Redis is promoted (commands may be sent there). Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "conf/endpoint.h"
#include "health/gossip.h"
#include "health/leadership.h"
#include "health/local_redis.h"
#include "proxy/control/status.h"
#include "router/topology.h"

namespace azimuth {

// One moment of the group, as one node sees it. The pointers are borrowed.
struct GroupSight {
  const NodeRecord& self;
  std::vector<const NodeRecord*> others;  // by id
  const GroupView& view;
  const LocalRedis& local;  // of a member
  Endpoint redis;           // of a member
  const std::vector<Fork>& forks;
};

Topology topology_of(const GroupSight& sight);
// Who leads, for a node that neither votes nor has a Redis: leaders do not write to it, there may
// be thousands. What the newest epoch's leader says of itself. `known`: the newest epoch that it
// has heard of until now; it does not go back behind that.
GroupView view_by_gossip(const std::vector<const NodeRecord*>& others, std::uint64_t known);
// The history that a leader's record tells of, of which such a node keeps what it has heard:
// `forks` as far as this leader's goes on from there, and its own beginning. At most kForksMax
// epochs.
void follow_history(std::vector<Fork>& forks, const NodeRecord& leader);
PeerFacts peer_facts(const NodeRecord& record);
// What a record says in `readable`: the primary is promoted, the replica in sync with it.
bool is_readable(const LocalRedis& local, const GroupView& view);
// Fills in role, epoch, primary, members, cluster and why.
void describe(const GroupSight& sight, NodeReport& report);

}  // namespace azimuth
