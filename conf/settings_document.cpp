// The only file that knows toml++.
#include "conf/settings_document.h"

#include <algorithm>
#include <set>

#include "conf/limits.h"

// Without exceptions, header only, and with nesting bounded well below what a stack holds: no key
// of ours nests deeper than a list in a table. The library's assertions are left out, and with them
// what it has the compiler assume of them in release builds: 3.3 asserts of malformed headers such
// as "[=" what it then checks and reports as any other mistake (its pull request 301).
#undef NDEBUG
#define TOML_ASSERT(expression) static_assert(true)
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_MAX_NESTED_VALUES 16
#include <toml++/toml.h>

namespace azimuth {
namespace {

TextPosition position_of(const toml::source_region& region) {
  return {std::max<std::uint32_t>(region.begin.line, 1),
          std::max<std::uint32_t>(region.begin.column, 1)};
}

std::string_view type_name_of(toml::node_type type) {
  switch (type) {
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "a switch";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::table:
      return "a table";
    case toml::node_type::date:
    case toml::node_type::time:
    case toml::node_type::date_time:
      return "a date or time";
    case toml::node_type::none:
      break;
  }
  return "nothing";
}

TomlValue value_of(const toml::node& node) {
  TomlValue value;
  value.type_name = type_name_of(node.type());
  value.at = position_of(node.source());
  if (const auto* text = node.as_string()) {
    value.kind = TomlValue::Kind::kText;
    value.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    value.kind = TomlValue::Kind::kInteger;
    value.integer = integer->get();
  } else if (const auto* boolean = node.as_boolean()) {
    value.kind = TomlValue::Kind::kBoolean;
    value.boolean = boolean->get();
  } else if (const auto* array = node.as_array()) {
    value.kind = TomlValue::Kind::kList;
    for (const toml::node& element : *array) value.list.push_back(value_of(element));
  }
  return value;
}

void add_entries(const toml::table& table, std::string_view section, std::size_t index,
                 SettingsDocument& document) {
  for (const auto& [key, node] : table) {
    document.entries.push_back({std::string(section), index, std::string(key.str()),
                                position_of(key.source()), value_of(node)});
  }
}

void add_table(const toml::table& table, const toml::key& key, SettingsDocument& document) {
  const std::string_view name = key.str();
  document.sections.push_back({std::string(name), false, 0, position_of(key.source())});
  add_entries(table, name, 0, document);
}

void add_tables(const toml::array& tables, std::string_view name, SettingsDocument& document) {
  std::size_t index = 0;
  for (const toml::node& element : tables) {
    const toml::table& table = *element.as_table();
    document.sections.push_back({std::string(name), true, index, position_of(table.source())});
    add_entries(table, name, index, document);
    ++index;
  }
}

// The text in lines that can be replaced one by one, so that positions stay what they were.
std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (true) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

std::string join_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) {
    if (&line != &lines.front()) text += '\n';
    text += line;
  }
  return text;
}

bool is_header(std::string_view line) {
  const std::size_t first = line.find_first_not_of(" \t");
  return first != std::string_view::npos && line[first] == '[';
}

// What the library says, and what to write instead. Its words quote a key or one character at most,
// never a value.
struct Advice {
  std::string_view said;
  std::string_view advice;
};
constexpr Advice kAdvice[] = {
    {"integer: expected digit", "write the number in digits alone, without a unit"},
    {"string: unescaped control", "a closing quote is missing"},
    {"string: encountered end-of-file", "a closing quote is missing"},
    {"array: encountered end-of-file", "a closing ] is missing"},
    {"expected '=', saw", "write key = value"},
    {"expected value, saw", "write a value after the ="},
    {"key-value pair: encountered end-of-file", "write key = value"},
    {"table header: encountered end-of-file", "write [table] or [[listen]]"},
    {"table header: expected ']'", "write [table] or [[listen]]"},
    {"expected bare key starting character", "write [table] or [[listen]]"},
    {"expected a comment or whitespace", "write one key = value in a line, and text in quotes"},
};

bool is_repetition(std::string_view description) {
  return description.find("cannot redefine") != std::string_view::npos;
}

