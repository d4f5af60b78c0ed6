#include "health/sync_choice.h"

#include <algorithm>
#include <charconv>

#include "conf/limits.h"
#include "health/wire.h"

namespace azimuth {

namespace {

template <typename Number>
bool read_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool same_id(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; };
           return lower(x) == lower(y);
         });
}

}  // namespace

std::string_view to_string(SyncHow how) {
  switch (how) {
    case SyncHow::kPartial:
      return "partial";
    case SyncHow::kFull:
      return "full";
  }
  return "full";
}

std::optional<SyncHistory> read_sync_history(std::string_view info) {
  SyncHistory history;
  bool offset_known = false;
  while (!info.empty()) {
    const std::size_t end = info.find('\n');
    std::string_view line = info.substr(0, end);
    info.remove_prefix(end == std::string_view::npos ? info.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 1);
    if (key == "master_replid") {
      history.replid = value;
    } else if (key == "master_replid2") {
      history.replid2 = value;
    } else if (key == "second_repl_offset") {
      read_number(value, history.second_offset);
    } else if (key == "master_repl_offset") {
      offset_known = read_number(value, history.end);
    } else if (key == "repl_backlog_active") {
      history.backlog = value == "1";
    } else if (key == "repl_backlog_first_byte_offset") {
      read_number(value, history.first_byte);
    } else if (key == "repl_backlog_histlen") {
      read_number(value, history.held_bytes);
    }
  }
  if (history.replid.empty() || !offset_known) return std::nullopt;
  return history;
}

SyncChoice judge_sync(const SyncAsk& ask, const SyncHistory& history) {
  SyncChoice choice;
  choice.asked = static_cast<std::uint64_t>(std::max<std::int64_t>(ask.offset, 0));
  if (ask.replid == "?" || ask.replid.empty()) {
    choice.reason = SyncReason::kFirstCopy;
  } else if (!same_id(ask.replid, history.replid) && !same_id(ask.replid, history.replid2)) {
    // One that has begun a moment ago asks by a name of its own, from its first byte on.
    choice.reason = ask.offset <= 1 ? SyncReason::kFirstCopy : SyncReason::kOtherHistory;
  } else if (!same_id(ask.replid, history.replid) && ask.offset > history.second_offset) {
    choice.reason = SyncReason::kBeyondFork;
    choice.bound = static_cast<std::uint64_t>(std::max<std::int64_t>(history.second_offset, 0));
  } else if (!history.backlog) {
    choice.reason = SyncReason::kNoBacklog;
  } else if (choice.asked < history.first_byte) {
    choice.reason = SyncReason::kBeforeBacklog;
    choice.bound = history.first_byte;
  } else if (choice.asked > history.first_byte + history.held_bytes) {
    choice.reason = SyncReason::kBeyondEnd;
    choice.bound = history.end;
  } else {
    choice.how = SyncHow::kPartial;
    choice.reason = SyncReason::kInBacklog;
    choice.bound = history.first_byte;
    choice.missing_bytes = history.end + 1 > choice.asked ? history.end + 1 - choice.asked : 0;
  }
  return choice;
}

std::string explain(const SyncChoice& choice) {
  const std::string asked = "offset " + std::to_string(choice.asked);
  const std::string bound = std::to_string(choice.bound);
  switch (choice.reason) {
    case SyncReason::kUnknown:
      return "the primary's node does not say why";
    case SyncReason::kInBacklog:
      return asked + " is in the backlog, which begins at " + bound;
    case SyncReason::kFirstCopy:
      return "first copy: the replica has no history to go on from";
    case SyncReason::kOtherHistory:
      return "another replication id";
    case SyncReason::kBeyondFork:
      return asked + " is beyond the fork at " + bound;
    case SyncReason::kBeforeBacklog:
      return asked + " is before the backlog's first byte " + bound;
    case SyncReason::kBeyondEnd:
      return asked + " is beyond the primary's end " + bound;
    case SyncReason::kNoBacklog:
      return "the primary has no backlog";
  }
  return {};
}

std::string encode(const SyncNote& note) {
  WireWriter out;
  out.u8(static_cast<std::uint8_t>(note.kind));
  out.u8(static_cast<std::uint8_t>(note.choice.how));
  out.u8(static_cast<std::uint8_t>(note.choice.reason));
  out.number(note.choice.asked);
  out.number(note.choice.bound);
  out.number(note.choice.missing_bytes);
  out.number(note.ahead);
  out.text(note.busy);
  out.number(note.permille);
  return out.take();
}

std::optional<SyncNote> decode_sync_note(std::string_view payload) {
  WireReader in(payload);
  SyncNote note;
  const std::uint8_t kind = in.u8(), how = in.u8(), reason = in.u8();
  note.choice.asked = in.number();
  note.choice.bound = in.number();
  note.choice.missing_bytes = in.number();
  note.ahead = static_cast<std::uint32_t>(in.number(UINT32_MAX));
  note.busy = in.text(kNameBytesMax);
  note.permille = static_cast<std::uint32_t>(in.number(1000));
  if (!in.ok() || kind < 1 || kind > 3 || how < 1 || how > 2) return std::nullopt;
  note.kind = static_cast<SyncNote::Kind>(kind);
  note.choice.how = static_cast<SyncHow>(how);
  // A reason of a newer release is one that we cannot put into words.
  const bool known = reason <= static_cast<std::uint8_t>(SyncReason::kNoBacklog);
  note.choice.reason = known ? static_cast<SyncReason>(reason) : SyncReason::kUnknown;
  return note;
}

}  // namespace azimuth
