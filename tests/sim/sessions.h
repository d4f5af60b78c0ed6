// Clients that read what they have written: each is attached to a node, writes through it and reads
// through it, and now and then goes on at another node with a token that stands for what it has
// seen. Some read `causal`, some with a bound on staleness. What they get, the checker judges
// (history.h).
//
// Invariant: a session has one request under way, or a write and a read behind it in one packet.
// Owned by one simulation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "conf/consistency.h"
#include "tests/sim/lane.h"

namespace azimuth::sim {

class Sessions {
 public:
  explicit Sessions(World& world) : world_(world) {}

  // They begin one after another from now on.
  void start(std::size_t count);
  void set_writing(bool writing) { writing_ = writing; }
  // Of what they do, so much is to go on at another node.
  void set_moving(double share) { moving_ = share; }

  void on_reply(std::size_t session, std::uint64_t connection, const Reply& reply);
  void on_node_gone(std::size_t machine);

  std::uint64_t reads() const { return reads_; }
  std::uint64_t replica_reads() const { return replica_reads_; }

 private:
  struct Session {
    std::size_t history = 0;
    Consistency level = Consistency::kCausal;
    std::uint32_t bound_ms = 0;
    std::size_t machine = 0;
    std::uint64_t connection = 0;  // 0: none
    std::uint64_t number = 0;      // of its last request
    std::uint64_t answered = 0;
    Time asked = 0;
    Request request[2];  // those under way
    std::optional<Position> token;
    std::size_t last_key = 0;
    unsigned too_early = 0;
  };

  bool causal(const Session& session) const { return session.level == Consistency::kCausal; }
  void act(std::size_t index);
  void ask(std::size_t index, Request request);
  void think(std::size_t index);
  void leave(std::size_t index, bool tell);
  void connect(std::size_t index, std::size_t machine);
  void reconnect_soon(std::size_t index);
  void take(std::size_t index, const Reply& reply, const Request& request);
  void watch(std::size_t index);
  std::string describe(std::size_t index, const Request& request, const Reply& reply) const;

  World& world_;
  std::vector<Session> sessions_;
  bool writing_ = true;
  double moving_ = 0.03;
  std::uint64_t reads_ = 0, replica_reads_ = 0;
};

}  // namespace azimuth::sim
