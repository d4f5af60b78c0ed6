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

namespace azimuth {

namespace {

constexpr uint64_t kTurnMs = 20;
constexpr uint64_t kStartMsMax = 30'000;
constexpr uint64_t kStopMsMax = 15'000;  // more than azimuth's own drain takes by default
constexpr int kRedisTries = 5;           // a port that was free may be taken before Redis has it
constexpr unsigned kAdminPortDistance = 3000;  // 6380 -> 9380, where `azimuth status` asks
constexpr int kExitNoProgram = 127;

// One zone: a redis-server and an azimuth.
struct Zone {
  std::string name;
  std::string directory;
  uint16_t listen_port = 0, admin_port = 0, redis_port = 0;
  int redis_tries = 0;
  // A try that failed keeps its handle until the loop has closed it.
  std::vector<std::unique_ptr<DevProcess>> redis_processes;
  DevProcess azimuth;

  DevProcess* redis() { return redis_processes.empty() ? nullptr : redis_processes.back().get(); }
};

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
    const uv_timer_cb turned = [](uv_timer_t* timer) { static_cast<Dev*>(timer->data)->on_turn(); };
    uv_timer_start(&timer_, turned, 0, kTurnMs);
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
  bool keeps_data() const { return !options_.directory.empty(); }

  void say(const std::string& text) { std::fprintf(stderr, "azimuth dev: %s\n", text.c_str()); }
  void fail(const std::string& text) {
    say(text);
    stop(1);
  }

  // Ports and directories. False: options that cannot be had, and that was said.
  bool plan() {
    for (unsigned i = 0; i < options_.zones; ++i) {
      auto zone = std::make_unique<Zone>();
      zone->name = "zone-" + std::to_string(i + 1);
      zone->directory = directory_ + "/" + zone->name;
      zone->listen_port = static_cast<uint16_t>(options_.base_port + i);
      if (!port_is_free(zone->listen_port)) {
        say("something listens on port " + std::to_string(zone->listen_port) +
            " already; choose another one: azimuth dev --base-port PORT");
        return false;
      }
      const unsigned admin = zone->listen_port + kAdminPortDistance;
      const bool usable = admin <= 65535 && port_is_free(static_cast<uint16_t>(admin));
      const auto port = usable ? static_cast<uint16_t>(admin) : any_free_port();
      if (!port) {
        say("no port is free");
        return false;
      }
      zone->admin_port = *port;
      std::error_code failed;
      std::filesystem::create_directories(zone->directory, failed);
      if (failed) {
        say("cannot make " + zone->directory + ": " + failed.message());
        return false;
      }
      zones_.push_back(std::move(zone));
    }
    return true;
  }

  void start_redis(Zone& zone) {
    const auto port = any_free_port();
    if (!port) return fail("no port is free");
    zone.redis_port = *port;
    ++zone.redis_tries;
    std::vector<std::string> command = {
        "redis-server", "--port",    std::to_string(*port), "--bind",      "127.0.0.1", "--dir",
        zone.directory, "--logfile", log_file(zone),        "--daemonize", "no"};
    if (!keeps_data()) command.insert(command.end(), {"--save", ""});
    zone.redis_processes.push_back(std::make_unique<DevProcess>());
    // With data to keep, Redis is asked to end, so that it saves it.
    const Outcome started = zone.redis()->start(
        &loop_, command, keeps_data() ? SIGTERM : SIGKILL,
        [this, &zone](int64_t exit_code, int number) { on_redis_ended(zone, exit_code, number); });
    if (!started.ok()) fail(started.error().message);
  }

  void start_azimuth(Zone& zone) {
    const std::string at = "127.0.0.1:";
    const std::vector<std::string> command = {
        kOwnProgram, "run",
        "--listen",  at + std::to_string(zone.listen_port),
        "--redis",   at + std::to_string(zone.redis_port),
        "--set",     "admin.address=" + at + std::to_string(zone.admin_port),
        "--set",     "node.id=" + zone.name,
        "--set",     "node.zone=" + zone.name,
        "--set",     "node.region=local",
        "--set",     "node.data_dir=" + zone.directory};
    const Outcome started =
        zone.azimuth.start(&loop_, command, SIGKILL, [this, &zone](int64_t exit_code, int number) {
          on_azimuth_ended(zone, exit_code, number);
        });
    if (!started.ok()) fail(started.error().message);
  }

