// From whom each replica's Redis takes the stream of this epoch: straight from the primary, or from
// another member near it, so that what is replicated crosses each boundary of zones and regions as
// seldom as safety allows.
//
//   primary's zone    another zone of its region     another region
//   p --- all         p --- head --- the others      p --- head --- heads of zones --- the others
//
// Invariants: no order can make a ring, whatever datagrams are late or lost: a source is only who
// has told that its own last order is carried out, as has each on its way up to the primary, and
// who does not hang below the one that is moved. The way to the primary itself is always free.
// Nobody is moved for economy while anybody else is on the way, nor who is not in sync; a source
// that is lost is left at once. As many stay with the primary as `quorum` writes need, and one
// more, and as many when any one other zone is gone, if there are as many. Pure; the leader's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "conf/instant.h"

namespace azimuth {

// A member beside the leader, as the leader knows it. A source is a node id; empty: the primary.
struct TreeNode {
  std::string id, zone, region;
  bool votes = true;
  bool alive = false;    // gossip does not suspect it
  bool leaving = false;  // is about to end
  bool heard = false;    // it has told the following, in this epoch
  bool in_sync = false;  // follows this epoch, and its link is up
  bool able = true;      // its release knows of sources
  bool copying = false;  // a copy is on its way to it
  std::uint64_t offset = 0;
  std::uint64_t version = 0;  // of the order that it has carried out last; 0: none of this leader's
  std::string source;         // where its tunnel leads
};

struct TreeSight {
  std::string zone, region;     // the leader's
  std::vector<TreeNode> nodes;  // by id, each once
  // How many must replicate straight from the primary, in sync, for `quorum` writes to go on.
  std::size_t direct_needed = 0;
  bool wanted = true;  // false: all from the primary, as far as nothing is broken off for it
  // Something else moves (a hand-over, a change of voters): nothing for economy now.
  bool quiet = false;
};

struct TreeOrder {
  std::uint64_t version = 0;  // 0: none yet, it stays where it is; at first that is the primary
  std::string source;
  friend bool operator==(const TreeOrder&, const TreeOrder&) = default;
};

struct TreeChange {
  std::string node, from, to, why;
};

struct TreeTimes {
  Duration apart = milliseconds(3000);       // between two changes of one node for economy
  Duration moving = milliseconds(500);       // who moves may be without its link so long
  Duration patience = milliseconds(10'000);  // ... and without its stream, when it does not copy
  Duration shun = milliseconds(60'000);      // then this source is not tried again for so long
};

class TunnelTree {
 public:
  // `now`: when the epoch began.
  explicit TunnelTree(Instant now, TreeTimes times = {}) : times_(times), began_(now) {}

  std::vector<TreeChange> update(Instant now, const TreeSight& sight);
  TreeOrder order_of(std::string_view node) const;

 private:
  struct Link {
    std::string source;
    std::uint64_t version = 0;
    Instant since{};  // of the last change
    // All that its tunnel may lead to: what was ordered since it last told, and what it told.
    std::set<std::string, std::less<>> maybe;
    bool settled = false;
    bool present = false;
    bool placed = false;             // it had its first place
    Instant missing_since = kNever;  // out of sync, since
    std::string shunned;
    Instant shunned_until{};
  };
  using Wanted = std::map<std::string, std::string, std::less<>>;
  using Names = std::vector<std::string>;

  void take_in(Instant now);
  Wanted wanted() const;
  std::string head_of(const Names& candidates, const Names& dependants) const;
  void keep_enough_direct(Wanted& want) const;
  bool enough_direct(const Names& direct) const;
  void leave_what_is_lost(Instant now);
  void place(Instant now, const Wanted& want);
  void lift(Instant now, const Wanted& want);
  void economize(Instant now, const Wanted& want);
  // Why `source` feeds nobody any more; empty: it does.
  std::string lost(Instant now, const std::string& source) const;
  bool may_feed(Instant now, const std::string& source, const std::string& node) const;
  std::size_t height_below(std::string_view node) const;
  void order(Instant now, const std::string& node, const std::string& source, std::string why);

  const TreeNode* find(std::string_view node) const;
  bool fit(const TreeNode& node) const { return node.alive && node.in_sync && !node.leaving; }
  Names fit_and_direct() const;

  TreeTimes times_;
  Instant began_;
  std::map<std::string, Link, std::less<>> links_;
  std::uint64_t last_version_ = 0;
  TreeSight sight_;
  std::vector<TreeChange> changes_;
};

}  // namespace azimuth
