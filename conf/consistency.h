// What a client is promised about its reads, what about its acknowledged writes, and with whom it
// shares that. Set per listener, changed per session (AZIMUTH CONSISTENCY, AZIMUTH DURABILITY,
// AZIMUTH SESSION). Pure.
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

// Whose writes and reads a session's reads must not fall behind: those of a connection, or of all
// connections of its user, of its client name, of the whole node.
enum class SessionScope : std::uint8_t {
  kByRole,  // of a setting alone: see session_scope() in conf/settings.h
  kConnection,
  kUser,
  kClientName,
  kNode,
};

inline constexpr std::array<std::string_view, 5> kSessionScopeNames = {
    "by-role", "connection", "user", "client-name", "node"};

// Whether what a session has seen bounds its next read from below, wherever that goes.
constexpr bool minds_floor(Consistency level) noexcept {
  return level == Consistency::kMonotonicReads || level == Consistency::kReadMyWrites ||
         level == Consistency::kCausal;
}

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

constexpr std::optional<SessionScope> parse_session_scope(std::string_view text) noexcept {
  return from_name<SessionScope>(kSessionScopeNames, text);
}
constexpr std::string_view to_string(SessionScope value) noexcept {
  return name_of(kSessionScopeNames, value);
}

static_assert(to_string(Consistency::kEventual) == "eventual");
static_assert(to_string(Consistency::kCausal) == "causal");
static_assert(to_string(Durability::kQuorum) == "quorum");
static_assert(to_string(SessionScope::kNode) == "node");

}  // namespace azimuth
