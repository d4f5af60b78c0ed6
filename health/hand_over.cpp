// Leadership that moves because somebody wishes it: a planned hand-over, and an operator's word.
//
//   draining: writes are held, those in flight end -> standing: fenced, the target offset is read
//   -> the successor has applied it -> demoting: this Redis becomes a replica, so that its offset
//   grows no more -> the successor has applied that too -> a ballot that it wins
#include <algorithm>
#include <utility>

#include "conf/limits.h"
#include "health/leadership_machine.h"

namespace azimuth {
namespace {

Error refused(std::string why) {
  return make_error(ErrorCode::kRefused, Fault::kClient, std::move(why));
}

}  // namespace

// Why `node` cannot take over; empty if it can.
std::string Leadership::Machine::unfit(Instant now, const std::string& node) const {
  const auto found = peers.find(node);
  if (found == peers.end()) return node + " is not known";
  const Peer& known = found->second;
  if (!known.facts.member) return node + " has no Redis";
  if (state.electorate.removes(node)) return node + " was taken out of the group";
  if (!state.electorate.has(node)) return node + " does not vote";
  if (!known.facts.alive) return node + " has left, or does not answer";
  if (!known.grant || now - known.heard > times.lease) return node + " does not answer";
  if (known.grant->leaving) return node + " is about to leave";
  if (known.grant->forgetful) return node + " has lost its state";
  if (!known.grant->in_sync || !known.grant->intact) return node + " is not in sync yet";
  const std::uint64_t behind =
      redis.offset > known.grant->offset ? redis.offset - known.grant->offset : 0;
  if (behind > kHandOverLagBytesMax)
    return node + " is " + std::to_string(behind) + " bytes behind";
  return {};
}

std::string Leadership::Machine::successor(Instant now, std::string* obstacle) const {
  std::string best;
  *obstacle = "no other member votes";
  for (const std::string& node : other_voters(state.electorate)) {
    std::string flaw = unfit(now, node);
    const auto found = peers.find(node);
    if (flaw.empty()) {
      if (best.empty() || found->second.grant->offset > peers.find(best)->second.grant->offset)
        best = node;
    } else if (found != peers.end() && found->second.facts.member) {
      *obstacle = std::move(flaw);
    }
  }
  return best;
}

// The successor has gone in the middle of it: where any one will do, the next one goes on from
// where that one was. False: nobody can.
bool Leadership::Machine::next_successor(Instant now) {
  std::string obstacle;
  const std::string next = hand_over->named ? std::string() : successor(now, &obstacle);
  if (next.empty()) return false;
  hand_over->to = next;
  hand_over->next_ask = now;
  if (hand_over->stage != HandOver::Stage::kDraining) hand_over->stage_since = now;
  event("hand_over", "goes on to " + next);
  return true;
}

Outcome Leadership::Machine::begin_hand_over(Instant now, std::string_view to) {
  if (to.size() > kNameBytesMax) return refused("no node has such a name");
  if (!lead) {
    if (view.leader.empty()) return refused("there is no primary: " + view.why);
    if (view.leader == to) return Done{};
    pass_on(view.leader, Wish::Kind::kSwitchOver, to);
    return Done{};
  }
  if (!leading(now) || !lead->ready) return refused("the primary is not ready yet");
  if (hand_over) return refused("a switchover to " + hand_over->to + " is under way");
  if (is_self(to)) return refused(settings.node + " is the primary already");
  std::string best(to), obstacle;
  if (to.empty())
    best = successor(now, &obstacle);
  else
    obstacle = unfit(now, best);
  if (best.empty() || (!to.empty() && !obstacle.empty())) return refused(obstacle);
  hand_over = HandOver{};
  hand_over->named = !to.empty();
  hand_over->to = best;
  hand_over->since = hand_over->stage_since = now;
  event("hand_over", "from " + settings.node + " to " + best);
  return Done{};
}

void Leadership::Machine::on_drained(Instant now) {
  if (!hand_over || hand_over->stage != HandOver::Stage::kDraining) return;
  hand_over->stage = HandOver::Stage::kStanding;
  hand_over->stage_since = now;
  hand_over->target = UINT64_MAX;  // not read yet
}

void Leadership::Machine::hand_over_progress(Instant now) {
  if (!hand_over || !lead) return;
  HandOver& plan = *hand_over;
  const Peer* known = &peers[plan.to];
  const bool gone = !known->facts.alive || (known->grant && known->grant->leaving);
  if (gone && plan.stage != HandOver::Stage::kDemoting) {
    if (!next_successor(now)) return abandon_hand_over(now, plan.to + " has left");
    known = &peers[plan.to];
  }
  const Peer& successor = *known;
  if (plan.stage == HandOver::Stage::kDraining) {
    if (now >= plan.since + settings.hold)
      abandon_hand_over(now, "writes in flight did not end in time");
    return;
  }
  if (now >= plan.next_ask) {
    plan.next_ask = now + milliseconds(10);
    send_renew(now, plan.to);
  }
  const bool standing = redis.done == OrderKind::kStand && redis.done_epoch == lead->epoch;
  if (plan.stage == HandOver::Stage::kStanding && standing) plan.target = redis.offset;
  const bool caught_up = defective(Defect::kHandOverWithoutTarget) ||
                         (successor.grant && successor.heard >= plan.stage_since &&
                          successor.grant->in_sync && successor.grant->offset >= plan.target);
  if (plan.stage == HandOver::Stage::kStanding) {
    if (caught_up) {
      plan.stage = HandOver::Stage::kDemoting;
      plan.stage_since = now;
      plan.next_ask = now;
    } else if (now >= plan.stage_since + times.lease) {
      abandon_hand_over(now, plan.to + " did not catch up in time");
    }
    return;
  }
  // A ping of Redis's own may have gone out in between.
  if (!redis.master) plan.target = std::max(plan.target, redis.offset);
  if ((!redis.master && caught_up) || gone || now >= plan.stage_since + times.lease) {
    Ballot asked;
    asked.preferred = plan.to;
    start_ballot(now, std::move(asked));
  }
}

// The lease lives, nothing was demoted: on with it.
void Leadership::Machine::abandon_hand_over(Instant now, std::string_view reason) {
  const std::string failure = "to " + hand_over->to + ": " + std::string(reason);
  event("hand_over_failed", failure);
  const bool fenced = hand_over->stage != HandOver::Stage::kDraining;
  wished = std::move(hand_over->wished);
  hand_over.reset();
  if (wished) answer_wished(WishStanding::kRefused, "the switchover failed, " + failure);
  if (!fenced) return;
  lead->ready = false;
  lead->promote_by = now + times.lease + times.lease;
}

Outcome Leadership::Machine::begin_force(Instant now, std::string_view node) {
  if (!view.leader.empty()) {
    return refused(view.leader + " is the primary of epoch " + std::to_string(view.epoch) +
                   "; AZIMUTH SWITCHOVER moves it");
  }
  if (state.electorate.removes(node)) {
    return refused(std::string(node) + " was taken out of the group; it takes azimuth member add " +
                   std::string(node) + ", and a primary, to let it in again");
  }
  if (removed()) return refused(taken_out());
  const auto found = peers.find(node);
  const bool has_redis =
      is_self(node) ? settings.has_redis : found != peers.end() && found->second.facts.member;
  if (!has_redis) return refused(std::string(node) + " is no member that is known here");
  if (!in_group()) {
    std::string first = settings.has_redis && settings.wants_vote ? settings.node : "";
    for (const auto& [other, known] : peers) {
      if (known.facts.alive && known.facts.has_state)
        return refused("this node is not in the group yet: ask " + other);
      const bool could = known.facts.alive && known.facts.member && known.facts.wants_vote;
      if (could && (first.empty() || other < first)) first = other;
    }
    if (is_self(first))
      bootstrap_forced = node;
    else
      pass_on(first, Wish::Kind::kForce, node);
    next_bootstrap = now;
    return Done{};
  }
  if (!alive(node)) return refused(std::string(node) + " does not answer");
  std::vector<std::string> missing;
  for (const std::string& voter : state.electorate.voters)
    if (!alive(voter)) missing.push_back(voter);
  if (state.electorate.voters.size() - missing.size() < state.electorate.majority()) {
    return refused("an election by force too needs a majority of the voters, and " +
                   listed(missing) + " cannot be reached");
  }
  if (const Duration wait = busy(now, settings.node, state.accepted); wait.ms > 0)
    return refused("a lease may still live for " + std::to_string(wait.ms) + " ms: try again then");
  Ballot asked;
  asked.forced = node;
  start_ballot(now, std::move(asked));
  return Done{};
}

void Leadership::Machine::pass_on(std::string_view to, Wish::Kind kind, std::string_view node) {
  send(to, Wish{kind, ++next_wish, std::string(node)});
}

// To a node that took this one for the primary.
std::string Leadership::Machine::not_the_primary() const {
  return view.leader.empty() ? "there is no primary: " + view.why
                             : settings.node + " is not the primary any more: try again";
}

void Leadership::Machine::on_wish(Instant now, std::string_view from, const Wish& wish) {
  if (wish.kind == Wish::Kind::kRemove || wish.kind == Wish::Kind::kAdd)
    return on_member_wish(now, from, wish);
  WishResult result;
  result.id = wish.id;
  // Passed on once only, so that a wish does not wander.
  const bool mine = wish.kind == Wish::Kind::kForce || lead.has_value();
  Outcome outcome = Done{};
  if (!mine)
    outcome = refused(not_the_primary());
  else if (wish.kind == Wish::Kind::kForce)
    outcome = begin_force(now, wish.node);
  else
    outcome = begin_hand_over(now, wish.node);
  result.accepted = outcome.ok();
  if (!outcome) result.text = outcome.error().message;
  send(from, std::move(result));
}

}  // namespace azimuth
