#include "proxy/data/splice.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "conf/result.h"

namespace azimuth {
namespace {

constexpr unsigned kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;

}  // namespace

SplicePipe::~SplicePipe() { close(); }

bool SplicePipe::open() {
  if (unusable_ || read_end_ >= 0) return !unusable_;
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return false;  // out of descriptors, for now
  read_end_ = ends[0];
  write_end_ = ends[1];
  // Each of its places holds a piece of a page, however short; a user may have too many already,
  // and a shorter pipe does as well, in more turns.
  ::fcntl(write_end_, F_SETPIPE_SZ, static_cast<int>(kSplicePipeBytes));
  return true;
}

void SplicePipe::close() {
  if (read_end_ < 0) return;
  ::close(read_end_);
  ::close(write_end_);
  read_end_ = write_end_ = -1;
}

SplicePipe::Moved SplicePipe::move(int from, int to, size_t most) {
  Moved moved;
  if (!open()) return moved;
  const ssize_t taken =
      ::splice(from, nullptr, write_end_, nullptr, std::min(most, kSpliceBytesMax), kFlags);
  if (taken <= 0) {
    if (taken < 0 && (errno == EINVAL || errno == ENOSYS)) unusable_ = true;
    return moved;
  }
  moved.taken = static_cast<size_t>(taken);
  while (moved.sent != moved.taken) {
    const ssize_t sent =
        ::splice(read_end_, nullptr, to, nullptr, moved.taken - moved.sent, kFlags);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) {
      if (sent < 0 && errno == EINVAL) unusable_ = true;
      break;
    }
    moved.sent += static_cast<size_t>(sent);
  }
  const size_t rest = moved.taken - moved.sent;
  if (rest == 0) return moved;
  moved.rest = BlockRef(Block::make(static_cast<uint32_t>(rest)));
  for (size_t have = 0; have != rest;) {
    const ssize_t n = ::read(read_end_, moved.rest->data() + have, rest - have);
    if (n < 0 && errno == EINTR) continue;
    AZIMUTH_CHECK(n > 0);  // they are in there
    have += static_cast<size_t>(n);
  }
  return moved;
}

}  // namespace azimuth
