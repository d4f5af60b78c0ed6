#include "session/reply_writer.h"

#include <charconv>

namespace azimuth {
namespace {

template <class Number>
void append_header(std::string& out, char type, Number value) {
  char line[24];
  line[0] = type;
  char* end = std::to_chars(line + 1, line + sizeof(line) - 2, value).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(line, end);
}

}  // namespace

void append_simple(std::string& out, std::string_view text) {
  out += '+';
  out += text;
  out += "\r\n";
}

void append_error(std::string& out, std::string_view text) {
  out += '-';
  for (const char c : text) out += c == '\r' || c == '\n' ? ' ' : c;
  out += "\r\n";
}

void append_integer(std::string& out, std::int64_t value) { append_header(out, ':', value); }

void append_bulk(std::string& out, std::string_view value) {
  append_header(out, '$', value.size());
  out += value;
  out += "\r\n";
}

void append_null(std::string& out, int protocol) { out += protocol == 3 ? "_\r\n" : "$-1\r\n"; }

void append_array(std::string& out, std::uint64_t elements) { append_header(out, '*', elements); }

void append_map(std::string& out, int protocol, std::uint64_t pairs) {
  if (protocol == 3) {
    append_header(out, '%', pairs);
  } else {
    append_header(out, '*', 2 * pairs);
  }
}

void append_verbatim(std::string& out, int protocol, std::string_view format,
                     std::string_view value) {
  if (protocol != 3) {
    append_bulk(out, value);
    return;
  }
  append_header(out, '=', value.size() + 4);
  for (std::size_t i = 0; i < 3; ++i) out += i < format.size() ? format[i] : ' ';
  out += ':';
  out += value;
  out += "\r\n";
}

}  // namespace azimuth
