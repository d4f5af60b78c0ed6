#include "proxy/data/dispatch.h"

#include <algorithm>

#include "session/reply_writer.h"
#include "session/words.h"

namespace azimuth {
namespace {

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return out;
}

// Redis's words for a command that it does not know (server.c, commandCheckExistence).
std::string unknown_command(std::span<const std::string_view> args) {
  const CommandRow* container = find_command(args[0]);
  if (container != nullptr && container->has_subcommands && args.size() > 1) {
    return error_line("unknown subcommand '" + std::string(until_nul(args[1]).substr(0, 128)) +
                      "'. Try " + upper(args[0]) + " HELP.");
  }
  std::string list;
  for (size_t i = 1; i < args.size() && list.size() < 128; ++i) {
    list += "'" + std::string(until_nul(args[i]).substr(0, 128 - list.size())) + "' ";
  }
  return error_line("unknown command '" + std::string(until_nul(args[0]).substr(0, 128)) +
                    "', with args beginning with: " + list);
}

std::string wrong_arity(const CommandRow& row) {
  return error_line("wrong number of arguments for '" + std::string(row.name) + "' command");
}

Step before_login(Worker& worker, Client& client, const Request& request, const CommandRow* row) {
  if (!drained_or_wait(client)) return Step::kWait;
  const bool unknown = row == nullptr || (row->has_subcommands && request.frame.argc > 1);
  if (row == nullptr && is_cross_protocol(request.frame.args[0])) {
    worker.cut(client, CutReason::kCrossProtocol);
  } else if (unknown) {
    answer(worker, client, unknown_command(request.args()));
  } else if (!arity_ok(*row, request.frame.argc)) {
    answer(worker, client, wrong_arity(*row));
  } else if (row->handling == Handling::kExec) {
    answer(worker, client,
           "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n");
  } else if (!has_flag(*row, kNoAuth)) {
    answer(worker, client, "-NOAUTH Authentication required.\r\n");
  } else {
    switch (row->handling) {
      case Handling::kAuth:
        return handle_auth(worker, client, request);
      case Handling::kHello:
        return handle_hello(worker, client, request);
      case Handling::kReset:
        return handle_reset(worker, client);
      default:
        answer(worker, client, "+OK\r\n");
        client.close_after_flush = true;
    }
  }
  return Step::kDone;
}

// A command whose reply may be long in coming: on the client's own connection, and the client's
// next requests wait for it, as they do in Redis.
Step blocking(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  if (client.eof) {  // as Redis, which forgets a client that has gone: it takes nothing any more
    if (!drained_or_wait(client)) return Step::kWait;
    client.close_after_flush = true;
    worker.mark_dirty(client);
    return Step::kDone;
  }
  if (!own_connection(worker, client)) return Step::kWait;
  if (row.handling == Handling::kWait) {
    // WAIT counts the replicas that hold what this connection has written. It has written nothing;
    // any command before it makes Redis take the stream's present end instead.
    Entry first;
    first.kind = EntryKind::kDiscard;
    first.injected = true;
    client.dedicated->send(first, {}, "*1\r\n$5\r\nHELLO\r\n");  // which no ACL forbids
  }
  Entry entry = entry_for(client, &row);
  entry.kind = EntryKind::kNotify;
  entry.topic = Topic::kUnblocked;
  entry.repeatable = false;
  worker.record_command(&row, CommandRoute::kDedicated);
  client.wait = Wait::kBlocked;
  worker.forward(client, *client.dedicated, entry, request.block, request.bytes);
  return Step::kDone;
}

Step subscribe(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  if (!own_connection(worker, client)) return Step::kWait;
  Upstream& own = *client.dedicated;
  own.pubsub = own.tainted = true;
  client.session.subscribed = true;
  Entry entry = entry_for(client, &row);
  entry.topic = Topic::kSubscribe;
  entry.repeatable = false;
  const bool all = request.frame.argc == 1;  // UNSUBSCRIBE: from however many there are
  entry.replies = all ? UINT32_MAX : request.frame.argc - 1;
  worker.record_command(&row, CommandRoute::kDedicated);
  worker.forward(client, own, entry, request.block, request.bytes);
  if (all) {
    // Its confirmations are over when this is answered.
    Entry end;
    end.kind = EntryKind::kDiscard;
    end.injected = true;
    own.send(end, {}, "*1\r\n$4\r\nPING\r\n");
  }
  return Step::kDone;
}

// From here on the bytes of this client and its own connection pass unread, both ways.
Step opaque(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  if (!own_connection(worker, client)) return Step::kWait;
  if (worker.wants_quorum(client) && !drained_or_wait(client)) return Step::kWait;
  worker.record_command(&row, CommandRoute::kDedicated);
  client.opaque = true;
  client.session.monitoring = row.handling == Handling::kMonitor;
  client.dedicated->tainted = true;
  client.dedicated->make_opaque();
  client.dedicated->send_more(request.block, request.bytes);
  return Step::kDone;
}

Step select_database(Worker& worker, Client& client, const Request& request,
                     const CommandRow& row) {
  if (client.session.in_multi) {
    // It takes effect at EXEC, or not: only that connection knows. The client keeps it.
    client.keep_dedicated = client.dedicated->tainted = true;
    return forward_plain(worker, client, request, &row);
  }
  int32_t wanted = 0;
  for (char c : request.frame.args[1]) {
    if (c < '0' || c > '9' || wanted > 100000) {
      wanted = -1;  // whatever Redis makes of it, it is no database
      break;
    }
    wanted = wanted * 10 + (c - '0');
  }
  if (request.frame.args[1].empty()) wanted = -1;
  // Whatever Redis says, nothing changes, so nothing has to wait for it.
  if (wanted == client.session.db && !client.pinned()) {
    return forward_plain(worker, client, request, &row);
  }
  if (!drained_or_wait(client)) return Step::kWait;
  // A shared connection stays on one database: it is asked on one that is on the wanted database
  // already, and that could only be made if Redis allows it. What is no small number is asked on
  // the client's own.
  if (!client.pinned() && (wanted < 0 || wanted >= kSharedDatabasesMax)) {
    worker.attach_dedicated(client);
    client.keep_dedicated = client.dedicated->tainted = true;
  }
  client.extra().select_db = wanted;
  if (client.pinned()) {
    client.dedicated->tainted = true;
    return ask_redis(worker, client, &row, request.bytes, Topic::kSelect);
  }
  const Identity& now = *client.identity;
  Identity& there =
      worker.identity(now.logged_in, now.user, now.secret, client.session.protocol, wanted);
  Entry entry = entry_for(client, &row);
  entry.kind = EntryKind::kCollect;
  entry.topic = Topic::kSelect;
  entry.awaited = entry.repeatable = true;
  worker.record_command(&row, CommandRoute::kReads);
  client.wait = Wait::kAnswer;
  worker.forward(client, worker.shared(there, Role::kReads), entry, request.block, request.bytes);
  return Step::kDone;
}

Step info(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  bool ours = request.frame.argc == 1;
  for (size_t i = 1; i < request.frame.stored; ++i) {
    for (const char* section : {"default", "all", "everything", "azimuth"}) {
      ours = ours || same_word(request.frame.args[i], section);
    }
  }
  if (!ours || client.session.in_multi) return forward_plain(worker, client, request, &row);
  return forward_plain(worker, client, request, &row, EntryKind::kCollect, Topic::kInfo);
}

Step scripts(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  if (client.session.in_multi) return forward_plain(worker, client, request, &row);
  switch (row.handling) {
    case Handling::kScriptLoad:
      if (!drained_or_wait(client)) return Step::kWait;
      defer(client, request);
      return ask_redis(worker, client, &row, request.bytes, Topic::kScriptLoad);
    case Handling::kScriptFlush:
      return ask_redis(worker, client, &row, request.bytes, Topic::kScriptFlush);
    default:
      break;
  }
  return forward_plain(worker, client, request, &row);  // EVALSHA: Worker::load_lost_script
}

bool sync_allowed(Worker& worker, const Client& client) {
  return allows_sync(worker.settings(), worker.settings().listen[client.listener]);
}

Step refuse(Worker& worker, Client& client, const CommandRow& row) {
  if (client.session.in_multi) return poison(worker, client);
  if (!drained_or_wait(client)) return Step::kWait;
  std::string name = upper(row.name);
  std::replace(name.begin(), name.end(), '|', ' ');
  worker.metrics().count_error(ErrorKind::kRefused);
  answer(worker, client,
         error_line("azimuth: " + name + " is refused: replication is azimuth's to control"));
  return Step::kDone;
}

Step special(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  const bool in_multi = client.session.in_multi;
  switch (row.handling) {
    case Handling::kQuit:
      if (!drained_or_wait(client)) return Step::kWait;
      answer(worker, client, "+OK\r\n");
      client.close_after_flush = true;
      return Step::kDone;
    case Handling::kAuth:
      return in_multi ? queue_local(worker, client, request, row)
                      : handle_auth(worker, client, request);
    case Handling::kHello:
      return in_multi ? queue_local(worker, client, request, row)
                      : handle_hello(worker, client, request);
    case Handling::kReset:
      return handle_reset(worker, client);
    case Handling::kClient:
      return in_multi ? queue_local(worker, client, request, row)
                      : handle_client(worker, client, request, row);
    case Handling::kAzimuth: {
      // (Of a transaction, too, it can be asked where it goes: at once, and it is no part of it.)
      const bool asks = request.args().size() > 2 && same_word(request.args()[1], "route");
      return in_multi && !asks ? queue_local(worker, client, request, row)
                               : handle_azimuth(worker, client, request);
    }
    case Handling::kRefused:
      return refuse(worker, client, row);
    case Handling::kInfo:
      return info(worker, client, request, row);
    case Handling::kSelect:
      return select_database(worker, client, request, row);
    case Handling::kMulti:
    case Handling::kExec:
    case Handling::kDiscard:
    case Handling::kWatch:
    case Handling::kUnwatch:
      return handle_transaction(worker, client, request, row);
    case Handling::kWait:
    case Handling::kBlocking:
      if (in_multi) break;
      return blocking(worker, client, request, row);
    case Handling::kBlockingIfAsked:
      if (in_multi || !asks_to_block(row, request.args())) break;
      return blocking(worker, client, request, row);
    case Handling::kSubscribe:
    case Handling::kUnsubscribe:
      // Inside MULTI its confirmations stand inside EXEC's reply, which is no RESP any more.
      return in_multi ? opaque(worker, client, request, row)
                      : subscribe(worker, client, request, row);
    case Handling::kMonitor:
      if (in_multi) break;  // Redis refuses it
      return opaque(worker, client, request, row);
    case Handling::kSync:
      if (!sync_allowed(worker, client)) return refuse(worker, client, row);
      if (in_multi) break;
      return opaque(worker, client, request, row);
    case Handling::kScriptLoad:
    case Handling::kScriptFlush:
    case Handling::kEvalsha:
      return scripts(worker, client, request, row);
    case Handling::kAclChange:
      if (in_multi) break;
      return ask_redis(worker, client, &row, request.bytes, Topic::kAclChange);
    case Handling::kPinned:
      if (!own_connection(worker, client)) return Step::kWait;
      client.keep_dedicated = client.dedicated->tainted = true;
      break;
    case Handling::kForward:
    case Handling::kPing:  // Redis's own answer: -BUSY, -LOADING and -MISCONF are news
    case Handling::kEcho:
    case Handling::kUrgent:
      break;
  }
  return forward_plain(worker, client, request, &row);
}

// A client whose replies pass unread (MONITOR, SYNC): its requests pass too, RESET and QUIT among
// them, but for those that nobody may send.
Step pass_on(Worker& worker, Client& client, const Request& request, const CommandRow* row) {
  const bool replicates = row != nullptr && row->handling == Handling::kSync;
  const bool refused = row != nullptr && row->handling == Handling::kRefused;
  if (refused || (replicates && !sync_allowed(worker, client))) {
    // Where our answer would stand among Redis's is not known.
    worker.metrics().count_error(ErrorKind::kRefused);
    worker.cut(client, CutReason::kProtocol);
  } else {
    client.dedicated->send_more(request.block, request.bytes);
  }
  return Step::kDone;
}

}  // namespace

Step dispatch(Worker& worker, Client& client, const Request& request) {
  const CommandRow* row = resolve(request.args(), worker.extra_commands());
  client.last_command = row != nullptr ? row->id : kExtraCommandId;
  if (client.opaque) [[unlikely]]
    return pass_on(worker, client, request, row);
  if (!client.session.authenticated) [[unlikely]] {
    return before_login(worker, client, request, row);
  }
  if (worker.pace().on() && slowed(worker, client, row, request.bytes.size())) [[unlikely]]
    return Step::kWait;
  if (row != nullptr && (row->handling == Handling::kForward || row->handling == Handling::kPing))
      [[likely]] {
    return forward_plain(worker, client, request, row);
  }
  if (row == nullptr) {
    if (is_cross_protocol(request.frame.args[0])) {
      if (!drained_or_wait(client)) return Step::kWait;
      worker.cut(client, CutReason::kCrossProtocol);
      return Step::kDone;
    }
    return forward_plain(worker, client, request, row);
  }
  // Redis answers what is malformed.
  if (!arity_ok(*row, request.frame.argc)) return forward_plain(worker, client, request, row);
  return special(worker, client, request, *row);
}

}  // namespace azimuth
