// Reads at a replica: which reads go there, and what shows that they may be believed. It is the
// one next door, this node's own Redis; where that does not follow, and for a sidecar, others of
// the region (router/route.h, replicas_for), by streams of peer links that end in their Redises.
// Each of these has a seat, and one of them is this node's home; of several whose gate lets a read
// pass, the home has it as long as it owes hardly more answers than another (router/spread.h).
//
// Three things are known of a replica, each by its own means:
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
// the primary's. So a session of one connection keeps its seat until the primary has answered it;
// one of several connections, whose reads have positions (scopes.h), may read wherever its floor is
// applied.
//
// Owned by one worker.
#pragma once

#include <uv.h>

#include <array>
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
  const Place& place(std::uint8_t seat) const { return places_[seat]; }
  bool there(std::uint8_t seat) const { return places_[seat].member >= 0; }
  bool there() const;
  // Several are read, and what was seen at one need not be applied at the other.
  bool several() const { return there(0) && there(1); }
  std::uint32_t generation() const { return generation_; }

  // The connection for a read of `bytes`: null where it goes to the primary. Or the client waits
  // (Wait::kApplied) until its floor is applied here, for a little while. Counts the reason.
  Upstream* choose(Client& client, const CommandRow& row, std::size_t bytes);
  // Where a client's read would go by what is known at this moment (`row`: null where the command
  // is not known).
  struct Pick {
    std::uint8_t seat = 0;
    Route route;
    ReplicaSight seen;
  };
  Pick pick(const Client& client, const CommandRow* row, const SessionView& view,
            const Scope::Sight& shared, bool blocks = false) const;

  Freshness& freshness() { return freshness_; }
  // A connection to it has ended: the next one may be to another process. `failed`: it did not
  // answer; for a second another one of the region is read.
  void on_lost(std::uint8_t seat, bool failed);
  // It says how far it is.
  void on_offset(std::uint8_t seat, std::uint64_t offset);
  // A read-only script kept it silent: such scripts run at the primary for a while.
  void avoid_scripts();
  // Whoever waits for what is applied by now goes on.
  void on_applied();
  // The timer runs, and looks after the connections.
  bool awake() const { return uv_is_active(reinterpret_cast<const uv_handle_t*>(&timer_)) != 0; }
  // The client waits (Wait::kApplied) until this node has heard of `epoch`, for a little while.
  void wait_for_epoch(Client& client, std::uint64_t epoch);

 private:
  Upstream* connection(const Client& client, std::uint8_t seat) const;
  std::uint64_t applied(std::uint8_t seat) const;
  ReplicaSight sight(const Client& client, std::uint8_t seat, const Scope::Sight& shared) const;
  Pick look(const Client& client, std::uint8_t seat, const CommandRow* row, const SessionView& view,
            const Scope::Sight& shared, bool blocks) const;
  // Its read is answered by the replica itself.
  bool leads_there(const Pick& pick) const {
    return there(pick.seat) && pick.route.member == places_[pick.seat].member;
  }
  std::vector<Place> places_of(const Topology& topology) const;
  void move(std::uint8_t seat, Place place);
  bool has_reached(std::uint8_t seat, const Position& floor) const;
  void wait(Client& client, const CommandRow& row, const SessionView& view,
            const Scope::Sight& shared);
  void on_timer();
  void start_timer(bool anew = false);
  void ask_for_proof();

  Worker& worker_;
  uv_timer_t timer_{};
  std::uint64_t epoch_ = 0;
  std::array<Place, kReplicasReadMax> places_;  // by seat
  std::uint8_t home_ = 0;                       // the seat of the one that this node prefers
  // The offset that another node's has shown, in this epoch.
  std::array<std::uint64_t, kReplicasReadMax> said_{};
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
    std::uint8_t seat;  // kNoSeat: any will do
  };
  std::vector<Waiter> waiters_;
};

}  // namespace azimuth
