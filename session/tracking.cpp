#include "session/tracking.h"

#include <algorithm>

#include "session/strict_integer.h"
#include "session/words.h"

namespace azimuth {
namespace {

Error refused(std::string_view text) {
  return make_error(ErrorCode::kInvalid, Fault::kClient, error_line(std::string(text)));
}

Error syntax_error() {
  return make_error(ErrorCode::kInvalid, Fault::kClient, std::string(kSyntaxErrorReply));
}

// One begins with the other.
bool overlap(std::string_view a, std::string_view b) {
  const std::size_t n = std::min(a.size(), b.size());
  return a.substr(0, n) == b.substr(0, n);
}

Result<TrackingRequest> parse_options(std::span<const std::string_view> args,
                                      const ClientExists& client_exists) {
  TrackingRequest request;
  for (std::size_t j = 3; j < args.size(); ++j) {
    const bool more = j + 1 < args.size();
    if (same_word(args[j], "redirect") && more) {
      ++j;
      if (request.redirect != 0) {
        return refused("A client can only redirect to a single other client");
      }
      const auto id = parse_integer(args[j]);
      if (!id) {
        return make_error(ErrorCode::kInvalid, Fault::kClient, std::string(kNotAnIntegerReply));
      }
      if (*id <= 0 || !client_exists(*id)) {
        return refused("The client ID you want redirect to does not exist");
      }
      request.redirect = static_cast<std::uint64_t>(*id);
    } else if (same_word(args[j], "bcast")) {
      request.bcast = true;
    } else if (same_word(args[j], "optin")) {
      request.optin = true;
    } else if (same_word(args[j], "optout")) {
      request.optout = true;
    } else if (same_word(args[j], "noloop")) {
      request.noloop = true;
    } else if (same_word(args[j], "prefix") && more) {
      request.prefixes.emplace_back(args[++j]);
    } else {
      return syntax_error();
    }
  }
  return request;
}

std::string collision(std::string_view given, std::string_view whose, std::string_view other) {
  std::string text = "Prefix '";
  text.append(until_nul(given)).append("' overlaps with ").append(whose).append(" prefix '");
  text.append(until_nul(other)).append("'. Prefixes for a single client must not overlap.");
  return text;
}

// The first of a prefix's collisions, as Redis looks for them; empty: none.
std::string find_collision(const TrackingRequest& request, const TrackingState& current) {
  const auto& given = request.prefixes;
  for (std::size_t i = 0; i < given.size(); ++i) {
    for (const std::string& held : current.prefixes) {
      if (overlap(held, given[i])) return collision(given[i], "an existing", held);
    }
    for (std::size_t j = i + 1; j < given.size(); ++j) {
      if (overlap(given[i], given[j])) return collision(given[i], "another provided", given[j]);
    }
  }
  return {};
}

// Does what is asked fit together, and to what the client is? Empty: yes.
std::string find_conflict(const TrackingRequest& request, const TrackingState& current) {
  if (!request.bcast && !request.prefixes.empty()) {
    return "PREFIX option requires BCAST mode to be enabled";
  }
  if (current.on && current.bcast != request.bcast) {
    return "You can't switch BCAST mode on/off before disabling tracking for this client, and then "
           "re-enabling it with a different mode.";
  }
  if (request.bcast && (request.optin || request.optout)) {
    return "OPTIN and OPTOUT are not compatible with BCAST";
  }
  if (request.optin && request.optout) {
    return "You can't specify both OPTIN mode and OPTOUT mode";
  }
  if ((request.optin && current.optout) || (request.optout && current.optin)) {
    return "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then "
           "re-enabling it with a different mode.";
  }
  return request.bcast ? find_collision(request, current) : std::string();
}

}  // namespace

Result<TrackingRequest> parse_client_tracking(std::span<const std::string_view> args,
                                              const TrackingState& current,
                                              const ClientExists& client_exists) {
  if (args.size() < 3) return syntax_error();
  auto parsed = parse_options(args, client_exists);
  if (!parsed) return parsed;
  if (same_word(args[2], "on")) {
    const std::string conflict = find_conflict(*parsed, current);
    if (!conflict.empty()) return refused(conflict);
    parsed->on = true;
    return parsed;
  }
  // OFF takes options, too, and ignores them.
  if (same_word(args[2], "off")) return TrackingRequest{};
  return syntax_error();
}

void apply_tracking(TrackingState& state, const TrackingRequest& request) {
  if (!request.on) {
    state = TrackingState{};
    return;
  }
  state.on = true;
  state.bcast = request.bcast;
  state.optin = request.optin;
  state.optout = request.optout;
  state.noloop = request.noloop;
  state.redirect = request.redirect;
  if (!request.bcast) return;
  if (request.prefixes.empty()) state.prefixes.emplace();
  state.prefixes.insert(request.prefixes.begin(), request.prefixes.end());
}

std::int64_t tracking_redirect(const TrackingState& state) {
  return state.on ? static_cast<std::int64_t>(state.redirect) : -1;
}

}  // namespace azimuth
