// The simulator's random numbers: everything that a run draws comes from its seed, in one order.
//
// Invariant: the same seed draws the same numbers on every machine and compiler (no std::
// distribution is used, for those differ between libraries). Owned by one simulation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace azimuth::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  // SplitMix64 (Steele, Lea, Flood 2014).
  std::uint64_t next() {
    std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }
  // 0 to bound - 1; bound > 0.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  // Both ends included.
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(most - least + 1)));
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double probability) { return unit() < probability; }
  // Much more often near `least`: most delays are short and a few are long.
  std::int64_t mostly_little(std::int64_t least, std::int64_t most) {
    const double square = unit() * unit();
    return least + static_cast<std::int64_t>(square * static_cast<double>(most - least));
  }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }

 private:
  std::uint64_t state_;
};

}  // namespace azimuth::sim
