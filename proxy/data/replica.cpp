#include "proxy/data/replica.h"

#include <algorithm>

#include "proxy/data/worker.h"

namespace azimuth {
namespace {

// The timer runs while reads come, and for so long after.
constexpr uint64_t kTickMs = 5;
constexpr uint64_t kReadsComeMs = 2000;
// A token may be ahead of the news that its epoch has begun.
constexpr uint64_t kEpochWaitMs = 1000;
// How long a replica elsewhere that did not answer is not tried again.
constexpr uint64_t kAvoidMs = 1000;
// How long no script runs at a replica that one has kept from answering.
constexpr uint64_t kNoScriptsMs = 10'000;

}  // namespace

void Replica::open(uv_loop_t* loop) {
  uv_timer_init(loop, &timer_);
  timer_.data = this;
}

void Replica::set_topology(const Topology& topology) {
  const NodeSettings& self = worker_.settings().node;
  // (The same for all workers: a session that spans them need not wait for one replica to catch up
  // with another.)
  const size_t salt = std::hash<std::string>{}(self.id);
  Place place;
  place.epoch = topology.epoch;
  place.member = replica_for(topology, self.zone, self.region, salt, avoided_);
  if (place.member >= 0) {
    const Member& member = topology.members[static_cast<size_t>(place.member)];
    place.near = place.member == topology.local;
    place.port = member.replica_port;
    place.key = std::hash<std::string>{}(member.id + ' ' + std::to_string(place.port) + ' ' +
                                         std::to_string(place.epoch));
    if (!place.near) {
      place.node = member.id;
      const Result<Endpoint> endpoint = parse_endpoint(member.peer);
      if (const auto address = endpoint.ok() ? numeric_address(*endpoint) : std::nullopt) {
        place.address = *address;
      } else {
        place = {};
        place.epoch = topology.epoch;
      }
    }
  }
  if (place != place_) move(std::move(place));
  on_applied();
}

void Replica::move(Place place) {
  place_ = std::move(place);
  said_ = 0;
  ++generation_;
  for (Upstream* each : worker_.all_upstreams()) {
    if (each->role() == Role::kReplica) each->leave_replica();
  }
}

void Replica::on_lost(bool failed) {
  ++generation_;
  if (!failed || place_.near || !there()) return;
  avoided_ = place_.member;
  avoided_until_ms_ = worker_.now_ms() + kAvoidMs;
  choose_anew_ = true;  // not here: whoever calls is in the middle of giving a connection up
  start_timer(true);
}

void Replica::avoid_scripts() { no_scripts_until_ms_ = worker_.now_ms() + kNoScriptsMs; }

void Replica::on_offset(uint64_t offset) {
  if (place_.near || offset <= said_) return;
  said_ = offset;
  on_applied();
}

uint64_t Replica::applied() const {
  return place_.near ? worker_.process().applied.of(place_.epoch) : said_;
}

Upstream* Replica::connection(const Client& client) const {
  return client.identity->shared[static_cast<size_t>(Role::kReplica)];
}

ReplicaSight Replica::sight(const Client& client, const Scope::Sight& shared) const {
  const Upstream* const upstream = connection(client);
  const Settings& settings = worker_.settings();
  const uint64_t now = worker_.now_ms();
  ReplicaSight sight;
  sight.member = place_.member;
  sight.reachable = there() && upstream != nullptr && upstream->ready() && !upstream->retired() &&
                    !client.identity->role_denied;
  sight.runs_scripts = now >= no_scripts_until_ms_;
  sight.applied = applied();
  if (shared.replica == place_.key) sight.applied = std::max(sight.applied, shared.applied);
  sight.current = freshness_.needed(place_.epoch, now, settings.reads.lag_ms_max);
  if (sight.current) *sight.current -= std::min(*sight.current, settings.reads.lag_bytes_max);
  // (How many writes the primary has taken by this moment, only the primary knows.)
  if (client.session.consistency == Consistency::kBoundedStaleness &&
      !client.session.bound_in_writes) {
    sight.bound = freshness_.needed(place_.epoch, now, client.session.staleness_bound);
  }
  return sight;
}

Upstream* Replica::choose(Client& client, const CommandRow& row, size_t bytes) {
  const bool goes_on = client.inflight != 0;
  // I7. (One that did not read is left on a connection that has retired.)
  if (goes_on && client.upstream != connection(client)) return nullptr;
  const Scope::Sight shared = worker_.shared_sight(client);
  const SessionView view = worker_.view_of(client, shared);
  const ReplicaSight seen = sight(client, shared);
  const Route route = decide(worker_.topology(), view, &row, seen);
  const Reason reason = route.reason;
  if (there() && row.place == azimuth::Place::kAnywhere) {
    read_ms_ = worker_.now_ms();
    reader_ = client.identity;
    if (client.session.consistency == Consistency::kBoundedStaleness &&
        !client.session.bound_in_writes) {
      shortest_ms_ = shortest_ms_ == 0 ? client.session.staleness_bound
                                       : std::min(shortest_ms_, client.session.staleness_bound);
    }
    start_timer();
  }
  // What others of its session had been shown when the read came is its own affair from now on.
  const Position floor = view.floor;
  if (!view.untagged) client.session.floor = floor;
  if (reason == Reason::kBehindFloor && !goes_on && !client.waited &&
      worker_.settings().reads.wait_ms != 0) {
    client.waited = true;
    client.wait = Wait::kApplied;
    waiters_.push_back({client.self, floor, worker_.now_ms() + worker_.settings().reads.wait_ms});
    if (!place_.near) {
      connection(client)->require(0, true);  // it is asked
      return nullptr;
    }
    worker_.process().applied.want(worker_.index(), floor.offset);
    // It may have been applied in between, and nobody would wake us.
    if (worker_.process().applied.of(place_.epoch) >= floor.offset) worker_.wake();
    return nullptr;
  }
  client.waited = false;
  worker_.metrics().count_read(reason);
  if (route.member != place_.member || !there()) return nullptr;
  Upstream& upstream = *connection(client);
  if (!upstream.can_retain(bytes)) return nullptr;
  const bool any = client.session.consistency == Consistency::kEventual;
  uint64_t offset = 0;
  if (client.session.consistency == Consistency::kBoundedStaleness) {
    offset = *seen.bound;
  } else if (!any) {
    offset = std::max(floor.offset, *seen.current);
  }
  upstream.require(offset, any);
  return &upstream;
}

void Replica::wait_for_epoch(Client& client, uint64_t epoch) {
  client.wait = Wait::kApplied;
  waiters_.push_back({client.self, {epoch, 0}, worker_.now_ms() + kEpochWaitMs});
  start_timer();
}

void Replica::on_applied() {
  const uint64_t applied = this->applied();
  const uint64_t now = worker_.now_ms();
  std::erase_if(waiters_, [&](const Waiter& each) {
    Client* const waiting = worker_.client(each.client);
    if (waiting == nullptr || waiting->wait != Wait::kApplied) return true;
    if (!each.may_go(place_.epoch, applied, now)) return false;
    worker_.resume(*waiting);
    return true;
  });
  for (const Waiter& each : waiters_) {
    if (each.floor.epoch != place_.epoch || !place_.near) continue;
    worker_.process().applied.want(worker_.index(), each.floor.offset);
  }
}

void Replica::start_timer(bool anew) {
  if (uv_is_active(timer()) != 0 && !anew) return;
  ticked_ms_ = worker_.now_ms();
  uv_timer_start(
      &timer_, [](uv_timer_t* handle) { static_cast<Replica*>(handle->data)->on_timer(); }, 0,
      kTickMs);
}

void Replica::on_timer() {
  const uint64_t now = worker_.now_ms();
  if (avoided_ >= 0 && now >= avoided_until_ms_) {
    avoided_ = -1;
    choose_anew_ = choose_anew_ || !there();
  }
  if (std::exchange(choose_anew_, false)) set_topology(worker_.topology());
  if (!waiters_.empty()) on_applied();
  // A worker that stood still itself takes no replica for silent: the answers may be there.
  const bool stood_still = now - std::exchange(ticked_ms_, now) > 5 * kTickMs;
  for (Upstream* each : worker_.all_upstreams()) {
    if (each->role() == Role::kReplica && !stood_still) each->tend_replica();
  }
  if (now - read_ms_ > kReadsComeMs && waiters_.empty() && avoided_ < 0) {
    shortest_ms_ = 0;
    uv_timer_stop(&timer_);
    return;
  }
  if (there()) ask_for_proof();
}

void Replica::ask_for_proof() {
  const uint64_t now = worker_.now_ms();
  // (An identity may be gone by now; then another reader will come.)
  Identity* const reader = worker_.known(reader_);
  if (reader == nullptr) return;
  Upstream& replica = worker_.shared(*reader, Role::kReplica);
  if (!replica.ready()) replica.tend_replica();
  uint64_t every = kProofEveryMs;
  if (shortest_ms_ != 0) every = std::clamp<uint64_t>(shortest_ms_ / 2, kProofEveryMsLeast, every);
  if (reader->role_denied || now - asked_ms_ < every) return;
  if (!place_.near && replica.ready()) replica.require(0, true);  // how far it is: nobody pushes it
  Upstream& primary = worker_.shared(*reader, Role::kReads);
  if (!primary.ready()) return;
  asked_ms_ = now;
  primary.ask_proof();
}

}  // namespace azimuth
