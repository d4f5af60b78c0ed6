// A redis-server process on a machine: started, killed, paused, and what its disk remembers.
//
// Invariants: whatever is posted to it happens in order, waits while it is paused, and is lost with
// the process. It comes up with what its persistence kept: nothing, its last RDB file (which may be
// the leftover of a full sync), or its AOF under a new replication id. Owned by one simulation.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "tests/sim/fake_redis.h"
#include "tests/sim/standstill.h"

namespace azimuth::sim {

class World;

enum class Persistence : std::uint8_t { kNone, kRdb, kAof };

struct RedisSetup {
  Persistence persistence = Persistence::kNone;
  bool boots_fenced = true;
  std::uint64_t backlog_bytes = 1 << 20;
};

class RedisServer final : public RedisHost {
 public:
  RedisServer(World& world, std::size_t machine, RedisSetup setup);
  ~RedisServer() override;

  void start();
  void kill();
  void save();  // BGSAVE
  void pause(Time until);
  void lose_disk();

  FakeRedis* redis() { return redis_.get(); }
  const FakeRedis* redis() const { return redis_.get(); }
  std::uint64_t generation() const { return generation_; }
  // When it will read its sockets: now, or at the end of its pause.
  Time resumes() const { return standstill_.resumes(); }
  // For what is on its way to this very process.
  void post(Time delay, std::function<void(FakeRedis&)> happen);
  // Whether it has lost memory since its node last found it whole.
  bool forgot = false;

  std::shared_ptr<Wire> dial(std::uint16_t port) override;
  void run_at(Time when, std::function<void()> happen) override;
  void on_tap_bytes(std::uint64_t offset) override;
  void on_tap_end() override;
  void on_full_sync(const Snapshot& incoming) override;
  void on_fence_lifted() override;
  void on_broken(const std::string& what) override;

 private:
  void cron();
  void run(std::uint64_t generation, const std::function<void()>& happen);

  World& world_;
  std::size_t machine_;
  RedisSetup setup_;
  std::unique_ptr<FakeRedis> redis_;
  std::uint64_t generation_ = 0;
  Standstill standstill_;
  std::optional<Snapshot> disk_;
};

}  // namespace azimuth::sim
