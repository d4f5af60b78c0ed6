// Who leads the group: leases, promises, elections, hand-overs. One of these in each node; it is
// told what happens and lists what to do.
//
// Invariants: at most one leader an epoch (I1); a promise is saved before it is answered; a leader
// counts its lease from before it asked (I2); the winner of an election is the highest position
// among a majority whose memory is whole, or nobody (I3, I5). Offsets of two lineages are never
// compared. Pure; owned by the control thread. The protocol: health/README.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/instant.h"
#include "conf/result.h"
#include "health/back_pressure.h"
#include "health/group_state.h"
#include "health/leadership_messages.h"
#include "health/local_redis.h"

namespace azimuth {

struct LeadershipSettings {
  std::string cluster, node;
  std::string zone, region;
  bool tunnel_tree = true;  // while it leads: replicas may feed from each other
  bool has_redis = true;    // false: a sidecar
  bool wants_vote = true;   // a member, or a witness
  std::uint32_t bootstrap_expect = 1;
  Duration lease = milliseconds(1000);
  Duration hold = milliseconds(5000);  // how long a planned hand-over may take
};

// What gossip knows of another node of the cluster.
struct PeerFacts {
  bool alive = false;  // gossip does not suspect it
  bool member = true;  // has a Redis
  bool wants_vote = true;
  bool has_state = false;    // it remembers the group, or is new to it
  bool redis_ready = false;  // alive, not loading
  bool redis_empty = true;
  std::uint64_t boot = 0;   // differs at each start of the process
  std::uint64_t epoch = 0;  // that it follows
  std::uint32_t bootstrap_expect = 1;
  std::string zone, region;

  friend bool operator==(const PeerFacts&, const PeerFacts&) = default;
};

// What the rest of the node goes by.
struct GroupView {
  std::uint64_t epoch = 0;    // of the leader, or the last one known
  std::string leader;         // empty: vacant
  bool leader_ready = false;  // promoted; commands may be sent there
  std::string replid;         // of this epoch, once it is known
  bool leading = false;       // this very node does
  bool handing_over = false;  // this node leads and is about to step down: no new writes
  Instant lease_until{};      // while leading: writes may go to Redis before this instant
  // `quorum` writes: copies that must hold one, the primary's own included, before it is
  // acknowledged. Counted are all Redises that replicate from the primary, so each that does not
  // vote (yet, or for long) adds one. It may grow while a write waits: what counts is the number
  // when the write's copies are there.
  std::size_t quorum_copies = 1;
  bool isolated = false;  // a voter that hears from no majority
  bool removed = false;   // this node was taken out of the group: its Redis has no part in it
  // A follower: the node that its tunnel is to lead to; empty: the leader.
  std::string source;
  Electorate electorate;
  // At the leader: whose Redis is not let replicate, since it does not vote and is about to count
  // no more for `quorum_copies`, or counts no more.
  std::vector<std::string> unfed;
  std::string why;  // why there is no leader, for people: "waiting for 1 more member (b2 ...)"; or
                    // why this node has no part in the group that has one

  friend bool operator==(const GroupView&, const GroupView&) = default;
};

// To be carried out in this order. The lease that the view shows is published before the sends: a
// released one must be out of force when the others hear of it.
struct LeadershipOutbox {
  // First, and on the disk. Where that fails, neither these sends nor later ones may leave, nor may
  // the order be carried out, until a state as new as this one is saved.
  std::optional<GroupState> save;
  struct Send {
    std::string to;  // node id
    GroupMessage message;
  };
  std::vector<Send> sends;  // then
  RedisOrder order;         // what the local Redis is to be from now on; always filled
  bool view_changed = false;
  struct Event {
    std::string name;  // "elected", "lease_lost", "vacant" ...: a log event's name
    std::string text;
  };
  std::vector<Event> events;
  // Of changes of members that were asked for here; by their ids, perhaps more than once.
  std::vector<WishResult> results;
};

class Leadership {
 public:
  // `saved`: what the state file held; none: a node that has never been in a group, or has lost its
  // disk. `boot`: any number that differs at each start.
  Leadership(LeadershipSettings settings, std::optional<GroupState> saved, std::uint64_t boot,
             Instant now);
  ~Leadership();

  // `random`: 64 random bits.
  void on_tick(Instant now, std::uint64_t random);
  void on_message(Instant now, std::string_view from, const GroupMessage& message,
                  std::uint64_t random);
  void on_peer(Instant now, std::string_view node, const PeerFacts& facts);
  // A member or a voter, now or once.
  bool knows(std::string_view node) const;
  void on_redis(Instant now, const LocalRedis& facts);
  // The data path has no write in flight any more (while view().handing_over).
  void on_drained(Instant now);

  // This node's tunnel of that epoch leads to `source` now, and nowhere else any more.
  void on_source(Instant now, std::uint64_t epoch, std::string_view source);
  void set_tunnel_tree(Instant now, bool wanted);

  // This node is about to end: nobody is to hand over to it.
  void on_leaving(Instant now);
  // It ends now, and no write will reach its Redis any more: the last state to save.
  void on_rest(Instant now);

  // An operator's, or the drain's, wish. The result says why not; that it succeeded shows in
  // view(). Asked of any node: a node that does not lead passes the wish on.
  Outcome switch_over(Instant now, std::string_view to);
  Outcome force(Instant now, std::string_view node);
  // `node` is taken out of the group, or let in again (kRemove, kAdd). Asked of any node, and again
  // with the same id until the answer comes by the outbox, from whoever leads by then: that it is
  // done, or why not.
  void change_members(Instant now, Wish::Kind kind, std::string_view node, std::uint64_t id);

  Instant next_wakeup() const;
  [[nodiscard]] LeadershipOutbox take_outbox();
  const GroupView& view() const;
  const GroupState& state() const;

  // While this node leads: what the group's others with a Redis last told of how far they are. The
  // ids are good until the next call of anything here.
  std::vector<ReplicaProgress> replicas() const;
  // ... and where the tunnels of the others lead, as far as they have told; by node.
  std::vector<std::pair<std::string, std::string>> sources() const;
  // ... and asks one of them again, out of turn.
  void ask_again(Instant now, std::string_view node);

 private:
  struct Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace azimuth
