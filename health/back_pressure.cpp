#include "health/back_pressure.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "conf/limits.h"

namespace azimuth {
namespace {

// The shortest delay that a writer notices: less than a round trip of loopback. The ramp begins
// with multiples of this.
constexpr double kLeastUs = 100;
// What lags less than this is a pause, however long it takes, and no lack of speed.
constexpr std::uint64_t kLagBytesLeast = 64 * kKiB;

constexpr Duration kStep = milliseconds(20);      // between two looks
constexpr Duration kAskAgain = milliseconds(50);  // while writes are slowed
constexpr Duration kHeardWithin = seconds(1);
constexpr Duration kSamplesKept = milliseconds(kOwnOffsetsKeptMs);
constexpr Duration kStandsStill = seconds(1);
constexpr Duration kCurrentFor = seconds(1);  // before a hopeless one counts again
constexpr double kPressurePerMs = 2.0 / 1000;
constexpr double kWeightPerMs = 1.0 / 1000;
// The rate of writing is measured over the one; of what it was, half is forgotten in about the
// other. A rate that followed the slowed writers quickly would make the ramp steeper while they are
// slowed, and the loop swing.
constexpr double kRateMs = 500;
constexpr double kRateForgottenMs = 60'000;
constexpr Duration kRateKnown = seconds(1);

constexpr Duration kQuietBeforeNews = seconds(2);

double toward(double from, double to, double most) {
  return from + std::clamp(to - from, -most, most);
}

std::string mib(std::uint64_t bytes) { return std::to_string((bytes + kMiB / 2) / kMiB) + " MiB"; }

}  // namespace

std::string_view to_string(ReplicaStanding standing) {
  switch (standing) {
    case ReplicaStanding::kAway:
      return "away";
    case ReplicaStanding::kCatchingUp:
      return "catching-up";
    case ReplicaStanding::kCounts:
      return "counts";
    case ReplicaStanding::kDrowned:
      return "drowned";
    case ReplicaStanding::kHopeless:
      return "hopeless";
  }
  return "?";
}

double ramp_position(const BackPressureSettings& ramp, std::uint64_t lag_bytes, Duration behind) {
  if (lag_bytes < kLagBytesLeast) return 0;
  const auto along = [](double value, double start, double full) {
    return (value - start) / std::max(full - start, 1.0);
  };
  const double bytes = along(static_cast<double>(lag_bytes), static_cast<double>(ramp.start_bytes),
                             static_cast<double>(ramp.full_bytes));
  const double time = along(static_cast<double>(behind.ms), ramp.start_ms, ramp.full_ms);
  return std::max({bytes, time, 0.0});
}

std::uint32_t delay_us_at(const BackPressureSettings& ramp, double pressure) {
  const double most = ramp.delay_ms_max * 1000.0;
  const double factor = std::pow(most / kLeastUs + 1, std::clamp(pressure, 0.0, 1.0));
  return static_cast<std::uint32_t>(std::lround(std::min(kLeastUs * (factor - 1), most)));
}

bool BackPressure::due(Instant now) const { return !last_ || now >= *last_ + kStep; }

void BackPressure::on_progress(Instant now, std::uint64_t own_offset,
                               std::span<const ReplicaProgress> replicas) {
  if (!due(now)) return;
  const Duration passed = last_ ? now - *last_ : Duration{};
  if (!first_) first_ = now;
  sample(now, own_offset);
  last_ = now;
  for (const ReplicaProgress& each : replicas) hear(now, each);
  double wanted = 0;
  for (auto& [id, replica] : replicas_) {
    judge(now, passed, id, replica);
    wanted = std::max(wanted, replica.weight * std::min(replica.position, 1.0));
  }
  if (ramp_.delay_ms_max == 0) wanted = 0;
  pressure_ = toward(pressure_, wanted, kPressurePerMs * static_cast<double>(passed.ms));
  delay_us_ = delay_us_at(ramp_, pressure_);
  tell_slowness(now);
}

void BackPressure::on_rest(Instant now) {
  if (!last_) return;
  pressure_ = 0;
  delay_us_ = 0;
  tell_slowness(now);
  slow_told_ = false;
  replicas_.clear();
  own_.clear();
  rate_now_ = rate_ = 0;
  first_.reset();
  last_.reset();
}

// --- what is known -------------------------------------------------------------------------------

void BackPressure::sample(Instant now, std::uint64_t own_offset) {
  if (!own_.empty()) {
    const auto passed = static_cast<double>((now - own_.back().at).ms);
    const std::uint64_t before = own_.back().offset;
    const double rate =
        own_offset > before ? static_cast<double>(own_offset - before) / passed : 0.0;
    rate_now_ += (rate - rate_now_) * (1 - std::exp(-passed / kRateMs));
    rate_ += (rate_now_ - rate_) * (1 - std::exp(-passed / kRateForgottenMs));
    rate_ = std::max(rate_, rate_now_);
  }
  own_.push_back({now, own_offset});
  while (own_.size() > 2 && own_.front().at + kSamplesKept < now) own_.pop_front();
}

// A replica that was asked then is compared with what there was then: the way there and back is no
// lag.
std::uint64_t BackPressure::own_offset_at(Instant at) const {
  const auto later =
      std::find_if(own_.begin(), own_.end(), [&](const Sample& each) { return each.at > at; });
  return later == own_.begin() ? later->offset : std::prev(later)->offset;
}

void BackPressure::hear(Instant now, const ReplicaProgress& told) {
  auto at = replicas_.find(told.id);
  if (at == replicas_.end()) at = replicas_.emplace(std::string(told.id), Replica{}).first;
  Replica& replica = at->second;
  if (told.asked <= replica.asked) return;
  replica.asked = told.asked;
  replica.heard = now;
  replica.ready = told.in_sync && told.whole;
  if (!told.whole) {
    replica.current = false;
    replica.strain = Duration{};
    if (std::exchange(replica.hopeless, false)) {
      event("replica_back", told.id, "is copied anew, and counts once it is up to date", false);
    }
  }
  if (told.offset != replica.offset) replica.moved = now;
  replica.offset = told.offset;
  const std::uint64_t own = own_offset_at(told.asked);
  replica.lag_bytes = own > told.offset ? own - told.offset : 0;
  const bool known_rate = now >= *first_ + kRateKnown;
  const double behind_ms =
      known_rate ? static_cast<double>(replica.lag_bytes) / std::max(rate_, 1e-3) : 0.0;
  replica.behind = milliseconds(static_cast<std::int64_t>(std::min(behind_ms, 1e9)));
}

// What becomes of one replica; `passed` since it was last looked at.
void BackPressure::judge(Instant now, Duration passed, std::string_view id, Replica& replica) {
  if (!replica.ready || now > replica.heard + kHeardWithin) {
    replica.standing = ReplicaStanding::kAway;
    replica.position = 0;
    replica.weight = replica.hopeless ? 0 : 1;
    return;
  }
  replica.position = ramp_position(ramp_, replica.lag_bytes, replica.behind);
  const bool up_to_date = replica.position <= 0;
  if (!up_to_date) replica.current_since = now;
  replica.current = replica.current || up_to_date;
  if (!replica.current) {
    replica.standing = ReplicaStanding::kCatchingUp;
    replica.weight = 0;
    return;
  }
  const bool stands_still = !up_to_date && now > replica.moved + kStandsStill;
  const bool strains = replica.position >= 1 || stands_still;
  const Duration strain = strains ? replica.strain + passed : replica.strain - passed;
  replica.strain = std::max(strain, Duration{});
  give_up_or_take_back(now, id, replica);
  const bool drowned = replica.lag_bytes / kDrownedRamps >= ramp_.full_bytes;
  replica.standing = replica.hopeless ? ReplicaStanding::kHopeless
                     : drowned        ? ReplicaStanding::kDrowned
                                      : ReplicaStanding::kCounts;
  const double weight = replica.standing == ReplicaStanding::kCounts ? 1 : 0;
  replica.weight = toward(replica.weight, weight, kWeightPerMs * static_cast<double>(passed.ms));
}

void BackPressure::give_up_or_take_back(Instant now, std::string_view id, Replica& replica) {
  if (!replica.hopeless && replica.strain.ms >= ramp_.give_up_ms) {
    replica.hopeless = true;
    event("replica_hopeless", id,
          "counts as out of sync: " + mib(replica.lag_bytes) + " behind, and no better after " +
              std::to_string(replica.strain.ms / 1000) + " s; writes do not wait for it any more",
          true);
  } else if (replica.hopeless && replica.position <= 0 &&
             now >= replica.current_since + kCurrentFor) {
    replica.hopeless = false;
    event("replica_back", id, "is up to date, and counts again", false);
  }
  if (replica.hopeless) replica.strain = Duration{};
}

// --- what others are told ------------------------------------------------------------------------

std::vector<std::string> BackPressure::to_ask(Instant now) {
  std::vector<std::string> ids;
  if (pressure_ <= 0) return ids;
  for (auto& [id, replica] : replicas_) {
    if (replica.standing != ReplicaStanding::kCounts) continue;
    if (now < replica.asked + kAskAgain || now < replica.asked_again + kAskAgain) continue;
    replica.asked_again = now;
    ids.push_back(id);
  }
  return ids;
}

Instant BackPressure::next_wakeup() const {
  if (!last_ || pressure_ <= 0) return kNever;
  return *last_ + kAskAgain;
}

// Once when it begins, once when it has been over for a while.
void BackPressure::tell_slowness(Instant now) {
  if (pressure_ > 0) {
    quick_since_ = now;
    if (std::exchange(slow_told_, true)) return;
    slow_since_ = now;
    const auto worst =
        std::max_element(replicas_.begin(), replicas_.end(), [](const auto& a, const auto& b) {
          return a.second.weight * a.second.position < b.second.weight * b.second.position;
        });
    if (worst == replicas_.end()) return;
    event("writes_slowed", worst->first,
          mib(worst->second.lag_bytes) + " behind, which is " +
              std::to_string(worst->second.behind.ms) + " ms of writing",
          false);
  } else if (slow_told_ && now >= quick_since_ + kQuietBeforeNews) {
    slow_told_ = false;
    event("writes_free", "", "after " + std::to_string((quick_since_ - slow_since_).ms) + " ms",
          false);
  }
}

void BackPressure::event(std::string name, std::string_view replica, std::string text,
                         bool warning) {
  events_.push_back({std::move(name), std::string(replica), std::move(text), warning});
}

std::vector<BackPressure::Event> BackPressure::take_events() { return std::exchange(events_, {}); }

}  // namespace azimuth
