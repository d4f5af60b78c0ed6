// One connection of a replica's Redis to its source: through the tunnel port of its own node, the
// network, and the relay of the leader's node, or of another one that follows this epoch.
//
//   near Redis -- near node (SyncGate) == network == far node (lease, or follows) -- far Redis
//
// Invariants: bytes keep their order, and those that reached a kernel's buffer are read even after
// the other end has closed; the far node passes nothing on without its lease for this epoch, or
// when it follows another one; a cut network breaks the connection after two seconds of silence.
// Owned by one simulation.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "health/sync_gate.h"
#include "tests/sim/fake_redis.h"
#include "tests/sim/scheduler.h"

namespace azimuth::sim {

class World;

class Tunnel : public std::enable_shared_from_this<Tunnel> {
 public:
  Tunnel(World& world, std::size_t near, std::uint64_t epoch);

  std::shared_ptr<Wire> near_wire();
  // This node has had a turn: the near one may know the leader now, the far one have lost its
  // lease.
  void on_turn(std::size_t node);
  // The near node ends it: now, and its Redis reads what it was sent before it sees the end.
  void cut_near();
  void cut_far();
  // One of the processes has gone.
  void on_redis_gone(std::size_t machine);
  void on_node_gone(std::size_t machine, bool machine_too);

  std::uint64_t epoch() const { return epoch_; }
  std::size_t near() const { return near_; }
  bool closed() const { return near_closed_ && far_closed_; }

 private:
  // Six queues that each message passes in this order, three up and three down.
  enum Hop : std::uint8_t { kUpNear, kUpNet, kUpFar, kDownFar, kDownNet, kDownNear, kHops };
  struct Queue {
    struct Entry {
      Time due;
      std::optional<StreamMessage> message;  // none: the end
    };
    std::deque<Entry> entries;
    bool armed = false;
  };
  struct NearEnd;
  struct FarEnd;

  void push(Hop hop, std::optional<StreamMessage> message);
  void arm(Hop hop);
  void pump(Hop hop);
  // Until when nothing can leave this queue; 0: it can.
  Time blocked(Hop hop);
  void deliver(Hop hop, std::optional<StreamMessage> message);
  void on_near_turn();
  bool refused() const;
  bool may_serve(bool anew) const;
  bool is_ahead(const StreamMessage& message) const;
  void to_far_node(const StreamMessage& message);
  void to_near_node(const StreamMessage& message);
  void finish_near();
  void finish_far();

  World& world_;
  std::size_t near_, far_ = 0;
  std::uint64_t epoch_;
  std::uint64_t id_;
  std::uint64_t near_redis_ = 0, far_redis_ = 0;  // generations
  bool opened_ = false;
  bool attached_ = false;  // the far node has connected to its Redis
  int waited_ = 0;
  bool near_closed_ = false, far_closed_ = true;
  Time silent_since_ = 0;
  std::unique_ptr<SyncGate> gate_;
  std::array<Queue, kHops> queues_;
  std::shared_ptr<NearEnd> near_end_;
  std::shared_ptr<FarEnd> far_end_;
};

}  // namespace azimuth::sim
