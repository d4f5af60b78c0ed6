// All of a simulation: machines, network, tunnels, checkers; and what one part asks of another.
//
// Invariant: nothing here draws from anywhere but `random`, so that a seed replays. Owned by the
// run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/checker.h"
#include "tests/sim/members.h"
#include "tests/sim/network.h"
#include "tests/sim/node.h"
#include "tests/sim/plan.h"
#include "tests/sim/redis_server.h"
#include "tests/sim/scheduler.h"
#include "tests/sim/sessions.h"
#include "tests/sim/tunnel.h"

namespace azimuth::sim {

struct Failure {
  Time at = 0;
  std::string machine, kind, what;
};

class World {
 public:
  World(const Plan& plan, bool verbose);
  ~World();

  Scheduler scheduler;
  Random random;
  Network network;
  Checker checker;
  Sessions sessions;
  const Plan& plan;
  Members members{*this};

  std::size_t size() const { return nodes_.size(); }
  Node& node(std::size_t index) { return *nodes_[index]; }
  const Node& node(std::size_t index) const { return *nodes_[index]; }
  RedisServer& server(std::size_t index) { return *servers_[index]; }
  const RedisServer& server(std::size_t index) const { return *servers_[index]; }
  bool member(std::size_t index) const { return nodes_[index]->setup().member; }

  // A whole machine: its Redis, if it has one, and its azimuth.
  void start(std::size_t index);
  // The node that leads with a live lease; the machine, or none.
  std::optional<std::size_t> leader() const;
  // One ready leader, known to all, followed by all members.
  bool whole() const;
  // The same, whatever is not running.
  bool running_are_whole() const { return why_not_whole(false).empty(); }
  // What is missing, for people.
  std::string why_not_whole(bool all_run = true) const;

  std::size_t index_of(std::string_view id) const;
  std::size_t index_at(std::string_view address) const;
  std::string address_of(std::size_t index) const;
  std::string announced(std::size_t index) const;
  std::vector<std::string> seeds(std::size_t index) const;
  std::uint16_t next_port() { return ports_++; }
  std::uint64_t next_id() { return ++ids_; }

  std::shared_ptr<Wire> dial_tunnel(std::size_t machine, std::uint16_t port);
  void cut_tunnels(std::size_t near);
  void on_redis_gone(std::size_t machine);
  void on_node_gone(std::size_t machine, bool machine_too);
  void on_tap_bytes(std::size_t machine, std::uint64_t offset);
  void on_tap_end(std::size_t machine);
  void on_full_sync(std::size_t machine, const Snapshot& incoming);
  void on_fence_lifted(std::size_t machine);
  void on_turn(std::size_t machine);
  void on_save(std::size_t machine, const GroupState* before, const GroupState& after);
  void on_group_message(std::size_t machine, std::string_view to, const GroupMessage& message);
  void on_flush(std::size_t machine, std::uint64_t epoch);
  // `before`: what the write found.
  void on_executed(std::size_t machine, WriteId id, std::uint64_t epoch, const Values& before);
  void on_acked(std::size_t machine, WriteId id, bool quorum);

  // Connections of workers to the Redis of other nodes.
  void add_link(const LinkRef& link);
  void break_link(const LinkRef& link);  // the network does it: neither end knows how far it got
  void reply_to_session(std::size_t session, std::uint64_t connection, Time when,
                        const Reply& reply);

  bool verbose() const { return verbose_; }
  void trace(std::size_t machine, std::string_view what);
  void fail(std::size_t machine, std::string_view kind, std::string_view what);
  const std::optional<Failure>& failure() const { return failure_; }
  // What each node knows and holds, into the trace.
  void trace_state();
  std::uint64_t full_syncs_over_data() const { return full_syncs_over_data_; }

 private:
  bool verbose_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<RedisServer>> servers_;
  std::vector<std::shared_ptr<Tunnel>> tunnels_;
  std::vector<std::weak_ptr<Link>> links_;
  std::optional<Failure> failure_;
  std::uint16_t ports_ = 10000;
  std::uint64_t ids_ = 0;
  std::uint64_t full_syncs_over_data_ = 0;
};

}  // namespace azimuth::sim
