// An upstream's connection: made, greeted, closed, tried again.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "proxy/control/log.h"
#include "proxy/data/identity.h"
#include "proxy/data/socket.h"
#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"
#include "session/reply_writer.h"

namespace azimuth {

void Upstream::connect() {
  if (state_ != State::kIdle) return;
  asleep_ = false;
  const Target& target = worker_.target();
  if (role_ == Role::kReplica) {
    place_ = worker_.replica().place(seat_);
    if (!place_.near)
      return connect_far(place_.address, place_.node, StreamKind::kReads, place_.epoch);
  } else {
    if (target.kind == TargetKind::kNone) return lost("there is no primary", true);
    if (target.kind == TargetKind::kFar) {
      return connect_far(target.address, target.node, StreamKind::kCommands, target.epoch);
    }
  }
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

void Upstream::connect_far(const SocketAddress& address, const std::string& node, StreamKind kind,
                           uint64_t epoch) {
  state_ = State::kConnecting;
  connect_deadline_ms_ = worker_.now_ms() + worker_.connect_timeout_ms();
  stream_ = worker_.links()->open(address, node, kind, epoch, *this);
}

void Upstream::on_stream_open() {
  if (state_ == State::kConnecting) start_handshake();
}

void Upstream::on_stream_writable() { on_writable(); }

void Upstream::on_stream_hold() {
  hold();
  worker_.retry_in(kStragglersMsMax);
}

void Upstream::on_stream_end(StreamEnd end, uint64_t delivered) {
  stream_ = nullptr;
  // The far node knows how much of it Redis was given; the rest can be sent elsewhere.
  if (end != StreamEnd::kLost) {
    const uint64_t requests = delivered - std::min(delivered, handshake_bytes_);
    sent_total_ = std::min(sent_total_, requests_before_ + requests);
  }
  // It was refused before it stood: an election is under way, and whoever holds it tells.
  const bool turned_away = end == StreamEnd::kRefused && state_ != State::kReady;
  lost(end == StreamEnd::kLost      ? "the link to the primary's node is lost"
       : end == StreamEnd::kRefused ? "the node leads no longer, or its redis is away"
                                    : "closed by redis",
       turned_away);
}

void Upstream::start_handshake() {
  std::vector<std::string_view> args = {"HELLO", "2"};
  if (protocol == 3) args[1] = "3";
  if (identity_ != nullptr && identity_->logged_in) {
    args.insert(args.end(), {"AUTH", identity_->user, identity_->secret});
  }
  std::string request;
  // (What a replica is, ROLE says in front of each batch of reads.)
  const bool near_primary = stream_ == nullptr && role_ != Role::kReplica;
  if (near_primary && !worker_.process().lease.any_process()) {
    const RedisSettings& own = *worker_.settings().redis;
    proof_ = std::make_unique<RedisProof>(own.username, own.password);
    request = proof_->request();
  }
  append_request(request, args);
  const int32_t own_db = identity_ != nullptr ? identity_->db : 0;
  if (own_db != 0) {
    const std::string number = std::to_string(own_db);
    append_request(request, std::vector<std::string_view>{"SELECT", number});
  }
  handshake_replies_ = own_db != 0 ? 2 : 1;
  state_ = State::kHandshake;
  // A fresh socket takes a few hundred bytes at once; if it does not, the connection is no use.
  iovec piece{request.data(), request.size()};
  const ssize_t sent = write(&piece, 1);
  if (sent < 0) return;
  if (sent != static_cast<ssize_t>(request.size())) return lost("handshake not sent");
  handshake_bytes_ = request.size();
  requests_before_ = sent_total_;
  want_write_ = false;
  update_poll();
}

// Whether this is the redis-server that was promoted, and no other that listens in its place.
// True: so it is, and there may be more to read.
bool Upstream::prove(const char*& p, const char* end) {
  p += proof_->feed(p, static_cast<size_t>(end - p));
  if (proof_->state() == RedisProof::State::kAsked) return false;
  const std::unique_ptr<RedisProof> proof = std::move(proof_);
  if (proof->state() == RedisProof::State::kRefused) {
    lost(proof->why());
  } else if (!worker_.process().lease.is_promoted(proof->process())) {
    lost("it is another redis-server than the one that leads");
  } else {
    return p != end;
  }
  return false;
}

void Upstream::finish_handshake(std::string_view reply) {
  const bool refused = !reply.empty() && reply.front() == '-';
  const bool needs_login = refused && reply.starts_with("-NOAUTH");
  const bool busy = reply.starts_with("-BUSY");  // a script runs: that is the answer, for now
  // A replica's users are its own affair: who is refused there reads at the primary.
  if (refused && role_ == Role::kReplica) return lost(reply.substr(1, reply.find('\r') - 1));
  if (role_ == Role::kAuth && (!refused || needs_login)) {
    worker_.set_default_user_open(!refused);
  }
  if (refused && !(role_ == Role::kAuth && needs_login)) {
    handshake_error_.assign(needs_login ? std::string_view(kNoAuthReply) : reply);
    worker_.metrics().upstream_connect_failures.add();
    const std::string_view text = reply.substr(1, reply.find('\r') - 1);
    // Redis has an opinion on who asks; anything else (too many clients) may pass with time.
    if (!needs_login && !reply.starts_with("-WRONGPASS") && !reply.starts_with("-DENIED") &&
        !reply.starts_with("-NOPERM") && !reply.starts_with("-ERR DB index") && !busy) {
      return lost(text);
    }
    log_event(needs_login ? LogLevel::kDebug : LogLevel::kWarn, "upstream_refused",
              {{"reason", text}});
    close_socket();
    state_ = State::kIdle;
    retry_at_ms_ = worker_.now_ms() + (busy ? kReconnectDelayLeastMs : kReconnectDelayMostMs);
    answer_all(Canned::kHandshake);
    // (NOPERM is about SELECT: the user may stay, on a connection that was on that database
    // before.)
    const bool about_user = needs_login || reply.starts_with("-WRONGPASS");
    if (about_user && identity_ != nullptr) worker_.on_identity_refused(*identity_, needs_login);
    if (role_ == Role::kAuth) worker_.tell_login_known();
    if (role_ == Role::kDedicated) worker_.on_dedicated_refused(*this);
    return;
  }
  state_ = State::kReady;
  heard_ms_ = worker_.now_ms();
  // What has waited for the connection has not waited for Redis.
  for (size_t i = 0; i < entries_.size(); ++i) entries_[i].start_us = worker_.now_us();
  if (down_since_ms_ != 0 && told_lost_)
    log_info("upstream_back", {{"after_ms", worker_.now_ms() - down_since_ms_}});
  down_since_ms_ = 0;
  failing_fast_ = false;
  backoff_.reset();
  worker_.metrics().upstream_connects.add();
  worker_.mark_dirty(*this);
  tell_ready(std::to_string(redis_client_id_));
  worker_.on_upstream_ready(*this);
}

void Upstream::when_ready(TellId tell) {
  if (state_ == State::kReady) return tell(std::to_string(redis_client_id_));
  told_ready_.push_back(std::move(tell));
  if (state_ == State::kIdle) connect();
}

void Upstream::tell_ready(std::string_view id) {
  std::vector<TellId> told;
  told.swap(told_ready_);
  for (const TellId& tell : told) tell(id);
}

void Upstream::schedule_connect() {
  // One connection of one client tells little of Redis; the shared ones, which always come back,
  // do.
  if (down_since_ms_ == 0) down_since_ms_ = worker_.note_redis_away(role_ != Role::kDedicated);
  const auto delay = static_cast<uint64_t>(backoff_.next(worker_.random()).ms);
  retry_at_ms_ = worker_.now_ms() + delay;
  worker_.retry_in(delay);
}

void Upstream::retry_soon() {
  retry_at_ms_ = worker_.now_ms();
  worker_.mark_dirty(*this);
}

void Upstream::retry_now() {
  if (state_ != State::kIdle || role_ >= Role::kReplica || retired_) return;
  failing_fast_ = false;
  down_since_ms_ = 0;
  connect();
}

bool Upstream::reconnect() {
  if (asleep_) {
    connect();
    return state_ != State::kIdle;
  }
  if (state_ == State::kIdle || state_ == State::kClosed) return false;
  close_socket();
  state_ = State::kIdle;
  rebuild_after_loss();
  retry_at_ms_ = 0;
  connect();
  return true;
}

// What was sent to the old primary has its answer, is sent again, or is uncertain: as after a loss.
void Upstream::retarget() {
  if (state_ == State::kClosed || role_ == Role::kReplica) return;  // (its own way: Replica)
  const bool lend = role_ == Role::kDedicated && worker_.client(owner) == nullptr;
  if (lend || (role_ < Role::kDedicated && entries_.empty() && retired_)) return begin_close();
  if (blocks()) {
    // Its Redis becomes a replica, and says itself that it blocks no longer.
    parked_ = tainted = true;
    awaits_lease_ = false;
    return update_poll();
  }
  held_ = false;  // what was held goes to the new one
  send_until_ = UINT64_MAX;
  const bool looked_at = state_ == State::kReady;
  if (state_ != State::kIdle) lost("the primary has moved", true);
  if (state_ != State::kIdle || worker_.target().kind == TargetKind::kNone) return;
  // What has waited for this primary came in another epoch.
  if (!looked_at && role_ < Role::kDedicated) rebuild_after_loss();
  failing_fast_ = false;
  down_since_ms_ = 0;
  backoff_.reset();
  if (!entries_.empty() || (role_ != Role::kDedicated && !retired_ && !asleep_)) connect();
}

void Upstream::hold() {
  if (held_ || role_ == Role::kReplica) return;
  held_ = true;
  held_since_ms_ = worker_.now_ms();
  send_until_ = end_of_begun();
  worker_.mark_dirty(*this);
}

// Where sending may stop: nothing that has left in part is cut there, no transaction that has
// begun, and no write from the WAIT that its reply is held for. UINT64_MAX: its end is still to
// come from the client.
uint64_t Upstream::end_of_begun() {
  uint64_t at = front_offset_;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    const bool goes_on =
        entry.topic == Topic::kQuorum || (entry.bound && entry.topic != Topic::kBegin);
    if (at >= sent_total_ && !goes_on) return at;
    at += entry.size;
  }
  const Client* client = worker_.client(owner);
  const bool open = client != nullptr && (client->session.in_multi || client->stream);
  return open ? UINT64_MAX : at;
}

// The client waits for what only its Redis can end.
bool Upstream::blocks() {
  return role_ == Role::kDedicated && state_ == State::kReady && !entries_.empty() &&
         entries_.front().topic == Topic::kUnblocked &&
         front_offset_ + entries_.front().size <= sent_total_;
}

// The far node hands over: all that it was sent is answered, and the rest goes to its successor.
// What blocks, or hears messages, stays for as long as there is something to hear.
void Upstream::leave_far() {
  if (role_ == Role::kDedicated && worker_.client(owner) != nullptr) {
    if (!std::exchange(told_parked_, true)) stream_->hold();
    return;
  }
  held_ = false;
  send_until_ = UINT64_MAX;
  lost("its node hands over", true);
}

void Upstream::break_off() {
  if (!held_ || send_until_ != UINT64_MAX) return;
  send_until_ = sent_total_;  // what has left in part is cut there: it did not run
}

void Upstream::release() {
  if (!std::exchange(held_, false)) return;
  send_until_ = UINT64_MAX;
  worker_.mark_dirty(*this);
}

bool Upstream::quiet() {
  if (state_ != State::kReady) return true;
  if (held_ && send_until_ == UINT64_MAX) return false;
  if (entries_.empty()) return true;
  // What is held waits for an answer that has not even been asked for again.
  const bool asks = entries_.front().topic == Topic::kQuorum && !held_replies_.empty();
  if (asks && front_offset_ < send_until_) return false;
  if (front_offset_ >= std::min(sent_total_, send_until_)) return true;
  return entries_.front().topic == Topic::kUnblocked || entries_.front().topic == Topic::kSubscribe;
}

void Upstream::on_tick(uint64_t now_ms) {
  if (state_ == State::kClosed) return;
  if (role_ == Role::kReplica) {
    if (retired_ && forsaken()) return begin_close();
    // (Where the timer runs, it does, and knows whether the worker itself stood still.)
    if (!worker_.replica().awake()) tend_replica();
    return;
  }
  if (awaits_lease_ && worker_.leads()) {
    awaits_lease_ = false;
    update_poll();
    worker_.mark_dirty(*this);
  }
  if (held_ && now_ms - held_since_ms_ >= kStragglersMsMax) break_off();
  // The hand-over that it waits for has been given up, or its epoch would be over by now.
  if (held_ && stream_ != nullptr && !blocks() && now_ms - held_since_ms_ > kHandOverMsMax) {
    release();
    return lost("its node did not hand over");
  }
  if (retired_ && forsaken()) return begin_close();
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
      (!entries_.empty() || (role_ == Role::kAuth && !asleep_) ||
       (role_ < Role::kDedicated && identity_->clients != 0))) {
    connect();
  }
}

