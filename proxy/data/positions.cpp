// Positions: what a session has done and seen is given a place in the primary's history by ROLE,
// once behind each batch of requests.
//
// ROLE behind a write, on the same connection, names an offset at or beyond its end (replication.c:
// the stream is fed before the next command is read). It is never put inside MULTI, where it would
// be queued. Behind reads at a replica it stands for those alone whose session is not one
// connection's (scopes.h): there it names how far at the most they have seen.
#include <algorithm>

#include "proxy/control/log.h"
#include "proxy/data/identity.h"
#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"

namespace azimuth {

// --- behind requests to the primary --------------------------------------------------------------

void Upstream::note_sent(const Entry& entry) {
  if (role_ == Role::kAuth || entry.injected || opaque_) return;
  // Inside a transaction nothing has happened yet; EXEC is what happens.
  const bool executes = entry.topic == Topic::kExec;
  if (entry.bound && !executes) return;
  if (pubsub && protocol == 2) {
    // ROLE cannot be asked, and what stands behind an UNSUBSCRIBE may be a write.
    if (Client* const client = worker_.client(entry.client)) {
      client->batch = worker_.next_batch();
      client->tagged = false;
      client->unplaced = client->scope != nullptr;
    }
    return;
  }
  const bool replica = role_ == Role::kReplica;
  const bool tagged = !replica && (entry.write || executes || worker_.tags_reads());
  if (!tagged && !worker_.shares_sessions()) return;
  Client* const client = worker_.client(entry.client);
  if (client == nullptr) return;
  if (!tagged) {
    if (client->scope == nullptr) return;
    if (!replica) {
      client->unplaced = true;
    } else if (minds_floor(client->session.consistency)) {
      tag_due_ = true;
      add_part(client->scope, 0);
    }
    return;
  }
  if (client->scope != nullptr) add_part(client->scope, client->scope->last());
  if (open_tag_.batch == 0) open_tag_.batch = worker_.next_batch();
  tag_due_ = true;
  if (client->batch == open_tag_.batch) return;
  client->batch = open_tag_.batch;
  client->tagged = false;
  open_tag_.clients.push_back(entry.client);
}

void Upstream::add_part(const std::shared_ptr<Scope>& scope, uint64_t asked) {
  const auto there = std::any_of(open_tag_.parts.begin(), open_tag_.parts.end(),
                                 [&](const ScopePart& each) { return each.scope == scope; });
  if (!there) open_tag_.parts.push_back({scope, asked});
}

void Upstream::ask_tag() {
  const Client* const lent_to = worker_.client(owner);
  if (lent_to != nullptr && lent_to->session.in_multi) return;  // it would be queued
  if (!std::exchange(tag_due_, false)) return;
  BatchTag tag = std::exchange(open_tag_, BatchTag());
  // Without it its clients' floors stay unknown, and they read at the primary.
  if (identity_ == nullptr) return;
  if (identity_->role_denied) {
    for (const ClientRef& ref : tag.clients) {
      if (Client* const each = worker_.client(ref)) each->unplaced = each->scope != nullptr;
    }
    return;
  }
  tag.asked_ms = worker_.now_ms();
  tag.epoch = worker_.target().epoch;
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
  BatchTag tag = std::move(tags_.front());
  tags_.pop_front();
  const bool shown = std::exchange(shown_, false);
  if (role_ == Role::kReplica) {
    const GateVerdict verdict = judge(role, ReadGate(), place_.port);
    for (ScopePart& part : tag.parts) {
      if (verdict.applied && !retired_) {  // (Its seat may be another's by now.)
        part.scope->place_read({place_.epoch, *verdict.applied}, part.number, place_.key);
      } else {
        lose_part(part, shown);
      }
    }
    return;
  }
  if (const std::optional<uint64_t> offset = primary_offset(role)) {
    return worker_.on_tag(tag, *offset);
  }
  for (ScopePart& part : tag.parts) lose_part(part, shown);
  if (!role.starts_with("-NOPERM") || identity_ == nullptr || identity_->role_denied) return;
  identity_->role_denied = true;
  log_warning("role_denied", {{"user", identity_->user},
                              {"effect", "its reads go to the primary"},
                              {"advice", "ACL SETUSER " + identity_->user + " +role"}});
}

// --- in front of what is shown to a session of several connections -------------------------------

// Replies to the batch at the front are about to leave, and its position has not come with them.
void Upstream::announce() {
  if (!std::exchange(shown_, false)) return;
  BatchTag& batch = tags_.empty() ? open_tag_ : tags_.front();
  batch.shown = true;
  for (ScopePart& part : batch.parts) {
    part.number = part.scope->show(part.number);
  }
}

// `shown`: something that was not announced.
void Upstream::lose_part(ScopePart& part, bool shown) {
  if (shown) part.number = part.scope->show(part.number);
  if (part.number != 0) part.scope->lose(part.number);
}

// Was the oldest ROLE that is not answered sent at all? One that was not stands behind what a
// hand-over holds back, and the history that goes on has all that was shown before.
bool Upstream::tag_has_left() {
  uint64_t at = front_offset_;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].topic == Topic::kTag) return at < sent_total_;
    at += entries_[i].size;
  }
  return false;
}

