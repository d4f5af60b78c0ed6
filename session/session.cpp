#include "session/session.h"

namespace azimuth {

void Session::set_name(std::string_view name) {
  if (!name.empty() || extra_) extra().name = name;
}

void apply_reset(Session& session, bool default_user_open) {
  session.in_multi = false;
  session.watching = false;
  session.multi_commands = 0;
  session.db = 0;
  session.protocol = 2;
  session.authenticated = default_user_open;
  session.subscribed = false;
  session.monitoring = false;
  session.tracking = false;
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

}  // namespace azimuth
