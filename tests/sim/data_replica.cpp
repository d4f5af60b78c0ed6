// Reads at a replica: which go there, and what shows that they may be believed.
#include <algorithm>

#include "conf/settings.h"
#include "tests/sim/data_path.h"
#include "tests/sim/world.h"

namespace azimuth::sim {

namespace {

constexpr std::uint64_t kReadsComeMs = 2000;
constexpr std::uint64_t kAvoidMs = 1000;
const ReadSettings kReads{};

}  // namespace

void DataPath::place_replica() {
  const NodeSetup& self = node_.setup();
  if (now_ms() >= avoided_until_ms_) avoided_ = -1;
  Place place;
  place.epoch = topology_->epoch;
  place.member = replica_for(*topology_, self.zone, "r", index_, avoided_);
  if (place.member >= 0) {
    const Member& member = topology_->members[static_cast<std::size_t>(place.member)];
    place.near = place.member == topology_->local;
    place.port = member.replica_port;
    place.machine = world_.index_of(member.id);
  }
  if (place != place_) {
    place_ = place;
    said_ = 0;
    ++generation_;
    if (replica_.link || !replica_.entries.empty()) give_up_replica();
    replica_.retry_at = 0;
  }
  on_applied();
}

std::uint64_t DataPath::applied() const {
  return place_.near ? applied_.of(topology_->epoch) : said_;
}

SessionView DataPath::view_of(const Client& client) const {
  SessionView view;
  view.untagged = !client.tagged || client.sightings != generation_;
  view.consistency = client.level;
  view.floor = client.floor;
  return view;
}

ReplicaSight DataPath::sight(const Client& client) const {
  ReplicaSight sight;
  sight.member = place_.member;
  sight.reachable = place_.member >= 0 && replica_.link != nullptr;
  sight.applied = applied();
  sight.current = freshness_.needed(topology_->epoch, now_ms(), kReads.lag_ms_max);
  if (sight.current) *sight.current -= std::min(*sight.current, kReads.lag_bytes_max);
  if (client.level == Consistency::kBoundedStaleness) {
    sight.bound = freshness_.needed(topology_->epoch, now_ms(), client.bound_ms);
  }
  return sight;
}

Lane* DataPath::choose(Client& client) {
  const bool goes_on = client.inflight != 0;
  if (goes_on && client.lane != &replica_) return nullptr;  // I7
  tend_replica();
  const ReplicaSight seen = sight(client);
  const Route route = decide(*topology_, view_of(client), &command_row(CommandId::kGet), seen);
  if (place_.member >= 0) {
    read_ms_ = now_ms();
    if (client.level == Consistency::kBoundedStaleness) {
      shortest_ms_ = shortest_ms_ == 0 ? client.bound_ms : std::min(shortest_ms_, client.bound_ms);
    }
    mind_proofs();
  }
  if (route.reason == Reason::kBehindFloor && !goes_on && !client.waited) {
    client.waited = true;
    wait_until(client, client.floor, kReads.wait_ms);
    if (!place_.near) {
      require(0, true);  // it is asked
    } else {
      applied_.want(0, client.floor.offset);
      if (applied() >= client.floor.offset) {
        node_.work_later(us(30), [this] { on_applied(); });
      }
    }
    return nullptr;
  }
  client.waited = false;
  if (route.member != place_.member || place_.member < 0) return nullptr;
  const bool any = client.level == Consistency::kEventual;
  std::uint64_t offset = 0;
  if (client.level == Consistency::kBoundedStaleness) {
    offset = *seen.bound;
  } else if (!any) {
    offset = std::max(client.floor.offset, *seen.current);
  }
  require(offset, any);
  return &replica_;
}

void DataPath::require(std::uint64_t offset, bool any) {
  if (!std::exchange(replica_.gate_open, true)) {
    replica_.gates.push_back({});
    Command role;
    role.topic = Command::Topic::kGate;
    send(replica_, std::move(role));
  }
  replica_.gates.back().require(offset, any);
}

void DataPath::check_gate(const std::string& role) {
  if (replica_.gates.empty()) return;
  const ReadGate gate = replica_.gates.front();
  replica_.gates.pop_front();
  const GateVerdict verdict = judge(role, gate, place_.port);
  if (verdict.applied && !place_.near && *verdict.applied > said_) {
    said_ = *verdict.applied;
    on_applied();
  }
  if (!verdict.open) give_up_replica();
}

// To the primary with all that is outstanding here.
void DataPath::give_up_replica() {
  const bool stood = replica_.link != nullptr;
  const std::vector<Command> all = settle(replica_, 0);
  replica_.retry_at = world_.scheduler.now() + world_.random.between(ms(10), ms(20));
  ++generation_;
  if (stood && !place_.near && place_.member >= 0) {
    avoided_ = place_.member;
    avoided_until_ms_ = now_ms() + kAvoidMs;
  }
  for (const Command& each : all) {
    if (Client* const found = client(each.client)) found->lane = &reads_;
    send_again(reads_, each);
  }
  deliver_canned(reads_);
}

// A connection is made ahead of the reads.
void DataPath::tend_replica() {
  const bool due = place_.member >= 0 && !replica_.link && !replica_.connecting &&
                   world_.scheduler.now() >= replica_.retry_at;
  if (!due) return;
  replica_.connecting = true;
  const Time trip = place_.near ? us(100) : 2 * world_.network.delay();
  node_.work_later(trip + us(200), [this, place = place_] {
    replica_.connecting = false;
    const bool open = world_.network.open(index_, place.machine);
    if (place != place_ || !open || !world_.node(place.machine).running()) return;
    const RedisServer& server = world_.server(place.machine);
    if (server.redis() == nullptr) {
      replica_.retry_at = world_.scheduler.now() + ms(15);
      return;
    }
    connect(replica_);
  });
}

void DataPath::mind_silence() {
  if (std::exchange(minds_silence_, true)) return;
  node_.work_later(ms(5) + ms(kReplicaSilenceMsMax), [this] {
    minds_silence_ = false;
    if (replica_.entries.empty()) return;
    const Time limit = world_.scheduler.now() - ms(kReplicaSilenceMsMax);
    if (replica_.entries.front().queued < limit && heard_ < limit) {
      give_up_replica();
    } else {
      mind_silence();
    }
  });
}

// The primary is asked how far it is, while reads come.
void DataPath::mind_proofs() {
  std::uint64_t every = kProofEveryMs;
  if (shortest_ms_ != 0) {
    every = std::clamp<std::uint64_t>(shortest_ms_ / 2, kProofEveryMsLeast, every);
  }
  if (now_ms() - asked_ms_ >= every && reads_.link) {
    asked_ms_ = now_ms();
    if (!place_.near && replica_.link) require(0, true);  // how far it is: nobody pushes it
    reads_.tag_due = true;
    ask_tag(reads_);
    flush_due_ = true;
  }
  if (std::exchange(minds_proofs_, true)) return;
  node_.work_later(ms(static_cast<std::int64_t>(every)), [this] {
    minds_proofs_ = false;
    if (now_ms() - read_ms_ > kReadsComeMs || place_.member < 0) {
      shortest_ms_ = 0;
      return;
    }
    tend_replica();
    mind_proofs();
  });
}

}  // namespace azimuth::sim
