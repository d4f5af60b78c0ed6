#include "proxy/data/upstream.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "proxy/control/log.h"
#include "proxy/data/identity.h"
#include "proxy/data/socket.h"
#include "proxy/data/worker.h"
#include "session/reply_writer.h"

namespace azimuth {
namespace {

constexpr int kIovecsMax = 64;
constexpr size_t kCollectedBytesMax = 4 * kMiB;

}  // namespace

Upstream::Upstream(Worker& worker, Identity* identity, Role role)
    : protocol(identity != nullptr ? identity->protocol : 2),
      worker_(worker),
      identity_(identity),
      role_(role),
      out_(OutQueue::kLongTailBytes) {}

// --- connecting --------------------------------------------------------------------------------

void Upstream::connect() {
  if (state_ != State::kIdle) return;
  const SocketAddress& address = worker_.redis_address();
  const int fd = address.size == 0 ? -EHOSTUNREACH : connect_to(address);
  if (fd < 0) {
    worker_.metrics().upstream_connect_failures.add();
    return lost(std::strerror(-fd));
  }
  fd_ = fd;
  tune(fd_, worker_.settings().limits.tcp_keepalive_s);
  poll_ = new uv_poll_t;
  poll_->data = this;
  uv_poll_init(worker_.loop(), poll_, fd_);
  state_ = State::kConnecting;
  connect_deadline_ms_ = worker_.now_ms() + worker_.connect_timeout_ms();
  want_write_ = true;
  update_poll();
}

void Upstream::start_handshake() {
  std::vector<std::string_view> args = {"HELLO", "2"};
  if (protocol == 3) args[1] = "3";
  if (identity_ != nullptr && identity_->logged_in) {
    args.insert(args.end(), {"AUTH", identity_->user, identity_->secret});
  }
  std::string request = encode_request(args);
  const int32_t own_db = identity_ != nullptr ? identity_->db : 0;
  if (own_db != 0) {
    const std::string number = std::to_string(own_db);
    append_request(request, std::vector<std::string_view>{"SELECT", number});
  }
  handshake_replies_ = own_db != 0 ? 2 : 1;
  state_ = State::kHandshake;
  // A fresh socket takes a few hundred bytes at once; if it does not, the connection is no use.
  if (::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return lost("handshake not sent");
  }
  want_write_ = false;
  update_poll();
}

void Upstream::finish_handshake(std::string_view reply) {
  const bool refused = !reply.empty() && reply.front() == '-';
  const bool needs_login = refused && reply.starts_with("-NOAUTH");
  if (role_ == Role::kAuth && (!refused || needs_login)) {
    worker_.set_default_user_open(!refused);
  }
  if (refused && !(role_ == Role::kAuth && needs_login)) {
    handshake_error_.assign(needs_login ? std::string_view(kNoAuthReply) : reply);
    worker_.metrics().upstream_connect_failures.add();
    const std::string_view text = reply.substr(1, reply.find('\r') - 1);
    // Redis has an opinion on who asks; anything else (too many clients) may pass with time.
    if (!needs_login && !reply.starts_with("-WRONGPASS") && !reply.starts_with("-DENIED") &&
        !reply.starts_with("-NOPERM") && !reply.starts_with("-ERR DB index")) {
      return lost(text);
    }
    log_event(needs_login ? LogLevel::kDebug : LogLevel::kWarn, "upstream_refused",
              {{"reason", text}});
    close_socket();
    state_ = State::kIdle;
    retry_at_ms_ = worker_.now_ms() + kReconnectDelayMostMs;
    answer_all(Canned::kHandshake);
    // (NOPERM is about SELECT: the user may stay, on a connection that was on that database before.)
    const bool about_user = needs_login || reply.starts_with("-WRONGPASS");
    if (about_user && identity_ != nullptr) worker_.on_identity_refused(*identity_, needs_login);
    if (role_ == Role::kAuth) worker_.tell_login_known();
    if (role_ == Role::kDedicated) worker_.on_dedicated_refused(*this);
    return;
  }
  state_ = State::kReady;
  // What has waited for the connection has not waited for Redis.
  for (size_t i = 0; i < entries_.size(); ++i) entries_[i].start_us = worker_.now_us();
  if (down_since_ms_ != 0) log_info("upstream_back", {{"after_ms", worker_.now_ms() - down_since_ms_}});
  down_since_ms_ = 0;
  failing_fast_ = false;
  backoff_.reset();
  worker_.metrics().upstream_connects.add();
  worker_.mark_dirty(*this);
  worker_.on_upstream_ready(*this);
}

void Upstream::schedule_connect() {
  // One connection of one client tells little of Redis; the shared ones, which always come back, do.
  if (down_since_ms_ == 0) down_since_ms_ = worker_.note_redis_away(role_ != Role::kDedicated);
  const auto delay = static_cast<uint64_t>(backoff_.next(worker_.random()).ms);
  retry_at_ms_ = worker_.now_ms() + delay;
  worker_.retry_in(delay);
}

void Upstream::retry_now() {
  if (state_ != State::kIdle || role_ == Role::kDedicated || retired_) return;
  failing_fast_ = false;
  down_since_ms_ = 0;
  connect();
}

void Upstream::reconnect() {
  if (state_ != State::kReady) return;
  close_socket();
  state_ = State::kIdle;
  rebuild_after_loss();
  retry_at_ms_ = 0;
  connect();
}

void Upstream::on_tick(uint64_t now_ms) {
  if (state_ == State::kClosed) return;
  if (retired_ && entries_.empty()) return begin_close();
  if ((state_ == State::kConnecting || state_ == State::kHandshake) &&
      now_ms >= connect_deadline_ms_) {
    worker_.metrics().upstream_connect_failures.add();
    lost("connect timed out");
  }
  if (down_since_ms_ != 0 && !failing_fast_ &&
      now_ms - down_since_ms_ >= worker_.settings().hold.timeout_ms) {
    failing_fast_ = true;
    answer_all(Canned::kClusterDown);
    if (role_ == Role::kDedicated) return worker_.on_dedicated_refused(*this);
  }
  if (state_ == State::kIdle && now_ms >= retry_at_ms_ &&
      (!entries_.empty() || role_ == Role::kAuth ||
       (role_ < Role::kDedicated && identity_->clients != 0))) {
    connect();
  }
}

// --- sending -----------------------------------------------------------------------------------

void Upstream::send(const Entry& entry, const BlockRef& block, std::string_view bytes) {
  Entry& queued = entries_.push(entry);
  queued.size = bytes.size();
  queued.plain = queued.kind == EntryKind::kReply && queued.topic == Topic::kNone &&
                 !queued.silent && queued.canned == Canned::kNone;
  queued_total_ += bytes.size();
  if (queued.repeatable && bytes.size() <= kRetainedRequestBytesMax &&
      retained_.size() < kUpstreamQueueHighBytes) {
    queued.retained = true;
    retained_.push(bytes);
  }
  queue_bytes(block, bytes);
}

void Upstream::add_to_run(const Entry& entry) {
  Entry& queued = entries_.push(entry);
  queued.plain = true;
  queued.retained = queued.repeatable && queued.size <= kRetainedRequestBytesMax &&
                    retained_.size() + run_size_ < kUpstreamQueueHighBytes;
  run_size_ += queued.size;
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
  run_size_ = 0;
  queued_total_ += bytes.size();
  queue_bytes(block, bytes);
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
  // The reply may have come early, as an error: what is left of the request has no entry then.
  if (!entries_.empty()) entries_.back().size += bytes.size();
  queued_total_ += bytes.size();
  if (entries_.empty()) front_offset_ = queued_total_;
  queue_bytes(block, bytes);
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
  if (state_ != State::kReady || want_write_) return;
  while (!out_.empty()) {
    iovec pieces[kIovecsMax];
    const int count = out_.fill(pieces, kIovecsMax);
    ssize_t n;
    if (count == 1) {
      n = ::send(fd_, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = pieces;
      message.msg_iovlen = static_cast<size_t>(count);
      n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    }
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return lost(std::strerror(errno));
      want_write_ = true;
      update_poll();
      break;
    }
    worker_.metrics().upstream_bytes_out.add(static_cast<uint64_t>(n));
    sent_total_ += static_cast<uint64_t>(n);
    out_.consume(static_cast<size_t>(n));
  }
  if (!waiting.empty() && out_.size() < kUpstreamQueueLowBytes &&
      entries_.size() < kUpstreamInflightMax / 2) {
    worker_.resume_all(waiting);
  }
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
  const ReceiveSpace space = worker_.receive_space();
  const ssize_t n = ::recv(fd_, space.data, space.size, 0);
  if (n <= 0) {
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    return lost(n == 0 ? "closed by redis" : std::strerror(errno));
  }
  worker_.metrics().upstream_bytes_in.add(static_cast<uint64_t>(n));
  worker_.received(static_cast<size_t>(n));
  // The block may be replaced while replies make clients go on; this reference keeps ours.
  const BlockRef block = space.block;
  consume(block, space.data, space.data + n);
  worker_.flush_clients();
  check_front_reads();
}

// A reply that its client does not take stops here, before it fills the memory. The pace is that of
// the client at the front, and of nobody else.
void Upstream::check_front_reads() {
  if (state_ != State::kReady || role_ >= Role::kDedicated) return;
  Client* client = entries_.empty() ? nullptr : worker_.client(entries_.front().client);
  const size_t unread = client != nullptr ? client->output_size() : 0;
  if (paused_) {
    if (unread >= kClientOutputLowBytes) return;
    held_up_since_ms_ = 0;
    return pause_reading(false);
  }
  if (unread <= kClientOutputHighBytes) return;
  retire();
  hand_over(*client, worker_.shared(*identity_, role_));
  pause_reading(true);
}

void Upstream::retire() {
  retired_ = true;
  worker_.resume_all(waiting);  // they find the connection that takes over
}

void Upstream::cut_front(CutReason reason) {
  held_up_since_ms_ = 0;
  if (!paused_ || entries_.empty()) return;
  if (Client* client = worker_.client(entries_.front().client)) worker_.cut(*client, reason);
}

void Upstream::hand_over(Client& slow, Upstream& fresh) {
  // A client's requests move all or none: their order must hold.
  std::unordered_set<uint32_t> staying;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (!entry.retained && !entry.injected) staying.insert(entry.client.index);
  }
  size_t offset = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    const size_t at = offset;
    if (entry.retained) offset += entry.size;
    Client* client = worker_.client(entry.client);
    if (client == nullptr || client == &slow || entry.injected) continue;
    if (staying.contains(entry.client.index)) {
      held_up_since_ms_ = worker_.now_ms();
      continue;
    }
    Entry moved = entry;
    moved.retained = false;
    entry.client = ClientRef();  // the reply that comes here is nobody's
    client->upstream = &fresh;
    fresh.send(moved, {}, retained_.at(at, entry.size));
    worker_.metrics().commands_resent.add();
  }
}

