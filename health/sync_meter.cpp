#include "health/sync_meter.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "conf/limits.h"
#include "session/request_framer.h"

namespace azimuth {

namespace {

// A login may be long; nothing else is.
constexpr std::size_t kHandshakeBytesMax = 8 * kSyncLineBytesMax;
constexpr std::size_t kMarkBytes = 40;

bool is_word(std::string_view text, std::string_view upper) {
  return text.size() == upper.size() &&
         std::equal(text.begin(), text.end(), upper.begin(), [](char a, char b) {
           return (a >= 'a' && a <= 'z' ? static_cast<char>(a - ('a' - 'A')) : a) == b;
         });
}

template <typename Number>
void read_number(std::string_view text, Number& value) {
  std::from_chars(text.data(), text.data() + text.size(), value);
}

}  // namespace

std::string SyncAskReader::feed(std::string_view bytes) {
  if (lost_) return std::string(bytes);
  held_ += bytes;
  if (asked_) return {};
  std::size_t passes = 0;
  while (passes < held_.size()) {
    RequestFrame frame;
    ProtocolError error;
    const FrameStatus status = frame_request(held_.data() + passes, held_.data() + held_.size(),
                                             kAuthenticatedLimits, frame, error);
    if (status == FrameStatus::kNeedMore) break;
    if (status == FrameStatus::kError) {
      lost_ = true;
      break;
    }
    if (status == FrameStatus::kComplete && frame.stored > 0) {
      const bool partial = is_word(frame.args[0], "PSYNC") && frame.stored >= 3;
      if (partial || is_word(frame.args[0], "SYNC")) {
        asked_ = true;
        ask_.replid = partial ? frame.args[1] : std::string_view("?");
        if (partial) read_number(frame.args[2], ask_.offset);
        break;
      }
    }
    passes += frame.size;
  }
  lost_ = lost_ || (!asked_ && held_.size() - passes > kHandshakeBytesMax);
  if (lost_) passes = held_.size();
  std::string out = held_.substr(0, passes);
  held_.erase(0, passes);
  passed_ += passes;
  return out;
}

std::string SyncAskReader::take_held() { return std::exchange(held_, {}); }

void SyncMeter::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    switch (phase_) {
      case Phase::kPartial:
        bytes_ += bytes.size();
        return;
      case Phase::kCopied:
        return;
      case Phase::kCopying:
        return copy(bytes);
      case Phase::kHandshake:
      case Phase::kFull:
        break;
    }
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    line_ += piece.substr(0, kSyncLineBytesMax - std::min(line_.size(), kSyncLineBytesMax));
    if (end == std::string_view::npos) return;
    bytes.remove_prefix(end + 1);
    std::string line = std::exchange(line_, {});
    if (line.ends_with('\r')) line.pop_back();
    on_line(line);
  }
}

void SyncMeter::on_line(std::string_view line) {
  if (phase_ == Phase::kHandshake) {
    if (line.starts_with("+CONTINUE")) phase_ = Phase::kPartial;
    if (!line.starts_with("+FULLRESYNC ")) return;
    phase_ = Phase::kFull;
    line.remove_prefix(line.find(' ') + 1);
    const std::size_t blank = line.find(' ');
    replid_ = line.substr(0, blank);
    if (blank != std::string_view::npos) read_number(line.substr(blank + 1), offset_);
    return;
  }
  // Empty lines keep the connection alive while the copy is being prepared.
  if (line.empty() || line.front() != '$') return;
  phase_ = Phase::kCopying;
  if (line.starts_with("$EOF:")) {
    mark_ = line.substr(5, kMarkBytes);
    return;
  }
  read_number(line.substr(1), total_);
  if (total_ == 0) phase_ = Phase::kCopied;
}

// The mark ends what the primary sends: it begins to stream when the replica has acknowledged.
void SyncMeter::copy(std::string_view bytes) {
  bytes_ += bytes.size();
  if (mark_.empty()) {
    if (bytes_ < total_) return;
    bytes_ = total_;
    phase_ = Phase::kCopied;
    return;
  }
  if (bytes.size() >= mark_.size()) {
    tail_ = bytes.substr(bytes.size() - mark_.size());
  } else {
    tail_ += bytes;
    if (tail_.size() > mark_.size()) tail_.erase(0, tail_.size() - mark_.size());
  }
  if (tail_ != mark_) return;
  bytes_ -= mark_.size();
  phase_ = Phase::kCopied;
}

}  // namespace azimuth
