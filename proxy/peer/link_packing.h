// What a link keeps for sending packed (proxy/peer/pack.h), and for reading what is: each only
// where that is done. Owned by one link.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "conf/limits.h"
#include "proxy/peer/frame.h"
#include "proxy/peer/pack.h"
#include "proxy/peer/pack_pace.h"

namespace azimuth {

struct LinkPacking {
  Packer packer;
  PackLevel level;
  PackDelay delay;
  const bool adapts;
  bool urgent = false;               // what this turn has gathered may not wait
  std::size_t charged = 0;           // of the worker's memory for packing
  std::uint64_t own_ns = 0;          // in the compressor, since the last tick
  std::uint64_t worker_ns_seen = 0;  // what the worker had spent by then
  std::uint64_t used_ms = 0;         // when it last sent more than a heartbeat

  // `taken` bytes of a stream were put at the end of `plain`.
  void note(StreamKind kind, std::uint64_t now_ms, std::string_view plain, std::size_t taken);
};

struct LinkUnpacking {
  Unpacker unpacker;
  std::size_t charged = 0;
  // What may still be unpacked that no stream's window counts; filled up at each tick.
  std::int64_t unpaid_left = kPackUnpaidBytesMax;

  void on_tick();
};

}  // namespace azimuth
