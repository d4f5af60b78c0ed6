#include "proxy/data/token.h"

#include <catch2/catch.hpp>

using namespace azimuth;

namespace {

const std::string kText = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

Tokens tokens_of(const std::string& cluster) {
  return Tokens(parse_cluster_key(kText)->token, cluster);
}

}  // namespace

TEST_CASE("a token says a position, to its own cluster") {
  const Tokens tokens = tokens_of("orders");
  for (const Position position :
       {Position{0, 0}, Position{7, 123456789}, Position{1, UINT64_MAX}}) {
    const std::string token = tokens.make(position);
    CHECK(token.size() == 42);
    REQUIRE(tokens.read(token).ok());
    CHECK(*tokens.read(token) == position);
    CHECK_FALSE(tokens_of("payments").read(token).ok());
    CHECK_FALSE(Tokens().read(token).ok());
  }
}

TEST_CASE("I9: a token that was altered, cut short or made up is none") {
  const Tokens tokens = tokens_of("orders");
  const std::string token = tokens.make({7, 99});
  for (size_t i = 0; i < token.size(); ++i) {
    std::string altered = token;
    altered[i] = altered[i] == 'A' ? 'B' : 'A';
    // (Of the last character four bits count.)
    if (i + 1 == token.size()) altered[i] = token[i] == 'A' ? 'Q' : 'A';
    INFO(altered);
    CHECK_FALSE(tokens.read(altered).ok());
    CHECK_FALSE(tokens.read(token.substr(0, i)).ok());
  }
  CHECK_FALSE(tokens.read(token + "A").ok());
  CHECK_FALSE(tokens.read(std::string(42, '\0')).ok());
  CHECK_FALSE(tokens.read("az1." + std::string(38, '=')).ok());
}
