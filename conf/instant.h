// Time as a value: a point on a monotonic clock and the distance between two points, in
// milliseconds.
//
// Invariants: an Instant comes from the caller, never from a clock read here; sums saturate, so
// that "never" plus anything stays never and an absurd duration cannot wrap into the past. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace azimuth {

struct Duration {
  std::int64_t ms = 0;

  friend constexpr auto operator<=>(Duration, Duration) = default;
};

struct Instant {
  std::int64_t ms = 0;

  friend constexpr auto operator<=>(Instant, Instant) = default;
};

constexpr Duration milliseconds(std::int64_t count) noexcept { return {count}; }
constexpr Duration seconds(std::int64_t count) noexcept { return {count * 1000}; }

// Later than every instant that happens: "no deadline".
inline constexpr Instant kNever{std::numeric_limits<std::int64_t>::max()};

namespace instant_detail {
constexpr std::int64_t add_saturating(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b > 0 ? std::numeric_limits<std::int64_t>::max()
               : std::numeric_limits<std::int64_t>::min();
}
constexpr std::int64_t subtract_saturating(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t difference = 0;
  if (!__builtin_sub_overflow(a, b, &difference)) return difference;
  return b < 0 ? std::numeric_limits<std::int64_t>::max()
               : std::numeric_limits<std::int64_t>::min();
}
}  // namespace instant_detail

constexpr Instant operator+(Instant at, Duration by) noexcept {
  if (at == kNever) return kNever;
  return {instant_detail::add_saturating(at.ms, by.ms)};
}
constexpr Instant operator-(Instant at, Duration by) noexcept {
  if (at == kNever) return kNever;
  return {instant_detail::subtract_saturating(at.ms, by.ms)};
}
constexpr Duration operator-(Instant later, Instant earlier) noexcept {
  return {instant_detail::subtract_saturating(later.ms, earlier.ms)};
}
constexpr Duration operator+(Duration a, Duration b) noexcept {
  return {instant_detail::add_saturating(a.ms, b.ms)};
}
constexpr Duration operator-(Duration a, Duration b) noexcept {
  return {instant_detail::subtract_saturating(a.ms, b.ms)};
}

constexpr Instant earlier_of(Instant a, Instant b) noexcept { return a < b ? a : b; }
constexpr Instant later_of(Instant a, Instant b) noexcept { return a < b ? b : a; }

// Milliseconds from `now` until `deadline`, never negative: what a timer is armed with.
constexpr std::uint64_t ms_until(Instant deadline, Instant now) noexcept {
  return deadline <= now ? 0 : static_cast<std::uint64_t>((deadline - now).ms);
}

}  // namespace azimuth
