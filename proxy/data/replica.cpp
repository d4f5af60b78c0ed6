#include "proxy/data/replica.h"

#include <algorithm>

#include "proxy/data/worker.h"
#include "router/spread.h"

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

bool Replica::there() const {
  return std::any_of(places_.begin(), places_.end(),
                     [](const Place& each) { return each.member >= 0; });
}

std::vector<Replica::Place> Replica::places_of(const Topology& topology) const {
  const NodeSettings& self = worker_.settings().node;
  // (The same for all workers: a session that spans them need not wait for one replica to catch up
  // with another.)
  const size_t salt = std::hash<std::string>{}(self.id);
  std::vector<Place> places;
  for (const int index : replicas_for(topology, self.zone, self.region, salt, avoided_)) {
    const Member& member = topology.members[static_cast<size_t>(index)];
    Place place;
    place.member = index;
    place.epoch = topology.epoch;
    place.near = index == topology.local;
    place.port = member.replica_port;
    place.key = std::hash<std::string>{}(member.id + ' ' + std::to_string(place.port) + ' ' +
                                         std::to_string(place.epoch));
    if (!place.near) {
      place.node = member.id;
      const Result<Endpoint> endpoint = parse_endpoint(member.peer);
      const auto address = endpoint.ok() ? numeric_address(*endpoint) : std::nullopt;
      if (!address) continue;
      place.address = *address;
    }
    places.push_back(std::move(place));
  }
  return places;
}

// Who is read already keeps its seat.
void Replica::set_topology(const Topology& topology) {
  epoch_ = topology.epoch;
  std::vector<Place> wanted = places_of(topology);
  const Place first = wanted.empty() ? Place() : wanted.front();
  std::array<bool, kReplicasReadMax> kept{};
  for (uint8_t seat = 0; seat < places_.size(); ++seat) {
    kept[seat] = std::erase(wanted, places_[seat]) != 0;
  }
  for (uint8_t seat = 0; seat < places_.size(); ++seat) {
    if (kept[seat] || (!there(seat) && wanted.empty())) continue;
    Place next;
    if (!wanted.empty()) {
      next = std::move(wanted.front());
      wanted.erase(wanted.begin());
    }
    move(seat, std::move(next));
  }
  home_ = static_cast<uint8_t>(std::find(places_.begin(), places_.end(), first) - places_.begin());
  on_applied();
}

void Replica::move(uint8_t seat, Place place) {
  places_[seat] = std::move(place);
  said_[seat] = 0;
  ++generation_;
  for (Upstream* each : worker_.all_upstreams()) {
    if (each->role() == Role::kReplica && each->seat() == seat) each->leave_replica();
  }
}

void Replica::on_lost(uint8_t seat, bool failed) {
  ++generation_;
  if (!failed || places_[seat].near || !there(seat)) return;
  avoided_ = places_[seat].member;
  avoided_until_ms_ = worker_.now_ms() + kAvoidMs;
  choose_anew_ = true;  // not here: whoever calls is in the middle of giving a connection up
  start_timer(true);
}

void Replica::avoid_scripts() { no_scripts_until_ms_ = worker_.now_ms() + kNoScriptsMs; }

void Replica::on_offset(uint8_t seat, uint64_t offset) {
  if (places_[seat].near || offset <= said_[seat]) return;
  said_[seat] = offset;
  on_applied();
}

uint64_t Replica::applied(uint8_t seat) const {
  return places_[seat].near ? worker_.process().applied.of(epoch_) : said_[seat];
}

Upstream* Replica::connection(const Client& client, uint8_t seat) const {
  return client.identity->shared[static_cast<size_t>(Role::kReplica) + seat];
}

