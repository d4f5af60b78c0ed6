// Counters, the slow log, and the documents made of them.
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "proxy/control/admin_server.h"
#include "proxy/control/metrics_text.h"
#include "proxy/control/slowlog.h"
#include "proxy/control/status.h"
#include "proxy/control/status_page.h"
#include "proxy/control/status_table.h"

using namespace azimuth;

namespace {

struct Node {
  std::unique_ptr<WorkerMetrics> first = std::make_unique<WorkerMetrics>();
  std::unique_ptr<WorkerMetrics> second = std::make_unique<WorkerMetrics>();
  std::vector<const WorkerMetrics*> workers{first.get(), second.get()};
  NodeReport status;

  Node() {
    status.id = "a1";
    status.zone = "z1";
    status.region = "r1";
    status.version = "0.1.0";
    status.role = "primary";
    status.epoch = 7;
    status.primary = "a1";
    status.ready = true;
    status.workers = 2;
    status.listen = {"127.0.0.1:6380"};
    status.redis = RedisFacts{};
    status.redis->address = "127.0.0.1:6379";
    status.redis->status = "up";
    status.members.push_back({"a1", "z1", "r1", "primary", true, true, {7, 1234}, 0});
  }
};

// name{label="value",...} number
bool is_sample(std::string_view line) {
  const auto skip_name = [&line] {
    size_t n = 0;
    while (n < line.size() && (std::islower(line[n]) != 0 || line[n] == '_')) ++n;
    line.remove_prefix(n);
    return n > 0;
  };
  if (!skip_name()) return false;
  if (line.starts_with('{')) {
    do {
      line.remove_prefix(1);
      if (!skip_name() || !line.starts_with("=\"")) return false;
      line.remove_prefix(2);
      while (!line.empty() && line[0] != '"') {
        line.remove_prefix(std::min<size_t>(line.size(), line[0] == '\\' ? 2 : 1));
      }
      if (line.empty()) return false;
      line.remove_prefix(1);
    } while (line.starts_with(','));
    if (!line.starts_with('}')) return false;
    line.remove_prefix(1);
  }
  if (!line.starts_with(' ')) return false;
  line.remove_prefix(1);
  return !line.empty() && line.find_first_not_of("-+.e0123456789") == std::string_view::npos;
}

std::map<std::string, std::string> samples_of(const std::string& text) {
  std::map<std::string, std::string> samples;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    const size_t space = line.rfind(' ');
    samples[line.substr(0, space)] = line.substr(space + 1);
  }
  return samples;
}

}  // namespace

TEST_CASE("histogram buckets end at powers of two") {
  CHECK(Histogram::bucket_of(0) == 0);
  CHECK(Histogram::bucket_of(1) == 0);
  CHECK(Histogram::bucket_of(2) == 1);
  CHECK(Histogram::bucket_of(3) == 2);
  CHECK(Histogram::bucket_of(4) == 2);
  CHECK(Histogram::bucket_of(5) == 3);
  CHECK(Histogram::bucket_of(uint64_t{1} << 26) == 26);
  CHECK(Histogram::bucket_of((uint64_t{1} << 26) + 1) == 27);
  CHECK(Histogram::bucket_of(~uint64_t{0}) == 27);
  for (uint64_t us = 1; us < 5000; ++us) {
    const size_t bucket = Histogram::bucket_of(us);
    REQUIRE(us <= Histogram::upper_us(bucket));
    REQUIRE((bucket == 0 || us > Histogram::upper_us(bucket - 1)));
  }
}

TEST_CASE("quantiles name the bucket that holds them") {
  std::array<uint64_t, Histogram::kBuckets> buckets{};
  CHECK(quantile_us(buckets, 0.5) == 0);
  buckets[3] = 90;
  buckets[10] = 10;
  CHECK(quantile_us(buckets, 0.5) == 8);
  CHECK(quantile_us(buckets, 0.9) == 8);
  CHECK(quantile_us(buckets, 0.99) == 1024);
}

