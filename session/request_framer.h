// Finds where a request ends and where its arguments lie, in the bytes a client sent, and refuses
// what Redis 7.0 refuses, with its words.
//
// Redis's rules, kept to the byte (networking.c: processMultibulkBuffer, processInlineBuffer):
//   - a header line ("*3", "$5") ends at the first '\r'; the byte after it is skipped whatever it
//     is, once it is there. Nothing is judged before that byte has come.
//   - lengths are strict integers; a count of zero or less is an empty request, without a reply.
//   - the two bytes behind a bulk's body are skipped unread.
//   - a line that does not end within 64 KiB is an error. A NUL byte in front of the line's end
//   hides
//     that end (Redis looks for it with strchr), so such a line is too long sooner or later.
//   - anything that does not begin with '*' is an inline command, up to '\n'.
// Redis checks a long line whenever it has read something, so that it may still take one of more
// than 64 KiB that came in a single read; here 64 KiB is the end however the bytes were cut up.
//
// Two readers of one grammar, which agree on every input and on every split (the tests hold them to
// it): frame_request reads a request that lies whole in one block, by jumping over bodies;
// RequestCursor follows one that arrives in pieces, or is too large to gather, in O(bytes).
//
// Invariants: no byte outside [begin, end) is read; no body is ever scanned; only an inline command
// allocates. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/limits.h"
#include "session/inline_words.h"
#include "session/strict_integer.h"

namespace azimuth {

// Arguments of a request that are located; further ones are only counted (see collect_args). Enough
// for the command, its subcommand, its options and its first keys.
inline constexpr std::uint32_t kFrameArgsStored = 16;

struct RequestLimits {
  std::uint64_t args_max = kMultibulkArgsMax;      // beyond: "invalid multibulk length"
  std::uint64_t bulk_bytes_max = kBulkBytesMax;    // beyond: "invalid bulk length"
  std::uint64_t args_allowed = kMultibulkArgsMax;  // beyond: "unauthenticated multibulk length"
  std::uint64_t bulk_bytes_allowed = kBulkBytesMax;
};

inline constexpr RequestLimits kAuthenticatedLimits{};
// Before a client has logged in, where a login is asked for (I9).
inline constexpr RequestLimits kUnauthenticatedLimits{kMultibulkArgsMax, kBulkBytesMax,
                                                      kUnauthArgsMax, kUnauthBulkBytesMax};

enum class FrameStatus : std::uint8_t {
  kComplete,
  kEmpty,     // "*0", "*-1", a blank line: takes up `size` bytes and has no reply
  kNeedMore,  // `size` is a lower bound of the whole request, `args` holds those that are complete
  kError,     // the connection ends after the earlier replies and this error
};

enum class ProtocolFault : std::uint8_t {
  kNone,
  kTooBigMultibulkLine,
  kTooBigBulkLine,
  kTooBigInline,
  kUnbalancedQuotes,
  kExpectedDollar,
  kInvalidMultibulkLength,
  kInvalidBulkLength,
  kUnauthenticatedMultibulkLength,
  kUnauthenticatedBulkLength,
};

struct ProtocolError {
  ProtocolFault fault = ProtocolFault::kNone;
  char got = 0;  // with kExpectedDollar: what was there instead
};

// The whole reply: "-ERR Protocol error: ...\r\n".
std::string protocol_error_reply(ProtocolError error);

// Made for reuse: one a worker, filled again by each call.
struct RequestFrame {
  std::size_t size = 0;      // bytes of the request, its last "\r\n" included
  std::uint32_t argc = 0;    // all its arguments
  std::uint32_t stored = 0;  // those in args
  std::array<std::string_view, kFrameArgsStored> args;  // point into the block, or inline_args
  bool inlined = false;
  InlineArgs inline_args;
};

// Whatever the quick path does not settle; same contract.
FrameStatus frame_request_slow(const char* begin, const char* end, const RequestLimits& limits,
                               RequestFrame& out, ProtocolError& error);

namespace framing {

// A header line's length of two or more digits; false leaves the matter to the slow path. On entry
// p is at the first digit, on success behind the line. Needs at least 5 readable bytes.
inline bool quick_length(const char*& p, const char* end, std::size_t& length) noexcept {
  const char* q = p;
  std::size_t value = static_cast<unsigned char>(*q) - std::size_t{'0'};
  if (value - 1 > 8) return false;  // a zero, a sign, or no digit at all
  const char* const stop = end - q > 12 ? q + 12 : end;
  for (++q; q < stop; ++q) {
    const std::size_t digit = static_cast<unsigned char>(*q) - std::size_t{'0'};
    if (digit > 9) break;
    value = value * 10 + digit;
  }
  if (stop - q < 2 || *q != '\r') return false;
  p = q + 2;
  length = value;
  return true;
}

}  // namespace framing

// One request at the front of [begin, end). `error` is set with kError alone.
inline FrameStatus frame_request(const char* begin, const char* end, const RequestLimits& limits,
                                 RequestFrame& out, ProtocolError& error) {
  // "*1\r\n$0\r\n\r\n" is the shortest request, and "$0\r\n\r\n" the shortest argument.
  constexpr std::ptrdiff_t kRequestBytesMin = 10;
  constexpr std::ptrdiff_t kArgumentBytesMin = 6;
  const char* p = begin;
  if (end - p < kRequestBytesMin || *p != '*') [[unlikely]] {
    return frame_request_slow(begin, end, limits, out, error);
  }
  std::size_t argc = static_cast<unsigned char>(p[1]) - std::size_t{'0'};
  if (p[2] == '\r' && argc - 1 <= 8) [[likely]] {
    p += 4;
  } else {
    ++p;
    if (!framing::quick_length(p, end, argc)) {
      return frame_request_slow(begin, end, limits, out, error);
    }
  }
  if (argc > limits.args_allowed || argc > limits.args_max) [[unlikely]] {
    return frame_request_slow(begin, end, limits, out, error);
  }
  for (std::size_t i = 0; i < argc; ++i) {
    if (end - p < kArgumentBytesMin || *p != '$') [[unlikely]] {
      return frame_request_slow(begin, end, limits, out, error);
    }
    std::size_t length = static_cast<unsigned char>(p[1]) - std::size_t{'0'};
    if (p[2] == '\r' && length <= 9) {
      p += 4;
    } else {
      ++p;
      if (!framing::quick_length(p, end, length)) [[unlikely]] {
        return frame_request_slow(begin, end, limits, out, error);
      }
    }
    if (length + 2 > static_cast<std::size_t>(end - p) || length > limits.bulk_bytes_allowed ||
        length > limits.bulk_bytes_max) [[unlikely]] {
      return frame_request_slow(begin, end, limits, out, error);
    }
    if (i < kFrameArgsStored) out.args[i] = std::string_view(p, length);
    p += length + 2;
  }
  out.size = static_cast<std::size_t>(p - begin);
  out.argc = static_cast<std::uint32_t>(argc);
  out.stored = argc < kFrameArgsStored ? static_cast<std::uint32_t>(argc) : kFrameArgsStored;
  out.inlined = false;
  return FrameStatus::kComplete;
}

// All arguments of a complete multibulk request; for the few commands that need more than
// kFrameArgsStored. The views point into [begin, end_of_frame).
void collect_args(const char* begin, const char* end_of_frame, std::vector<std::string_view>& args);
// The same of a complete frame, inline or not, that begins at `begin`.
void collect_args(const RequestFrame& frame, const char* begin,
                  std::vector<std::string_view>& args);

// The arguments as a multibulk request. An inline command goes to Redis in this form: on a shared
// connection there must be one reading of where it ends.
std::string encode_request(std::span<const std::string_view> args);
void append_request(std::string& out, std::span<const std::string_view> args);

// A browser's doing, not a client's: Redis closes the connection without a word when the command
// is "POST" or "Host:" (securityWarningCommand).
bool is_cross_protocol(std::string_view command_name) noexcept;

// Follows one request after another through bytes that come in pieces of any size. 32 bytes, no
// allocation; it remembers no argument.
class RequestCursor {
 public:
  struct Fed {
    std::size_t consumed;  // with kNeedMore all of them; else up to the end of the request
    FrameStatus status;
  };

