// How large the backlog of the local Redis is to be: what is written in an outage that replicas are
// to survive without a full copy.
//
// Invariants: never below `least` nor above `most`, and never above a tenth of maxmemory, where
// Redis has one, since the backlog counts against it (that goes before `least`; what has become too
// much goes at once); sizes are powers of two between them, so it is seldom changed; it grows as
// soon as the measured rate asks for it and shrinks only after a long time of far less, and never
// below what somebody else has set. Pure; owned by a RedisPilot.
//
// REDIS: since 7.0 a backlog that is resized keeps what it holds (as far as it fits); before, it is
// emptied, so there it is left at `least` (resizeReplicationBacklog in replication.c).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "conf/instant.h"
#include "conf/limits.h"

namespace azimuth {

struct BacklogRules {
  Duration outage = seconds(60);
  std::uint64_t least = 16 * kMiB;
  std::uint64_t most = 256 * kMiB;

  friend bool operator==(const BacklogRules&, const BacklogRules&) = default;
};

// For that rate; `maxmemory` 0: none.
std::uint64_t backlog_bytes_for(const BacklogRules& rules, double bytes_per_s,
                                std::uint64_t maxmemory);

// A rate of writes, from the offsets of one history. It follows a rise within seconds and forgets
// it within minutes: what was written once in that manner will be again.
class WriteRate {
 public:
  void on_offset(Instant now, std::string_view replid, std::uint64_t offset);
  // The offset has moved, or will, for other reasons than writes.
  void on_gap() { known_ = false; }
  double bytes_per_s() const { return rate_; }

 private:
  bool known_ = false;
  std::string replid_;
  Instant at_{};
  std::uint64_t offset_ = 0;
  double rate_ = 0;
};

class BacklogSizer {
 public:
  void set_rules(const BacklogRules& rules) { rules_ = rules; }
  const BacklogRules& rules() const { return rules_; }
  // Another process of Redis: it has read its own configuration.
  void forget();
  // What the setting is now; `resizable`: without losing what it holds. What it is at first may
  // have been set by an azimuth before this one: a size that we would set is no floor then.
  void on_size(std::uint64_t bytes, bool resizable);
  void on_rate(Instant now, double bytes_per_s, std::uint64_t maxmemory);

  // What it is to be; 0: not known yet.
  std::uint64_t wanted() const { return wanted_; }
  // ... which is less than it is.
  bool shrinks() const { return size_ != 0 && wanted_ < size_; }

 private:
  bool may_be_ours(std::uint64_t bytes) const;

  BacklogRules rules_;
  std::uint64_t size_ = 0;    // as it is
  std::uint64_t floor_ = 0;   // as somebody else has set it
  std::uint64_t wanted_ = 0;  // as it should be
  bool resizable_ = false;
  bool inherited_ = true;  // this process of Redis was there before us
  Instant plenty_since_ = kNever;
};

}  // namespace azimuth
