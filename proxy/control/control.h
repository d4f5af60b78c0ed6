// The control thread: signals, reload, the watch over the local Redis, the admin pages. It decides
// for the workers and tells them by their mailboxes; none of what clients send passes here.
//
// Invariants: it runs on the main thread and never blocks; what a worker needs from it at any
// moment (AZIMUTH STATUS, INFO's section) it leaves on a board for them, and they do not wait for
// it. A reload is applied whole or not at all.
//
//   run() --SIGTERM, SIGINT--> draining --all workers have ended--> run() returns
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "conf/result.h"
#include "conf/settings.h"
#include "proxy/control/admin_server.h"
#include "proxy/control/status.h"
#include "proxy/data/socket.h"
#include "proxy/run.h"
#include "router/topology.h"

namespace azimuth {

struct Process;

class Control {
 public:
  // Hooks itself into `process`, whose workers need not be there yet. `listening`: the client
  // endpoints, as they are bound.
  Control(Process& process, const RunOptions& options, std::shared_ptr<const Settings> settings,
          std::shared_ptr<const Topology> topology, std::vector<std::string> listening);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // From here on signals are handled, and the admin address is open. A fault is one of start-up.
  Outcome open();
  // Returns when every worker has ended. `redis`: what the workers were given.
  void run(const SocketAddress& redis);
  // Any thread: a worker's loop has ended.
  void worker_ended();

 private:
  void post(std::function<void()> task);
  void on_mail();
  void on_tick();
  void on_signal(int number);
  void drain(int number);
  void finish();

  Process& process_;
  const RunOptions options_;
  std::shared_ptr<const Settings> settings_;
  std::shared_ptr<const Topology> topology_;
  const std::vector<std::string> listening_;

  uv_loop_t loop_;
  uv_async_t wake_;
  uv_timer_t tick_;
  uv_signal_t signals_[3];
  std::mutex mail_mutex_;
  std::vector<std::function<void()>> mail_;
  size_t workers_ended_ = 0;
  unsigned stop_signals_ = 0;
};

}  // namespace azimuth
