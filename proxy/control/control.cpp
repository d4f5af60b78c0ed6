#include "proxy/control/control.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "proxy/control/info_section.h"
#include "proxy/control/log.h"
#include "proxy/control/places.h"
#include "proxy/control/reload.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

constexpr uint64_t kTickMs = 1000;
// Workers end at drain_timeout_ms; one that has not some time later never will.
constexpr uint64_t kDrainGraceMs = 5000;
constexpr uint64_t kDepartMsMax = 1000;
constexpr uint64_t kDepartTickMs = 10;
constexpr std::array<int, 3> kSignals = {SIGTERM, SIGINT, SIGHUP};

template <class Handle>
uv_handle_t* handle_of(Handle* handle) {
  return reinterpret_cast<uv_handle_t*>(handle);
}

const char* name_of_signal(int number) {
  return number == SIGTERM ? "SIGTERM" : number == SIGINT ? "SIGINT" : "SIGHUP";
}

}  // namespace

Control::Control(Process& process, const RunOptions& options,
                 std::shared_ptr<const Settings> settings, std::vector<std::string> listening,
                 std::optional<Membership> membership)
    : process_(process),
      options_(options),
      settings_(std::move(settings)),
      listening_(std::move(listening)),
      started_ns_(uv_hrtime()),
      certificates_(options.certificates) {
  AZIMUTH_CHECK(uv_loop_init(&loop_) == 0);
  loop_.data = this;
  uv_async_init(&loop_, &wake_,
                [](uv_async_t* handle) { static_cast<Control*>(handle->loop->data)->on_mail(); });
  uv_timer_init(&loop_, &tick_);
  for (uv_signal_t& each : signals_) uv_signal_init(&loop_, &each);
  if (membership) {
    make_group(std::move(*membership));
    topology_ = group_->topology();
  } else {
    topology_ = std::make_shared<const Topology>(
        single_redis(settings_->node.id, settings_->node.zone, settings_->node.region,
                     settings_->redis->address));
  }
  refresh_board();
  process_.post_to_control = [this](std::function<void()> task) { post(std::move(task)); };
  process_.status_json = [this] {
    NodeReport node = *board();
    node.uptime_s = uptime_s();
    return status_json(node, metrics());
  };
  process_.info_section = [this] {
    NodeReport node = *board();
    node.uptime_s = uptime_s();
    return info_section(node, add_up(metrics()));
  };
}

Control::~Control() {
  finish();
  uv_run(&loop_, UV_RUN_DEFAULT);
  AZIMUTH_CHECK(uv_loop_close(&loop_) == 0);
}

Outcome Control::open() {
  for (size_t i = 0; i < kSignals.size(); ++i) {
    uv_signal_start(
        &signals_[i],
        [](uv_signal_t* handle, int number) {
          static_cast<Control*>(handle->loop->data)->on_signal(number);
        },
        kSignals[i]);
  }
  if (group_) {
    if (Outcome opened = group_->open(); !opened.ok()) return opened;
  }
  if (!settings_->admin) return Done{};
  admin_ = std::make_unique<AdminServer>(
      &loop_, [this](std::string_view path) { return admin_response(path); }, HttpLimits{},
      [this](std::string_view path, std::string_view query) { return admin_action(path, query); });
  Outcome opened = admin_->listen(settings_->admin->address);
  if (opened.ok()) log_info("admin_open", {{"addr", to_string(admin_->bound())}});
  return opened;
}

void Control::run(const SocketAddress& redis) {
  pulses_.resize(process_.workers.size());
  for (Pulse& pulse : pulses_) pulse.beat = std::make_shared<std::atomic<bool>>(false);
  uv_timer_start(
      &tick_, [](uv_timer_t* handle) { static_cast<Control*>(handle->loop->data)->on_tick(); }, 0,
      kTickMs);
  redis_address_ = redis;
  start_watch(redis);
  if (group_) group_->start();
  uv_run(&loop_, UV_RUN_DEFAULT);
}

void Control::worker_ended(size_t index) {
  post([this, index] {
    pulses_[index].ended = true;
    if (++workers_ended_ == process_.workers.size()) depart();
  });
}

void Control::post(std::function<void()> task) {
  {
    const std::lock_guard<std::mutex> lock(mail_mutex_);
    mail_.push_back(std::move(task));
  }
  uv_async_send(&wake_);
}

