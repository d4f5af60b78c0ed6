#include "session/request_framer.h"

#include <catch2/catch.hpp>
#include <random>

#include "tests/session/resp_reference.h"

using namespace azimuth;
using namespace std::string_literals;

namespace {

struct Framed {
  FrameStatus status;
  std::size_t size;
  std::vector<std::string> args;
  std::string error;
};

Framed frame_block(const std::string& text, const RequestLimits& limits) {
  // A copy of the exact size: a sanitizer sees each byte that is read beyond it.
  const std::vector<char> exact(text.begin(), text.end());
  RequestFrame out;
  ProtocolError error;
  Framed result{
      frame_request(exact.data(), exact.data() + exact.size(), limits, out, error), 0, {}, {}};
  result.size = out.size;
  if (result.status == FrameStatus::kError) {
    result.error = protocol_error_reply(error);
  } else {
    for (std::uint32_t i = 0; i < out.stored; ++i) result.args.emplace_back(out.args[i]);
  }
  return result;
}

struct Cursored {
  FrameStatus status = FrameStatus::kNeedMore;
  std::size_t size = 0;
  std::string error;
};

// One request through a cursor, cut at random; of its bodies, some pieces pass unread.
Cursored follow(const std::string& text, std::mt19937& random, std::size_t piece_max,
                const RequestLimits& limits = kAuthenticatedLimits) {
  RequestCursor cursor;
  Cursored result;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t n = std::min(text.size() - at, 1 + random() % piece_max);
    if (n <= cursor.body_left() && random() % 2 == 0) {
      at += n;
      const bool whole = cursor.skip_body(n);
      result.status = whole ? FrameStatus::kComplete : FrameStatus::kNeedMore;
      if (cursor.size_so_far() != at) FAIL("the cursor lost count at " << at);
      if (whole) break;
      continue;
    }
    const std::vector<char> piece(text.begin() + static_cast<std::ptrdiff_t>(at),
                                  text.begin() + static_cast<std::ptrdiff_t>(at + n));
    const auto fed = cursor.feed(piece.data(), n, limits);
    at += fed.consumed;
    result.status = fed.status;
    // One assertion only where it fails: there are millions of pieces.
    const bool whole = fed.status != FrameStatus::kNeedMore;
    const bool sound = (whole ? fed.consumed <= n : fed.consumed == n) &&
                       cursor.size_so_far() == at && cursor.needed_min() >= at;
    if (!sound) FAIL("the cursor lost count at " << at);
    if (whole) break;
  }
  result.size =
      result.status == FrameStatus::kNeedMore ? cursor.needed_min() : cursor.size_so_far();
  if (result.status == FrameStatus::kError) result.error = protocol_error_reply(cursor.error());
  return result;
}

// Both readers, on several ways to cut the text up, which must not differ.
Framed frame(const std::string& text, const RequestLimits& limits = kAuthenticatedLimits) {
  const Framed framed = frame_block(text, limits);
  std::mt19937 random(1);
  for (const std::size_t piece_max : {1UL, 3UL, 50UL, 1000000UL}) {
    const Cursored followed = follow(text, random, piece_max, limits);
    CHECK(followed.status == framed.status);
    CHECK(followed.error == framed.error);
    if (framed.status != FrameStatus::kError) CHECK(followed.size == framed.size);
  }
  return framed;
}

FrameStatus status_of(reference::Verdict verdict) {
  switch (verdict) {
    case reference::Verdict::kComplete:
      return FrameStatus::kComplete;
    case reference::Verdict::kEmpty:
      return FrameStatus::kEmpty;
    case reference::Verdict::kNeedMore:
      return FrameStatus::kNeedMore;
    case reference::Verdict::kError:
      break;
  }
  return FrameStatus::kError;
}

std::string error_of(const std::string& what) { return "-ERR Protocol error: " + what + "\r\n"; }

}  // namespace

