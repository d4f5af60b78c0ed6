// The table of all settings: one row a key, from which come parsing, the check for unknown keys,
// the annotated sample and the diff of a reload. A setting is a field in conf/settings.h and a row
// here.
//
// Invariants: the rows of a section stand together, in the order of the sample file; a row's type
// is its field's type. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "conf/settings.h"

namespace azimuth {

// A field of a closed set of names. The enumerators count from zero in the names' order, in one
// byte.
struct ChoiceField {
  unsigned char* index;
  std::span<const std::string_view> names;
};

// A field of some Settings; monostate where its section is not there.
using Field = std::variant<std::monostate, std::string*, std::uint32_t*, std::uint64_t*, bool*,
                           std::optional<bool>*, Endpoint*, std::vector<Endpoint>*, ChoiceField>;

// What a text may hold.
enum class TextRule : std::uint8_t {
  kPrintable,  // no control bytes; may be empty
  kName,       // letters, digits, '.', '_', '-'; what ids, zones and clusters are called
  kPlace,      // a name, or where it is found: conf/place.h
  kPath,       // of a file: not empty, no control bytes
  kSecret,     // any bytes; never shown
};

// What an address may be.
enum class EndpointRule : std::uint8_t {
  kListen,   // anything; port 0 lets the kernel choose
  kConnect,  // a port, and a host or path that one can connect to
  kPeer,     // TCP, to listen on
  kReached,  // TCP, that others can connect to
};

struct SettingRow {
  std::string_view section;
  std::string_view key;
  Field (*field)(Settings&, std::size_t index);
  std::string_view doc;          // sentences, for the sample file
  std::string_view sample = {};  // TOML; where the default is no good example, or there is none
  std::uint64_t least = 0;       // of a number
  std::uint64_t most = 0;
  bool octal = false;
  TextRule text = TextRule::kPrintable;
  EndpointRule endpoint = EndpointRule::kListen;
  bool required = false;  // where its section is there
  bool needs_restart = false;
};

struct SectionRow {
  enum class Kind : std::uint8_t { kAlways, kOptional, kRepeated };

  std::string_view name;
  Kind kind;
  bool active_in_sample;
  std::string_view doc;
  void (*add)(Settings&);  // makes an optional section, or one more of a repeated one
  std::size_t (*count)(const Settings&);
};

std::span<const SettingRow> setting_rows();
std::span<const SectionRow> section_rows();

const SectionRow* find_section(std::string_view name);
const SettingRow* find_setting(std::string_view section, std::string_view key);

// Whether the key's being there makes its section be there; the hold_* keys of [cluster] do not.
bool makes_section(const SettingRow& row);

// The value as TOML; empty where there is none.
std::string value_text(const SettingRow& row, const Field& field);

// A number as the row writes it.
std::string number_text(std::uint64_t value, bool octal);

// What a message and the sample file show: the row's sample, or else its default.
std::string default_text(const SettingRow& row);
std::string example_text(const SettingRow& row);

// std::visit with one lambda a type.
template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

inline bool is_secret(const SettingRow& row) { return row.text == TextRule::kSecret; }

}  // namespace azimuth
