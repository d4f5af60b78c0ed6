// Sockets as plain non-blocking file descriptors: addresses, listening, connecting, options.
// Every function is a thin call of the kernel's; faults come back as negative errno values.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "conf/endpoint.h"

namespace azimuth {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// The address of a UNIX path or a numeric host; nothing for a host name, which has to be resolved.
std::optional<SocketAddress> numeric_address(const Endpoint& endpoint);

// Resolves a host name as well; blocks, so for start-up only. On failure `error` says why.
std::optional<SocketAddress> resolve_address(const Endpoint& endpoint, std::string& error);

// "1.2.3.4:5", "[::1]:5" (as redis-server prints them: "::1:5" when `redis_style`), "path:0".
std::string address_text(const SocketAddress& address, bool redis_style);

// The two ends of a connected socket, Redis style.
std::string peer_text(int fd);
std::string local_text(int fd);

// A listening socket (SO_REUSEPORT for TCP, so that each worker has its own), or -errno.
// A stale UNIX socket file with no listener behind it is removed first.
int listen_on(const SocketAddress& address, unsigned unix_mode);

// A socket whose connect() is under way (or done), or -errno.
int connect_to(const SocketAddress& address);

// The outcome of a connect() that was under way: 0 or -errno.
int connect_result(int fd);

// Accepts one connection, non-blocking; -EAGAIN when there is none.
int accept_from(int listener);

// nodelay and keep-alive for a TCP socket; nothing for a UNIX one. 0 s turns keep-alive off.
void tune(int fd, unsigned keepalive_s);

}  // namespace azimuth
