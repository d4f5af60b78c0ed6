#include "proxy/control/dev.h"

#include <uv.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "proxy/control/dev_process.h"
#include "proxy/control/dev_zone.h"

namespace azimuth {

namespace {

constexpr uint64_t kTurnMs = 20;
constexpr uint64_t kStartMsMax = 30'000;
constexpr uint64_t kStopMsMax = 15'000;  // more than azimuth's own drain takes by default
constexpr uint64_t kAgainMs = 1500;      // between a death in a cluster and the next start
constexpr int kRedisTries = 5;           // a port that was free may be taken before Redis has it
constexpr int kStartsMax = 1000;         // of one zone's process: something is wrong by then
constexpr int kExitNoProgram = 127;

std::string how_it_ended(int64_t exit_code, int number) {
  return number != 0 ? "was ended by signal " + std::to_string(number)
                     : "ended with exit code " + std::to_string(exit_code);
}

//  kStartRedis -> kStartAzimuth -> kRunning -> kStopAzimuth -> kStopRedis -> kOver
//  from the first two a fault, from the first three a signal leads to kStopAzimuth
class Dev {
 public:
  Dev(const DevOptions& options, std::string directory)
      : options_(options), directory_(std::move(directory)) {}

  int run() {
    uv_loop_init(&loop_);
    uv_timer_init(&loop_, &timer_);
    timer_.data = this;
    for (size_t i = 0; i < signals_.size(); ++i) {
      uv_signal_init(&loop_, &signals_[i]);
      signals_[i].data = this;
      const uv_signal_cb caught = [](uv_signal_t* handle, int) {
        static_cast<Dev*>(handle->data)->on_signal();
      };
      uv_signal_start(&signals_[i], caught, kSignals[i]);
    }
    turn_from_now_on();
    deadline_ms_ = uv_now(&loop_) + kStartMsMax;
    if (plan()) {
      for (const auto& zone : zones_) start_redis(*zone);
    } else {
      stop(2);
    }
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
    return exit_code_;
  }

 private:
  enum class Phase : uint8_t {
    kStartRedis,
    kStartAzimuth,
    kRunning,
    kStopAzimuth,
    kStopRedis,
    kOver,
  };
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};

  bool starting() const { return phase_ == Phase::kStartRedis || phase_ == Phase::kStartAzimuth; }
  bool stopping() const { return phase_ > Phase::kRunning; }
  bool is_cluster() const { return options_.zones > 1; }
  bool keeps_data() const { return !options_.directory.empty(); }

  void say(const std::string& text) { std::fprintf(stderr, "azimuth dev: %s\n", text.c_str()); }
  void fail(const std::string& text) {
    say(text);
    stop(1);
  }

  bool plan() {
    Result<DevZones> zones = plan_zones(options_.zones, options_.base_port, directory_);
    if (!zones.ok()) return refuse(zones.error().message);
    zones_ = std::move(*zones);
    for (const auto& zone : zones_) {
      const auto port = any_free_port();
      if (!port) return refuse("no port is free");
      zone->redis_port = *port;
    }
    if (!is_cluster()) return true;
    const Outcome written = write_cluster(zones_, directory_);
    return written.ok() || refuse(written.error().message);
  }
  bool refuse(const std::string& text) {
    say(text);
    return false;
  }

  void start_redis(DevZone& zone) {
    zone.redis_again_ms = 0;
    ++zone.redis_tries;
    zone.redis_processes.push_back(std::make_unique<DevProcess>());
    // With data to keep, Redis is asked to end, so that it saves it.
    const Outcome started = zone.redis()->start(
        &loop_, redis_command(zone, keeps_data(), is_cluster()), keeps_data() ? SIGTERM : SIGKILL,
        [this, &zone](int64_t exit_code, int number) { on_redis_ended(zone, exit_code, number); });
    if (!started.ok()) fail(started.error().message);
  }

  void start_azimuth(DevZone& zone) {
    zone.azimuth_again_ms = 0;
    zone.azimuth_processes.push_back(std::make_unique<DevProcess>());
    const Outcome started =
        zone.azimuth()->start(&loop_, azimuth_command(zone, is_cluster()), SIGKILL,
                              [this, &zone](int64_t exit_code, int number) {
                                on_azimuth_ended(zone, exit_code, number);
                              });
    if (!started.ok()) fail(started.error().message);
  }

