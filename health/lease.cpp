// The lease: a leader asks for it, voters grant it, and both keep time by their own clocks.
#include <algorithm>
#include <functional>
#include <utility>

#include "conf/limits.h"
#include "health/leadership_machine.h"

namespace azimuth {

void Leadership::Machine::start_leading(Instant now, std::uint64_t epoch, std::string run_id,
                                        bool resumed) {
  if (state.accepted != epoch || state.leader != settings.node) {
    state.accepted = epoch;
    state.leader = settings.node;
    dirty = true;
  }
  pending.reset();
  held = {};
  news = {};
  search = {};
  change.reset();
  why.clear();
  lead = Lead{};
  lead->epoch = epoch;
  lead->since = lead->round = lead->next_round = now;
  lead->lease_until = kLongAgo;
  lead->without_since = now;
  lead->resumed = resumed;
  lead->run_id = std::move(run_id);
  const auto leases = [&](std::int64_t tenths) { return Duration{times.lease.ms * tenths / 10}; };
  lead->tree = TunnelTree(now, {leases(30), leases(5), leases(100), leases(600)});
  for (auto& [node, known] : peers) {
    known.grant.reset();
    known.granted = known.heard = kLongAgo;
    known.refuses = false;
    known.hastened = kLongAgo;
    known.removed_since = kNever;
  }
  wished.reset();
  answered.clear();
  event("elected", settings.node + " in epoch " + std::to_string(epoch));
}

void Leadership::Machine::end_lead(Instant now, std::string_view reason) {
  if (!lead) return;
  event("stepped_down", "epoch " + std::to_string(lead->epoch) + ": " + std::string(reason));
  lead.reset();
  hand_over.reset();
  change.reset();
  wished.reset();
  search = {};
  search.next = now;
}

void Leadership::Machine::lead_progress(Instant now) {
  if (!lead) return;
  if (removed()) return end_lead(now, "it was taken out of the group");
  if (const std::string lost = redis_lost(); !lost.empty()) return re_elect(now, lost);
  renew_lease(now);
  hold_or_lose(now);
  if (!lead) return;
  if (leading(now)) {
    if (!lead->claimed && ready_redis()) {
      lead->claimed = true;
      lead->from = own_position();
    }
    const bool done = redis.done == OrderKind::kLead && redis.done_epoch == lead->epoch;
    if (!lead->ready && lead->claimed && done && !hand_over) become_ready(now);
    if (!lead) return;
    // It yields: another one is to have its turn.
    const bool late = now >= lead->promote_by;
    if (!lead->ready && !hand_over && (late || !redis.trouble.empty())) {
      reluctant_until = now + times.attached;
      return re_elect(now, late ? "its Redis was not promoted in time" : redis.trouble);
    }
    if (lead->refused_since != kNever && !hand_over &&
        now >= lead->refused_since + times.fence_wait && now >= may_re_elect_at())
      return re_elect(now, "a voter has promised a later epoch");
  }
  tree_progress(now);
  send_rounds(now);
}

// What ends this leadership for good: what it won with is gone.
std::string Leadership::Machine::redis_lost() const {
  if (!lead->claimed) {
    const bool another = ready_redis() && redis.run_id != lead->run_id;
    return another ? "its Redis has restarted" : "";
  }
  if (!ready_redis()) return "its Redis does not answer";
  if (redis.run_id != lead->run_id) return "its Redis has restarted";
  const bool demoting = hand_over && hand_over->stage == HandOver::Stage::kDemoting;
  if (!lead->ready || demoting) return {};
  if (!redis.master) return "somebody has made its Redis a replica";
  if (const Fork* fork = fork_of(lead->epoch); fork && fork->replid != redis.replid)
    return "its Redis has another replication id";
  return {};
}

// The lease is counted from when a majority's answers were asked for.
void Leadership::Machine::renew_lease(Instant now) {
  std::vector<Instant> asked;
  for (const std::string& voter : state.electorate.voters) {
    const auto found = peers.find(voter);
    if (is_self(voter))
      asked.push_back(now);
    else if (found != peers.end())
      asked.push_back(found->second.granted);
  }
  if (defective(Defect::kRemovedVoterCounts)) {
    for (const auto& [node, known] : peers)
      if (state.electorate.removes(node)) asked.push_back(known.granted);
  }
  const std::size_t majority = state.electorate.majority();
  if (asked.size() < majority) return;
  std::nth_element(asked.begin(), asked.begin() + static_cast<std::ptrdiff_t>(majority - 1),
                   asked.end(), std::greater<>());
  lead->lease_until = later_of(lead->lease_until, asked[majority - 1] + times.lease);
  if (defective(Defect::kWriteAfterLease)) lead->lease_until = lead->lease_until + times.lease;
}

void Leadership::Machine::hold_or_lose(Instant now) {
  const bool leased = leading(now);
  if (leased != lead->leased) {
    lead->leased = leased;
    lead->without_since = leased ? kNever : now;
    lead->promote_by = leased ? now + times.lease + times.lease : kNever;
    lead->ready = false;
    if (!leased) {
      hand_over.reset();
      why = "the lease of " + settings.node + " ran out: no majority of the voters answers";
    }
    event(leased ? "lease_held" : "lease_lost", "epoch " + std::to_string(lead->epoch));
  }
  if (leased) return;
  const auto refusing =
      static_cast<std::size_t>(std::count_if(peers.begin(), peers.end(), [&](const auto& entry) {
        return entry.second.refuses && state.electorate.has(entry.first);
      }));
  if (state.electorate.voters.size() - refusing < state.electorate.majority())
    end_lead(now, "a majority has gone on to a later epoch");
  // Those who hear it but are not heard would renew for ever what does it no good.
  else if (now >= gives_up_at())
    end_lead(now, "no majority of the voters has answered for long");
}

Instant Leadership::Machine::gives_up_at() const {
  return lead->without_since + times.lease + times.lease;
}

void Leadership::Machine::become_ready(Instant now) {
  if (const Fork* fork = fork_of(lead->epoch)) {
    if (fork->replid != redis.replid)
      return re_elect(now, "its Redis has another replication id than before");
  } else {
    state.forks = forked(state.forks, lead->from,
                         {lead->epoch, redis.replid, lead->from ? lead->from->offset : 0});
    dirty = true;
  }
  if (state.intact_run_id != redis.run_id || !state.adopted) {
    state.intact_run_id = redis.run_id;
    state.adopted = true;
    dirty = true;
  }
  // Its own, so that a change which died with an older leader is overruled wherever it is known.
  if (state.electorate.epoch != lead->epoch) {
    state.electorate.epoch = lead->epoch;
    ++state.electorate.version;
    dirty = true;
  }
  if (state.rested != 0) dirty = true;
  state.rested = 0;
  lead->ready = true;
  reluctant_until = kLongAgo;
  lead->next_round = now;
  ballots_failed = 0;
  why.clear();
  event("leads", settings.node + " in epoch " + std::to_string(lead->epoch) + " from offset " +
                     std::to_string(redis.offset));
}

void Leadership::Machine::send_rounds(Instant now) {
  if (now >= lead->next_round) {
    lead->round = now;
    lead->next_round = now + times.renew;
    lead->next_again = now + times.again;
    std::set<std::string> receivers(state.electorate.voters.begin(), state.electorate.voters.end());
    for (const auto& [node, known] : peers) {
      if (known.facts.alive && (known.facts.member || known.facts.wants_vote))
        receivers.insert(node);
    }
    receivers.erase(settings.node);
    for (const std::string& node : receivers) send_renew(now, node);
  } else if (now >= lead->next_again) {
    // Renewed by this round already: the rest may wait for the next one.
    lead->next_again = kNever;
    if (lead->lease_until >= lead->round + times.lease) return;
    lead->next_again = now + times.again;
    for (const std::string& voter : other_voters(state.electorate)) {
      const Peer* known = peer(voter);
      if (known && known->granted < lead->round) send_renew(now, voter);
    }
  }
}

void Leadership::Machine::send_renew(Instant now, const std::string& node) {
  Renew renew;
  renew.epoch = lead->epoch;
  renew.boot = boot;
  renew.asked_ms = static_cast<std::uint64_t>(now.ms);
  renew.offset = redis.offset;
  renew.ready = lead->ready;
  renew.quorum_copies = quorum_copies(now);
  const TreeOrder source = lead->tree.order_of(node);
  renew.source_version = source.version;
  renew.source = source.source;
  const Peer* known = peer(node);
  const Grant* last = known && known->grant ? &*known->grant : nullptr;
  if (known) renew.readmitted = known->readmitted;
  if (!last || last->electorate_epoch != state.electorate.epoch ||
      last->electorate_version != state.electorate.version)
    renew.electorate = state.electorate;
  // A table that does not end in this epoch is this node's alone.
  if (fork_of(lead->epoch) && (!last || last->forks_digest != digest(state.forks))) {
    renew.forks = state.forks;
    // With all names as long as they may be there is no room for both: the next one brings them.
    if (!fits(renew)) renew.forks.clear();
  }
  send(node, std::move(renew));
}

void Leadership::Machine::on_renew(Instant now, std::string_view from, const Renew& renew) {
  see(renew.epoch);
  const bool rival = renew.epoch == state.accepted && state.leader != from;
  if (rival) {
    event("two_leaders", std::string(from) + " and " + state.leader + " both claim epoch " +
                             std::to_string(renew.epoch));
  }
  if (renew.epoch < state.promised || rival) {
    send(from, Refuse{renew.epoch, state.promised});
    return;
  }
  const bool learned = learn(now, from, renew);
  news.leader_boot = renew.boot;
  news.asked_ms = renew.asked_ms;
  if (learned && in_sync() && ++news.since_sync == 2) news.whole_at = renew.offset;
  watch_intactness();
  send_grant(from, renew.epoch, learned);
}

bool Leadership::Machine::in_sync() const {
  return settings.has_redis && ready_redis() && redis.done == OrderKind::kFollow &&
         redis.done_epoch == state.accepted && news.epoch == state.accepted;
}

bool Leadership::Machine::detached() const {
  if (!removed() || !settings.has_redis) return removed();
  return redis.alive && !redis.link_up && redis.done == OrderKind::kFence &&
         redis.done_epoch == order.epoch && order.kind == OrderKind::kFence;
}

void Leadership::Machine::send_grant(std::string_view leader, std::uint64_t epoch, bool learned) {
  Grant grant;
  grant.epoch = epoch;
  grant.leader_boot = news.leader_boot;
  grant.asked_ms = news.asked_ms;
  grant.boot = boot;
  grant.has_redis = settings.has_redis;
  if (learned) {
    grant.granted = !state.forgetful;
    grant.forgetful = state.forgetful;
    grant.in_sync = news.told_in_sync = in_sync();
    grant.intact = news.told_intact = intact();
    grant.leaving = news.told_leaving = leaving;
    grant.detached = news.told_detached = detached();
    grant.knows_sources = true;
    grant.copying = settings.has_redis && redis.alive && redis.loading;
    news.told_source = carried_source();
    grant.source_version = news.told_source.version;
    grant.source = news.told_source.source;
    grant.offset = redis.offset;
    grant.electorate_epoch = state.electorate.epoch;
    grant.electorate_version = state.electorate.version;
    grant.forks_digest = digest(state.forks);
  }
  send(leader, grant);
}

// A follower that has come into sync need not wait for the next round to say so. It grants no more
// by it: the lease is counted from the same question.
void Leadership::Machine::tell_sync() {
  if (lead || news.epoch == 0 || news.epoch != state.accepted || state.promised != state.accepted)
    return;
  if (news.told_in_sync == in_sync() && news.told_intact == intact() &&
      news.told_leaving == leaving && news.told_detached == detached() &&
      news.told_source == carried_source())
    return;
  send_grant(state.leader, state.accepted, true);
}

// Takes what the leader says for true; false where it cannot yet.
bool Leadership::Machine::learn(Instant now, std::string_view from, const Renew& renew) {
  if (!in_group()) {
    if (renew.electorate.version == 0) return false;
    // A voter that knows of no promise has lost its state.
    const bool was = renew.electorate.has(settings.node) || renew.electorate.removes(settings.node);
    state.forgetful = state.promised == 0 && was && !defective(Defect::kAmnesiacVotes);
    // Who took part in the first ballot agreed to its outcome; a voter was the group's before.
    state.adopted = state.promised > 0 || renew.electorate.has(settings.node);
  }
  if (renew.epoch > state.accepted) {
    end_lead(now, std::string(from) + " leads epoch " + std::to_string(renew.epoch));
    if (ballot && ballot->epoch <= renew.epoch) ballot.reset();
    pending.reset();
    search = {};
    if (renew.epoch > state.promised) {
      state.promised = renew.epoch;
      state.promised_to = from;
    }
    state.accepted = renew.epoch;
    state.leader = from;
    dirty = true;
    news = {};
    news.epoch = renew.epoch;
    ballots_failed = 0;
    why.clear();
    event("follows", std::string(from) + " in epoch " + std::to_string(renew.epoch));
  }
  adopt(renew.electorate);
  if (!renew.forks.empty() && renew.forks != state.forks) {
    state.forks = renew.forks;
    dirty = true;
  }
  if (state.forgetful && renew.readmitted == boot) {
    state.forgetful = false;
    dirty = true;
    event("readmitted", "votes again from epoch " + std::to_string(renew.epoch));
  }
  if (!state.forgetful) held = {renew.epoch, now + times.grant};
  news.epoch = renew.epoch;
  news.valid_until = now + times.grant;
  news.ready = renew.ready;
  news.offset = renew.offset;
  news.quorum_copies = renew.quorum_copies;
  take_source(renew);
  if (renew.ready) leader_at = {renew.epoch, renew.offset};
  return true;
}

void Leadership::Machine::on_grant(Instant now, std::string_view from, const Grant& grant) {
  const Instant asked{static_cast<std::int64_t>(grant.asked_ms)};
  if (!lead || grant.epoch != lead->epoch || grant.leader_boot != boot || asked > now) return;
  Peer* known = peer(from);
  if (!known) return;
  if (known->heard > asked) return;  // an older answer came later
  known->heard = asked;
  known->grant = grant;
  if (grant.granted) {
    known->granted = later_of(known->granted, defective(Defect::kLeaseFromReply) ? now : asked);
    known->refuses = false;
  }
  if (grant.forgetful && grant.boot != known->forgetful_boot) {
    known->forgetful_boot = grant.boot;
    known->forgetful_since = now;
  }
  // To be whole again it must hear from after its sync, twice: not at the next rounds only.
  if (grant.in_sync && !grant.intact && now >= known->hastened + times.again) {
    known->hastened = now;
    send_renew(now, std::string(from));
  }
  const bool refused = std::any_of(peers.begin(), peers.end(),
                                   [](const auto& entry) { return entry.second.refuses; });
  if (!refused) lead->refused_since = kNever;
}

void Leadership::Machine::on_refuse(Instant now, std::string_view from, const Refuse& refuse) {
  see(refuse.promised);
  if (!lead || refuse.epoch != lead->epoch) return;
  // Who does not vote, or does no more, could never follow this epoch, nor hear that it is out.
  Peer* known = peer(from);
  if (!known || (!state.electorate.has(from) && !known->facts.member && !known->facts.wants_vote))
    return;
  known->refuses = true;
  if (lead->refused_since == kNever) lead->refused_since = now;
}

// The group goes on to a new epoch, by a ballot of this leader's own: the fastest way, since it can
// give up its lease where others would have to wait for it.
void Leadership::Machine::re_elect(Instant now, std::string_view reason) {
  last_re_election = now;
  event("re_election", std::string(reason));
  why = std::string(reason);
  // Without a lease it may be the only one that does not know better: ask before disturbing.
  if (!leading(now)) return end_lead(now, reason);
  Ballot asked;
  if (now >= reluctant_until) asked.preferred = settings.node;
  start_ballot(now, std::move(asked));
}

}  // namespace azimuth
