#include "proxy/group/redis_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "conf/limits.h"
#include "conf/result.h"

namespace azimuth {
namespace {

constexpr std::size_t kReadBytes = 64 * kKiB;
constexpr int kReadsPerTurn = 8;
constexpr unsigned kKeepaliveS = 60;

}  // namespace

void append_command(std::string& out, std::span<const std::string_view> words) {
  out += "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string_view word : words) {
    out += "$" + std::to_string(word.size()) + "\r\n";
    out.append(word).append("\r\n");
  }
}

RedisSocket::RedisSocket(uv_loop_t* loop, Hooks hooks) : loop_(loop), hooks_(std::move(hooks)) {}

RedisSocket::~RedisSocket() { AZIMUTH_CHECK(closed()); }

int RedisSocket::open(const SocketAddress& address) {
  close();
  const int fd = connect_to(address);
  if (fd < 0) return fd;
  fd_ = fd;
  tune(fd_, kKeepaliveS);
  poll_ = new uv_poll_t;
  uv_poll_init(loop_, poll_, fd_);
  poll_->data = this;
  ++handles_;
  update_poll();
  return 0;
}

void RedisSocket::send(std::string_view bytes) {
  if (!connected_) return;
  if (out_.empty()) {
    // A fault is left for the loop to find.
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  if (bytes.empty()) return;
  out_ += bytes;
  update_poll();
}

void RedisSocket::close() {
  if (fd_ < 0) return;
  uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(poll_, nullptr)), [](uv_handle_t* handle) {
    --static_cast<RedisSocket*>(handle->data)->handles_;
    delete reinterpret_cast<uv_poll_t*>(handle);
  });
  ::close(std::exchange(fd_, -1));
  connected_ = false;
  out_.clear();
}

void RedisSocket::update_poll() {
  const int events = !connected_ ? UV_WRITABLE : UV_READABLE | (out_.empty() ? 0 : UV_WRITABLE);
  uv_poll_start(poll_, events, [](uv_poll_t* handle, int status, int ready) {
    static_cast<RedisSocket*>(handle->data)->on_poll(status, ready);
  });
}

void RedisSocket::on_poll(int status, int events) {
  if (!connected_) {
    // The loop calls every error of a socket EBADF; the socket knows better.
    const int rc = connect_result(fd_);
    if (rc != 0 || status < 0) return lost(rc != 0 ? std::strerror(-rc) : "the connection failed");
    connected_ = true;
    update_poll();
    return hooks_.on_open();
  }
  if ((events & UV_WRITABLE) != 0) flush();
  if (fd_ >= 0 && (status < 0 || (events & UV_READABLE) != 0)) on_readable();
  if (fd_ >= 0 && status < 0) lost("the connection failed");  // and reading did not say why
}

void RedisSocket::flush() {
  while (!out_.empty()) {
    const ssize_t n = ::send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      return lost(std::strerror(errno));
    }
    out_.erase(0, static_cast<std::size_t>(n));
  }
  update_poll();
}

void RedisSocket::on_readable() {
  std::array<char, kReadBytes> bytes;
  for (int i = 0; i < kReadsPerTurn; ++i) {
    const ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
    if (n == 0) return lost("Redis closed the connection");
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      return lost(std::strerror(errno));
    }
    const uv_poll_t* connection = poll_;
    hooks_.on_bytes({bytes.data(), static_cast<std::size_t>(n)});
    if (poll_ != connection || static_cast<std::size_t>(n) < bytes.size()) return;
  }
}

void RedisSocket::lost(std::string_view reason) {
  const std::string why(reason);
  close();
  hooks_.on_lost(why);
}

}  // namespace azimuth
