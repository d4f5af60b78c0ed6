// HELLO: what it asks, and in which order.
//
// Redis takes the options from left to right and keeps what it has taken: AUTH and SETNAME stick
// even where a later option is wrong, and the first thing that fails is the answer. So a request is
// a list of steps, then perhaps an error; the protocol changes only after all of them. Whoever runs
// it does the steps in order (AUTH by asking Redis), stops at the first that fails with
// kWrongPassReply, answers `error` if there is one, answers kHelloNoAuthReply if the session is
// still not logged in, and only then switches; Redis writes the reply, in the new protocol.
//
// Redis source: networking.c helloCommand. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace azimuth {

struct HelloStep {
  enum class Kind : std::uint8_t { kAuth, kSetName };
  Kind kind = Kind::kAuth;
  std::string_view user;  // kAuth
  std::string_view password;
  std::string_view name;  // kSetName; empty takes the name away
};

struct HelloRequest {
  std::optional<int> protocol;   // 2 or 3; nothing: stays as it is
  std::vector<HelloStep> steps;  // views into the arguments
  std::string error;  // the whole reply, "-...\r\n", to be given after the steps; or empty

  // For the common case of at most one of each.
  const HelloStep* auth() const noexcept { return last(HelloStep::Kind::kAuth); }
  const HelloStep* set_name() const noexcept { return last(HelloStep::Kind::kSetName); }

 private:
  const HelloStep* last(HelloStep::Kind kind) const noexcept {
    for (auto it = steps.rbegin(); it != steps.rend(); ++it) {
      if (it->kind == kind) return &*it;
    }
    return nullptr;
  }
};

// `args` is the whole command, "HELLO" first.
HelloRequest parse_hello(std::span<const std::string_view> args);

inline constexpr std::string_view kWrongPassReply =
    "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
inline constexpr std::string_view kHelloNoAuthReply =
    "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH "
    "<user> <pass> option can be used to authenticate the client and select the RESP protocol "
    "version at the same time\r\n";

}  // namespace azimuth
