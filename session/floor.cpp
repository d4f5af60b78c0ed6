#include "session/floor.h"

#include <algorithm>

#include "conf/defects.h"

namespace azimuth {

FloorFate carry(Position& floor, const std::vector<EpochStart>& starts) noexcept {
  if (starts.empty()) return floor.epoch == 0 ? FloorFate::kKept : FloorFate::kUnknown;
  const std::uint64_t now = starts.back().epoch;
  if (floor.epoch == now || floor == Position{}) return FloorFate::kKept;
  if (floor.epoch > now) return FloorFate::kUnknown;
  // Of an epoch that is not in the table nothing is in this history, or that is not known any more.
  bool whole = false;
  std::uint64_t kept = floor.offset;
  for (const EpochStart& start : starts) {
    if (start.epoch == floor.epoch) whole = true;
    if (start.epoch <= floor.epoch || start.offset >= kept) continue;
    kept = start.offset;
    whole = false;
  }
  if (defective(Defect::kEpochsCompared)) whole = true;
  floor = {now, kept};
  return whole ? FloorFate::kKept : FloorFate::kLost;
}

Position with_token(Position floor, Position token) noexcept {
  if (defective(Defect::kFloorLostAtReconnect)) return floor;
  return std::max(floor, token);
}

}  // namespace azimuth
