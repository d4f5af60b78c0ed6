// This node's part in its group: gossip, leadership and the pilot of the local Redis, run on the
// control thread. The machines decide; this carries out what they list, in their order.
//
//   datagrams, facts of Redis, time, wishes -> machines -> save, send, order, publish
//
// Invariants: what leadership sends, orders or leases out takes effect only when the state that it
// depends on is on the disk; while it cannot be saved, or another node has this one's id, the node
// has no say: it sends nothing, its Redis is fenced, its lease is dropped (I1, I2). The lease is
// published before the topology that relies on it. Owned by the control thread; freed after the
// loop has run until closed().
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"
#include "conf/settings.h"
#include "health/back_pressure.h"
#include "health/backlog_size.h"
#include "health/gossip.h"
#include "health/leadership.h"
#include "proxy/control/status.h"
#include "proxy/data/socket.h"
#include "proxy/group/applied.h"
#include "proxy/group/lease.h"
#include "proxy/group/member_wishes.h"
#include "proxy/group/seeds.h"
#include "proxy/group/state_file.h"
#include "proxy/group/topology_of.h"
#include "proxy/group/wishes.h"
#include "proxy/peer/cluster_key.h"
#include "proxy/peer/datagram_socket.h"
#include "proxy/peer/sealed_datagram.h"
#include "router/topology.h"

namespace azimuth {

class RedisControl;
class RedisPilot;

// What a node must have to be of a cluster, checked before anything is started.
struct Membership {
  ClusterKeys keys;
  std::unique_ptr<StateFile> file;
  std::optional<GroupState> saved;
  std::string address;  // advertised, as a number
  std::uint64_t boot = 0;
};
Result<Membership> prepare_membership(const Settings& settings);

class Group {
 public:
  struct Hooks {
    std::function<void(const std::shared_ptr<const Topology>&)> on_topology;
    // What describe() says has changed.
    std::function<void()> on_news;
    // While this node leads: how long each write is to wait, since a replica does not keep up.
    std::function<void(std::uint32_t delay_us)> on_write_delay;
    // Open this epoch's tunnel port and cut all others (0: all); on_tunnel_port() answers.
    std::function<void(std::uint64_t epoch)> want_tunnel;
    // Where that tunnel leads, and which lineage may be copied through it; on_tunnel_source()
    // answers.
    std::function<void(std::uint64_t epoch, const SocketAddress& source, const std::string& node,
                       const std::string& replid)>
        set_tunnel_source;
  };

  Group(uv_loop_t* loop, const Settings& settings, Membership membership, Lease& lease,
        Applied& applied, Hooks hooks);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // Binds the UDP address; a fault is one of start-up.
  Outcome open();
  void start();
  // The tunnel port that was wanted listens.
  void on_tunnel_port(std::uint64_t epoch, std::uint16_t port);
  // That tunnel leads to `node` now, and nowhere else any more.
  void on_tunnel_source(std::uint64_t epoch, const std::string& node);
  // No worker has a write in flight any more, while the topology says `holding`.
  void on_drained();
  void set_redis_settings(const RedisSettings& settings);
  void set_back_pressure(const BackPressureSettings& settings);
  void set_tunnel_tree(bool wanted);

  // An operator's wishes. `answer` is called once: empty when the new primary is ready, else why
  // not.
  void switch_over(const std::string& to, Wishes::Answer answer);
  void force(const std::string& node, Wishes::Answer answer);
  // Takes a node out of the group, or lets it in again. `answer`: empty when a majority knows.
  void change_members(Wish::Kind kind, const std::string& node, MemberWishes::Answer answer);
  // This node's Redis takes the writes, or is about to.
  bool leading() const { return published_.leading; }

  // The node will leave: nobody hands over to it any more.
  void prepare_to_leave();
  // Is there anybody else who may become the primary, soon perhaps?
  bool has_successor() const;
  // Says goodbye, and lets go of Redis. The node has no say any more.
  void leave();
  bool left() const;
  // Idempotent.
  void close();
  bool closed() const;

  // How the local Redis introduces itself to its primary: "host port".
  std::string announced() const;
  const std::shared_ptr<const Topology>& topology() const { return topology_; }
  // Of a member that runs.
  const RedisPilot* pilot() const;
  void describe(NodeReport& report) const;
  // Empty: the node can serve.
  std::string why_not_ready() const;

