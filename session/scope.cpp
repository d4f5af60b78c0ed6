#include "session/scope.h"

#include <algorithm>

namespace azimuth {

std::uint64_t ScopeFloor::show(std::uint64_t before) {
  std::erase(open_, before);
  open_.push_back(++last_);
  return last_;
}

void ScopeFloor::lose(std::uint64_t number) {
  // (It may have been closed by a later word of the primary's.)
  if (std::erase(open_, number) != 0) lost_number_ = std::max(lost_number_, number);
}

void ScopeFloor::place(Position position, std::uint64_t number, std::uint64_t asked) {
  // (Another of the node's workers knew sooner of the new epoch.)
  if (position.epoch < floor_.epoch) return lose(number != 0 ? number : show());
  floor_ = std::max(floor_, position);
  std::erase_if(open_, [=](std::uint64_t each) { return each == number || each <= asked; });
  if (lost_number_ <= asked) lost_number_ = 0;
}

void ScopeFloor::raise(Position position) {
  if (position.epoch < floor_.epoch) return lose(show());
  floor_ = std::max(floor_, position);
}

bool ScopeFloor::carry(const std::vector<EpochStart>& starts) {
  const Position before = floor_;
  return azimuth::carry(floor_, starts) == FloorFate::kLost && loses(before);
}

bool ScopeFloor::loses(Position floor) noexcept {
  if (floor <= told_) return false;
  told_ = floor;
  return true;
}

}  // namespace azimuth
