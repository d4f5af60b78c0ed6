// The loss of a leader is confirmed by a majority before anybody's promise is asked for; then one
// coordinator at a time holds a ballot.
#include <algorithm>
#include <utility>

#include "conf/limits.h"
#include "health/leadership_machine.h"

namespace azimuth {
namespace {

// Ballots that fail in a row wait longer and longer, up to a lease; after a few the group is said
// to be vacant.
constexpr unsigned kBackoffSteps = 10;
constexpr unsigned kVacantAfter = 5;
// Against rivals, before it waits as if it had none.
constexpr unsigned kAttempts = 3;
constexpr std::uint64_t kForcedStep = 100;

}  // namespace

bool Leadership::Machine::may_search(Instant now) const {
  return votes() && !lead && !ballot &&
         now >= later_of(later_of(held.until, quiet_until), resting_until);
}

// Asks the others whether they too have lost the leader. It changes nothing, so that one node that
// hears badly does not unseat anybody.
void Leadership::Machine::search_progress(Instant now) {
  if (!may_search(now)) {
    // What the others said is of another moment by the time it matters.
    search.free_at.clear();
    search.ballot_at = kNever;
    return;
  }
  if (now >= search.ballot_at) {
    Ballot asked;
    for (const auto& [voter, when] : search.free_at)
      if (when <= now) asked.expected.insert(voter);
    return start_ballot(now, std::move(asked));
  }
  if (now < search.next) return;
  search.next = now + times.renew;
  const std::vector<std::string> others = other_voters(state.electorate);
  if (others.empty()) return start_ballot(now, {});
  const std::uint64_t released = is_self(state.leader) ? state.accepted : 0;
  for (const std::string& voter : others) send(voter, Probe{state.accepted, released});
}

void Leadership::Machine::on_probe_reply(Instant now, std::string_view from,
                                         const ProbeReply& reply) {
  see(std::max(reply.promised, reply.accepted));
  if (!may_search(now) || reply.epoch != state.accepted || !state.electorate.has(from)) return;
  search.free_at.insert_or_assign(
      std::string(from), now + Duration{static_cast<std::int64_t>(std::min<std::uint64_t>(
                                   reply.busy_ms, static_cast<std::uint64_t>(times.grant.ms)))});
  const std::size_t needed = state.electorate.majority() - 1;
  if (search.free_at.size() < needed || search.ballot_at != kNever) return;
  std::vector<Instant> free;
  for (const auto& [voter, when] : search.free_at) free.push_back(when);
  std::sort(free.begin(), free.end());
  const Instant majority = needed == 0 ? now : free[needed - 1];
  if (majority > now) {
    // They will be free then, if nobody renews: ask again at that moment.
    search.next = earlier_of(search.next, majority);
    return;
  }
  const auto rank = std::count_if(search.free_at.begin(), search.free_at.end(), [&](auto& entry) {
    return entry.second <= now && entry.first < settings.node;
  });
  search.ballot_at = now + Duration{times.rank_step.ms * rank} + jitter({times.rank_step.ms / 4});
}

// `asked` says what kind of ballot. A leader gives up its lease by holding one.
void Leadership::Machine::start_ballot(Instant now, Ballot asked) {
  end_lead(now, "holds a ballot");
  search = {};
  ballot = std::move(asked);
  // With the disks of a majority epochs may have been forgotten: an operator's word goes beyond
  // them.
  highest += ballot->forced.empty() ? 1 : kForcedStep;
  ballot->epoch = highest;
  ballot->since = ballot->next_send = now;
  if (!ballot->bootstrap) {
    ballot->electorate = state.electorate;
    ballot->released = is_self(state.leader) ? state.accepted : 0;
  }
  event("ballot", "for epoch " + std::to_string(ballot->epoch));
  Prepare own;
  own.epoch = ballot->epoch;
  own.electorate = ballot->electorate;
  own.forced = !ballot->forced.empty();
  promise(now, settings.node, own);
  send_prepares(now);
}

void Leadership::Machine::send_prepares(Instant now) {
  Prepare prepare;
  prepare.epoch = ballot->epoch;
  prepare.released = ballot->released;
  prepare.forced = !ballot->forced.empty();
  prepare.bootstrap = ballot->bootstrap;
  prepare.electorate = ballot->electorate;
  const bool all = now >= ballot->next_send;
  if (all) ballot->next_send = now + times.again;
  for (const std::string& voter : others_asked()) {
    if (ballot->promises.count(voter) != 0 || ballot->refusers.count(voter) != 0) continue;
    const auto later = ballot->ask_at.find(voter);
    if (later == ballot->ask_at.end() ? !all : now < later->second) continue;
    if (later != ballot->ask_at.end()) ballot->ask_at.erase(later);
    send(voter, prepare);
  }
}

void Leadership::Machine::ballot_progress(Instant now) {
  if (!ballot) return;
  if (!ballot->winner.empty()) {
    // The winner's first Renew ends the ballot; without one it is taken for dead.
    if (now >= ballot->announced + times.lease)
      return fail_ballot(now, ballot->winner + " was elected and has not taken over");
    if (now < ballot->next_send) return;
    ballot->next_send = now + times.again;
    send(ballot->winner,
         Elected{ballot->epoch, ballot->winner, !ballot->forced.empty(), ballot->electorate});
    return;
  }
  const Electorate& electorate = ballot->electorate;
  if (electorate.removes(ballot->forced))
    return fail_ballot(now, ballot->forced + " was taken out of the group");
  const Choice choice = choose({electorate, ballot->promises, state.forks, ballot->preferred,
                                ballot->forced, ballot->bootstrap});
  if (!choice.winner.empty()) {
    // Those who live may know of more.
    const bool heard = std::all_of(electorate.voters.begin(), electorate.voters.end(),
                                   [&](const std::string& voter) {
                                     return ballot->promises.count(voter) != 0 ||
                                            ballot->refusers.count(voter) != 0 || !alive(voter);
                                   });
    if (heard || now >= ballot->since + times.grace) return announce(now, choice.winner);
  }
  if (choice.winner.empty() && hopeless()) return try_again_or_yield(now);
  const bool complete = ballot->promises.size() == electorate.voters.size();
  if (complete || now >= ballot->since + times.ballot) return fail_ballot(now, choice.why);
  send_prepares(now);
}

// Somebody has refused, and those who are known to be there make no majority.
bool Leadership::Machine::hopeless() const {
  if (ballot->refusers.empty()) return false;
  const auto& voters = ballot->electorate.voters;
  const auto possible = std::count_if(voters.begin(), voters.end(), [&](const std::string& voter) {
    if (ballot->refusers.count(voter) != 0) return false;
    if (is_self(voter) || ballot->promises.count(voter) != 0) return true;
    return ballot->expected.empty() ? alive(voter) : ballot->expected.count(voter) != 0;
  });
  return static_cast<std::size_t>(possible) < ballot->electorate.majority();
}

// Two coordinators that began at one moment refuse each other: the lower id goes on at once, with a
// later epoch, and the other leaves it the time.
void Leadership::Machine::try_again_or_yield(Instant now) {
  const bool first =
      std::all_of(ballot->refusers.begin(), ballot->refusers.end(),
                  [&](const auto& refuser) { return refuser.second > settings.node; });
  if (!first || ballot->attempt >= kAttempts) {
    if (!first) quiet_until = now + times.ballot;
    return fail_ballot(now, "another ballot is under way");
  }
  Ballot again;
  again.bootstrap = ballot->bootstrap;
  if (again.bootstrap) again.electorate = ballot->electorate;
  again.preferred = ballot->preferred;
  again.forced = ballot->forced;
  again.expected = ballot->expected;
  again.attempt = ballot->attempt + 1;
  start_ballot(now, std::move(again));
}

void Leadership::Machine::on_promise(Instant now, std::string_view from, const Promise& promise) {
  if (!ballot || promise.epoch != ballot->epoch || !ballot->winner.empty()) return;
  // Late answers are to a ballot that may have been taken for dead.
  if (now >= ballot->since + times.ballot) return;
  if (!ballot->bootstrap && adopt(promise.electorate)) {
    ballot->electorate = state.electorate;
    ballot->next_send = now;
    std::erase_if(ballot->promises, [&](const auto& one) { return !ballot->asks(one.first); });
  }
  if (!ballot->asks(from)) return;
  ballot->ask_at.erase(std::string(from));
  ballot->refusers.erase(std::string(from));
  ballot->promises.insert_or_assign(std::string(from), promise);
}

void Leadership::Machine::on_reject(Instant now, std::string_view from, const Reject& reject) {
  see(reject.promised);
  if (!ballot || reject.epoch != ballot->epoch || !ballot->winner.empty()) return;
  if (!ballot->asks(from)) return;
  switch (reject.reason) {
    case RejectReason::kPromised:
    case RejectReason::kForgetful:
    case RejectReason::kOtherGroup:
      ballot->refusers.insert_or_assign(
          std::string(from), reject.reason == RejectReason::kPromised ? reject.promised_to : "");
      break;
    case RejectReason::kLease:
    case RejectReason::kWaiting:
    case RejectReason::kNotReady:
      ballot->ask_at.insert_or_assign(
          std::string(from),
          now + Duration{static_cast<std::int64_t>(std::min<std::uint64_t>(
                    reject.wait_ms, static_cast<std::uint64_t>(times.ballot.ms)))});
      break;
  }
}

// The choice of an epoch is made once.
void Leadership::Machine::announce(Instant now, const std::string& winner) {
  ballot->winner = winner;
  ballot->announced = now;
  ballot->next_send = now + times.again;
  if (ballot->bootstrap) ballot->electorate.epoch = ballot->epoch;
  const Elected elected{ballot->epoch, winner, !ballot->forced.empty(), ballot->electorate};
  for (const std::string& voter : others_asked()) send(voter, elected);
  if (!is_self(winner)) return;
  adopt(elected.electorate);
  const std::string run_id = pending ? pending->run_id : redis.run_id;
  const Instant balloted = ballot->since;
  ballot.reset();
  start_leading(now, elected.epoch, run_id, false);
  lead->balloted = balloted;
  lead_progress(now);
}

void Leadership::Machine::fail_ballot(Instant now, std::string reason) {
  event("ballot_failed", "epoch " + std::to_string(ballot->epoch) + ": " + reason);
  for (const std::string& voter : others_asked())
    send(voter, BallotOver{ballot->epoch, reason.substr(0, kReasonBytesMax)});
  why = std::move(reason);
  const bool bootstrap = ballot->bootstrap;
  ballot.reset();
  ballots_failed = std::min(ballots_failed + 1, kBackoffSteps);
  if (ballots_failed == kVacantAfter) event("vacant", why);
  const Duration step{times.lease.ms / 10};
  const Instant next = now + Duration{step.ms * ballots_failed} + jitter(step + step);
  search = {};
  search.next = next;
  if (bootstrap) next_bootstrap = next;
}

void Leadership::Machine::on_elected(Instant now, std::string_view from, const Elected& elected) {
  see(elected.epoch);
  if (elected.epoch != state.promised || state.promised_to != from) return;
  if (elected.epoch == state.accepted) return;  // led, or followed, already
  if (!is_self(elected.winner)) {
    quiet_until = later_of(quiet_until, now + times.lease);
    return;
  }
  adopt(elected.electorate);
  if (!in_group() || !settings.has_redis) return;
  const std::string run_id = pending && pending->answer ? pending->run_id : std::string();
  if (run_id.empty()) return;  // this process has shown nothing that it could have won with
  start_leading(now, elected.epoch, run_id, false);
}

void Leadership::Machine::on_ballot_over(Instant now, std::string_view from,
                                         const BallotOver& over) {
  if (over.epoch != state.promised || state.promised_to != from || state.accepted == over.epoch)
    return;
  why = over.why;
  // The same coordinator tries again first, unless it has gone.
  quiet_until = earlier_of(quiet_until, now + times.renew + times.renew);
}

bool Leadership::Machine::adopt(const Electorate& electorate) {
  if (electorate.version == 0 || !electorate.newer_than(state.electorate)) return false;
  state.electorate = electorate;
  // Its Redis may be put to another use meanwhile.
  if (removed()) state.adopted = false;
  dirty = true;
  return true;
}

}  // namespace azimuth
