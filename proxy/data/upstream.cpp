#include "proxy/data/upstream.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "proxy/control/log.h"
#include "proxy/data/identity.h"
#include "proxy/data/socket.h"
#include "proxy/data/worker.h"
#include "session/reply_writer.h"

namespace azimuth {
namespace {

constexpr int kIovecsMax = 64;

// As many of `pieces` as make up `bytes`; how many.
int cut_to(iovec* pieces, int count, uint64_t bytes) {
  int used = 0;
  for (; used < count && bytes != 0; ++used) {
    if (pieces[used].iov_len > bytes) pieces[used].iov_len = bytes;
    bytes -= pieces[used].iov_len;
  }
  return used;
}

}  // namespace

Upstream::Upstream(Worker& worker, Identity* identity, Role role, uint8_t seat)
    : protocol(identity != nullptr ? identity->protocol : 2),
      worker_(worker),
      identity_(identity),
      role_(role),
      seat_(seat),
      out_(OutQueue::kLongTailBytes) {}

// --- sending -----------------------------------------------------------------------------------

void Upstream::send(const Entry& entry, const BlockRef& block, std::string_view bytes) {
  Entry& queued = entries_.push(entry);
  queued.size = bytes.size();
  queued.quorum = queued.quorum || (role_ == Role::kQuorum && !queued.injected);
  queued.plain = queued.kind == EntryKind::kReply && queued.topic == Topic::kNone &&
                 !queued.silent && queued.canned == Canned::kNone && !queued.quorum;
  quorum_due_ = quorum_due_ || queued.quorum;
  queued_total_ += bytes.size();
  // (Without bytes: it streams, and what comes is not kept.)
  if ((queued.repeatable || queued.bound) && !bytes.empty() &&
      bytes.size() <= kRetainedRequestBytesMax && retained_.size() < kRetainedBytesMax) {
    queued.retained = true;
    retained_.push(bytes);
  }
  if (worker_.tags()) note_sent(queued);
  queue_bytes(block, bytes);
}

void Upstream::add_to_run(const Entry& entry) {
  Entry& queued = entries_.push(entry);
  queued.quorum = role_ == Role::kQuorum;
  queued.plain = !queued.quorum;
  quorum_due_ = quorum_due_ || queued.quorum;
  queued.retained = queued.repeatable && queued.size <= kRetainedRequestBytesMax &&
                    retained_.size() + run_size_ < kRetainedBytesMax;
  run_size_ += queued.size;
  run_writes_ = run_writes_ || queued.write;
}

void Upstream::end_run(const BlockRef& block, std::string_view bytes) {
  // Retained requests that stand side by side are kept in one piece.
  size_t at = 0, from = 0;
  size_t index = entries_.size();
  for (size_t size = 0; size < bytes.size();) size += entries_[--index].size;
  for (; index < entries_.size(); ++index) {
    const Entry& entry = entries_[index];
    if (!entry.retained) {
      if (at != from) retained_.push(bytes.substr(from, at - from));
      from = at + entry.size;
    }
    at += entry.size;
  }
  if (at != from) retained_.push(bytes.substr(from, at - from));
  if (worker_.tags()) {
    Entry run = entries_[entries_.size() - 1];
    run.write = run_writes_;
    note_sent(run);
  }
  run_writes_ = false;
  run_size_ = 0;
  queued_total_ += bytes.size();
  queue_bytes(block, bytes);
  if (role_ == Role::kDedicated) ask_tag();  // what comes next may be MULTI
}

void Upstream::queue_bytes(const BlockRef& block, std::string_view bytes) {
  if (block) {
    out_.append_shared(block, bytes);
  } else {
    out_.append(bytes);
  }
  if (!dirty) worker_.mark_dirty(*this);
}

void Upstream::send_more(const BlockRef& block, std::string_view bytes) {
  note_more(bytes.size());
  queue_bytes(block, bytes);
}

void Upstream::note_more(size_t bytes) {
  // The reply may have come early, as an error: what is left of the request has no entry then.
  if (!entries_.empty()) entries_.back().size += bytes;
  queued_total_ += bytes;
  if (entries_.empty()) front_offset_ = queued_total_;
}

void Upstream::load_script(std::string_view sha, std::string_view body) {
  if (!loaded_.emplace(sha).second) return;
  Entry load;
  load.kind = EntryKind::kCollect;
  load.topic = Topic::kScriptAgain;
  load.injected = true;
  send(load, {}, encode_request(std::vector<std::string_view>{"SCRIPT", "LOAD", body}));
  worker_.metrics().scripts_reloaded.add();
}

void Upstream::answer_in_turn(Entry entry, Canned canned) {
  entry.canned = canned;
  entry.plain = false;
  entry.size = 0;
  entries_.push(entry);
  deliver_canned();
}

void Upstream::flush() {
  if (state_ == State::kIdle && worker_.now_ms() >= retry_at_ms_ && !out_.empty()) connect();
  if (parked_ && !blocks()) return lost("the primary has moved", true);
  if (held_ && stream_ != nullptr && quiet()) leave_far();
  if (role_ < Role::kDedicated) ask_tag();
  gate_open_ = false;
  if (state_ != State::kReady || want_write_) return;
  // (While one is awaited, what comes is collected for the next.)
  if (quorum_due_ && waits_ == 0 && !ask_quorum()) return;
  if (held_ && send_until_ == UINT64_MAX) send_until_ = end_of_begun();
  if (waits_ != 0 && batch_until_ == 0) batch_until_ = end_of_batch();
  const uint64_t until = waits_ != 0 ? std::min(batch_until_, send_until_) : send_until_;
  while (!out_.empty() && sent_total_ < until && may_use_redis()) {
    iovec pieces[kIovecsMax];
    int count = out_.fill(pieces, kIovecsMax);
    if (until != UINT64_MAX) count = cut_to(pieces, count, until - sent_total_);
    const ssize_t n = write(pieces, count);
    if (n < 0) return;
    if (n == 0) {
      want_write_ = true;
      update_poll();
      break;
    }
    worker_.metrics().upstream_bytes_out.add(static_cast<uint64_t>(n));
    sent_total_ += static_cast<uint64_t>(n);
    taken_total_ += static_cast<uint64_t>(n);
    out_.consume(static_cast<size_t>(n));
  }
  if (!waiting.empty() && has_room()) worker_.resume_all(waiting);
}

ssize_t Upstream::write(iovec* pieces, int count) {
  if (stream_ != nullptr) return static_cast<ssize_t>(stream_->send(pieces, count));
  for (;;) {
    ssize_t n;
    if (count == 1) {
      n = ::send(fd_, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = pieces;
      message.msg_iovlen = static_cast<size_t>(count);
      n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    }
    if (n >= 0) return n;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    lost(std::strerror(errno));
    return -1;
  }
}

// Asked in front of every write to this node's own Redis, and of every read from it: without a
// lease somebody else may lead by now (I2).
bool Upstream::may_use_redis() {
  if (stream_ != nullptr || role_ == Role::kAuth || role_ == Role::kReplica || parked_ ||
      worker_.leads()) {
    return true;
  }
  if (!std::exchange(awaits_lease_, true)) update_poll();
  return false;
}

// --- receiving ---------------------------------------------------------------------------------

void Upstream::on_poll(uv_poll_t* handle, int status, int events) {
  auto* self = static_cast<Upstream*>(handle->data);
  if (self->state_ == State::kConnecting) {
    // libuv has one word, EBADF, for all that can go wrong; the socket knows better.
    const int known = connect_result(self->fd_);
    const int rc = known != 0 || status >= 0 ? known : status;
    if (rc != 0) {
      self->worker_.metrics().upstream_connect_failures.add();
      return self->lost(std::strerror(-rc));
    }
    return self->start_handshake();
  }
  if (status < 0) {
    const int known = connect_result(self->fd_);
    return self->lost(known != 0 ? std::strerror(-known) : uv_strerror(status));
  }
  if ((events & UV_READABLE) != 0) self->on_readable();
  if ((events & UV_WRITABLE) != 0 && self->poll_ == handle) self->on_writable();
}

void Upstream::on_writable() {
  want_write_ = false;
  flush();
  if (!want_write_) update_poll();
}

void Upstream::on_readable() {
  if (!may_use_redis() || splice_reply()) return;
  const bool head = bulky_ && cursor_.body_left() == 0;
  bulky_ = bulky_ && !head;
  const ReceiveSpace space = worker_.receive_space();
  const ssize_t n = ::recv(fd_, space.data, head ? kSmallReceiveBytes : space.size, 0);
  if (n <= 0) {
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    return lost(n == 0 ? "closed by redis" : std::strerror(errno));
  }
  worker_.metrics().upstream_bytes_in.add(static_cast<uint64_t>(n));
  worker_.received(static_cast<size_t>(n));
  heard_ms_ = worker_.now_ms();
  if (waits_ != 0) worker_.look_at_quorum();  // not earlier: quorum_count.h
  // The block may be replaced while replies make clients go on; this reference keeps ours.
  const BlockRef block = space.block;
  consume(block, space.data, space.data + n);
  flush_replies();
  check_front_reads();
  if (head) splice_reply();
}

void Upstream::on_stream_data(const BlockRef& block, std::string_view bytes) {
  worker_.metrics().upstream_bytes_in.add(bytes.size());
  heard_ms_ = worker_.now_ms();
  consume(block, bytes.data(), bytes.data() + bytes.size());
  flush_replies();
  check_front_reads();
}

void Upstream::flush_replies() {
  announce();
  worker_.flush_clients();
}

bool Upstream::owes_clients() {
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (!entries_[i].injected) return true;
  }
  return waits_ != 0;
}

void Upstream::consume(const BlockRef& block, const char* p, const char* end) {
  while (p != end && state_ >= State::kHandshake && state_ != State::kClosed) {
    if (opaque_ && state_ == State::kReady && entries_.empty())
      return deliver_opaque(block, p, end);
    if (state_ == State::kHandshake) {
      if (proof_ && !prove(p, end)) continue;
      bool done = false;
      const size_t n = cursor_.feed(p, static_cast<size_t>(end - p), done);
      collected_.append(p, n);
      p += n;
      if (cursor_.failed() || collected_.size() > kCollectedBytesMax) {
        return lost("the peer does not speak RESP");
      }
      if (done) {
        const std::string reply = std::move(collected_);
        collected_.clear();
        cursor_ = ReplyCursor();
        if (const uint64_t id = hello_reply_id(reply)) redis_client_id_ = id;
        if (--handshake_replies_ == 0 || reply.starts_with('-')) finish_handshake(reply);
      }
      continue;
    }
    if (!carry_.empty()) {
      // Rare: the first bytes of a pub/sub frame were too few to tell what it is.
      std::string joined = std::move(carry_);
      carry_.clear();
      joined.append(p, end);
      const BlockRef copy(Block::make(static_cast<uint32_t>(joined.size())));
      std::memcpy(copy.get()->data(), joined.data(), joined.size());
      consume(copy, copy.get()->data(), copy.get()->data() + joined.size());
      return flush_replies();
    }
    const char* const run_end = consume_run(block, p, end);
    p = run_end != p ? run_end : consume_frame(block, p, end);
  }
}

// Whole replies to plain requests of one client that stand side by side: most of the traffic. They
// are told apart only to know where each ends.
const char* Upstream::consume_run(const BlockRef& block, const char* p, const char* end) {
  if (pubsub || reply_started_ || in_push_ || entries_.empty() || !held_replies_.empty()) return p;
  const Entry first = entries_.front();
  const char* const begin = p;
  size_t kept = 0;
  uint32_t replies = 0, writes = 0;
  while (p != end && !entries_.empty()) {
    const Entry& entry = entries_.front();
    if (!entry.plain || entry.client.index != first.client.index ||
        entry.client.generation != first.client.generation || entry.start_us != first.start_us ||
        *p == '-' || *p == '>') {
      break;
    }
    const size_t size = ReplyCursor::quick(p, end);
    if (size == 0 || size > kStreamThresholdBytes) break;
    p += size;
    front_offset_ += entry.size;
    if (entry.retained) kept += entry.size;
    ++replies;
    writes += entry.write;
    entries_.pop();
  }
  if (replies == 0) return p;
  shown_ = true;
  if (kept != 0) retained_.pop(kept);
  if (Client* client = worker_.client(first.client)) {
    worker_.deliver(*client, block, {begin, static_cast<size_t>(p - begin)});
    worker_.on_run_replied(*client, first, replies - writes, writes);
  }
  after_replies();
  return p;
}

// Replies have gone: one of ours may be next, and there is room for more requests.
void Upstream::after_replies() {
  if (!entries_.empty() && entries_.front().canned != Canned::kNone) deliver_canned();
  if (held_ || parked_) worker_.mark_dirty(*this);
  if (!waiting.empty() && has_room()) worker_.resume_all(waiting);
}

const char* Upstream::consume_frame(const BlockRef& block, const char* p, const char* end) {
  if (in_push_) return consume_push(block, p, end);
  if (!reply_started_) {
    if (pubsub || *p == '>') {
      const PubsubPeek peek = peek_pubsub(p, end, protocol);
      if (peek.undecided) {
        carry_.assign(p, end);
        return end;
      }
      if (peek.kind != PubsubKind::kReply) {
        in_push_ = true;
        push_confirms_ = peek.kind == PubsubKind::kConfirmation;
        return consume_push(block, p, end);
      }
    }
    // Any other frame ends what SUBSCRIBE has waited for, unless it is its error.
    while (!entries_.empty() && entries_.front().topic == Topic::kSubscribe &&
           (*p != '-' || entries_.front().confirmed)) {
      finish_front();
    }
    if (entries_.empty()) {
      lost("a reply that nobody asked for");
      return end;
    }
    reply_type_ = *p;
    if (const size_t n = ReplyCursor::quick(p, end); n != 0) {
      deliver(block, p, n, true);
      return p + n;
    }
    reply_started_ = true;
    reply_bytes_ = 0;
  }
  bool done = false;
  const size_t n = cursor_.feed(p, static_cast<size_t>(end - p), done);
  if (cursor_.failed()) {
    lost("the peer does not speak RESP");
    return end;
  }
  if (done) {
    cursor_ = ReplyCursor();
    reply_started_ = false;
  }
  deliver(block, p, n, done);
  return p + n;
}

void Upstream::deliver_opaque(const BlockRef& block, const char* p, const char* end) {
  Client* client = worker_.client(owner);
  if (client == nullptr) return;
  worker_.deliver(*client, block, {p, static_cast<size_t>(end - p)});
}

void Upstream::deliver(const BlockRef& block, const char* p, size_t n, bool done) {
  const Entry& entry = entries_.front();
  reply_bytes_ += n;
  shown_ = shown_ || !entry.injected;
  if (entry.kind == EntryKind::kCollect || holds(entry) || judges_error(entry)) {
    collected_.append(p, n);
    if (holds(entry)) {
      const uint64_t most = worker_.settings().limits.client_output_bytes_max;
      while (collected_.size() + held_bytes_ > most) cut_largest_holder();
    } else if (collected_.size() > kCollectedBytesMax) {
      return lost("a reply longer than it may be");
    }
  } else if (entry.kind != EntryKind::kDiscard && !entry.silent) {
    if (Client* client = worker_.client(entry.client)) worker_.deliver(*client, block, {p, n});
  }
  if (done) finish_front();
}

void Upstream::finish_front() {
  if (judges_error(entries_.front())) judge_error(std::exchange(collected_, {}));
  const Entry entry = entries_.front();
  entries_.pop();
  front_offset_ += entry.size;
  if (entry.retained) retained_.pop(entry.size);
  const size_t bytes = std::exchange(reply_bytes_, 0);
  const bool held = holds(entry);
  if (entry.kind == EntryKind::kCollect || held) {
    std::string reply = std::move(collected_);
    collected_.clear();
    if (held) {
      held_bytes_ += reply.size();
      held_replies_.push_back({entry, std::move(reply)});
    } else if (entry.topic == Topic::kQuorum) {
      on_waited(reply, entry);
    } else if (entry.topic == Topic::kTag) {
      take_tag(reply);
    } else if (entry.topic == Topic::kGate) {
      check_gate(reply);
    } else if (entry.topic == Topic::kScriptAgain) {
      ReplyElement sha;
      const bool loaded = ReplyReader(reply).next(sha) && !sha.is_error();
      if (loaded && role_ != Role::kReplica) worker_.scripts().confirm(sha.text);
    } else {
      worker_.on_collected(*this, entry, reply);
    }
  } else if (!entry.injected) {
    worker_.on_replied(*this, entry, reply_type_, bytes);
  }
  after_replies();
}

void Upstream::deliver_canned() {
  while (!entries_.empty() && entries_.front().canned != Canned::kNone) {
    const Entry entry = entries_.front();
    entries_.pop();
    front_offset_ += entry.size;
    if (held_replies_.empty()) {
      worker_.on_canned(*this, entry);
    } else {
      held_replies_.push_back({entry, {}});  // its turn comes behind those that wait for a quorum
    }
  }
}

}  // namespace azimuth
