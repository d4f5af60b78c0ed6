#include "proxy/peer/links.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proxy/control/log.h"

namespace azimuth {
namespace {

constexpr std::uint64_t kTickMs = 100;
constexpr std::size_t kAcceptsPerTurnMax = 64;

template <class Handle>
void close_and_free(Handle*& handle) {
  if (handle == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(handle, nullptr)),
           [](uv_handle_t* closed) { delete reinterpret_cast<Handle*>(closed); });
}

std::string_view fault_name(LinkFault fault) {
  switch (fault) {
    case LinkFault::kConnect:
      return "connect";
    case LinkFault::kTimeout:
      return "timeout";
    case LinkFault::kUnsafe:
      return "unsafe";
    case LinkFault::kForeign:
      return "foreign";
    case LinkFault::kProtocol:
      return "protocol";
    case LinkFault::kCorrupt:
      return "corrupt";
    case LinkFault::kClosed:
      return "closed";
    case LinkFault::kIdle:
      return "idle";
    case LinkFault::kCrowded:
      return "crowded";
  }
  return "?";
}

}  // namespace

Links::Links(uv_loop_t* loop, LinkSettings settings, StreamHost* host, LinkMetrics& metrics,
             std::function<std::uint64_t()> random)
    : loop_(loop),
      settings_(std::move(settings)),
      host_(host),
      metrics_(metrics),
      pack_(settings_.pack_memory_bytes_max),
      random_(std::move(random)),
      channels_(make_channels()),
      tick_(new uv_timer_t),
      soon_(new uv_timer_t),
      wake_(new uv_timer_t),
      wire_(kReceiveBlockBytes) {
  uv_timer_init(loop_, tick_);
  uv_timer_init(loop_, soon_);
  uv_timer_init(loop_, wake_);
  tick_->data = soon_->data = wake_->data = this;
}

Links::~Links() { close(); }

void Links::close() {
  if (closed_) return;
  closed_ = true;
  stop_listening();
  for (Link* link : all_links()) link->die(LinkFault::kClosed, "this node stops");
  on_soon();
  close_and_free(tick_);
  close_and_free(soon_);
  close_and_free(wake_);
}

// --- links to others ---------------------------------------------------------------------------

Stream* Links::open(const SocketAddress& address, std::string_view node, StreamKind kind,
                    std::uint64_t epoch, StreamUser& user) {
  if (closed_) return refused(kind, epoch, user);
  const std::string name = address_text(address, false);
  Peer& peer = peers_[name];
  if (peer.link != nullptr && peer.link->streams() >= kStreamsPerLinkMax)
    return refused(kind, epoch, user);
  if (peer.link == nullptr) {
    if (now_ms() < peer.retry_at_ms) return refused(kind, epoch, user);
    const int fd = address.size == 0 ? -EHOSTUNREACH : connect_to(address);
    if (fd < 0) {
      note_failure(peer, name, std::strerror(-fd));
      return refused(kind, epoch, user);
    }
    peer.link = std::make_unique<Link>(*this, name, true);
    peer.link->start(fd, now_ms());
    want_tick();
  }
  return &peer.link->open(node, kind, epoch, user);
}

// A stream that never was; its user hears so a moment later.
Stream* Links::refused(StreamKind kind, std::uint64_t epoch, StreamUser& user) {
  std::unique_ptr<Stream> stream(new Stream(kind, epoch, user));
  Stream* const out = stream.get();
  end_later(std::move(stream), StreamEnd::kRefused, 0);
  return out;
}

void Links::note_failure(Peer& peer, const std::string& name, std::string_view why) {
  metrics_.links_failed.add();
  peer.retry_at_ms = now_ms() + static_cast<std::uint64_t>(peer.backoff.next(random_()).ms);
  log_event(LogLevel::kDebug, "link_failed", {{"peer", name}, {"reason", why}});
}

