#include "conf/place.h"

#include <algorithm>

#include "conf/limits.h"
#include "conf/quoted.h"

namespace azimuth {
namespace {

constexpr std::string_view kEnvironment = "env:";
constexpr std::string_view kFile = "file:";

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

std::optional<PlaceSource> place_source(std::string_view text) {
  if (text.starts_with(kEnvironment)) {
    return PlaceSource{PlaceSource::Kind::kEnvironment, text.substr(kEnvironment.size())};
  }
  if (text.starts_with(kFile)) {
    return PlaceSource{PlaceSource::Kind::kFile, text.substr(kFile.size())};
  }
  return std::nullopt;
}

std::string_view fault_of(const PlaceSource& source) {
  if (source.kind == PlaceSource::Kind::kFile) {
    return source.name.starts_with('/')
               ? ""
               : "names no file: write its whole path, such as \"file:/etc/podinfo/zone\"";
  }
  const bool sound = !source.name.empty() && !is_digit(source.name.front()) &&
                     std::all_of(source.name.begin(), source.name.end(),
                                 [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
  return sound ? ""
               : "names no environment variable: write letters, digits and underscores, such as "
                 "\"env:AZ\"";
}

bool is_name(std::string_view text) noexcept {
  const bool sound = std::all_of(text.begin(), text.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '.' || c == '_' || c == '-';
  });
  return sound && !text.empty() && text.size() <= kNameBytesMax;
}

Result<std::string> place_name(std::string_view found) {
  while (!found.empty() && is_blank(found.front())) found.remove_prefix(1);
  while (!found.empty() && is_blank(found.back())) found.remove_suffix(1);
  const std::string_view name = found.substr(found.rfind('/') + 1);
  if (is_name(name)) return std::string(name);
  const auto wrong = [](std::string message) {
    return make_error(ErrorCode::kInvalid, Fault::kSelf, std::move(message));
  };
  if (found.empty()) return wrong("it is empty");
  // (Not every file is a text.)
  std::string shown(found.substr(0, kQuotedInErrorBytesMax + 1));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return (c & 0x80) != 0; }, '?');
  return wrong("it holds " + quoted_in_error(shown) + ", which is no name: 1 to " +
               std::to_string(kNameBytesMax) + " letters, digits, dots, underscores and hyphens");
}

}  // namespace azimuth