ReplicaSight Replica::sight(const Client& client, uint8_t seat, const Scope::Sight& shared) const {
  const Upstream* const upstream = connection(client, seat);
  const Settings& settings = worker_.settings();
  const uint64_t now = worker_.now_ms();
  ReplicaSight sight;
  sight.member = places_[seat].member;
  sight.reachable = there(seat) && upstream != nullptr && upstream->ready() &&
                    !upstream->retired() && !client.identity->role_denied;
  sight.runs_scripts = now >= no_scripts_until_ms_;
  sight.applied = applied(seat);
  if (shared.replica == places_[seat].key) sight.applied = std::max(sight.applied, shared.applied);
  sight.current = freshness_.needed(epoch_, now, settings.reads.lag_ms_max);
  if (sight.current) *sight.current -= std::min(*sight.current, settings.reads.lag_bytes_max);
  // (How many writes the primary has taken by this moment, only the primary knows.)
  if (client.session.consistency == Consistency::kBoundedStaleness &&
      !client.session.bound_in_writes) {
    sight.bound = freshness_.needed(epoch_, now, client.session.staleness_bound);
  }
  return sight;
}

Replica::Pick Replica::look(const Client& client, uint8_t seat, const CommandRow* row,
                            const SessionView& view, const Scope::Sight& shared,
                            bool blocks) const {
  Pick pick{seat, {}, sight(client, seat, shared)};
  pick.route = decide(worker_.topology(), view, row, pick.seen, blocks);
  return pick;
}

Replica::Pick Replica::pick(const Client& client, const CommandRow* row, const SessionView& view,
                            const Scope::Sight& shared, bool blocks) const {
  const bool goes_on = client.inflight != 0 && client.upstream->role() == Role::kReplica;
  const bool roams = client.scope != nullptr || !minds_floor(view.consistency);
  uint8_t bound = roams ? kNoSeat : client.seat;
  if (goes_on) bound = client.upstream->seat();  // I7
  if (bound == kNoSeat && !several()) bound = home_;
  if (bound != kNoSeat) return look(client, bound, row, view, shared, blocks);
  // (Those that will stay where they read first are spread: they cannot be moved when need be.)
  const size_t home = roams ? home_ : client.id % kReplicasReadMax;
  std::array<Equal, kReplicasReadMax> equals{};
  for (uint8_t seat = 0; seat < places_.size(); ++seat) {
    const Upstream* const upstream = connection(client, seat);
    if (upstream == nullptr) continue;
    equals[seat] = {there(seat), upstream->batch_open(), upstream->batches_owed(),
                    upstream->outstanding()};
  }
  std::optional<Pick> instead;  // where nobody may: the reason, a replica's that may soon
  for (;;) {
    const int seat = least_outstanding(equals, home);
    if (seat < 0) break;
    const Pick each = look(client, static_cast<uint8_t>(seat), row, view, shared, blocks);
    if (leads_there(each)) return each;
    if (!instead || each.route.reason == Reason::kBehindFloor) instead = each;
    equals[static_cast<size_t>(seat)].may = false;
  }
  return instead ? *instead : look(client, home_, row, view, shared, blocks);
}

Upstream* Replica::choose(Client& client, const CommandRow& row, size_t bytes) {
  const bool goes_on = client.inflight != 0;
  // I7. (One that did not read is left on a connection that has retired.)
  if (goes_on && client.upstream != connection(client, client.upstream->seat())) return nullptr;
  const Scope::Sight shared = worker_.shared_sight(client);
  const SessionView view = worker_.view_of(client, shared);
  const Pick pick = this->pick(client, &row, view, shared);
  const Reason reason = pick.route.reason;
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
  if (!view.untagged) client.session.floor = view.floor;
  if (reason == Reason::kBehindFloor && !goes_on && !client.waited &&
      worker_.settings().reads.wait_ms != 0) {
    wait(client, row, view, shared);
    return nullptr;
  }
  client.waited = false;
  worker_.metrics().count_read(reason);
  if (!leads_there(pick)) return nullptr;
  Upstream& upstream = *connection(client, pick.seat);
  if (goes_on && client.upstream != &upstream)
    return nullptr;  // it is owed replies by a retired one
  if (!upstream.can_retain(bytes)) return nullptr;
  // (What it sees at a level that minds no floor, none tells of, should it come to mind one.)
  if (several() && !minds_floor(view.consistency)) client.sightings = 0;
  client.seat = pick.seat;
  const bool any = client.session.consistency == Consistency::kEventual;
  uint64_t offset = 0;
  if (client.session.consistency == Consistency::kBoundedStaleness) {
    offset = *pick.seen.bound;
  } else if (!any) {
    offset = std::max(view.floor.offset, *pick.seen.current);
  }
  upstream.require(offset, any);
  return &upstream;
}

