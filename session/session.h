// What is true of one client: login, database, protocol, modes, floor. Plain values; the router
// reads them, the data path moves them.
//
// Transitions, as Redis makes them (apply_reply, apply_select, db_after_exec). Redis's reply
// decides; a reply that is not listed changes nothing.
//
//   command       reply                       in_multi  watching  else
//   MULTI         +OK                         on        same      multi_commands = 0
//   EXEC          anything but                off       off       db as the queued SELECTs left it
//                 "-ERR EXEC without MULTI"   (an EXECABORT ends it, too)
//   DISCARD       +OK                         off       off
//   WATCH         +OK                         same      on        (inside MULTI it is an error)
//   UNWATCH       +OK                         same      off
//   SELECT        +OK                         same      same      db
//   SELECT        +QUEUED                     same      same      db at EXEC; multi_commands + 1
//   any other     +QUEUED                     same      same      multi_commands + 1
//   MONITOR       +OK                         same      same      monitoring
//   RESET         +RESET                      off       off       as on connecting; no_evict stays
//   (P|S)SUBSCRIBE, (P|S)UNSUBSCRIBE: subscribed while PubsubTracker counts a subscription.
//   CLIENT REPLY: set_reply_mode. CLIENT TRACKING: tracking.h. HELLO: hello.h.
//
// The data path of today does not wait for these replies, since requests behind MULTI must not: it
// moves in_multi, watching and subscribed when the command is sent, keeps the client on its own
// connection until EXEC, DISCARD or UNWATCH is answered, and restores the state if DISCARD or
// UNWATCH was refused. It moves db by SELECT's reply; after a SELECT inside MULTI the client keeps
// its connection, and db is not followed.
//
// Legality of a command azimuth answers itself, in the order of Redis's processCommand, behind
// "unknown command" and "wrong number of arguments": refuse(). What is forwarded is refused by
// Redis.
//
// Invariants: watching may be on outside MULTI only where WATCH was answered +OK and nothing of the
// above turned it off since; queued_selects is empty outside MULTI. Owned by one worker. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/consistency.h"
#include "conf/position.h"
#include "session/client_command.h"
#include "session/tracking.h"

namespace azimuth {

// SELECTs of one transaction that are remembered; beyond, the database behind EXEC is not known.
inline constexpr std::size_t kQueuedSelectsMax = 64;

// What few clients have; made when it is first needed.
struct SessionExtra {
  struct QueuedSelect {
    std::uint32_t index;  // among the queued commands
    std::int32_t db;
  };

  std::string name;
  std::string library_name;  // CLIENT SETINFO, where the backend has it
  std::string library_version;
  TrackingState tracking;
  std::vector<QueuedSelect> queued_selects;
  bool selects_lost = false;  // there were more than kQueuedSelectsMax
};

struct Session {
  Position floor;  // what the next read must reach
  std::unique_ptr<SessionExtra> extra_;
  std::int32_t db = 0;
  std::uint32_t multi_commands = 0;   // queued in this MULTI
  std::uint32_t staleness_bound = 0;  // of bounded-staleness: milliseconds, or writes
  std::uint8_t protocol = 2;
  Consistency consistency = Consistency::kCausal;
  Durability durability = Durability::kAsync;
  bool bound_in_writes : 1 = false;
  bool authenticated : 1 = false;
  bool in_multi : 1 = false;
  bool watching : 1 = false;
  bool subscribed : 1 = false;
  bool monitoring : 1 = false;
  bool tracking : 1 = false;
  bool no_evict : 1 = false;
  bool readonly_mode : 1 = false;    // READONLY (cluster): only shown
  bool reply_off : 1 = false;        // CLIENT REPLY OFF
  bool reply_skip : 1 = false;       // this request is not answered
  bool reply_skip_next : 1 = false;  // CLIENT REPLY SKIP was this request

  SessionExtra& extra() {
    if (!extra_) extra_ = std::make_unique<SessionExtra>();
    return *extra_;
  }
  std::string_view name() const noexcept { return extra_ ? extra_->name : std::string_view(); }
  // An empty name takes the name away.
  void set_name(std::string_view name);
};

static_assert(sizeof(Session) <= 64, "ten thousand idle clients cost little");

// --- Transitions ------------------------------------------------------------------------------

enum class SessionVerb : std::uint8_t {
  kMulti,
  kExec,
  kDiscard,
  kWatch,
  kUnwatch,
  kMonitor,
  kOther,  // whatever else may be queued
};

// `reply` begins with the first bytes of what Redis answered: the first line, or 32 bytes of it.
void apply_reply(Session& session, SessionVerb verb, std::string_view reply);
void apply_select(Session& session, std::int32_t db, std::string_view reply);
// The database behind an EXEC whose complete reply this is; call it before apply_reply. Nothing:
// not known (too many SELECTs were queued, or the reply is no RESP).
std::optional<std::int32_t> db_after_exec(const Session& session, std::string_view exec_reply);
// Needs the whole reply of EXEC for db_after_exec.
bool has_queued_selects(const Session& session) noexcept;
// RESET. `default_user_open`: the default user needs no password.
void apply_reset(Session& session, bool default_user_open);

// --- CLIENT REPLY -----------------------------------------------------------------------------

// Does the request being dispatched get its reply? Pushes are delivered in any mode.
inline bool reply_wanted(const Session& session) noexcept {
  return !session.reply_off && !session.reply_skip;
}
// At the end of each request's dispatch, empty requests ("*0") included, as Redis does.
inline void end_request(Session& session) noexcept {
  session.reply_skip = session.reply_skip_next;
  session.reply_skip_next = false;
}
// CLIENT REPLY. True: answered +OK.
bool set_reply_mode(Session& session, ReplyMode mode) noexcept;

// --- Legality ---------------------------------------------------------------------------------

struct CommandTraits {
  bool no_auth = false;    // may run before login (AUTH, HELLO, QUIT, RESET)
  bool no_multi = false;   // may not be queued
  bool in_pubsub = false;  // may run in RESP2's subscribed state
};

enum class Refusal : std::uint8_t { kNone, kNoAuth, kNoMulti, kPubsubOnly };

inline Refusal refuse(const Session& session, CommandTraits traits) noexcept {
  if (!session.authenticated && !traits.no_auth) return Refusal::kNoAuth;
  if (session.in_multi && traits.no_multi) return Refusal::kNoMulti;
  if (session.subscribed && session.protocol == 2 && !traits.in_pubsub) return Refusal::kPubsubOnly;
  return Refusal::kNone;
}
// Nothing for kNone. `full_name` is the command's, "client|list".
void append_refusal(std::string& out, Refusal refusal, std::string_view full_name);

}  // namespace azimuth
