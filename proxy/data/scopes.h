// Session scopes that span connections: all of a user's, of a client name's, or of this node. What
// one connection writes and reads, on whatever worker, bounds the next read of every other one
// (session/scope.h).
//
// This is the one thing that workers share on the data path, and so it has a lock: each scope its
// own, held for a few instructions, once for a read and once for a batch. The order that it
// makes is what the promise stands on: what was shown is entered before its bytes leave, a read
// looks after its bytes have come.
//
// Invariants: a session of scope `connection` has no Scope and meets no lock. At most kScopesMax;
// of those that nobody uses any more one is forgotten for a new one. Once all were in use, every
// other name belongs to the scope of the node, which includes them all, until the process ends:
// were one of them given its own later, its connections would be of two. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/consistency.h"
#include "conf/limits.h"
#include "conf/position.h"
#include "session/scope.h"

namespace azimuth {

class Scope {
 public:
  explicit Scope(std::string name) : name_(std::move(name)) {}
  // "user app", "client-name web", "node": for the log.
  const std::string& name() const { return name_; }

  // What a read that has come must reach.
  struct Sight {
    bool whole = true;
    Position floor;
    // The replica that was read last (Replica::Place::key), and how far it was: a hint, as the
    // tap's.
    std::uint64_t replica = 0;
    std::uint64_t applied = 0;
  };
  Sight sight() const;

  // As ScopeFloor's.
  std::uint64_t show(std::uint64_t before);
  void lose(std::uint64_t number);
  // It is shown and will have no position.
  void show_unplaced();
  std::uint64_t last() const;
  void place(Position position, std::uint64_t number, std::uint64_t asked);
  void place_read(Position position, std::uint64_t number, std::uint64_t replica);
  void raise(Position position);
  bool loses(Position floor);

  // The failover that began the present epoch has lost something of the scope's. True: that is new.
  bool carry(const std::vector<EpochStart>& starts);
  // One of its connections has to be told: the first that comes takes it.
  void owe_word() { owes_word_ = true; }
  bool owes_word() const { return owes_word_.load(std::memory_order_relaxed); }
  bool take_word() { return owes_word_.exchange(false); }

 private:
  const std::string name_;
  mutable std::mutex mutex_;
  ScopeFloor floor_;
  std::uint64_t replica_ = 0;
  std::uint64_t applied_ = 0;
  std::atomic<bool> owes_word_{false};
};

// A batch of requests has a part in each scope that one of its clients belongs to.
struct ScopePart {
  std::shared_ptr<Scope> scope;
  std::uint64_t asked = 0;   // see ScopeFloor::place
  std::uint64_t number = 0;  // of what was shown last while its position had not come; 0: nothing
};

class Scopes {
 public:
  explicit Scopes(std::size_t most = kScopesMax) : most_(most) {}

  // Null: the session is its connection, also where it is to be a client name's and has none.
  std::shared_ptr<Scope> of(SessionScope kind, std::string_view user, std::string_view client_name);
  // Into the present epoch, all of them. `lost`: of this one something that nobody was told of.
  void carry(const std::vector<EpochStart>& starts, const std::function<void(Scope&)>& lost);
  std::size_t size() const;

 private:
  const std::size_t most_;
  mutable std::mutex mutex_;
  bool full_ = false;  // all of them were in use
  std::unordered_map<std::string, std::shared_ptr<Scope>> scopes_;
  std::shared_ptr<Scope> node_ = std::make_shared<Scope>("node");
};

}  // namespace azimuth
