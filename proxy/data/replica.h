// Reads at a replica: which reads go there, and what shows that they may be believed. It is the
// one next door, this node's own Redis; where that does not follow, and for a sidecar, another one
// of the region (router/route.h, replica_for), by a stream of a peer link that ends in its Redis.
//
// Three things are known of the replica, each by its own means:
//   - how far it has applied the primary's history, at least: pushed by the tap (group/applied.h);
//     of another node's, what it said last. It says where a read is worth trying, and wakes those
//     that wait for their floor.
//   - how old that is: the primary is asked for its offset while reads come (session/freshness.h).
//   - what it was when it read: ROLE in front of each batch of reads, on the same connection. It
//     names the port that the replica replicates from, and there is one for each epoch; so the
//     reads behind it were answered by a replica that was connected to this epoch's primary and had
//     applied what the session has seen, whatever anybody believed when they were sent.
// Where the third fails, or the replica is silent for kReplicaSilenceMsMax, all that it owes is
// asked of the primary: nothing that it said behind its ROLE has reached a client by then.
//
// A session that has read here may have seen more than its floor says. That does no harm as long as
// it reads on here: a process of Redis that follows one primary only goes forward. `generation`
// counts whenever that may have ended; a floor of an older one is whole again after one answer of
// the primary's.
//
// Owned by one worker.
#pragma once

#include <uv.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proxy/data/client.h"
#include "proxy/data/socket.h"
#include "router/route.h"
#include "router/topology.h"
#include "session/freshness.h"

namespace azimuth {

class Replica {
 public:
  explicit Replica(Worker& worker) : worker_(worker) {}
  void open(uv_loop_t* loop);
  uv_handle_t* timer() { return reinterpret_cast<uv_handle_t*>(&timer_); }

  // Where it is.
  struct Place {
    int member = -1;  // of the topology; -1: there is none
    bool near = false;
    std::uint64_t epoch = 0;
    std::uint16_t port = 0;  // that its Redis replicates from in this epoch
    std::uint64_t key = 0;   // of all these: what one of its sessions has seen, another can name
    std::string node;        // not near
    SocketAddress address;   // ... of its node's peer endpoint

    friend bool operator==(const Place& a, const Place& b) {
      return a.member == b.member && a.near == b.near && a.epoch == b.epoch && a.port == b.port &&
             a.node == b.node;
    }
  };

  void set_topology(const Topology& topology);
  const Place& place() const { return place_; }
  bool there() const { return place_.member >= 0; }
  std::uint32_t generation() const { return generation_; }

  // The connection for a read of `bytes`: null where it goes to the primary. Or the client waits
  // (Wait::kApplied) until its floor is applied here, for a little while. Counts the reason.
  Upstream* choose(Client& client, const CommandRow& row, std::size_t bytes);
  // What is known of it, for a client's read (AZIMUTH ROUTE).
  ReplicaSight sight(const Client& client, const Scope::Sight& shared) const;

  Freshness& freshness() { return freshness_; }
  // A connection to it has ended: the next one may be to another process. `failed`: it did not
  // answer; for a second another one of the region is read.
  void on_lost(bool failed);
  // It says how far it is.
  void on_offset(std::uint64_t offset);
  // A read-only script kept it silent: such scripts run at the primary for a while.
  void avoid_scripts();
  // Whoever waits for what is applied by now goes on.
  void on_applied();
  // The client waits (Wait::kApplied) until this node has heard of `epoch`, for a little while.
  void wait_for_epoch(Client& client, std::uint64_t epoch);

 private:
  Upstream* connection(const Client& client) const;
  std::uint64_t applied() const;
  void move(Place place);
  void on_timer();
  void start_timer(bool anew = false);
  void ask_for_proof();

  Worker& worker_;
  uv_timer_t timer_{};
  Place place_;
  std::uint64_t said_ = 0;  // the offset that another node's has shown, in this epoch
  std::uint32_t generation_ = 1;
  int avoided_ = -1;
  std::uint64_t avoided_until_ms_ = 0;
  bool choose_anew_ = false;
  std::uint64_t no_scripts_until_ms_ = 0;
  Freshness freshness_;
  std::uint64_t ticked_ms_ = 0;
  std::uint64_t read_ms_ = 0;      // when a read last came that could have gone here
  Identity* reader_ = nullptr;     // on whose behalf
  std::uint64_t asked_ms_ = 0;     // for a proof
  std::uint32_t shortest_ms_ = 0;  // staleness bound of late; 0: none
  struct Waiter {
    ClientRef client;
    Position floor;
    std::uint64_t until_ms;
    // Behind a floor of another epoch nobody waits: it is carried over, or the primary is asked.
    bool may_go(std::uint64_t epoch, std::uint64_t applied, std::uint64_t now_ms) const {
      return now_ms >= until_ms || floor.epoch < epoch ||
             (floor.epoch == epoch && floor.offset <= applied);
    }
  };
  std::vector<Waiter> waiters_;
};

}  // namespace azimuth
