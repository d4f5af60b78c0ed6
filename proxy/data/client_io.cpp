// The worker's side of client sockets: accept, read, frame, write, cut.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "proxy/control/log.h"
#include "proxy/data/dispatch.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr int kIovecsMax = 64;

// As far as its last command tells.
bool writes(const Client& client) {
  return client.last_command >= kCommandCount || is_slowed(&all_commands()[client.last_command]);
}

}  // namespace

bool Client::pinned() const { return holds_state() || ending != 0; }

bool Client::holds_state() const {
  return session.in_multi || session.watching || session.subscribed || session.monitoring ||
         session.tracking || opaque || keep_dedicated;
}

// --- accepting ---------------------------------------------------------------------------------

void Worker::on_accept(Listener& listener) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    const int fd = accept_from(listener.fd);
    if (fd < 0) {
      if (fd == -EAGAIN || fd == -EWOULDBLOCK) return;
      if (fd == -EINTR || fd == -ECONNABORTED) continue;
      log_warning("accept_failed", {{"reason", std::strerror(-fd)}});
      uv_poll_stop(listener.poll);  // out of files: on_tick tries again, instead of a busy loop
      return;
    }
    admit(fd, listener);
  }
}

void Worker::admit(int fd, const Listener& listener) {
  if (draining_ ||
      process_.clients.load(std::memory_order_relaxed) >= settings_->limits.clients_max) {
    constexpr std::string_view kFull = "-ERR max number of clients reached\r\n";
    [[maybe_unused]] const ssize_t n = ::send(fd, kFull.data(), kFull.size(), MSG_NOSIGNAL);
    ::close(fd);
    metrics_.count_cut(draining_ ? CutReason::kDrain : CutReason::kTooManyClients);
    return;
  }
  tune(fd, settings_->limits.tcp_keepalive_s);
  if (free_clients_.empty()) {
    const auto first = static_cast<uint32_t>(chunks_.size() * kChunkClients);
    chunks_.push_back(std::make_unique<Client[]>(kChunkClients));
    for (size_t i = kChunkClients; i-- > 0;)
      free_clients_.push_back(first + static_cast<uint32_t>(i));
  }
  const uint32_t index = free_clients_.back();
  free_clients_.pop_back();
  Client& client = chunks_[index / kChunkClients][index % kChunkClients];
  client.worker = this;
  client.self.index = index;
  client.fd = fd;
  client.id = process_.next_client_id.fetch_add(1, std::memory_order_relaxed);
  client.created_s = client.active_s = static_cast<uint32_t>(now_ms() / 1000);
  client.listener = static_cast<uint8_t>(listener.settings_index);
  adopt_listener(client);
  client.sightings = replica_.generation();
  client.session.authenticated = default_user_open_;
  adopt_identity(client, *default_identity_);
  client.poll.data = &client;
  uv_poll_init(&loop_, &client.poll, fd);
  client.reading = true;
  update_poll(client);
  ++clients_;
  process_.clients.fetch_add(1, std::memory_order_relaxed);
  metrics_.connections_accepted.add();
  metrics_.connections_current.set(clients_);
  if (sparing()) learn_login_rule(client);
}

void Worker::adopt_listener(Client& client) {
  const ListenSettings& endpoint = settings_->listen[client.listener];
  client.session.consistency = endpoint.consistency;
  client.session.staleness_bound = endpoint.staleness_ms;
  client.session.bound_in_writes = false;
  client.session.durability = endpoint.durability;
  client.session.scope = session_scope(*settings_, endpoint);
}

// --- reading -----------------------------------------------------------------------------------

void Worker::on_client_poll(uv_poll_t* handle, int status, int events) {
  auto& client = *static_cast<Client*>(handle->data);
  Worker& worker = *client.worker;
  if (client.closing) return;
  if (status < 0) return worker.cut(client, CutReason::kReset);
  if ((events & UV_DISCONNECT) != 0) return worker.on_client_eof(client);
  if ((events & UV_WRITABLE) != 0) {
    client.want_write = false;
    worker.flush_client(client);
    if (client.closing) return;
    worker.update_poll(client);
  }
  if ((events & UV_READABLE) != 0) worker.on_client_readable(client);
}

