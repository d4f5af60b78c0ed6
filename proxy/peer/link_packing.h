// The two directions of a link that leaves its zone (proxy/peer/pack.h): what it keeps for sending
// packed, and for reading what is; each only where that is done.
//
// Invariants: what is sent can be read, whether there is memory to pack it or not; a direction
// holds memory only from the first bytes that are worth a stream until it has carried nothing but
// heartbeats for kPackIdleMsMax (or its peer says so). CPU is measured around zstd alone. Each is
// owned by one link, and ends before the worker's PackWork.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "conf/limits.h"
#include "proxy/peer/frame.h"
#include "proxy/peer/link_traffic.h"
#include "proxy/peer/pack.h"
#include "proxy/peer/pack_memory.h"
#include "proxy/peer/pack_pace.h"

namespace azimuth {

struct LinkSettings;

// What the links of one worker have in common.
struct PackWork {
  explicit PackWork(std::size_t bytes_max) : memory(bytes_max), promised(bytes_max) {}

  PackMemory memory;
  PackMemory promised;        // what it takes to read from all peers that pack, all at once
  std::uint64_t zstd_ns = 0;  // that all compressors have taken
};

// Sending.
class LinkPacking {
 public:
  LinkPacking(const LinkSettings& own, bool made_here, PackWork& work, PeerTraffic& traffic,
              std::uint64_t now_ms);
  ~LinkPacking();
  LinkPacking(const LinkPacking&) = delete;
  LinkPacking& operator=(const LinkPacking&) = delete;

  // Replication leaves this way from here on.
  void carry_replication() { purpose_ = PackFor::kReplication; }
  // `taken` bytes of a stream were put at the end of `plain`.
  void note(StreamKind kind, std::uint64_t now_ms, std::string_view plain, std::size_t taken);
  // Whether a turn's `bytes`, by kind in `turn`, wait for more until due_ms(): replication alone,
  // with `nothing_before` it unsent.
  bool holds_back(std::uint64_t now_ms, const KindBytes& turn, std::size_t bytes,
                  bool nothing_before);
  std::uint64_t due_ms() const { return delay_.due_ms(); }
  // Appends `plain` to `out`, packed where it is worth it and there is memory.
  void pack(std::uint64_t now_ms, std::string_view plain, std::string& out);
  // The first time that there was no memory.
  bool takes_note_of_starving() { return starved_ && !std::exchange(starving_told_, true); }
  // `stuck`: the network does not take what there is. May append the end of the stream to `out`.
  void on_tick(std::uint64_t now_ms, bool stuck, std::string& out);

 private:
  bool take_memory();
  void set_starved(bool starved);

  PackWork& work_;
  PeerTraffic& traffic_;
  const bool adapts_;
  PackLevel level_;
  Packer packer_;
  PackDelay delay_;
  PackShare share_;
  PackFor purpose_ = PackFor::kAnything;
  bool urgent_ = false;   // what this turn has gathered may not wait
  bool starved_ = false;  // it would pack, and has no memory
  bool starving_told_ = false;
  std::uint64_t own_ns_ = 0;        // in the compressor, since the last tick
  std::uint64_t work_ns_seen_ = 0;  // what the worker had spent by then
  std::uint64_t used_ms_;           // when it last sent more than a heartbeat
};

// Reading.
class LinkUnpacking {
 public:
  LinkUnpacking(PackWork& work, PeerTraffic& traffic);

  // Replication comes this way from here on: streams may have a wide window.
  void carry_replication();
  // Bytes from the wire, to be read() before the next are given; they stay the caller's.
  void give(std::string_view wire);
  std::size_t read(char* to, std::size_t size);
  bool done() const { return unpacker_.done(); }
  bool failed() const { return unpacker_.failed(); }
  const std::string& why() const { return unpacker_.why(); }

  // So many of the bytes that were read are counted by no stream's window. False: too many.
  bool cover(std::size_t unpaid);
  // A stream was closed here: what was on its way to it is counted by none any more.
  void allow(std::int64_t bytes) { unpaid_left_ += bytes; }
  void on_tick();
  // The link is dead, and reads nothing more.
  void let_go();

 private:
  PeerTraffic& traffic_;
  Unpacker unpacker_{kPackWindowLog};
  PackShare promise_, share_;
  std::int64_t by_wire_ = 0;  // what may be unpacked uncounted of what was given
  // ... and of all, filled up at each tick.
  std::int64_t unpaid_left_ = kPackUnpaidBytesMax;
};

}  // namespace azimuth
