#include "conf/endpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "conf/limits.h"
#include "conf/quoted.h"

namespace azimuth {
namespace {

using Ipv6Groups = std::array<std::uint16_t, 8>;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

template <class Integer>
std::optional<Integer> number(std::string_view text, int base) noexcept {
  Integer value{};
  const char* end = text.data() + text.size();
  const auto [stop, fault] = std::from_chars(text.data(), end, value, base);
  if (fault != std::errc{} || stop != end) return std::nullopt;
  return value;
}

// Dotted quad, without leading zeros: some resolvers read those as octal.
std::optional<std::uint32_t> parse_ipv4(std::string_view text) noexcept {
  std::uint32_t address = 0;
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = part < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos || dot == 0 || dot > 3) return std::nullopt;
    const std::string_view digits = text.substr(0, dot);
    if (digits.size() > 1 && digits[0] == '0') return std::nullopt;
    const auto value = number<std::uint32_t>(digits, 10);
    if (!value || *value > 255) return std::nullopt;
    address = address << 8U | *value;
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return text.empty() ? std::optional(address) : std::nullopt;
}

// Groups of one side of "::" (or of the whole address), appended to `groups`.
bool parse_groups(std::string_view text, Ipv6Groups& groups, std::size_t& count) noexcept {
  while (!text.empty()) {
    const std::size_t colon = std::min(text.find(':'), text.size());
    const std::string_view part = text.substr(0, colon);
    if (part.find('.') != std::string_view::npos) {  // an IPv4 tail takes two groups
      const auto tail = parse_ipv4(part);
      if (!tail || colon != text.size() || count + 2 > groups.size()) return false;
      groups[count++] = static_cast<std::uint16_t>(*tail >> 16U);
      groups[count++] = static_cast<std::uint16_t>(*tail & 0xFFFFU);
      return true;
    }
    const auto value = number<std::uint16_t>(part, 16);
    if (!value || part.size() > 4 || count == groups.size()) return false;
    groups[count++] = *value;
    if (colon == text.size()) return true;
    text.remove_prefix(colon + 1);
    if (text.empty()) return false;  // ends in a single colon
  }
  return true;
}

std::optional<Ipv6Groups> parse_ipv6(std::string_view text) noexcept {
  Ipv6Groups groups{};
  std::size_t count = 0;
  const std::size_t gap = text.find("::");
  if (gap == std::string_view::npos) {
    if (!parse_groups(text, groups, count) || count != groups.size()) return std::nullopt;
    return groups;
  }
  if (!parse_groups(text.substr(0, gap), groups, count)) return std::nullopt;
  Ipv6Groups right{};
  std::size_t right_count = 0;
  if (!parse_groups(text.substr(gap + 2), right, right_count)) return std::nullopt;
  if (count + right_count >= groups.size()) return std::nullopt;  // "::" stands for some group
  std::copy_n(right.begin(), right_count, groups.end() - static_cast<std::ptrdiff_t>(right_count));
  return groups;
}

// RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups as "::".
std::string format_ipv6(const Ipv6Groups& groups) {
  std::size_t best = groups.size();
  std::size_t best_length = 1;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    std::size_t length = 0;
    while (i + length < groups.size() && groups[i + length] == 0) ++length;
    if (length > best_length) {
      best = i;
      best_length = length;
    }
  }
  std::string out;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (i == best) {
      out += "::";
      i += best_length - 1;
      continue;
    }
    if (!out.empty() && out.back() != ':') out += ':';
    std::array<char, 4> digits{};
    const auto [end, fault] =
        std::to_chars(digits.data(), digits.data() + digits.size(), groups[i], 16);
    static_cast<void>(fault);  // four digits hold every group
    out.append(digits.data(), end);
  }
  return out;
}

bool is_dns_name(std::string_view text) noexcept {
  if (text.empty() || text.size() > kHostBytesMax) return false;
  char before = '.';
  for (const char c : text) {
    if (!is_digit(c) && !is_letter(c) && c != '-' && c != '_' && c != '.') return false;
    if (c == '.' && before == '.') return false;
    if (c == '-' && before == '.') return false;
    before = c;
  }
  return true;
}

Error bad(std::string message) {
  return make_error(ErrorCode::kInvalid, Fault::kSelf, std::move(message));
}

Result<Endpoint> parse_unix(std::string_view path) {
  if (path.empty() || (path[0] != '/' && path[0] != '.')) {
    return bad("has no path: write \"unix:/run/redis/redis.sock\"");
  }
  if (path.find('\0') != std::string_view::npos) return bad("has a NUL byte in its path");
  Endpoint endpoint = unix_endpoint(path);
  if (endpoint.path.size() > kUnixPathBytesMax) {
    return bad("has a path of " + std::to_string(endpoint.path.size()) +
               " bytes: the system takes at most " + std::to_string(kUnixPathBytesMax));
  }
  return endpoint;
}

Result<Endpoint> parse_bracketed(std::string_view text, std::string_view host, std::uint16_t port) {
  // A link-local address may name its interface: fe80::1%eth0.
  const std::size_t percent = std::min(host.find('%'), host.size());
  const std::string_view interface = host.substr(percent);
  const auto groups = parse_ipv6(host.substr(0, percent));
  if (!groups || interface.size() == 1 || interface.size() > 16 ||
      (!interface.empty() && !is_dns_name(interface.substr(1)))) {
    return bad(quoted_in_error(text) + " holds no IPv6 address: write it like \"[::1]:6379\"");
  }
  return tcp_endpoint(format_ipv6(*groups) + std::string(interface), port);
}