void Upstream::rest_if_unused(uint64_t now_ms) {
  const bool unused = state_ == State::kReady && entries_.empty() && waiting.empty() && !held_ &&
                      role_ != Role::kDedicated && now_ms - heard_ms_ > kSparingIdleMsMax;
  if (!unused) return;
  if (role_ != Role::kAuth) {
    // (Its next connection may be to another process.)
    if (role_ == Role::kReplica) worker_.replica().on_lost(seat_, false);
    return begin_close();
  }
  close_socket();
  state_ = State::kIdle;
  asleep_ = true;
}

void Upstream::begin_close() {
  if (state_ == State::kClosed) return;
  drop_tags();
  close_socket();
  state_ = State::kClosed;
  tell_ready({});
  worker_.resume_all(waiting);
  worker_.bury(*this);
}

void Upstream::close_socket() {
  if (poll_ != nullptr) {
    uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(poll_, nullptr)),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
  }
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  if (stream_ != nullptr) std::exchange(stream_, nullptr)->close();
  want_write_ = paused_ = awaits_lease_ = parked_ = told_parked_ = false;
  poll_events_ = 0;
  proof_.reset();
  cursor_ = ReplyCursor();
  redis_client_id_ = 0;
  name.clear();
}

void Upstream::pause_reading(bool paused) {
  if (paused_ == paused || (poll_ == nullptr && stream_ == nullptr)) return;
  paused_ = paused;
  if (stream_ != nullptr) return stream_->pause_reading(paused);
  update_poll();
}

void Upstream::update_poll() {
  const bool reads = !paused_ && !awaits_lease_;
  const int events = (reads ? UV_READABLE : 0) | (want_write_ ? UV_WRITABLE : 0);
  if (poll_ == nullptr || events == poll_events_) return;
  poll_events_ = events;
  if (events == 0) {
    uv_poll_stop(poll_);
  } else {
    uv_poll_start(poll_, events, on_poll);
  }
}

}  // namespace azimuth