 private:
  GroupSight sight() const;
  // Neither a Redis nor a vote: it goes by what gossip says.
  bool is_sidecar() const { return !gossip_.self().member && !gossip_.self().wants_vote; }
  bool has_say() const { return !unsaved_ && !id_taken_ && !leaving_; }

  // One turn: all that the machines have to say, until they are silent.
  void turn();
  void take_gossip(Instant now);
  void take_leadership(Instant now);
  void on_tick();
  void share_facts(Instant now);
  bool save(std::optional<GroupState>& state, Instant now);
  void order(const RedisOrder& wanted);
  void set_tunnel();
  // The epoch whose stream this node's Redis hands on to other replicas; 0: none.
  std::uint64_t fed_epoch() const;
  // Why the node has no say.
  std::string mute_reason() const;
  void set_lease();
  void publish(Instant now);
  void press_back(Instant now);
  void arm_timer(Instant now);

  // group_wishes.cpp
  Outcome pass_on(const Wish& wish);
  void ask(Wish::Kind kind, const std::string& node, Wishes::Answer answer);
  void offer_wishes(Instant now);

  // group_mail.cpp
  void start_redis();
  void on_datagram(std::string_view from, std::string_view datagram);
  void on_message(Instant now, std::string_view from, const Envelope& envelope);
  void send(const std::string& node, const GroupMessage& message);
  std::string address_of(const std::string& node) const;
  void on_gossip_event(Instant now, const GossipOutbox::Event& event);
  void watch_id(Instant now);
  void note_suspicion(Instant now, const NodeRecord& record);
  void tell_solitude(Instant now);

  std::uint64_t random() { return random_(); }

  uv_loop_t* loop_;
  const std::string cluster_;
  const Endpoint bind_;
  const std::optional<RedisSettings> redis_settings_;
  const Duration redis_silence_;
  const BacklogRules backlog_;
  Membership membership_;
  Lease& lease_;
  Applied& applied_;
  Hooks hooks_;
  std::mt19937_64 random_;
  const Instant started_;

  uv_timer_t* timer_ = nullptr;
  int handles_ = 0;
  bool closing_ = false;
  bool turning_ = false;
  bool again_ = false;  // something has come in the middle of a turn

  Gossip gossip_;
  Leadership leadership_;
  BackPressure back_pressure_;
  std::uint32_t write_delay_us_ = 0;     // that the workers were told
  std::unique_ptr<RedisControl> redis_;  // of a member
  SealedDatagrams sealed_;
  std::unique_ptr<DatagramSocket> socket_;
  Seeds seeds_;
  Wishes wishes_;
  MemberWishes member_wishes_;

  LocalRedis told_;  // what leadership was last told of Redis
  RedisOrder ordered_;
  bool ordered_once_ = false;
  struct TunnelSource {
    std::uint64_t epoch = 0;
    std::string node, address, replid;
    friend bool operator==(const TunnelSource&, const TunnelSource&) = default;
  };
  std::uint64_t tunnel_epoch_ = 0;  // whose port is open
  std::uint16_t tunnel_port_ = 0;
  TunnelSource tunnel_source_;        // that it was told
  std::uint64_t followed_epoch_ = 0;  // whose order to follow Redis has carried out
  std::optional<GroupState> unsaved_;
  Instant save_again_{}, save_told_{};
  bool id_taken_ = false;
  Instant id_taken_until_{};
  std::string id_taken_by_;  // in gossip's words
  bool will_leave_ = false;
  bool leaving_ = false;

  std::map<std::string, std::string, std::less<>> heard_;  // who has written to us, from where
  struct Repute {
    Instant since{};
    int suspicions = 0;
    bool dead = false;
  };
  std::map<std::string, Repute, std::less<>> reputes_;  // of those that were suspected
  Instant solitude_told_{};
  std::uint64_t messages_refused_ = 0;
  std::uint64_t messages_unsent_ = 0;
  std::uint64_t source_changes_ = 0;
  std::shared_ptr<const Topology> topology_;
  bool topology_stale_ = false;
  GroupView published_;        // leadership's view, as far as this node has a say
  std::vector<Fork> history_;  // of a sidecar: what leaders have told of it
};

}  // namespace azimuth
