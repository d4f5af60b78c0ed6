// The backlog of the local Redis: what it is measured by, and what it is to be.
#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "conf/limits.h"
#include "health/redis_pilot.h"
#include "health/redis_pilot_machine.h"

namespace azimuth {

namespace {

// A replica that has come back gets what it missed faster than it was written: for some seconds,
// and until it is no farther behind than what is written in this time, or this much.
constexpr Duration kCatchingUpFor = seconds(5);
constexpr double kAbreastSeconds = 2;
constexpr double kAbreastBytes = 1 * kMiB;

unsigned major_version(std::string_view version) {
  unsigned major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  return major;
}

}  // namespace

bool RedisPilot::Machine::follows_steadily(Instant now) const {
  return link_up_since != kNever && now - link_up_since > kCatchingUpFor;
}

bool RedisPilot::Machine::is_behind() const {
  if (primary_replid != known.replid) return false;  // nothing is known of it
  const double room = std::max(kAbreastBytes, kAbreastSeconds * writes.bytes_per_s());
  return static_cast<double>(facts.offset) + room < static_cast<double>(primary_offset);
}

// The backlog of a replica, too: it may have to serve the others after the next failover.
void RedisPilot::Machine::size_backlog(Instant now) {
  if (extras.backlog_bytes == 0) return;
  const bool steady = known.role == RedisRole::kMaster ? known.backlog_active
                                                       : follows_steadily(now) && !is_behind();
  if (steady) {
    writes.on_offset(now, known.replid, facts.offset);
  } else {
    writes.on_gap();
  }
  backlog.on_size(extras.backlog_bytes, major_version(known.version) >= 7);
  backlog.on_rate(now, writes.bytes_per_s(), extras.maxmemory);
  using Rule = PilotSettings::Rule;
  settings.need(kBacklogName, std::to_string(backlog.wanted()),
                backlog.shrinks() ? Rule::kAtMost : Rule::kAtLeast);
}

void RedisPilot::set_backlog(const BacklogRules& rules) {
  machine_->backlog.set_rules(rules);
  machine_->settings.need(Machine::kBacklogName, std::to_string(rules.least),
                          PilotSettings::Rule::kAtLeast);
}

void RedisPilot::on_primary(std::string_view replid, std::uint64_t offset) {
  machine_->primary_replid = replid;
  machine_->primary_offset = offset;
}

bool RedisPilot::abreast(Instant now) const {
  const Machine& m = *machine_;
  return m.primary_replid == m.known.replid && m.follows_steadily(now) && !m.is_behind();
}

RedisNumbers RedisPilot::numbers() const {
  const Machine& m = *machine_;
  RedisNumbers numbers;
  numbers.backlog_bytes = m.extras.backlog_bytes;
  numbers.backlog_wanted = m.backlog.wanted();
  numbers.backlog_first = m.extras.backlog_first;
  numbers.backlog_held = m.extras.backlog_held;
  numbers.write_bytes_per_s = m.writes.bytes_per_s();
  if (m.extras.keys_to_save != 0) {
    numbers.saved_share =
        static_cast<double>(m.extras.keys_saved) / static_cast<double>(m.extras.keys_to_save);
  }
  return numbers;
}

}  // namespace azimuth
