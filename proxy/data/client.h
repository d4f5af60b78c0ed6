// One client connection: its socket, its session, what it has sent and not yet been answered.
//
// Replies keep the order of requests (I7) without reply slots: all outstanding replies of a client
// are on one upstream connection (`upstream`, `inflight`). A request that must go elsewhere, or
// that azimuth answers itself, waits (Wait::kDrain) until nothing is outstanding. While a client
// waits, its bytes stay in `input` and its socket is not read: that is the back-pressure, too.
//
// An idle client holds no buffer at all. Owned by one worker; freed in the close callback.
#pragma once

#include <uv.h>

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "proxy/control/metrics.h"
#include "proxy/data/buffer.h"
#include "proxy/data/scopes.h"
#include "session/client_command.h"
#include "session/request_framer.h"
#include "session/session.h"

namespace azimuth {

class Worker;
class Upstream;
struct Identity;

// Names a client beyond its life: a stale one resolves to null.
struct ClientRef {
  uint32_t index = UINT32_MAX;
  uint32_t generation = 0;
};

enum class Wait : uint8_t {
  kNone,
  kDrain,     // until its own outstanding replies are there
  kOutput,    // until it has read its replies
  kUpstream,  // until an upstream queue is short again
  kAnswer,    // until one particular reply is there: SELECT, AUTH ...
  kBlocked,   // the same of BLPOP and its like, on its own connection: it ends when the client goes
  kApplied,   // until the replica next door has applied its floor, or for a little while
  kPace,      // until its writes' delay is over: a replica does not keep up (write_pace.h)
};

inline constexpr uint8_t kNoSeat = UINT8_MAX;

// Bytes received and not yet dispatched.
struct Input {
  std::string bytes;
  size_t offset = 0;     // the requests before it are dispatched
  bool scanned = false;  // `cursor` stands at the end of `bytes`, inside a partial request
  RequestCursor cursor;
};

// A request that is too large to gather and goes straight through to a dedicated connection.
struct RequestStream {
  RequestCursor cursor;
  uint64_t heard_ms = 0;  // when its client sent the last of it
};

// What was lost of a client's transaction when the primary became another one.
enum class LostState : uint8_t {
  kNothing,
  kWatched,      // what it watches may have changed meanwhile: EXEC answers nil
  kTransaction,  // it had begun there: EXEC answers an error that says so
};

// What a client needs while Redis is asked on its behalf.
struct ClientExtra {
  std::string deferred;   // the request that an answer from Redis is awaited for, as RESP
  int32_t select_db = 0;  // SELECT under way
  int channels = 0, patterns = 0, shard_channels = 0;  // subscribed to, as Redis has confirmed
  // The names of those, by PubsubFamily, to be subscribed to again at another primary; not known
  // any more where they took more than kSubscriptionsKeptBytesMax.
  std::array<std::set<std::string, std::less<>>, 3> subscriptions;
  size_t subscription_bytes = 0;
  LostState lost = LostState::kNothing;
  size_t hello_step = 0;        // of the HELLO under way
  bool ask_after_exec = false;  // the transaction holds HELLO or CLIENT SETNAME
  bool ask_name = false;        // ... and may change the name
};

class Client {
 public:
  uv_poll_t poll;
  Worker* worker = nullptr;
  Identity* identity = nullptr;
  Upstream* upstream = nullptr;   // where the outstanding replies are
  Upstream* dedicated = nullptr;  // its own connection, while it needs one
  std::unique_ptr<Input> input;
  std::unique_ptr<OutQueue> output;
  std::unique_ptr<RequestStream> stream;
  std::unique_ptr<ClientExtra> extra_;
  const char* span = nullptr;  // replies in the worker's receive block, to be sent this turn
  uint32_t span_size = 0;
  size_t unread = 0;  // of its output, what the worker's total counts
  uint32_t inflight = 0;
  uint32_t ending = 0;  // EXEC, DISCARD and UNWATCH sent and not answered: until then it is pinned
  ClientRef self;
  int fd = -1;
  uint32_t created_s = 0;
  uint32_t active_s = 0;
  uint64_t id = 0;
  uint32_t paced_bytes = 0;  // of writes that may go now, since their delay is over
  uint32_t batch = 0;        // of requests to the primary, the last one that it had a part in
  uint8_t seat = kNoSeat;    // of the replica that it has read at since
  uint32_t sightings = 0;    // Replica::generation() when its floor was last known to be whole
  Session session;
  std::shared_ptr<Scope> scope;  // that it shares with other connections; null: it does not
  uint16_t last_command = UINT16_MAX;
  uint8_t listener = 0;
  Wait wait = Wait::kNone;
  uint8_t large_credit = 0;  // its last replies were large: reads go to a dedicated connection
  uint8_t mixed_credit = 0;  // it mixes reads and writes in a pipeline: reads go with the writes
  bool closing : 1 = false;
  bool close_after_flush : 1 = false;
  bool dirty : 1 = false;       // in the worker's list of clients with something to send
  bool resuming : 1 = false;    // in the worker's list of clients to go on with
  bool want_write : 1 = false;  // its socket was full
  bool reading : 1 = false;
  bool opaque : 1 = false;          // SYNC, PSYNC: bytes pass through both ways, unframed
  bool keep_dedicated : 1 = false;  // state that only its own connection has (SELECT inside MULTI)
  bool eof : 1 = false;             // it has finished sending, and is owed replies
  bool bulky : 1 = false;           // a large body has passed: the next may begin behind it
  bool tagged : 1 = true;           // its floor covers all that it has done at the primary
  bool lost_floor : 1 = false;      // what it had seen is lost, and it has not been told
  bool waited : 1 = false;          // for the replica: its floor is that of when the read came
  bool unplaced : 1 = false;        // something is under way for it that will have no position

  const RequestLimits& limits() const {
    return session.authenticated ? kAuthenticatedLimits : kUnauthenticatedLimits;
  }
  ClientExtra& extra() {
    if (!extra_) extra_ = std::make_unique<ClientExtra>();
    return *extra_;
  }
  // Its dedicated connection holds state that must not be lost between commands.
  bool holds_state() const;
  // ... or did until what ends that is answered.
  bool pinned() const;
  size_t output_size() const { return span_size + (output ? output->size() : 0); }
};

}  // namespace azimuth
