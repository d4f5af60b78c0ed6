#include "proxy/peer/pack_pace.h"

#include <algorithm>
#include <array>

#include "conf/limits.h"

namespace azimuth {
namespace {

constexpr int kLevelFirst = 3;
constexpr std::uint64_t kPeriodMs = 1000;
// A stream that begins anew has forgotten what it could refer to: a better level has to pay for it.
constexpr std::uint64_t kRiseMs = 10'000;
constexpr std::uint64_t kCeilingMsLeast = 30'000;
constexpr std::uint64_t kCeilingMsMost = 600'000;

// Of the worker's time: what compressing may take before the level falls, what it falls to, what it
// rises to, and what it rises to where the network is slower still. Half a core is much, and still
// the cheaper side: a megabyte a second that does not cross is 86 GB a day.
constexpr double kShareMost = 0.50;
constexpr double kShareAfterFall = 0.42;
constexpr double kShareGoal = 0.12;
constexpr double kShareGoalStuck = 0.40;
constexpr double kShareMostStuck = 0.60;

// What a level takes beside level 3, measured (in pieces of 8 KiB, with the wide window).
constexpr std::array<double, kPackLevelMost + 1> kCost = {0,   0.65, 0.75, 1,   1.25,
                                                          1.5, 2,    2.4,  2.9, 3.5};

constexpr std::uint64_t kRateMs = 50;

}  // namespace

PackLevel::PackLevel(int least, int most)
    : least_(std::clamp(least, 1, static_cast<int>(kPackLevelMost))),
      most_(std::clamp(most, least_, static_cast<int>(kPackLevelMost))),
      level_(std::clamp(kLevelFirst, least_, most_)),
      ceiling_(most_) {}

bool PackLevel::on_tick(std::uint64_t now_ms, const PackLoad& load) {
  if (period_began_ms_ == 0) period_began_ms_ = now_ms;
  own_ns_ += load.own_ns;
  worker_ns_ += load.worker_ns;
  ++ticks_;
  stuck_ticks_ += load.stuck ? 1 : 0;
  const std::uint64_t period_ms = now_ms - period_began_ms_;
  if (period_ms < kPeriodMs) return false;
  const double period_ns = static_cast<double>(period_ms) * 1e6;
  const bool changed = own_ns_ != 0 && decide(now_ms, static_cast<double>(worker_ns_) / period_ns,
                                              stuck_ticks_ * 2 > ticks_);
  period_began_ms_ = now_ms;
  own_ns_ = worker_ns_ = 0;
  ticks_ = stuck_ticks_ = 0;
  return changed;
}

bool PackLevel::decide(std::uint64_t now_ms, double worker, bool slow_network) {
  // The share of the worker's time that another level would take. The other links, which see the
  // same, are expected to do the same.
  const auto share_at = [&](int level) {
    return worker * kCost[static_cast<std::size_t>(level)] /
           kCost[static_cast<std::size_t>(level_)];
  };
  if (worker > (slow_network ? kShareMostStuck : kShareMost)) {
    if (level_ == least_) return false;
    int level = level_ - 1;
    while (level > least_ && share_at(level) > kShareAfterFall) --level;
    ceiling_ms_ = std::clamp(ceiling_ms_ * 2, kCeilingMsLeast, kCeilingMsMost);
    ceiling_until_ms_ = now_ms + ceiling_ms_;
    ceiling_ = level;
    return set(level, now_ms);
  }
  if (changed_ms_ != 0 && now_ms - changed_ms_ < kRiseMs) return false;
  int level = now_ms < ceiling_until_ms_ ? std::max(ceiling_, level_) : most_;
  const double goal = slow_network ? kShareGoalStuck : kShareGoal;
  while (level > level_ && share_at(level) > goal) --level;
  return level > level_ && set(level, now_ms);
}

bool PackLevel::set(int level, std::uint64_t now_ms) {
  level_ = level;
  changed_ms_ = now_ms;
  return true;
}

void PackDelay::note(std::uint64_t now_ms, std::size_t bytes) {
  const std::uint64_t elapsed_ms = now_ms - counted_from_ms_;
  if (elapsed_ms >= kRateMs) {
    bytes_per_s_ = counted_ * 1000 / elapsed_ms;
    counted_from_ms_ = now_ms;
    counted_ = 0;
  }
  counted_ += bytes;
}

bool PackDelay::wait(std::uint64_t now_ms, std::size_t bytes) {
  if (!waiting_) {
    if (bytes >= kPackBatchBytes || bytes_per_s_ * delay_ms_ < kPackBatchWorthBytes * 1000) {
      return false;
    }
    waiting_ = true;
    since_ms_ = now_ms;
  }
  waiting_ = bytes < kPackBatchBytes && now_ms < due_ms();
  return waiting_;
}

}  // namespace azimuth
