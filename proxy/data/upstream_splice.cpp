// The bodies of large values between a client's socket and Redis's, without a copy (splice.h).
//
// What is moved is accounted for as if it had been received and sent: the cursors go on behind it,
// the entry grows, the totals count it. What the other side did not take stands in its queue and is
// subject to its bounds, and while something stands there nothing is moved, but received.
#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"

namespace azimuth {

// Requests: of the one sent last, which streams. Returns the bytes taken from `from`.
size_t Upstream::splice_request(int from, size_t most) {
  if (fd_ < 0 || state_ != State::kReady || want_write_ || held_ || parked_ || waits_ != 0 ||
      !out_.empty() || !may_use_redis()) {
    return 0;
  }
  const SplicePipe::Moved moved = worker_.splice().move(from, fd_, most);
  if (moved.taken == 0) return 0;
  worker_.metrics().upstream_bytes_out.add(moved.sent);
  note_more(moved.taken);
  sent_total_ += moved.sent;
  taken_total_ += moved.sent;
  if (moved.rest) queue_bytes(moved.rest, moved.rest_bytes());
  return moved.taken;
}

// Replies: the rest of a body whose beginning has gone to the client. False: to be received.
bool Upstream::splice_reply() {
  if (fd_ < 0 || !reply_started_ || in_push_ || cursor_.body_left() < kSpliceLeftMin) return false;
  const Entry& entry = entries_.front();
  const bool passes = (entry.kind == EntryKind::kReply || entry.kind == EntryKind::kNotify) &&
                      !entry.silent && !holds(entry) && !judges_error(entry);
  Client* const client = passes ? worker_.client(entry.client) : nullptr;
  if (client == nullptr || client->output_size() != 0 || client->want_write) return false;
  const uint64_t left = cursor_.body_left();
  const SplicePipe::Moved moved = worker_.splice().move(fd_, client->fd, left);
  if (moved.taken == 0) return false;
  worker_.metrics().upstream_bytes_in.add(moved.taken);
  heard_ms_ = worker_.now_ms();
  bulky_ = bulky_ || left >= SplicePipe::kBulkyBytes;
  reply_bytes_ += moved.taken;
  worker_.delivered(*client, moved);
  if (cursor_.skip_body(moved.taken)) {
    cursor_ = ReplyCursor();
    reply_started_ = false;
    finish_front();
  }
  flush_replies();
  check_front_reads();
  return true;
}

}  // namespace azimuth
