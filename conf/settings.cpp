#include "conf/settings.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "conf/nearest.h"
#include "conf/quoted.h"
#include "conf/settings_assign.h"
#include "conf/settings_check.h"
#include "conf/settings_document.h"
#include "conf/settings_table.h"

namespace azimuth {
namespace {

// Overrides come after everything in a file.
constexpr std::uint64_t kOverrideOrder = std::uint64_t{1} << 63U;

bool is_key_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_';
}

std::string node_id_for(std::string_view host_name) {
  std::string id = "node";
  for (const char c : host_name.substr(0, kNameBytesMax - 5)) {
    if (id.size() == 4) id += '-';
    id += is_key_character(c) ? c : '-';
  }
  return id;
}

std::vector<std::string_view> secret_keys() {
  std::vector<std::string_view> keys;
  for (const SettingRow& row : setting_rows()) {
    if (is_secret(row)) keys.push_back(row.key);
  }
  return keys;
}

std::vector<std::string_view> keys_of(std::string_view section) {
  std::vector<std::string_view> keys;
  for (const SettingRow& row : setting_rows()) {
    if (row.section == section) keys.push_back(row.key);
  }
  return keys;
}

// Quoted only where it must be: names and overrides are shown to be found again as they were typed.
std::string printable(std::string_view text) {
  std::string shown = quoted_in_error(text);
  const std::string_view inner = std::string_view(shown).substr(1, shown.size() - 2);
  return inner == text ? std::string(text) : shown;
}

std::string in_brackets(const SectionRow& section) {
  const bool repeated = section.kind == SectionRow::Kind::kRepeated;
  return (repeated ? "[[" : "[") + std::string(section.name) + (repeated ? "]]" : "]");
}

std::string joined(const std::vector<std::string_view>& words) {
  std::string text;
  for (const std::string_view word : words) {
    if (!text.empty()) text += ", ";
    text += word;
  }
  return text;
}

std::string unknown_section(std::string_view name) {
  std::vector<std::string_view> names;
  for (const SectionRow& row : section_rows()) names.push_back(row.name);
  const std::string start = "unknown table [" + printable(name) + "]: ";
  const std::string_view meant = nearest(name, names);
  if (!meant.empty()) return start + "write " + in_brackets(*find_section(meant));
  return start + "the tables are " + joined(names);
}

// The section that `key` belongs to, if there is just one such key.
const SettingRow* only_setting(std::string_view key) {
  const SettingRow* found = nullptr;
  for (const SettingRow& row : setting_rows()) {
    if (row.key != key) continue;
    if (found != nullptr) return nullptr;
    found = &row;
  }
  return found;
}

std::string unknown_key(const SectionRow& section, std::string_view key) {
  const std::string start =
      "unknown key " + quoted_in_error(key) + " in " + in_brackets(section) + ": ";
  const std::vector<std::string_view> keys = keys_of(section.name);
  const std::string_view meant = nearest(key, keys);
  if (const SettingRow* elsewhere = only_setting(key)) {
    return start + "write it under " + in_brackets(*find_section(elsewhere->section));
  }
  if (!meant.empty()) return start + "write " + std::string(meant);
  return start + "the keys are " + joined(keys);
}

// An override taken apart: section.key=value or section.index.key=value.
struct Override {
  std::string_view section;
  std::string_view key;
  std::string_view value;
  bool indexed = false;
  std::size_t index = 0;
};

std::optional<Override> split_override(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  const std::string_view name = text.substr(0, equals);
  const std::size_t first = name.find('.');
  if (first == std::string_view::npos) return std::nullopt;
  Override parts;
  parts.value = text.substr(equals + 1);
  parts.section = name.substr(0, first);
  parts.key = name.substr(first + 1);
  const std::size_t second = parts.key.find('.');
  if (second != std::string_view::npos) {
    const std::string_view digits = parts.key.substr(0, second);
    const char* end = digits.data() + digits.size();
    const auto [stop, fault] = std::from_chars(digits.data(), end, parts.index);
    if (fault != std::errc{} || stop != end) return std::nullopt;
    parts.indexed = true;
    parts.key.remove_prefix(second + 1);
  }
  return parts;
}

class Parser {
 public:
  explicit Parser(std::string_view file_name)
      : file_name_(file_name),
        origins_(file_name.empty() ? Origin{0, "settings"} : at(TextPosition{})) {}

  void read(std::string_view text) {
    const SettingsDocument document = read_document(text, secret_keys());
    unread_ = !document.errors.empty();
    for (const DocumentError& error : document.errors) say(at(error.at), error.message);
    for (const DocumentSection& section : document.sections) read_section(section, document);
    for (const DocumentEntry& entry : document.entries) read_entry(entry);
  }

