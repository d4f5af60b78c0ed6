#include "health/redis_probe.h"

#include <utility>

#include "conf/names.h"

namespace azimuth {

namespace {

constexpr std::array<std::string_view, 3> kStatusNames = {"down", "stuck", "up"};
constexpr std::array<std::string_view, 10> kEventNames = {
    "redis_up",      "redis_down",    "redis_stuck",        "redis_restarted",
    "redis_loading", "redis_loaded",  "redis_role_changed", "redis_lineage_changed",
    "redis_refused", "redis_accepted"};

// An error's text goes into logs and /status; the rest of a long one helps nobody.
constexpr size_t kProbeReasonBytesMax = 200;

}  // namespace

std::string_view to_string(RedisStatus status) { return name_of(kStatusNames, status); }
std::string_view to_string(RedisEventKind kind) { return name_of(kEventNames, kind); }

void RedisProbe::on_tick(Instant now, uint64_t random) {
  if (now < wakeup_) return;
  switch (phase_) {
    case Phase::kWaitToConnect:
      phase_ = Phase::kConnecting;
      outbox_.connect = true;
      wakeup_ = now + times_.connect_timeout;
      return;
    case Phase::kConnecting:
      outbox_.close = true;
      disconnect(now, "connect timed out", random);
      return;
    case Phase::kWaitToAsk:
      ask(now);
      return;
    case Phase::kAsking:
      if (now - asked_ >= times_.give_up) {
        outbox_.close = true;
        disconnect(now, "no reply for " + std::to_string((now - asked_).ms) + " ms", random);
        return;
      }
      set_status(now, RedisStatus::kStuck,
                 "no reply for " + std::to_string((now - asked_).ms) + " ms");
      wakeup_ = asked_ + times_.give_up;
      return;
  }
}

void RedisProbe::on_connected(Instant now) {
  if (phase_ == Phase::kConnecting) ask(now);
}

void RedisProbe::on_disconnected(Instant now, std::string_view reason, uint64_t random) {
  // Of a connection that this machine has already given up: not news.
  if (phase_ == Phase::kWaitToConnect) return;
  disconnect(now, reason, random);
}

void RedisProbe::on_reply(Instant now, const RedisReply& reply, uint64_t random) {
  if (phase_ == Phase::kWaitToConnect || phase_ == Phase::kConnecting) return;
  const bool asked = phase_ == Phase::kAsking && answers_ < kProbeCommands.size();
  bool understood = asked;
  if (asked && reply.kind == RedisReply::Kind::kError) {
    round_refusal_ = refusal_of(reply.text);
    round_error_ = reply.text.substr(0, kProbeReasonBytesMax);
  } else if (asked) {
    const bool is_role = kProbeCommands[answers_][0] == "ROLE";
    if (is_role) {
      understood = reply.kind == RedisReply::Kind::kList && apply_role(state_, reply.elements);
    } else {
      understood = reply.kind == RedisReply::Kind::kText;
      if (understood) apply_info(state_, reply.text);
    }
  }
  if (!understood) {
    outbox_.close = true;
    disconnect(now, "a reply that no Redis gives", random);
    return;
  }
  if (++answers_ == kProbeCommands.size()) finish_round(now);
}

ProbeOutbox RedisProbe::take_outbox() { return std::exchange(outbox_, {}); }

void RedisProbe::ask(Instant now) {
  phase_ = Phase::kAsking;
  outbox_.ask = true;
  answers_ = 0;
  round_refusal_ = RedisRefusal::kNone;
  round_error_.clear();
  asked_ = now;
  wakeup_ = now + times_.reply_timeout;
}

void RedisProbe::finish_round(Instant now) {
  phase_ = Phase::kWaitToAsk;
  wakeup_ = now + times_.interval;
  backoff_.reset();
  state_.refusal = round_refusal_;
  set_status(now, RedisStatus::kUp,
             state_.version.empty() ? "it answers" : "it answers, version " + state_.version);
  compare_with_last_round();
  last_ = state_;
}

void RedisProbe::disconnect(Instant now, std::string_view reason, uint64_t random) {
  phase_ = Phase::kWaitToConnect;
  outbox_.connect = false;  // what was not carried out yet is out of date
  outbox_.ask = false;
  wakeup_ = now + backoff_.next(random);
  set_status(now, RedisStatus::kDown, std::string(reason.substr(0, kProbeReasonBytesMax)));
}

void RedisProbe::set_status(Instant now, RedisStatus status, std::string reason) {
  if (told_ && status == status_) return;
  told_ = true;
  status_ = status;
  since_ = now;
  switch (status) {
    case RedisStatus::kUp:
      return emit(RedisEventKind::kUp, std::move(reason));
    case RedisStatus::kStuck:
      return emit(RedisEventKind::kStuck, std::move(reason));
    case RedisStatus::kDown:
      return emit(RedisEventKind::kDown, std::move(reason));
  }
}

void RedisProbe::compare_with_last_round() {
  if (!last_.run_id.empty() && state_.run_id != last_.run_id) {
    emit(RedisEventKind::kRestarted, "run_id " + last_.run_id + " -> " + state_.run_id);
  }
  if (loading() != was_loading_) {
    was_loading_ = loading();
    emit(was_loading_ ? RedisEventKind::kLoading : RedisEventKind::kLoaded,
         was_loading_ ? "its data set is being loaded" : "its data set is loaded");
  }
  if (last_.role != RedisRole::kUnknown && state_.role != last_.role) {
    emit(RedisEventKind::kRoleChanged,
         std::string(to_string(last_.role)) + " -> " + std::string(to_string(state_.role)));
  }
  if (!last_.replid.empty() && state_.replid != last_.replid) {
    emit(RedisEventKind::kLineageChanged, "replid " + last_.replid + " -> " + state_.replid);
  }
  const bool refused = state_.refusal != RedisRefusal::kNone;
  if (refused && state_.refusal != last_.refusal) {
    emit(RedisEventKind::kRefused, round_error_);
  } else if (!refused && last_.refusal != RedisRefusal::kNone) {
    emit(RedisEventKind::kAccepted, "it answers our questions again");
  }
}

void RedisProbe::emit(RedisEventKind kind, std::string reason) {
  outbox_.events.push_back({kind, std::move(reason)});
}

}  // namespace azimuth
