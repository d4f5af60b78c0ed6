#include "health/leadership.h"

#include <algorithm>
#include <utility>

#include "conf/limits.h"
#include "health/leadership_machine.h"

namespace azimuth {

LeaseTimes::LeaseTimes(Duration length)
    : lease(length),
      grant{length.ms * 11 / 10},
      renew{std::max<std::int64_t>(length.ms / 5, 1)},
      again{std::max<std::int64_t>(length.ms * 6 / 100, 1)},
      ballot(length),
      grace{length.ms * 4 / 10},
      fence_wait{length.ms * 3 / 10},
      rank_step{std::max<std::int64_t>(length.ms / 25, 1)},
      readmission{length.ms * 13 / 10},
      attached{length.ms * 5} {}

Leadership::Machine::Machine(LeadershipSettings given, std::optional<GroupState> saved,
                             std::uint64_t this_boot, Instant now)
    : settings(std::move(given)),
      times(settings.lease),
      boot(this_boot),
      started(now),
      resting_until(now),
      state(saved.value_or(GroupState{})),
      highest(state.promised),
      last_now(now) {
  // One that would be a group of its own first listens whether there is one already.
  if (settings.bootstrap_expect == 1) next_bootstrap = now + times.lease;
  state.cluster = settings.cluster;
  state.node = settings.node;
  // To lead is to have granted no lease to anybody else: such an epoch may go on.
  if (in_group() && state.leader != settings.node && !defective(Defect::kNoWaitAfterBoot))
    resting_until = now + times.grant;
  if (in_group() && state.leader == settings.node && state.accepted == state.promised &&
      settings.has_redis && !state.forgetful && !removed() && !state.intact_run_id.empty())
    start_leading(now, state.accepted, state.intact_run_id, true);
  settle(now);
}

const Fork* Leadership::Machine::fork_of(std::uint64_t epoch) const {
  const auto found = std::find_if(state.forks.begin(), state.forks.end(),
                                  [&](const Fork& fork) { return fork.epoch == epoch; });
  return found == state.forks.end() ? nullptr : &*found;
}

// None for a stranger: only gossip and the electorate make peers.
Leadership::Machine::Peer* Leadership::Machine::peer(std::string_view node) {
  const auto found = peers.find(node);
  if (found != peers.end()) return &found->second;
  return state.electorate.has(node) ? &peers[std::string(node)] : nullptr;
}

bool Leadership::Machine::alive(std::string_view node) const {
  const auto found = peers.find(node);
  return is_self(node) || (found != peers.end() && found->second.facts.alive);
}

std::vector<std::string> Leadership::Machine::other_voters(const Electorate& electorate) const {
  std::vector<std::string> others = electorate.voters;
  std::erase(others, settings.node);
  return others;
}

std::vector<std::string> Leadership::Machine::others_asked() const {
  std::vector<std::string> others = other_voters(ballot->electorate);
  const std::string& forced = ballot->forced;
  if (!forced.empty() && !is_self(forced) && !ballot->electorate.has(forced))
    others.push_back(forced);
  return others;
}

void Leadership::Machine::send(std::string_view to, GroupMessage message) {
  sends.push_back({std::string(to), std::move(message)});
}

void Leadership::Machine::event(std::string name, std::string text) {
  events.push_back({std::move(name), std::move(text)});
}

Duration Leadership::Machine::jitter(Duration most) {
  random = random * 6364136223846793005U + 1442695040888963407U;
  return {most.ms <= 0 ? 0
                       : static_cast<std::int64_t>((random >> 33U) %
                                                   static_cast<std::uint64_t>(most.ms + 1))};
}

// Whatever came in, everything that may follow from it follows now.
void Leadership::Machine::settle(Instant now) {
  last_now = now;
  watch_intactness();
  tell_sync();
  answer_pending(now);
  lead_progress(now);
  hand_over_progress(now);
  membership_progress(now);
  ballot_progress(now);
  search_progress(now);
  bootstrap_progress(now);
  answer_pending(now);  // one's own, if a ballot has just begun
  ballot_progress(now);
  order = wanted_order(now);
  if (stays_out != told_stays_out && !stays_out.empty()) event("stays_out", stays_out);
  told_stays_out = stays_out;
  GroupView seen = present_view(now);
  if (seen == view) return;
  if (seen.removed != view.removed)
    event(seen.removed ? "taken_out" : "taken_in", seen.removed ? taken_out() : settings.node);
  view = std::move(seen);
  view_changed = true;
}

RedisOrder Leadership::Machine::wanted_order(Instant now) {
  using Stage = HandOver::Stage;
  if (!settings.has_redis) return {};
  stays_out.clear();
  if (removed()) return {OrderKind::kFence, std::max(state.promised, state.accepted), {}, {}};
  if (lead) {
    if (hand_over && hand_over->stage == Stage::kStanding)
      return {OrderKind::kStand, lead->epoch, {}, {}};
    if (hand_over && hand_over->stage == Stage::kDemoting)
      return {OrderKind::kFollow, highest + 1, hand_over->to, redis.replid};
    if ((leading(now) && lead->claimed) || defective(Defect::kFenceLiftedEarly))
      return {OrderKind::kLead, lead->epoch, {}, {}};
    return {OrderKind::kFence, lead->epoch, {}, {}};
  }
  if (state.promised > state.accepted || state.leader.empty())
    return {OrderKind::kFence, state.promised, {}, {}};
  const Fork* fork = fork_of(state.accepted);
  if (is_self(state.leader) || fork == nullptr || news.epoch != state.accepted || !may_adopt())
    return {OrderKind::kFence, state.accepted, {}, {}};
  return {OrderKind::kFollow, state.accepted, state.leader, fork->replid};
}

std::size_t Leadership::Machine::members_of(const Electorate& electorate) const {
  return static_cast<std::size_t>(std::count_if(
      electorate.voters.begin(), electorate.voters.end(), [&](const std::string& voter) {
        const auto found = peers.find(voter);
        return is_self(voter) ? settings.has_redis
                              : found == peers.end() || found->second.facts.member;
      }));
}

// Copies, the primary's own included, of which every majority finds one; two where there are two,
// and never more than there are members: what all of them have, any of them has.
// `more`: copies that might be of no use.
std::size_t Leadership::Machine::copies_for(const Electorate& electorate, std::size_t more) const {
  const std::size_t members = members_of(electorate);
  const std::size_t found_by_all = electorate.voters.size() + 1 - electorate.majority();
  return std::max<std::size_t>(std::min(std::max<std::size_t>(found_by_all, 2) + more, members), 1);
}

// Whether the Redis of who was taken out may still be counted by WAIT: it has not said that it is
// detached, and its tunnels may not have ended on this side yet.
bool Leadership::Machine::may_be_attached(Instant now, const Peer& known) const {
  if (!lead || !known.facts.member) return false;
  if (known.removed_since != kNever && now >= known.removed_since + times.attached) return false;
  return !(known.grant && known.grant->detached) &&
         (known.facts.alive || now - known.heard < times.attached);
}

// WAIT counts a replica as long as its tunnel stands, and a tunnel may outlive its node's
// datagrams: so it is ended well before the node stops counting, and let in when it counts again.
std::vector<std::string> Leadership::Machine::unfed(Instant now) const {
  std::vector<std::string> nodes;
  for (const auto& [node, known] : peers) {
    const bool silent = !known.facts.alive && now - known.heard >= Duration{times.attached.ms / 2};
    if (known.facts.member && silent && !state.electorate.has(node)) nodes.push_back(node);
  }
  return nodes;
}

std::size_t Leadership::Machine::quorum_copies(Instant now) const {
  // While a majority may not know of a new voter the others elect without it, and what it holds.
  const bool unknown = lead && lead->added_voter && !committed();
  std::size_t copies = copies_for(state.electorate, unknown ? 1 : 0);
  if (lead && !committed()) copies = std::max(copies, lead->copies_before);
  if (change) copies = std::max(copies, copies_for(change->next));
  // Whoever else has a copy: this one is in every later primary, as it is the only one.
  if (copies == 1 && lead && state.electorate.has(settings.node)) return 1;
  std::size_t all = members_of(state.electorate);
  for (const auto& [node, known] : peers) {
    if (state.electorate.removes(node)) {
      copies += may_be_attached(now, known);
      all += may_be_attached(now, known);
      continue;
    }
    const bool counts = state.electorate.has(node) && (!change || change->next.has(node));
    // Its replica may be attached for a while longer than it is thought to live.
    const bool attached = known.facts.alive || (lead && now - known.heard < times.attached);
    if (!known.facts.member || !attached || counts) continue;
    ++copies;
    all += !state.electorate.has(node);
  }
  const bool by_force = lead && !state.electorate.has(settings.node);
  copies += by_force;
  all += by_force;
  // More than there can be are never there, and what all have nobody lacks.
  copies = std::min(copies, std::max<std::size_t>(all, 1));
  // The leader knows better who replicates from it.
  if (!lead && news.epoch == state.accepted) copies = std::max(copies, news.quorum_copies);
  return copies;
}

GroupView Leadership::Machine::present_view(Instant now) const {
  GroupView seen;
  seen.epoch = state.accepted;
  seen.electorate = state.electorate;
  if (lead) {
    seen.leading = leading(now);
    seen.lease_until = lead->lease_until;
    if (seen.leading) seen.leader = settings.node;
    seen.leader_ready = seen.leading && lead->ready;
    seen.handing_over = hand_over.has_value();
  } else if (state.promised == state.accepted && news.epoch == state.accepted &&
             now < news.valid_until) {
    seen.leader = state.leader;
    seen.leader_ready = news.ready && fork_of(state.accepted) != nullptr;
  }
  if (!lead && news.epoch == state.accepted) seen.source = news.source;
  if (!lead && defective(Defect::kOwnSource)) seen.source = neighbour();
  if (const Fork* fork = fork_of(state.accepted)) seen.replid = fork->replid;

  seen.quorum_copies = quorum_copies(now);
  if (lead) seen.unfed = unfed(now);
  const auto& voters = state.electorate.voters;
  const auto reachable = static_cast<std::size_t>(
      std::count_if(voters.begin(), voters.end(), [&](const auto& node) { return alive(node); }));
  seen.isolated = votes() && reachable < state.electorate.majority();
  seen.removed = removed();
  if (seen.leader.empty())
    seen.why = reason(now);
  else if (!stays_out.empty())
    seen.why = stays_out;
  if (seen.removed) seen.why += (seen.why.empty() ? "" : "; ") + taken_out();
  if (!redis.trouble.empty() && seen.why.find(redis.trouble) == std::string::npos)
    seen.why += (seen.why.empty() ? "" : "; ") + settings.node + ": " + redis.trouble;
  return seen;
}

std::string Leadership::Machine::reason(Instant now) const {
  if (!in_group()) return why.empty() ? "waiting to hear from the other nodes" : why;
  std::vector<std::string> missing;
  for (const std::string& voter : state.electorate.voters)
    if (!alive(voter)) missing.push_back(voter);
  if (state.electorate.voters.size() - missing.size() < state.electorate.majority()) {
    return "no majority of the voters " + listed(state.electorate.voters) + ": no word from " +
           listed(missing);
  }
  std::vector<std::string> forgetful;
  for (const auto& [node, known] : peers) {
    if (state.electorate.has(node) && known.facts.alive && !known.facts.has_state)
      forgetful.push_back(node);
  }
  if (state.electorate.voters.size() - missing.size() - forgetful.size() <
      state.electorate.majority()) {
    return listed(forgetful) +
           " lost what had been promised, and without there is no majority of the voters " +
           listed(state.electorate.voters) + "; AZIMUTH ELECT FORCE <node> goes on";
  }
  if (state.forgetful)
    return "this node has lost its state, and votes again when a leader has admitted it";
  if (!why.empty()) return why;
  if (now < resting_until)
    return "just started: a lease that this node may have granted before runs out first";
  return missing.empty() ? "an election is under way"
                         : "an election is under way; no word from " + listed(missing);
}

// What is not later than the last settle() was dealt with there.
Instant Leadership::Machine::wakeup() const {
  Instant due = kNever;
  const auto at = [&](Instant when) {
    if (when > last_now) due = earlier_of(due, when);
  };
  if (lead) {
    due = later_of(lead->next_round, last_now);
    at(lead->next_again);
    at(lead->lease_until);
    at(lead->promote_by);
    at(gives_up_at());
    if (lead->refused_since != kNever)
      at(later_of(lead->refused_since + times.fence_wait, may_re_elect_at()));
    if (change || wished) at(last_now + times.renew);
    if (hand_over) at(last_now + milliseconds(5));
  }
  at(news.valid_until);
  if (pending && !pending->answer) at(pending->since + times.fence_wait);
  if (ballot) {
    at(ballot->next_send);
    for (const auto& [node, when] : ballot->ask_at) at(when);
    at(ballot->winner.empty() ? ballot->since + times.ballot : ballot->announced + times.lease);
    if (ballot->winner.empty()) at(ballot->since + times.grace);
  } else if (!lead && votes()) {
    const Instant free = later_of(later_of(held.until, quiet_until), resting_until);
    at(later_of(earlier_of(search.next, search.ballot_at), free));
  }
  if (!in_group()) at(later_of(next_bootstrap, last_now + times.renew));
  return due;
}

Leadership::Leadership(LeadershipSettings settings, std::optional<GroupState> saved,
                       std::uint64_t boot, Instant now)
    : machine_(std::make_unique<Machine>(std::move(settings), std::move(saved), boot, now)) {}
Leadership::~Leadership() = default;

void Leadership::on_tick(Instant now, std::uint64_t random) {
  machine_->random ^= random;
  machine_->settle(now);
}

void Leadership::on_message(Instant now, std::string_view from, const GroupMessage& message,
                            std::uint64_t random) {
  Machine& m = *machine_;
  m.random ^= random;
  if (m.is_self(from)) return;
  struct {
    Machine& m;
    Instant now;
    std::string_view from;
    void operator()(const Renew& got) { m.on_renew(now, from, got); }
    void operator()(const Grant& got) { m.on_grant(now, from, got); }
    void operator()(const Refuse& got) { m.on_refuse(now, from, got); }
    void operator()(const Probe& got) { m.on_probe(now, from, got); }
    void operator()(const ProbeReply& got) { m.on_probe_reply(now, from, got); }
    void operator()(const Prepare& got) { m.on_prepare(now, from, got); }
    void operator()(const Promise& got) { m.on_promise(now, from, got); }
    void operator()(const Reject& got) { m.on_reject(now, from, got); }
    void operator()(const Elected& got) { m.on_elected(now, from, got); }
    void operator()(const BallotOver& got) { m.on_ballot_over(now, from, got); }
    void operator()(const Wish& got) { m.on_wish(now, from, got); }
    void operator()(const WishResult& got) {
      if (got.standing != WishStanding::kTaken)
        m.results.push_back(got);
      else
        m.event(got.accepted ? "wish_accepted" : "wish_refused", got.text);
    }
  } take{m, now, from};
  std::visit(take, message);
  m.settle(now);
}

void Leadership::on_peer(Instant now, std::string_view node, const PeerFacts& facts) {
  Machine& m = *machine_;
  if (m.is_self(node)) return;
  // What has gone, and never had a say, need not be remembered.
  if (!facts.alive && !facts.member && !m.state.electorate.has(node)) {
    if (const auto found = m.peers.find(node); found != m.peers.end()) m.peers.erase(found);
  } else {
    m.peers[std::string(node)].facts = facts;
    m.see(facts.epoch);
  }
  m.settle(now);
}

bool Leadership::knows(std::string_view node) const {
  return machine_->peers.find(node) != machine_->peers.end();
}

void Leadership::on_redis(Instant now, const LocalRedis& facts) {
  Machine& m = *machine_;
  const bool back = facts.alive && !facts.loading && !m.ready_redis();
  m.redis = facts;
  m.redis_seen |= facts.alive;
  // A ballot that failed for want of this Redis need not wait for its turn.
  if (back) m.search.next = earlier_of(m.search.next, now);
  m.settle(now);
}

void Leadership::on_drained(Instant now) {
  machine_->on_drained(now);
  machine_->settle(now);
}

void Leadership::on_leaving(Instant now) {
  machine_->leaving = true;
  machine_->settle(now);
}

void Leadership::on_rest(Instant now) {
  Machine& m = *machine_;
  const bool whole = m.ready_redis() && m.redis.run_id == m.state.intact_run_id;
  m.end_lead(now, "the node leaves");
  if (whole && m.is_self(m.state.leader) && m.state.rested != m.state.accepted) {
    m.state.rested = m.state.accepted;
    m.dirty = true;
  }
}

Outcome Leadership::switch_over(Instant now, std::string_view to) {
  Outcome outcome = machine_->begin_hand_over(now, to);
  machine_->settle(now);
  return outcome;
}

Outcome Leadership::force(Instant now, std::string_view node) {
  Outcome outcome = machine_->begin_force(now, node);
  machine_->settle(now);
  return outcome;
}

void Leadership::change_members(Instant now, Wish::Kind kind, std::string_view node,
                                std::uint64_t id) {
  Machine& m = *machine_;
  const Wish wish{kind, id, std::string(node)};
  if (node.empty() || node.size() > kNameBytesMax)
    m.results.push_back({id, false, "no node has such a name", WishStanding::kRefused});
  else if (m.lead)
    m.on_member_wish(now, m.settings.node, wish);
  else if (m.view.leader.empty())
    m.results.push_back({id, false, "there is no primary: " + m.view.why, WishStanding::kNotYet});
  else
    m.send(m.view.leader, wish);
  m.settle(now);
}

Instant Leadership::next_wakeup() const { return machine_->wakeup(); }

LeadershipOutbox Leadership::take_outbox() {
  Machine& m = *machine_;
  LeadershipOutbox out;
  if (std::exchange(m.dirty, false)) out.save = m.state;
  out.sends = std::exchange(m.sends, {});
  out.order = m.order;
  out.view_changed = std::exchange(m.view_changed, false);
  if (m.change && !m.change->told_at) m.change->told_at = m.last_now;
  out.events = std::exchange(m.events, {});
  out.results = std::exchange(m.results, {});
  return out;
}

std::vector<ReplicaProgress> Leadership::replicas() const {
  std::vector<ReplicaProgress> told;
  const Machine& m = *machine_;
  if (!m.lead) return told;
  for (const auto& [node, known] : m.peers) {
    if (!known.grant || !known.grant->has_redis || m.state.electorate.removes(node)) continue;
    const Grant& grant = *known.grant;
    told.push_back({node, grant.in_sync, grant.intact, grant.offset, known.heard});
  }
  return told;
}

void Leadership::ask_again(Instant now, std::string_view node) {
  Machine& m = *machine_;
  if (m.leading(now) && m.peers.contains(node)) m.send_renew(now, std::string(node));
}

void Leadership::on_source(Instant now, std::uint64_t epoch, std::string_view source) {
  machine_->carried = {epoch, std::string(source)};
  machine_->settle(now);
}

void Leadership::set_tunnel_tree(Instant now, bool wanted) {
  machine_->settings.tunnel_tree = wanted;
  machine_->settle(now);
}

std::vector<std::pair<std::string, std::string>> Leadership::sources() const {
  std::vector<std::pair<std::string, std::string>> told;
  const Machine& m = *machine_;
  if (!m.lead) return told;
  for (const auto& [node, known] : m.peers) {
    if (!known.grant || !known.grant->in_sync || m.state.electorate.removes(node)) continue;
    const std::string& source = known.grant->source;
    told.emplace_back(node, source.empty() ? m.settings.node : source);
  }
  return told;
}

const GroupView& Leadership::view() const { return machine_->view; }
const GroupState& Leadership::state() const { return machine_->state; }

}  // namespace azimuth
