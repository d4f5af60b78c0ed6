#include "proxy/peer/relay_pipe.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "conf/limits.h"
#include "proxy/data/socket.h"

namespace azimuth {
namespace {

constexpr int kIovecsMax = 64;

}  // namespace

Pipe::~Pipe() { close_socket(); }

void Pipe::attach(int fd, bool connecting) {
  fd_ = fd;
  tune(fd_, 0);
  connecting_ = connecting;
  poll_ = new uv_poll_t;
  poll_->data = this;
  uv_poll_init(loop_, poll_, fd_);
  update_poll();
}

void Pipe::join(Stream& stream) {
  stream_ = &stream;
  update_poll();
}

std::size_t Pipe::window() const {
  return stream_ != nullptr && stream_->kind() == StreamKind::kTunnel ? kTunnelWindowBytes
                                                                      : kStreamWindowBytes;
}

// --- from the stream to the socket -------------------------------------------------------------

void Pipe::on_stream_data(const BlockRef& block, std::string_view bytes) { queue(block, bytes); }

void Pipe::queue(const BlockRef& block, std::string_view bytes) {
  if (broken_ || finished_ || bytes.empty()) return;
  queue_.append_shared(block, bytes);
  pause_when_full();
  on_queued();
}

void Pipe::queue_copy(std::string_view bytes) {
  if (broken_ || finished_ || bytes.empty()) return;
  queue_.append(bytes);
  pause_when_full();
  on_queued();
}

void Pipe::pause_when_full() {
  if (paused_ || stream_ == nullptr || queue_.size() <= window() / 4) return;
  paused_ = true;
  stream_->pause_reading(true);
}

void Pipe::flush() {
  if (finished_ || connecting_ || asking_ || want_write_ || broken_) return;
  while (!queue_.empty()) {
    iovec pieces[kIovecsMax];
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = static_cast<std::size_t>(queue_.fill(pieces, kIovecsMax));
    if (!may_write()) return finish(StreamEnd::kRefused);
    const ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        want_write_ = true;
      } else {
        broken_ = true;  // what the other side has still said is read first; then its end
        queue_.consume(queue_.size());
      }
      break;
    }
    written_ += static_cast<std::uint64_t>(n);
    queue_.consume(static_cast<std::size_t>(n));
  }
  if (paused_ && queue_.size() <= window() / 8) {
    paused_ = false;
    if (stream_ != nullptr) stream_->pause_reading(false);
  }
  update_poll();
}

void Pipe::on_stream_end(StreamEnd, std::uint64_t) {
  stream_ = nullptr;
  flush();  // what had come before the end, as far as it may go
  finish(StreamEnd::kDone);
}

// --- from the socket to the stream -------------------------------------------------------------

void Pipe::on_poll(uv_poll_t* handle, int status, int events) {
  auto* self = static_cast<Pipe*>(handle->data);
  if (self->connecting_) {
    const int known = connect_result(self->fd_);
    if (known != 0 || status < 0) return self->finish(StreamEnd::kRefused);
    self->connecting_ = false;
    self->on_connected();
    if (self->finished_) return;
    self->update_poll();
    return self->flush();
  }
  if (status < 0) return self->finish(StreamEnd::kDone);
  if ((events & UV_READABLE) != 0) self->on_readable();
  if ((events & UV_WRITABLE) != 0 && !self->finished_) {
    self->want_write_ = false;
    self->flush();
  }
}

void Pipe::ask(std::string_view request) {
  asking_ = true;
  // A fresh socket takes a few hundred bytes at once.
  const ssize_t n = ::send(fd_, request.data(), request.size(), MSG_NOSIGNAL);
  if (n != static_cast<ssize_t>(request.size())) finish(StreamEnd::kRefused);
}

void Pipe::let_pass() {
  asking_ = false;
  flush();
}

void Pipe::on_readable() {
  if (stream_ == nullptr) return;
  if (asking_) {
    const ssize_t n = ::recv(fd_, scratch_.data(), scratch_.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    if (n <= 0) return finish(StreamEnd::kRefused);
    return on_answer({scratch_.data(), static_cast<std::size_t>(n)});
  }
  if (!may_read()) {
    kept_back_ = true;
    on_kept_back();
    return update_poll();
  }
  const std::size_t room = std::min(stream_->room(), scratch_.size());
  if (room == 0) {
    stream_full_ = true;
    stream_->await_room();
    return update_poll();
  }
  const ssize_t n = ::recv(fd_, scratch_.data(), room, 0);
  if (n <= 0) {
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    return finish(StreamEnd::kDone);
  }
  const std::string_view bytes(scratch_.data(), static_cast<std::size_t>(n));
  on_socket_bytes(bytes);
  if (finished_) return;
  pass_on(bytes);
}

// All of it, since what is not taken is kept by nobody; a reply with a hole in it would be worse
// than none.
void Pipe::pass_on(std::string_view bytes) {
  const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  if (stream_->send(&piece, 1) != bytes.size() && !finished_) finish(StreamEnd::kDone);
}

void Pipe::look_again() {
  kept_back_ = false;
  update_poll();
}

// Answers that are here already: each is one outcome less that nobody knows.
void Pipe::read_last_words() {
  while (stream_ != nullptr && may_read()) {
    const std::size_t room = std::min(stream_->room(), scratch_.size());
    const ssize_t n = room == 0 ? 0 : ::recv(fd_, scratch_.data(), room, MSG_DONTWAIT);
    if (n <= 0) return;
    pass_on({scratch_.data(), static_cast<std::size_t>(n)});
  }
}

void Pipe::on_stream_writable() {
  stream_full_ = false;
  update_poll();
}

// --- the end -----------------------------------------------------------------------------------

void Pipe::finish(StreamEnd end) {
  if (finished_) return;
  finished_ = true;
  if (end == StreamEnd::kRefused && !connecting_ && !asking_) read_last_words();
  close_socket();
  if (stream_ != nullptr) std::exchange(stream_, nullptr)->end(end, written_);
  on_finished();
}

void Pipe::update_poll() {
  if (poll_ == nullptr) return;
  const bool read = !connecting_ && stream_ != nullptr && !stream_full_ && !kept_back_;
  const int events = (read ? UV_READABLE : 0) | (connecting_ || want_write_ ? UV_WRITABLE : 0);
  if (events == poll_events_) return;
  poll_events_ = events;
  if (events == 0) {
    uv_poll_stop(poll_);
  } else {
    uv_poll_start(poll_, events, on_poll);
  }
}

void Pipe::close_socket() {
  if (poll_ != nullptr) {
    uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(poll_, nullptr)),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
  }
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace azimuth
