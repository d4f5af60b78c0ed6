#include "proxy/group/syncs.h"

#include <cmath>

#include "proxy/control/log.h"

namespace azimuth {
namespace {

// "feed_started" at the source, "sync_started" at the replica.
void tell(std::string_view side, const SyncEvent& event) {
  const std::string name(side);
  const std::string_view node = side == "feed" ? "to" : "from";
  const std::string_view how = to_string(event.how);
  const std::string seconds =
      std::to_string(event.ms / 1000) + "." + std::to_string(event.ms % 1000 / 100);
  switch (event.kind) {
    case SyncEvent::Kind::kWaits:
      return log_info(name + "_waits",
                      {{node, event.node}, {"how", how}, {"reason", event.reason}});
    case SyncEvent::Kind::kBegun:
      return log_info(name + "_started", {{node, event.node},
                                          {"how", how},
                                          {"reason", event.reason},
                                          {"bytes", event.total_bytes}});
    case SyncEvent::Kind::kMoves: {
      const std::string percent =
          event.percent ? std::to_string(std::lround(*event.percent)) : "unknown";
      const std::string left = event.left_s ? std::to_string(*event.left_s) : "unknown";
      return log_info(name + "_progress", {{node, event.node},
                                           {"how", how},
                                           {"bytes", event.bytes},
                                           {"percent", percent},
                                           {"bytes_per_s", event.bytes_per_s},
                                           {"left_s", left}});
    }
    case SyncEvent::Kind::kSlow:
      return log_warning(name + "_slow", {{node, event.node},
                                          {"how", how},
                                          {"bytes", event.bytes},
                                          {"seconds", seconds},
                                          {"reason", event.reason}});
    case SyncEvent::Kind::kDone:
      return log_info(name + "_done", {{node, event.node},
                                       {"how", how},
                                       {"bytes", event.bytes},
                                       {"seconds", seconds},
                                       {"reason", event.reason}});
    case SyncEvent::Kind::kBroken:
      return log_warning(name + "_broken", {{node, event.node},
                                            {"how", how},
                                            {"bytes", event.bytes},
                                            {"seconds", seconds},
                                            {"reason", event.reason}});
  }
}

}  // namespace

void Syncs::on_copy(Instant now, unsigned worker, const CopyNews& news) {
  const CopyId id{worker, news.relay};
  switch (news.kind) {
    case CopyNews::Kind::kWant:
      copies_.on_want(now, id, news.node, news.choice);
      break;
    case CopyNews::Kind::kPartial:
      copies_.on_partial(now, id, news.node, news.choice);
      break;
    case CopyNews::Kind::kFull:
      copies_.on_full(now, id, news.node, news.choice);
      break;
    case CopyNews::Kind::kBytes:
      copies_.on_bytes(now, id, news.bytes, news.total_bytes);
      break;
    case CopyNews::Kind::kOver:
      copies_.on_over(now, id, news.whole);
      break;
  }
  carry_out();
}

void Syncs::on_sync(Instant now, const SyncNews& news) {
  switch (news.kind) {
    case SyncNews::Kind::kAsked:
      catch_up_.on_asked(now, news.connection, news.source, news.ask);
      break;
    case SyncNews::Kind::kNote:
      catch_up_.on_note(now, news.connection, news.note);
      break;
    case SyncNews::Kind::kPartial:
      catch_up_.on_partial(now, news.connection);
      break;
    case SyncNews::Kind::kFull:
      catch_up_.on_full(now, news.connection, news.replid, news.offset);
      break;
    case SyncNews::Kind::kBytes:
      catch_up_.on_bytes(now, news.connection, news.bytes, news.total_bytes);
      break;
    case SyncNews::Kind::kCopied:
      catch_up_.on_copied(now, news.connection);
      break;
    case SyncNews::Kind::kRefused:
      catch_up_.on_refused(now, news.connection, news.why);
      break;
    case SyncNews::Kind::kEnded:
      catch_up_.on_end(now, news.connection);
      break;
  }
  carry_out();
}

void Syncs::on_redis(Instant now, const RedisPilot* pilot) {
  if (pilot == nullptr) return;
  catch_up_.on_redis(now, pilot->facts(), pilot->abreast(now));
  carry_out();
}

void Syncs::on_tick(Instant now, const RedisPilot* pilot) {
  if (pilot != nullptr && copies_.copying()) copies_.on_share(pilot->numbers().saved_share);
  copies_.on_tick(now);
  catch_up_.on_tick(now);
  on_redis(now, pilot);
  carry_out();
}

void Syncs::carry_out() {
  const CopyQueue::Outbox out = copies_.take_outbox();
  for (const CopyQueue::Outbox::Send& each : out.sends) send_(each.to, each.note, each.go);
  for (const SyncEvent& event : out.events) tell("feed", event);
  for (const SyncEvent& event : catch_up_.take_events()) tell("sync", event);
}

void Syncs::describe(Instant now, const RedisPilot* pilot, ClusterReport& report) const {
  if (pilot == nullptr) return;
  SyncsReport& syncs = report.syncs.emplace();
  syncs.copies = copies_.report(now);
  syncs.given = copies_.counts();
  syncs.state = catch_up_.state();
  syncs.how = catch_up_.how();
  syncs.source = catch_up_.source();
  syncs.reason = catch_up_.reason();
  syncs.progress = catch_up_.progress();
  syncs.seconds = static_cast<double>(catch_up_.took(now).ms) / 1000;
  syncs.partial = catch_up_.partial();
  syncs.full = catch_up_.full();
  syncs.broken = catch_up_.broken();
  syncs.redis = pilot->numbers();
}

}  // namespace azimuth
