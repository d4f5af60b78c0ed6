// What a client is promised about its reads, and what about its acknowledged writes. Set per
// listener, changed per session (AZIMUTH CONSISTENCY, AZIMUTH DURABILITY). Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "conf/names.h"

namespace azimuth {

// In the order of DESIGN: from what always asks the primary to what any replica may answer.
enum class Consistency : std::uint8_t {
  kStrong,
  kBoundedStaleness,
  kConsistentPrefix,
  kMonotonicReads,
  kReadMyWrites,
  kCausal,
  kEventual,
};

inline constexpr std::array<std::string_view, 7> kConsistencyNames = {
    "strong", "bounded-staleness", "consistent-prefix", "monotonic-reads", "read-my-writes",
    "causal", "eventual"};

enum class Durability : std::uint8_t {
  kAsync,   // Redis's own: acknowledged when the primary has it
  kQuorum,  // acknowledged when every later election must find it
};

inline constexpr std::array<std::string_view, 2> kDurabilityNames = {"async", "quorum"};

constexpr std::optional<Consistency> parse_consistency(std::string_view text) noexcept {
  return from_name<Consistency>(kConsistencyNames, text);
}
constexpr std::string_view to_string(Consistency value) noexcept {
  return name_of(kConsistencyNames, value);
}
constexpr std::optional<Durability> parse_durability(std::string_view text) noexcept {
  return from_name<Durability>(kDurabilityNames, text);
}
constexpr std::string_view to_string(Durability value) noexcept {
  return name_of(kDurabilityNames, value);
}

static_assert(to_string(Consistency::kEventual) == "eventual");
static_assert(to_string(Consistency::kCausal) == "causal");
static_assert(to_string(Durability::kQuorum) == "quorum");

}  // namespace azimuth
