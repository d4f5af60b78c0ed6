// Members that an operator takes out of the group, and lets in again: one change at a time, made by
// the leader, answered when a majority of the new electorate has it on the disk. Whoever passed the
// wish on asks again until it is answered; so the leader remembers no more than its last answers.
#include <algorithm>
#include <utility>

#include "conf/limits.h"
#include "health/leadership_machine.h"

namespace azimuth {
namespace {

void insert_sorted(std::vector<std::string>& names, const std::string& name) {
  names.insert(std::upper_bound(names.begin(), names.end(), name), name);
}

}  // namespace

std::string Leadership::Machine::taken_out() const {
  return settings.node + " was taken out of the group by an operator; `azimuth member add " +
         settings.node + "` at any other node takes it in again";
}

Electorate Leadership::Machine::electorate_by(const Wish& wish) const {
  Electorate next = state.electorate;
  if (lead) next.epoch = lead->epoch;
  ++next.version;
  if (wish.kind == Wish::Kind::kAdd) {
    std::erase(next.removed, wish.node);
  } else {
    std::erase(next.voters, wish.node);
    insert_sorted(next.removed, wish.node);
  }
  return next;
}

Leadership::Machine::Objection Leadership::Machine::objection_to(Instant now,
                                                                 const Wish& wish) const {
  return wish.kind == Wish::Kind::kAdd ? objection_to_add(wish.node)
                                       : objection_to_removal(now, wish.node);
}

Leadership::Machine::Objection Leadership::Machine::objection_to_add(
    const std::string& node) const {
  if (state.electorate.removes(node)) return {};
  const auto found = peers.find(node);
  if (is_self(node) || state.electorate.has(node))
    return {WishStanding::kAlready, node + " is a member already"};
  if (found != peers.end() && (found->second.facts.member || found->second.facts.wants_vote)) {
    return {WishStanding::kAlready,
            node +
                " is in the group already, and votes once its copy is whole, if it wants a "
                "vote; azimuth status there says what it waits for"};
  }
  return {WishStanding::kRefused,
          "no node " + node +
              " has been taken out; a new one needs no word: start it with the "
              "cluster's key and its seeds, and it joins by itself"};
}

// Why a node cannot be spared, or is none to take out.
Leadership::Machine::Objection Leadership::Machine::objection_to_removal(
    Instant now, const std::string& node) const {
  const auto refused = [](std::string text) {
    return Objection{WishStanding::kRefused, std::move(text)};
  };
  if (state.electorate.removes(node))
    return {WishStanding::kAlready, node + " has been taken out of the group already"};
  const bool voter = state.electorate.has(node);
  const auto found = peers.find(node);
  if (!is_self(node) && !voter && found == peers.end())
    return refused("no member or witness " + node + " is known here; a sidecar is just stopped");
  if (!is_self(node) && !voter && !found->second.facts.member && !found->second.facts.wants_vote)
    return refused(node + " is a sidecar: it has neither a Redis nor a vote; just stop it");
  const Electorate next = electorate_by({Wish::Kind::kRemove, 0, node});
  std::size_t bytes = 0;
  for (const std::string& each : next.removed) bytes += each.size();
  if (next.removed.size() > kRemovedMax || bytes > kRemovedBytesMax) {
    return refused("no more nodes can be kept out than " + listed(state.electorate.removed) +
                   ": forget one whose process is gone for good by `azimuth member add NODE`");
  }
  if (!voter) return {};

  std::vector<std::string> silent, behind;
  std::size_t members = 0, live = 0, copies = 0;
  for (const std::string& each : next.voters) {
    const auto at = peers.find(each);
    const Peer* known = at != peers.end() ? &at->second : nullptr;
    const bool member = is_self(each) ? settings.has_redis : !known || known->facts.member;
    const bool answers = is_self(each) || (known && known->grant && known->grant->granted &&
                                           now - known->heard < times.lease);
    const bool in_sync = is_self(each) || (answers && known->grant->in_sync);
    members += member;
    live += answers;
    copies += member && in_sync;
    if (!answers)
      silent.push_back(each);
    else if (member && !in_sync)
      behind.push_back(each);
  }
  if (members == 0) return refused(node + " is the last member: nobody else has a Redis");
  if (live < next.majority()) {
    return refused("without " + node + " the voters are " + listed(next.voters) +
                   ", and they make no majority: no word from " + listed(silent));
  }
  const std::size_t needed = copies_for(next);
  if (copies >= needed) return {};
  // A primary that has just taken over waits a moment for replicas that come back to it.
  silent.insert(silent.end(), behind.begin(), behind.end());
  return {WishStanding::kNotYet, "without " + node + " `quorum` writes need " +
                                     std::to_string(needed) + " copies, and " + listed(silent) +
                                     (silent.size() == 1 ? " is" : " are") + " not in sync"};
}

void Leadership::Machine::on_member_wish(Instant now, std::string_view from, const Wish& wish) {
  for (const Answered& past : answered) {
    if (past.by == from && past.result.id == wish.id) return answer_wish(from, past.result);
  }
  if (wished && wished->by == from && wished->wish.id == wish.id) return;
  const auto not_yet = [&](std::string text) {
    answer_wish(from, {wish.id, false, std::move(text), WishStanding::kNotYet});
  };
  if (!lead) return not_yet(not_the_primary());
  if (!leading(now) || !lead->ready) return not_yet("the primary is not ready yet");
  if (hand_over) return not_yet("a switchover to " + hand_over->to + " is under way");
  if (wished) return not_yet("the members are being changed: " + wished->wish.node);
  if (!committed()) return not_yet("a majority does not know of the last change of voters yet");
  const Objection flaw = objection_to(now, wish);
  if (flaw.standing == WishStanding::kNotYet) return not_yet(flaw.why);
  wished = Wished{wish, std::string(from), false};
  if (!flaw.why.empty()) return answer_wished(flaw.standing, flaw.why);
  change.reset();
  if (wish.kind != Wish::Kind::kRemove || !is_self(wish.node)) return;
  // Its successor is asked next; where it comes to nothing, that is the answer.
  const Outcome begun = begin_hand_over(now, {});
  if (begun.ok()) {
    hand_over->wished = std::exchange(wished, std::nullopt);
    return;
  }
  answer_wished(WishStanding::kRefused, settings.node + " is the primary, and no other can take " +
                                            "over from it: " + begun.error().message);
}

bool Leadership::Machine::members_progress(Instant now) {
  if (!wished) return false;
  if (!wished->written) {
    if (!committed() && !defective(Defect::kTwoVotersAtOnce)) return true;
    const Objection flaw = objection_to(now, wished->wish);
    if (!flaw.why.empty()) {
      change.reset();
      if (flaw.standing == WishStanding::kNotYet)
        wished.reset();  // who wishes it asks again
      else
        answer_wished(flaw.standing, flaw.why);
      return false;
    }
    if (!change) {
      change = Change{};
      change->node = wished->wish.node;
      change->since = now;
      change->next = electorate_by(wished->wish);
    }
    if (change->next.voters != state.electorate.voters) {
      if (now >= change->since + times.attached) {
        answer_wished(WishStanding::kRefused,
                      "without " + wished->wish.node +
                          " too few Redises have what was written up to now: try again when all "
                          "members are in sync");
        change.reset();
        return false;
      }
      if (!copies_are_there(now)) return true;
    }
    write_change(now);
    wished->written = true;
  }
  const bool early =
      defective(Defect::kRemovalAnsweredEarly) || defective(Defect::kTwoVotersAtOnce);
  if (committed() || early) answer_wished(WishStanding::kDone, {});
  return true;
}

void Leadership::Machine::answer_wished(WishStanding standing, const std::string& text) {
  const Wished done = *std::exchange(wished, std::nullopt);
  WishResult result{done.wish.id, standing == WishStanding::kDone, text.substr(0, kReasonBytesMax),
                    standing};
  const char* const what = done.wish.kind == Wish::Kind::kAdd ? "member_added" : "member_removed";
  if (result.accepted)
    event(what, done.wish.node);
  else
    event("member_change_refused", done.wish.node + ": " + text);
  if (answered.size() >= kWishesMax) answered.pop_front();
  answered.push_back({done.by, result});
  answer_wish(done.by, std::move(result));
}

void Leadership::Machine::answer_wish(std::string_view by, WishResult result) {
  if (is_self(by))
    results.push_back(std::move(result));
  else
    send(by, std::move(result));
}

// Since when this leader's side lets none of their tunnels in.
void Leadership::Machine::note_removed(Instant now) {
  for (auto& [node, known] : peers) {
    if (!state.electorate.removes(node))
      known.removed_since = kNever;
    else if (known.removed_since == kNever)
      known.removed_since = now;
  }
}

}  // namespace azimuth
