// Arguments as Redis compares and prints them: as C strings. Redis hands an option's bytes to
// strcasecmp and to "%s", so a NUL byte ends the word for it, and must end it here. Pure.
#pragma once

#include <string>
#include <string_view>

namespace azimuth {

// The word up to its first NUL byte.
inline std::string_view until_nul(std::string_view text) noexcept {
  return text.substr(0, text.find('\0'));
}

// ASCII only: Redis runs in the C locale.
constexpr char lower_case(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

// Is the argument this option? `word` is in lower case.
inline bool same_word(std::string_view argument, std::string_view word) noexcept {
  argument = until_nul(argument);
  if (argument.size() != word.size()) return false;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (lower_case(argument[i]) != word[i]) return false;
  }
  return true;
}

// "-ERR <text>\r\n", or "-<text>\r\n" where the text brings its own code ("-NOPROTO ..."). Line
// ends inside become blanks and those at the end go, as in addReplyErrorFormat: what a client sent
// cannot forge a second reply.
inline std::string error_line(std::string text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == '\n')) text.pop_back();
  std::size_t skip = 0;
  while (skip < text.size() && (text[skip] == '\r' || text[skip] == '\n')) ++skip;
  text.erase(0, skip);
  for (char& c : text) {
    if (c == '\r' || c == '\n') c = ' ';
  }
  std::string line = !text.empty() && text.front() == '-' ? std::string() : std::string("-ERR ");
  line += text;
  line += "\r\n";
  return line;
}

inline constexpr std::string_view kSyntaxErrorReply = "-ERR syntax error\r\n";
inline constexpr std::string_view kNotAnIntegerReply =
    "-ERR value is not an integer or out of range\r\n";

}  // namespace azimuth