// What is outstanding ends with its connection. (What nobody was shown needs no position.)
void Upstream::drop_tags() {
  announce();
  for (BatchTag& tag : tags_) {
    for (ScopePart& part : tag.parts) lose_part(part, false);
  }
  for (ScopePart& part : open_tag_.parts) lose_part(part, false);
  if (role_ != Role::kReplica && !tags_.empty() && tags_.front().shown && tag_has_left()) {
    for (const ClientRef& ref : tags_.front().clients) {
      Client* const each = worker_.client(ref);
      if (each == nullptr) continue;
      Position& floor = each->session.floor;
      floor = std::max(floor, Position{tags_.front().epoch, kUnplaced});
    }
  }
  tags_.clear();
  open_tag_ = BatchTag();
  tag_due_ = shown_ = false;
}

void Worker::show_unplaced(Client& client) {
  if (client.scope != nullptr) client.scope->show_unplaced();
  if (client.inflight == 0) client.unplaced = false;
}

void Worker::enter_scope(Client& client) {
  std::shared_ptr<Scope> scope;
  if (process_.link) {  // one Redis alone shows everything to everybody
    const Session& session = client.session;
    scope = process_.scopes.of(session.scope, client.identity->user, session.name());
  }
  if (scope == client.scope) return;
  // What it has seen at one of several replicas, neither floor may cover at another.
  if (client.seat != kNoSeat && replica_.several()) client.sightings = 0;
  leave_scope(client);
  sharing_ += scope != nullptr;
  client.scope = std::move(scope);
}

// What it has seen itself, its own floor says.
void Worker::leave_scope(Client& client) {
  sharing_ -= client.scope != nullptr;
  client.scope.reset();
}

void Worker::carry_scopes() {
  process_.scopes.carry(topology_->starts, [this](Scope& scope) {
    metrics_.floors_lost.add();
    log_warning("floor_lost", {{"scope", scope.name()}, {"now", topology_->epoch}});
    if (settings_->reads.on_lost_write == OnLostWrite::kError) scope.owe_word();
  });
}

// --- positions -----------------------------------------------------------------------------------

void Worker::on_tag(const BatchTag& tag, uint64_t offset) {
  const Position position{target_.epoch, offset};
  replica_.freshness().add(tag.asked_ms, position);
  for (const ScopePart& part : tag.parts) part.scope->place(position, part.number, part.asked);
  for (const ClientRef& ref : tag.clients) {
    Client* const each = client(ref);
    if (each == nullptr) continue;
    carry_floor(*each);
    Position& floor = each->session.floor;
    if (floor.epoch > position.epoch) continue;  // a token's, of an epoch that is new here
    const bool covers_all = each->batch == tag.batch;
    if (floor.epoch < position.epoch || floor.offset < offset ||
        (floor.offset == kUnplaced && covers_all)) {
      floor = position;
    }
    if (!covers_all) continue;
    each->tagged = true;
    each->sightings = replica_.generation();
    each->seat = kNoSeat;
  }
}

Scope::Sight Worker::shared_sight(const Client& client) const {
  // (A read that has waited for its floor goes by what was shown when it came.)
  if (client.scope == nullptr || client.waited || !minds_floor(client.session.consistency)) {
    return {};
  }
  return client.scope->sight();
}

SessionView Worker::view_of(const Client& client, const Scope::Sight& shared) const {
  SessionView view;
  view.in_multi = client.session.in_multi;
  view.watching = client.session.watching;
  // What it has seen at another place may be more than its floor says.
  view.untagged = !client.tagged || client.sightings != replica_.generation();
  view.consistency = client.session.consistency;
  view.floor = client.session.floor;
  if (shared.floor != Position{}) {
    const bool comparable = view.floor == Position{} || view.floor.epoch == shared.floor.epoch;
    view.untagged = view.untagged || !comparable;
    view.floor = std::max(view.floor, shared.floor);
  }
  view.untagged = view.untagged || !shared.whole;
  return view;
}

bool Worker::carry_floor(Client& client) {
  Position& floor = client.session.floor;
  const bool told = !client.lost_floor && (client.scope == nullptr || !client.scope->owes_word());
  if (floor.epoch == topology_->epoch || floor == Position{}) [[likely]]
    return told;
  const Position before = floor;
  if (carry(floor, topology_->starts) != FloorFate::kLost) return told;
  // (Lost with its scope's, it is told with that.)
  if (client.scope != nullptr && !client.scope->loses(before)) return told;
  metrics_.floors_lost.add();
  log_warning("floor_lost", {{"client", client.id},
                             {"epoch", before.epoch},
                             {"offset", before.offset},
                             {"kept", floor.offset},
                             {"now", floor.epoch}});
  client.lost_floor = settings_->reads.on_lost_write == OnLostWrite::kError;
  return told && !client.lost_floor;
}

bool Worker::take_word_of_loss(Client& client) {
  const bool shared = client.scope != nullptr && client.scope->take_word();
  if (!client.lost_floor && !shared) return false;
  client.lost_floor = client.waited = false;
  return true;
}

}  // namespace azimuth
