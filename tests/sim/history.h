// I4, watched from outside: no read shows a session less than it must see. Known by the values
// alone, of which each names the write that made it; nothing of floors, offsets and tags is looked
// at.
//
// Each execution of a write notes the value that it replaced, so the versions of a key form a tree
// (a failover that loses writes makes a branch), and "at least as new as" is a walk towards the
// root. Checked of a session that reads `causal`:
//   - read-your-writes and monotonic reads: a read shows what the session has read or written of
//     that key, or something newer;
//   - monotonic writes and writes-follow-reads: where a write of its is executed, all that it had
//     read and written of any key when it sent it is there.
// Of one that reads with a bound of milliseconds: at least what the primary had so long before it
// asked.
//
// A session must be told that a failover has lost a write of its own before that shows; from there
// on it must see what the new epoch began with. What it has only read, and is lost, need not be
// told (nobody was promised that it lasts); that is counted.
//
// Owned by one simulation.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/sim/fake_redis.h"

namespace azimuth::sim {

class World;

class History {
 public:
  explicit History(World& world) : world_(world) {}

  // The data sets. `before`: what the write finds.
  void on_executed(std::size_t machine, WriteId id, std::uint64_t epoch, const Values& before);
  void on_leader(std::uint64_t epoch, const DataSet& data);
  // An operator has overruled the group: nothing is promised of what was before, in this run.
  void give_up() { given_up_ = true; }

  // The sessions.
  std::size_t add_session();
  void on_send(std::size_t session, WriteId id);
  void on_acked(std::size_t session, WriteId id);
  void on_read(std::size_t machine, std::size_t session, std::size_t key, WriteId value);
  // The same with a bound. `invoked`: when it was asked.
  void on_bounded_read(std::size_t machine, std::size_t key, WriteId value, Time invoked,
                       Time bound);
  // It was told, at a node that is in `epoch`, that something is lost.
  void on_told(std::size_t session, std::uint64_t epoch);
  // It has a token that stands for all that it has seen so far; it begins anew with the last one.
  void on_token(std::size_t session) { sessions_[session].token = sessions_[session].known; }
  void on_resumed(std::size_t session) { sessions_[session].known = sessions_[session].token; }
  void on_reborn(std::size_t session) { sessions_[session] = {}; }

  std::uint64_t checked() const { return checked_; }
  std::uint64_t told() const { return told_; }
  // ... and nothing that it had read or written was gone: a tag lies at or beyond its write.
  std::uint64_t told_in_vain() const { return told_in_vain_; }
  // Reads that went back behind what had been read, and was lost.
  std::uint64_t lost_reads() const { return lost_reads_; }

 private:
  struct Version {
    WriteId before = 0;
    std::uint32_t depth = 0;  // 0: not executed
    std::uint64_t epoch = 0;
  };
  struct Known {  // by key: this, or something newer
    Values written{}, read{};
  };
  struct Session {
    Known known, token;
    std::uint64_t told_epoch = 0;  // of which the new leader is not known yet
  };

  Version& version(WriteId id);
  bool at_least(WriteId value, WriteId wanted);
  // What is left of `known` in the first epoch from `epoch` on whose beginning is known.
  bool cut_back(Values& known, std::uint64_t epoch);
  // The version that `value` is not at least as new as; 0: none.
  WriteId missing(WriteId value, Known& known, std::size_t key);
  void settle(Session& session);

  World& world_;
  std::vector<Version> versions_{1};
  std::map<std::uint64_t, DataSet> begins_;  // by epoch
  // Of each key, what the primary had, and from when on; without what was lost.
  std::array<std::vector<std::pair<Time, WriteId>>, kKeys> truth_;
  std::vector<Session> sessions_;
  std::unordered_map<WriteId, Known> sent_;  // what their sessions had seen
  bool given_up_ = false;
  std::uint64_t checked_ = 0, told_ = 0, told_in_vain_ = 0, lost_reads_ = 0;
};

}  // namespace azimuth::sim
