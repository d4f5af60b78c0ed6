// The settings of one node: text in, plain values or every error with its position out.
//
// Invariants: settings that parse without errors are complete and consistent: each value is in its
// range, each required key is there, and what one table needs of another holds. Defaults are the
// initialisers below and nowhere else; what a key means is a row of conf/settings_table.cpp.
// Durations and sizes are plain integers, their unit is the end of the key's name. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/consistency.h"
#include "conf/endpoint.h"
#include "conf/limits.h"

namespace azimuth {

struct NodeSettings {
  std::string id;  // never empty once parsed
  std::string region;
  std::string zone;
  std::string data_dir = "/var/lib/azimuth";
  std::uint32_t workers = 1;

  friend bool operator==(const NodeSettings&, const NodeSettings&) = default;
};

struct RedisSettings {
  Endpoint address;
  std::string username;
  std::string password;
  std::uint32_t connect_timeout_ms = 1000;

  friend bool operator==(const RedisSettings&, const RedisSettings&) = default;
};

struct ListenSettings {
  Endpoint address;
  Consistency consistency = Consistency::kCausal;
  std::uint32_t staleness_ms = 1000;  // of bounded-staleness
  Durability durability = Durability::kAsync;
  SessionScope session_scope = SessionScope::kByRole;  // see session_scope()
  std::optional<bool> allow_sync;                      // see allows_sync()
  std::uint32_t unix_mode = 0660;

  friend bool operator==(const ListenSettings&, const ListenSettings&) = default;
};

// Whether what crosses to another zone is compressed.
enum class Compression : std::uint8_t {
  kOff,
  kAuto,  // as hard as the CPU and the network make sense of, where it shrinks
  kOn,    // all of it, as hard as is allowed
};
inline constexpr std::array<std::string_view, 3> kCompressionNames = {"off", "auto", "on"};

struct PeerSettings {
  Endpoint address;
  Endpoint advertise;  // `address` where not set
  bool plaintext = false;
  Compression compression = Compression::kAuto;
  std::uint32_t compression_level_min = 1;
  std::uint32_t compression_level_max = 6;
  std::uint32_t compression_delay_ms = 5;
  // All three or none; none: links are made by the cluster key alone.
  std::string tls_cert_file;
  std::string tls_key_file;
  std::string tls_ca_file;

  friend bool operator==(const PeerSettings&, const PeerSettings&) = default;
};

struct AdminSettings {
  Endpoint address;

  friend bool operator==(const AdminSettings&, const AdminSettings&) = default;
};

enum class Partition : std::uint8_t {
  kPause,  // only the side with a majority takes writes
  kMerge,  // each side goes on; the writes are merged on healing
};
inline constexpr std::array<std::string_view, 2> kPartitionNames = {"pause", "merge"};

struct ClusterSettings {
  std::string name;
  std::vector<Endpoint> seeds;
  std::uint32_t bootstrap_expect = 1;
  std::string key_file;
  Partition partition = Partition::kPause;
  std::optional<bool> voter;  // see votes()
  std::uint32_t lease_ms = 1000;
  std::uint32_t probe_interval_ms = 200;
  std::uint32_t suspicion_ms = 600;
  std::uint32_t redis_silence_ms = 5000;
  // The backlog of each member's Redis is sized by what is written in `backlog_outage_ms`.
  std::uint32_t backlog_outage_ms = 60'000;
  std::uint64_t backlog_bytes_min = 16 * kMiB;
  std::uint64_t backlog_bytes_max = 256 * kMiB;
  bool tunnel_tree = true;

  friend bool operator==(const ClusterSettings&, const ClusterSettings&) = default;
};

// Commands held while their Redis, or the leadership, is away. Written under [cluster], in force
// without a cluster too, so that a restart of a single Redis is latency and not errors.
struct HoldSettings {
  std::uint32_t timeout_ms = 5000;
  std::uint64_t bytes_max = 64 * kMiB;

  friend bool operator==(const HoldSettings&, const HoldSettings&) = default;
};

// What happens to a session of which a failover has lost something that it had written or read.
enum class OnLostWrite : std::uint8_t { kError, kContinue };
inline constexpr std::array<std::string_view, 2> kOnLostWriteNames = {"error", "continue"};

// Reads at the replica next door, in a cluster.
struct ReadSettings {
  std::uint32_t wait_ms = 5;
  std::uint32_t lag_ms_max = 1000;
  std::uint64_t lag_bytes_max = 16 * kMiB;
  OnLostWrite on_lost_write = OnLostWrite::kError;

