// A link's streams: what their users say and hear, and the frames that carry it.
#include <algorithm>
#include <cstring>
#include <utility>

#include "conf/result.h"
#include "proxy/peer/link.h"
#include "proxy/peer/links.h"

namespace azimuth {
namespace {

std::int64_t window_of(StreamKind kind) {
  return kind == StreamKind::kTunnel ? kTunnelWindowBytes : kStreamWindowBytes;
}

std::size_t counted_as(StreamKind kind) {
  switch (kind) {
    case StreamKind::kCommands:
      return static_cast<std::size_t>(LinkKind::kCommands);
    case StreamKind::kReads:
      return static_cast<std::size_t>(LinkKind::kReads);
    case StreamKind::kTunnel:
      return static_cast<std::size_t>(LinkKind::kTunnels);
  }
  return static_cast<std::size_t>(LinkKind::kControl);
}

constexpr auto kControlFrames = static_cast<std::size_t>(LinkKind::kControl);

bool is_news(std::uint32_t told_us, std::uint32_t delay_us) {
  if (told_us == 0 || delay_us == 0) return told_us != delay_us;
  const std::uint64_t by = told_us > delay_us ? told_us - delay_us : delay_us - told_us;
  return by * kPaceNewsParts >= told_us;
}

}  // namespace

// --- one end of a stream -----------------------------------------------------------------------

Stream::Stream(Link& link, std::uint32_t id, StreamKind kind, std::uint64_t epoch, StreamUser* user)
    : link_(&link),
      user_(user),
      id_(id),
      kind_(kind),
      epoch_(epoch),
      send_window_(window_of(kind)),
      receive_window_(window_of(kind)) {}

Stream::Stream(StreamKind kind, std::uint64_t epoch, StreamUser& user)
    : link_(nullptr),
      user_(&user),
      id_(0),
      kind_(kind),
      gone_(true),
      epoch_(epoch),
      send_window_(0),
      receive_window_(0) {}

std::size_t Stream::room() const {
  if (gone_ || send_window_ <= 0) return 0;
  const std::size_t used = turn_ == link_->turn_ ? turn_bytes_ : 0;
  return std::min({static_cast<std::size_t>(send_window_), kStreamTurnBytes - used, link_->room()});
}

std::size_t Stream::send(const iovec* pieces, int count) {
  // What a relay has just read of Redis: the number that judges it goes in front of it. Here, and
  // not where it is read, since all that is read is sent at once (Pipe keeps nothing back): so the
  // frame takes nothing of the room for which it was read.
  const std::size_t room_before = room();
  if (!gone_ && kind_ == StreamKind::kCommands && !link_->opener_) link_->links_.look_at_quorum();
  std::size_t wanted = 0;
  for (int i = 0; i < count; ++i) wanted += pieces[i].iov_len;
  const std::size_t n = gone_ ? 0 : std::min(wanted, room_before);
  if (n != 0) {
    if (turn_ != link_->turn_) {
      turn_ = link_->turn_;
      turn_bytes_ = 0;
    }
    turn_bytes_ += n;
    send_window_ -= static_cast<std::int64_t>(n);
    sent_ += n;
    link_->put_data(*this, pieces, count, n);
  }
  if (n < wanted) await_room();
  return n;
}

void Stream::await_room() {
  if (gone_) return;
  waiting_ = true;
  if (send_window_ > 0) link_->starve(*this);
}

void Stream::pause_reading(bool paused) {
  paused_ = paused;
  if (!paused) note_consumed(0);
}

void Stream::note_consumed(std::size_t n) {
  if (gone_) return;
  consumed_ += static_cast<std::uint32_t>(n);
  // Given back in large parts: a frame for each small reply would cost more than the reply.
  if (paused_ || consumed_ < window_of(kind_) / 4) return;
  receive_window_ += consumed_;
  link_->put_frame(FrameType::kWindow, id_, encode_window(std::exchange(consumed_, 0)));
}

const std::string& Stream::peer_node() const { return link_->peer().node; }

std::optional<std::uint16_t> Stream::quorum() const {
  return link_ != nullptr ? link_->quorum_ : std::nullopt;
}

void Stream::opened() {
  if (!gone_) link_->put_frame(FrameType::kOpened, id_, {});
}

void Stream::hold() {
  if (!gone_) link_->put_frame(FrameType::kHold, id_, {});
}

void Stream::note(std::string_view payload) {
  if (!gone_) link_->put_frame(FrameType::kNote, id_, payload);
}

void Stream::end(StreamEnd end, std::uint64_t delivered) {
  if (gone_) {
    user_ = nullptr;  // its link broke a moment ago: nobody is to be told any more
    return;
  }
  EndFrame frame;
  frame.end = end;
  frame.delivered = delivered;
  link_->put_frame(FrameType::kEnd, id_, encode(frame));
  // What the peer may have sent meanwhile is passed over, and no window counts it any more.
  if (link_->unpacking_ != nullptr) link_->unpacking_->allow(receive_window_);
  link_->forget(*this);
}

// --- frames out --------------------------------------------------------------------------------

std::size_t Link::room() const {
  const std::size_t used = plain_.size() + (channel_ != nullptr ? channel_->wire().size() : 0);
  return used >= kLinkOutBytesMax ? 0 : kLinkOutBytesMax - used;
}

void Link::put_data(Stream& stream, const iovec* pieces, int count, std::size_t n) {
  // What a stream sends in several pieces in one turn goes in one frame where it can.
  const std::size_t taken = n;
  std::size_t size = n;
  if (last_data_at_ != SIZE_MAX && last_data_stream_ == stream.id_ &&
      plain_.size() - last_data_at_ - kFrameHeaderBytes + n <= kLinkFrameBytesMax) {
    size += plain_.size() - last_data_at_ - kFrameHeaderBytes;
  } else {
    last_data_at_ = plain_.size();
    last_data_stream_ = stream.id_;
    plain_.append(kFrameHeaderBytes, '\0');
  }
  write_frame_header(plain_.data() + last_data_at_, FrameType::kData, stream.id_, size);
  for (int i = 0; i < count && n != 0; ++i) {
    const std::size_t part = std::min(n, pieces[i].iov_len);
    plain_.append(static_cast<const char*>(pieces[i].iov_base), part);
    n -= part;
  }
  turn_out_[counted_as(stream.kind_)] += taken;
  if (packing_ != nullptr) packing_->note(stream.kind_, links_.now_ms(), plain_, taken);
  mark_dirty();
}

void Link::put_frame(FrameType type, std::uint32_t stream, std::string_view payload) {
  if (dead()) return;
  char header[kFrameHeaderBytes];
  write_frame_header(header, type, stream, payload.size());
  plain_.append(header, kFrameHeaderBytes);
  plain_ += payload;
  last_data_at_ = SIZE_MAX;
  turn_out_[kControlFrames] += kFrameHeaderBytes + payload.size();
  mark_dirty();
  if (!reading_stopped_ && up() && plain_.size() > kLinkAnswerBytesMax) {
    reading_stopped_ = true;
    update_poll();
  }
}

void Link::starve(Stream& stream) {
  if (stream.starved_) return;
  stream.starved_ = true;
  starving_.push_back(stream.id_);
  update_poll();
}

// Those that want room in the buffer get it in turn; who gets none now is first the next time.
void Link::feed_starved() {
  std::vector<std::uint32_t> starving;
  starving.swap(starving_);
  std::size_t i = 0;
  for (; i < starving.size() && !dead() && room() != 0; ++i) {
    Stream* stream = find(starving[i]);
    if (stream == nullptr) continue;
    stream->starved_ = false;
    if (!stream->waiting_) continue;
    stream->waiting_ = false;
    stream->user_->on_stream_writable();
  }
  if (dead()) return;
  if (i < starving.size()) {
    starving_.insert(starving_.begin(), starving.begin() + static_cast<std::ptrdiff_t>(i),
                     starving.end());
  }
  update_poll();
}

// --- streams come and go -----------------------------------------------------------------------

Stream& Link::open(std::string_view node, StreamKind kind, std::uint64_t epoch, StreamUser& user) {
  AZIMUTH_CHECK(opener_ && !dead());
  const std::uint32_t id = ++last_id_;
  std::unique_ptr<Stream> stream(new Stream(*this, id, kind, epoch, &user));
  Stream& opened = *stream;
  streams_.emplace(id, std::move(stream));
  links_.metrics().streams.add(1);
  if (kind == StreamKind::kTunnel) note_tunnel();
  OpenFrame frame;
  frame.kind = kind;
  frame.epoch = epoch;
  frame.node = node;
  put_frame(FrameType::kOpen, id, encode(frame));
  return opened;
}

Stream* Link::find(std::uint32_t id) {
  if (last_found_ != nullptr && last_found_->id_ == id) return last_found_;
  const auto at = streams_.find(id);
  if (at == streams_.end()) return nullptr;
  last_found_ = at->second.get();
  return last_found_;
}

// The stream's memory stays until the turn is over: its user may be inside one of its calls.
void Link::forget(Stream& stream) {
  stream.gone_ = true;
  if (last_found_ == &stream) last_found_ = nullptr;
  const auto at = streams_.find(stream.id_);
  AZIMUTH_CHECK(at != streams_.end());
  commands_ -= !opener_ && stream.kind_ == StreamKind::kCommands;
  links_.bury(std::move(at->second));
  streams_.erase(at);
  links_.metrics().streams.add(-1);
  used_ms_ = links_.now_ms();
}

// --- frames in ---------------------------------------------------------------------------------

void Link::consume(const BlockRef& block, const char* p, const char* end) {
  FrameView frame{};
  while (!dead()) {
    switch (reader_.next(p, end, frame)) {
      case FrameReader::Got::kNothing:
        return;
      case FrameReader::Got::kBad:
        return protocol_error("a frame longer than any");
      case FrameReader::Got::kControl:
        on_frame(frame);
        if (frame.type != FrameType::kPacked) break;
        return unpack({p, static_cast<std::size_t>(end - p)});
      case FrameReader::Got::kData:
        on_data(block, frame.stream, frame.bytes);
        break;
    }
  }
}

void Link::on_data(const BlockRef& block, std::uint32_t id, std::string_view bytes) {
  if (!up()) return protocol_error("DATA before HELLO");
  Stream* stream = find(id);
  if (stream == nullptr) {
    // On its way when this side closed the stream.
    if (id == 0 || id > last_id_) protocol_error("DATA on a stream that was never opened");
    return;
  }
  stream->receive_window_ -= static_cast<std::int64_t>(bytes.size());
  if (stream->receive_window_ < 0) return protocol_error("DATA beyond the window");
  turn_in_[counted_as(stream->kind_)] += bytes.size();
  stream->user_->on_stream_data(block, bytes);
  stream->note_consumed(bytes.size());
}

void Link::on_frame(const FrameView& frame) {
  links_.metrics().frames_in.add();
  turn_in_[kControlFrames] += kFrameHeaderBytes + frame.bytes.size();
  if (frame.type == FrameType::kHello) return on_hello(frame.bytes);
  if (!up()) return protocol_error("a frame before HELLO");
  if (frame.type == FrameType::kOpen) return on_open(frame.stream, frame.bytes);
  if (frame.type == FrameType::kPace) return on_pace(frame.bytes);
  if (frame.type == FrameType::kQuorum) return on_quorum(frame.bytes);
  if (frame.type == FrameType::kPing) return put_frame(FrameType::kPong, 0, {});
  if (frame.type == FrameType::kPong) return;
  if (frame.type == FrameType::kPacked) return on_packed(frame.bytes);
  Stream* stream = find(frame.stream);
  if (stream == nullptr) {
    if (frame.stream == 0 || frame.stream > last_id_) protocol_error("a stream never opened");
    return;
  }
  switch (frame.type) {
    case FrameType::kOpened:
      if (opener_) stream->user_->on_stream_open();
      break;
    case FrameType::kHold:
      stream->user_->on_stream_hold();
      break;
    case FrameType::kNote:
      stream->user_->on_stream_note(frame.bytes);
      break;
    case FrameType::kWindow:
      return on_window(*stream, frame.bytes);
    case FrameType::kEnd:
      return on_end(*stream, frame.bytes);
    case FrameType::kPace:
    case FrameType::kQuorum:
    case FrameType::kHello:
    case FrameType::kOpen:
    case FrameType::kData:
    case FrameType::kPing:
    case FrameType::kPong:
    case FrameType::kPacked:
      break;
  }
}

void Link::on_pace(std::string_view payload) {
  const auto delay_us = decode_pace(payload);
  if (!delay_us) return protocol_error("a PACE that makes no sense");
  if (!opener_ || std::exchange(pace_us_, *delay_us) == *delay_us) return;
  links_.tell_pace_changed();
}

void Link::tell_pace(std::uint64_t now_ms) {
  const std::uint32_t delay_us = links_.own_pace_us_;
  if (commands_ == 0 || !is_news(pace_us_, delay_us)) return;
  if (delay_us != 0 && now_ms - pace_told_ms_ < kPaceTellMs) return;  // the next tick is soon
  pace_us_ = delay_us;
  pace_told_ms_ = now_ms;
  put_frame(FrameType::kPace, 0, encode_pace(delay_us));
}

// Nothing on a link overtakes: DATA that was put in front of it is in front of it. What still comes
// behind it though it was read of Redis earlier is none, or harmless: it is judged by more than it
// need be, and never by less, since who has asked goes by the largest number since.
void Link::tell_quorum(std::uint16_t since, std::uint16_t now) {
  if (commands_ == 0) return;
  put_frame(FrameType::kQuorum, 0, encode_quorum(since));
  if (now != since) put_frame(FrameType::kQuorum, 0, encode_quorum(now));
}

void Link::on_quorum(std::string_view payload) {
  const auto replicas = decode_quorum(payload);
  if (!replicas) return protocol_error("a QUORUM that makes no sense");
  if (!opener_ || quorum_ == *replicas) return;
  quorum_ = *replicas;
  std::vector<std::uint32_t> told;
  for (const auto& [id, stream] : streams_) {
    if (stream->kind_ == StreamKind::kCommands) told.push_back(id);
  }
  for (const std::uint32_t id : told) {
    Stream* const stream = dead() ? nullptr : find(id);
    if (stream != nullptr) stream->user_->on_stream_quorum(*replicas);
  }
}

void Link::on_hello(std::string_view payload) {
  if (state_ != State::kGreeting) return protocol_error("HELLO twice");
  auto hello = decode_hello(payload);
  if (!hello) return protocol_error("a HELLO that makes no sense");
  peer_ = std::move(*hello);
  if (peer_.cluster != links_.settings().cluster) {
    return die(LinkFault::kForeign, "the peer belongs to the cluster " + peer_.cluster);
  }
  if (peer_.version_least > kLinkVersionMost || peer_.version_most < kLinkVersionLeast) {
    return die(LinkFault::kForeign, "no version of the protocol in common");
  }
  state_ = State::kUp;
  meet_peer();
  links_.on_link_up(*this);
  if (!plain_.empty()) mark_dirty();
  update_poll();
}

void Link::on_open(std::uint32_t id, std::string_view payload) {
  const auto frame = decode_open(payload);
  if (opener_ || !frame || id <= last_id_) return protocol_error("an OPEN that makes no sense");
  last_id_ = id;
  const bool known = frame->kind == StreamKind::kCommands || frame->kind == StreamKind::kTunnel ||
                     frame->kind == StreamKind::kReads;
  const bool ours = frame->node.empty() || frame->node == links_.settings().node;
  if (!known || !ours || links_.host_ == nullptr || streams_.size() >= kStreamsPerLinkMax) {
    links_.metrics().relays_refused.add();
    EndFrame end;
    end.end = StreamEnd::kRefused;
    return put_frame(FrameType::kEnd, id, encode(end));
  }
  std::unique_ptr<Stream> stream(new Stream(*this, id, frame->kind, frame->epoch, nullptr));
  Stream& offered = *stream;
  streams_.emplace(id, std::move(stream));
  links_.metrics().streams.add(1);
  if (frame->kind == StreamKind::kTunnel) note_tunnel();
  if (frame->kind == StreamKind::kCommands) {
    links_.look_at_quorum();
    // Changes since the last one of these ended were not told; nobody waits for an answer here.
    if (++commands_ == 1) links_.tell_primary(*this);
  }
  links_.host_->on_stream_offered(offered);
  AZIMUTH_CHECK(offered.gone_ || offered.user_ != nullptr);
}

void Link::on_window(Stream& stream, std::string_view payload) {
  const auto credit = decode_window(payload);
  if (!credit) return protocol_error("a WINDOW that makes no sense");
  const bool was_shut = stream.send_window_ <= 0;
  stream.send_window_ += static_cast<std::int64_t>(*credit);
  if (stream.send_window_ > window_of(stream.kind_)) return protocol_error("a WINDOW too wide");
  if (was_shut && stream.waiting_) starve(stream);
}

void Link::on_end(Stream& stream, std::string_view payload) {
  const auto frame = decode_end(payload);
  if (!frame) return protocol_error("an END that makes no sense");
  EndFrame end = *frame;
  if (opener_ && end.end != StreamEnd::kLost && end.delivered > stream.sent_) {
    return protocol_error("an END that delivered more than was sent");
  }
  if (end.end == StreamEnd::kLost) end.delivered = kDeliveredUnknown;
  StreamUser* user = stream.user_;
  forget(stream);
  user->on_stream_end(end.end, end.delivered);
}

}  // namespace azimuth
