// One azimuth process: the real gossip, leadership and pilot, with the simulator's world in place
// of sockets, timers and files. What proxy/group does, it does, in the same order: save, send,
// order.
//
// Invariants: nothing happens in it while it is paused or gone; its state file is all that survives
// its end; a crash may fall between saving and sending. Owned by one simulation.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "health/gossip.h"
#include "health/leadership.h"
#include "health/redis_pilot.h"
#include "tests/sim/node_clock.h"
#include "tests/sim/redis_server.h"
#include "tests/sim/standstill.h"

namespace azimuth::sim {

class World;
class DataPath;

struct NodeSetup {
  std::string id, zone, region = "r";
  bool member = true;
  bool votes = true;
  bool sidecar() const { return !member && !votes; }
  std::uint32_t bootstrap_expect = 3;
};

// A client's write on its way.
struct WriteRequest {
  WriteId id = 0;
  bool quorum = false;
  std::uint64_t bytes = 0;
  std::size_t origin = 0;  // the node that the client is connected to
  Time give_up = 0;
  // The process of `origin` that took it, and the replicas that this one asks for in WAIT, as the
  // leader has told it; none: it is told on the way.
  std::uint64_t boot = 0;
  std::optional<std::size_t> asked;
};

class Node {
 public:
  Node(World& world, std::size_t index, NodeSetup setup, NodeClock clock);
  ~Node();

  void start();
  enum class Crash : std::uint8_t { kProcess, kMachine };
  void crash(Crash how);
  void pause(Time until);
  // At the next save of its state: before it is on the disk, or right after.
  enum class CrashAtSave : std::uint8_t { kNo, kBefore, kAfter };
  void crash_at_save(CrashAtSave when) { crash_at_save_ = when; }
  void fill_disk(bool full) { disk_full_ = full; }
  void lose_disk() {
    disk_.clear();
    saved_.reset();
  }
  void restart_clock(NodeClock clock) { clock_ = clock; }

  bool running() const { return process_ != nullptr; }
  Time resumes() const { return standstill_.resumes(); }
  Instant now() const;
  const NodeSetup& setup() const { return setup_; }
  const GroupView& view() const;
  const LocalRedis& facts() const;
  const GroupState* state() const;  // null: not running
  const GroupState* on_disk() const { return saved_ ? &*saved_ : nullptr; }
  unsigned local_health() const;
  bool lease_holds(std::uint64_t epoch) const;
  // Where its tunnel leads, once it does; empty: nowhere yet.
  const std::string& tunnel_source() const;
  std::uint64_t tunnel_epoch() const;  // of which it is
  // Its Redis follows that epoch, and feeds others; `anew`: takes one more of them.
  bool feeds(std::uint64_t epoch, bool anew) const;
  // 0: no such port is open here.
  std::uint64_t tunnel_epoch(std::uint16_t port) const;

  // A turn of the worker's loop, unless the process is gone by then; later while it is paused.
  void work(std::function<void(DataPath&)> happen);
  void work_later(Time delay, std::function<void()> happen);
  DataPath& data();
  std::uint64_t boot() const { return generation_; }
  // This process of Redis is the one that was promoted here.
  bool promoted(const FakeRedis& redis) const;

  void on_gossip(const std::string& from, const std::string& bytes);
  void on_group_message(const std::string& from, const std::string& bytes);
  void on_tap_bytes(std::uint64_t offset);
  void on_tap_end();
  void on_redis_gone();
  std::string switch_over(const std::string& to);  // why not; empty: under way
  std::string force(const std::string& node);
  void change_members(const Wish& wish);  // the answer goes to the world's Members

  // A write that this node has from a client, or (with the epoch that was aimed at) from another.
  void write(const WriteRequest& request);
  void on_forwarded(const WriteRequest& request, std::uint64_t epoch);

 private:
  struct Process;

  void later(Time delay, std::function<void()> happen);
  void turn(std::uint64_t generation, const std::function<void()>& happen);
  void pump();
  void work_turn(std::uint64_t generation, const std::function<void()>& happen);
  bool feed_leadership();
  void feed_record();
  bool carry_out_leadership();
  bool save(const GroupState& state);
  bool carry_out_pilot();
  bool carry_out_gossip();
  void hear_leaders();
  void publish();
  void arm();
  void tick();

  void connect_pilot();
  void send_command(const std::vector<std::string>& command);
  void mind_tap();
  void attach_tap();
  void ack_tap();
  void mind_tunnel();
  void mind_source();

  std::string wish(const std::function<Outcome(Leadership&, Instant)>& ask);

  void execute(const WriteRequest& request, std::uint64_t epoch);
  void on_executed(const WriteRequest& request, std::uint64_t epoch, WriteResult result);
  // WAIT at the leader, and the answer on its way back to who asked.
  struct Awaited {
    WriteRequest request;
    std::size_t leader = 0;
    std::uint64_t epoch = 0, reign = 0, offset = 0;
    std::size_t replicas = 0;  // that have it by now
  };
  void await_copies(const Awaited& awaited);
  void on_copied(const Awaited& awaited, std::size_t needed);
  std::size_t quorum_by_own_view() const;
  void retry(const WriteRequest& request);
  void mind_drain();

  World& world_;
  std::size_t index_;
  NodeSetup setup_;
  NodeClock clock_;
  std::unique_ptr<Process> process_;
  std::uint64_t generation_ = 0;
  Standstill standstill_;
  std::string disk_;                 // the state file
  std::optional<GroupState> saved_;  // the same, read
  bool disk_full_ = false;
  CrashAtSave crash_at_save_ = CrashAtSave::kNo;
};

}  // namespace azimuth::sim
