// What a Redis refuses: what of it keeps the Redis from being driven, when it is tried again, and
// what people are told.
#include <string>
#include <utility>

#include "health/redis_pilot_machine.h"

namespace azimuth {

namespace {

constexpr Duration kRetryPassing = milliseconds(100);
constexpr Duration kRetryRefused = milliseconds(5000);
constexpr Duration kTapRefusedFor = milliseconds(10000);
constexpr Duration kTellTroubleAgain = milliseconds(10000);

// Without these no order can be carried out. (A setting that is refused may do without.)
bool is_vital(std::string_view what) {
  for (const std::string_view each : {"INFO", "ROLE", "CONFIG GET", "REPLICAOF", "PSYNC",
                                      "min-replicas-to-write", "min-replicas-max-lag"}) {
    if (what == each) return true;
  }
  return false;
}

}  // namespace

void RedisPilot::Machine::refused(Instant now, const std::string& what, std::string_view error) {
  std::string text = explain_refusal(what, error);
  const Duration delay = text.empty() ? kRetryPassing : kRetryRefused;
  refusals[what] = {std::move(text), now + delay};
  if (what == kFenceName) fence_sent.reset();
  tell_trouble(now);
}

void RedisPilot::Machine::accepted(Instant now, const std::string& what) {
  if (refusals.erase(what) != 0) tell_trouble(now);
}

void RedisPilot::Machine::tell_trouble(Instant now) {
  std::string text, vital;
  for (const auto& [what, refusal] : refusals) {
    if (text.empty()) text = refusal.text;
    if (vital.empty() && is_vital(what)) vital = refusal.text;
  }
  LocalRedis next = facts;
  next.trouble = vital;
  publish(next);
  if (text == trouble) return;
  trouble = text;
  out.facts_changed = true;
  std::erase_if(told_troubles,
                [&](const auto& told) { return now >= told.second + kTellTroubleAgain; });
  if (!told_troubles.emplace(text, now).second) return;  // it comes and goes
  emit(text.empty() ? "redis_trouble_over" : "redis_trouble", text, !text.empty());
}

void RedisPilot::Machine::tell_persistence() {
  if (extras.appends.value_or(true) || saves.value_or(true) || told_unsaved == known.run_id) return;
  told_unsaved = known.run_id;
  emit("redis_keeps_nothing",
       "appendonly is no and save is empty: what this Redis holds is gone when its process ends; "
       "should that happen to all of the group's at once, everything is");
}

bool RedisPilot::Machine::pending_refusal(Instant now, const std::string& what) const {
  const auto found = refusals.find(what);
  return found != refusals.end() && now < found->second.retry_at;
}

// --- the owner's side ---

void RedisPilot::on_tap_trouble(Instant now, std::string_view reason) {
  Machine& m = *machine_;
  if (reason.empty()) return m.accepted(now, Machine::kTapName);
  m.refusals[Machine::kTapName] = {std::string(reason), now + kTapRefusedFor};
  m.tell_trouble(now);
}

const std::string& RedisPilot::trouble() const { return machine_->trouble; }

}  // namespace azimuth
