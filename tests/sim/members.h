// Operators who take nodes out of the group and let them in again: who was asked asks on, as
// proxy/group/wishes does, until there is an answer.
//
// Invariants: a removal that was answered holds until somebody is asked to let that node in again;
// an answer is given only when a majority of the new voters has the change on the disk. Owned by
// one simulation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "health/leadership_messages.h"
#include "tests/sim/scheduler.h"

namespace azimuth::sim {

class World;

class Members {
 public:
  explicit Members(World& world) : world_(world) {}

  // Asks that machine; how it goes on shows in answered().
  std::uint64_t ask(std::size_t machine, Wish::Kind kind, const std::string& node);
  std::uint64_t remove(std::size_t machine, std::size_t whom);
  std::uint64_t add(std::size_t machine, std::size_t whom);
  // Null: not yet, or never.
  const WishResult* answer(std::uint64_t id) const;
  // One node is taken out or let in, somewhere.
  void any();
  // From now on whoever is out is let in again, and emptied if it would stay outside.
  void let_all_in();

  void on_results(std::size_t machine, const WishResult& result);
  // That node, the leader, is about to say that a change is done.
  void on_done(std::size_t leader);
  // A node leads with a live lease.
  void on_lease(std::size_t leader);

 private:
  void empty(std::size_t machine);

  struct Asked {
    std::size_t machine = 0;
    Wish wish;
    Time until = 0;
  };
  void ask_again(std::uint64_t id);

  World& world_;
  std::map<std::uint64_t, Asked> open_;
  std::map<std::uint64_t, WishResult> answers_;
  std::set<std::string, std::less<>> out_;                  // for certain
  std::map<std::string, std::vector<std::uint64_t>> adds_;  // of a node: all wishes to let it in
  std::uint64_t last_ = 0;
};

}  // namespace azimuth::sim
