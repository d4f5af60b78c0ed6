// What operators wish: where it is asked for here, it goes to this node's leadership or on to who
// leads.
#include <utility>

#include "proxy/clock.h"
#include "proxy/group/group.h"
#include "proxy/group/redis_control.h"

namespace azimuth {

void Group::switch_over(const std::string& to, Wishes::Answer answer) {
  if (!to.empty() && published_.leader == to) return answer(to + " is the primary already");
  ask(Wish::Kind::kSwitchOver, to, std::move(answer));
}

void Group::force(const std::string& node, Wishes::Answer answer) {
  ask(Wish::Kind::kForce, node, std::move(answer));
}

void Group::change_members(Wish::Kind kind, const std::string& node, MemberWishes::Answer answer) {
  const Instant now = clock_now();
  member_wishes_.add(now, {kind, random() | 1, node}, std::move(answer));
  offer_wishes(now);
  turn();
}

void Group::ask(Wish::Kind kind, const std::string& node, Wishes::Answer answer) {
  const Instant now = clock_now();
  wishes_.add(now, kind, node, std::move(answer));
  offer_wishes(now);
  turn();
}

void Group::offer_wishes(Instant now) {
  wishes_.offer(now, published_, [&](Wish::Kind kind, const std::string& node) {
    if (!has_say()) return leaving_ ? "the node is leaving" : mute_reason();
    Outcome taken = is_sidecar()                      ? pass_on({kind, random(), node})
                    : kind == Wish::Kind::kSwitchOver ? leadership_.switch_over(now, node)
                                                      : leadership_.force(now, node);
    return taken.ok() ? std::string() : taken.error().message;
  });
  member_wishes_.offer(now, [&](const Wish& wish) {
    if (!has_say()) return leaving_ ? "the node is leaving" : mute_reason();
    Outcome taken = Done{};
    if (is_sidecar())
      taken = pass_on(wish);
    else
      leadership_.change_members(now, wish.kind, wish.node, wish.id);
    return taken.ok() ? std::string() : taken.error().message;
  });
}

// A sidecar's leadership knows nobody: the primary, or any voter where there is none, is asked.
Outcome Group::pass_on(const Wish& wish) {
  std::string whom = published_.leader;
  for (const NodeRecord* each : gossip_.nodes()) {
    if (!whom.empty()) break;
    if (each->wants_vote && each->status == NodeStatus::kAlive) whom = each->id;
  }
  if (whom.empty()) {
    return make_error(ErrorCode::kUnavailable, Fault::kPeer, "no node that votes answers");
  }
  send(whom, wish);
  return Done{};
}

}  // namespace azimuth