  // Goes on with the request under way, or begins the next one. After kError it stays there until
  // reset().
  Fed feed(const char* bytes, std::size_t n, const RequestLimits& limits) noexcept;

  // Of the request under way; after kComplete and kEmpty, of the one that just ended.
  std::uint64_t size_so_far() const noexcept { return size_; }
  // The least that the whole request can measure: what came, and the rest of the current bulk.
  std::uint64_t needed_min() const noexcept {
    return state_ == State::kBody ? size_ + value_ : size_;
  }
  // Bytes that may pass without a look: the rest of the body (and its "\r\n") being received.
  std::uint64_t body_left() const noexcept { return state_ == State::kBody ? value_ : 0; }
  // Goes on behind `n` of those, which nobody has read. True: they end the request.
  bool skip_body(std::uint64_t n) noexcept;
  bool at_start() const noexcept { return state_ == State::kStart || state_ == State::kDone; }
  ProtocolError error() const noexcept {
    return {fault_, fault_ == ProtocolFault::kExpectedDollar ? first_ : '\0'};
  }
  void reset() noexcept { *this = RequestCursor(); }

 private:
  //   kStart -- '*' --> kCount --> kCountEnd --> kBulk --> kBulkEnd --> kBody --> kBulk ... kDone
  //     +-- other --> kInline --> kDone                  any --> kFailed
  enum class State : std::uint8_t {
    kStart,
    kCount,     // in the "*N" line
    kCountEnd,  // its '\r' was read, the byte after it was not
    kBulk,      // in a "$N" line
    kBulkEnd,
    kBody,  // value_ bytes to go, "\r\n" included
    kInline,
    kDone,  // between requests; the next byte begins one
    kFailed,
  };
  // Within an inline command: the quotes of sdssplitargs, without the words.
  enum class Quote : std::uint8_t {
    kBlank,
    kWord,
    kDouble,
    kDoubleEscape,
    kSingle,
    kSingleEscape,
    kClosed,      // behind a closing quote: a blank must follow
    kUnbalanced,  // an error, told when the line is whole
  };

  const char* feed_line(const char* p, const char* end) noexcept;
  const char* feed_inline(const char* p, const char* end) noexcept;
  void pass_body(std::uint64_t n) noexcept;
  void begin_line(State state) noexcept;
  bool finish_count(const RequestLimits& limits) noexcept;
  bool finish_bulk_line(const RequestLimits& limits) noexcept;
  void fail(ProtocolFault fault) noexcept;
  static Quote next_quote(Quote quote, char c) noexcept;

  std::uint64_t size_ = 0;
  std::uint64_t value_ = 0;  // a line's digits so far, or the bytes of the body to go
  std::uint32_t args_left_ = 0;
  std::uint32_t line_bytes_ = 0;
  State state_ = State::kStart;
  DigitState digits_ = DigitState::kNothing;
  Quote quote_ = Quote::kBlank;
  ProtocolFault fault_ = ProtocolFault::kNone;
  char first_ = 0;          // first byte of the "$N" line
  bool hidden_ = false;     // a NUL byte was in the line: its end will not be found
  bool has_words_ = false;  // an inline command that is not blank
};

static_assert(sizeof(RequestCursor) == 32, "one a client that is in the middle of a request");

}  // namespace azimuth
