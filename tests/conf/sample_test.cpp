// The annotated sample and the table it is made from.
#include <catch2/catch.hpp>
#include <set>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include "conf/settings.h"
#include "conf/settings_table.h"

namespace azimuth {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Takes the '#' from the lines that are settings out of force.
std::string uncommented(const std::string& text) {
  std::string out;
  for (const std::string& line : lines_of(text)) {
    const bool setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    out += setting ? line.substr(1) : line;
    out += '\n';
  }
  return out;
}

std::string errors_of(const SettingsResult& result) {
  std::string all;
  for (const SettingsError& error : result.errors) all += to_string(error) + "\n";
  return all;
}

TEST_CASE("the sample is a settings text without errors: one node before one Redis") {
  const SettingsResult result = parse_settings(annotated_defaults(), "sample", {}, "host");
  INFO(errors_of(result));
  REQUIRE(result.ok());
  REQUIRE(result.settings.redis);
  CHECK_FALSE(result.settings.cluster);
  CHECK(result.settings.admin);
  CHECK(result.settings.listen.size() == 1);
}

TEST_CASE("what the sample shows in force are the defaults") {
  const SettingsResult sample = parse_settings(annotated_defaults(), "sample", {}, "host");
  REQUIRE(sample.ok());
  Settings expected = standalone(*parse_endpoint("127.0.0.1:6380"),
                                 *parse_endpoint("127.0.0.1:6379"), NodeSettings{}.workers, "host");
  expected.admin.emplace().address = *parse_endpoint("127.0.0.1:9380");
  CHECK(diff(expected, sample.settings).empty());
  CHECK(expected == sample.settings);
}

TEST_CASE("the sample with every line in force is without errors too") {
  const SettingsResult result = parse_settings(uncommented(annotated_defaults()), "sample");
  INFO(errors_of(result));
  REQUIRE(result.ok());
  CHECK(result.settings.cluster);
  CHECK(result.settings.peer);
}

TEST_CASE("every key stands in the sample once a section, under a comment of its own") {
  const std::vector<std::string> lines = lines_of(annotated_defaults());
  std::string section;
  std::set<std::string> seen;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    std::string line = lines[i];
    CHECK(line.size() <= 100);
    if (line.starts_with("# ") || line.empty()) continue;
    if (line[0] == '#') line.erase(0, 1);
    CHECK(lines[i - 1].starts_with("# "));
    if (line[0] == '[') {
      section = line.substr(line.find_last_of('[') + 1);
      section.erase(section.find(']'));
      continue;
    }
    const std::string key = line.substr(0, line.find(' '));
    INFO(section << "." << key);
    CHECK(find_setting(section, key) != nullptr);
    CHECK(seen.insert(section + "." + key).second);
  }
  CHECK(seen.size() == setting_rows().size());
}

TEST_CASE("the rows hold together") {
  std::set<std::string> names;
  for (const SettingRow& row : setting_rows()) {
    const std::string name = std::string(row.section) + "." + std::string(row.key);
    INFO(name);
    const SectionRow* section = find_section(row.section);
    REQUIRE(section != nullptr);
    CHECK(names.insert(name).second);
    CHECK(row.doc.ends_with('.'));
    CHECK_FALSE(example_text(row).empty());

    Settings settings;
    section->add(settings);
    const Field field = row.field(settings, 0);
    REQUIRE_FALSE(std::holds_alternative<std::monostate>(field));
    if (const auto* number = std::get_if<std::uint32_t*>(&field)) {
      CHECK(row.most <= std::numeric_limits<std::uint32_t>::max());
      CHECK(**number >= row.least);
      CHECK(**number <= row.most);
    } else if (const auto* large = std::get_if<std::uint64_t*>(&field)) {
      CHECK(row.most <= std::uint64_t{std::numeric_limits<std::int64_t>::max()});
      CHECK(**large >= row.least);
      CHECK(**large <= row.most);
    } else {
      CHECK(row.most == 0);
    }
    if (std::get_if<ChoiceField>(&field) == nullptr) continue;
    CHECK(row.sample.empty());
  }
}

TEST_CASE("each row has a field of its own") {
  Settings settings;
  for (const SectionRow& section : section_rows()) section.add(settings);
  std::set<const void*> fields;
  for (const SettingRow& row : setting_rows()) {
    INFO(row.section << "." << row.key);
    const void* address =
        std::visit(Overloaded{[](std::monostate) -> const void* { return nullptr; },
                              [](const ChoiceField& choice) -> const void* { return choice.index; },
                              [](const auto* field) -> const void* { return field; }},
                   row.field(settings, 0));
    REQUIRE(address != nullptr);
    CHECK(fields.insert(address).second);
  }
}

}  // namespace
}  // namespace azimuth
