#include "health/copy_queue.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace azimuth {

namespace {

constexpr Duration kTellEvery = seconds(5);
// REDIS: a replica that hears nothing gives up after repl-timeout, which may be a few seconds; and
// so does a primary with an idle client, after `timeout`.
constexpr Duration kTellWaitingEvery = milliseconds(500);
// A copy that moves by less than so much, over so long, holds up no other any more.
constexpr Duration kPatience = seconds(60);
constexpr std::uint64_t kUsefulBytesPerMs = 64;

}  // namespace

std::string_view to_string(CopyState state) {
  switch (state) {
    case CopyState::kWaits:
      return "waiting";
    case CopyState::kPrepared:
      return "preparing";
    case CopyState::kCopies:
      return "copying";
  }
  return "waiting";
}

CopyQueue::Copy* CopyQueue::find(CopyId id) {
  const auto at =
      std::find_if(copies_.begin(), copies_.end(), [&](const Copy& each) { return each.id == id; });
  return at == copies_.end() ? nullptr : &*at;
}

void CopyQueue::on_want(Instant now, CopyId id, const std::string& node, const SyncChoice& choice) {
  if (find(id) != nullptr) return;
  Copy& copy = copies_.emplace_back();
  copy.id = id;
  copy.node = node;
  copy.choice = choice;
  copy.progress.begin(now);
  serve(now);
  // A reference into copies_ is good until the next one comes.
  Copy& asked = *find(id);
  if (asked.state != CopyState::kWaits) return;
  asked.waited = true;
  ++counts_.waited;
  tell_waiting(now, asked);
  emit(now, SyncEvent::Kind::kWaits, asked,
       explain(choice) + "; " + out_.sends.back().note.busy + " is copied first");
}

void CopyQueue::on_partial(Instant now, CopyId id, const std::string& node,
                           const SyncChoice& choice) {
  ++counts_.partial;
  // It was let through for a full copy, and did not need it.
  if (find(id) != nullptr) {
    std::erase_if(copies_, [&](const Copy& each) { return each.id == id; });
    serve(now);
  }
  SyncEvent event;
  event.kind = SyncEvent::Kind::kBegun;
  event.node = node;
  event.how = SyncHow::kPartial;
  event.reason = explain(choice);
  event.total_bytes = choice.missing_bytes;
  out_.events.push_back(std::move(event));
}

void CopyQueue::on_full(Instant now, CopyId id, const std::string& node, const SyncChoice& choice) {
  Copy* copy = find(id);
  if (copy == nullptr) {
    copy = &copies_.emplace_back();
    copy->id = id;
    copy->node = node;
    copy->choice = choice;
    copy->progress.begin(now);
  }
  copy->state = CopyState::kCopies;
  emit(now, SyncEvent::Kind::kBegun, *copy, explain(copy->choice));
  copy->progress.begin(now);
  copy->told = copy->looked = now;
  copy->looked_bytes = 0;
}

void CopyQueue::on_bytes(Instant now, CopyId id, std::uint64_t bytes, std::uint64_t total_bytes) {
  Copy* copy = find(id);
  if (copy != nullptr) copy->progress.on_bytes(now, bytes, total_bytes);
}

bool CopyQueue::copying() const {
  return std::any_of(copies_.begin(), copies_.end(),
                     [](const Copy& each) { return each.state == CopyState::kCopies; });
}

// The replica's side sees the bytes itself; what share of the whole they are only Redis here knows,
// where it streams a copy whose size it does not know in advance.
void CopyQueue::on_share(double share) {
  for (Copy& copy : copies_) {
    const CopyProgress& progress = copy.progress;
    if (copy.state != CopyState::kCopies || progress.bytes() == 0) continue;
    if (progress.total_bytes() != 0) continue;
    copy.progress.on_share(share);
    SyncNote note;
    note.kind = SyncNote::Kind::kShare;
    note.choice = copy.choice;
    note.permille = static_cast<std::uint32_t>(std::lround(std::clamp(share, 0.0, 1.0) * 1000));
    out_.sends.push_back({copy.id, note, false});
    return;
  }
}

