// What goes wrong: each function breaks one thing now and mends it after a while.
//
// Invariant: whatever is broken here is whole again after heal(). Owned by one run.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/sim/world.h"

namespace azimuth::sim {

class Faults {
 public:
  explicit Faults(World& world) : world_(world) {}

  // Nothing lasts longer than this point in time (a paused process cannot be woken early).
  void set_end(Time end) { end_ = end; }

  void kill_redis(std::size_t machine, Time down);
  void crash_node(std::size_t machine, Time down);
  void crash_machine(std::size_t machine, Time down, bool lose_disk);
  void pause_node(std::size_t machine, Time how_long);
  void pause_redis(std::size_t machine, Time how_long);
  void isolate(std::size_t machine, Time how_long);
  void cut_one_way(std::size_t from, std::size_t to, Time how_long);
  void split(Time how_long);
  void fill_disk(std::size_t machine, Time how_long);
  void crash_at_save(std::size_t machine, Time down);
  // One voter no longer hears the leader, and another one restarts, at once.
  void undermine();

  // One of them, anywhere.
  void any();
  // One of them, with this machine alone.
  void any_of(std::size_t machine, Time how_long);
  void heal();

 private:
  void mend_after(Time how_long, std::function<void()> mend);
  void restart(std::size_t machine);
  std::size_t a_machine();

  World& world_;
  Time end_ = 0;
  std::uint64_t healed_ = 0;  // what was to be mended before that has been
};

}  // namespace azimuth::sim