void Worker::on_client_readable(Client& client) {
  if (client.wait != Wait::kNone || client.close_after_flush || client.closing) {
    // It has sent more while it waits; the kernel keeps that until it may go on.
    client.reading = false;
    return update_poll(client);
  }
  if (client.stream && splice_stream(client)) return;
  // What has to wait is kept: little is enough, the rest may stay where it is.
  const bool will_wait = crowded_ || (pace_.on() && writes(client));
  const bool head =
      (client.bulky || will_wait) && (!client.stream || client.stream->cursor.body_left() == 0);
  client.bulky = client.bulky && !head;
  const ReceiveSpace space = receive_space();
  const ssize_t n = receive(client, space.data, head ? kSmallReceiveBytes : space.size);
  if (n <= 0) {
    if (n == 0) return on_client_eof(client);
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return;
    return cut(client, CutReason::kReset);
  }
  client.paced_bytes = 0;
  received(static_cast<size_t>(n));
  on_client_bytes(client, space.block, space.data, space.data + n);
  if (head && client.stream && client.wait == Wait::kNone) splice_stream(client);
}

// As recv().
ssize_t Worker::receive(Client& client, char* to, size_t most) {
  const ssize_t n = ::recv(client.fd, to, most, 0);
  if (n > 0) {
    metrics_.client_bytes_in.add(static_cast<uint64_t>(n));
    client.active_s = static_cast<uint32_t>(now_ms() / 1000);
  }
  return n;
}

// Its delay is over: what it has sent meanwhile goes along, up to what may go now.
void Worker::read_along(Client& client) {
  Input* const input = client.input.get();
  // (A large one that is to stream has been looked at, and is read when it does.)
  if (input == nullptr || input->scanned || client.eof) return;
  if (input->bytes.size() >= kPacedBytesMax) return;
  const ReceiveSpace space = receive_space();
  const size_t room = std::min(space.size, kPacedBytesMax - input->bytes.size());
  const ssize_t n = receive(client, space.data, room);
  if (n > 0) input->bytes.append(space.data, static_cast<size_t>(n));
  // Whatever else it is, the socket says it again.
}

void Worker::on_client_bytes(Client& client, const BlockRef& block, const char* p,
                             const char* end) {
  if (client.stream) return stream_readable(client, block, p, end);
  if (client.input) p = finish_partial(client, p, end);
  if (client.closing || p == end) return;
  if (!client.input) p = process_requests(client, block, p, end);
  if (client.closing || p == end) return;
  keep_input(client, block, p, end);
}

// The rest of a request whose beginning waits in `input`. What follows it is read from the block.
const char* Worker::finish_partial(Client& client, const char* p, const char* end) {
  // Taken out: what a request does may end the client, and must not pull its bytes away.
  std::unique_ptr<Input> input = std::move(client.input);
  const auto fed = input->cursor.feed(p, static_cast<size_t>(end - p), client.limits());
  input->bytes.append(p, fed.consumed);
  p += fed.consumed;
  if (fed.status == FrameStatus::kNeedMore) {
    client.input = std::move(input);
    stream_input(client);
    return p;
  }
  dispatch_input(client, std::move(input));
  if (client.closing || !client.input) return client.closing ? end : p;
  client.input->bytes.append(p, static_cast<size_t>(end - p));
  return end;
}

// Dispatches what is in `input` and gives the client back what is left of it.
void Worker::dispatch_input(Client& client, std::unique_ptr<Input> input) {
  const char* data = input->bytes.data();
  const char* const end = data + input->bytes.size();
  const BlockRef none;
  const char* const stopped = process_requests(client, none, data + input->offset, end);
  if (client.closing || stopped == end) return;
  input->offset = static_cast<size_t>(stopped - data);
  input->scanned = false;
  if (input->offset >= kSmallReceiveBytes && input->offset * 2 >= input->bytes.size()) {
    // What is left may wait for long: it keeps no more room than it needs.
    input->bytes = std::string(input->bytes, input->offset);
    input->offset = 0;
  }
  client.input = std::move(input);
}

