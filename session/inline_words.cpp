#include "session/inline_words.h"

#include "session/words.h"

namespace azimuth {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = lower_case(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

char unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// Reads the quoted part whose opening quote is at p[-1]; returns its closing quote or null.
const char* read_double_quoted(const char* p, const char* end, std::string& out) {
  while (p < end && *p != '"') {
    if (*p != '\\' || p + 1 == end) {
      out.push_back(*p++);
    } else if (p[1] == 'x' && end - p >= 4 && hex_value(p[2]) >= 0 && hex_value(p[3]) >= 0) {
      out.push_back(static_cast<char>(hex_value(p[2]) * 16 + hex_value(p[3])));
      p += 4;
    } else {
      out.push_back(unescape(p[1]));
      p += 2;
    }
  }
  return p < end ? p : nullptr;
}

const char* read_single_quoted(const char* p, const char* end, std::string& out) {
  while (p < end && *p != '\'') {
    if (*p == '\\' && end - p >= 2 && p[1] == '\'') ++p;
    out.push_back(*p++);
  }
  return p < end ? p : nullptr;
}

// One word from p, which is not blank. A quote may begin in the middle of a word and ends it. Null:
// unbalanced.
const char* read_word(const char* p, const char* end, std::string& out) {
  while (p < end) {
    const char c = *p;
    // Not every blank: '\v' and '\f' part words in front of one, not behind (sds.c sdssplitargs).
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') return p;
    ++p;
    if (c != '"' && c != '\'') {
      out.push_back(c);
      continue;
    }
    p = c == '"' ? read_double_quoted(p, end, out) : read_single_quoted(p, end, out);
    if (p == nullptr) return nullptr;
    ++p;
    return p == end || is_blank(*p) ? p : nullptr;
  }
  return p;
}

}  // namespace

bool split_inline(std::string_view line, InlineArgs& out) {
  const char* p = line.data();
  const char* const end = p + line.size();
  out.bytes.clear();
  out.args.clear();
  // A word is never longer than its text: with the room taken beforehand the views stay valid.
  out.bytes.reserve(line.size());
  while (true) {
    while (p < end && is_blank(*p)) ++p;
    if (p == end) return true;
    const std::size_t from = out.bytes.size();
    p = read_word(p, end, out.bytes);
    if (p == nullptr) return false;
    out.args.emplace_back(out.bytes.data() + from, out.bytes.size() - from);
  }
}

}  // namespace azimuth
