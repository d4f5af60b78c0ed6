// The invariants, watched from outside: the checker sees the true time, every node and every data
// set at once, and says so when something is that must not be.
//
//   I1  one leader an epoch; epochs grow; what was promised is on the disk before it is said
//   I2  no write reaches a Redis without the lease, and none is opened for writes without it; no
//   two
//       leases live at one true instant
//   I3  what was acknowledged with `quorum` is in every later primary
//   I4  no read shows a session less than it must see (history.h)
//   I4  ... and tunnels of one epoch make no ring, in which all would be connected and stale
//   I5  no full sync from a lineage that is no leader's; none wipes a quorum write
//
// Owned by one simulation.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "health/group_state.h"
#include "health/leadership_messages.h"
#include "tests/sim/fake_redis.h"
#include "tests/sim/history.h"
#include "tests/sim/node.h"

namespace azimuth::sim {

class World;

class Checker {
 public:
  explicit Checker(World& world) : world_(world), history_(world) {}

  WriteId new_write(bool quorum);
  void on_save(std::size_t node, const GroupState* before, const GroupState& after);
  void on_message(std::size_t node, std::string_view to, const GroupMessage& message);
  void on_turn(std::size_t node);
  void on_start(std::size_t node);
  // A disk is lost. Where no majority of the voters remembers the group any more nothing is
  // promised: another one may be founded, and an operator decides what becomes of the rest.
  void on_disk_lost(std::size_t node);
  bool majority_forgot() const { return majority_forgot_; }
  void on_fence_lifted(std::size_t machine);
  void on_flush(std::size_t node, std::uint64_t epoch);
  void on_executed(std::size_t node, WriteId id, std::uint64_t epoch, const Values& before);
  void on_acked(std::size_t node, WriteId id, bool quorum);
  void on_full_sync(std::size_t node, const DataSet& old, const Snapshot& incoming);
  // An operator has overruled the election: what was held by others may be gone.
  void on_forced();
  // From here on every leader must have all that a machine other than this has: the single failure
  // under way. None: no claim is made of `async` writes.
  void expect_no_loss(std::optional<std::size_t> failed);
  void stop_expecting() { expecting_ = false; }

  History& history() { return history_; }
  std::uint64_t elections() const { return elections_; }
  std::uint64_t acked() const { return acked_; }
  std::uint64_t quorum_acked() const { return quorum_acked_; }
  Time last_ack() const { return last_ack_; }
  // Quorum writes that are gone because all that held them lost their memory.
  std::uint64_t quorum_forgiven() const { return quorum_forgiven_; }
  const std::set<std::uint64_t>& ready_epochs() const { return ready_; }

 private:
  struct Write {
    std::uint64_t epoch = 0;
    bool acked = false, quorum_acked = false;
    bool forgiven = false;  // all that held it have lost their memory
    // Machine and generation of the voters' Redis processes that held it when it was acknowledged.
    std::vector<std::pair<std::size_t, std::uint64_t>> holders;
  };

  void check_electorate(std::size_t node, const Electorate& before);
  void check_ring(std::size_t node);
  void on_ready(std::size_t node, std::uint64_t epoch);
  bool intact_holder(const Write& write, WriteId id, const Electorate& voters) const;
  bool held_elsewhere(std::size_t node, WriteId id) const;

  World& world_;
  History history_;
  std::vector<Write> writes_{1};
  std::map<std::uint64_t, std::string> leader_of_;
  std::map<std::pair<std::size_t, std::uint64_t>, std::string> promised_;  // by node and epoch
  std::map<std::size_t, std::uint64_t> last_epoch_;
  std::map<std::size_t, Time> last_lease_;  // when it was last seen to live
  std::set<std::uint64_t> ready_;
  DataSet newest_;  // what the newest epoch began with
  std::set<std::string> lineages_;
  bool expecting_ = false, majority_forgot_ = false;
  std::optional<std::size_t> failed_;
  std::uint64_t elections_ = 0, acked_ = 0, quorum_acked_ = 0, quorum_forgiven_ = 0;
  Time last_ack_ = 0;
};

}  // namespace azimuth::sim
