// The slow log: the last requests that took longer than a threshold, as azimuth saw them (from the
// request framed to its reply framed, so Redis's time and the network's).
//
// Invariants: at most `entries_max` entries of at most kSlowlogArgsMax arguments of about
// kSlowlogArgBytesMax bytes each, clipped as Redis clips its own (slowlogCreateEntry in its
// slowlog.c); ids only grow, over all workers. Owned by one worker; only the source of ids is
// shared. Readers get copies by the worker's mailbox.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/limits.h"

namespace azimuth {

struct SlowlogEntry {
  uint64_t id = 0;
  int64_t unix_time_s = 0;
  uint64_t duration_us = 0;
  std::vector<std::string> args;
  std::string client_address;
  std::string client_name;
};

class Slowlog {
 public:
  // `ids` is shared by all workers and outlives them.
  Slowlog(std::atomic<uint64_t>& ids, uint64_t threshold_us, size_t entries_max);

  // Whether a request of that duration is to be recorded. The one thing asked for each request.
  bool is_slow(uint64_t duration_us) const { return duration_us >= threshold_us_; }
  // `args` may be only the first arguments of a request of `argc`. Arguments that must not be kept
  // (passwords) are the caller's to blank.
  void record(int64_t unix_time_s, uint64_t duration_us, std::span<const std::string_view> args,
              uint64_t argc, std::string_view client_address, std::string_view client_name);
  // After a reload of the settings. The newest entries stay.
  void configure(uint64_t threshold_us, size_t entries_max);
  void reset();
  size_t size() const { return entries_.size(); }
  std::vector<SlowlogEntry> copy() const;  // in no particular order

 private:
  std::atomic<uint64_t>& ids_;
  uint64_t threshold_us_;
  size_t entries_max_;
  size_t next_ = 0;  // where the ring is written next, once it is full
  std::vector<SlowlogEntry> entries_;
};

// The newest `count` of all workers' entries, newest first.
std::vector<SlowlogEntry> merge_slowlogs(std::vector<std::vector<SlowlogEntry>> logs, size_t count);

}  // namespace azimuth
