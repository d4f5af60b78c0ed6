#include "session/tracking.h"

#include <catch2/catch.hpp>

using namespace azimuth;

namespace {

using Args = std::vector<std::string_view>;

Result<TrackingRequest> parse(Args rest, const TrackingState& current = {}) {
  rest.insert(rest.begin(), {"CLIENT", "TRACKING"});
  return parse_client_tracking(rest, current, [](std::int64_t id) { return id == 7; });
}

std::string error_of(const Args& rest, const TrackingState& current = {}) {
  const auto result = parse(rest, current);
  return result.ok() ? std::string() : result.error().message;
}

TrackingState state_of(const Args& rest, TrackingState state = {}) {
  const auto request = parse(rest, state);
  REQUIRE(request.ok());
  apply_tracking(state, *request);
  return state;
}

std::string prefix_error(const std::string& what) {
  return "-ERR Prefix " + what + ". Prefixes for a single client must not overlap.\r\n";
}

}  // namespace

TEST_CASE("CLIENT TRACKING refuses with Redis's words, in its order") {
  const std::string syntax = "-ERR syntax error\r\n";
  const std::string nobody = "-ERR The client ID you want redirect to does not exist\r\n";
  const std::vector<std::pair<Args, std::string>> cases = {
      {{"foo"}, syntax},
      {{"on", "redirect"}, syntax},
      {{"on", "prefix"}, syntax},
      {{"on", "optin", "foo"}, syntax},
      {{"foo", "redirect", "999"}, nobody},
      {{"on", "redirect", "0"}, nobody},
      {{"on", "redirect", "x"}, "-ERR value is not an integer or out of range\r\n"},
      {{"on", "redirect", "7", "redirect", "7"},
       "-ERR A client can only redirect to a single other client\r\n"},
      {{"on", "prefix", "a"}, "-ERR PREFIX option requires BCAST mode to be enabled\r\n"},
      {{"on", "bcast", "optin"}, "-ERR OPTIN and OPTOUT are not compatible with BCAST\r\n"},
      {{"on", "optin", "optout"}, "-ERR You can't specify both OPTIN mode and OPTOUT mode\r\n"},
      {{"on", "bcast", "prefix", "a", "prefix", "ab"},
       prefix_error("'a' overlaps with another provided prefix 'ab'")},
      {{"on", "bcast", "prefix", "q", "prefix", "ab", "prefix", "a"},
       prefix_error("'ab' overlaps with another provided prefix 'a'")},
      {{"on", "bcast", "prefix", "a", "prefix", ""},
       prefix_error("'a' overlaps with another provided prefix ''")},
  };
  for (const auto& [args, error] : cases) {
    CAPTURE(args);
    CHECK(error_of(args) == error);
  }
}

TEST_CASE("CLIENT TRACKING must fit what the client already has") {
  const TrackingState bcast = state_of({"on", "bcast", "prefix", "b", "prefix", "a"});
  const std::string mode =
      " before disabling tracking for this client, and then re-enabling it with a different "
      "mode.\r\n";
  CHECK(error_of({"on"}, bcast) == "-ERR You can't switch BCAST mode on/off" + mode);
  CHECK(error_of({"on", "bcast", "prefix", "ab"}, bcast) ==
        prefix_error("'ab' overlaps with an existing prefix 'a'"));
  const TrackingState optin = state_of({"on", "optin"});
  CHECK(error_of({"on", "optout"}, optin) == "-ERR You can't switch OPTIN/OPTOUT mode" + mode);
  CHECK(!state_of({"on"}, optin).optin);
  CHECK(!state_of({"off"}, bcast).on);
  CHECK(state_of({"off"}, bcast).prefixes.empty());
  CHECK(!state_of({"OFF", "bcast", "optin"}).bcast);
}

TEST_CASE("CLIENT TRACKINGINFO and GETREDIR tell what is set") {
  const auto info = [](const TrackingState& state, int protocol) {
    std::string out;
    append_tracking_info(out, protocol, state);
    return out;
  };
  CHECK(
      info({}, 2) ==
      "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n");
  TrackingState state = state_of({"on", "bcast", "prefix", "b", "prefix", "a"});
  CHECK(info(state, 2) ==
        "*6\r\n$5\r\nflags\r\n*2\r\n$2\r\non\r\n$5\r\nbcast\r\n$8\r\nredirect\r\n:0\r\n"
        "$8\r\nprefixes\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
  state = state_of({"on", "bcast", "noloop"}, state);
  CHECK(info(state, 2) ==
        "*6\r\n$5\r\nflags\r\n*3\r\n$2\r\non\r\n$5\r\nbcast\r\n$6\r\nnoloop\r\n$8\r\nredirect\r\n"
        ":0\r\n$8\r\nprefixes\r\n*3\r\n$0\r\n\r\n$1\r\na\r\n$1\r\nb\r\n");
  state = state_of({"on", "optin", "redirect", "7"});
  state.caching = true;
  CHECK(info(state, 3) ==
        "%3\r\n$5\r\nflags\r\n~3\r\n$2\r\non\r\n$5\r\noptin\r\n$11\r\ncaching-yes\r\n"
        "$8\r\nredirect\r\n:7\r\n$8\r\nprefixes\r\n*0\r\n");
  CHECK(tracking_redirect(state) == 7);
  CHECK(tracking_redirect(TrackingState{}) == -1);
}

TEST_CASE("CLIENT CACHING") {
  const auto caching = [](std::string_view word, const TrackingState& state) {
    const Args args = {"CLIENT", "CACHING", word};
    const Outcome outcome = check_client_caching(args, state);
    return outcome.ok() ? std::string() : outcome.error().message;
  };
  CHECK(caching("yes", {}) ==
        "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
        "OPTOUT mode enabled\r\n");
  const TrackingState optin = state_of({"on", "optin"});
  const TrackingState optout = state_of({"on", "optout"});
  CHECK(caching("yes", optin).empty());
  CHECK(caching("no", optout).empty());
  CHECK(caching("maybe", optin) == "-ERR syntax error\r\n");
  CHECK(caching("no", optin) ==
        "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.\r\n");
  CHECK(caching("yes", optout) ==
        "-ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.\r\n");
}
