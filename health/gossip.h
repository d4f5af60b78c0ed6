// Who is there: SWIM with Lifeguard's suspicion, local health and refutation; records spread by
// piggyback, whole states by pages.
//
// Invariants: what is sent a period does not depend on the number of nodes; a record is overwritten
// only by the node that it is about (a higher incarnation or version), or by a verdict on it;
// memory is bounded by kGossipNodesMax. Packets come in decrypted and authenticated; one that does
// not parse changes nothing. Of two nodes that call themselves the same, one record stands, and one
// of the two falls silent. Pure; owned by the control thread. Sources: the SWIM paper (sections 3
// and 4), Lifeguard (arXiv 1707.00788). How it works: health/README.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/endpoint.h"
#include "conf/instant.h"

namespace azimuth {

struct GossipTimes {
  Duration probe_interval = milliseconds(200);  // one node is probed in each
  Duration probe_timeout = milliseconds(100);   // then others are asked to try (capped by RTT)
  // Least time under suspicion, with all confirming; grows with log10 of the nodes beyond ten.
  Duration suspicion = milliseconds(600);
  unsigned indirect_probes = 3;
  unsigned suspicion_most_factor = 4;  // most time, unconfirmed: suspicion times this
  unsigned remote_region_factor = 4;   // all times for nodes of another region
};

enum class NodeStatus : std::uint8_t { kAlive, kSuspect, kDead, kLeft };

// What a node says of itself. Everything but `status` and `incarnation` is its own to say.
struct NodeRecord {
  std::string id, zone, region;  // at most kNameBytesMax each
  // "host:port" of its peer endpoint, UDP and TCP; at most kGossipAddressBytesMax.
  std::string address;
  std::uint64_t boot = 0;         // differs at each start of its process
  std::uint32_t incarnation = 0;  // raised to refute a suspicion
  std::uint32_t version = 0;      // raised when anything below changes
  NodeStatus status = NodeStatus::kAlive;
  bool member = true;  // has a Redis
  bool wants_vote = true;
  bool has_state = false;
  bool redis_ready = false, redis_empty = true;
  bool readable = false;  // a replica that is in sync: may serve reads
  std::uint32_t bootstrap_expect = 1;
  std::uint64_t epoch = 0;   // that it follows, or leads
  std::string leader;        // of that epoch, as it knows
  std::string replid;        // of its Redis
  std::uint64_t offset = 0;  // applied by its Redis
  // As a replica it follows the primary of `epoch` through this port of its node's; 0: it does not.
  std::uint16_t replica_port = 0;
  // Of the epoch that it leads: the offset where its history begins, and the epoch that it goes on
  // from (0: from nothing). For those who keep no state of the group.
  std::uint64_t begin = 0, after = 0;

  friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

struct GossipOutbox {
  struct Packet {
    std::string to;  // "host:port"
    std::string bytes;
  };
  std::vector<Packet> packets;
  enum class News : std::uint8_t { kJoined, kUpdated, kSuspect, kAlive, kDead, kLeft, kIdTaken };
  struct Event {
    News news;
    std::string id;
    std::string text;  // for people: who accuses; kIdTaken: whom we share our id with, and where
  };
  std::vector<Event> events;
};

class Gossip {
 public:
  Gossip(NodeRecord self, GossipTimes times, Instant now);
  ~Gossip();

  // Numeric addresses to introduce ourselves to as long as nobody else is known, and now and then
  // after; at most kGossipSeedsMax, our own may be among them.
  void set_seeds(std::vector<std::string> seeds);
  // Own facts; id, boot, incarnation, version and status are kept by gossip itself. A change is
  // told at once; one of the offset alone goes along with what is sent anyway.
  void update_self(const NodeRecord& facts);
  void on_tick(Instant now, std::uint64_t random);
  // `from`: "host:port" that the packet came from.
  void on_packet(Instant now, std::string_view from, std::string_view bytes, std::uint64_t random);
  // Evidence from elsewhere that a node lives (an authenticated packet of any kind from it). It
  // excuses a few missing answers; a node that never answers is suspected all the same.
  void on_heard(Instant now, std::string_view id);
  // Says goodbye to a few nodes, which tell the others. Nothing is sent or heard after.
  void leave(Instant now, std::uint64_t random);

  Instant next_wakeup() const;
  [[nodiscard]] GossipOutbox take_outbox();
  const NodeRecord& self() const;
  const NodeRecord* find(std::string_view id) const;
  std::vector<const NodeRecord*> nodes() const;  // without self, by id
  // Lifeguard's local health: 0 is well, up to 4 means that we ourselves are late.
  unsigned local_health() const;
  // Another node has our id, and had it first: this one says nothing until that one is gone.
  bool id_taken() const;

 private:
  struct Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace azimuth
