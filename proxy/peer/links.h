// The links of one worker: made when a stream is first opened to a peer, shared by all streams to
// it, closed when idle; and those that other nodes have made to this one.
//
// Invariants: at most one link to a peer; at most kLinkHandshakesMax unfinished accepted links and
// kLinksMax in all (I8, I9); a stream that is asked for always ends or opens, within kLinkMakeMs.
//
// Owned by one worker, which calls flush() in each turn of its loop before it sleeps (uv_prepare).
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/settings.h"
#include "health/backoff.h"
#include "proxy/control/metrics.h"
#include "proxy/data/socket.h"
#include "proxy/group/quorum_count.h"
#include "proxy/peer/certificates.h"
#include "proxy/peer/link.h"

namespace azimuth {

// Who we are, and how we prove it.
struct LinkSettings {
  std::string cluster, node, zone, region;
  std::uint64_t boot = 0;
  std::string psk;         // 32 bytes, derived from the cluster key for links
  bool plaintext = false;  // peer.plaintext: no encryption; the key is still asked for
  Compression compression = Compression::kAuto;
  std::uint32_t level_min = 1, level_max = 6;
  std::uint32_t delay_ms = 0;
  std::size_t pack_memory_bytes_max = kPackMemoryBytesMax;
  // peer.tls_cert_file and so on: asked for beside the key. None: the key alone.
  std::shared_ptr<const LinkCertificates> certificates;
};

// Where a node stands, by the group's record of it.
struct PeerPlace {
  std::string zone, region;
};

// Takes the streams that other nodes open: the relays to the local Redis.
class StreamHost {
 public:
  virtual ~StreamHost() = default;
  // Either stream.set_user(), and stream.opened() when Redis is reached, or stream.end(kRefused,
  // 0).
  virtual void on_stream_offered(Stream& stream) = 0;
  // Writes to Redis what this turn has brought. Calls no user but those of its streams' links.
  virtual void flush() = 0;
};

// One writer, the worker; read by anyone.
struct LinkMetrics {
  Gauge links;    // that are up, both ways
  Gauge streams;  // open on them, both ways
  Counter links_made, links_accepted;
  Counter links_unsafe, links_foreign, links_lost, links_failed, links_crowded, links_corrupt;
  Counter bytes_in, bytes_out;  // on the wire
  Counter frames_in, writes;
  Counter relays_opened, relays_refused, tunnels_refused;
  Gauge relays;
  LinkTraffic traffic;
};

class Links {
 public:
  // `host`: null refuses every stream that is offered (a sidecar). `random`: for back-off.
  Links(uv_loop_t* loop, LinkSettings settings, StreamHost* host, LinkMetrics& metrics,
        std::function<std::uint64_t()> random);
  // The loop has to turn once more after it, for libuv to close the handles.
  ~Links();
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  // Where a node is known to stand; without it, or where it does not know, the node's own word is
  // taken.
  void set_places(std::function<std::optional<PeerPlace>(std::string_view node)> places) {
    places_ = std::move(places);
  }

  // A stream to the node `node` ("": whoever is there) at `address`. Never null: what cannot be
  // opened ends a moment later with kRefused and nothing delivered.
  Stream* open(const SocketAddress& address, std::string_view node, StreamKind kind,
               std::uint64_t epoch, StreamUser& user);

  // Accepts from a listening socket, and owns it.
  void listen(int listener);
  void stop_listening();
  // For links that are made from now on; those that stand go on.
  void set_certificates(std::shared_ptr<const LinkCertificates> certificates);
  // A connection that was accepted elsewhere.
  void accept(int fd);

  // As the primary: tells all that send commands here, now and later, how long each write of theirs
  // is to wait before it is sent. 0: not at all.
  void set_pace(std::uint32_t delay_us);
  // ... and what the node at `address` has told us; 0 where there is no link. `changed` is called
  // when it may be another.
  std::uint32_t pace_us(const SocketAddress& address) const;
  void on_pace_changed(std::function<void()> changed) { pace_changed_ = std::move(changed); }

  // As the primary: tells the same ones how many replicas must hold a `quorum` write, in front of
  // all that the streams of theirs are sent from then on. `count` outlives this.
  void set_quorum(const QuorumCount& count) { quorum_ = &count; }
  // It may have changed.
  void look_at_quorum();

