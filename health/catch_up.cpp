#include "health/catch_up.h"

#include <utility>

namespace azimuth {

namespace {

constexpr Duration kTellEvery = seconds(5);

}  // namespace

std::string_view to_string(CatchUpState state) {
  switch (state) {
    case CatchUpState::kNone:
      return "none";
    case CatchUpState::kAsking:
      return "asking";
    case CatchUpState::kWaiting:
      return "waiting";
    case CatchUpState::kStreaming:
      return "streaming";
    case CatchUpState::kCopying:
      return "copying";
    case CatchUpState::kLoading:
      return "loading";
    case CatchUpState::kDone:
      return "done";
    case CatchUpState::kBroken:
      return "broken";
    case CatchUpState::kRefused:
      return "refused";
  }
  return "none";
}

bool CatchUp::under_way() const {
  switch (state_) {
    case CatchUpState::kStreaming:
    case CatchUpState::kCopying:
    case CatchUpState::kLoading:
      return true;
    case CatchUpState::kNone:
    case CatchUpState::kAsking:
    case CatchUpState::kWaiting:
    case CatchUpState::kDone:
    case CatchUpState::kBroken:
    case CatchUpState::kRefused:
      return false;
  }
  return false;
}

void CatchUp::enter(Instant now, CatchUpState state) {
  state_ = state;
  over_ = told_ = now;
}

void CatchUp::on_asked(Instant now, std::uint64_t connection, const std::string& source,
                       const SyncAsk& ask) {
  // The one before it is lost, whether or not its end has been seen. A copy that was being loaded
  // is over, one way or the other: Redis asks for what comes behind it, or for something else.
  on_end(now, connection_);
  if (state_ == CatchUpState::kLoading) {
    const bool taken = ask.replid == replid_ && ask.offset > static_cast<std::int64_t>(offset_);
    if (taken) finish(now);
    if (!taken) break_off(now, "what was copied was not taken over");
  }
  connection_ = connection;
  source_ = source;
  choice_ = {};
  reason_ = "asking";
  waited_ = false;
  progress_.begin(now);
  enter(now, CatchUpState::kAsking);
}

void CatchUp::on_note(Instant now, std::uint64_t connection, const SyncNote& note) {
  if (!is(connection)) return;
  if (note.kind == SyncNote::Kind::kShare) {
    if (state_ != CatchUpState::kCopying) return;
    return progress_.on_share(static_cast<double>(note.permille) / 1000);
  }
  if (state_ != CatchUpState::kAsking && state_ != CatchUpState::kWaiting) return;
  choice_ = note.choice;
  reason_ = explain(choice_);
  if (note.kind != SyncNote::Kind::kWaits) {
    if (state_ == CatchUpState::kWaiting) enter(now, CatchUpState::kAsking);
    return;
  }
  reason_ += "; waits: " + source_ + " copies to " + (note.busy.empty() ? "another" : note.busy) +
             " first (" + std::to_string(note.ahead) + " ahead)";
  if (state_ != CatchUpState::kWaiting) enter(now, CatchUpState::kWaiting);
  if (std::exchange(waited_, true)) return;
  emit(now, SyncEvent::Kind::kWaits);
}

void CatchUp::on_partial(Instant now, std::uint64_t connection) {
  if (!is(connection)) return;
  if (choice_.how != SyncHow::kPartial) choice_ = {};  // it came otherwise than expected
  choice_.how = SyncHow::kPartial;
  reason_ = explain(choice_);
  progress_.begin(now, choice_.missing_bytes);
  enter(now, CatchUpState::kStreaming);
  emit(now, SyncEvent::Kind::kBegun);
  if (choice_.missing_bytes == 0) finish(now);
}

void CatchUp::on_full(Instant now, std::uint64_t connection, const std::string& replid,
                      std::uint64_t offset) {
  if (!is(connection)) return;
  if (choice_.how != SyncHow::kFull) choice_ = {};
  reason_ = explain(choice_);
  replid_ = replid;
  offset_ = offset;
  progress_.begin(now);
  enter(now, CatchUpState::kCopying);
  emit(now, SyncEvent::Kind::kBegun);
}

void CatchUp::on_bytes(Instant now, std::uint64_t connection, std::uint64_t bytes,
                       std::uint64_t total) {
  if (!is(connection) || !under_way()) return;
  progress_.on_bytes(now, bytes, total);
  const bool streamed = state_ == CatchUpState::kStreaming && bytes >= choice_.missing_bytes;
  if (streamed) finish(now);
}

void CatchUp::on_copied(Instant now, std::uint64_t connection) {
  if (!is(connection) || state_ != CatchUpState::kCopying) return;
  progress_.on_share(1);
  enter(now, CatchUpState::kLoading);
}

void CatchUp::on_refused(Instant now, std::uint64_t connection, const std::string& why) {
  if (!is(connection)) return;
  reason_ = "refused by the gate: " + why;
  enter(now, CatchUpState::kRefused);
}

void CatchUp::on_end(Instant now, std::uint64_t connection) {
  if (!is(connection)) return;
  if (state_ == CatchUpState::kAsking || state_ == CatchUpState::kWaiting) {
    reason_ = "the connection ended before the primary had answered";
    if (waited_) emit(now, SyncEvent::Kind::kBroken);
    return enter(now, CatchUpState::kBroken);
  }
  // What was received whole is loaded whether or not the connection holds.
  if (!under_way() || state_ == CatchUpState::kLoading) return;
  break_off(now, "the connection ended: " + reason_);
}

void CatchUp::on_redis(Instant now, const LocalRedis& facts, bool abreast) {
  const bool follows = facts.alive && facts.link_up && !facts.loading;
  if (state_ == CatchUpState::kStreaming && follows && abreast) return finish(now);
  if (state_ != CatchUpState::kLoading || !facts.alive || facts.loading) return;
  const bool on_it = follows && facts.replid == replid_ && facts.offset >= offset_;
  const bool promoted = facts.master && facts.replid2 == replid_ &&
                        facts.second_offset > static_cast<std::int64_t>(offset_);
  if (on_it || promoted) return finish(now);
  // What was said in the first moments may be from before it followed.
  if (facts.master && now - over_ >= kTellEvery) {
    break_off(now, "what was copied was not taken over");
  }
}

void CatchUp::break_off(Instant now, const std::string& why) {
  ++broken_;
  reason_ = why;
  emit(now, SyncEvent::Kind::kBroken);
  enter(now, CatchUpState::kBroken);
}

void CatchUp::finish(Instant now) {
  ++(choice_.how == SyncHow::kPartial ? partial_ : full_);
  progress_.on_share(1);
  emit(now, SyncEvent::Kind::kDone);
  enter(now, CatchUpState::kDone);
}

void CatchUp::on_tick(Instant now) {
  if (!under_way()) return;
  progress_.on_bytes(now, progress_.bytes(), 0);
  if (now - told_ < kTellEvery) return;
  told_ = now;
  emit(now, SyncEvent::Kind::kMoves);
}

Duration CatchUp::took(Instant now) const {
  const bool over =
      !under_way() && state_ != CatchUpState::kAsking && state_ != CatchUpState::kWaiting;
  return progress_.since(over ? over_ : now);
}

void CatchUp::emit(Instant now, SyncEvent::Kind kind) {
  SyncEvent event;
  event.kind = kind;
  event.node = source_;
  event.how = choice_.how;
  event.reason = reason_;
  event.bytes = progress_.bytes();
  event.total_bytes = progress_.total_bytes();
  event.percent = progress_.percent();
  event.bytes_per_s = progress_.bytes_per_s();
  event.left_s = progress_.seconds_left();
  event.ms = static_cast<std::uint64_t>(progress_.since(now).ms);
  events_.push_back(std::move(event));
}

std::vector<SyncEvent> CatchUp::take_events() { return std::exchange(events_, {}); }

}  // namespace azimuth
