#include "session/pubsub.h"

#include <catch2/catch.hpp>
#include <string>

#include "session/reply_framer.h"
#include "session/reply_writer.h"

using namespace azimuth;

namespace {

std::string frame(int protocol, const std::string& word, const std::string& channel, int count) {
  std::string out;
  append_push(out, protocol, 3);
  append_bulk(out, word);
  if (channel.empty()) {
    append_null(out, protocol);
  } else {
    append_bulk(out, channel);
  }
  append_integer(out, count);
  return out;
}

// The frames of a connection's bytes, told to the tracker; the number of requests they complete.
int receive(PubsubTracker& tracker, const std::string& bytes, int protocol) {
  ReplyReader reader(bytes);
  int completed = 0;
  while (!reader.at_end()) {
    const std::string_view before = reader.rest();
    REQUIRE(reader.skip());
    const std::string_view one = before.substr(0, before.size() - reader.rest().size());
    completed += tracker.received(classify_pubsub(one, protocol)) ? 1 : 0;
  }
  return completed;
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
  CHECK(got.subscribes);
  CHECK(got.channel == "news.*");
  CHECK(got.count == 3);
  const std::string unsubscribed = frame(3, "sunsubscribe", "", 0);
  got = classify_pubsub(unsubscribed, 3);
  CHECK(got.family == PubsubFamily::kShard);
  CHECK(!got.subscribes);
  CHECK(got.no_channel);
}

TEST_CASE("a subscribed connection is followed as Redis answers it") {
  for (const int protocol : {2, 3}) {
    CAPTURE(protocol);
    PubsubTracker tracker;
    const auto answer = [&](const std::string& word, const std::string& channel, int count) {
      return receive(tracker, frame(protocol, word, channel, count), protocol);
    };
    tracker.sent_subscribe(PubsubFamily::kChannel, 3);
    tracker.sent_subscribe(PubsubFamily::kPattern, 1);
    tracker.sent_subscribe(PubsubFamily::kShard, 1);
    tracker.sent_ordinary();
    CHECK(tracker.outstanding() == 4);
    CHECK(tracker.ordinary_outstanding() == 1);
    CHECK(!tracker.subscribed());

    CHECK(answer("subscribe", "a", 1) == 0);
    CHECK(tracker.subscribed());
    CHECK(answer("message", "a", 0) == 0);
    CHECK(answer("subscribe", "b", 2) == 0);
    CHECK(answer("subscribe", "a", 2) == 1);  // already there: no more than before
    CHECK(answer("psubscribe", "p", 3) == 1);
    CHECK(answer("ssubscribe", "s", 1) == 1);
    CHECK(tracker.channels() == 2);
    CHECK(tracker.patterns() == 1);
    CHECK(tracker.shard_channels() == 1);
    CHECK(receive(tracker, "+PONG\r\n", protocol) == 1);
    CHECK(tracker.outstanding() == 0);

    tracker.sent_unsubscribe(PubsubFamily::kChannel, 0);  // all: two of them
    tracker.sent_unsubscribe(PubsubFamily::kChannel, 0);  // none are left: one answer all the same
    tracker.sent_unsubscribe(PubsubFamily::kChannel, 2);
    tracker.sent_unsubscribe(PubsubFamily::kPattern, 0);
    CHECK(answer("unsubscribe", "b", 2) == 0);
    CHECK(answer("unsubscribe", "a", 1) == 1);
    CHECK(answer("unsubscribe", "", 1) == 1);
    CHECK(answer("unsubscribe", "x", 1) == 0);
    CHECK(answer("unsubscribe", "y", 1) == 1);
    CHECK(answer("punsubscribe", "p", 0) == 1);
    CHECK(tracker.subscribed());
    CHECK(!tracker.quiet());
    CHECK(answer("sunsubscribe", "s", 0) == 0);  // the server's own doing
    CHECK(tracker.quiet());
  }
}

TEST_CASE("a subscription that is refused is answered by its error") {
  PubsubTracker tracker;
  tracker.sent_subscribe(PubsubFamily::kChannel, 2);
  tracker.sent_ordinary();
  CHECK(receive(tracker, "-NOPERM this user has no permissions\r\n+OK\r\n", 2) == 2);
  CHECK(tracker.quiet());
}

TEST_CASE("a long pipeline of requests leaves nothing behind") {
  PubsubTracker tracker;
  for (int round = 0; round < 2000; ++round) {
    tracker.sent_ordinary();
    tracker.sent_ordinary();
    CHECK(receive(tracker, "+PONG\r\n", 2) == 1);
  }
  CHECK(tracker.ordinary_outstanding() == 2000);
  std::string rest;
  for (int i = 0; i < 2000; ++i) rest += "+PONG\r\n";
  CHECK(receive(tracker, rest, 2) == 2000);
  CHECK(tracker.quiet());
}
