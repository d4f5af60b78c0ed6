#include "health/redis_pilot_settings.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "health/redis_state.h"

namespace azimuth {

namespace {

// An error's text goes into logs and /status; the rest of a long one helps nobody.
constexpr std::size_t kErrorBytesMax = 200;

std::optional<std::int64_t> number_in(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

std::string explain_refusal(std::string_view what, std::string_view error) {
  // The arguments tell nothing, and differ from one try to the next.
  error = error.substr(0, error.find(", with args"));
  const std::string said = std::string(error.substr(0, kErrorBytesMax));
  const std::string refused = "Redis refuses " + std::string(what) + " (" + said + "): ";
  switch (refusal_of(error)) {
    case RedisRefusal::kLoading:
    case RedisRefusal::kBusy:
    case RedisRefusal::kMasterDown:
    case RedisRefusal::kMisconf:
      return {};
    case RedisRefusal::kNoAuth:
      return refused + "set redis.password (and redis.username) to what it accepts";
    case RedisRefusal::kNoPerm:
      return refused +
             "its user needs the ACL rules +config +info +role +replicaof +psync +replconf";
    case RedisRefusal::kNone:
    case RedisRefusal::kOther:
      break;
  }
  if (contains(error, "unknown command")) {
    return refused + "take the rename-command for it out of Redis's configuration";
  }
  if (contains(error, "protected config")) {
    return refused + "set enable-protected-configs, or the value itself, in its configuration";
  }
  if (contains(error, "cluster mode")) {
    return refused + "set cluster-enabled no in its configuration";
  }
  return refused + "azimuth cannot drive this Redis until it takes the command; it tries again";
}

void PilotSettings::need(std::string name, std::string value, Rule rule, bool secret) {
  Setting* setting = find(name);
  if (setting == nullptr) setting = &settings_.emplace_back();
  setting->name = std::move(name);
  setting->needed = std::move(value);
  setting->rule = rule;
  setting->secret = secret;
}

std::vector<std::string> PilotSettings::names() const {
  std::vector<std::string> names;
  for (const Setting& setting : settings_) names.push_back(setting.name);
  return names;
}

void PilotSettings::on_value(std::string_view name, std::optional<std::string_view> value) {
  Setting* setting = find(name);
  if (setting == nullptr) return;
  setting->value.reset();
  if (value) setting->value = std::string(*value);
}

void PilotSettings::on_changed(std::string_view name) {
  Setting* setting = find(name);
  if (setting == nullptr) return;
  if (!setting->former) setting->former = setting->value;
  setting->value = setting->needed;
}

std::vector<PilotSettings::Change> PilotSettings::due() const {
  std::vector<Change> changes;
  for (const Setting& setting : settings_) {
    if (!setting.value || *setting.value == setting.needed) continue;
    if (setting.rule == Rule::kAtLeast &&
        number_in(*setting.value).value_or(0) >= number_in(setting.needed).value_or(0)) {
      continue;
    }
    if (setting.rule == Rule::kAtMost &&
        number_in(*setting.value).value_or(0) <= number_in(setting.needed).value_or(0)) {
      continue;
    }
    const auto shown = [&](const std::string& value) {
      if (value.empty()) return std::string("\"\"");
      return setting.secret ? "(secret)" : value;
    };
    changes.push_back({setting.name, setting.needed,
                       setting.name + " " + shown(*setting.value) + " " + shown(setting.needed)});
  }
  return changes;
}

// min-replicas-max-lag 0 would switch the fence off, and a smaller backlog would drop what a
// replica still needs to come back by a partial sync.
std::vector<PilotSettings::Change> PilotSettings::former() const {
  std::vector<Change> changes;
  for (const Setting& setting : settings_) {
    if (!setting.former || setting.rule != Rule::kEqual) continue;
    if (setting.name == "min-replicas-max-lag" && *setting.former == "0") continue;
    changes.push_back({setting.name, *setting.former, setting.name});
  }
  return changes;
}

void PilotSettings::forget() {
  for (Setting& setting : settings_) {
    setting.value.reset();
    setting.former.reset();
  }
}

PilotSettings::Setting* PilotSettings::find(std::string_view name) {
  const auto found = std::find_if(settings_.begin(), settings_.end(),
                                  [&](const Setting& setting) { return setting.name == name; });
  return found == settings_.end() ? nullptr : &*found;
}

}  // namespace azimuth
