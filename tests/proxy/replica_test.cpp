// What reads at a replica stand on: ROLE's words, and what the tap has pushed.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "proxy/data/upstream.h"
#include "proxy/group/applied.h"

using namespace azimuth;

namespace {

std::string bulk(const std::string& text) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

std::string slave(const std::string& state, const std::string& offset) {
  return "*5\r\n" + bulk("slave") + bulk("127.0.0.1") + ":4711\r\n" + bulk(state) + ":" + offset +
         "\r\n";
}

const std::string kMaster = "*3\r\n" + bulk("master") + ":3037\r\n*1\r\n*3\r\n" + bulk("10.0.0.2") +
                            bulk("7380") + bulk("3037");

}  // namespace

TEST_CASE("ROLE: a primary's offset, and nothing else's") {
  CHECK(primary_offset(kMaster) == 3037);
  CHECK(primary_offset("*3\r\n" + bulk("master") + ":0\r\n*0\r\n") == 0);
  CHECK_FALSE(primary_offset(slave("connected", "3037")));
  CHECK_FALSE(primary_offset("-NOPERM this user has no permissions to run the 'role' command\r\n"));
  CHECK_FALSE(primary_offset("*0\r\n"));
  CHECK_FALSE(primary_offset(""));
}

TEST_CASE("ROLE: whom a replica follows, by which link, how far") {
  const auto found = replica_role(slave("connected", "3037"));
  REQUIRE(found);
  CHECK(found->port == 4711);
  CHECK(found->connected);
  CHECK(found->offset == 3037);
  // (A replica that has lost its link says -1.)
  const auto alone = replica_role(slave("connect", "-1"));
  REQUIRE(alone);
  CHECK_FALSE(alone->connected);
  CHECK(alone->offset == -1);
  CHECK_FALSE(replica_role(kMaster));
  CHECK_FALSE(replica_role("-LOADING Redis is loading the dataset in memory\r\n"));
}

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
