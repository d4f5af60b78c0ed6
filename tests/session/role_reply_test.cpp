#include "session/role_reply.h"

#include <catch2/catch.hpp>
#include <string>

namespace azimuth {
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
const std::string kNoPermission =
    "-NOPERM this user has no permissions to run the 'role' command\r\n";

TEST_CASE("ROLE: a primary's offset, and nothing else's") {
  CHECK(primary_offset(kMaster) == 3037);
  CHECK(primary_offset("*3\r\n" + bulk("master") + ":0\r\n*0\r\n") == 0);
  CHECK_FALSE(primary_offset(slave("connected", "3037")));
  CHECK_FALSE(primary_offset(kNoPermission));
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

TEST_CASE("I4: only what follows this epoch's primary, and far enough, is believed") {
  ReadGate gate;
  gate.require(3000, false);
  const auto open = [&](const std::string& role, std::uint16_t port = 4711) {
    return judge(role, gate, port).open;
  };
  CHECK(open(slave("connected", "3037")));
  CHECK(open(slave("connected", "3000")));
  CHECK_FALSE(open(slave("connected", "2999")));
  // Of another epoch, however far.
  CHECK_FALSE(open(slave("connected", "3037"), 4712));
  CHECK_FALSE(open(slave("sync", "3037")));
  CHECK_FALSE(open(slave("connect", "-1")));
  CHECK_FALSE(open(kMaster));
  CHECK_FALSE(open(kNoPermission));
  CHECK_FALSE(open(""));
  CHECK(judge(slave("connected", "3037"), gate, 4711).applied == 3037u);
  CHECK_FALSE(judge(slave("connected", "2999"), gate, 4711).applied);
}

TEST_CASE("one ROLE stands for a batch of reads: the most demanding of them decides") {
  ReadGate gate;
  gate.require(100, false);
  gate.require(300, true);
  gate.require(200, true);
  CHECK_FALSE(judge(slave("connected", "299"), gate, 4711).open);
  CHECK(judge(slave("connected", "300"), gate, 4711).open);
}

TEST_CASE("where any state will do, any replica is believed, and nobody else") {
  ReadGate gate;
  gate.require(0, true);
  CHECK(judge(slave("connected", "10"), gate, 4711).applied == 10u);
  const GateVerdict elsewhere = judge(slave("connect", "-1"), gate, 4711);
  CHECK(elsewhere.open);
  CHECK_FALSE(elsewhere.applied);
  CHECK_FALSE(judge(kMaster, gate, 4711).open);
}

}  // namespace
}  // namespace azimuth
