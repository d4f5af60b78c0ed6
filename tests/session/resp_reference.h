// The rules of RESP once more, written for plainness and not for speed: whole buffers, strings,
// recursion. The tests and the fuzz targets hold session/'s framers to it. Shares no code with
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace reference {

enum class Verdict { kComplete, kEmpty, kNeedMore, kError };

struct Request {
  Verdict verdict = Verdict::kNeedMore;
  std::size_t size = 0;
  std::vector<std::string> args;
  std::string error;  // as in "-ERR Protocol error: <error>"
};

struct Limits {
  long long args_allowed = 2147483647;
  long long bulk_allowed = 512LL * 1024 * 1024;
};

// The line that begins at `at` and ends at `stop`; npos where it is not there (or hidden by a NUL).
inline std::size_t find_end(const std::string& text, std::size_t at, char stop) {
  for (std::size_t i = at; i < text.size() && i <= at + 65536; ++i) {
    if (text[i] == '\0') return std::string::npos;
    if (text[i] == stop) return i;
  }
  return std::string::npos;
}

// 0, or -?[1-9][0-9]*, within 64 bits.
inline bool read_integer(const std::string& text, long long& value) {
  if (text == "0") {
    value = 0;
    return true;
  }
  const bool negative = !text.empty() && text[0] == '-';
  const std::string digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.size() > 19 || digits[0] == '0') return false;
  __int128 sum = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return false;
    sum = sum * 10 + (c - '0');
  }
  if (negative) sum = -sum;
  if (sum > INT64_MAX || sum < INT64_MIN) return false;
  value = static_cast<long long>(sum);
  return true;
}

inline bool is_space(char c) {
  return std::string_view(" \t\n\v\f\r").find(c) != std::string::npos;
}

inline bool split_words(std::string line, std::vector<std::string>& words) {
  line += '\0';  // as in C: the end is a byte that is like no other
  const auto at = [&](std::size_t i) { return i < line.size() ? line[i] : '\0'; };
  const auto hex = [](char c) {
    const auto found = std::string_view("0123456789abcdef").find(c >= 'A' && c <= 'F' ? c + 32 : c);
    return c == '\0' || found == std::string_view::npos ? -1 : static_cast<int>(found);
  };
  std::size_t i = 0;
  while (true) {
    while (at(i) != '\0' && is_space(at(i))) ++i;
    if (at(i) == '\0') return true;
    std::string word;
    char quote = 0;
    for (bool done = false; !done;) {
      const char c = at(i);
      if (quote == 0) {
        if (c == '\0' || c == ' ' || c == '\n' || c == '\r' || c == '\t') {
          done = true;
        } else if (c == '"' || c == '\'') {
          quote = c;
        } else {
          word += c;
        }
      } else if (c == '\0') {
        return false;
      } else if (c == quote) {
        if (at(i + 1) != '\0' && !is_space(at(i + 1))) return false;
        done = true;
      } else if (quote == '"' && c == '\\' && at(i + 1) == 'x' && hex(at(i + 2)) >= 0 &&
                 hex(at(i + 3)) >= 0) {
        word += static_cast<char>(hex(at(i + 2)) * 16 + hex(at(i + 3)));
        i += 3;
      } else if (quote == '"' && c == '\\' && at(i + 1) != '\0') {
        const std::string_view from = "nrtba";
        const auto which = from.find(at(i + 1));
        word += which == std::string_view::npos ? at(i + 1) : "\n\r\t\b\a"[which];
        ++i;
      } else if (quote == '\'' && c == '\\' && at(i + 1) == '\'') {
        word += '\'';
        ++i;
      } else {
        word += c;
      }
      if (at(i) != '\0') ++i;
    }
    words.push_back(word);
  }
}

inline Request refused(std::string why) {
  Request out;
  out.verdict = Verdict::kError;
  out.error = std::move(why);
  return out;
}

