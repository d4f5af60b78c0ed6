#include "tests/sim/redis_server.h"

#include "tests/sim/world.h"

namespace azimuth::sim {

RedisServer::RedisServer(World& world, std::size_t machine, RedisSetup setup)
    : world_(world), machine_(machine), setup_(setup), standstill_(world.scheduler) {}

RedisServer::~RedisServer() = default;

void RedisServer::start() {
  if (redis_) return;
  std::map<std::string, std::string> config = {
      {"min-replicas-to-write", setup_.boots_fenced ? "999999" : "0"},
      {"min-replicas-max-lag", "10"},
      {"repl-backlog-size", std::to_string(setup_.backlog_bytes)},
      {"repl-backlog-ttl", "3600"},
      {"repl-diskless-sync", "yes"},
      {"repl-diskless-sync-delay", "5"},
      {"rdb-del-sync-files", "no"},
      {"replica-read-only", "yes"},
      {"replica-announce-ip", ""},
      {"replica-announce-port", "0"},
      {"repl-timeout", "60"},
      {"repl-ping-replica-period", "10"},
      {"shutdown-timeout", "10"},
      {"masteruser", ""},
      {"masterauth", ""},
      {"requirepass", ""},
      {"replica-serve-stale-data", "yes"},
      {"save", setup_.persistence == Persistence::kRdb ? "3600 1" : ""},
      {"appendonly", setup_.persistence == Persistence::kAof ? "yes" : "no"},
  };
  ++generation_;
  standstill_.reset();
  redis_ = std::make_unique<FakeRedis>(*this, world_.scheduler, world_.random, std::move(config),
                                       disk_ ? &*disk_ : nullptr,
                                       setup_.persistence == Persistence::kAof);
  world_.trace(machine_, "redis up, " + std::to_string(redis_->data().count) + " writes");
  run_at(world_.scheduler.now() + ms(100), [this] { cron(); });
}

void RedisServer::cron() {
  redis_->on_cron();
  run_at(world_.scheduler.now() + ms(100), [this] { cron(); });
}

void RedisServer::kill() {
  if (!redis_) return;
  world_.trace(machine_, "redis killed, " + std::to_string(redis_->data().count) + " writes");
  if (setup_.persistence == Persistence::kAof) disk_ = redis_->snapshot();
  ++generation_;
  forgot = true;
  redis_->close_all();
  redis_.reset();
  world_.on_redis_gone(machine_);
}

void RedisServer::save() {
  if (redis_ && setup_.persistence == Persistence::kRdb && !redis_->loading()) {
    disk_ = redis_->snapshot();
  }
}

void RedisServer::pause(Time until) { standstill_.stop(until); }

void RedisServer::lose_disk() { disk_.reset(); }

void RedisServer::post(Time delay, std::function<void(FakeRedis&)> happen) {
  run_at(world_.scheduler.now() + delay, [this, happen = std::move(happen)] { happen(*redis_); });
}

void RedisServer::run_at(Time when, std::function<void()> happen) {
  world_.scheduler.at(when, [this, generation = generation_, happen = std::move(happen)] {
    run(generation, happen);
  });
}

void RedisServer::run(std::uint64_t generation, const std::function<void()>& happen) {
  if (generation != generation_ || !redis_) return;
  standstill_.run([this, generation, happen] {
    if (generation == generation_ && redis_) happen();
  });
}

std::shared_ptr<Wire> RedisServer::dial(std::uint16_t port) {
  return world_.dial_tunnel(machine_, port);
}

void RedisServer::on_tap_bytes(std::uint64_t offset) { world_.on_tap_bytes(machine_, offset); }

void RedisServer::on_tap_end() { world_.on_tap_end(machine_); }

void RedisServer::on_full_sync(const Snapshot& incoming) {
  world_.on_full_sync(machine_, incoming);
  // The file of a full sync stays behind as dump.rdb, unless Redis is told to delete it and has no
  // persistence of its own.
  if (setup_.persistence == Persistence::kRdb || redis_->config_is("rdb-del-sync-files", "no")) {
    disk_ = incoming;
  }
}

void RedisServer::on_fence_lifted() { world_.on_fence_lifted(machine_); }

void RedisServer::on_broken(const std::string& what) { world_.fail(machine_, "broken", what); }

}  // namespace azimuth::sim
