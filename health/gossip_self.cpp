// What others say of this node: refuting what is wrong, and telling a former life of ours, whose
// record still goes around, from another node that has our id.
//
// A record of our id with another boot is either: the same address speaks for a former life, which
// is exceeded. Another address is asked: if our id answers there, one of the two falls silent, the
// newcomer or, where neither is new, the one with the higher boot number. A second process that has
// our address in its settings too shows by exceeding us again and again.
#include <algorithm>
#include <limits>
#include <utility>

#include "health/gossip_machine.h"

namespace azimuth {
namespace {

// Who has been among others for so long without being contradicted had its id first.
constexpr Duration kEstablished = seconds(2);
constexpr Duration kSilence = seconds(3);
constexpr unsigned kRivalRoundsMax = 3;
constexpr Duration kReportEvery = seconds(60);

}  // namespace

void Gossip::Machine::on_own_record(Instant now, const NodeRecord& record) {
  if (record.boot == self.boot) {
    if (record.status == NodeStatus::kAlive || record.incarnation < self.incarnation) return;
    // Accused, or even buried: perhaps we are the slow one.
    if (record.status != NodeStatus::kLeft) worsen(1);
    return exceed(record.incarnation);
  }
  // What has been exceeded already goes around a little longer.
  if (record.incarnation < self.incarnation) return;
  const bool gone = record.status == NodeStatus::kDead || record.status == NodeStatus::kLeft;
  if (gone) return exceed(record.incarnation);
  if (record.address == self.address) {
    if (record.boot != rival_boot) rival_rounds = 0;
    rival_boot = record.boot;
    if (++rival_rounds <= kRivalRoundsMax) return exceed(record.incarnation);
    report_namesake(now, record, record.address);
    if (established(now) && self.boot < record.boot) return exceed(record.incarnation);
    return fall_silent(now);
  }
  if (contest) return;
  contest = GossipContest{record, 0, now, now + times.suspicion};
  ask_namesake(now);
}

void Gossip::Machine::ask_namesake(Instant now) {
  contest->number = ++numbers;
  contest->ask_again = now + milliseconds(times.suspicion.ms / 4);
  send(contest->other.address, {GossipKind::kPing, contest->number, self.id, {}});
}

void Gossip::Machine::check_contest(Instant now) {
  if (!contest) return;
  if (now >= contest->deadline) {  // nobody there: the id is ours again
    const std::uint32_t incarnation = contest->other.incarnation;
    contest.reset();
    return exceed(std::max(incarnation, self.incarnation));
  }
  if (now >= contest->ask_again) ask_namesake(now);
}

void Gossip::Machine::on_namesake(Instant now, std::string_view from, const GossipPacket& packet) {
  const NodeRecord& other = packet.sender;
  if (other.boot == self.boot) {  // ourselves: our own address is among the seeds
    if (!pull || packet.head.kind != GossipKind::kPull) return;
    for (Seed& seed : seeds) {
      if (seed.address == pull->to) seed.id = self.id;
    }
    pull.reset();
    next_meet = now;
    return;
  }
  if (other.status == NodeStatus::kLeft) return;
  report_namesake(now, other, from);
  const bool was_established = established(now);
  if (contest) {
    const NodeRecord rival = contest->other;
    contest.reset();
    if (was_established && rival.incarnation <= self.incarnation && self.boot < rival.boot) {
      return exceed(rival.incarnation);
    }
    return fall_silent(now);
  }
  if (!was_established) return fall_silent(now);
  // So that it learns of us, whatever it was that it said.
  if (packet.head.kind != GossipKind::kAck) {
    send(from, {GossipKind::kAck, packet.head.number, self.id, {}});
  }
}

void Gossip::Machine::exceed(std::uint32_t incarnation) {
  self.incarnation = std::max(self.incarnation, incarnation);
  // Nobody gets to the end by refuting; who is put there by a lie stays there.
  if (self.incarnation != std::numeric_limits<std::uint32_t>::max()) ++self.incarnation;
  news_due = true;
}

void Gossip::Machine::fall_silent(Instant now) {
  silent_until = now + kSilence + milliseconds(static_cast<std::int64_t>(random.below(3000)));
  contest.reset();
  pull.reset();
  probes.clear();
  relays.clear();
  outbox.packets.clear();
  rival_rounds = 0;
  news_due = false;
}

bool Gossip::Machine::established(Instant now) const {
  return first_contact != kNever && now - first_contact >= kEstablished;
}

void Gossip::Machine::report_namesake(Instant now, const NodeRecord& other, std::string_view from) {
  if (reported.ms >= 0 && reported_boot == other.boot && now - reported < kReportEvery) return;
  reported = now;
  reported_boot = other.boot;
  std::string where = other.address;
  if (from != other.address) where += " (its packets come from " + std::string(from) + ")";
  emit(News::kIdTaken, self.id,
       "the node at " + where + " has the same node.id as this one at " + self.address +
           ": give one of them another id");
}

}  // namespace azimuth
