// What a redis-server says about itself, read out of its replies to INFO and ROLE.
//
// Invariants: a field keeps its last known value until a reply says otherwise; a reply that is no
// INFO or ROLE changes nothing. An error reply means that the process is alive, whatever the error:
// only silence or a lost connection speaks for its death. Numbers that do not parse are passed over
// (the peer may be something else than a Redis). Pure.
//
// Sources: genRedisInfoString in Redis's server.c, roleCommand in its replication.c.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace azimuth {

enum class RedisRole : uint8_t { kUnknown, kMaster, kReplica };

// The state of a replica's link to its master, in ROLE's words.
enum class RedisLink : uint8_t { kNone, kHandshake, kConnect, kConnecting, kSync, kConnected };

// Why a live Redis refused a command, by the prefix of its error.
enum class RedisRefusal : uint8_t {
  kNone,
  kLoading,     // its data set is being loaded
  kNoAuth,      // it wants a password: NOAUTH, WRONGPASS
  kNoPerm,      // its ACL does not let our user ask
  kMasterDown,  // a replica without its master, which serves no stale data
  kBusy,        // a script or function runs
  kMisconf,     // it cannot persist, and so takes no writes
  kOther,
};

std::string_view to_string(RedisRole role);
std::string_view to_string(RedisLink link);
std::string_view to_string(RedisRefusal refusal);

// `error` as Redis sent it, with or without the leading '-'.
RedisRefusal refusal_of(std::string_view error);

struct RedisReplica {
  std::string host;
  uint16_t port = 0;         // 0: a tap, which announces none
  int64_t acked_offset = 0;  // as of its last ACK, up to a second old
  friend bool operator==(const RedisReplica&, const RedisReplica&) = default;
};

struct RedisState {
  // INFO server
  std::string version;  // "7.0.15"
  std::string mode;     // "standalone", "cluster", "sentinel"
  std::string run_id;   // changes with each start of the process
  uint64_t process_id = 0;
  uint64_t uptime_s = 0;
  // INFO persistence
  bool loading = false;
  bool async_loading = false;  // a replica that serves its old data while it loads the new
  // INFO replication
  RedisRole role = RedisRole::kUnknown;
  std::string replid, replid2;
  int64_t second_offset = -1;  // the last offset + 1 that is common with replid2
  // A master's end of stream; what a replica has applied (and not merely received). It falls back
  // to INFO's number where ROLE says -1: a replica without a link still knows what it has applied.
  int64_t offset = -1;
  bool backlog_active = false;
  uint32_t connected_replicas = 0;
  // of a replica
  std::string master_host;
  uint16_t master_port = 0;
  RedisLink link = RedisLink::kNone;
  bool link_up = false;
  bool sync_in_progress = false;
  int64_t last_io_seconds = -1;
  // ROLE, of a master: its online replicas
  std::vector<RedisReplica> replicas;
  // The last refusal of a probe's command; kNone after a round without one.
  RedisRefusal refusal = RedisRefusal::kNone;
};

// Reads every line that it knows, of whatever sections `text` has.
void apply_info(RedisState& state, std::string_view text);

// `elements` is ROLE's reply with its nested arrays laid flat and its integers as text: a master's
// "master", offset, then host, port, offset for each replica; a replica's "slave", host, port,
// link, offset. False: this is no such reply, and nothing was changed.
bool apply_role(RedisState& state, std::span<const std::string_view> elements);

}  // namespace azimuth
