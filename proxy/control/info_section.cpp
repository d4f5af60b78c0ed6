#include "proxy/control/info_section.h"

#include <numeric>
#include <string_view>

namespace azimuth {
namespace {

class Lines {
 public:
  void add(std::string_view key, std::string_view value) {
    text_.append("azimuth_").append(key).append(":");
    // A value ends where its line does, whatever a Redis or a file has put into it.
    for (const char c : value) text_ += c == '\r' || c == '\n' ? ' ' : c;
    text_ += "\r\n";
  }
  void add(std::string_view key, uint64_t value) { add(key, std::to_string(value)); }
  void add(std::string_view key, int64_t value) { add(key, std::to_string(value)); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_ = "# Azimuth\r\n";
};

template <class Values>
uint64_t sum(const Values& values) {
  return std::accumulate(values.begin(), values.end(), uint64_t{0});
}

}  // namespace

std::string info_section(const NodeReport& node, const CounterTotals& totals) {
  Lines lines;
  lines.add("version", node.version);
  lines.add("node", node.id);
  lines.add("zone", node.zone);
  lines.add("region", node.region);
  lines.add("role", node.role);
  lines.add("epoch", node.epoch);
  lines.add("primary", node.primary.value_or(""));
  lines.add("ready", uint64_t{node.ready});
  if (node.cluster) {
    lines.add("cluster", node.cluster->name);
    lines.add("isolated", uint64_t{node.isolated});
    lines.add("why", node.why);
    for (size_t i = 0; i < node.members.size(); ++i) {
      const MemberStatus& each = node.members[i];
      lines.add("member" + std::to_string(i),
                "id=" + each.id + ",zone=" + each.zone + ",region=" + each.region +
                    ",role=" + each.role + ",alive=" + std::to_string(each.alive) + ",ready=" +
                    std::to_string(each.ready) + ",epoch=" + std::to_string(each.position.epoch) +
                    ",offset=" + std::to_string(each.position.offset) +
                    ",lag=" + std::to_string(each.lag_bytes));
    }
  }
  lines.add("workers", uint64_t{node.workers});
  lines.add("uptime_in_seconds", node.uptime_s);
  if (node.redis) {
    lines.add("redis_address", node.redis->address);
    lines.add("redis_status", node.redis->status);
  }
  lines.add("connected_clients", totals.connections_current);
  lines.add("total_connections_received", totals.connections_accepted);
  lines.add("commands_processed", sum(totals.commands));
  lines.add("commands_local", totals.commands[static_cast<size_t>(CommandRoute::kLocal)]);
  lines.add("commands_resent", totals.commands_resent);
  lines.add("errors_uncertain", totals.errors[static_cast<size_t>(ErrorKind::kUncertain)]);
  lines.add("errors_clusterdown", totals.errors[static_cast<size_t>(ErrorKind::kClusterDown)]);
  lines.add("client_bytes_in", totals.client_bytes_in);
  lines.add("client_bytes_out", totals.client_bytes_out);
  lines.add("buffered_bytes", totals.buffered_bytes);
  lines.add("upstream_connections", totals.upstream_connections);
  lines.add("upstream_connects", totals.upstream_connects);
  lines.add("upstream_connect_failures", totals.upstream_connect_failures);
  lines.add("upstream_in_flight", totals.upstream_in_flight);
  lines.add("upstream_queued", totals.upstream_queued);
  lines.add("dedicated_in_use", totals.dedicated_in_use);
  lines.add("dedicated_idle", totals.dedicated_idle);
  return lines.take();
}

}  // namespace azimuth
