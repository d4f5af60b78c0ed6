// Replies that are held until enough voters have what stands in front of them.
#include <algorithm>
#include <optional>
#include <unordered_map>

#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"
#include "session/reply_writer.h"

namespace azimuth {

namespace {

bool ends_transaction(const Entry& entry) {
  switch (entry.topic) {
    case Topic::kExec:
    case Topic::kExecLost:
    case Topic::kExecBroken:
    case Topic::kDiscard:
    case Topic::kUnwatch:
      return true;
    default:
      return false;
  }
}

}  // namespace

// --- asking ------------------------------------------------------------------------------------

// Redis counts the replicas that have acknowledged what this connection has written (WAIT, in
// replication.c). A tap never counts: it acknowledges nothing. One WAIT for all that is queued, in
// front of sending it. False: nothing is to be sent yet, since the primary has not said how many
// replicas it takes.
bool Upstream::ask_quorum() {
  const std::optional<unsigned> replicas = quorum_replicas();
  if (!replicas) return false;
  if (const std::optional<size_t> at = wait_place()) put_wait(*at, *replicas, worker_.now_us());
  return true;
}

// The primary's word: the control thread's where it is this node, else what its node says on the
// link.
std::optional<unsigned> Upstream::quorum_replicas() {
  if (stream_ != nullptr) return stream_->quorum();
  const QuorumCount::Seen& seen = worker_.look_at_quorum();
  if (seen.raises == 0 && worker_.tags()) return std::nullopt;
  return seen.now;
}

// Where the WAIT for what is queued stands: the entry that it is put in front of. At the end, since
// one that blocks is to block once. But Redis takes none inside a transaction, and what a client
// has been told so far is all that it may go by before it sends EXEC, or the rest of a large
// request, or before it makes what it blocks on end: those stand behind it. None: there is no place
// now.
std::optional<size_t> Upstream::wait_place() {
  const size_t all = entries_.size();
  if (role_ != Role::kDedicated) return all;
  const Client* const lent_to = worker_.client(owner);
  const bool streams = lent_to != nullptr && lent_to->stream;
  bool due = false;
  size_t begun = all;  // where what is a transaction, and may be no whole one, begins
  for (size_t i = 0; i < all; ++i) {
    const Entry& entry = entries_[i];
    const bool apart = entry.topic == Topic::kUnblocked || entry.topic == Topic::kSubscribe ||
                       (streams && i + 1 == all);
    if (due && apart) return i;
    if (!entry.bound || ends_transaction(entry)) {
      begun = all;
    } else if (begun == all) {
      begun = i;
    }
    due = due || entry.quorum;
  }
  if (streams) return std::nullopt;
  return begun;
}

// It blocks for a moment only, and is asked again until `since_us` is too long ago: what was needed
// when it was asked may be more than is needed, and can be had, now. False: what it would stand in
// front of has left already.
bool Upstream::put_wait(size_t at, unsigned replicas, uint32_t since_us) {
  Entry entry;
  entry.kind = EntryKind::kCollect;
  entry.topic = Topic::kQuorum;
  entry.injected = true;
  entry.start_us = since_us;
  entry.command = static_cast<uint16_t>(replicas);
  const std::string count = std::to_string(replicas);
  const std::string timeout_ms = std::to_string(kQuorumSliceMs);
  const std::string wait = encode_request(std::vector<std::string_view>{"WAIT", count, timeout_ms});
  uint64_t offset = front_offset_;
  for (size_t i = 0; i < at; ++i) offset += entries_[i].size;
  if (at < entries_.size()) {
    if (offset < taken_total_) return false;
    put_in_front(at, entry, wait);
  } else {
    send(entry, {}, wait);
  }
  quorum_due_ = false;
  for (size_t i = at; i < entries_.size(); ++i) quorum_due_ = quorum_due_ || entries_[i].quorum;
  ++waits_;
  batch_until_ = quorum_since_ = 0;
  return true;
}

// Rare, and what is queued is little: behind it stands what one client has sent and may not go yet.
void Upstream::put_in_front(size_t at, const Entry& entry, std::string_view bytes) {
  std::vector<Entry> entries;
  entries.reserve(entries_.size() + 1);
  uint64_t offset = front_offset_;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (i < at) offset += entries_[i].size;
    if (i == at) {
      entries.push_back(entry);
      entries.back().size = bytes.size();
    }
    entries.push_back(entries_[i]);
  }
  entries_.clear();
  for (const Entry& each : entries) entries_.push(each);
  OutQueue queued = std::exchange(out_, OutQueue(OutQueue::kLongTailBytes));
  out_.append(queued.take_front(offset - taken_total_));
  out_.append(bytes);
  out_.append(queued.take_front(queued.size()));
  queued_total_ += bytes.size();
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

// --- the answer --------------------------------------------------------------------------------

void Upstream::on_quorum(unsigned since) {
  if (stream_ != nullptr) return;
  if (waits_ != 0) quorum_since_ = std::max(quorum_since_, since);
  if (quorum_due_) worker_.mark_dirty(*this);
}

void Upstream::on_stream_quorum(uint16_t replicas) {
  if (waits_ != 0) quorum_since_ = std::max<unsigned>(quorum_since_, replicas);
  if (quorum_due_) worker_.mark_dirty(*this);
}

// A replica that came while WAIT blocked may have been counted, and more are needed for it; or one
// has gone that was asked for, and fewer are. What is held is asked for again, by the number of
// now.
void Upstream::on_waited(std::string_view answer, const Entry& wait) {
  batch_until_ = 0;
  waits_ -= waits_ != 0;
  if (!out_.empty()) worker_.mark_dirty(*this);
  ReplyElement element;
  const bool counted = ReplyReader(answer).next(element) && answer.starts_with(':');
  const auto needed = static_cast<int64_t>(std::max<unsigned>(wait.command, quorum_since_));
  const bool enough = counted && element.integer >= needed;
  const uint64_t patience_ms = std::max(worker_.settings().hold.timeout_ms, kQuorumMsLeast);
  const bool patient = worker_.now_us() - wait.start_us < patience_ms * 1000;
  const std::optional<unsigned> now = quorum_replicas();
  const uint64_t queued = queued_total_;
  if (!counted || enough || !patient || !now || !put_wait(0, *now, wait.start_us)) {
    return release_quorum(enough);
  }
  // (What a hand-over lets pass ends behind the WAIT.)
  if (held_ && send_until_ != UINT64_MAX) send_until_ += queued_total_ - queued;
  worker_.mark_dirty(*this);
}

// The voters have the writes, or whether they have is not known: an error (which says that the
// command did not run) is passed on either way.
void Upstream::release_quorum(bool enough) {
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

// --- the worker ----------------------------------------------------------------------------------

const QuorumCount::Seen& Worker::look_at_quorum() {
  const QuorumCount::Seen seen = process_.lease.quorum.seen();
  if (seen == quorum_) return quorum_;
  const unsigned since = seen.since(std::exchange(quorum_, seen));
  for (const auto& [upstream, owned] : upstreams_) upstream->on_quorum(since);
  if (links_) links_->look_at_quorum();
  return quorum_;
}

}  // namespace azimuth
