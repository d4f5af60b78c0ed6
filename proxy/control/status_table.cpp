#include "proxy/control/status_table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <vector>

#include "proxy/control/status_fields.h"

namespace azimuth {
namespace {

// Columns as wide as their widest cell.
std::string columns(const std::vector<std::vector<std::string>>& rows, std::string_view indent) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    out.append(indent);
    for (size_t i = 0; i < row.size(); ++i) {
      out.append(row[i]);
      if (i + 1 < row.size()) out.append(widths[i] - row[i].size() + 2, ' ');
    }
    out += '\n';
  }
  return out;
}

// "reads 10, writes 2": what is zero is left out, unless all of it is.
std::string counts(const Json& object) {
  std::string out;
  if (object.is_object()) {
    for (const auto& [key, value] : object.items()) {
      if (!value.is_number() || value.get<double>() == 0) continue;
      out += (out.empty() ? "" : ", ") + printable(key) + " " + value.dump();
    }
  }
  return out.empty() ? "none" : out;
}

std::string redis_line(const Json& redis) {
  if (!redis.is_object()) return "none (a sidecar)";
  std::string out = text_of(redis, "address") + ": " + text_of(redis, "status");
  if (is_true(redis, "loading")) out += ", loading its data set";
  if (redis.contains("reason")) out += " (" + text_of(redis, "reason") + ")";
  if (text_of(redis, "version") != "-") {
    out += ", version " + text_of(redis, "version") + ", " + text_of(redis, "role") + ", offset " +
           text_of(redis, "offset");
  }
  return out;
}

std::string latency_line(const Json& latency) {
  return "p50 " + text_of(latency, "p50") + " us, p99 " + text_of(latency, "p99") + " us";
}

// What the primary makes of replicas that do not keep up; empty: they do.
std::string slowness_of(const Json& back_pressure) {
  std::string out;
  if (const double delay_us = number_of(back_pressure, "write_delay_us"); delay_us > 0) {
    char text[64];
    std::snprintf(text, sizeof text, "each waits %.2f ms for a replica that does not keep up",
                  delay_us / 1000);
    out = text;
  }
  for (const auto& [id, replica] : member(back_pressure, "replicas").items()) {
    const std::string standing = text_of(replica, "standing");
    if (standing != "hopeless" && standing != "drowned") continue;
    out += (out.empty() ? "" : "; ") + printable(id) +
           (standing == "hopeless" ? " is left behind" : " is too far behind to be waited for");
  }
  return out;
}

// Who replicates from a member that is not the primary; empty: nobody.
std::string chains_of(const Json& status) {
  std::string out;
  for (const auto& [id, source] : member(member(status, "cluster"), "sources").items()) {
    if (!source.is_string() || source == member(status, "primary")) continue;
    out +=
        (out.empty() ? "" : ", ") + printable(id) + " from " + printable(source.get<std::string>());
  }
  return out;
}

std::string member_table(const Json& members) {
  if (!members.is_array() || members.empty()) return "";
  std::vector<std::vector<std::string>> rows = {
      {"member", "zone", "region", "role", "alive", "ready", "position", "lag"}};
  for (const Json& each : members) {
    const Json& position = member(each, "position");
    rows.push_back(
        {text_of(each, "id"), text_of(each, "zone"), text_of(each, "region"), text_of(each, "role"),
         is_true(each, "alive") ? "yes" : "no", is_true(each, "ready") ? "yes" : "no",
         text_of(position, "epoch") + ":" + text_of(position, "offset"), text_of(each, "lag")});
  }
  return "\n" + columns(rows, "");
}

// "12.3 MB"
std::string size_text(const Json& bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = bytes.is_number() ? bytes.get<double>() : 0;
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
                kUnits[unit]);
  return text;
}

// "12.3 MB of 40.0 MB, 31 %, 8 s left": as much of it as is known.
std::string progress_text(const Json& copy) {
  std::string out = size_text(member(copy, "bytes"));
  if (number_of(copy, "total_bytes") > 0) out += " of " + size_text(member(copy, "total_bytes"));
  if (member(copy, "percent").is_number()) {
    out += ", " + std::to_string(std::lround(number_of(copy, "percent"))) + " %";
  }
  if (member(copy, "seconds_left").is_number()) {
    out += ", " + text_of(copy, "seconds_left") + " s left";
  }
  return out;
}

// How the node's own Redis catches up, while it does, and why; empty: it has.
std::string sync_line(const Json& sync) {
  const std::string state = text_of(sync, "state");
  if (state == "-" || state == "none" || state == "done") return "";
  std::string out = state;
  if (text_of(sync, "how") != "-") out = text_of(sync, "how") + " sync, " + out;
  if (text_of(sync, "from") != "-") out += " from " + text_of(sync, "from");
  if (number_of(sync, "bytes") > 0) out += ": " + progress_text(sync);
  return text_of(sync, "reason") == "-" ? out : out + " (" + text_of(sync, "reason") + ")";
}

