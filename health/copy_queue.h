// The queue of replicas that need a full copy of this node's Redis: one is copied at a time, so
// that the copies share neither the fork nor the line; the others wait and are told so. What the
// backlog still has never waits.
//
// Invariants: at most one copy goes on that was let through, those apart that have hardly moved for
// a minute: one that trickles holds up nobody for longer, and is told of; a copy that Redis
// began although a partial sync was expected counts, and the next one waits for it, too. Whoever
// waits is let through in the order in which they asked, and hears from the queue with each tick,
// so that no Redis gives up. Pure; owned by the control thread.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "conf/instant.h"
#include "health/copy_progress.h"
#include "health/sync_choice.h"

namespace azimuth {

// A tunnel's far end.
struct CopyId {
  unsigned worker = 0;
  std::uint64_t relay = 0;
  friend auto operator<=>(const CopyId&, const CopyId&) = default;
};

enum class CopyState : std::uint8_t { kWaits, kPrepared, kCopies };
std::string_view to_string(CopyState state);

// One replica, for /status.
struct CopyReport {
  std::string node;
  CopyState state = CopyState::kWaits;
  std::string reason;  // of the choice; of one that waits, also why it waits
  CopyProgress progress;
  double seconds = 0;  // since it asked, or began
};

class CopyQueue {
 public:
  struct Outbox {
    struct Send {
      CopyId to;
      SyncNote note;
      bool go = false;  // let it through
    };
    std::vector<Send> sends;
    std::vector<SyncEvent> events;
  };
  struct Counts {
    std::uint64_t partial = 0, full = 0, broken = 0, waited = 0;
  };

  // A replica needs a full copy.
  void on_want(Instant now, CopyId id, const std::string& node, const SyncChoice& choice);
  // A partial sync has begun.
  void on_partial(Instant now, CopyId id, const std::string& node, const SyncChoice& choice);
  // Redis has answered that it will copy.
  void on_full(Instant now, CopyId id, const std::string& node, const SyncChoice& choice);
  void on_bytes(Instant now, CopyId id, std::uint64_t bytes, std::uint64_t total_bytes);
  // How much of the data set Redis has written out, 0 to 1: of the copy that goes on.
  void on_share(double share);
  // The connection has ended, or (`whole`) the copy is out.
  void on_over(Instant now, CopyId id, bool whole);
  void on_tick(Instant now);
  Outbox take_outbox();

  // There is one whose share is asked for.
  bool copying() const;
  std::vector<CopyReport> report(Instant now) const;
  const Counts& counts() const { return counts_; }

 private:
  struct Copy {
    CopyId id;
    std::string node;
    SyncChoice choice;
    CopyState state = CopyState::kWaits;
    CopyProgress progress;
    Instant told{};
    Instant looked{};  // at how far it is, whether it moves
    std::uint64_t looked_bytes = 0;
    bool slow = false;  // and not waited for
    bool waited = false;
  };
  Copy* find(CopyId id);
  const Copy* awaited() const;
  void serve(Instant now);
  void look_at(Instant now, Copy& copy);
  void tell_waiting(Instant now, Copy& copy);
  void emit(Instant now, SyncEvent::Kind kind, const Copy& copy, std::string reason);

  std::vector<Copy> copies_;  // in the order in which they came
  Outbox out_;
  Counts counts_;
};

}  // namespace azimuth
