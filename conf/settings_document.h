// A settings text as flat entries with their positions: all that conf/settings.cpp sees of TOML.
//
// Invariant: everything in the text is either an entry, a section or an error. A line that is no
// TOML is reported and passed over, so that one mistake does not hide the others. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace azimuth {

struct TextPosition {
  std::uint32_t line = 1;
  std::uint32_t column = 1;
};

struct TomlValue {
  enum class Kind : std::uint8_t { kText, kInteger, kBoolean, kList, kOther };

  Kind kind = Kind::kOther;
  std::string text;
  std::int64_t integer = 0;
  bool boolean = false;
  std::vector<TomlValue> list;
  std::string_view type_name;  // as a message says it: "a whole number", "a date"
  TextPosition at;
};

struct DocumentSection {
  std::string name;
  bool repeated = false;  // [[name]]
  std::size_t index = 0;  // of a repeated one
  TextPosition at;
};

struct DocumentEntry {
  std::string section;  // empty: above the first table
  std::size_t index = 0;
  std::string key;
  TextPosition key_at;
  TomlValue value;
};

struct DocumentError {
  TextPosition at;
  std::string message;
};

struct SettingsDocument {
  std::vector<DocumentSection> sections;
  std::vector<DocumentEntry> entries;
  std::vector<DocumentError> errors;
};

// `secret_keys`: of lines that name one of them nothing is quoted in an error.
SettingsDocument read_document(std::string_view text,
                               const std::vector<std::string_view>& secret_keys);

// One TOML value, such as an override's; nothing if it is none.
std::optional<TomlValue> read_value(std::string_view text);

}  // namespace azimuth
