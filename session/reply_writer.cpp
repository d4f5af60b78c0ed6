#include "session/reply_writer.h"

#include <charconv>
#include <cmath>
#include <cstdio>

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

void append_null_array(std::string& out, int protocol) {
  out += protocol == 3 ? "_\r\n" : "*-1\r\n";
}

void append_array(std::string& out, std::uint64_t elements) { append_header(out, '*', elements); }

void append_map(std::string& out, int protocol, std::uint64_t pairs) {
  if (protocol == 3) {
    append_header(out, '%', pairs);
  } else {
    append_header(out, '*', 2 * pairs);
  }
}

void append_set(std::string& out, int protocol, std::uint64_t elements) {
  append_header(out, protocol == 3 ? '~' : '*', elements);
}

void append_push(std::string& out, int protocol, std::uint64_t elements) {
  append_header(out, protocol == 3 ? '>' : '*', elements);
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

void append_double(std::string& out, int protocol, double value) {
  char text[40];
  int length;
  if (std::isinf(value)) {
    length = std::snprintf(text, sizeof(text), "%s", value > 0 ? "inf" : "-inf");
  } else if (std::isnan(value)) {
    length = std::snprintf(text, sizeof(text), "nan");
  } else {
    length = std::snprintf(text, sizeof(text), "%.17g", value);
  }
  const std::string_view digits(text, static_cast<std::size_t>(length));
  if (protocol != 3) {
    append_bulk(out, digits);
    return;
  }
  out += ',';
  out += digits;
  out += "\r\n";
}

void append_boolean(std::string& out, int protocol, bool value) {
  if (protocol == 3) {
    out += value ? "#t\r\n" : "#f\r\n";
  } else {
    append_integer(out, value ? 1 : 0);
  }
}

}  // namespace azimuth
