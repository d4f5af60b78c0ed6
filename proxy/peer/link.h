// An authenticated connection between a worker of this node and another node, with many streams on
// it. TLS 1.3 by a key that is derived from the cluster key: no certificates.
//
// Invariants: nothing is sent or believed before the handshake has shown that the peer knows the
// cluster key and is of this cluster (I9); each stream has a window (kStreamWindowBytes), so that
// one that is not read stops nobody else and costs bounded memory (I8); bytes of one stream arrive
// in order, or the stream ends. Only the side that made the link opens streams on it.
//
//   kConnecting -> kSecuring -> kGreeting -> kUp -> kDead        (an accepted link begins securing)
//        connected     TLS or proof    HELLO, both ways
//
// Owned by one worker. The format: proxy/peer/README.md.
#pragma once

#include <sys/uio.h>
#include <uv.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proxy/data/buffer.h"
#include "proxy/peer/frame.h"
#include "proxy/peer/link_packing.h"
#include "proxy/peer/link_traffic.h"
#include "proxy/peer/tls.h"

namespace azimuth {

class Link;
class Links;

inline constexpr std::uint64_t kDeliveredUnknown = UINT64_MAX;

// The user of one end of a stream, told what happens. Called on the worker's thread, never from
// inside Stream::send(), Stream::close() or Links::flush(); it may send, close the stream and open
// others inside any call.
class StreamUser {
 public:
  virtual ~StreamUser() = default;
  // The far side has reached its Redis. (One may send from the start, all the same.)
  virtual void on_stream_open() = 0;
  // `block` holds the bytes, and may be kept.
  virtual void on_stream_data(const BlockRef& block, std::string_view bytes) = 0;
  // There is room again after send() took less than it was given, or await_room().
  virtual void on_stream_writable() = 0;
  // The far side asks to send nothing new, and to close when every answer is there: a planned
  // hand-over. What is sent all the same is refused sooner or later.
  virtual void on_stream_hold() = 0;
  // The other side tells something beside the bytes, in order with them.
  virtual void on_stream_note(std::string_view) {}
  // Of kCommands, where we made the link: Stream::quorum() is another number, in order with the
  // bytes.
  virtual void on_stream_quorum(std::uint16_t) {}
  // The stream is gone, and its pointer with it. `delivered`: of the bytes that send() took, so
  // many may have reached the far Redis and those behind them have not, for sure (kDone, kRefused);
  // 0 where nothing can have; kDeliveredUnknown: not known (kLost).
  virtual void on_stream_end(StreamEnd end, std::uint64_t delivered) = 0;
};

// One end of a stream. Valid until close() or end() is called or on_stream_end() has been.
class Stream {
 public:
  // Takes what the window, the link's buffer and this turn's share have room for, from the front;
  // how many bytes. Bytes leave with the others of this turn, in one write for the whole link.
  std::size_t send(const iovec* pieces, int count);
  // What send() would take now.
  std::size_t room() const;
  // on_stream_writable() shall come when there is room.
  void await_room();
  // The peer's window is not refilled while paused: at most a window's bytes still come.
  void pause_reading(bool paused);
  // No more calls to the user; the far side hears of it.
  void close() { end(StreamEnd::kDone, 0); }

  StreamKind kind() const { return kind_; }
  std::uint64_t epoch() const { return epoch_; }
  // The node that the peer says it is; it has shown that it knows the cluster key.
  const std::string& peer_node() const;
  // How many replicas must hold a `quorum` write there, as the far side has said; of kCommands it
  // says so before on_stream_open().
  std::optional<std::uint16_t> quorum() const;
  // Bytes that send() has taken so far.
  std::uint64_t sent() const { return sent_; }

  // --- for the side that was asked (StreamHost)
  void set_user(StreamUser& user) { user_ = &user; }
  // Redis is reached.
  void opened();
  void hold();
  // At most kLinkControlFrameBytesMax bytes, for on_stream_note() there; older releases pass over
  // it.
  void note(std::string_view payload);
  // As close(), with the reason, and what has reached Redis.
  void end(StreamEnd end, std::uint64_t delivered);

 private:
  friend class Link;
  friend class Links;
  Stream(Link& link, std::uint32_t id, StreamKind kind, std::uint64_t epoch, StreamUser* user);
  // One that is refused at once.
  Stream(StreamKind kind, std::uint64_t epoch, StreamUser& user);
  void note_consumed(std::size_t n);

  Link* link_;
  StreamUser* user_;
  const std::uint32_t id_;
  const StreamKind kind_;
  bool gone_ = false;  // closed or ended: its user hears nothing more
  bool paused_ = false;
  bool waiting_ = false;  // wants on_stream_writable()
  bool starved_ = false;  // stands in the link's list of those that want room in its buffer
  const std::uint64_t epoch_;
  std::int64_t send_window_;     // what the peer still takes
  std::int64_t receive_window_;  // what the peer may still send
  std::uint32_t consumed_ = 0;   // taken by the user, and not yet given back to the peer's window
  std::uint64_t sent_ = 0;
  std::uint64_t turn_ = 0;  // of the link, to which turn_bytes_ belongs
  std::size_t turn_bytes_ = 0;
};

// A link that ended while it was being made, or later; for logs and counters.
enum class LinkFault : std::uint8_t {
  kConnect,   // refused, unreachable
  kTimeout,   // no answer in time; silent for too long
  kUnsafe,    // does not know the cluster key or has no certificate of the CA, or speaks no TLS
              // (or speaks it where we do not)
  kForeign,   // another cluster, or a release that cannot talk with ours
  kProtocol,  // a frame that makes no sense
  kCorrupt,   // packed bytes that are none, or that unpack to more than they may
  kClosed,    // by the peer
  kIdle,      // by us: no streams for long
  kCrowded,   // by us: too many unfinished handshakes or links
};

class Link {
 public:
  Link(Links& links, std::string name, bool opener);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // Takes the socket: one whose connect() is under way (opener) or an accepted one.
  void start(int fd, std::uint64_t now_ms);
  Stream& open(std::string_view node, StreamKind kind, std::uint64_t epoch, StreamUser& user);
  // Writes what this turn has gathered. Calls no user.
  void flush();
  void on_tick(std::uint64_t now_ms);
  // Ends the link and its streams; their users hear of it a moment later.
  void die(LinkFault fault, std::string_view why);
  // This process stood still: its peers were not silent.
  void excuse_silence(std::uint64_t now_ms) { heard_ms_ = now_ms; }
  // How long the peer, as the primary, wants each write to wait.
  std::uint32_t pace_us() const { return pace_us_; }
  // What links that the peer has made are told of the primary here, as long as they carry commands:
  // the delay, where it is news; how many replicas a quorum takes, `since` it was last told and
  // now.
  void tell_pace(std::uint64_t now_ms);
  void tell_quorum(std::uint16_t since, std::uint16_t now);

