// Records that come in: which of two is newer, who is suspected, who is dead.
//
// The order: a higher incarnation beats everything; within one, facts by their version and, apart
// from them, the worst verdict (alive < suspect < dead < left). So a verdict never undoes facts,
// nor facts a verdict.
#include <algorithm>
#include <cmath>
#include <utility>

#include "health/gossip_machine.h"

namespace azimuth {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

void Gossip::Machine::learn(Instant now, const GossipItem& item, bool direct, bool tell_on) {
  const NodeRecord& record = item.record;
  if (record.id == self.id) return on_own_record(now, record);
  GossipNode* node = nodes.find(record.id);
  if (node == nullptr) return learn_unknown(now, record, tell_on);
  const NodeRecord& known = node->record;
  if (record.incarnation < known.incarnation) return;
  const bool refuted = record.incarnation > known.incarnation;
  // Of another life, or of another node of this name: that one exceeds our incarnation as soon as
  // it is told what is believed of it, if it may.
  if (!refuted && record.boot != known.boot) return;
  const bool facts = refuted || record.version > known.version;
  if (facts) {
    const NodeStatus status = known.status;
    node->record = record;
    node->record.status = status;
  } else if (direct) {
    node->record.offset = record.offset;
  }
  if (learn_status(now, *node, item, refuted, facts) && tell_on) nodes.enqueue(*node);
}

void Gossip::Machine::learn_unknown(Instant now, const NodeRecord& record, bool tell_on) {
  // Who is dead and was never known has no claim to memory.
  if (record.status == NodeStatus::kDead || record.status == NodeStatus::kLeft) return;
  GossipNode* node = nodes.add(record, now, random);
  if (node == nullptr) return;
  emit(News::kJoined, record.id);
  if (tell_on) nodes.enqueue(*node);
  if (record.status == NodeStatus::kSuspect) suspect(now, *node, {});
}

// True where others should hear of it.
bool Gossip::Machine::learn_status(Instant now, GossipNode& node, const GossipItem& item,
                                   bool refuted, bool facts_changed) {
  const NodeStatus said = item.record.status;
  const NodeStatus known = node.record.status;
  const std::string& id = node.record.id;
  if (refuted && said == NodeStatus::kAlive) {
    nodes.set_status(node, NodeStatus::kAlive, now);
    node.excused = 0;
    emit(known == NodeStatus::kAlive     ? News::kUpdated
         : known == NodeStatus::kSuspect ? News::kAlive
                                         : News::kJoined,
         id);
    return true;
  }
  if (facts_changed) emit(News::kUpdated, id);
  if (said == NodeStatus::kSuspect && (refuted || known <= NodeStatus::kSuspect)) {
    // A new suspicion, of the new incarnation, with all its time.
    if (refuted) nodes.set_status(node, NodeStatus::kAlive, now);
    if (known > NodeStatus::kSuspect) emit(News::kJoined, id);
    suspect(now, node, item.accusers);
    return facts_changed;
  }
  if (said > NodeStatus::kSuspect && (refuted || said > known)) {
    declare(now, node, said);
    return true;
  }
  return facts_changed;
}

void Gossip::Machine::suspect(Instant now, GossipNode& node,
                              const std::vector<std::string>& accusers) {
  const bool fresh = node.record.status != NodeStatus::kSuspect;
  const unsigned far = remote(node.record) ? times.remote_region_factor : 1;
  if (fresh) {
    nodes.set_status(node, NodeStatus::kSuspect, now);
    const double crowd = std::log10(static_cast<double>(nodes.live() + 1));
    auto suspicion = std::make_unique<Suspicion>();
    suspicion->begun = now;
    suspicion->least = milliseconds(static_cast<std::int64_t>(
        static_cast<double>(times.suspicion.ms * far) * std::max(1.0, crowd)));
    suspicion->most = milliseconds(suspicion->least.ms * times.suspicion_most_factor);
    // Of a group of three, one is left to confirm.
    suspicion->wanted = static_cast<unsigned>(
        std::min<std::size_t>(kGossipAccusersMax - 1, nodes.live() > 1 ? nodes.live() - 1 : 0));
    node.suspicion = std::move(suspicion);
  }
  bool confirmed = false;
  for (const std::string& accuser : accusers) {
    confirmed = node.suspicion->accuse(accuser) || confirmed;
    if (accuser == self.id) news_due = true;
  }
  if (confirmed && !fresh) {
    node.suspicion->not_before = now + milliseconds(times.probe_interval.ms * far);
  }
  if (fresh || confirmed) nodes.enqueue(node);
  if (fresh) emit(News::kSuspect, node.record.id, joined(node.suspicion->accusers));
}

void Gossip::Machine::check_suspects(Instant now) {
  const std::vector<GossipNode*> suspects = nodes.suspects();  // declaring changes the list
  for (GossipNode* node : suspects) {
    Suspicion& suspicion = *node->suspicion;
    if (now >= suspicion.next_question()) {
      ++suspicion.asked;
      send(node->record.address, {GossipKind::kPing, ++numbers, node->record.id, {}}, node,
           node->record.id);
    }
    if (now < suspicion.deadline()) continue;
    declare(now, *node, NodeStatus::kDead);
    nodes.enqueue(*node);
    news_due = true;
  }
}

void Gossip::Machine::declare(Instant now, GossipNode& node, NodeStatus status) {
  std::string text = node.suspicion ? joined(node.suspicion->accusers) : std::string();
  nodes.set_status(node, status, now);
  emit(status == NodeStatus::kLeft ? News::kLeft : News::kDead, node.record.id, std::move(text));
  next_meet = earlier_of(next_meet, now + milliseconds(2 * times.probe_interval.ms));
}

const GossipNode* Gossip::Machine::misbelief(const NodeRecord& sender) const {
  const GossipNode* node = nodes.find(sender.id);
  if (node == nullptr || sender.status == NodeStatus::kLeft) return nullptr;
  const bool agreed = node->record.boot == sender.boot &&
                      node->record.incarnation <= sender.incarnation &&
                      node->record.status == NodeStatus::kAlive;
  return agreed ? nullptr : node;
}

}  // namespace azimuth
