// The far side of a tunnel, until its replica has caught up: what the replica asks for is judged by
// what the local Redis says of its history, asked on the same connection in front of PSYNC; a full
// copy then waits until it is let through (health/copy_queue.h). What both ends of tunnels tell
// their control thread.
//
// Invariants: while it is judged or waits, nothing behind it reaches Redis; a handshake and what
// stands behind it are kSyncHeldBytesMax at most, or it overflows (I8); a partial sync waits for
// that one answer alone; whoever was told of a full copy is told of its end. Owned by a relay.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "health/sync_choice.h"
#include "health/sync_meter.h"
#include "session/reply_framer.h"

namespace azimuth {

// Of progress, at most so often.
inline constexpr std::uint64_t kSyncNewsEveryMs = 500;

// What becomes of a tunnel at the primary's side.
struct CopyNews {
  enum class Kind : std::uint8_t {
    kWant,     // it needs a full copy, and waits
    kPartial,  // Redis has answered: a partial sync
    kFull,     // ... a full one
    kBytes,    // so much of the copy is out
    kOver,     // the copy is out, or the connection has ended before
  };
  Kind kind = Kind::kWant;
  std::uint64_t relay = 0;  // a number of its worker's
  std::string node;         // at the other end
  SyncChoice choice;
  std::uint64_t bytes = 0, total_bytes = 0;
  bool whole = false;
};

// ... and at the replica's.
struct SyncNews {
  enum class Kind : std::uint8_t {
    kAsked,
    kNote,
    kPartial,
    kFull,  // of `replid`, taken at `offset`
    kBytes,
    kCopied,
    kRefused,  // by the gate, which says `why`
    kEnded,
  };
  Kind kind = Kind::kAsked;
  std::uint64_t connection = 0;
  std::string source;
  SyncAsk ask;
  SyncNote note;
  std::string replid, why;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0, total_bytes = 0;
};

class RelaySync {
 public:
  // `on_copy` outlives it; empty: nobody keeps a queue.
  RelaySync(std::uint64_t id, std::string node, const std::function<void(const CopyNews&)>& on_copy)
      : id_(id), node_(std::move(node)), on_copy_(on_copy) {}

  std::uint64_t id() const { return id_; }
  // The local Redis is a replica itself: one that comes over to it may be a little ahead, and is
  // not to lose that by a copy of less.
  void set_follows(bool follows) { follows_ = follows; }

  // What the replica sends; what of it goes to Redis.
  std::string on_replica(std::string_view bytes);
  bool overflows() const;
  // PSYNC has come, just now: question() is to be asked.
  bool wants_to_ask();
  static std::string_view question();
  // For Redis, while it waits: it is no idle client.
  static std::string_view sign_of_life();
  enum class Answer : std::uint8_t { kMore, kBad, kGoes, kWaits, kBehind };
  Answer on_answer(std::string_view bytes);
  // kGoes: for the other side.
  SyncNote note() const;
  bool waits() const { return step_ == Step::kWaits; }
  // kBehind: question() is to be asked again, as long as ask_again() says so.
  bool is_behind() const { return step_ == Step::kBehind; }
  bool ask_again();
  // What was held back. From here on everything passes.
  std::string go();
  bool through() const { return step_ == Step::kThrough; }

  // What Redis sends.
  void on_primary(std::uint64_t now_ms, std::string_view bytes);
  void on_end();

 private:
  enum class Step : std::uint8_t { kReads, kAsks, kBehind, kWaits, kThrough };
  void tell(CopyNews::Kind kind, bool whole = false);

  const std::uint64_t id_;
  const std::string node_;
  const std::function<void(const CopyNews&)>& on_copy_;
  Step step_ = Step::kReads;
  bool follows_ = false;
  unsigned asked_ = 0;
  SyncAskReader asks_;
  std::string more_;  // behind the question
  ReplyCursor cursor_;
  std::string answer_;
  SyncChoice choice_;
  SyncMeter meter_;
  bool queued_ = false;   // it is known there
  bool watched_ = false;  // to its end
  std::uint64_t told_ms_ = 0;
};

}  // namespace azimuth
