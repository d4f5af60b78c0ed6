// A voter that is asked for its promise, and what it says of its own Redis.
#include <algorithm>
#include <utility>

#include "conf/limits.h"
#include "health/leadership_machine.h"

namespace azimuth {

std::optional<Position> Leadership::Machine::own_position() const {
  return position_of(state.forks, redis.replid, redis.offset, redis.replid2, redis.second_offset);
}

// The very process that was last known to hold all that it ever acknowledged.
bool Leadership::Machine::intact() const {
  return ready_redis() && !redis.run_id.empty() && redis.run_id == state.intact_run_id &&
         own_position();
}

void Leadership::Machine::watch_intactness() {
  if (!settings.has_redis || lead) return;
  // A copy replaces what was there before it is whole itself. A whole one has the leader's data,
  // and so all that this process ever acknowledged, like one that was too quick to be seen. Only
  // who watched from its start to its end knows that; and that of a replica may be behind.
  if (redis.alive && redis.loading && !carried_source().source.empty()) copied_nearby = true;
  if (redis.alive && redis.loading && !state.intact_run_id.empty()) {
    copying_run_id = std::exchange(state.intact_run_id, {});
    dirty = true;
  } else if (ready_redis() && !copying_run_id.empty()) {
    if (redis.run_id == copying_run_id && !copied_nearby) state.intact_run_id = copying_run_id;
    copying_run_id.clear();
    dirty = true;
  }
  if (ready_redis()) copied_nearby = false;
  if (!in_sync()) news.since_sync = 0;
  // The second Renew after the sync was certainly written after it: at its offset the Redis holds
  // what its former process had acknowledged.
  if (!in_sync() || news.since_sync < 2 || redis.offset < news.whole_at) return;
  if (state.intact_run_id == redis.run_id) return;
  state.intact_run_id = redis.run_id;
  dirty = true;
}

// A Redis that was never the group's is taken in only if nothing is lost by it.
bool Leadership::Machine::may_adopt() {
  if (state.adopted) return true;
  if (!ready_redis()) return false;
  if (!redis.empty && !own_position()) {
    stays_out = "the Redis of " + settings.node +
                " holds data of unknown origin, and to join would wipe them: stop that "
                "redis-server, move its dump and append-only files away and start it empty; or, if "
                "the group has no primary, make it that by AZIMUTH ELECT FORCE " +
                settings.node;
    return false;
  }
  state.adopted = true;
  dirty = true;
  return true;
}

// For how long this voter will have no part in an election.
Duration Leadership::Machine::busy(Instant now, std::string_view asker,
                                   std::uint64_t released) const {
  Instant until = now;
  const bool given_up = released != 0 && released == state.accepted && asker == state.leader;
  if (!given_up) {
    if (!defective(Defect::kVoteDuringLease)) until = later_of(until, held.until);
    until = later_of(until, resting_until);
    if (lead && !is_self(asker)) until = later_of(until, lead->lease_until);
  }
  return until - now;
}

void Leadership::Machine::on_probe(Instant now, std::string_view from, const Probe& probe) {
  see(probe.epoch);
  ProbeReply reply;
  reply.epoch = probe.epoch;
  reply.accepted = state.accepted;
  reply.promised = state.promised;
  Duration wait = std::max(busy(now, from, probe.released), quiet_until - now);
  if (state.forgetful || !in_group()) wait = times.lease;
  reply.busy_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(wait.ms, 0));
  send(from, reply);
}

std::optional<Reject> Leadership::Machine::objection(Instant now, std::string_view from,
                                                     const Prepare& prepare) const {
  const auto reject = [&](RejectReason reason, Duration wait = {}) {
    return Reject{prepare.epoch, state.promised, state.promised_to, reason,
                  static_cast<std::uint64_t>(wait.ms)};
  };
  if (prepare.bootstrap) {
    if (in_group() || !prepare.electorate.has(settings.node))
      return reject(RejectReason::kOtherGroup);
    if (settings.has_redis && !ready_redis()) return reject(RejectReason::kNotReady, times.again);
  } else if (!in_group()) {
    // The winner of the first ballot of all may be the only one to know that there is a group.
    const bool first = state.promised > 0 && prepare.electorate.version == 1;
    if (!first && !prepare.forced) return reject(RejectReason::kForgetful);
  } else if (state.forgetful && !prepare.forced) {
    return reject(RejectReason::kForgetful);
  }
  if (prepare.epoch < state.promised ||
      (prepare.epoch == state.promised && state.promised_to != from &&
       !defective(Defect::kPromiseToAnyone)))
    return reject(RejectReason::kPromised);
  if (prepare.epoch == state.promised) return std::nullopt;  // asked again
  // By an operator's word also who has forgotten promises; not while a lease that it granted before
  // may live.
  const bool forgot = !prepare.bootstrap && (!in_group() || state.forgetful);
  if (forgot && now < started + times.grant)
    return reject(RejectReason::kWaiting, started + times.grant - now);
  const Duration wait = busy(now, from, prepare.released);
  if (wait.ms > 0)
    return reject(now < resting_until ? RejectReason::kWaiting : RejectReason::kLease, wait);
  return std::nullopt;
}

