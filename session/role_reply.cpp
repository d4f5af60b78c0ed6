#include "session/role_reply.h"

#include <algorithm>

#include "conf/defects.h"
#include "session/reply_framer.h"

namespace azimuth {

std::optional<std::uint64_t> primary_offset(std::string_view role) noexcept {
  ReplyReader reader(role);
  ReplyElement element;
  const bool is_master = reader.next(element) && element.is_aggregate() && reader.next(element) &&
                         element.text == "master" && reader.next(element) && element.integer >= 0;
  return is_master ? std::optional(static_cast<std::uint64_t>(element.integer)) : std::nullopt;
}

// "slave", its primary's host and port, the state of the link, the offset that it has applied.
std::optional<ReplicaRole> replica_role(std::string_view role) noexcept {
  ReplyReader reader(role);
  ReplyElement element;
  ReplicaRole found;
  if (!reader.next(element) || !element.is_aggregate()) return std::nullopt;
  if (!reader.next(element) || element.text != "slave" || !reader.next(element))
    return std::nullopt;
  if (!reader.next(element)) return std::nullopt;
  found.port = element.integer;
  if (!reader.next(element)) return std::nullopt;
  found.connected = element.text == "connected";
  if (!reader.next(element)) return std::nullopt;
  found.offset = element.integer;
  return found;
}

void ReadGate::require(std::uint64_t at_least, bool any_will_do) noexcept {
  offset = std::max(offset, at_least);
  any = any && any_will_do;
}

GateVerdict judge(std::string_view role, const ReadGate& gate, std::uint16_t port) noexcept {
  // (What the tap has pushed was enough when the read was sent.)
  if (defective(Defect::kTapOfAnotherProcess)) return {true, gate.offset};
  const std::optional<ReplicaRole> found = replica_role(role);
  if (!found) return {};
  const bool follows = found->connected && found->port == port && found->offset >= 0 &&
                       static_cast<std::uint64_t>(found->offset) >= gate.offset;
  if (!follows) return {gate.any, std::nullopt};
  return {true, static_cast<std::uint64_t>(found->offset)};
}

}  // namespace azimuth
