// The client endpoints of a node, opened before its workers start: a socket for each worker.
//
// Invariants: what is opened is closed again if a later one fails; an address that another process
// listens on is refused, though SO_REUSEPORT would let two nodes share it and each take a part of
// the clients without a word. A host name's look-up blocks. Owned by the main thread, at start-up.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"
#include "conf/settings.h"
#include "proxy/data/socket.h"

namespace azimuth {

struct Listening {
  std::string text;          // where it really listens: with the port that the kernel chose
  std::string socket_file;   // of a UNIX socket
  std::vector<int> sockets;  // one a worker, who is to close it
};

// The error's message says what stands in the way and what to do about it.
Result<Listening> listen_for_workers(const ListenSettings& settings, unsigned workers);

void remove_socket_files(const std::vector<Listening>& listening);
// For a start that fails.
void close_all(const std::vector<Listening>& listening);

// Whether `table`, which is /proc/net/tcp or tcp6, has a listener that `address` would share a port
// with. Pure.
bool has_listener(std::string_view table, const SocketAddress& address);

}  // namespace azimuth
