// A connection to the local Redis as bytes: made without blocking, written when the socket takes
// it, read in bounded bites.
//
// Invariants: on_lost comes once for each connection that was lost, and never after close(); no
// hook is called from within open(), send() or close(). Owned by the control thread; freed after
// the loop has run until closed().
#pragma once

#include <uv.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "proxy/data/socket.h"

namespace azimuth {

// One command as RESP, appended.
void append_command(std::string& out, std::span<const std::string_view> words);

class RedisSocket {
 public:
  struct Hooks {
    std::function<void()> on_open;
    // What was read in one bite; the hook may close().
    std::function<void(std::string_view bytes)> on_bytes;
    std::function<void(std::string_view reason)> on_lost;
  };

  RedisSocket(uv_loop_t* loop, Hooks hooks);
  ~RedisSocket();
  RedisSocket(const RedisSocket&) = delete;
  RedisSocket& operator=(const RedisSocket&) = delete;

  // Closes what was open. The negative errno of a connect that fails at once; 0 otherwise.
  int open(const SocketAddress& address);
  // Written at once as far as the socket takes it, the rest when it does.
  void send(std::string_view bytes);
  void close();
  bool is_open() const { return connected_; }  // the connection stands
  bool closed() const { return handles_ == 0; }

 private:
  void on_poll(int status, int events);
  void on_readable();
  void flush();
  void update_poll();
  void lost(std::string_view reason);

  uv_loop_t* loop_;
  Hooks hooks_;
  uv_poll_t* poll_ = nullptr;
  int handles_ = 0;  // open or closing
  int fd_ = -1;
  bool connected_ = false;
  std::string out_;
};

}  // namespace azimuth
