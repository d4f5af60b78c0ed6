// Any text as a settings file and as an override: no crash, errors that name a position and nothing
// else than text, and settings without errors that the sample's own reader takes again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"
#include "conf/settings.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace azimuth;
  std::string_view text(reinterpret_cast<const char*>(data), size);

  // What follows a NUL byte is a list of overrides, one a line.
  std::vector<std::string> overrides;
  const std::size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    std::string_view rest = text.substr(nul + 1);
    text = text.substr(0, nul);
    while (!rest.empty() && overrides.size() < 32) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      overrides.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }

  const SettingsResult result = parse_settings(text, "fuzz.toml", overrides, "host");
  AZIMUTH_CHECK(result.errors.size() <= kSettingsErrorsMax + 1);
  for (const SettingsError& error : result.errors) {
    AZIMUTH_CHECK(!error.message.empty());
    AZIMUTH_CHECK(error.position.starts_with("fuzz.toml:") || error.position.starts_with("--set "));
  }
  if (!result.ok()) return 0;

  // A TOML text is UTF-8; an override may hold any bytes, which TOML could not give back.
  for (const std::string& one : overrides) {
    if (std::any_of(one.begin(), one.end(), [](char c) { return c < 0; })) return 0;
  }

  const Settings& settings = result.settings;
  AZIMUTH_CHECK(!settings.listen.empty() && settings.listen.size() <= kListenersMax);
  AZIMUTH_CHECK(settings.redis || settings.cluster);
  AZIMUTH_CHECK(settings.node.workers >= 1 && settings.node.workers <= kWorkersMax);
  AZIMUTH_CHECK(diff(settings, settings).empty());

  // Every value, written as the diff writes it and given as an override, is that value again.
  std::vector<std::string> again;
  for (const SettingChange& change : diff(Settings{}, settings)) {
    if (change.key == "redis.password") return 0;  // shown as ***
    if (!change.after.empty()) again.push_back(change.key + "=" + change.after);
  }
  const SettingsResult second = parse_settings("", "", again, "host");
  AZIMUTH_CHECK(second.ok());
  AZIMUTH_CHECK(diff(settings, second.settings).empty());
  return 0;
}
