// What the node says about itself: the admin pages on the control thread, and the board that the
// workers read.
#include <algorithm>

#include "proxy/clock.h"
#include "proxy/control/control.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

constexpr uint64_t kSilentMsMax = 2000;           // of a worker that is well
constexpr uint64_t kFactsAgeMsMax = 1000;         // of the process's facts on a page
constexpr uint64_t kBoardFactsAgeMsMax = 10'000;  // counting open files takes time, with many

RedisFacts redis_facts(const RedisSettings& settings, const RedisWatch* watch) {
  RedisFacts facts;
  facts.address = to_string(settings.address);
  facts.status = to_string(RedisStatus::kDown);
  if (watch == nullptr) return facts;
  const RedisState& state = watch->probe().state();
  facts.status = to_string(watch->probe().status());
  facts.reason = watch->trouble();
  facts.loading = watch->probe().loading();
  facts.version = state.version;
  facts.run_id = state.run_id;
  facts.replid = state.replid;
  facts.role = to_string(state.role);
  facts.offset = state.offset;
  return facts;
}

}  // namespace

AdminResponse Control::admin_response(std::string_view path) {
  if (path == "/healthz") {
    const std::string sick = sick_worker();
    if (!sick.empty()) return {503, AdminResponse().content_type, "not well: " + sick + "\n"};
  }
  refresh_facts(kFactsAgeMsMax);
  const std::vector<const WorkerMetrics*> workers = metrics();
  return admin_page(path, {[this] { return node_status(); }, workers});
}

NodeReport Control::node_status() {
  NodeReport node;
  node.id = settings_->node.id;
  node.zone = settings_->node.zone;
  node.region = settings_->node.region;
  node.version = AZIMUTH_VERSION;
  node.epoch = topology_->epoch;
  node.workers = settings_->node.workers;
  node.uptime_s = uptime_s();
  node.listen = listening_;
  node.draining = draining_;
  node.not_ready_reason = why_not_ready();
  node.ready = node.not_ready_reason.empty();
  node.process = facts_;
  if (settings_->redis) node.redis = redis_facts(*settings_->redis, watch_.get());
  if (group_) {
    group_->describe(node);
    node.cluster->wishes.assign(wishes_.begin(), wishes_.end());
    syncs_->describe(clock_now(), group_->pilot(), *node.cluster);
    append_links(*node.cluster);
    return node;
  }
  // A single Redis takes the writes, unless it is itself somebody's replica.
  const bool replica = node.redis->role == to_string(RedisRole::kReplica);
  node.role = replica ? "replica" : "primary";
  if (!replica) node.primary = node.id;
  MemberStatus self;
  self.id = node.id;
  self.zone = node.zone;
  self.region = node.region;
  self.role = node.role;
  self.alive = watch_ != nullptr && watch_->probe().status() != RedisStatus::kDown;
  self.ready = watch_ != nullptr && watch_->probe().ready();
  self.position.epoch = node.epoch;
  self.position.offset = std::max<int64_t>(node.redis->offset, 0);
  node.members.push_back(std::move(self));
  return node;
}

std::string Control::why_not_ready() const {
  if (draining_) return "draining";
  if (group_) return group_->why_not_ready();
  const std::string name = "Redis at " + to_string(settings_->redis->address);
  if (!watch_) return name + " has not been asked yet";
  const RedisProbe& probe = watch_->probe();
  switch (probe.status()) {
    case RedisStatus::kDown:
      return name + " is down: " + watch_->trouble();
    case RedisStatus::kStuck:
      return name + " is stuck: " + watch_->trouble();
    case RedisStatus::kUp:
      break;
  }
  return probe.loading() ? name + " is loading its data set" : "";
}

void Control::append_links(ClusterReport& report) const {
  uint64_t up = 0, streams = 0, made = 0, accepted = 0, lost = 0, failed = 0, refused = 0;
  uint64_t relays = 0, in = 0, out = 0, corrupt = 0;
  for (const auto& worker : process_.workers) {
    const LinkMetrics& each = worker->link_metrics();
    up += static_cast<uint64_t>(std::max<int64_t>(each.links.get(), 0));
    streams += static_cast<uint64_t>(std::max<int64_t>(each.streams.get(), 0));
    relays += static_cast<uint64_t>(std::max<int64_t>(each.relays.get(), 0));
    made += each.links_made.get();
    accepted += each.links_accepted.get();
    lost += each.links_lost.get();
    failed += each.links_failed.get();
    refused += each.links_unsafe.get() + each.links_foreign.get() + each.links_crowded.get();
    corrupt += each.links_corrupt.get();
    in += each.bytes_in.get();
    out += each.bytes_out.get();
    add_traffic(report.peers, each.traffic);
  }
  report.links = {{"up", up},         {"streams", streams},   {"relays", relays},
                  {"made", made},     {"accepted", accepted}, {"lost", lost},
                  {"failed", failed}, {"refused", refused},   {"corrupt", corrupt},
                  {"bytes_in", in},   {"bytes_out", out}};
  if (certificates_) report.certificate_ends_unix_s = certificates_->ends_unix_s();
}

void Control::refresh_board() {
  refresh_facts(kBoardFactsAgeMsMax);
  auto fresh = std::make_shared<const NodeReport>(node_status());
  const std::lock_guard<std::mutex> lock(board_mutex_);
  board_ = std::move(fresh);
}

std::shared_ptr<const NodeReport> Control::board() {
  const std::lock_guard<std::mutex> lock(board_mutex_);
  return board_;
}

std::vector<const WorkerMetrics*> Control::metrics() const {
  std::vector<const WorkerMetrics*> all;
  for (const auto& worker : process_.workers) all.push_back(&std::as_const(*worker).metrics());
  return all;
}

void Control::take_pulses() {
  for (size_t i = 0; i < pulses_.size(); ++i) {
    Pulse& pulse = pulses_[i];
    if (pulse.ended) continue;
    if (pulse.asked_ms != 0 && !pulse.beat->load(std::memory_order_relaxed)) continue;
    pulse.asked_ms = std::max<uint64_t>(uv_now(&loop_), 1);
    pulse.beat->store(false, std::memory_order_relaxed);
    process_.workers[i]->post(
        [beat = pulse.beat](Worker&) { beat->store(true, std::memory_order_relaxed); });
  }
}

std::string Control::sick_worker() const {
  for (size_t i = 0; i < pulses_.size(); ++i) {
    const Pulse& pulse = pulses_[i];
    if (pulse.ended || pulse.beat->load(std::memory_order_relaxed)) continue;
    const uint64_t silent_ms = uv_now(&loop_) - pulse.asked_ms;
    if (silent_ms <= kSilentMsMax) continue;
    return "worker " + std::to_string(i) + " has been silent for " + std::to_string(silent_ms) +
           " ms";
  }
  return "";
}

void Control::refresh_facts(uint64_t age_ms_max) {
  const uint64_t now_ms = uv_hrtime() / 1'000'000;
  if (facts_ms_ != 0 && now_ms - facts_ms_ < age_ms_max) return;
  facts_ms_ = now_ms;
  facts_ = read_process_facts();
}

uint64_t Control::uptime_s() const { return (uv_hrtime() - started_ns_) / 1'000'000'000; }

}  // namespace azimuth