void Links::on_link_up(Link& link) {
  metrics_.links.add(1);
  (link.opener() ? metrics_.links_made : metrics_.links_accepted).add();
  if (link.opener()) {
    const auto at = peers_.find(link.name());
    if (at != peers_.end()) at->second.backoff.reset();
  }
  log_event(LogLevel::kDebug, "link_up",
            {{"peer", link.name()},
             {"node", link.peer().node},
             {"made", link.opener()},
             {"packed", link.packs()}});
}

void Links::on_link_dead(Link& link, bool was_up, LinkFault fault, std::string_view why) {
  count_fault(fault, was_up);
  const bool quiet = fault == LinkFault::kIdle || (was_up && fault == LinkFault::kClosed);
  // A stranger at the door is news, once in a while; a peer that is away is told of by those who
  // watch it.
  const bool wrong = fault == LinkFault::kUnsafe || fault == LinkFault::kForeign ||
                     fault == LinkFault::kProtocol || fault == LinkFault::kCorrupt ||
                     fault == LinkFault::kCrowded;
  const bool old = wrong && !is_news(link, why);
  log_event(quiet || old ? LogLevel::kDebug
            : wrong      ? LogLevel::kWarn
                         : LogLevel::kInfo,
            "link_lost",
            {{"peer", link.name()},
             {"node", link.peer().node},
             {"fault", fault_name(fault)},
             {"reason", why}});
  if (link.opener()) {
    const auto at = peers_.find(link.name());
    AZIMUTH_CHECK(at != peers_.end() && at->second.link.get() == &link);
    if (!was_up) note_failure(at->second, link.name(), why);
    buried_links_.push_back(std::move(at->second.link));
    pace_lost_ = pace_lost_ || link.pace_us() != 0;
  } else {
    const auto at = std::find_if(accepted_.begin(), accepted_.end(),
                                 [&](const auto& each) { return each.get() == &link; });
    AZIMUTH_CHECK(at != accepted_.end());
    buried_links_.push_back(std::move(*at));
    accepted_.erase(at);
  }
  soon();
}

// The same of the same peer again is none, for a minute: who is refused tries ten times a second.
bool Links::is_news(const Link& link, std::string_view why) {
  // Whoever connects has another port each time.
  const std::size_t host_end = link.opener() ? std::string::npos : link.name().rfind(':');
  std::string what = link.name().substr(0, host_end);
  what.append(" ").append(why);
  const std::uint64_t now = now_ms();
  const auto at = warned_.find(what);
  if (at != warned_.end() && now - at->second < kLinkWarningMs) return false;
  if (warned_.size() >= kLinkWarningsMax) warned_.clear();
  warned_.insert_or_assign(std::move(what), now);
  return true;
}

void Links::count_fault(LinkFault fault, bool was_up) {
  switch (fault) {
    case LinkFault::kUnsafe:
      return metrics_.links_unsafe.add();
    case LinkFault::kForeign:
      return metrics_.links_foreign.add();
    case LinkFault::kCrowded:
      return metrics_.links_crowded.add();
    case LinkFault::kIdle:
      return;
    case LinkFault::kCorrupt:
      metrics_.links_corrupt.add();
      break;
    case LinkFault::kConnect:
    case LinkFault::kTimeout:
    case LinkFault::kProtocol:
    case LinkFault::kClosed:
      break;
  }
  if (was_up) metrics_.links_lost.add();
}

// --- what the primary says ---------------------------------------------------------------------

void Links::set_pace(std::uint32_t delay_us) {
  if (std::exchange(own_pace_us_, delay_us) == delay_us) return;
  for (const auto& link : accepted_) link->tell_pace(now_ms());
}

void Links::look_at_quorum() {
  if (quorum_ == nullptr) return;
  const QuorumCount::Seen seen = quorum_->seen();
  if (seen == quorum_told_) return;
  const std::uint16_t since = seen.since(std::exchange(quorum_told_, seen));
  for (const auto& link : accepted_) link->tell_quorum(since, seen.now);
}

