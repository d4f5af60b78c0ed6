// The settings of its Redis that a cluster needs: what they are, what they were, and what is still
// to be changed. Also what a refused command means for the operator.
//
// Invariants: a setting is changed only when its value was read, is not what is needed, and was
// remembered; one that this Redis does not have is left alone. What was changed is given back once,
// but for what would take a fence down or throw a backlog away. Pure; owned by a RedisPilot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace azimuth {

// Why a command was refused and what to do about it; empty for what passes by itself (LOADING,
// BUSY). `what`: the command, or the setting, that was refused.
std::string explain_refusal(std::string_view what, std::string_view error);

class PilotSettings {
 public:
  enum class Rule : std::uint8_t {
    kEqual,
    kAtLeast,  // a number that may be larger; never made smaller again
    kAtMost,   // ... that shall be this small, and is not given back either
  };
  struct Change {
    std::string name, value;
    std::string text;  // for the log: "name from to"
  };

  void need(std::string name, std::string value, Rule rule = Rule::kEqual, bool secret = false);

  std::vector<std::string> names() const;
  // CONFIG GET's answer; none: this Redis has no such setting.
  void on_value(std::string_view name, std::optional<std::string_view> value);
  // CONFIG SET of a due change has succeeded.
  void on_changed(std::string_view name);
  // What is not as it should be, as far as it is known.
  std::vector<Change> due() const;
  // What is to be given back.
  std::vector<Change> former() const;
  // Another process: it has read its own configuration.
  void forget();

 private:
  struct Setting {
    std::string name, needed;
    Rule rule = Rule::kEqual;
    bool secret = false;
    std::optional<std::string> value;   // as last read
    std::optional<std::string> former;  // before the first change
  };
  Setting* find(std::string_view name);

  std::vector<Setting> settings_;
};

}  // namespace azimuth
