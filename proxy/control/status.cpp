#include "proxy/control/status.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

namespace azimuth {

namespace {

using Json = nlohmann::ordered_json;

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

template <size_t N>
Json by_name(const std::array<std::string_view, N>& names, const std::array<uint64_t, N>& values) {
  Json object = Json::object();
  for (size_t i = 0; i < N; ++i) object[std::string(names[i])] = values[i];
  return object;
}

Json reads_json(const std::array<uint64_t, kReasonCount>& reads) {
  Json object = Json::object();
  for (size_t i = 0; i < reads.size(); ++i) {
    if (reads[i] > 0) object[std::string(to_string(static_cast<Reason>(i)))] = reads[i];
  }
  return object;
}

Json latency_json(std::span<const uint64_t> buckets) {
  return {{"p50", quantile_us(buckets, 0.5)},
          {"p99", quantile_us(buckets, 0.99)},
          {"p999", quantile_us(buckets, 0.999)}};
}

Json member_json(const MemberStatus& member) {
  return {{"id", member.id},
          {"zone", member.zone},
          {"region", member.region},
          {"role", member.role},
          {"alive", member.alive},
          {"ready", member.ready},
          {"position", {{"epoch", member.position.epoch}, {"offset", member.position.offset}}},
          {"lag", member.lag_bytes}};
}

Json way_json(const WayReport& way) {
  Json object = Json::object();
  for (size_t i = 0; i < kLinkKinds; ++i) {
    if (way.plain[i] == 0 && way.wire[i] == 0) continue;
    object[std::string(kLinkKindNames[i])] = {{"bytes", way.plain[i]}, {"wire", way.wire[i]}};
  }
  object["bytes"] = sum_of(way.plain);
  object["wire"] = sum_of(way.wire);
  object["zstd_seconds"] = way.zstd_seconds;
  return object;
}

Json peer_json(const PeerReport& peer) {
  return {{"node", peer.node},
          {"zone", peer.zone},
          {"compressed_links", peer.packed_links},
          {"level", peer.level},
          {"skipped_bytes", peer.skipped},
          {"links_without_memory", peer.starved_links},
          {"bytes_without_memory", peer.passed},
          {"out", way_json(peer.out)},
          {"in", way_json(peer.in)}};
}

Json progress_json(const CopyProgress& progress, double seconds) {
  const auto number = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  Json object = {{"bytes", progress.bytes()},
                 {"total_bytes", nullptr},
                 {"percent", number(progress.percent())},
                 {"bytes_per_s", progress.bytes_per_s()},
                 {"seconds_left", number(progress.seconds_left())},
                 {"seconds", seconds}};
  if (progress.total_bytes() != 0) object["total_bytes"] = progress.total_bytes();
  return object;
}

void add_syncs(Json& cluster, const SyncsReport& syncs) {
  Json sync = progress_json(syncs.progress, syncs.seconds);
  sync["state"] = to_string(syncs.state);
  sync["how"] = syncs.state == CatchUpState::kNone ? Json(nullptr) : Json(to_string(syncs.how));
  sync["from"] = syncs.source;
  sync["reason"] = syncs.reason;
  cluster["sync"] = std::move(sync);
  Json copies = Json::array();
  for (const CopyReport& each : syncs.copies) {
    Json copy = progress_json(each.progress, each.seconds);
    copy["node"] = each.node;
    copy["state"] = to_string(each.state);
    copy["reason"] = each.reason;
    copies.push_back(std::move(copy));
  }
  cluster["copies"] = std::move(copies);
  cluster["syncs"] = {
      {"got", {{"partial", syncs.partial}, {"full", syncs.full}, {"broken", syncs.broken}}},
      {"given",
       {{"partial", syncs.given.partial},
        {"full", syncs.given.full},
        {"broken", syncs.given.broken},
        {"waited", syncs.given.waited}}}};
  const std::int64_t covers_s = backlog_seconds(syncs.redis);
  cluster["backlog"] = {{"bytes", syncs.redis.backlog_bytes},
                        {"wanted_bytes", syncs.redis.backlog_wanted},
                        {"held_bytes", syncs.redis.backlog_held},
                        {"first_offset", syncs.redis.backlog_first},
                        {"write_bytes_per_s", static_cast<uint64_t>(syncs.redis.write_bytes_per_s)},
                        {"covers_s", covers_s < 0 ? Json(nullptr) : Json(covers_s)}};
}

Json cluster_json(const ClusterReport& cluster) {
  Json witnesses = Json::array();
  for (const WitnessStatus& each : cluster.witnesses) {
    witnesses.push_back(
        {{"id", each.id}, {"zone", each.zone}, {"region", each.region}, {"alive", each.alive}});
  }
  Json datagrams = Json::object(), links = Json::object();
  for (const NamedCount& each : cluster.datagrams) datagrams[each.name] = each.count;
  for (const NamedCount& each : cluster.links) links[each.name] = each.count;
  Json peers = Json::array();
  for (const PeerReport& each : cluster.peers) peers.push_back(peer_json(each));
  Json wishes = Json::object();
  for (const WishOutcome& each : cluster.wishes) wishes[std::to_string(each.id)] = each.how;
  Json object = {{"name", cluster.name},
                 {"voters", cluster.voters},
                 {"removed", cluster.removed},
                 {"witnesses", witnesses},
                 {"sidecars", cluster.sidecars},
                 {"switchover", cluster.switchover},
                 {"member_change", cluster.change},
                 {"wishes", wishes},
                 {"datagrams", datagrams},
                 {"links", links},
                 {"peers", peers}};
  if (cluster.certificate_ends_unix_s) {
    object["certificate_ends"] = *cluster.certificate_ends_unix_s;
  }
  object["sources"] = Json::object();
  for (const auto& [member, source] : cluster.sources) object["sources"][member] = source;
  if (cluster.syncs) add_syncs(object, *cluster.syncs);
  return object;
}

// Beside the members, whose fields are promised to scripts.
Json back_pressure_json(const NodeReport& node) {
  Json replicas = Json::object();
  for (const MemberStatus& each : node.members) {
    if (!each.pressure) continue;
    replicas[each.id] = {{"standing", each.pressure->standing},
                         {"lag", each.pressure->lag_bytes},
                         {"lag_ms", each.pressure->lag_ms},
                         {"position", each.pressure->position},
                         {"weight", each.pressure->weight}};
  }
  return {{"write_delay_us", node.cluster->write_delay_us}, {"replicas", replicas}};
}

Json redis_json(const RedisFacts& redis) {
  Json object = {{"address", redis.address}, {"status", redis.status}};
  if (!redis.reason.empty()) object["reason"] = redis.reason;
  object["loading"] = redis.loading;
  object["version"] = redis.version;
  object["run_id"] = redis.run_id;
  object["role"] = redis.role;
  object["replid"] = redis.replid;
  object["offset"] = redis.offset;
  return object;
}

Json counters_json(const CounterTotals& totals) {
  return {
      {"commands", by_name(kCommandRouteNames, totals.commands)},
      {"reads", reads_json(totals.reads)},
      {"errors", by_name(kErrorKindNames, totals.errors)},
      {"latency_us",
       {{"reads", latency_json(totals.read_latency)},
        {"writes", latency_json(totals.write_latency)}}},
      {"clients",
       {{"connected", totals.connections_current},
        {"accepted", totals.connections_accepted},
        {"ended", by_name(kCutReasonNames, totals.cut)},
        {"bytes_in", totals.client_bytes_in},
        {"bytes_out", totals.client_bytes_out},
        {"buffered_bytes", totals.buffered_bytes}}},
      {"upstream",
       {{"connections", totals.upstream_connections},
        {"connects", totals.upstream_connects},
        {"connect_failures", totals.upstream_connect_failures},
        {"queued", totals.upstream_queued},
        {"in_flight", totals.upstream_in_flight},
        {"dedicated_in_use", totals.dedicated_in_use},
        {"dedicated_idle", totals.dedicated_idle},
        {"bytes_in", totals.upstream_bytes_in},
        {"bytes_out", totals.upstream_bytes_out}}},
      {"writes_delayed",
       {{"count", totals.writes_delayed},
        {"us", totals.write_delay_us},
        {"now_us", totals.write_delay_now_us}}},
      {"commands_resent", totals.commands_resent},
      {"scripts_reloaded", totals.scripts_reloaded},
      {"floors_lost", totals.floors_lost},
      {"gates_closed", totals.gates_closed},
  };
}

}  // namespace

ProcessFacts read_process_facts() {
  ProcessFacts facts;
  uint64_t total_pages = 0, resident_pages = 0;
  std::ifstream statm("/proc/self/statm");
  if (statm >> total_pages >> resident_pages) {
    facts.resident_bytes = resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    facts.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  }
  if (DIR* directory = opendir("/proc/self/fd")) {
    while (const dirent* entry = readdir(directory)) {
      if (entry->d_name[0] != '.') ++facts.open_files;
    }
    closedir(directory);
    if (facts.open_files > 0) --facts.open_files;  // the directory itself
  }
  static const int64_t start = std::chrono::duration_cast<std::chrono::seconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count();
  facts.start_unix_time_s = start;
  return facts;
}

CounterTotals add_up(WorkerMetricsView workers) {
  CounterTotals sum;
  for (const WorkerMetrics* worker : workers) {
    for (const auto& row : worker->commands) {
      for (size_t i = 0; i < row.size(); ++i) sum.commands[i] += row[i].get();
    }
    for (size_t i = 0; i < kReasonCount; ++i) sum.reads[i] += worker->reads_by_reason[i].get();
    for (size_t i = 0; i < sum.cut.size(); ++i) sum.cut[i] += worker->connections_cut[i].get();
    for (size_t i = 0; i < sum.errors.size(); ++i) sum.errors[i] += worker->errors[i].get();
    for (size_t i = 0; i < Histogram::kBuckets; ++i) {
      sum.read_latency[i] += worker->read_latency.bucket(i);
      sum.write_latency[i] += worker->write_latency.bucket(i);
    }
    sum.read_latency_sum_us += worker->read_latency.sum_us();
    sum.write_latency_sum_us += worker->write_latency.sum_us();
    sum.writes_delayed += worker->writes_delayed.get();
    sum.write_delay_us += worker->write_delay_us.get();
    sum.write_delay_now_us = std::max(sum.write_delay_now_us, worker->write_delay_now_us.get());
    sum.client_bytes_in += worker->client_bytes_in.get();
    sum.client_bytes_out += worker->client_bytes_out.get();
    sum.upstream_bytes_in += worker->upstream_bytes_in.get();
    sum.upstream_bytes_out += worker->upstream_bytes_out.get();
    sum.connections_accepted += worker->connections_accepted.get();
    sum.connections_current += worker->connections_current.get();
    sum.upstream_connects += worker->upstream_connects.get();
    sum.upstream_connect_failures += worker->upstream_connect_failures.get();
    sum.upstream_connections += worker->upstream_connections.get();
    sum.upstream_queued += worker->upstream_queued.get();
    sum.upstream_in_flight += worker->upstream_in_flight.get();
    sum.commands_resent += worker->commands_resent.get();
    sum.scripts_reloaded += worker->scripts_reloaded.get();
    sum.floors_lost += worker->floors_lost.get();
    sum.gates_closed += worker->gates_closed.get();
    sum.dedicated_in_use += worker->dedicated_in_use.get();
    sum.dedicated_idle += worker->dedicated_idle.get();
    sum.buffered_bytes += worker->buffered_bytes.get();
  }
  return sum;
}

uint64_t quantile_us(std::span<const uint64_t> buckets, double share) {
  uint64_t total = 0;
  for (const uint64_t count : buckets) total += count;
  if (total == 0) return 0;
  const double wanted = share * static_cast<double>(total);
  uint64_t seen = 0;
  for (size_t i = 0; i < buckets.size(); ++i) {
    seen += buckets[i];
    if (static_cast<double>(seen) >= wanted) return Histogram::upper_us(i);
  }
  return Histogram::upper_us(buckets.size() - 1);
}

std::string status_json(const NodeReport& node, WorkerMetricsView workers) {
  Json document = {
      {"node", node.id},           {"zone", node.zone},
      {"region", node.region},     {"role", node.role},
      {"epoch", node.epoch},       {"primary", node.primary ? Json(*node.primary) : Json(nullptr)},
      {"isolated", node.isolated}, {"ready", node.ready}};
  if (!node.ready) document["not_ready_reason"] = node.not_ready_reason;
  if (!node.why.empty()) document["why"] = node.why;
  document["draining"] = node.draining;
  document["version"] = node.version;
  document["uptime_s"] = node.uptime_s;
  document["workers"] = node.workers;
  document["listen"] = node.listen;
  document["redis"] = node.redis ? redis_json(*node.redis) : Json(nullptr);
  document["members"] = Json::array();
  for (const MemberStatus& member : node.members) {
    document["members"].push_back(member_json(member));
  }
  document["cluster"] = node.cluster ? cluster_json(*node.cluster) : Json(nullptr);
  if (node.cluster) document["cluster"]["back_pressure"] = back_pressure_json(node);
  document["counters"] = counters_json(add_up(workers));
  document["process"] = {{"resident_bytes", node.process.resident_bytes},
                         {"cpu_seconds", node.process.cpu_seconds},
                         {"open_files", node.process.open_files}};
  // Names come from files and from peers: what is no UTF-8 is shown, not thrown about.
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace azimuth
