// The command table: what azimuth knows about each command of Redis 7.0, one row a command, in
// commands.inc. What the table does not know (modules, newer servers) comes from the backend, as
// ExtraCommands (extra_commands.h).
//
// Invariants: the rows never change and live as long as the process, so that a row may be kept as a
// pointer; a row's id is its index in all_commands(). The table decides routing and handling only:
// Redis itself judges arity, syntax and unknown names, and answers them. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace azimuth {

// Redis's own flags under COMMAND's names, and two that COMMAND does not say.
enum CommandFlag : std::uint32_t {
  kNoFlags = 0,
  kWrite = 1U << 0,
  kReadonly = 1U << 1,
  kDenyOom = 1U << 2,
  kAdmin = 1U << 3,
  kPubsub = 1U << 4,
  kNoScript = 1U << 5,
  kBlocking = 1U << 6,
  kLoading = 1U << 7,
  kStale = 1U << 8,
  kSkipMonitor = 1U << 9,
  kSkipSlowlog = 1U << 10,
  kAsking = 1U << 11,
  kFast = 1U << 12,
  kNoAuth = 1U << 13,
  kNoMandatoryKeys = 1U << 14,
  kNoAsyncLoading = 1U << 15,
  kNoMulti = 1U << 16,
  kMovableKeys = 1U << 17,
  kAllowBusy = 1U << 18,
  kMayReplicate = 1U << 19,  // may feed the replication stream; CLIENT PAUSE WRITE postpones it
  kInquiry = 1U << 20,       // azimuth's: not readonly to Redis, and yet it only asks
  kExtra = 1U << 21,         // azimuth's: known from the backend's COMMAND only
};

// Which member may execute it. The reads that any replica may serve are an allowlist.
enum class Place : std::uint8_t {
  kAnywhere,   // a read that any current replica may serve
  kPrimary,    // it writes, or means something only where writes are taken
  kNodeLocal,  // its answer or effect belongs to one node; the primary's is the one that counts
};

// Who deals with it, and how.
enum class Handling : std::uint8_t {
  kForward,  // as it is, on a shared connection
  kAuth,
  kHello,
  kClient,  // CLIENT and its subcommands (and those only newer servers have)
  kReset,
  kQuit,
  kPing,
  kEcho,
  kWait,
  kAzimuth,
  kInfo,
  kSelect,
  kMulti,
  kExec,
  kDiscard,
  kWatch,
  kUnwatch,
  kBlocking,         // may block: a dedicated connection
  kBlockingIfAsked,  // XREAD, XREADGROUP: blocks with BLOCK only (asks_to_block)
  kSubscribe,
  kUnsubscribe,
  kMonitor,
  kSync,  // SYNC, PSYNC, REPLCONF
  kScriptLoad,
  kScriptFlush,
  kEvalsha,    // EVALSHA, EVALSHA_RO: may meet NOSCRIPT
  kAclChange,  // may change who may log in, or what they may do
  kUrgent,     // must not queue behind the stuck script that it asks about or kills
  kPinned,     // SCRIPT DEBUG: changes the connection itself, which then belongs to this client
  kRefused,    // would take control of replication away from azimuth
};

struct CommandRow {
  std::string_view name;  // lower case; a subcommand's is "container|sub"
  std::uint32_t flags;    // CommandFlag
  std::int16_t arity;     // as in COMMAND: the exact argc, or -(the least argc)
  std::int16_t first_key;
  std::int16_t last_key;  // negative: counted from the end
  std::int16_t key_step;  // 0: no keys at fixed places
  std::uint16_t id;
  std::uint16_t container;  // the id of the container; of itself, if it is no subcommand
  Place place;
  Handling handling;
  bool has_subcommands;
};

// The index of each row, by name: CommandId::kGet, CommandId::kClientList.
enum class CommandId : std::uint16_t {
#define ROW(ident, ...) k##ident,
#include "router/commands.inc"
#undef ROW
  kCount
};

inline constexpr std::size_t kCommandCount = static_cast<std::size_t>(CommandId::kCount);
// The id that every command outside the table shares, so that counters by id have one row more.
inline constexpr std::uint16_t kExtraCommandId = static_cast<std::uint16_t>(kCommandCount);
inline constexpr std::size_t kCommandIdCount = kCommandCount + 1;

constexpr bool has_flag(const CommandRow& row, CommandFlag flag) noexcept {
  return (row.flags & flag) != 0;
}
constexpr bool is(const CommandRow& row, CommandId id) noexcept {
  return row.id == static_cast<std::uint16_t>(id);
}

std::span<const CommandRow> all_commands() noexcept;
const CommandRow& command_row(CommandId id) noexcept;

// The top-level command of that name, in any case; null if there is none. About 35 instructions.
const CommandRow* find_command(std::string_view name) noexcept;

// The subcommand `sub` of `container`, in any case; null if there is none.
const CommandRow* find_subcommand(const CommandRow& container, std::string_view sub) noexcept;

constexpr bool arity_ok(const CommandRow& row, std::size_t argc) noexcept {
  return row.arity >= 0 ? argc == static_cast<std::size_t>(row.arity)
                        : argc >= static_cast<std::size_t>(-row.arity);
}

// Whether these arguments (the name first) ask Redis to block. `args` may be only the beginning of
// a long command: what could still ask counts as asking, since a blocked shared connection is worse
// than a needless dedicated one.
bool asks_to_block(const CommandRow& row, std::span<const std::string_view> args) noexcept;

// Whether it may be sent again when its reply was lost, because it only asked. A blocking read may
// not: a repeated XREAD ... BLOCK 0 STREAMS s $ would miss what arrived in between.
constexpr bool repeatable(const CommandRow& row, bool blocks = false) noexcept {
  return (row.flags & (kReadonly | kInquiry)) != 0 &&
         (row.flags & (kWrite | kMayReplicate | kExtra)) == 0 && !blocks;
}

// Equal but for the case of A-Z, as strcasecmp in the C locale, by which Redis compares names.
bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;

}  // namespace azimuth