void Control::on_mail() {
  std::vector<std::function<void()>> mail;
  {
    const std::lock_guard<std::mutex> lock(mail_mutex_);
    mail.swap(mail_);
  }
  for (auto& task : mail) task();
}

void Control::on_tick() {
  event_log().on_tick();
  take_pulses();
  if (group_) syncs_->on_tick(clock_now(), group_->pilot());
  refresh_board();
  watch_certificates();
  if (tunnel_again_ != 0) want_tunnel(tunnel_again_);
  check_drain();
}

void Control::on_signal(int number) {
  if (number != SIGHUP) return drain(number);
  if (!draining_) reload();
}

// A worker whose loop has ended reads no mail any more.
void Control::for_each_live_worker(const std::function<void(Worker&)>& task) {
  for (size_t i = 0; i < process_.workers.size(); ++i) {
    if (!pulses_[i].ended) task(*process_.workers[i]);
  }
}

// --- the local Redis ---------------------------------------------------------------------------

void Control::start_watch(const SocketAddress& redis) {
  if (!settings_->redis) return;
  RedisWatch::Hooks hooks;
  hooks.on_event = [this](const RedisEvent& event) { on_redis_event(event); };
  hooks.on_news = [this] { refresh_board(); };
  hooks.on_address = [this](const SocketAddress& address) { on_redis_address(address); };
  hooks.on_commands = [this](const std::shared_ptr<const ExtraCommands>& extra) {
    for_each_live_worker([&extra](Worker& worker) {
      worker.post([extra](Worker& each) { each.set_extra_commands(extra); });
    });
  };
  watch_ = std::make_unique<RedisWatch>(&loop_, *settings_->redis, redis, std::move(hooks));
  watch_->start();
}

void Control::on_redis_event(const RedisEvent& event) {
  LogLevel level = LogLevel::kInfo;
  switch (event.kind) {
    case RedisEventKind::kDown:
    case RedisEventKind::kStuck:
    case RedisEventKind::kLoading:
    case RedisEventKind::kRefused:
      level = LogLevel::kWarn;
      break;
    case RedisEventKind::kUp:
    case RedisEventKind::kRestarted:
    case RedisEventKind::kLoaded:
    case RedisEventKind::kRoleChanged:
    case RedisEventKind::kLineageChanged:
    case RedisEventKind::kAccepted:
      break;
  }
  const std::string address = to_string(settings_->redis->address);
  if (event.kind == RedisEventKind::kUp) {
    const RedisState& state = watch_->probe().state();
    log_event(level, to_string(event.kind),
              {{"addr", address},
               {"version", state.version},
               {"run_id", state.run_id},
               {"role", to_string(state.role)}});
  } else {
    log_event(level, to_string(event.kind), {{"addr", address}, {"reason", event.reason}});
  }
}

void Control::on_redis_address(const SocketAddress& address) {
  log_info("redis_address", {{"name", to_string(settings_->redis->address)},
                             {"addr", address_text(address, false)}});
  redis_address_ = address;
  set_topology(topology_);
}

// --- reload ------------------------------------------------------------------------------------

void Control::reload() {
  if (options_.config_file.empty()) {
    return log_warning("reload_skipped", {{"reason", "the node runs without --config"}});
  }
  const Result<std::string> text = read_settings_file(options_.config_file);
  if (!text.ok()) {
    return log_error("reload_refused", {{"reason", text.error().message}});
  }
  SettingsResult parsed =
      parse_settings(*text, options_.config_file, options_.overrides, host_name());
  read_places(parsed);
  CertificatesResult certificates = read_certificates(parsed);
  std::vector<SettingsError> errors = parsed.errors;
  errors.insert(errors.end(), certificates.errors.begin(), certificates.errors.end());
  for (const SettingsError& error : errors) {
    log_error("reload_error", {{"position", error.position}, {"reason", error.message}});
  }
  if (!errors.empty()) {
    return log_error("reload_refused",
                     {{"errors", errors.size()}, {"reason", "the old settings stay in force"}});
  }
  apply(parsed.settings, std::move(certificates.certificates));
}