void Upstream::consume(const BlockRef& block, const char* p, const char* end) {
  while (p != end && state_ >= State::kHandshake && state_ != State::kClosed) {
    if (opaque_ && state_ == State::kReady && entries_.empty()) return deliver_opaque(block, p, end);
    if (state_ == State::kHandshake) {
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
      return worker_.flush_clients();
    }
    const char* const run_end = consume_run(block, p, end);
    p = run_end != p ? run_end : consume_frame(block, p, end);
  }
}

// Whole replies to plain requests of one client that stand side by side: most of the traffic. They
// are told apart only to know where each ends.
const char* Upstream::consume_run(const BlockRef& block, const char* p, const char* end) {
  if (pubsub || reply_started_ || in_push_ || entries_.empty()) return p;
  const Entry first = entries_.front();
  const char* const begin = p;
  size_t kept = 0;
  uint32_t replies = 0, writes = 0;
  while (p != end && !entries_.empty()) {
    const Entry& entry = entries_.front();
    if (!entry.plain || entry.client.index != first.client.index ||
        entry.client.generation != first.client.generation ||
        entry.start_us != first.start_us || *p == '-' || *p == '>') {
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
  if (!waiting.empty() && !full() && entries_.size() < kUpstreamInflightMax / 2 &&
      out_.size() < kUpstreamQueueLowBytes) {
    worker_.resume_all(waiting);
  }
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

void count_subscriptions(ClientExtra& extra, const PubsubFrame& frame) {
  if (frame.kind != PubsubKind::kConfirmation) return;
  const auto count = static_cast<int>(frame.count);
  switch (frame.family) {  // channels and patterns share a count
    case PubsubFamily::kChannel: extra.channels = count - extra.patterns; break;
    case PubsubFamily::kPattern: extra.patterns = count - extra.channels; break;
    case PubsubFamily::kShard: extra.shard_channels = count; break;
  }
}

// With nothing subscribed and nothing asked, any frame is a reply again.
void Upstream::end_pubsub(Client& client) {
  const ClientExtra& extra = client.extra();
  if (extra.channels + extra.patterns + extra.shard_channels != 0) return;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].topic == Topic::kSubscribe) return;
  }
  pubsub = false;
  client.session.subscribed = false;  // its connection goes with the next reply (drained)
}

