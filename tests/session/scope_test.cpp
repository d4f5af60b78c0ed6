#include "session/scope.h"

#include <catch2/catch.hpp>

namespace azimuth {
namespace {

// One that has heard the primary.
ScopeFloor settled(Position floor = {3, 100}) {
  ScopeFloor scope;
  scope.place(floor, 0, scope.last());
  return scope;
}

TEST_CASE("I4: a new scope may be an old one that was forgotten: first the primary is asked") {
  ScopeFloor scope;
  CHECK_FALSE(scope.whole());
  SECTION("a replica's word does not do") {
    scope.place({3, 50}, 0, 0);
    CHECK_FALSE(scope.whole());
    CHECK(scope.floor() == Position{3, 50});
  }
  SECTION("the primary's does") {
    scope.place({3, 50}, 0, scope.last());
    CHECK(scope.whole());
  }
}

TEST_CASE("I4: what comes with its position raises the floor, and never lowers it") {
  ScopeFloor scope = settled();
  scope.place({3, 150}, 0, 0);
  CHECK(scope.floor() == Position{3, 150});
  scope.place({3, 120}, 0, scope.last());
  CHECK(scope.floor() == Position{3, 150});
  CHECK(scope.whole());
}

TEST_CASE("I4: what is shown before its position came keeps the scope from replicas until then") {
  ScopeFloor scope = settled();
  const auto one = scope.show();
  const auto two = scope.show();
  CHECK_FALSE(scope.whole());
  SECTION("its own position closes it, whoever said it") {
    scope.place({3, 150}, two, 0);
    CHECK_FALSE(scope.whole());
    scope.place({3, 140}, one, 0);
    CHECK(scope.whole());
    CHECK(scope.floor() == Position{3, 150});
  }
  SECTION("what a replica says of something else does not") {
    scope.place({3, 900}, 0, 0);
    CHECK_FALSE(scope.whole());
  }
  SECTION("the primary, asked before it was shown, does not") {
    scope.place({3, 900}, 0, one - 1);
    CHECK_FALSE(scope.whole());
    scope.place({3, 900}, 0, one);
    CHECK_FALSE(scope.whole());
  }
  SECTION("the primary, asked later, does; and its own position comes late") {
    scope.place({3, 900}, 0, scope.last());
    CHECK(scope.whole());
    const auto three = scope.show();
    scope.place({3, 150}, one, 0);
    CHECK_FALSE(scope.whole());
    scope.place({3, 950}, three, 0);
    CHECK(scope.whole());
  }
}

TEST_CASE("I4: of a batch that is shown piece by piece each piece counts") {
  ScopeFloor scope = settled();
  const auto first = scope.show();
  // The primary is asked, having executed what stands in front; the rest of the batch comes later.
  const auto asked = scope.last();
  const auto second = scope.show(first);
  scope.place({3, 150}, 0, asked);
  CHECK_FALSE(scope.whole());
  scope.place({3, 170}, second, 0);
  CHECK(scope.whole());
  SECTION("... also where the first one was covered in between") {
    const auto third = scope.show();
    scope.place({3, 180}, 0, scope.last());
    CHECK(scope.whole());
    const auto fourth = scope.show(third);
    CHECK_FALSE(scope.whole());
    scope.lose(fourth);
    CHECK_FALSE(scope.whole());
  }
}

TEST_CASE("I4: a position that is lost on its way is made up for by a later one of the primary's") {
  ScopeFloor scope = settled();
  const auto number = scope.show();
  const auto asked_before = number - 1;
  scope.lose(number);
  CHECK_FALSE(scope.whole());
  scope.place({3, 150}, 0, asked_before);
  CHECK_FALSE(scope.whole());
  scope.place({3, 150}, 0, scope.last());
  CHECK(scope.whole());
  // It had been made up for before it was lost.
  const auto next = scope.show();
  scope.place({3, 160}, 0, scope.last());
  scope.lose(next);
  CHECK(scope.whole());
}

TEST_CASE("I4: positions of another epoch") {
  ScopeFloor scope = settled();
  SECTION("a later one goes on from the floor that was carried") {
    scope.place({4, 90}, 0, scope.last());
    CHECK(scope.floor() == Position{4, 90});
  }
  SECTION("an older one closes nothing and heals nothing: it may lie beyond its epoch's end") {
    CHECK_FALSE(scope.carry({{3, 0}, {4, 200}}));
    const auto number = scope.show();
    scope.place({3, 150}, number, scope.last());
    CHECK_FALSE(scope.whole());
    CHECK(scope.floor() == Position{4, 100});
    scope.place({4, 250}, 0, scope.last());
    CHECK(scope.whole());
  }
  SECTION("an older one of what is shown with it leaves the scope without a position for that") {
    const auto asked = scope.last();
    CHECK_FALSE(scope.carry({{3, 0}, {4, 200}}));
    scope.place({3, 150}, 0, asked);
    CHECK_FALSE(scope.whole());
    scope.place({4, 250}, 0, asked);
    CHECK_FALSE(scope.whole());
    scope.place({4, 250}, 0, scope.last());
    CHECK(scope.whole());
  }
}

TEST_CASE("I4: a token raises the floor of all") {
  ScopeFloor scope = settled();
  scope.raise({3, 300});
  CHECK(scope.floor() == Position{3, 300});
  CHECK(scope.whole());
  scope.raise({3, 200});
  CHECK(scope.floor() == Position{3, 300});
  SECTION("one that a node took which is behind leaves the word to the primary") {
    scope.raise({2, 900});
    CHECK_FALSE(scope.whole());
    CHECK(scope.floor() == Position{3, 300});
  }
}

TEST_CASE("a loss is news once for all who share a session") {
  const std::vector<EpochStart> starts = {{3, 0}, {4, 80}};
  ScopeFloor scope = settled();
  CHECK(scope.carry(starts));
  CHECK(scope.floor() == Position{4, 80});
  CHECK_FALSE(scope.carry(starts));
  // What each of its connections had seen of it.
  CHECK_FALSE(scope.loses({3, 100}));
  CHECK_FALSE(scope.loses({3, 90}));
  // One had seen more than the scope was told of.
  CHECK(scope.loses({3, 120}));
  CHECK_FALSE(scope.loses({3, 110}));
  SECTION("the next failover is another one") {
    scope.place({4, 300}, 0, scope.last());
    CHECK(scope.carry({{3, 0}, {4, 80}, {5, 200}}));
  }
  SECTION("nothing lost, nothing told") {
    CHECK_FALSE(scope.carry({{3, 0}, {4, 80}, {5, 200}}));
    CHECK(scope.floor() == Position{5, 80});
  }
}

}  // namespace
}  // namespace azimuth
