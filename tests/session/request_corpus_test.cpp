// Replays the fuzzer's corpus through the very code that the fuzzer runs.
#define LLVMFuzzerTestOneInput fuzz_one_request
#include <catch2/catch.hpp>

#include "tests/fuzz/request_fuzz.cpp"
#include "tests/session/corpus.h"

TEST_CASE("the request corpus is replayed without a finding") {
  CHECK(replay_corpus("request", fuzz_one_request) > 0);
}
