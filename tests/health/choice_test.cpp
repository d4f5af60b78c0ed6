#include "health/choice.h"

#include <catch2/catch.hpp>

#include "conf/limits.h"

using namespace azimuth;

namespace {

const Electorate kThree{1, 1, {"a1", "b2", "c3"}};
const std::vector<Fork> kForks{{1, "r1", 0}, {3, "r3", 120}, {5, "r5", 300}};

Promise whole(Position at) {
  Promise promise;
  promise.has_redis = promise.alive = promise.intact = promise.known = true;
  promise.position = at;
  return promise;
}

Promise restarted(Position at) {
  Promise promise = whole(at);
  promise.intact = false;
  return promise;
}

Promise dead() {
  Promise promise;
  promise.has_redis = true;
  return promise;
}

Promise empty_one() {
  Promise promise = dead();
  promise.alive = promise.empty = true;
  return promise;
}

Choice choose_among(const Promises& promises, std::string_view preferred = {},
                    const Electorate& electorate = kThree) {
  return choose({electorate, promises, kForks, preferred, {}, false});
}

}  // namespace

TEST_CASE(
    "the highest position wins, by lineage first; ties go to who led, then to the lowest id") {
  CHECK(choose_among({{"a1", whole({5, 310})}, {"b2", whole({5, 320})}}).winner == "b2");
  CHECK(choose_among({{"a1", whole({3, 9000})}, {"b2", whole({5, 301})}}).winner == "b2");
  CHECK(choose_among({{"b2", whole({5, 310})}, {"c3", whole({5, 310})}}).winner == "b2");
  Promise led = whole({5, 310});
  led.led = 5;
  CHECK(choose_among({{"b2", whole({5, 310})}, {"c3", led}}).winner == "c3");
  CHECK(choose_among({{"b2", whole({5, 310})}, {"c3", led}}, "b2").winner == "b2");
  CHECK(choose_among({{"b2", whole({5, 309})}, {"c3", led}}, "b2").winner == "c3");
}

TEST_CASE(
    "I3: a minority's promises elect nobody, nor do those of members that lost their memory") {
  CHECK(choose_among({{"b2", whole({5, 310})}}).winner.empty());
  const Choice choice = choose_among({{"b2", whole({5, 310})}, {"c3", restarted({5, 100})}});
  CHECK(choice.winner.empty());
  CHECK_THAT(choice.why, Catch::Contains("waiting for a1"));
  CHECK_THAT(choice.why, Catch::Contains("c3 has lost"));
  // With all of them nothing more can be learnt.
  CHECK(choose_among(
            {{"a1", restarted({5, 200})}, {"b2", restarted({5, 310})}, {"c3", restarted({3, 400})}})
            .winner == "b2");
  // But for what a Redis that does not answer may hold.
  CHECK(choose_among({{"a1", dead()}, {"b2", whole({5, 310})}, {"c3", restarted({3, 400})}})
            .winner.empty());
  // A majority that is whole need not wait for it.
  CHECK(choose_among({{"a1", dead()}, {"b2", whole({5, 310})}, {"c3", whole({3, 400})}}).winner ==
        "b2");
}

TEST_CASE("I3: who led the last epoch needs no others that are whole, only a majority's promises") {
  const auto leader = [](std::uint64_t epoch) {
    Promise promise = whole({5, 310});
    promise.led = promise.accepted = epoch;
    return promise;
  };
  const auto follower = [](std::uint64_t epoch) {
    Promise promise = restarted({1, 5});
    promise.accepted = epoch;
    return promise;
  };
  CHECK(choose_among({{"a1", leader(5)}, {"b2", follower(5)}}).winner == "a1");
  CHECK(choose_among({{"a1", leader(5)}, {"b2", follower(3)}}).winner == "a1");
  CHECK(choose_among({{"a1", leader(5)}}).winner.empty());
  // Another one has led since.
  CHECK(choose_among({{"a1", leader(5)}, {"b2", follower(6)}}).winner.empty());
  Promise forgot = leader(5);
  forgot.intact = false;
  CHECK(choose_among({{"a1", forgot}, {"b2", follower(5)}}).winner.empty());
}

