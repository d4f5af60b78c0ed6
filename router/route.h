// Where a command goes: which member, on which of its connections, and why.
//
// The decision, first match wins:
//
// clang-format off
//   if                                       then               reason
//   the group is vacant, an eventual read    the replica        read-local, or read-region
//   the group is vacant                      nobody: hold it    vacant
//   it has one member                        that one           only-node
//   in MULTI, or watching                    the primary        in-transaction
//   a read that no replica may serve         the primary        not-replica-safe
//   not a read                               the primary        primary-only
//   consistency `strong`                     the primary        primary-only
//   the local member is the primary          the primary        read-local
//   there is no replica to read at           the primary        not-ready
//   the gate lets that replica answer        that replica       read-local, or read-region
//   else                                     the primary        the gate's check that failed
// clang-format on
//
// The replica is the one next door if it follows, else one of the region (replica_for). The gate is
// DESIGN's: (1) the replica is ready and nearly current, (2) nothing of the session is
// under way that its floor does not cover yet, (3) the floor is applied there; a level that
// promises less skips checks. A command that is unknown goes to the primary.
//
// Invariants: a write is never routed to anyone but the primary; with a vacant group no route but
// that of an eventual read names a member; the channel depends on the command and the session only,
// never on the topology. What the gate lets pass here is proved once more where it is read
// (proxy/data/replica.h). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "conf/consistency.h"
#include "conf/limits.h"
#include "conf/position.h"
#include "router/command_table.h"
#include "router/topology.h"

namespace azimuth {

// The connections of a member. A command that CLIENT PAUSE WRITE would postpone stops its whole
// connection (BLOCKED_POSTPONE), so those have one of their own, and reads pass.
enum class Channel : std::uint8_t {
  kReads,      // shared; nothing on it can be postponed
  kWrites,     // shared; writes, what may replicate, and what we do not know
  kDedicated,  // this client's alone, for as long as its state lasts
};

enum class Reason : std::uint8_t {
  kOnlyNode,        // there is one member
  kPrimaryOnly,     // the command, or the level, wants the primary
  kReadLocal,       // the member next door may answer
  kReadRegion,      // ... or another one of the region
  kNotReady,        // gate 1: no replica, or it does not follow closely
  kInTransaction,   // gate 2: MULTI or WATCH
  kWriteInFlight,   // gate 2: what this session did, or one of its connections was shown, has no
                    // position yet
  kBehindFloor,     // gate 3: the session has seen more than was applied there
  kStaleBound,      // the staleness bound cannot be shown to hold there
  kNotReplicaSafe,  // a read that would mislead on a replica (SCAN, OBJECT FREQ, TOUCH...)
  kVacant,          // no primary: held
};

// What a decision needs to know of a session.
struct SessionView {
  bool in_multi = false;
  bool watching = false;
  bool untagged = false;  // its floor does not cover yet all that it has done and seen
  Consistency consistency = Consistency::kCausal;
  Position floor = {};
};

// What is known at this moment of the replica that would be read.
struct ReplicaSight {
  int member = -1;                       // -1: there is none
  bool reachable = false;                // a connection to it stands
  bool runs_scripts = true;              // none was too long for it of late
  std::uint64_t applied = 0;             // of the topology's epoch, at least
  std::optional<std::uint64_t> current;  // the offset without which it is not nearly current
  // bounded-staleness: the offset that the session's bound asks for; none: nothing shows it.
  std::optional<std::uint64_t> bound;
};

struct Route {
  int member;  // index into Topology::members; -1: nobody, hold it
  Channel channel;
  Reason reason;

  friend bool operator==(const Route&, const Route&) = default;
};

// `row` is null for a command that is not known; `blocks` is asks_to_block's answer.
Route decide(const Topology& topology, const SessionView& session, const CommandRow* row,
             const ReplicaSight& replica = {}, bool blocks = false) noexcept;

// The members whose replicas a node in `zone` of `region` reads at. The one next door, if
// it follows; else, unless the primary is in this zone, one of those that do in the region, the
// zone first, at most kReplicasReadMax. Nodes with different `salt` come to different ones.
// `avoided`: not that one, if it is not next door; -1: any.
std::vector<int> replicas_for(const Topology& topology, std::string_view zone,
                              std::string_view region, std::size_t salt, int avoided = -1);

// The first of them; -1: there is none.
int replica_for(const Topology& topology, std::string_view zone, std::string_view region,
                std::size_t salt, int avoided = -1);

// EVAL and its kin, which may run for as long as they like.
bool is_script(const CommandRow& row) noexcept;

// The channel alone, which needs no topology.
Channel channel_of(const SessionView& session, const CommandRow* row, bool blocks = false) noexcept;

// "only-node", "in-transaction"...: as AZIMUTH ROUTE, /metrics and /status say them.
std::string_view to_string(Reason reason) noexcept;
std::string_view to_string(Channel channel) noexcept;

}  // namespace azimuth
