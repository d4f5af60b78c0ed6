// Probes: whose turn it is, who is asked to try when there is no answer, and what the answers say
// about the target and about ourselves.
#include <algorithm>
#include <utility>

#include "health/gossip_machine.h"

namespace azimuth {
namespace {

// Missing answers in a row that other signs of life excuse. More, and the node may be deaf.
constexpr unsigned kExcusesMax = 3;
// Others are asked so often in one probe. With 10 % of all packets lost, a single round would raise
// two false suspicions in a thousand probes, each of them news for the whole group.
constexpr unsigned kRoundsMax = 2;
// A helper says "not yet" when so much of its own patience has gone (Lifeguard: 80 %).
constexpr std::int64_t kNackShare = 80;
constexpr Duration kRelayKept = seconds(2);
// On top of four round trips, before others are asked: a turn of a busy loop.
constexpr Duration kTurn = milliseconds(20);

}  // namespace

void Gossip::Machine::probe_next(Instant now) {
  next_probe = now + milliseconds(times.probe_interval.ms * (health + 1));
  if (probes.size() >= kGossipProbesMax) return;
  const auto probed = [&](const GossipNode& node) {
    return std::any_of(probes.begin(), probes.end(),
                       [&](const GossipProbe& probe) { return probe.target == node.record.id; });
  };
  // Other regions get their share, a smaller one; where there is nothing else, all of it.
  GossipNode* target = nodes.next_turn(random, [&](const GossipNode& node) {
    return !probed(node) && (!remote(node.record) || random.below(times.remote_region_factor) == 0);
  });
  if (target == nullptr) return;
  const NodeRecord& record = target->record;
  Duration patience = times.probe_timeout;
  if (target->rtt_ms >= 0) {
    patience = std::min(patience, milliseconds(4 * target->rtt_ms) + kTurn);
  }
  GossipProbe probe;
  probe.number = ++numbers;
  probe.target = record.id;
  probe.sent = now;
  probe.ask_at = now + scaled(patience, record);
  probe.deadline = now + scaled(times.probe_interval, record);
  // Lifeguard's buddy: a suspect hears of it from everybody who probes it.
  const bool accused = record.status == NodeStatus::kSuspect;
  send(record.address, {GossipKind::kPing, probe.number, record.id, {}}, accused ? target : nullptr,
       record.id);
  probes.push_back(std::move(probe));
}

void Gossip::Machine::check_probes(Instant now) {
  for (std::size_t i = 0; i < probes.size();) {
    GossipNode* target = nodes.find(probes[i].target);
    if (target == nullptr || !target->live()) {
      probes.erase(probes.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    if (now >= probes[i].ask_at) ask_others(now, probes[i], *target);
    if (now < probes[i].deadline) {
      ++i;
      continue;
    }
    const GossipProbe failed = std::move(probes[i]);
    probes.erase(probes.begin() + static_cast<std::ptrdiff_t>(i));
    probe_failed(now, failed, *target);
  }
}

void Gossip::Machine::ask_others(Instant now, GossipProbe& probe, const GossipNode& target) {
  ++probe.rounds;
  probe.ask_at = probe.rounds < kRoundsMax
                     ? now + milliseconds(std::max<std::int64_t>(1, (probe.deadline - now).ms / 2))
                     : kNever;
  const auto helpers = nodes.pick(random, times.indirect_probes, [&](const GossipNode& node) {
    return &node != &target && node.record.status == NodeStatus::kAlive;
  });
  for (const GossipNode* helper : helpers) {
    send(helper->record.address,
         {GossipKind::kPingRequest, probe.number, probe.target, target.record.address}, nullptr,
         helper->record.id);
  }
  probe.nacks_due += static_cast<unsigned>(helpers.size());
  // And once more ourselves: what was lost was a packet, more often than a node.
  send(target.record.address, {GossipKind::kPing, probe.number, probe.target, {}},
       target.record.status == NodeStatus::kSuspect ? &target : nullptr, target.record.id);
}

void Gossip::Machine::probe_failed(Instant now, const GossipProbe& probe, GossipNode& target) {
  // Helpers that say nothing either speak against our own ears, not against the target.
  if (probe.nacks_due == 0) {
    worsen(1);
  } else {
    worsen(probe.nacks_due - std::min(probe.nacks, probe.nacks_due));
  }
  if (target.heard >= probe.sent && target.excused < kExcusesMax) {
    ++target.excused;
    return;
  }
  suspect(now, target, {self.id});
}

void Gossip::Machine::on_ping(std::string_view from, const GossipPacket& packet,
                              const GossipNode* about) {
  // Meant for whoever had this address before us: its silence is the answer.
  if (packet.head.target != self.id) return;
  send(from, {GossipKind::kAck, packet.head.number, self.id, {}}, about, packet.sender.id);
}

void Gossip::Machine::on_ping_request(Instant now, std::string_view from,
                                      const GossipPacket& packet) {
  const GossipHead& head = packet.head;
  if (head.target == self.id) {
    send(from, {GossipKind::kAck, head.number, self.id, {}}, nullptr, packet.sender.id);
    return;
  }
  if (relays.size() >= kGossipRelaysMax || head.address.empty()) return;
  GossipRelay relay;
  relay.number = ++numbers;
  relay.asked_number = head.number;
  relay.target = head.target;
  relay.asker = from;
  relay.nack_at = now + milliseconds(times.probe_timeout.ms * kNackShare / 100);
  relay.expires = now + kRelayKept;
  const GossipNode* target = nodes.find(head.target);
  const bool accused = target != nullptr && target->record.status == NodeStatus::kSuspect;
  send(head.address, {GossipKind::kPing, relay.number, head.target, {}}, accused ? target : nullptr,
       head.target);
  relays.push_back(std::move(relay));
}

void Gossip::Machine::check_relays(Instant now) {
  std::erase_if(relays, [&](const GossipRelay& relay) { return now >= relay.expires; });
  for (GossipRelay& relay : relays) {
    if (relay.nacked || now < relay.nack_at) continue;
    relay.nacked = true;
    send(relay.asker, {GossipKind::kNack, relay.asked_number, relay.target, {}});
  }
}

void Gossip::Machine::on_ack(Instant now, const GossipPacket& packet) {
  const GossipHead& head = packet.head;
  const auto probe = std::find_if(probes.begin(), probes.end(), [&](const GossipProbe& each) {
    return each.number == head.number && each.target == head.target;
  });
  if (probe != probes.end()) {
    if (GossipNode* target = nodes.find(head.target)) {
      target->excused = 0;
      // Only what went there and back, and was asked once, tells the distance.
      if (packet.sender.id == head.target && probe->rounds == 0) {
        const std::int64_t rtt_ms = (now - probe->sent).ms;
        target->rtt_ms = target->rtt_ms < 0 ? rtt_ms : (7 * target->rtt_ms + rtt_ms) / 8;
      }
    }
    if (health > 0) --health;
    probes.erase(probe);
    return;
  }
  const auto relay = std::find_if(relays.begin(), relays.end(), [&](const GossipRelay& each) {
    return each.number == head.number && each.target == head.target;
  });
  if (relay == relays.end()) return;
  send(relay->asker, {GossipKind::kAck, relay->asked_number, relay->target, {}},
       nodes.find(relay->target));
  relays.erase(relay);
}

void Gossip::Machine::on_nack(const GossipPacket& packet) {
  for (GossipProbe& probe : probes) {
    if (probe.number == packet.head.number && probe.target == packet.head.target) ++probe.nacks;
  }
}

}  // namespace azimuth