// A replica that takes a full copy from this node, or waits for one.
std::string copy_line(const Json& copy) {
  std::string out = text_of(copy, "node") + ": " + text_of(copy, "state");
  if (number_of(copy, "bytes") > 0) out += ", " + progress_text(copy);
  return out + " (" + text_of(copy, "reason") + ")";
}

std::string way_text(const Json& way) {
  return size_text(member(way, "bytes")) + " as " + size_text(member(way, "wire"));
}

std::string peer_table(const Json& peers) {
  if (!peers.is_array() || peers.empty()) return "";
  std::vector<std::vector<std::string>> rows = {
      {"link to", "zone", "compressed", "sent", "received", "zstd"}};
  for (const Json& each : peers) {
    const Json &out = member(each, "out"), &in = member(each, "in");
    char cpu[32];
    std::snprintf(cpu, sizeof cpu, "%.2f s",
                  number_of(out, "zstd_seconds") + number_of(in, "zstd_seconds"));
    const std::string packs = number_of(each, "level") > 0 ? "level " + text_of(each, "level")
                              : number_of(each, "links_without_memory") > 0 ? "no memory"
                                                                            : "no";
    rows.push_back(
        {text_of(each, "node"), text_of(each, "zone"), packs, way_text(out), way_text(in), cpu});
  }
  return "\n" + columns(rows, "");
}

}  // namespace

Result<std::string> status_table(std::string_view document) {
  const Json status = Json::parse(document, nullptr, false);
  if (!status.is_object() || !status.contains("node")) {
    return make_error(ErrorCode::kInvalid, Fault::kPeer, "what listens there is no azimuth");
  }
  const Json& counters = member(status, "counters");
  const Json& clients = member(counters, "clients");
  const Json& latency = member(counters, "latency_us");
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"node", text_of(status, "node") + " (azimuth " + text_of(status, "version") +
                              ", up " + text_of(status, "uptime_s") + " s)"});
  rows.push_back(
      {"ready", is_true(status, "ready") ? "yes" : "no: " + text_of(status, "not_ready_reason")});
  rows.push_back({"role", text_of(status, "role") +
                              (is_true(status, "isolated") ? ", isolated" : "") +
                              (is_true(status, "draining") ? ", draining" : "")});
  rows.push_back({"primary", text_of(status, "primary") + ", epoch " + text_of(status, "epoch")});
  if (status.contains("why"))
    rows.push_back(
        {"", (text_of(status, "primary") == "-" ? "no primary: " : "") + text_of(status, "why")});
  rows.push_back({"zone", text_of(status, "zone") + ", region " + text_of(status, "region")});
  rows.push_back({"listen", names_of(status, "listen")});
  rows.push_back({"redis", redis_line(member(status, "redis"))});
  rows.push_back({"clients", text_of(clients, "connected") + " now, " +
                                 text_of(clients, "accepted") + " accepted"});
  rows.push_back({"commands", counts(member(counters, "commands"))});
  rows.push_back({"errors", counts(member(counters, "errors"))});
  rows.push_back({"latency", "reads " + latency_line(member(latency, "reads")) + "; writes " +
                                 latency_line(member(latency, "writes"))});
  const Json& cluster = member(status, "cluster");
  if (cluster.is_object()) {
    rows.push_back({"cluster", text_of(cluster, "name") + ", voters " +
                                   names_of(cluster, "voters") + ", sidecars " +
                                   text_of(cluster, "sidecars")});
    if (names_of(cluster, "removed") != "-")
      rows.push_back({"taken out", names_of(cluster, "removed")});
    const std::string slowness = slowness_of(member(cluster, "back_pressure"));
    if (!slowness.empty()) rows.push_back({"writes", slowness});
    const std::string chains = chains_of(status);
    if (!chains.empty()) rows.push_back({"replicates", chains});
    const std::string sync = sync_line(member(cluster, "sync"));
    if (!sync.empty()) rows.push_back({"catches up", sync});
    for (const Json& each : member(cluster, "copies")) rows.push_back({"copy to", copy_line(each)});
    for (const Json& each : member(cluster, "witnesses")) {
      rows.push_back({"witness", text_of(each, "id") + " in zone " + text_of(each, "zone") +
                                     (is_true(each, "alive") ? ", alive" : ", dead")});
    }
  }
  return columns(rows, "") + member_table(member(status, "members")) +
         peer_table(member(cluster, "peers"));
}

}  // namespace azimuth
