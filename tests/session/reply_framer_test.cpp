#include "session/reply_framer.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

#include "tests/session/resp_reference.h"

using namespace azimuth;
using namespace std::string_literals;

namespace {

struct Skipped {
  bool done = false;
  bool failed = false;
  std::size_t size = 0;
  char type = 0;
};

Skipped skip_pieces(const std::string& text, std::mt19937& random, std::size_t piece_max) {
  ReplyCursor cursor;
  Skipped result;
  while (result.size < text.size() && !result.done && !cursor.failed()) {
    const std::size_t n = std::min(text.size() - result.size, 1 + random() % piece_max);
    if (n <= cursor.body_left() && random() % 2 == 0) {  // of a body, some pieces pass unread
      result.size += n;
      result.done = cursor.skip_body(n);
      continue;
    }
    const auto from = text.begin() + static_cast<std::ptrdiff_t>(result.size);
    const std::vector<char> piece(from, from + static_cast<std::ptrdiff_t>(n));
    result.size += cursor.feed(piece.data(), n, result.done);
  }
  result.failed = cursor.failed();
  result.type = cursor.type();
  if (result.done) CHECK(cursor.at_start());
  return result;
}

std::size_t quick(const std::string& text) {
  const std::vector<char> exact(text.begin(), text.end());
  return ReplyCursor::quick(exact.data(), exact.data() + exact.size());
}

}  // namespace

TEST_CASE("one reply is skipped, whatever it is made of and however it is cut up") {
  struct Case {
    std::string text;
    char type;
  };
  const std::vector<Case> cases = {
      {"+OK\r\n", '+'},
      {"+\r\n", '+'},
      {"-ERR no\r\n", '-'},
      {":-12\r\n", ':'},
      {"$5\r\nhello\r\n", '$'},
      {"$0\r\n\r\n", '$'},
      {"$-1\r\n", '$'},
      {"$12\r\n$3\r\n*9\r\n\r\n\r\r\r\n", '$'},
      {"*-1\r\n", '*'},
      {"*0\r\n", '*'},
      {"*3\r\n$1\r\na\r\n:1\r\n*2\r\n+x\r\n$-1\r\n", '*'},
      {"_\r\n", '_'},
      {"#t\r\n", '#'},
      {",1.5\r\n", ','},
      {",inf\r\n", ','},
      {"(3492890328409238509324850943850943825024385\r\n", '('},
      {"=15\r\ntxt:Some string\r\n", '='},
      {"!21\r\nSYNTAX invalid syntax\r\n", '!'},
      {"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n%1\r\n:1\r\n:2\r\n", '%'},
      {"~2\r\n+a\r\n+b\r\n", '~'},
      {">2\r\n+message\r\n+x\r\n", '>'},
      {"|1\r\n+ttl\r\n:5\r\n*2\r\n:1\r\n|1\r\n+k\r\n*1\r\n:1\r\n:2\r\n", '*'},
      {"|0\r\n|1\r\n*0\r\n*1\r\n*0\r\n+OK\r\n", '+'},
      {"+a\rb\r\r\n", '+'},  // only "\r\n" ends a line
      {"+" + std::string(100000, 'x') + "\r\n", '+'},
  };
  std::mt19937 random(7);
  for (const Case& c : cases) {
    CAPTURE(c.text.substr(0, 60));
    for (const std::size_t piece : {1UL, 2UL, 3UL, 7UL, 1000000UL}) {
      const Skipped got = skip_pieces(c.text + "+NEXT\r\n", random, piece);
      CHECK(got.done);
      CHECK(got.size == c.text.size());
      CHECK(got.type == c.type);
    }
    // Less than the whole is never enough.
    if (c.text.size() < 1000) {
      for (std::size_t n = 0; n < c.text.size(); ++n) {
        CHECK(!skip_pieces(c.text.substr(0, n), random, 100).done);
        CHECK(quick(c.text.substr(0, n)) == 0);
      }
    }
  }
}

TEST_CASE("the quick path takes lines and bulks, whole ones") {
  for (const std::string text : {"+OK\r\n", ":1000\r\n", "-ERR x\r\n", "$3\r\nabc\r\n", "$-1\r\n",
                                 "_\r\n", "$10\r\n0123456789\r\n", "+a long enough status\r\n"}) {
    CAPTURE(text);
    CHECK(quick(text) == text.size());
    CHECK(quick(text + "$1\r\n") == text.size());
  }
  CHECK(quick("") == 0);
  CHECK(quick("*0\r\n") == 0);
  CHECK(quick("%0\r\n") == 0);
  CHECK(quick("$01\r\na\r\n") == 0);
  CHECK(quick("$1\rXa\r\n") == 0);
  CHECK(quick("$99999999999999999999\r\n") == 0);
  CHECK(quick("hello\r\n") == 0);
}

TEST_CASE("what is no RESP is an error") {
  std::mt19937 random(3);
  for (const std::string text :
       {"HTTP/1.1 200 OK\r\n", "\r\n", "$x\r\n", "$-2\r\n", "*-2\r\n", "%-1\r\n", "$1x\r\n",
        "$\r\n", "*\r\n", "$01\r\n", "$?\r\n", "*1\rx", "$9223372036854775808\r\n",
        "*1099511627777\r\n", "*1\r\n*1\r\nhello\r\n", "@1\r\n"}) {
    CAPTURE(text);
    const Skipped got = skip_pieces(text, random, 3);
    CHECK(got.failed);
    CHECK(!got.done);
  }
}

