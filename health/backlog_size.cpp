#include "health/backlog_size.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace azimuth {

namespace {

constexpr double kHeadroom = 1.25;
constexpr std::uint64_t kMaxmemoryParts = 10;
constexpr Duration kSampleEvery = milliseconds(900);
constexpr Duration kSampleWithin = seconds(10);  // an older one tells of a time nobody looked
constexpr double kRiseMs = 5'000, kFallMs = 300'000;
// Shrinks when a quarter would do, for so long.
constexpr std::uint64_t kPlentyTimes = 4;
constexpr Duration kPlentyFor = seconds(600);

}  // namespace

std::uint64_t backlog_bytes_for(const BacklogRules& rules, double bytes_per_s,
                                std::uint64_t maxmemory) {
  std::uint64_t most = std::max(rules.most, rules.least);
  if (maxmemory != 0) most = std::clamp(maxmemory / kMaxmemoryParts, rules.least, most);
  const double needed = bytes_per_s * static_cast<double>(rules.outage.ms) / 1000 * kHeadroom;
  if (needed >= static_cast<double>(most)) return most;
  const auto bytes = static_cast<std::uint64_t>(std::ceil(std::max(needed, 1.0)));
  return std::clamp(std::bit_ceil(bytes), rules.least, most);
}

void WriteRate::on_offset(Instant now, std::string_view replid, std::uint64_t offset) {
  const Duration passed = now - at_;
  const bool goes_on = known_ && replid == replid_ && offset >= offset_ && passed < kSampleWithin;
  if (goes_on && passed < kSampleEvery) return;
  if (goes_on) {
    const double ms = static_cast<double>(passed.ms);
    const double rate = static_cast<double>(offset - offset_) * 1000 / ms;
    rate_ += (rate - rate_) * (1 - std::exp(-ms / (rate > rate_ ? kRiseMs : kFallMs)));
  }
  known_ = true;
  replid_ = replid;
  at_ = now;
  offset_ = offset;
}

void BacklogSizer::forget() {
  size_ = floor_ = wanted_ = 0;
  plenty_since_ = kNever;
}

void BacklogSizer::on_size(std::uint64_t bytes, bool resizable) {
  if (bytes != size_ && bytes != wanted_) floor_ = bytes;
  size_ = bytes;
  resizable_ = resizable;
  if (wanted_ == 0) wanted_ = std::max(size_, rules_.least);
}

void BacklogSizer::on_rate(Instant now, double bytes_per_s, std::uint64_t maxmemory) {
  if (size_ == 0) return;
  if (!resizable_) {
    wanted_ = std::max(size_, rules_.least);
    return;
  }
  const std::uint64_t needed =
      std::max(backlog_bytes_for(rules_, bytes_per_s, maxmemory), std::max(floor_, rules_.least));
  if (needed >= size_) {
    wanted_ = needed;
    plenty_since_ = kNever;
  } else if (needed > size_ / kPlentyTimes) {
    wanted_ = size_;
    plenty_since_ = kNever;
  } else {
    if (plenty_since_ == kNever) plenty_since_ = now;
    wanted_ = now - plenty_since_ >= kPlentyFor ? 2 * needed : size_;
  }
}

}  // namespace azimuth
