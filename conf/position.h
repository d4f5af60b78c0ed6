// The sequence number of a write: the epoch of the leadership that took it, and the byte offset in
// that leadership's replication stream.
//
// Invariant: the order of two positions means something only within one history. Offsets of two
// lineages are never compared; whoever orders positions of different epochs has first asked the
// fork table whether the older epoch reaches that far. Pure.
#pragma once

#include <compare>
#include <cstdint>

namespace azimuth {

struct Position {
  std::uint64_t epoch = 0;
  std::uint64_t offset = 0;

  friend constexpr auto operator<=>(const Position&, const Position&) = default;
};

}  // namespace azimuth
