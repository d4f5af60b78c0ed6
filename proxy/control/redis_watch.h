// The control thread's connection to the local Redis: it carries out what health's RedisProbe
// decides, and asks each new Redis once which commands it has.
//
// Invariants: it never blocks; a reply is bounded (kReplyBytesMax); what it sends changes nothing
// in Redis. A Redis that wants a password that we do not have is alive all the same. A host name is
// looked up anew whenever the connection was lost, and its addresses are tried in turn.
// Owned by the control thread; freed after the loop has run until closed().
#pragma once

#include <hiredis/hiredis.h>
#include <uv.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/settings.h"
#include "health/redis_probe.h"
#include "proxy/control/name_lookup.h"
#include "proxy/data/socket.h"
#include "router/extra_commands.h"

namespace azimuth {

// COMMAND's reply as the list of commands that it is; entries that are none are passed over.
std::vector<BackendCommand> backend_commands(const redisReply& reply);

class RedisWatch {
 public:
  static constexpr size_t kReplyBytesMax = 16 * kMiB;

  struct Hooks {
    std::function<void(const RedisEvent&)> on_event;
    // After each round of answers, and whenever the status has changed.
    std::function<void()> on_news;
    std::function<void(std::shared_ptr<const ExtraCommands>)> on_commands;
    // Redis answers at another address than it did.
    std::function<void(const SocketAddress&)> on_address;
  };

  // `address`: where Redis was found at start-up; none if it was not.
  RedisWatch(uv_loop_t* loop, const RedisSettings& settings, const SocketAddress& address,
             Hooks hooks);
  ~RedisWatch();
  RedisWatch(const RedisWatch&) = delete;
  RedisWatch& operator=(const RedisWatch&) = delete;

  void start();
  // After a reload. New credentials are tried at once, on a new connection.
  void set_settings(const RedisSettings& settings);
  // Idempotent.
  void close();
  bool closed() const { return handles_ == 0; }

  const RedisProbe& probe() const { return probe_; }
  // Why it is not up, as a phrase; empty while it is.
  const std::string& trouble() const { return trouble_; }

 private:
  // What the next reply answers.
  enum class Question : uint8_t { kLogin, kProbe, kCommands };

  Instant now() const { return {static_cast<int64_t>(uv_now(loop_))}; }
  void on_timer();
  // Does what the probe wants, until it wants nothing more.
  void carry_out();
  void arm_timer();
  void connect();
  void connect_next_address();
  void on_connected();
  void on_poll(int status, int events);
  void on_readable();
  void on_reply(const redisReply& reply);
  void on_login_reply(const redisReply& reply);
  void on_commands_reply(const redisReply& reply);
  void ask_commands();
  void send(std::span<const std::string_view> command, Question question);
  void flush();
  void update_poll();
  void lost(std::string_view reason);
  void unreadable(const std::string& reason);
  void drop_connection();

  uv_loop_t* loop_;
  RedisSettings settings_;
  Hooks hooks_;
  RedisProbe probe_;
  std::string trouble_ = "it has not been asked yet";
  std::mt19937_64 random_;
  uv_timer_t* timer_ = nullptr;
  uv_poll_t* poll_ = nullptr;
  int handles_ = 0;  // open or closing
  bool closing_ = false;

  NameLookup lookup_;
  bool awaiting_address_ = false;  // the probe waits for a connection, and that for a look-up
  std::vector<SocketAddress> candidates_;  // tried from the back
  SocketAddress address_;                  // of this connection
  SocketAddress found_;                    // where it answered last; what the workers have

  int fd_ = -1;
  bool connected_ = false;
  std::string out_;
  redisReader* reader_ = nullptr;
  size_t reply_bytes_ = 0;  // received since the last whole reply
  std::deque<Question> questions_;
  std::string commands_of_;  // the run_id whose commands are known, or were asked for
  std::string login_error_;  // the last one told
};

}  // namespace azimuth
