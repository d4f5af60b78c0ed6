// Finds where a reply of Redis ends, RESP2 and RESP3, without keeping any of it; and reads the few
// replies that the proxy must understand.
//
// Nested aggregates need no stack: one counter says how many elements are still to come. A map or
// an attribute of N counts 2N; an attribute is followed by the reply it belongs to; a push is an
// aggregate like any other. So hostile nesting costs a backend its own bytes and azimuth nothing.
//
// Lines (+ - : , # _ ( ) end at "\r\n" and may be of any length: a script may answer with a long
// status. Lengths ($ = ! * % ~ > |) are strict integers, -1 with '$' and '*' alone. The two bytes
// behind a body are skipped unread. Streamed aggregates ("$?") do not occur: Redis never sends one.
//
// Invariants: no byte outside what is given is read; no body is scanned; nothing is allocated.
// Pure.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "session/strict_integer.h"

namespace azimuth {

// A length or a count beyond this is not Redis's: it keeps every sum below 2^64.
inline constexpr std::uint64_t kReplyLengthMax = std::uint64_t{1} << 40;
inline constexpr std::uint64_t kReplyElementsMax = std::uint64_t{1} << 62;

// Skips one reply after another through bytes that come in pieces of any size. 24 bytes.
class ReplyCursor {
 public:
  // The size of the reply at p where it is one line or one bulk and lies whole in [p, end); else 0,
  // and the cursor must look. For the hot path: most replies are one of these.
  static std::size_t quick(const char* p, const char* end) noexcept;

  // Goes on with the reply under way, or begins the next one; returns the bytes it used up. `done`
  // says that they end a reply. Stops in front of bytes that are no RESP: failed().
  std::size_t feed(const char* p, std::size_t n, bool& done) noexcept;

  bool at_start() const noexcept { return outstanding_ == 0 && state_ != State::kFailed; }
  bool failed() const noexcept { return state_ == State::kFailed; }

  // The first byte of the reply under way; once it is done, of that one until the next begins. '|'
  // while only its attribute has come; 0 in front of everything.
  char type() const noexcept { return type_; }
  // Out of band: answers no request.
  bool is_push() const noexcept { return type_ == '>'; }
  // Bytes that may pass without a look: the rest of the body being received.
  std::uint64_t body_left() const noexcept { return state_ == State::kBody ? value_ : 0; }
  // Goes on behind `n` of those, which nobody has read. True: they end the reply.
  bool skip_body(std::uint64_t n) noexcept;

  void reset() noexcept { *this = ReplyCursor(); }

 private:
  enum class State : std::uint8_t {
    kElement,    // at a type byte
    kLine,       // in + - : , # _ (
    kLength,     // in the digits of a length or count
    kLengthEnd,  // behind their '\r'
    kBody,       // value_ bytes to go, "\r\n" included
    kFailed,
  };

  void note_type(char type) noexcept;
  void begin_element(char type) noexcept;
  void end_element() noexcept { --outstanding_; }
  void finish_length() noexcept;
  const char* feed_line(const char* p, const char* end) noexcept;

  std::uint64_t outstanding_ = 0;  // elements to come, the reply itself included; 0 between replies
  std::uint64_t value_ = 0;
  State state_ = State::kElement;
  DigitState digits_ = DigitState::kNothing;
  char type_ = 0;          // of the reply
  char element_ = 0;       // of the element whose length is being read
  bool settled_ = false;   // type_ is the reply's own, not an attribute's
  bool carriage_ = false;  // the line's last byte so far was '\r'
};

static_assert(sizeof(ReplyCursor) <= 32);

// One value of a reply, in the order in which they are written.
struct ReplyElement {
  char type = 0;               // the type byte
  bool null = false;           // "$-1", "*-1", "_"
  std::int64_t integer = 0;    // of ':', and 1 or 0 of '#'
  std::string_view text;       // of a line or a bulk; of '=' without its "txt:"
  std::uint64_t children = 0;  // elements that follow as its own; 2N of a map of N

