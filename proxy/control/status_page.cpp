#include "proxy/control/status_page.h"

#include <algorithm>
#include <utility>

namespace azimuth {

namespace {

constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1rem; margin: 1.8rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
th { font-weight: 500; opacity: .7; width: 14rem; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.good::before, .bad::before { content: "\25cf\00a0"; }
.good { color: #1a7f37; }
.bad { color: #c62828; }
footer { margin-top: 2rem; opacity: .7; }
</style>
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// "1,234,567"
std::string grouped(uint64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}
std::string grouped(int64_t number) {
  return grouped(static_cast<uint64_t>(std::max<int64_t>(0, number)));
}

std::string duration_text(uint64_t s) {
  if (s < 120) return std::to_string(s) + " s";
  if (s < 7200) return std::to_string(s / 60) + " min";
  if (s < 172800) return std::to_string(s / 3600) + " h";
  return std::to_string(s / 86400) + " days";
}

void open_table(std::string& out, std::string_view title) {
  out.append("<h2>").append(title).append("</h2>\n<table>\n");
}
void row(std::string& out, std::string_view name, std::string_view value,
         std::string_view style = "") {
  out.append("<tr><th>").append(name).append("</th><td");
  if (!style.empty()) out.append(" class=\"").append(style).append("\"");
  out.append(">").append(escaped(value)).append("</td></tr>\n");
}
void close_table(std::string& out) { out.append("</table>\n"); }

void append_node(std::string& out, const NodeReport& node) {
  open_table(out, "Node");
  row(out, "ready", node.ready ? "yes" : "no: " + node.not_ready_reason,
      node.ready ? "good" : "bad");
  row(out, "role", node.role);
  row(out, "primary", node.primary ? *node.primary : "none");
  if (!node.why.empty()) row(out, "no primary, since", node.why, "bad");
  row(out, "epoch", std::to_string(node.epoch));
  if (node.isolated) row(out, "isolated", "hears from no majority of the voters", "bad");
  row(out, "zone", node.zone.empty() ? "-" : node.zone);
  row(out, "region", node.region.empty() ? "-" : node.region);
  std::string listen;
  for (const std::string& each : node.listen) listen += (listen.empty() ? "" : ", ") + each;
  row(out, "clients connect to", listen);
  row(out, "version", node.version);
  row(out, "up for", duration_text(node.uptime_s));
  row(out, "workers", std::to_string(node.workers));
  row(out, "memory", grouped(node.process.resident_bytes / 1024) + " KiB");
  close_table(out);
}

void append_redis(std::string& out, const RedisFacts& redis) {
  open_table(out, "Redis");
  const bool up = redis.status == "up" && !redis.loading;
  std::string status = redis.status;
  if (redis.loading) status += ", loading its data set";
  if (!redis.reason.empty()) status += ": " + redis.reason;
  row(out, "status", status, up ? "good" : "bad");
  row(out, "address", redis.address);
  row(out, "version", redis.version);
  row(out, "role", redis.role);
  row(out, "offset", std::to_string(redis.offset));
  close_table(out);
}

void append_members(std::string& out, const NodeReport& node) {
  if (node.members.empty()) return;
  out.append(
      "<h2>Members</h2>\n<table>\n<tr><th>id</th><th>zone</th><th>role</th><th>alive</th>"
      "<th>ready</th><th>position</th><th>lag</th></tr>\n");
  for (const MemberStatus& member : node.members) {
    out.append("<tr><td>").append(escaped(member.id));
    out.append("</td><td>").append(escaped(member.zone));
    out.append("</td><td>").append(escaped(member.role));
    out.append(member.alive ? "</td><td class=\"good\">yes" : "</td><td class=\"bad\">no");
    out.append(member.ready ? "</td><td class=\"good\">yes" : "</td><td class=\"bad\">no");
    out.append("</td><td>").append(std::to_string(member.position.epoch));
    out.append(":").append(std::to_string(member.position.offset));
    out.append("</td><td>").append(grouped(member.lag_bytes)).append("</td></tr>\n");
  }
  close_table(out);
}

void append_cluster(std::string& out, const ClusterReport& cluster) {
  open_table(out, "Cluster");
  row(out, "name", cluster.name);
  std::string voters;
  for (const std::string& each : cluster.voters) voters += (voters.empty() ? "" : ", ") + each;
  row(out, "voters", voters.empty() ? "none yet" : voters);
  for (const WitnessStatus& each : cluster.witnesses) {
    row(out, "witness " + escaped(each.id), each.alive ? "alive" : "dead",
        each.alive ? "good" : "bad");
  }
  row(out, "sidecars", grouped(cluster.sidecars));
  if (!cluster.switchover.empty()) row(out, "last switchover", cluster.switchover);
  if (!cluster.change.empty()) row(out, "last change of members", cluster.change);
  for (const NamedCount& each : cluster.datagrams) {
    if (each.count > 0) row(out, "datagrams, " + each.name, grouped(each.count));
  }
  close_table(out);
}

void append_traffic(std::string& out, const CounterTotals& totals) {
  open_table(out, "Traffic since the start");
  for (size_t i = 0; i < totals.commands.size(); ++i) {
    row(out, "commands, " + std::string(kCommandRouteNames[i]), grouped(totals.commands[i]));
  }
  const auto latency = [](std::span<const uint64_t> buckets) {
    return "p50 up to " + grouped(quantile_us(buckets, 0.5)) + " us, p99 up to " +
           grouped(quantile_us(buckets, 0.99)) + " us";
  };
  row(out, "latency, reads", latency(totals.read_latency));
  row(out, "latency, writes", latency(totals.write_latency));
  row(out, "clients now", grouped(totals.connections_current));
  row(out, "clients accepted", grouped(totals.connections_accepted));
  row(out, "connections to Redis", grouped(totals.upstream_connections));
  row(out, "requests in flight", grouped(totals.upstream_in_flight));
  row(out, "buffered", grouped(totals.buffered_bytes) + " bytes");
  for (size_t i = 0; i < totals.errors.size(); ++i) {
    if (totals.errors[i] > 0) {
      row(out, "errors, " + std::string(kErrorKindNames[i]), grouped(totals.errors[i]));
    }
  }
  close_table(out);
}

}  // namespace

std::string status_page(const NodeReport& node, WorkerMetricsView workers) {
  std::string out(kHead);
  out.append("<title>azimuth ").append(escaped(node.id)).append("</title>\n</head>\n<body>\n");
  out.append("<h1>azimuth ").append(escaped(node.id)).append("</h1>\n");
  append_node(out, node);
  if (node.redis) append_redis(out, *node.redis);
  append_members(out, node);
  if (node.cluster) append_cluster(out, *node.cluster);
  append_traffic(out, add_up(workers));
  out.append("<footer><a href=\"status\">status</a> as JSON, <a href=\"metrics\">metrics</a> for ");
  out.append("Prometheus</footer>\n</body>\n</html>\n");
  return out;
}

}  // namespace azimuth