  bool up() const { return state_ == State::kUp; }
  bool dead() const { return state_ == State::kDead; }
  bool unfinished() const { return state_ < State::kUp; }
  bool opener() const { return opener_; }
  const std::string& name() const { return name_; }
  const HelloFrame& peer() const { return peer_; }
  std::size_t streams() const { return streams_.size(); }
  // Whether what goes out, and what comes in, is packed.
  bool packs() const { return packing_ != nullptr; }
  bool unpacks() const { return unpacking_ != nullptr; }

 private:
  friend class Stream;
  friend class Links;
  enum class State : std::uint8_t { kConnecting, kSecuring, kGreeting, kUp, kDead };

  static void on_poll(uv_poll_t* handle, int status, int events);
  void on_connected();
  void on_readable();
  void on_writable();
  void secure();
  void after_channel();
  void consume(const BlockRef& block, const char* p, const char* end);
  void on_frame(const FrameView& frame);
  void on_hello(std::string_view payload);
  void on_open(std::uint32_t id, std::string_view payload);
  void on_end(Stream& stream, std::string_view payload);
  void on_window(Stream& stream, std::string_view payload);
  void on_pace(std::string_view payload);
  void on_quorum(std::string_view payload);
  void on_data(const BlockRef& block, std::uint32_t id, std::string_view bytes);
  void feed_starved();
  Stream* find(std::uint32_t id);
  void forget(Stream& stream);
  std::size_t room() const;
  void put_data(Stream& stream, const iovec* pieces, int count, std::size_t n);
  void put_frame(FrameType type, std::uint32_t stream, std::string_view payload);
  void starve(Stream& stream);
  void put_on_channel();
  void mark_dirty();
  void update_poll();
  void close_socket();
  void protocol_error(std::string_view why) { die(LinkFault::kProtocol, why); }

  // --- between zones: link_zones.cpp
  bool offers_packing();
  void meet_peer();
  void on_packed(std::string_view payload);
  bool holds_back();
  void pack_turn();
  void tick_packing(std::uint64_t now_ms);
  void note_tunnel();
  bool read_packed();
  void unpack(std::string_view wire);
  std::size_t paid_in() const;
  void end_packing();

  Links& links_;
  const std::string name_;  // the peer's address
  const bool opener_;
  State state_ = State::kConnecting;
  bool dirty_ = false;
  bool want_write_ = false;
  bool reading_stopped_ = false;  // the peer does not take what its frames make us answer
  int poll_events_ = 0;
  int fd_ = -1;
  uv_poll_t* poll_ = nullptr;
  std::shared_ptr<SecureChannelMaker> maker_;  // outlives its channel, whatever a reload brings
  std::unique_ptr<SecureChannel> channel_;
  FrameReader reader_;
  HelloFrame peer_;
  std::string plain_;                    // frames of this turn
  std::size_t last_data_at_ = SIZE_MAX;  // in plain_, the DATA frame that ends it
  std::uint32_t last_data_stream_ = 0;
  std::uint64_t turn_ = 1;
  std::unordered_map<std::uint32_t, std::unique_ptr<Stream>> streams_;
  Stream* last_found_ = nullptr;
  std::vector<std::uint32_t> starving_;
  std::uint32_t pace_us_ = 0;            // that the peer has told, or has been told
  std::uint64_t pace_told_ms_ = 0;       // when it was told
  std::optional<std::uint16_t> quorum_;  // that the peer has told
  std::size_t commands_ = 0;             // streams of that kind that the peer has opened
  std::uint32_t last_id_ = 0;            // the highest stream number so far
  std::uint64_t deadline_ms_ = 0;        // of the handshake
  bool heard_ = false;                   // anything at all
  bool grown_ = true;                    // its buffers may be large
  std::uint64_t heard_ms_ = 0;
  std::uint64_t pinged_ms_ = 0;
  std::uint64_t used_ms_ = 0;                 // when it last had a stream
  bool offered_ = false;                      // our HELLO said that we read packed bytes
  bool tunnels_ = false;                      // it carries, or has carried, replication
  std::unique_ptr<LinkPacking> packing_;      // null: what goes out is not packed
  std::unique_ptr<LinkUnpacking> unpacking_;  // null: what comes in is not packed
  PeerTraffic* traffic_ = nullptr;            // from HELLO on
  KindBytes turn_out_{}, turn_in_{};          // not yet counted there
  std::size_t wire_in_ = 0;
};

}  // namespace azimuth
