// Connections: what is sent, what comes back, what becomes of it when one is lost (I6).
#include <algorithm>
#include <set>

#include "tests/sim/data_path.h"
#include "tests/sim/world.h"

namespace azimuth::sim {

namespace {

constexpr Time kLinkSilence = seconds_of(2);
constexpr Time kHold = seconds_of(5);

void pump_hop(World& world, const LinkRef& link, bool up);

void arm_hop(World& world, const LinkRef& link, bool up) {
  Link::Hop& hop = up ? link->up : link->down;
  if (hop.armed || hop.queue.empty()) return;
  hop.armed = true;
  world.scheduler.at(hop.queue.front().first, [&world, link, up] {
    (up ? link->up : link->down).armed = false;
    pump_hop(world, link, up);
  });
}

void pump_hop(World& world, const LinkRef& link, bool up) {
  Link::Hop& hop = up ? link->up : link->down;
  const Time now = world.scheduler.now();
  while (!hop.queue.empty() && hop.queue.front().first <= now) {
    if (!world.network.open(up ? link->near : link->far, up ? link->far : link->near)) {
      if (now - link->heard > kLinkSilence) return world.break_link(link);
      hop.queue.front().first = now + ms(20);
      break;
    }
    link->heard = now;
    const std::function<void()> happen = std::move(hop.queue.front().second);
    hop.queue.pop_front();
    happen();
  }
  arm_hop(world, link, up);
}

}  // namespace

void push_hop(World& world, const LinkRef& link, bool up, std::function<void()> happen) {
  Link::Hop& hop = up ? link->up : link->down;
  Time due = world.scheduler.now() + world.network.delay();
  if (hop.queue.empty()) {
    link->heard = world.scheduler.now();
  } else {
    due = std::max(due, hop.queue.back().first);
  }
  hop.queue.emplace_back(due, std::move(happen));
  arm_hop(world, link, up);
}

Lane* DataPath::lane_of(const LinkRef& link) {
  for (Lane* each : {&reads_, &writes_, &replica_}) {
    if (each->link == link) return each;
  }
  return nullptr;
}

// --- the near end --------------------------------------------------------------------------------

void DataPath::send(Lane& lane, Command command) {
  command.place = 0;
  if (command.queued == 0) command.queued = world_.scheduler.now();
  if (!command.canned) note_sent(lane, command);
  lane.entries.push_back(std::move(command));
  flush_due_ = true;
}

void DataPath::flush() {
  do {
    flush_due_ = false;
    for (Lane* each : {&reads_, &writes_, &replica_}) flush(*each);
  } while (flush_due_);
}

void DataPath::flush(Lane& lane) {
  const bool replica = lane.role == Lane::Role::kReplica;
  if (!replica) ask_tag(lane);
  lane.gate_open = false;
  if (lane.entries.empty()) return;
  while (!replica && !lane.unread.empty() && leads()) {
    const Answer answer = std::move(lane.unread.front());
    lane.unread.pop_front();
    consume(lane, answer);
  }
  const bool stands = lane.link || (!replica && connect(lane));
  for (std::size_t i = 0; stands && i < lane.entries.size(); ++i) {
    Command& command = lane.entries[i];
    if (command.place != 0 || command.canned) continue;
    // The moment of the flush: the lease is read right before the bytes go to Redis (I2).
    const bool may = replica || !lane.link->local() || (leads() && !node_.view().handing_over);
    if (!may) break;
    transmit(lane, command);
  }
  refuse_stale(lane);
}

// Nothing can be sent for too long: every request that waits is answered.
void DataPath::refuse_stale(Lane& lane) {
  bool stale = false;
  for (Command& each : lane.entries) {
    if (each.place != 0 || each.canned || each.client == 0) continue;
    stale = stale || world_.scheduler.now() - each.queued > kHold;
    if (stale) each.canned = Reply{.kind = Reply::Kind::kError, .number = each.request.number};
  }
  if (stale) deliver_canned(lane);
}

bool DataPath::connect(Lane& lane) {
  const Time now = world_.scheduler.now();
  const bool replica = lane.role == Lane::Role::kReplica;
  if ((!replica && target_.kind == Target::Kind::kNone) || now < lane.retry_at) return false;
  auto link = std::make_shared<Link>();
  link->kind = replica ? Link::Kind::kReads : Link::Kind::kCommands;
  link->near = index_;
  link->far = replica ? place_.machine : target_.machine;
  link->epoch = topology_->epoch;
  link->near_boot = node_.boot();
  if (link->local()) {
    const RedisServer& server = world_.server(index_);
    if (server.redis() == nullptr || (!replica && !node_.promoted(*server.redis()))) {
      lane.retry_at = now + ms(10);
      node_.work_later(ms(11), [] {});
      return false;
    }
    link->redis = server.generation();
    link->far_boot = link->near_boot;
  } else {
    world_.add_link(link);
  }
  lane.link = std::move(link);
  return true;
}

void DataPath::transmit(Lane& lane, Command& command) {
  const LinkRef link = lane.link;
  command.place = ++link->sent;
  if (lane.role == Lane::Role::kReplica) mind_silence();
  if (link->local()) return give(link, command);
  push_hop(world_, link, true, [&world = world_, link, command] {
    if (!world.node(link->far).running()) return world.break_link(link);  // nobody listens
    world.node(link->far).work([link, command](DataPath& far) { far.relay(link, command); });
  });
}

void DataPath::on_answer(const LinkRef& link, const Answer& answer) {
  Lane* const lane = lane_of(link);
  if (lane == nullptr) return;
  if (lane->role == Lane::Role::kReplica) {
    heard_ = world_.scheduler.now();
  } else if (link->local() && (!leads() || !lane->unread.empty())) {
    // What came back without a lease is not believed: somebody else may lead by now.
    lane->unread.push_back(answer);
    return;
  }
  consume(*lane, answer);
}

void DataPath::consume(Lane& lane, const Answer& answer) {
  deliver_canned(lane);
  if (lane.entries.empty() || lane.entries.front().place == 0) return;
  const Command front = std::move(lane.entries.front());
  lane.entries.pop_front();
  switch (front.topic) {
    case Command::Topic::kTag:
      take_tag(lane, answer.role);
      break;
    case Command::Topic::kGate:
      check_gate(answer.role);
      break;
    case Command::Topic::kRead:
    case Command::Topic::kWrite:
    case Command::Topic::kToken:
      if (!lane.tags.empty()) lane.tags.front().shown = true;
      finish(lane, front, answer);
      break;
  }
  deliver_canned(lane);
}

void DataPath::deliver_canned(Lane& lane) {
  while (!lane.entries.empty() && lane.entries.front().canned) {
    const Command front = std::move(lane.entries.front());
    lane.entries.pop_front();
    finish(lane, front, {});
  }
}

void DataPath::on_redis_gone() {
  for (Lane* each : {&reads_, &writes_, &replica_}) {
    if (each->link && each->link->local()) lost(*each, each->link->sent);
  }
  const RedisServer& server = world_.server(index_);
  for (const auto& each : std::vector(relayed_)) {
    const LinkRef link = each.lock();
    if (link && (server.redis() == nullptr || link->redis != server.generation())) end_far(link);
  }
}

void DataPath::on_link_end(const LinkRef& link, std::uint64_t given) {
  if (Lane* const lane = lane_of(link)) lost(*lane, given);
}

void DataPath::lost(Lane& lane, std::uint64_t given) {
  if (lane.role == Lane::Role::kReplica) return give_up_replica();
  for (Command& each : settle(lane, given)) send_again(lane, std::move(each));
  deliver_canned(lane);
}

// The history that goes on may end before what its session has seen.
void DataPath::send_again(Lane& lane, Command command) {
  Client* const found = client(command.client);
  const bool told = !command.canned && found != nullptr && tags() && !carry_floor(*found);
  if (told) {
    found->lost_floor = false;
    command.canned = Reply{
        .kind = Reply::Kind::kLost, .number = command.request.number, .epoch = topology_->epoch};
  }
  send(lane, std::move(command));
}

// What is outstanding, to be sent again or with an answer of ours. A read is not repeated in front
// of a write of the same client that may have run.
std::vector<Command> DataPath::settle(Lane& lane, std::uint64_t given) {
  if (lane.link) lane.link->near_gone = true;
  lane.link.reset();
  if (lane.role != Lane::Role::kReplica && !lane.tags.empty() && lane.tags.front().shown) {
    for (const std::uint64_t id : lane.tags.front().clients) {
      Client* const each = client(id);
      if (each == nullptr) continue;
      each->floor = std::max(each->floor, Position{lane.tags.front().epoch, kUnplaced});
    }
  }
  std::deque<Command> outstanding = std::exchange(lane.entries, {});
  lane.unread.clear();
  lane.tags.clear();
  lane.open_tag = {};
  lane.gates.clear();
  lane.tag_due = lane.gate_open = false;
  std::set<std::uint64_t> wrote;
  std::vector<Command> all;
  for (auto each = outstanding.rbegin(); each != outstanding.rend(); ++each) {
    if (client(each->client) == nullptr) continue;
    const bool left = each->place != 0 && each->place <= given;
    const bool write = each->topic == Command::Topic::kWrite;
    if (!each->canned && left && (write || wrote.contains(each->client))) {
      if (write) wrote.insert(each->client);
      each->canned = Reply{.kind = Reply::Kind::kUncertain, .number = each->request.number};
    }
    all.push_back(std::move(*each));
  }
  std::reverse(all.begin(), all.end());
  return all;
}

// --- the end next to Redis -----------------------------------------------------------------------

void DataPath::relay(const LinkRef& link, const Command& command) {
  if (link->far_gone) return;
  if (link->far_boot == 0) {
    link->far_boot = node_.boot();
    std::erase_if(relayed_, [](const auto& each) { return each.expired(); });
    relayed_.push_back(link);
  }
  if (link->far_boot != node_.boot()) return;  // it went with that process
  const bool commands = link->kind == Link::Kind::kCommands;
  bool may = node_.lease_holds(link->epoch) && !node_.view().handing_over;
  if (!commands) {
    const int local = topology_->local;
    may = topology_->epoch == link->epoch && local >= 0 && local != topology_->primary &&
          topology_->members[static_cast<std::size_t>(local)].readiness == Readiness::kReady;
  }
  const RedisServer& server = world_.server(index_);
  const bool fit = server.redis() != nullptr &&
                   (link->redis != 0 ? link->redis == server.generation()
                                     : !commands || node_.promoted(*server.redis()));
  if (!may || !fit) return end_far(link);
  link->redis = server.generation();
  give(link, command);
}

// To Redis, which reads it even if this process has ended by then.
void DataPath::give(const LinkRef& link, const Command& command) {
  ++link->given;
  const std::uint64_t epoch = link->local() ? target_.epoch : link->epoch;
  if (command.topic == Command::Topic::kWrite) world_.on_flush(index_, epoch);
  RedisServer& server = world_.server(index_);
  if (link->redis != server.generation()) return;  // into a connection that has ended
  const Time now = world_.scheduler.now();
  link->to_redis = std::max(link->to_redis, now) + world_.random.between(us(5), us(40));
  server.post(link->to_redis - now, [&world = world_, index = index_, boot = node_.boot(), link,
                                     command, epoch](FakeRedis& redis) {
    Answer answer;
    if (command.topic == Command::Topic::kRead) {
      answer.value = redis.read(command.request.key);
    } else if (command.topic == Command::Topic::kWrite) {
      const Values before = redis.data().values;
      answer.written = redis.write(command.request.id, command.request.bytes);
      if (answer.written == WriteResult::kDone) {
        world.on_executed(index, command.request.id, epoch, before);
      }
    } else {
      answer.role = redis.role_reply();
    }
    Node& node = world.node(index);
    if (node.boot() != boot || !node.running()) return;
    const Time then = world.scheduler.now();
    link->from_redis = std::max(link->from_redis, then) + world.random.between(us(5), us(40));
    node.work_later(link->from_redis - then, [&world, index, link, answer = std::move(answer)] {
      world.node(index).data().on_answered(link, answer);
    });
  });
}

void DataPath::on_answered(const LinkRef& link, const Answer& answer) {
  ++link->answered;
  if (link->local()) return on_answer(link, answer);
  if (link->far_gone) return;
  if (link->kind == Link::Kind::kCommands && !node_.lease_holds(link->epoch)) return end_far(link);
  push_hop(world_, link, false, [&world = world_, link, answer] {
    world.node(link->near).work([link, answer](DataPath& near) { near.on_answer(link, answer); });
  });
}

void DataPath::end_far(const LinkRef& link) {
  if (std::exchange(link->far_gone, true)) return;
  push_hop(world_, link, false, [&world = world_, link, given = link->given] {
    world.node(link->near).work([link, given](DataPath& near) { near.on_link_end(link, given); });
  });
}

}  // namespace azimuth::sim
