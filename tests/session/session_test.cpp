#include "session/session.h"

#include <catch2/catch.hpp>

#include "session/reply_writer.h"

using namespace azimuth;

namespace {

struct Step {
  SessionVerb verb;
  std::string reply;
  bool in_multi;
  bool watching;
  std::uint32_t commands;
};

}  // namespace

TEST_CASE("a transaction follows the replies of Redis") {
  const std::string wrong_exec =
      "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' "
      "command\r\n";
  const std::vector<std::vector<Step>> stories = {
      {{SessionVerb::kMulti, "+OK\r\n", true, false, 0},
       {SessionVerb::kOther, "+QUEUED\r\n", true, false, 1},
       {SessionVerb::kMulti, "-ERR MULTI calls can not be nested\r\n", true, false, 1},
       {SessionVerb::kWatch, "-ERR WATCH inside MULTI is not allowed\r\n", true, false, 1},
       {SessionVerb::kOther, "-ERR unknown command 'x'\r\n", true, false, 1},
       {SessionVerb::kUnwatch, "+QUEUED\r\n", true, false, 2},
       {SessionVerb::kExec, "*2\r\n", false, false, 0}},
      {{SessionVerb::kWatch, "+OK\r\n", false, true, 0},
       {SessionVerb::kExec, "-ERR EXEC without MULTI\r\n", false, true, 0},
       {SessionVerb::kDiscard, "-ERR DISCARD without MULTI\r\n", false, true, 0},
       {SessionVerb::kMulti, "+OK\r\n", true, true, 0},
       {SessionVerb::kExec, "*-1\r\n", false, false, 0}},
      {{SessionVerb::kWatch, "+OK\r\n", false, true, 0},
       {SessionVerb::kUnwatch, "+OK\r\n", false, false, 0}},
      {{SessionVerb::kMulti, "+OK\r\n", true, false, 0},
       {SessionVerb::kDiscard, "-ERR wrong number of arguments for 'discard' command\r\n", true,
        false, 0},
       {SessionVerb::kDiscard, "+OK\r\n", false, false, 0}},
      // Whatever else EXEC answers, the transaction is over, and so is WATCH.
      {{SessionVerb::kMulti, "+OK\r\n", true, false, 0},
       {SessionVerb::kExec, wrong_exec, false, false, 0}},
      {{SessionVerb::kWatch, "+OK\r\n", false, true, 0},
       {SessionVerb::kExec, wrong_exec, false, false, 0}},
      {{SessionVerb::kMulti, "+OK\r\n", true, false, 0},
       {SessionVerb::kExec, "_\r\n", false, false, 0}},
  };
  for (std::size_t story = 0; story < stories.size(); ++story) {
    Session session;
    for (const Step& step : stories[story]) {
      apply_reply(session, step.verb, step.reply);
      CAPTURE(story, step.reply);
      CHECK(session.in_multi == step.in_multi);
      CHECK(session.watching == step.watching);
      CHECK(session.multi_commands == step.commands);
    }
  }
}

TEST_CASE("a SELECT inside MULTI takes effect at EXEC, and only where it succeeded") {
  Session session;
  apply_select(session, 5, "+OK\r\n");
  CHECK(session.db == 5);
  apply_select(session, 99, "-ERR DB index is out of range\r\n");
  CHECK(session.db == 5);

  apply_reply(session, SessionVerb::kMulti, "+OK\r\n");
  apply_reply(session, SessionVerb::kOther, kQueuedReply);
  apply_select(session, 3, kQueuedReply);
  apply_select(session, 99, kQueuedReply);
  CHECK(session.db == 5);
  CHECK(session.multi_commands == 3);
  CHECK(has_queued_selects(session));
  CHECK(db_after_exec(session, "*3\r\n*1\r\n:1\r\n+OK\r\n-ERR DB index is out of range\r\n") == 3);
  CHECK(db_after_exec(session, "*-1\r\n") == 5);
  CHECK(db_after_exec(session, "_\r\n") == 5);
  CHECK(db_after_exec(session, "-EXECABORT Transaction discarded\r\n") == 5);
  CHECK(db_after_exec(session, "*3\r\n*1\r\n") == std::nullopt);
  apply_reply(session, SessionVerb::kExec, "*3\r\n");
  CHECK(!has_queued_selects(session));
}