TEST_CASE("hostile nesting takes no memory and no stack, and its counts are bounded") {  // I8
  ReplyCursor cursor;
  bool done = false;
  const std::string deep = "*1\r\n";
  for (int i = 0; i < 1000000; ++i) {
    if (cursor.feed(deep.data(), deep.size(), done) != deep.size() || done) FAIL("at level " << i);
  }
  cursor.feed(":1\r\n", 4, done);
  CHECK(done);

  cursor.reset();
  const std::string wide = "%1099511627776\r\n";
  std::uint64_t rounds = 0;
  for (; !cursor.failed() && rounds < 10'000'000; ++rounds) {
    cursor.feed(wide.data(), wide.size(), done);
    if (done) FAIL("at level " << rounds);
  }
  CHECK(cursor.failed());
}

TEST_CASE("the cursor tells a push from a reply") {
  ReplyCursor cursor;
  bool done = false;
  CHECK(cursor.at_start());
  const std::string text = ">2\r\n$7\r\nmessage\r\n:1\r\n*1\r\n>1\r\n:1\r\n";
  std::size_t n = cursor.feed(text.data(), text.size(), done);
  CHECK(done);
  CHECK(cursor.is_push());
  cursor.feed(text.data() + n, text.size() - n, done);
  CHECK(done);
  CHECK(!cursor.is_push());
  CHECK(cursor.type() == '*');
}

TEST_CASE("a large body passes without a look") {
  ReplyCursor cursor;
  bool done = false;
  CHECK(cursor.feed("$536870912\r\nabc", 15, done) == 15);
  CHECK(cursor.body_left() == 536870914 - 3);
  CHECK(!cursor.at_start());
}

namespace {

std::string random_reply(std::mt19937& random, int depth) {
  const auto pick = [&](std::size_t n) { return random() % n; };
  const auto word = [&] {
    std::string text;
    for (std::size_t n = pick(12); n > 0; --n) text += "ab\r+$*0 "[pick(8)];
    return text;
  };
  switch (pick(depth > 0 ? 14 : 8)) {
    case 0:
      return "+" + word() + "\r\n";
    case 1:
      return "-" + word() + "\r\n";
    case 2:
      return ":" + std::to_string(static_cast<int>(random())) + "\r\n";
    case 3:
      return "_\r\n";
    case 4:
      return pick(2) == 0 ? "$-1\r\n" : "*-1\r\n";
    case 5:
    case 6:
    case 7: {
      std::string body = word() + "\n\r\n";
      body.resize(pick(body.size() + 1));
      if (pick(100) == 0) body += std::string(pick(5000), '\r');
      return std::string(1, "$$=!"[pick(4)]) + std::to_string(body.size()) + "\r\n" + body + "\r\n";
    }
    default: {
      const char type = "***%~>|"[pick(7)];
      const std::size_t n = pick(5);
      std::size_t children = type == '%' || type == '|' ? 2 * n : n;
      if (type == '|') ++children;
      std::string text = std::string(1, type) + std::to_string(n) + "\r\n";
      for (; children > 0; --children) text += random_reply(random, depth - 1);
      return text;
    }
  }
}

}  // namespace

TEST_CASE("cursor, quick path and reference read every reply alike, however it is cut up") {
  const unsigned seed = 20260102;
  std::mt19937 random(seed);
  for (int round = 0; round < 60000; ++round) {
    std::string text = random_reply(random, 4);
    if (random() % 3 == 0 && !text.empty()) {
      text[random() % std::min<std::size_t>(text.size(), 30)] = "0123-\r\n$*%x"[random() % 12];
    }
    if (random() % 4 == 0) text.resize(random() % (text.size() + 1));
    INFO("seed " << seed << " round " << round << ": " << text.substr(0, 200));
    const auto expected = reference::read_reply(text);
    const Skipped got = skip_pieces(text, random, round % 3 == 0 ? 1 : 1 + random() % 50);
    REQUIRE(got.done == (expected.verdict == reference::Verdict::kComplete));
    REQUIRE(got.failed == (expected.verdict == reference::Verdict::kError));
    if (got.done) {
      REQUIRE(got.size == expected.size);
      REQUIRE(got.type == expected.type);
    }
    const std::size_t fast = quick(text);
    if (fast != 0) {
      REQUIRE(got.done);
      REQUIRE(fast == got.size);
    }
  }
}

TEST_CASE("a complete reply is walked") {
  const std::string text =
      "|1\r\n+x\r\n:1\r\n%2\r\n$4\r\nname\r\n=8\r\ntxt:abcd\r\n+list\r\n*3\r\n:-7\r\n_\r\n#t\r\n";
  ReplyReader reader(text);
  ReplyElement e;
  REQUIRE(reader.next(e));
  CHECK(e.type == '%');
  CHECK(e.is_aggregate());
  CHECK(e.children == 4);
  REQUIRE(reader.next(e));
  CHECK(e.text == "name");
  REQUIRE(reader.next(e));
  CHECK(e.text == "abcd");
  REQUIRE(reader.skip());
  const std::string_view rest = reader.rest();
  REQUIRE(reader.next(e));
  CHECK(e.children == 3);
  REQUIRE(reader.next(e));
  CHECK(e.integer == -7);
  REQUIRE(reader.next(e));
  CHECK(e.null);
  REQUIRE(reader.next(e));
  CHECK(e.integer == 1);
  CHECK(reader.at_end());
  CHECK(!reader.next(e));
  ReplyReader again(rest);
  CHECK(again.skip());
  CHECK(again.at_end());

  ReplyReader error("-ERR a b\r\n");
  REQUIRE(error.next(e));
  CHECK(e.is_error());
  CHECK(e.text == "ERR a b");
  for (const std::string bad : {"", "*1\r\n", "$5\r\nabc\r\n", "x\r\n", "|5\r\n+a\r\n"}) {
    ReplyReader broken(bad);
    CHECK((!broken.next(e) || !broken.next(e)));
  }
}
