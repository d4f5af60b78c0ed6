// What the connections of one session scope (conf/consistency.h) have seen together: the floor that
// the reads of all of them must reach, and whether it covers all that any of them was shown.
//
// Whatever is shown to one of them has a position: that which the primary, or the replica that was
// read, names behind it. Mostly both come at once. Where something is shown first, it has a number
// for so long, and while a number is open nobody may count on the floor. Its own position closes
// it; and so does any position of the primary's that was asked for later, which lies beyond all
// that anybody had been shown until then. So a position that is lost on its way does no lasting
// harm.
//
// Invariants: within an epoch the floor never falls. A position of an older epoch than the floor's
// closes nothing. A new one is not whole until the primary has been heard: it may be an old one
// that was forgotten. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "conf/position.h"
#include "session/floor.h"

namespace azimuth {

class ScopeFloor {
 public:
  const Position& floor() const noexcept { return floor_; }
  // It covers all that was shown.
  bool whole() const noexcept { return open_.empty() && lost_number_ == 0; }

  // Something is about to be shown of which the position is not known yet: its number. `before`:
  // that of what was shown already and will have the same position; else 0. (The primary may have
  // been asked between the two: that covers the one and not the other.)
  std::uint64_t show(std::uint64_t before = 0);
  // The position of that will not come.
  void lose(std::uint64_t number);
  // The number that was given last: kept by whoever asks the primary for its position.
  std::uint64_t last() const noexcept { return last_; }
  // What was shown lies below `position`. `number`: if it was shown before; else 0. `asked`: last()
  // from before the primary was asked; 0: a replica said it, and it says nothing of other things.
  // A position of an epoch that is over for the scope says nothing, and the scope is not whole.
  void place(Position position, std::uint64_t number, std::uint64_t asked);
  // A token's, in the present epoch as somebody knows it.
  void raise(Position position);

  // Into the present epoch (session/floor.h). True: something is lost that nobody was told of.
  bool carry(const std::vector<EpochStart>& starts);
  // A connection's own floor was lost: true if that is not what the scope has lost already.
  bool loses(Position floor) noexcept;

 private:
  Position floor_;
  Position told_;  // the highest floor that was lost
  std::uint64_t last_ = 1;
  std::uint64_t lost_number_ = 1;    // the highest one whose own position will not come; 0: none
  std::vector<std::uint64_t> open_;  // ascending; as many as connections to Redis at the most
};

}  // namespace azimuth
