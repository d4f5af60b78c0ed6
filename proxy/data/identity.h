// On whose behalf a connection to Redis speaks: user, secret, RESP version; and the connections
// that do. Every command runs as its client's user, so users never share a connection. Owned by one
// worker.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/data/upstream.h"

namespace azimuth {

struct Identity {
  // Logged in without AUTH: Redis's default user, where it is open.
  bool logged_in = false;
  std::string user = "default";
  std::string secret;
  uint8_t protocol = 2;
  // Each connection is on one database for good. Were a shared one switched by SELECT in front of a
  // command, and that SELECT refused (BUSY, an ACL that changed), the command would run on another
  // client's database.
  int32_t db = 0;

  // Shared, made when first needed: reads, writes, scripts, what needs a quorum, and reads at each
  // replica that is read (by its seat). Apart, since CLIENT PAUSE WRITE stops a whole connection,
  // and so does a script that does not end.
  std::array<Upstream*, static_cast<size_t>(Role::kReplica) + kReplicasReadMax> shared{};
  // Its user may not ask ROLE: what it does has no position, and it reads at the primary.
  bool role_denied = false;
  std::vector<Upstream*> idle;  // dedicated, ready to be lent
  uint32_t clients = 0;
  uint64_t unused_since_ms = 0;
};

}  // namespace azimuth
