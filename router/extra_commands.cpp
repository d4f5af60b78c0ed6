#include "router/extra_commands.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace azimuth {
namespace {

constexpr std::pair<std::string_view, std::uint32_t> kFlagNames[] = {
    {"write", kWrite},
    {"readonly", kReadonly},
    {"denyoom", kDenyOom},
    {"admin", kAdmin},
    {"pubsub", kPubsub},
    {"noscript", kNoScript},
    {"blocking", kBlocking},
    {"loading", kLoading},
    {"stale", kStale},
    {"skip_monitor", kSkipMonitor},
    {"skip_slowlog", kSkipSlowlog},
    {"asking", kAsking},
    {"fast", kFast},
    {"no_auth", kNoAuth},
    {"no_mandatory_keys", kNoMandatoryKeys},
    {"no_async_loading", kNoAsyncLoading},
    {"no_multi", kNoMulti},
    {"movablekeys", kMovableKeys},
    {"allow_busy", kAllowBusy},
    {"may_replicate", kMayReplicate},
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

std::int16_t clamp16(int value) {
  using Limits = std::numeric_limits<std::int16_t>;
  return static_cast<std::int16_t>(
      std::clamp(value, static_cast<int>(Limits::min()), static_cast<int>(Limits::max())));
}

// What a newer server adds to CLIENT is about the connection (SETINFO, NO-TOUCH, CAPA), and to
// CLUSTER, where it is for administrators, about who owns what.
Handling handling_of(std::uint32_t flags, const CommandRow* container) {
  if (container != nullptr && is(*container, CommandId::kClient)) return Handling::kClient;
  if (container != nullptr && is(*container, CommandId::kCluster) && (flags & kAdmin) != 0) {
    return Handling::kRefused;
  }
  return (flags & kBlocking) != 0 ? Handling::kBlocking : Handling::kForward;
}

}  // namespace

std::uint32_t command_flag(std::string_view name) noexcept {
  for (const auto& [known, flag] : kFlagNames) {
    if (known == name) return flag;
  }
  return 0;
}

ExtraCommands::ExtraCommands(std::span<const BackendCommand> commands) {
  for (const BackendCommand& command : commands) {
    if (rows_.size() >= kCommandsMax) return;
    if (command.name.empty() || command.name.size() > kNameBytesMax) continue;
    std::string name = lower_case(command.name);
    const std::size_t bar = name.find('|');
    const CommandRow* container = find_command(std::string_view(name).substr(0, bar));
    if (bar == std::string::npos) {
      if (container != nullptr) continue;  // in the table
    } else if (container != nullptr) {
      if (!container->has_subcommands) continue;  // would never be looked up
      if (azimuth::find_subcommand(*container, std::string_view(name).substr(bar + 1)) != nullptr) {
        continue;
      }
    }
    if (by_name_.contains(name)) continue;

    std::uint32_t flags = kExtra;
    for (const std::string& flag : command.flags) flags |= command_flag(flag);
    const std::string_view stored = names_.emplace_back(std::move(name));
    CommandRow& row = rows_.emplace_back(
        CommandRow{.name = stored,
                   .flags = flags,
                   .arity = clamp16(command.arity),
                   .first_key = clamp16(command.first_key),
                   .last_key = clamp16(command.last_key),
                   .key_step = clamp16(command.key_step),
                   .id = kExtraCommandId,
                   .container = container != nullptr ? container->id : kExtraCommandId,
                   .place = Place::kPrimary,
                   .handling = handling_of(flags, container),
                   .has_subcommands = false});
    by_name_.emplace(stored, &row);
  }
  // A container of a module is listed before or after its subcommands.
  for (const std::string& name : names_) {
    const std::size_t bar = name.find('|');
    if (bar == std::string::npos) continue;
    const auto found = by_name_.find(std::string_view(name).substr(0, bar));
    if (found != by_name_.end()) found->second->has_subcommands = true;
  }
}

const CommandRow* ExtraCommands::find(std::string_view name) const noexcept {
  if (by_name_.empty() || name.size() > kNameBytesMax) return nullptr;
  if (name.find('|') != std::string_view::npos) return nullptr;  // a subcommand's full name
  std::array<char, kNameBytesMax> buffer;
  std::transform(name.begin(), name.end(), buffer.begin(), lower);
  return find_lower({buffer.data(), name.size()});
}

const CommandRow* ExtraCommands::find_subcommand(const CommandRow& container,
                                                 std::string_view sub) const noexcept {
  const std::size_t size = container.name.size() + 1 + sub.size();
  if (by_name_.empty() || size > kNameBytesMax) return nullptr;
  std::array<char, kNameBytesMax> buffer;
  auto end = std::copy(container.name.begin(), container.name.end(), buffer.begin());
  *end++ = '|';
  std::transform(sub.begin(), sub.end(), end, lower);
  return find_lower({buffer.data(), size});
}

const CommandRow* ExtraCommands::find_lower(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace azimuth