  void apply(std::string_view text, std::uint64_t number) {
    const std::optional<Override> parts = split_override(text);
    const SettingRow* row = parts ? find_setting(parts->section, parts->key) : nullptr;
    Origin origin{kOverrideOrder + number, override_name(text, row)};
    if (!parts) {
      say(origin,
          "no setting: write --set section.key=value, such as --set limits.clients_max=500");
      return;
    }
    const SectionRow* section = find_section(parts->section);
    if (section == nullptr) {
      say(origin, unknown_section(parts->section));
    } else if (row == nullptr) {
      say(origin, unknown_key(*section, parts->key));
    } else if (make_room(*section, *row, *parts, origin)) {
      const Field field = row->field(settings_, parts->index);
      set(*row, parts->index, override_value(field, parts->value), std::move(origin));
    }
  }

  SettingsResult finish(std::string_view host_name) {
    if (settings_.node.id.empty()) settings_.node.id = node_id_for(host_name);
    if (settings_.peer && settings_.peer->advertise == Endpoint{}) {
      settings_.peer->advertise = settings_.peer->address;
    }
    for (OriginError& error : check_settings(settings_, origins_, unread_)) {
      errors_.push_back(std::move(error));
    }
    std::stable_sort(errors_.begin(), errors_.end(),
                     [](const auto& a, const auto& b) { return a.at.order < b.at.order; });
    SettingsResult result;
    result.settings = std::move(settings_);
    for (const SettingRow& row : setting_rows()) {
      const bool names_file = row.text == TextRule::kPath || row.text == TextRule::kPlace;
      if (!names_file || !origins_.given(row.section, 0, row.key)) continue;
      result.file_positions.emplace(std::string(row.section) + "." + std::string(row.key),
                                    origins_.of(row.section, 0, row.key).position);
    }
    for (OriginError& error : errors_) {
      if (result.errors.size() == kSettingsErrorsMax) {
        result.errors.push_back(
            {error.at.position,
             "and " + std::to_string(errors_.size() - kSettingsErrorsMax) + " more errors"});
        break;
      }
      result.errors.push_back({std::move(error.at.position), std::move(error.message)});
    }
    return result;
  }

 private:
  Origin at(TextPosition position) const {
    const std::string file = file_name_.empty() ? "settings" : file_name_;
    return {std::uint64_t{position.line} << 31U | position.column,
            file + ":" + std::to_string(position.line) + ":" + std::to_string(position.column)};
  }

  void say(Origin origin, std::string message) {
    errors_.push_back({std::move(origin), std::move(message)});
  }

  // As the user wrote it; but what may be a secret, such as what a misspelt key was given or the
  // login in a URL, is not shown.
  static std::string override_name(std::string_view text, const SettingRow* row) {
    const bool open =
        row != nullptr && !is_secret(*row) && text.find('@') == std::string_view::npos;
    if (open) return "--set " + printable(text);
    const std::size_t equals = text.find('=');
    std::size_t name = 0;
    while (name < text.size() && is_key_character(text[name])) ++name;
    return "--set " + printable(text.substr(0, name)) +
           (equals == std::string_view::npos ? "" : "=***");
  }

  void read_section(const DocumentSection& found, const SettingsDocument& document) {
    const SectionRow* section = find_section(found.name);
    const Origin origin = at(found.at);
    if (section == nullptr) {
      if (found.index == 0) say(origin, unknown_section(found.name));
      return;
    }
    origins_.record(found.name, found.index, {}, origin);
    const bool repeats = section->kind == SectionRow::Kind::kRepeated;
    if (repeats != found.repeated && found.index == 0) {
      say(origin, (repeats ? "[" + found.name + "]" : "[[" + found.name + "]]") + " is written " +
                      in_brackets(*section) +
                      (repeats ? ", since there may be more than one" : ", for there is but one"));
    }
    if (repeats && found.index == kListenersMax) {
      say(origin, "more than " + std::to_string(kListenersMax) + " " + in_brackets(*section) +
                      " tables: write fewer");
    }
    if (repeats ? found.index < kListenersMax : found.index == 0 && is_made(*section, document)) {
      section->add(settings_);
    }
  }

  // A table with hold_ keys alone makes no cluster; an empty one, or one with the others, does.
  static bool is_made(const SectionRow& section, const SettingsDocument& document) {
    bool empty = true;
    for (const DocumentEntry& entry : document.entries) {
      if (entry.section != section.name) continue;
      empty = false;
      const SettingRow* row = find_setting(entry.section, entry.key);
      if (row != nullptr && makes_section(*row)) return true;
    }
    return empty;
  }

