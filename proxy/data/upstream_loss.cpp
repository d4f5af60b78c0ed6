// What becomes of the requests of a connection that is lost (I6): sent again, answered, or unknown.
#include <algorithm>
#include <unordered_set>

#include "proxy/control/log.h"
#include "proxy/data/identity.h"
#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

// Of a script that has run for so long it may be the script that its connection was lost for: sent
// again, one that does not end would take Redis after Redis out of service.
constexpr uint64_t kLongScriptUs = 1'000'000;

bool reads_keys(const Entry& entry) {
  return entry.command >= kCommandCount || has_flag(all_commands()[entry.command], kReadonly);
}

}  // namespace

void Upstream::lost(std::string_view why, bool planned) {
  if (state_ == State::kClosed) return;
  if (role_ == Role::kReplica) return give_up_replica(why);
  const bool was_ready = state_ == State::kReady;
  if (was_ready || down_since_ms_ == 0) {
    if (planned) {
      worker_.tell_planned_loss(why);
    } else {
      log_warning("upstream_lost", {{"reason", why}, {"outstanding", entries_.size()}});
    }
    told_lost_ = !planned;
  }
  close_socket();
  state_ = State::kIdle;
  worker_.scripts().doubt_all();  // first: what is sent again may need its script again
  if (role_ == Role::kDedicated && (was_ready || entries_.empty())) {
    return worker_.on_dedicated_lost(*this);
  }
  if (was_ready) rebuild_after_loss();
  if (retired_ && entries_.empty()) return begin_close();
  worker_.on_upstream_lost(*this);
  schedule_connect();
}

// Queues again what may be sent, and answers the rest, each in its turn.
void Upstream::rebuild_after_loss() {
  const std::vector<Settled> all = settle_outstanding(false);
  for (const Settled& each : all) queue_settled(each);
  deliver_canned();
}

// The history that goes on may end before what its client has seen: it was looked at when the
// request came, and that may have been in another epoch.
bool Upstream::is_lost(const Entry& entry) {
  Client* const client = worker_.client(entry.client);
  const bool plain = entry.topic == Topic::kNone || entry.topic == Topic::kToken;
  if (client == nullptr || !plain || entry.bound || !worker_.tags()) return false;
  return !worker_.carry_floor(*client) && worker_.take_word_of_loss(*client);
}

void Upstream::queue_settled(const Settled& settled) {
  if (settled.answered() || is_lost(settled.entry)) {
    Entry& queued = entries_.push(settled.entry);
    if (!settled.answered()) {
      queued.canned = Canned::kLostFloor;
      queued.plain = false;
      queued.size = 0;
    }
    return;
  }
  if (settled.entry.evalsha) worker_.load_lost_script(*this, settled.bytes);
  send(settled.entry, {}, settled.bytes);
  if (role_ == Role::kDedicated) ask_tag();
  worker_.metrics().commands_resent.add();
}

// Which requests may be sent again. Looked at from the end, since what stands behind one decides,
// too: the transaction whose EXEC may have run is not repeated, one whose EXEC has not come to
// Redis whole did not run, however much of it had left. And a read is not repeated in front of a
// write of the same client that may have run: it would be shown its own future.
std::vector<bool> Upstream::may_repeat(const std::vector<Entry>& outstanding,
                                       bool keep_bound) const {
  std::vector<bool> may(outstanding.size());
  std::unordered_set<uint32_t> wrote;  // clients that have such a write further back
  bool executed = false;
  const bool aged =
      !outstanding.empty() && worker_.now_us() - outstanding.front().start_us > kLongScriptUs;
  uint64_t end = front_offset_;
  for (const Entry& each : outstanding) end += each.size;
  for (size_t i = outstanding.size(); i-- > 0;) {
    const Entry& entry = outstanding[i];
    const bool never_left = end - entry.size >= sent_total_;
    const bool left_whole = !never_left && end <= sent_total_;
    if (entry.topic == Topic::kExec || entry.topic == Topic::kDiscard) executed = left_whole;
    if (entry.bound) {
      may[i] = keep_bound && (never_left || (entry.retained && !executed));
    } else {
      const bool sees_its_future =
          !wrote.empty() && wrote.contains(entry.client.index) && reads_keys(entry);
      const bool fatal = runs_script(entry) && (entry.tried || aged);
      may[i] = never_left || (entry.retained && entry.repeatable && !sees_its_future && !fatal);
    }
    const bool writes = (entry.write && !entry.bound) || entry.topic == Topic::kExec;
    if (writes && left_whole && entry.canned == Canned::kNone) wrote.insert(entry.client.index);
    end -= entry.size;
  }
  return may;
}

