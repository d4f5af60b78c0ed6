// The reconnect delay: its bounds, its growth, its spread.
#include "health/backoff.h"

#include <catch2/catch.hpp>
#include <random>
#include <set>

using azimuth::Backoff;
using azimuth::milliseconds;

TEST_CASE(
    "each delay lies between half of its ceiling and the ceiling, which doubles to the most") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    Backoff backoff(milliseconds(20), milliseconds(1000));
    int64_t ceiling = 20;
    for (int i = 0; i < 40; ++i) {
      const int64_t delay = backoff.next(random()).ms;
      CHECK(delay >= ceiling / 2);
      CHECK(delay <= ceiling);
      ceiling = std::min<int64_t>(1000, ceiling * 2);
    }
  }
}

TEST_CASE("the ends of the range are reached, and not passed") {
  Backoff backoff(milliseconds(20), milliseconds(20));
  CHECK(backoff.next(0).ms == 10);
  CHECK(backoff.next(10).ms == 20);
  CHECK(backoff.next(~uint64_t{0}).ms <= 20);
  Backoff tiny(milliseconds(1), milliseconds(1));
  CHECK(tiny.next(0).ms == 1);
}

TEST_CASE("a reset starts the row again") {
  Backoff backoff;
  for (int i = 0; i < 10; ++i) (void)backoff.next(7);
  CHECK(backoff.failures() == 10);
  CHECK(backoff.next(0).ms >= 500);
  backoff.reset();
  CHECK(backoff.failures() == 0);
  CHECK(backoff.next(0).ms <= 20);
}

TEST_CASE("a row of failures as long as a long outage neither overflows nor grows") {
  Backoff backoff(milliseconds(3), milliseconds(1000));
  for (int i = 0; i < 100000; ++i) {
    const int64_t delay = backoff.next(static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u).ms;
    REQUIRE(delay >= 1);
    REQUIRE(delay <= 1000);
  }
}

TEST_CASE("connections that fell together do not come back together") {
  std::mt19937_64 random(2);
  std::set<int64_t> delays;
  for (int i = 0; i < 100; ++i) {
    Backoff backoff;
    for (int n = 0; n < 6; ++n) (void)backoff.next(random());
    delays.insert(backoff.next(random()).ms);
  }
  CHECK(delays.size() > 60);
}