  friend bool operator==(const ReadSettings&, const ReadSettings&) = default;
};

// In a cluster: how the primary slows writes down while a replica does not keep up with them.
struct BackPressureSettings {
  std::uint64_t start_bytes = 4 * kMiB;
  std::uint64_t full_bytes = 48 * kMiB;
  std::uint32_t start_ms = 500;
  std::uint32_t full_ms = 5000;
  std::uint32_t delay_ms_max = 100;
  std::uint32_t give_up_ms = 30'000;

  friend bool operator==(const BackPressureSettings&, const BackPressureSettings&) = default;
};

struct LimitSettings {
  std::uint32_t clients_max = 10'000;
  std::uint64_t client_output_bytes_max = 64 * kMiB;
  std::uint64_t buffered_bytes_max = 512 * kMiB;
  std::uint32_t peer_connections_max = 8'000;
  std::uint32_t client_idle_timeout_s = 0;
  std::uint32_t tcp_keepalive_s = 300;
  std::uint32_t drain_timeout_ms = 10'000;

  friend bool operator==(const LimitSettings&, const LimitSettings&) = default;
};

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
inline constexpr std::array<std::string_view, 4> kLogLevelNames = {"debug", "info", "warn",
                                                                   "error"};

struct LogSettings {
  LogLevel level = LogLevel::kInfo;

  friend bool operator==(const LogSettings&, const LogSettings&) = default;
};

struct SlowlogSettings {
  std::uint64_t threshold_us = 10'000;
  std::uint32_t entries_max = 128;

  friend bool operator==(const SlowlogSettings&, const SlowlogSettings&) = default;
};

struct Settings {
  NodeSettings node;
  std::optional<RedisSettings> redis;  // none: a sidecar
  std::vector<ListenSettings> listen;
  std::optional<PeerSettings> peer;
  std::optional<AdminSettings> admin;
  std::optional<ClusterSettings> cluster;  // none: in front of a single Redis
  HoldSettings hold;
  ReadSettings reads;
  BackPressureSettings back_pressure;
  LimitSettings limits;
  LogSettings log;
  SlowlogSettings slowlog;

  friend bool operator==(const Settings&, const Settings&) = default;
};

constexpr std::string_view to_string(Partition value) noexcept {
  return name_of(kPartitionNames, value);
}
constexpr std::string_view to_string(LogLevel value) noexcept {
  return name_of(kLogLevelNames, value);
}

// What an unset switch means: SYNC and PSYNC are served in front of a single Redis only, where no
// cluster owns the replication; a member votes and a sidecar does not.
bool allows_sync(const Settings& settings, const ListenSettings& listener) noexcept;
bool votes(const Settings& settings) noexcept;
// Never kByRole: a member's sessions are connections; a sidecar's is the node, since an application
// with a pool of connections has it to itself.
SessionScope session_scope(const Settings& settings, const ListenSettings& listener) noexcept;

struct SettingsError {
  std::string position;  // "file:line:column" or "--set section.key=value"
  std::string message;   // what is wrong, and what to write instead; never a secret
};
std::string to_string(const SettingsError& error);

struct [[nodiscard]] SettingsResult {
  Settings settings;  // to be used only if ok()
  std::vector<SettingsError> errors;
  // "section.key" to the place where it was written, of keys that name files, or may: whether a file
  // is what it should be is found out elsewhere, and told with its place too.
  std::map<std::string, std::string> file_positions;

  bool ok() const noexcept { return errors.empty(); }
};

// `text` is TOML, `file_name` what its errors are positioned in. Each override is
// "section.key=value" or "listen.0.key=value" (an index one past the last adds a listener); the
// value is TOML, or a bare string where the key takes one. `host_name` makes the default node.id.
// Without a file: an empty text and overrides only. All errors, those of the text first, in its
// order.
SettingsResult parse_settings(std::string_view text, std::string_view file_name,
                              std::span<const std::string> overrides = {},
                              std::string_view host_name = {});

// `run --listen A --redis B`: one listener, one Redis, every other key at its default.
Settings standalone(Endpoint listen, Endpoint redis, std::uint32_t workers,
                    std::string_view host_name = {});

// The sample file: every key with its meaning, default and range. A settings text itself, which
// parses without errors; the lines that begin with '#' and a letter or bracket may be uncommented.
std::string annotated_defaults();

struct SettingChange {
  std::string key;     // "limits.clients_max", "listen.1.consistency"
  std::string before;  // as TOML; empty: not there; a secret shows as ***
  std::string after;
  bool needs_restart = false;

  friend bool operator==(const SettingChange&, const SettingChange&) = default;
};

// What a reload from `before` to `after` changes, in the order of the sample file.
std::vector<SettingChange> diff(const Settings& before, const Settings& after);

}  // namespace azimuth
