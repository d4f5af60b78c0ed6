// The settings as text for people: the sample file, and what a reload changed.
#include <algorithm>
#include <array>

#include "conf/quoted.h"
#include "conf/settings.h"
#include "conf/settings_table.h"

namespace azimuth {
namespace {

constexpr std::size_t kSampleColumns = 92;

constexpr std::string_view kSampleTitle =
    "The settings of azimuth, with their defaults. A text that azimuth takes as it is: one node in "
    "front of one redis-server. Lines that begin with # and a letter or bracket are settings that "
    "are not in force; take the # away to set them. azimuth check --config FILE finds every "
    "mistake "
    "in a file. Keys without the word restart change on SIGHUP.";

std::string endpoint_text(const Endpoint& endpoint) {
  return endpoint == Endpoint{} ? "" : quoted(to_string(endpoint));
}

std::string endpoints_text(const std::vector<Endpoint>& endpoints) {
  std::string text = "[";
  for (const Endpoint& endpoint : endpoints) {
    if (text.size() > 1) text += ", ";
    text += endpoint_text(endpoint);
  }
  return text + "]";
}

// A comment of whole words in lines of at most kSampleColumns.
void add_comment(std::string& out, std::string_view text) {
  while (!text.empty()) {
    constexpr std::size_t kRoom = kSampleColumns - 2;
    std::size_t end = text.size();
    if (end > kRoom) {
      end = text.rfind(' ', kRoom);
      if (end == std::string_view::npos) end = std::min(text.find(' '), text.size());
    }
    out += "# ";
    out += text.substr(0, end);
    out += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// What a row says of itself beyond its sentence: the range, the names, the default, the restart.
std::string facts_of(const SettingRow& row) {
  Settings settings;
  find_section(row.section)->add(settings);
  const Field field = row.field(settings, 0);
  std::string facts;
  if (std::holds_alternative<std::uint32_t*>(field) ||
      std::holds_alternative<std::uint64_t*>(field)) {
    facts += " From " + number_text(row.least, row.octal) + " to " +
             number_text(row.most, row.octal) + ".";
  }
  if (const auto* choice = std::get_if<ChoiceField>(&field)) {
    facts += " One of";
    for (const std::string_view name : choice->names) {
      facts += name == choice->names.front() ? " " : ", ";
      facts += quoted(name);
    }
    facts += ".";
  }
  if (row.needs_restart) facts += " (restart)";
  return facts;
}

void add_setting(std::string& out, const SectionRow& section, const SettingRow& row) {
  add_comment(out, std::string(row.doc) + facts_of(row));
  // A sample that is no default is not in force, unless the table cannot do without the key.
  const bool active = section.active_in_sample && (row.sample.empty() || row.required);
  if (!active) out += '#';
  out += row.key;
  out += " = ";
  out += example_text(row);
  out += '\n';
}

std::string shown(const SettingRow& row, const Field& field) {
  const std::string text = value_text(row, field);
  return is_secret(row) && text.size() > 2 ? "***" : text;
}

std::string full_key(const SectionRow& section, std::size_t index, std::string_view key) {
  std::string name(section.name);
  if (section.kind == SectionRow::Kind::kRepeated) name += "." + std::to_string(index);
  return name + "." + std::string(key);
}

}  // namespace

const SectionRow* find_section(std::string_view name) {
  for (const SectionRow& row : section_rows()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

const SettingRow* find_setting(std::string_view section, std::string_view key) {
  for (const SettingRow& row : setting_rows()) {
    if (row.section == section && row.key == key) return &row;
  }
  return nullptr;
}

bool makes_section(const SettingRow& row) {
  Settings nothing;
  return std::holds_alternative<std::monostate>(row.field(nothing, 0));
}

std::string number_text(std::uint64_t value, bool octal) {
  if (!octal) return std::to_string(value);
  std::string digits;
  do {
    digits.insert(digits.begin(), static_cast<char>('0' + value % 8));
    value /= 8;
  } while (value != 0);
  return "0o" + digits;
}

std::string value_text(const SettingRow& row, const Field& field) {
  return std::visit(
      Overloaded{
          [](std::monostate) { return std::string(); },
          [](const std::string* text) { return quoted(*text); },
          [&](const std::uint32_t* number) { return number_text(*number, row.octal); },
          [&](const std::uint64_t* number) { return number_text(*number, row.octal); },
          [](const bool* flag) { return std::string(*flag ? "true" : "false"); },
          [](const std::optional<bool>* flag) {
            return std::string(!flag->has_value() ? "" : **flag ? "true" : "false");
          },
          [](const Endpoint* endpoint) { return endpoint_text(*endpoint); },
          [](const std::vector<Endpoint>* endpoints) { return endpoints_text(*endpoints); },
          [](const ChoiceField& choice) { return quoted(choice.names[*choice.index]); },
      },
      field);
}

std::string default_text(const SettingRow& row) {
  Settings settings;
  find_section(row.section)->add(settings);
  return value_text(row, row.field(settings, 0));
}

std::string example_text(const SettingRow& row) {
  return row.sample.empty() ? default_text(row) : std::string(row.sample);
}

std::string annotated_defaults() {
  std::string out;
  add_comment(out, kSampleTitle);
  for (const SectionRow& section : section_rows()) {
    const bool repeated = section.kind == SectionRow::Kind::kRepeated;
    out += '\n';
    add_comment(out, section.doc);
    if (!section.active_in_sample) out += '#';
    out += repeated ? "[[" : "[";
    out += section.name;
    out += repeated ? "]]\n" : "]\n";
    for (const SettingRow& row : setting_rows()) {
      if (row.section != section.name) continue;
      out += '\n';
      add_setting(out, section, row);
    }
  }
  return out;
}

std::vector<SettingChange> diff(const Settings& before, const Settings& after) {
  // The table's accessors take settings that may be written to.
  Settings old_settings = before;
  Settings new_settings = after;
  std::vector<SettingChange> changes;
  for (const SectionRow& section : section_rows()) {
    const std::size_t count =
        std::max<std::size_t>({section.count(before), section.count(after), 1});
    for (std::size_t index = 0; index < count; ++index) {
      for (const SettingRow& row : setting_rows()) {
        if (row.section != section.name) continue;
        const Field was = row.field(old_settings, index);
        const Field is = row.field(new_settings, index);
        if (value_text(row, was) == value_text(row, is)) continue;
        // A table that comes or goes is a matter of a restart, whatever its keys are.
        const bool came_or_went = (was.index() == 0) != (is.index() == 0);
        changes.push_back({full_key(section, index, row.key), shown(row, was), shown(row, is),
                           row.needs_restart || came_or_went});
      }
    }
  }
  return changes;
}

}  // namespace azimuth
