// The control thread's hands on the local Redis: carries out what health's RedisPilot decides, over
// one command connection and one tap.
//
// Invariants: it never blocks; commands and replies keep their order; a reply is bounded; a command
// that was not answered when its connection was lost is forgotten, and the pilot asks anew. Nothing
// else in this process sends the local Redis REPLICAOF or CONFIG SET. Owned by the control thread;
// freed after the loop has run until closed().
#pragma once

#include <hiredis/hiredis.h>
#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "conf/settings.h"
#include "health/redis_pilot.h"
#include "proxy/control/name_lookup.h"
#include "proxy/data/socket.h"
#include "proxy/group/redis_socket.h"
#include "proxy/group/tap.h"

namespace azimuth {

class RedisControl {
 public:
  struct Hooks {
    // pilot().facts() have changed.
    std::function<void()> on_facts;
    // In front of what Redis says: the process may have been stopped meanwhile, and its timers come
    // behind its sockets. An order that is over must be taken back first.
    std::function<void()> on_woken;
    // For the log.
    std::function<void(const PilotOutbox::Event&)> on_event;
    // Open the tunnel port of this epoch and cut every other; 0: cut all. Answered by
    // on_tunnel_port(), as soon as it listens.
    std::function<void(std::uint64_t epoch)> on_want_tunnel;
    // What the local Redis has applied of its lineage; after each bite of
    // the stream.
    std::function<void(std::string_view replid, std::uint64_t offset)> on_applied;
    // The dead man's switch, asked before each ACK of the tap: a leader says whether its lease
    // holds, anybody else yes. Unset: yes.
    std::function<bool()> may_ack;
    // Redis answers at another address than it did.
    std::function<void(const SocketAddress&)> on_address;
  };

  // `announce_*`: how this node's replica is listed by the primary.
  RedisControl(uv_loop_t* loop, const RedisSettings& settings, std::string announce_host,
               std::uint16_t announce_port, Hooks hooks);
  ~RedisControl();
  RedisControl(const RedisControl&) = delete;
  RedisControl& operator=(const RedisControl&) = delete;

  void set_silence(Duration most) { pilot_.set_silence(most); }
  void set_backlog(const BacklogRules& rules) { pilot_.set_backlog(rules); }
  void start();
  void on_primary(std::string_view replid, std::uint64_t offset) {
    pilot_.on_primary(replid, offset);
  }
  void set_order(const RedisOrder& order);
  void on_tunnel_port(const TunnelPort& port);
  // After a reload. A new login is tried at once, on new connections.
  void set_settings(const RedisSettings& settings);
  // Puts back what was changed; pilot().left() says when that is done (at most a second or so).
  void leave();
  // Idempotent.
  void close();
  bool closed() const;

  const RedisPilot& pilot() const { return pilot_; }
  bool tap_attached() const { return tap_.attached(); }

 private:
  Tap::Hooks tap_hooks();
  void on_timer();
  // Does what the pilot wants, until it wants nothing more.
  void carry_out();
  void arm_timer();
  void connect();
  void connect_next_address();
  void send(const std::vector<std::vector<std::string>>& commands);
  void on_open();
  void on_bytes(std::string_view bytes);
  void on_reply(const redisReply& reply);
  void lost(std::string_view reason);
  void drop_connection();

  uv_loop_t* loop_;
  RedisSettings settings_;
  Hooks hooks_;
  RedisPilot pilot_;
  std::mt19937_64 random_;
  uv_timer_t* timer_ = nullptr;
  int handles_ = 0;  // open or closing
  bool closing_ = false;
  bool carrying_out_ = false;
  bool again_ = false;  // something has come in the middle of it

  NameLookup lookup_;
  bool awaiting_address_ = false;  // the pilot waits for a connection, and that for a look-up
  std::vector<SocketAddress> candidates_;  // tried from the back
  SocketAddress address_;                  // of this connection
  SocketAddress found_;                    // where it answered last

  RedisSocket socket_;
  Tap tap_;
  std::string tap_replid_;
  redisReader* reader_ = nullptr;
  std::size_t reply_bytes_ = 0;  // received since the last whole reply
  bool login_pending_ = false;   // the next reply is AUTH's
  std::string login_error_;      // the last one told
  std::uint64_t wanted_tunnel_ = 0;
};

}  // namespace azimuth
