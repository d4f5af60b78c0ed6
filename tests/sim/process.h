// What a node's process holds in memory: gone when it ends. Owned by its Node.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "tests/sim/data_path.h"
#include "tests/sim/node.h"
#include "tests/sim/world.h"

namespace azimuth::sim {

struct Node::Process {
  Process(World& world, Node& node, std::size_t index, const NodeRecord& record,
          const LeadershipSettings& settings, std::optional<GroupState> saved, Instant now)
      : gossip(record, GossipTimes{}, now),
        leadership(settings, std::move(saved), record.boot, now),
        data(world, node, index) {}

  Gossip gossip;
  Leadership leadership;
  std::unique_ptr<RedisPilot> pilot;  // of a member
  DataPath data;                      // of its worker

  // What has been passed on, so that only what is new is.
  std::map<std::string, PeerFacts> told_peers;
  LocalRedis told_redis;
  NodeRecord told_record;
  RedisOrder told_order;
  bool told_any_redis = false;
  bool unsaved = false;  // the last save has failed: nothing may be sent

  Time armed = 0;  // the tick that is under way
  std::uint64_t ticks = 0;
  Time ticks_since = 0;

  // The pilot's connection.
  std::uint64_t connection = 0;  // counts; commands and replies of an older one are void
  bool connected = false;
  Time command_due = 0, reply_due = 0;

  // The tap and the tunnel.
  bool want_tap = false;
  enum class Tap : std::uint8_t { kNone, kAttaching, kAttached } tap = Tap::kNone;
  std::uint64_t tap_number = 0;
  Time tap_due = 0;
  std::uint64_t want_tunnel = 0, tunnel_epoch = 0;
  std::uint16_t tunnel_port = 0;
  std::string wanted_source, source;  // of the tunnel: that it was told, that it has
  std::uint64_t followed_epoch = 0;

  // What the worker is told.
  GroupView published;
  // Of a sidecar: what it knows by gossip alone.
  GroupView heard;
  std::vector<Fork> history;
  bool topology_stale = true;
  std::shared_ptr<const Topology> topology = std::make_shared<const Topology>();
  Time topology_due = 0;
  std::string promoted;  // run_id of the process that was last seen promoted

  // The data path of those who only write.
  std::uint64_t in_flight = 0;
  std::uint64_t reign = 0;  // counts; what has not been answered when it ends is given up
  bool told_drained = false;
  // How many replicas must have a quorum write: as its workers and links are told while it leads;
  // and what leaders have told on the links to them, by machine and epoch.
  std::size_t quorum = 0;
  std::map<std::pair<std::size_t, std::uint64_t>, std::size_t> told_quorum;
  std::uint64_t upstream = 0;  // the Redis process that the workers are connected to; 0: none
  Time upstream_from = 0;      // they connect anew from here on
};

}  // namespace azimuth::sim
