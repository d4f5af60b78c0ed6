#include "health/gossip_nodes.h"

#include <algorithm>
#include <cmath>

#include "conf/limits.h"

namespace azimuth {
namespace {

// Records that do not fit into the rest of a packet before it is taken for full.
constexpr unsigned kMissesMax = 3;

constexpr unsigned kQuestionsMax = 3;

const std::vector<std::string> no_accusers;

}  // namespace

Duration suspicion_time(Duration least, Duration most, unsigned wanted, unsigned confirmations) {
  if (wanted == 0 || confirmations >= wanted || most <= least) return least;
  const double share = std::log(confirmations + 1.0) / std::log(wanted + 1.0);
  const double ms = static_cast<double>(most.ms) - static_cast<double>((most - least).ms) * share;
  return milliseconds(std::max(least.ms, static_cast<std::int64_t>(ms)));
}

Instant Suspicion::deadline() const {
  const auto confirmations = static_cast<unsigned>(accusers.empty() ? 0 : accusers.size() - 1);
  return later_of(begun + suspicion_time(least, most, wanted, confirmations), not_before);
}

Instant Suspicion::next_question() const {
  if (asked == kQuestionsMax) return kNever;
  const std::int64_t whole_ms = (deadline() - begun).ms;
  return begun + milliseconds(whole_ms - (whole_ms >> (asked + 1)));
}

bool Suspicion::accuse(const std::string& accuser) {
  if (accusers.size() >= kGossipAccusersMax) return false;
  if (std::find(accusers.begin(), accusers.end(), accuser) != accusers.end()) return false;
  accusers.push_back(accuser);
  return true;
}

std::uint64_t GossipRandom::next() {
  state_ += 0x9E3779B97F4A7C15U;
  std::uint64_t mixed = state_;
  mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
  return mixed ^ (mixed >> 31U);
}

GossipNode* GossipNodes::find(std::string_view id) {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

const GossipNode* GossipNodes::find(std::string_view id) const {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

GossipNode* GossipNodes::add(const NodeRecord& record, Instant now, GossipRandom& random) {
  if (nodes_.size() >= kGossipNodesMax) return nullptr;
  GossipNode& node = nodes_[record.id];
  node.record = record;
  node.record.status = NodeStatus::kAlive;
  node.since = now;
  ++live_;
  // Somewhere in what is left of this round or in the next, so that those who join together are not
  // probed together by all.
  ring_.push_back(&node);
  std::swap(ring_.back(), ring_[random.below(ring_.size())]);
  return &node;
}

void GossipNodes::forget(Instant before) {
  std::vector<GossipNode*> old;
  std::copy_if(dead_.begin(), dead_.end(), std::back_inserter(old),
               [&](const GossipNode* node) { return node->since < before; });
  for (GossipNode* node : old) {
    unqueue(*node);
    std::erase(dead_, node);
    std::erase(ring_, node);
    nodes_.erase(nodes_.find(node->record.id));
  }
}

void GossipNodes::enqueue(GossipNode& node) {
  unqueue(node);
  node.sends_ = 0;
  node.queued_ = ++queued_last_;
  queue_.insert(key(node));
}

void GossipNodes::fill(GossipPacketWriter& writer, unsigned sends_max, std::string_view except) {
  std::vector<GossipNode*> told;
  unsigned misses = 0;
  for (const Queued& queued : queue_) {
    GossipNode* node = std::get<GossipNode*>(queued);
    if (node->record.id == except) continue;
    if (writer.add(node->record, node->suspicion ? node->suspicion->accusers : no_accusers)) {
      told.push_back(node);
    } else if (++misses == kMissesMax) {
      break;
    }
  }
  for (GossipNode* node : told) {
    const std::uint64_t place = node->queued_;
    unqueue(*node);
    if (++node->sends_ >= sends_max) continue;
    node->queued_ = place;
    queue_.insert(key(*node));
  }
}

void GossipNodes::set_status(GossipNode& node, NodeStatus status, Instant now) {
  const bool was_live = node.live();
  if (node.record.status == NodeStatus::kSuspect) std::erase(suspects_, &node);
  if (!was_live) std::erase(dead_, &node);
  node.record.status = status;
  node.since = now;
  if (status != NodeStatus::kSuspect) node.suspicion.reset();
  if (status == NodeStatus::kSuspect) suspects_.push_back(&node);
  if (!node.live()) dead_.push_back(&node);
  live_ = live_ - (was_live ? 1 : 0) + (node.live() ? 1 : 0);
}

void GossipNodes::shuffle(GossipRandom& random) {
  for (std::size_t i = ring_.size(); i > 1; --i) std::swap(ring_[i - 1], ring_[random.below(i)]);
  turn_ = 0;
}

void GossipNodes::unqueue(GossipNode& node) {
  if (node.queued_ == 0) return;
  queue_.erase(key(node));
  node.queued_ = 0;
}

}  // namespace azimuth
