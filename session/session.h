// What is true of one client: login, database, protocol, modes, floor. Plain values; the router
// reads them, the data path moves them.
//
// Transitions, by the commands that the client sends:
//
//   command     in_multi  watching  moved when             else
//   MULTI       on        same      it is sent             multi_commands = 0
//   queued      on        same      it is sent             multi_commands + 1
//   EXEC        off       off       it is sent
//   DISCARD     off       off       it is sent             both back if Redis refuses it
//   WATCH       same      on        it is sent             (inside MULTI it is an error)
//   UNWATCH     same      off       it is sent             back if Redis refuses it
//   SELECT      same      same      it is answered         db; inside MULTI it is not followed
//   RESET       off       off       it is answered         as on connecting; no_evict stays
//   (P|S)SUBSCRIBE: subscribed when it is sent, until Redis counts no subscription any more.
//   CLIENT REPLY: set_reply_mode. CLIENT TRACKING: tracking.h. HELLO: hello.h.
//
// Requests behind MULTI must not wait for its reply; so the state moves when a command is sent, and
// the client keeps its own connection until EXEC, DISCARD or UNWATCH is answered.
//
// Owned by one worker. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "conf/consistency.h"
#include "conf/position.h"
#include "session/client_command.h"
#include "session/tracking.h"

namespace azimuth {

// What few clients have; made when it is first needed.
struct SessionExtra {
  std::string name;
  TrackingState tracking;
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
  SessionScope scope = SessionScope::kConnection;
  bool bound_in_writes : 1 = false;
  bool authenticated : 1 = false;
  bool in_multi : 1 = false;
  bool watching : 1 = false;
  bool subscribed : 1 = false;
  bool monitoring : 1 = false;
  bool tracking : 1 = false;
  bool no_evict : 1 = false;
  bool reply_off : 1 = false;        // CLIENT REPLY OFF
  bool reply_skip : 1 = false;       // this request is not answered
  bool reply_skip_next : 1 = false;  // CLIENT REPLY SKIP was this request
  bool multi_writes : 1 = false;     // something that writes is queued in this MULTI

  SessionExtra& extra() {
    if (!extra_) extra_ = std::make_unique<SessionExtra>();
    return *extra_;
  }
  std::string_view name() const noexcept { return extra_ ? extra_->name : std::string_view(); }
  // An empty name takes the name away.
  void set_name(std::string_view name);
};

static_assert(sizeof(Session) <= 64, "ten thousand idle clients cost little");

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

}  // namespace azimuth
