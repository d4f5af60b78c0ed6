// The fuzzer's corpus, replayed by every build: what once was found stays fixed.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "../fuzz/settings_fuzz.cpp"  // NOLINT: the target itself, without the fuzzer around it

TEST_CASE("the corpus of settings passes the fuzz target") {
  const std::filesystem::path corpus = AZIMUTH_SOURCE_DIR "/tests/fuzz/corpus/settings";
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(corpus)) {
    INFO(entry.path().filename());
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    // The target aborts on what must not be.
    CHECK(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                 bytes.size()) == 0);
    ++count;
  }
  CHECK(count > 10);
}