void Leadership::Machine::on_prepare(Instant now, std::string_view from, const Prepare& prepare) {
  see(prepare.epoch);
  if (const std::optional<Reject> reject = objection(now, from, prepare)) {
    send(from, *reject);
    // It will come again with a later epoch, and is to find nobody in its way.
    const bool rival = prepare.epoch == state.promised && is_self(state.promised_to);
    if (rival && from < settings.node && ballot && ballot->winner.empty()) {
      event("ballot_yielded",
            "epoch " + std::to_string(ballot->epoch) + " to " + std::string(from));
      ballot.reset();
      quiet_until = now + times.ballot;
    }
    return;
  }
  promise(now, from, prepare);
}

// From here on nothing is taken from an older epoch; the Redis is fenced and its tunnel cut, and
// answer_pending() says where it ended.
void Leadership::Machine::promise(Instant now, std::string_view coordinator,
                                  const Prepare& prepare) {
  if (prepare.epoch > state.promised) {
    state.promised = prepare.epoch;
    state.promised_to = coordinator;
    dirty = !defective(Defect::kPromiseNotSaved);
    end_lead(now, "promised epoch " + std::to_string(prepare.epoch));
    if (ballot && ballot->epoch < prepare.epoch) ballot.reset();
    held = {};
    search = {};
    pending.reset();
    if (!is_self(coordinator)) quiet_until = now + times.ballot;
  }
  // Of a group that begins it has acknowledged nothing yet.
  if (prepare.bootstrap && ready_redis() && state.intact_run_id != redis.run_id) {
    state.intact_run_id = redis.run_id;
    dirty = true;
  }
  if (prepare.forced && state.forgetful) {
    state.forgetful = false;
    dirty = true;
  }
  if (pending && pending->answer) {
    send(coordinator, *pending->answer);
    return;
  }
  if (pending) return;
  pending = Pending{};
  pending->epoch = prepare.epoch;
  pending->coordinator = coordinator;
  pending->since = now;
  pending->electorate = prepare.electorate;
}

void Leadership::Machine::answer_pending(Instant now) {
  if (!pending || pending->answer) return;
  const bool shown = !settings.has_redis || (redis.done == OrderKind::kFence &&
                                             redis.done_epoch == pending->epoch && !redis.link_up);
  const bool may_show = settings.has_redis && (ready_redis() || !redis_seen);
  if (may_show && !shown && now < pending->since + times.fence_wait) return;
  pending->answer = stated(shown);
  pending->run_id = redis.run_id;
  const std::string coordinator = pending->coordinator;
  const Promise answer = *pending->answer;
  if (is_self(coordinator))
    on_promise(now, coordinator, answer);
  else
    send(coordinator, answer);
}

Promise Leadership::Machine::stated(bool shown) const {
  Promise promise;
  promise.epoch = pending->epoch;
  promise.has_redis = settings.has_redis;
  promise.alive = ready_redis();
  promise.empty = redis.empty;
  const std::optional<Position> at = own_position();
  promise.known = at.has_value();
  if (at) promise.position = *at;
  promise.intact = shown && intact();
  promise.led = is_self(state.leader) ? state.accepted : 0;
  promise.accepted = state.accepted;
  promise.rested = promise.led != 0 && state.rested == promise.led;
  promise.trouble = redis.trouble.substr(0, kReasonBytesMax);
  promise.reluctant = leaving || last_now < reluctant_until;
  promise.leader_at = leader_at;
  if (!state.electorate.newer_than(pending->electorate)) return promise;
  promise.electorate = state.electorate;
  if (!fits(promise)) promise.trouble.resize(kReasonBesideElectorateBytesMax);
  return promise;
}

}  // namespace azimuth
