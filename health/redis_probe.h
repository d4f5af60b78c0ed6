// Watches one redis-server over one connection: decides when to connect, to ask, to give up, and
// what is news. It does nothing itself: the owner carries out what take_outbox() lists and reports
// back by the on_ functions.
//
//              connect ok              all replies in
//   kDown ----------------> kAsking ------------------> kUp
//     ^ \__ retry, backed off  |  ^________interval_______|
//     |                        | no reply for reply_timeout
//     |     give_up            v
//     +--------------------- kStuck ---- all replies in ---> kUp
//   a lost or refused connection leads to kDown from everywhere.
//
// Invariants: at most one round of questions is in flight; each change of status gives exactly one
// event, with its reason; a connection that is refused or lost is news at once, only silence waits
// for a timeout (a Redis in a script or a slow command is silent and well). An error reply counts
// as an answer. Pure; owned by one thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/instant.h"
#include "health/backoff.h"
#include "health/redis_state.h"

namespace azimuth {

struct ProbeTimes {
  Duration interval = milliseconds(1000);       // from one round of answers to the next questions
  Duration reply_timeout = milliseconds(2000);  // then it is stuck
  Duration give_up = milliseconds(15000);       // then the connection is tried anew
  Duration connect_timeout = milliseconds(2000);
};

enum class RedisStatus : uint8_t { kDown, kStuck, kUp };
std::string_view to_string(RedisStatus status);

enum class RedisEventKind : uint8_t {
  kUp,              // it answers (perhaps again)
  kDown,            // no connection
  kStuck,           // a connection, and no answers
  kRestarted,       // another run_id than before
  kLoading,         // it loads its data set and serves nothing
  kLoaded,          // it does so no longer
  kRoleChanged,     // master <-> replica
  kLineageChanged,  // another replid than before
  kRefused,         // it answers our questions with errors
  kAccepted,        // it does so no longer
};
std::string_view to_string(RedisEventKind kind);

struct RedisEvent {
  RedisEventKind kind;
  std::string reason;  // a phrase for people
};

// The questions of one round, to be sent in one write, in this order. Sections one by one: only
// Redis 7 and later takes several at once.
inline constexpr std::array<std::array<std::string_view, 2>, 4> kProbeCommands = {{
    {"INFO", "server"},
    {"INFO", "replication"},
    {"INFO", "persistence"},
    {"ROLE", ""},  // no argument
}};

// One reply, as the owner's reader has it.
struct RedisReply {
  enum class Kind : uint8_t { kText, kList, kError, kOther };
  Kind kind = Kind::kOther;
  std::string_view text;                       // kText and kError
  std::span<const std::string_view> elements;  // kList, laid flat (see apply_role)
};

struct ProbeOutbox {
  bool close = false;    // first: drop the connection (no on_disconnected is expected)
  bool connect = false;  // then: open one, log in
  bool ask = false;      // send kProbeCommands
  std::vector<RedisEvent> events;
};

class RedisProbe {
 public:
  explicit RedisProbe(ProbeTimes times = {}) : times_(times) {}

  // `random`: any 64 random bits, for the jitter of the next try.
  void on_tick(Instant now, uint64_t random);
  void on_connected(Instant now);
  // The connection was refused or lost; `reason` names it.
  void on_disconnected(Instant now, std::string_view reason, uint64_t random);
  // The next reply on the connection. One that answers no question is a fault of the peer: the
  // connection is closed.
  void on_reply(Instant now, const RedisReply& reply, uint64_t random);

  // When on_tick has something to do. A new probe's is in the past: it wants to connect.
  Instant next_wakeup() const { return wakeup_; }
  [[nodiscard]] ProbeOutbox take_outbox();

  RedisStatus status() const { return status_; }
  bool reachable() const { return status_ == RedisStatus::kUp; }
  // It can serve commands.
  bool ready() const { return reachable() && !loading(); }
  bool loading() const {
    return (state_.loading && !state_.async_loading) || state_.refusal == RedisRefusal::kLoading;
  }
  const RedisState& state() const { return state_; }
  // Since when the status is what it is.
  Instant since() const { return since_; }

 private:
  enum class Phase : uint8_t { kWaitToConnect, kConnecting, kWaitToAsk, kAsking };

  void ask(Instant now);
  void finish_round(Instant now);
  void disconnect(Instant now, std::string_view reason, uint64_t random);
  void set_status(Instant now, RedisStatus status, std::string reason);
  void compare_with_last_round();
  void emit(RedisEventKind kind, std::string reason);

  ProbeTimes times_;
  Phase phase_ = Phase::kWaitToConnect;
  RedisStatus status_ = RedisStatus::kDown;
  bool told_ = false;  // whether any status was an event yet: the first kDown is news, too
  Instant since_{};
  Instant wakeup_{};
  Instant asked_{};
  size_t answers_ = 0;
  RedisRefusal round_refusal_ = RedisRefusal::kNone;
  std::string round_error_;
  bool was_loading_ = false;
  RedisState state_;
  RedisState last_;  // after the last complete round
  Backoff backoff_;
  ProbeOutbox outbox_;
};

}  // namespace azimuth
