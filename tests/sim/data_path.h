// What proxy/data does with reads and with the writes of those who read: where each goes, what
// becomes of it when a connection is lost, the floors of sessions, the proof in front of reads at a
// replica. The decisions are the real ones (router/route.h, session/floor.h, session/freshness.h,
// session/role_reply.h, group/applied.h, group/topology_of.h); what is here stands for the I/O
// around them, in the same order and under the same names.
//
// Invariants: all that a client waits for is on one lane, in order (I7); nothing happens in it
// while its process is paused. Owned by one process of a node.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "conf/consistency.h"
#include "proxy/group/applied.h"
#include "router/route.h"
#include "router/topology.h"
#include "session/freshness.h"
#include "tests/sim/lane.h"

namespace azimuth::sim {

class Node;

class DataPath {
 public:
  DataPath(World& world, Node& node, std::size_t index);

  // What the control thread posts.
  void set_topology(std::shared_ptr<const Topology> topology);
  void set_applied(Position position) { applied_.set(position); }
  // No write of a session's is under way to this node's Redis.
  bool quiet() const;

  void on_connect(std::uint64_t client, std::size_t session, Consistency level,
                  std::uint32_t bound_ms);
  void on_disconnect(std::uint64_t client) { clients_.erase(client); }
  void on_request(std::uint64_t client, const Request& request);
  // Writes what is queued: at the end of each turn of the loop.
  void flush();

  // The process at the near end of `link` has ended, or its node has.
  void on_redis_gone();
  // From the far end: an answer; or the end, and how many commands Redis was given.
  void on_answer(const LinkRef& link, const Answer& answer);
  void on_link_end(const LinkRef& link, std::uint64_t given);
  // The end next to Redis: what comes in from another node, and what Redis has answered.
  void relay(const LinkRef& link, const Command& command);
  void on_answered(const LinkRef& link, const Answer& answer);

 private:
  enum class Wait : std::uint8_t { kNone, kDrain, kApplied };
  struct Client {
    std::uint64_t id = 0;
    std::size_t session = 0;
    Consistency level = Consistency::kCausal;
    std::uint32_t bound_ms = 0;
    Position floor;
    std::uint32_t batch = 0, sightings = 0;
    bool tagged = true, lost_floor = false, waited = false;
    Wait wait = Wait::kNone;
    unsigned inflight = 0;
    Lane* lane = nullptr;
    std::deque<Request> input;
    Time replied = 0;
  };
  struct Place {
    int member = -1;
    bool near = false;
    std::uint64_t epoch = 0;
    std::uint16_t port = 0;
    std::size_t machine = 0;
    friend bool operator==(const Place&, const Place&) = default;
  };
  struct Target {
    enum class Kind : std::uint8_t { kNone, kNear, kFar } kind = Kind::kNone;
    std::uint64_t epoch = 0;
    std::size_t machine = 0;
  };
  struct Waiter {
    std::uint64_t client;
    Position floor;
    std::uint64_t until_ms;
  };

  std::uint64_t now_ms() const;
  Client* client(std::uint64_t id);
  bool leads() const;
  bool tags() const { return topology_->epoch != 0; }
  bool tags_reads() const { return target_.kind == Target::Kind::kFar && place_.member >= 0; }

  // Requests (data_path.cpp).
  void go_on(Client& client);
  bool dispatch(Client& client);
  bool take_token(Client& client, const Request& request);
  Lane* pick(Client& client, const Request& request);
  void forward(Client& client, Lane& lane, const Request& request);
  void reply(Client& client, Reply reply);
  void finish(Lane& lane, const Command& command, const Answer& answer);
  void wait_until(Client& client, Position floor, std::uint64_t for_ms);
  void on_applied();

  // Positions (data_path.cpp).
  void note_sent(Lane& lane, const Command& command);
  void ask_tag(Lane& lane);
  void take_tag(Lane& lane, const std::string& role);
  bool carry_floor(Client& client);

  // The replica (data_replica.cpp).
  void place_replica();
  SessionView view_of(const Client& client) const;
  ReplicaSight sight(const Client& client) const;
  std::uint64_t applied() const;
  Lane* choose(Client& client);
  void require(std::uint64_t offset, bool any);
  void check_gate(const std::string& role);
  void give_up_replica();
  void tend_replica();
  void mind_silence();
  void mind_proofs();

  // Connections (data_lane.cpp).
  void send(Lane& lane, Command command);
  void flush(Lane& lane);
  bool connect(Lane& lane);
  void transmit(Lane& lane, Command& command);
  void give(const LinkRef& link, const Command& command);
  void end_far(const LinkRef& link);
  void consume(Lane& lane, const Answer& answer);
  void deliver_canned(Lane& lane);
  void lost(Lane& lane, std::uint64_t given);
  void send_again(Lane& lane, Command command);
  std::vector<Command> settle(Lane& lane, std::uint64_t given);
  void refuse_stale(Lane& lane);
  Lane* lane_of(const LinkRef& link);

  World& world_;
  Node& node_;
  std::size_t index_;
  std::shared_ptr<const Topology> topology_ = std::make_shared<const Topology>();
  Target target_;
  std::map<std::uint64_t, Client> clients_;
  Lane reads_, writes_, replica_;
  std::uint32_t batches_ = 0;
  bool flush_due_ = false;
  std::vector<std::weak_ptr<Link>> relayed_;

  Applied applied_;
  Freshness freshness_;
  Place place_;
  std::uint64_t said_ = 0;
  std::uint32_t generation_ = 1;
  int avoided_ = -1;
  std::uint64_t avoided_until_ms_ = 0;
  std::vector<Waiter> waiters_;
  std::uint64_t read_ms_ = 0, asked_ms_ = 0;
  std::uint32_t shortest_ms_ = 0;
  bool minds_proofs_ = false, minds_silence_ = false;
  Time heard_ = 0;  // when the replica last said something
};

}  // namespace azimuth::sim
