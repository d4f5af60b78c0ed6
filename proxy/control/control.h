// The control thread: signals, reload, the watch over the local Redis, this node's part in its
// group, the admin pages. It decides for the workers and tells them by their mailboxes; nothing
// that clients send passes here.
//
// Invariants: it runs on the main thread and does not wait for anything; what a worker may ask at
// any moment (AZIMUTH STATUS, INFO's section) stands on a board that it need not wait for either. A
// reload is taken whole or not at all.
//
//   run() --SIGTERM, SIGINT--> [stepping down, as primary] -> draining --all workers have ended-->
//   [leaving the group] -> run() returns
#pragma once

#include <uv.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"
#include "conf/settings.h"
#include "proxy/control/admin_server.h"
#include "proxy/control/quiet_workers.h"
#include "proxy/control/redis_watch.h"
#include "proxy/control/status.h"
#include "proxy/data/socket.h"
#include "proxy/group/group.h"
#include "proxy/group/syncs.h"
#include "proxy/run.h"
#include "router/topology.h"

namespace azimuth {

struct Process;
class Worker;

class Control {
 public:
  // Hooks itself into `process`, whose workers need not be there yet. `listening`: the client
  // endpoints, as they are bound; `membership`: of a node of a cluster.
  Control(Process& process, const RunOptions& options, std::shared_ptr<const Settings> settings,
          std::vector<std::string> listening, std::optional<Membership> membership);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // What the workers begin with.
  const std::shared_ptr<const Topology>& topology() const { return topology_; }
  // From here on signals are handled, and the admin address is open. A fault is one of start-up.
  Outcome open();
  // Returns when every worker has ended. `redis`: the address that the workers were given.
  void run(const SocketAddress& redis);
  // Any thread: that worker's loop has ended.
  void worker_ended(size_t index);

 private:
  // Whether a worker's loop turns: it is asked to say so once a second.
  struct Pulse {
    std::shared_ptr<std::atomic<bool>> beat;
    uint64_t asked_ms = 0;
    bool ended = false;
  };

  void post(std::function<void()> task);
  void on_mail();
  void on_tick();
  void on_signal(int number);
  void for_each_live_worker(const std::function<void(Worker&)>& task);

  void start_watch(const SocketAddress& redis);
  void on_redis_event(const RedisEvent& event);
  void on_redis_address(const SocketAddress& address);

  void reload();
  void apply(const Settings& wanted, std::shared_ptr<const LinkCertificates> certificates);
  // control_certificates.cpp
  void set_certificates(std::shared_ptr<const LinkCertificates> certificates);
  void watch_certificates();

  void drain(int number);
  void drain_workers();
  void check_drain();
  void depart();
  void finish();

  // control_group.cpp
  void make_group(Membership membership);
  void set_topology(const std::shared_ptr<const Topology>& topology);
  void want_tunnel(std::uint64_t epoch);
  void set_tunnel_source(std::uint64_t epoch, const SocketAddress& source, const std::string& node,
                         const std::string& replid);
  // control_syncs.cpp
  void make_syncs();
  void on_sync(SyncNews news);
  void on_worker_quiet(unsigned index, std::uint64_t hand_over);
  void step_down();
  void ask_group(Wish::Kind kind, const std::string& node, const Wishes::Answer& answer);
  std::optional<AdminResponse> admin_action(std::string_view path, std::string_view query);

  // control_status.cpp
  AdminResponse admin_response(std::string_view path);
  NodeReport node_status();
  void refresh_board();
  std::shared_ptr<const NodeReport> board();
  std::vector<const WorkerMetrics*> metrics() const;
  void append_links(ClusterReport& report) const;
  std::string why_not_ready() const;
  std::string sick_worker() const;
  void take_pulses();
  void refresh_facts(uint64_t age_ms_max);
  uint64_t uptime_s() const;

  Process& process_;
  const RunOptions options_;
  std::shared_ptr<const Settings> settings_;
  std::shared_ptr<const Topology> topology_;
  const std::vector<std::string> listening_;
  const uint64_t started_ns_;

  uv_loop_t loop_;
  uv_async_t wake_;
  uv_timer_t tick_;
  uv_signal_t signals_[3];
  std::mutex mail_mutex_;
  std::vector<std::function<void()>> mail_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<RedisWatch> watch_;
  SocketAddress redis_address_;   // that the workers have been told
  std::unique_ptr<Group> group_;  // none: in front of a single Redis
  std::unique_ptr<Syncs> syncs_;  // with the group
  QuietWorkers quiet_;
  std::uint64_t tunnel_again_ = 0;  // the epoch whose tunnel port could not be opened

  std::shared_ptr<const LinkCertificates> certificates_;
  std::int64_t expiry_told_unix_s_ = 0;

  std::vector<Pulse> pulses_;
  size_t workers_ended_ = 0;
  bool draining_ = false;
  bool stepping_down_ = false;  // draining begins when another node leads
  bool draining_workers_ = false;
  uint64_t step_down_deadline_ms_ = 0;
  uint64_t last_wish_ = 0;
  std::deque<WishOutcome> wishes_;  // at most kWishesMax
  uint64_t drain_deadline_ms_ = 0;
  uint64_t departing_until_ms_ = 0;
  ProcessFacts facts_;
  uint64_t facts_ms_ = 0;

  std::mutex board_mutex_;
  std::shared_ptr<const NodeReport> board_;
};

}  // namespace azimuth
