// The gate in front of a replica, with what real redis-servers (7.0) said to each other.
#include "health/sync_gate.h"

#include <catch2/catch.hpp>
#include <string>
#include <string_view>

using namespace azimuth;

namespace {

const std::string kOurs = "fae8ed767bb0d8c2b31cd07f0ab6b02bd440ad54";
const std::string kOther = "3673c2884c3b4bddbfa2efdd0841750134bcd21b";
const std::string kGreeting = "+PONG\r\n+OK\r\n+OK\r\n+OK\r\n";

const std::string kReplica =
    "*1\r\n$4\r\nPING\r\n*3\r\n$8\r\nREPLCONF\r\n$14\r\nlistening-port\r\n$4\r\n7380\r\n"
    "*3\r\n$8\r\nREPLCONF\r\n$10\r\nip-address\r\n$8\r\n10.0.0.9\r\n"
    "*5\r\n$8\r\nREPLCONF\r\n$4\r\ncapa\r\n$3\r\neof\r\n$4\r\ncapa\r\n$6\r\npsync2\r\n"
    "*3\r\n$5\r\nPSYNC\r\n$40\r\n4145c235a0c09846fe24d70eb56aeb93eea373ce\r\n$1\r\n1\r\n";

std::string diskless_copy(const std::string& replid) {
  return kGreeting + "+FULLRESYNC " + replid +
         " 0\r\n$EOF:913bc5614671a924a3025e147974bf1fdbbd0f3e\r\n"
         "REDIS0010\xfa\tredis-ver\x06"
         "7.0.15\xff\xd4\xa0N\xe4o)\":"
         "913bc5614671a924a3025e147974bf1fdbbd0f3e";
}

std::string disk_copy(const std::string& replid) {
  return kGreeting + "+FULLRESYNC " + replid +
         " 0\r\n$31\r\nREDIS0010\xfa\tredis-ver\x06"
         "7.0.15\xff\xc8+\x94\x97*1\r\n$4\r\nping\r\n";
}

struct Passed {
  std::string bytes;
  SyncVerdict verdict;
};

// What gets through of a conversation, in bites of `size`, and what becomes of the gate.
Passed through(SyncGate& gate, std::string_view primary, std::size_t size) {
  Passed passed;
  while (!primary.empty()) {
    const std::string_view bite = primary.substr(0, size);
    primary.remove_prefix(bite.size());
    const std::size_t allowed = gate.on_primary(bite);
    REQUIRE(allowed <= bite.size());
    CHECK((allowed == bite.size()) == (gate.verdict() != SyncVerdict::kRefused));
    passed.bytes += bite.substr(0, allowed);
  }
  passed.verdict = gate.verdict();
  return passed;
}

// The same whole, by single bytes, and in between.
template <class Check>
void in_bites(const std::string& primary, const Check& check) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{7}, primary.size()}) {
    SyncGate gate(kOurs);
    gate.on_replica(kReplica);
    check(through(gate, primary, size), gate);
  }
}

void accepts(const std::string& primary, SyncVerdict verdict) {
  in_bites(primary, [&](const Passed& passed, const SyncGate& gate) {
    CHECK(passed.bytes == primary);
    CHECK(passed.verdict == verdict);
    CHECK(gate.why().empty());
  });
}

// `before`: what passed before the end of the line that closed the gate.
void refuses(const std::string& primary, const std::string& before) {
  in_bites(primary, [&](const Passed& passed, const SyncGate& gate) {
    CHECK(passed.bytes == before);
    CHECK(passed.verdict == SyncVerdict::kRefused);
    CHECK_FALSE(gate.why().empty());
  });
}

}  // namespace

TEST_CASE("a full sync of the epoch's lineage passes, with or without a disk") {
  accepts(disk_copy(kOurs), SyncVerdict::kFull);
  accepts(diskless_copy(kOurs), SyncVerdict::kFull);
}

