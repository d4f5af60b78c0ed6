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

TEST_CASE("CLIENT GETREDIR tells what is set") {
  CHECK(tracking_redirect(state_of({"on", "optin", "redirect", "7"})) == 7);
  CHECK(tracking_redirect(state_of({"on"})) == 0);
  CHECK(tracking_redirect(TrackingState{}) == -1);
}

TEST_CASE("prefixes of several CLIENT TRACKING add up") {
  TrackingState state = state_of({"on", "bcast", "prefix", "b", "prefix", "a"});
  CHECK(state.prefixes == std::set<std::string, std::less<>>{"a", "b"});
  state = state_of({"on", "bcast", "noloop"}, state);
  CHECK(state.noloop);
  CHECK(state.prefixes == std::set<std::string, std::less<>>{"", "a", "b"});
}
