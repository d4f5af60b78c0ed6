// Where a request goes, and its way there: the entry, the connection, the wait.
#include "proxy/data/dispatch.h"

namespace azimuth {
namespace {

constexpr uint8_t kMixedCredit = 64;

}  // namespace

// Scripts have a connection of their own: one that does not end stops its connection, while Redis
// answers -BUSY on the others. What is urgent (SCRIPT KILL) goes with the reads.
Role role_for(const SessionView& session, const CommandRow* row) {
  if (row != nullptr && is_script(*row)) return Role::kScripts;
  const Channel channel = channel_of(session, row);
  return channel == Channel::kWrites ? Role::kWrites : Role::kReads;
}

Upstream* pick(Worker& worker, Client& client, const CommandRow* row, size_t size, bool more) {
  Role role = row != nullptr ? worker.plain_role(*row) : Role::kWrites;
  const bool reads = role == Role::kReads;
  const bool replica_may = reads || (role == Role::kScripts && has_flag(*row, kReadonly));
  const bool quorum = worker.wants_quorum(client);
  const bool strong = worker.is_strong(client);
  if (quorum && (!reads || strong)) role = Role::kQuorum;
  const bool mixes = reads && more && client.mixed_credit != 0 && !quorum;
  if (replica_may && worker.tags() && !mixes) {
    Upstream* const replica = worker.replica().choose(client, *row, size);
    if (client.wait != Wait::kNone) return nullptr;
    if (replica != nullptr) return replica;
  }
  if (client.inflight != 0) {
    Upstream* current = client.upstream;
    if (current == client.dedicated) return current;
    // What follows a write or a script goes where that went; what follows a read must be one.
    // (A reply that a quorum is awaited for is held, and a read is not to be held with it.)
    if (!current->retired() &&
        (current->role() == role ||
         (!quorum && (current->role() == Role::kWrites || current->role() == Role::kScripts)))) {
      return current;
    }
    if (current->role() == Role::kReads || current->role() == Role::kReplica) {
      client.mixed_credit = kMixedCredit;
    }
    client.wait = Wait::kDrain;
    return nullptr;
  }
  if (reads && client.large_credit != 0) {
    --client.large_credit;
    return &worker.attach_dedicated(client);
  }
  if (mixes) {
    --client.mixed_credit;
    return &worker.shared(*client.identity, Role::kWrites);
  }
  return &worker.shared(*client.identity, role);
}

// On the connection that is the client's own already.
Step forward_own(Worker& worker, Client& client, const Request& request, const CommandRow& row,
                 EntryKind kind, Topic topic) {
  Entry entry = entry_for(client, &row);
  entry.kind = kind;
  entry.topic = topic;
  // EXEC, DISCARD, UNWATCH; and WATCH, which would stay behind on another connection.
  entry.bound = entry.bound || topic != Topic::kNone;
  worker.record_command(&row, CommandRoute::kDedicated);
  worker.forward(client, *client.dedicated, entry, request.block, request.bytes);
  return Step::kDone;
}

bool tell_lost_write(Worker& worker, Client& client) {
  if (!worker.take_word_of_loss(client)) return false;
  answer(worker, client, kLostFloorReply);
  return true;
}

Step forward_plain(Worker& worker, Client& client, const Request& request, const CommandRow* row,
                   EntryKind kind, Topic topic) {
  // (Not inside a transaction, which would go on without the command.)
  if (worker.tags() && !client.session.in_multi && !worker.carry_floor(client)) [[unlikely]] {
    if (!drained_or_wait(client)) return Step::kWait;
    if (tell_lost_write(worker, client)) return Step::kDone;
  }
  Upstream* upstream = client.dedicated;
  CommandRoute route = CommandRoute::kDedicated;
  // Replies may be outstanding on a shared connection yet.
  if (upstream != nullptr && client.upstream != upstream && !drained_or_wait(client)) {
    return Step::kWait;
  }
  if (upstream == nullptr || (client.inflight == 0 && !client.pinned())) {
    if (upstream != nullptr) worker.detach_dedicated(client);  // nothing keeps it any more
    upstream = pick(worker, client, row, request.bytes.size(), request.more);
    if (upstream == nullptr) return Step::kWait;
    if (upstream->role() != Role::kDedicated) {
      const bool reads = upstream->role() == Role::kReads || upstream->role() == Role::kReplica;
      route = reads ? CommandRoute::kReads : CommandRoute::kWrites;
    }
  }
  if (client.inflight >= kClientInflightMax && !drained_or_wait(client)) return Step::kWait;
  if (!room_or_wait(client, *upstream)) return Step::kWait;
  Entry entry = entry_for(client, row);
  entry.kind = kind;
  entry.topic = topic;
  if (client.session.in_multi) ++client.session.multi_commands;
  worker.record_command(row, route);
  worker.forward(client, *upstream, entry, request.block, request.bytes);
  return Step::kDone;
}

Step ask_redis(Worker& worker, Client& client, const CommandRow* row, std::string_view bytes,
               Topic topic) {
  const bool own = client.pinned();
  if (own && client.upstream != client.dedicated && !drained_or_wait(client)) return Step::kWait;
  Upstream* upstream = own ? client.dedicated : pick(worker, client, row, bytes.size(), false);
  if (upstream == nullptr || !room_or_wait(client, *upstream)) return Step::kWait;
  Entry entry = entry_for(client, row);
  entry.kind = EntryKind::kCollect;
  entry.topic = topic;
  entry.awaited = true;
  worker.record_command(row, CommandRoute::kLocal);
  client.wait = Wait::kAnswer;  // first: while Redis is away the answer is there at once
  worker.forward(client, *upstream, entry, {}, bytes);
  return Step::kDone;
}

Entry entry_for(Client& client, const CommandRow* row) {
  Entry entry;
  entry.client = client.self;
  entry.command = row != nullptr ? row->id : kExtraCommandId;
  entry.repeatable = row != nullptr && repeatable(*row);
  entry.write = row == nullptr || (row->flags & (kWrite | kMayReplicate)) != 0;
  entry.silent = !reply_wanted(client.session);
  entry.bound = client.session.in_multi;
  if (entry.bound && is_slowed(row)) client.session.multi_writes = true;
  entry.evalsha = row != nullptr && row->handling == Handling::kEvalsha && !entry.bound;
  return entry;
}

Entry entry_of_ours(Client& client) {
  Entry entry = entry_for(client, nullptr);
  entry.write = false;
  return entry;
}

bool is_slowed(const CommandRow* row) {
  return row == nullptr || has_flag(*row, kWrite) ||
         (has_flag(*row, kMayReplicate) && !has_flag(*row, kReadonly));
}

bool slowed(Worker& worker, Client& client, const CommandRow* row, uint64_t bytes) {
  const bool writes =
      client.session.in_multi
          ? row != nullptr && row->handling == Handling::kExec && client.session.multi_writes
          : is_slowed(row);
  return writes && !worker.pace().admits(client) && worker.pace().wait(client, bytes);
}

void answer(Worker& worker, Client& client, std::string_view text) {
  if (reply_wanted(client.session)) worker.reply(client, text);
}

bool drained_or_wait(Client& client) {
  if (client.inflight == 0) return true;
  client.wait = Wait::kDrain;
  return false;
}

bool room_or_wait(Client& client, Upstream& upstream) {
  if (!upstream.full()) return true;
  client.wait = Wait::kUpstream;
  client.worker->note_crowded();
  upstream.waiting.push_back(client.self);
  return false;
}

bool own_connection(Worker& worker, Client& client) {
  const bool there = client.pinned() && client.upstream == client.dedicated;
  if (!there && !drained_or_wait(client)) return false;
  if (client.dedicated == nullptr) worker.attach_dedicated(client);
  wear_name(worker, client);
  return true;
}

void wear_name(Worker& worker, Client& client) {
  Upstream* own = client.dedicated;
  if (own == nullptr || own->name == client.session.name() || client.session.in_multi) return;
  own->name = client.session.name();
  Entry entry;
  entry.kind = EntryKind::kDiscard;
  entry.injected = true;
  // Not by CLIENT SETNAME, which an ACL may forbid.
  const std::vector<std::string_view> command = {"HELLO", own->protocol == 3 ? "3" : "2", "SETNAME",
                                                 own->name};
  own->send(entry, {}, encode_request(command));
  worker.mark_dirty(*own);
}

void defer(Client& client, const Request& request) {
  client.extra().deferred.assign(request.bytes);
}

std::vector<std::string> take_deferred(Client& client) {
  const std::string bytes = std::move(client.extra().deferred);
  client.extra().deferred.clear();
  std::vector<std::string_view> args;
  collect_args(bytes.data(), bytes.data() + bytes.size(), args);
  return {args.begin(), args.end()};
}

std::vector<std::string_view> views(const std::vector<std::string>& args) {
  return {args.begin(), args.end()};
}

namespace {

// Nothing but its reply comes of it, or of what azimuth would make of it much less than of its
// size.
bool may_stream(const CommandRow* row) {
  if (row == nullptr) return true;
  switch (row->handling) {
    case Handling::kForward:
    case Handling::kPing:
    case Handling::kEcho:
    case Handling::kEvalsha:
    case Handling::kScriptLoad:
      return true;
    default:
      return false;
  }
}

}  // namespace

StreamDecision stream_decision(Worker& worker, Client& client, const RequestFrame& beginning,
                               uint64_t needed) {
  if (beginning.stored == 0) return StreamDecision::kGather;  // not even its name is there
  const CommandRow* row =
      resolve({beginning.args.data(), beginning.stored}, worker.extra_commands());
  if (client.opaque) {
    return may_stream(row) ? StreamDecision::kStream : StreamDecision::kGather;
  }
  if (!client.session.authenticated || !may_stream(row)) return StreamDecision::kGather;
  if (worker.pace().on() && slowed(worker, client, row, needed)) return StreamDecision::kWait;
  if (!own_connection(worker, client)) return StreamDecision::kWait;
  Entry entry = entry_for(client, row);
  entry.repeatable = false;
  worker.record_command(row, CommandRoute::kDedicated);
  worker.forward(client, *client.dedicated, entry, {}, {});
  client.paced_bytes = 0;  // it has waited for itself alone
  return StreamDecision::kStream;
}

}  // namespace azimuth
