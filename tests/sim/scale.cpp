#include "tests/sim/scale.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "health/gossip.h"
#include "tests/sim/network.h"
#include "tests/sim/random.h"
#include "tests/sim/scheduler.h"

namespace azimuth::sim {

namespace {

constexpr Time kMeetWithin = seconds_of(120);
constexpr Time kSteadyFor = seconds_of(20);
constexpr Time kFoundWithin = seconds_of(60);
// IPv4 and UDP headers, and what sealing adds to a datagram.
constexpr std::size_t kOverheadBytes = 28 + 41;

class Crowd {
 public:
  Crowd(unsigned nodes, double loss, std::uint64_t seed)
      : random_(seed), loss_(loss), nodes_(nodes), dead_(nodes, false), armed_(nodes, 0) {
    for (unsigned i = 0; i < nodes; ++i) {
      NodeRecord record;
      record.id = "n" + std::to_string(i);
      record.zone = "z" + std::to_string(i % 3);
      record.region = "r";
      record.address = "n" + std::to_string(i);
      record.boot = random_.next() | 1;
      record.member = i < 3;
      record.wants_vote = i < 3;
      nodes_[i] = std::make_unique<Gossip>(record, GossipTimes{}, now());
      nodes_[i]->set_seeds({"n0", "n1", "n2"});
      scheduler_.at(random_.between(0, ms(50) * static_cast<Time>(std::sqrt(nodes))),
                    [this, i] { tick(i); });
    }
  }

  // How long until all knew all; negative: they did not.
  double meet() {
    const Time end = kMeetWithin;
    while (scheduler_.now() < end) {
      pass(ms(100));
      bool all = true;
      for (const auto& node : nodes_) {
        if (node->nodes().size() + 1 < nodes_.size()) {
          all = false;
          break;
        }
      }
      if (all) return static_cast<double>(scheduler_.now()) / 1e6;
    }
    return -1;
  }

  // Bytes per node and second.
  double steady() {
    bytes_ = packets_ = 0;
    pass(kSteadyFor);
    return static_cast<double>(bytes_) / static_cast<double>(nodes_.size()) /
           (static_cast<double>(kSteadyFor) / 1e6);
  }

  double packets_per_second() const {
    return static_cast<double>(packets_) / static_cast<double>(nodes_.size()) /
           (static_cast<double>(kSteadyFor) / 1e6);
  }

  // False: some never learnt of it.
  bool kill_one() {
    auto victim = random_.below(nodes_.size());
    while (dead_[victim]) victim = random_.below(nodes_.size());
    dead_[victim] = true;
    victim_ = "n" + std::to_string(victim);
    killed_at_ = scheduler_.now();
    const auto alive = static_cast<std::size_t>(std::count(dead_.begin(), dead_.end(), false));
    const std::size_t wanted = found_after_ms_.size() + alive;
    while (scheduler_.now() < killed_at_ + kFoundWithin && found_after_ms_.size() < wanted) {
      pass(ms(5));
    }
    victim_.clear();
    return found_after_ms_.size() == wanted;
  }

  // Of each death and each survivor.
  const std::vector<double>& found_after_ms() const { return found_after_ms_; }
  std::uint64_t falsely_dead() const { return falsely_dead_; }
  std::uint64_t falsely_suspected() const { return falsely_suspected_; }

 private:
  Instant now() const { return {scheduler_.now() / 1000 + 1'000'000}; }
  void pass(Time how_long) {
    scheduler_.run_until(scheduler_.now() + how_long, [] { return false; });
  }

  void tick(unsigned index) {
    if (dead_[index]) return;
    Gossip& node = *nodes_[index];
    if (node.next_wakeup() <= now()) node.on_tick(now(), random_.next());
    carry_out(index);
  }

  void carry_out(unsigned index) {
    Gossip& node = *nodes_[index];
    const GossipOutbox out = node.take_outbox();
    for (const auto& packet : out.packets) send(index, packet);
    for (const auto& event : out.events) note(event);
    const Time due = (node.next_wakeup().ms - 1'000'000) * 1000;
    const Time next = std::max(due, scheduler_.now() + ms(1));
    if (armed_[index] > scheduler_.now() && armed_[index] <= next) return;
    armed_[index] = next;
    scheduler_.at(next, [this, index, next] {
      if (armed_[index] == next) tick(index);
    });
  }

