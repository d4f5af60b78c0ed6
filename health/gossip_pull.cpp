// Whole states by pages: joining through a seed, meeting again after a partition, and a slow round
// through everybody's records that mends what was lost.
//
// A page is asked for by number, again until it comes; the id that it ends with begins the next,
// and an empty one ends the row. A joiner asks for all pages in a row. The slow round takes one
// page every few seconds, from a random node: its cost does not grow with the number of nodes, only
// its length does.
#include <algorithm>
#include <utility>

#include "health/gossip_machine.h"

namespace azimuth {
namespace {

constexpr Duration kSlowRound = seconds(3);
constexpr unsigned kAskedMax = 5;
// Unmet seeds are tried this much more seldom once we are among others.
constexpr std::int64_t kSeedPatience = 5;

}  // namespace

// As long as nobody is known, or some are lost: seeds and the dead, one after the other.
void Gossip::Machine::meet(Instant now) {
  const bool alone = nodes.live() == 0;
  const bool lost =
      std::any_of(nodes.dead().begin(), nodes.dead().end(),
                  [](const GossipNode* node) { return node->record.status == NodeStatus::kDead; });
  const Duration every = milliseconds(2 * times.probe_interval.ms);
  next_meet = now + (alone || lost ? every : milliseconds(every.ms * kSeedPatience));
  if (pull) return;
  GossipPull next;
  next.asked_max = 1;
  next.whole = true;
  next.tell_on = !alone;
  if (lost && random.below(2) == 0) {
    const GossipNode* dead = nodes.dead()[random.below(nodes.dead().size())];
    if (dead->record.status != NodeStatus::kDead) return;
    next.to = dead->record.address;
  } else if (auto seed = unmet_seed()) {
    next.to = std::move(*seed);
  } else {
    return;
  }
  start_pull(now, std::move(next));
}

// The next seed that is not known to be a live node, or ourselves.
std::optional<std::string> Gossip::Machine::unmet_seed() {
  for (std::size_t tried = 0; tried < seeds.size(); ++tried) {
    const Seed& seed = seeds[seed_turn++ % seeds.size()];
    if (seed.address == self.address || seed.id == self.id) continue;
    const GossipNode* node = seed.id.empty() ? nullptr : nodes.find(seed.id);
    if (node != nullptr && node->live()) continue;
    return seed.address;
  }
  return std::nullopt;
}

void Gossip::Machine::pull_some(Instant now) {
  next_pull = now + milliseconds(kSlowRound.ms / 2 +
                                 static_cast<std::int64_t>(random.below(kSlowRound.ms)));
  if (pull) return;
  const auto from = nodes.pick(
      random, 1, [](const GossipNode& node) { return node.record.status == NodeStatus::kAlive; });
  if (from.empty()) return;
  GossipPull next;
  next.to = from.front()->record.address;
  next.after = page_after;
  next.asked_max = 2;
  next.tell_on = true;
  start_pull(now, std::move(next));
}

void Gossip::Machine::start_pull(Instant now, GossipPull next) {
  pull = std::move(next);
  ask_page(now);
}

void Gossip::Machine::ask_page(Instant now) {
  pull->number = ++numbers;
  pull->ask_again = now + milliseconds(2 * times.probe_interval.ms);
  ++pull->asked;
  send(pull->to, {GossipKind::kPull, pull->number, pull->after, {}});
}

void Gossip::Machine::check_pull(Instant now) {
  if (!pull || now < pull->ask_again) return;
  if (pull->asked < pull->asked_max) return ask_page(now);
  pull.reset();
}

void Gossip::Machine::on_pull(Instant now, std::string_view from, const GossipPacket& packet,
                              bool stranger) {
  GossipPacketWriter page({GossipKind::kPage, packet.head.number, {}, {}}, self);
  const auto& all = std::as_const(nodes).all();
  for (auto at = all.upper_bound(packet.head.target); at != all.end(); ++at) {
    if (!page.add(at->second.record, {})) break;
  }
  outbox.packets.push_back({std::string(from), page.take()});
  // Whom we did not know may know others whom we do not.
  if (!stranger || pull) return;
  GossipPull back;
  back.to = from;
  back.asked_max = 2;
  back.whole = true;
  back.tell_on = true;
  start_pull(now, std::move(back));
}

void Gossip::Machine::on_page(Instant now, std::string_view from, const GossipPacket& packet) {
  if (!pull || packet.head.number != pull->number) return;
  for (Seed& seed : seeds) {
    if (seed.address == pull->to || seed.address == from) seed.id = packet.sender.id;
  }
  const std::string end = packet.items.empty() ? std::string() : packet.items.back().record.id;
  const bool more = end > pull->after;  // an empty page is behind the last one
  if (!pull->whole) page_after = more ? end : std::string();
  if (!pull->whole || !more) {
    pull.reset();
    return;
  }
  pull->after = end;
  pull->asked = 0;
  pull->asked_max = kAskedMax;
  ask_page(now);
}

}  // namespace azimuth
