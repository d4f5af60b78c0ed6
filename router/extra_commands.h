// The commands that the backend's COMMAND lists and the table does not: those of modules and of
// newer servers.
//
// Invariants: immutable once built, shared by pointer among workers; a row lives as long as the set
// it came from; every row's id is kExtraCommandId. Nothing is assumed of a command that we do not
// know: it goes to the primary, and is never repeated. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "router/command_table.h"

namespace azimuth {

// One entry of COMMAND's reply. Subcommands are entries of their own, named "container|sub".
struct BackendCommand {
  std::string name;
  int arity = -1;
  std::vector<std::string> flags;  // as COMMAND names them; unknown ones are ignored
  int first_key = 0;
  int last_key = 0;
  int key_step = 0;
};

class ExtraCommands {
 public:
  // At most so many, and names at most so long; the rest is as unknown as if it were not listed.
  static constexpr std::size_t kCommandsMax = 4096;
  static constexpr std::size_t kNameBytesMax = 128;

  ExtraCommands() = default;
  explicit ExtraCommands(std::span<const BackendCommand> commands);
  ExtraCommands(const ExtraCommands&) = delete;  // rows point into names_
  ExtraCommands& operator=(const ExtraCommands&) = delete;

  // By name, in any case: a top-level command.
  const CommandRow* find(std::string_view name) const noexcept;
  // A subcommand of a container of the table, or of one of these.
  const CommandRow* find_subcommand(const CommandRow& container,
                                    std::string_view sub) const noexcept;
  std::size_t size() const noexcept { return rows_.size(); }

 private:
  const CommandRow* find_lower(std::string_view name) const noexcept;

  std::deque<std::string> names_;
  std::deque<CommandRow> rows_;
  std::unordered_map<std::string_view, CommandRow*> by_name_;
};

// COMMAND's name of a flag, or 0.
std::uint32_t command_flag(std::string_view name) noexcept;

// The row that says what to do with a request of at least one argument: the subcommand's where
// there is one, else the command's; null for a command that neither the table nor `extra` (may be
// null) knows. As in Redis, an unknown subcommand is its container's affair.
inline const CommandRow* resolve(std::span<const std::string_view> args,
                                 const ExtraCommands* extra) noexcept {
  const CommandRow* row = find_command(args[0]);
  if (row == nullptr && extra != nullptr) row = extra->find(args[0]);
  if (row == nullptr || !row->has_subcommands || args.size() < 2) return row;
  const CommandRow* sub = find_subcommand(*row, args[1]);
  if (sub == nullptr && extra != nullptr) sub = extra->find_subcommand(*row, args[1]);
  return sub != nullptr ? sub : row;
}

}  // namespace azimuth
