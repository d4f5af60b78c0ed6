// MULTI, EXEC, DISCARD, WATCH and UNWATCH, and what azimuth answers itself when it comes inside
// MULTI.
#include "proxy/data/dispatch.h"
#include "session/hello.h"
#include "session/words.h"

namespace azimuth {

// Inside MULTI, what would act on Redis's connections instead of azimuth's clients, or leave
// replies out, cannot be queued. Redis must abort the transaction, so it is sent something that it
// refuses; the client gets our words.
Step poison(Worker& worker, Client& client) {
  Entry entry = entry_of_ours(client);
  entry.kind = EntryKind::kCollect;
  entry.topic = Topic::kPoison;
  entry.repeatable = false;
  worker.forward(client, *client.dedicated, entry, {}, "*1\r\n$6\r\nclient\r\n");
  return Step::kDone;
}

// What azimuth answers itself outside MULTI. Inside, Redis queues it, and the client keeps the
// connection that it takes effect on.
Step queue_local(Worker& worker, Client& client, const Request& request, const CommandRow& row) {
  const std::span<const std::string_view> args = request.args();
  if (row.handling == Handling::kAzimuth) return poison(worker, client);
  if (names_clients(row, args)) return queue_if_nobody(worker, client, request);
  const bool mutes =
      is(row, CommandId::kClientReply) && (same_word(args[2], "off") || same_word(args[2], "skip"));
  const bool redirects = is(row, CommandId::kClientTracking) && args.size() > 4;
  if (mutes || redirects) return poison(worker, client);
  const bool names = is(row, CommandId::kClientSetname) ||
                     (row.handling == Handling::kHello && parse_hello(args).set_name() != nullptr);
  if (names || row.handling == Handling::kHello) {
    client.extra().ask_after_exec = true;
    client.extra().ask_name = client.extra().ask_name || names;
  }
  client.keep_dedicated = client.dedicated->tainted = true;
  ++client.session.multi_commands;
  return forward_own(worker, client, request, row);
}

// What the client watches was on a primary that is gone, and may have changed unseen, or the
// transaction had begun there: the new one forgets it. The client is told what Redis says when a
// watched key has changed, or why it did not run.
void make_abort(Entry& exec, std::string& bytes, LostState lost) {
  exec.kind = EntryKind::kCollect;
  exec.topic = lost == LostState::kWatched ? Topic::kExecLost : Topic::kExecBroken;
  exec.quorum = false;
  bytes = "*1\r\n$7\r\nDISCARD\r\n";
}

void abort_exec(Worker& worker, Client& client, const CommandRow& row, LostState lost) {
  Entry entry = entry_for(client, &row);
  entry.bound = true;
  std::string bytes;
  make_abort(entry, bytes, lost);
  worker.forward(client, *client.dedicated, entry, {}, bytes);
}

void ask_state(Worker& worker, Client& client, bool name) {
  const std::pair<Topic, std::string_view> questions[] = {
      {Topic::kProtocolNow, "*1\r\n$5\r\nHELLO\r\n"},
      {Topic::kNameNow, "*2\r\n$6\r\nCLIENT\r\n$7\r\nGETNAME\r\n"}};
  for (const auto& [topic, question] : questions) {
    if (topic == Topic::kNameNow && !name) continue;
    Entry entry = entry_of_ours(client);
    entry.kind = EntryKind::kCollect;
    entry.topic = topic;
    worker.forward(client, *client.dedicated, entry, {}, question);
  }
}

namespace {

LostState take_lost(Client& client) {
  return client.extra_ ? std::exchange(client.extra_->lost, LostState::kNothing)
                       : LostState::kNothing;
}

}  // namespace

Step handle_transaction(Worker& worker, Client& client, const Request& request,
                        const CommandRow& row) {
  Session& session = client.session;
  switch (row.handling) {
    case Handling::kMulti:
    case Handling::kWatch:
      if (session.in_multi) return forward_plain(worker, client, request, &row);
      if (!own_connection(worker, client)) return Step::kWait;
      if (row.handling == Handling::kMulti) {
        session.in_multi = true;
        session.multi_commands = 0;
        session.multi_writes = false;
      } else {
        session.watching = client.dedicated->watched = true;
      }
      return forward_own(worker, client, request, row, EntryKind::kReply, Topic::kBegin);
    case Handling::kUnwatch:
      if (session.in_multi) break;
      if (client.extra_) client.extra_->lost = LostState::kNothing;
      if (!session.watching) break;
      if (!own_connection(worker, client)) return Step::kWait;
      session.watching = false;
      ++client.ending;
      return forward_own(worker, client, request, row, EntryKind::kNotify, Topic::kUnwatch);
    case Handling::kExec:
      if (!session.in_multi) break;
      session.in_multi = session.watching = false;
      ++client.ending;
      if (const LostState lost = take_lost(client); lost != LostState::kNothing) {
        abort_exec(worker, client, row, lost);
      } else {
        forward_own(worker, client, request, row, EntryKind::kNotify, Topic::kExec);
      }
      if (client.extra_ && std::exchange(client.extra_->ask_after_exec, false)) {
        ask_state(worker, client, std::exchange(client.extra_->ask_name, false));
      }
      return Step::kDone;
    default:  // DISCARD
      if (!session.in_multi) break;
      take_lost(client);
      session.in_multi = session.watching = false;
      ++client.ending;
      return forward_own(worker, client, request, row, EntryKind::kNotify, Topic::kDiscard);
  }
  return forward_plain(worker, client, request, &row);
}

}  // namespace azimuth
