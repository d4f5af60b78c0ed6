#include "session/request_framer.h"

#include <algorithm>
#include <cstring>

#include "session/inline_words.h"
#include "session/words.h"

namespace azimuth {
namespace {

constexpr std::size_t kLineBytesMax = kInlineBytesMax;

enum class LineStatus : std::uint8_t { kWhole, kNeedMore, kTooBig };

// Where the line that starts at `line` ends: at `terminator`, at most kLineBytesMax bytes on (not
// counting the '\r' in front of a '\n'), and not behind a NUL.
LineStatus find_line_end(const char* line, const char* end, char terminator, const char*& at) {
  const std::size_t available = static_cast<std::size_t>(end - line);
  const bool crlf = terminator == '\n' && available > kLineBytesMax && line[kLineBytesMax] == '\r';
  const std::size_t most = kLineBytesMax + (crlf ? 1 : 0);
  const std::size_t looked = std::min(available, most + 1);
  const void* found = std::memchr(line, terminator, looked);
  if (found != nullptr) {
    at = static_cast<const char*>(found);
    const auto length = static_cast<std::size_t>(at - line);
    if (length > kLineBytesMax && at[-1] != '\r') return LineStatus::kTooBig;
    if (std::memchr(line, '\0', static_cast<std::size_t>(at - line)) == nullptr) {
      return LineStatus::kWhole;
    }
  }
  return available > most ? LineStatus::kTooBig : LineStatus::kNeedMore;
}

FrameStatus fail(ProtocolError& error, ProtocolFault fault, char got = 0) {
  error = {fault, fault == ProtocolFault::kExpectedDollar ? got : '\0'};
  return FrameStatus::kError;
}

FrameStatus frame_inline(const char* begin, const char* end, RequestFrame& out,
                         ProtocolError& error) {
  const char* newline = nullptr;
  switch (find_line_end(begin, end, '\n', newline)) {
    case LineStatus::kNeedMore:
      out.size = static_cast<std::size_t>(end - begin);
      return FrameStatus::kNeedMore;
    case LineStatus::kTooBig:
      return fail(error, ProtocolFault::kTooBigInline);
    case LineStatus::kWhole:
      break;
  }
  const char* line_end = newline != begin && newline[-1] == '\r' ? newline - 1 : newline;
  if (!split_inline({begin, static_cast<std::size_t>(line_end - begin)}, out.inline_args)) {
    return fail(error, ProtocolFault::kUnbalancedQuotes);
  }
  const auto& args = out.inline_args.args;
  out.size = static_cast<std::size_t>(newline + 1 - begin);
  out.argc = static_cast<std::uint32_t>(args.size());
  out.stored = std::min(out.argc, kFrameArgsStored);
  std::copy_n(args.begin(), out.stored, out.args.begin());
  return args.empty() ? FrameStatus::kEmpty : FrameStatus::kComplete;
}

// The judgement on a "*N" line's number.
ProtocolFault judge_count(std::optional<std::int64_t> count, const RequestLimits& limits) {
  if (!count) return ProtocolFault::kInvalidMultibulkLength;
  if (*count <= 0) return ProtocolFault::kNone;
  const auto n = static_cast<std::uint64_t>(*count);
  if (n > limits.args_max) return ProtocolFault::kInvalidMultibulkLength;
  return n > limits.args_allowed ? ProtocolFault::kUnauthenticatedMultibulkLength
                                 : ProtocolFault::kNone;
}

// The same on a "$N" line, whose first byte comes first.
ProtocolFault judge_bulk(char first, std::optional<std::int64_t> length,
                         const RequestLimits& limits) {
  if (first != '$') return ProtocolFault::kExpectedDollar;
  if (!length || *length < 0) return ProtocolFault::kInvalidBulkLength;
  const auto n = static_cast<std::uint64_t>(*length);
  if (n > limits.bulk_bytes_max) return ProtocolFault::kInvalidBulkLength;
  return n > limits.bulk_bytes_allowed ? ProtocolFault::kUnauthenticatedBulkLength
                                       : ProtocolFault::kNone;
}

// A whole header line at p. `next` is set with kWhole: behind the line and the byte after its '\r'.
LineStatus read_header(const char* p, const char* end, std::optional<std::int64_t>& number,
                       const char*& next) {
  const char* at = nullptr;
  const LineStatus status = find_line_end(p, end, '\r', at);
  if (status != LineStatus::kWhole) return status;
  if (end - at < 2) return LineStatus::kNeedMore;
  // An empty line has not even the type byte.
  number = at > p ? parse_integer({p + 1, static_cast<std::size_t>(at - p - 1)}) : std::nullopt;
  next = at + 2;
  return LineStatus::kWhole;
}

FrameStatus need_more(const char* begin, const char* end, RequestFrame& out) {
  out.size = static_cast<std::size_t>(end - begin);
  return FrameStatus::kNeedMore;
}

}  // namespace

FrameStatus frame_request_slow(const char* begin, const char* end, const RequestLimits& limits,
                               RequestFrame& out, ProtocolError& error) {
  out.argc = 0;
  out.stored = 0;
  out.inlined = false;
  if (begin == end) return need_more(begin, end, out);
  if (*begin != '*') {
    out.inlined = true;
    return frame_inline(begin, end, out, error);
  }
  const char* p = begin;
  std::optional<std::int64_t> number;
  switch (read_header(p, end, number, p)) {
    case LineStatus::kNeedMore:
      return need_more(begin, end, out);
    case LineStatus::kTooBig:
      return fail(error, ProtocolFault::kTooBigMultibulkLine);
    case LineStatus::kWhole:
      break;
  }
  ProtocolFault fault = judge_count(number, limits);
  if (fault != ProtocolFault::kNone) return fail(error, fault);
  if (*number <= 0) {
    out.size = static_cast<std::size_t>(p - begin);
    return FrameStatus::kEmpty;
  }
  out.argc = static_cast<std::uint32_t>(*number);
  for (std::uint32_t i = 0; i < out.argc; ++i) {
    const char* const line = p;
    switch (read_header(line, end, number, p)) {
      case LineStatus::kNeedMore:
        return need_more(begin, end, out);
      case LineStatus::kTooBig:
        return fail(error, ProtocolFault::kTooBigBulkLine);
      case LineStatus::kWhole:
        break;
    }
    fault = judge_bulk(*line, number, limits);
    if (fault != ProtocolFault::kNone) return fail(error, fault, *line);
    const auto length = static_cast<std::size_t>(*number);
    if (static_cast<std::size_t>(end - p) < length + 2) {
      out.size = static_cast<std::size_t>(p - begin) + length + 2;
      return FrameStatus::kNeedMore;
    }
    if (i < kFrameArgsStored) {
      out.args[i] = std::string_view(p, length);
      out.stored = i + 1;
    }
    p += length + 2;
  }
  out.size = static_cast<std::size_t>(p - begin);
  return FrameStatus::kComplete;
}

void collect_args(const char* begin, const char* end_of_frame,
                  std::vector<std::string_view>& args) {
  args.clear();
  const char* p = begin;
  std::optional<std::int64_t> number;
  if (p == end_of_frame || *p != '*' ||
      read_header(p, end_of_frame, number, p) != LineStatus::kWhole || !number) {
    return;
  }
  for (std::int64_t left = *number; left > 0; --left) {
    if (p == end_of_frame || read_header(p, end_of_frame, number, p) != LineStatus::kWhole ||
        !number || *number < 0 || end_of_frame - p < 2 || *number > end_of_frame - p - 2) {
      return;
    }
    args.emplace_back(p, static_cast<std::size_t>(*number));
    p += *number + 2;
  }
}

void collect_args(const RequestFrame& frame, const char* begin,
                  std::vector<std::string_view>& args) {
  if (frame.inlined) {
    args = frame.inline_args.args;
  } else {
    collect_args(begin, begin + frame.size, args);
  }
}

void append_request(std::string& out, std::span<const std::string_view> args) {
  out += '*';
  out += std::to_string(args.size());
  out += "\r\n";
  for (const std::string_view arg : args) {
    out += '$';
    out += std::to_string(arg.size());
    out += "\r\n";
    out += arg;
    out += "\r\n";
  }
}

std::string encode_request(std::span<const std::string_view> args) {
  std::string out;
  append_request(out, args);
  return out;
}

bool is_cross_protocol(std::string_view command_name) noexcept {
  if (command_name.size() < 4) return false;
  const char first = lower_case(command_name[0]);
  if (first != 'p' && first != 'h') return false;
  return same_word(command_name, "post") || same_word(command_name, "host:");
}

std::string protocol_error_reply(ProtocolError error) {
  std::string text = "Protocol error: ";
  switch (error.fault) {
    case ProtocolFault::kNone:
      break;
    case ProtocolFault::kTooBigMultibulkLine:
      text += "too big mbulk count string";
      break;
    case ProtocolFault::kTooBigBulkLine:
      text += "too big bulk count string";
      break;
    case ProtocolFault::kTooBigInline:
      text += "too big inline request";
      break;
    case ProtocolFault::kUnbalancedQuotes:
      text += "unbalanced quotes in request";
      break;
    case ProtocolFault::kExpectedDollar:
      text += "expected '$', got '";
      text += error.got;
      text += '\'';
      break;
    case ProtocolFault::kInvalidMultibulkLength:
      text += "invalid multibulk length";
      break;
    case ProtocolFault::kInvalidBulkLength:
      text += "invalid bulk length";
      break;
    case ProtocolFault::kUnauthenticatedMultibulkLength:
      text += "unauthenticated multibulk length";
      break;
    case ProtocolFault::kUnauthenticatedBulkLength:
      text += "unauthenticated bulk length";
      break;
  }
  return error_line(std::move(text));
}

// --- RequestCursor --------------------------------------------------------------------------

void RequestCursor::begin_line(State state) noexcept {
  state_ = state;
  value_ = 0;
  line_bytes_ = 0;
  digits_ = DigitState::kNothing;
  hidden_ = false;
}

void RequestCursor::fail(ProtocolFault fault) noexcept {
  state_ = State::kFailed;
  fault_ = fault;
}

// Reads on in a header line, up to and with its '\r' or to the end of the bytes.
const char* RequestCursor::feed_line(const char* p, const char* end) noexcept {
  const bool bulk = state_ == State::kBulk;
  while (p < end) {
    const char c = *p++;
    ++line_bytes_;
    if (c == '\r' && !hidden_) {
      if (line_bytes_ == 1) first_ = c;
      state_ = bulk ? State::kBulkEnd : State::kCountEnd;
      return p;
    }
    if (line_bytes_ > kLineBytesMax) {
      fail(bulk ? ProtocolFault::kTooBigBulkLine : ProtocolFault::kTooBigMultibulkLine);
      return p;
    }
    if (c == '\0') hidden_ = true;
    if (line_bytes_ == 1) {
      first_ = c;
    } else {
      digits_ = next_digit(digits_, value_, c);
    }
  }
  return p;
}

RequestCursor::Quote RequestCursor::next_quote(Quote quote, char c) noexcept {
  switch (quote) {
    case Quote::kBlank:
      if (is_blank(c)) return Quote::kBlank;
      [[fallthrough]];
    case Quote::kWord:
      if (c == '"') return Quote::kDouble;
      if (c == '\'') return Quote::kSingle;
      return c == ' ' || c == '\n' || c == '\r' || c == '\t' ? Quote::kBlank : Quote::kWord;
    case Quote::kDouble:
      if (c == '"') return Quote::kClosed;
      return c == '\\' ? Quote::kDoubleEscape : Quote::kDouble;
    case Quote::kDoubleEscape:
      return Quote::kDouble;
    case Quote::kSingle:
      if (c == '\'') return Quote::kClosed;
      return c == '\\' ? Quote::kSingleEscape : Quote::kSingle;
    case Quote::kSingleEscape:
      // Only \' is an escape here; of two backslashes the second may begin one.
      return c == '\\' ? Quote::kSingleEscape : Quote::kSingle;
    case Quote::kClosed:
      return is_blank(c) ? Quote::kBlank : Quote::kUnbalanced;
    case Quote::kUnbalanced:
      break;
  }
  return Quote::kUnbalanced;
}

const char* RequestCursor::feed_inline(const char* p, const char* end) noexcept {
  while (p < end) {
    const char c = *p++;
    ++line_bytes_;
    if (c == '\n' && !hidden_) {
      const bool open = quote_ == Quote::kDouble || quote_ == Quote::kDoubleEscape ||
                        quote_ == Quote::kSingle || quote_ == Quote::kSingleEscape;
      if (open || quote_ == Quote::kUnbalanced) {
        fail(ProtocolFault::kUnbalancedQuotes);
      } else {
        state_ = State::kDone;
      }
      return p;
    }
    if (line_bytes_ > kLineBytesMax + (c == '\r' && line_bytes_ == kLineBytesMax + 1 ? 1 : 0)) {
      fail(ProtocolFault::kTooBigInline);
      return p;
    }
    if (c == '\0') hidden_ = true;
    if (!is_blank(c)) has_words_ = true;
    quote_ = next_quote(quote_, c);
  }
  return p;
}

// False: the request is empty and over.
bool RequestCursor::finish_count(const RequestLimits& limits) noexcept {
  const auto count = finish_digits(digits_, value_);
  const ProtocolFault fault = judge_count(count, limits);
  if (fault != ProtocolFault::kNone) {
    fail(fault);
    return true;
  }
  if (*count <= 0) {
    state_ = State::kDone;
    return false;
  }
  args_left_ = static_cast<std::uint32_t>(*count);
  begin_line(State::kBulk);
  return true;
}

bool RequestCursor::finish_bulk_line(const RequestLimits& limits) noexcept {
  const auto length = finish_digits(digits_, value_);
  const ProtocolFault fault = judge_bulk(first_, length, limits);
  if (fault != ProtocolFault::kNone) {
    fail(fault);
    return false;
  }
  state_ = State::kBody;
  value_ = static_cast<std::uint64_t>(*length) + 2;
  return true;
}

void RequestCursor::pass_body(std::uint64_t n) noexcept {
  value_ -= n;
  if (value_ > 0) return;
  if (--args_left_ == 0) {
    state_ = State::kDone;
  } else {
    begin_line(State::kBulk);
  }
}

bool RequestCursor::skip_body(std::uint64_t n) noexcept {
  size_ += n;
  pass_body(n);
  return state_ == State::kDone;
}

RequestCursor::Fed RequestCursor::feed(const char* bytes, std::size_t n,
                                       const RequestLimits& limits) noexcept {
  if (state_ == State::kFailed) return {0, FrameStatus::kError};
  if (n == 0) return {0, FrameStatus::kNeedMore};
  if (state_ == State::kDone) reset();
  const char* p = bytes;
  const char* const end = bytes + n;
  bool empty = false;
  const std::uint64_t before = size_;
  while (p < end && state_ != State::kDone && state_ != State::kFailed) {
    switch (state_) {
      case State::kStart:
        begin_line(*p == '*' ? State::kCount : State::kInline);
        quote_ = Quote::kBlank;
        has_words_ = false;
        break;
      case State::kCount:
      case State::kBulk:
        p = feed_line(p, end);
        break;
      case State::kCountEnd:
        ++p;
        empty = !finish_count(limits);
        break;
      case State::kBulkEnd:
        ++p;
        finish_bulk_line(limits);
        break;
      case State::kBody: {
        const auto step = std::min<std::uint64_t>(value_, static_cast<std::uint64_t>(end - p));
        p += step;
        pass_body(step);
        break;
      }
      case State::kInline:
        p = feed_inline(p, end);
        empty = !has_words_;
        break;
      case State::kDone:
      case State::kFailed:
        break;
    }
  }
  const auto consumed = static_cast<std::size_t>(p - bytes);
  size_ = before + consumed;
  if (state_ == State::kFailed) return {consumed, FrameStatus::kError};
  if (state_ != State::kDone) return {consumed, FrameStatus::kNeedMore};
  return {consumed, empty ? FrameStatus::kEmpty : FrameStatus::kComplete};
}

}  // namespace azimuth
