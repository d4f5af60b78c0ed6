#include "conf/settings_assign.h"

#include <algorithm>

#include "conf/limits.h"
#include "conf/nearest.h"
#include "conf/place.h"
#include "conf/quoted.h"

namespace azimuth {
namespace {

bool is_control(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7F;
}

std::string wrong_type(const SettingRow& row, std::string_view wanted, const TomlValue& value) {
  return std::string(row.key) + " takes " + std::string(wanted) + ", not " +
         std::string(value.type_name) + ": write " + std::string(row.key) + " = " +
         example_text(row);
}

std::string check_text(const SettingRow& row, std::string_view text) {
  const std::string key(row.key);
  const std::string instead = ": write " + key + " = " + example_text(row);
  if (text.size() > kSettingTextBytesMax) {
    return key + " is longer than " + std::to_string(kSettingTextBytesMax) + " bytes" + instead;
  }
  if (row.text == TextRule::kSecret) return {};
  if (std::any_of(text.begin(), text.end(), is_control)) {
    return key + " holds a control character" + instead;
  }
  if (row.text == TextRule::kPath && text.empty()) return key + " is empty" + instead;
  if (row.text != TextRule::kName && row.text != TextRule::kPlace) return {};
  if (const auto source = place_source(text); source && row.text == TextRule::kPlace) {
    const std::string_view fault = fault_of(*source);
    return fault.empty() ? "" : key + " = " + quoted_in_error(text) + ' ' + std::string(fault);
  }
  if (!is_name(text)) {
    return key + " = " + quoted_in_error(text) + " is no name: write 1 to " +
           std::to_string(kNameBytesMax) +
           " letters, digits, dots, underscores and hyphens, such as " + example_text(row);
  }
  return {};
}

std::string check_number(const SettingRow& row, const TomlValue& value) {
  if (value.kind != TomlValue::Kind::kInteger) return wrong_type(row, "a whole number", value);
  const bool in_range = value.integer >= 0 &&
                        static_cast<std::uint64_t>(value.integer) >= row.least &&
                        static_cast<std::uint64_t>(value.integer) <= row.most;
  if (in_range) return {};
  const std::string given = row.octal && value.integer >= 0
                                ? number_text(static_cast<std::uint64_t>(value.integer), row.octal)
                                : std::to_string(value.integer);
  return std::string(row.key) + " = " + given + " is out of range: write a number from " +
         number_text(row.least, row.octal) + " to " + number_text(row.most, row.octal);
}

std::string check_endpoint(const SettingRow& row, std::string_view name, const Endpoint& endpoint) {
  const std::string start = std::string(name) + " = " + quoted_in_error(to_string(endpoint));
  const std::string instead = ": write one such as " + example_text(row);
  const bool peers = row.endpoint == EndpointRule::kPeer || row.endpoint == EndpointRule::kReached;
  if (endpoint.kind == Endpoint::Kind::kUnix) {
    return peers ? start + " is no address that another machine can reach" + instead : "";
  }
  if (row.endpoint != EndpointRule::kListen && endpoint.port == 0) {
    return start + " has the port 0, which only a listener may have" + instead;
  }
  const bool dialled =
      row.endpoint == EndpointRule::kConnect || row.endpoint == EndpointRule::kReached;
  if (dialled && is_wildcard(endpoint)) {
    return start + " is every interface and none to connect to" + instead;
  }
  return {};
}

// The endpoint, or what is wrong with the text.
Result<Endpoint> read_endpoint(const SettingRow& row, std::string_view name,
                               const TomlValue& value) {
  const auto wrong = [](std::string message) {
    return make_error(ErrorCode::kInvalid, Fault::kSelf, std::move(message));
  };
  if (value.kind != TomlValue::Kind::kText) {
    return wrong(wrong_type(row, "an address in quotes", value));
  }
  Result<Endpoint> endpoint = parse_endpoint(value.text);
  if (!endpoint) return wrong(std::string(name) + " " + endpoint.error().message);
  std::string message = check_endpoint(row, name, *endpoint);
  if (!message.empty()) return wrong(std::move(message));
  return endpoint;
}

std::optional<DocumentError> assign_endpoints(const SettingRow& row, const TomlValue& value,
                                              std::vector<Endpoint>& out) {
  const auto as_list = [&](const TomlValue& found) {
    return DocumentError{value.at, std::string(row.key) + " takes a list of addresses, not " +
                                       std::string(found.type_name) + ": write " +
                                       std::string(row.key) + " = " + example_text(row)};
  };
  if (value.kind != TomlValue::Kind::kList) return as_list(value);
  if (value.list.size() > kSeedsMax) {
    return DocumentError{value.at, std::string(row.key) + " holds more than " +
                                       std::to_string(kSeedsMax) + " addresses: a few are enough"};
  }
  std::vector<Endpoint> endpoints;
  for (const TomlValue& element : value.list) {
    const std::string name = std::string(row.key) + "[" + std::to_string(endpoints.size()) + "]";
    const Result<Endpoint> endpoint = read_endpoint(row, name, element);
    if (!endpoint) return DocumentError{element.at, endpoint.error().message};
    if (std::find(endpoints.begin(), endpoints.end(), *endpoint) != endpoints.end()) {
      return DocumentError{element.at, name + " is there twice: write each address once"};
    }
    endpoints.push_back(*endpoint);
  }
  out = std::move(endpoints);
  return std::nullopt;
}

std::string assign_choice(const SettingRow& row, const TomlValue& value,
                          const ChoiceField& choice) {
  if (value.kind != TomlValue::Kind::kText) return wrong_type(row, "a word in quotes", value);
  const auto found = std::find(choice.names.begin(), choice.names.end(), value.text);
  if (found != choice.names.end()) {
    *choice.index = static_cast<unsigned char>(found - choice.names.begin());
    return {};
  }
  std::string message =
      std::string(row.key) + " = " + quoted_in_error(value.text) + " is not known: write ";
  const std::string_view meant = nearest(value.text, choice.names);
  if (!meant.empty()) return message + quoted(meant);
  for (const std::string_view& name : choice.names) {
    if (&name != &choice.names.front()) {
      message += &name == &choice.names.back() ? " or " : ", ";
    }
    message += quoted(name);
  }
  return message;
}

std::optional<DocumentError> at(const TomlValue& value, std::string message) {
  if (message.empty()) return std::nullopt;
  return DocumentError{value.at, std::move(message)};
}

TomlValue text_value(std::string_view text) {
  TomlValue value;
  value.kind = TomlValue::Kind::kText;
  value.type_name = "a text";
  value.text = text;
  return value;
}

TomlValue list_value(std::string_view text) {
  TomlValue value;
  value.kind = TomlValue::Kind::kList;
  value.type_name = "a list";
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    value.list.push_back(text_value(item));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return value;
}

}  // namespace

std::optional<DocumentError> assign(const SettingRow& row, const Field& field,
                                    const TomlValue& value) {
  const auto number = [&](auto* out) {
    std::string message = check_number(row, value);
    if (message.empty()) *out = static_cast<std::remove_pointer_t<decltype(out)>>(value.integer);
    return at(value, std::move(message));
  };
  const auto flag = [&](auto* out) -> std::optional<DocumentError> {
    if (value.kind != TomlValue::Kind::kBoolean) {
      return at(value, wrong_type(row, "true or false", value));
    }
    *out = value.boolean;
    return std::nullopt;
  };
  return std::visit(
      Overloaded{
          [](std::monostate) -> std::optional<DocumentError> { AZIMUTH_CHECK(false); },
          [&](std::string* out) {
            std::string message = value.kind == TomlValue::Kind::kText
                                      ? check_text(row, value.text)
                                      : wrong_type(row, "a text in quotes", value);
            if (message.empty()) *out = value.text;
            return at(value, std::move(message));
          },
          [&](std::uint32_t* out) { return number(out); },
          [&](std::uint64_t* out) { return number(out); },
          [&](bool* out) { return flag(out); },
          [&](std::optional<bool>* out) { return flag(out); },
          [&](Endpoint* out) {
            Result<Endpoint> endpoint = read_endpoint(row, row.key, value);
            if (!endpoint) return at(value, endpoint.error().message);
            *out = *endpoint;
            return std::optional<DocumentError>();
          },
          [&](std::vector<Endpoint>* out) { return assign_endpoints(row, value, *out); },
          [&](const ChoiceField& choice) { return at(value, assign_choice(row, value, choice)); },
      },
      field);
}

TomlValue override_value(const Field& field, std::string_view text) {
  const bool is_list = std::holds_alternative<std::vector<Endpoint>*>(field);
  const bool is_text = std::holds_alternative<std::string*>(field) ||
                       std::holds_alternative<Endpoint*>(field) ||
                       std::holds_alternative<ChoiceField>(field);
  const bool bare = (is_text && !text.starts_with('"') && !text.starts_with('\'')) ||
                    (is_list && !text.starts_with('['));
  if (!bare) {
    if (const auto value = read_value(text)) return *value;
  }
  if (bare && is_list) return list_value(text);
  return text_value(text);
}

}  // namespace azimuth
