#include "proxy/control/places.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "conf/place.h"
#include "conf/quoted.h"
#include "proxy/control/reload.h"

namespace azimuth {
namespace {

Result<std::string> look_up(const PlaceSource& source) {
  const std::string name(source.name);
  if (source.kind == PlaceSource::Kind::kFile) {
    std::error_code error;
    const std::filesystem::file_status found = std::filesystem::status(name, error);
    // (A pipe would be waited for, and a device has no end.)
    if (!std::filesystem::exists(found) || std::filesystem::is_regular_file(found)) {
      return read_settings_file(name);
    }
    return make_error(ErrorCode::kInvalid, Fault::kSelf, "it is not a regular file");
  }
  const char* const value = std::getenv(name.c_str());
  if (value != nullptr) return std::string(value);
  return make_error(ErrorCode::kInvalid, Fault::kSelf,
                    "there is no such variable in the environment");
}

}  // namespace

void read_places(SettingsResult& result) {
  if (!result.ok()) return;
  NodeSettings& node = result.settings.node;
  for (const auto& [key, field] :
       {std::pair<std::string_view, std::string*>{"region", &node.region}, {"zone", &node.zone}}) {
    const std::string text = *field;
    const auto source = place_source(text);
    if (!source) continue;
    Result<std::string> name = look_up(*source);
    if (name.ok()) name = place_name(*name);
    if (name.ok()) {
      *field = *name;
    } else {
      result.errors.push_back(
          {result.file_positions["node." + std::string(key)],
           std::string(key) + " = " + quoted_in_error(text) + ": " + name.error().message});
    }
  }
}

}  // namespace azimuth
