// What a node says about itself: the facts that /status, /metrics, /readyz and the status page
// show, gathered by the control thread, and the JSON document made of them.
// Values; the functions touch nothing but their arguments, except read_process_facts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "conf/position.h"
#include "proxy/control/metrics.h"
#include "proxy/control/peer_report.h"
#include "proxy/control/sync_report.h"

namespace azimuth {

using WorkerMetricsView = std::span<const WorkerMetrics* const>;

// As the primary has it: how far a replica is behind by its own word, and what it makes of that.
struct MemberPressure {
  std::string standing;  // "counts", "drowned", "hopeless", "catching-up", "away"
  uint64_t lag_bytes = 0;
  int64_t lag_ms = 0;
  double position = 0;  // on the ramp: 1 is its end
  double weight = 1;
};

struct MemberStatus {
  std::string id, zone, region;
  std::string role;  // "primary", "replica"
  bool alive = false;
  bool ready = false;
  Position position;
  uint64_t lag_bytes = 0;                       // behind the primary
  std::optional<MemberPressure> pressure = {};  // of a replica, in the primary's own report
};

// A node without a Redis that votes.
struct WitnessStatus {
  std::string id, zone, region;
  bool alive = false;
};

// Of datagrams between nodes; see proxy/peer.
struct NamedCount {
  std::string name;
  uint64_t count = 0;
};

// How what an operator asked for went: "under way", "done", or kWishRefused and why.
inline constexpr std::string_view kWishRefused = "refused: ";
struct WishOutcome {
  uint64_t id = 0;
  std::string how;
};

// What a node of a cluster says beside its members.
struct ClusterReport {
  std::string name;
  std::vector<std::string> voters;
  std::vector<std::string> removed;  // taken out by an operator
  std::vector<WitnessStatus> witnesses;
  uint64_t sidecars = 0;            // others that do not vote, as far as they are known
  std::string switchover;           // how the last one went that was asked of this node
  std::string change;               // the same, of the last change of members
  std::vector<WishOutcome> wishes;  // of the last ones asked for by POST, each by its number
  uint32_t write_delay_us = 0;      // of the primary: that each write waits, for a replica's sake
  // Whose stream a member's Redis takes: of all at the primary, of itself at a replica.
  std::vector<std::pair<std::string, std::string>> sources;
  uint64_t source_changes = 0;  // that this node, as the primary, has ordered
  std::vector<NamedCount> datagrams;
  std::vector<NamedCount> links;     // the first three are of now, the others since the start
  std::vector<PeerReport> peers;     // what the links have carried
  std::optional<SyncsReport> syncs;  // of a member
  std::optional<int64_t> certificate_ends_unix_s;  // none: links are made by the key alone
};

struct RedisFacts {
  std::string address;
  std::string status;  // "up", "stuck", "down"
  std::string reason;  // why it is not up
  bool loading = false;
  std::string version, run_id, replid;
  std::string role;  // in Redis's eyes: "master", "replica", "unknown"
  int64_t offset = -1;
};

struct ProcessFacts {
  uint64_t resident_bytes = 0;
  double cpu_seconds = 0;
  uint64_t open_files = 0;
  int64_t start_unix_time_s = 0;
};

struct NodeReport {
  std::string id, zone, region, version;
  std::string role;  // "primary", "replica", "witness", "sidecar"
  uint64_t epoch = 0;
  std::optional<std::string> primary;  // a node id
  bool isolated = false;
  std::string why;  // there is no primary
  bool ready = false;
  std::string not_ready_reason;  // for /readyz and people
  bool draining = false;
  uint32_t workers = 0;
  uint64_t uptime_s = 0;
  std::vector<std::string> listen;  // endpoints as text
  std::optional<RedisFacts> redis;  // none: a sidecar
  std::vector<MemberStatus> members;
  std::optional<ClusterReport> cluster;
  ProcessFacts process;
};

// Of this process, from /proc/self. What cannot be read stays 0.
ProcessFacts read_process_facts();

// Sums over all workers, at about one moment.
struct CounterTotals {
  std::array<uint64_t, kCommandRouteNames.size()> commands{};
  std::array<uint64_t, kReasonCount> reads{};
  std::array<uint64_t, kCutReasonNames.size()> cut{};
  std::array<uint64_t, kErrorKindNames.size()> errors{};
  std::array<uint64_t, Histogram::kBuckets> read_latency{}, write_latency{};
  uint64_t read_latency_sum_us = 0, write_latency_sum_us = 0;
  uint64_t writes_delayed = 0, write_delay_us = 0;
  int64_t write_delay_now_us = 0;
  uint64_t client_bytes_in = 0, client_bytes_out = 0;
  uint64_t upstream_bytes_in = 0, upstream_bytes_out = 0;
  uint64_t connections_accepted = 0;
  int64_t connections_current = 0;
  uint64_t upstream_connects = 0, upstream_connect_failures = 0;
  int64_t upstream_connections = 0, upstream_queued = 0, upstream_in_flight = 0;
  uint64_t commands_resent = 0, scripts_reloaded = 0;
  uint64_t floors_lost = 0, gates_closed = 0;
  int64_t dedicated_in_use = 0, dedicated_idle = 0, buffered_bytes = 0;
};
CounterTotals add_up(WorkerMetricsView workers);

// The upper end, in microseconds, of the bucket that holds the given share (0..1) of what was
// counted; 0 if nothing was.
uint64_t quantile_us(std::span<const uint64_t> buckets, double share);

// The document of GET /status (DESIGN: outside interface); one line, no newline.
std::string status_json(const NodeReport& node, WorkerMetricsView workers);

}  // namespace azimuth
