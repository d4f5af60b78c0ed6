#include "router/route.h"

#include <array>
#include <optional>

#include "conf/names.h"

namespace azimuth {
namespace {

constexpr std::array<std::string_view, 10> kReasonNames = {
    "only-node",       "primary-only", "read-local",  "not-ready",        "in-transaction",
    "write-in-flight", "behind-floor", "stale-bound", "not-replica-safe", "vacant"};
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

// An offset says something only within its epoch. Until there is a fork table to ask, a floor of
// another epoch is taken as not reached, which sends the read to the primary: slow, never wrong.
bool reached(Position floor, Position applied) noexcept {
  if (floor == Position{}) return true;
  return floor.epoch == applied.epoch && floor.offset <= applied.offset;
}

// The gate for one replica: which check failed, or nothing when it may answer.
std::optional<Reason> gate(const Member& replica, const SessionView& session) noexcept {
  if (replica.readiness != Readiness::kReady) return Reason::kNotReady;
  bool mind_own_writes = true;
  switch (session.consistency) {
    case Consistency::kStrong:
      return Reason::kPrimaryOnly;
    case Consistency::kBoundedStaleness:
      return Reason::kStaleBound;  // the snapshot does not say how old `applied` is
    case Consistency::kEventual:
      return std::nullopt;
    case Consistency::kConsistentPrefix:
    case Consistency::kMonotonicReads:
      mind_own_writes = false;
      break;
    case Consistency::kReadMyWrites:
    case Consistency::kCausal:
      break;
  }
  if (mind_own_writes && session.write_in_flight) return Reason::kWriteInFlight;
  if (!reached(session.floor, replica.applied)) return Reason::kBehindFloor;
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

Route decide(const Topology& topology, const SessionView& session, const CommandRow* row,
             bool blocks) noexcept {
  const Channel channel = channel_of(session, row, blocks);
  const bool in_transaction = session.in_multi || session.watching;
  // A blocking read on a replica is broken off whenever the replica's primary changes.
  const bool replica_may = row != nullptr && row->place == Place::kAnywhere && !blocks;

  if (topology.vacant()) {
    const bool any_state_will_do = replica_may && !in_transaction && topology.local >= 0 &&
                                   session.consistency == Consistency::kEventual;
    if (any_state_will_do) return {topology.local, channel, Reason::kReadLocal};
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
  if (topology.local < 0) return primary_because(Reason::kNotReady);
  if (topology.local == topology.primary) return primary_because(Reason::kReadLocal);
  const Member& neighbour = topology.members[static_cast<std::size_t>(topology.local)];
  if (const std::optional<Reason> failed = gate(neighbour, session)) {
    return primary_because(*failed);
  }
  return {topology.local, channel, Reason::kReadLocal};
}

std::string_view to_string(Reason reason) noexcept { return name_of(kReasonNames, reason); }

std::string_view to_string(Channel channel) noexcept { return name_of(kChannelNames, channel); }

}  // namespace azimuth
