#include "proxy/data/socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace azimuth {
namespace {

std::optional<SocketAddress> unix_address(const std::string& path) {
  SocketAddress out;
  auto* address = reinterpret_cast<sockaddr_un*>(&out.storage);
  if (path.size() >= sizeof(address->sun_path)) return std::nullopt;
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path, path.c_str(), path.size() + 1);
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return out;
}

// A UNIX socket file that nobody listens on any more would make bind() fail for ever.
void remove_stale_socket(const SocketAddress& address) {
  const auto* un = reinterpret_cast<const sockaddr_un*>(&address.storage);
  struct stat info {};
  if (::stat(un->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) return;
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return;
  if (::connect(probe, address.get(), address.size) != 0 && errno == ECONNREFUSED) {
    ::unlink(un->sun_path);
  }
  ::close(probe);
}

bool is_loopback(const SocketAddress& address) {
  if (address.family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  return address.family() == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

// Inside one machine there is no path whose rate has to be found. A congestion control that paces
// what it sends (bbr, which the system may have chosen for its network) sets a timer of the
// kernel's for each piece all the same; reno does not, and every kernel has it. What a listener
// accepts inherits it.
void send_unpaced(int fd, const SocketAddress& address) {
  constexpr std::string_view kReno = "reno";
  if (!is_loopback(address)) return;
  ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kReno.data(), kReno.size());
}

std::string fd_text(int fd, int (*name)(int, sockaddr*, socklen_t*)) {
  SocketAddress address;
  address.size = sizeof(address.storage);
  if (name(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) return "?:0";
  return address_text(address, true);
}

}  // namespace

std::optional<SocketAddress> numeric_address(const Endpoint& endpoint) {
  if (endpoint.kind == Endpoint::Kind::kUnix) return unix_address(endpoint.path);
  SocketAddress out;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  if (inet_pton(AF_INET, endpoint.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(endpoint.port);
    out.size = sizeof(sockaddr_in);
    return out;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (inet_pton(AF_INET6, endpoint.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(endpoint.port);
    out.size = sizeof(sockaddr_in6);
    return out;
  }
  return std::nullopt;
}

std::optional<SocketAddress> resolve_address(const Endpoint& endpoint, std::string& error) {
  if (auto address = numeric_address(endpoint)) return address;
  if (endpoint.kind == Endpoint::Kind::kUnix) {
    error = "the path of a UNIX socket may have at most 107 bytes";
    return std::nullopt;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int rc =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list);
  if (rc != 0) {
    error = gai_strerror(rc);
    return std::nullopt;
  }
  SocketAddress out;
  std::memcpy(&out.storage, list->ai_addr, list->ai_addrlen);
  out.size = list->ai_addrlen;
  freeaddrinfo(list);
  return out;
}

std::string address_text(const SocketAddress& address, bool redis_style) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (address.family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
    return std::string(host) + ":" + std::to_string(ntohs(v4->sin_port));
  }
  if (address.family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
    const std::string port = std::to_string(ntohs(v6->sin6_port));
    return "[" + std::string(host) + "]:" + port;
  }
  if (address.family() == AF_UNIX && address.size > offsetof(sockaddr_un, sun_path)) {
    const auto* un = reinterpret_cast<const sockaddr_un*>(&address.storage);
    return redis_style ? std::string(un->sun_path) + ":0" : "unix:" + std::string(un->sun_path);
  }
  return "?:0";
}

std::string peer_text(int fd) {
  SocketAddress address;
  address.size = sizeof(address.storage);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) {
    return "?:0";
  }
  // The peer of a UNIX listener has no name of its own; redis-server shows the socket's path.
  return address.family() == AF_UNIX ? local_text(fd) : address_text(address, true);
}

std::string local_text(int fd) { return fd_text(fd, ::getsockname); }

int listen_on(const SocketAddress& address, unsigned unix_mode) {
  const bool is_unix = address.family() == AF_UNIX;
  const int fd = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int on = 1;
  if (is_unix) {
    remove_stale_socket(address);
  } else {
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (address.family() == AF_INET6) {
      ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
  }
  send_unpaced(fd, address);
  int rc = ::bind(fd, address.get(), address.size) != 0 ? -errno : 0;
  if (rc == 0 && is_unix && unix_mode != 0) {
    const auto* un = reinterpret_cast<const sockaddr_un*>(&address.storage);
    if (::chmod(un->sun_path, unix_mode) != 0) rc = -errno;
  }
  if (rc == 0 && ::listen(fd, 4096) != 0) rc = -errno;
  if (rc == 0) return fd;
  ::close(fd);
  return rc;
}

int connect_to(const SocketAddress& address) {
  const int fd = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  send_unpaced(fd, address);
  if (::connect(fd, address.get(), address.size) == 0 || errno == EINPROGRESS) return fd;
  const int rc = -errno;
  ::close(fd);
  return rc;
}

int connect_result(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return -errno;
  return -error;
}

int accept_from(int listener) {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

void tune(int fd, unsigned keepalive_s) {
  const int on = 1;
  // Fails on a UNIX socket, where neither option means anything.
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 || keepalive_s == 0) return;
  const int idle = static_cast<int>(keepalive_s);
  const int interval = idle / 3 > 0 ? idle / 3 : 1;
  const int count = 3;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

}  // namespace azimuth