TEST_CASE("counts of all workers add up, unknown commands share a row") {
  Node node;
  const auto get = static_cast<size_t>(CommandId::kGet);
  node.first->count_command(get, CommandRoute::kReads, 3);
  node.second->count_command(get, CommandRoute::kReads);
  node.second->count_command(1u << 20, CommandRoute::kWrites, 2);
  node.first->count_error(ErrorKind::kUncertain);
  node.second->count_cut(CutReason::kIdle);
  node.first->connections_current.add(5);
  node.first->connections_current.add(-2);
  node.second->connections_current.set(4);
  const auto samples = samples_of(prometheus_text(node.status, node.workers));
  CHECK(samples.at("azimuth_commands_total{command=\"get\",route=\"reads\"}") == "4");
  CHECK(samples.at("azimuth_commands_total{command=\"(other)\",route=\"writes\"}") == "2");
  CHECK(samples.at("azimuth_errors_total{kind=\"uncertain\"}") == "1");
  CHECK(samples.at("azimuth_client_connections_ended_total{reason=\"idle\"}") == "1");
  CHECK(samples.at("azimuth_client_connections") == "7");
  CHECK(samples.count("azimuth_commands_total{command=\"set\",route=\"writes\"}") == 0);
}

TEST_CASE("the Prometheus text is well formed, every family once, histograms cumulative") {
  Node node;
  node.status.zone = "a \"quoted\"\\zone\nwith a newline";
  node.first->read_latency.record(3, 10);
  node.first->read_latency.record(1000);
  node.second->read_latency.record(100'000'000);
  const std::string text = prometheus_text(node.status, node.workers);
  std::set<std::string> families;
  std::string family;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    if (line.starts_with("# ")) {
      std::istringstream words(line.substr(2));
      std::string kind, name, rest;
      REQUIRE(words >> kind >> name >> rest);
      if (kind == "HELP") {
        family = name;
        CHECK(families.insert(family).second);
      } else {
        CHECK(kind == "TYPE");
        CHECK((rest == "counter" || rest == "gauge" || rest == "histogram"));
      }
      CHECK(name == family);
    } else {
      REQUIRE(is_sample(line));
      CHECK(line.starts_with(family));
    }
  }
  CHECK(text.ends_with('\n'));
  const auto samples = samples_of(text);
  const std::string name = "azimuth_command_duration_seconds";
  CHECK(samples.at(name + "_bucket{route=\"reads\",le=\"2e-06\"}") == "0");
  CHECK(samples.at(name + "_bucket{route=\"reads\",le=\"4e-06\"}") == "10");
  CHECK(samples.at(name + "_bucket{route=\"reads\",le=\"0.001024\"}") == "11");
  CHECK(samples.at(name + "_bucket{route=\"reads\",le=\"67.108864\"}") == "11");
  CHECK(samples.at(name + "_bucket{route=\"reads\",le=\"+Inf\"}") == "12");
  CHECK(samples.at(name + "_count{route=\"reads\"}") == "12");
  CHECK(samples.at(name + "_sum{route=\"reads\"}") == "100.00103");
}

TEST_CASE("/status says what DESIGN promises") {
  Node node;
  node.first->count_read(Reason::kOnlyNode);
  auto status = nlohmann::json::parse(status_json(node.status, node.workers));
  CHECK(status["node"] == "a1");
  CHECK(status["zone"] == "z1");
  CHECK(status["region"] == "r1");
  CHECK(status["role"] == "primary");
  CHECK(status["epoch"] == 7);
  CHECK(status["primary"] == "a1");
  CHECK(status["isolated"] == false);
  CHECK(status["ready"] == true);
  CHECK(status["members"][0]["id"] == "a1");
  CHECK(status["members"][0]["alive"] == true);
  CHECK(status["members"][0]["position"]["offset"] == 1234);
  CHECK(status["members"][0]["lag"] == 0);
  CHECK(status["counters"]["reads"]["only-node"] == 1);
  CHECK(status["redis"]["status"] == "up");

  node.status.primary.reset();
  node.status.redis.reset();
  node.status.ready = false;
  node.status.not_ready_reason = "bad bytes \xff\xfe";
  status = nlohmann::json::parse(status_json(node.status, node.workers));
  CHECK(status["primary"].is_null());
  CHECK(status["redis"].is_null());
  CHECK(status["not_ready_reason"].get<std::string>().starts_with("bad bytes"));
}

