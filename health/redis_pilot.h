// Drives the local redis-server into the state that an order asks for, by commands, and reports
// what it is. It does nothing itself: the owner sends the commands of the outbox over one
// connection, in order, and hands each reply back; it opens and closes the tap and this epoch's
// tunnel port as asked.
//
// Invariants: a write fence is set before anything that could make the Redis a writable primary by
// accident, and lifted last (I2); REPLICAOF names nothing but this node's own tunnel (I5); whatever
// is not known to be so is asked for again. Every setting that is changed is remembered with its
// former value. Pure; owned by the control thread. Sources: replication.c of Redis 7.0;
// the facts are listed in health/README.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/instant.h"
#include "health/backlog_size.h"
#include "health/local_redis.h"

namespace azimuth {

// Where this node's own Redis finds its tunnel; the owner has opened the port.
struct TunnelPort {
  std::uint64_t epoch = 0;
  std::uint16_t port = 0;  // on 127.0.0.1
};

// One reply, flattened as health/redis_probe.h's RedisReply is.
struct PilotReply {
  enum class Kind : std::uint8_t { kText, kInteger, kList, kError, kNull };
  Kind kind = Kind::kNull;
  std::string text;  // kText, kError
  std::int64_t integer = 0;
  std::vector<std::string> elements;  // kList, nested ones laid flat, integers as text
};

struct PilotOutbox {
  bool connect = false;  // (after a loss, backed off)
  bool close = false;
  std::vector<std::vector<std::string>> commands;
  // The tap: a replication connection that shows what the Redis applies, and keeps a primary's
  // offset counting (REDIS: no backlog without a replica). Level, not edge.
  bool want_tap = false;
  // The tunnel that the Redis is to replicate through. Epoch 0: none, cut what there is.
  std::uint64_t want_tunnel_epoch = 0;
  struct Event {
    std::string name, text;
    bool error = false;
  };
  std::vector<Event> events;
  bool facts_changed = false;
};

// What its Redis has measured, as it was last asked: for people, and for what is shown of syncs.
struct RedisNumbers {
  std::uint64_t backlog_bytes = 0;  // repl-backlog-size; 0: not known
  std::uint64_t backlog_wanted = 0;
  std::uint64_t backlog_first = 0, backlog_held = 0;  // its first byte's offset, its length
  double write_bytes_per_s = 0;
  double saved_share = 0;  // 0 to 1: of the snapshot that is being written, or copied
};

class RedisPilot {
 public:
  RedisPilot(std::string announce_host, std::uint16_t announce_port, Instant now);
  ~RedisPilot();

  // What a replica says to a primary that wants a login; all members have the same. Before the
  // first connection, or before one that is made anew.
  void set_login(std::string username, std::string password);
  // So long a Redis whose connection stands may be silent before it counts as dead.
  void set_silence(Duration most);
  void set_backlog(const BacklogRules& rules);

  void set_order(Instant now, const RedisOrder& order);
  void on_connected(Instant now);  // and logged in
  void on_disconnected(Instant now, std::string_view reason, std::uint64_t random);
  void on_reply(Instant now, const PilotReply& reply);
  void on_tunnel_port(Instant now, const TunnelPort& port);  // it is open
  // The tap is attached, to the stream of this lineage (it has the same one until it ends); or has
  // ended.
  void on_tap(Instant now, bool attached, std::string_view replid = {});
  // Redis refuses the tap, and will go on to; empty: not any more.
  void on_tap_trouble(Instant now, std::string_view reason);
  // How far the epoch's primary is, of that lineage, as the group has heard lately: what a replica
  // gets while it is behind is no measure of what is written.
  void on_primary(std::string_view replid, std::uint64_t offset);
  // The tap has seen this much of its lineage applied; more exact and earlier than asking.
  void on_applied(Instant now, std::uint64_t offset);
  void on_tick(Instant now, std::uint64_t random);
  // Puts back what was changed, as far as that is safe (the last commands; on_reply as before).
  void leave(Instant now);
  bool left() const;

  Instant next_wakeup() const;
  [[nodiscard]] PilotOutbox take_outbox();
  const LocalRedis& facts() const;
  RedisNumbers numbers() const;
  // A replica that is known to be about as far as its primary.
  bool abreast(Instant now) const;
  // Why it cannot be driven (an ACL, a renamed command, a protected setting), with what to do;
  // empty while it can.
  const std::string& trouble() const;

 private:
  struct Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace azimuth
