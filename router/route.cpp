#include "router/route.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "conf/names.h"

namespace azimuth {
namespace {

constexpr std::array<std::string_view, 11> kReasonNames = {
    "only-node",   "primary-only",     "read-local",      "read-region",
    "not-ready",   "in-transaction",   "write-in-flight", "behind-floor",
    "stale-bound", "not-replica-safe", "vacant"};
static_assert(name_of(kReasonNames, Reason::kVacant) == "vacant");

constexpr std::array<std::string_view, 3> kChannelNames = {"reads", "writes", "dedicated"};

// What the session's state or the command's own makes of the connection it runs on.
bool needs_own_connection(const SessionView& session, const CommandRow& row, bool blocks) noexcept {
  if (session.in_multi || session.watching || blocks) return true;
  switch (row.handling) {
    case Handling::kMulti:
    case Handling::kWatch:
    case Handling::kBlocking:
    case Handling::kWait:  // stops its whole connection
    case Handling::kSubscribe:
    case Handling::kUnsubscribe:  // one frame a channel, and in RESP3 pushes instead of a reply
    case Handling::kMonitor:
    case Handling::kSync:
    case Handling::kUrgent:
    case Handling::kPinned:
      return true;
    case Handling::kForward:
    case Handling::kAuth:
    case Handling::kHello:
    case Handling::kClient:
    case Handling::kReset:
    case Handling::kQuit:
    case Handling::kPing:
    case Handling::kEcho:
    case Handling::kAzimuth:
    case Handling::kInfo:
    case Handling::kSelect:
    case Handling::kExec:
    case Handling::kDiscard:
    case Handling::kUnwatch:
    case Handling::kBlockingIfAsked:
    case Handling::kScriptLoad:
    case Handling::kScriptFlush:
    case Handling::kEvalsha:
    case Handling::kAclChange:
    case Handling::kRefused:
      return false;
  }
  return false;
}

// The gate for one replica: which check failed, or nothing when it may answer.
std::optional<Reason> gate(const Topology& topology, const SessionView& session,
                           const ReplicaSight& replica) noexcept {
  if (replica.member < 0 || !replica.reachable) return Reason::kNotReady;
  const Member& member = topology.members[static_cast<std::size_t>(replica.member)];
  if (session.consistency == Consistency::kEventual) return std::nullopt;
  if (member.readiness != Readiness::kReady) return Reason::kNotReady;
  if (session.consistency == Consistency::kBoundedStaleness) {
    const bool young = replica.bound && *replica.bound <= replica.applied;
    return young ? std::nullopt : std::optional(Reason::kStaleBound);
  }
  if (!replica.current || *replica.current > replica.applied) return Reason::kNotReady;
  if (session.consistency == Consistency::kConsistentPrefix) return std::nullopt;
  // A floor of another epoch says nothing here, until it is carried over (session/floor.h).
  const bool comparable = session.floor == Position{} || session.floor.epoch == topology.epoch;
  if (session.untagged || !comparable) return Reason::kWriteInFlight;
  if (session.floor.offset > replica.applied) return Reason::kBehindFloor;
  return std::nullopt;
}

}  // namespace

Channel channel_of(const SessionView& session, const CommandRow* row, bool blocks) noexcept {
  if (row == nullptr) {
    return session.in_multi || session.watching ? Channel::kDedicated : Channel::kWrites;
  }
  if (needs_own_connection(session, *row, blocks)) return Channel::kDedicated;
  // A module's command that is not readonly may do anything, whatever its flags say.
  const bool may_be_postponed = (row->flags & (kWrite | kMayReplicate)) != 0 ||
                                (has_flag(*row, kExtra) && !has_flag(*row, kReadonly));
  return may_be_postponed ? Channel::kWrites : Channel::kReads;
}

bool is_script(const CommandRow& row) noexcept {
  return has_flag(row, kNoScript) && has_flag(row, kMovableKeys);
}

Route decide(const Topology& topology, const SessionView& session, const CommandRow* row,
             const ReplicaSight& replica, bool blocks) noexcept {
  const Channel channel = channel_of(session, row, blocks);
  const bool in_transaction = session.in_multi || session.watching;
  // A blocking read on a replica is broken off whenever the replica's primary changes.
  const bool replica_may = row != nullptr && row->place == Place::kAnywhere && !blocks;

  const Reason near = replica.member == topology.local ? Reason::kReadLocal : Reason::kReadRegion;
  if (topology.vacant()) {
    const bool any_state_will_do = replica_may && !in_transaction && replica.member >= 0 &&
                                   replica.reachable &&
                                   session.consistency == Consistency::kEventual;
    if (any_state_will_do) return {replica.member, channel, near};
    return {-1, channel, Reason::kVacant};
  }
  const auto primary_because = [&](Reason reason) {
    return Route{topology.primary, channel, reason};
  };
  if (topology.members.size() == 1) return primary_because(Reason::kOnlyNode);
  if (in_transaction) return primary_because(Reason::kInTransaction);
  if (!replica_may) {
    const bool reads = row != nullptr && has_flag(*row, kReadonly);
    return primary_because(reads ? Reason::kNotReplicaSafe : Reason::kPrimaryOnly);
  }
  if (session.consistency == Consistency::kStrong) return primary_because(Reason::kPrimaryOnly);
  if (topology.local == topology.primary) return primary_because(Reason::kReadLocal);
  if (is_script(*row) && !replica.runs_scripts) return primary_because(Reason::kNotReady);
  if (const std::optional<Reason> failed = gate(topology, session, replica)) {
    return primary_because(*failed);
  }
  return {replica.member, channel, near};
}

std::vector<int> replicas_for(const Topology& topology, std::string_view zone,
                              std::string_view region, std::size_t salt, int avoided) {
  const auto member = [&](int index) -> const Member& {
    return topology.members[static_cast<std::size_t>(index)];
  };
  const auto follows = [&](int index) {
    const Member& each = member(index);
    return index != topology.primary && each.alive && each.readiness == Readiness::kReady &&
           each.region == region;
  };
  // (While there is no primary nobody follows, and the one next door may still be asked.)
  const bool next_door = topology.local >= 0 && topology.local != topology.primary;
  if (next_door && (topology.vacant() || follows(topology.local))) return {topology.local};
  if (topology.vacant()) return {};
  if (!zone.empty() && member(topology.primary).zone == zone) return {};
  std::vector<int> best;
  for (const bool in_zone : {true, false}) {
    for (int i = 0; i < static_cast<int>(topology.members.size()); ++i) {
      if (i != avoided && follows(i) && (!in_zone || member(i).zone == zone)) best.push_back(i);
    }
    if (best.empty()) continue;
    std::vector<int> some;
    for (std::size_t i = 0; i < std::min(best.size(), kReplicasReadMax); ++i) {
      some.push_back(best[(salt + i) % best.size()]);
    }
    return some;
  }
  return {};
}

int replica_for(const Topology& topology, std::string_view zone, std::string_view region,
                std::size_t salt, int avoided) {
  const std::vector<int> all = replicas_for(topology, zone, region, salt, avoided);
  return all.empty() ? -1 : all.front();
}

std::string_view to_string(Reason reason) noexcept { return name_of(kReasonNames, reason); }

std::string_view to_string(Channel channel) noexcept { return name_of(kChannelNames, channel); }

}  // namespace azimuth
