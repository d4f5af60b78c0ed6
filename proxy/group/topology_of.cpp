#include "proxy/group/topology_of.h"

#include <algorithm>
#include <utility>

#include "conf/limits.h"

namespace azimuth {
namespace {

bool lives(const NodeRecord& record) {
  return record.status == NodeStatus::kAlive || record.status == NodeStatus::kSuspect;
}

// All nodes that have not said goodbye, by id, self included.
std::vector<const NodeRecord*> nodes_of(const GroupSight& sight) {
  std::vector<const NodeRecord*> nodes;
  nodes.reserve(sight.others.size() + 1);
  bool self_is_in = false;
  const auto add_self_before = [&](const NodeRecord* next) {
    if (self_is_in || (next != nullptr && next->id < sight.self.id)) return;
    nodes.push_back(&sight.self);
    self_is_in = true;
  };
  for (const NodeRecord* each : sight.others) {
    add_self_before(each);
    if (each->status != NodeStatus::kLeft) nodes.push_back(each);
  }
  add_self_before(nullptr);
  return nodes;
}

bool is_primary(const GroupView& view, std::string_view id) {
  return view.leader_ready && view.leader == id;
}

std::string role_of(const GroupSight& sight) {
  if (sight.view.removed) return "removed";
  if (!sight.self.member) return sight.self.wants_vote ? "witness" : "sidecar";
  return sight.view.leading && is_primary(sight.view, sight.self.id) ? "primary" : "replica";
}

MemberStatus member_status(const GroupSight& sight, const NodeRecord& record) {
  const bool primary = is_primary(sight.view, record.id);
  MemberStatus member;
  member.id = record.id;
  member.zone = record.zone;
  member.region = record.region;
  // Its own lease may have run out before the others have noticed.
  const bool own = &record == &sight.self;
  member.role = own ? role_of(sight) : primary ? "primary" : "replica";
  member.alive = own || lives(record);
  // In sync with an earlier primary says nothing of this one.
  const bool in_sync = record.readable && record.epoch == sight.view.epoch;
  member.ready = member.alive && record.redis_ready && (member.role == "primary" || in_sync);
  member.position = {record.epoch, record.offset};
  return member;
}

}  // namespace

Topology topology_of(const GroupSight& sight) {
  Topology topology;
  topology.epoch = sight.view.epoch;
  topology.holding = sight.view.handing_over;
  // (The primary's own copy is one of the view's.)
  if (sight.view.leading)
    topology.quorum_replicas =
        static_cast<unsigned>(std::max<std::size_t>(sight.view.quorum_copies, 1) - 1);
  topology.unfed = sight.view.electorate.removed;
  topology.unfed.insert(topology.unfed.end(), sight.view.unfed.begin(), sight.view.unfed.end());
  if (!sight.forks.empty() && sight.forks.back().epoch == sight.view.epoch) {
    for (const Fork& each : sight.forks) topology.starts.push_back({each.epoch, each.begin});
  }
  if (!sight.view.leader_ready || sight.view.leader.empty()) topology.why = sight.view.why;
  for (const NodeRecord* record : nodes_of(sight)) {
    const bool own = record == &sight.self;
    if (!record->member || (!own && sight.view.electorate.removes(record->id))) continue;
    const auto index = static_cast<int>(topology.members.size());
    if (is_primary(sight.view, record->id)) topology.primary = index;
    if (own) topology.local = index;
    Member member;
    member.id = record->id;
    member.zone = record->zone;
    member.region = record->region;
    if (own) member.redis = sight.redis;
    member.peer = record->address;
    member.alive = own || record->status == NodeStatus::kAlive;
    // Positions change all the time, and a snapshot would be stale at once: they are not in it.
    const bool ready = record->readable && record->epoch == sight.view.epoch;
    member.readiness = ready ? Readiness::kReady : Readiness::kNotReady;
    if (ready && index != topology.primary) member.replica_port = record->replica_port;
    topology.members.push_back(std::move(member));
  }
  return topology;
}

GroupView view_by_gossip(const std::vector<const NodeRecord*>& others, std::uint64_t known) {
  GroupView view;
  view.epoch = known;
  const NodeRecord* behind = nullptr;
  bool hears_a_voter = false;
  for (const NodeRecord* each : others) {
    if (!lives(*each) || !(each->member || each->wants_vote)) continue;
    hears_a_voter = hears_a_voter || each->wants_vote;
    if (each->leader.empty()) continue;
    if (each->epoch < view.epoch) {
      behind = each;
      continue;
    }
    view.epoch = each->epoch;
    view.leader = each->leader;
  }
  view.isolated = !hears_a_voter;
  const auto leader = std::find_if(others.begin(), others.end(), [&](const NodeRecord* each) {
    return each->id == view.leader && lives(*each);
  });
  if (view.isolated) {
    view.why = "no node that votes answers";
  } else if (view.leader.empty() && behind != nullptr) {
    view.why = behind->leader + " leads epoch " + std::to_string(behind->epoch) +
               ", and this node has heard of epoch " + std::to_string(known) +
               " (if the group was founded anew, start this node anew)";
  } else if (view.leader.empty()) {
    view.why = "no member knows of a primary";
  } else if (leader == others.end()) {
    view.why = view.leader + ", the last primary known, does not answer";
    view.leader.clear();
  } else {
    const NodeRecord& record = **leader;
    view.replid = record.replid;
    view.leader_ready = record.epoch == view.epoch && record.leader == record.id && record.readable;
    if (!view.leader_ready) view.why = view.leader + " is about to become the primary";
  }
  return view;
}

void follow_history(std::vector<Fork>& forks, const NodeRecord& leader) {
  if (!forks.empty() && forks.back().epoch == leader.epoch) return;
  // What led behind the epoch that it goes on from has no part in it.
  std::erase_if(forks, [&](const Fork& each) { return each.epoch > leader.after; });
  if (leader.after != 0 && (forks.empty() || forks.back().epoch != leader.after)) {
    // How that one came about, nobody has told.
    forks.assign(1, Fork{leader.after, {}, 0});
  }
  forks.push_back({leader.epoch, leader.replid, leader.begin});
  if (forks.size() > kForksMax) forks.erase(forks.begin());
}

PeerFacts peer_facts(const NodeRecord& record) {
  PeerFacts facts;
  facts.alive = record.status == NodeStatus::kAlive;
  facts.member = record.member;
  facts.wants_vote = record.wants_vote;
  facts.has_state = record.has_state;
  facts.redis_ready = record.redis_ready;
  facts.redis_empty = record.redis_empty;
  facts.boot = record.boot;
  facts.epoch = record.epoch;
  facts.bootstrap_expect = record.bootstrap_expect;
  facts.zone = record.zone;
  facts.region = record.region;
  return facts;
}

bool is_readable(const LocalRedis& local, const GroupView& view) {
  if (view.leading) return view.leader_ready;
  return local.alive && !local.loading && local.link_up && local.done == OrderKind::kFollow &&
         local.done_epoch == view.epoch;
}

void describe(const GroupSight& sight, NodeReport& report) {
  const GroupView& view = sight.view;
  report.role = role_of(sight);
  report.epoch = view.epoch;
  report.primary.reset();
  if (view.leader_ready && !view.leader.empty()) report.primary = view.leader;
  report.isolated = view.isolated;
  report.why = view.why;
  ClusterReport& cluster = report.cluster.emplace();
  cluster.voters = view.electorate.voters;
  cluster.removed = view.electorate.removed;
  std::vector<std::string> unseen = view.electorate.voters;
  for (const NodeRecord* record : nodes_of(sight)) {
    std::erase(unseen, record->id);
    if (record != &sight.self && view.electorate.removes(record->id)) continue;
    if (record->member) {
      report.members.push_back(member_status(sight, *record));
    } else if (record->wants_vote) {
      cluster.witnesses.push_back(
          {record->id, record->zone, record->region, record == &sight.self || lives(*record)});
    } else if (record != &sight.self && lives(*record)) {
      ++cluster.sidecars;
    }
  }
  // Voters that the state file names, and that nobody has seen since: dead, and not forgotten.
  for (std::string& id : unseen) {
    MemberStatus member;
    member.id = std::move(id);
    member.role = "unknown";
    report.members.push_back(std::move(member));
  }
  std::sort(report.members.begin(), report.members.end(),
            [](const MemberStatus& a, const MemberStatus& b) { return a.id < b.id; });
  uint64_t head = 0;
  for (const MemberStatus& each : report.members) {
    if (each.role == "primary") head = each.position.offset;
  }
  for (MemberStatus& each : report.members) {
    each.lag_bytes = head > each.position.offset ? head - each.position.offset : 0;
  }
}

}  // namespace azimuth