// A message, an invalidation or a confirmation: not the reply that the front entry waits for.
const char* Upstream::consume_push(const BlockRef& block, const char* p, const char* end) {
  bool done = false;
  const size_t n = cursor_.feed(p, static_cast<size_t>(end - p), done);
  if (cursor_.failed()) {
    lost("the peer does not speak RESP");
    return end;
  }
  Client* client = worker_.client(owner);
  if (client != nullptr) worker_.deliver(*client, block, {p, n});
  if (push_confirms_) push_.append(p, n);
  if (done) {
    cursor_ = ReplyCursor();
    in_push_ = false;
    if (client != nullptr && push_confirms_) {
      count_subscriptions(client->extra(), classify_pubsub(push_, protocol));
    }
    push_.clear();
    if (push_confirms_ && !entries_.empty() && entries_.front().topic == Topic::kSubscribe) {
      entries_.front().confirmed = true;
      if (--entries_.front().replies == 0) finish_front();
    }
    if (push_confirms_ && client != nullptr) end_pubsub(*client);
  }
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
  if (entry.kind == EntryKind::kCollect) {
    collected_.append(p, n);
    if (collected_.size() > kCollectedBytesMax) return lost("a reply longer than it may be");
  } else if (entry.kind != EntryKind::kDiscard && !entry.silent) {
    if (Client* client = worker_.client(entry.client)) worker_.deliver(*client, block, {p, n});
  }
  if (done) finish_front();
}

