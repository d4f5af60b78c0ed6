// A hint on which reads at a replica stand: what the tap has pushed.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "proxy/group/applied.h"

using namespace azimuth;

TEST_CASE("what a replica has applied is known of one epoch, and wakes who waits for it, once") {
  Applied applied;
  std::vector<unsigned> woken;
  applied.set_workers(2, [&](unsigned worker) { woken.push_back(worker); });
  applied.set({3, 100});
  CHECK(applied.of(3) == 100);
  CHECK(applied.of(2) == 0);
  CHECK(woken.empty());
  applied.want(0, 150);
  applied.want(1, 120);
  applied.want(1, 140);  // the lower one counts
  applied.set({3, 119});
  CHECK(woken.empty());
  applied.set({3, 120});
  CHECK(woken == std::vector<unsigned>{1});
  applied.set({3, 1000});
  CHECK(woken == std::vector<unsigned>{1, 0});
  applied.set({3, 2000});
  CHECK(woken.size() == 2);
  // Another epoch, another history: what it says of the old one is nothing.
  applied.set({4, 50});
  CHECK(applied.of(3) == 0);
  CHECK(applied.of(4) == 50);
}