TEST_CASE("a request is found, with its arguments") {
  struct Case {
    std::string text;
    std::size_t size;
    std::vector<std::string> args;
  };
  const std::vector<Case> cases = {
      {"*1\r\n$4\r\nPING\r\n", 14, {"PING"}},
      {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\nMORE", 27, {"SET", "k", "v"}},
      {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", 19, {"GET", ""}},
      {"*2\r\n$4\r\nECHO\r\n$12\r\n$1\r\n*3\r\n+OK\0\r\n"s, 33, {"ECHO", "$1\r\n*3\r\n+OK\0"s}},
      // The byte behind '\r', and the two behind a body, are anything.
      {"*1\rX$4\rYPINGab", 14, {"PING"}},
      {"PING\r\n", 6, {"PING"}},
      {"PING\n", 5, {"PING"}},
      {"  set  k \"a\\x41\\n\\q\" 'it\\'s'\t\r\nGET", 31, {"set", "k", "aA\nq", "it's"}},
      {"get 'a\\\\'b' \"\\\\\" '\\x'\n", 22, {"get", "a\\'b", "\\", "\\x"}},
      {"GET foo\"bar\" x\vy\n", 17, {"GET", "foobar", "x\vy"}},
      {"\"\"\r\n", 4, {""}},
      {"$4\r\n", 4, {"$4"}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const Framed got = frame(c.text);
    CHECK(got.status == FrameStatus::kComplete);
    CHECK(got.size == c.size);
    CHECK(got.args == c.args);
  }
}

TEST_CASE("what asks nothing has no reply") {
  const std::vector<std::pair<std::string, std::size_t>> cases = {
      {"*0\r\n*1\r\n", 4}, {"*-1\r\n", 5}, {"*-9223372036854775808\r\n", 23},
      {"\r\n", 2},         {"\n", 1},      {"  \t \r\n", 6},
      {"*0\rx", 4}};
  for (const auto& [text, size] : cases) {
    CAPTURE(text);
    const Framed got = frame(text);
    CHECK(got.status == FrameStatus::kEmpty);
    CHECK(got.size == size);
  }
}

TEST_CASE("what Redis refuses is refused with its words") {
  const std::string long_digits(65537, '1');
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"*\r\n", "invalid multibulk length"},
      {"*01\r\n", "invalid multibulk length"},
      {"*+1\r\n", "invalid multibulk length"},
      {"*-0\r\n", "invalid multibulk length"},
      {"* 1\r\n", "invalid multibulk length"},
      {"*1 \r\n", "invalid multibulk length"},
      {"*2147483648\r\n", "invalid multibulk length"},
      {"*9223372036854775808\r\n", "invalid multibulk length"},
      {"*-9223372036854775809\r\n", "invalid multibulk length"},
      {"*18446744073709551617\r\n", "invalid multibulk length"},
      {"*1\r\n$-1\r\n", "invalid bulk length"},
      {"*1\r\n$01\r\nx\r\n", "invalid bulk length"},
      {"*1\r\n$\r\n", "invalid bulk length"},
      {"*1\r\n$536870913\r\n", "invalid bulk length"},
      {"*1\r\n$99999999999999999999\r\n", "invalid bulk length"},
      {"*1\r\nX\r\n", "expected '$', got 'X'"},
      {"*1\r\n\r\n", "expected '$', got ' '"},
      {"*1\r\n\n\r\n", "expected '$', got ' '"},
      {"*1\r\n\xff\r\n", "expected '$', got '\xff'"},
      {"*2\r\n$1\r\nab\r\n$1\r\nb\r\n", "expected '$', got ' '"},
      {"GET \"a\r\n", "unbalanced quotes in request"},
      {"GET \"a\"b\r\n", "unbalanced quotes in request"},
      {"GET 'a\\'\r\n", "unbalanced quotes in request"},
      {"\"\\\r\n", "unbalanced quotes in request"},
      {"*" + long_digits, "too big mbulk count string"},
      {"*1\r\n$" + long_digits, "too big bulk count string"},
      {std::string(65537, 'P'), "too big inline request"},
      // A NUL hides the end of a line.
      {"*1\0\r\n"s + long_digits, "too big mbulk count string"},
      {"PING\0\r\n"s + long_digits, "too big inline request"},
  };
  for (const auto& [text, error] : cases) {
    CAPTURE(text.substr(0, 40));
    const Framed got = frame(text);
    CHECK(got.status == FrameStatus::kError);
    CHECK(got.error == error_of(error));
  }
}

TEST_CASE("a line may take 64 KiB") {
  const std::string word(65536, 'P');
  CHECK(frame(word).status == FrameStatus::kNeedMore);
  CHECK(frame(word + "\n").status == FrameStatus::kComplete);
  CHECK(frame(word + "P\n").status == FrameStatus::kError);
  CHECK(frame(word + "\r\n").status == FrameStatus::kComplete);
  CHECK(frame(word + "\r").status == FrameStatus::kNeedMore);
  CHECK(frame(word + "\rP\n").status == FrameStatus::kError);
  CHECK(frame(word + "P\r\n").status == FrameStatus::kError);
  const std::string digits = "*" + std::string(65535, '1');
  CHECK(frame(digits).status == FrameStatus::kNeedMore);
  CHECK(frame(digits + "\r").status == FrameStatus::kNeedMore);
  CHECK(frame(digits + "\r\n").error == error_of("invalid multibulk length"));
  CHECK(frame(digits + "1\r\n").error == error_of("too big mbulk count string"));
}

TEST_CASE("a partial request says how large it will be at least, and what is complete of it") {
  const Framed got = frame("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nabc");
  CHECK(got.status == FrameStatus::kNeedMore);
  CHECK(got.size == 4 + 9 + 7 + 7 + 1002);
  CHECK(got.args == std::vector<std::string>{"SET", "k"});
  CHECK(frame("").status == FrameStatus::kNeedMore);
  CHECK(frame("*3\r\n$3\r\nSE").args.empty());
}

TEST_CASE("before login a request is small") {  // I9
  const auto& limits = kUnauthenticatedLimits;
  CHECK(frame("*10\r\n", limits).status == FrameStatus::kNeedMore);
  CHECK(frame("*11\r\n", limits).error == error_of("unauthenticated multibulk length"));
  CHECK(frame("*2147483648\r\n", limits).error == error_of("invalid multibulk length"));
  CHECK(frame("*1\r\n$16384\r\n", limits).status == FrameStatus::kNeedMore);
  CHECK(frame("*1\r\n$16385\r\n", limits).error == error_of("unauthenticated bulk length"));
  CHECK(frame("*1\r\n$536870913\r\n", limits).error == error_of("invalid bulk length"));
  const std::string body(16385, 'x');
  CHECK(frame("*1\r\n$16385\r\n" + body + "\r\n", limits).status == FrameStatus::kError);
  CHECK(frame("*1\r\n$16385\r\n" + body + "\r\n").status == FrameStatus::kComplete);
}

TEST_CASE("arguments beyond those stored are counted, and collected when asked") {
  std::vector<std::string> words;
  for (int i = 0; i < 1000; ++i) words.push_back("key" + std::to_string(i));
  const std::vector<std::string_view> views(words.begin(), words.end());
  const std::string text = encode_request(views);
  RequestFrame out;
  ProtocolError error;
  REQUIRE(frame_request(text.data(), text.data() + text.size(), kAuthenticatedLimits, out, error) ==
          FrameStatus::kComplete);
  CHECK(out.argc == 1000);
  CHECK(out.stored == kFrameArgsStored);
  CHECK(out.size == text.size());
  std::vector<std::string_view> all;
  collect_args(out, text.data(), all);
  CHECK(all == views);

  const std::string line = "mget a b c d e f g h i j k l m n o p q r s t\r\n";
  REQUIRE(frame_request(line.data(), line.data() + line.size(), kAuthenticatedLimits, out, error) ==
          FrameStatus::kComplete);
  CHECK(out.argc == 21);
  collect_args(out, line.data(), all);
  CHECK(all.size() == 21);
  CHECK(all.back() == "t");
}

TEST_CASE("an inline command is encoded so that it reads the same") {
  const std::string line = "set k \"a\\r\\n$1\"\n";
  RequestFrame out;
  ProtocolError error;
  REQUIRE(frame_request(line.data(), line.data() + line.size(), kAuthenticatedLimits, out, error) ==
          FrameStatus::kComplete);
  CHECK(out.inlined);
  const std::string encoded = encode_request(out.inline_args.args);
  CHECK(encoded == "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$5\r\na\r\n$1\r\n");
  CHECK(frame(encoded).args == std::vector<std::string>{"set", "k", "a\r\n$1"});
}

TEST_CASE("a browser is told apart from a client") {
  for (const char* name : {"post", "POST", "Host:", "hOsT:"}) CHECK(is_cross_protocol(name));
  for (const char* name : {"", "pos", "posts", "host", "get", "p"}) CHECK(!is_cross_protocol(name));
  CHECK(is_cross_protocol("POST\0x"s));
}

TEST_CASE("a cursor goes from request to request and stays at an error") {
  const std::string text = "*1\r\n$4\r\nPING\r\n*0\r\nPING\r\n\r\n*x\r\n";
  RequestCursor cursor;
  const char* p = text.data();
  const char* const end = p + text.size();
  std::vector<std::pair<FrameStatus, std::uint64_t>> got;
  for (int i = 0; i < 5; ++i) {
    const auto fed = cursor.feed(p, static_cast<std::size_t>(end - p), kAuthenticatedLimits);
    p += fed.consumed;
    got.emplace_back(fed.status, cursor.size_so_far());
  }
  CHECK(got == std::vector<std::pair<FrameStatus, std::uint64_t>>{{FrameStatus::kComplete, 14},
                                                                  {FrameStatus::kEmpty, 4},
                                                                  {FrameStatus::kComplete, 6},
                                                                  {FrameStatus::kEmpty, 2},
                                                                  {FrameStatus::kError, 4}});
  CHECK(cursor.feed("PING\r\n", 6, kAuthenticatedLimits).status == FrameStatus::kError);
  cursor.reset();
  CHECK(cursor.feed("PING\r\n", 6, kAuthenticatedLimits).status == FrameStatus::kComplete);
  CHECK(cursor.feed("", 0, kAuthenticatedLimits).status == FrameStatus::kNeedMore);
  CHECK(cursor.at_start());
}

TEST_CASE("a cursor passes over a large body without looking") {
  RequestCursor cursor;
  const std::string head = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n";
  CHECK(cursor.feed(head.data(), head.size(), kAuthenticatedLimits).status ==
        FrameStatus::kNeedMore);
  CHECK(cursor.body_left() == 536870914);
  CHECK(cursor.needed_min() == head.size() + 536870914);
  const std::string chunk(1 << 20, '\0');
  for (int i = 0; i < 512; ++i) {
    REQUIRE(cursor.feed(chunk.data(), chunk.size(), kAuthenticatedLimits).status ==
            FrameStatus::kNeedMore);
  }
  const auto fed = cursor.feed("\r\nX", 3, kAuthenticatedLimits);
  CHECK(fed.status == FrameStatus::kComplete);
  CHECK(fed.consumed == 2);
}

namespace {

// Mostly requests, mostly sound, with the bytes that matter to a parser strewn in.
std::string random_request(std::mt19937& random) {
  static const std::vector<std::string> scraps = {
      "*",     "$",    "\r\n", "\r",          "\n", "\0"s,  "\"",     "'",      "\\",      "\\x4",
      "\\x41", " ",    "\v",   "-1",          "0",  "01",   "1",      "3",      "10",      "11",
      "GET",   "x",    "\t",   "99999999999", "-",  "PING", "*1\r\n", "$4\r\n", "*-1\r\n", "16385",
      "\f",    "\xff", "+"};
  std::string text;
  const auto pick = [&](std::size_t n) { return random() % n; };
  if (pick(4) == 0) {
    for (std::size_t n = pick(12) + 1; n > 0; --n) text += scraps[pick(scraps.size())];
    if (pick(2) == 0) text += "\r\n";
  } else {
    const std::size_t argc = pick(20) == 0 ? pick(40) : pick(5);
    text = "*" + std::to_string(argc) + "\r\n";
    for (std::size_t i = 0; i < argc; ++i) {
      std::string body;
      for (std::size_t n = pick(4); n > 0; --n) body += scraps[pick(scraps.size())];
      if (pick(50) == 0) body += std::string(pick(70000), 'b');
      text += "$" + std::to_string(body.size()) + "\r\n" + body + "\r\n";
    }
  }
  for (std::size_t n = pick(3) == 0 ? pick(3) : 0; n > 0 && !text.empty(); --n) {
    const std::size_t at = pick(std::min<std::size_t>(text.size(), 40));
    switch (pick(3)) {
      case 0:
        text.erase(at, 1);
        break;
      case 1:
        text.insert(at, scraps[pick(scraps.size())]);
        break;
      default:
        text[at] = static_cast<char>(random());
        break;
    }
  }
  if (pick(4) == 0) text.resize(pick(text.size() + 1));
  if (pick(300) == 0) text += std::string(66000, pick(2) == 0 ? '1' : 'q');
  return text;
}

}  // namespace

TEST_CASE("framer, cursor and reference read every request alike, however it is cut up") {
  const unsigned seed = 20260101;
  std::mt19937 random(seed);
  for (int round = 0; round < 60000; ++round) {
    const std::string text = random_request(random);
    const bool login = random() % 4 != 0;
    const RequestLimits& limits = login ? kAuthenticatedLimits : kUnauthenticatedLimits;
    const auto expected =
        reference::read_request(text, login ? reference::Limits{} : reference::Limits{10, 16384});
    const Framed framed = frame_block(text, limits);
    const Cursored followed = follow(text, random, round % 3 == 0 ? 1 : 1 + random() % 200, limits);
    INFO("seed " << seed << " round " << round << ": " << text.substr(0, 200));
    REQUIRE(framed.status == status_of(expected.verdict));
    REQUIRE(followed.status == framed.status);
    if (framed.status == FrameStatus::kError) {
      REQUIRE(framed.error == error_of(expected.error));
      REQUIRE(followed.error == framed.error);
      continue;
    }
    REQUIRE(followed.size == framed.size);
    if (framed.status == FrameStatus::kNeedMore) continue;
    REQUIRE(framed.size == expected.size);
    const std::size_t stored = std::min<std::size_t>(expected.args.size(), kFrameArgsStored);
    REQUIRE(framed.args ==
            std::vector<std::string>(expected.args.begin(),
                                     expected.args.begin() + static_cast<std::ptrdiff_t>(stored)));
  }
}
