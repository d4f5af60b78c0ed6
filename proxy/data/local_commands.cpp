// AUTH, HELLO, RESET and AZIMUTH: what a session is, and what azimuth says of itself.
#include <charconv>

#include "conf/consistency.h"
#include "proxy/data/dispatch.h"
#include "session/hello.h"
#include "session/reply_writer.h"
#include "session/words.h"

namespace azimuth {
namespace {

// AUTH is judged by Redis, on a connection that only ever logs in: every user's name and password
// are checked there, and logging in there changes nothing for anybody else.
Step ask_login(Worker& worker, Client& client, std::string_view bytes, Topic topic) {
  Entry entry = entry_of_ours(client);
  entry.kind = EntryKind::kCollect;
  entry.topic = topic;
  entry.awaited = true;
  entry.repeatable = true;  // who logs in twice is logged in
  client.wait = Wait::kAnswer;
  worker.forward(client, worker.auth_connection(), entry, {}, bytes);
  return Step::kDone;
}

// On a connection of its own the client's login must change there too; Redis does both at once.
Step ask_own(Worker& worker, Client& client, const Request& request, Topic topic) {
  Entry entry = entry_of_ours(client);
  entry.kind = EntryKind::kCollect;
  entry.topic = topic;
  entry.awaited = true;
  client.dedicated->tainted = true;
  wear_name(worker, client);
  client.wait = Wait::kAnswer;
  worker.forward(client, *client.dedicated, entry, {}, request.bytes);
  if (topic == Topic::kServerInfo) {
    ask_state(worker, client, parse_hello(request.args()).set_name() != nullptr);
  }
  return Step::kDone;
}

// Redis keeps the database when the user changes, even one that the new user may not SELECT: only a
// connection that changes its user in the same way can do that.
void keep_database(Worker& worker, Client& client) {
  if (client.session.db == 0) return;
  if (client.dedicated == nullptr) worker.attach_dedicated(client);
  client.keep_dedicated = true;
}

void log_in(Worker& worker, Client& client, std::string_view user, std::string_view secret) {
  client.session.authenticated = true;
  worker.adopt_identity(
      client, worker.identity(true, user, secret, client.session.protocol, client.session.db));
}

// The end of HELLO: the protocol changes, and Redis tells about itself in it.
void switch_protocol(Worker& worker, Client& client, const HelloRequest& hello) {
  if (!hello.error.empty()) return answer(worker, client, hello.error);
  if (!client.session.authenticated) return answer(worker, client, kHelloNoAuthReply);
  if (hello.protocol) client.session.protocol = static_cast<uint8_t>(*hello.protocol);
  worker.renew_identity(client);
  Entry entry = entry_of_ours(client);
  entry.kind = EntryKind::kCollect;
  entry.topic = Topic::kServerInfo;
  entry.awaited = entry.repeatable = true;
  client.wait = Wait::kAnswer;
  worker.forward(client, worker.shared(*client.identity, Role::kReads), entry, {},
                 "*1\r\n$5\r\nHELLO\r\n");
}

// HELLO's options take effect from left to right, each before the next is looked at. AUTH needs
// Redis's word: finish_hello comes back here with the step behind it.
void take_steps(Worker& worker, Client& client, const HelloRequest& hello, size_t first) {
  for (size_t i = first; i < hello.steps.size(); ++i) {
    const HelloStep& step = hello.steps[i];
    if (step.kind == HelloStep::Kind::kSetName) {
      client.session.set_name(step.name);
      worker.enter_scope(client);
      continue;
    }
    client.extra().hello_step = i;
    const std::vector<std::string_view> auth = {"AUTH", step.user, step.password};
    ask_login(worker, client, encode_request(auth), Topic::kHello);
    return;
  }
  if (client.extra_) client.extra_->deferred.clear();
  switch_protocol(worker, client, hello);
}

std::string_view or_user(const std::vector<std::string>& args) {
  return args.size() == 3 ? std::string_view(args[1]) : std::string_view("default");
}

std::string level_help(std::string_view what) {
  return error_line("azimuth: unknown " + std::string(what));
}

// "bounded-staleness 500" means milliseconds, "bounded-staleness 500 writes" writes.
std::string set_consistency(Session& session, Consistency level,
                            std::span<const std::string_view> bound) {
  const bool bounded = level == Consistency::kBoundedStaleness;
  uint32_t value = 0;
  if (!bound.empty()) {
    if (!bounded) return level_help("bound: only bounded-staleness takes one");
    const char* const end = bound[0].data() + bound[0].size();
    const auto parsed = std::from_chars(bound[0].data(), end, value);
    const bool unit_ok = bound.size() == 1 || same_word(bound[1], "writes");
    if (parsed.ec != std::errc() || parsed.ptr != end || value == 0 || !unit_ok) {
      return level_help(
          "bound: write a number of milliseconds from 1 to 4294967295, or a number and the word "
          "writes");
    }
  } else if (bounded) {
    return level_help(
        "bound: bounded-staleness needs one, milliseconds, or a number and the word "
        "writes");
  }
  session.consistency = level;
  session.staleness_bound = value;
  session.bound_in_writes = bound.size() == 2;
  return std::string(kOkReply);
}

std::string consistency_of(const Session& session) {
  std::string text(to_string(session.consistency));
  if (session.consistency == Consistency::kBoundedStaleness) {
    text += ' ' + std::to_string(session.staleness_bound);
    if (session.bound_in_writes) text += " writes";
  }
  return text;
}

// Redis takes its words in any case.
std::string lowered(std::string_view word) {
  std::string text(word);
  for (char& c : text) c = lower_case(c);
  return text;
}

std::string set_scope(Worker& worker, Client& client, std::string_view wanted) {
  const auto scope = parse_session_scope(lowered(wanted));
  if (!scope || *scope == SessionScope::kByRole) {
    return level_help("session scope: write connection, user, client-name or node");
  }
  client.session.scope = *scope;
  worker.enter_scope(client);
  return std::string(kOkReply);
}

// The floor rises to what the token says, and that of those who share the session.
std::string take_token(Worker& worker, Client& client, const Result<Position>& position) {
  if (!position.ok()) return error_line("azimuth: " + position.error().message);
  if (position->epoch > worker.topology().epoch) {
    return "-TRYAGAIN azimuth: the token is of epoch " + std::to_string(position->epoch) +
           ", and this node knows of " + std::to_string(worker.topology().epoch) + " yet\r\n";
  }
  Position& floor = client.session.floor;
  worker.carry_floor(client);
  const Position before = floor;
  floor = *position;
  worker.carry_floor(client);
  floor = with_token(before, floor);
  if (client.scope != nullptr) client.scope->raise(floor);
  return std::string(kOkReply);
}

// The connection that a command would go on, or who answers it.
std::string_view connection_of(const SessionView& view, const CommandRow* row, bool blocks) {
  if (row != nullptr && row->handling == Handling::kRefused) return "refused";
  if (blocks) return "dedicated";
  switch (row != nullptr ? row->handling : Handling::kForward) {
    case Handling::kAuth:
    case Handling::kHello:
    case Handling::kClient:
    case Handling::kReset:
    case Handling::kQuit:
    case Handling::kAzimuth:
      return "azimuth";
    case Handling::kForward:
    case Handling::kUrgent:
    case Handling::kEvalsha:
      break;
    default:
      return to_string(channel_of(view, row, blocks));
  }
  if (view.in_multi || view.watching) return "dedicated";
  switch (role_for(view, row)) {
    case Role::kReads:
      return "reads";
    case Role::kScripts:
      return "scripts";
    case Role::kWrites:
    case Role::kQuorum:
    case Role::kReplica:
    case Role::kDedicated:
    case Role::kAuth:
      break;
  }
  return "writes";
}

void append_route(std::string& out, const Worker& worker, Client& client,
                  std::span<const std::string_view> command) {
  const CommandRow* row = resolve(command, worker.extra_commands());
  const bool blocks = row != nullptr && asks_to_block(*row, command);
  // A transaction's own connection, or another that it keeps, decides before the gate does.
  const bool own = client.pinned() && !client.session.in_multi && !client.session.watching;
  const Scope::Sight shared = worker.shared_sight(client);
  const SessionView view = worker.view_of(client, shared);
  const Route route = own ? decide(worker.topology(), view, row, {}, blocks)
                          : worker.replica().pick(client, row, view, shared, blocks).route;
  const bool somebody = route.member >= 0;
  append_map(out, client.session.protocol, 4);
  append_bulk(out, "node");
  append_bulk(out, somebody ? worker.topology().members[static_cast<size_t>(route.member)].id
                            : std::string());
  append_bulk(out, "connection");
  append_bulk(out, connection_of(view, row, blocks));
  append_bulk(out, "reason");
  append_bulk(out, to_string(route.reason));
  append_bulk(out, "command");
  append_bulk(out, row != nullptr ? row->name : std::string_view("unknown"));
}

void append_members(std::string& out, const Topology& topology, int protocol) {
  append_array(out, topology.members.size());
  for (size_t i = 0; i < topology.members.size(); ++i) {
    const Member& member = topology.members[i];
    const bool primary = topology.primary == static_cast<int>(i);
    const bool ready = member.alive && (primary || member.readiness == Readiness::kReady);
    append_map(out, protocol, 6);
    for (const auto& [key, value] : {std::pair<std::string_view, std::string_view>{"id", member.id},
                                     {"zone", member.zone},
                                     {"region", member.region},
                                     {"role", primary ? "primary" : "replica"},
                                     {"alive", member.alive ? "yes" : "no"},
                                     {"ready", ready ? "yes" : "no"}}) {
      append_bulk(out, key);
      append_bulk(out, value);
    }
  }
}

constexpr std::string_view kHelp[] = {
    "AZIMUTH <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "STATUS",
    "    The node's state as JSON.",
    "MEMBERS",
    "    The members of the group: id, zone, region, role, alive, ready.",
    "ROUTE <command> [<arg> ...]",
    "    Where this command of this session would go, and why.",
    "CONSISTENCY [<level> [<bound>]]",
    "    The session's consistency level; sets it.",
    "TOKEN [<token>]",
    "    What this session has written and read, as a token; lets it read no older than a token.",
    "DURABILITY [<level>]",
    "    The session's durability; sets it.",
    "SESSION [<scope>]",
    "    Whose writes and reads its reads do not fall behind: its connection's, or those of all of",
    "    its user, its client-name, its node; sets it.",
    "SLOWLOG GET [<count>] | LEN | RESET",
    "    Requests that took long, as azimuth saw them.",
    "SWITCHOVER [<node>]",
    "    Hands the writes over to that member, or to the fittest; answers when it is done.",
    "ELECT FORCE <node>",
    "    Makes a member the primary though it may lack acknowledged writes: when no fit one is "
    "left.",
    "MEMBER REMOVE <node>",
    "    Takes a node out of the group for good, a dead one too; the primary hands over first.",
    "MEMBER ADD <node>",
    "    Lets a node that was taken out in again. A new one joins by itself.",
    "HELP",
    "    This text.",
};

// Redis is asked whether the user may. Without a primary there is nobody to ask, and a wish cannot
// wait for one: the default user alone may then, as may who reaches the admin listener.
Step handle_group_wish(Worker& worker, Client& client, const Request& request) {
  if (!worker.process().ask_group) {
    answer(worker, client, error_line("azimuth: this node is in no cluster"));
  } else if (!worker.topology().vacant()) {
    return ask_permission(worker, client, request, command_row(CommandId::kFailover));
  } else if (client.identity->user != "default") {
    answer(
        worker, client,
        error_line("azimuth: there is no primary whose ACL could allow it; log in as the default "
                   "user, or use the admin listener: azimuth elect --force NODE"));
  } else {
    perform_group_wish(worker, client, request.args());
  }
  return Step::kDone;
}

}  // namespace

Step handle_auth(Worker& worker, Client& client, const Request& request) {
  // Redis 7.0 takes AUTH with one or two arguments; more is a syntax error, and its to answer.
  if (!drained_or_wait(client)) return Step::kWait;
  for (std::string_view arg : request.args()) {
    // The connection that asks may not be logged in itself, and Redis would cut it.
    if (arg.size() > kUnauthBulkBytesMax) {
      answer(worker, client, kWrongPassReply);
      return Step::kDone;
    }
  }
  keep_database(worker, client);
  defer(client, request);
  if (client.dedicated != nullptr) return ask_own(worker, client, request, Topic::kAuth);
  return ask_login(worker, client, request.bytes, Topic::kAuth);
}

void finish_auth(Worker& worker, Client& client, const std::string& reply) {
  const std::vector<std::string> args = take_deferred(client);
  if (!reply.starts_with("+OK")) return answer(worker, client, reply);
  log_in(worker, client, or_user(args), args.back());
  if (client.dedicated != nullptr) return answer(worker, client, reply);
  Upstream& reads = worker.shared(*client.identity, Role::kReads);
  if (reads.ready()) return answer(worker, client, reply);
  // Not before the new identity has a connection: the password may change behind this answer, and
  // who is in stays in.
  Entry entry = entry_of_ours(client);
  entry.kind = EntryKind::kCollect;
  entry.topic = Topic::kLoggedIn;
  entry.awaited = entry.repeatable = true;
  client.wait = Wait::kAnswer;
  worker.forward(client, reads, entry, {}, "*1\r\n$5\r\nHELLO\r\n");
}

Step handle_hello(Worker& worker, Client& client, const Request& request) {
  if (!drained_or_wait(client)) return Step::kWait;
  defer(client, request);
  if (client.dedicated != nullptr) return ask_own(worker, client, request, Topic::kServerInfo);
  const std::vector<std::string> args = take_deferred(client);
  const HelloRequest hello = parse_hello(views(args));
  if (hello.auth() != nullptr) {
    keep_database(worker, client);
    defer(client, request);
    if (client.dedicated != nullptr) return ask_own(worker, client, request, Topic::kServerInfo);
  }
  take_steps(worker, client, hello, 0);
  return Step::kDone;
}

void finish_hello(Worker& worker, Client& client, const std::string& reply) {
  const std::vector<std::string> args = take_deferred(client);
  if (reply.starts_with('-')) return answer(worker, client, reply);
  client.extra().deferred = encode_request(views(args));
  const HelloRequest hello = parse_hello(views(args));
  const size_t step = client.extra().hello_step;
  const HelloStep& login = hello.steps[step];
  log_in(worker, client, login.user, login.password);
  take_steps(worker, client, hello, step + 1);
}

// The reply to HELLO. On a connection of the client's own, Redis has done what it asked.
void finish_server_info(Worker& worker, Client& client, const std::string& reply) {
  if (client.dedicated != nullptr && !client.extra().deferred.empty()) {
    const std::vector<std::string> args = take_deferred(client);
    const HelloRequest hello = parse_hello(views(args));
    const HelloStep* const login = hello.auth();
    const bool failed = reply.starts_with('-');
    if (!failed) {
      if (hello.protocol) client.session.protocol = static_cast<uint8_t>(*hello.protocol);
      client.dedicated->protocol = client.session.protocol;
      worker.renew_identity(client);
    }
    if (login != nullptr) {
      if (!failed || reply == hello.error) {  // the error stands behind the steps, and they hold
        log_in(worker, client, login->user, login->password);
      } else {
        client.keep_dedicated = true;  // who it is by now, only that connection knows
      }
    }
  }
  answer(worker, client, reply);
}

Step handle_reset(Worker& worker, Client& client) {
  if (!drained_or_wait(client)) return Step::kWait;
  if (client.dedicated != nullptr) {
    client.dedicated->tainted = true;  // Redis forgets its state by closing it
    worker.detach_dedicated(client);
  }
  apply_reset(client.session, worker.default_user_open());
  worker.adopt_listener(client);
  client.keep_dedicated = client.opaque = false;
  client.extra_.reset();
  worker.adopt_identity(client, worker.default_identity());
  answer(worker, client, kResetReply);
  if (worker.sparing()) worker.learn_login_rule(client);
  return Step::kDone;
}

Step handle_azimuth(Worker& worker, Client& client, const Request& request) {
  if (!drained_or_wait(client)) return Step::kWait;
  const std::span<const std::string_view> args = request.args();
  const std::string_view sub = args.size() > 1 ? args[1] : std::string_view();
  std::string out;
  worker.record_command(&command_row(CommandId::kAzimuth), CommandRoute::kLocal);
  if (same_word(sub, "help")) {
    append_array(out, std::size(kHelp));
    for (std::string_view line : kHelp) append_simple(out, line);
  } else if (same_word(sub, "status") && args.size() == 2) {
    append_verbatim(out, client.session.protocol, "txt", worker.process().status_json());
  } else if (same_word(sub, "members") && args.size() == 2) {
    append_members(out, worker.topology(), client.session.protocol);
  } else if (same_word(sub, "route") && args.size() > 2) {
    append_route(out, worker, client, args.subspan(2));
  } else if (same_word(sub, "consistency") && args.size() <= 5) {
    if (args.size() == 2) {
      append_bulk(out, consistency_of(client.session));
    } else if (const auto level = parse_consistency(lowered(args[2]))) {
      out = set_consistency(client.session, *level, args.subspan(3));
    } else {
      out = level_help(
          "consistency level: write strong, bounded-staleness, consistent-prefix, "
          "monotonic-reads, read-my-writes, causal or eventual");
    }
  } else if (same_word(sub, "durability") && args.size() <= 3) {
    if (args.size() == 2) {
      append_bulk(out, to_string(client.session.durability));
    } else if (const auto level = parse_durability(lowered(args[2]))) {
      client.session.durability = *level;
      out = kOkReply;
    } else {
      out = level_help("durability: write async or quorum");
    }
  } else if (same_word(sub, "session") && args.size() <= 3) {
    if (args.size() == 2) {
      append_bulk(out, to_string(client.session.scope));
    } else {
      out = set_scope(worker, client, args[2]);
    }
  } else if (same_word(sub, "token") && args.size() == 2) {
    // (Of what is left, a token would say nothing of what was lost.)
    if (worker.tags() && !worker.carry_floor(client) && tell_lost_write(worker, client)) {
      return Step::kDone;
    }
    // The primary's own offset is at or beyond all that this session has done and seen.
    const CommandRow* const role = &command_row(CommandId::kRole);
    return ask_redis(worker, client, role, "*1\r\n$4\r\nROLE\r\n", Topic::kToken);
  } else if (same_word(sub, "token") && args.size() == 3) {
    const Result<Position> position = worker.process().tokens.read(args[2]);
    if (position.ok() && position->epoch > worker.topology().epoch && !client.waited) {
      client.waited = true;
      worker.replica().wait_for_epoch(client, position->epoch);
      return Step::kWait;
    }
    client.waited = false;
    out = take_token(worker, client, position);
  } else if (same_word(sub, "slowlog") && args.size() >= 3) {
    return handle_slowlog(worker, client, request);
  } else if ((same_word(sub, "switchover") && args.size() <= 3) ||
             (same_word(sub, "elect") && args.size() == 4 && same_word(args[2], "force")) ||
             (same_word(sub, "member") && args.size() == 4 &&
              (same_word(args[2], "add") || same_word(args[2], "remove")))) {
    return handle_group_wish(worker, client, request);
  } else {
    out = error_line("azimuth: unknown subcommand or wrong number of arguments. Try AZIMUTH HELP.");
  }
  answer(worker, client, out);
  return Step::kDone;
}

void finish_token(Worker& worker, Client& client, const std::string& reply) {
  const std::optional<uint64_t> offset = primary_offset(reply);
  if (!offset) {
    return answer(worker, client,
                  reply.starts_with('-') ? reply : error_line("azimuth: the primary has moved"));
  }
  Position position{worker.topology().epoch, *offset};
  for (const Position& floor :
       {client.session.floor, client.scope ? client.scope->sight().floor : Position{}}) {
    const bool placed = floor.epoch == position.epoch && floor.offset != kUnplaced;
    if (placed) position.offset = std::max(position.offset, floor.offset);
  }
  std::string out;
  append_bulk(out, worker.process().tokens.make(position));
  answer(worker, client, out);
}

// The control thread answers, when the new primary is ready or cannot be had. The client may be
// gone by then.
void perform_group_wish(Worker& worker, Client& client, std::span<const std::string_view> args) {
  Wish::Kind kind = Wish::Kind::kSwitchOver;
  if (same_word(args[1], "elect"))
    kind = Wish::Kind::kForce;
  else if (same_word(args[1], "member"))
    kind = same_word(args[2], "add") ? Wish::Kind::kAdd : Wish::Kind::kRemove;
  const std::string node(args.size() > 2 ? args.back() : std::string_view());
  client.wait = Wait::kAnswer;
  const auto tell = [&worker, ref = client.self](const std::string& why_not) {
    worker.post([ref, why_not](Worker& home) {
      Client* const asking = home.client(ref);
      if (asking == nullptr || asking->closing) return;
      asking->wait = Wait::kNone;
      answer(home, *asking,
             why_not.empty() ? std::string(kOkReply) : error_line("azimuth: " + why_not));
      home.answered(*asking);
    });
  };
  worker.process().ask_group(kind, node, tell);
}

}  // namespace azimuth