// The plain commands that follow one just forwarded: they go where it went, in one piece. Stops in
// front of whatever needs a closer look.
const char* Worker::forward_run(Client& client, const BlockRef& block, const char* p,
                                const char* end) {
  Upstream& upstream = *client.upstream;
  if (client.inflight == 0 || !reply_wanted(client.session) || client.session.in_multi ||
      upstream.retired() || upstream.failing_fast() || upstream.full()) {
    return p;
  }
  if (tags() && !carry_floor(client)) [[unlikely]]
    return p;  // it has to be told
  // There it is for each to say whether a quorum is awaited for it.
  if (upstream.role() == Role::kDedicated && wants_quorum(client)) return p;
  const bool replica = upstream.role() == Role::kReplica;
  const bool reads_only = upstream.role() == Role::kReads || replica;
  const bool quorum = upstream.role() == Role::kQuorum;
  const bool strong = quorum && is_strong(client);
  const CommandRoute route = reads_only                           ? CommandRoute::kReads
                             : upstream.role() < Role::kDedicated ? CommandRoute::kWrites
                                                                  : CommandRoute::kDedicated;
  const bool paced = pace_.on();
  const char* const begin = p;
  const uint32_t inflight_before = client.inflight;
  Entry entry;
  entry.client = client.self;
  entry.start_us = now_us();
  ProtocolError error;
  while (p != end && client.inflight < kClientInflightMax) {
    if (frame_request(p, end, kAuthenticatedLimits, frame_, error) != FrameStatus::kComplete ||
        frame_.inlined) {
      break;
    }
    const CommandRow* row = find_command(frame_.args[0]);
    if (row == nullptr || row->handling != Handling::kForward || row->has_subcommands ||
        (reads_only && plain_roles_[row->id] != Role::kReads) ||
        (replica && (row->place != Place::kAnywhere || !upstream.can_retain(frame_.size))) ||
        (quorum && !strong && plain_roles_[row->id] == Role::kReads)) {
      break;
    }
    if (paced && is_slowed(row)) {
      if (client.paced_bytes < frame_.size) break;
      pace_.spend(client, frame_.size);
    }
    entry.size = frame_.size;
    entry.command = row->id;
    entry.repeatable = repeatable(*row);
    entry.write = (row->flags & (kWrite | kMayReplicate)) != 0;
    entry.strong = strong && !entry.write;
    upstream.add_to_run(entry);
    metrics_.count_command(row->id, route);
    ++client.inflight;
    p += frame_.size;
  }
  if (p != begin) {
    if (replica) {
      const Reason reason =
          replica_.place(upstream.seat()).near ? Reason::kReadLocal : Reason::kReadRegion;
      metrics_.count_read(reason, client.inflight - inflight_before);
    }
    client.last_command = entry.command;
    upstream.end_run(block, {begin, static_cast<size_t>(p - begin)});
  }
  return p;
}

const char* Worker::process_requests(Client& client, const BlockRef& block, const char* p,
                                     const char* end) {
  while (p != end && client.wait == Wait::kNone && !client.closing && !client.close_after_flush &&
         !client.stream) {
    if (client.output_size() > kClientOutputHighBytes) {
      client.wait = Wait::kOutput;
      return p;
    }
    ProtocolError error;
    const FrameStatus status = frame_request(p, end, client.limits(), frame_, error);
    switch (status) {
      case FrameStatus::kComplete: {
        const size_t size = frame_.size;
        const Step step =
            frame_.inlined ? dispatch_inline(client)
                           : dispatch(*this, client, {frame_, {p, size}, block, p + size != end});
        if (step == Step::kWait) return p;
        p += size;
        if (client.wait != Wait::kAnswer && client.wait != Wait::kBlocked)
          end_request(client.session);
        if (p != end && client.inflight != 0 && client.wait == Wait::kNone) {
          p = forward_run(client, block, p, end);
        }
        break;
      }
      case FrameStatus::kEmpty:
        p += frame_.size;
        end_request(client.session);
        break;
      case FrameStatus::kNeedMore:
        return p;
      case FrameStatus::kError:
        if (!drained_or_wait(client)) return p;  // the earlier replies come first
        protocol_error(client, protocol_error_reply(error));
        return end;
    }
  }
  // What follows QUIT, or an error, is not read.
  return client.close_after_flush ? end : p;
}

// An inline command goes on as RESP: on a shared connection there must be one reading of its end.
Step Worker::dispatch_inline(Client& client) {
  const std::string encoded = encode_request(frame_.inline_args.args);
  const BlockRef none;
  return dispatch(*this, client, {frame_, encoded, none, true});
}

