#include "proxy/control/listening.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

namespace azimuth {
namespace {

std::string_view advice_for(int error) {
  switch (error) {
    case EADDRINUSE:
      return "; stop what listens there, or choose another address";
    case EADDRNOTAVAIL:
      return "; this machine has no such address (0.0.0.0 and [::] are every address)";
    case EACCES:
      return "; choose a port from 1024 on, or a directory that this user may write to";
    case ENOENT:
    case ENOTDIR:
      return "; make the directory first";
    case EAFNOSUPPORT:
      return "; IPv6 is switched off on this machine";
    default:
      return "; choose another address";
  }
}

SocketAddress bound_address(int fd, const SocketAddress& asked) {
  SocketAddress bound;
  bound.size = sizeof(bound.storage);
  const int rc = ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size);
  return rc == 0 ? bound : asked;
}

// An address as /proc/net/tcp has it: 32-bit words as the memory holds them.
struct TableAddress {
  std::array<uint32_t, 4> words{};
  uint16_t port = 0;

  bool wildcard() const {
    return std::all_of(words.begin(), words.end(), [](uint32_t word) { return word == 0; });
  }
};

TableAddress table_address(const SocketAddress& address) {
  TableAddress out;
  if (address.family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    out.words[0] = v4->sin_addr.s_addr;
    out.port = ntohs(v4->sin_port);
  } else {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    std::memcpy(out.words.data(), &v6->sin6_addr, sizeof(v6->sin6_addr));
    out.port = ntohs(v6->sin6_port);
  }
  return out;
}

template <class Number>
bool read_hex(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, 16);
  return error == std::errc() && end == text.data() + text.size();
}

// "0100007F:18EC"; four words for IPv6.
std::optional<TableAddress> parse_table_address(std::string_view text) {
  TableAddress out;
  const size_t colon = text.find(':');
  if (colon != 8 && colon != 32) return std::nullopt;
  for (size_t i = 0; i * 8 < colon; ++i) {
    if (!read_hex(text.substr(i * 8, 8), out.words[i])) return std::nullopt;
  }
  if (!read_hex(text.substr(colon + 1), out.port)) return std::nullopt;
  return out;
}

std::string_view next_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

bool shared_with_another(const SocketAddress& address) {
  if (address.family() == AF_UNIX) return false;  // bind() itself refuses
  std::ifstream file(address.family() == AF_INET ? "/proc/net/tcp" : "/proc/net/tcp6");
  const std::string table((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return has_listener(table, address);
}

// The socket of one more worker, or -errno. The workers share the queue of a UNIX socket.
int one_more(const Listening& opened, const SocketAddress& address, unsigned unix_mode) {
  if (address.family() != AF_UNIX || opened.sockets.empty()) return listen_on(address, unix_mode);
  const int fd = ::fcntl(opened.sockets.front(), F_DUPFD_CLOEXEC, 0);
  return fd < 0 ? -errno : fd;
}

}  // namespace

bool has_listener(std::string_view table, const SocketAddress& address) {
  constexpr std::string_view kListen = "0A";
  const TableAddress wanted = table_address(address);
  if (wanted.port == 0) return false;
  while (!table.empty()) {
    std::string_view line = table.substr(0, table.find('\n'));
    table.remove_prefix(std::min(line.size() + 1, table.size()));
    next_word(line);  // its number
    const auto local = parse_table_address(next_word(line));
    next_word(line);  // the other end
    if (!local || next_word(line) != kListen || local->port != wanted.port) continue;
    if (local->words == wanted.words || local->wildcard() || wanted.wildcard()) return true;
  }
  return false;
}

Result<Listening> listen_for_workers(const ListenSettings& settings, unsigned workers) {
  const std::string name = to_string(settings.address);
  const auto fault = [&name](std::string_view why, std::string_view advice) {
    return make_error(ErrorCode::kSystem, Fault::kSelf,
                      "cannot listen on " + name + ": " + std::string(why) + std::string(advice));
  };
  std::string error;
  std::optional<SocketAddress> address = resolve_address(settings.address, error);
  if (!address) return fault(error, "; write a numeric address, or a name that resolves");
  if (shared_with_another(*address)) {
    return fault(std::strerror(EADDRINUSE), advice_for(EADDRINUSE));
  }
  Listening opened;
  while (opened.sockets.size() < workers) {
    const int fd = one_more(opened, *address, settings.unix_mode);
    if (fd < 0) {
      close_all({opened});
      return fault(std::strerror(-fd), advice_for(-fd));
    }
    opened.sockets.push_back(fd);
    if (address->family() == AF_UNIX) {
      opened.socket_file = settings.address.path;
    } else {
      *address = bound_address(fd, *address);
    }
  }
  opened.text = address_text(*address, false);
  return opened;
}

void remove_socket_files(const std::vector<Listening>& listening) {
  for (const Listening& each : listening) {
    if (!each.socket_file.empty()) ::unlink(each.socket_file.c_str());
  }
}

void close_all(const std::vector<Listening>& listening) {
  for (const Listening& each : listening) {
    for (const int fd : each.sockets) ::close(fd);
  }
  remove_socket_files(listening);
}

}  // namespace azimuth
