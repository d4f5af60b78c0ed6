// The far end of other nodes' streams: each is joined to a connection of its own to the local
// Redis.
//
// Invariants: a byte of a command stream is written to Redis only while this node's lease holds for
// the stream's epoch, checked right before each write (I2); when it does not, the stream ends with
// kRefused and the number of bytes that the kernel took for Redis, so that the other side knows
// what was never executed (I6). What its Redis says is passed back only while the lease holds, too:
// it may have run the command late, when somebody else led (I4). Nothing of a command stream
// reaches a redis-server but the promoted one: it is asked first (I3). A tunnel is let through
// while this node leads, or led last, its epoch, or follows it with a Redis that is in sync; one of
// an epoch that it follows no more ends. What it asks for is judged first (relay_sync.h). A stream
// of reads is let through while this node's Redis is a replica in its epoch; whether what it
// answers may be believed, its reader asks it (proxy/data/replica.h). At most so many relays a
// worker as set_most() says, and kMembersMax tunnels beside them, each with at most a window's
// bytes on their way to Redis (I8). Owned by one worker.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "proxy/data/socket.h"
#include "proxy/group/lease.h"
#include "proxy/peer/links.h"
#include "proxy/peer/relay_pipe.h"
#include "proxy/peer/relay_sync.h"

namespace azimuth {

class Relays final : public StreamHost {
 public:
  // `lease` outlives it. `redis`: of size 0 while it is not known: all is refused.
  Relays(uv_loop_t* loop, LinkMetrics& metrics, const Lease& lease, SocketAddress redis);
  ~Relays() override;

  void set_redis(const SocketAddress& redis) { redis_ = redis; }
  // This node's own, for the question who it is.
  void set_login(std::string_view username, std::string_view password);
  // The epoch that this node leads or led last: tunnels of no other are let in. 0: none.
  void set_tunnel_epoch(std::uint64_t epoch) { tunnel_epoch_ = epoch; }
  // The epoch that the local Redis follows, and may hand on; 0: none. A tunnel is let in only while
  // its replica may also be read (set_reads_epoch).
  void set_fed_epoch(std::uint64_t epoch);
  // About ten times a second.
  void on_tick();
  // Nodes that were taken out of the group: their Redises get nothing from this one.
  void refuse_tunnels_of(const std::vector<std::string>& nodes);
  // The epoch in which the local Redis is a replica that may be read; 0: it is none. Streams of
  // reads of other epochs end.
  void set_reads_epoch(std::uint64_t epoch);
  // A planned hand-over: asks all command streams to close when they are answered, and refuses new
  // ones until hold(false).
  void hold(bool on);
  // While held: the time that what has begun is given is over. Whatever a command stream still
  // brings is refused, before Redis, fenced by then, could answer it with an error.
  void break_off() { broken_off_ = holding_; }
  // Command streams that are open, but for those whose user has said that it sends nothing more
  // (Stream::hold by the opener): they stay until Redis ends what blocks, or their user leaves.
  std::size_t open_commands() const { return commands_; }
  // What becomes of tunnels; a full copy waits for let_copy(). Unset: it does not wait.
  void set_on_copy(std::function<void(const CopyNews&)> on_copy) { on_copy_ = std::move(on_copy); }
  void let_copy(std::uint64_t relay);
  // To the other side of that tunnel; one that waits also hears an empty line, so that its Redis
  // does not give up.
  void tell(std::uint64_t relay, const SyncNote& note);
  // Ends all streams of `kind` whose epoch is at most `epoch`: the lease is lost, the role changes.
  // Tunnels of the epoch that is followed stay.
  void refuse(StreamKind kind, std::uint64_t epoch);
  // At most so many, tunnels apart.
  void set_most(std::size_t relays) { most_ = relays; }
  // Ends all, and takes no more.
  void close();

  void on_stream_offered(Stream& stream) override;
  void flush() override;
  std::size_t size() const { return relays_.size(); }

 private:
  class Relay;
  friend class Relay;
  void bury(Relay& relay);
  template <class Which>
  void end(Which which);
  Relay* find(std::uint64_t relay);
  bool takes(const Stream& stream);
  bool is_full_for(std::string_view node);
  bool is_removed(std::string_view node) const;

  uv_loop_t* loop_;
  LinkMetrics& metrics_;
  const Lease& lease_;
  SocketAddress redis_;
  std::string username_, password_;
  std::vector<char> scratch_;
  std::uint64_t tunnel_epoch_ = 0;
  std::uint64_t reads_epoch_ = 0;
  std::uint64_t fed_epoch_ = 0;
  std::vector<std::string> removed_;
  std::size_t commands_ = 0;
  std::uint64_t last_relay_ = 0;
  std::function<void(const CopyNews&)> on_copy_;
  std::size_t tunnels_ = 0;
  std::size_t most_ = kRelaysMax;
  std::uint64_t full_told_ms_ = 0;
  bool holding_ = false;
  bool broken_off_ = false;
  bool closed_ = false;
  std::unordered_map<Relay*, std::unique_ptr<Relay>> relays_;
  std::vector<Relay*> dirty_;
  std::vector<Relay*> kept_back_;  // have something to say, and no lease
  std::vector<std::unique_ptr<Relay>> buried_;
};

}  // namespace azimuth
