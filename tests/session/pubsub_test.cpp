#include "session/pubsub.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "session/reply_writer.h"

using namespace azimuth;

namespace {

std::string frame(int protocol, const std::string& word, const std::string& channel, int count) {
  std::string out;
  out += protocol == 3 ? ">3\r\n" : "*3\r\n";
  append_bulk(out, word);
  if (channel.empty()) {
    append_null(out, protocol);
  } else {
    append_bulk(out, channel);
  }
  append_integer(out, count);
  return out;
}

}  // namespace

TEST_CASE("frames are told apart, from a few bytes, in both protocols") {
  struct Case {
    std::string body;  // behind the type byte
    PubsubKind kind;   // as an array on a subscribed RESP2 connection, and as a push
  };
  const std::vector<Case> cases = {
      {"3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", PubsubKind::kMessage},
      {"4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$1\r\nx\r\n", PubsubKind::kMessage},
      {"3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", PubsubKind::kMessage},
      {"2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", PubsubKind::kMessage},
      {"3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", PubsubKind::kConfirmation},
      {"3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n", PubsubKind::kConfirmation},
      {"3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n", PubsubKind::kConfirmation},
  };
  for (const Case& c : cases) {
    for (const int protocol : {2, 3}) {
      const std::string text = (protocol == 2 ? "*" : ">") + c.body;
      CAPTURE(text, protocol);
      bool decided = false;
      for (std::size_t n = 0; n <= text.size(); ++n) {
        const PubsubPeek peek = peek_pubsub(text.data(), text.data() + n, protocol);
        if (peek.undecided) {
          CHECK(!decided);
          CHECK(n < 30);
        } else {
          decided = true;
          CHECK(peek.kind == c.kind);
        }
      }
      CHECK(decided);
    }
    // In RESP3 an array is a reply, whatever it holds.
    const std::string array = "*" + c.body;
    CHECK(peek_pubsub(array.data(), array.data() + array.size(), 3).kind == PubsubKind::kReply);
  }
  for (const std::string text :
       {"+OK\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "$7\r\nmessage\r\n", "-ERR x\r\n", "*0\r\n",
        "*2\r\n$7\r\nmessage\r\n:1\r\n", "*3\r\n:1\r\n:2\r\n:3\r\n", "*-1\r\n"}) {
    CAPTURE(text);
    const PubsubPeek peek = peek_pubsub(text.data(), text.data() + text.size(), 2);
    CHECK(!peek.undecided);
    CHECK(peek.kind == PubsubKind::kReply);
  }
  const std::string odd = ">1\r\n+something\r\n";
  CHECK(peek_pubsub(odd.data(), odd.data() + odd.size(), 3).kind == PubsubKind::kMessage);
}

TEST_CASE("a confirmation says what it is about") {
  const std::string subscribed = frame(2, "psubscribe", "news.*", 3);
  PubsubFrame got = classify_pubsub(subscribed, 2);
  CHECK(got.kind == PubsubKind::kConfirmation);
  CHECK(got.family == PubsubFamily::kPattern);
  CHECK(got.count == 3);
  const std::string unsubscribed = frame(3, "sunsubscribe", "", 2);
  got = classify_pubsub(unsubscribed, 3);
  CHECK(got.family == PubsubFamily::kShard);
  CHECK(got.count == 2);
}
