// Replays the fuzzer's corpus through the very code that the fuzzer runs.
#define LLVMFuzzerTestOneInput fuzz_one_reply
#include <catch2/catch.hpp>

#include "tests/fuzz/reply_fuzz.cpp"
#include "tests/session/corpus.h"

TEST_CASE("the reply corpus is replayed without a finding") {
  CHECK(replay_corpus("reply", fuzz_one_reply) > 0);
}
