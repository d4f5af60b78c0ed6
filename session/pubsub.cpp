#include "session/pubsub.h"

#include <algorithm>
#include <array>

#include "session/reply_framer.h"

namespace azimuth {
namespace {

struct Word {
  std::string_view text;
  PubsubKind kind;
  PubsubFamily family;
  bool subscribes;
  std::uint64_t elements;  // of a frame that begins with it; 0: as many as it likes
};

constexpr std::array<Word, 10> kWords = {{
    {"message", PubsubKind::kMessage, PubsubFamily::kChannel, false, 3},
    {"pmessage", PubsubKind::kMessage, PubsubFamily::kPattern, false, 4},
    {"smessage", PubsubKind::kMessage, PubsubFamily::kShard, false, 3},
    {"subscribe", PubsubKind::kConfirmation, PubsubFamily::kChannel, true, 3},
    {"psubscribe", PubsubKind::kConfirmation, PubsubFamily::kPattern, true, 3},
    {"ssubscribe", PubsubKind::kConfirmation, PubsubFamily::kShard, true, 3},
    {"unsubscribe", PubsubKind::kConfirmation, PubsubFamily::kChannel, false, 3},
    {"punsubscribe", PubsubKind::kConfirmation, PubsubFamily::kPattern, false, 3},
    {"sunsubscribe", PubsubKind::kConfirmation, PubsubFamily::kShard, false, 3},
    {"invalidate", PubsubKind::kMessage, PubsubFamily::kChannel, false, 2},
}};

const Word* find_word(std::string_view text, std::uint64_t elements) {
  for (const Word& word : kWords) {
    if (word.text == text) return word.elements == elements ? &word : nullptr;
  }
  return nullptr;
}

// A small number between p and "\r\n"; behind it on success.
enum class Read : std::uint8_t { kYes, kNo, kUndecided };

Read read_number(const char*& p, const char* end, std::uint64_t& value) {
  value = 0;
  const char* q = p;
  for (; q < end && *q >= '0' && *q <= '9' && q - p < 4; ++q) {
    value = value * 10 + static_cast<std::uint64_t>(*q - '0');
  }
  if (q == end) return Read::kUndecided;
  if (q == p || *q != '\r') return Read::kNo;
  if (end - q < 2) return Read::kUndecided;
  p = q + 2;
  return Read::kYes;
}

// The word that opens the aggregate at p. What no pub/sub frame begins with is settled early.
Read read_word(const char* p, const char* end, const Word*& word) {
  std::uint64_t elements = 0;
  ++p;
  Read read = read_number(p, end, elements);
  if (read != Read::kYes) return read;
  if (elements < 2 || elements > 4) return Read::kNo;
  if (p == end) return Read::kUndecided;
  if (*p++ != '$') return Read::kNo;
  std::uint64_t length = 0;
  read = read_number(p, end, length);
  if (read != Read::kYes) return read;
  if (length < 7 || length > 12) return Read::kNo;
  if (static_cast<std::uint64_t>(end - p) < length) return Read::kUndecided;
  word = find_word({p, length}, elements);
  return word != nullptr ? Read::kYes : Read::kNo;
}

}  // namespace

PubsubPeek peek_pubsub(const char* p, const char* end, int protocol) noexcept {
  if (p == end) return {PubsubKind::kReply, true};
  const bool push = *p == '>';
  if (!push && (protocol != 2 || *p != '*')) return {};
  const Word* word = nullptr;
  switch (read_word(p, end, word)) {
    case Read::kYes:
      return {word->kind, false};
    case Read::kUndecided:
      return {PubsubKind::kReply, true};
    case Read::kNo:
      break;
  }
  // A push that is none of ours still answers nothing.
  return {push ? PubsubKind::kMessage : PubsubKind::kReply, false};
}

PubsubFrame classify_pubsub(std::string_view frame, int protocol) noexcept {
  PubsubFrame out;
  const char* const end = frame.data() + frame.size();
  const PubsubPeek peek = peek_pubsub(frame.data(), end, protocol);
  if (peek.undecided) return out;
  out.kind = peek.kind;
  const Word* word = nullptr;
  if (peek.kind == PubsubKind::kReply || read_word(frame.data(), end, word) != Read::kYes) {
    return out;
  }
  out.family = word->family;
  out.subscribes = word->subscribes;
  if (word->kind != PubsubKind::kConfirmation) return out;
  ReplyReader reader(frame);
  ReplyElement element;
  // The array, its word, the channel, the count.
  for (int i = 0; i < 3; ++i) {
    if (!reader.next(element)) return out;
  }
  out.no_channel = element.null;
  out.channel = element.text;
  if (reader.next(element)) out.count = element.integer;
  return out;
}

void PubsubTracker::push(Request request) {
  // What is answered lies in front; it goes when that costs less than it has been worth.
  if (front_ > 32 && front_ * 2 > requests_.size()) {
    requests_.erase(requests_.begin(), requests_.begin() + static_cast<std::ptrdiff_t>(front_));
    front_ = 0;
  }
  requests_.push_back(request);
  if (request.kind == Kind::kOrdinary) ++ordinary_;
}

void PubsubTracker::pop() noexcept {
  if (requests_[front_].kind == Kind::kOrdinary) --ordinary_;
  ++front_;
  if (front_ == requests_.size()) {
    requests_.clear();
    front_ = 0;
  }
}

void PubsubTracker::sent_ordinary() { push({Kind::kOrdinary, PubsubFamily::kChannel, 1}); }

void PubsubTracker::sent_subscribe(PubsubFamily family, std::uint32_t names) {
  push({Kind::kSubscribe, family, names});
}

void PubsubTracker::sent_unsubscribe(PubsubFamily family, std::uint32_t names) {
  push({Kind::kUnsubscribe, family, names});
}

std::uint64_t PubsubTracker::held(PubsubFamily family) const noexcept {
  switch (family) {
    case PubsubFamily::kChannel:
      return channels_;
    case PubsubFamily::kPattern:
      return patterns_;
    case PubsubFamily::kShard:
      return shard_channels_;
  }
  return 0;
}

// Channels and patterns are counted together: the one that this confirmation is not about has not
// moved.
void PubsubTracker::count(const PubsubFrame& frame) noexcept {
  const auto total = static_cast<std::uint64_t>(std::max<std::int64_t>(frame.count, 0));
  switch (frame.family) {
    case PubsubFamily::kChannel:
      channels_ = total - std::min(total, patterns_);
      break;
    case PubsubFamily::kPattern:
      patterns_ = total - std::min(total, channels_);
      break;
    case PubsubFamily::kShard:
      shard_channels_ = total;
      break;
  }
}

bool PubsubTracker::answers(const PubsubFrame& frame) noexcept {
  if (outstanding() == 0) return false;
  const Request& front = requests_[front_];
  if (front.kind == Kind::kOrdinary) return false;
  return (front.kind == Kind::kSubscribe) == frame.subscribes && front.family == frame.family;
}

bool PubsubTracker::received(const PubsubFrame& frame) {
  switch (frame.kind) {
    case PubsubKind::kMessage:
      return false;
    case PubsubKind::kReply:
      // An ordinary reply; or the error that a subscription was refused with.
      if (outstanding() == 0) return false;
      pop();
      return true;
    case PubsubKind::kConfirmation:
      break;
  }
  const bool ours = answers(frame);
  if (ours && requests_[front_].left == 0) {
    // "All of them", of which this is the first: so many were held until now.
    requests_[front_].left =
        static_cast<std::uint32_t>(std::clamp<std::uint64_t>(held(frame.family), 1, UINT32_MAX));
  }
  count(frame);
  if (!ours || --requests_[front_].left > 0) return false;
  pop();
  return true;
}

}  // namespace azimuth