TEST_CASE("a transaction of many SELECTs is bounded") {  // I8
  Session session;
  apply_reply(session, SessionVerb::kMulti, "+OK\r\n");
  std::string reply = "*1000\r\n";
  for (int i = 0; i < 1000; ++i) {
    apply_select(session, i % 16, kQueuedReply);
    reply += "+OK\r\n";
  }
  CHECK(session.extra().queued_selects.size() == kQueuedSelectsMax);
  CHECK(session.multi_commands == 1000);
  CHECK(db_after_exec(session, reply) == std::nullopt);
  apply_reply(session, SessionVerb::kExec, reply);
  CHECK(db_after_exec(session, reply) == session.db);
}

TEST_CASE("RESET leaves what a new connection has, but for NO-EVICT") {
  Session session;
  session.protocol = 3;
  session.db = 7;
  session.authenticated = true;
  session.no_evict = true;
  session.subscribed = session.monitoring = session.tracking = true;
  session.reply_off = true;
  session.set_name("worker");
  session.extra().tracking.on = true;
  apply_reply(session, SessionVerb::kWatch, "+OK\r\n");
  apply_reply(session, SessionVerb::kMulti, "+OK\r\n");
  apply_reset(session, false);
  CHECK(session.protocol == 2);
  CHECK(session.db == 0);
  CHECK(!session.authenticated);
  CHECK(session.no_evict);
  CHECK(!session.subscribed);
  CHECK(!session.monitoring);
  CHECK(!session.tracking);
  CHECK(!session.in_multi);
  CHECK(!session.watching);
  CHECK(reply_wanted(session));
  CHECK(session.name().empty());
  CHECK(!session.extra().tracking.on);
  apply_reset(session, true);
  CHECK(session.authenticated);
}

TEST_CASE("CLIENT REPLY silences what Redis silences") {
  Session session;
  const auto request = [&] {
    const bool wanted = reply_wanted(session);
    end_request(session);
    return wanted;
  };
  CHECK(request());
  // SKIP: the next request alone, an empty one included.
  CHECK(!set_reply_mode(session, ReplyMode::kSkip));
  end_request(session);
  CHECK(!request());
  CHECK(request());
  // SKIP behind SKIP.
  set_reply_mode(session, ReplyMode::kSkip);
  end_request(session);
  set_reply_mode(session, ReplyMode::kSkip);
  end_request(session);
  CHECK(!request());
  CHECK(request());
  // OFF until ON; SKIP does nothing in between.
  CHECK(!set_reply_mode(session, ReplyMode::kOff));
  end_request(session);
  CHECK(!request());
  set_reply_mode(session, ReplyMode::kSkip);
  end_request(session);
  CHECK(!request());
  CHECK(set_reply_mode(session, ReplyMode::kOn));
  end_request(session);
  CHECK(request());
  // RESET ends OFF at once, but not the SKIP it stands behind.
  set_reply_mode(session, ReplyMode::kSkip);
  end_request(session);
  apply_reset(session, true);
  CHECK(!request());
  CHECK(request());
}

TEST_CASE("what may not run now is refused in Redis's order and words") {
  Session session;
  CHECK(refuse(session, {}) == Refusal::kNoAuth);
  CHECK(refuse(session, {.no_auth = true}) == Refusal::kNone);
  session.in_multi = true;
  session.subscribed = true;
  CHECK(refuse(session, {.no_multi = true}) == Refusal::kNoAuth);
  session.authenticated = true;
  CHECK(refuse(session, {.no_multi = true}) == Refusal::kNoMulti);
  CHECK(refuse(session, {}) == Refusal::kPubsubOnly);
  CHECK(refuse(session, {.in_pubsub = true}) == Refusal::kNone);
  session.protocol = 3;
  CHECK(refuse(session, {}) == Refusal::kNone);

  std::string out;
  append_refusal(out, Refusal::kNone, "x");
  CHECK(out.empty());
  append_refusal(out, Refusal::kNoAuth, "client|id");
  append_refusal(out, Refusal::kNoMulti, "save");
  append_refusal(out, Refusal::kPubsubOnly, "client|id");
  CHECK(out ==
        "-NOAUTH Authentication required.\r\n"
        "-ERR Command not allowed inside a transaction\r\n"
        "-ERR Can't execute 'client|id': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
        "RESET are allowed in this context\r\n");
}
