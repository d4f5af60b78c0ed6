#include "tests/sim/scale.h"

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
constexpr int kDeaths = 3;
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

  struct Found {
    double first_ms = -1, half_ms = -1, all_ms = -1;
  };
  Found kill_one() {
    const auto victim = static_cast<unsigned>(random_.below(nodes_.size()));
    if (dead_[victim]) return kill_one();
    dead_[victim] = true;
    victim_ = "n" + std::to_string(victim);
    found_ = 0;
    std::size_t alive = 0;
    for (const bool is_dead : dead_) alive += is_dead ? 0 : 1;
    const Time began = scheduler_.now();
    Found found;
    while (scheduler_.now() < began + kFoundWithin && found.all_ms < 0) {
      pass(ms(5));
      const double after = static_cast<double>(scheduler_.now() - began) / 1000;
      if (found.first_ms < 0 && found_ > 0) found.first_ms = after;
      if (found.half_ms < 0 && found_ * 2 >= alive) found.half_ms = after;
      if (found.all_ms < 0 && found_ >= alive) found.all_ms = after;
    }
    victim_.clear();
    return found;
  }

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
      if (event.id == victim_) ++found_;
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
  std::size_t found_ = 0;
  std::uint64_t bytes_ = 0, packets_ = 0, falsely_dead_ = 0, falsely_suspected_ = 0;
};

bool measure(unsigned nodes, double loss, std::uint64_t seed) {
  Crowd crowd(nodes, loss, seed);
  const double met = crowd.meet();
  if (met < 0) {
    std::printf("| %u | the nodes did not all find each other within %lld s |\n", nodes,
                static_cast<long long>(kMeetWithin / seconds_of(1)));
    return false;
  }
  const double bytes = crowd.steady();
  const double packets = crowd.packets_per_second();
  const std::uint64_t suspected = crowd.falsely_suspected();
  const std::uint64_t declared = crowd.falsely_dead();
  Crowd::Found mean{0, 0, 0};
  const int deaths = nodes > 3 ? kDeaths : 1;
  bool all_found = true;
  for (int i = 0; i < deaths; ++i) {
    const Crowd::Found found = crowd.kill_one();
    all_found = all_found && found.all_ms >= 0;
    mean.first_ms += found.first_ms / deaths;
    mean.half_ms += found.half_ms / deaths;
    mean.all_ms += found.all_ms / deaths;
  }
  std::printf("| %u | %.0f %% | %.1f s | %.0f | %.0f | %.0f | %.0f | %.1f | %llu | %llu |\n", nodes,
              loss * 100, met, mean.first_ms, mean.half_ms, mean.all_ms, bytes, packets,
              static_cast<unsigned long long>(suspected),
              static_cast<unsigned long long>(declared));
  std::fflush(stdout);
  return all_found && (loss > 0 || declared == 0);
}

}  // namespace

void print_scale_head() {
  std::printf(
      "| nodes | loss | all know all after | dead known to the first (ms) | to half (ms) | to all "
      "(ms) | bytes per node and second | packets | suspected in vain (20 s) | declared dead in "
      "vain "
      "|\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
}

bool measure_scale(unsigned nodes, std::uint64_t seed) {
  bool good = true;
  for (const double loss : {0.0, 0.1}) good = measure(nodes, loss, seed) && good;
  return good;
}

}  // namespace azimuth::sim