  void on_turn() {
    const bool late = uv_now(&loop_) > deadline_ms_;
    switch (phase_) {
      case Phase::kStartRedis:
        if (late) return fail("redis-server did not answer in time");
        if (!all([](const DevZone& zone) { return redis_answers(zone); })) return;
        phase_ = Phase::kStartAzimuth;
        for (const auto& zone : zones_) {
          if (phase_ == Phase::kStartAzimuth) start_azimuth(*zone);
        }
        return;
      case Phase::kStartAzimuth:
        if (late) return fail("azimuth did not answer in time");
        if (!all([this](const DevZone& zone) { return azimuth_answers(zone, is_cluster()); }) ||
            (is_cluster() && !is_whole(zones_))) {
          return;
        }
        phase_ = Phase::kRunning;
        uv_timer_stop(&timer_);
        return print_endpoints();
      case Phase::kRunning:
        return start_again();
      case Phase::kStopAzimuth:
        if (late) signal_all(SIGKILL);
        if (azimuth_runs()) return;
        phase_ = Phase::kStopRedis;
        deadline_ms_ = uv_now(&loop_) + kStopMsMax;
        for (const auto& zone : zones_) zone->signal_redis(SIGTERM);
        return;
      case Phase::kStopRedis:
        if (late) signal_all(SIGKILL);
        if (!redis_runs()) finish();
        return;
      case Phase::kOver:
        return;
    }
  }

  void on_signal() {
    if (stopping()) {
      say("ending everything at once");
      return signal_all(SIGKILL);
    }
    std::fputs("\nazimuth dev: stopping\n", stderr);
    stop(0);
  }

  void on_redis_ended(DevZone& zone, int64_t exit_code, int number) {
    if (stopping()) return;
    const std::string what = "redis-server of " + zone.name + " " + how_it_ended(exit_code, number);
    if (phase_ == Phase::kStartRedis) {
      const bool again = exit_code == 1 && number == 0 && zone.redis_tries < kRedisTries;
      if (again) {
        // Another port; a cluster's settings file names it.
        zone.redis_port = any_free_port().value_or(zone.redis_port);
        if (is_cluster() && !write_cluster(zones_, directory_).ok()) return fail(what);
        return start_redis(zone);
      }
      if (exit_code != kExitNoProgram) print_log_end(zone);
      return fail(what);
    }
    if (phase_ == Phase::kStartAzimuth) return fail(what);
    if (is_cluster()) {
      return on_death_in_cluster(what, zone.redis_processes.size(), zone.redis_again_ms);
    }
    on_death(what, "; start it again: redis-server --port " + std::to_string(zone.redis_port));
  }

  void on_azimuth_ended(DevZone& zone, int64_t exit_code, int number) {
    if (stopping()) return;
    const std::string what = "azimuth of " + zone.name + " " + how_it_ended(exit_code, number);
    if (starting()) return fail(what);
    if (is_cluster()) {
      return on_death_in_cluster(what, zone.azimuth_processes.size(), zone.azimuth_again_ms);
    }
    on_death(what, "");
  }

  void on_death(const std::string& what, const std::string& advice) {
    exit_code_ = 1;
    if (!azimuth_runs() && !redis_runs()) return fail(what + "; nothing is left, so this ends");
    say(what + ". The rest goes on (Ctrl-C stops it)" + advice);
  }

  // As a supervisor would: it is what people kill to see another zone take over.
  void on_death_in_cluster(const std::string& what, size_t starts, uint64_t& again_ms) {
    if (starts >= kStartsMax) return fail(what + " for the " + std::to_string(starts) + "th time");
    say(what + "; it starts again in " + std::to_string(kAgainMs / 1000.0).substr(0, 3) + " s");
    uv_update_time(&loop_);
    again_ms = uv_now(&loop_) + kAgainMs;
    turn_from_now_on();
  }

  void start_again() {
    const uint64_t now_ms = uv_now(&loop_);
    bool waiting = false;
    for (const auto& zone : zones_) {
      if (zone->redis_again_ms != 0 && zone->redis_again_ms <= now_ms) {
        start_redis(*zone);
        say("redis-server of " + zone->name + " has started again, process " +
            std::to_string(zone->redis()->pid()));
      }
      if (zone->azimuth_again_ms != 0 && zone->azimuth_again_ms <= now_ms) {
        start_azimuth(*zone);
        say("azimuth of " + zone->name + " has started again, process " +
            std::to_string(zone->azimuth()->pid()));
      }
      waiting = waiting || zone->redis_again_ms != 0 || zone->azimuth_again_ms != 0;
    }
    if (!waiting && phase_ == Phase::kRunning) uv_timer_stop(&timer_);
  }

  void turn_from_now_on() {
    const uv_timer_cb turned = [](uv_timer_t* timer) { static_cast<Dev*>(timer->data)->on_turn(); };
    uv_timer_start(&timer_, turned, 0, kTurnMs);
  }