void Upstream::finish_front() {
  const Entry entry = entries_.front();
  entries_.pop();
  front_offset_ += entry.size;
  if (entry.retained) retained_.pop(entry.size);
  const size_t bytes = std::exchange(reply_bytes_, 0);
  if (entry.kind == EntryKind::kCollect) {
    const std::string reply = std::move(collected_);
    collected_.clear();
    worker_.on_collected(*this, entry, reply);
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
    worker_.on_canned(*this, entry);
  }
}

// --- losing ------------------------------------------------------------------------------------

void Upstream::lost(std::string_view why) {
  if (state_ == State::kClosed) return;
  const bool was_ready = state_ == State::kReady;
  if (was_ready || down_since_ms_ == 0) {
    log_warning("upstream_lost", {{"reason", why}, {"outstanding", entries_.size()}});
  }
  close_socket();
  state_ = State::kIdle;
  if (role_ == Role::kDedicated && (was_ready || entries_.empty())) {
    return worker_.on_dedicated_lost(*this);
  }
  if (was_ready) rebuild_after_loss();
  if (retired_ && entries_.empty()) return begin_close();
  worker_.on_upstream_lost(*this);
  schedule_connect();
}

// Decides for each outstanding request what is known of it, and queues again what may be sent.
void Upstream::rebuild_after_loss() {
  const std::vector<Entry> outstanding = take_outstanding();
  OutQueue unsent = std::move(out_);
  ByteRing kept = std::move(retained_);
  const uint64_t sent_until = sent_total_;
  uint64_t offset = front_offset_;
  out_ = OutQueue(OutQueue::kLongTailBytes);
  retained_ = ByteRing();
  queued_total_ = sent_total_ = front_offset_ = 0;
  for (const Entry& entry : outstanding) {
    const uint64_t start = offset;
    offset += entry.size;
    const bool never_left = start >= sent_until;
    const bool half_left = !never_left && offset > sent_until;
    std::string bytes;
    if (entry.retained) {
      bytes.assign(kept.front(entry.size));
      kept.pop(entry.size);
    }
    if (never_left && !entry.retained) {
      bytes = unsent.take_front(entry.size);
    } else if (offset > sent_until) {
      unsent.consume(offset - std::max(start, sent_until));
    }
    if (entry.injected) continue;
    Entry again = entry;
    again.retained = false;
    if (entry.canned != Canned::kNone) {
      entries_.push(again);
    } else if (worker_.client(entry.client) == nullptr) {
      continue;  // nobody waits for it any more
    } else if (!entry.bound && (never_left || (entry.retained && entry.repeatable))) {
      send(again, {}, bytes);
      worker_.metrics().commands_resent.add();
    } else {
      again.plain = false;
      again.canned = never_left || half_left ? Canned::kNotSent : Canned::kUncertain;
      again.size = 0;
      entries_.push(again);
    }
  }
  deliver_canned();
}

