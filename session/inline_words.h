// Splits an inline command into words, by the rules of Redis's sdssplitargs: blanks part words; in
// double quotes \n \r \t \b \a and \xHH are escapes and any other backslash quotes what follows; in
// single quotes \' alone is one; a quote may open in the middle of a word, and a blank or the end
// must follow where it closes. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace azimuth {

// Where the words of an inline command are kept once quotes and escapes are undone. Overwritten by
// the next inline command that is framed with it.
struct InlineArgs {
  InlineArgs() = default;
  InlineArgs(const InlineArgs&) = delete;  // a copy's views would point into the original
  InlineArgs& operator=(const InlineArgs&) = delete;

  std::string bytes;
  std::vector<std::string_view> args;
};

// isspace in the C locale.
inline bool is_blank(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

// `line` without its line end, and without a NUL byte. False: the quotes do not balance.
bool split_inline(std::string_view line, InlineArgs& out);

}  // namespace azimuth
