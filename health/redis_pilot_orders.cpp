#include <string>
#include <utility>

#include "health/redis_pilot_machine.h"

namespace azimuth {

namespace {

constexpr Duration kEagerFor = milliseconds(1000);
constexpr Duration kLeaveTimeout = milliseconds(1000);
constexpr std::string_view kLoopback = "127.0.0.1";

}  // namespace

// --- what is wanted ----------------------------------------------------------------------------

OrderKind RedisPilot::Machine::effective() const {
  if (leaving) return OrderKind::kFence;
  switch (order.kind) {
    case OrderKind::kFence:
    case OrderKind::kStand:
      return order.kind;
    case OrderKind::kFollow:
      return order.leader.empty() && order.replid.empty() ? OrderKind::kFence : OrderKind::kFollow;
    case OrderKind::kLead:
      return known.run_id == lead_run_id ? OrderKind::kLead : OrderKind::kFence;
  }
  return OrderKind::kFence;
}

std::int64_t RedisPilot::Machine::wanted_fence() const {
  if (effective() != OrderKind::kLead || known.role != RedisRole::kMaster) return kFencedCount;
  // Without a backlog the offset stands still, and the first replica changes the replid.
  const bool counts = tap_attached && known.backlog_active;
  return counts || lead_done ? kLeadingCount : kFencedCount;
}

bool RedisPilot::Machine::wants_tap() const {
  if (leaving) return false;
  // An unsteady connection says nothing about the tap's own.
  if (phase != Phase::kOpen || !facts.alive || facts.loading) return tap_attached;
  // A replica without its link refuses new ones and keeps those it has. A primary that does not
  // lead must not move its offset, which a replica's presence does (PING).
  if (!facts.master) return facts.link_up || tap_attached;
  return effective() == OrderKind::kLead || effective() == OrderKind::kStand;
}

std::uint64_t RedisPilot::Machine::wanted_tunnel() const {
  return effective() == OrderKind::kFollow ? order.epoch : 0;
}

// --- what is -----------------------------------------------------------------------------------

bool RedisPilot::Machine::fenced() const {
  return min_replicas.value_or(0) >= kFencedCount && max_lag.value_or(0) > 0;
}

bool RedisPilot::Machine::lifted() const {
  return min_replicas == kLeadingCount && max_lag.value_or(0) > 0;
}

bool RedisPilot::Machine::dials_tunnel() const {
  return tunnel.epoch == order.epoch && tunnel.port != 0 && known.role == RedisRole::kReplica &&
         known.master_host == kLoopback && known.master_port == tunnel.port;
}

// Once it leads, a tap that comes and goes does not end that: Redis refuses writes meanwhile.
bool RedisPilot::Machine::leads() const {
  if (effective() != OrderKind::kLead || known.role != RedisRole::kMaster || !lifted()) {
    return false;
  }
  return lead_done || (tap_attached && known.backlog_active && extras.good_replicas > 0);
}

void RedisPilot::Machine::judge_done(LocalRedis& now_known) const {
  now_known.done = OrderKind::kFence;
  now_known.done_epoch = 0;
  bool done = now_known.alive && answered == orders;
  switch (order.kind) {
    case OrderKind::kFence:
      // Its link gone, a replica has applied all that it will.
      done = done && now_known.fenced && !now_known.link_up;
      break;
    case OrderKind::kStand:
      done = done && now_known.fenced && now_known.master && !now_known.loading;
      break;
    case OrderKind::kFollow:
      done = done && now_known.fenced && now_known.link_up && !now_known.loading &&
             dials_tunnel() && !order.replid.empty() && now_known.replid == order.replid;
      break;
    case OrderKind::kLead:
      done = done && !now_known.loading && leads();
      break;
  }
  if (!done) return;
  now_known.done = order.kind;
  now_known.done_epoch = order.epoch;
}

// --- what to do --------------------------------------------------------------------------------

void RedisPilot::Machine::on_news(Instant now) {
  eager_until = now + kEagerFor;
  LocalRedis next = facts;
  judge_done(next);
  publish(next);
  if (phase != Phase::kOpen || leaving) return;
  // The fence does not wait for its turn.
  const bool urgent = wanted_fence() == kFencedCount && fence_sent == kLeadingCount;
  if (urgent) set_fence(now, kFencedCount);
  if (urgent || asked.empty()) ask_round(now, false);
}

void RedisPilot::Machine::decide(Instant now) {
  if (phase != Phase::kOpen || leaving || !asked.empty()) return;
  bool acted = hold_fence(now);
  acted = hold_settings(now) || acted;
  acted = follow(now) || acted;
  acted = promote(now) || acted;
  if (acted) ask_round(now, false);
}

void RedisPilot::Machine::set_fence(Instant now, std::int64_t count) {
  const std::string from = min_replicas ? std::to_string(*min_replicas) : "?";
  const std::string to = std::to_string(count);
  fence_sent = count;
  send(now, {"CONFIG", "SET", kFenceName, to},
       {Question::kFence, kFenceName, std::string(kFenceName) + " " + from + " " + to, 0});
}

bool RedisPilot::Machine::hold_fence(Instant now) {
  const std::int64_t wanted = wanted_fence();
  const std::int64_t is = min_replicas.value_or(0);
  const bool held = wanted == kFencedCount ? is >= kFencedCount : is == wanted;
  if (held || pending_refusal(now, kFenceName)) return false;
  set_fence(now, wanted);
  return true;
}

bool RedisPilot::Machine::hold_settings(Instant now) {
  bool acted = false;
  for (PilotSettings::Change& change : settings.due()) {
    if (pending_refusal(now, change.name)) continue;
    if (change.name == kBacklogName) {
      const auto rate = static_cast<std::uint64_t>(writes.bytes_per_s());
      change.text += " for an outage of " + std::to_string(backlog.rules().outage.ms) + " ms at " +
                     std::to_string(rate) + " bytes/s";
    }
    send(now, {"CONFIG", "SET", change.name, std::move(change.value)},
         {Question::kChange, change.name, std::move(change.text), 0});
    acted = true;
  }
  return acted;
}

// The settings come first, in the same batch: the primary is told who its replica is.
bool RedisPilot::Machine::follow(Instant now) {
  if (effective() != OrderKind::kFollow || !fenced()) return false;
  if (tunnel.epoch != order.epoch || tunnel.port == 0 || dials_tunnel()) return false;
  if (known.loading || pending_refusal(now, "REPLICAOF")) return false;
  const std::string port = std::to_string(tunnel.port);
  send(now, {"REPLICAOF", std::string(kLoopback), port},
       {Question::kCommand, "REPLICAOF",
        "REPLICAOF 127.0.0.1 " + port + " for epoch " + std::to_string(order.epoch), 0});
  return true;
}

bool RedisPilot::Machine::promote(Instant now) {
  if (effective() != OrderKind::kLead || known.role != RedisRole::kReplica) return false;
  if (!fenced() || facts.loading || pending_refusal(now, "REPLICAOF")) return false;
  send(now, {"REPLICAOF", "NO", "ONE"},
       {Question::kCommand, "REPLICAOF",
        "REPLICAOF NO ONE for epoch " + std::to_string(order.epoch), 0});
  return true;
}

void RedisPilot::leave(Instant now) {
  Machine& m = *machine_;
  if (m.leaving) return;
  m.leaving = true;
  m.leave_until = now + kLeaveTimeout;
  m.out.connect = false;
  if (m.phase != Machine::Phase::kOpen) {
    m.out.close = m.phase == Machine::Phase::kConnecting;
    m.phase = Machine::Phase::kWaitToConnect;
    m.left = true;
    return;
  }
  // The fence stays: without its azimuth this Redis must not become a second primary.
  if (!m.fenced() || m.fence_sent == Machine::kLeadingCount)
    m.set_fence(now, Machine::kFencedCount);
  for (PilotSettings::Change& change : m.settings.former()) {
    m.send(now, {"CONFIG", "SET", change.name, std::move(change.value)},
           {Machine::Question::kCommand, change.name, {}, 0});
  }
  m.emit("redis_left",
         "its settings are put back; min-replicas-to-write stays 999999, so that it "
         "takes no writes behind azimuth's back");
  m.left = m.asked.empty();
}

}  // namespace azimuth
