// The inside of Leadership: what it remembers, and its parts. Each part is a file:
//
//   leadership.cpp  the entrances, the order to Redis, the view, when to wake
//   lease.cpp       a leader and its lease; a voter and what it grants
//   promise.cpp     a voter asked for its promise; what its own Redis holds
//   election.cpp    the loss of a leader; ballots; the winner
//   membership.cpp  the first ballot of all; voters that join, leave or have lost their state
//   members.cpp     members that an operator takes out, and lets in again
//   hand_over.cpp   planned hand-overs, and an operator's word
//   sources.cpp     from whom each replica takes the stream (tunnel_tree.h)
//
// Invariants: `state` is changed only together with `dirty`, so that it is saved before what was
// decided by it leaves; at most one of `lead`, `ballot` and a lease granted to another lives at a
// time. Pure; private to these files.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/defects.h"
#include "conf/instant.h"
#include "health/choice.h"
#include "health/leadership.h"
#include "health/tunnel_tree.h"

namespace azimuth {

inline constexpr Instant kLongAgo{std::numeric_limits<std::int64_t>::min() / 2};

// All from the length of the lease.
struct LeaseTimes {
  explicit LeaseTimes(Duration lease);

  Duration lease;
  Duration grant;        // what a voter keeps to: longer by what two clocks may differ in speed
  Duration renew;        // between two rounds
  Duration again;        // an unanswered message is sent again
  Duration ballot;       // a ballot ends by then, so that no old promise is ever used
  Duration grace;        // a majority waits this long for the others' positions
  Duration fence_wait;   // for a Redis to show where it ended
  Duration rank_step;    // between the coordinators' turns
  Duration readmission;  // before a forgetful voter is admitted: its old promises are void by then
  Duration attached;     // a replica of who was last heard so long ago may still be attached
};

struct Leadership::Machine {
  Machine(LeadershipSettings given, std::optional<GroupState> saved, std::uint64_t this_boot,
          Instant now);

  // --- what is known ---

  struct Peer {
    PeerFacts facts;
    // Of the epoch that this node leads.
    std::optional<Grant> grant;
    Instant granted{};  // when that was asked
    Instant heard{};
    Instant hastened = kLongAgo;  // was last written to out of turn
    bool refuses = false;
    // A boot that has lost its state, and since when that is known here.
    std::uint64_t forgetful_boot = 0;
    Instant forgetful_since{};
    std::uint64_t readmitted = 0;
    Instant removed_since = kNever;  // this leader knows that it was taken out
  };

  LeadershipSettings settings;
  const LeaseTimes times;
  const std::uint64_t boot;
  const Instant started;
  // A lease that was granted before a restart has run out by then.
  Instant resting_until;
  bool redis_seen = false;
  GroupState state;
  bool dirty = false;
  std::uint64_t highest = 0;  // epoch seen anywhere
  std::map<std::string, Peer, std::less<>> peers;
  LocalRedis redis;
  std::string copying_run_id;  // of a Redis that was intact until a copy began
  bool copied_nearby = false;  // ... of another replica's Redis
  Position leader_at;          // the last offset that a leader told of, and its epoch
  std::uint64_t random = 0;
  Instant last_now;

  // --- a follower ---

  struct Held {
    std::uint64_t epoch = 0;
    Instant until{};
  } held;  // the lease granted to state.leader
  struct News {
    std::uint64_t epoch = 0;
    Instant valid_until{};
    bool ready = false;
    std::uint64_t offset = 0;
    unsigned since_sync = 0;  // Renews heard since the first sync of this epoch was over
    std::uint64_t whole_at = 0;
    std::uint64_t leader_boot = 0, asked_ms = 0;
    std::size_t quorum_copies = 0;
    bool told_in_sync = false, told_intact = false, told_leaving = false, told_detached = false;
    // This node's source, by the newest order of that life of the leader.
    std::string source;
    std::uint64_t source_version = 0, source_boot = 0;
    TreeOrder told_source;
  } news;  // of the last Renew
  // Where this node's own tunnel leads, once it does.
  struct Carried {
    std::uint64_t epoch = 0;
    std::string node;
  } carried;

  // --- a voter that has promised ---

  struct Pending {
    std::uint64_t epoch = 0;
    std::string coordinator;
    Instant since{};
    Electorate electorate;  // the coordinator's
    std::optional<Promise> answer;
    std::string run_id;  // of the Redis that the answer is about
  };
  std::optional<Pending> pending;
  Instant quiet_until{};  // another coordinator's ballot has until then

  // --- a leader ---