TEST_CASE("a node of a cluster tells of the group, everywhere") {
  Node node;
  node.status.primary.reset();
  node.status.role = "replica";
  node.status.isolated = true;
  node.status.why = "no word from <b1>";
  node.status.members.push_back({"b1", "z2", "r1", "replica", false, false, {7, 1000}, 234});
  ClusterReport& cluster = node.status.cluster.emplace();
  cluster.name = "orders";
  cluster.voters = {"a1", "b1", "w1"};
  cluster.witnesses = {{"w1", "z3", "r1", true}};
  cluster.sidecars = 5;
  cluster.datagrams = {{"dropped_wrong_key", 3}};
  cluster.links = {{"up", 2}};
  const auto status = nlohmann::json::parse(status_json(node.status, node.workers));
  CHECK(status["isolated"] == true);
  CHECK(status["why"] == "no word from <b1>");
  CHECK(status["cluster"]["name"] == "orders");
  CHECK(status["cluster"]["voters"] == nlohmann::json({"a1", "b1", "w1"}));
  CHECK(status["cluster"]["witnesses"][0]["id"] == "w1");
  CHECK(status["cluster"]["sidecars"] == 5);
  CHECK(status["cluster"]["datagrams"]["dropped_wrong_key"] == 3);
  CHECK(status["cluster"]["links"]["up"] == 2);
  CHECK(status["members"][1]["lag"] == 234);
  const auto samples = samples_of(prometheus_text(node.status, node.workers));
  CHECK(samples.at("azimuth_vacant") == "1");
  CHECK(samples.at("azimuth_leading") == "0");
  CHECK(samples.at("azimuth_isolated") == "1");
  CHECK(samples.at("azimuth_member_alive{member=\"b1\",zone=\"z2\"}") == "0");
  CHECK(samples.at("azimuth_member_lag_bytes{member=\"b1\",zone=\"z2\"}") == "234");
  CHECK(samples.at("azimuth_datagrams_total{kind=\"dropped_wrong_key\"}") == "3");
  const std::string page = status_page(node.status, node.workers);
  CHECK(page.find("no word from &lt;b1&gt;") != std::string::npos);
  CHECK(page.find("orders") != std::string::npos);
}

TEST_CASE("how replicas catch up is told at both ends") {
  Node node;
  SyncsReport& syncs = node.status.cluster.emplace().syncs.emplace();
  CopyReport& copy = syncs.copies.emplace_back();
  copy.node = "b1";
  copy.state = CopyState::kCopies;
  copy.reason = "first copy";
  copy.progress.begin(Instant{0});
  copy.progress.on_bytes(Instant{1000}, 250, 1000);
  syncs.copies.emplace_back().node = "c1";
  syncs.given.waited = 1;
  syncs.state = CatchUpState::kStreaming;
  syncs.how = SyncHow::kPartial;
  syncs.source = "a1";
  syncs.partial = 7;
  syncs.redis.backlog_bytes = 1000;
  syncs.redis.write_bytes_per_s = 100;
  const auto status = nlohmann::json::parse(status_json(node.status, node.workers));
  const auto& cluster = status["cluster"];
  CHECK(cluster["copies"][0]["node"] == "b1");
  CHECK(cluster["copies"][0]["state"] == "copying");
  CHECK(cluster["copies"][0]["percent"] == 25);
  CHECK(cluster["copies"][0]["seconds_left"] == 3);
  CHECK(cluster["copies"][1]["state"] == "waiting");
  CHECK(cluster["copies"][1]["percent"].is_null());
  CHECK(cluster["sync"]["how"] == "partial");
  CHECK(cluster["sync"]["state"] == "streaming");
  CHECK(cluster["sync"]["from"] == "a1");
  CHECK(cluster["syncs"]["got"]["partial"] == 7);
  CHECK(cluster["backlog"]["covers_s"] == 10);
  const auto samples = samples_of(prometheus_text(node.status, node.workers));
  CHECK(samples.at("azimuth_copies{state=\"copying\"}") == "1");
  CHECK(samples.at("azimuth_copies{state=\"waiting\"}") == "1");
  CHECK(samples.at("azimuth_syncs_total{side=\"got\",how=\"partial\"}") == "7");
  CHECK(samples.at("azimuth_copy_bytes{member=\"b1\"}") == "250");
  CHECK(samples.at("azimuth_sync_in_progress") == "1");
  const auto table = status_table(status_json(node.status, node.workers));
  REQUIRE(table.ok());
  CHECK(table->find("partial sync, streaming from a1") != std::string::npos);
  CHECK(table->find("b1: copying, 250 B of 1.0 kB, 25 %, 3 s left (first copy)") !=
        std::string::npos);
  CHECK(table->find("c1: waiting") != std::string::npos);
}

