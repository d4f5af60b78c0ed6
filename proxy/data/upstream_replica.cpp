// A connection to a replica: the question in front of its reads, and the primary's help where it
// fails (replica.h).
#include <algorithm>
#include <unordered_set>

#include "proxy/control/log.h"
#include "proxy/data/identity.h"
#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"

namespace azimuth {

bool runs_script(const Entry& entry) {
  return !entry.injected && entry.command < kCommandCount &&
         is_script(all_commands()[entry.command]);
}

bool Upstream::can_retain(size_t bytes) const {
  return bytes <= kRetainedRequestBytesMax &&
         retained_.size() + run_size_ + bytes < kRetainedBytesMax;
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
  gates_.back().require(offset, any);
}

void Upstream::check_gate(std::string_view role) {
  if (gates_.empty()) return;
  const ReadGate gate = gates_.front();
  gates_.pop_front();
  const GateVerdict verdict = judge(role, gate, place_.port);
  if (verdict.applied && !retired_) worker_.replica().on_offset(seat_, *verdict.applied);
  if (verdict.open) return;
  if (role.starts_with("-NOPERM") && identity_ != nullptr) identity_->role_denied = true;
  worker_.metrics().gates_closed.add();
  give_up_replica("its gate is closed");
}

// What is wrong with a replica is not what the primary would have said. (Its cache of scripts is
// its own, and a function, or a user's new rights, may not have come to it yet.)
bool Upstream::judges_error(const Entry& entry) const {
  return role_ == Role::kReplica && reply_type_ == '-' && !entry.injected;
}

void Upstream::judge_error(const std::string& error) {
  const Entry& front = entries_.front();
  Client* const client = worker_.client(front.client);
  if (client == nullptr) return;
  constexpr std::string_view kItsOwn[] = {
      "-NOSCRIPT", "-ERR Function not found", "-LOADING", "-MASTERDOWN", "-NOPERM", "-BUSY "};
  for (const std::string_view each : kItsOwn) {
    if (error.starts_with(each)) return send_elsewhere(*client, elsewhere().of(*client));
  }
  if (!front.silent) worker_.reply(*client, error);
}

// What one client is owed here is asked there; the replies that come here are nobody's.
void Upstream::send_elsewhere(Client& client, Upstream& other) {
  client.upstream = &other;
  size_t offset = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    const size_t at = offset;
    if (entry.retained) offset += entry.size;
    if (worker_.client(entry.client) != &client) continue;
    Settled moved{entry, std::string(retained_.at(at, entry.size))};
    moved.entry.retained = false;
    entry.client = ClientRef();
    other.take_over(moved);
  }
}

// Where at the primary, client for client: all of one's stays in one line (I7).
Upstream::Elsewhere Upstream::elsewhere() {
  std::unordered_set<uint32_t> run_scripts;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Client* const client = worker_.client(entries_[i].client);
    if (client != nullptr && runs_script(entries_[i])) run_scripts.insert(client->self.index);
  }
  Upstream& reads = worker_.shared(*identity_, Role::kReads);
  Upstream& scripts = run_scripts.empty() ? reads : worker_.shared(*identity_, Role::kScripts);
  return {reads, scripts, std::move(run_scripts)};
}

Upstream& Upstream::Elsewhere::of(const Client& client) const {
  return run_scripts.contains(client.self.index) ? scripts : reads;
}

void Upstream::send_others_elsewhere(const Client& staying) {
  const Elsewhere there = elsewhere();
  for (size_t i = 0; i < entries_.size(); ++i) {
    Client* const other = worker_.client(entries_[i].client);
    if (other != nullptr && other != &staying) send_elsewhere(*other, there.of(*other));
  }
}

void Upstream::take_over(const Settled& settled) {
  if (!failing_fast_ || settled.answered()) return queue_settled(settled);
  answer_in_turn(settled.entry, Canned::kClusterDown);
}

// Is a script among what may not have been answered for that reason? (What Redis had answered in
// the same turn of its loop, it had not sent.)
bool Upstream::waits_for_script() {
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (runs_script(entries_[i])) return true;
  }
  return false;
}

void Upstream::tend_replica() {
  const uint64_t now = worker_.now_ms();
  switch (state_) {
    case State::kConnecting:
    case State::kHandshake:
      if (now >= connect_deadline_ms_) give_up_replica("connect timed out");
      return;
    case State::kReady: {
      // (In the middle of a reply nothing is won by leaving, and its client would be cut.)
      const uint64_t most = reply_started_ ? kLinkSilentMsMax : kReplicaSilenceMsMax;
      const bool owes =
          !entries_.empty() && !paused_ && front_age_us(worker_.now_us()) > most * 1000;
      if (!owes || now - heard_ms_ <= most) return;
      if (waits_for_script()) worker_.replica().avoid_scripts();
      return give_up_replica("it is silent");
    }
    case State::kIdle:
      if (worker_.replica().there(seat_) && identity_->clients != 0 && now >= retry_at_ms_)
        connect();
      return;
    case State::kClosed:
      return;
  }
}

void Upstream::leave_replica() {
  const bool midway = state_ == State::kReady && reply_started_ && !entries_.empty();
  Client* const front = midway ? worker_.client(entries_.front().client) : nullptr;
  if (front == nullptr) return give_up_replica("another one is read", false);
  if (!retired_) retire();
  send_others_elsewhere(*front);
}

void Upstream::give_up_replica(std::string_view why, bool failed) {
  if (state_ == State::kClosed) return;
  const bool stood = state_ == State::kReady;
  if (stood) log_info("replica_given_up", {{"reason", why}, {"outstanding", entries_.size()}});
  close_socket();
  state_ = State::kIdle;
  retry_at_ms_ = worker_.now_ms() + static_cast<uint64_t>(backoff_.next(worker_.random()).ms);
  worker_.replica().on_lost(seat_, failed && stood);
  const Elsewhere there = elsewhere();
  for (const Settled& each : settle_outstanding(false)) {
    Client* const client = worker_.client(each.entry.client);
    if (client == nullptr) continue;
    client->upstream = &there.of(*client);
    client->upstream->take_over(each);
  }
  there.reads.deliver_canned();
  there.scripts.deliver_canned();
  worker_.resume_all(waiting);
  if (retired_) begin_close();
}

}  // namespace azimuth
