// Where something listens or is reached: a TCP address or the path of a UNIX socket.
//
// Invariants of a parsed Endpoint: a TCP host is a valid IPv4 address, an IPv6 address in its
// shortest form and without brackets, or a lower-case DNS name; a path is not empty and fits in
// sun_path. So two spellings of one address compare equal. Names are not resolved here. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "conf/result.h"

namespace azimuth {

struct Endpoint {
  enum class Kind : std::uint8_t { kTcp, kUnix };

  Kind kind = Kind::kTcp;
  std::string host;        // TCP only
  std::uint16_t port = 0;  // TCP only; 0 lets the kernel choose, where one listens
  std::string path;        // UNIX only

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

Endpoint tcp_endpoint(std::string_view host, std::uint16_t port);
Endpoint unix_endpoint(std::string_view path);

// "127.0.0.1:6379", "[::1]:6379", "redis.local:6379", "unix:/run/redis.sock". The error's message
// says what is wrong and what to write instead, as a phrase that follows the key's name.
Result<Endpoint> parse_endpoint(std::string_view text);

// The inverse of parse_endpoint.
std::string to_string(const Endpoint& endpoint);

bool is_ipv6(const Endpoint& endpoint) noexcept;
// 0.0.0.0 or ::, which one may listen on and nobody can be told to connect to.
bool is_wildcard(const Endpoint& endpoint) noexcept;
// 127.0.0.0/8, ::1 or the name localhost; a UNIX socket.
bool is_loopback(const Endpoint& endpoint) noexcept;

// Whether a connection to `target` may arrive at the listener `listener` of this same machine.
// (A DNS name other than localhost is taken to be another machine.)
bool reaches(const Endpoint& target, const Endpoint& listener) noexcept;

}  // namespace azimuth
