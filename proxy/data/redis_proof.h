// Asks a fresh connection to this node's own Redis which process is at its other end, before
// anything of a client's goes there: a redis-server that a supervisor has started again at once
// listens where the promoted one did, and may be empty (I3). A connection stays with its process,
// so it is asked once.
//
// The question is this node's, so it is asked as this node's own user; RESET then makes the
// connection what a fresh one is, whatever its client may do (server.c, resetCommand, of Redis 7).
//
// Invariants: proven only if INFO names a run_id and RESET, where one was sent, was not refused; a
// login of this node's is never left to a client. Owned by whoever made the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "session/reply_framer.h"

namespace azimuth {

// A run_id as the lease has it.
std::uint64_t process_of(std::string_view run_id);

class RedisProof {
 public:
  enum class State : std::uint8_t { kAsked, kAnswered, kRefused };

  // An empty password: Redis's default user asks.
  RedisProof(std::string_view username, std::string_view password);

  // What goes in front of everything else.
  const std::string& request() const { return request_; }
  // Takes what answers it, and no byte more; how many.
  std::size_t feed(const char* p, std::size_t n);

  State state() const { return state_; }
  // kAnswered: who it is.
  std::uint64_t process() const { return process_; }
  // kRefused: in Redis's words.
  const std::string& why() const { return why_; }

 private:
  void take(std::string_view reply);

  bool logs_in_;
  std::uint8_t replies_ = 0;  // that have come
  State state_ = State::kAsked;
  std::uint64_t process_ = 0;
  ReplyCursor cursor_;
  std::string request_, reply_, why_;
};

}  // namespace azimuth
