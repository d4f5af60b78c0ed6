// CLIENT: its subcommands are about azimuth's own clients, on all workers. Before azimuth does one,
// Redis is asked, as the user, for a harmless form of the same subcommand: its ACL decides.
#include <algorithm>
#include <charconv>
#include <map>

#include "proxy/data/dispatch.h"
#include "session/client_command.h"
#include "session/reply_writer.h"
#include "session/strict_integer.h"
#include "session/tracking.h"
#include "session/words.h"

namespace azimuth {
namespace {

constexpr std::string_view kConnectionGone =
    "-CLUSTERDOWN azimuth: the connection to Redis was lost; the command did not run\r\n";

// A form of the same subcommand that Redis's ACL judges alike and that changes nothing there.
std::vector<std::string_view> harmless_form(std::span<const std::string_view> args) {
  const std::string_view sub = args[1];
  if (same_word(sub, "id") || same_word(sub, "getname") || same_word(sub, "info")) {
    return {"CLIENT", sub};
  }
  if (same_word(sub, "list")) return {"CLIENT", sub, "ID", "9223372036854775807"};
  if (same_word(sub, "setname")) return {"CLIENT", sub, "a b"};  // no name, so an error
  if (same_word(sub, "kill")) {
    std::vector<std::string_view> form(args.begin(), args.end());
    if (args.size() == 3) {
      form[2] = "0.0.0.0:0";
    } else {
      // Of several IDs the last counts: Redis judges all the options and finds nobody.
      form.insert(form.end(), {"ID", "9223372036854775807"});
    }
    return form;
  }
  if (same_word(sub, "slowlog")) return {"SLOWLOG", "LEN"};
  // Who may move the primary there may do it here. (There is no such failover: azimuth refuses it.)
  if (same_word(sub, "switchover") || same_word(sub, "elect") || same_word(sub, "member"))
    return {"FAILOVER", "ABORT"};
  if (same_word(sub, "unblock")) return {"CLIENT", sub, "0"};
  std::vector<std::string_view> form = {"CLIENT", sub};
  form.resize(args.size(), "?");  // the arity is judged before the ACL, the options behind it
  return form;
}

// A client as CLIENT LIST shows it; the texts are borrowed from the second.
struct Described {
  ClientDescription line;
  std::string addr, laddr, cmd;
};

void describe(Worker& worker, Client& client, Described& out) {
  const Session& session = client.session;
  ClientDescription& line = out.line;
  out.addr = peer_text(client.fd);
  out.laddr = local_text(client.fd);
  const auto now_s = static_cast<int64_t>(worker.now_ms() / 1000);
  line.id = client.id;
  line.addr = out.addr;
  line.laddr = out.laddr;
  line.fd = client.fd;
  line.name = session.name();
  line.age = now_s - client.created_s;
  line.idle = std::max<int64_t>(0, now_s - client.active_s);
  line.db = session.db;
  line.multi = session.in_multi ? static_cast<int>(session.multi_commands) : -1;
  if (client.extra_) {
    line.sub = client.extra_->channels;
    line.psub = client.extra_->patterns;
    line.ssub = client.extra_->shard_channels;
  }
  line.resp = session.protocol;
  line.user = client.identity != nullptr ? std::string_view(client.identity->user) : "default";
  if (client.last_command < kCommandCount) line.cmd = all_commands()[client.last_command].name;
  line.qbuf = client.input ? client.input->bytes.size() : 0;
  line.omem = client.output_size();
  line.tot_mem = sizeof(Client) + line.qbuf + line.omem;
  if (session.monitoring) line.flags |= kClientMonitor;
  if (line.sub + line.psub + line.ssub != 0) line.flags |= kClientPubsub;
  if (session.in_multi) line.flags |= kClientMulti;
  if (session.tracking) line.flags |= kClientTracking;
  if (session.no_evict) line.flags |= kClientNoEvict;
  if (client.wait == Wait::kBlocked) line.flags |= kClientBlocked;
  if (out.addr.find('/') != std::string::npos) line.flags |= kClientUnixSocket;
  if (session.tracking && session.extra_) {
    line.redir = tracking_redirect(session.extra_->tracking);
    if (session.extra_->tracking.bcast) line.flags |= kClientBcast;
  }
}

uint64_t leading_id(std::string_view line) {
  uint64_t id = 0;
  std::from_chars(line.data() + 3, line.data() + line.size(), id);  // behind "id="
  return id;
}

void list_clients(Worker& worker, Client& client, const ClientListRequest& request) {
  const auto ask = [type = request.type](Worker& each, std::string& out) {
    each.for_each_client([&](Client& one) {
      Described described;
      describe(each, one, described);
      if (type && described.line.type() != *type) return;
      append_client_line(out, described.line);
      out += '\n';
    });
  };
  worker.ask_all(client, ask, [request](Client& asking, const std::string& all) {
    std::map<uint64_t, std::string_view> lines;  // by id, as Redis lists them
    for (std::string_view rest = all; !rest.empty();) {
      const size_t end = rest.find('\n') + 1;
      lines.emplace(leading_id(rest), rest.substr(0, end));
      rest.remove_prefix(end);
    }
    std::string text;
    if (request.by_id) {
      for (int64_t id : request.ids) {
        const auto found = lines.find(static_cast<uint64_t>(id));
        if (found != lines.end()) text += found->second;
      }
    } else {
      for (const auto& [id, line] : lines) text += line;
    }
    std::string out;
    append_verbatim(out, asking.session.protocol, "txt", text);
    answer(*asking.worker, asking, out);
  });
}

void kill_clients(Worker& worker, Client& client, const ClientFilter& filter) {
  const uint64_t self = client.id;
  const auto ask = [filter, self](Worker& each, std::string& out) {
    std::vector<Client*> doomed;
    each.for_each_client([&](Client& one) {
      Described described;
      describe(each, one, described);
      if (filter.matches(described.line, self)) doomed.push_back(&one);
    });
    for (Client* one : doomed) {
      out += one->id == self ? 'S' : 'k';
      if (one->id != self) each.cut(*one, CutReason::kKilled);
    }
  };
  worker.ask_all(client, ask, [filter](Client& asking, const std::string& all) {
    std::string out;
    append_kill_reply(out, filter, all.size());
    answer(*asking.worker, asking, out);
    if (all.find('S') != std::string::npos) asking.close_after_flush = true;
  });
}

// The id that Redis knows a blocked client by, or nothing.
void unblock_client(Worker& worker, Client& client, const UnblockRequest& request) {
  const auto ask = [id = request.id](Worker& each, std::string& out) {
    Client* one = each.find_client(static_cast<uint64_t>(id));
    if (one == nullptr || one->wait != Wait::kBlocked) return;
    one->dedicated->tainted = true;  // so that the id means nobody else when Redis is told it
    out = std::to_string(one->dedicated->redis_client_id());
  };
  worker.ask_all(client, ask, [request](Client& asking, const std::string& redis_id) {
    if (redis_id.empty()) return answer(*asking.worker, asking, ":0\r\n");
    const std::vector<std::string_view> command = {"CLIENT", "UNBLOCK", redis_id,
                                                   request.with_error ? "ERROR" : "TIMEOUT"};
    Worker& home = *asking.worker;
    Upstream& asked = asking.pinned() && asking.dedicated != nullptr
                          ? *asking.dedicated
                          : home.shared(*asking.identity, Role::kReads);
    home.forward(asking, asked, entry_of_ours(asking), {}, encode_request(command));
  });
}

// Whether the client is what CLIENT KILL or UNBLOCK means.
bool is_meant(Worker& worker, Client& client, uint64_t self,
              std::span<const std::string_view> args) {
  if (same_word(args[1], "unblock")) {
    const auto request = parse_client_unblock(args);
    return request && static_cast<uint64_t>(request->id) == client.id &&
           client.wait == Wait::kBlocked;
  }
  const auto filter = parse_client_kill(args);
  Described described;
  describe(worker, client, described);
  return filter && filter->matches(described.line, self);
}

// --- CLIENT TRACKING ---------------------------------------------------------------------------

void send_tracking(Worker& worker, Client& client, const std::vector<std::string_view>& args) {
  Entry entry = entry_of_ours(client);
  entry.kind = EntryKind::kCollect;
  entry.topic = Topic::kTracking;
  entry.awaited = true;
  client.wait = Wait::kAnswer;
  client.dedicated->tainted = true;
  worker.forward(client, *client.dedicated, entry, {}, encode_request(args));
}

std::optional<size_t> redirect_position(const std::vector<std::string_view>& args) {
  for (size_t i = 3; i + 1 < args.size(); ++i) {
    if (same_word(args[i], "prefix")) {
      ++i;  // its value may look like an option
    } else if (same_word(args[i], "redirect")) {
      return i + 1;
    }
  }
  return std::nullopt;
}

// REDIRECT names one of our clients; Redis must be told its connection, which it needs one for.
void track_with_redirect(Worker& worker, Client& client, std::string_view id_text) {
  uint64_t id = 0;
  std::from_chars(id_text.data(), id_text.data() + id_text.size(), id);
  const auto ask = [id](Worker& each, const Worker::Tell& tell) {
    Client* one = each.find_client(id);
    if (one == nullptr) return tell({});
    if (one->dedicated == nullptr) each.attach_dedicated(*one);
    one->keep_dedicated = one->dedicated->tainted = true;
    one->dedicated->when_ready(tell);
  };
  worker.ask_all_later(client, ask, [](Client& asking, const std::string& redis_id) {
    const std::vector<std::string> args = take_deferred(asking);
    std::vector<std::string_view> sent = views(args);
    const std::string_view target = redis_id.empty() ? std::string_view("0") : redis_id;
    if (const auto at = redirect_position(sent)) sent[*at] = target;
    Worker& home = *asking.worker;
    if (asking.dedicated == nullptr) {
      asking.close_after_flush = true;  // what comes behind is not to go untracked
      home.mark_dirty(asking);
      return answer(home, asking, kConnectionGone);
    }
    const TrackingState none;
    const TrackingState& now = asking.session.extra_ ? asking.session.extra_->tracking : none;
    const auto request =
        parse_client_tracking(views(args), now, [&](int64_t) { return !redis_id.empty(); });
    if (!request) return answer(home, asking, request.error().message);
    asking.extra().deferred = encode_request(views(args));
    send_tracking(home, asking, sent);
  });
}

Step handle_tracking(Worker& worker, Client& client, const Request& request,
                     const CommandRow& row) {
  if (!own_connection(worker, client)) return Step::kWait;
  worker.record_command(&row, CommandRoute::kDedicated);
  defer(client, request);
  const std::vector<std::string> args = take_deferred(client);
  const std::vector<std::string_view> words = views(args);
  defer(client, request);
  if (const auto at = redirect_position(words); at && words[*at] != "0") {
    track_with_redirect(worker, client, words[*at]);
  } else {
    send_tracking(worker, client, words);
  }
  return Step::kDone;
}

// --- what azimuth does itself ------------------------------------------------------------------

void perform(Worker& worker, Client& client, const std::vector<std::string>& owned) {
  const std::vector<std::string_view> args = views(owned);
  const std::string_view sub = args[1];
  std::string out;
  if (same_word(sub, "id")) {
    append_integer(out, static_cast<int64_t>(client.id));
  } else if (same_word(sub, "getname")) {
    if (client.session.name().empty()) {
      append_null(out, client.session.protocol);
    } else {
      append_bulk(out, client.session.name());
    }
  } else if (same_word(sub, "setname")) {
    if (valid_client_name(args[2])) {
      client.session.set_name(args[2]);
      worker.enter_scope(client);
      wear_name(worker, client);
      out = kOkReply;
    } else {
      out = kClientNameErrorReply;
    }
  } else if (same_word(sub, "info")) {
    Described described;
    describe(worker, client, described);
    std::string line;
    append_client_line(line, described.line);
    append_verbatim(out, client.session.protocol, "txt", line + "\n");
  } else if (same_word(sub, "list")) {
    const auto request = parse_client_list(args);
    if (request) return list_clients(worker, client, *request);
    out = request.error().message;
  } else if (same_word(sub, "kill")) {
    const auto filter = parse_client_kill(args);
    if (filter) return kill_clients(worker, client, *filter);
    out = filter.error().message;
  } else if (same_word(sub, "unblock")) {
    const auto request = parse_client_unblock(args);
    if (request) return unblock_client(worker, client, *request);
    out = request.error().message;
  } else if (same_word(sub, "no-evict")) {
    const auto wanted = parse_client_no_evict(args);
    if (wanted) client.session.no_evict = *wanted;
    out = wanted ? std::string(kOkReply) : wanted.error().message;
  } else if (same_word(sub, "reply")) {
    const auto mode = parse_client_reply(args);
    if (mode && !set_reply_mode(client.session, *mode)) return;
    out = mode ? std::string(kOkReply) : mode.error().message;
  } else if (same_word(sub, "slowlog")) {
    return perform_slowlog(worker, client, args);
  } else if (same_word(sub, "switchover") || same_word(sub, "elect") || same_word(sub, "member")) {
    return perform_group_wish(worker, client, args);
  } else {
    out = kOkReply;  // SETINFO, NO-TOUCH: of newer servers, and only about the connection
  }
  answer(worker, client, out);
}

bool is_ours(std::string_view sub) {
  for (const char* each : {"id", "getname", "setname", "info", "list", "kill", "unblock",
                           "no-evict", "reply", "setinfo", "no-touch"}) {
    if (same_word(sub, each)) return true;
  }
  return false;
}

}  // namespace

bool names_clients(const CommandRow& row, std::span<const std::string_view> args) {
  return (is(row, CommandId::kClientKill) && parse_client_kill(args)) ||
         (is(row, CommandId::kClientUnblock) && parse_client_unblock(args));
}

Step queue_if_nobody(Worker& worker, Client& client, const Request& request) {
  if (!drained_or_wait(client)) return Step::kWait;
  defer(client, request);
  const std::vector<std::string> args = take_deferred(client);
  const uint64_t self = client.id;
  const auto ask = [args, self](Worker& each, std::string& out) {
    each.for_each_client([&](Client& one) {
      if (is_meant(each, one, self, views(args))) out += 'x';
    });
  };
  worker.ask_all(client, ask, [args](Client& asking, const std::string& found) {
    if (asking.dedicated == nullptr) return answer(*asking.worker, asking, kConnectionGone);
    if (!found.empty()) {
      poison(*asking.worker, asking);
      return;
    }
    ++asking.session.multi_commands;
    asking.worker->forward(asking, *asking.dedicated, entry_of_ours(asking), {},
                           encode_request(harmless_form(views(args))));
  });
  return Step::kDone;
}

Step handle_client(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  const std::string_view sub = request.frame.argc > 1 ? request.frame.args[1] : std::string_view();
  if (is(row, CommandId::kClientTracking)) return handle_tracking(worker, client, request, row);
  if ((is(row, CommandId::kClientGetredir) || is(row, CommandId::kClientTrackinginfo)) &&
      client.session.tracking && tracking_redirect(client.session.extra().tracking) > 0) {
    return ask_redis(worker, client, &row, request.bytes, Topic::kRedirect);
  }
  // The row is the container's where Redis does not know the subcommand.
  const bool known = row.container != row.id;
  if (!known || !is_ours(sub)) return forward_plain(worker, client, request, &row);
  return ask_permission(worker, client, request, row);
}

// Asks Redis for a harmless form first; finish_probe goes on.
Step ask_permission(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  if (!drained_or_wait(client)) return Step::kWait;
  std::vector<std::string_view> args;
  collect_args(request.bytes.data(), request.bytes.data() + request.bytes.size(), args);
  defer(client, request);
  return ask_redis(worker, client, &row, encode_request(harmless_form(args)), Topic::kProbe);
}

void finish_probe(Worker& worker, Client& client, const std::string& reply) {
  const std::vector<std::string> args = take_deferred(client);
  const bool error = reply.starts_with('-');
  const bool refused = reply.starts_with("-NOPERM") || reply.starts_with("-NOAUTH") ||
                       reply.starts_with("-CLUSTERDOWN") || reply.starts_with("-UNCERTAIN") ||
                       reply.starts_with("-ERR Can't execute");  // subscribed, in RESP2
  // Redis knows which users exist; for everything else our own parser has the same words.
  const bool judged =
      error && same_word(args[1], "kill") && reply.find("No such user") != std::string::npos;
  if (refused || judged) return answer(worker, client, reply);
  perform(worker, client, args);
}

void finish_tracking(Worker& worker, Client& client, const std::string& reply) {
  const std::vector<std::string> args = take_deferred(client);
  if (reply.starts_with("+OK")) {
    TrackingState& state = client.session.extra().tracking;
    const auto request = parse_client_tracking(views(args), state, [](int64_t) { return true; });
    if (request) {
      apply_tracking(state, *request);
      client.session.tracking = state.on;
    }
  }
  answer(worker, client, reply);
}

// --- AZIMUTH SLOWLOG ---------------------------------------------------------------------------

Step handle_slowlog(Worker& worker, Client& client, const Request& request) {
  return ask_permission(worker, client, request, command_row(CommandId::kSlowlogLen));
}

void perform_slowlog(Worker& worker, Client& client, std::span<const std::string_view> args) {
  const std::string_view what = args[2];
  int64_t count = 10;
  if (same_word(what, "get") && args.size() > 3) {
    const std::optional<int64_t> asked = parse_integer(args[3]);
    if (!asked || *asked < -1) {
      return answer(worker, client, error_line("count should be greater than or equal to -1"));
    }
    count = *asked;
  }
  struct Gathered {
    std::mutex mutex;
    std::vector<std::vector<SlowlogEntry>> logs;
  };
  const auto gathered = std::make_shared<Gathered>();
  const bool reset = same_word(what, "reset");
  const auto ask = [gathered, reset](Worker& each, std::string&) {
    if (reset) each.slowlog().reset();
    const std::lock_guard<std::mutex> lock(gathered->mutex);
    gathered->logs.push_back(each.slowlog().copy());
  };
  const std::string word(what);
  worker.ask_all(client, ask, [gathered, count, word](Client& asking, const std::string&) {
    std::string out;
    const bool all = !same_word(word, "get") || count < 0;
    const size_t most = all ? SIZE_MAX : static_cast<size_t>(count);
    const std::vector<SlowlogEntry> entries = merge_slowlogs(std::move(gathered->logs), most);
    if (same_word(word, "reset")) {
      out = kOkReply;
    } else if (same_word(word, "len")) {
      append_integer(out, static_cast<int64_t>(entries.size()));
    } else if (same_word(word, "get")) {
      append_array(out, entries.size());
      for (const SlowlogEntry& entry : entries) {
        append_array(out, 6);
        append_integer(out, static_cast<int64_t>(entry.id));
        append_integer(out, entry.unix_time_s);
        append_integer(out, static_cast<int64_t>(entry.duration_us));
        append_array(out, entry.args.size());
        for (const std::string& arg : entry.args) append_bulk(out, arg);
        append_bulk(out, entry.client_address);
        append_bulk(out, entry.client_name);
      }
    } else {
      out = error_line("azimuth: write AZIMUTH SLOWLOG GET [count], LEN or RESET");
    }
    answer(*asking.worker, asking, out);
  });
}

}  // namespace azimuth