TEST_CASE("I5: a full sync of another lineage stops before its line ends") {
  const std::string before = kGreeting + "+FULLRESYNC " + kOther + " 0\r";
  refuses(disk_copy(kOther), before);
  refuses(diskless_copy(kOther), before);
}

TEST_CASE("a partial sync passes under the epoch's id, or without one") {
  const std::string stream = "*1\r\n$4\r\nping\r\n";
  accepts(kGreeting + "+CONTINUE " + kOurs + "\r\n" + stream, SyncVerdict::kPartial);
  accepts(kGreeting + "+CONTINUE\r\n" + stream, SyncVerdict::kPartial);
  refuses(kGreeting + "+CONTINUE " + kOther + "\r\n" + stream,
          kGreeting + "+CONTINUE " + kOther + "\r");
}

TEST_CASE("a replica looks at the beginning of a line alone, and so does the gate") {
  refuses("+FULLRESYNCED " + kOther + " 0\r\n", "+FULLRESYNCED " + kOther + " 0\r");
  refuses("+CONTINUE\t" + kOther + "\r\n", "+CONTINUE\t" + kOther + "\r");
  refuses("+FULLRESYNC\r\n", "+FULLRESYNC\r");
  refuses("+FULLRESYNC  " + kOurs + " 0\r\n", "+FULLRESYNC  " + kOurs + " 0\r");
}

TEST_CASE("refusals of the primary pass, and decide nothing") {
  const std::string refusals =
      kGreeting + "-NOMASTERLINK Can't SYNC while not connected with my master\r\n";
  accepts(refusals, SyncVerdict::kHandshake);
  accepts("-LOADING Redis is loading the dataset in memory\r\n", SyncVerdict::kHandshake);
  accepts("-NOAUTH Authentication required.\r\n", SyncVerdict::kHandshake);
  // A primary that is busy with another copy keeps the replica patient with empty lines.
  accepts(kGreeting + "\n\n\n+FULLRESYNC " + kOurs + " 0\r\n\n\n$EOF:", SyncVerdict::kFull);
}

TEST_CASE("I5: the copy that a bare SYNC gets does not begin") {
  const std::string refused = kGreeting + "-ERR unknown command 'PSYNC'\r\n\n";
  refuses(refused + "$182\r\nREDIS0010", refused);
  refuses("*1\r\n$4\r\nping\r\n", "");
  refuses("\r\n$182\r\n", "");
}

TEST_CASE("a line without an end closes the gate") {
  SyncGate gate(kOurs);
  const Passed passed = through(gate, "+" + std::string(100'000, 'x'), 4096);
  CHECK(passed.verdict == SyncVerdict::kRefused);
  CHECK(passed.bytes.size() < 2000);
}

TEST_CASE("a lineage that is not known yet is nobody's") {
  SyncGate gate("");
  CHECK(through(gate, "+FULLRESYNC  0\r\n", 100).verdict == SyncVerdict::kRefused);
  SyncGate other("");
  CHECK(through(other, diskless_copy(kOurs), 100).verdict == SyncVerdict::kRefused);
}

TEST_CASE("I5: a stranger's Redis that dials the port gets nothing") {
  for (const std::size_t size : {std::size_t{1}, std::size_t{5}, kReplica.size()}) {
    SyncGate ours(kOurs, "10.0.0.9 7380");
    SyncGate stranger(kOurs, "10.0.0.8 7380");
    for (std::size_t at = 0; at < kReplica.size(); at += size) {
      ours.on_replica(std::string_view(kReplica).substr(at, size));
      stranger.on_replica(std::string_view(kReplica).substr(at, size));
    }
    CHECK(through(ours, diskless_copy(kOurs), 9).verdict == SyncVerdict::kFull);
    CHECK(through(stranger, diskless_copy(kOurs), 9).verdict == SyncVerdict::kRefused);
    CHECK(stranger.why().find("10.0.0.9 7380") != std::string::npos);
  }
  SyncGate silent(kOurs, "10.0.0.9 7380");
  CHECK(through(silent, "+CONTINUE\r\n", 3).verdict == SyncVerdict::kRefused);
}
