#include "session/reply_writer.h"

#include <catch2/catch.hpp>
#include <functional>

#include "session/reply_framer.h"
#include "session/strict_integer.h"
#include "session/words.h"

using namespace azimuth;

TEST_CASE("values are written as Redis writes them in both protocols") {
  struct Case {
    std::function<void(std::string&, int)> write;
    std::string resp2;
    std::string resp3;
  };
  const std::vector<Case> cases = {
      {[](auto& o, int) { append_simple(o, "OK"); }, "+OK\r\n", "+OK\r\n"},
      {[](auto& o, int) { append_error(o, "ERR a\r\nb"); }, "-ERR a  b\r\n", "-ERR a  b\r\n"},
      {[](auto& o, int) { append_integer(o, INT64_MIN); }, ":-9223372036854775808\r\n",
       ":-9223372036854775808\r\n"},
      {[](auto& o, int) { append_bulk(o, "a\r\n"); }, "$3\r\na\r\n\r\n", "$3\r\na\r\n\r\n"},
      {[](auto& o, int p) { append_null(o, p); }, "$-1\r\n", "_\r\n"},
      {[](auto& o, int) { append_array(o, 0); }, "*0\r\n", "*0\r\n"},
      {[](auto& o, int p) { append_map(o, p, 0); }, "*0\r\n", "%0\r\n"},
      {[](auto& o, int p) { append_verbatim(o, p, "txt", "ab"); }, "$2\r\nab\r\n",
       "=6\r\ntxt:ab\r\n"},
  };
  for (const Case& c : cases) {
    std::string two;
    std::string three;
    c.write(two, 2);
    c.write(three, 3);
    CHECK(two == c.resp2);
    CHECK(three == c.resp3);
    // What is written is one reply for those who read it.
    for (const std::string& text : {two, three}) {
      ReplyReader reader(text);
      CHECK(reader.skip());
      CHECK(reader.at_end());
    }
  }
  std::string map;
  append_map(map, 2, 3);
  append_map(map, 3, 3);
  CHECK(map == "*6\r\n%3\r\n");
}

TEST_CASE("integers are read as strictly as Redis reads them") {
  const std::vector<std::pair<std::string, std::optional<std::int64_t>>> cases = {
      {"0", 0},
      {"7", 7},
      {"-7", -7},
      {"9223372036854775807", INT64_MAX},
      {"9223372036854775808", std::nullopt},
      {"-9223372036854775808", INT64_MIN},
      {"-9223372036854775809", std::nullopt},
      {"18446744073709551616", std::nullopt},
      {"92233720368547758070", std::nullopt},
      {"", std::nullopt},
      {"-", std::nullopt},
      {"-0", std::nullopt},
      {"+1", std::nullopt},
      {"00", std::nullopt},
      {"01", std::nullopt},
      {" 1", std::nullopt},
      {"1 ", std::nullopt},
      {"1a", std::nullopt},
      {std::string("1\0", 2), std::nullopt},
  };
  for (const auto& [text, value] : cases) {
    CAPTURE(text);
    CHECK(parse_integer(text) == value);
  }
}

TEST_CASE("options are compared, and errors written, as C strings") {
  CHECK(same_word("SetName", "setname"));
  CHECK(same_word(std::string("auth\0x", 6), "auth"));
  CHECK(!same_word("auth", "aut"));
  CHECK(error_line("a\r\nb\r\n") == "-ERR a  b\r\n");
  CHECK(error_line("-NOPROTO x") == "-NOPROTO x\r\n");
}
