#include "proxy/data/target.h"

namespace azimuth {

Target target_of(const Topology& topology) {
  Target target;
  if (topology.vacant()) return target;
  target.epoch = topology.epoch;
  if (topology.primary == topology.local) {
    target.kind = TargetKind::kNear;
    return target;
  }
  const Member& primary = topology.members[static_cast<size_t>(topology.primary)];
  target.kind = TargetKind::kFar;
  target.node = primary.id;
  target.peer = primary.peer;
  if (const auto endpoint = parse_endpoint(primary.peer); endpoint.ok()) {
    if (const auto address = numeric_address(*endpoint)) target.address = *address;
  }
  return target;
}

}  // namespace azimuth