// The mistakes people make before the last colon; nothing if the host is sound.
std::optional<Error> bad_host(std::string_view host, std::string_view port) {
  const std::string with_port = ":" + std::string(port) + "\"";
  if (host.empty() || host == "*") {
    return bad("has no host: write \"127.0.0.1" + with_port + ", or \"0.0.0.0" + with_port +
               " for every interface");
  }
  if (host.find(':') != std::string_view::npos) {
    return bad("has colons in its host: write an IPv6 address in brackets, \"[::1]" + with_port);
  }
  const bool numeric =
      std::all_of(host.begin(), host.end(), [](char c) { return is_digit(c) || c == '.'; });
  if (numeric && !parse_ipv4(host)) {
    return bad(quoted_in_error(host) +
               " is no IPv4 address: four numbers from 0 to 255, without leading zeros");
  }
  if (!is_dns_name(host)) {
    return bad(quoted_in_error(host) + " is no host name: write \"127.0.0.1" + with_port);
  }
  return std::nullopt;
}

}  // namespace

Endpoint tcp_endpoint(std::string_view host, std::uint16_t port) {
  return Endpoint{Endpoint::Kind::kTcp, std::string(host), port, {}};
}

Endpoint unix_endpoint(std::string_view path) {
  // "unix:///run/x" is what URLs look like; it means the same path.
  while (path.size() > 1 && path[0] == '/' && path[1] == '/') path.remove_prefix(1);
  return Endpoint{Endpoint::Kind::kUnix, {}, 0, std::string(path)};
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  constexpr std::string_view kUnix = "unix:";
  if (text.empty()) {
    return bad("is empty: write \"127.0.0.1:6379\" or \"unix:/run/redis/redis.sock\"");
  }
  if (text.starts_with(kUnix)) return parse_unix(text.substr(kUnix.size()));
  if (text.find('@') != std::string_view::npos) {  // not shown: a password may be in it
    return bad("holds a login: write host and port alone, \"127.0.0.1:6379\"");
  }
  if (text.find("://") != std::string_view::npos) {
    return bad(quoted_in_error(text) + " is a URL: write host and port alone, \"127.0.0.1:6379\"");
  }
  if (text[0] == '/') {
    return bad(quoted_in_error(text) + " is a path: write " +
               quoted_in_error("unix:" + std::string(text)));
  }
  const std::size_t colon = text.rfind(':');
  const std::size_t bracket = text.rfind(']');
  const bool bracketed = text[0] == '[';
  if (colon == std::string_view::npos || (bracketed && bracket != colon - 1)) {
    const bool only_port = std::all_of(text.begin(), text.end(), is_digit);
    if (only_port) {
      return bad("has no host: write " + quoted_in_error("127.0.0.1:" + std::string(text)));
    }
    if (bracketed && bracket != text.size() - 1) {
      return bad(quoted_in_error(text) + " holds no IPv6 address: write it like \"[::1]:6379\"");
    }
    return bad("has no port: write " + quoted_in_error(std::string(text) + ":6379"));
  }
  const std::string_view port_text = text.substr(colon + 1);
  const auto port = number<std::uint16_t>(port_text, 10);
  if (!port || !is_digit(port_text[0])) {
    return bad("has the port " + quoted_in_error(port_text) + ": write a number from 0 to 65535");
  }
  if (bracketed) return parse_bracketed(text, text.substr(1, bracket - 1), *port);
  const std::string_view host = text.substr(0, colon);
  if (const auto fault = bad_host(host, port_text)) return *fault;
  std::string lowered(host);
  std::transform(lowered.begin(), lowered.end(), lowered.begin(), lower);
  return tcp_endpoint(lowered, *port);
}

std::string to_string(const Endpoint& endpoint) {
  if (endpoint.kind == Endpoint::Kind::kUnix) return "unix:" + endpoint.path;
  const std::string port = ":" + std::to_string(endpoint.port);
  return is_ipv6(endpoint) ? "[" + endpoint.host + "]" + port : endpoint.host + port;
}

bool is_ipv6(const Endpoint& endpoint) noexcept {
  return endpoint.kind == Endpoint::Kind::kTcp && endpoint.host.find(':') != std::string::npos;
}

bool is_wildcard(const Endpoint& endpoint) noexcept {
  return endpoint.kind == Endpoint::Kind::kTcp &&
         (endpoint.host == "0.0.0.0" || endpoint.host == "::");
}

bool is_loopback(const Endpoint& endpoint) noexcept {
  if (endpoint.kind == Endpoint::Kind::kUnix) return true;
  const std::string& host = endpoint.host;
  if (host == "localhost" || host == "::1") return true;
  return host.starts_with("127.") && parse_ipv4(host).has_value();
}

bool reaches(const Endpoint& target, const Endpoint& listener) noexcept {
  if (target == listener) return true;
  if (target.kind != listener.kind || target.kind == Endpoint::Kind::kUnix) return false;
  if (target.port != listener.port || target.port == 0) return false;
  const bool target_here = is_loopback(target) || is_wildcard(target);
  if (is_wildcard(listener)) return target_here;
  // "localhost" may resolve to either loopback address, and 0.0.0.0 connects to one.
  const bool vague = target.host == "localhost" || listener.host == "localhost";
  return target_here && is_loopback(listener) && (vague || is_wildcard(target));
}

}  // namespace azimuth