  void stop(int exit_code) {
    if (stopping()) return;
    exit_code_ = std::max(exit_code_, exit_code);
    phase_ = Phase::kStopAzimuth;
    uv_update_time(&loop_);
    deadline_ms_ = uv_now(&loop_) + kStopMsMax;
    for (const auto& zone : zones_) zone->signal_azimuth(SIGTERM);
    turn_from_now_on();
  }

  void finish() {
    phase_ = Phase::kOver;
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
    for (uv_signal_t& each : signals_) uv_close(reinterpret_cast<uv_handle_t*>(&each), nullptr);
  }

  void signal_all(int number) {
    for (const auto& zone : zones_) {
      zone->signal_azimuth(number);
      zone->signal_redis(number);
    }
  }

  template <class Condition>
  bool all(Condition condition) {
    return std::all_of(zones_.begin(), zones_.end(), [&](auto& zone) { return condition(*zone); });
  }
  bool azimuth_runs() {
    return !all([](const DevZone& zone) { return !zone.azimuth_runs(); });
  }
  bool redis_runs() {
    return !all([](const DevZone& zone) { return !zone.redis_runs(); });
  }

  void print_log_end(const DevZone& zone) {
    std::ifstream file(zone.log_file());
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
      lines.push_back(line);
      if (lines.size() > 10) lines.erase(lines.begin());
    }
    for (const std::string& line : lines)
      std::fprintf(stderr, "  redis-server: %s\n", line.c_str());
  }

  void print_endpoints() {
    for (const auto& zone : zones_) {
      std::printf("%s\n", zone->name.c_str());
      std::printf("  clients    127.0.0.1:%u\n", static_cast<unsigned>(zone->listen_port));
      std::printf("  status     http://127.0.0.1:%u/\n", static_cast<unsigned>(zone->admin_port));
      if (is_cluster()) std::printf("  azimuth    process %d\n", zone->azimuth()->pid());
      std::printf("  its Redis  127.0.0.1:%u (redis-server, process %d)\n",
                  static_cast<unsigned>(zone->redis_port), zone->redis()->pid());
    }
    const auto port = static_cast<unsigned>(options_.base_port);
    const auto admin = static_cast<unsigned>(zones_[0]->admin_port);
    std::printf("\nTry it, in another terminal:\n  redis-cli -p %u SET greeting hello\n", port);
    std::printf("  azimuth status --addr 127.0.0.1:%u\n", admin);
    if (is_cluster()) print_failover(port, admin);
    if (keeps_data()) {
      std::printf("\nThe data is kept in %s. Ctrl-C stops everything.\n", directory_.c_str());
    } else {
      std::printf("\nThe data is in memory and goes with this process (--dir DIR keeps it). ");
      std::printf("Ctrl-C stops everything.\n");
    }
    std::printf("azimuth dev ready listen=127.0.0.1:%u\n", port);
    std::fflush(stdout);
  }

  void print_failover(unsigned port, unsigned admin) {
    std::printf("  azimuth switchover --addr 127.0.0.1:%u\n", admin);
    const DevZone* const primary = primary_of(zones_);
    if (primary == nullptr) return;
    std::printf("\n%s is the primary. Kill its Redis, or the whole node, and watch:\n",
                primary->name.c_str());
    std::printf("  while sleep 0.1; do redis-cli -p %u INCR n; done\n",
                port + (primary->listen_port == port ? 1U : 0U));
    std::printf("  kill -9 %d\n  kill -9 %d %d\n", primary->redis()->pid(), primary->redis()->pid(),
                primary->azimuth()->pid());
    std::printf("What was killed starts again after %s s, and joins as a replica.\n",
                std::to_string(kAgainMs / 1000.0).substr(0, 3).c_str());
  }

  const DevOptions& options_;
  std::string directory_;
  uv_loop_t loop_{};
  uv_timer_t timer_{};
  std::array<uv_signal_t, kSignals.size()> signals_{};
  DevZones zones_;
  Phase phase_ = Phase::kStartRedis;
  uint64_t deadline_ms_ = 0;
  int exit_code_ = 0;
};

}  // namespace

int run_dev(const DevOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our output that leaves must not orphan the children
  TemporaryDirectory temporary;
  std::string directory;
  if (options.directory.empty()) {
    const Outcome made = temporary.make();
    if (!made.ok()) {
      std::fprintf(stderr, "azimuth dev: %s\n", made.error().message.c_str());
      return 1;
    }
    directory = temporary.path();
  } else {
    std::error_code failed;
    directory = std::filesystem::absolute(options.directory, failed).string();
  }
  return Dev(options, directory).run();
}

}  // namespace azimuth
