#include "proxy/peer/relay.h"

#include <algorithm>
#include <utility>

#include "proxy/control/log.h"
#include "proxy/data/redis_proof.h"

namespace azimuth {
namespace {

constexpr std::uint64_t kFullToldEveryMs = 60'000;

}  // namespace

class Relays::Relay final : public Pipe {
 public:
  Relay(Relays& owner, Stream& stream)
      : Pipe(owner.loop_, owner.scratch_),
        kind(stream.kind()),
        epoch(stream.epoch()),
        node(stream.peer_node()),
        owner_(owner) {
    stream.set_user(*this);
    join(stream);
    if (kind != StreamKind::kTunnel) return;
    sync_ = std::make_unique<RelaySync>(++owner_.last_relay_, node, owner_.on_copy_);
    sync_->set_follows(epoch == owner_.fed_epoch_);
  }

  void begin(int fd) { attach(fd, true); }
  bool go_on() {
    const bool may = may_read();
    if (may) look_again();
    return may;
  }
  void hold() {
    if (stream() != nullptr) stream()->hold();
  }

  void on_stream_open() override {}
  void on_stream_hold() override {
    if (kind != StreamKind::kCommands || std::exchange(parked, true)) return;
    --owner_.commands_;
  }

  // Until PSYNC everything passes; that waits for the judgement, and for its turn.
  void on_stream_data(const BlockRef& block, std::string_view bytes) override {
    if (!sync_ || sync_->through()) return queue(block, bytes);
    queue_copy(sync_->on_replica(bytes));
    if (sync_->overflows()) return finish(StreamEnd::kRefused);
    if (!sync_->wants_to_ask()) return;
    flush();
    if (stream() == nullptr) return;
    // It does not wait for answers, and a question must not come between its words.
    if (midway()) return finish(StreamEnd::kRefused);
    ask(sync_->question());
  }
  bool is(std::uint64_t relay) const { return sync_ && sync_->id() == relay; }
  void ask_again() {
    if (!sync_ || !sync_->is_behind()) return;
    if (!sync_->ask_again()) return finish(StreamEnd::kRefused);
    if (stream() != nullptr) ask(sync_->question());
  }
  void let_copy() {
    if (!sync_->waits()) return;
    queue_copy(sync_->go());
    let_pass();
  }
  void tell(const SyncNote& note) {
    if (stream() == nullptr) return;
    stream()->note(encode(note));
    if (note.kind != SyncNote::Kind::kWaits || !sync_->waits()) return;
    const iovec line{const_cast<char*>("\n"), 1};
    stream()->send(&line, 1);
    ask(sync_->sign_of_life());
  }

  const StreamKind kind;
  const std::uint64_t epoch;
  const std::string node;
  bool dirty = false;
  bool parked = false;