inline Request read_request(const std::string& text, Limits limits = {}) {
  Request out;
  if (text.empty()) return out;
  if (text[0] != '*') {
    const std::size_t newline = find_end(text, 0, '\n');
    if (newline == std::string::npos) {
      return text.size() > 65536 ? refused("too big inline request") : out;
    }
    std::string line = text.substr(0, newline);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!split_words(line, out.args)) return refused("unbalanced quotes in request");
    out.size = newline + 1;
    out.verdict = out.args.empty() ? Verdict::kEmpty : Verdict::kComplete;
    return out;
  }
  std::size_t end = find_end(text, 0, '\r');
  if (end == std::string::npos) {
    return text.size() > 65536 ? refused("too big mbulk count string") : out;
  }
  if (end + 1 >= text.size()) return out;
  long long count = 0;
  if (!read_integer(text.substr(1, end - 1), count) || count > INT32_MAX) {
    return refused("invalid multibulk length");
  }
  if (count > limits.args_allowed) return refused("unauthenticated multibulk length");
  std::size_t at = end + 2;
  for (long long i = 0; i < count; ++i) {
    end = find_end(text, at, '\r');
    if (end == std::string::npos) {
      return text.size() - at > 65536 ? refused("too big bulk count string") : out;
    }
    if (end + 1 >= text.size()) return out;
    if (text[at] != '$') {
      const char got = text[at] == '\r' || text[at] == '\n' ? ' ' : text[at];
      return refused(std::string("expected '$', got '") + got + "'");
    }
    long long length = 0;
    if (!read_integer(text.substr(at + 1, end - at - 1), length) || length < 0 ||
        length > 512LL * 1024 * 1024) {
      return refused("invalid bulk length");
    }
    if (length > limits.bulk_allowed) return refused("unauthenticated bulk length");
    at = end + 2;
    if (text.size() - at < static_cast<std::size_t>(length) + 2) return out;
    out.args.push_back(text.substr(at, static_cast<std::size_t>(length)));
    at += static_cast<std::size_t>(length) + 2;
  }
  out.size = at;
  out.verdict = count > 0 ? Verdict::kComplete : Verdict::kEmpty;
  return out;
}

// --- Replies ----------------------------------------------------------------------------------

struct Reply {
  Verdict verdict = Verdict::kNeedMore;  // never kEmpty
  std::size_t size = 0;
  char type = 0;  // of the reply itself, behind its attributes
};

// By recursion, and so for shallow input only: deeper than `depth` counts as "need more".
inline Reply read_reply(std::string_view text, int depth = 200) {
  Reply out;
  if (text.empty() || depth == 0) return out;
  const char type = text[0];
  const bool line = std::string_view("+-:,#_(").find(type) != std::string_view::npos;
  const bool bulk = std::string_view("$=!").find(type) != std::string_view::npos;
  const bool counted = std::string_view("*%~>|").find(type) != std::string_view::npos;
  out.verdict = Verdict::kError;
  if (!line && !bulk && !counted) return out;
  out.type = type;
  std::size_t end = text.find("\r\n");
  if (line) {
    out.verdict = end == std::string_view::npos ? Verdict::kNeedMore : Verdict::kComplete;
    out.size = end + 2;
    return out;
  }
  // Anything but a number in front of "\r\n" is wrong as soon as it shows.
  const std::size_t stop = text.find('\r');
  const std::string digits(text.substr(1, stop == std::string_view::npos ? stop : stop - 1));
  long long n = 0;
  const bool number = read_integer(digits, n);
  if (stop == std::string_view::npos || stop + 1 == text.size()) {
    const bool hopeful =
        digits.empty() || digits == "-" || (number && n <= (1LL << 40) && n >= -(1LL << 40));
    out.verdict = hopeful ? Verdict::kNeedMore : Verdict::kError;
    return out;
  }
  if (text[stop + 1] != '\n' || !number || n > (1LL << 40) || n < -1) return out;
  if (n == -1) {
    if (type != '$' && type != '*') return out;
    out.verdict = Verdict::kComplete;
    out.size = stop + 2;
    return out;
  }
  std::size_t at = stop + 2;
  out.verdict = Verdict::kNeedMore;
  if (bulk) {
    if (text.size() - at < static_cast<std::size_t>(n) + 2) return out;
    out.size = at + static_cast<std::size_t>(n) + 2;
    out.verdict = Verdict::kComplete;
    return out;
  }
  long long left = type == '%' || type == '|' ? 2 * n : n;
  if (type == '|') ++left;  // and the reply it belongs to
  for (; left > 0; --left) {
    const Reply child = read_reply(text.substr(at), depth - 1);
    if (child.verdict != Verdict::kComplete) {
      out.verdict = child.verdict;
      return out;
    }
    at += child.size;
    if (type == '|' && left == 1) out.type = child.type;
  }
  out.size = at;
  out.verdict = Verdict::kComplete;
  return out;
}

}  // namespace reference
