// A connection of a node's worker to a Redis, its own or another node's: what is outstanding on it,
// and the way there and back.
//
//   worker -- Redis                                        of the same node
//   worker == network == relay of the far node -- Redis    else
//
// Invariants: commands and answers keep their order; a connection stays with the process of Redis
// that it reached first; the far relay passes nothing on, either way, unless it may (the lease, or
// being a replica of the epoch). When it ends the connection it says how many commands Redis was
// given; otherwise all that have left may have run. Owned by one simulation.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "conf/position.h"
#include "session/role_reply.h"
#include "tests/sim/fake_redis.h"
#include "tests/sim/scheduler.h"

namespace azimuth::sim {

class World;

// What a session asks of its node, and what it gets.
struct Request {
  enum class Kind : std::uint8_t { kRead, kWrite, kToken, kTakeToken } kind = Kind::kRead;
  std::uint64_t number = 0;  // of the session's
  WriteId id = 0;            // kWrite
  std::uint64_t bytes = 0;   // ... in the stream
  std::size_t key = 0;       // kRead
  Position token;            // kTakeToken
};
struct Reply {
  enum class Kind : std::uint8_t {
    kDone,       // written, or the token is taken
    kValue,      // read
    kToken,      //
    kLost,       // what the session had seen is lost; the request did not run
    kUncertain,  // it may have run
    kError,      // it did not run
    kTooEarly,   // the token is of an epoch that this node does not know of
  } kind = Kind::kDone;
  std::uint64_t number = 0;
  WriteId value = 0;
  Position token{};
  std::uint64_t epoch = 0;  // kLost: the node's
  bool replica = false;     // a replica has answered
};

// One command on its way: a session's, or the worker's own ROLE.
struct Command {
  enum class Topic : std::uint8_t { kRead, kWrite, kToken, kTag, kGate } topic = Topic::kRead;
  std::uint64_t client = 0;  // 0: the worker's own
  Request request;
  std::uint64_t place = 0;      // its number on the connection; 0: it has not left
  Time queued = 0;              // true time: for time-outs alone
  std::optional<Reply> canned;  // an answer of the node's own, in its turn
};

// What Redis says.
struct Answer {
  std::string role;              // to ROLE
  std::optional<WriteId> value;  // to a read; none: an error
  WriteResult written = WriteResult::kDone;
};

struct Link {
  enum class Kind : std::uint8_t { kCommands, kReads } kind = Kind::kCommands;
  std::size_t near = 0, far = 0;
  std::uint64_t epoch = 0;
  std::uint64_t near_boot = 0, far_boot = 0;  // the nodes' processes; 0: not reached yet
  std::uint64_t redis = 0;                    // its process; 0: not reached yet
  std::uint64_t sent = 0;                     // commands, by the worker
  std::uint64_t given = 0, answered = 0;      // ... to Redis, and by it
  bool near_gone = false, far_gone = false;
  Time to_redis = 0, from_redis = 0;  // when what is under way is there
  Time heard = 0;
  struct Hop {
    std::deque<std::pair<Time, std::function<void()>>> queue;
    bool armed = false;
  };
  Hop up, down;  // the network

  bool local() const { return near == far; }
};
using LinkRef = std::shared_ptr<Link>;

// Over the network, in order; it waits while the way is cut, and the connection is lost when that
// lasts.
void push_hop(World& world, const LinkRef& link, bool up, std::function<void()> happen);

struct Lane {
  enum class Role : std::uint8_t { kReads, kWrites, kReplica } role = Role::kReads;
  LinkRef link;  // null: it does not stand
  std::deque<Command> entries;
  std::deque<Answer> unread;  // came while the lease did not hold
  bool connecting = false;
  Time retry_at = 0;

  // Requests to the primary since the last ROLE, and what each ROLE under way stands behind.
  struct Tag {
    std::uint32_t batch = 0;
    bool shown = false;  // something of it was delivered, and its position has not come
    std::uint64_t epoch = 0;
    std::uint64_t asked_ms = 0;
    std::vector<std::uint64_t> clients;
  };
  Tag open_tag;
  bool tag_due = false;
  std::deque<Tag> tags;
  // What each ROLE in front of reads at a replica must show.
  std::deque<ReadGate> gates;
  bool gate_open = false;
};

}  // namespace azimuth::sim
