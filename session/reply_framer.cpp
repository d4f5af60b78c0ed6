#include "session/reply_framer.h"

#include <algorithm>

namespace azimuth {
namespace {

bool is_line(char type) {
  switch (type) {
    case '+':
    case '-':
    case ':':
    case ',':
    case '#':
    case '_':
    case '(':
      return true;
    default:
      return false;
  }
}

bool is_bulk(char type) { return type == '$' || type == '=' || type == '!'; }

bool is_counted(char type) {
  return type == '*' || type == '%' || type == '~' || type == '>' || type == '|';
}

}  // namespace

// The reply's type is that of its first element, or of the one behind its attributes.
void ReplyCursor::note_type(char type) noexcept {
  if (outstanding_ == 0) {
    outstanding_ = 1;
  } else if (settled_ || outstanding_ != 1) {
    return;
  }
  type_ = type;
  settled_ = type != '|';
}

void ReplyCursor::begin_element(char type) noexcept {
  if (is_line(type)) {
    state_ = State::kLine;
    carriage_ = false;
  } else if (is_bulk(type) || is_counted(type)) {
    state_ = State::kLength;
    element_ = type;
    digits_ = DigitState::kNothing;
    value_ = 0;
  } else {
    state_ = State::kFailed;
  }
}

void ReplyCursor::finish_length() noexcept {
  const auto number = finish_digits(digits_, value_);
  state_ = State::kFailed;
  if (!number) return;
  if (*number < 0) {
    if (*number != -1 || (element_ != '$' && element_ != '*')) return;
    state_ = State::kElement;
    end_element();
    return;
  }
  const auto length = static_cast<std::uint64_t>(*number);
  if (length > kReplyLengthMax) return;
  if (is_bulk(element_)) {
    state_ = State::kBody;
    value_ = length + 2;
    return;
  }
  const std::uint64_t children = element_ == '%' || element_ == '|' ? 2 * length : length;
  if (outstanding_ + children > kReplyElementsMax) return;
  outstanding_ += children;
  if (element_ != '|') end_element();
  state_ = State::kElement;
}

const char* ReplyCursor::feed_line(const char* p, const char* end) noexcept {
  if (carriage_ && *p == '\n') {
    state_ = State::kElement;
    end_element();
    return p + 1;
  }
  carriage_ = false;
  const char* const behind = framing::quick_line(p, end);
  if (behind == nullptr) {
    carriage_ = end[-1] == '\r';
    return end;
  }
  state_ = State::kElement;
  end_element();
  return behind;
}

bool ReplyCursor::skip_body(std::uint64_t n) noexcept {
  value_ -= n;
  if (value_ != 0) return false;
  state_ = State::kElement;
  end_element();
  return outstanding_ == 0;
}

std::size_t ReplyCursor::feed(const char* p, std::size_t n, bool& done) noexcept {
  done = false;
  const char* const begin = p;
  const char* const end = p + n;
  while (p < end && state_ != State::kFailed) {
    switch (state_) {
      case State::kElement: {
        note_type(*p);
        const std::size_t size = quick(p, end);
        if (size != 0) {
          p += size;
          end_element();
        } else {
          begin_element(*p);
          if (state_ != State::kFailed) ++p;
        }
        break;
      }
      case State::kLine:
        p = feed_line(p, end);
        break;
      case State::kLength:
        if (*p == '\r') {
          state_ = State::kLengthEnd;
        } else {
          digits_ = next_digit(digits_, value_, *p);
          if (digits_ == DigitState::kBad || value_ > kReplyLengthMax) state_ = State::kFailed;
        }
        if (state_ != State::kFailed) ++p;
        break;
      case State::kLengthEnd:
        if (*p == '\n') {
          finish_length();
        } else {
          state_ = State::kFailed;
        }
        if (state_ != State::kFailed) ++p;
        break;
      case State::kBody: {
        const auto step = std::min<std::uint64_t>(value_, static_cast<std::uint64_t>(end - p));
        p += step;
        skip_body(step);
        break;
      }
      case State::kFailed:
        break;
    }
    if (outstanding_ == 0 && state_ == State::kElement) {
      done = true;
      break;
    }
  }
  return static_cast<std::size_t>(p - begin);
}

// --- ReplyReader ------------------------------------------------------------------------------

namespace {

// The text of a line whose type byte is at the front; the line is cut from `rest`.
bool take_line(std::string_view& rest, std::string_view& text) {
  const char* const begin = rest.data();
  const char* const behind = framing::quick_line(begin + 1, begin + rest.size());
  if (behind == nullptr) return false;
  text = std::string_view(begin + 1, static_cast<std::size_t>(behind - begin) - 3);
  rest.remove_prefix(static_cast<std::size_t>(behind - begin));
  return true;
}

}  // namespace

bool ReplyReader::next(ReplyElement& out) noexcept {
  while (!rest_.empty()) {
    out = ReplyElement{};
    out.type = rest_.front();
    std::string_view text;
    std::string_view rest = rest_;
    if ((!is_line(out.type) && !is_bulk(out.type) && !is_counted(out.type)) ||
        !take_line(rest, text)) {
      return false;
    }
    if (is_line(out.type)) {
      out.text = text;
      out.null = out.type == '_';
      if (out.type == ':') out.integer = parse_integer(text).value_or(0);
      if (out.type == '#') out.integer = text == "t" ? 1 : 0;
      rest_ = rest;
      return true;
    }
    const auto number = parse_integer(text);
    if (!number || *number < -1 || *number > static_cast<std::int64_t>(kReplyLengthMax))
      return false;
    rest_ = rest;
    if (*number == -1) {
      out.null = true;
      return true;
    }
    const auto length = static_cast<std::uint64_t>(*number);
    if (is_bulk(out.type)) {
      if (rest_.size() < length + 2) return false;
      out.text = rest_.substr(0, length);
      rest_.remove_prefix(length + 2);
      if (out.type == '=' && out.text.size() >= 4) out.text.remove_prefix(4);
      return true;
    }
    out.children = out.type == '%' || out.type == '|' ? 2 * length : length;
    if (out.type != '|') return true;
    for (std::uint64_t i = 0; i < out.children; ++i) {
      if (!skip()) return false;
    }
  }
  return false;
}

bool ReplyReader::skip() noexcept {
  ReplyCursor cursor;
  bool done = false;
  const std::size_t used = cursor.feed(rest_.data(), rest_.size(), done);
  if (!done) return false;
  rest_.remove_prefix(used);
  return true;
}

}  // namespace azimuth