// Until a replica is at the read's floor, for a little while.
void Replica::wait(Client& client, const CommandRow& row, const SessionView& view,
                   const Scope::Sight& shared) {
  const uint8_t bound = client.scope != nullptr ? kNoSeat : client.seat;
  client.waited = true;
  client.wait = Wait::kApplied;
  waiters_.push_back(
      {client.self, view.floor, worker_.now_ms() + worker_.settings().reads.wait_ms, bound});
  for (uint8_t seat = 0; seat < places_.size(); ++seat) {
    if (!there(seat) || (bound != kNoSeat && seat != bound)) continue;
    if (places_[seat].near) {
      worker_.process().applied.want(worker_.index(), view.floor.offset);
      // It may have been applied in between, and nobody would wake us.
      if (worker_.process().applied.of(epoch_) >= view.floor.offset) worker_.wake();
      continue;
    }
    const ReplicaSight seen = sight(client, seat, shared);
    if (decide(worker_.topology(), view, &row, seen).reason == Reason::kBehindFloor) {
      connection(client, seat)->require(0, true);  // it is asked
    }
  }
}

void Replica::wait_for_epoch(Client& client, uint64_t epoch) {
  client.wait = Wait::kApplied;
  waiters_.push_back({client.self, {epoch, 0}, worker_.now_ms() + kEpochWaitMs, kNoSeat});
  start_timer();
}

// Behind a floor of another epoch nobody waits: it is carried over, or the primary is asked.
bool Replica::has_reached(uint8_t seat, const Position& floor) const {
  if (seat != kNoSeat) return floor.epoch == epoch_ && floor.offset <= applied(seat);
  for (uint8_t each = 0; each < places_.size(); ++each) {
    if ((each == 0 || there(each)) && has_reached(each, floor)) return true;
  }
  return false;
}

void Replica::on_applied() {
  const uint64_t now = worker_.now_ms();
  std::erase_if(waiters_, [&](const Waiter& each) {
    Client* const waiting = worker_.client(each.client);
    if (waiting == nullptr || waiting->wait != Wait::kApplied) return true;
    const bool over = now >= each.until_ms || each.floor.epoch < epoch_;
    if (!over && !has_reached(each.seat, each.floor)) return false;
    worker_.resume(*waiting);
    return true;
  });
  const bool near =
      std::any_of(places_.begin(), places_.end(), [](const Place& each) { return each.near; });
  for (const Waiter& each : waiters_) {
    if (!near || each.floor.epoch != epoch_) continue;
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
    choose_anew_ = true;
  }
  if (std::exchange(choose_anew_, false)) set_topology(worker_.topology());
  if (!waiters_.empty()) on_applied();
  // A worker that stood still itself takes no replica for silent: the answers may be there.
  const bool stood_still = now - std::exchange(ticked_ms_, now) > 5 * kTickMs;
  if (!stood_still) {
    for (Upstream* each : worker_.all_upstreams()) {
      if (each->role() == Role::kReplica) each->tend_replica();
    }
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
  uint64_t every = kProofEveryMs;
  if (shortest_ms_ != 0) every = std::clamp<uint64_t>(shortest_ms_ / 2, kProofEveryMsLeast, every);
  const bool due = !reader->role_denied && now - asked_ms_ >= every;
  for (uint8_t seat = 0; seat < places_.size(); ++seat) {
    if (!there(seat)) continue;
    Upstream& replica = worker_.shared(*reader, Role::kReplica, seat);
    if (!replica.ready()) replica.tend_replica();
    // How far it is: nobody pushes it.
    if (due && !places_[seat].near && replica.ready()) replica.require(0, true);
  }
  if (!due) return;
  Upstream& primary = worker_.shared(*reader, Role::kReads);
  if (!primary.ready()) return;
  asked_ms_ = now;
  primary.ask_proof();
}

}  // namespace azimuth
