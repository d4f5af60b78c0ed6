// A group of Leadership machines in virtual time: a network that delays, loses and cuts, disks that
// keep or lose, and a Redis for each member that does what an order says a moment later.
//
// After every millisecond it is checked that at most one node holds a lease (I2), that an epoch has
// one leader (I1), that what a node saved only grows, and that a new leader has every word that
// was on as many copies as a quorum write needs (I3), unless no Redis at all has it any more. A
// tick comes only when next_wakeup() asked for it. tests/sim has the real Redis behaviour; here a
// write is a word in a list.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "health/leadership.h"

namespace azimuth::test {

using Words = std::vector<std::string>;

struct FakeRedis {
  bool alive = true, loading = false;
  std::string run_id, replid, replid2;
  std::int64_t second_offset = -1;
  Words words;  // its data; the offset is their number
  bool master = true, fenced = true, link_up = false;
  RedisOrder done{OrderKind::kFence, 0, {}, {}};
  std::int64_t order_at = 0;
  RedisOrder order;
  std::string trouble;  // it takes no more orders
};

struct Node {
  LeadershipSettings settings;
  std::unique_ptr<Leadership> machine;  // none: the process is down
  std::optional<GroupState> disk;
  std::uint64_t boot = 0;
  std::int64_t down_since = 0;
  bool paused = false;
  FakeRedis redis;
  Words refusals;  // events of note
  std::vector<WishResult> results;
};

class World {
 public:
  explicit World(std::uint64_t seed = 1) : random_(seed) {}

  Node& add(const std::string& id, bool member = true, std::uint32_t expect = 3);
  void start(const std::string& id);
  // The process dies; its Redis goes on.
  void kill(const std::string& id);
  // Ends in an orderly way: the others know at once.
  void leave(const std::string& id);
  void kill_redis(const std::string& id);
  // Another process, with these data; by default with nothing and of no lineage.
  void start_redis(const std::string& id, Words words = {});
  void cut(const std::string& a, const std::string& b);  // both ways
  void isolate(const std::string& id);
  void heal() { cuts_.clear(); }
  // What a disk may be lost against: the loss of a majority's is for an operator to mend.
  bool majority_remembers_without(const std::string& id) const;
  // An operator takes the loss of writes upon himself.
  void forgive() { acknowledged_.clear(); }
  Outcome switch_over(const std::string& asked, const std::string& to);
  void change_members(const std::string& asked, Wish::Kind kind, const std::string& node,
                      std::uint64_t id);
  // A message that nobody sent arrives now.
  void inject(const std::string& to, const std::string& from, const GroupMessage& message);
  Outcome force(const std::string& asked, const std::string& to);

  void run(std::int64_t ms);
  // False: it did not come true in time.
  bool run_until(const std::function<bool()>& condition, std::int64_t ms = 10'000);

  // A write at whoever leads, ready and leased; false: nobody does.
  bool write(const std::string& word);
  std::string leader() const;  // ready and leased, empty: none
  bool settled() const;        // a leader, and all live members are in sync with it
  bool run_until_settled(std::int64_t ms = 10'000);

  Node& node(const std::string& id) { return nodes_.at(id); }
  const Leadership& machine(const std::string& id) { return *nodes_.at(id).machine; }
  std::int64_t now() const { return now_; }
  std::uint64_t epoch() const { return highest_epoch_; }
  bool saw(const std::string& event) const { return events_.count(event) != 0; }
  std::size_t count(const std::string& event) const {
    const auto found = events_.find(event);
    return found == events_.end() ? 0 : found->second;
  }

  double loss = 0;
  std::int64_t delay = 1, jitter = 0;
  bool handed_over_drains = true;
  bool redis_rounds = true;  // a Redis without news is heard all the same
  // What would leave may be seen, and swallowed by `false`.
  std::function<bool(const std::string& from, const std::string& to, const GroupMessage&)> filter;

 private:
  struct Letter {
    std::string from, to;
    GroupMessage message;
  };

  std::uint64_t random();
  bool linked(const std::string& a, const std::string& b) const;
  void collect(const std::string& id);
  void deliver();
  void gossip();
  void step_redis(const std::string& id);
  void report_redis(const std::string& id);
  void check();
  void check_writes();
  bool has(const std::string& id, const std::string& word) const;

  std::map<std::string, Node> nodes_;
  std::multimap<std::int64_t, Letter> letters_;
  std::map<std::pair<std::string, std::string>, std::int64_t> cuts_;  // since when
  std::map<std::uint64_t, std::string> leaders_;                      // by epoch
  std::map<std::string, std::size_t> events_;
  struct Written {
    std::string by;
    std::uint64_t epoch = 0;
  };
  std::map<std::string, Written> written_;  // not acknowledged yet, by word
  std::set<std::string> acknowledged_;      // by as many copies as `quorum` wants
  std::pair<std::uint64_t, std::string> last_ready_;
  std::map<std::pair<std::string, std::string>, PeerFacts> told_;
  std::map<std::string, LocalRedis> reported_;
  std::int64_t now_ = 1000;
  std::uint64_t random_;
  std::uint64_t highest_epoch_ = 0;
  std::uint64_t next_id_ = 1;
};

// Three members a1, b2, c3, started and settled.
World& three(World& world);

}  // namespace azimuth::test
