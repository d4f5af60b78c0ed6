// Integers as Redis reads them off the wire and out of arguments: an optional '-', then digits
// without a leading zero, within 64 bits; no '+', no blank, no "-0". What Redis refuses is refused
// here, so that both speak of the same request.
//
// Redis source: util.c string2ll. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace azimuth {

// The same reading one byte at a time, for a number that arrives in pieces. The state is in two
// fields so that a cursor can pack it.
//
//   kNothing -- '-' --> kMinus -- 1..9 --> kNegative -- 0..9 --> kNegative
//       | '0'                                  anything else, or too long: kBad, for good
//       +--> kZero -- any --> kBad
//       | 1..9 --> kPositive -- 0..9 --> kPositive
enum class DigitState : std::uint8_t { kNothing, kMinus, kZero, kPositive, kNegative, kBad };

inline constexpr std::uint64_t kIntegerMagnitudeMax = std::uint64_t{1} << 63;

inline DigitState next_digit(DigitState state, std::uint64_t& magnitude, char c) noexcept {
  const unsigned digit = static_cast<unsigned char>(c) - unsigned{'0'};
  switch (state) {
    case DigitState::kNothing:
      if (c == '-') return DigitState::kMinus;
      if (digit > 9) return DigitState::kBad;
      magnitude = digit;
      return digit == 0 ? DigitState::kZero : DigitState::kPositive;
    case DigitState::kMinus:
      if (digit == 0 || digit > 9) return DigitState::kBad;
      magnitude = digit;
      return DigitState::kNegative;
    case DigitState::kPositive:
    case DigitState::kNegative:
      // 922337203685477580 is the largest prefix that one more digit may leave within 2^63 + 1.
      if (digit > 9 || magnitude > kIntegerMagnitudeMax / 10) return DigitState::kBad;
      magnitude = magnitude * 10 + digit;
      return state;
    case DigitState::kZero:
    case DigitState::kBad:
      break;
  }
  return DigitState::kBad;
}

// What the digits amount to, or nothing where they are no integer.
inline std::optional<std::int64_t> finish_digits(DigitState state,
                                                 std::uint64_t magnitude) noexcept {
  switch (state) {
    case DigitState::kZero:
      return 0;
    case DigitState::kPositive:
      if (magnitude >= kIntegerMagnitudeMax) return std::nullopt;
      return static_cast<std::int64_t>(magnitude);
    case DigitState::kNegative:
      if (magnitude > kIntegerMagnitudeMax) return std::nullopt;
      return static_cast<std::int64_t>(~magnitude + 1);
    case DigitState::kNothing:
    case DigitState::kMinus:
    case DigitState::kBad:
      break;
  }
  return std::nullopt;
}

inline std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
  DigitState state = DigitState::kNothing;
  std::uint64_t magnitude = 0;
  for (const char c : text) {
    state = next_digit(state, magnitude, c);
    if (state == DigitState::kBad) return std::nullopt;
  }
  return finish_digits(state, magnitude);
}

}  // namespace azimuth