std::string explain(std::string_view description, std::string_view line,
                    const std::vector<std::string_view>& secret_keys) {
  const auto says = [&](std::string_view words) {
    return description.find(words) != std::string_view::npos;
  };
  constexpr std::string_view kPreamble = "Error while parsing ";
  std::string words = "no TOML: ";
  words += description.starts_with(kPreamble) ? description.substr(kPreamble.size()) : description;
  if (says("cannot redefine existing table") || says("cannot redefine existing array")) {
    return words + ": write each table once ([[listen]] alone may be repeated)";
  }
  if (is_repetition(description)) return words + ": write each key once in its table";
  for (const std::string_view key : secret_keys) {
    if (line.find(key) == std::string_view::npos) continue;
    return "no TOML: write " + std::string(key) +
           " = '...', the text in quotes (the line is not shown: it may hold a secret)";
  }
  if (says("could not determine value type")) {
    return "no TOML: write text in quotes, a number in digits alone, a switch as true or false";
  }
  if (says("not representable")) return "no TOML: the number is too large";
  for (const auto& [said, advice] : kAdvice) {
    if (says(said)) return words + ": " + std::string(advice);
  }
  return words;
}

// Takes the line of a syntax error out of the text. In a header's place comes a table of no
// meaning, lest its keys end up in the table above; its name says so to skip_line().
constexpr std::string_view kBrokenTable =
    "\x7F"
    "broken";
void blank(std::string& line, std::size_t number) {
  if (is_header(line)) {
    line = "[\"\\u007Fbroken" + std::to_string(number) + "\"]";
  } else {
    line.clear();
  }
}

// Dotted keys nest a table for each dot, and a tree that deep is not destroyed on a small stack.
std::size_t dots_in(std::string_view line) {
  return static_cast<std::size_t>(std::count(line.begin(), line.end(), '.'));
}

void add_nodes(const toml::table& root, SettingsDocument& document) {
  for (const auto& [key, node] : root) {
    if (key.str().starts_with(kBrokenTable)) continue;
    if (const auto* table = node.as_table()) {
      add_table(*table, key, document);
    } else if (node.is_array_of_tables()) {
      add_tables(*node.as_array(), key.str(), document);
    } else {
      document.entries.push_back(
          {{}, 0, std::string(key.str()), position_of(key.source()), value_of(node)});
    }
  }
}

}  // namespace

SettingsDocument read_document(std::string_view text,
                               const std::vector<std::string_view>& secret_keys) {
  SettingsDocument document;
  if (text.size() > kSettingsBytesMax) {
    document.errors.push_back({{},
                               "the settings are larger than " + std::to_string(kSettingsBytesMax) +
                                   " bytes: this is not the file you meant"});
    return document;
  }
  const std::vector<std::string> original = split_lines(text);
  for (std::uint32_t i = 0; i < original.size(); ++i) {
    if (dots_in(original[i]) <= kSettingsDotsPerLineMax) continue;
    document.errors.push_back(
        {{i + 1, 1}, "more dots than a setting has: write one key = value in a line"});
    return document;
  }
  std::vector<std::string> lines = original;
  std::set<std::size_t> blanked;
  while (true) {
    const toml::parse_result result = toml::parse(std::string_view(join_lines(lines)));
    if (result) {
      add_nodes(result.table(), document);
      return document;
    }
    const std::string_view description = result.error().description();
    const TextPosition at = position_of(result.error().source());
    const std::size_t line = std::min<std::size_t>(at.line, lines.size()) - 1;
    // A line that is sound by itself, or gone already: what is wrong began above it, as in a list
    // without its end, and cutting lines would only make up errors.
    const bool here = blanked.insert(line).second &&
                      (is_repetition(description) || !toml::parse(std::string_view(lines[line])));
    if (here || document.errors.empty()) {
      document.errors.push_back({at, explain(description, original[line], secret_keys)});
    }
    if (!here || document.errors.size() >= kSettingsSyntaxErrorsMax) return document;
    blank(lines[line], line);
  }
}

std::optional<TomlValue> read_value(std::string_view text) {
  const auto ends_line = [](char c) { return c == '\n' || c == '\r'; };
  const bool is_string = text.starts_with('"') || text.starts_with('\'');
  if (text.size() > kSettingsBytesMax || std::any_of(text.begin(), text.end(), ends_line) ||
      (!is_string && dots_in(text) > kSettingsDotsPerLineMax)) {
    return std::nullopt;
  }
  const toml::parse_result result = toml::parse("value = " + std::string(text));
  if (!result) return std::nullopt;
  const toml::node* node = result.table().get("value");
  if (node == nullptr) return std::nullopt;
  return value_of(*node);
}

}  // namespace azimuth
