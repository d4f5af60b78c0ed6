#include "health/group_state.h"

#include <catch2/catch.hpp>

#include "conf/limits.h"

using namespace azimuth;

namespace {

GroupState sample() {
  GroupState state;
  state.cluster = "orders";
  state.node = "a1";
  state.promised = 7;
  state.promised_to = "b2";
  state.accepted = 5;
  state.leader = "a1";
  state.electorate = {3, 4, {"a1", "b2", "c3"}, {"d4", "e5"}};
  state.forks = {{1, "r1", 0}, {3, "r3", 120}, {5, "r5", 300}};
  state.adopted = true;
  state.intact_run_id = "run7";
  return state;
}

}  // namespace

TEST_CASE("a state comes back as it was written") {
  for (GroupState state : {sample(), GroupState{}}) {
    state.cluster = "orders";
    state.node = "a1";
    const Result<GroupState> again = decode_group_state(encode(state));
    REQUIRE(again.ok());
    CHECK(*again == state);
  }
}

TEST_CASE("a state that is cut short or altered anywhere does not decode, and says what to do") {
  const std::string text = encode(sample());
  for (std::size_t size = 0; size < text.size(); ++size) {
    const Result<GroupState> cut = decode_group_state(text.substr(0, size));
    REQUIRE_FALSE(cut.ok());
    CHECK_THAT(cut.error().message, Catch::Contains("move the file away"));
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string altered = text;
    altered[at] = static_cast<char>(altered[at] ^ 1);
    CHECK_FALSE(decode_group_state(altered).ok());
  }
  CHECK_FALSE(decode_group_state(text + "x").ok());
  CHECK_FALSE(decode_group_state(text + text).ok());
}

TEST_CASE("the largest state fits in its file") {
  GroupState state = sample();
  state.electorate.voters.clear();
  for (std::size_t i = 0; i < kVotersMax; ++i)
    state.electorate.voters.push_back(std::string(kNameBytesMax - 1, 'v') + std::to_string(i));
  state.forks.clear();
  for (std::size_t i = 0; i < kForksMax; ++i)
    state.forks.push_back({UINT64_MAX - 100 + i, std::string(kReplidBytesMax, 'r'), UINT64_MAX});
  const std::string text = encode(state);
  CHECK(text.size() <= kGroupStateFileBytesMax);
  CHECK(decode_group_state(text).ok());
}

TEST_CASE(
    "a Redis's history ends in the epoch whose bytes it has, not in the one whose name it has") {
  const std::vector<Fork> forks{{1, "r1", 0}, {3, "r3", 120}, {5, "r5", 300}};
  CHECK(position_of(forks, "r3", 150, "r1", 121) == Position{3, 150});
  // Attached to epoch 5 and still behind where that began; and behind where epoch 3 began.
  CHECK(position_of(forks, "r5", 250, "r3", 201) == Position{3, 250});
  CHECK(position_of(forks, "r5", 100, "r3", 101) == Position{1, 100});
  // On its own beyond where the next epoch began: another history than that epoch's.
  CHECK(position_of(forks, "r1", 200, "", -1) == Position{1, 200});
  // Promoted, and died before anybody knew the new id: what it shares with the old one counts.
  CHECK(position_of(forks, "new", 320, "r5", 311) == Position{5, 310});
  CHECK(position_of(forks, "new", 305, "r5", 311) == Position{5, 305});
  CHECK_FALSE(position_of(forks, "new", 320, "older", 311));
  CHECK_FALSE(position_of(forks, "", 0, "", -1));
  CHECK_FALSE(position_of({}, "r1", 10, "", -1));
}

TEST_CASE("the same id led on in place: the later epoch's") {
  const std::vector<Fork> forks{{1, "r1", 0}, {2, "r1", 80}};
  CHECK(epoch_of(forks, "r1") == 2);
  CHECK(position_of(forks, "r1", 50, "", -1) == Position{1, 50});
  CHECK(position_of(forks, "r1", 90, "", -1) == Position{2, 90});
}

TEST_CASE("a history that goes on from an older epoch forgets the newer ones") {
  const std::vector<Fork> forks{{1, "r1", 0}, {3, "r3", 120}, {5, "r5", 300}};
  CHECK(forked(forks, Position{5, 310}, {6, "r6", 310}).size() == 4);
  CHECK(forked(forks, Position{3, 250}, {6, "r6", 250}) ==
        std::vector<Fork>{{1, "r1", 0}, {3, "r3", 120}, {6, "r6", 250}});
  CHECK(forked(forks, std::nullopt, {6, "r6", 0}) == std::vector<Fork>{{6, "r6", 0}});
  std::vector<Fork> many;
  for (std::uint64_t epoch = 1; epoch <= 20; ++epoch)
    many =
        forked(many, Position{epoch - 1, 10 * epoch}, {epoch, std::to_string(epoch), 10 * epoch});
  CHECK(many.size() == kForksMax);
  CHECK(many.back().epoch == 20);
  CHECK(many.front().epoch == 21 - kForksMax);
  CHECK(digest(forks) != digest(many));
  CHECK(digest(forks) == digest(std::vector<Fork>(forks)));
}

TEST_CASE("of two electorates the later leader's counts") {
  CHECK(Electorate{2, 3, {}}.newer_than({2, 2, {}}));
  CHECK(Electorate{3, 3, {}}.newer_than({2, 7, {}}));
  CHECK_FALSE(Electorate{2, 2, {}}.newer_than({2, 2, {}}));
}
