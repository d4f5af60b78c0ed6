// How a replica catches up with its primary, and why: the judgement that Redis makes when it
// answers PSYNC, made in front of it, so that it can be told and a full copy can wait for its turn.
//
// Invariants: judge_sync() says what masterTryPartialResynchronization (replication.c of Redis 7.0)
// would answer to the same question at the same moment; whoever acts on it bears with another
// answer all the same. A note that makes no sense is none; fields that a newer release appends are
// skipped. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace azimuth {

enum class SyncHow : std::uint8_t { kPartial = 1, kFull = 2 };
std::string_view to_string(SyncHow how);

// Numbers are part of the links' protocol.
enum class SyncReason : std::uint8_t {
  kUnknown = 0,        // the primary's side does not say (an older release; INFO was refused)
  kInBacklog = 1,      // the backlog has all that is missing
  kFirstCopy = 2,      // the replica has nothing to go on from
  kOtherHistory = 3,   // its replication id is neither of the primary's
  kBeyondFork = 4,     // it has more of the former history than the primary had taken over
  kBeforeBacklog = 5,  // what it lacks is not in the backlog any more
  kBeyondEnd = 6,      // it asks for what the primary has not written yet
  kNoBacklog = 7,
};

// PSYNC's arguments. A bare SYNC asks for `replid` "?".
struct SyncAsk {
  std::string replid;
  std::int64_t offset = -1;  // the first byte that it lacks
};

// What INFO replication says of the primary's history.
struct SyncHistory {
  std::string replid, replid2;
  std::int64_t second_offset = -1;
  bool backlog = false;
  std::uint64_t first_byte = 0, held_bytes = 0;  // of the backlog
  std::uint64_t end = 0;                         // master_repl_offset
};
// `info`: INFO's reply, with or without its header.
std::optional<SyncHistory> read_sync_history(std::string_view info);

struct SyncChoice {
  SyncHow how = SyncHow::kFull;
  SyncReason reason = SyncReason::kUnknown;
  std::uint64_t asked = 0;          // the first byte that the replica lacks; 0: it did not say
  std::uint64_t bound = 0;          // the byte that decided: of the backlog, the fork, the end
  std::uint64_t missing_bytes = 0;  // of a partial sync: what will be streamed

  friend bool operator==(const SyncChoice&, const SyncChoice&) = default;
};
SyncChoice judge_sync(const SyncAsk& ask, const SyncHistory& history);
// For people: "offset 1200 is before the backlog's first byte 5000".
std::string explain(const SyncChoice& choice);

// What the primary's side of a tunnel tells the replica's side, beside the bytes.
struct SyncNote {
  enum class Kind : std::uint8_t {
    kChosen = 1,  // this is how it goes on
    kWaits = 2,   // ... when `ahead` other copies are over; the first is `busy`'s
    kShare = 3,   // so much of the data set is written out (`permille`); its size is not known
  };
  Kind kind = Kind::kChosen;
  SyncChoice choice;
  std::uint32_t ahead = 0;
  std::string busy;
  std::uint32_t permille = 0;

  friend bool operator==(const SyncNote&, const SyncNote&) = default;
};
std::string encode(const SyncNote& note);
std::optional<SyncNote> decode_sync_note(std::string_view payload);

// What is told of a sync: its beginning, its progress now and then, its end; and that it is so slow
// that others do not wait for it.
struct SyncEvent {
  enum class Kind : std::uint8_t { kWaits, kBegun, kMoves, kSlow, kDone, kBroken };
  Kind kind = Kind::kBegun;
  std::string node;  // at the other end
  SyncHow how = SyncHow::kFull;
  std::string reason;  // of the choice, of the wait, of the end
  std::uint64_t bytes = 0;
  std::uint64_t total_bytes = 0;  // 0: not known
  std::optional<double> percent;
  std::uint64_t bytes_per_s = 0;
  std::optional<std::uint64_t> left_s;
  std::uint64_t ms = 0;  // since its beginning
};

}  // namespace azimuth
