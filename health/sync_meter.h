// Read along both directions of a replication connection: what the replica asks for, and how the
// answer goes on: a partial sync, or a copy of so many bytes.
//
// Invariants: a reader keeps at most a few KiB beside the piece that it is fed, and none of what it
// has let pass; it changes no byte. Handshakes that make no sense are let through for Redis to
// judge. Pure; one of each for a tunnel's connection. Sources: syncWithMaster, readSyncBulkPayload
// in Redis's replication.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "health/sync_choice.h"

namespace azimuth {

// What a replica sends until it has asked.
class SyncAskReader {
 public:
  // Takes what comes next; returns what may go on to the primary: whole requests in front of PSYNC
  // (or SYNC). That one and all behind it stay in held().
  std::string feed(std::string_view bytes);
  bool asked() const { return asked_; }
  // This is no handshake: all of it passes, and nothing will be asked.
  bool lost() const { return lost_; }
  // Of a handshake: what has passed, and what stands here.
  std::size_t bytes() const { return passed_ + held_.size(); }
  const SyncAsk& ask() const { return ask_; }
  std::string take_held();

 private:
  std::string held_;
  SyncAsk ask_;
  bool asked_ = false;
  bool lost_ = false;
  std::size_t passed_ = 0;
};

// What the primary sends.
class SyncMeter {
 public:
  enum class Phase : std::uint8_t {
    kHandshake,
    kPartial,  // +CONTINUE: bytes() of the stream have come since
    kFull,     // +FULLRESYNC; the copy has not begun
    kCopying,  // bytes() of total() (0: not known) have come
    kCopied,   // all of it has
  };
  void feed(std::string_view bytes);

  Phase phase() const { return phase_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t total() const { return total_; }
  // Of a full sync: the history, and the offset at which the copy was taken.
  const std::string& replid() const { return replid_; }
  std::uint64_t offset() const { return offset_; }

 private:
  void on_line(std::string_view line);
  void copy(std::string_view bytes);

  Phase phase_ = Phase::kHandshake;
  std::string line_;
  std::string mark_;  // ends a copy of unknown size
  std::string tail_;  // as many of the last bytes
  std::string replid_;
  std::uint64_t offset_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace azimuth
