// What this node knows of replication's catching up: the queue of replicas that copy its Redis, and
// how its own Redis caught up with the primary. Brings the workers' news to the machines of
// health/, carries out what they say, and logs it.
//
// Invariants: one line when something begins, at most one every few seconds, one at its end. Owned
// by the control thread.
#pragma once

#include <functional>
#include <string>

#include "conf/instant.h"
#include "health/catch_up.h"
#include "health/copy_queue.h"
#include "health/redis_pilot.h"
#include "proxy/control/status.h"
#include "proxy/peer/relay_sync.h"

namespace azimuth {

class Syncs {
 public:
  // To that relay: a note for the other side; `go`: what it holds back may pass.
  using Send = std::function<void(const CopyId& to, const SyncNote& note, bool go)>;
  explicit Syncs(Send send) : send_(std::move(send)) {}

  void on_copy(Instant now, unsigned worker, const CopyNews& news);
  void on_sync(Instant now, const SyncNews& news);
  // The local Redis's facts may have changed. `pilot`: of a member that runs; else null.
  void on_redis(Instant now, const RedisPilot* pilot);
  // About once a second.
  void on_tick(Instant now, const RedisPilot* pilot);
  void describe(Instant now, const RedisPilot* pilot, ClusterReport& report) const;

 private:
  void carry_out();

  Send send_;
  CopyQueue copies_;
  CatchUp catch_up_;
};

}  // namespace azimuth
