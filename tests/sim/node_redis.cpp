// The node and its Redis: the pilot's connection, the tap, the tunnel port.
#include "proxy/group/topology_of.h"
#include "tests/sim/process.h"

namespace azimuth::sim {

bool Node::carry_out_pilot() {
  if (!process_->pilot) return false;
  PilotOutbox out = process_->pilot->take_outbox();
  const bool moved = out.facts_changed || !out.commands.empty() || out.connect || out.close;
  if (out.close) {
    ++process_->connection;
    process_->connected = false;
  }
  if (out.connect) connect_pilot();
  for (const auto& command : out.commands) send_command(command);
  for (const auto& event : out.events) {
    world_.trace(index_, "pilot " + event.name + ": " + event.text);
  }
  process_->want_tap = out.want_tap;
  process_->want_tunnel = out.want_tunnel_epoch;
  mind_tap();
  mind_tunnel();
  mind_source();
  return moved;
}

void Node::connect_pilot() {
  const std::uint64_t number = ++process_->connection;
  later(world_.random.between(us(100), ms(2)), [this, number] {
    if (process_->connection != number) return;
    if (world_.server(index_).redis() == nullptr) {
      process_->pilot->on_disconnected(now(), "connection refused", world_.random.next());
      return;
    }
    process_->connected = true;
    process_->command_due = process_->reply_due = world_.scheduler.now();
    process_->pilot->on_connected(now());
  });
}

void Node::send_command(const std::vector<std::string>& command) {
  if (!process_->connected) return;
  RedisServer& server = world_.server(index_);
  process_->command_due = std::max(process_->command_due, world_.scheduler.now()) +
                          world_.random.between(us(5), us(50));
  server.post(
      process_->command_due - world_.scheduler.now(),
      [this, command, number = process_->connection, generation = generation_](FakeRedis& redis) {
        // A command that has reached Redis's socket is executed, even if the sender has gone.
        const std::optional<PilotReply> reply = redis.execute(command);
        if (!reply || generation != generation_ || !process_) return;
        process_->reply_due = std::max(process_->reply_due, world_.scheduler.now()) +
                              world_.random.between(us(5), us(50));
        later(process_->reply_due - world_.scheduler.now(), [this, number, answer = *reply] {
          // Timers come behind sockets when a process that was stopped goes on: what is over must
          // be noticed first.
          if (process_->leadership.next_wakeup() <= now()) {
            tick();
            pump();
          }
          if (process_ && process_->connection == number && process_->connected) {
            process_->pilot->on_reply(now(), answer);
          }
        });
      });
}

// The workers and the control thread hear of it by connections of their own, each in its time.
void Node::on_redis_gone() {
  if (!process_) return;
  later(world_.random.between(us(20), us(500)), [this, number = process_->connection] {
    process_->upstream = 0;
    process_->upstream_from = world_.scheduler.now() + ms(10);
    process_->in_flight = 0;
    work_later(0, [this] { process_->data.on_redis_gone(); });
    // Control may be busy: it writes the state file.
    const Time late = world_.random.between(0, world_.random.chance(0.2) ? ms(60) : ms(3));
    later(late, [this, number] {
      if (process_->connection != number || !process_->connected) return;
      process_->connected = false;
      ++process_->connection;
      process_->pilot->on_disconnected(now(), "closed by Redis", world_.random.next());
    });
  });
}

void Node::mind_tap() {
  using Tap = Process::Tap;
  if (process_->want_tap && process_->tap == Tap::kNone) return attach_tap();
  if (!process_->want_tap && process_->tap != Tap::kNone) {
    process_->tap = Tap::kNone;
    ++process_->tap_number;
    if (FakeRedis* redis = world_.server(index_).redis()) redis->detach_tap();
    process_->pilot->on_tap(now(), false);
  }
}

void Node::attach_tap() {
  using Tap = Process::Tap;
  process_->tap = Tap::kAttaching;
  const std::uint64_t number = ++process_->tap_number;
  const auto again = [this, number] {
    if (process_->tap_number == number) process_->tap = Tap::kNone;
  };
  if (world_.server(index_).redis() == nullptr) return later(ms(100), again);
  world_.server(index_).post(
      world_.random.between(us(200), ms(3)),
      [this, number, again, generation = generation_](FakeRedis& redis) {
        if (generation != generation_ || !process_ || process_->tap_number != number) return;
        if (!redis.attach_tap()) return later(ms(200), again);
        later(world_.random.between(us(50), us(300)), [this, number, replid = redis.replid()] {
          if (process_->tap_number != number) return;
          process_->tap = Tap::kAttached;
          process_->pilot->on_tap(now(), true, replid);
          ack_tap();
        });
      });
}

void Node::ack_tap() {
  world_.server(index_).post(
      us(20), [this, generation = generation_, number = process_->tap_number](FakeRedis& redis) {
        if (generation == generation_ && process_ && process_->tap_number == number)
          redis.tap_ack();
      });
  later(ms(300), [this, number = process_->tap_number] {
    if (process_->tap_number == number) ack_tap();
  });
}

void Node::on_tap_bytes(std::uint64_t offset) {
  if (!process_) return;
  process_->tap_due =
      std::max(process_->tap_due, world_.scheduler.now() + world_.random.between(us(20), us(150)));
  later(process_->tap_due - world_.scheduler.now(), [this, offset, number = process_->tap_number] {
    if (process_->tap_number != number || process_->tap != Process::Tap::kAttached) return;
    process_->pilot->on_applied(now(), offset);
    // Only what follows this epoch's primary has an offset that says something in this epoch.
    const GroupView& seen = view();
    if (!seen.leading && is_readable(facts(), seen)) {
      process_->data.set_applied({seen.epoch, offset});
    }
  });
}

void Node::on_tap_end() {
  if (!process_ || process_->tap == Process::Tap::kNone) return;
  later(us(50), [this, number = process_->tap_number] {
    if (process_->tap_number != number) return;
    ++process_->tap_number;
    process_->tap = Process::Tap::kAttaching;  // again in a moment
    process_->pilot->on_tap(now(), false);
    later(ms(20), [this, ended = process_->tap_number] {
      if (process_->tap_number == ended) process_->tap = Process::Tap::kNone;
    });
  });
}

void Node::mind_tunnel() {
  if (process_->want_tunnel == process_->tunnel_epoch) return;
  process_->tunnel_epoch = process_->want_tunnel;
  process_->tunnel_port = 0;
  process_->wanted_source.clear();
  process_->source.clear();
  world_.cut_tunnels(index_);
  if (process_->tunnel_epoch == 0) return;
  process_->tunnel_port = world_.next_port();
  later(us(200), [this, epoch = process_->tunnel_epoch, port = process_->tunnel_port] {
    if (process_->tunnel_epoch == epoch) process_->pilot->on_tunnel_port(now(), {epoch, port});
  });
}

// The worker has the tunnel, and hears of it by mail.
void Node::mind_source() {
  const RedisOrder& order = process_->told_order;
  if (order.kind != OrderKind::kFollow || order.replid.empty()) return;
  if (order.epoch != process_->tunnel_epoch || process_->tunnel_port == 0) return;
  const bool named = order.epoch == view().epoch && !view().source.empty();
  const std::string& source = named ? view().source : order.leader;
  if (source == process_->wanted_source) return;
  process_->wanted_source = source;
  later(us(50) + world_.random.between(0, us(300)), [this, source, epoch = order.epoch] {
    if (process_->tunnel_epoch != epoch || process_->wanted_source != source) return;
    const bool another = !process_->source.empty() && process_->source != source;
    process_->source = source;
    if (another) world_.cut_tunnels(index_);
    later(us(50), [this, source, epoch] {
      if (process_->tunnel_epoch != epoch || process_->wanted_source != source) return;
      process_->leadership.on_source(now(), epoch, source);
    });
  });
}

const std::string& Node::tunnel_source() const {
  static const std::string kNowhere;
  return process_ ? process_->source : kNowhere;
}

std::uint64_t Node::tunnel_epoch() const { return process_ ? process_->tunnel_epoch : 0; }

bool Node::feeds(std::uint64_t epoch, bool anew) const {
  if (!process_ || process_->unsaved || process_->followed_epoch != epoch) return false;
  const RedisOrder& order = process_->told_order;
  if (order.kind != OrderKind::kFollow || order.epoch != epoch || view().epoch != epoch)
    return false;
  return !anew || process_->told_record.readable;
}

std::uint64_t Node::tunnel_epoch(std::uint16_t port) const {
  return process_ && process_->tunnel_port == port ? process_->tunnel_epoch : 0;
}

}  // namespace azimuth::sim
