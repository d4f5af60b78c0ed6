// The small value types that all rooms share.
#include <catch2/catch.hpp>
#include <limits>
#include <string>
#include <vector>

#include "conf/consistency.h"
#include "conf/instant.h"
#include "conf/nearest.h"
#include "conf/position.h"
#include "conf/quoted.h"
#include "conf/result.h"

namespace azimuth {
namespace {

TEST_CASE("positions order by epoch, then by offset") {
  CHECK(Position{1, 100} < Position{2, 1});
  CHECK(Position{2, 1} < Position{2, 2});
  CHECK(Position{2, 2} == Position{2, 2});
  CHECK(Position{} <= Position{0, 0});
}

TEST_CASE("time saturates: never stays never") {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  CHECK(Instant{5} + milliseconds(10) == Instant{15});
  CHECK(Instant{5} - Instant{15} == milliseconds(-10));
  CHECK(seconds(2) == milliseconds(2000));
  CHECK(kNever + milliseconds(1) == kNever);
  CHECK(kNever - milliseconds(1) == kNever);
  CHECK(Instant{kMost - 1} + milliseconds(10) == kNever);
  CHECK(Instant{-2} - kNever == Duration{std::numeric_limits<std::int64_t>::min()});
  CHECK(earlier_of(kNever, Instant{1}) == Instant{1});
  CHECK(later_of(kNever, Instant{1}) == kNever);
  CHECK(ms_until(Instant{15}, Instant{5}) == 10);
  CHECK(ms_until(Instant{5}, Instant{15}) == 0);
}

TEST_CASE("levels have names that read back") {
  for (const std::string_view name : kConsistencyNames) {
    REQUIRE(parse_consistency(name));
    CHECK(to_string(*parse_consistency(name)) == name);
  }
  for (const std::string_view name : kDurabilityNames) {
    REQUIRE(parse_durability(name));
    CHECK(to_string(*parse_durability(name)) == name);
  }
  for (const std::string_view name : kSessionScopeNames) {
    REQUIRE(parse_session_scope(name));
    CHECK(to_string(*parse_session_scope(name)) == name);
  }
  CHECK(parse_consistency("causal") == Consistency::kCausal);
  CHECK(parse_consistency("read-my-writes") == Consistency::kReadMyWrites);
  CHECK_FALSE(parse_consistency("CAUSAL"));
  CHECK_FALSE(parse_consistency(""));
  CHECK_FALSE(parse_durability("sync"));
}

TEST_CASE("a result holds its value or its error") {
  const Result<std::string> value = std::string("v");
  REQUIRE(value.ok());
  CHECK(*value == "v");
  const Result<std::string> none = make_error(ErrorCode::kTimeout, Fault::kRedis, "too late");
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().fault == Fault::kRedis);
  CHECK(none.error().message == "too late");
  CHECK(none.value_or("otherwise") == "otherwise");
  Result<std::vector<int>> moved = std::vector<int>{1, 2};
  CHECK(std::move(moved).value().size() == 2);
  CHECK(Outcome(Done{}).ok());
}

TEST_CASE("text is quoted as TOML, whatever is in it") {
  CHECK(quoted("a") == "\"a\"");
  CHECK(quoted("a\"b\\c") == "\"a\\\"b\\\\c\"");
  CHECK(quoted("a\r\n\tb") == "\"a\\r\\n\\tb\"");
  CHECK(quoted(std::string_view("\0\x1f\x7f", 3)) == "\"\\u0000\\u001F\\u007F\"");
  CHECK(quoted("abcdef", 3) == "\"abc...\"");
  CHECK(quoted("ab\xC3\xA9z", 3) == "\"ab...\"");  // not half of a character
  CHECK(quoted_in_error(std::string(1000, 'x')).size() < 120);
}

TEST_CASE("a misspelt word finds the one that was meant") {
  const std::vector<std::string_view> words = {"address", "username", "password",
                                               "connect_timeout_ms"};
  CHECK(nearest("adress", words) == "address");
  CHECK(nearest("Address", words) == "address");
  CHECK(nearest("user_name", words) == "username");
  CHECK(nearest("pass", words) == "password");
  CHECK(nearest("timeout_ms", words) == "connect_timeout_ms");
  CHECK(nearest("connect-timeout-ms", words) == "connect_timeout_ms");
  CHECK(nearest("tls", words).empty());
  CHECK(nearest("", words).empty());
  CHECK(nearest(std::string(1000, 'a'), words).empty());
}

}  // namespace
}  // namespace azimuth
