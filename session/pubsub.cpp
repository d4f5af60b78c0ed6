#include "session/pubsub.h"

#include <array>

#include "session/reply_framer.h"

namespace azimuth {
namespace {

struct Word {
  std::string_view text;
  PubsubKind kind;
  PubsubFamily family;
  std::uint64_t elements;  // of a frame that begins with it; 0: as many as it likes
};

constexpr std::array<Word, 10> kWords = {{
    {"message", PubsubKind::kMessage, PubsubFamily::kChannel, 3},
    {"pmessage", PubsubKind::kMessage, PubsubFamily::kPattern, 4},
    {"smessage", PubsubKind::kMessage, PubsubFamily::kShard, 3},
    {"subscribe", PubsubKind::kConfirmation, PubsubFamily::kChannel, 3},
    {"psubscribe", PubsubKind::kConfirmation, PubsubFamily::kPattern, 3},
    {"ssubscribe", PubsubKind::kConfirmation, PubsubFamily::kShard, 3},
    {"unsubscribe", PubsubKind::kConfirmation, PubsubFamily::kChannel, 3},
    {"punsubscribe", PubsubKind::kConfirmation, PubsubFamily::kPattern, 3},
    {"sunsubscribe", PubsubKind::kConfirmation, PubsubFamily::kShard, 3},
    {"invalidate", PubsubKind::kMessage, PubsubFamily::kChannel, 2},
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
  if (word->kind != PubsubKind::kConfirmation) return out;
  ReplyReader reader(frame);
  ReplyElement element;
  // The array, its word, the channel, the count.
  for (int i = 0; i < 4; ++i) {
    if (!reader.next(element)) return out;
    if (i == 2 && !element.null) out.channel = element.text;
  }
  out.subscribes = word->text.find("unsub") == std::string_view::npos;
  out.count = element.integer;
  return out;
}

}  // namespace azimuth
