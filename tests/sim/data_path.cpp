// Requests and positions; the replica is in data_replica.cpp, connections in data_lane.cpp.
#include "tests/sim/data_path.h"

#include <algorithm>

#include "conf/defects.h"
#include "session/role_reply.h"
#include "tests/sim/world.h"

namespace azimuth::sim {

namespace {

// A token may be ahead of the news that its epoch has begun.
constexpr std::uint64_t kEpochWaitMs = 1000;

}  // namespace

DataPath::DataPath(World& world, Node& node, std::size_t index)
    : world_(world), node_(node), index_(index) {
  reads_.role = Lane::Role::kReads;
  writes_.role = Lane::Role::kWrites;
  replica_.role = Lane::Role::kReplica;
  applied_.set_workers(1, [this](unsigned) { node_.work_later(us(30), [this] { on_applied(); }); });
}

std::uint64_t DataPath::now_ms() const { return static_cast<std::uint64_t>(node_.now().ms); }

DataPath::Client* DataPath::client(std::uint64_t id) {
  const auto found = clients_.find(id);
  return found == clients_.end() ? nullptr : &found->second;
}

bool DataPath::leads() const {
  return target_.kind == Target::Kind::kNear && node_.lease_holds(target_.epoch);
}

void DataPath::set_topology(std::shared_ptr<const Topology> topology) {
  topology_ = std::move(topology);
  Target target;
  if (!topology_->vacant()) {
    const Member& primary = topology_->members[static_cast<std::size_t>(topology_->primary)];
    const bool near = topology_->primary == topology_->local;
    target = {near ? Target::Kind::kNear : Target::Kind::kFar, topology_->epoch,
              world_.index_of(primary.id)};
  }
  const Target before = std::exchange(target_, target);
  const bool same_place = before.kind == target.kind &&
                          (target.kind != Target::Kind::kFar ||
                           (before.epoch == target.epoch && before.machine == target.machine));
  if (!same_place) {
    // What was sent to the old primary has its answer, is sent again, or is uncertain.
    for (Lane* each : {&reads_, &writes_}) lost(*each, each->link ? each->link->sent : 0);
  }
  place_replica();
  flush_due_ = true;
}

bool DataPath::quiet() const {
  for (const Lane* each : {&reads_, &writes_}) {
    const bool near = each->link && each->link->local();
    if (near && each->link->given != each->link->answered) return false;
  }
  for (const auto& each : relayed_) {
    const LinkRef link = each.lock();
    const bool waits = link && link->kind == Link::Kind::kCommands && !link->far_gone;
    if (waits && link->given != link->answered) return false;
  }
  return true;
}

void DataPath::on_connect(std::uint64_t id, std::size_t session, Consistency level,
                          std::uint32_t bound_ms) {
  Client& made = clients_[id];
  made.id = id;
  made.session = session;
  made.level = level;
  made.bound_ms = bound_ms;
  made.sightings = generation_;
}

void DataPath::on_request(std::uint64_t id, const Request& request) {
  Client* const found = client(id);
  if (found == nullptr) return;
  found->input.push_back(request);
  go_on(*found);
}

void DataPath::go_on(Client& client) {
  while (!client.input.empty()) {
    if (client.wait == Wait::kApplied) return;
    if (client.wait == Wait::kDrain && client.inflight != 0) return;
    client.wait = Wait::kNone;
    if (!dispatch(client)) return;
    client.input.pop_front();
  }
}

// False: it waits.
bool DataPath::dispatch(Client& client) {
  const Request request = client.input.front();
  if (request.kind == Request::Kind::kTakeToken) return take_token(client, request);
  if (tags() && !carry_floor(client)) {
    if (client.inflight != 0) {
      client.wait = Wait::kDrain;
      return false;
    }
    client.lost_floor = false;
    reply(client,
          {.kind = Reply::Kind::kLost, .number = request.number, .epoch = topology_->epoch});
    return true;
  }
  Lane* const lane = pick(client, request);
  if (lane == nullptr) return false;
  forward(client, *lane, request);
  return true;
}

Lane* DataPath::pick(Client& client, const Request& request) {
  const bool reads = request.kind == Request::Kind::kRead;
  if (reads && tags()) {
    Lane* const replica = choose(client);
    if (client.wait != Wait::kNone) return nullptr;
    if (replica != nullptr) return replica;
  }
  Lane* const wanted = request.kind == Request::Kind::kWrite ? &writes_ : &reads_;
  if (client.inflight == 0 || client.lane == wanted) return wanted;
  if (client.lane->role == Lane::Role::kWrites) return client.lane;
  client.wait = Wait::kDrain;
  return nullptr;
}

void DataPath::forward(Client& client, Lane& lane, const Request& request) {
  ++client.inflight;
  client.lane = &lane;
  Command command;
  command.client = client.id;
  command.request = request;
  command.topic = request.kind == Request::Kind::kWrite  ? Command::Topic::kWrite
                  : request.kind == Request::Kind::kRead ? Command::Topic::kRead
                                                         : Command::Topic::kToken;
  send(lane, std::move(command));
}

void DataPath::reply(Client& client, Reply reply) {
  client.replied =
      std::max(client.replied, world_.scheduler.now()) + world_.random.between(us(15), us(60));
  world_.reply_to_session(client.session, client.id, client.replied, reply);
}

// The floor rises to what the token says.
bool DataPath::take_token(Client& client, const Request& request) {
  if (request.token.epoch > topology_->epoch && !client.waited) {
    client.waited = true;
    wait_until(client, {request.token.epoch, 0}, kEpochWaitMs);
    return false;
  }
  client.waited = false;
  Reply answer{.kind = Reply::Kind::kDone, .number = request.number};
  if (request.token.epoch > topology_->epoch) {
    answer.kind = Reply::Kind::kTooEarly;
  } else {
    carry_floor(client);
    const Position before = client.floor;
    client.floor = request.token;
    carry_floor(client);
    client.floor = with_token(before, client.floor);
  }
  reply(client, answer);
  return true;
}

// The answer to the command at the front of `lane`, which has left it.
void DataPath::finish(Lane& lane, const Command& command, const Answer& answer) {
  Client* const found = client(command.client);
  if (found == nullptr) return;
  --found->inflight;
  Reply out{.kind = Reply::Kind::kDone, .number = command.request.number};
  if (command.canned) {
    out = *command.canned;
  } else if (command.topic == Command::Topic::kRead) {
    out.kind = answer.value ? Reply::Kind::kValue : Reply::Kind::kError;
    out.value = answer.value.value_or(0);
    out.replica = lane.role == Lane::Role::kReplica;
  } else if (command.topic == Command::Topic::kWrite) {
    if (answer.written != WriteResult::kDone) out.kind = Reply::Kind::kError;
    if (answer.written == WriteResult::kDone) world_.on_acked(index_, command.request.id, false);
  } else if (const auto offset = primary_offset(answer.role)) {
    out.kind = Reply::Kind::kToken;
    out.token = {topology_->epoch, *offset};
    const bool placed = found->floor.epoch == out.token.epoch && found->floor.offset != kUnplaced;
    if (placed) out.token = std::max(out.token, found->floor);
  } else {
    out.kind = Reply::Kind::kError;
  }
  reply(*found, out);
  go_on(*found);
}

// --- positions -----------------------------------------------------------------------------------

void DataPath::note_sent(Lane& lane, const Command& command) {
  if (lane.role == Lane::Role::kReplica || command.client == 0) return;
  if (command.topic != Command::Topic::kWrite && !tags_reads()) return;
  Client* const found = client(command.client);
  if (found == nullptr) return;
  if (lane.open_tag.batch == 0) lane.open_tag.batch = ++batches_;
  lane.tag_due = true;
  if (found->batch == lane.open_tag.batch) return;
  found->batch = lane.open_tag.batch;
  found->tagged = false;
  lane.open_tag.clients.push_back(found->id);
}

void DataPath::ask_tag(Lane& lane) {
  if (!std::exchange(lane.tag_due, false)) return;
  Lane::Tag tag = std::exchange(lane.open_tag, Lane::Tag());
  tag.asked_ms = now_ms();
  tag.epoch = target_.epoch;
  lane.tags.push_back(std::move(tag));
  Command role;
  role.topic = Command::Topic::kTag;
  role.queued = world_.scheduler.now();
  // The batch are those that have not left yet.
  auto at = lane.entries.end();
  if (defective(Defect::kTagBeforeWrite)) {
    while (at != lane.entries.begin() && std::prev(at)->place == 0) --at;
  }
  lane.entries.insert(at, std::move(role));
}

void DataPath::take_tag(Lane& lane, const std::string& role) {
  if (lane.tags.empty()) return;
  const Lane::Tag tag = std::move(lane.tags.front());
  lane.tags.pop_front();
  const std::optional<std::uint64_t> offset = primary_offset(role);
  if (!offset) return;
  const Position position{target_.epoch, *offset};
  freshness_.add(tag.asked_ms, position);
  for (const std::uint64_t id : tag.clients) {
    Client* const each = client(id);
    if (each == nullptr) continue;
    carry_floor(*each);
    if (each->floor.epoch > position.epoch) continue;  // a token's, of an epoch that is new here
    const bool covers_all = each->batch == tag.batch;
    if (each->floor < position || (each->floor.offset == kUnplaced && covers_all)) {
      each->floor = position;
    }
    if (!covers_all) continue;
    each->tagged = true;
    each->sightings = generation_;
  }
}

bool DataPath::carry_floor(Client& client) {
  Position& floor = client.floor;
  if (floor.epoch == topology_->epoch || floor == Position{}) return !client.lost_floor;
  const Position before = floor;
  const bool lost = carry(floor, topology_->starts) == FloorFate::kLost;
  client.lost_floor = client.lost_floor || lost;
  if (world_.verbose()) {
    const auto text = [](Position each) {
      return std::to_string(each.epoch) + ":" +
             (each.offset == kUnplaced ? "?" : std::to_string(each.offset));
    };
    std::string table;
    for (const EpochStart& start : topology_->starts) table += " " + text(start);
    world_.trace(index_, "session " + std::to_string(client.session) + "'s floor " + text(before) +
                             (lost ? " is lost: " : " is ") + text(floor) + " by" + table);
  }
  return !client.lost_floor;
}

void DataPath::wait_until(Client& client, Position floor, std::uint64_t for_ms) {
  client.wait = Wait::kApplied;
  waiters_.push_back({client.id, floor, now_ms() + for_ms});
  node_.work_later(ms(static_cast<std::int64_t>(for_ms) + 1), [this] { on_applied(); });
}

// Whoever waits for what is applied by now goes on.
void DataPath::on_applied() {
  const std::uint64_t offset = applied();
  const std::uint64_t now = now_ms();
  const std::uint64_t epoch = topology_->epoch;
  std::vector<std::uint64_t> free;
  std::erase_if(waiters_, [&](const Waiter& each) {
    const bool may_go = now >= each.until_ms || each.floor.epoch < epoch ||
                        (each.floor.epoch == epoch && each.floor.offset <= offset);
    if (may_go) free.push_back(each.client);
    return may_go;
  });
  for (const Waiter& each : waiters_) {
    if (each.floor.epoch == epoch && place_.near) applied_.want(0, each.floor.offset);
  }
  for (const std::uint64_t id : free) {
    Client* const found = client(id);
    if (found == nullptr || found->wait != Wait::kApplied) continue;
    found->wait = Wait::kNone;
    go_on(*found);
  }
}

}  // namespace azimuth::sim
