#include "session/floor.h"

#include <catch2/catch.hpp>

#include "session/freshness.h"

namespace azimuth {
namespace {

// Epoch 2 began at 100, epoch 3 at 80 of it (the leader of 2 had not shown the rest to anybody).
const std::vector<EpochStart> kStarts = {{1, 0}, {2, 100}, {3, 80}};

TEST_CASE("I4: a floor is carried into a later epoch, or said to be lost") {
  const auto fate = [](Position& floor) { return carry(floor, kStarts); };
  Position floor;
  SECTION("no floor") {
    CHECK(fate(floor) == FloorFate::kKept);
    CHECK(floor == Position{});
  }
  SECTION("of this epoch") {
    floor = {3, 1000};
    CHECK(fate(floor) == FloorFate::kKept);
    CHECK(floor == Position{3, 1000});
  }
  SECTION("the history went on beyond it") {
    floor = {1, 80};
    CHECK(fate(floor) == FloorFate::kKept);
    CHECK(floor == Position{3, 80});
  }
  SECTION("a later epoch began before it, though the next one did not") {
    floor = {1, 95};
    CHECK(fate(floor) == FloorFate::kLost);
    CHECK(floor == Position{3, 80});
  }
  SECTION("beyond the end of its own epoch") {
    floor = {2, 81};
    CHECK(fate(floor) == FloorFate::kLost);
    CHECK(floor == Position{3, 80});
  }
  SECTION("of an epoch that this node has not heard of") {
    floor = {4, 10};
    CHECK(fate(floor) == FloorFate::kUnknown);
    CHECK(floor == Position{4, 10});
  }
  SECTION("older than the table: it cannot be shown to be there") {
    const std::vector<EpochStart> late = {{3, 80}};
    floor = {1, 10};
    CHECK(carry(floor, late) == FloorFate::kLost);
    CHECK(floor == Position{3, 10});
    floor = {2, 90};
    CHECK(carry(floor, late) == FloorFate::kLost);
    CHECK(floor == Position{3, 80});
    floor = {2, 10};
    CHECK(carry(floor, {}) == FloorFate::kUnknown);
  }
  SECTION("of an epoch that the history does not come from, however far that has got") {
    const std::vector<EpochStart> past_it = {{1, 0}, {2, 100}, {4, 500}};
    floor = {3, 300};
    CHECK(carry(floor, past_it) == FloorFate::kLost);
    CHECK(floor == Position{4, 300});
    floor = {2, 300};
    CHECK(carry(floor, past_it) == FloorFate::kKept);
  }
}

TEST_CASE("I4: a token raises the floor and never lowers it") {
  CHECK(with_token({}, {3, 70}) == Position{3, 70});
  CHECK(with_token({3, 60}, {3, 70}) == Position{3, 70});
  CHECK(with_token({3, 80}, {3, 70}) == Position{3, 80});
  // One that could not be carried into this epoch.
  CHECK(with_token({3, 80}, {1, 900}) == Position{3, 80});
}

TEST_CASE("a replica's age is shown by the primary's offset and the asker's own clock") {
  Freshness freshness;
  CHECK_FALSE(freshness.needed(3, 1000, 1'000'000).has_value());
  freshness.add(1000, {3, 50});
  freshness.add(1100, {3, 60});
  freshness.add(1200, {3, 70});
  CHECK(freshness.needed(3, 1250, 50) == 70);
  CHECK(freshness.needed(3, 1250, 150) == 60);
  CHECK(freshness.needed(3, 1250, 5000) == 50);
  CHECK_FALSE(freshness.needed(3, 1250, 49).has_value());
  CHECK_FALSE(freshness.needed(4, 1250, 5000).has_value());
  SECTION("an offset of another epoch shows nothing of this one") {
    freshness.add(1300, {4, 10});
    CHECK_FALSE(freshness.needed(3, 1310, 5000).has_value());
    CHECK(freshness.needed(4, 1310, 5000) == 10);
    freshness.add(1400, {3, 500});
    CHECK(freshness.needed(4, 1410, 5000) == 10);
  }
  SECTION("I8: only so many are kept, and not two at a time") {
    freshness.add(1201, {3, 71});
    CHECK(freshness.needed(3, 1250, 50) == 70);
    for (std::uint64_t i = 0; i < 2 * kFreshnessProofsMax; ++i) {
      freshness.add(2000 + i * 10, {3, 100 + i});
    }
    CHECK(freshness.needed(3, 2000 + 20 * kFreshnessProofsMax, 1'000'000) ==
          100 + kFreshnessProofsMax);
  }
}

}  // namespace
}  // namespace azimuth
