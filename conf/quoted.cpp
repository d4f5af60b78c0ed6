#include "conf/quoted.h"

namespace azimuth {

std::string quoted(std::string_view text, std::size_t bytes_max) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::size_t size = text.size();
  if (size > bytes_max) {
    size = bytes_max;
    // Not through the middle of a UTF-8 sequence.
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80U) --size;
  }
  std::string out;
  out.reserve(size + 2);
  out += '"';
  for (const char c : text.substr(0, size)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 0x0FU];
    } else {
      out += c;
    }
  }
  if (size < text.size()) out += "...";
  out += '"';
  return out;
}

std::string quoted_in_error(std::string_view text) { return quoted(text, kQuotedInErrorBytesMax); }

}  // namespace azimuth