  void send(unsigned from, const GossipOutbox::Packet& packet) {
    bytes_ += packet.bytes.size() + kOverheadBytes;
    ++packets_;
    if (random_.chance(loss_)) return;
    const auto to = static_cast<unsigned>(std::stoul(packet.to.substr(1)));
    scheduler_.after(random_.between(us(200), ms(3)), [this, from, to, bytes = packet.bytes] {
      if (dead_[to]) return;
      nodes_[to]->on_packet(now(), "n" + std::to_string(from), bytes, random_.next());
      carry_out(to);
    });
  }

  void note(const GossipOutbox::Event& event) {
    const bool is_dead = dead_[std::stoul(event.id.substr(1))];
    if (event.news == GossipOutbox::News::kDead) {
      if (event.id == victim_)
        found_after_ms_.push_back(static_cast<double>(scheduler_.now() - killed_at_) / 1000);
      if (!is_dead) ++falsely_dead_;
    }
    if (event.news == GossipOutbox::News::kSuspect && !is_dead) ++falsely_suspected_;
  }

  Scheduler scheduler_;
  Random random_;
  double loss_;
  std::vector<std::unique_ptr<Gossip>> nodes_;
  std::vector<bool> dead_;
  std::vector<Time> armed_;
  std::string victim_;
  Time killed_at_ = 0;
  std::vector<double> found_after_ms_;
  std::uint64_t bytes_ = 0, packets_ = 0, falsely_dead_ = 0, falsely_suspected_ = 0;
};

// Small groups are measured more often, so that a percentile says something.
struct Effort {
  unsigned crowds, deaths;
};
Effort effort_for(unsigned nodes) {
  if (nodes <= 10) return {200, 1};
  if (nodes <= 100) return {20, 5};
  return nodes <= 1000 ? Effort{2, 5} : Effort{1, 3};
}

double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return -1;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

bool measure(unsigned nodes, double loss, std::uint64_t seed) {
  const Effort effort = effort_for(nodes);
  std::vector<double> met, found;
  double bytes = 0, packets = 0;
  std::uint64_t suspected = 0, declared = 0;
  bool all_found = true;
  for (unsigned i = 0; i < effort.crowds; ++i) {
    Crowd crowd(nodes, loss, seed + i);
    met.push_back(crowd.meet());
    if (met.back() < 0) {
      std::printf("| %u | the nodes did not all find each other within %lld s |\n", nodes,
                  static_cast<long long>(kMeetWithin / seconds_of(1)));
      return false;
    }
    bytes += crowd.steady() / effort.crowds;
    packets += crowd.packets_per_second() / effort.crowds;
    suspected += crowd.falsely_suspected();
    declared += crowd.falsely_dead();
    for (unsigned death = 0; death < effort.deaths; ++death)
      all_found = crowd.kill_one() && all_found;
    found.insert(found.end(), crowd.found_after_ms().begin(), crowd.found_after_ms().end());
  }
  const double node_hours =
      static_cast<double>(nodes) * effort.crowds * static_cast<double>(kSteadyFor) / 3.6e9;
  std::printf("| %u | %.0f %% | %.1f s | %.0f ms | %.0f ms | %.0f | %.1f | %llu | %llu in %.1f |\n",
              nodes, loss * 100, percentile(met, 0.5), percentile(found, 0.5),
              percentile(found, 0.99), bytes, packets, static_cast<unsigned long long>(suspected),
              static_cast<unsigned long long>(declared), node_hours);
  std::fflush(stdout);
  return all_found && (loss > 0 || declared == 0);
}

}  // namespace

void print_scale_head() {
  std::printf(
      "| nodes | loss | all know all (p50) | a death is known, p50 | p99 | bytes per node and "
      "second "
      "| packets | suspected in vain | declared dead in vain, in node hours |\n"
      "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
}

bool measure_scale(unsigned nodes, std::uint64_t seed) {
  bool good = true;
  for (const double loss : {0.0, 0.1}) good = measure(nodes, loss, seed) && good;
  return good;
}

}  // namespace azimuth::sim
