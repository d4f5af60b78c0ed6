// What ROLE says, as far as reads depend on it: how far a primary has got, and whether a replica
// may be believed for what it answers right behind it.
//
// A replica names the port that it replicates from, and each epoch has a port of its own (the
// node's, for this epoch's tunnel). So one answer shows whose history it follows, that it was
// connected, and how much of that history it had applied, whatever anybody believed when it was
// asked. Redis 7.0, replication.c: roleCommand. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace azimuth {

// A primary's offset; nothing if it says anything else.
std::optional<std::uint64_t> primary_offset(std::string_view role) noexcept;

struct ReplicaRole {
  std::int64_t port = 0;  // of its primary, here the tunnel's
  bool connected = false;
  std::int64_t offset = -1;  // applied
};
// Nothing if it is not a replica's.
std::optional<ReplicaRole> replica_role(std::string_view role) noexcept;

// What must be shown in front of a batch of reads: as much as the most demanding of them asks for.
struct ReadGate {
  std::uint64_t offset = 0;  // applied at least
  bool any = true;           // whatever state it shows will do
  void require(std::uint64_t at_least, bool any_will_do) noexcept;
};

struct GateVerdict {
  bool open = false;  // what was read behind it may be believed
  // Where the replica follows this epoch's primary and has applied enough: how much.
  std::optional<std::uint64_t> applied;
};
// `port`: that a follower of this epoch replicates from.
GateVerdict judge(std::string_view role, const ReadGate& gate, std::uint16_t port) noexcept;

}  // namespace azimuth
