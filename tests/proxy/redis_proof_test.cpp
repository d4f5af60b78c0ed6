// Which process answers, from what it says, however its bytes are cut.
#include "proxy/data/redis_proof.h"

#include <catch2/catch.hpp>
#include <string>

#include "proxy/group/lease.h"

using namespace azimuth;

namespace {

const std::string kRunId(40, 'a');

std::string info_of(const std::string& run_id) {
  const std::string body =
      "# Server\r\nredis_version:7.0.15\r\nrun_id:" + run_id + "\r\ntcp_port:6379\r\n";
  return "$" + std::to_string(body.size()) + "\r\n" + body + "\r\n";
}

// What was fed in pieces of `piece` bytes, and how much of it was used.
std::size_t feed(RedisProof& proof, const std::string& bytes, std::size_t piece) {
  std::size_t used = 0;
  while (used < bytes.size() && proof.state() == RedisProof::State::kAsked) {
    used += proof.feed(bytes.data() + used, std::min(piece, bytes.size() - used));
  }
  return used;
}

}  // namespace

TEST_CASE("INFO names the process, and no byte behind the answer is taken") {
  for (std::size_t piece = 1; piece < 200; ++piece) {
    RedisProof proof("", "");
    CHECK(proof.request() == "*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n");
    const std::string answer = info_of(kRunId);
    REQUIRE(feed(proof, answer + "+OK\r\n", piece) == answer.size());
    REQUIRE(proof.state() == RedisProof::State::kAnswered);
    REQUIRE(proof.process() == process_of(kRunId));
  }
}

TEST_CASE("a login is asked with, and taken back") {
  RedisProof proof("keeper", "secret");
  CHECK(proof.request() ==
        "*3\r\n$4\r\nAUTH\r\n$6\r\nkeeper\r\n$6\r\nsecret\r\n"
        "*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*1\r\n$5\r\nRESET\r\n");
  feed(proof, "+OK\r\n" + info_of(kRunId), 7);
  CHECK(proof.state() == RedisProof::State::kAsked);
  feed(proof, "+RESET\r\n", 3);
  CHECK(proof.state() == RedisProof::State::kAnswered);
  CHECK(RedisProof("", "secret").request().starts_with("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"));
}

TEST_CASE("any refusal is one: of the login, of INFO, of RESET; so is what names no process") {
  const std::string login = "+OK\r\n", refusal = "-NOPERM no\r\n";
  for (const std::string& answer : {refusal, login + refusal, login + info_of(kRunId) + refusal}) {
    RedisProof proof("keeper", "secret");
    feed(proof, answer, answer.size());
    CHECK(proof.state() == RedisProof::State::kRefused);
    CHECK(proof.why() == "NOPERM no");
  }
  for (const std::string answer : {"+OK\r\n", "$-1\r\n", "hello\r\n", "$3\r\nabc\r\n"}) {
    RedisProof proof("", "");
    feed(proof, answer, answer.size());
    CHECK(proof.state() == RedisProof::State::kRefused);
  }
}

TEST_CASE("a process is none of the words that a lease has for others") {
  CHECK(process_of(kRunId) != process_of(std::string(40, 'b')));
  CHECK(process_of("") > Lease::kNoProcess);
  CHECK(process_of(kRunId) != Lease::kAnyProcess);
  Lease lease;
  CHECK(!lease.any_process());
  CHECK(!lease.is_promoted(process_of(kRunId)));
  lease.set_process(process_of(kRunId));
  CHECK(lease.is_promoted(process_of(kRunId)));
  lease.drop();
  CHECK(lease.is_promoted(process_of(kRunId)));
  lease.grant_for_ever();
  CHECK(lease.any_process());
}
