// The process: its start and end, and how what the machines say is carried out. Its Redis is in
// node_redis.cpp, the data path in node_writes.cpp.
#include "tests/sim/node.h"

#include "proxy/group/topology_of.h"
#include "tests/sim/process.h"

namespace azimuth::sim {

namespace {

const GroupView kNoView{};
const LocalRedis kNoRedis{};

}  // namespace

Node::Node(World& world, std::size_t index, NodeSetup setup, NodeClock clock)
    : world_(world),
      index_(index),
      setup_(std::move(setup)),
      clock_(clock),
      standstill_(world.scheduler) {}

Node::~Node() = default;

Instant Node::now() const { return clock_.at(world_.scheduler.now()); }

const GroupView& Node::view() const {
  if (!process_) return kNoView;
  return setup_.sidecar() ? process_->heard : process_->leadership.view();
}

const LocalRedis& Node::facts() const {
  return process_ && process_->pilot ? process_->pilot->facts() : kNoRedis;
}

const GroupState* Node::state() const { return process_ ? &process_->leadership.state() : nullptr; }

unsigned Node::local_health() const { return process_ ? process_->gossip.local_health() : 0; }

bool Node::lease_holds(std::uint64_t epoch) const {
  return process_ && !process_->unsaved && view().leading && view().epoch == epoch &&
         now() < view().lease_until;
}

void Node::start() {
  if (process_) return;
  ++generation_;
  standstill_.reset();
  crash_at_save_ = CrashAtSave::kNo;
  NodeRecord record;
  record.id = setup_.id;
  record.zone = setup_.zone;
  record.region = setup_.region;
  record.address = world_.address_of(index_);
  record.boot = world_.random.next() | 1;
  record.member = setup_.member;
  record.wants_vote = setup_.votes;
  record.bootstrap_expect = setup_.bootstrap_expect;

  std::optional<GroupState> saved;
  if (!disk_.empty()) {
    auto decoded = decode_group_state(disk_);
    if (!decoded) return world_.fail(index_, "state", decoded.error().message);
    saved = decoded.value();
  }
  saved_ = saved;
  record.has_state = saved.has_value();
  LeadershipSettings settings;
  settings.cluster = "sim";
  settings.node = setup_.id;
  settings.zone = setup_.zone;
  settings.region = setup_.region;
  settings.has_redis = setup_.member;
  settings.wants_vote = setup_.votes;
  settings.bootstrap_expect = setup_.bootstrap_expect;
  process_ = std::make_unique<Process>(world_, *this, index_, record, settings, saved, now());
  process_->told_record = record;
  process_->gossip.set_seeds(world_.seeds(index_));
  if (setup_.member) {
    process_->pilot = std::make_unique<RedisPilot>("10.0.0." + std::to_string(index_), 6379, now());
  }
  world_.trace(index_, saved ? "starts" : "starts, without state");
  turn(generation_, [] {});
}

void Node::crash(Crash how) {
  if (!process_) return;
  world_.trace(index_, "crashes");
  ++generation_;
  process_.reset();
  if (FakeRedis* redis = world_.server(index_).redis()) redis->detach_tap();
  world_.on_node_gone(index_, how == Crash::kMachine);
}

void Node::pause(Time until) { standstill_.stop(until); }

void Node::later(Time delay, std::function<void()> happen) {
  world_.scheduler.after(delay, [this, generation = generation_, happen = std::move(happen)] {
    turn(generation, happen);
  });
}

void Node::work(std::function<void(DataPath&)> happen) {
  if (!process_) return;
  work_turn(generation_, [this, happen = std::move(happen)] { happen(process_->data); });
}

void Node::work_later(Time delay, std::function<void()> happen) {
  world_.scheduler.after(delay, [this, generation = generation_, happen = std::move(happen)] {
    work_turn(generation, happen);
  });
}

// The worker is another thread than the one that runs the machines.
void Node::work_turn(std::uint64_t generation, const std::function<void()>& happen) {
  if (generation != generation_ || !process_) return;
  standstill_.run([this, generation, happen] {
    if (generation != generation_ || !process_) return;
    happen();
    if (process_) process_->data.flush();
  });
}

DataPath& Node::data() { return process_->data; }

bool Node::promoted(const FakeRedis& redis) const {
  return process_ && process_->promoted == redis.run_id();
}

// One turn of the process's loop: something happens, and then everything that follows from it.
void Node::turn(std::uint64_t generation, const std::function<void()>& happen) {
  if (generation != generation_ || !process_) return;
  standstill_.run([this, generation, happen] {
    if (generation != generation_ || !process_) return;
    happen();
    if (process_) pump();
  });
}

void Node::pump() {
  for (int round = 0; round < 50; ++round) {
    bool moved = feed_leadership();
    moved |= carry_out_leadership();
    if (!process_) return;  // crashed at a save
    moved |= carry_out_pilot();
    feed_record();
    moved |= carry_out_gossip();
    if (!moved) {
      publish();
      process_->data.flush();
      mind_drain();
      world_.on_turn(index_);
      return arm();
    }
  }
  world_.fail(index_, "restless", "the machines of one node keep each other busy without end");
}

bool Node::feed_leadership() {
  bool moved = false;
  for (auto& [id, told] : process_->told_peers) {
    const NodeRecord* record = process_->gossip.find(id);
    PeerFacts facts = record != nullptr ? peer_facts(*record) : told;
    if (record == nullptr) facts.alive = false;
    if (facts == told) continue;
    told = facts;
    process_->leadership.on_peer(now(), id, facts);
    moved = true;
  }
  for (const NodeRecord* record : process_->gossip.nodes()) {
    if (!process_->told_peers.contains(record->id)) {
      const PeerFacts facts = peer_facts(*record);
      process_->told_peers[record->id] = facts;
      process_->leadership.on_peer(now(), record->id, facts);
      moved = true;
    }
  }
  if (process_->pilot &&
      (!process_->told_any_redis || process_->pilot->facts() != process_->told_redis ||
       process_->pilot->facts().asked.at != process_->told_redis.asked.at)) {
    process_->told_any_redis = true;
    process_->told_redis = process_->pilot->facts();
    if (process_->told_redis.done == OrderKind::kFollow) {
      process_->followed_epoch = process_->told_redis.done_epoch;
    }
    if (process_->told_redis.done == OrderKind::kLead) {
      process_->promoted = process_->told_redis.run_id;
    }
    process_->leadership.on_redis(now(), process_->told_redis);
    moved = true;
  }
  return moved;
}

void Node::feed_record() {
  NodeRecord record = process_->told_record;
  const GroupView& seen = view();
  const LocalRedis& redis = facts();
  const GroupState& state = process_->leadership.state();
  record.has_state = state.electorate.version > 0;
  record.begin = record.after = 0;
  if (seen.leading && !state.forks.empty() && state.forks.back().epoch == seen.epoch) {
    record.begin = state.forks.back().begin;
    record.after = state.forks.size() > 1 ? state.forks[state.forks.size() - 2].epoch : 0;
  }
  record.epoch = seen.epoch;
  record.leader = seen.leader;
  record.redis_ready = redis.alive && !redis.loading;
  record.redis_empty = redis.empty;
  record.replid = redis.replid;
  record.offset = redis.offset;
  if (process_->pilot) {
    const bool intact = state.intact_run_id == redis.run_id;
    record.readable = intact && is_readable(redis, seen);
  }
  record.replica_port = !seen.leading && process_->tunnel_epoch == seen.epoch
                            ? process_->tunnel_port
                            : std::uint16_t{0};
  if (record == process_->told_record) return;
  const NodeRecord& told = process_->told_record;
  process_->topology_stale |= record.readable != told.readable || record.epoch != told.epoch ||
                              record.replica_port != told.replica_port;
  process_->told_record = record;
  process_->gossip.update_self(record);
}

bool Node::save(const GroupState& state) {
  if (crash_at_save_ == CrashAtSave::kBefore) {
    crash(Crash::kProcess);
    return false;
  }
  if (disk_full_) return false;
  world_.on_save(index_, saved_ ? &*saved_ : nullptr, state);
  disk_ = encode(state);
  saved_ = state;
  if (crash_at_save_ == CrashAtSave::kAfter) {
    crash(Crash::kProcess);
    return false;
  }
  return true;
}

bool Node::carry_out_leadership() {
  LeadershipOutbox out = process_->leadership.take_outbox();
  bool moved = out.view_changed || !out.sends.empty();
  if (out.save || process_->unsaved) {
    const GroupState state = process_->leadership.state();
    if (!save(state)) {
      if (!process_) return false;
      process_->unsaved = true;
    } else {
      process_->unsaved = false;
    }
  }
  if (view().leading) process_->quorum = std::max<std::size_t>(view().quorum_copies, 1) - 1;
  if (!process_->unsaved) {
    for (const LeadershipOutbox::Send& send : out.sends) {
      const std::size_t to = world_.index_of(send.to);
      // Only who gossip knows has an address.
      if (to == index_ || process_->gossip.find(send.to) == nullptr) continue;
      world_.on_group_message(index_, send.to, send.message);
      world_.network.send(index_, to, encode(send.message), [this, to](const std::string& bytes) {
        world_.node(to).on_group_message(setup_.id, bytes);
      });
    }
  }
  if (!process_->unsaved) {
    for (const WishResult& result : out.results) world_.members.on_results(index_, result);
  }
  for (const auto& event : out.events) {
    world_.trace(index_, "event " + event.name + ": " + event.text);
    const bool changed = event.name == "member_removed" || event.name == "member_added";
    if (changed && !process_->unsaved) world_.members.on_done(index_);
  }
  // A node that cannot save has no say: nothing leaves it, and its Redis takes no writes.
  const RedisOrder order = process_->unsaved ? RedisOrder{} : out.order;
  if (process_->pilot && order != process_->told_order) {
    process_->told_order = order;
    world_.trace(index_, "order " + std::string(to_string(order.kind)) + " epoch " +
                             std::to_string(order.epoch) + " " + order.leader);
    process_->pilot->set_order(now(), order);
    moved = true;
  }
  return moved;
}

bool Node::carry_out_gossip() {
  GossipOutbox out = process_->gossip.take_outbox();
  for (const GossipOutbox::Packet& packet : out.packets) {
    const std::size_t to = world_.index_at(packet.to);
    world_.network.send(index_, to, packet.bytes, [this, to](const std::string& bytes) {
      world_.node(to).on_gossip(world_.address_of(index_), bytes);
    });
  }
  process_->topology_stale |= !out.events.empty();
  for (const auto& event : out.events) {
    if (event.news != GossipOutbox::News::kUpdated) {
      world_.trace(index_, "gossip " + std::to_string(static_cast<int>(event.news)) + " " +
                               event.id + " " + event.text);
    }
  }
  return !out.events.empty();
}

void Node::hear_leaders() {
  process_->heard = view_by_gossip(process_->gossip.nodes(), process_->heard.epoch);
  if (!process_->heard.leader_ready) return;
  const NodeRecord* leader = process_->gossip.find(process_->heard.leader);
  if (leader != nullptr) follow_history(process_->history, *leader);
}

// What the worker routes by; it hears of it a moment later.
void Node::publish() {
  if (setup_.sidecar() && process_->topology_stale) hear_leaders();
  GroupView& published = process_->published;
  published.lease_until = view().lease_until;  // renewed all the time, and no news
  const bool news = view() != published;
  if (published.leading && !view().leading) ++process_->reign;
  if (news) published = view();
  if (!std::exchange(process_->topology_stale, false) && !news) return;
  const Endpoint redis;
  const GroupSight sight{process_->gossip.self(),
                         process_->gossip.nodes(),
                         published,
                         facts(),
                         redis,
                         setup_.sidecar() ? process_->history : process_->leadership.state().forks};
  Topology topology = topology_of(sight);
  if (topology == *process_->topology) return;
  process_->topology = std::make_shared<const Topology>(std::move(topology));
  process_->topology_due = std::max(process_->topology_due, world_.scheduler.now()) +
                           world_.random.between(us(10), us(300));
  work_later(process_->topology_due - world_.scheduler.now(),
             [this, fresh = process_->topology] { process_->data.set_topology(fresh); });
}

void Node::on_gossip(const std::string& from, const std::string& bytes) {
  turn(generation_, [this, from, bytes] {
    process_->gossip.on_packet(now(), from, bytes, world_.random.next());
  });
}

void Node::on_group_message(const std::string& from, const std::string& bytes) {
  turn(generation_, [this, from, bytes] {
    const auto message = decode_group_message(bytes);
    if (!message) return world_.fail(index_, "codec", message.error().message);
    process_->gossip.on_heard(now(), from);
    process_->leadership.on_message(now(), from, message.value(), world_.random.next());
  });
}

void Node::arm() {
  Instant wake = earlier_of(process_->gossip.next_wakeup(), process_->leadership.next_wakeup());
  if (process_->pilot) wake = earlier_of(wake, process_->pilot->next_wakeup());
  if (wake == kNever) return;
  // A timer of the loop: whole milliseconds, and a little late.
  const Time least = world_.scheduler.now() + ms(1);
  const Time due =
      (wake <= now() ? least : std::max(least, clock_.when(wake))) + world_.random.between(0, 400);
  if (process_->armed > world_.scheduler.now() && process_->armed <= due) return;
  process_->armed = due;
  world_.scheduler.at(due, [this, generation = generation_, due] {
    if (generation == generation_ && process_ && process_->armed == due) {
      turn(generation, [this] { tick(); });
    }
  });
}

void Node::tick() {
  const Instant at = now();
  if (process_->leadership.next_wakeup() <= at) {
    process_->leadership.on_tick(at, world_.random.next());
  }
  if (process_->pilot && process_->pilot->next_wakeup() <= at) {
    process_->pilot->on_tick(at, world_.random.next());
  }
  if (process_->gossip.next_wakeup() <= at) process_->gossip.on_tick(at, world_.random.next());
  if (world_.scheduler.now() - process_->ticks_since > seconds_of(1)) {
    process_->ticks = 0;
    process_->ticks_since = world_.scheduler.now();
  }
  if (++process_->ticks <= 600) return;
  const Instant group = process_->leadership.next_wakeup();
  const Instant peers = process_->gossip.next_wakeup();
  world_.fail(index_, "restless",
              group <= at   ? "leadership's wake-up comes at once again"
              : peers <= at ? "gossip's wake-up comes at once again"
                            : "the pilot's wake-up comes at once again");
}

std::string Node::wish(const std::function<Outcome(Leadership&, Instant)>& ask) {
  if (!process_) return "not running";
  // A paused node answers later, and nobody waits for it.
  const auto answer = std::make_shared<std::string>();
  turn(generation_, [this, ask, answer] {
    const Outcome outcome = ask(process_->leadership, now());
    if (!outcome) *answer = outcome.error().message;
  });
  return *answer;
}

std::string Node::switch_over(const std::string& to) {
  return wish([to](Leadership& group, Instant at) { return group.switch_over(at, to); });
}

void Node::change_members(const Wish& wish) {
  turn(generation_,
       [this, wish] { process_->leadership.change_members(now(), wish.kind, wish.node, wish.id); });
}

std::string Node::force(const std::string& node) {
  return wish([node](Leadership& group, Instant at) { return group.force(at, node); });
}

}  // namespace azimuth::sim
