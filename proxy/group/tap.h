// A replication connection to the local Redis, from which azimuth sees how far that Redis has
// applied its stream, and which keeps a primary's offset counting.
//
//   kAway -> kConnecting -> kGreeting (AUTH, REPLCONF) -> kAsking (PSYNC) -> [kCopy] -> kStream
//     ^__________ lost, refused: again after a while, as long as it is wanted ____|
//
// Invariants: it ACKs offset 0 and nothing else, so that it never counts as a durable copy; it ACKs
// only while may_ack says so, so that a Redis whose azimuth is frozen, or has no lease, falls
// behind its dead man's switch (min-replicas-max-lag); the copy of a full sync, empty by
// rdb-filter-only where Redis knows that, is thrown away as it comes. The applied offset is that of
// the stream's start plus the bytes received. Owned by the control thread; freed after the loop has
// run until closed(). Source: syncCommand and masterTryPartialResynchronization in Redis's
// replication.c.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "conf/instant.h"
#include "health/backoff.h"
#include "proxy/data/socket.h"
#include "proxy/group/redis_socket.h"

namespace azimuth {

class Tap {
 public:
  struct Hooks {
    std::function<void(std::string_view replid)> on_attached;
    std::function<void()> on_detached;
    // After each bite of the stream.
    std::function<void(std::uint64_t offset)> on_applied;
    std::function<bool()> may_ack;
    std::function<std::uint64_t()> random;
    // Why Redis refuses it and what to do.
    std::function<void(std::string_view reason)> on_trouble;
  };

  Tap(uv_loop_t* loop, Hooks hooks);
  ~Tap();
  Tap(const Tap&) = delete;
  Tap& operator=(const Tap&) = delete;

  // For the next connection.
  void set_target(const SocketAddress& address, std::string username, std::string password);
  // Where the stream is known to be, so that a partial sync will do; for the next connection.
  void set_lineage(std::string_view replid, std::uint64_t offset);
  void set_wanted(bool wanted);
  // Idempotent.
  void close();
  bool closed() const { return handles_ == 0 && socket_.closed(); }

  bool attached() const { return phase_ == Phase::kStream; }

 private:
  enum class Phase : std::uint8_t {
    kAway,
    kConnecting,
    kGreeting,
    kAsking,
    kCopyHead,
    kCopy,
    kStream,
  };

  void on_timer();
  void arm_timer(Duration delay);
  void connect();
  void on_open();
  void on_bytes(std::string_view bytes);
  // Takes a line off `bytes` into line_; false: it is not whole yet.
  bool take_line(std::string_view& bytes);
  void on_line(const std::string& line);
  void on_sync_reply(const std::string& line);
  void on_copy_head(const std::string& line);
  void skip_copy(std::string_view& bytes);
  void greet(std::initializer_list<std::string_view> words);
  void ask_sync();
  void start_stream();
  void acknowledge();
  void command(std::initializer_list<std::string_view> words);
  void end(std::string_view reason);
  void leave_stream();

  uv_loop_t* loop_;
  Hooks hooks_;
  RedisSocket socket_;
  uv_timer_t* timer_ = nullptr;
  int handles_ = 0;
  bool closing_ = false;
  bool wanted_ = false;
  Phase phase_ = Phase::kAway;
  Backoff backoff_;

  SocketAddress address_;
  std::string username_, password_;
  std::string known_replid_;
  std::uint64_t known_offset_ = 0;

  int greetings_ = 0;  // unanswered
  std::string line_;   // so far
  std::string replid_;
  std::uint64_t applied_ = 0;
  std::string mark_;  // that ends a copy of unknown length
  std::string tail_;  // its last bytes
  std::uint64_t copy_left_ = 0;
  // A stream behind a diskless copy starts with an ACK, which counts only once Redis has noticed
  // that the copy is over: until a byte has come, ACKs come fast.
  bool awaiting_start_ = false;
  bool settled_ = false;  // the stream has lasted for a while
};

}  // namespace azimuth