  // One write for each link. Calls no user.
  void flush();
  // Ends every link at once; the users of their streams hear of it from inside. Later nobody hears
  // anything, and what is opened is never heard of again.
  void close();

  uv_loop_t* loop() const { return loop_; }
  std::uint64_t now_ms() const { return uv_now(loop_); }
  LinkMetrics& metrics() { return metrics_; }
  const LinkSettings& settings() const { return settings_; }
  const PackWork& packing() const { return pack_; }

  // Where bytes are received into: a block of the worker's, shared by slices.
  struct Space {
    BlockRef block;
    char* data;
    std::size_t size;
  };
  Space receive_space();
  void received(std::size_t bytes) { receive_used_ += bytes; }

 private:
  friend class Link;
  friend class Stream;
  struct Ended {  // to be told to its user
    std::unique_ptr<Stream> stream;
    StreamEnd end;
    std::uint64_t delivered;
  };
  struct Peer {
    std::unique_ptr<Link> link;
    Backoff backoff{milliseconds(kLinkRetryMsLeast), milliseconds(kLinkRetryMsMost)};
    std::uint64_t retry_at_ms = 0;
  };

  static void on_listener(uv_poll_t* handle, int status, int events);
  Stream* refused(StreamKind kind, std::uint64_t epoch, StreamUser& user);
  void note_failure(Peer& peer, const std::string& name, std::string_view why);
  void watch_listener(bool on);
  void on_tick();
  void on_soon();
  void soon();
  void want_tick();
  std::vector<Link*> all_links();
  void end_later(std::unique_ptr<Stream> stream, StreamEnd end, std::uint64_t delivered);
  void bury(std::unique_ptr<Stream> stream) { buried_streams_.push_back(std::move(stream)); }
  // The link is dead: takes it out of the tables, frees it later.
  void on_link_dead(Link& link, bool was_up, LinkFault fault, std::string_view why);
  void on_link_up(Link& link);
  void tell_pace_changed() {
    if (pace_changed_) pace_changed_();
  }
  void tell_primary(Link& link);
  void count_fault(LinkFault fault, bool was_up);
  void make_room_for_handshake();
  std::unique_ptr<SecureChannel> make_channel(bool opener);
  std::optional<PeerPlace> place_of(std::string_view node) const;
  // The link shall be flushed at that time.
  void wake_at(Link& link, std::uint64_t due_ms);
  void on_wake();
  std::unique_ptr<SecureChannelMaker> make_channels() const;
  bool is_news(const Link& link, std::string_view why);

  uv_loop_t* loop_;
  LinkSettings settings_;
  StreamHost* host_;
  LinkMetrics& metrics_;
  PackWork pack_;  // before the links, which give back what they have of it
  std::function<std::uint64_t()> random_;
  std::function<void()> pace_changed_;
  bool pace_lost_ = false;         // with a link: on_pace_changed() is due
  std::uint32_t own_pace_us_ = 0;  // that the others are told
  const QuorumCount* quorum_ = nullptr;
  QuorumCount::Seen quorum_told_;
  std::shared_ptr<SecureChannelMaker> channels_;
  uv_timer_t* tick_ = nullptr;
  uv_timer_t* soon_ = nullptr;
  uv_timer_t* wake_ = nullptr;  // for links that hold replication back
  uv_poll_t* listener_ = nullptr;
  int listener_fd_ = -1;
  bool accepting_ = false;  // false while this process has no descriptors left
  bool closed_ = false;
  std::uint64_t ticked_ms_ = 0;
  std::unordered_map<std::string, Peer> peers_;  // by address
  std::vector<std::unique_ptr<Link>> accepted_;
  std::unordered_map<std::string, std::uint64_t> warned_;  // who and why, and when: is_news()
  std::vector<Link*> dirty_;
  std::vector<Ended> ended_;
  std::vector<std::unique_ptr<Link>> buried_links_;
  std::vector<std::unique_ptr<Stream>> buried_streams_;
  std::vector<char> wire_;  // what a recv brings, before it is deciphered
  std::function<std::optional<PeerPlace>(std::string_view)> places_;
  std::vector<Link*> waiting_;   // that hold replication back
  std::vector<char> packed_in_;  // what a channel brings, before it is unpacked
  std::string packed_out_;       // a turn, packed
  BlockRef receive_block_;
  std::size_t receive_used_ = 0;
};

}  // namespace azimuth
