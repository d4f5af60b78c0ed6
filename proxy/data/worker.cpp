#include "proxy/data/worker.h"

#include <unistd.h>

#include <algorithm>

#include "proxy/control/log.h"
#include "proxy/data/dispatch.h"

namespace azimuth {
namespace {

constexpr uint64_t kTickMs = 100;

constexpr std::string_view kCutShortReply =
    "-CLUSTERDOWN azimuth: this node stops; the command had not come whole and did not run\r\n";

}  // namespace

Worker::Worker(Process& process, unsigned index, std::shared_ptr<const Settings> settings,
               std::shared_ptr<const Topology> topology, SocketAddress redis_address)
    : process_(process),
      index_(index),
      settings_(std::move(settings)),
      topology_(std::move(topology)),
      redis_address_(redis_address),
      slowlog_(process.slowlog_ids, settings_->slowlog.threshold_us,
               settings_->slowlog.entries_max),
      random_(std::random_device{}()),
      replica_(*this),
      pace_(*this) {
  uv_loop_init(&loop_);
  loop_.data = this;
  uv_async_init(&loop_, &wake_,
                [](uv_async_t* handle) { static_cast<Worker*>(handle->loop->data)->on_mail(); });
  uv_prepare_init(&loop_, &prepare_);
  uv_timer_init(&loop_, &tick_);
  uv_timer_init(&loop_, &retry_);
  replica_.open(&loop_);
  compute_plain_roles();
  target_ = target_of(*topology_);
  if (process_.link) {
    if (settings_->redis) {
      relays_.emplace(&loop_, link_metrics_, process_.lease, redis_address_);
      relays_->set_login(settings_->redis->username, settings_->redis->password);
      relays_->set_on_copy([this](const CopyNews& news) { process_.on_copy(index_, news); });
      relays_->set_most(relays_max());
    }
    links_.emplace(&loop_, *process_.link, relays_ ? &*relays_ : nullptr, link_metrics_,
                   [this] { return random_(); });
    links_->set_places([this](std::string_view node) -> std::optional<PeerPlace> {
      for (const Member& each : topology_->members) {
        if (each.id == node) return PeerPlace{each.zone, each.region};
      }
      return std::nullopt;
    });
  }
  default_identity_ = &identity(false, "default", "", 2, 0);
  if (links_) links_->on_pace_changed([this] { renew_pace(); });
  if (links_) links_->set_quorum(process_.lease.quorum);
}

Worker::~Worker() { AZIMUTH_CHECK(uv_loop_close(&loop_) == 0); }

void Worker::add_listener(int fd, size_t settings_index) {
  auto listener = std::make_unique<Listener>();
  listener->poll = new uv_poll_t;
  listener->poll->data = listener.get();
  listener->fd = fd;
  listener->settings_index = settings_index;
  listener->worker = this;
  uv_poll_init(&loop_, listener->poll, fd);
  start_accepting(*listener);
  listeners_.push_back(std::move(listener));
}

void Worker::add_peer_listener(int fd) { links_->listen(fd); }

void Worker::start_accepting(Listener& listener) {
  if (uv_is_active(reinterpret_cast<uv_handle_t*>(listener.poll)) != 0) return;
  uv_poll_start(listener.poll, UV_READABLE, [](uv_poll_t* handle, int, int) {
    auto* self = static_cast<Listener*>(handle->data);
    self->worker->on_accept(*self);
  });
}

void Worker::run() {
  uv_prepare_start(&prepare_, [](uv_prepare_t* handle) {
    static_cast<Worker*>(handle->loop->data)->on_prepare();
  });
  uv_timer_start(
      &tick_, [](uv_timer_t* handle) { static_cast<Worker*>(handle->loop->data)->on_tick(); },
      kTickMs, kTickMs);
  // The first connections stand before the first client: who may log in is known then, and a
  // client that needs a connection of its own does not wait for it. (A sidecar has the first
  // alone.)
  auto auth = std::make_unique<Upstream>(*this, nullptr, Role::kAuth);
  auth_ = auth.get();
  upstreams_.emplace(auth_, std::move(auth));
  auth_->connect();
  if (!sparing()) {
    shared(*default_identity_, Role::kReads).connect();
    shared(*default_identity_, Role::kWrites).connect();
  }
  uv_run(&loop_, UV_RUN_DEFAULT);
}

// --- the turn ----------------------------------------------------------------------------------

void Worker::on_prepare() {
  turn_timed_ = false;
  // Clients that go on may queue requests, whose flush may let others go on.
  do {
    for (size_t i = 0; i < resuming_.size(); ++i) {
      if (Client* next = client(resuming_[i])) go_on(*next);
    }
    resuming_.clear();
    std::vector<Upstream*> upstreams;
    upstreams.swap(dirty_upstreams_);
    for (Upstream* upstream : upstreams) {
      upstream->dirty = false;
      if (!upstream->closed()) upstream->flush();
    }
    if (dirty_upstreams_.empty()) {
      upstreams.clear();
      dirty_upstreams_.swap(upstreams);  // keeps its memory
    }
    flush_clients();
  } while (!resuming_.empty() || !dirty_upstreams_.empty());
  if (holding_) check_quiet();
  if (links_) links_->flush();
  graveyard_.clear();
}

void Worker::mark_dirty(Upstream& upstream) {
  if (upstream.dirty) return;
  upstream.dirty = true;
  dirty_upstreams_.push_back(&upstream);
}

void Worker::mark_dirty(Client& client) {
  if (client.dirty) return;
  client.dirty = true;
  dirty_clients_.push_back(client.self.index);
}

ReceiveSpace Worker::receive_space() {
  constexpr size_t kLeastRoom = kReceiveBlockBytes / 4;
  if (receive_block_.unique()) receive_used_ = 0;
  if (!receive_block_ || receive_block_->capacity - receive_used_ < kLeastRoom) {
    receive_block_ = BlockRef(Block::make(kReceiveBlockBytes));
    receive_used_ = 0;
  }
  return {receive_block_, receive_block_.get()->data() + receive_used_,
          receive_block_->capacity - receive_used_};
}

uint32_t Worker::now_us() {
  if (!turn_timed_) {
    turn_us_ = static_cast<uint32_t>(uv_hrtime() / 1000);
    turn_timed_ = true;
  }
  return turn_us_;
}

void Worker::on_tick() {
  const uint64_t now = now_ms();
  crowded_ = false;
  slowlog_budget_ = kSlowlogEntriesPerTickMax;
  tend_upstreams(now);
  count_upstreams();
  for (size_t i = 0; i < identities_.size();) {
    if (is_over(*identities_[i], now)) {
      identities_.erase(identities_.begin() + static_cast<ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  check_auth_connection(now);
  if (relays_) relays_->on_tick();
  for (auto& listener : listeners_) start_accepting(*listener);
  check_clients(now);
  if (draining_) end_late_ones(now);
}

void Worker::tend_upstreams(uint64_t now) {
  size_t retired = 0;
  for (Upstream* upstream : all_upstreams()) {
    upstream->on_tick(now);
    if (sparing() && !draining_) upstream->rest_if_unused(now);
    if (upstream->closed()) continue;
    if (upstream->retired() && !upstream->reads_slowly()) ++retired;
    if (upstream->held_up_since_ms() != 0 && now - upstream->held_up_since_ms() > kHeldUpMsMax) {
      upstream->cut_front(CutReason::kOutputLimit);
    }
    // A connection that makes no headway (a script, CLIENT PAUSE, DEBUG SLEEP) is left to those who
    // wait on it; whoever comes now gets a fresh one, and Redis's own answer there.
    if (upstream->role() < Role::kReplica && !upstream->retired() &&
        upstream->front_age_us(now_us()) > kStuckMsMax * 1000 && retired < kRetiredConnectionsMax) {
      upstream->retire();
      ++retired;
    }
  }
}

void Worker::count_upstreams() {
  int64_t queued = 0, in_flight = 0, in_use = 0, idle = 0;
  for (const auto& [upstream, owned] : upstreams_) {
    (upstream->ready() ? in_flight : queued) += static_cast<int64_t>(upstream->outstanding());
    if (upstream->role() == Role::kDedicated) {
      ++(client(upstream->owner) != nullptr ? in_use : idle);
    }
  }
  const size_t asleep = auth_->asleep() ? 1 : 0;
  metrics_.upstream_connections.set(static_cast<int64_t>(upstreams_.size() - asleep));
  metrics_.upstream_queued.set(queued);
  metrics_.upstream_in_flight.set(in_flight);
  metrics_.dedicated_in_use.set(in_use);
  metrics_.dedicated_idle.set(idle);
}

// Closes what nobody has used for long; true: nobody uses the identity itself, and it may go.
bool Worker::is_over(Identity& identity, uint64_t now) {
  auto& pool = identity.idle;
  // Longest unused first; one stays, so that the next client finds it connected.
  while (pool.size() > (sparing() ? 0 : 1) &&
         now - pool.front()->idle_since_ms > kDedicatedIdleMsMax) {
    Upstream* oldest = pool.front();
    pool.erase(pool.begin());
    oldest->begin_close();
  }
  if (identity.clients != 0 || &identity == default_identity_) {
    identity.unused_since_ms = 0;
    return false;
  }
  if (identity.unused_since_ms == 0) identity.unused_since_ms = now;
  if (now - identity.unused_since_ms <= kIdentityUnusedMsMax &&
      (now == identity.unused_since_ms || identities_.size() <= kIdentitiesUnusedMax)) {
    return false;
  }
  // A client of another identity may wait for a SELECT there, or still hold a connection of it.
  const auto in_use = [&](const auto& each) {
    const Upstream& upstream = *each.first;
    return upstream.identity() == &identity &&
           (upstream.outstanding() != 0 || client(upstream.owner) != nullptr);
  };
  if (std::any_of(upstreams_.begin(), upstreams_.end(), in_use)) return false;
  close_identity(identity);
  const auto left = [&](const auto& each) { return each.first->identity() == &identity; };
  return std::none_of(upstreams_.begin(), upstreams_.end(), left);  // one may still retire
}

// A request that has not come whole may, as long as its client goes on sending it.
void Worker::end_late_ones(uint64_t now) {
  for_each_client([&](Client& late) {
    const bool stalls =
        late.stream && late.wait == Wait::kNone && now - late.stream->heard_ms >= kDrainStallMsMax;
    if (now < drain_deadline_ms_ && !stalls) return;
    if (late.stream && late.inflight == 1) {
      reply(late, kCutShortReply);
      flush_client(late);
    }
    cut(late, CutReason::kDrain);
  });
}

// A new connection to Redis shows whether the default user is open: a password may be set by
// anyone, not only through azimuth. And one that answers no more is no use.
void Worker::check_auth_connection(uint64_t now) {
  const bool stuck = auth_->front_age_us(now_us()) > kStuckMsMax * 1000;
  const bool due = auth_->outstanding() == 0 && now - auth_checked_ms_ >= kLoginCheckMs;
  // (A sidecar asks when somebody comes: learn_login_rule.)
  if (!auth_->ready() || !(stuck || (due && !sparing())) || draining_) return;
  auth_checked_ms_ = now;
  auth_->reconnect();
}

// Idle clients, and the memory that all of them hold (I8).
void Worker::check_clients(uint64_t now) {
  const uint32_t idle_s = settings_->limits.client_idle_timeout_s;
  const uint64_t share = settings_->limits.buffered_bytes_max / process_.workers.size();
  uint64_t held = 0;
  Client* largest = nullptr;
  size_t largest_bytes = 0;
  for_each_client([&](Client& each) {
    const size_t bytes = each.output_size() + (each.input ? each.input->bytes.capacity() : 0);
    held += bytes;
    if (bytes > largest_bytes) {
      largest = &each;
      largest_bytes = bytes;
    }
    // Perhaps it only finished sending; but its replies have been long in coming.
    if (each.eof && !draining_ &&
        (now - uint64_t{each.active_s} * 1000) > settings_->hold.timeout_ms + 1000) {
      return cut(each, CutReason::kClosed);
    }
    if (idle_s != 0 && !each.pinned() && each.wait == Wait::kNone && each.inflight == 0 &&
        now / 1000 - each.active_s > idle_s) {
      cut(each, CutReason::kIdle);
    }
  });
  metrics_.buffered_bytes.set(static_cast<int64_t>(held));
  if (held > share && largest != nullptr && !largest->closing) {
    log_warning("client_cut", {{"reason", "buffered-limit"},
                               {"id", largest->id},
                               {"bytes", largest_bytes},
                               {"held", held}});
    cut(*largest, CutReason::kBufferedLimit);
  }
}

void Worker::retry_in(uint64_t delay_ms) {
  const uint64_t due = now_ms() + delay_ms;
  if (uv_is_active(reinterpret_cast<uv_handle_t*>(&retry_)) && retry_at_ms_ <= due) return;
  retry_at_ms_ = due;
  uv_timer_start(
      &retry_,
      [](uv_timer_t* handle) {
        auto* self = static_cast<Worker*>(handle->loop->data);
        for (Upstream* upstream : self->all_upstreams()) upstream->on_tick(self->now_ms());
      },
      delay_ms, 0);
}

// --- news --------------------------------------------------------------------------------------

void Worker::apply_settings(std::shared_ptr<const Settings> settings) {
  settings_ = std::move(settings);
  slowlog_.configure(settings_->slowlog.threshold_us, settings_->slowlog.entries_max);
  if (relays_ && settings_->redis) {
    relays_->set_login(settings_->redis->username, settings_->redis->password);
    relays_->set_most(relays_max());
  }
}

void Worker::set_topology(std::shared_ptr<const Topology> topology, SocketAddress redis_address,
                          uint64_t hand_over) {
  hand_over_ = hand_over;
  topology_ = std::move(topology);
  redis_address_ = redis_address;
  compute_plain_roles();
  carry_scopes();
  if (relays_) relays_->set_redis(redis_address_);
  if (relays_) relays_->set_fed_epoch(topology_->fed_epoch);
  set_holding(topology_->holding);
  retarget(target_of(*topology_));
  replica_.set_topology(*topology_);
  renew_pace();
  look_at_quorum();
  if (relays_) {
    const bool reads =
        topology_->local >= 0 && topology_->local != topology_->primary &&
        topology_->members[static_cast<size_t>(topology_->local)].readiness == Readiness::kReady;
    relays_->refuse_tunnels_of(topology_->unfed);
    relays_->set_reads_epoch(reads ? topology_->epoch : 0);
  }
}

void Worker::compute_plain_roles() {
  const SessionView nothing_special;
  for (const CommandRow& row : all_commands()) {
    plain_roles_[row.id] = role_for(nothing_special, &row);
  }
  plain_roles_[kExtraCommandId] = Role::kWrites;
}

void Worker::set_extra_commands(std::shared_ptr<const ExtraCommands> commands) {
  extra_commands_ = std::move(commands);
}

uint64_t Worker::connect_timeout_ms() const {
  return settings_->redis ? settings_->redis->connect_timeout_ms : 1000;
}

// --- clients -----------------------------------------------------------------------------------

Client* Worker::client(ClientRef ref) {
  if (ref.index >= chunks_.size() * kChunkClients) return nullptr;
  Client& found = chunks_[ref.index / kChunkClients][ref.index % kChunkClients];
  return found.self.generation == ref.generation && found.fd >= 0 ? &found : nullptr;
}

void Worker::for_each_client(const std::function<void(Client&)>& visit) {
  for (auto& chunk : chunks_) {
    for (size_t i = 0; i < kChunkClients; ++i) {
      if (chunk[i].fd >= 0 && !chunk[i].closing) visit(chunk[i]);
    }
  }
}

Client* Worker::find_client(uint64_t id) {
  Client* found = nullptr;
  for_each_client([&](Client& each) {
    if (each.id == id) found = &each;
  });
  return found;
}

void Worker::resume(Client& client) {
  client.wait = Wait::kNone;
  if (client.resuming || client.closing) return;
  client.resuming = true;
  resuming_.push_back(client.self);
}

void Worker::answered(Client& client) {
  end_request(client.session);
  resume(client);
}

void Worker::finish_soon(Client& client) {
  if (client.eof && client.inflight == 0 && client.wait == Wait::kNone && !client.resuming) {
    client.close_after_flush = true;
  }
  if (client.close_after_flush && !client.closing) mark_dirty(client);
}

void Worker::resume_all(std::vector<ClientRef>& waiting) {
  crowded_ = false;
  std::vector<ClientRef> refs;
  refs.swap(waiting);
  for (const ClientRef& ref : refs) {
    Client* next = client(ref);
    if (next != nullptr && next->wait == Wait::kUpstream) resume(*next);
  }
}

void Worker::record_command(const CommandRow* row, CommandRoute route) {
  metrics_.count_command(row != nullptr ? row->id : kExtraCommandId, route);
}

void Worker::forward(Client& client, Upstream& upstream, Entry entry, const BlockRef& block,
                     std::string_view bytes) {
  // The one rule that keeps replies in order (I7).
  AZIMUTH_CHECK(client.inflight == 0 || client.upstream == &upstream);
  entry.start_us = now_us();
  entry.strong = is_strong(client) && !entry.write &&
                 (entry.kind == EntryKind::kReply || entry.topic == Topic::kUnblocked);
  entry.quorum = needs_quorum(client, entry);
  if (pace_.on() && entry.write) pace_.spend(client, bytes.size());
  ++client.inflight;
  client.upstream = &upstream;
  if (upstream.failing_fast() || (upstream.role() < Role::kDedicated && !upstream.ready() &&
                                  upstream.queued_bytes() > settings_->hold.bytes_max))
      [[unlikely]] {
    return upstream.answer_in_turn(entry, Canned::kClusterDown);
  }
  if (entry.evalsha && !bytes.empty()) load_lost_script(upstream, bytes);
  upstream.send(entry, block, bytes);
  // On a connection of its own at once: it may not come to stand inside the next MULTI. (Where the
  // request streams, when that is over.)
  if (upstream.role() == Role::kDedicated && !bytes.empty()) upstream.ask_tag();
}

void Worker::load_lost_script(Upstream& upstream, std::string_view evalsha) {
  std::vector<std::string_view> args;
  collect_args(evalsha.data(), evalsha.data() + evalsha.size(), args);
  if (args.size() < 2) return;
  // (A replica's cache of scripts is its own; it is sent each that is known once a connection.)
  const bool replica = upstream.role() == Role::kReplica;
  const ScriptCache::Body body = replica ? scripts_.known(args[1]) : scripts_.lost(args[1]);
  if (body) upstream.load_script(args[1], *body);
}

bool Worker::needs_quorum(const Client& client, const Entry& entry) const {
  if (!wants_quorum(client)) return false;
  return entry.topic == Topic::kExec || ((entry.write || entry.strong) && !entry.bound);
}

// --- ending ------------------------------------------------------------------------------------

void Worker::drain() {
  if (draining_) return;
  for (auto& listener : listeners_) on_accept(*listener);  // those who have connected already
  draining_ = true;
  drain_deadline_ms_ = now_ms() + settings_->limits.drain_timeout_ms;
  for (auto& listener : listeners_) {
    uv_close(reinterpret_cast<uv_handle_t*>(listener->poll),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
    ::close(listener->fd);
  }
  listeners_.clear();
  for_each_client([this](Client& each) {
    // Requests that have come are answered, as if it had finished sending, and one that streams may
    // come to its end; what else a client is in the middle of cannot be.
    if (!each.pinned() && !each.stream && each.wait == Wait::kNone && !each.closing) {
      on_client_readable(each);
    }
    if (each.stream) each.stream->heard_ms = now_ms();  // its time to go on begins now
    if (each.closing || each.stream) return;
    if (each.wait == Wait::kBlocked) return cut(each, CutReason::kDrain);
    const bool owed =
        each.inflight != 0 || each.output_size() != 0 || each.wait != Wait::kNone || each.resuming;
    if (!owed) return cut(each, CutReason::kDrain);
    each.eof = true;
    each.reading = false;
    update_poll(each);
    finish_soon(each);
  });
  finish_drain();
}

void Worker::finish_drain() {
  if (drained_ || clients_ != 0) return;
  for (auto& chunk : chunks_) {
    for (size_t i = 0; i < kChunkClients; ++i) {
      if (chunk[i].closing) return;  // its close callback comes here again
    }
  }
  drained_ = true;
  end_mail();
  for (auto& identity : identities_) close_identity(*identity);
  for (Upstream* upstream : all_upstreams()) upstream->begin_close();
  tunnel_.reset();
  pace_.close();
  if (links_) links_->close();
  if (relays_) relays_->close();
  for (uv_handle_t* handle :
       {reinterpret_cast<uv_handle_t*>(&tick_), reinterpret_cast<uv_handle_t*>(&retry_),
        reinterpret_cast<uv_handle_t*>(&prepare_), reinterpret_cast<uv_handle_t*>(&wake_),
        replica_.timer()}) {
    uv_close(handle, nullptr);
  }
}

}  // namespace azimuth
