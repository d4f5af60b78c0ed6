// Replies that are held until enough voters have what stands in front of them.
#include <algorithm>
#include <unordered_map>

#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"
#include "session/reply_writer.h"

namespace azimuth {

// Redis counts the replicas that have acknowledged what this connection has written (WAIT, in
// replication.c). A tap never counts: it acknowledges nothing.
void Upstream::ask_quorum() {
  if (!std::exchange(quorum_due_, false)) return;
  Entry entry;
  entry.kind = EntryKind::kCollect;
  entry.topic = Topic::kQuorum;
  entry.injected = true;
  entry.start_us = worker_.now_us();
  entry.command = static_cast<uint16_t>(worker_.topology().quorum_replicas);
  const std::string replicas = std::to_string(entry.command);
  const uint32_t patience_ms = std::max(worker_.settings().hold.timeout_ms, kQuorumMsLeast);
  const std::string timeout_ms = std::to_string(patience_ms);
  send(entry, {}, encode_request(std::vector<std::string_view>{"WAIT", replicas, timeout_ms}));
  ++waits_;
}

// Redis reads nothing behind a WAIT that blocks: it stays here, where it can go elsewhere.
uint64_t Upstream::end_of_batch() {
  uint64_t end = front_offset_;
  for (size_t i = 0; i < entries_.size(); ++i) {
    end += entries_[i].size;
    if (entries_[i].topic == Topic::kQuorum) break;
  }
  return end;
}

// Replies that are held for a quorum take memory as those do that a client has not read, and the
// bound is the same: what has run is not lost to the others because one asks for so much.
void Upstream::cut_largest_holder() {
  std::unordered_map<uint32_t, size_t> bytes;
  for (const HeldReply& held : held_replies_) bytes[held.entry.client.index] += held.bytes.size();
  const ClientRef front = entries_.front().client;
  bytes[front.index] += collected_.size();
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const uint32_t index = most->first;
  for (HeldReply& held : held_replies_) {
    if (held.entry.client.index != index) continue;
    held_bytes_ -= held.bytes.size();
    held.bytes.clear();
    if (Client* client = worker_.client(held.entry.client)) {
      worker_.cut(*client, CutReason::kOutputLimit);
    }
  }
  if (front.index != index) return;
  collected_.clear();
  if (Client* client = worker_.client(front)) worker_.cut(*client, CutReason::kOutputLimit);
}

// The voters have the writes, or whether they have is not known: an error (which says that the
// command did not run) is passed on either way.
void Upstream::release_quorum(std::string_view answer, unsigned replicas) {
  // A replica that came while WAIT blocked may have been counted, and more may be needed for it.
  replicas = std::max(replicas, worker_.topology().quorum_replicas);
  ReplyElement element;
  const bool enough = ReplyReader(answer).next(element) && answer.starts_with(':') &&
                      element.integer >= static_cast<int64_t>(replicas);
  batch_until_ = 0;
  waits_ -= waits_ != 0;
  if (!out_.empty()) worker_.mark_dirty(*this);
  std::vector<HeldReply> replies;
  replies.swap(held_replies_);
  held_bytes_ = 0;
  for (HeldReply& held : replies) {
    const Entry& entry = held.entry;
    if (entry.canned != Canned::kNone) {
      worker_.on_canned(*this, entry);
      continue;
    }
    const bool executes = entry.write || entry.topic == Topic::kExec;
    if (!enough && (executes || entry.strong) && !held.bytes.starts_with('-')) {
      held.entry.canned = executes ? Canned::kNoQuorum : Canned::kNotShown;
      worker_.on_canned(*this, held.entry);
      continue;
    }
    if (entry.kind == EntryKind::kCollect) {
      worker_.on_collected(*this, entry, held.bytes);
      continue;
    }
    Client* client = worker_.client(held.entry.client);
    if (client == nullptr) continue;
    if (!held.entry.silent) worker_.reply(*client, held.bytes);
    worker_.on_replied(*this, held.entry, held.bytes.front(), held.bytes.size());
  }
}

}  // namespace azimuth
