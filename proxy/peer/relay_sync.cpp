#include "proxy/peer/relay_sync.h"

#include <utility>

#include "conf/limits.h"

namespace azimuth {

std::string RelaySync::on_replica(std::string_view bytes) {
  if (step_ == Step::kReads) {
    std::string passes = asks_.feed(bytes);
    if (asks_.lost()) step_ = Step::kThrough;
    return passes;
  }
  more_ += bytes;
  return {};
}

bool RelaySync::overflows() const {
  return step_ != Step::kThrough && asks_.bytes() + more_.size() > kSyncHeldBytesMax;
}

bool RelaySync::wants_to_ask() {
  if (step_ != Step::kReads || !asks_.asked()) return false;
  step_ = Step::kAsks;
  return true;
}

std::string_view RelaySync::question() { return "*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n"; }

// REDIS: of a client that is no replica yet this has no answer (replconfCommand).
std::string_view RelaySync::sign_of_life() {
  return "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n";
}

RelaySync::Answer RelaySync::on_answer(std::string_view bytes) {
  if (step_ != Step::kAsks) return Answer::kBad;  // Redis has nothing to say to one that waits
  bool done = false;
  const std::size_t used = cursor_.feed(bytes.data(), bytes.size(), done);
  answer_.append(bytes.data(), used);
  const bool refused = answer_.starts_with('-');
  if (cursor_.failed() || answer_.size() > kSyncHeldBytesMax) return Answer::kBad;
  if (!done) return Answer::kMore;
  if (used != bytes.size()) return Answer::kBad;
  // An error (a right that is missing) says nothing, and then a full copy is to be expected.
  const auto history = read_sync_history(answer_);
  answer_.clear();
  if (history) choice_ = judge_sync(asks_.ask(), *history);
  // By whatever name it knows the history: offsets run on over a change of epochs.
  if (follows_ && history && choice_.asked > history->end + 1) {
    step_ = Step::kBehind;
    return Answer::kBehind;
  }
  // Refused an answer, it does not wait: it might be a partial sync all the same. A copy that Redis
  // begins counts then, too.
  if (choice_.how == SyncHow::kPartial || refused || !on_copy_) return Answer::kGoes;
  step_ = Step::kWaits;
  queued_ = true;
  tell(CopyNews::Kind::kWant);
  return Answer::kWaits;
}

bool RelaySync::ask_again() {
  step_ = Step::kAsks;
  cursor_ = {};
  return ++asked_ < kSyncAskedAgainMax;
}

SyncNote RelaySync::note() const {
  SyncNote note;
  note.choice = choice_;
  return note;
}

std::string RelaySync::go() {
  step_ = Step::kThrough;
  return asks_.take_held() + std::exchange(more_, {});
}

void RelaySync::on_primary(std::uint64_t now_ms, std::string_view bytes) {
  if (watched_) return;
  const SyncMeter::Phase before = meter_.phase();
  meter_.feed(bytes);
  const SyncMeter::Phase now = meter_.phase();
  if (now == SyncMeter::Phase::kHandshake) return;
  const bool answered = before == SyncMeter::Phase::kHandshake;
  if (now == SyncMeter::Phase::kPartial) {
    queued_ = false;
    watched_ = true;
    return tell(CopyNews::Kind::kPartial);
  }
  if (answered) {
    queued_ = true;
    tell(CopyNews::Kind::kFull);
  }
  if (now == SyncMeter::Phase::kCopied) {
    tell(CopyNews::Kind::kBytes);
    queued_ = false;
    watched_ = true;
    return tell(CopyNews::Kind::kOver, true);
  }
  if (now != SyncMeter::Phase::kCopying || now_ms - told_ms_ < kSyncNewsEveryMs) return;
  told_ms_ = now_ms;
  tell(CopyNews::Kind::kBytes);
}

void RelaySync::on_end() {
  if (std::exchange(queued_, false)) tell(CopyNews::Kind::kOver);
}

void RelaySync::tell(CopyNews::Kind kind, bool whole) {
  if (!on_copy_) return;
  CopyNews news;
  news.kind = kind;
  news.relay = id_;
  news.node = node_;
  news.choice = choice_;
  news.bytes = meter_.bytes();
  news.total_bytes = meter_.total();
  news.whole = whole;
  on_copy_(news);
}

}  // namespace azimuth