TEST_CASE("what the links have carried is told peer by peer, added up over the workers") {
  LinkTraffic first, second;
  PeerTraffic& there = first.of("b1", "z2", true);
  there.out.add({8, 0, 0, 1000}, 210);
  there.out.zstd_ns.add(1'500'000'000);
  there.packed.add(1);
  there.level.set(5);
  there.skipped.add(77);
  there.passed.add(99);
  there.starved.add(1);
  PeerTraffic& again = second.of("b1", "z2", true);
  again.in.add({0, 500, 0, 0}, 100);
  again.packed.add(1);
  again.level.set(3);
  second.of("c1", "z1", true).out.add({16, 0, 0, 0}, 38);
  Node node;
  ClusterReport& cluster = node.status.cluster.emplace();
  add_traffic(cluster.peers, first);
  add_traffic(cluster.peers, second);
  const auto status = nlohmann::json::parse(status_json(node.status, node.workers));
  const auto& peers = status["cluster"]["peers"];
  REQUIRE(peers.size() == 2);
  CHECK(peers[0]["node"] == "b1");
  CHECK(peers[0]["zone"] == "z2");
  CHECK(peers[0]["compressed_links"] == 2);
  CHECK(peers[0]["level"] == 5);
  CHECK(peers[0]["skipped_bytes"] == 77);
  CHECK(peers[0]["links_without_memory"] == 1);
  CHECK(peers[0]["bytes_without_memory"] == 99);
  CHECK(peers[0]["out"]["tunnels"]["bytes"] == 1000);
  CHECK(peers[0]["out"]["tunnels"]["wire"] == 209);
  CHECK(peers[0]["out"]["control"]["wire"] == 1);
  CHECK(peers[0]["out"]["wire"] == 210);
  CHECK(peers[0]["out"]["zstd_seconds"] == 1.5);
  CHECK(peers[0]["in"]["commands"]["bytes"] == 500);
  CHECK(peers[1]["compressed_links"] == 0);
  CHECK(peers[1]["level"] == 0);
  const auto samples = samples_of(prometheus_text(node.status, node.workers));
  const std::string b1 = "{peer=\"b1\",zone=\"z2\",direction=\"out\"";
  CHECK(samples.at("azimuth_peer_bytes_total" + b1 + ",kind=\"tunnels\"}") == "1000");
  CHECK(samples.at("azimuth_peer_wire_bytes_total" + b1 + ",kind=\"tunnels\"}") == "209");
  CHECK(samples.at("azimuth_peer_compression_seconds_total" + b1 + "}") == "1.5");
  CHECK(samples.at("azimuth_peer_compression_level{peer=\"b1\",zone=\"z2\"}") == "5");
  CHECK(
      samples.at("azimuth_peer_compression_without_memory_bytes_total{peer=\"b1\",zone=\"z2\"}") ==
      "99");
  const auto table = status_table(status_json(node.status, node.workers));
  REQUIRE(table.ok());
  CHECK(table->find("level 5") != std::string::npos);
  CHECK(table->find("1.0 kB as 210 B") != std::string::npos);
}

TEST_CASE("a query's value is found by its whole name, and decoded") {
  CHECK(query_value("to=b1", "to") == "b1");
  CHECK(query_value("x=1&to=b%2D1&to=c", "to") == "b-1");
  CHECK(query_value("auto=b1&t=2", "to").empty());
  CHECK(query_value("to", "to").empty());
  CHECK(query_value("to=50%", "to") == "50%");
  CHECK(query_value("to=%4", "to") == "%4");
  CHECK(query_value("to=%zz", "to") == "%zz");
  CHECK(query_value("", "to").empty());
}

TEST_CASE("the status page loads nothing and quotes everything") {
  Node node;
  node.status.id = "<script>alert(1)</script>";
  node.status.redis->reason = "a & \"b\"";
  const std::string page = status_page(node.status, node.workers);
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("&lt;script&gt;") != std::string::npos);
  CHECK(page.find("a &amp; &quot;b&quot;") != std::string::npos);
  CHECK(page.find("src=") == std::string::npos);
  CHECK(page.find("http://") == std::string::npos);
  CHECK(page.find("https://") == std::string::npos);
}

TEST_CASE("the pages by path") {
  Node node;
  const AdminSources sources{[&] { return node.status; }, node.workers};
  CHECK(admin_page("/healthz", sources).status == 200);
  CHECK(admin_page("/readyz", sources).status == 200);
  CHECK(admin_page("/status", sources).content_type == "application/json");
  CHECK(admin_page("/metrics", sources).content_type == kPrometheusContentType);
  CHECK(admin_page("/", sources).body.starts_with("<!doctype html>"));
  CHECK(admin_page("/statusx", sources).status == 404);
  node.status.ready = false;
  node.status.not_ready_reason = "Redis is down";
  CHECK(admin_page("/healthz", sources).status == 200);
  CHECK(admin_page("/readyz", sources).status == 503);
  CHECK(admin_page("/readyz", sources).body == "not ready: Redis is down\n");
}