TEST_CASE("a witness counts, and is not elected") {
  CHECK(choose_among({{"b2", whole({5, 310})}, {"c3", Promise{}}}).winner == "b2");
  CHECK(choose_among({{"a1", Promise{}}, {"b2", dead()}, {"c3", Promise{}}}).winner.empty());
}

TEST_CASE("a candidate that lacks much of what the last leader had waits for the others") {
  Promise far = whole({5, 310});
  far.leader_at = {5, 311 + kElectionLagBytesMax};
  const Choice choice = choose_among({{"b2", far}, {"c3", whole({3, 200})}});
  CHECK(choice.winner.empty());
  CHECK_THAT(choice.why, Catch::Contains("b2 is the most current"));
  CHECK(choose_among({{"a1", whole({1, 1})}, {"b2", far}, {"c3", whole({3, 200})}}).winner == "b2");
  far.leader_at = {5, 310 + kElectionLagBytesMax};
  CHECK(choose_among({{"b2", far}, {"c3", whole({3, 200})}}).winner == "b2");
  // What lies beyond the fork is lacking however far the old lineage went on.
  Promise aside = whole({3, 40'000'000});
  aside.leader_at = {5, 301 + kElectionLagBytesMax};
  CHECK(choose_among({{"b2", aside}, {"c3", whole({3, 200})}}).winner.empty());
}

TEST_CASE("without any lineage the one Redis that holds data wins, if all are seen") {
  Promise full = empty_one();
  full.empty = false;
  CHECK(choose_among({{"a1", empty_one()}, {"b2", full}, {"c3", empty_one()}}).winner == "b2");
  CHECK(choose_among({{"a1", empty_one()}, {"b2", empty_one()}, {"c3", empty_one()}}).winner ==
        "a1");
  CHECK_THAT(choose_among({{"a1", full}, {"b2", full}, {"c3", empty_one()}}).why,
             Catch::Contains("a1 and b2 hold data"));
  CHECK(choose_among({{"a1", dead()}, {"b2", full}, {"c3", empty_one()}}).winner.empty());
}

TEST_CASE("an operator's word needs a majority and a Redis that answers, nothing else") {
  const auto forced = [](const Promises& promises) {
    return choose({kThree, promises, kForks, {}, "b2", false}).winner;
  };
  CHECK(forced({{"b2", empty_one()}}).empty());
  CHECK(forced({{"a1", whole({5, 310})}, {"b2", empty_one()}}) == "b2");
  CHECK(forced({{"a1", whole({5, 310})}, {"b2", dead()}}).empty());
  CHECK(forced({{"a1", whole({5, 310})}, {"c3", whole({5, 310})}}).empty());
}

TEST_CASE("a Redis that cannot be driven does not win; what it alone holds is not lost by that") {
  Promise refusing = whole({5, 310});
  refusing.trouble = "Redis refuses CONFIG";
  CHECK(choose_among({{"a1", refusing}, {"b2", whole({5, 310})}, {"c3", whole({5, 300})}}).winner ==
        "b2");
  const Choice choice =
      choose_among({{"a1", refusing}, {"b2", whole({5, 309})}, {"c3", whole({5, 300})}});
  CHECK(choice.winner.empty());
  CHECK_THAT(choice.why, Catch::Contains("a1 (Redis refuses CONFIG)"));
  refusing.position = {5, 100};
  CHECK(choose_among({{"a1", refusing}, {"c3", whole({5, 300})}}).winner == "c3");
}

TEST_CASE("who has failed, or leaves, comes after its equals") {
  Promise reluctant = whole({5, 310});
  reluctant.reluctant = true;
  reluctant.led = 5;
  CHECK(choose_among({{"a1", reluctant}, {"b2", whole({5, 310})}}).winner == "b2");
  CHECK(choose_among({{"a1", reluctant}, {"b2", whole({5, 300})}}).winner == "a1");
}
