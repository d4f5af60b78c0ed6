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

// What it may have of a Redis with that maxmemory.
std::uint64_t part_of(std::uint64_t maxmemory) {
  if (maxmemory == 0) return UINT64_MAX;
  return std::bit_floor(std::max<std::uint64_t>(maxmemory / kMaxmemoryParts, 1));
}

}  // namespace

std::uint64_t backlog_bytes_for(const BacklogRules& rules, double bytes_per_s,
                                std::uint64_t maxmemory) {
  const std::uint64_t part = part_of(maxmemory);
  const std::uint64_t least = std::min(rules.least, part);
  const std::uint64_t most = std::min(std::max(rules.most, rules.least), part);
  const double needed = bytes_per_s * static_cast<double>(rules.outage.ms) / 1000 * kHeadroom;
  if (needed >= static_cast<double>(most)) return most;
  const auto bytes = static_cast<std::uint64_t>(std::ceil(std::max(needed, 1.0)));
  return std::clamp(std::bit_ceil(bytes), least, most);
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
  inherited_ = false;
}

bool BacklogSizer::may_be_ours(std::uint64_t bytes) const {
  return bytes == rules_.least || bytes == rules_.most ||
         (std::has_single_bit(bytes) && bytes < rules_.most);
}

void BacklogSizer::on_size(std::uint64_t bytes, bool resizable) {
  const bool first = wanted_ == 0;
  const bool ours = first ? inherited_ && may_be_ours(bytes) : bytes == size_ || bytes == wanted_;
  if (!ours) floor_ = bytes;
  size_ = bytes;
  resizable_ = resizable;
  if (first) wanted_ = std::max(size_, rules_.least);
}

void BacklogSizer::on_rate(Instant now, double bytes_per_s, std::uint64_t maxmemory) {
  if (size_ == 0) return;
  const std::uint64_t part = part_of(maxmemory);
  if (!resizable_) {
    wanted_ = std::max(size_, std::min(rules_.least, part));
    return;
  }
  const std::uint64_t needed = std::max(backlog_bytes_for(rules_, bytes_per_s, maxmemory), floor_);
  const std::uint64_t most = std::max(part, floor_);
  if (needed >= size_ || size_ > most) {
    wanted_ = size_ > most ? most : needed;
    plenty_since_ = kNever;
  } else if (needed > size_ / kPlentyTimes) {
    wanted_ = size_;
    plenty_since_ = kNever;
  } else {
    if (plenty_since_ == kNever) plenty_since_ = now;
    wanted_ = now - plenty_since_ >= kPlentyFor ? std::min(2 * needed, most) : size_;
  }
}

}  // namespace azimuth
