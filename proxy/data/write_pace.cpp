#include "proxy/data/write_pace.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "conf/result.h"
#include "proxy/control/log.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

uint64_t now_us() { return uv_hrtime() / 1000; }

}  // namespace

void WritePace::set(uint32_t delay_us) {
  if (std::exchange(delay_us_, delay_us) == delay_us) return;
  worker_.metrics().write_delay_now_us.set(delay_us);
  release_due(now_us());
}

bool WritePace::wait(Client& client, uint64_t bytes) {
  if (closed_ || !open()) return false;
  const uint64_t now = now_us();
  client.wait = Wait::kPace;
  waiting_.push_back(
      {client.self, now, now, std::clamp<uint64_t>(bytes / kPacedBytesMax, 1, kPacedPiecesMax)});
  if (waiting_.size() == 1) arm(now);
  return true;
}

// Those that are due within an eighth of the delay go along: one turn of the loop for many.
void WritePace::release_due(uint64_t now) {
  const uint64_t by = now + delay_us_ / 8;
  while (!waiting_.empty() && waiting_.front().since_us + delay_us_ <= by) {
    Waiter next = waiting_.front();
    waiting_.pop_front();
    Client* const client = worker_.client(next.client);
    if (client == nullptr || client->wait != Wait::kPace) continue;
    if (--next.pieces != 0) {
      next.since_us = now;
      waiting_.push_back(next);
      continue;
    }
    worker_.metrics().writes_delayed.add();
    worker_.metrics().write_delay_us.add(now - next.began_us);
    client->paced_bytes = kPacedBytesMax;
    worker_.resume(*client);
  }
  if (!waiting_.empty()) arm(now);
}

void WritePace::arm(uint64_t now) {
  const uint64_t due = waiting_.front().since_us + delay_us_;
  const uint64_t at = due > now ? due : now + 1;
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(at / 1'000'000);
  when.it_value.tv_nsec = static_cast<long>(at % 1'000'000 * 1000);
  AZIMUTH_CHECK(::timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &when, nullptr) == 0);
}

bool WritePace::open() {
  if (poll_ != nullptr) return true;
  timer_fd_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer_fd_ < 0) {
    log_warning("writes_not_slowed", {{"reason", std::strerror(errno)}});
    return false;
  }
  poll_ = new uv_poll_t;
  poll_->data = this;
  uv_poll_init(worker_.loop(), poll_, timer_fd_);
  uv_poll_start(poll_, UV_READABLE, [](uv_poll_t* handle, int, int) {
    auto* self = static_cast<WritePace*>(handle->data);
    uint64_t times = 0;
    [[maybe_unused]] const ssize_t n = ::read(self->timer_fd_, &times, sizeof(times));
    self->release_due(now_us());
  });
  return true;
}

void WritePace::close() {
  closed_ = true;
  waiting_.clear();
  if (poll_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(poll_, nullptr)),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
  ::close(std::exchange(timer_fd_, -1));
}

// --- the worker ----------------------------------------------------------------------------------

void Worker::set_pace(uint32_t delay_us) {
  own_pace_us_ = delay_us;
  if (links_) links_->set_pace(delay_us);
  renew_pace();
}

// The primary's word: this node's own where it leads, else what its node says on the link to it.
void Worker::renew_pace() {
  uint32_t delay_us = 0;
  if (target_.kind == TargetKind::kNear && !holding_) delay_us = own_pace_us_;
  // (The primary's settings may be others: nobody waits here for longer than this node holds.)
  if (target_.kind == TargetKind::kFar)
    delay_us = static_cast<uint32_t>(std::min<uint64_t>(
        links_->pace_us(target_.address), uint64_t{settings_->hold.timeout_ms} * 1000));
  pace_.set(delay_us);
}

}  // namespace azimuth
