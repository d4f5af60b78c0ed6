#include "tests/sim/tunnel.h"

#include "conf/defects.h"
#include "tests/sim/stream_text.h"
#include "tests/sim/world.h"

namespace azimuth::sim {

namespace {

constexpr Time kLinkSilence = seconds_of(2);
constexpr Time kRetry = ms(20);
constexpr Time kAheadAgain = ms(100);
constexpr int kAheadTriesMost = 50;

}  // namespace

struct Tunnel::NearEnd final : Wire {
  explicit NearEnd(std::weak_ptr<Tunnel> of) : tunnel(std::move(of)) {}
  void send(StreamMessage message) override {
    if (const auto held = tunnel.lock(); held && !held->near_closed_) {
      held->push(kUpNear, std::move(message));
    }
  }
  void close() override {
    if (const auto held = tunnel.lock()) held->finish_near();
  }
  std::weak_ptr<Tunnel> tunnel;
};

struct Tunnel::FarEnd final : Wire {
  explicit FarEnd(std::weak_ptr<Tunnel> of) : tunnel(std::move(of)) {}
  void send(StreamMessage message) override {
    if (const auto held = tunnel.lock(); held && !held->far_closed_) {
      held->push(kDownFar, std::move(message));
    }
  }
  void close() override {
    if (const auto held = tunnel.lock(); held && !held->far_closed_) held->push(kDownFar, {});
  }
  std::weak_ptr<Tunnel> tunnel;
};

Tunnel::Tunnel(World& world, std::size_t near, std::uint64_t epoch)
    : world_(world), near_(near), epoch_(epoch), id_(world.next_id()) {
  near_redis_ = world_.server(near_).generation();
}

std::shared_ptr<Wire> Tunnel::near_wire() {
  near_end_ = std::make_shared<NearEnd>(weak_from_this());
  return near_end_;
}

void Tunnel::on_near_turn() {
  if (opened_ || near_closed_) return;
  const GroupView& view = world_.node(near_).view();
  const std::string& source = world_.node(near_).tunnel_source();
  if (view.epoch != epoch_ || world_.node(near_).tunnel_epoch() != epoch_ || source.empty() ||
      view.replid.empty() || view.leading)
    return;
  opened_ = true;
  far_closed_ = false;
  far_ = world_.index_of(source);
  gate_ = std::make_unique<SyncGate>(view.replid, world_.announced(near_));
  silent_since_ = world_.scheduler.now();
  arm(kUpNet);
}

void Tunnel::on_turn(std::size_t node) {
  if (node == near_) return on_near_turn();
  const bool serves = opened_ && attached_ && node == far_ && !far_closed_;
  if (serves && (!may_serve(false) || refused())) cut_far();
}

bool Tunnel::may_serve(bool anew) const {
  return world_.node(far_).lease_holds(epoch_) || world_.node(far_).feeds(epoch_, anew);
}

// What the relay does: a replica that is ahead of its new source waits for that one.
bool Tunnel::is_ahead(const StreamMessage& message) const {
  if (world_.node(far_).lease_holds(epoch_) || defective(Defect::kBehindFeeds)) return false;
  const std::vector<std::string> words = stream_words(message.text);
  if (words.size() < 3 || words[0] != "PSYNC") return false;
  const FakeRedis& redis = *world_.server(far_).redis();
  const long long asked = std::stoll(words[2]);
  return asked > 0 && static_cast<std::uint64_t>(asked) > redis.offset() + 1;
}

// Who was taken out of the group gets nothing from its primary.
bool Tunnel::refused() const {
  return world_.node(far_).view().electorate.removes(world_.node(near_).setup().id);
}

void Tunnel::push(Hop hop, std::optional<StreamMessage> message) {
  Queue& queue = queues_[hop];
  Time due = world_.scheduler.now();
  if (hop == kUpNet || hop == kDownNet) {
    due += world_.network.delay();
    if (message && message->snapshot) due += world_.random.between(ms(1), ms(300));
  } else {
    due += world_.random.between(us(5), us(60));
  }
  if (!queue.entries.empty()) due = std::max(due, queue.entries.back().due);
  queue.entries.push_back({due, std::move(message)});
  arm(hop);
}

void Tunnel::arm(Hop hop) {
  Queue& queue = queues_[hop];
  if (queue.armed || queue.entries.empty()) return;
  queue.armed = true;
  world_.scheduler.at(queue.entries.front().due, [self = shared_from_this(), hop] {
    self->queues_[hop].armed = false;
    self->pump(hop);
  });
}

Time Tunnel::blocked(Hop hop) {
  const Time now = world_.scheduler.now();
  const auto until = [now](Time resumes) { return resumes > now ? resumes : 0; };
  switch (hop) {
    case kUpNear:
    case kDownNet:
      if (hop == kDownNet && !world_.network.open(far_, near_)) return now + kRetry;
      return until(world_.node(near_).resumes());
    case kUpNet:
    case kDownFar:
      if (!opened_) return now + kRetry;
      if (hop == kUpNet && !world_.network.open(near_, far_)) return now + kRetry;
      return until(world_.node(far_).resumes());
    case kUpFar:
      return until(world_.server(far_).resumes());
    case kDownNear:
      return until(world_.server(near_).resumes());
    case kHops:
      break;
  }
  return 0;
}

void Tunnel::pump(Hop hop) {
  Queue& queue = queues_[hop];
  const Time now = world_.scheduler.now();
  while (!queue.entries.empty() && queue.entries.front().due <= now) {
    if (const Time until = blocked(hop); until > 0) {
      if (opened_ && !near_closed_ && !far_closed_ && now - silent_since_ > kLinkSilence &&
          !(world_.network.open(near_, far_) && world_.network.open(far_, near_))) {
        cut_near();
        cut_far();
        return;
      }
      queue.entries.front().due = until;
      break;
    }
    std::optional<StreamMessage> message = std::move(queue.entries.front().message);
    queue.entries.pop_front();
    if (hop == kUpNet || hop == kDownNet) silent_since_ = now;
    deliver(hop, std::move(message));
  }
  arm(hop);
}

void Tunnel::deliver(Hop hop, std::optional<StreamMessage> message) {
  switch (hop) {
    case kUpNear:
      if (gate_ && message) gate_->on_replica(message->text);
      return push(kUpNet, std::move(message));
    case kUpNet:
      if (far_closed_) return;
      if (!message) return finish_far();
      return to_far_node(*message);
    case kUpFar:
      if (world_.server(far_).generation() != far_redis_) return;
      if (!message) return world_.server(far_).redis()->on_replica_gone(id_);
      return world_.server(far_).redis()->on_replica(id_, far_end_, *message);
    case kDownFar:
      return message ? push(kDownNet, std::move(message)) : cut_far();
    case kDownNet:
      if (near_closed_) return;
      return message ? to_near_node(*message) : cut_near();
    case kDownNear:
      if (world_.server(near_).generation() != near_redis_) return;
      if (!message) return world_.server(near_).redis()->on_primary_gone(near_end_.get());
      return world_.server(near_).redis()->on_primary(near_end_.get(), *message);
    case kHops:
      break;
  }
}

void Tunnel::to_far_node(const StreamMessage& message) {
  Node& node = world_.node(far_);
  RedisServer& server = world_.server(far_);
  if (!node.running() || !may_serve(!attached_) || server.redis() == nullptr || refused())
    return cut_far();
  if (!attached_) {
    attached_ = true;
    far_redis_ = server.generation();
    far_end_ = std::make_shared<FarEnd>(weak_from_this());
  }
  if (!is_ahead(message)) return push(kUpFar, message);
  if (++waited_ > kAheadTriesMost) return cut_far();
  world_.scheduler.after(kAheadAgain, [self = shared_from_this(), message] {
    if (!self->far_closed_) self->to_far_node(message);
  });
}

void Tunnel::to_near_node(const StreamMessage& message) {
  if (!message.text.empty()) {
    gate_->on_primary(message.text);
    if (gate_->verdict() == SyncVerdict::kRefused) {
      world_.trace(near_, "gate refused: " + gate_->why());
      return cut_near();
    }
  }
  push(kDownNear, message);
}

void Tunnel::cut_near() {
  if (near_closed_) return;
  near_closed_ = true;
  queues_[kUpNear].entries.clear();
  queues_[kDownNet].entries.clear();
  push(kDownNear, {});
  if (opened_ && !far_closed_) push(kUpNet, {});
}

void Tunnel::cut_far() {
  if (far_closed_) return;
  finish_far();
  if (!near_closed_) push(kDownNet, {});
}

// The near Redis has closed its end: the far side hears of it.
void Tunnel::finish_near() {
  if (near_closed_) return;
  near_closed_ = true;
  queues_[kDownNear].entries.clear();
  queues_[kDownNet].entries.clear();
  if (opened_ && !far_closed_) push(kUpNet, {});
}

void Tunnel::finish_far() {
  if (far_closed_) return;
  far_closed_ = true;
  queues_[kDownFar].entries.clear();
  if (attached_) push(kUpFar, {});
}

void Tunnel::on_redis_gone(std::size_t machine) {
  if (machine == near_) finish_near();
  if (opened_ && machine == far_ && attached_) cut_far();
}

void Tunnel::on_node_gone(std::size_t machine, bool machine_too) {
  // A dead machine says nothing: the other end finds out by its silence.
  const Time later = machine_too ? kLinkSilence : world_.network.delay();
  if (machine == near_) {
    if (near_closed_) return;
    near_closed_ = true;
    queues_[kUpNear].entries.clear();
    queues_[kUpNet].entries.clear();
    push(kDownNear, {});
    if (opened_) {
      world_.scheduler.after(later, [self = shared_from_this()] { self->finish_far(); });
    }
  } else if (opened_ && machine == far_) {
    finish_far();
    queues_[kDownNet].entries.clear();
    world_.scheduler.after(later, [self = shared_from_this()] { self->cut_near(); });
  }
}

}  // namespace azimuth::sim
