#include "proxy/group/group.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proxy/clock.h"
#include "proxy/control/log.h"
#include "proxy/data/redis_proof.h"
#include "proxy/group/redis_control.h"

namespace azimuth {
namespace {

// A turn in which machines keep finding more to do goes on in the next turn of the loop.
constexpr int kRoundsPerTurnMax = 8;
// Leadership's words for: no.
constexpr std::string_view kWishRefusedEvent = "wish_refused";
constexpr std::string_view kTunnelSourceEvent = "tunnel_source";
constexpr std::string_view kStaysOutEvent = "stays_out";
constexpr std::string_view kHandOverFailedEvent = "hand_over_failed";
constexpr Duration kSaveAgain = milliseconds(250);

Error fault(std::string message) {
  return make_error(ErrorCode::kSystem, Fault::kSelf, std::move(message));
}

std::string random_bytes(size_t count) {
  std::string bytes(count, '\0');
  AZIMUTH_CHECK(::getrandom(bytes.data(), count, 0) == static_cast<ssize_t>(count));
  return bytes;
}

// The endpoint with a number for a host name. Waits for the name server: for start-up only.
Result<Endpoint> numeric(const Endpoint& endpoint, std::string_view key) {
  std::string error;
  const auto address = resolve_address(endpoint, error);
  if (!address) {
    return fault(std::string(key) + " = \"" + to_string(endpoint) + "\": " + error +
                 "; write a numeric address, or a name that resolves");
  }
  return parse_endpoint(datagram_address_text(address->get()));
}

NodeRecord first_record(const Settings& settings, const Membership& membership) {
  NodeRecord self;
  self.id = settings.node.id;
  self.zone = settings.node.zone;
  self.region = settings.node.region;
  self.address = membership.address;
  self.boot = membership.boot;
  self.member = settings.redis.has_value();
  self.wants_vote = votes(settings);
  self.has_state = membership.saved && membership.saved->electorate.version > 0;
  self.bootstrap_expect = settings.cluster->bootstrap_expect;
  return self;
}

GossipTimes gossip_times(const ClusterSettings& cluster) {
  GossipTimes times;
  times.probe_interval = milliseconds(cluster.probe_interval_ms);
  times.probe_timeout = milliseconds(std::max<std::uint32_t>(cluster.probe_interval_ms / 2, 1));
  times.suspicion = milliseconds(cluster.suspicion_ms);
  return times;
}

LeadershipSettings leadership_settings(const Settings& settings) {
  LeadershipSettings wanted;
  wanted.cluster = settings.cluster->name;
  wanted.node = settings.node.id;
  wanted.zone = settings.node.zone;
  wanted.region = settings.node.region;
  wanted.tunnel_tree = settings.cluster->tunnel_tree;
  wanted.has_redis = settings.redis.has_value();
  wanted.wants_vote = votes(settings);
  wanted.bootstrap_expect = settings.cluster->bootstrap_expect;
  wanted.lease = milliseconds(settings.cluster->lease_ms);
  wanted.hold = milliseconds(settings.hold.timeout_ms);
  return wanted;
}

}  // namespace

Result<Membership> prepare_membership(const Settings& settings) {
  Membership membership;
  Result<ClusterKeys> keys = read_cluster_key(settings.cluster->key_file);
  if (!keys.ok()) return keys.error();
  membership.keys = std::move(*keys);
  Result<std::unique_ptr<StateFile>> file = StateFile::open(settings.node.data_dir);
  if (!file.ok()) return file.error();
  membership.file = std::move(*file);
  Result<std::optional<GroupState>> saved =
      membership.file->load(settings.cluster->name, settings.node.id);
  if (!saved.ok()) return saved.error();
  membership.saved = std::move(*saved);
  const Result<Endpoint> advertise = numeric(settings.peer->advertise, "peer.advertise");
  if (!advertise.ok()) return advertise.error();
  membership.address = to_string(*advertise);
  const std::string bytes = random_bytes(sizeof(membership.boot));
  std::memcpy(&membership.boot, bytes.data(), bytes.size());
  return membership;
}

Group::Group(uv_loop_t* loop, const Settings& settings, Membership membership, Lease& lease,
             Applied& applied, Hooks hooks)
    : loop_(loop),
      cluster_(settings.cluster->name),
      bind_(settings.peer->address),
      redis_settings_(settings.redis),
      redis_silence_(milliseconds(settings.cluster->redis_silence_ms)),
      backlog_{milliseconds(settings.cluster->backlog_outage_ms),
               settings.cluster->backlog_bytes_min, settings.cluster->backlog_bytes_max},
      membership_(std::move(membership)),
      lease_(lease),
      applied_(applied),
      hooks_(std::move(hooks)),
      random_(membership_.boot),
      started_(clock_now()),
      gossip_(first_record(settings, membership_), gossip_times(*settings.cluster), started_),
      leadership_(leadership_settings(settings), membership_.saved, membership_.boot, started_),
      back_pressure_(settings.back_pressure),
      sealed_(membership_.keys.datagram, cluster_, random_bytes(SealedDatagrams::kRandomBytes)),
      seeds_(settings.cluster->seeds, membership_.address) {
  topology_ = std::make_shared<const Topology>(topology_of(sight()));
}

Group::~Group() { AZIMUTH_CHECK(closed()); }

Outcome Group::open() {
  const Result<Endpoint> address = numeric(bind_, "peer.address");
  if (!address.ok()) return address.error();
  auto opened = DatagramSocket::open(
      loop_, *address,
      [this](std::string_view from, std::string_view datagram) { on_datagram(from, datagram); });
  if (!opened.ok()) return opened.error();
  socket_ = std::move(*opened);
  return Done{};
}

void Group::start() {
  timer_ = new uv_timer_t;
  uv_timer_init(loop_, timer_);
  timer_->data = this;
  ++handles_;
  if (redis_settings_) start_redis();
  gossip_.set_seeds(seeds_.addresses());
  turn();
}

GroupSight Group::sight() const {
  static const LocalRedis nothing;
  return {gossip_.self(),
          gossip_.nodes(),
          published_,
          redis_ ? redis_->pilot().facts() : nothing,
          redis_settings_ ? redis_settings_->address : Endpoint{},
          is_sidecar() ? history_ : leadership_.state().forks};
}

// --- the turn ------------------------------------------------------------------------------------

void Group::turn() {
  if (closing_ || timer_ == nullptr) return;
  if (turning_) {
    again_ = true;
    return;
  }
  turning_ = true;
  int rounds = 0;
  do {
    again_ = false;
    const Instant now = clock_now();
    share_facts(now);
    take_gossip(now);
    watch_id(now);
    take_leadership(now);
    publish(now);
    press_back(now);
  } while (again_ && ++rounds < kRoundsPerTurnMax);
  turning_ = false;
  arm_timer(clock_now());
}

// Gossip and leadership learn what the local Redis is, and the others what this node is.
void Group::share_facts(Instant now) {
  NodeRecord record = gossip_.self();
  if (redis_) {
    if (const NodeRecord* leader = gossip_.find(published_.leader)) {
      redis_->on_primary(leader->replid, leader->offset);
    }
    const LocalRedis& facts = redis_->pilot().facts();
    if (facts != told_ || facts.asked.at != told_.asked.at) {
      told_ = facts;
      if (facts.done == OrderKind::kLead) lease_.set_process(process_of(facts.run_id));
      if (facts.done == OrderKind::kFollow && facts.done_epoch != followed_epoch_) {
        followed_epoch_ = facts.done_epoch;
        topology_stale_ = true;
      }
      leadership_.on_redis(now, facts);
    }
    record.redis_ready = facts.alive && !facts.loading;
    record.redis_empty = facts.empty;
    record.replid = facts.replid;
    record.offset = facts.offset;
    // In sync for certain: what it has is enough to be elected by.
    const bool intact = leadership_.state().intact_run_id == facts.run_id;
    record.readable = intact && is_readable(facts, published_);
    if (will_leave_ && !published_.leading) record.readable = record.redis_ready = false;
  }
  record.replica_port =
      !published_.leading && tunnel_epoch_ == published_.epoch ? tunnel_port_ : std::uint16_t{0};
  record.begin = record.after = 0;
  const std::vector<Fork>& forks = leadership_.state().forks;
  if (published_.leading && !forks.empty() && forks.back().epoch == published_.epoch) {
    record.begin = forks.back().begin;
    record.after = forks.size() > 1 ? forks[forks.size() - 2].epoch : 0;
  }
  record.epoch = published_.epoch;
  record.leader = published_.leader;
  record.has_state = leadership_.state().electorate.version > 0;
  const NodeRecord& known = gossip_.self();
  topology_stale_ |= record.readable != known.readable || record.epoch != known.epoch ||
                     record.replica_port != known.replica_port;
  if (record != known) gossip_.update_self(record);
}

void Group::take_gossip(Instant now) {
  GossipOutbox outbox = gossip_.take_outbox();
  for (const GossipOutbox::Packet& packet : outbox.packets) {
    socket_->send(packet.to, sealed_.seal(gossip_envelope(packet.bytes)));
  }
  for (const GossipOutbox::Event& event : outbox.events) on_gossip_event(now, event);
}

void Group::take_leadership(Instant now) {
  LeadershipOutbox outbox = leadership_.take_outbox();
  save(outbox.save, now);
  // A lease that was given up is out of force when the others hear of it.
  set_lease();
  for (const LeadershipOutbox::Event& event : outbox.events) {
    log_event(event.name == kStaysOutEvent ? LogLevel::kWarn : LogLevel::kInfo, event.name,
              {{"epoch", leadership_.view().epoch}, {"text", event.text}});
    source_changes_ += event.name == kTunnelSourceEvent;
    if (event.name == kWishRefusedEvent || event.name == kHandOverFailedEvent) {
      wishes_.refuse(now, event.text);
    }
  }
  if (has_say()) {
    for (const WishResult& result : outbox.results) member_wishes_.on_result(now, result);
  }
  for (const LeadershipOutbox::Send& each : outbox.sends) {
    if (has_say()) {
      send(each.to, each.message);
    } else {
      ++messages_unsent_;
    }
  }
  if (redis_) order(outbox.order);
  if (outbox.view_changed) again_ = true;
}

// What could not be saved is tried again, the latest state alone. Nothing that depends on it has
// left by then, and nothing does until it is on the disk.
bool Group::save(std::optional<GroupState>& state, Instant now) {
  const bool pending = unsaved_.has_value();
  if (state) unsaved_ = std::move(state);
  if (!unsaved_) return true;
  if (pending && now < save_again_) return false;
  const Outcome saved = membership_.file->save(*unsaved_);
  if (saved.ok()) {
    unsaved_.reset();
    if (pending) log_info("state_saved", {{"file", membership_.file->path()}});
    return true;
  }
  save_again_ = now + kSaveAgain;
  if (!pending || now >= save_told_ + seconds(1)) {
    save_told_ = now;
    log_error("state_not_saved", {{"reason", saved.error().message},
                                  {"effect", "this node neither votes nor leads until it can"}});
  }
  return false;
}

void Group::order(const RedisOrder& wanted) {
  if (leaving_) return;
  RedisOrder now_wanted = wanted;
  if (!has_say()) {
    now_wanted = {};
    now_wanted.epoch = wanted.epoch;
  }
  if (now_wanted == ordered_ && ordered_once_) return set_tunnel();
  ordered_ = std::move(now_wanted);
  ordered_once_ = topology_stale_ = true;
  log_debug("order", {{"kind", to_string(ordered_.kind)},
                      {"epoch", ordered_.epoch},
                      {"leader", ordered_.leader},
                      {"replid", ordered_.replid}});
  redis_->set_order(ordered_);
  set_tunnel();
}

// The tunnel that Redis replicates through leads to the leader that it is to follow, or to the
// member that this one names, as soon as the lineage and the address are known.
void Group::set_tunnel() {
  if (ordered_.kind != OrderKind::kFollow || ordered_.replid.empty()) return;
  const GroupView& view = leadership_.view();
  const bool named = ordered_.epoch == view.epoch && !view.source.empty();
  const std::string& node = named ? view.source : ordered_.leader;
  TunnelSource wanted{ordered_.epoch, node, address_of(node), ordered_.replid};
  if (wanted == tunnel_source_ || wanted.address.empty() || wanted.epoch != tunnel_epoch_) return;
  const Result<Endpoint> endpoint = parse_endpoint(wanted.address);
  const auto address = endpoint.ok() ? numeric_address(*endpoint) : std::nullopt;
  if (!address) return;
  hooks_.set_tunnel_source(wanted.epoch, *address, wanted.node, wanted.replid);
  tunnel_source_ = std::move(wanted);
}

std::uint64_t Group::fed_epoch() const {
  const bool follows = ordered_.kind == OrderKind::kFollow && ordered_.epoch == followed_epoch_;
  return follows && ordered_.epoch == published_.epoch && has_say() ? followed_epoch_ : 0;
}

void Group::set_lease() {
  const GroupView& view = leadership_.view();
  if (view.leading) {
    lease_.quorum.set(view.epoch, std::max<std::size_t>(view.quorum_copies, 1) - 1);
  }
  if (view.leading && has_say()) {
    lease_.set(view.epoch, view.lease_until);
  } else {
    lease_.drop();
  }
}

void Group::publish(Instant now) {
  GroupView fresh =
      is_sidecar() ? view_by_gossip(gossip_.nodes(), published_.epoch) : leadership_.view();
  if (!has_say() && fresh.leader == gossip_.self().id) {
    fresh.leading = fresh.leader_ready = false;
    fresh.why = leaving_ ? "the node is leaving" : mute_reason();
  }
  wishes_.on_view(now, fresh);
  // The lease is renewed all the time, and no news.
  published_.lease_until = fresh.lease_until;
  const bool news = fresh != published_;
  if (news) {
    again_ = again_ || fresh.epoch != published_.epoch || fresh.leader != published_.leader ||
             fresh.leader_ready != published_.leader_ready;
    published_ = std::move(fresh);
  }
  if (!std::exchange(topology_stale_, false) && !news) return;
  if (is_sidecar() && published_.leader_ready) {
    if (const NodeRecord* leader = gossip_.find(published_.leader)) {
      follow_history(history_, *leader);
    }
  }
  Topology topology = topology_of(sight());
  topology.fed_epoch = fed_epoch();
  if (topology != *topology_) {
    topology_ = std::make_shared<const Topology>(std::move(topology));
    hooks_.on_topology(topology_);
  }
  hooks_.on_news();
}

// What the replicas have told in their grants becomes the delay of the next writes. (A hand-over
// holds them, and waits for nothing else.)
void Group::press_back(Instant now) {
  const bool leads = published_.leading && published_.leader_ready && !published_.handing_over;
  if (leads && !back_pressure_.due(now)) return;
  if (leads) {
    back_pressure_.on_progress(now, redis_->pilot().facts().offset, leadership_.replicas());
    for (const std::string& id : back_pressure_.to_ask(now)) {
      leadership_.ask_again(now, id);
      again_ = true;
    }
  } else {
    back_pressure_.on_rest(now);
  }
  for (const BackPressure::Event& event : back_pressure_.take_events()) {
    log_event(event.warning ? LogLevel::kWarn : LogLevel::kInfo, event.name,
              {{"node", event.replica}, {"text", event.text}});
  }
  const std::uint32_t delay_us = back_pressure_.delay_us();
  if (std::exchange(write_delay_us_, delay_us) != delay_us && hooks_.on_write_delay) {
    hooks_.on_write_delay(delay_us);
  }
}

void Group::on_tick() {
  const Instant now = clock_now();
  if (gossip_.next_wakeup() <= now) gossip_.on_tick(now, random());
  if (leadership_.next_wakeup() <= now) leadership_.on_tick(now, random());
  if (seeds_.on_tick(now, gossip_.nodes().empty())) gossip_.set_seeds(seeds_.addresses());
  tell_solitude(now);
  offer_wishes(now);
  turn();
}

void Group::arm_timer(Instant now) {
  constexpr Duration kLookAround = seconds(1);
  Instant next = earlier_of(gossip_.next_wakeup(), now + kLookAround);
  next = earlier_of(next, leadership_.next_wakeup());
  next = earlier_of(next, earlier_of(seeds_.next_wakeup(), wishes_.next_wakeup()));
  next = earlier_of(next, member_wishes_.next_wakeup());
  if (unsaved_) next = earlier_of(next, save_again_);
  next = earlier_of(next, back_pressure_.next_wakeup());
  uv_update_time(loop_);  // the turn may have taken time
  uv_timer_start(
      timer_, [](uv_timer_t* timer) { static_cast<Group*>(timer->data)->on_tick(); },
      again_ ? 0 : std::max<std::uint64_t>(ms_until(next, now), 1), 0);
}

// --- from outside --------------------------------------------------------------------------------

void Group::on_tunnel_port(std::uint64_t epoch, std::uint16_t port) {
  if (!redis_ || closing_) return;
  tunnel_epoch_ = epoch;
  tunnel_port_ = port;
  topology_stale_ = true;
  tunnel_source_ = {};
  TunnelPort opened;
  opened.epoch = epoch;
  opened.port = port;
  redis_->on_tunnel_port(opened);
  set_tunnel();
  turn();
}

void Group::on_tunnel_source(std::uint64_t epoch, const std::string& node) {
  if (closing_ || epoch != tunnel_epoch_ || node != tunnel_source_.node) return;
  leadership_.on_source(clock_now(), epoch, node);
  turn();
}

void Group::on_drained() {
  leadership_.on_drained(clock_now());
  turn();
}

void Group::set_redis_settings(const RedisSettings& settings) {
  if (redis_) redis_->set_settings(settings);
}

void Group::set_back_pressure(const BackPressureSettings& settings) {
  back_pressure_.set_ramp(settings);
}

void Group::set_tunnel_tree(bool wanted) { leadership_.set_tunnel_tree(clock_now(), wanted); }

void Group::prepare_to_leave() {
  will_leave_ = true;
  leadership_.on_leaving(clock_now());
  turn();
}

bool Group::has_successor() const {
  const std::vector<const NodeRecord*> others = gossip_.nodes();
  const Electorate& electorate = leadership_.state().electorate;
  return std::any_of(others.begin(), others.end(), [&](const NodeRecord* each) {
    return each->member && each->wants_vote && !electorate.removes(each->id) &&
           (each->status == NodeStatus::kAlive || each->status == NodeStatus::kSuspect);
  });
}

void Group::leave() {
  if (leaving_ || timer_ == nullptr) return;
  leaving_ = true;
  lease_.drop();
  gossip_.leave(clock_now(), random());
  wishes_.end("the node is leaving");
  member_wishes_.end("the node is leaving");
  leadership_.on_rest(clock_now());
  turn();  // the goodbyes do not wait for anything
  if (redis_) redis_->leave();
}

const RedisPilot* Group::pilot() const { return redis_ ? &redis_->pilot() : nullptr; }

bool Group::left() const { return !redis_ || redis_->pilot().left(); }

void Group::close() {
  if (closing_) return;
  closing_ = leaving_ = true;
  lease_.drop();
  wishes_.end("the node stops");
  member_wishes_.end("the node stops");
  socket_.reset();
  if (redis_) redis_->close();
  if (timer_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(timer_), [](uv_handle_t* handle) {
    --static_cast<Group*>(handle->data)->handles_;
    delete reinterpret_cast<uv_timer_t*>(handle);
  });
}

bool Group::closed() const { return handles_ == 0 && (!redis_ || redis_->closed()); }

std::string Group::mute_reason() const {
  if (id_taken_) return "the node id is taken: " + id_taken_by_;
  return "what it must not forget cannot be saved to " + membership_.file->path();
}

}  // namespace azimuth
