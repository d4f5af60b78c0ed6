// From whom each replica takes the stream: the leader's part, which the tree decides, and each
// node's, which goes by the newest order of its leader and tells what it has carried out.
#include <algorithm>
#include <utility>

#include "health/leadership_machine.h"

namespace azimuth {

void Leadership::Machine::tree_progress(Instant now) {
  if (!leading(now) || !lead->ready) return;
  for (const TreeChange& moved : lead->tree.update(now, tree_sight(now))) {
    const auto name = [&](const std::string& node) { return node.empty() ? settings.node : node; };
    event("tunnel_source",
          moved.node + " from " + name(moved.from) + " to " + name(moved.to) + ": " + moved.why);
    send_renew(now, moved.node);
  }
}

TreeSight Leadership::Machine::tree_sight(Instant now) const {
  TreeSight sight;
  sight.zone = settings.zone;
  sight.region = settings.region;
  sight.wanted = settings.tunnel_tree;
  // WAIT counts who replicates straight from the primary, and nobody behind them.
  sight.direct_needed = quorum_copies(now) - 1;
  sight.quiet = hand_over || change || wished || !committed();
  for (const auto& [node, known] : peers) {
    if (!known.facts.member || state.electorate.removes(node)) continue;
    TreeNode each;
    each.id = node;
    each.zone = known.facts.zone;
    each.region = known.facts.region;
    each.votes = state.electorate.has(node);
    each.alive = known.facts.alive;
    if (known.grant && now - known.heard < times.lease) {
      const Grant& grant = *known.grant;
      each.heard = true;
      each.able = grant.knows_sources;
      each.in_sync = grant.in_sync;
      each.leaving = grant.leaving;
      each.copying = grant.copying;
      each.offset = grant.offset;
      each.version = grant.source_version;
      each.source = grant.source;
    }
    sight.nodes.push_back(std::move(each));
  }
  return sight;
}

// Datagrams overtake each other: an older order of the same life of the leader is void.
void Leadership::Machine::take_source(const Renew& renew) {
  if (renew.boot == news.source_boot && renew.source_version <= news.source_version) return;
  news.source_boot = renew.boot;
  news.source_version = renew.source_version;
  if (renew.source_version == 0) return;  // it has just started, and lets things be
  news.source = renew.source == settings.node ? std::string() : renew.source;
}

std::string Leadership::Machine::neighbour() const {
  if (!in_sync()) return view.source;
  for (const auto& [node, known] : peers) {
    const bool near = known.facts.zone == settings.zone && node != state.leader;
    if (near && known.facts.alive && known.facts.member) return node;
  }
  return {};
}

TreeOrder Leadership::Machine::carried_source() const {
  if (carried.epoch != state.accepted) return {};
  TreeOrder told;
  told.source = carried.node == state.leader ? std::string() : carried.node;
  if (told.source == news.source) told.version = news.source_version;
  return told;
}

}  // namespace azimuth
