// What a node's own Redis is, and what it is to be: the words between leadership, which decides,
// and the pilot, which drives the redis-server there.
//
// Invariants: an order is a state and not a step: it holds until the next one, and carrying it out
// twice is the same as once. Facts are measured, never assumed: what the pilot was told to do is
// true only when the facts say so. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "conf/instant.h"

namespace azimuth {

enum class OrderKind : std::uint8_t {
  kFence,   // takes no writes and follows nobody; the role that it has is left alone
  kFollow,  // a replica of the epoch's primary, through this epoch's tunnel
  kLead,    // takes writes: promoted, its tap attached, its fence lifted
  kStand,   // a primary that is about to step down: fenced, so that its offset stays
};
std::string_view to_string(OrderKind kind);

struct RedisOrder {
  OrderKind kind = OrderKind::kFence;
  std::uint64_t epoch = 0;
  std::string leader;  // kFollow: whose Redis
  // kFollow: the epoch's replication id. Empty: not known yet, and then nothing is followed. A full
  // sync is taken from this lineage alone (I5).
  std::string replid;

  friend bool operator==(const RedisOrder&, const RedisOrder&) = default;
};

// When the facts were asked for: no fact itself, and alone no news.
struct AskedAt {
  Instant at{};
  friend bool operator==(const AskedAt&, const AskedAt&) { return true; }
};

// What the local Redis was when it was last asked; see health/redis_state.h for the fields' origin.
struct LocalRedis {
  bool alive = false;    // answers, perhaps with an error
  bool loading = false;  // reads its data set from disk, or takes a first copy
  bool master = false;
  bool link_up = false;  // a replica that hears from its primary
  bool empty = true;     // no key in any database
  bool fenced = true;    // min-replicas-to-write keeps writes out
  std::string run_id;    // another one: another process
  std::string replid, replid2;
  std::int64_t second_offset = -1;  // the first offset that replid2 does not reach
  std::uint64_t offset = 0;         // applied
  // Why it cannot be driven (an ACL, a renamed command), with what to do; empty while it can. What
  // it holds counts all the same.
  std::string trouble;
  // The order that these facts show to be carried out, all of them measured after it was given:
  // kLead{epoch} only when promoted, its tap attached and the fence lifted; kFollow{epoch} only
  // when synced through that epoch's tunnel; kFence{epoch} and kStand{epoch} only when fenced, the
  // tunnel cut and `link_up` false, so that `offset` grows no more: a voter's promise states it.
  OrderKind done = OrderKind::kFence;
  std::uint64_t done_epoch = 0;
  // All that had been written by then is within `offset`.
  AskedAt asked;

  friend bool operator==(const LocalRedis&, const LocalRedis&) = default;
};

}  // namespace azimuth
