#include "tests/sim/sessions.h"

#include "tests/sim/data_path.h"
#include "tests/sim/world.h"

namespace azimuth::sim {

namespace {

constexpr Time kPatience = seconds_of(8);
constexpr unsigned kTooEarlyMost = 20;
// Clocks are up to 1 % off, and count whole milliseconds.
constexpr Time slack_of(std::uint32_t bound_ms) { return ms(bound_ms) / 50 + ms(3); }

}  // namespace

void Sessions::start(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    Session session;
    session.history = world_.checker.history().add_session();
    if (i % 4 == 3) {
      session.level = Consistency::kBoundedStaleness;
      session.bound_ms = static_cast<std::uint32_t>(world_.random.between(50, 1000));
    }
    sessions_.push_back(session);
    reconnect_soon(i);
    watch(i);
  }
}

void Sessions::reconnect_soon(std::size_t index) {
  world_.scheduler.after(world_.random.between(ms(5), ms(60)), [this, index] {
    if (sessions_[index].connection != 0) return;
    const std::size_t machine = world_.random.below(world_.size());
    if (!world_.node(machine).running()) return reconnect_soon(index);
    connect(index, machine);
  });
}

// With its token, or as one that has seen nothing yet.
void Sessions::connect(std::size_t index, std::size_t machine) {
  Session& session = sessions_[index];
  session.machine = machine;
  session.connection = world_.next_id();
  session.answered = session.number;
  session.too_early = 0;
  world_.node(machine).work([session = session, index](DataPath& data) {
    data.on_connect(session.connection, index, session.level, session.bound_ms);
  });
  if (!session.token) {
    world_.checker.history().on_reborn(session.history);
    return think(index);
  }
  world_.checker.history().on_resumed(session.history);
  Request request;
  request.kind = Request::Kind::kTakeToken;
  request.token = *session.token;
  ask(index, request);
}

void Sessions::leave(std::size_t index, bool tell) {
  Session& session = sessions_[index];
  const std::uint64_t connection = std::exchange(session.connection, 0);
  if (connection == 0 || !tell) return;
  world_.node(session.machine).work([connection](DataPath& data) {
    data.on_disconnect(connection);
  });
}

void Sessions::on_node_gone(std::size_t machine) {
  for (std::size_t i = 0; i < sessions_.size(); ++i) {
    if (sessions_[i].connection == 0 || sessions_[i].machine != machine) continue;
    leave(i, false);
    reconnect_soon(i);
  }
}

std::string Sessions::describe(std::size_t index, const Request& request,
                               const Reply& reply) const {
  static constexpr const char* kAsked[] = {"reads key ", "writes ", "asks for a token",
                                           "has a token"};
  static constexpr const char* kGot[] = {"done",      "",      "token",    "lost",
                                         "uncertain", "error", "too early"};
  std::string text =
      "session " + std::to_string(index) + (causal(sessions_[index]) ? " " : " (bounded) ");
  text += kAsked[static_cast<int>(request.kind)];
  if (request.kind == Request::Kind::kRead) text += std::to_string(request.key);
  if (request.kind == Request::Kind::kWrite) {
    text += std::to_string(request.id) + " at key " + std::to_string(key_of(request.id));
  }
  text += std::string(": ") + kGot[static_cast<int>(reply.kind)];
  if (reply.kind == Reply::Kind::kValue) {
    text += std::to_string(reply.value) + (reply.replica ? " at the replica" : "");
  }
  return text;
}

// Whoever gets no answer goes elsewhere.
void Sessions::watch(std::size_t index) {
  world_.scheduler.after(seconds_of(1), [this, index] {
    const Session& session = sessions_[index];
    const bool waits = session.connection != 0 && session.answered != session.number;
    if (waits && world_.scheduler.now() - session.asked > kPatience) {
      leave(index, true);
      reconnect_soon(index);
    }
    watch(index);
  });
}

void Sessions::think(std::size_t index) {
  const Time pause = world_.random.chance(0.4) ? world_.random.between(us(50), ms(2))
                                               : world_.random.mostly_little(ms(5), ms(300));
  world_.scheduler.after(pause, [this, index, connection = sessions_[index].connection] {
    if (sessions_[index].connection == connection && connection != 0) act(index);
  });
}