// Goes on with what waits in `input`, then with the socket.
void Worker::go_on(Client& client) {
  client.resuming = false;
  if (client.closing || client.wait != Wait::kNone) return;
  if (client.paced_bytes == kPacedBytesMax && !crowded_) read_along(client);
  if (client.input && !client.stream) {
    if (!client.input->scanned) dispatch_input(client, std::move(client.input));
    if (client.closing) return;
    if (client.input && client.wait == Wait::kNone) {
      scan_partial(client);
    }
  }
  if (client.closing || client.close_after_flush) return;
  // It may have left while it was not read: what it blocks on now must not outlive it.
  if (client.wait == Wait::kBlocked && !client.reading) update_poll(client);
  if (client.wait != Wait::kNone) return;
  if (client.eof) {
    if (client.inflight == 0) finish_soon(client);
    return;
  }
  if (!client.reading) {
    client.reading = true;
    update_poll(client);
  }
}

void Worker::on_client_eof(Client& client) {
  // A client that is gone must not keep what it blocks on; one that has merely finished sending
  // (nc, printf) still gets its replies.
  const bool owed = client.inflight != 0 || client.output_size() != 0 ||
                    client.wait != Wait::kNone || client.resuming;
  if (!owed || client.wait == Wait::kBlocked || client.opaque || client.stream || client.eof) {
    return cut(client, CutReason::kClosed);
  }
  client.eof = true;
  client.reading = false;
  if (client.inflight == 0 && client.wait == Wait::kNone && !client.resuming) {
    client.close_after_flush = true;  // only what is written already is owed
  }
  update_poll(client);
}

void Worker::protocol_error(Client& client, std::string_view text) {
  metrics_.count_error(ErrorKind::kProtocol);
  answer(*this, client, text);
  client.input.reset();
  client.close_after_flush = true;
  mark_dirty(client);
}

// --- writing -----------------------------------------------------------------------------------

void Worker::deliver(Client& client, const BlockRef& block, std::string_view bytes) {
  if (client.span_size != 0 && client.span + client.span_size == bytes.data()) {
    client.span_size += static_cast<uint32_t>(bytes.size());
    return;
  }
  deliver_apart(client, block, bytes);
}

void Worker::deliver_apart(Client& client, const BlockRef& block, std::string_view bytes) {
  if (client.closing || bytes.empty()) return;
  if (client.span_size != 0) {
    if (!client.output) client.output = std::make_unique<OutQueue>();
    client.output->append_shared(span_block_, {client.span, client.span_size});
  }
  client.span = bytes.data();
  client.span_size = static_cast<uint32_t>(bytes.size());
  if (span_block_.get() != block.get()) span_block_ = block;
  mark_dirty(client);
}

void Worker::delivered(Client& client, const SplicePipe::Moved& moved) {
  metrics_.client_bytes_out.add(moved.sent);
  if (moved.rest) deliver_apart(client, moved.rest, moved.rest_bytes());
  mark_dirty(client);
}

void Worker::reply(Client& client, std::string_view text) {
  if (client.closing) return;
  if (!client.output) client.output = std::make_unique<OutQueue>();
  if (client.span_size != 0) {
    client.output->append_shared(span_block_, {client.span, client.span_size});
    client.span_size = 0;
  }
  client.output->append(text);
  mark_dirty(client);
}

void Worker::flush_clients() {
  // By index: a flush may cut a client, never add one.
  for (size_t i = 0; i < dirty_clients_.size(); ++i) {
    const uint32_t index = dirty_clients_[i];
    Client& client = chunks_[index / kChunkClients][index % kChunkClients];
    client.dirty = false;
    if (!client.closing && client.fd >= 0) flush_client(client);
  }
  dirty_clients_.clear();
  span_block_ = BlockRef();  // so that the receive block is used again from its start
}

