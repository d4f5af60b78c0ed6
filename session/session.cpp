#include "session/session.h"

#include "session/reply_framer.h"
#include "session/reply_writer.h"

namespace azimuth {
namespace {

bool is_ok(std::string_view reply) { return reply.starts_with("+OK\r"); }
bool is_queued(std::string_view reply) { return reply.starts_with("+QUEUED\r"); }

void end_transaction(Session& session) {
  session.in_multi = false;
  session.watching = false;
  session.multi_commands = 0;
  if (session.extra_) {
    session.extra_->queued_selects.clear();
    session.extra_->selects_lost = false;
  }
}

}  // namespace

void Session::set_name(std::string_view name) {
  if (!name.empty() || extra_) extra().name = name;
}

void apply_reply(Session& session, SessionVerb verb, std::string_view reply) {
  if (is_queued(reply)) {
    ++session.multi_commands;
    return;
  }
  switch (verb) {
    case SessionVerb::kMulti:
      if (!is_ok(reply)) break;
      session.in_multi = true;
      session.multi_commands = 0;
      break;
    case SessionVerb::kExec:
      if (!reply.starts_with("-ERR EXEC without MULTI")) end_transaction(session);
      break;
    case SessionVerb::kDiscard:
      if (is_ok(reply)) end_transaction(session);
      break;
    case SessionVerb::kWatch:
      if (is_ok(reply)) session.watching = true;
      break;
    case SessionVerb::kUnwatch:
      if (is_ok(reply)) session.watching = false;
      break;
    case SessionVerb::kMonitor:
      if (is_ok(reply)) session.monitoring = true;
      break;
    case SessionVerb::kOther:
      break;
  }
}

void apply_select(Session& session, std::int32_t db, std::string_view reply) {
  if (is_ok(reply)) {
    session.db = db;
  } else if (is_queued(reply)) {
    SessionExtra& extra = session.extra();
    if (extra.queued_selects.size() < kQueuedSelectsMax) {
      extra.queued_selects.push_back({session.multi_commands, db});
    } else {
      extra.selects_lost = true;
    }
    ++session.multi_commands;
  }
}

bool has_queued_selects(const Session& session) noexcept {
  return session.extra_ && !session.extra_->queued_selects.empty();
}

std::optional<std::int32_t> db_after_exec(const Session& session, std::string_view exec_reply) {
  if (!has_queued_selects(session)) return session.db;
  ReplyReader reader(exec_reply);
  ReplyElement element;
  if (!reader.next(element)) return std::nullopt;
  if (element.type != '*' || element.null) return session.db;  // aborted: nothing ran
  if (session.extra_->selects_lost) return std::nullopt;
  std::int32_t db = session.db;
  std::uint64_t index = 0;
  for (const auto& select : session.extra_->queued_selects) {
    for (; index < select.index; ++index) {
      if (!reader.skip()) return std::nullopt;
    }
    if (!reader.next(element) || element.is_aggregate()) return std::nullopt;
    ++index;
    if (element.type == '+' && element.text == "OK") db = select.db;
  }
  return db;
}

void apply_reset(Session& session, bool default_user_open) {
  end_transaction(session);
  session.db = 0;
  session.protocol = 2;
  session.authenticated = default_user_open;
  session.subscribed = false;
  session.monitoring = false;
  session.tracking = false;
  session.readonly_mode = false;
  // Not reply_skip: a RESET behind CLIENT REPLY SKIP is itself not answered.
  session.reply_off = false;
  session.reply_skip_next = false;
  if (session.extra_) {
    session.extra_->name.clear();
    session.extra_->tracking = TrackingState{};
  }
}

bool set_reply_mode(Session& session, ReplyMode mode) noexcept {
  switch (mode) {
    case ReplyMode::kOn:
      session.reply_off = false;
      session.reply_skip = false;
      return true;
    case ReplyMode::kOff:
      session.reply_off = true;
      return false;
    case ReplyMode::kSkip:
      if (!session.reply_off) session.reply_skip_next = true;
      return false;
  }
  return false;
}

void append_refusal(std::string& out, Refusal refusal, std::string_view full_name) {
  switch (refusal) {
    case Refusal::kNone:
      break;
    case Refusal::kNoAuth:
      out += kNoAuthReply;
      break;
    case Refusal::kNoMulti:
      append_error(out, "ERR Command not allowed inside a transaction");
      break;
    case Refusal::kPubsubOnly:
      out.append("-ERR Can't execute '").append(full_name);
      out +=
          "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
          "context\r\n";
      break;
  }
}

}  // namespace azimuth
