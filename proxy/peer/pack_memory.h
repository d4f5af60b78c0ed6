// The memory that a worker's links may spend on packing, and who holds how much of it.
//
// Invariants: a quarter is for replication alone; a share gives back what it holds when it goes.
// What comes packed has to be read, and is charged whether there is room or not: as long as that
// makes it tight, whoever packs anything but replication gives back. Pure; owned by one worker.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "conf/limits.h"

namespace azimuth {

enum class PackFor : std::uint8_t { kAnything, kReplication };

class PackMemory {
 public:
  explicit PackMemory(std::size_t bytes_max)
      : most_(bytes_max), most_for_anything_(bytes_max - bytes_max / kPackReserveShare) {}
  PackMemory(const PackMemory&) = delete;
  PackMemory& operator=(const PackMemory&) = delete;

  std::size_t used() const { return used_; }
  bool has_room(std::size_t bytes, PackFor purpose) const {
    const std::size_t most = purpose == PackFor::kReplication ? most_ : most_for_anything_;
    return bytes <= most - std::min(used_, most);
  }
  bool tight() const { return used_ > most_for_anything_; }

 private:
  friend class PackShare;
  const std::size_t most_, most_for_anything_;
  std::size_t used_ = 0;
};

// What one holder has of it: so many bytes, another number later, none in the end.
class PackShare {
 public:
  explicit PackShare(PackMemory& memory) : memory_(memory) {}
  ~PackShare() { hold(0); }
  PackShare(const PackShare&) = delete;
  PackShare& operator=(const PackShare&) = delete;

  std::size_t bytes() const { return bytes_; }
  // False: there is no room for more, and it holds what it did.
  bool grow(std::size_t bytes, PackFor purpose) {
    if (bytes > bytes_ && !memory_.has_room(bytes - bytes_, purpose)) return false;
    hold(std::max(bytes, bytes_));
    return true;
  }
  // Whether there is room or not.
  void hold(std::size_t bytes) {
    memory_.used_ += bytes - bytes_;
    bytes_ = bytes;
  }

 private:
  PackMemory& memory_;
  std::size_t bytes_ = 0;
};

}  // namespace azimuth