 private:
  // A replica may read on while the lease is being renewed: what it gets is of its own epoch.
  bool may_write() override {
    if (kind == StreamKind::kReads) return owner_.reads_epoch_ == epoch;
    return kind == StreamKind::kTunnel || (!owner_.broken_off_ && owner_.lease_.holds(epoch));
  }
  // What is parked waits for the end of what blocks, which its Redis tells when it is demoted.
  bool may_read() override {
    return kind != StreamKind::kCommands || parked || owner_.lease_.holds(epoch);
  }
  void on_kept_back() override { owner_.kept_back_.push_back(this); }
  void on_connected() override {
    if (kind != StreamKind::kCommands || owner_.lease_.any_process()) return open();
    proof_ = std::make_unique<RedisProof>(owner_.username_, owner_.password_);
    ask(proof_->request());
  }
  void on_answer(std::string_view bytes) override {
    if (sync_) return on_history(bytes);
    const std::size_t used = proof_->feed(bytes.data(), bytes.size());
    if (proof_->state() == RedisProof::State::kAsked) return;
    const bool promoted = proof_->state() == RedisProof::State::kAnswered && used == bytes.size() &&
                          owner_.lease_.is_promoted(proof_->process());
    if (!promoted) return finish(StreamEnd::kRefused);
    proof_.reset();
    open();
    let_pass();
  }
  void on_history(std::string_view bytes) {
    switch (sync_->on_answer(bytes)) {
      case RelaySync::Answer::kMore:
        return;
      case RelaySync::Answer::kBad:
        return finish(StreamEnd::kRefused);
      case RelaySync::Answer::kGoes:
        if (stream() != nullptr) stream()->note(encode(sync_->note()));
        queue_copy(sync_->go());
        return let_pass();
      case RelaySync::Answer::kWaits:
      case RelaySync::Answer::kBehind:  // asked again by on_tick()
        return;
    }
  }
  void on_socket_bytes(std::string_view bytes) override {
    if (sync_) sync_->on_primary(uv_now(owner_.loop_), bytes);
  }
  void open() {
    if (stream() != nullptr) stream()->opened();
  }
  void on_queued() override {
    if (std::exchange(dirty, true)) return;
    owner_.dirty_.push_back(this);
  }
  void on_finished() override {
    if (sync_) sync_->on_end();
    owner_.bury(*this);
  }