TEST_CASE("a primary tells what it makes of its replicas' lag") {
  Node node;
  node.status.role = "primary";
  MemberStatus replica{"b1", "z2", "r1", "replica", true, true, {7, 1000}, 234};
  replica.pressure = MemberPressure{"hopeless", 500, 1500, 1.25, 0.5};
  node.status.members.push_back(replica);
  node.status.cluster.emplace().write_delay_us = 2500;
  node.first->writes_delayed.add(3);
  node.second->write_delay_us.add(4'500'000);
  node.second->write_delay_now_us.set(2500);
  const auto status = nlohmann::json::parse(status_json(node.status, node.workers));
  CHECK(status["cluster"]["back_pressure"]["write_delay_us"] == 2500);
  CHECK(status["cluster"]["back_pressure"]["replicas"]["b1"] ==
        nlohmann::json({{"standing", "hopeless"},
                        {"lag", 500},
                        {"lag_ms", 1500},
                        {"position", 1.25},
                        {"weight", 0.5}}));
  CHECK(status["cluster"]["back_pressure"]["replicas"].size() == 1);
  const auto samples = samples_of(prometheus_text(node.status, node.workers));
  CHECK(samples.at("azimuth_replica_counts{member=\"b1\",zone=\"z2\"}") == "0");
  CHECK(samples.at("azimuth_write_delay_seconds") == "0.0025");
  CHECK(samples.at("azimuth_writes_delayed_total") == "3");
  CHECK(samples.at("azimuth_write_delay_seconds_total") == "4.5");
  const auto table = status_table(status_json(node.status, node.workers));
  REQUIRE(table.ok());
  CHECK(table->find("each waits 2.50 ms") != std::string::npos);
  CHECK(table->find("b1 is left behind") != std::string::npos);
}

TEST_CASE("process facts are those of this process") {
  const ProcessFacts facts = read_process_facts();
  CHECK(facts.resident_bytes > 1000000);
  CHECK(facts.open_files >= 3);
  CHECK(facts.start_unix_time_s > 1600000000);
}

TEST_CASE("a slow log entry is clipped as Redis clips its own") {
  std::atomic<uint64_t> ids{10};
  Slowlog log(ids, 1000, 8);
  CHECK_FALSE(log.is_slow(999));
  CHECK(log.is_slow(1000));
  const std::vector<std::string_view> few = {"SET", "k"};
  log.record(1, 2000, few, 2, "127.0.0.1:5", "me");
  const std::string big(200, 'x');
  std::vector<std::string_view> many(32, "a");
  many[1] = big;
  log.record(2, 3000, many, 32, "", "");
  log.record(3, 3000, std::span(many).first(16), 40, "", "");
  many.resize(40, "b");
  log.record(4, 3000, many, 40, "", "");

  const auto entries = merge_slowlogs({log.copy()}, 100);
  REQUIRE(entries.size() == 4);
  CHECK(entries[0].id == 13);
  CHECK(entries[0].args.size() == 32);
  CHECK(entries[0].args[31] == "... (9 more arguments)");
  CHECK(entries[1].args.size() == 17);
  CHECK(entries[1].args[16] == "... (24 more arguments)");
  CHECK(entries[2].args.size() == 32);
  CHECK(entries[2].args[1] == std::string(128, 'x') + "... (72 more bytes)");
  CHECK(entries[3].args == std::vector<std::string>{"SET", "k"});
  CHECK(entries[3].client_address == "127.0.0.1:5");
  CHECK(entries[3].client_name == "me");
}

TEST_CASE("the slow log keeps the newest, over all workers and through a change of its size") {
  std::atomic<uint64_t> ids{0};
  Slowlog first(ids, 0, 4), second(ids, 0, 4);
  const std::vector<std::string_view> args = {"GET"};
  const auto ids_of = [&] {
    std::vector<uint64_t> out;
    for (const auto& entry : merge_slowlogs({first.copy(), second.copy()}, 5)) {
      out.push_back(entry.id);
    }
    return out;
  };
  for (int i = 0; i < 10; ++i) (i % 2 == 0 ? first : second).record(i, 1, args, 1, "", "");
  CHECK(first.size() == 4);
  CHECK(ids_of() == std::vector<uint64_t>{9, 8, 7, 6, 5});
  first.configure(0, 2);
  CHECK(ids_of() == std::vector<uint64_t>{9, 8, 7, 6, 5});
  first.configure(0, 3);
  for (int i = 0; i < 4; ++i) first.record(i, 1, args, 1, "", "");
  CHECK(ids_of() == std::vector<uint64_t>{13, 12, 11, 9, 7});
  first.configure(0, 0);
  first.record(0, 1, args, 1, "", "");
  CHECK(first.size() == 0);
  second.reset();
  CHECK(ids_of().empty());
}
