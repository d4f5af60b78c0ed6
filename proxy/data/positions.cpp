// Positions: what a session has done and seen is given a place in the primary's history by ROLE,
// once behind each batch of requests; and what a replica answers is believed for what ROLE says in
// front (replica.h).
//
// ROLE behind a write, on the same connection, names an offset at or beyond its end (replication.c:
// the stream is fed before the next command is read). It is never put inside MULTI, where it would
// be queued.
#include <algorithm>

#include "proxy/control/log.h"
#include "proxy/data/identity.h"
#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"
#include "session/reply_framer.h"

namespace azimuth {
namespace {

constexpr std::string_view kAskRole = "*1\r\n$4\r\nROLE\r\n";

}  // namespace

std::optional<uint64_t> primary_offset(std::string_view role) {
  ReplyReader reader(role);
  ReplyElement element;
  const bool is_master = reader.next(element) && element.is_aggregate() && reader.next(element) &&
                         element.text == "master" && reader.next(element) && element.integer >= 0;
  return is_master ? std::optional(static_cast<uint64_t>(element.integer)) : std::nullopt;
}

// "slave", its primary's host and port, the state of the link, the offset that it has applied.
std::optional<ReplicaRole> replica_role(std::string_view role) {
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

// --- behind requests to the primary --------------------------------------------------------------

void Upstream::note_sent(const Entry& entry) {
  if (role_ >= Role::kReplica && role_ != Role::kDedicated) return;
  if (entry.injected || opaque_ || (pubsub && protocol == 2)) return;
  // Inside a transaction nothing has happened yet; EXEC is what happens.
  const bool executes = entry.topic == Topic::kExec;
  if (entry.bound && !executes) return;
  if (!entry.write && !executes && !worker_.tags_reads()) return;
  Client* const client = worker_.client(entry.client);
  if (client == nullptr) return;
  if (open_tag_.batch == 0) open_tag_.batch = worker_.next_batch();
  tag_due_ = true;
  if (client->batch == open_tag_.batch) return;
  client->batch = open_tag_.batch;
  client->tagged = false;
  open_tag_.clients.push_back(entry.client);
}

void Upstream::ask_tag() {
  const Client* const lent_to = worker_.client(owner);
  if (lent_to != nullptr && lent_to->session.in_multi) return;  // it would be queued
  if (!std::exchange(tag_due_, false)) return;
  Tag tag = std::exchange(open_tag_, Tag());
  // Without it its clients' floors stay unknown, and they read at the primary.
  if (identity_ == nullptr || identity_->role_denied) return;
  tag.asked_ms = worker_.now_ms();
  tags_.push_back(std::move(tag));
  Entry entry;
  entry.kind = EntryKind::kCollect;
  entry.topic = Topic::kTag;
  entry.injected = true;
  entry.start_us = worker_.now_us();
  send(entry, {}, kAskRole);
}

void Upstream::ask_proof() {
  tag_due_ = true;
  ask_tag();
}

void Upstream::take_tag(std::string_view role) {
  if (tags_.empty()) return;
  const Tag tag = std::move(tags_.front());
  tags_.pop_front();
  if (const std::optional<uint64_t> offset = primary_offset(role)) {
    return worker_.on_tag(tag.batch, tag.clients, tag.asked_ms, *offset);
  }
  if (!role.starts_with("-NOPERM") || identity_ == nullptr || identity_->role_denied) return;
  identity_->role_denied = true;
  log_warning("role_denied", {{"user", identity_->user},
                              {"effect", "its reads go to the primary"},
                              {"advice", "ACL SETUSER " + identity_->user + " +role"}});
}

void Worker::on_tag(uint32_t batch, const std::vector<ClientRef>& clients, uint64_t asked_ms,
                    uint64_t offset) {
  const Position position{target_.epoch, offset};
  replica_.freshness().add(asked_ms, position);
  for (const ClientRef& ref : clients) {
    Client* const each = client(ref);
    if (each == nullptr) continue;
    carry_floor(*each);
    Position& floor = each->session.floor;
    if (floor.epoch > position.epoch) continue;  // a token's, of an epoch that is new here
    if (floor.epoch < position.epoch || floor.offset < offset) floor = position;
    if (each->batch != batch) continue;
    each->tagged = true;
    each->sightings = replica_.generation();
  }
}

bool Worker::carry_floor(Client& client) {
  Position& floor = client.session.floor;
  if (floor.epoch == topology_->epoch || floor == Position{}) [[likely]]
    return !client.lost_floor;
  const Position before = floor;
  if (carry(floor, topology_->starts) != FloorFate::kLost) return !client.lost_floor;
  metrics_.floors_lost.add();
  log_warning("floor_lost", {{"client", client.id},
                             {"epoch", before.epoch},
                             {"offset", before.offset},
                             {"kept", floor.offset},
                             {"now", floor.epoch}});
  client.lost_floor = settings_->reads.on_lost_write == OnLostWrite::kError;
  return !client.lost_floor;
}

// --- in front of reads at a replica --------------------------------------------------------------

bool Upstream::can_retain(size_t bytes) const {
  return bytes <= kRetainedRequestBytesMax &&
         retained_.size() + run_size_ + bytes < kUpstreamQueueHighBytes;
}

void Upstream::require(uint64_t offset, bool any) {
  if (!std::exchange(gate_open_, true)) {
    gates_.push_back({});
    Entry entry;
    entry.kind = EntryKind::kCollect;
    entry.topic = Topic::kGate;
    entry.injected = true;
    entry.start_us = worker_.now_us();
    send(entry, {}, kAskRole);
  }
  Gate& gate = gates_.back();
  gate.offset = std::max(gate.offset, offset);
  gate.any = gate.any && any;
}

void Upstream::check_gate(std::string_view role) {
  if (gates_.empty()) return;
  const Gate gate = gates_.front();
  gates_.pop_front();
  const std::optional<ReplicaRole> found = replica_role(role);
  const bool follows = found && found->connected && found->port == worker_.replica().place().port &&
                       found->offset >= 0 && static_cast<uint64_t>(found->offset) >= gate.offset;
  if (follows) worker_.replica().on_offset(static_cast<uint64_t>(found->offset));
  if (follows || (found && gate.any)) return;
  if (role.starts_with("-NOPERM") && identity_ != nullptr) identity_->role_denied = true;
  worker_.metrics().gates_closed.add();
  give_up_replica("its gate is closed");
}

void Upstream::tend_replica() {
  const uint64_t now = worker_.now_ms();
  switch (state_) {
    case State::kConnecting:
    case State::kHandshake:
      if (now >= connect_deadline_ms_) give_up_replica("connect timed out");
      return;
    case State::kReady: {
      const bool owes = !entries_.empty() && !paused_ &&
                        front_age_us(worker_.now_us()) > kReplicaSilenceMsMax * 1000;
      if (owes && now - heard_ms_ > kReplicaSilenceMsMax) give_up_replica("it is silent");
      return;
    }
    case State::kIdle:
      if (worker_.replica().there() && identity_->clients != 0 && now >= retry_at_ms_) connect();
      return;
    case State::kClosed:
      return;
  }
}

void Upstream::give_up_replica(std::string_view why, bool failed) {
  if (state_ == State::kClosed) return;
  const bool stood = state_ == State::kReady;
  if (stood) log_info("replica_given_up", {{"reason", why}, {"outstanding", entries_.size()}});
  close_socket();
  state_ = State::kIdle;
  retry_at_ms_ = worker_.now_ms() + static_cast<uint64_t>(backoff_.next(worker_.random()).ms);
  worker_.replica().on_lost(failed && stood);
  const std::vector<Settled> all = settle_outstanding(false);
  Upstream& primary = worker_.shared(*identity_, Role::kReads);
  for (const Settled& each : all) {
    Client* const client = worker_.client(each.entry.client);
    if (client == nullptr) continue;
    client->upstream = &primary;
    if (primary.failing_fast() && !each.answered()) {
      primary.answer_in_turn(each.entry, Canned::kClusterDown);
    } else {
      primary.queue_settled(each);
    }
  }
  primary.deliver_canned();
  worker_.resume_all(waiting);
  if (retired_) begin_close();
}

}  // namespace azimuth
