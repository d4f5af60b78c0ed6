#include "router/spread.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "router/route.h"

namespace azimuth {
namespace {

constexpr std::size_t kLate = kSpreadMargin + 1;

TEST_CASE("a node reads at its home, as long as that is hardly later than another") {
  for (std::size_t home = 0; home < 3; ++home) {
    std::array<Equal, 3> equals{{{true, false, 2, 9}, {true, false, 2, 9}, {true, false, 2, 9}}};
    CHECK(least_outstanding(equals, home) == static_cast<int>(home));
    equals[home].batches += kSpreadMargin;
    equals[home].outstanding += 100 * kSpreadMargin;
    CHECK(least_outstanding(equals, home) == static_cast<int>(home));
  }
}

TEST_CASE("where home is late, a read goes to the replica that owes the fewest answers") {
  const std::array<Equal, 3> equals{
      {{true, false, 1 + kLate, 50}, {true, false, 1, 7}, {true, false, 1, 3}}};
  CHECK(least_outstanding(equals, 0) == 2);
  CHECK(least_outstanding(equals, 1) == 1);
  CHECK(least_outstanding(equals, 2) == 2);
  // Though it was sent fewer batches, it owes more.
  const std::array<Equal, 2> heavy{{{true, false, kLate, 50}, {true, false, 0, 51}}};
  CHECK(least_outstanding(heavy, 0) == 0);
}

TEST_CASE("a batch that has begun is filled, wherever that is") {
  std::array<Equal, 2> equals{{{true, false, 0, 0}, {true, true, 5 * kLate, 90}}};
  CHECK(least_outstanding(equals, 0) == 1);
  // Two may have begun, with what is bound to either: then as ever.
  equals[0].open = true;
  CHECK(least_outstanding(equals, 0) == 0);
  CHECK(least_outstanding(equals, 1) == 0);
  equals[1].batches = 1;
  CHECK(least_outstanding(equals, 1) == 1);
}

TEST_CASE("who may not answer is passed over, however idle") {
  const std::array<Equal, 2> one{{{false, true, 0, 0}, {true, false, 9, 99}}};
  CHECK(least_outstanding(one, 0) == 1);
  const std::array<Equal, 2> nobody{};
  CHECK(least_outstanding(nobody, 1) == -1);
  CHECK(least_outstanding({}, 0) == -1);
}

// Batches of ten, answered at two rates: home has what it gets done, and the other one the rest.
TEST_CASE("a node whose home is slow reads elsewhere what home does not get done") {
  std::array<Equal, 2> equals{{{true, false, 0, 0}, {true, false, 0, 0}}};
  std::array<int, 2> sent{};
  std::size_t most = 0;
  for (int step = 0; step < 30'000; ++step) {
    Equal& to = equals[static_cast<std::size_t>(least_outstanding(equals, 0))];
    ++sent[&to == &equals[1]];
    ++to.batches;
    to.outstanding += 10;
    most = std::max(most, equals[0].batches);
    Equal& done = equals[step % 3 == 0 ? 0 : 1];
    if (done.batches == 0) continue;
    --done.batches;
    done.outstanding -= 10;
  }
  CHECK(sent[0] > 9'500);
  CHECK(sent[0] < 10'500);
  CHECK(most <= 2 * kLate);
}

TEST_CASE("a node reads at a few of the equal replicas, and nodes at different ones") {
  Topology t;
  for (const char* id : {"a1", "b1", "c1", "d1", "e1"}) {
    t.members.push_back(Member{
        .id = id, .zone = "z1", .region = "r1", .redis = {}, .readiness = Readiness::kReady});
  }
  t.members[0].zone = "z0";
  t.primary = 0;
  std::vector<int> chosen(5), homes(5);
  for (std::size_t salt = 0; salt < 400; ++salt) {
    const std::vector<int> found = replicas_for(t, "z1", "r1", salt);
    REQUIRE(found.size() == kReplicasReadMax);
    CHECK(found[0] != found[1]);
    CHECK(found[0] == replica_for(t, "z1", "r1", salt));
    for (const int each : found) ++chosen[static_cast<std::size_t>(each)];
    ++homes[static_cast<std::size_t>(found[0])];
  }
  CHECK(homes == std::vector<int>{0, 100, 100, 100, 100});
  CHECK(chosen == std::vector<int>{0, 200, 200, 200, 200});
  // By their names, as nodes do it (proxy/data/replica.cpp).
  homes.assign(5, 0);
  for (int i = 0; i < 400; ++i) {
    const std::size_t salt = std::hash<std::string>{}("app-" + std::to_string(i));
    ++homes[static_cast<std::size_t>(replica_for(t, "z1", "r1", salt))];
  }
  for (std::size_t i = 1; i < 5; ++i) CHECK(std::abs(homes[i] - 100) < 40);
  // The zone first: others of the region do not fill up.
  t.members[2].zone = t.members[3].zone = t.members[4].zone = "z2";
  CHECK(replicas_for(t, "z1", "r1", 7) == std::vector<int>{1});
  // The one next door is enough.
  t.local = 4;
  CHECK(replicas_for(t, "z2", "r1", 7) == std::vector<int>{4});
  // One that is avoided is none of them.
  t.local = -1;
  for (std::size_t salt = 0; salt < 4; ++salt) {
    for (const int each : replicas_for(t, "z2", "r1", salt, 3)) CHECK(each != 3);
  }
}

}  // namespace
}  // namespace azimuth