  struct Lead {
    std::uint64_t epoch = 0;
    Instant since{};
    Instant balloted = kLongAgo;  // when the ballot was begun that it won; if it was its own
    Instant lease_until{};
    Instant without_since = kNever;  // when it last had a lease, while it has none
    bool leased = false;
    bool resumed = false;  // the same epoch goes on after a restart of this process
    bool ready = false;
    std::string run_id;  // of the Redis that won
    bool claimed = false;
    std::optional<Position> from;  // where its history ended when it won
    Instant promote_by = kNever;
    Instant round{}, next_round{}, next_again{};
    Instant refused_since = kNever;
    bool added_voter = false;       // with a Redis, by the last change of the electorate
    std::size_t copies_before = 0;  // that `quorum` needed then
    TunnelTree tree{Instant{}};
  };
  std::optional<Lead> lead;
  Instant last_re_election = kLongAgo;
  Instant reluctant_until = kLongAgo;  // after a promotion that failed
  bool leaving = false;

  struct Change {
    Electorate next;
    std::string node;
    Instant since{};
    // When the view that asks for the next electorate's copies was given out, too. What is
    // acknowledged from then on is held by so many; what was acknowledged earlier had been written.
    std::optional<Instant> told_at;
    std::optional<std::uint64_t> copied_at;  // copies are counted from this offset on
    Instant counted_from{};
  };
  std::optional<Change> change;

  // A change of members that an operator asked for, and that this leader has taken on.
  struct Wished {
    Wish wish;
    std::string by;        // the node that passed it on, or this one
    bool written = false;  // the electorate says so: a majority is to save it
  };
  std::optional<Wished> wished;
  struct Answered {
    std::string by;
    WishResult result;
  };
  std::deque<Answered> answered;  // for those who ask again; at most kWishesMax

  // --- a coordinator ---

  struct Search {
    Instant next{};
    std::map<std::string, Instant, std::less<>> free_at;
    Instant ballot_at = kNever;
  } search;

  struct Ballot {
    std::uint64_t epoch = 0;
    std::uint64_t released = 0;
    bool bootstrap = false;
    std::string preferred, forced;
    Electorate electorate;
    Instant since{};
    Instant next_send{};
    // An operator may name a member that does not vote.
    bool asks(std::string_view node) const { return electorate.has(node) || node == forced; }
    Promises promises;
    std::map<std::string, std::string, std::less<>> refusers;  // and whom they have promised
    std::set<std::string, std::less<>> expected;  // answered before the ballot; none: not asked
    unsigned attempt = 0;                         // in a row, against rivals
    std::map<std::string, Instant, std::less<>> ask_at;
    std::string winner;
    Instant announced{};
  };
  std::optional<Ballot> ballot;
  unsigned ballots_failed = 0;
  Instant next_bootstrap{};
  std::string bootstrap_forced;

  struct HandOver {
    enum class Stage : std::uint8_t { kDraining, kStanding, kDemoting };
    Stage stage = Stage::kDraining;
    std::string to;
    Instant since{};
    Instant stage_since{};
    std::uint64_t target = 0;
    Instant next_ask{};
    bool named = false;  // by an operator: nobody else will do
    std::optional<Wished> wished;  // what it is a part of: the leader is to be taken out
  };
  std::optional<HandOver> hand_over;

  // --- what comes out ---

  std::string why;  // of the last failure, or of waiting
  std::string stays_out, told_stays_out;
  RedisOrder order;
  GroupView view;
  bool view_changed = true;
  std::vector<LeadershipOutbox::Send> sends;
  std::vector<LeadershipOutbox::Event> events;
  std::vector<WishResult> results;
  std::uint64_t next_wish = 0;

  // --- leadership.cpp ---

  void settle(Instant now);
  bool is_self(std::string_view node) const { return node == settings.node; }
  bool in_group() const { return state.electorate.version > 0; }
  bool removed() const { return state.electorate.removes(settings.node); }
  bool votes() const {
    return in_group() && !state.forgetful && state.electorate.has(settings.node);
  }
  bool ready_redis() const { return redis.alive && !redis.loading; }
  const Fork* fork_of(std::uint64_t epoch) const;
  Peer* peer(std::string_view node);
  bool alive(std::string_view node) const;
  // Voters but this node.
  std::vector<std::string> other_voters(const Electorate& electorate) const;
  std::vector<std::string> others_asked() const;  // by the ballot
  void send(std::string_view to, GroupMessage message);
  void event(std::string name, std::string text);
  Duration jitter(Duration most);
  void see(std::uint64_t epoch) { highest = std::max(highest, epoch); }
  RedisOrder wanted_order(Instant now);
  std::size_t members_of(const Electorate& electorate) const;  // voters with a Redis
  std::size_t copies_for(const Electorate& electorate, std::size_t more = 0) const;
  bool may_be_attached(Instant now, const Peer& known) const;
  std::size_t quorum_copies(Instant now) const;
  std::vector<std::string> unfed(Instant now) const;
  GroupView present_view(Instant now) const;
  std::string reason(Instant now) const;
  Instant wakeup() const;

