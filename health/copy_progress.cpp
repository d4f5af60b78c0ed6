#include "health/copy_progress.h"

#include <algorithm>
#include <cmath>

namespace azimuth {

namespace {

constexpr Duration kSampleEvery = milliseconds(200);
constexpr double kSmoothMs = 3000;
constexpr double kSecondsMost = 1e9;  // a rate of nearly nothing

}  // namespace

void CopyProgress::begin(Instant now, std::uint64_t total_bytes) {
  *this = {};
  began_ = sampled_ = now;
  total_ = total_bytes;
}

void CopyProgress::on_bytes(Instant now, std::uint64_t bytes, std::uint64_t total_bytes) {
  bytes_ = std::max(bytes_, bytes);
  if (total_bytes != 0) total_ = total_bytes;
  const Duration passed = now - sampled_;
  if (passed < kSampleEvery) return;
  const double rate =
      static_cast<double>(bytes_ - sampled_bytes_) * 1000 / static_cast<double>(passed.ms);
  // The first measure stands for itself: there is nothing to smooth it with.
  const double weight = rate_ == 0 ? 1 : 1 - std::exp(-static_cast<double>(passed.ms) / kSmoothMs);
  rate_ += (rate - rate_) * weight;
  sampled_ = now;
  sampled_bytes_ = bytes_;
}

double CopyProgress::share() const {
  if (total_ == 0) return std::clamp(share_, 0.0, 1.0);
  return std::min(1.0, static_cast<double>(bytes_) / static_cast<double>(total_));
}

std::optional<double> CopyProgress::percent() const {
  if (total_ == 0 && share_ == 0) return std::nullopt;
  return share() * 100;
}

std::optional<std::uint64_t> CopyProgress::seconds_left() const {
  const double done = share();
  if (done <= 0 || rate_ < 1) return std::nullopt;
  const double left = static_cast<double>(bytes_) * (1 - done) / done / rate_;
  return static_cast<std::uint64_t>(std::ceil(std::min(left, kSecondsMost)));
}

}  // namespace azimuth
