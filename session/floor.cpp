#include "session/floor.h"

namespace azimuth {

FloorFate carry(Position& floor, const std::vector<EpochStart>& starts) noexcept {
  if (starts.empty()) return floor.epoch == 0 ? FloorFate::kKept : FloorFate::kUnknown;
  const std::uint64_t now = starts.back().epoch;
  if (floor.epoch == now || floor == Position{}) return FloorFate::kKept;
  // An epoch before the first that is known may have ended anywhere.
  if (floor.epoch > now || floor.epoch + 1 < starts.front().epoch) return FloorFate::kUnknown;
  std::uint64_t kept = floor.offset;
  for (const EpochStart& start : starts) {
    if (start.epoch > floor.epoch && start.offset < kept) kept = start.offset;
  }
  const bool whole = kept == floor.offset;
  floor = {now, kept};
  return whole ? FloorFate::kKept : FloorFate::kLost;
}

}  // namespace azimuth
