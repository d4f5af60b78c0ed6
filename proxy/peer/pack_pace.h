// How hard a link packs, and when: the level of zstd by what it costs and by what the network
// takes, and how long replication waits for more of its kind, so that they are packed and sent
// together.
//
// Invariants: the level stays between its bounds and changes at most once a second, since the
// stream begins anew with each change; nothing waits longer than the delay, and nothing at all
// where waiting would not bring enough. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

namespace azimuth {

// What one link's compressor did in a while.
struct PackLoad {
  std::uint64_t own_ns = 0;     // time in it
  std::uint64_t worker_ns = 0;  // time in all compressors of the worker, this one included
  bool stuck = false;           // the network did not take what there was
};

class PackLevel {
 public:
  PackLevel(int least, int most);

  int level() const { return level_; }
  // `load`: since the last tick. Whether the level is another now.
  bool on_tick(std::uint64_t now_ms, const PackLoad& load);

 private:
  bool decide(std::uint64_t now_ms, double worker, bool slow_network);
  bool set(int level, std::uint64_t now_ms);

  const int least_, most_;
  int level_;
  std::uint64_t period_began_ms_ = 0;
  std::uint64_t own_ns_ = 0, worker_ns_ = 0;
  unsigned ticks_ = 0, stuck_ticks_ = 0;
  std::uint64_t changed_ms_ = 0;
  // A level that was too much is not tried again for a while, which grows.
  int ceiling_;
  std::uint64_t ceiling_until_ms_ = 0;
  std::uint64_t ceiling_ms_ = 0;
};

class PackDelay {
 public:
  explicit PackDelay(std::uint32_t delay_ms) : delay_ms_(delay_ms) {}

  // So much was put there that may wait.
  void note(std::uint64_t now_ms, std::size_t bytes);
  // Whether what has come together, `bytes`, all of which may wait, goes on waiting. Otherwise it
  // is sent now: no more until the next.
  bool wait(std::uint64_t now_ms, std::size_t bytes);
  // It was sent, for another reason.
  void sent() { waiting_ = false; }
  // While it waits: when that is over.
  std::uint64_t due_ms() const { return since_ms_ + delay_ms_; }
  bool delays() const { return delay_ms_ != 0; }

 private:
  const std::uint32_t delay_ms_;
  bool waiting_ = false;
  std::uint64_t since_ms_ = 0;
  std::uint64_t counted_from_ms_ = 0;
  std::uint64_t counted_ = 0;      // bytes since then
  std::uint64_t bytes_per_s_ = 0;  // before that
};

}  // namespace azimuth