// To one that had nothing to do with it so far.
void Links::tell_primary(Link& link) {
  if (quorum_told_.raises != 0) link.tell_quorum(quorum_told_.now, quorum_told_.now);
  link.tell_pace(now_ms());
}

std::uint32_t Links::pace_us(const SocketAddress& address) const {
  const auto at = peers_.find(address_text(address, false));
  return at != peers_.end() && at->second.link != nullptr ? at->second.link->pace_us() : 0;
}

// --- links that others make --------------------------------------------------------------------

void Links::listen(int listener) {
  AZIMUTH_CHECK(!closed_ && listener_ == nullptr);
  listener_fd_ = listener;
  listener_ = new uv_poll_t;
  listener_->data = this;
  uv_poll_init(loop_, listener_, listener_fd_);
  watch_listener(true);
}

void Links::stop_listening() {
  close_and_free(listener_);
  if (listener_fd_ >= 0) ::close(std::exchange(listener_fd_, -1));
}

void Links::watch_listener(bool on) {
  if (listener_ == nullptr) return;
  accepting_ = on;
  if (on) {
    uv_poll_start(listener_, UV_READABLE, on_listener);
  } else {
    uv_poll_stop(listener_);
    want_tick();  // which begins again
  }
}

void Links::on_listener(uv_poll_t* handle, int, int) {
  auto* self = static_cast<Links*>(handle->data);
  for (std::size_t i = 0; i < kAcceptsPerTurnMax && self->listener_fd_ >= 0; ++i) {
    const int fd = accept_from(self->listener_fd_);
    if (fd == -EAGAIN || fd == -EWOULDBLOCK) return;
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
      return self->watch_listener(false);
    }
    if (fd >= 0) self->accept(fd);
  }
}

void Links::accept(int fd) {
  AZIMUTH_CHECK(!closed_);
  make_room_for_handshake();
  if (accepted_.size() >= kLinksMax) {
    metrics_.links_crowded.add();
    ::close(fd);
    return;
  }
  accepted_.push_back(std::make_unique<Link>(*this, peer_text(fd), false));
  accepted_.back()->start(fd, now_ms());
  want_tick();
}

// Of too many unfinished handshakes any may be an honest one, but one that is slow is less likely
// to be: a random one among the older half goes.
void Links::make_room_for_handshake() {
  std::vector<Link*> unfinished;
  if (accepted_.size() < kLinkHandshakesMax) return;
  for (const auto& link : accepted_) {
    if (link->unfinished()) unfinished.push_back(link.get());
  }
  if (unfinished.size() < kLinkHandshakesMax) return;
  unfinished[random_() % (unfinished.size() / 2)]->die(LinkFault::kCrowded,
                                                       "too many unfinished handshakes");
}

// --- the turn ----------------------------------------------------------------------------------

void Links::flush() {
  if (host_ != nullptr) host_->flush();
  // A link that dies here tells nobody before the next turn, so the list does not grow.
  for (Link* link : dirty_) link->flush();
  dirty_.clear();
  if (!buried_links_.empty()) std::erase_if(waiting_, [](Link* link) { return link->dead(); });
  buried_links_.clear();
  buried_streams_.clear();
}

Links::Space Links::receive_space() {
  constexpr std::size_t kLeastRoom = kReceiveBlockBytes / 4;
  if (receive_block_.unique()) receive_used_ = 0;
  if (!receive_block_ || receive_block_->capacity - receive_used_ < kLeastRoom) {
    receive_block_ = BlockRef(Block::make(kReceiveBlockBytes));
    receive_used_ = 0;
  }
  return {receive_block_, receive_block_->data() + receive_used_,
          receive_block_->capacity - receive_used_};
}