  Relays& owner_;
  std::unique_ptr<RedisProof> proof_;
  std::unique_ptr<RelaySync> sync_;  // of a tunnel
};

Relays::Relays(uv_loop_t* loop, LinkMetrics& metrics, const Lease& lease, SocketAddress redis)
    : loop_(loop), metrics_(metrics), lease_(lease), redis_(redis), scratch_(kStreamTurnBytes) {}

Relays::~Relays() { close(); }

bool Relays::takes(const Stream& stream) {
  if (closed_ || redis_.size == 0) return false;
  // (However many sidecars there are, a replica finds its place.)
  const bool tunnel = stream.kind() == StreamKind::kTunnel;
  if (tunnel && is_removed(stream.peer_node())) return false;
  if (tunnel ? tunnels_ >= kMembersMax : is_full_for(stream.peer_node())) return false;
  if (stream.kind() == StreamKind::kReads) {
    return stream.epoch() != 0 && stream.epoch() == reads_epoch_;
  }
  if (lease_.holds(stream.epoch())) return stream.kind() == StreamKind::kTunnel || !holding_;
  if (stream.kind() != StreamKind::kTunnel || stream.epoch() == 0) return false;
  const bool follows = stream.epoch() == fed_epoch_ && stream.epoch() == reads_epoch_;
  return stream.epoch() == tunnel_epoch_ || follows;
}

// The last quarter is not for a node that has had one: whoever blocks on all that it can get leaves
// room for the others.
bool Relays::is_full_for(std::string_view node) {
  const std::size_t open = relays_.size() - tunnels_;
  if (open < most_ - most_ / 4) return false;
  std::size_t its = 0;
  for (const auto& [pointer, relay] : relays_) {
    its += relay->kind != StreamKind::kTunnel && relay->node == node;
  }
  if (open < most_ && its < most_ / 4) return false;
  const std::uint64_t now_ms = uv_now(loop_);
  if (full_told_ms_ == 0 || now_ms - full_told_ms_ >= kFullToldEveryMs) {
    full_told_ms_ = now_ms;
    log_warning("peer_connections_full",
                {{"node", std::string(node)},
                 {"has", static_cast<std::uint64_t>(its)},
                 {"open", static_cast<std::uint64_t>(open)},
                 {"advice", "raise limits.peer_connections_max, or block in fewer clients there"}});
  }
  return true;
}

void Relays::set_fed_epoch(std::uint64_t epoch) {
  const std::uint64_t before = std::exchange(fed_epoch_, epoch);
  if (before == epoch || before == 0) return;
  end([before](const Relay& relay) {
    return relay.kind == StreamKind::kTunnel && relay.epoch == before;
  });
}

void Relays::on_tick() {
  std::vector<Relay*> all;
  for (auto& [pointer, relay] : relays_) all.push_back(pointer);
  for (Relay* relay : all) relay->ask_again();
}

void Relays::on_stream_offered(Stream& stream) {
  const int fd = takes(stream) ? connect_to(redis_) : -1;
  if (fd < 0) {
    metrics_.relays_refused.add();
    return stream.end(StreamEnd::kRefused, 0);
  }
  auto relay = std::make_unique<Relay>(*this, stream);
  Relay& made = *relay;
  relays_.emplace(&made, std::move(relay));
  commands_ += made.kind == StreamKind::kCommands;
  tunnels_ += made.kind == StreamKind::kTunnel;
  metrics_.relays_opened.add();
  metrics_.relays.add(1);
  made.begin(fd);
}

bool Relays::is_removed(std::string_view node) const {
  return std::find(removed_.begin(), removed_.end(), node) != removed_.end();
}

void Relays::refuse_tunnels_of(const std::vector<std::string>& nodes) {
  if (nodes == removed_) return;
  removed_ = nodes;
  end([this](const Relay& relay) {
    return relay.kind == StreamKind::kTunnel && is_removed(relay.node);
  });
}

template <class Which>
void Relays::end(Which which) {
  std::vector<Relay*> ended;
  for (auto& [pointer, relay] : relays_) {
    if (which(*relay)) ended.push_back(pointer);
  }
  for (Relay* relay : ended) {
    metrics_.relays_refused.add();
    relay->finish(StreamEnd::kRefused);
  }
}

Relays::Relay* Relays::find(std::uint64_t relay) {
  for (auto& [pointer, each] : relays_) {
    if (each->is(relay)) return pointer;
  }
  return nullptr;
}

void Relays::let_copy(std::uint64_t relay) {
  if (Relay* waiting = find(relay)) waiting->let_copy();
}

void Relays::tell(std::uint64_t relay, const SyncNote& note) {
  if (Relay* told = find(relay)) told->tell(note);
}

void Relays::set_login(std::string_view username, std::string_view password) {
  username_ = username;
  password_ = password;
}

void Relays::set_reads_epoch(std::uint64_t epoch) {
  if (std::exchange(reads_epoch_, epoch) != epoch) refuse(StreamKind::kReads, UINT64_MAX);
}

void Relays::hold(bool on) {
  if (holding_ == on) return;
  holding_ = on;
  broken_off_ = false;
  if (!on) return;
  for (auto& [pointer, relay] : relays_) {
    if (relay->kind == StreamKind::kCommands) relay->hold();
  }
}

void Relays::refuse(StreamKind kind, std::uint64_t epoch) {
  end([&](const Relay& relay) {
    const bool fed = kind == StreamKind::kTunnel && relay.epoch == fed_epoch_;
    const bool stays = (relay.parked || fed) && !closed_;
    return relay.kind == kind && relay.epoch <= epoch && !stays;
  });
}

void Relays::close() {
  closed_ = true;
  refuse(StreamKind::kCommands, UINT64_MAX);
  refuse(StreamKind::kTunnel, UINT64_MAX);
  refuse(StreamKind::kReads, UINT64_MAX);
}

void Relays::flush() {
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    dirty_[i]->dirty = false;
    dirty_[i]->flush();
  }
  dirty_.clear();
  std::erase_if(kept_back_, [](Relay* relay) { return relay->go_on(); });
  buried_.clear();
}

// A relay may be inside one of its own calls, and in dirty_.
void Relays::bury(Relay& relay) {
  const auto at = relays_.find(&relay);
  commands_ -= relay.kind == StreamKind::kCommands && !relay.parked;
  tunnels_ -= relay.kind == StreamKind::kTunnel;
  metrics_.relays.add(-1);
  std::erase(kept_back_, &relay);
  buried_.push_back(std::move(at->second));
  relays_.erase(at);
}

}  // namespace azimuth
