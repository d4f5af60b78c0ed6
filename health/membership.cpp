// The first ballot of all, and the voters that come, go, or have lost their memory.
#include <algorithm>
#include <utility>

#include "conf/limits.h"
#include "health/leadership_machine.h"

namespace azimuth {
namespace {

// A voter whose copy does not get there is given up for now, so that others get their turn.
constexpr std::int64_t kChangeLeases = 10;

}  // namespace

// Why this node does not hold the first ballot; empty when it should, among `voters`.
std::string Leadership::Machine::bootstrap_obstacle(std::vector<std::string>* voters) const {
  std::vector<std::string> members, witnesses, unready;
  std::size_t count = 0;
  const auto consider = [&](const std::string& node, bool member, bool wants_vote, bool ready) {
    if (member) ++count;
    if (member && !ready) unready.push_back(node);
    if (wants_vote) (member ? members : witnesses).push_back(node);
  };
  consider(settings.node, settings.has_redis, settings.wants_vote, ready_redis());
  for (const auto& [node, known] : peers) {
    const PeerFacts& facts = known.facts;
    if (!facts.alive || (!facts.member && !facts.wants_vote)) continue;
    if (facts.has_state)
      return "this node is new to the group (" + node + " is in it) and waits to hear its leader";
    if (facts.member && facts.bootstrap_expect != settings.bootstrap_expect) {
      return "bootstrap_expect is " + std::to_string(settings.bootstrap_expect) + " here and " +
             std::to_string(facts.bootstrap_expect) + " on " + node +
             ": make them equal, the number of members";
    }
    consider(node, facts.member, facts.wants_vote, facts.redis_ready);
  }
  if (count < settings.bootstrap_expect) {
    const std::size_t more = settings.bootstrap_expect - count;
    std::string text = "waiting for " + std::to_string(more) + " more member" +
                       (more == 1 ? "" : "s") + " (bootstrap_expect is " +
                       std::to_string(settings.bootstrap_expect);
    if (!witnesses.empty()) {
      text += ", and counts members alone; " + listed(witnesses) +
              (witnesses.size() == 1 ? " is a witness" : " are witnesses");
    }
    return text + ")";
  }
  if (!unready.empty()) return "waiting for the Redis of " + listed(unready);
  std::sort(members.begin(), members.end());
  if (members.empty()) return "no member wants a vote";
  if (members.front() != settings.node) return "waiting for " + members.front() + " to elect";
  members.insert(members.end(), witnesses.begin(), witnesses.end());
  if (members.size() > kVotersMax) members.resize(kVotersMax);
  std::sort(members.begin(), members.end());
  *voters = std::move(members);
  return {};
}

void Leadership::Machine::bootstrap_progress(Instant now) {
  if (in_group() || ballot) return;
  std::vector<std::string> voters;
  const std::string obstacle = bootstrap_obstacle(&voters);
  if (!obstacle.empty()) {
    why = obstacle;
    return;
  }
  if (now < next_bootstrap || now < quiet_until) return;
  Ballot asked;
  asked.bootstrap = true;
  asked.forced = bootstrap_forced;
  asked.electorate.version = 1;
  asked.electorate.voters = std::move(voters);
  start_ballot(now, std::move(asked));
}

// A majority of the voters knows the electorate as it is.
bool Leadership::Machine::committed() const {
  const auto knows = std::count_if(
      state.electorate.voters.begin(), state.electorate.voters.end(), [&](const auto& voter) {
        const auto found = peers.find(voter);
        if (is_self(voter)) return true;
        return found != peers.end() && found->second.grant && found->second.grant->granted &&
               found->second.grant->electorate_epoch == state.electorate.epoch &&
               found->second.grant->electorate_version == state.electorate.version;
      });
  return static_cast<std::size_t>(knows) >= state.electorate.majority();
}

// One voter more, or one less.
std::optional<Leadership::Machine::Change> Leadership::Machine::wanted_change(Instant now) const {
  const auto change_by = [&](const std::string& node) {
    Change wanted;
    wanted.node = node;
    wanted.since = now;
    wanted.next = state.electorate;
    wanted.next.epoch = lead->epoch;
    ++wanted.next.version;
    auto& voters = wanted.next.voters;
    if (state.electorate.has(node))
      std::erase(voters, node);
    else
      voters.insert(std::upper_bound(voters.begin(), voters.end(), node), node);
    return wanted;
  };
  const bool full = state.electorate.voters.size() >= kVotersMax;
  if (settings.wants_vote && !state.electorate.has(settings.node) && !removed() && !full)
    return change_by(settings.node);  // an operator's choice
  for (const auto& [node, known] : peers) {
    const bool voter = state.electorate.has(node);
    const PeerFacts& facts = known.facts;
    if (!facts.alive || facts.wants_vote == voter || state.electorate.removes(node)) continue;
    if (!voter) {
      const bool heard =
          known.grant && known.grant->granted && now - known.heard < times.renew + times.renew;
      const bool fit =
          !facts.member || (known.grant && known.grant->in_sync && known.grant->intact);
      if (!heard || !fit || full) continue;
    }
    return change_by(node);
  }
  return std::nullopt;
}

// Before an electorate is changed, `quorum` writes are held by as many copies as the next one needs
// (view.quorum_copies says so at once); what was acknowledged earlier must have reached as many. Who
// acknowledges, here or at another node, goes by the view that was in force when Redis's answer was
// read (proxy/group/quorum_count.h): so it is enough that Redis was asked for its offset after that.
void Leadership::Machine::membership_progress(Instant now) {
  if (!lead || !leading(now) || !lead->ready || hand_over) {
    change.reset();
    wished.reset();  // who wishes it asks again
    return;
  }
  note_removed(now);
  if (members_progress(now)) return;
  readmit(now);
  if (!lead) return;
  if (!committed() && !defective(Defect::kTwoVotersAtOnce)) return;
  if (!change) change = wanted_change(now);
  if (!change) return;
  const bool still =
      alive(change->node) && now < change->since + Duration{times.lease.ms * kChangeLeases};
  if (!still) return change.reset();
  if (copies_are_there(now)) write_change(now);
}

bool Leadership::Machine::copies_are_there(Instant now) {
  if (!change->copied_at) {
    if (!change->told_at || redis.asked.at <= *change->told_at) return false;
    change->copied_at = redis.offset;
    change->counted_from = now;
  }
  std::size_t copies = change->next.has(settings.node) ? 1 : 0;
  std::size_t live = copies;
  bool fit = true;
  for (const auto& [node, known] : peers) {
    // An earlier word may be a dead node's last.
    const bool answers = known.grant && known.grant->granted && known.heard > change->counted_from;
    const bool copied = answers && known.grant->has_redis && known.grant->in_sync &&
                        known.grant->offset >= *change->copied_at;
    if (answers && change->next.has(node)) ++live;
    if (copied && change->next.has(node)) ++copies;
    // A new voter has what the others have, or it would make a majority that lacks it.
    if (node == change->node && known.facts.member && change->next.has(node)) fit = copied;
  }
  return fit && copies >= copies_for(change->next) && live >= change->next.majority();
}

void Leadership::Machine::write_change(Instant now) {
  if (change->next.voters != state.electorate.voters) event("voters", listed(change->next.voters));
  const Peer* other = peer(change->node);
  const bool has_redis = is_self(change->node) ? settings.has_redis : other && other->facts.member;
  lead->added_voter = has_redis && change->next.has(change->node);
  lead->copies_before = copies_for(state.electorate);
  state.electorate = change->next;
  dirty = true;
  change.reset();
  note_removed(now);
  lead->next_round = now;
}

// A voter, or one that is to become one (again).
bool Leadership::Machine::has_forgotten(std::string_view node, const Peer& known) const {
  if (!known.grant || !known.grant->forgetful) return false;
  return state.electorate.has(node) ||
         (known.facts.alive && known.facts.wants_vote && !state.electorate.removes(node));
}

// A forgetful voter may have promised what nobody but the coordinator of that ballot knows. A
// majority without it promises a later epoch, once such ballots are over: then it may vote again.
void Leadership::Machine::readmit(Instant now) {
  std::vector<Peer*> due;
  for (auto& [node, known] : peers) {
    if (!has_forgotten(node, known)) continue;
    if (known.readmitted == known.forgetful_boot) continue;
    if (now - known.heard > times.lease || now < known.forgetful_since + times.readmission)
      continue;
    due.push_back(&known);
  }
  if (due.empty()) return;
  // Was this epoch's ballot begun late enough? It excluded those who had forgotten.
  if (std::all_of(due.begin(), due.end(), [&](const Peer* known) {
        return lead->balloted >= known->forgetful_since + times.readmission;
      })) {
    for (Peer* known : due) known->readmitted = known->forgetful_boot;
    lead->next_round = now;
    return;
  }
  if (now >= may_re_elect_at()) re_elect(now, "a voter has lost its state, and is admitted anew");
}

}  // namespace azimuth
