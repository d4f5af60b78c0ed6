// The near end of tunnels: a port on loopback, one for each epoch, that the local Redis replicates
// from. Its bytes travel on a stream to its source, the leader of the epoch or a member that feeds
// from there, whose Redis answers.
//
// Invariants: listens on 127.0.0.1 only; a connection that comes before the source is known is
// held, not refused (Redis would wait a second before the next); bytes of the primary reach Redis
// only as far as SyncGate has let them (I5); after cut() not one byte more does. At most
// kTunnelConnectionsMax connections: a newer one ends the oldest. Owned by one worker.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"
#include "proxy/data/socket.h"
#include "proxy/peer/links.h"
#include "proxy/peer/relay_sync.h"

namespace azimuth {

class TunnelListener {
 public:
  struct Hooks {
    // The gate has refused the primary's answer; `why` is what it saw.
    std::function<void(std::uint64_t epoch, const std::string& why)> on_refused;
    // How the replica catches up; now and then while it does.
    std::function<void(const SyncNews&)> on_sync = {};
  };

  // `links` outlives it. `announced`: see SyncGate; empty lets any replica in.
  TunnelListener(Links& links, std::uint64_t epoch, std::string announced, Hooks hooks);
  ~TunnelListener();
  TunnelListener(const TunnelListener&) = delete;
  TunnelListener& operator=(const TunnelListener&) = delete;

  // The port, chosen by the kernel.
  Result<std::uint16_t> open();
  // Where the source is, and the lineage that may be copied from it. May be called again: when its
  // address changes, connections that exist stay on their streams; when it is another node, they
  // end, and Redis dials again at once, to go on there.
  void set_source(const SocketAddress& address, std::string_view node, std::string_view replid);
  // Closes everything at once; accepts nothing any more.
  void cut();

  std::uint64_t epoch() const { return epoch_; }
  std::uint16_t port() const { return port_; }
  std::size_t connections() const { return tunnels_.size(); }

 private:
  class Tunnel;
  friend class Tunnel;
  static void on_accept(uv_poll_t* handle, int status, int events);
  void end_all();
  void bury(Tunnel& tunnel);

  Links& links_;
  const std::uint64_t epoch_;
  const std::string announced_;
  Hooks hooks_;
  std::vector<char> scratch_;
  std::uint64_t accepted_ = 0;
  bool cut_ = false;
  std::uint16_t port_ = 0;
  int fd_ = -1;
  uv_poll_t* poll_ = nullptr;
  SocketAddress source_;
  std::string node_;
  std::string replid_;
  std::vector<std::unique_ptr<Tunnel>> tunnels_;
  std::vector<std::unique_ptr<Tunnel>> buried_;
};

}  // namespace azimuth
