#include "health/gossip.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "health/gossip_machine.h"

namespace azimuth {
namespace {

// Once in so long the dead are looked through, and forgotten after so long: by then nobody tells a
// stale record of them any more.
constexpr Duration kForgetEvery = seconds(10);
constexpr Duration kDeadKept = seconds(600);
// Urgent news go to so many nodes at once, and not more often than this.
constexpr std::size_t kNewsTo = 3;
constexpr Duration kNewsGap = milliseconds(50);
constexpr std::size_t kGoodbyesTo = 8;
// A tick that comes this late was held up by something: the machine was paused or starved.
constexpr Duration kLate = milliseconds(50);

bool is_live(const GossipNode& node) { return node.live(); }

}  // namespace

// --- The calls from outside ----------------------------------------------------------------------

Gossip::Gossip(NodeRecord self, GossipTimes times, Instant now)
    : machine_(std::make_unique<Machine>(std::move(self), times, now)) {}
Gossip::~Gossip() = default;

void Gossip::set_seeds(std::vector<std::string> seeds) {
  std::vector<Machine::Seed> fresh;
  for (std::string& address : seeds) {
    if (fresh.size() == kGossipSeedsMax) break;
    if (address.size() > kGossipAddressBytesMax) continue;
    const auto& old = machine_->seeds;
    const auto known = std::find_if(old.begin(), old.end(),
                                    [&](const auto& seed) { return seed.address == address; });
    fresh.push_back({std::move(address), known == old.end() ? std::string() : known->id});
  }
  machine_->seeds = std::move(fresh);
  machine_->next_meet = machine_->last;
}

void Gossip::update_self(const NodeRecord& facts) { machine_->update_self(facts); }
void Gossip::on_tick(Instant now, std::uint64_t random) { machine_->on_tick(now, random); }
void Gossip::on_packet(Instant now, std::string_view from, std::string_view bytes,
                       std::uint64_t random) {
  machine_->on_packet(now, from, bytes, random);
}
void Gossip::on_heard(Instant now, std::string_view id) {
  if (GossipNode* node = machine_->nodes.find(id)) node->heard = now;
}
void Gossip::leave(Instant now, std::uint64_t random) {
  machine_->last = now;
  machine_->leave(random);
}
Instant Gossip::next_wakeup() const { return machine_->wakeup(); }
GossipOutbox Gossip::take_outbox() { return std::exchange(machine_->outbox, {}); }
const NodeRecord& Gossip::self() const { return machine_->self; }
const NodeRecord* Gossip::find(std::string_view id) const {
  const GossipNode* node = std::as_const(machine_->nodes).find(id);
  return node == nullptr ? nullptr : &node->record;
}
std::vector<const NodeRecord*> Gossip::nodes() const {
  std::vector<const NodeRecord*> records;
  records.reserve(machine_->nodes.size());
  for (const auto& [id, node] : std::as_const(machine_->nodes).all()) {
    records.push_back(&node.record);
  }
  return records;
}
unsigned Gossip::local_health() const { return machine_->health; }
bool Gossip::id_taken() const { return machine_->last < machine_->silent_until; }

// --- Time ----------------------------------------------------------------------------------------

Gossip::Machine::Machine(NodeRecord own, GossipTimes given_times, Instant start)
    : self(std::move(own)),
      times(given_times),
      last(start),
      next_probe(start),
      next_meet(start),
      next_pull(start + seconds(1)),
      next_forget(start + kForgetEvery),
      told_news(start - kNewsGap) {
  self.status = NodeStatus::kAlive;
  random.stir(self.boot);
}

void Gossip::Machine::on_tick(Instant now, std::uint64_t bits) {
  if (left || now < wakeup()) return;
  random.stir(bits);
  last = now;
  if (now < silent_until) return;
  if (silent_until.ms >= 0) {  // it is over: see who has our id by now
    silent_until = Instant{-1};
    first_contact = kNever;
    next_probe = next_meet = now;
  }
  const Duration late = now - timers();
  if (late >= std::max(kLate, milliseconds(times.probe_interval.ms / 4))) forgive(late);
  if (news_due && now - told_news >= kNewsGap) tell_news(now);
  check_probes(now);
  check_suspects(now);
  check_relays(now);
  check_contest(now);
  check_pull(now);
  if (now >= next_probe) probe_next(now);
  if (now >= next_meet) meet(now);
  if (now >= next_pull) pull_some(now);
  if (now >= next_forget) {
    next_forget = now + kForgetEvery;
    nodes.forget(now - kDeadKept);
  }
  if (news_due && now - told_news >= kNewsGap) tell_news(now);
}

// The time that we were not there is nobody's silence: an answer may lie in the socket, unread.
void Gossip::Machine::forgive(Duration late) {
  worsen(1);
  for (GossipProbe& probe : probes) {
    probe.sent = probe.sent + late;
    probe.ask_at = probe.ask_at + late;
    probe.deadline = probe.deadline + late;
  }
  for (GossipNode* node : nodes.suspects()) {
    Suspicion& suspicion = *node->suspicion;
    suspicion.begun = suspicion.begun + late;
    suspicion.not_before = suspicion.not_before + late;
  }
  for (GossipRelay& relay : relays) {
    relay.nack_at = relay.nack_at + late;
    relay.expires = relay.expires + late;
  }
  if (contest) contest->deadline = contest->deadline + late;
}

Instant Gossip::Machine::timers() const {
  Instant at = earlier_of(earlier_of(next_probe, next_meet), earlier_of(next_pull, next_forget));
  for (const GossipProbe& probe : probes) {
    at = earlier_of(at, earlier_of(probe.ask_at, probe.deadline));
  }
  for (const GossipNode* node : nodes.suspects()) {
    at = earlier_of(at, earlier_of(node->suspicion->deadline(), node->suspicion->next_question()));
  }
  for (const GossipRelay& relay : relays) {
    at = earlier_of(at, relay.nacked ? relay.expires : relay.nack_at);
  }
  if (contest) at = earlier_of(at, earlier_of(contest->ask_again, contest->deadline));
  if (pull) at = earlier_of(at, pull->ask_again);
  return at;
}

Instant Gossip::Machine::wakeup() const {
  if (left) return kNever;
  if (silent_until.ms >= 0) return silent_until;
  return news_due ? earlier_of(timers(), told_news + kNewsGap) : timers();
}

// --- Packets -------------------------------------------------------------------------------------

void Gossip::Machine::on_packet(Instant now, std::string_view from, std::string_view bytes,
                                std::uint64_t bits) {
  last = later_of(last, now);
  if (left || now < silent_until) return;
  const std::optional<GossipPacket> packet = decode_gossip_packet(bytes);
  if (!packet) return;
  random.stir(bits);
  if (packet->sender.id == self.id) return on_namesake(now, from, *packet);
  if (first_contact == kNever) first_contact = now;

  const GossipNode* before = nodes.find(packet->sender.id);
  const bool stranger = before == nullptr || before->record.status == NodeStatus::kDead;
  learn(now, {packet->sender, {}}, true, true);
  if (GossipNode* sender = nodes.find(packet->sender.id)) sender->heard = now;
  const bool page = packet->head.kind == GossipKind::kPage;
  for (const GossipItem& item : packet->items) {
    learn(now, item, false, !page || !pull || pull->tell_on);
  }
  if (now < silent_until) return;  // one of these has shown that our id is taken
  const GossipNode* about = misbelief(packet->sender);
  switch (packet->head.kind) {
    case GossipKind::kPing:
      return on_ping(from, *packet, about);
    case GossipKind::kPull:
      on_pull(now, from, *packet, stranger);
      break;
    case GossipKind::kPingRequest:
      on_ping_request(now, from, *packet);
      break;
    case GossipKind::kAck:
      on_ack(now, *packet);
      break;
    case GossipKind::kNack:
      on_nack(*packet);
      break;
    case GossipKind::kPage:
      on_page(now, from, *packet);
      break;
    case GossipKind::kNews:
      break;
  }
  // In these answers there is no room for it; who speaks and is believed dead is told all the same,
  // now and then.
  GossipNode* sender = about == nullptr ? nullptr : nodes.find(about->record.id);
  if (sender == nullptr || now - sender->told < kNewsGap + kNewsGap) return;
  sender->told = now;
  send(from, {GossipKind::kNews, 0, {}, {}}, sender, packet->sender.id);
}

void Gossip::Machine::send(std::string_view to, const GossipHead& head, const GossipNode* about,
                           std::string_view to_id) {
  GossipPacketWriter writer(head, self);
  if (about != nullptr) {
    writer.add(about->record,
               about->suspicion ? about->suspicion->accusers : std::vector<std::string>());
  }
  nodes.fill(writer, sends_max(), about != nullptr ? std::string_view(about->record.id) : to_id);
  outbox.packets.push_back({std::string(to), writer.take()});
}

void Gossip::Machine::tell_news(Instant now) {
  news_due = false;
  told_news = now;
  for (const GossipNode* node : nodes.pick(random, kNewsTo, is_live)) {
    send(node->record.address, {GossipKind::kNews, 0, {}, {}}, nullptr, node->record.id);
  }
}

void Gossip::Machine::update_self(const NodeRecord& facts) {
  NodeRecord next = facts;
  next.id = self.id;
  next.boot = self.boot;
  next.incarnation = self.incarnation;
  next.version = self.version;
  next.status = self.status;
  if (next == self) return;
  self.offset = next.offset;
  const bool only_offset = next == self;
  self = std::move(next);
  if (only_offset) return;
  ++self.version;
  news_due = true;
}

void Gossip::Machine::leave(std::uint64_t bits) {
  if (left) return;
  random.stir(bits);
  self.status = NodeStatus::kLeft;
  for (const GossipNode* node : nodes.pick(random, kGoodbyesTo, is_live)) {
    send(node->record.address, {GossipKind::kNews, 0, {}, {}}, nullptr, node->record.id);
  }
  left = true;
}

void Gossip::Machine::emit(News news, const std::string& id, std::string text) {
  outbox.events.push_back({news, id, std::move(text)});
}

unsigned Gossip::Machine::sends_max() const {
  return 3 * static_cast<unsigned>(std::ceil(std::log10(static_cast<double>(nodes.live() + 2))));
}

Duration Gossip::Machine::scaled(Duration duration, const NodeRecord& record) const {
  const unsigned factor = (health + 1) * (remote(record) ? times.remote_region_factor : 1);
  return milliseconds(duration.ms * factor);
}

}  // namespace azimuth
