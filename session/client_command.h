// The CLIENT command over azimuth's own clients: what a line of CLIENT LIST says, which clients a
// filter means, and how the options read, with Redis 7.0's own words for what it refuses.
//
// A parser takes the whole command ("CLIENT" first, its arity checked) and gives what was asked, or
// an error whose message is the whole reply, "-ERR ...\r\n". Errors come in Redis's order, with one
// exception that is not knowable here: "No such user" of CLIENT KILL USER (see parse_client_kill).
//
// Redis source: networking.c clientCommand, catClientInfoString. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"

namespace azimuth {

// The letters of "flags=", in their order there; none of them is written "N".
enum ClientFlag : std::uint32_t {
  kClientMonitor = 1U << 0,           // O
  kClientReplica = 1U << 1,           // S
  kClientMaster = 1U << 2,            // M
  kClientPubsub = 1U << 3,            // P
  kClientMulti = 1U << 4,             // x
  kClientBlocked = 1U << 5,           // b
  kClientTracking = 1U << 6,          // t
  kClientBrokenRedirect = 1U << 7,    // R
  kClientBcast = 1U << 8,             // B
  kClientDirtyCas = 1U << 9,          // d
  kClientCloseAfterReply = 1U << 10,  // c
  kClientUnblocked = 1U << 11,        // u
  kClientCloseAsap = 1U << 12,        // A
  kClientUnixSocket = 1U << 13,       // U
  kClientReadonly = 1U << 14,         // r
  kClientNoEvict = 1U << 15,          // e
};

enum class ClientType : std::uint8_t { kNormal, kReplica, kMaster, kPubsub };

// "normal", "slave", "replica", "pubsub", "master", in any case.
std::optional<ClientType> parse_client_type(std::string_view text) noexcept;

// One client as CLIENT LIST shows it. Borrows its texts; ages in seconds, sizes in bytes.
struct ClientDescription {
  std::uint64_t id = 0;
  std::string_view addr;   // "127.0.0.1:5000", "[::1]:5000", "/run/redis.sock:0"
  std::string_view laddr;  // the same of our end
  int fd = -1;
  std::string_view name;
  std::int64_t age = 0;
  std::int64_t idle = 0;
  std::uint32_t flags = 0;  // of ClientFlag
  int db = 0;
  int sub = 0;
  int psub = 0;
  int ssub = 0;
  int multi = -1;  // commands queued; -1 outside MULTI
  std::uint64_t qbuf = 0;
  std::uint64_t qbuf_free = 0;
  std::uint64_t argv_mem = 0;
  std::uint64_t multi_mem = 0;
  std::uint64_t rbs = 0;
  std::uint64_t rbp = 0;
  std::uint64_t obl = 0;
  std::uint64_t oll = 0;
  std::uint64_t omem = 0;
  std::uint64_t tot_mem = 0;
  std::string_view events = "r";
  std::string_view cmd;  // full name, "client|list"; empty: no command yet, shown as NULL
  std::string_view user = "default";
  std::int64_t redir = -1;
  int resp = 2;

  ClientType type() const noexcept;
};

// The line without its '\n'.
void append_client_line(std::string& out, const ClientDescription& client);

struct ClientListRequest {
  std::optional<ClientType> type;
  bool by_id = false;  // only these, in this order, a client as often as it is named
  std::vector<std::int64_t> ids;
};
Result<ClientListRequest> parse_client_list(std::span<const std::string_view> args);

// Which clients CLIENT KILL means.
struct ClientFilter {
  bool old_form = false;  // CLIENT KILL addr: answers +OK or an error instead of a number
  bool skip_self = true;  // the old form may kill its own client
  std::uint64_t id = 0;   // 0: any
  std::optional<ClientType> type;
  std::optional<std::string> addr;
  std::optional<std::string> laddr;
  std::optional<std::string> user;

  bool matches(const ClientDescription& client, std::uint64_t self_id) const noexcept;
};
// Takes any user for one that exists: only Redis knows. To have its word, send it the same new-form
// command with "ID 9223372036854775807" added, as the user: it says what it would refuse (NOPERM,
// "No such user 'x'" in its place among the other errors) and matches nobody, since of several ID
// options the last counts.
Result<ClientFilter> parse_client_kill(std::span<const std::string_view> args);
// `killed` clients matched.
void append_kill_reply(std::string& out, const ClientFilter& filter, std::size_t killed);

enum class ReplyMode : std::uint8_t { kOn, kOff, kSkip };
Result<ReplyMode> parse_client_reply(std::span<const std::string_view> args);

struct UnblockRequest {
  std::int64_t id = 0;
  bool with_error = false;  // the blocked client gets -UNBLOCKED instead of its timeout's answer
};
Result<UnblockRequest> parse_client_unblock(std::span<const std::string_view> args);

// CLIENT NO-EVICT ON|OFF.
Result<bool> parse_client_no_evict(std::span<const std::string_view> args);

// What CLIENT SETNAME and HELLO SETNAME take: printable ASCII without blanks. Empty takes the name
// away.
bool valid_client_name(std::string_view name) noexcept;
inline constexpr std::string_view kClientNameErrorReply =
    "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";

}  // namespace azimuth
