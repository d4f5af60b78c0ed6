// Appends RESP values to a string: what azimuth answers itself.
//
// `protocol` is the client's, 2 or 3. A type that RESP2 does not have is written as Redis writes it
// there: a null as "$-1", a map as an array of twice the length, a verbatim string as a bulk. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace azimuth {

// `text` must hold neither '\r' nor '\n'.
void append_simple(std::string& out, std::string_view text);
// "-<text>\r\n": the text brings its code ("ERR ...", "NOAUTH ..."). Line ends in it become blanks.
void append_error(std::string& out, std::string_view text);
void append_integer(std::string& out, std::int64_t value);
void append_bulk(std::string& out, std::string_view value);
void append_null(std::string& out, int protocol);
void append_array(std::string& out, std::uint64_t elements);
void append_map(std::string& out, int protocol, std::uint64_t pairs);
// `format` is three characters: "txt" or "mkd".
void append_verbatim(std::string& out, int protocol, std::string_view format,
                     std::string_view value);

inline constexpr std::string_view kOkReply = "+OK\r\n";
inline constexpr std::string_view kResetReply = "+RESET\r\n";
inline constexpr std::string_view kNoAuthReply = "-NOAUTH Authentication required.\r\n";

}  // namespace azimuth
