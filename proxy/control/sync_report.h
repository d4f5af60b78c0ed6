// How replicas catch up, for the pages that show it: what this node's Redis has given and got, and
// the backlog that spares them a full copy. Values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "health/catch_up.h"
#include "health/copy_queue.h"
#include "health/redis_pilot.h"

namespace azimuth {

struct SyncsReport {
  // At the source.
  std::vector<CopyReport> copies;
  CopyQueue::Counts given;
  // At the replica: the last one, or the one that goes on.
  CatchUpState state = CatchUpState::kNone;
  SyncHow how = SyncHow::kFull;
  std::string source, reason;
  CopyProgress progress;
  double seconds = 0;
  std::uint64_t partial = 0, full = 0, broken = 0;  // of all
  RedisNumbers redis;
};

// How long an outage the backlog would cover at the measured rate; -1: any.
std::int64_t backlog_seconds(const RedisNumbers& numbers);

}  // namespace azimuth
