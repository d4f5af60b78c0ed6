// The network between nodes: which pairs can talk, how long it takes, what it does to datagrams.
//
// Invariants: cuts are directed; what was under way when a cut fell still arrives, as on a real
// wire. Owned by one simulation.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/sim/random.h"
#include "tests/sim/scheduler.h"

namespace azimuth::sim {

struct NetworkWeather {
  Time delay = us(300);   // one way
  Time jitter = us(300);  // added to it, at most
  double loss = 0;
  double duplicate = 0;
  double straggle = 0;  // of the datagrams are late by up to a second
};

class Network {
 public:
  Network(Scheduler& scheduler, Random& random, std::size_t nodes)
      : scheduler_(scheduler), random_(random), cut_(nodes, std::vector<bool>(nodes, false)) {}

  NetworkWeather weather;

  void cut(std::size_t from, std::size_t to, bool is_cut) { cut_[from][to] = is_cut; }
  void heal() {
    for (auto& row : cut_) row.assign(row.size(), false);
  }
  bool open(std::size_t from, std::size_t to) const { return !cut_[from][to]; }
  Time delay() { return weather.delay + random_.mostly_little(0, weather.jitter); }

  void send(std::size_t from, std::size_t to, const std::string& bytes,
            const std::function<void(const std::string&)>& deliver) {
    if (!open(from, to) || random_.chance(weather.loss)) return;
    const int copies = random_.chance(weather.duplicate) ? 2 : 1;
    for (int copy = 0; copy < copies; ++copy) {
      Time late = delay();
      if (random_.chance(weather.straggle)) late += random_.between(0, ms(1000));
      scheduler_.after(late, [bytes, deliver] { deliver(bytes); });
    }
  }

 private:
  Scheduler& scheduler_;
  Random& random_;
  std::vector<std::vector<bool>> cut_;
};

}  // namespace azimuth::sim
