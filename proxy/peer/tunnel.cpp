#include "proxy/peer/tunnel.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "health/sync_gate.h"
#include "proxy/peer/relay_pipe.h"

namespace azimuth {
namespace {

constexpr unsigned kNotesPerSecondMax = 20;

}  // namespace

// One connection of the local Redis.
class TunnelListener::Tunnel final : public Pipe {
 public:
  Tunnel(TunnelListener& port, int fd) : Pipe(port.links_.loop(), port.scratch_), port_(port) {
    sync_.connection = port_.epoch_ << 24U | (++port_.accepted_ & 0xffffffU);
    attach(fd, false);
  }

  bool begun() const { return gate_ != nullptr; }
  void begin() {
    gate_ = std::make_unique<SyncGate>(port_.replid_, port_.announced_);
    sync_.source = port_.node_;
    join(*port_.links_.open(port_.source_, port_.node_, StreamKind::kTunnel, port_.epoch_, *this));
  }

  void on_stream_open() override {}
  void on_stream_hold() override {}

  void on_stream_data(const BlockRef& block, std::string_view bytes) override {
    const std::size_t n = gate_->on_primary(bytes);
    queue(block, bytes.substr(0, n));
    watch(bytes.substr(0, n));
    if (gate_->verdict() != SyncVerdict::kRefused) return;
    const std::string why = gate_->why();
    sync_.why = why;
    tell(SyncNews::Kind::kRefused);
    finish(StreamEnd::kRefused);
    port_.links_.metrics().tunnels_refused.add();
    if (port_.hooks_.on_refused) port_.hooks_.on_refused(port_.epoch_, why);
  }

  void on_stream_note(std::string_view payload) override {
    const std::optional<SyncNote> note = decode_sync_note(payload);
    if (!note || !note_in_time()) return;
    sync_.note = *note;
    if (note->choice.how == SyncHow::kPartial) missing_bytes_ = note->choice.missing_bytes;
    tell(SyncNews::Kind::kNote);
  }

 private:
  bool may_write() override { return !port_.cut_; }
  bool may_read() override { return true; }
  void on_socket_bytes(std::string_view bytes) override {
    if (gate_->verdict() != SyncVerdict::kHandshake) return;
    gate_->on_replica(bytes);
    if (asks_.asked()) return;
    asks_.feed(bytes);
    if (!asks_.asked()) return;
    sync_.ask = asks_.ask();
    tell(SyncNews::Kind::kAsked);
  }
  // A peer does not fill our mailboxes: a note is sent once in a second or so.
  bool note_in_time() {
    const std::uint64_t second = port_.links_.now_ms() / 1000;
    if (std::exchange(note_second_, second) != second) notes_ = 0;
    return ++notes_ <= kNotesPerSecondMax;
  }
  // What has passed the gate, until the replica has caught up.
  void watch(std::string_view bytes) {
    if (watched_ || gate_->verdict() == SyncVerdict::kRefused) return;
    const SyncMeter::Phase before = meter_.phase();
    meter_.feed(bytes);
    if (meter_.phase() != before) return on_phase(before);
    if (before == SyncMeter::Phase::kHandshake || before == SyncMeter::Phase::kFull) return;
    watched_ = before == SyncMeter::Phase::kPartial && meter_.bytes() >= missing_bytes_;
    const std::uint64_t now_ms = port_.links_.now_ms();
    if (!watched_ && now_ms - told_ms_ < kSyncNewsEveryMs) return;
    told_ms_ = now_ms;
    tell(SyncNews::Kind::kBytes);
  }
  void on_phase(SyncMeter::Phase before) {
    using Phase = SyncMeter::Phase;
    const Phase now = meter_.phase();
    if (now == Phase::kPartial) tell(SyncNews::Kind::kPartial);
    if (before == Phase::kHandshake && now > Phase::kPartial) tell(SyncNews::Kind::kFull);
    tell(SyncNews::Kind::kBytes);
    if (now == Phase::kCopied) tell(SyncNews::Kind::kCopied);
    watched_ =
        now == Phase::kCopied || (now == Phase::kPartial && meter_.bytes() >= missing_bytes_);
  }
  void tell(SyncNews::Kind kind) {
    if (!port_.hooks_.on_sync) return;
    sync_.kind = kind;
    sync_.replid = meter_.replid();
    sync_.offset = meter_.offset();
    sync_.bytes = meter_.bytes();
    sync_.total_bytes = meter_.total();
    port_.hooks_.on_sync(sync_);
  }
  void on_queued() override { flush(); }
  void on_finished() override {
    tell(SyncNews::Kind::kEnded);
    port_.bury(*this);
  }

