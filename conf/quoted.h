// Text as a TOML string, for messages, the sample file and the diff: printable whatever is in it.
// Pure.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>

namespace azimuth {

// In double quotes, with quotes, backslashes and control bytes escaped; clipped with "..." after
// `bytes_max` bytes of the text.
std::string quoted(std::string_view text,
                   std::size_t bytes_max = std::numeric_limits<std::size_t>::max());

// What an error message shows of a text that somebody else wrote.
inline constexpr std::size_t kQuotedInErrorBytesMax = 100;
std::string quoted_in_error(std::string_view text);

}  // namespace azimuth
