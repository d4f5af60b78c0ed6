#include "health/redis_state.h"

#include <array>
#include <charconv>
#include <concepts>
#include <optional>
#include <utility>

#include "conf/names.h"

namespace azimuth {

namespace {

constexpr std::array<std::string_view, 3> kRoleNames = {"unknown", "master", "replica"};
constexpr std::array<std::string_view, 6> kLinkNames = {"none",       "handshake", "connect",
                                                        "connecting", "sync",      "connected"};
constexpr std::array<std::string_view, 8> kRefusalNames = {
    "none", "loading", "noauth", "noperm", "masterdown", "busy", "misconf", "other"};

// More replicas than a Redis will ever have here; a hostile one does not get to fill our memory.
constexpr size_t kReplicasMax = 1024;
constexpr size_t kTextBytesMax = 256;

template <std::integral T>
bool read_number(std::string_view text, T& out) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  out = value;
  return true;
}

void read_flag(std::string_view text, bool& out) {
  if (text == "1") out = true;
  if (text == "0") out = false;
}

std::optional<RedisRole> role_named(std::string_view text) {
  if (text == "master") return RedisRole::kMaster;
  if (text == "slave" || text == "replica") return RedisRole::kReplica;
  return std::nullopt;
}

// The offsets of both roles are collected first: which of them counts depends on a line that may
// come before or after them.
struct Offsets {
  std::optional<int64_t> master, applied;
};

void apply_server_line(RedisState& state, std::string_view key, std::string_view value) {
  if (key == "redis_version") {
    state.version = value;
  } else if (key == "redis_mode") {
    state.mode = value;
  } else if (key == "run_id") {
    state.run_id = value;
  } else if (key == "process_id") {
    read_number(value, state.process_id);
  } else if (key == "uptime_in_seconds") {
    read_number(value, state.uptime_s);
  } else if (key == "loading") {
    read_flag(value, state.loading);
  } else if (key == "async_loading") {
    read_flag(value, state.async_loading);
  }
}

void apply_replication_line(RedisState& state, Offsets& offsets, std::string_view key,
                            std::string_view value) {
  int64_t number = 0;
  if (key == "role") {
    if (const auto role = role_named(value)) state.role = *role;
  } else if (key == "master_replid") {
    state.replid = value;
  } else if (key == "master_replid2") {
    state.replid2 = value;
  } else if (key == "second_repl_offset") {
    read_number(value, state.second_offset);
  } else if (key == "master_repl_offset") {
    if (read_number(value, number)) offsets.master = number;
  } else if (key == "slave_repl_offset") {
    if (read_number(value, number)) offsets.applied = number;
  } else if (key == "repl_backlog_active") {
    read_flag(value, state.backlog_active);
  } else if (key == "connected_slaves") {
    read_number(value, state.connected_replicas);
  } else if (key == "master_host") {
    state.master_host = value;
  } else if (key == "master_port") {
    read_number(value, state.master_port);
  } else if (key == "master_link_status") {
    state.link_up = value == "up";
  } else if (key == "master_sync_in_progress") {
    read_flag(value, state.sync_in_progress);
  } else if (key == "master_last_io_seconds_ago") {
    read_number(value, state.last_io_seconds);
  }
}

void forget_master(RedisState& state) {
  state.master_host.clear();
  state.master_port = 0;
  state.link = RedisLink::kNone;
  state.link_up = false;
  state.sync_in_progress = false;
  state.last_io_seconds = -1;
}

bool apply_master_role(RedisState& state, std::span<const std::string_view> elements) {
  int64_t offset = 0;
  if (elements.size() < 2 || !read_number(elements[1], offset)) return false;
  const auto triples = elements.subspan(2);
  if (triples.size() % 3 != 0 || triples.size() / 3 > kReplicasMax) return false;
  std::vector<RedisReplica> replicas;
  replicas.reserve(triples.size() / 3);
  for (size_t i = 0; i < triples.size(); i += 3) {
    RedisReplica& replica = replicas.emplace_back();
    replica.host = triples[i].substr(0, kTextBytesMax);
    if (!read_number(triples[i + 1], replica.port)) return false;
    if (!read_number(triples[i + 2], replica.acked_offset)) return false;
  }
  state.role = RedisRole::kMaster;
  state.offset = offset;
  state.replicas = std::move(replicas);
  forget_master(state);
  return true;
}

bool apply_replica_role(RedisState& state, std::span<const std::string_view> elements) {
  if (elements.size() != 5) return false;
  uint16_t port = 0;
  int64_t offset = 0;
  const auto link = from_name<RedisLink>(kLinkNames, elements[3]);
  if (!link || !read_number(elements[2], port) || !read_number(elements[4], offset)) return false;
  state.role = RedisRole::kReplica;
  state.master_host = elements[1].substr(0, kTextBytesMax);
  state.master_port = port;
  state.link = *link;
  state.link_up = *link == RedisLink::kConnected;
  if (offset >= 0) state.offset = offset;
  state.replicas.clear();
  return true;
}

}  // namespace

std::string_view to_string(RedisRole role) { return name_of(kRoleNames, role); }
std::string_view to_string(RedisLink link) { return name_of(kLinkNames, link); }
std::string_view to_string(RedisRefusal refusal) { return name_of(kRefusalNames, refusal); }

RedisRefusal refusal_of(std::string_view error) {
  constexpr std::array<std::pair<std::string_view, RedisRefusal>, 7> kPrefixes = {{
      {"LOADING", RedisRefusal::kLoading},
      {"NOAUTH", RedisRefusal::kNoAuth},
      {"WRONGPASS", RedisRefusal::kNoAuth},
      {"NOPERM", RedisRefusal::kNoPerm},
      {"MASTERDOWN", RedisRefusal::kMasterDown},
      {"BUSY", RedisRefusal::kBusy},
      {"MISCONF", RedisRefusal::kMisconf},
  }};
  if (error.starts_with('-')) error.remove_prefix(1);
  const std::string_view prefix = error.substr(0, error.find(' '));
  for (const auto& [name, refusal] : kPrefixes) {
    if (prefix == name) return refusal;
  }
  return RedisRefusal::kOther;
}

void apply_info(RedisState& state, std::string_view text) {
  Offsets offsets;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 1, kTextBytesMax);
    apply_server_line(state, key, value);
    apply_replication_line(state, offsets, key, value);
  }
  if (state.role == RedisRole::kMaster && offsets.master) state.offset = *offsets.master;
  if (state.role == RedisRole::kReplica && offsets.applied) state.offset = *offsets.applied;
}

bool apply_role(RedisState& state, std::span<const std::string_view> elements) {
  if (elements.empty()) return false;
  const auto role = role_named(elements[0]);
  if (!role) return false;
  return *role == RedisRole::kMaster ? apply_master_role(state, elements)
                                     : apply_replica_role(state, elements);
}

}  // namespace azimuth
