#include "proxy/control/control.h"

#include <csignal>

#include "proxy/control/log.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

constexpr uint64_t kTickMs = 1000;
constexpr int kSignals[] = {SIGTERM, SIGINT, SIGHUP};

uv_handle_t* handle_of(auto* handle) { return reinterpret_cast<uv_handle_t*>(handle); }

}  // namespace

Control::Control(Process& process, const RunOptions& options,
                 std::shared_ptr<const Settings> settings, std::shared_ptr<const Topology> topology,
                 std::vector<std::string> listening)
    : process_(process),
      options_(options),
      settings_(std::move(settings)),
      topology_(std::move(topology)),
      listening_(std::move(listening)) {
  AZIMUTH_CHECK(uv_loop_init(&loop_) == 0);
  loop_.data = this;
  uv_async_init(&loop_, &wake_, [](uv_async_t* handle) {
    static_cast<Control*>(handle->loop->data)->on_mail();
  });
  uv_timer_init(&loop_, &tick_);
  for (uv_signal_t& each : signals_) uv_signal_init(&loop_, &each);
  process_.post_to_control = [this](std::function<void()> task) { post(std::move(task)); };
  process_.status_json = [] { return std::string("{}"); };
  process_.info_section = [] { return std::string("# Azimuth\r\n"); };
}

Control::~Control() {
  finish();
  uv_run(&loop_, UV_RUN_DEFAULT);
  AZIMUTH_CHECK(uv_loop_close(&loop_) == 0);
}

Outcome Control::open() {
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    uv_signal_start(
        &signals_[i],
        [](uv_signal_t* handle, int number) {
          static_cast<Control*>(handle->loop->data)->on_signal(number);
        },
        kSignals[i]);
  }
  return Done{};
}

void Control::run(const SocketAddress& redis) {
  (void)redis;
  uv_timer_start(
      &tick_, [](uv_timer_t* handle) { static_cast<Control*>(handle->loop->data)->on_tick(); },
      kTickMs, kTickMs);
  uv_run(&loop_, UV_RUN_DEFAULT);
}

void Control::worker_ended() {
  post([this] {
    if (++workers_ended_ == process_.workers.size()) finish();
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

void Control::on_tick() { event_log().on_tick(); }

void Control::on_signal(int number) {
  if (number != SIGHUP) drain(number);
}

void Control::drain(int number) {
  ++stop_signals_;
  log_info("draining", {{"signal", number}});
  for (const auto& worker : process_.workers) {
    worker->post([](Worker& each) { each.drain(); });
  }
}

void Control::finish() {
  if (uv_is_closing(handle_of(&wake_))) return;
  uv_close(handle_of(&wake_), nullptr);
  uv_close(handle_of(&tick_), nullptr);
  for (uv_signal_t& each : signals_) uv_close(handle_of(&each), nullptr);
}

}  // namespace azimuth