  void read_entry(const DocumentEntry& entry) {
    if (entry.section.empty()) {
      say(at(entry.key_at), stray_key(entry));
      return;
    }
    const SectionRow* section = find_section(entry.section);
    if (section == nullptr) return;  // said once, of the table
    const SettingRow* row = find_setting(entry.section, entry.key);
    if (row != nullptr) {
      set(*row, entry.index, entry.value, at(entry.value.at));
      return;
    }
    say(at(entry.key_at), unknown_key(*section, entry.key));
    // The key that was meant is not missing on top of that.
    const std::vector<std::string_view> keys = keys_of(section->name);
    const std::string_view meant = nearest(entry.key, keys);
    if (!meant.empty() && !origins_.given(entry.section, entry.index, meant)) {
      origins_.record(entry.section, entry.index, meant, at(entry.key_at));
      origins_.spoil(entry.section, entry.index, meant);
    }
  }

  std::string stray_key(const DocumentEntry& entry) {
    const std::string start = quoted_in_error(entry.key);
    if (const SectionRow* section = find_section(entry.key)) {
      origins_.record(entry.key, 0, {}, at(entry.key_at));
      return start + " is a table: write " + in_brackets(*section) + " and its keys under it";
    }
    if (const SettingRow* row = only_setting(entry.key)) {
      return start + " stands outside its table: write it under " +
             in_brackets(*find_section(row->section));
    }
    return "unknown key " + start +
           " outside of any table: write keys under their tables, such "
           "as [node]";
  }

  // Makes the section that an override writes to; false and an error if it cannot be.
  bool make_room(const SectionRow& section, const SettingRow& row, const Override& parts,
                 const Origin& origin) {
    const bool repeats = section.kind == SectionRow::Kind::kRepeated;
    if (repeats != parts.indexed) {
      const std::string name(section.name);
      say(origin,
          repeats ? "which one is not said: write " + name + ".0." + std::string(row.key)
                  : "there is but one [" + name + "]: write " + name + "." + std::string(row.key));
      return false;
    }
    const std::size_t count = section.count(settings_);
    if (repeats && (parts.index > count || parts.index >= kListenersMax)) {
      say(origin, "there are " + std::to_string(count) + " " + in_brackets(section) +
                      " tables: write an index from 0 to " +
                      std::to_string(std::min(count, kListenersMax - 1)));
      return false;
    }
    if (repeats ? parts.index == count : makes_section(row)) section.add(settings_);
    origins_.record(section.name, parts.index, {}, origin);
    return true;
  }

  void set(const SettingRow& row, std::size_t index, const TomlValue& value, Origin origin) {
    const Field field = row.field(settings_, index);
    if (std::holds_alternative<std::monostate>(field)) return;  // one listener too many: said
    origins_.record(row.section, index, row.key, origin);
    if (const auto wrong = assign(row, field, value)) {
      origins_.spoil(row.section, index, row.key);
      say(origin.order < kOverrideOrder ? at(wrong->at) : std::move(origin), wrong->message);
    }
  }

  std::string file_name_;
  Settings settings_;
  Origins origins_;
  std::vector<OriginError> errors_;
  bool unread_ = false;
};

}  // namespace

bool allows_sync(const Settings& settings, const ListenSettings& listener) noexcept {
  return listener.allow_sync.value_or(settings.redis.has_value() && !settings.cluster.has_value());
}

SessionScope session_scope(const Settings& settings, const ListenSettings& listener) noexcept {
  if (listener.session_scope != SessionScope::kByRole) return listener.session_scope;
  return settings.redis ? SessionScope::kConnection : SessionScope::kNode;
}

bool votes(const Settings& settings) noexcept {
  if (!settings.cluster) return false;
  return settings.cluster->voter.value_or(settings.redis.has_value());
}

std::string to_string(const SettingsError& error) { return error.position + ": " + error.message; }

SettingsResult parse_settings(std::string_view text, std::string_view file_name,
                              std::span<const std::string> overrides, std::string_view host_name) {
  Parser parser(file_name);
  parser.read(text);
  std::uint64_t number = 0;
  for (const std::string& one : overrides) parser.apply(one, number++);
  return parser.finish(host_name);
}

Settings standalone(Endpoint listen, Endpoint redis, std::uint32_t workers,
                    std::string_view host_name) {
  Settings settings;
  settings.node.id = node_id_for(host_name);
  settings.node.workers = workers;
  settings.redis.emplace().address = std::move(redis);
  settings.listen.emplace_back().address = std::move(listen);
  return settings;
}

}  // namespace azimuth
