#include "health/back_pressure.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace azimuth {
namespace {

// The shortest delay that a writer notices: less than a round trip of loopback. The ramp begins
// with multiples of this.
constexpr double kLeastUs = 100;
// What lags less than this is a pause, however long it takes, and no lack of speed.
constexpr std::uint64_t kLagBytesLeast = 64 * kKiB;
constexpr std::uint64_t kGiveUpRamps = 4;

constexpr Duration kStep = milliseconds(20);      // between two looks
constexpr Duration kAskAgain = milliseconds(50);  // while writes are slowed
constexpr Duration kHeardWithin = seconds(1);
constexpr Duration kSamplesKept = seconds(3);
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
  for (auto& [id, known] : known_) {
    Replica& shown = shown_[id];
    judge(now, passed, id, known, shown);
    wanted = std::max(wanted, shown.weight * std::min(shown.position, 1.0));
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
  known_.clear();
  shown_.clear();
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
  auto at = known_.find(told.id);
  if (at == known_.end()) at = known_.emplace(std::string(told.id), Known{}).first;
  Known& known = at->second;
  if (told.asked <= known.asked) return;
  known.asked = told.asked;
  known.heard = now;
  known.ready = told.in_sync && told.whole;
  if (!told.whole) {
    known.current = false;
    if (std::exchange(known.hopeless, false)) {
      event("replica_back", told.id, "is copied anew, and counts once it is up to date", false);
    }
  }
  if (told.offset != known.offset) known.moved = now;
  known.offset = told.offset;
  Replica& shown = shown_[at->first];
  const std::uint64_t own = own_offset_at(told.asked);
  shown.lag_bytes = own > told.offset ? own - told.offset : 0;
  const bool known_rate = now >= *first_ + kRateKnown;
  const double behind_ms =
      known_rate ? static_cast<double>(shown.lag_bytes) / std::max(rate_, 1e-3) : 0.0;
  shown.behind = milliseconds(static_cast<std::int64_t>(std::min(behind_ms, 1e9)));
}

// What becomes of one replica; `passed` since it was last looked at.
void BackPressure::judge(Instant now, Duration passed, std::string_view id, Known& known,
                         Replica& shown) {
  if (!known.ready || now > known.heard + kHeardWithin) {
    shown.standing = ReplicaStanding::kAway;
    shown.position = 0;
    shown.weight = known.hopeless ? 0 : 1;
    known.strain = Duration{};
    return;
  }
  shown.position = ramp_position(ramp_, shown.lag_bytes, shown.behind);
  const bool up_to_date = shown.position <= 0;
  if (!up_to_date) known.current_since = now;
  known.current = known.current || up_to_date;
  if (!known.current) {
    shown.standing = ReplicaStanding::kCatchingUp;
    shown.weight = 0;
    return;
  }
  const bool stands_still = !up_to_date && now > known.moved + kStandsStill;
  const bool strains = shown.position >= 1 || stands_still;
  const Duration strain = strains ? known.strain + passed : known.strain - passed;
  known.strain = std::max(strain, Duration{});
  const bool drowned = shown.lag_bytes / kGiveUpRamps >= ramp_.full_bytes;
  if (!known.hopeless && (known.strain.ms >= ramp_.give_up_ms || drowned)) {
    known.hopeless = true;
    event("replica_hopeless", id,
          "counts as out of sync: " + mib(shown.lag_bytes) + " behind" +
              (drowned ? std::string()
                       : ", and no better after " + std::to_string(known.strain.ms / 1000) + " s") +
              "; writes do not wait for it any more",
          true);
  } else if (known.hopeless && up_to_date && now >= known.current_since + kCurrentFor) {
    known.hopeless = false;
    event("replica_back", id, "is up to date, and counts again", false);
  }
  if (known.hopeless) known.strain = Duration{};
  shown.standing = known.hopeless ? ReplicaStanding::kHopeless : ReplicaStanding::kCounts;
  shown.weight =
      toward(shown.weight, known.hopeless ? 0 : 1, kWeightPerMs * static_cast<double>(passed.ms));
}

// --- what others are told ------------------------------------------------------------------------

std::vector<std::string> BackPressure::to_ask(Instant now) {
  std::vector<std::string> ids;
  if (pressure_ <= 0) return ids;
  for (auto& [id, known] : known_) {
    const auto shown = shown_.find(id);
    if (shown == shown_.end() || shown->second.standing != ReplicaStanding::kCounts) continue;
    if (now < known.asked + kAskAgain || now < known.asked_again + kAskAgain) continue;
    known.asked_again = now;
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
        std::max_element(shown_.begin(), shown_.end(), [](const auto& a, const auto& b) {
          return a.second.weight * a.second.position < b.second.weight * b.second.position;
        });
    if (worst == shown_.end()) return;
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