  bool is_error() const noexcept { return type == '-' || type == '!'; }
  bool is_aggregate() const noexcept {
    return type == '*' || type == '%' || type == '~' || type == '>';
  }
};

// Walks a complete reply, depth first: next() reads one value and stops in front of its first
// child, skip() passes over one whole value. Attributes are passed over. False: the end, or no
// RESP.
class ReplyReader {
 public:
  explicit ReplyReader(std::string_view reply) noexcept : rest_(reply) {}

  bool next(ReplyElement& out) noexcept;
  bool skip() noexcept;
  bool at_end() const noexcept { return rest_.empty(); }
  // What has not been read: a value's raw bytes are the difference before and behind skip().
  std::string_view rest() const noexcept { return rest_; }

 private:
  std::string_view rest_;
};

// --- The hot path -----------------------------------------------------------------------------

namespace framing {

// Behind the first "\r\n" of the line at p, or null where it is not in [p, end).
inline const char* quick_line(const char* p, const char* end) noexcept {
  // Eight bytes at a time for the short lines that nearly all are; the lowest flagged byte is
  // exact.
  if constexpr (std::endian::native == std::endian::little) {
    constexpr std::uint64_t kOnes = 0x0101010101010101;
    for (int i = 0; i < 2 && end - p >= 9; ++i) {
      std::uint64_t word;
      std::memcpy(&word, p, sizeof(word));
      const std::uint64_t x = word ^ (kOnes * '\r');
      const std::uint64_t hit = (x - kOnes) & ~x & (kOnes << 7);
      if (hit != 0) {
        const char* const at = p + (std::countr_zero(hit) >> 3);
        if (at[1] == '\n') return at + 2;
        p = at + 1;
      } else {
        p += 8;
      }
    }
  }
  while (p < end) {
    const void* const found = std::memchr(p, '\r', static_cast<std::size_t>(end - p));
    if (found == nullptr) return nullptr;
    p = static_cast<const char*>(found) + 1;
    if (p < end && *p == '\n') return p + 1;
  }
  return nullptr;
}

// The bulk whose first digit is at p[1]: its size, or 0.
inline std::size_t quick_bulk(const char* p, const char* end) noexcept {
  if (end - p < 5) return 0;  // "$-1\r\n"
  const char* q = p + 1;
  std::size_t length = static_cast<unsigned char>(*q) - std::size_t{'0'};
  if (length > 9) {
    return std::memcmp(p, "$-1\r\n", 5) == 0 ? 5 : 0;
  }
  ++q;
  if (*q != '\r') {
    if (length == 0) return 0;
    const char* const stop = end - q > 12 ? q + 12 : end;
    for (; q < stop; ++q) {
      const std::size_t digit = static_cast<unsigned char>(*q) - std::size_t{'0'};
      if (digit > 9) break;
      length = length * 10 + digit;
    }
    if (stop - q < 2 || *q != '\r') return 0;
  }
  if (q[1] != '\n') return 0;
  q += 2;
  if (length > kReplyLengthMax || length + 2 > static_cast<std::size_t>(end - q)) return 0;
  return static_cast<std::size_t>(q - p) + length + 2;
}

}  // namespace framing

inline std::size_t ReplyCursor::quick(const char* p, const char* end) noexcept {
  if (p >= end) return 0;
  switch (*p) {
    case '+':
      if (end - p >= 5 && std::memcmp(p, "+OK\r\n", 5) == 0) return 5;
      [[fallthrough]];
    case ':':
    case '-':
    case '_':
    case '#':
    case ',':
    case '(': {
      const char* const behind = framing::quick_line(p + 1, end);
      return behind != nullptr ? static_cast<std::size_t>(behind - p) : 0;
    }
    case '$':
      return framing::quick_bulk(p, end);
    default:
      return 0;
  }
}

}  // namespace azimuth
