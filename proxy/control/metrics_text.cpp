#include "proxy/control/metrics_text.h"

#include <algorithm>
#include <charconv>

namespace azimuth {

namespace {

// Label values: backslash, quote and newline are escaped, and nothing else.
void append_label_value(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '"') {
      out += "\\\"";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

struct Label {
  std::string_view name, value;
};

// One metric family after another: its HELP and TYPE, then its samples.
class Text {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    out_.append("# HELP ").append(name).append(" ").append(help);
    out_.append("\n# TYPE ").append(name).append(" ").append(type).append("\n");
  }

  template <class Number>
  void sample(Number value, std::initializer_list<Label> labels = {},
              std::string_view suffix = "") {
    out_.append(name_).append(suffix);
    if (labels.size() > 0) {
      char open = '{';
      for (const Label& label : labels) {
        out_ += open;
        out_.append(label.name).append("=\"");
        append_label_value(out_, label.value);
        out_ += '"';
        open = ',';
      }
      out_ += '}';
    }
    out_ += ' ';
    number(value);
    out_ += '\n';
  }

  template <class Number>
  void counter(std::string_view name, std::string_view help, Number value) {
    family(name, "counter", help);
    sample(value);
  }
  template <class Number>
  void gauge(std::string_view name, std::string_view help, Number value) {
    family(name, "gauge", help);
    sample(value);
  }

  std::string take() { return std::move(out_); }

 private:
  template <class Number>
  void number(Number value) {
    char digits[40];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    out_.append(digits, end);
  }

  std::string out_;
  std::string_view name_;
};

void append_node(Text& text, const NodeReport& node) {
  text.family("azimuth_info", "gauge", "This node; always 1.");
  text.sample(1, {{"version", node.version},
                  {"node", node.id},
                  {"zone", node.zone},
                  {"region", node.region},
                  {"role", node.role}});
  text.gauge("azimuth_uptime_seconds", "Seconds since the process began.", node.uptime_s);
  text.gauge("azimuth_ready", "Whether the node can serve clients.", node.ready ? 1 : 0);
  text.gauge("azimuth_epoch", "The leadership's number; 0 without a cluster.", node.epoch);
  if (node.redis) {
    text.gauge("azimuth_redis_up", "Whether the local Redis answers.",
               node.redis->status == "up" ? 1 : 0);
    text.gauge("azimuth_redis_loading", "Whether the local Redis loads its data set.",
               node.redis->loading ? 1 : 0);
  }
  text.gauge("process_resident_memory_bytes", "Resident memory size in bytes.",
             node.process.resident_bytes);
  text.counter("process_cpu_seconds_total", "User and system CPU time spent in seconds.",
               node.process.cpu_seconds);
  text.gauge("process_open_fds", "Number of open file descriptors.", node.process.open_files);
  text.gauge("process_start_time_seconds", "Start time of the process, in seconds since 1970.",
             node.process.start_unix_time_s);
}

// What the links have carried, by the peer at their other end.
void append_peers(Text& text, const std::vector<PeerReport>& peers) {
  const auto both_ways = [&](auto sample) {
    for (const PeerReport& peer : peers) {
      sample(peer, peer.out, "out");
      sample(peer, peer.in, "in");
    }
  };
  const auto bytes = [&](std::string_view name, std::string_view help, auto member) {
    text.family(name, "counter", help);
    both_ways([&](const PeerReport& peer, const WayReport& way, std::string_view direction) {
      for (size_t i = 0; i < kLinkKinds; ++i) {
        if (way.plain[i] == 0 && way.wire[i] == 0) continue;
        text.sample((way.*member)[i], {{"peer", peer.node},
                                       {"zone", peer.zone},
                                       {"direction", direction},
                                       {"kind", kLinkKindNames[i]}});
      }
    });
  };
  bytes("azimuth_peer_bytes_total",
        "Bytes between the nodes before compression and encryption, by what they are for.",
        &WayReport::plain);
  bytes("azimuth_peer_wire_bytes_total",
        "Bytes between the nodes on the wire (without TCP's and IP's headers); what several kinds "
        "sent in one turn is shared out in proportion.",
        &WayReport::wire);
  text.family("azimuth_peer_compression_seconds_total", "counter",
              "CPU time spent in zstd: compressing (out), decompressing (in).");
  both_ways([&](const PeerReport& peer, const WayReport& way, std::string_view direction) {
    text.sample(way.zstd_seconds,
                {{"peer", peer.node}, {"zone", peer.zone}, {"direction", direction}});
  });
  text.family("azimuth_peer_compression_skipped_bytes_total", "counter",
              "Bytes to another zone that were not compressed, since they do not shrink.");
  for (const PeerReport& peer : peers) {
    text.sample(peer.skipped, {{"peer", peer.node}, {"zone", peer.zone}});
  }
  text.family(
      "azimuth_peer_compression_without_memory_bytes_total", "counter",
      "Bytes to another zone that were not compressed, since all memory for that was used.");
  for (const PeerReport& peer : peers) {
    text.sample(peer.passed, {{"peer", peer.node}, {"zone", peer.zone}});
  }
  text.family("azimuth_peer_compression_level", "gauge",
              "The level of zstd in use towards a peer; 0: nothing is compressed.");
  for (const PeerReport& peer : peers) {
    text.sample(peer.level, {{"peer", peer.node}, {"zone", peer.zone}});
  }
}

void append_syncs(Text& text, const SyncsReport& syncs) {
  text.family("azimuth_syncs_total", "counter",
              "How replicas have caught up: this node's Redis with the primary (got), others with "
              "it (given).");
  const auto sample = [&](uint64_t count, std::string_view side, std::string_view how) {
    text.sample(count, {{"side", side}, {"how", how}});
  };
  sample(syncs.partial, "got", "partial");
  sample(syncs.full, "got", "full");
  sample(syncs.broken, "got", "broken");
  sample(syncs.given.partial, "given", "partial");
  sample(syncs.given.full, "given", "full");
  sample(syncs.given.broken, "given", "broken");
  text.counter("azimuth_copies_waited_total",
               "Full copies of this node's Redis that had to wait for another one.",
               syncs.given.waited);
  const auto copies = [&](CopyState state) {
    return static_cast<uint64_t>(
        std::count_if(syncs.copies.begin(), syncs.copies.end(), [&](const CopyReport& each) {
          return (each.state == CopyState::kWaits) == (state == CopyState::kWaits);
        }));
  };
  text.family("azimuth_copies", "gauge", "Full copies of this node's Redis now.");
  text.sample(copies(CopyState::kCopies), {{"state", "copying"}});
  text.sample(copies(CopyState::kWaits), {{"state", "waiting"}});
  text.family("azimuth_copy_bytes", "gauge", "How much of a full copy is out, by replica.");
  for (const CopyReport& each : syncs.copies) {
    text.sample(each.progress.bytes(), {{"member", each.node}});
  }
  const bool goes_on = syncs.state >= CatchUpState::kAsking && syncs.state < CatchUpState::kDone;
  text.gauge("azimuth_sync_in_progress", "Whether this node's Redis is catching up.",
             goes_on ? 1 : 0);
  text.gauge("azimuth_sync_bytes", "What the last, or present, catching up has brought.",
             syncs.progress.bytes());
  text.family("azimuth_sync_percent", "gauge", "Of it, where its size is known.");
  if (const auto percent = syncs.progress.percent()) text.sample(*percent, {});
  text.gauge("azimuth_backlog_bytes", "The backlog of this node's Redis.",
             syncs.redis.backlog_bytes);
  text.gauge("azimuth_backlog_wanted_bytes", "What it is to be, by the measured rate of writes.",
             syncs.redis.backlog_wanted);
  text.gauge("azimuth_write_bytes_per_second", "The rate of writes that it is measured by.",
             static_cast<uint64_t>(syncs.redis.write_bytes_per_s));
}

void append_cluster(Text& text, const NodeReport& node) {
  text.gauge("azimuth_leading", "Whether this node's Redis takes the writes.",
             node.role == "primary" ? 1 : 0);
  text.gauge("azimuth_vacant", "Whether the group has no primary, as far as the node knows.",
             node.primary ? 0 : 1);
  text.gauge("azimuth_isolated", "Whether the node hears from no majority.", node.isolated ? 1 : 0);
  const auto of_members = [&](std::string_view name, std::string_view help, auto value) {
    text.family(name, "gauge", help);
    for (const MemberStatus& each : node.members) {
      text.sample(value(each), {{"member", each.id}, {"zone", each.zone}});
    }
  };
  of_members("azimuth_member_alive", "Whether a member lives, as this node sees it.",
             [](const MemberStatus& each) { return each.alive ? 1 : 0; });
  of_members("azimuth_member_ready", "Whether a member is the primary or in sync with it.",
             [](const MemberStatus& each) { return each.ready ? 1 : 0; });
  of_members("azimuth_member_lag_bytes", "How far a member is behind the primary.",
             [](const MemberStatus& each) { return each.lag_bytes; });
  if (node.role == "primary") {
    text.family("azimuth_replica_counts", "gauge",
                "As the primary has it: whether writes wait for that replica; 0 when it is "
                "hopeless, drowned, away or has yet to catch up.");
    for (const MemberStatus& each : node.members) {
      if (!each.pressure) continue;
      text.sample(each.pressure->standing == "counts" ? 1 : 0,
                  {{"member", each.id}, {"zone", each.zone}});
    }
  }
  text.family("azimuth_tunnel_source", "gauge",
              "1 for the node from whose Redis a member's takes the stream; of all members at the "
              "primary, of itself elsewhere.");
  for (const auto& [member, source] : node.cluster->sources) {
    text.sample(1, {{"member", member}, {"source", source}});
  }
  text.counter("azimuth_tunnel_source_changes_total",
               "Members that this node, as the primary, has told to take the stream elsewhere.",
               node.cluster->source_changes);
  text.family("azimuth_datagrams_total", "counter",
              "Datagrams between the nodes: sent, received, and dropped by reason.");
  for (const NamedCount& each : node.cluster->datagrams) {
    text.sample(each.count, {{"kind", each.name}});
  }
  text.family(
      "azimuth_peer_links", "gauge",
      "Links between the nodes, streams on them, relays to the local Redis; and counts since "
      "the start.");
  for (const NamedCount& each : node.cluster->links) {
    text.sample(each.count, {{"kind", each.name}});
  }
  append_peers(text, node.cluster->peers);
  if (node.cluster->syncs) append_syncs(text, *node.cluster->syncs);
  if (node.cluster->certificate_ends_unix_s) {
    text.gauge("azimuth_tls_certificate_expiry_timestamp_seconds",
               "When this node's certificate for links, or a CA above it, ends: seconds since "
               "1970.",
               *node.cluster->certificate_ends_unix_s);
  }
}

void append_commands(Text& text, WorkerMetricsView workers) {
  text.family("azimuth_commands_total", "counter",
              "Commands by name and by the way they went: reads and writes on shared connections, "
              "on dedicated ones, or answered locally.");
  const auto rows = all_commands();
  for (size_t id = 0; id < kCommandIdCount; ++id) {
    for (size_t route = 0; route < kCommandRouteNames.size(); ++route) {
      uint64_t count = 0;
      for (const WorkerMetrics* worker : workers) count += worker->commands[id][route].get();
      if (count == 0) continue;
      const std::string_view name = id < rows.size() ? rows[id].name : "(other)";
      text.sample(count, {{"command", name}, {"route", kCommandRouteNames[route]}});
    }
  }
}

void append_reads(Text& text, const CounterTotals& totals) {
  text.family("azimuth_reads_total", "counter", "Reads by the reason for where they went.");
  for (size_t i = 0; i < totals.reads.size(); ++i) {
    text.sample(totals.reads[i], {{"reason", to_string(static_cast<Reason>(i))}});
  }
  text.counter("azimuth_floors_lost_total",
               "Sessions of which a failover has lost something that they had written or read.",
               totals.floors_lost);
  text.counter("azimuth_gates_closed_total",
               "Times that a replica was not to be believed, and its reads went to the primary.",
               totals.gates_closed);
}

void append_histogram(Text& text, std::string_view route, std::span<const uint64_t> buckets,
                      uint64_t sum_us) {
  uint64_t count = 0;
  for (size_t i = 0; i < buckets.size(); ++i) {
    count += buckets[i];
    char bound[40] = "+Inf";
    char* end = bound + 4;
    if (i + 1 < buckets.size()) {
      end = std::to_chars(bound, bound + sizeof bound,
                          static_cast<double>(Histogram::upper_us(i)) / 1e6)
                .ptr;
    }
    text.sample(count, {{"route", route}, {"le", std::string_view(bound, end)}}, "_bucket");
  }
  text.sample(static_cast<double>(sum_us) / 1e6, {{"route", route}}, "_sum");
  text.sample(count, {{"route", route}}, "_count");
}

void append_clients(Text& text, const CounterTotals& totals) {
  text.counter("azimuth_client_connections_accepted_total", "Client connections accepted.",
               totals.connections_accepted);
  text.gauge("azimuth_client_connections", "Client connections open now.",
             totals.connections_current);
  text.family("azimuth_client_connections_ended_total", "counter",
              "Client connections that ended, by reason.");
  for (size_t i = 0; i < totals.cut.size(); ++i) {
    text.sample(totals.cut[i], {{"reason", kCutReasonNames[i]}});
  }
  text.family("azimuth_client_bytes_total", "counter", "Bytes from and to clients.");
  text.sample(totals.client_bytes_in, {{"direction", "in"}});
  text.sample(totals.client_bytes_out, {{"direction", "out"}});
  text.gauge("azimuth_client_buffered_bytes",
             "Requests held and replies not yet taken, of all clients.", totals.buffered_bytes);
  text.family("azimuth_errors_total", "counter", "Error replies that clients got, by kind.");
  for (size_t i = 0; i < totals.errors.size(); ++i) {
    text.sample(totals.errors[i], {{"kind", kErrorKindNames[i]}});
  }
}

void append_upstream(Text& text, const CounterTotals& totals) {
  text.family("azimuth_upstream_bytes_total", "counter", "Bytes from (in) and to (out) Redis.");
  text.sample(totals.upstream_bytes_in, {{"direction", "in"}});
  text.sample(totals.upstream_bytes_out, {{"direction", "out"}});
  text.counter("azimuth_upstream_connects_total", "Connections made to Redis.",
               totals.upstream_connects);
  text.counter("azimuth_upstream_connect_failures_total",
               "Connections to Redis that could not be made.", totals.upstream_connect_failures);
  text.gauge("azimuth_upstream_connections", "Connections to Redis open now.",
             totals.upstream_connections);
  text.gauge("azimuth_upstream_queued_requests", "Requests that wait for a connection.",
             totals.upstream_queued);
  text.gauge("azimuth_upstream_in_flight_requests", "Requests sent and not yet answered.",
             totals.upstream_in_flight);
  text.family("azimuth_dedicated_connections", "gauge",
              "Connections to Redis kept for one client at a time.");
  text.sample(totals.dedicated_in_use, {{"state", "in_use"}});
  text.sample(totals.dedicated_idle, {{"state", "idle"}});
  text.gauge("azimuth_write_delay_seconds",
             "How long each write waits now, since a replica does not keep up.",
             static_cast<double>(totals.write_delay_now_us) / 1e6);
  text.counter("azimuth_writes_delayed_total", "Times that a client's writes were made to wait so.",
               totals.writes_delayed);
  text.counter("azimuth_write_delay_seconds_total", "How long they have waited so, in all.",
               static_cast<double>(totals.write_delay_us) / 1e6);
  text.counter("azimuth_commands_resent_total",
               "Commands sent again: known not to have run, or reads.", totals.commands_resent);
  text.counter("azimuth_scripts_reloaded_total", "Scripts loaded again after NOSCRIPT.",
               totals.scripts_reloaded);
}

}  // namespace

std::string prometheus_text(const NodeReport& node, WorkerMetricsView workers) {
  const CounterTotals totals = add_up(workers);
  Text text;
  append_node(text, node);
  if (node.cluster) append_cluster(text, node);
  append_commands(text, workers);
  append_reads(text, totals);
  text.family("azimuth_command_duration_seconds", "histogram",
              "From a request framed to its reply framed.");
  append_histogram(text, "reads", totals.read_latency, totals.read_latency_sum_us);
  append_histogram(text, "writes", totals.write_latency, totals.write_latency_sum_us);
  append_clients(text, totals);
  append_upstream(text, totals);
  return text.take();
}

}  // namespace azimuth
