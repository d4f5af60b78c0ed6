// What gossip knows of each other node, whose turn it is to be probed, and which records still have
// to be told on.
//
// Invariants: a node is in the ring of turns exactly as long as it is known; in the queue at most
// once. Of a record that is to be told on, the queue holds no copy: what leaves is what is known at
// that moment. Pointers to nodes stay good until the node is forgotten. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "health/gossip.h"
#include "health/gossip_packet.h"

namespace azimuth {

// Lifeguard (section IV.B): the time that a suspect has to refute shrinks, from `most` to `least`,
// with the logarithm of the others that found it silent too. `wanted` of them give `least`.
Duration suspicion_time(Duration least, Duration most, unsigned wanted, unsigned confirmations);

struct Suspicion {
  Instant begun;
  Instant not_before{};  // however many confirm: there was time for a last question since
  Duration least, most;
  unsigned wanted = 0;
  std::vector<std::string> accusers;  // the first one is no confirmation
  unsigned asked = 0;                 // last questions that it was asked, see next_question()

  Instant deadline() const;
  // Half of the time gone, and half of the rest twice more, the suspect is asked by each that still
  // suspects it: a refutation may have missed just this one. Then kNever.
  Instant next_question() const;
  // False where this accuser is known, or there are enough.
  bool accuse(const std::string& accuser);
};

struct GossipNode {
  NodeRecord record;
  Instant since;                         // it has this status
  Instant heard{-1};                     // a packet from itself, of any kind
  Instant told{-1};                      // it was last told what is wrongly believed of it
  std::int64_t rtt_ms = -1;              // smoothed; not known yet
  unsigned excused = 0;                  // probes in a row that only `heard` spoke against
  std::unique_ptr<Suspicion> suspicion;  // while kSuspect

  bool live() const {
    return record.status == NodeStatus::kAlive || record.status == NodeStatus::kSuspect;
  }

 private:
  friend class GossipNodes;
  unsigned sends_ = 0;
  std::uint64_t queued_ = 0;  // its place in the queue; 0: not in it
};

// SplitMix64: small and good enough to spread load; nothing secret hangs on it.
class GossipRandom {
 public:
  void stir(std::uint64_t bits) { state_ ^= bits; }
  std::uint64_t next();
  std::uint64_t below(std::uint64_t end) { return end == 0 ? 0 : next() % end; }

 private:
  std::uint64_t state_ = 0;
};

class GossipNodes {
 public:
  GossipNode* find(std::string_view id);
  const GossipNode* find(std::string_view id) const;
  // Null where there is no room.
  GossipNode* add(const NodeRecord& record, Instant now, GossipRandom& random);
  // Dead and left ones whose status is older than `before`.
  void forget(Instant before);

  // SWIM's round robin over a shuffled list: the next live node that `wanted` does not pass over,
  // or null. No node waits longer than two rounds.
  template <class Wanted>
  GossipNode* next_turn(GossipRandom& random, Wanted wanted) {
    for (std::size_t tried = 0; tried < ring_.size(); ++tried) {
      if (turn_ >= ring_.size()) shuffle(random);
      GossipNode* node = ring_[turn_++];
      if (node->live() && wanted(*node)) return node;
    }
    return nullptr;
  }
  // Up to `count` different nodes that `wanted` accepts, at random.
  template <class Wanted>
  std::vector<GossipNode*> pick(GossipRandom& random, std::size_t count, Wanted wanted) {
    std::vector<GossipNode*> picked;
    // A walk from a random place: even enough, as the ring is shuffled each round.
    const std::size_t from = random.below(ring_.size());
    for (std::size_t i = 0; i < ring_.size() && picked.size() < count; ++i) {
      GossipNode* node = ring_[(from + i) % ring_.size()];
      if (wanted(*node)) picked.push_back(node);
    }
    return picked;
  }

  // To be told on, from the start.
  void enqueue(GossipNode& node);
  // Adds what has been told least, as far as there is room; `except` is not told. Each record is
  // told `sends_max` times.
  void fill(GossipPacketWriter& writer, unsigned sends_max, std::string_view except);
  bool queue_empty() const { return queue_.empty(); }

  // By status; a caller that changes a record's status says so here.
  void set_status(GossipNode& node, NodeStatus status, Instant now);
  std::size_t live() const { return live_; }
  std::size_t size() const { return nodes_.size(); }
  const std::map<std::string, GossipNode, std::less<>>& all() const { return nodes_; }
  std::map<std::string, GossipNode, std::less<>>& all() { return nodes_; }
  const std::vector<GossipNode*>& suspects() const { return suspects_; }
  const std::vector<GossipNode*>& dead() const { return dead_; }

 private:
  using Queued = std::tuple<unsigned, std::uint64_t, GossipNode*>;  // sends, newest first

  static Queued key(GossipNode& node) { return {node.sends_, ~node.queued_, &node}; }
  void shuffle(GossipRandom& random);
  void unqueue(GossipNode& node);

  std::map<std::string, GossipNode, std::less<>> nodes_;
  std::vector<GossipNode*> ring_;
  std::size_t turn_ = 0;
  std::vector<GossipNode*> suspects_, dead_;
  std::size_t live_ = 0;
  std::set<Queued> queue_;
  std::uint64_t queued_last_ = 0;
};

}  // namespace azimuth
