// How this node's Redis, as a replica, has caught up or is doing so: which way, why, how far. For
// people; nothing is decided by it.
//
//   kNone -> kAsking -> [kWaiting] -> kStreaming ---------------------> kDone
//                                  -> kCopying -> kLoading ----------->
//            (the gate) -> kRefused      (the connection ends) -> kBroken
//
// Invariants: goes by the newest connection that has asked; a full copy is done when Redis itself
// says that it goes on from it, as a replica or promoted; a stream, when it is abreast of its
// primary, whatever the source has said of its length. At most one event of progress every few
// seconds, and whoever was told of a wait or a beginning is told of its end. Pure; owned by the
// control thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conf/instant.h"
#include "health/copy_progress.h"
#include "health/local_redis.h"
#include "health/sync_choice.h"

namespace azimuth {

enum class CatchUpState : std::uint8_t {
  kNone,
  kAsking,
  kWaiting,
  kStreaming,
  kCopying,
  kLoading,
  kDone,
  kBroken,
  kRefused,
};
std::string_view to_string(CatchUpState state);

class CatchUp {
 public:
  // `connection`: of the tunnel; a number that grows.
  void on_asked(Instant now, std::uint64_t connection, const std::string& source,
                const SyncAsk& ask = {});
  void on_note(Instant now, std::uint64_t connection, const SyncNote& note);
  void on_partial(Instant now, std::uint64_t connection);
  void on_full(Instant now, std::uint64_t connection, const std::string& replid,
               std::uint64_t offset);
  // Of the stream since +CONTINUE, or of the copy.
  void on_bytes(Instant now, std::uint64_t connection, std::uint64_t bytes, std::uint64_t total);
  void on_copied(Instant now, std::uint64_t connection);
  void on_refused(Instant now, std::uint64_t connection, const std::string& why);
  void on_end(Instant now, std::uint64_t connection);
  // `abreast`: it is known to be not far behind its primary.
  void on_redis(Instant now, const LocalRedis& facts, bool abreast = false);
  void on_tick(Instant now);
  std::vector<SyncEvent> take_events();

  CatchUpState state() const { return state_; }
  SyncHow how() const { return choice_.how; }
  const std::string& source() const { return source_; }
  // Of the choice, or of the wait or the end.
  const std::string& reason() const { return reason_; }
  const CopyProgress& progress() const { return progress_; }
  // Since it began, or waited; how long it took when it is over.
  Duration took(Instant now) const;
  std::uint64_t partial() const { return partial_; }
  std::uint64_t full() const { return full_; }
  std::uint64_t broken() const { return broken_; }

 private:
  bool is(std::uint64_t connection) const { return connection == connection_; }
  bool under_way() const;
  void enter(Instant now, CatchUpState state);
  void emit(Instant now, SyncEvent::Kind kind);
  void finish(Instant now);
  void break_off(Instant now, const std::string& why);

  CatchUpState state_ = CatchUpState::kNone;
  std::uint64_t connection_ = 0;
  std::string source_;
  SyncChoice choice_;
  std::string reason_;
  std::string replid_;  // of a full copy
  std::uint64_t offset_ = 0;
  bool waited_ = false;  // and told so
  CopyProgress progress_;
  Instant over_{}, told_{};
  std::uint64_t partial_ = 0, full_ = 0, broken_ = 0;
  std::vector<SyncEvent> events_;
};

}  // namespace azimuth