void Control::apply(const Settings& wanted, std::shared_ptr<const LinkCertificates> certificates) {
  const auto applied = std::make_shared<const Settings>(without_restart(*settings_, wanted));
  const std::vector<SettingChange> changed = diff(*settings_, *applied);
  const std::vector<SettingChange> left = diff(*applied, wanted);
  settings_ = applied;
  set_log_level(settings_->log.level);
  for_each_live_worker([&applied](Worker& worker) {
    worker.post([applied](Worker& each) { each.apply_settings(applied); });
  });
  if (settings_->peer && wanted.peer) set_certificates(std::move(certificates));
  if (watch_ && settings_->redis) watch_->set_settings(*settings_->redis);
  if (group_ && settings_->redis) group_->set_redis_settings(*settings_->redis);
  if (group_) group_->set_back_pressure(settings_->back_pressure);
  if (group_) group_->set_tunnel_tree(settings_->cluster->tunnel_tree);
  for (const SettingChange& change : changed) {
    log_info("setting_changed",
             {{"key", change.key}, {"before", change.before}, {"after", change.after}});
  }
  for (const SettingChange& change : left) {
    log_warning("setting_needs_restart",
                {{"key", change.key}, {"in_force", change.before}, {"in_file", change.after}});
  }
  log_info(
      "reloaded",
      {{"file", options_.config_file}, {"changed", changed.size()}, {"need_restart", left.size()}});
  refresh_board();
}

// --- the end -----------------------------------------------------------------------------------

void Control::drain(int number) {
  const uint64_t now_ms = uv_now(&loop_);
  if (!draining_) {
    draining_ = true;
    drain_deadline_ms_ = now_ms + settings_->limits.drain_timeout_ms + kDrainGraceMs;
    log_info("draining", {{"signal", name_of_signal(number)},
                          {"clients", process_.clients.load(std::memory_order_relaxed)},
                          {"timeout_ms", settings_->limits.drain_timeout_ms}});
    if (group_) group_->prepare_to_leave();
    // A primary has its successor first: its clients go on there, and see no error.
    if (group_ && group_->leading()) {
      step_down();
    } else {
      drain_workers();
    }
    return refresh_board();
  }
  // Somebody is in a hurry: what is outstanding is not waited for.
  log_warning("drain_cut_short", {{"signal", name_of_signal(number)}});
  drain_workers();
  drain_deadline_ms_ = std::min(drain_deadline_ms_, now_ms + kDrainGraceMs);
  for_each_live_worker([](Worker& worker) {
    worker.post([](Worker& each) {
      each.for_each_client([&each](Client& client) { each.cut(client, CutReason::kDrain); });
    });
  });
}

void Control::drain_workers() {
  stepping_down_ = false;
  if (draining_workers_) return;
  draining_workers_ = true;
  for_each_live_worker([](Worker& worker) { worker.post([](Worker& each) { each.drain(); }); });
}

void Control::check_drain() {
  const bool alone = stepping_down_ && !group_->has_successor();
  if (stepping_down_ && (alone || uv_now(&loop_) >= step_down_deadline_ms_)) {
    log_warning("not_stepped_down",
                {{"reason", alone ? "all others have left" : "it takes too long"}});
    drain_workers();
  }
  if (!draining_ || uv_now(&loop_) < drain_deadline_ms_) return;
  log_error("drain_stuck", {{"clients", process_.clients.load(std::memory_order_relaxed)},
                            {"workers", process_.workers.size() - workers_ended_}});
  event_log().flush();
  std::_Exit(1);
}

// The workers have ended. What this node has changed in its Redis is put back, and the group told.
void Control::depart() {
  if (!group_) return finish();
  group_->leave();
  departing_until_ms_ = uv_now(&loop_) + kDepartMsMax;
  uv_timer_start(
      &tick_,
      [](uv_timer_t* handle) {
        auto& self = *static_cast<Control*>(handle->loop->data);
        if (self.group_->left() || uv_now(&self.loop_) >= self.departing_until_ms_) self.finish();
      },
      0, kDepartTickMs);
}

void Control::finish() {
  if (uv_is_closing(handle_of(&wake_)) != 0) return;
  if (group_) group_->close();
  if (watch_) watch_->close();
  if (admin_) admin_->close();
  uv_close(handle_of(&wake_), nullptr);
  uv_close(handle_of(&tick_), nullptr);
  for (uv_signal_t& each : signals_) uv_close(handle_of(&each), nullptr);
}

}  // namespace azimuth
