#include "proxy/control/status_fields.h"

namespace azimuth {

std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  }
  return text;
}

std::string text_of(const Json& object, const char* key) {
  if (!object.is_object()) return "-";
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "-";
  if (it->is_string()) {
    const auto text = it->get<std::string>();
    return text.empty() ? "-" : printable(text);
  }
  return it->dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json& member(const Json& object, const char* key) {
  static const Json nothing;
  if (!object.is_object()) return nothing;
  const auto it = object.find(key);
  return it == object.end() ? nothing : *it;
}

bool is_true(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_boolean() && value.get<bool>();
}

double number_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_number() ? value.get<double>() : 0;
}

std::string names_of(const Json& object, const char* key) {
  std::string out;
  const Json& list = member(object, key);
  if (list.is_array()) {
    for (const Json& each : list) {
      if (each.is_string()) out += (out.empty() ? "" : ", ") + printable(each.get<std::string>());
    }
  }
  return out.empty() ? "-" : out;
}

}  // namespace azimuth
