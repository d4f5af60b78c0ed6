// Moves bytes from one socket to another without copying them: splice(2), through a pipe.
//
// For the bodies of large values, of which nobody here needs to see a byte. The kernel hands the
// pages of one socket's buffer to the other's; recv and send would copy each byte twice.
//
// Invariants: the pipe is empty between calls, so that it never has to be told whose bytes it holds
// and nothing dies with it: what the other socket does not take at once is read out of it into a
// block, and goes the way of bytes that were received. Whatever goes wrong at either socket is left
// for recv or send to find. Where splice does not work (EINVAL) it is not tried again, and
// everything is received and sent; so it is while there are no descriptors. The process must ignore SIGPIPE. Owned by one worker.
#pragma once

#include <cstddef>
#include <string_view>

#include "conf/limits.h"
#include "proxy/data/buffer.h"

namespace azimuth {

class SplicePipe {
 public:
  SplicePipe() = default;
  ~SplicePipe();
  SplicePipe(const SplicePipe&) = delete;
  SplicePipe& operator=(const SplicePipe&) = delete;

  // Where so much of a body is to come, the next may well be as large: then it pays to receive its
  // head apart, in one call more. Below, two copies were seen to cost less.
  static constexpr size_t kBulkyBytes = 192 * kKiB;

  struct Moved {
    size_t taken = 0;  // from the one socket; 0: receive as usual
    size_t sent = 0;   // to the other
    BlockRef rest;     // holds the difference
    std::string_view rest_bytes() const { return {rest->data(), taken - sent}; }
  };
  // At most `most` bytes, as many as are there and kSpliceBytesMax allows. Never waits.
  Moved move(int from, int to, size_t most);

 private:
  bool open();
  void close();

  int read_end_ = -1;
  int write_end_ = -1;
  bool unusable_ = false;
};

}  // namespace azimuth