// Decides for each outstanding request what is known of it: to be sent again, or an answer of ours
// where it has run, may have, or means nothing any more. `keep_bound`: what belongs to a
// transaction that has not been executed may be sent, too.
std::vector<Upstream::Settled> Upstream::settle_outstanding(bool keep_bound) {
  std::vector<Settled> all;
  const std::vector<Entry> outstanding = take_outstanding();
  const std::vector<bool> may = may_repeat(outstanding, keep_bound);
  OutQueue unsent = std::move(out_);
  ByteRing kept = std::move(retained_);
  const uint64_t sent_until = sent_total_;
  const uint64_t taken_until = taken_total_;
  const Client* const lent_to = worker_.client(owner);
  const bool streams = lent_to != nullptr && lent_to->stream;
  uint64_t offset = front_offset_;
  out_ = OutQueue(OutQueue::kLongTailBytes);
  retained_ = ByteRing();
  queued_total_ = taken_total_ = sent_total_ = front_offset_ = 0;
  if (held_) send_until_ = 0;
  for (size_t i = 0; i < outstanding.size(); ++i) {
    const Entry& entry = outstanding[i];
    const uint64_t start = offset;
    offset += entry.size;
    const bool never_left = start >= sent_until;
    // (Of a request that streams, all that has come may have left.)
    const bool half_left =
        !never_left && (offset > sent_until || (streams && i + 1 == outstanding.size()));
    std::string bytes;
    if (entry.retained) {
      bytes.assign(kept.front(entry.size));
      kept.pop(entry.size);
    }
    // What the link took, and Redis never saw, did not run; but its bytes are not here any more.
    const bool here = start >= taken_until || entry.retained;
    if (start >= taken_until && !entry.retained) {
      bytes = unsent.take_front(entry.size);
    } else if (offset > taken_until) {
      unsent.consume(offset - std::max(start, taken_until));
    }
    if (entry.injected) continue;
    const bool canned = entry.canned != Canned::kNone;
    if (!canned && worker_.client(entry.client) == nullptr) continue;  // nobody waits for it
    Settled settled{entry, {}};
    settled.entry.retained = false;
    if (!canned && here && may[i]) {
      settled.bytes = std::move(bytes);
      settled.entry.tried = entry.tried || (runs_script(entry) && !never_left);
    } else if (!canned) {
      settled.entry.plain = false;
      settled.entry.canned = never_left || half_left ? Canned::kNotSent : Canned::kUncertain;
      settled.entry.size = 0;
    }
    all.push_back(std::move(settled));
  }
  return all;
}

std::vector<Entry> Upstream::take_outstanding() {
  // A client that has part of a reply cannot be given the rest: its connection ends.
  if (reply_started_ && !entries_.empty()) {
    Entry& front = entries_.front();
    if (front.kind != EntryKind::kCollect && front.kind != EntryKind::kDiscard && !front.silent) {
      if (Client* client = worker_.client(front.client)) worker_.cut(*client, CutReason::kUpstream);
    }
  }
  if (!held_replies_.empty()) release_quorum(false);
  drop_tags();  // whoever waits for one asks again, at the primary
  gates_.clear();
  loaded_.clear();
  gate_open_ = false;
  batch_until_ = waits_ = quorum_since_ = 0;
  quorum_due_ = reply_started_ = in_push_ = false;
  reply_bytes_ = 0;
  cursor_ = ReplyCursor();
  collected_.clear();
  carry_.clear();
  std::vector<Entry> out;
  out.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) out.push_back(entries_[i]);
  entries_.clear();
  return out;
}

// Nothing that waits can be sent: every request answers `canned`.
void Upstream::answer_all(Canned canned) {
  std::vector<Entry> outstanding = take_outstanding();
  out_ = OutQueue(OutQueue::kLongTailBytes);
  retained_ = ByteRing();
  queued_total_ = taken_total_ = sent_total_ = front_offset_ = 0;
  if (held_) send_until_ = 0;
  for (Entry& entry : outstanding) {
    if (entry.injected) continue;
    if (entry.canned == Canned::kNone) entry.canned = canned;
    entry.plain = false;
    entry.size = 0;
    entry.retained = false;
    entries_.push(entry);
  }
  deliver_canned();
  worker_.resume_all(waiting);
}

void Upstream::fail_outstanding() {
  rebuild_after_loss();
  answer_all(Canned::kNotSent);
}

}  // namespace azimuth