  void on_turn() {
    const bool late = uv_now(&loop_) > deadline_ms_;
    switch (phase_) {
      case Phase::kStartRedis:
        if (late) return fail("redis-server did not answer in time");
        if (!all([](Zone& zone) { return redis_answers(zone); })) return;
        phase_ = Phase::kStartAzimuth;
        for (const auto& zone : zones_) {
          if (phase_ == Phase::kStartAzimuth) start_azimuth(*zone);
        }
        return;
      case Phase::kStartAzimuth:
        if (late) return fail("azimuth did not answer in time");
        if (!all([](Zone& zone) { return answers(zone.listen_port, "PING\r\n", "+PONG\r\n"); })) {
          return;
        }
        phase_ = Phase::kRunning;
        uv_timer_stop(&timer_);
        return print_endpoints();
      case Phase::kRunning:
        return;
      case Phase::kStopAzimuth:
        if (late) signal_all(SIGKILL);
        if (azimuth_runs()) return;
        phase_ = Phase::kStopRedis;
        deadline_ms_ = uv_now(&loop_) + kStopMsMax;
        for (const auto& zone : zones_) {
          if (zone->redis() != nullptr) zone->redis()->signal(SIGTERM);
        }
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

  void on_redis_ended(Zone& zone, int64_t exit_code, int number) {
    if (stopping()) return;
    const std::string what = "redis-server of " + zone.name + " " + how_it_ended(exit_code, number);
    if (phase_ == Phase::kStartRedis) {
      const bool again = exit_code == 1 && number == 0 && zone.redis_tries < kRedisTries;
      if (again) return start_redis(zone);
      if (exit_code != kExitNoProgram) print_log_end(zone);
      return fail(what);
    }
    if (phase_ == Phase::kStartAzimuth) return fail(what);
    on_death(what, "; start it again: redis-server --port " + std::to_string(zone.redis_port));
  }

  void on_azimuth_ended(Zone& zone, int64_t exit_code, int number) {
    if (stopping()) return;
    const std::string what = "azimuth of " + zone.name + " " + how_it_ended(exit_code, number);
    if (starting()) return fail(what);
    on_death(what, "");
  }

  void on_death(const std::string& what, const std::string& advice) {
    exit_code_ = 1;
    if (!azimuth_runs() && !redis_runs()) return fail(what + "; nothing is left, so this ends");
    say(what + ". The rest goes on (Ctrl-C stops it)" + advice);
  }

  void stop(int exit_code) {
    if (stopping()) return;
    exit_code_ = std::max(exit_code_, exit_code);
    phase_ = Phase::kStopAzimuth;
    uv_update_time(&loop_);
    deadline_ms_ = uv_now(&loop_) + kStopMsMax;
    for (const auto& zone : zones_) zone->azimuth.signal(SIGTERM);
    const uv_timer_cb turned = [](uv_timer_t* timer) { static_cast<Dev*>(timer->data)->on_turn(); };
    uv_timer_start(&timer_, turned, 0, kTurnMs);
  }

  void finish() {
    phase_ = Phase::kOver;
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
    for (uv_signal_t& each : signals_) uv_close(reinterpret_cast<uv_handle_t*>(&each), nullptr);
  }

  void signal_all(int number) {
    for (const auto& zone : zones_) {
      zone->azimuth.signal(number);
      if (zone->redis() != nullptr) zone->redis()->signal(number);
    }
  }

  template <class Condition>
  bool all(Condition condition) {
    return std::all_of(zones_.begin(), zones_.end(), [&](auto& zone) { return condition(*zone); });
  }
  bool azimuth_runs() {
    return !all([](Zone& zone) { return !zone.azimuth.running(); });
  }
  bool redis_runs() {
    return !all([](Zone& zone) { return zone.redis() == nullptr || !zone.redis()->running(); });
  }
  // By its process id: a port that was free may have become somebody else's.
  static bool redis_answers(Zone& zone) {
    const std::string wanted = "process_id:" + std::to_string(zone.redis()->pid()) + "\r\n";
    return zone.redis()->running() && answers(zone.redis_port, "INFO server\r\n", wanted);
  }
  static std::string log_file(const Zone& zone) { return zone.directory + "/redis.log"; }

  void print_log_end(const Zone& zone) {
    std::ifstream file(log_file(zone));
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
      std::printf("  its Redis  127.0.0.1:%u (redis-server, process %d)\n",
                  static_cast<unsigned>(zone->redis_port), zone->redis()->pid());
    }
    const auto port = static_cast<unsigned>(options_.base_port);
    std::printf("\nTry it, in another terminal:\n  redis-cli -p %u SET greeting hello\n", port);
    std::printf("  azimuth status --addr 127.0.0.1:%u\n",
                static_cast<unsigned>(zones_[0]->admin_port));
    if (keeps_data()) {
      std::printf("\nThe data is kept in %s. Ctrl-C stops everything.\n", directory_.c_str());
    } else {
      std::printf("\nThe data is in memory and goes with this process (--dir DIR keeps it). ");
      std::printf("Ctrl-C stops everything.\n");
    }
    std::printf("azimuth dev ready listen=127.0.0.1:%u\n", port);
    std::fflush(stdout);
  }

  const DevOptions& options_;
  std::string directory_;
  uv_loop_t loop_{};
  uv_timer_t timer_{};
  std::array<uv_signal_t, kSignals.size()> signals_{};
  std::vector<std::unique_ptr<Zone>> zones_;
  Phase phase_ = Phase::kStartRedis;
  uint64_t deadline_ms_ = 0;
  int exit_code_ = 0;
};

}  // namespace

int run_dev(const DevOptions& options) {
  if (options.zones != 1) {
    std::fprintf(
        stderr,
        "azimuth dev: --zones %u is not to be had: several zones are a cluster, which this "
        "version does not have yet; use --zones 1\n",
        options.zones);
    return 2;
  }
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
