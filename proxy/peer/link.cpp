// A link's own life: its socket, its handshake, its turn. Streams and frames: link_streams.cpp.
#include "proxy/peer/link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proxy/data/socket.h"
#include "proxy/peer/links.h"

namespace azimuth {
namespace {

// A link that has heard nothing for so long gives its buffers back. Less than the time between two
// pings, so that streams that wait for something do not keep them.
constexpr std::uint64_t kQuietMs = kLinkPingMs / 2;

void set_unsent_mark(int fd) {
  // The kernel takes no more than this beyond what is on its way: what waits waits here, where
  // streams take turns.
  const int bytes = static_cast<int>(kLinkUnsentBytesMax);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

}  // namespace

Link::Link(Links& links, std::string name, bool opener)
    : links_(links), name_(std::move(name)), opener_(opener) {}

Link::~Link() { close_socket(); }

void Link::start(int fd, std::uint64_t now_ms) {
  fd_ = fd;
  tune(fd_, 0);  // the link's own heartbeat is quicker than the kernel's
  set_unsent_mark(fd_);
  poll_ = new uv_poll_t;
  poll_->data = this;
  uv_poll_init(links_.loop(), poll_, fd_);
  deadline_ms_ = now_ms + (opener_ ? kLinkMakeMsMax : kLinkAcceptMsMax);
  heard_ms_ = used_ms_ = now_ms;
  if (!opener_) {
    secure();
  }
  update_poll();
}

// --- the socket --------------------------------------------------------------------------------

void Link::on_poll(uv_poll_t* handle, int status, int events) {
  auto* self = static_cast<Link*>(handle->data);
  if (self->state_ == State::kConnecting) {
    const int known = connect_result(self->fd_);
    const int rc = known != 0 || status >= 0 ? known : status;
    if (rc != 0) return self->die(LinkFault::kConnect, std::strerror(-rc));
    return self->on_connected();
  }
  if (status < 0) {
    const int known = connect_result(self->fd_);
    return self->die(LinkFault::kClosed, known != 0 ? std::strerror(-known) : uv_strerror(status));
  }
  if ((events & UV_READABLE) != 0) self->on_readable();
  if ((events & UV_WRITABLE) != 0 && !self->dead()) self->on_writable();
}

void Link::on_connected() {
  secure();
  mark_dirty();
  update_poll();
}

void Link::secure() {
  maker_ = links_.channels_;
  channel_ = maker_->make(opener_);
  state_ = State::kSecuring;
}

void Link::on_readable() {
  std::vector<char>& wire = links_.wire_;
  const ssize_t n = ::recv(fd_, wire.data(), wire.size(), 0);
  if (n <= 0) {
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    // Who connects and goes without a word is a probe of the port, or was in a crowd.
    const bool stranger = state_ == State::kSecuring && heard_;
    return die(stranger ? LinkFault::kUnsafe : LinkFault::kClosed,
               n == 0 ? "closed by the peer" : std::strerror(errno));
  }
  heard_ = grown_ = true;
  heard_ms_ = links_.now_ms();
  links_.metrics().bytes_in.add(static_cast<std::uint64_t>(n));
  wire_in_ += static_cast<std::size_t>(n);
  channel_->receive({wire.data(), static_cast<std::size_t>(n)});
  while (!dead()) {
    if (unpacking_ != nullptr) {
      if (!read_packed()) break;
      continue;
    }
    const Links::Space space = links_.receive_space();
    const std::size_t got = channel_->read(space.data, space.size);
    after_channel();
    if (got == 0 || dead()) break;
    links_.received(got);
    consume(space.block, space.data, space.data + got);
  }
  if (traffic_ == nullptr) return;
  traffic_->in.add(turn_in_, std::exchange(wire_in_, 0));
  turn_in_ = {};
}

// The channel's state may have changed, and it may have something to say.
void Link::after_channel() {
  switch (channel_->state()) {
    case SecureChannel::State::kHandshake:
      break;
    case SecureChannel::State::kOpen:
      if (state_ == State::kSecuring) {
        state_ = State::kGreeting;
        const LinkSettings& own = links_.settings();
        HelloFrame hello;
        hello.boot = own.boot;
        hello.cluster = own.cluster;
        hello.node = own.node;
        hello.zone = own.zone;
        hello.region = own.region;
        offered_ = offers_packing();
        hello.packs = offered_ ? kPackFormat : 0;
        // Straight to the channel: what waits in plain_ waits for the answer to this.
        const std::string payload = encode(hello);
        std::string frame(kFrameHeaderBytes, '\0');
        write_frame_header(frame.data(), FrameType::kHello, 0, payload.size());
        channel_->write(frame + payload);
      }
      break;
    case SecureChannel::State::kFailed:
      flush();  // TLS's own word on why
      if (!dead()) die(up() ? LinkFault::kProtocol : LinkFault::kUnsafe, channel_->why());
      return;
  }
  if (!channel_->wire().empty()) mark_dirty();
}

void Link::flush() {
  dirty_ = false;
  if (channel_ == nullptr || dead() || want_write_) return;
  ++turn_;
  if (packing_ != nullptr && holds_back()) return update_poll();
  while (true) {
    if (channel_->wire().empty() && up() && !plain_.empty()) put_on_channel();
    const std::string_view wire = channel_->wire();
    if (wire.empty()) break;
    const ssize_t n = ::send(fd_, wire.data(), wire.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        return die(LinkFault::kClosed, std::strerror(errno));
      }
      want_write_ = true;
      break;
    }
    links_.metrics().writes.add();
    links_.metrics().bytes_out.add(static_cast<std::uint64_t>(n));
    channel_->sent(static_cast<std::size_t>(n));
  }
  const std::size_t unsent = plain_.size() + channel_->wire().size();
  if (reading_stopped_ && unsent < kLinkAnswerBytesMax / 2) reading_stopped_ = false;
  update_poll();
}

// What this turn has gathered, as the peer is to get it. The channel's wire is empty.
void Link::put_on_channel() {
  if (packing_ != nullptr) {
    pack_turn();
  } else {
    channel_->write(plain_);
  }
  traffic_->out.add(turn_out_, channel_->wire().size());
  turn_out_ = {};
  plain_.clear();
  last_data_at_ = SIZE_MAX;
}

void Link::on_writable() {
  if (want_write_) {
    want_write_ = false;
    flush();
  }
  if (!dead() && !want_write_) feed_starved();
}

void Link::mark_dirty() {
  if (dirty_ || dead()) return;
  dirty_ = true;
  links_.dirty_.push_back(this);
}

void Link::update_poll() {
  if (poll_ == nullptr) return;
  const bool connecting = state_ == State::kConnecting;
  const bool feed = up() && !starving_.empty();
  const int events = (connecting || reading_stopped_ ? 0 : UV_READABLE) |
                     (connecting || want_write_ || feed ? UV_WRITABLE : 0);
  if (events == poll_events_) return;
  poll_events_ = events;
  if (events == 0) {
    uv_poll_stop(poll_);
  } else {
    uv_poll_start(poll_, events, on_poll);
  }
}

void Link::close_socket() {
  if (poll_ != nullptr) {
    uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(poll_, nullptr)),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
  }
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

// --- time --------------------------------------------------------------------------------------

void Link::on_tick(std::uint64_t now_ms) {
  if (packing_ != nullptr || unpacking_ != nullptr) tick_packing(now_ms);
  if (unfinished()) {
    if (now_ms >= deadline_ms_) die(LinkFault::kTimeout, "no answer in time");
    return;
  }
  if (streams_.empty()) {
    // The side that made the link ends it; the other one only when that does not happen.
    const std::uint64_t idle_max = opener_ ? kLinkIdleMsMax : kLinkIdleMsMax * 2;
    if (now_ms - used_ms_ >= idle_max) return die(LinkFault::kIdle, "no streams");
  } else {
    used_ms_ = now_ms;
    if (now_ms - heard_ms_ >= kLinkSilentMsMax) return die(LinkFault::kTimeout, "silent");
    if (now_ms - heard_ms_ >= kLinkPingMs && now_ms - pinged_ms_ >= kLinkPingMs) {
      pinged_ms_ = now_ms;
      put_frame(FrameType::kPing, 0, {});
    }
  }
  if (!opener_) tell_pace(now_ms);
  if (grown_ && plain_.empty() && now_ms - heard_ms_ >= kQuietMs) {
    grown_ = false;
    std::string().swap(plain_);
    channel_->shrink();
  }
}

void Link::die(LinkFault fault, std::string_view why) {
  if (dead()) return;
  const bool was_up = up();
  state_ = State::kDead;
  close_socket();
  end_packing();
  last_found_ = nullptr;
  starving_.clear();
  for (auto& [id, stream] : streams_) {
    stream->gone_ = true;
    stream->link_ = nullptr;
    // What never was on a link that stood has reached nobody.
    links_.end_later(std::move(stream), was_up ? StreamEnd::kLost : StreamEnd::kRefused,
                     was_up ? kDeliveredUnknown : 0);
  }
  links_.metrics().streams.add(-static_cast<std::int64_t>(streams_.size()));
  streams_.clear();
  if (was_up) links_.metrics().links.add(-1);
  links_.on_link_dead(*this, was_up, fault, why);
}

}  // namespace azimuth