  TunnelListener& port_;
  std::unique_ptr<SyncGate> gate_;
  SyncAskReader asks_;
  SyncMeter meter_;
  SyncNews sync_;
  std::uint64_t missing_bytes_ = 0;
  std::uint64_t told_ms_ = 0;
  std::uint64_t note_second_ = 0;
  unsigned notes_ = 0;
  bool watched_ = false;  // to its end
};

TunnelListener::TunnelListener(Links& links, std::uint64_t epoch, std::string announced,
                               Hooks hooks)
    : links_(links),
      epoch_(epoch),
      announced_(std::move(announced)),
      hooks_(std::move(hooks)),
      scratch_(kStreamTurnBytes) {}

TunnelListener::~TunnelListener() { cut(); }

Result<std::uint16_t> TunnelListener::open() {
  const SocketAddress any = *numeric_address(tcp_endpoint("127.0.0.1", 0));
  const int fd = listen_on(any, 0);
  if (fd < 0) {
    return make_error(ErrorCode::kSystem, Fault::kSelf,
                      std::string("a tunnel's port on 127.0.0.1: ") + std::strerror(-fd));
  }
  fd_ = fd;
  port_ = parse_endpoint(local_text(fd_))->port;
  poll_ = new uv_poll_t;
  poll_->data = this;
  uv_poll_init(links_.loop(), poll_, fd_);
  uv_poll_start(poll_, UV_READABLE, on_accept);
  return port_;
}

void TunnelListener::on_accept(uv_poll_t* handle, int, int) {
  auto* self = static_cast<TunnelListener*>(handle->data);
  const int fd = accept_from(self->fd_);
  if (fd < 0) return;
  // Redis has one; an older one that is still here is one that Redis has given up.
  self->buried_.clear();
  if (self->tunnels_.size() >= kTunnelConnectionsMax) {
    self->tunnels_.front()->finish(StreamEnd::kDone);
  }
  self->tunnels_.push_back(std::make_unique<Tunnel>(*self, fd));
  if (self->source_.size != 0) self->tunnels_.back()->begin();
}

void TunnelListener::set_source(const SocketAddress& address, std::string_view node,
                                std::string_view replid) {
  if (cut_) return;
  const bool another = !node_.empty() && node != node_;
  source_ = address;
  node_ = node;
  replid_ = replid;
  if (another) end_all();
  for (auto& tunnel : tunnels_) {
    if (!tunnel->begun()) tunnel->begin();
  }
}

void TunnelListener::end_all() {
  while (!tunnels_.empty()) tunnels_.front()->finish(StreamEnd::kDone);
}

void TunnelListener::cut() {
  if (cut_) return;
  cut_ = true;
  if (poll_ != nullptr) {
    uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(poll_, nullptr)),
             [](uv_handle_t* closed) { delete reinterpret_cast<uv_poll_t*>(closed); });
  }
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  end_all();
}

void TunnelListener::bury(Tunnel& tunnel) {
  const auto at = std::find_if(tunnels_.begin(), tunnels_.end(),
                               [&](const auto& each) { return each.get() == &tunnel; });
  buried_.push_back(std::move(*at));
  tunnels_.erase(at);
}

}  // namespace azimuth
