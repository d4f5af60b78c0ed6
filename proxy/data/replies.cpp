// What becomes of replies, once they are complete: counts, the session's state, and the answers
// that azimuth makes out of Redis's.
#include <chrono>

#include "proxy/data/dispatch.h"
#include "proxy/data/worker.h"
#include "session/reply_framer.h"
#include "session/reply_writer.h"
#include "session/words.h"

namespace azimuth {
namespace {

// Replies longer than this make a client a reader of large values.
constexpr size_t kLargeReplyBytes = kStreamThresholdBytes;
constexpr uint8_t kLargeCredit = 16;

constexpr std::string_view kNotInTransactionReply =
    "-ERR azimuth: this command is not allowed inside a transaction\r\n";

constexpr std::string_view kTransactionBrokenReply =
    "-EXECABORT azimuth: the primary moved while this transaction was open; it did not run\r\n";

int64_t unix_time_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string canned_text(const Topology& topology, const Upstream& upstream, Canned canned) {
  switch (canned) {
    case Canned::kUncertain:
      return "-UNCERTAIN azimuth: the connection to Redis was lost after the command was sent; it "
             "may have run\r\n";
    case Canned::kNotSent:
      return "-CLUSTERDOWN azimuth: the connection to Redis was lost before the command was sent "
             "whole; it did not run\r\n";
    case Canned::kNoQuorum:
      return "-UNCERTAIN azimuth: the command ran, but not enough voters were seen to have it in "
             "time\r\n";
    case Canned::kNotShown:
      return "-CLUSTERDOWN azimuth: not enough voters were seen in time to have what was read\r\n";
    case Canned::kHandshake:
      return upstream.handshake_error();
    case Canned::kLostFloor:
      return std::string(kLostFloorReply);
    case Canned::kClusterDown:
    case Canned::kNone:
      break;
  }
  if (topology.vacant()) {
    return "-CLUSTERDOWN azimuth: there is no primary" +
           (topology.why.empty() ? std::string() : " (" + topology.why + ")") +
           "; the command did not run\r\n";
  }
  const bool near = topology.primary == topology.local;
  return "-CLUSTERDOWN azimuth: " +
         (near ? "Redis"
               : topology.members[static_cast<size_t>(topology.primary)].id + ", the primary,") +
         " has been out of reach for longer than hold_timeout_ms; the command did not run\r\n";
}

// INFO with our section behind it: in RESP2 a bulk, in RESP3 a verbatim string.
std::string with_section(const std::string& reply, const std::string& section, int protocol) {
  ReplyElement element;
  if (!ReplyReader(reply).next(element) || element.is_error()) return reply;
  std::string text(element.text);
  if (!text.empty()) text += "\r\n";
  text += section;
  std::string out;
  append_verbatim(out, protocol, "txt", text);
  return out;
}

// A reply of names and values, with azimuth's client id in place of Redis's behind the name `key`.
std::string with_client_id(const std::string& reply, std::string_view key, uint64_t id) {
  ReplyReader reader(reply);
  ReplyElement element;
  if (!reader.next(element) || !element.is_aggregate()) return reply;
  while (reader.next(element)) {
    if (element.text != key) continue;
    const size_t from = reply.size() - reader.rest().size();
    if (!reader.next(element)) break;
    const size_t to = reply.size() - reader.rest().size();
    return reply.substr(0, from) + ":" + std::to_string(id) + "\r\n" + reply.substr(to);
  }
  return reply;
}

// What stands behind such a request counts on what it makes of the session. (What needs a
// connection of its own is settled with that as well: on_dedicated_lost, on_dedicated_refused.)
bool changes_session(const Client& client, const Entry& entry) {
  switch (entry.topic) {
    case Topic::kBegin:  // and what ends it has not been sent
      return client.session.in_multi || client.session.watching;
    case Topic::kSelect:
    case Topic::kAuth:
    case Topic::kHello:
    case Topic::kServerInfo:
    case Topic::kTracking:
      return true;
    case Topic::kProbe: {
      const CommandRow& row = all_commands()[entry.command];
      return is(row, CommandId::kClientReply) || is(row, CommandId::kClientSetname);
    }
    default:
      return false;
  }
}

}  // namespace

uint64_t hello_reply_id(std::string_view reply) {
  ReplyReader reader(reply);
  ReplyElement element;
  while (reader.next(element)) {
    if (element.text == "id" && reader.next(element)) return static_cast<uint64_t>(element.integer);
  }
  return 0;
}

void Worker::note_latency(Client& client, const Entry& entry) {
  const uint32_t us = now_us() - entry.start_us;
  (entry.write ? metrics_.write_latency : metrics_.read_latency).record(us);
  if (slowlog_.is_slow(us)) [[unlikely]]
    note_slow(client, entry, us);
}

// When Redis is slow, everything is: a share of it tells as much, and costs little.
void Worker::note_slow(Client& client, const Entry& entry, uint32_t us) {
  if (slowlog_budget_ == 0) return;
  --slowlog_budget_;
  const std::string_view name =
      entry.command < kCommandCount ? all_commands()[entry.command].name : "(unknown)";
  const std::string_view args[] = {name};
  slowlog_.record(unix_time_s(), us, args, 1, peer_text(client.fd), client.session.name());
}

void Worker::on_run_replied(Client& client, const Entry& first, uint32_t reads, uint32_t writes) {
  const uint32_t us = now_us() - first.start_us;
  if (reads != 0) metrics_.read_latency.record(us, reads);
  if (writes != 0) metrics_.write_latency.record(us, writes);
  if (slowlog_.is_slow(us)) [[unlikely]]
    note_slow(client, first, us);
  client.inflight -= reads + writes;
  if (client.unplaced) [[unlikely]]
    show_unplaced(client);
  if (client.inflight == 0) drained(client);
}

void Worker::on_replied(Upstream& upstream, const Entry& entry, char type, size_t bytes) {
  Client* found = client(entry.client);
  if (found == nullptr) return;
  Client& client = *found;
  if (type == '-') metrics_.count_error(ErrorKind::kRedis);
  // (The time that a command blocks is nobody's latency, as in Redis.)
  if (entry.topic != Topic::kUnblocked) note_latency(client, entry);
  --client.inflight;
  if (client.unplaced) [[unlikely]]
    show_unplaced(client);
  if (bytes > kLargeReplyBytes && !entry.write) {
    client.large_credit = kLargeCredit;
  }
  if (entry.kind == EntryKind::kNotify) {
    if (entry.topic == Topic::kUnblocked) {
      end_request(client.session);
      client.wait = Wait::kDrain;  // drained() lets it go on
    } else {
      --client.ending;
      upstream.watched = upstream.watched && client.ending != 0;
      if (type != '-' || entry.canned != Canned::kNone || client.dedicated != &upstream) {
        return finish_replied(client);
      }
      // DISCARD or UNWATCH was not allowed: the state is still there, and the client keeps it.
      client.session.in_multi = client.session.in_multi || entry.topic == Topic::kDiscard;
      client.session.watching = client.session.watching || entry.topic == Topic::kUnwatch;
    }
  }
  finish_replied(client);
}

void Worker::finish_replied(Client& client) {
  if (client.inflight == 0) drained(client);
}

// Nothing is outstanding for the client: its own connection may go back, and it may go on.
void Worker::drained(Client& client) {
  if (client.dedicated != nullptr && !client.pinned() && !client.stream) detach_dedicated(client);
  if (client.wait == Wait::kDrain) resume(client);
  if (client.close_after_flush || client.eof) finish_soon(client);
}

void Worker::on_canned(Upstream& upstream, const Entry& entry) {
  const std::string text = canned_text(*topology_, upstream, entry.canned);
  const bool uncertain = entry.canned == Canned::kUncertain || entry.canned == Canned::kNoQuorum;
  metrics_.count_error(uncertain ? ErrorKind::kUncertain : ErrorKind::kClusterDown);
  Client* found = client(entry.client);
  if (found == nullptr) return;
  // What Redis itself refuses, its clients know how to go on from; with ours they would go on in a
  // session that is not what they asked for.
  if (entry.canned != Canned::kHandshake && changes_session(*found, entry)) {
    found->close_after_flush = true;
  }
  if (entry.kind == EntryKind::kCollect) {
    on_collected(upstream, entry, text);
  } else {
    if (!entry.silent && entry.kind != EntryKind::kDiscard) reply(*found, text);
    on_replied(upstream, entry, '-', text.size());
  }
  if (found->close_after_flush) finish_soon(*found);
}

void Worker::remember_script(Client& client, const std::string& sha_reply) {
  ReplyElement sha;
  const std::vector<std::string> args = take_deferred(client);
  if (!ReplyReader(sha_reply).next(sha) || sha.is_error() || args.size() != 3) return;
  const auto body = std::make_shared<const std::string>(args[2]);
  const std::string name(sha.text);
  for (auto& worker : process_.workers) {
    worker->post([name, body](Worker& each) { each.scripts().remember(name, body); });
  }
}

void Worker::forget_scripts() {
  scripts_.clear();
  for (auto& worker : process_.workers) {
    worker->post([](Worker& each) { each.scripts().clear(); });
  }
}

// What HELLO or CLIENT SETNAME in a transaction has come to: ask_state().
void Worker::take_state(Client& client, Upstream& upstream, Topic topic, std::string_view reply) {
  if (topic == Topic::kProtocolNow) {
    client.session.protocol = reply.starts_with('%') ? 3 : 2;
    upstream.protocol = client.session.protocol;
    return;
  }
  ReplyElement name;
  if (!ReplyReader(reply).next(name)) return;
  client.session.set_name(name.null ? std::string_view() : name.text);
  enter_scope(client);
  upstream.name = client.session.name();
}

void Worker::on_collected(Upstream& upstream, const Entry& entry, const std::string& text) {
  Client* found = client(entry.client);
  if (found == nullptr) return;
  Client& client = *found;
  --client.inflight;
  if (client.unplaced) [[unlikely]]
    show_unplaced(client);
  note_latency(client, entry);
  const bool failed = text.starts_with('-');
  if (failed) metrics_.count_error(ErrorKind::kRedis);
  const bool awaited = entry.awaited && client.wait == Wait::kAnswer;
  if (awaited) client.wait = Wait::kNone;
  switch (entry.topic) {
    case Topic::kSelect:
      if (!failed) {
        client.session.db = client.extra().select_db;
        renew_identity(client);
      }
      answer(*this, client, text);
      break;
    case Topic::kAuth:
      finish_auth(*this, client, text);
      break;
    case Topic::kHello:
      finish_hello(*this, client, text);
      break;
    case Topic::kLoggedIn:
      // Whatever else may have failed: Redis has taken name and password.
      answer(*this, client, text.starts_with("-WRONGPASS") ? std::string_view(text) : kOkReply);
      break;
    case Topic::kServerInfo:
      finish_server_info(*this, client, with_client_id(text, "id", client.id));
      break;
    case Topic::kRedirect: {
      const auto id = static_cast<uint64_t>(tracking_redirect(client.session.extra().tracking));
      answer(*this, client,
             text.starts_with(':') ? ":" + std::to_string(id) + "\r\n"
                                   : with_client_id(text, "redirect", id));
      break;
    }
    case Topic::kProbe:
      finish_probe(*this, client, text);
      break;
    case Topic::kTracking:
      finish_tracking(*this, client, text);
      break;
    case Topic::kInfo:
      if (entry.silent) break;
      reply(client, with_section(text, process_.info_section(), client.session.protocol));
      break;
    case Topic::kScriptLoad:
      remember_script(client, text);
      answer(*this, client, text);
      break;
    case Topic::kScriptFlush:
      if (!failed) forget_scripts();
      answer(*this, client, text);
      break;
    case Topic::kAclChange:
      if (failed) {
        answer(*this, client, text);
      } else {
        client.extra().deferred = text;
        check_default_user(client);
      }
      break;
    case Topic::kExecLost:
      --client.ending;
      if (failed) {
        answer(*this, client, text);
      } else if (!entry.silent) {
        reply(client, client.session.protocol == 3 ? "_\r\n" : "*-1\r\n");
      }
      break;
    case Topic::kExecBroken:
      --client.ending;
      answer(*this, client, kTransactionBrokenReply);
      break;
    case Topic::kToken:
      finish_token(*this, client, text);
      break;
    case Topic::kPoison:
      if (!entry.silent) reply(client, kNotInTransactionReply);
      break;
    case Topic::kNone:
    case Topic::kBegin:
    case Topic::kQuorum:
    case Topic::kTag:
    case Topic::kGate:
    case Topic::kScriptAgain:
    case Topic::kSubscribe:
    case Topic::kUnblocked:
    case Topic::kExec:
      break;
    case Topic::kProtocolNow:
    case Topic::kNameNow:
      if (!failed) take_state(client, upstream, entry.topic, text);
      break;
    case Topic::kDiscard:
    case Topic::kUnwatch:
      answer(*this, client, text);
      break;
  }
  if (client.closing) return;
  if (awaited && client.wait == Wait::kNone && !client.resuming) answered(client);
  if (client.inflight == 0) drained(client);
}

}  // namespace azimuth