void Sessions::act(std::size_t index) {
  Session& session = sessions_[index];
  Request request;
  if (causal(session) && world_.random.chance(moving_)) {
    request.kind = Request::Kind::kToken;
    return ask(index, request);
  }
  const bool writes = writing_ && world_.random.chance(0.3);
  if (writes) {
    request.kind = Request::Kind::kWrite;
    request.id = world_.checker.new_write(false);
    request.bytes = static_cast<std::uint64_t>(world_.random.between(30, 200));
    session.last_key = key_of(request.id);
    if (causal(session)) world_.checker.history().on_send(session.history, request.id);
    ask(index, request);
    if (!world_.random.chance(0.2)) return;
    request = {};
  }
  request.kind = Request::Kind::kRead;
  request.key = world_.random.chance(0.6) ? session.last_key : world_.random.below(kKeys);
  ask(index, request);
}

void Sessions::ask(std::size_t index, Request request) {
  Session& session = sessions_[index];
  request.number = ++session.number;
  session.request[request.number % 2] = request;
  session.asked = world_.scheduler.now();
  const Time due = world_.random.between(us(20), us(60));
  world_.scheduler.after(
      due + (session.answered + 1 == session.number ? 0 : us(60)),
      [this, machine = session.machine, id = session.connection, request] {
        world_.node(machine).work([id, request](DataPath& data) { data.on_request(id, request); });
      });
}

void Sessions::on_reply(std::size_t index, std::uint64_t connection, const Reply& reply) {
  Session& session = sessions_[index];
  if (session.connection != connection) return;
  const Request request = session.request[reply.number % 2];
  if (reply.number != session.answered + 1 || request.number != reply.number) {
    return world_.fail(session.machine, "I7",
                       "session " + std::to_string(index) + " gets the answer to request " +
                           std::to_string(reply.number) + " in place of " +
                           std::to_string(session.answered + 1));
  }
  session.answered = reply.number;
  if (world_.verbose()) world_.trace(session.machine, describe(index, request, reply));
  take(index, reply, request);
  if (session.connection != connection || session.answered != session.number) return;
  if (request.kind == Request::Kind::kTakeToken && reply.kind != Reply::Kind::kDone) return;
  if (request.kind == Request::Kind::kToken && reply.kind == Reply::Kind::kToken) return;
  think(index);
}

void Sessions::take(std::size_t index, const Reply& reply, const Request& request) {
  Session& session = sessions_[index];
  History& history = world_.checker.history();
  switch (reply.kind) {
    case Reply::Kind::kDone:
      if (request.kind == Request::Kind::kWrite && causal(session)) {
        history.on_acked(session.history, request.id);
      }
      return;
    case Reply::Kind::kValue:
      if (reply.value != 0 && key_of(reply.value) != request.key) {
        return world_.fail(session.machine, "I7",
                           "session " + std::to_string(index) + " asks for key " +
                               std::to_string(request.key) + " and gets another one's value");
      }
      ++reads_;
      if (reply.replica) ++replica_reads_;
      if (causal(session)) {
        return history.on_read(session.machine, session.history, request.key, reply.value);
      }
      return history.on_bounded_read(session.machine, request.key, reply.value, session.asked,
                                     ms(session.bound_ms) + slack_of(session.bound_ms));
    case Reply::Kind::kToken: {
      session.token = reply.token;
      history.on_token(session.history);
      const std::size_t next = world_.random.below(world_.size());
      leave(index, true);
      if (!world_.node(next).running()) return reconnect_soon(index);
      return connect(index, next);
    }
    case Reply::Kind::kLost:
      return history.on_told(session.history, reply.epoch);
    case Reply::Kind::kTooEarly:
      if (++session.too_early > kTooEarlyMost) session.token.reset();
      world_.scheduler.after(ms(200), [this, index, connection = session.connection] {
        Session& again = sessions_[index];
        if (again.connection != connection) return;
        if (again.token) return ask(index, again.request[again.number % 2]);
        leave(index, true);
        reconnect_soon(index);
      });
      return;
    case Reply::Kind::kUncertain:
    case Reply::Kind::kError:
      return;
  }
}

}  // namespace azimuth::sim
