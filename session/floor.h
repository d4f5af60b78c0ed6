// What becomes of a session's floor in a later epoch: is what the session has seen part of the
// history that goes on?
//
// Offsets run on from one epoch to the next of a history, so a floor that is kept is the same
// offset in the new epoch. Invariant: a floor is never lowered in silence (I4): who gets kLost has
// to count and tell it. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "conf/position.h"

namespace azimuth {

// Where the history of an epoch begins: what an older epoch wrote beyond `offset` is not in it.
using EpochStart = Position;

enum class FloorFate : std::uint8_t {
  kKept,
  kLost,     // the history that goes on is not known to hold it
  kUnknown,  // a later epoch than the table knows of: not to be compared with anything
};

// The offset of what was shown and has no position yet, nor will get one before the primary is asked
// again: beyond all that another epoch may begin with.
inline constexpr std::uint64_t kUnplaced = UINT64_MAX;

// `starts`: ascending epochs, the last one the one that goes on. kKept and kLost move `floor` to
// that epoch; where it was lost, to what is left of it.
FloorFate carry(Position& floor, const std::vector<EpochStart>& starts) noexcept;

// The floor of a session that takes a token, both carried into one epoch.
Position with_token(Position floor, Position token) noexcept;

}  // namespace azimuth