  // --- lease.cpp ---

  void start_leading(Instant now, std::uint64_t epoch, std::string run_id, bool resumed);
  void end_lead(Instant now, std::string_view reason);
  bool leading(Instant now) const { return lead && lead->lease_until > now; }
  void lead_progress(Instant now);
  void renew_lease(Instant now);
  void hold_or_lose(Instant now);
  Instant gives_up_at() const;
  std::string redis_lost() const;
  void become_ready(Instant now);
  void send_rounds(Instant now);
  void send_renew(Instant now, const std::string& node);
  void on_renew(Instant now, std::string_view from, const Renew& renew);
  bool learn(Instant now, std::string_view from, const Renew& renew);
  bool in_sync() const;
  bool detached() const;
  void send_grant(std::string_view leader, std::uint64_t epoch, bool learned);
  void tell_sync();
  void on_grant(Instant now, std::string_view from, const Grant& grant);
  void on_refuse(Instant now, std::string_view from, const Refuse& refuse);
  void re_elect(Instant now, std::string_view reason);
  // Not again and again.
  Instant may_re_elect_at() const { return last_re_election + times.lease + times.lease; }

  // --- sources.cpp ---

  void tree_progress(Instant now);
  TreeSight tree_sight(Instant now) const;
  void take_source(const Renew& renew);
  TreeOrder carried_source() const;
  std::string neighbour() const;  // for a defect

  // --- promise.cpp ---

  std::optional<Position> own_position() const;
  bool intact() const;
  // A follower whose Redis has caught up holds all that it ever acknowledged.
  void watch_intactness();
  bool may_adopt();
  void on_probe(Instant now, std::string_view from, const Probe& probe);
  void on_prepare(Instant now, std::string_view from, const Prepare& prepare);
  std::optional<Reject> objection(Instant now, std::string_view from, const Prepare& prepare) const;
  void promise(Instant now, std::string_view coordinator, const Prepare& prepare);
  void answer_pending(Instant now);
  Promise stated(bool shown) const;
  Duration busy(Instant now, std::string_view asker, std::uint64_t released) const;

  // --- election.cpp ---

  bool may_search(Instant now) const;
  void search_progress(Instant now);
  void on_probe_reply(Instant now, std::string_view from, const ProbeReply& reply);
  void start_ballot(Instant now, Ballot asked);
  void ballot_progress(Instant now);
  void send_prepares(Instant now);
  bool hopeless() const;
  void try_again_or_yield(Instant now);
  void on_promise(Instant now, std::string_view from, const Promise& promise);
  void on_reject(Instant now, std::string_view from, const Reject& reject);
  void announce(Instant now, const std::string& winner);
  void fail_ballot(Instant now, std::string reason);
  void on_elected(Instant now, std::string_view from, const Elected& elected);
  void on_ballot_over(Instant now, std::string_view from, const BallotOver& over);
  bool adopt(const Electorate& electorate);

  // --- membership.cpp ---

  void bootstrap_progress(Instant now);
  std::string bootstrap_obstacle(std::vector<std::string>* voters) const;
  void membership_progress(Instant now);
  void readmit(Instant now);
  bool committed() const;
  std::optional<Change> wanted_change(Instant now) const;

  bool has_forgotten(std::string_view node, const Peer& known) const;
  // ... for `change`.
  bool copies_are_there(Instant now);
  void write_change(Instant now);

  // --- members.cpp ---

  struct Objection {
    WishStanding standing = WishStanding::kTaken;
    std::string why;  // empty: none
  };
  void on_member_wish(Instant now, std::string_view from, const Wish& wish);
  Objection objection_to(Instant now, const Wish& wish) const;
  Objection objection_to_removal(Instant now, const std::string& node) const;
  Objection objection_to_add(const std::string& node) const;
  Electorate electorate_by(const Wish& wish) const;
  // What was asked for goes on; true while it leaves no room for other changes.
  bool members_progress(Instant now);
  void answer_wished(WishStanding standing, const std::string& text);
  void answer_wish(std::string_view by, WishResult result);
  void note_removed(Instant now);
  std::string taken_out() const;

  // --- hand_over.cpp ---

  Outcome begin_hand_over(Instant now, std::string_view to);
  std::string unfit(Instant now, const std::string& node) const;
  // The fit voter that is furthest; empty: none, and `obstacle` says why.
  std::string successor(Instant now, std::string* obstacle) const;
  bool next_successor(Instant now);
  void on_drained(Instant now);
  void hand_over_progress(Instant now);
  std::string not_the_primary() const;
  void abandon_hand_over(Instant now, std::string_view reason);
  Outcome begin_force(Instant now, std::string_view node);
  void on_wish(Instant now, std::string_view from, const Wish& wish);
  void pass_on(std::string_view to, Wish::Kind kind, std::string_view node);
};

}  // namespace azimuth
