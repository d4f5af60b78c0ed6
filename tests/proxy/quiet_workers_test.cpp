// The count of workers that have nothing in flight, over hand-overs that are given up and begun
// anew.
#include "proxy/control/quiet_workers.h"

#include <catch2/catch.hpp>

using namespace azimuth;

TEST_CASE("a worker's word of a hand-over that was given up does not count for the next one") {
  QuietWorkers quiet;
  quiet.begin(2);
  const std::uint64_t given_up = quiet.hand_over();
  CHECK(quiet.say(0, given_up));
  CHECK(quiet.is_quiet(0));
  quiet.begin(2);
  CHECK(!quiet.is_quiet(0));
  CHECK(!quiet.say(1, given_up));
  CHECK(!quiet.is_quiet(1));
  CHECK(quiet.say(1, quiet.hand_over()));
  CHECK(quiet.is_quiet(1));
  CHECK(!quiet.is_quiet(0));
}

TEST_CASE("nobody is quiet before a hand-over, and no worker but those there are") {
  QuietWorkers quiet;
  CHECK(!quiet.say(0, quiet.hand_over()));
  quiet.begin(1);
  CHECK(!quiet.say(1, quiet.hand_over()));
}
