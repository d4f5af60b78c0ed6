#include "session/session.h"

#include <catch2/catch.hpp>

using namespace azimuth;

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
  session.watching = session.in_multi = true;
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