void Links::end_later(std::unique_ptr<Stream> stream, StreamEnd end, std::uint64_t delivered) {
  ended_.push_back({std::move(stream), end, delivered});
  soon();
}

void Links::soon() {
  if (soon_ == nullptr || uv_is_active(reinterpret_cast<uv_handle_t*>(soon_)) != 0) return;
  uv_timer_start(
      soon_, [](uv_timer_t* timer) { static_cast<Links*>(timer->data)->on_soon(); }, 0, 0);
}

void Links::on_soon() {
  if (std::exchange(pace_lost_, false)) tell_pace_changed();
  std::vector<Ended> ended;
  ended.swap(ended_);
  for (Ended& each : ended) {
    StreamUser* const user = std::exchange(each.stream->user_, nullptr);
    if (user != nullptr) user->on_stream_end(each.end, each.delivered);
  }
}

void Links::want_tick() {
  if (tick_ == nullptr || uv_is_active(reinterpret_cast<uv_handle_t*>(tick_)) != 0) return;
  ticked_ms_ = now_ms();
  uv_timer_start(
      tick_, [](uv_timer_t* timer) { static_cast<Links*>(timer->data)->on_tick(); }, kTickMs,
      kTickMs);
}

std::vector<Link*> Links::all_links() {
  std::vector<Link*> links;
  for (auto& [name, peer] : peers_) {
    if (peer.link != nullptr) links.push_back(peer.link.get());
  }
  for (auto& link : accepted_) links.push_back(link.get());
  return links;
}

void Links::on_tick() {
  const std::uint64_t now = now_ms();
  // A tick that is late says that this process stood still, not that its peers were silent: what
  // they sent in the meantime is yet to be read.
  const bool was_away = now - ticked_ms_ > kTickMs * 5;
  ticked_ms_ = now;
  for (Link* link : all_links()) {
    if (was_away) {
      link->excuse_silence(now);
    } else if (!link->dead()) {
      link->on_tick(now);
    }
  }
  std::erase_if(peers_, [&](const auto& each) {
    return each.second.link == nullptr && now > each.second.retry_at_ms + kLinkIdleMsMax;
  });
  if (listener_ != nullptr && !accepting_) watch_listener(true);
  if (peers_.empty() && accepted_.empty()) uv_timer_stop(tick_);
}

// --- packing -----------------------------------------------------------------------------------

std::optional<PeerPlace> Links::place_of(std::string_view node) const {
  return places_ ? places_(node) : std::nullopt;
}

void Links::wake_at(Link& link, std::uint64_t due_ms) {
  if (std::find(waiting_.begin(), waiting_.end(), &link) == waiting_.end()) {
    waiting_.push_back(&link);
  }
  const std::uint64_t in_ms = due_ms > now_ms() ? due_ms - now_ms() : 0;
  if (uv_is_active(reinterpret_cast<uv_handle_t*>(wake_)) != 0 &&
      uv_timer_get_due_in(wake_) <= in_ms) {
    return;
  }
  uv_timer_start(
      wake_, [](uv_timer_t* timer) { static_cast<Links*>(timer->data)->on_wake(); }, in_ms, 0);
}

// Whose time it is not yet comes back.
void Links::on_wake() {
  std::vector<Link*> waiting;
  waiting.swap(waiting_);
  for (Link* link : waiting) link->mark_dirty();
}

std::unique_ptr<SecureChannel> Links::make_channel(bool opener) { return channels_->make(opener); }

std::unique_ptr<SecureChannelMaker> Links::make_channels() const {
  if (settings_.plaintext) return make_plaintext(settings_.psk);
  if (settings_.certificates == nullptr) return make_tls(settings_.psk);
  return make_certified_tls(settings_.certificates, settings_.psk);
}

void Links::set_certificates(std::shared_ptr<const LinkCertificates> certificates) {
  settings_.certificates = std::move(certificates);
  channels_ = make_channels();
}

}  // namespace azimuth