void CopyQueue::on_over(Instant now, CopyId id, bool whole) {
  Copy* copy = find(id);
  if (copy == nullptr) return;
  if (copy->state == CopyState::kCopies) {
    ++(whole ? counts_.full : counts_.broken);
    emit(now, whole ? SyncEvent::Kind::kDone : SyncEvent::Kind::kBroken, *copy,
         whole ? explain(copy->choice) : "the connection ended");
  }
  std::erase_if(copies_, [&](const Copy& each) { return each.id == id; });
  serve(now);
}

const CopyQueue::Copy* CopyQueue::awaited() const {
  for (const Copy& each : copies_) {
    if (each.state != CopyState::kWaits && !each.slow) return &each;
  }
  return nullptr;
}

// The next one, when none goes on that is worth waiting for.
void CopyQueue::serve(Instant now) {
  if (awaited() != nullptr) return;
  const auto next = std::find_if(copies_.begin(), copies_.end(),
                                 [](const Copy& each) { return each.state == CopyState::kWaits; });
  if (next == copies_.end()) return;
  next->state = CopyState::kPrepared;
  next->told = next->looked = now;
  SyncNote note;
  note.choice = next->choice;
  out_.sends.push_back({next->id, note, true});
}

void CopyQueue::tell_waiting(Instant now, Copy& copy) {
  SyncNote note;
  note.kind = SyncNote::Kind::kWaits;
  note.choice = copy.choice;
  for (const Copy& each : copies_) {
    if (&each == &copy) break;
    note.ahead += !each.slow;
  }
  if (const Copy* busy = awaited()) note.busy = busy->node;
  copy.told = now;
  out_.sends.push_back({copy.id, std::move(note), false});
}

void CopyQueue::on_tick(Instant now) {
  for (Copy& copy : copies_) {
    if (copy.state == CopyState::kWaits) {
      if (now - copy.told >= kTellWaitingEvery) tell_waiting(now, copy);
      continue;
    }
    look_at(now, copy);
    if (copy.state != CopyState::kCopies) continue;
    copy.progress.on_bytes(now, copy.progress.bytes(), 0);
    if (now - copy.told < kTellEvery) continue;
    copy.told = now;
    emit(now, SyncEvent::Kind::kMoves, copy, explain(copy.choice));
  }
  serve(now);
}

// One that hardly moves is not waited for any longer, whatever becomes of it.
void CopyQueue::look_at(Instant now, Copy& copy) {
  const Duration passed = now - copy.looked;
  if (copy.slow || passed < kPatience) return;
  const std::uint64_t moved = copy.progress.bytes() - copy.looked_bytes;
  copy.looked = now;
  copy.looked_bytes = copy.progress.bytes();
  if (moved / static_cast<std::uint64_t>(passed.ms) >= kUsefulBytesPerMs) return;
  copy.slow = true;
  emit(now, SyncEvent::Kind::kSlow, copy,
       std::to_string(moved) + " bytes in " + std::to_string(passed.ms / 1000) +
           " s: the others do not wait for it any longer");
}

void CopyQueue::emit(Instant now, SyncEvent::Kind kind, const Copy& copy, std::string reason) {
  SyncEvent event;
  event.kind = kind;
  event.node = copy.node;
  event.reason = std::move(reason);
  event.bytes = copy.progress.bytes();
  event.total_bytes = copy.progress.total_bytes();
  event.percent = copy.progress.percent();
  event.bytes_per_s = copy.progress.bytes_per_s();
  event.left_s = copy.progress.seconds_left();
  event.ms = static_cast<std::uint64_t>(copy.progress.since(now).ms);
  out_.events.push_back(std::move(event));
}

CopyQueue::Outbox CopyQueue::take_outbox() { return std::exchange(out_, {}); }

std::vector<CopyReport> CopyQueue::report(Instant now) const {
  std::vector<CopyReport> reports;
  const Copy* awaits = awaited();
  const std::string busy = awaits != nullptr ? awaits->node : "another";
  for (const Copy& copy : copies_) {
    CopyReport report;
    report.node = copy.node;
    report.state = copy.state;
    report.reason = explain(copy.choice);
    if (copy.state == CopyState::kWaits) report.reason += "; waits: " + busy + " is copied first";
    report.progress = copy.progress;
    report.seconds = static_cast<double>(copy.progress.since(now).ms) / 1000;
    reports.push_back(std::move(report));
  }
  return reports;
}

}  // namespace azimuth
