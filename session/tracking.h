// CLIENT TRACKING: the options of one client, as Redis 7.0 parses, refuses and reports them.
//
// Redis keeps the table of keys; the client's dedicated connection carries the option there. What
// stands here is what azimuth must judge itself, since REDIRECT names one of its own clients, and
// what it reports (GETREDIR).
//
// One thing differs from Redis 7.0 by intent: for prefixes that overlap each other, where the first
// of the pair is not the first given, Redis answers an error, goes on, and answers "+OK" as well; a
// second reply that answers nothing. Here it is an error, and nothing happens.
//
// Redis source: networking.c clientCommand, tracking.c. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"

namespace azimuth {

// Invariant: bcast excludes optin and optout, and these exclude each other; prefixes belong to
// bcast.
struct TrackingState {
  bool on = false;
  bool bcast = false;
  bool optin = false;
  bool optout = false;
  bool noloop = false;
  std::uint64_t redirect = 0;                   // 0: to this connection itself
  std::set<std::string, std::less<>> prefixes;  // one empty prefix: every key
};

struct TrackingRequest {
  bool on = false;
  bool bcast = false;
  bool optin = false;
  bool optout = false;
  bool noloop = false;
  std::uint64_t redirect = 0;
  std::vector<std::string> prefixes;
};

// Is there a client of this id?
using ClientExists = std::function<bool(std::int64_t id)>;

// `args` is the whole command, "CLIENT" first, at least three. An error's message is the whole
// reply, "-ERR ...\r\n".
Result<TrackingRequest> parse_client_tracking(std::span<const std::string_view> args,
                                              const TrackingState& current,
                                              const ClientExists& client_exists);

// What the session is after Redis has answered +OK.
void apply_tracking(TrackingState& state, const TrackingRequest& request);

// What CLIENT GETREDIR answers, and "redir=" in CLIENT LIST.
std::int64_t tracking_redirect(const TrackingState& state);

}  // namespace azimuth
