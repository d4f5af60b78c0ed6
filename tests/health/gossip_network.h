// Many Gossip machines on a network in virtual time: delay, jitter, loss, one-way cuts, pauses.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "health/gossip.h"

namespace azimuth::gossip_test {

using News = GossipOutbox::News;

struct Seen {
  Instant at;
  News news;
  std::string id, text;
};

struct Node {
  std::string address;
  std::unique_ptr<Gossip> gossip;  // null: its process is not there
  Instant paused_until{0};
  std::vector<Seen> seen;
  std::uint64_t sent_bytes = 0, sent_packets = 0;
  std::size_t longest = 0;
};

class Network {
 public:
  explicit Network(std::uint64_t seed) : random_(seed) {}

  double loss = 0;
  Duration delay = milliseconds(1);
  Duration jitter = milliseconds(0);
  GossipTimes times;
  std::set<std::pair<std::string, std::string>> cuts;  // (from, to), addresses

  static NodeRecord record(const std::string& id, const std::string& address) {
    NodeRecord out;
    out.id = id;
    out.zone = "z1";
    out.region = "r1";
    out.address = address;
    return out;
  }

  // By the name of its place, which is its id unless the record says otherwise.
  Node& start(const std::string& name, NodeRecord own, std::vector<std::string> seeds) {
    Node& node = nodes_[name];
    node.address = own.address;
    own.boot = random_();
    node.gossip = std::make_unique<Gossip>(std::move(own), times, now_);
    node.gossip->set_seeds(std::move(seeds));
    places_[node.address] = name;
    touched(name);
    return node;
  }
  Node& start(const std::string& id, std::vector<std::string> seeds) {
    return start(id, record(id, address(id)), std::move(seeds));
  }
  static std::string address(const std::string& id) { return id + ".test:7380"; }
  void kill(const std::string& name) { nodes_.at(name).gossip.reset(); }
  void pause(const std::string& name, Duration time) { nodes_.at(name).paused_until = now_ + time; }
  void cut(const std::string& from, const std::string& to) {
    cuts.insert({address(from), address(to)});
  }

  // n0, n1, ...: all know n0 and n1.
  void start_many(int count) {
    for (int i = 0; i < count; ++i) {
      start("n" + std::to_string(i), {address("n0"), address("n1")});
    }
  }

  Instant now() const { return now_; }
  Node& at(const std::string& name) { return nodes_.at(name); }
  Gossip& gossip(const std::string& name) { return *nodes_.at(name).gossip; }
  std::map<std::string, Node>& nodes() { return nodes_; }
  std::mt19937_64& random() { return random_; }

  void touched(const std::string& name) {
    Node& node = nodes_.at(name);
    if (!node.gossip) return;
    GossipOutbox outbox = node.gossip->take_outbox();
    for (auto& event : outbox.events) {
      node.seen.push_back({now_, event.news, std::move(event.id), std::move(event.text)});
    }
    for (auto& packet : outbox.packets) {
      node.sent_bytes += packet.bytes.size();
      ++node.sent_packets;
      node.longest = std::max(node.longest, packet.bytes.size());
      if (cuts.count({node.address, packet.to}) != 0 || chance() < loss) continue;
      const auto wait = static_cast<std::int64_t>(chance() * static_cast<double>(jitter.ms + 1));
      happenings_.push({now_ + delay + milliseconds(wait), ++order_, std::move(packet.to),
                        node.address, std::move(packet.bytes)});
    }
    wake_at(name, later_of(node.gossip->next_wakeup(), now_ + milliseconds(1)));
  }

  void run(Duration time) {
    run_until(now_ + time, [] { return false; });
  }
  // True as soon as `done`; false when the time is over.
  bool run_until(Instant end, const std::function<bool()>& done) {
    while (!done()) {
      if (happenings_.empty() || happenings_.top().at > end) {
        now_ = end;
        return done();
      }
      Happening next = happenings_.top();
      happenings_.pop();
      now_ = later_of(now_, next.at);
      happen(std::move(next));
    }
    return true;
  }
  bool run_until(Duration time, const std::function<bool()>& done) {
    return run_until(now_ + time, done);
  }

  NodeStatus status(const std::string& at, const std::string& of) {
    const NodeRecord* found = gossip(at).find(of);
    return found == nullptr ? NodeStatus::kLeft : found->status;
  }
  bool alive_everywhere() {
    std::size_t up = 0;
    for (auto& [name, node] : nodes_) up += node.gossip ? 1 : 0;
    for (auto& [name, node] : nodes_) {
      if (!node.gossip) continue;
      std::size_t alive = 0;
      for (const NodeRecord* other : node.gossip->nodes()) {
        alive += other->status == NodeStatus::kAlive ? 1 : 0;
      }
      if (alive + 1 != up) return false;
    }
    return true;
  }
  bool everywhere(const std::string& id, NodeStatus status) {
    for (auto& [name, node] : nodes_) {
      if (!node.gossip || node.gossip->self().id == id) continue;
      const NodeRecord* found = node.gossip->find(id);
      if (found == nullptr || found->status != status) return false;
    }
    return true;
  }
  int count(News news, const std::string& id = {}) {
    int found = 0;
    for (auto& [name, node] : nodes_) {
      for (const Seen& seen : node.seen) {
        found += seen.news == news && (id.empty() || seen.id == id) ? 1 : 0;
      }
    }
    return found;
  }
  void forget_seen() {
    for (auto& [name, node] : nodes_) node.seen.clear();
  }

 private:
  struct Happening {
    Instant at;
    std::uint64_t order;
    std::string to;    // an address; empty: a wake-up of the node at `from`
    std::string from;  // an address
    std::string bytes;
    bool operator<(const Happening& other) const {
      return std::pair(other.at, other.order) < std::pair(at, order);
    }
  };

  double chance() { return std::uniform_real_distribution<double>(0, 1)(random_); }
  void wake_at(const std::string& name, Instant at) {
    const auto known = wakes_.find(name);
    if (known != wakes_.end() && known->second <= at && known->second > now_) return;
    wakes_[name] = at;
    happenings_.push({at, ++order_, {}, name, {}});
  }
  void happen(Happening next) {
    const bool wake = next.to.empty();
    if (!wake && places_.count(next.to) == 0) return;
    const std::string name = wake ? next.from : places_.at(next.to);
    Node& node = nodes_.at(name);
    if (!node.gossip) return;
    if (now_ < node.paused_until) {  // the socket keeps it, and the clock goes on
      next.at = node.paused_until;
      happenings_.push(std::move(next));
      return;
    }
    if (wake) {
      node.gossip->on_tick(now_, random_());
    } else {
      node.gossip->on_packet(now_, next.from, next.bytes, random_());
    }
    touched(name);
  }

  std::mt19937_64 random_;
  Instant now_{1000};
  std::uint64_t order_ = 0;
  std::map<std::string, Node> nodes_;
  std::map<std::string, std::string> places_;  // address to name
  std::map<std::string, Instant> wakes_;
  std::priority_queue<Happening> happenings_;
};

}  // namespace azimuth::gossip_test
