#include "tests/sim/faults.h"

#include <algorithm>

namespace azimuth::sim {

void Faults::mend_after(Time how_long, std::function<void()> mend) {
  const Time when = std::min(world_.scheduler.now() + how_long, end_);
  world_.scheduler.at(when, [this, healed = healed_, mend = std::move(mend)] {
    if (healed == healed_) mend();
  });
}

void Faults::restart(std::size_t machine) { world_.start(machine); }

std::size_t Faults::a_machine() {
  // Leaders are where it hurts.
  if (const auto leader = world_.leader(); leader && world_.random.chance(0.4)) return *leader;
  return world_.random.below(world_.size());
}

void Faults::kill_redis(std::size_t machine, Time down) {
  if (!world_.member(machine)) return;
  world_.server(machine).kill();
  mend_after(down, [this, machine] { world_.server(machine).start(); });
}

void Faults::crash_node(std::size_t machine, Time down) {
  world_.node(machine).crash(Node::Crash::kProcess);
  mend_after(down, [this, machine] { restart(machine); });
}

void Faults::crash_machine(std::size_t machine, Time down, bool lose_disk) {
  world_.node(machine).crash(Node::Crash::kMachine);
  if (world_.member(machine)) world_.server(machine).kill();
  world_.node(machine).restart_clock(
      {world_.random.between(1'000, 1'000'000'000), world_.random.between(-10'000, 10'000)});
  if (lose_disk) {
    world_.trace(machine, "loses its disk");
    world_.node(machine).lose_disk();
    world_.server(machine).lose_disk();
    world_.checker.on_disk_lost(machine);
  }
  mend_after(down, [this, machine] { restart(machine); });
}

void Faults::pause_node(std::size_t machine, Time how_long) {
  world_.trace(machine, "azimuth is paused");
  world_.node(machine).pause(std::min(world_.scheduler.now() + how_long, end_));
}

void Faults::pause_redis(std::size_t machine, Time how_long) {
  if (!world_.member(machine)) return;
  world_.trace(machine, "redis is paused");
  world_.server(machine).pause(std::min(world_.scheduler.now() + how_long, end_));
}

void Faults::isolate(std::size_t machine, Time how_long) {
  world_.trace(machine, "is isolated");
  const int which = static_cast<int>(world_.random.below(4));  // 0: deaf, 1: mute, else both
  const auto cut = [this, machine, which](bool is_cut) {
    for (std::size_t other = 0; other < world_.size(); ++other) {
      if (other == machine) continue;
      if (which != 0) world_.network.cut(machine, other, is_cut);
      if (which != 1) world_.network.cut(other, machine, is_cut);
    }
  };
  cut(true);
  mend_after(how_long, [cut] { cut(false); });
}

void Faults::cut_one_way(std::size_t from, std::size_t to, Time how_long) {
  if (from == to) return;
  world_.trace(from, "cannot reach " + world_.node(to).setup().id);
  world_.network.cut(from, to, true);
  mend_after(how_long, [this, from, to] { world_.network.cut(from, to, false); });
}

void Faults::split(Time how_long) {
  std::vector<bool> side;
  for (std::size_t i = 0; i < world_.size(); ++i) side.push_back(world_.random.chance(0.5));
  const auto cut = [this, side](bool is_cut) {
    for (std::size_t a = 0; a < side.size(); ++a) {
      for (std::size_t b = 0; b < side.size(); ++b) {
        if (side[a] != side[b]) world_.network.cut(a, b, is_cut);
      }
    }
  };
  for (std::size_t i = 0; i < side.size(); ++i) {
    if (side[i]) world_.trace(i, "is split off");
  }
  cut(true);
  mend_after(how_long, [cut] { cut(false); });
}

void Faults::fill_disk(std::size_t machine, Time how_long) {
  world_.trace(machine, "disk is full");
  world_.node(machine).fill_disk(true);
  mend_after(how_long, [this, machine] { world_.node(machine).fill_disk(false); });
}

void Faults::crash_at_save(std::size_t machine, Time down) {
  world_.node(machine).crash_at_save(world_.random.chance(0.5) ? Node::CrashAtSave::kBefore
                                                               : Node::CrashAtSave::kAfter);
  mend_after(down, [this, machine] { restart(machine); });
}

void Faults::undermine() {
  const auto leader = world_.leader();
  if (!leader || world_.size() < 3) return;
  const std::size_t deaf = (*leader + 1 + world_.random.below(world_.size() - 1)) % world_.size();
  std::size_t brief = world_.random.below(world_.size());
  while (brief == *leader || brief == deaf) brief = world_.random.below(world_.size());
  cut_one_way(*leader, deaf, seconds_of(4));
  cut_one_way(deaf, *leader, seconds_of(4));
  for (int i = 0; i < 4; ++i) {
    world_.scheduler.after(world_.random.between(ms(1200), ms(3800)),
                           [this, brief, healed = healed_] {
                             if (healed == healed_) {
                               crash_node(brief, world_.random.between(ms(1), ms(50)));
                             }
                           });
  }
}

void Faults::any() {
  const std::size_t machine = a_machine();
  const Time how_long = world_.random.mostly_little(ms(20), seconds_of(10));
  switch (world_.random.below(16)) {
    case 0:
      return split(how_long);
    case 1:
      return cut_one_way(machine, world_.random.below(world_.size()), how_long);
    case 2: {
      const std::string to = world_.random.chance(0.5)
                                 ? std::string()
                                 : world_.node(world_.random.below(world_.size())).setup().id;
      const std::string why = world_.node(machine).switch_over(to);
      return world_.trace(machine, "switchover to '" + to + "': " + why);
    }
    case 3:
      return world_.server(machine).save();
    case 4:
      return fill_disk(machine, std::min(how_long, seconds_of(2)));
    case 5:
      return crash_at_save(machine, how_long);
    case 6: {
      // The whole machine freezes, as a virtual machine that is moved does.
      pause_redis(machine, how_long);
      return pause_node(machine, how_long);
    }
    case 7:
      return undermine();
    default:
      return any_of(machine, how_long);
  }
}

void Faults::any_of(std::size_t machine, Time how_long) {
  switch (world_.random.below(6)) {
    case 0:
      return kill_redis(machine, how_long);
    case 1:
      return crash_node(machine, how_long);
    case 2:
      return crash_machine(machine, how_long, world_.random.chance(world_.plan.disk_loss));
    case 3:
      return pause_node(machine, how_long);
    case 4:
      return pause_redis(machine, how_long);
    case 5:
      return isolate(machine, how_long);
  }
}

void Faults::heal() {
  ++healed_;
  world_.network.heal();
  world_.network.weather.loss = 0;
  world_.network.weather.straggle = 0;
  for (std::size_t i = 0; i < world_.size(); ++i) {
    world_.node(i).fill_disk(false);
    world_.node(i).crash_at_save(Node::CrashAtSave::kNo);
    restart(i);
  }
}

}  // namespace azimuth::sim