std::vector<Entry> Upstream::take_outstanding() {
  // A client that has part of a reply cannot be given the rest: its connection ends.
  if (reply_started_ && !entries_.empty()) {
    Entry& front = entries_.front();
    if (front.kind != EntryKind::kCollect && front.kind != EntryKind::kDiscard && !front.silent) {
      if (Client* client = worker_.client(front.client)) worker_.cut(*client, CutReason::kUpstream);
    }
  }
  reply_started_ = in_push_ = false;
  reply_bytes_ = 0;
  cursor_ = ReplyCursor();
  collected_.clear();
  carry_.clear();
  std::vector<Entry> out;
  out.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) out.push_back(entries_[i]);
  entries_.clear();
  return out;
}

// Nothing that waits can be sent: every request answers `canned`.
void Upstream::answer_all(Canned canned) {
  std::vector<Entry> outstanding = take_outstanding();
  out_ = OutQueue(OutQueue::kLongTailBytes);
  retained_ = ByteRing();
  queued_total_ = sent_total_ = front_offset_ = 0;
  for (Entry& entry : outstanding) {
    if (entry.injected) continue;
    if (entry.canned == Canned::kNone) entry.canned = canned;
    entry.plain = false;
    entry.size = 0;
    entry.retained = false;
    entries_.push(entry);
  }
  deliver_canned();
  worker_.resume_all(waiting);
}

void Upstream::fail_outstanding() {
  rebuild_after_loss();
  answer_all(Canned::kNotSent);
}

void Upstream::begin_close() {
  if (state_ == State::kClosed) return;
  close_socket();
  state_ = State::kClosed;
  worker_.resume_all(waiting);
  worker_.bury(*this);
}

void Upstream::close_socket() {
  if (poll_ != nullptr) {
    uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(poll_, nullptr)),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
  }
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  want_write_ = paused_ = false;
  poll_events_ = 0;
  cursor_ = ReplyCursor();
  redis_client_id_ = 0;
  name.clear();
}

void Upstream::pause_reading(bool paused) {
  if (paused_ == paused || poll_ == nullptr) return;
  paused_ = paused;
  update_poll();
}

void Upstream::update_poll() {
  const int events = (paused_ ? 0 : UV_READABLE) | (want_write_ ? UV_WRITABLE : 0);
  if (poll_ == nullptr || events == poll_events_) return;
  poll_events_ = events;
  if (events == 0) {
    uv_poll_stop(poll_);
  } else {
    uv_poll_start(poll_, events, on_poll);
  }
}

}  // namespace azimuth