void Worker::flush_client(Client& client) {
  const bool backlog = client.output && !client.output->empty();
  if (!backlog && !client.want_write && client.span_size != 0) {
    const ssize_t n = ::send(client.fd, client.span, client.span_size, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      return cut(client, CutReason::kReset);
    }
    const size_t sent = n > 0 ? static_cast<size_t>(n) : 0;
    metrics_.client_bytes_out.add(sent);
    client.span += sent;
    client.span_size -= static_cast<uint32_t>(sent);
  }
  if (client.span_size != 0) {
    if (!client.output) client.output = std::make_unique<OutQueue>();
    client.output->append_shared(span_block_, {client.span, client.span_size});
    client.span_size = 0;
    if (!backlog) client.want_write = true;
  }
  while (client.output && !client.output->empty() && !client.want_write) {
    iovec pieces[kIovecsMax];
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = static_cast<size_t>(client.output->fill(pieces, kIovecsMax));
    const ssize_t n = ::sendmsg(client.fd, &message, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return cut(client, CutReason::kReset);
      client.want_write = true;
      break;
    }
    metrics_.client_bytes_out.add(static_cast<uint64_t>(n));
    client.output->consume(static_cast<size_t>(n));
  }
  after_flush(client);
}

void Worker::after_flush(Client& client) {
  const size_t left = client.output ? client.output->size() : 0;
  unread_bytes_ += left - client.unread;
  client.unread = left;
  if (left == 0) {
    client.output.reset();
    if (client.close_after_flush && client.inflight == 0) return cut(client, CutReason::kClosed);
  } else {
    if (left > settings_->limits.client_output_bytes_max) {
      log_warning("client_cut", {{"reason", "output-limit"}, {"id", client.id}, {"bytes", left}});
      return cut(client, CutReason::kOutputLimit);
    }
    if (client.want_write) update_poll(client);
  }
  // Its own connection is read no faster than the client reads; a shared one, while it holds it up.
  if (client.dedicated != nullptr) {
    if (left > kClientOutputHighBytes) client.dedicated->pause_reading(true);
    if (left < kClientOutputLowBytes) client.dedicated->pause_reading(false);
  }
  if (client.inflight != 0 && client.upstream != client.dedicated) {
    client.upstream->check_front_reads();
  }
  if (client.wait == Wait::kOutput && left < kClientOutputLowBytes) resume(client);
}

bool Worker::absorbs(size_t unread) const {
  const auto& limits = settings_->limits;
  const uint64_t most = std::min<uint64_t>(kAbsorbedBytesMax,
                                           limits.buffered_bytes_max / process_.workers.size() / 2);
  return unread < limits.client_output_bytes_max / 2 && unread_bytes_ < most;
}

void Worker::update_poll(Client& client) {
  if (client.closing) return;
  int events = client.want_write ? UV_WRITABLE : 0;
  if (client.reading) events |= UV_READABLE;
  // While it blocks in Redis nothing is read from it, and yet its leaving must be noticed.
  if (!client.reading && client.wait == Wait::kBlocked) events |= UV_DISCONNECT;
  if (events == 0) {
    uv_poll_stop(&client.poll);
  } else {
    uv_poll_start(&client.poll, events, on_client_poll);
  }
}

// --- cutting -----------------------------------------------------------------------------------

void Worker::cut(Client& client, CutReason reason) {
  if (client.closing) return;
  client.closing = true;
  metrics_.count_cut(reason);
  log_debug("client_closed",
            {{"id", client.id}, {"reason", kCutReasonNames[static_cast<size_t>(reason)]}});
  ++client.self.generation;  // what is outstanding for it is nobody's now
  unread_bytes_ -= std::exchange(client.unread, 0);
  client.span_size = 0;
  client.output.reset();
  client.input.reset();
  if (Upstream* dedicated = std::exchange(client.dedicated, nullptr)) {
    dedicated->owner = ClientRef();
    // An unfinished request, an open transaction, a blocked command: Redis forgets it on close.
    dedicated->begin_close();
  }
  if (client.inflight != 0 && client.upstream != nullptr) {
    client.upstream->pause_reading(false);  // what it did not read is read for nobody now
  }
  client.stream.reset();
  if (client.identity != nullptr) --client.identity->clients;
  client.identity = nullptr;
  leave_scope(client);
  --clients_;
  process_.clients.fetch_sub(1, std::memory_order_relaxed);
  metrics_.connections_current.set(clients_);
  uv_close(reinterpret_cast<uv_handle_t*>(&client.poll), [](uv_handle_t* handle) {
    auto& closed = *static_cast<Client*>(handle->data);
    Worker& worker = *closed.worker;
    const ClientRef self = closed.self;
    closed = Client();
    closed.self = self;
    worker.free_clients_.push_back(self.index);
    if (worker.draining_) worker.finish_drain();
  });
  ::close(std::exchange(client.fd, -1));
}

}  // namespace azimuth
