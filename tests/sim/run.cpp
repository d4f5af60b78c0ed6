#include "tests/sim/run.h"

#include <algorithm>
#include <cstdio>

#include "tests/sim/scenarios.h"

namespace azimuth::sim {

namespace {

constexpr Time kWholeWithin = seconds_of(20);
constexpr Time kSameDataWithin = seconds_of(10);

class Run {
 public:
  Run(const Plan& plan, const RunOptions& options)
      : plan_(plan), world_(plan, options.verbose), stage_(world_), faults_(stage_.faults) {}

  RunResult go() {
    begin();
    if (expect_whole("at the start")) trouble();
    if (going()) finish();
    RunResult result;
    result.failure = world_.failure();
    result.plan = describe(plan_);
    result.fingerprint = world_.scheduler.fingerprint();
    result.events = world_.scheduler.events();
    result.elections = world_.checker.elections();
    result.acked = world_.checker.acked();
    result.quorum_acked = world_.checker.quorum_acked();
    result.full_syncs = world_.full_syncs_over_data();
    result.reads = world_.sessions.reads();
    result.replica_reads = world_.sessions.replica_reads();
    result.lost_reads = world_.checker.history().lost_reads();
    result.told = world_.checker.history().told();
    result.told_in_vain = world_.checker.history().told_in_vain();
    result.forced = forced_;
    result.lost_all = world_.checker.quorum_forgiven() > 0;
    return result;
  }

 private:
  bool going() const { return !world_.failure(); }
  Time now() const { return world_.scheduler.now(); }

  void begin() {
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (plan_.machines[i].joins_late) continue;
      world_.scheduler.at(world_.random.between(0, ms(800)), [this, i] { world_.start(i); });
    }
    next_write();
    world_.sessions.start(plan_.sessions);
  }

  void set_writing(bool writing) {
    writing_ = writing;
    world_.sessions.set_writing(writing);
  }

  void next_write() {
    const Time wait = world_.random.between(plan_.write_every / 2, plan_.write_every * 3 / 2);
    world_.scheduler.after(wait, [this] {
      if (writing_) {
        WriteRequest request;
        request.quorum = world_.random.chance(0.5);
        request.id = world_.checker.new_write(request.quorum);
        const std::uint64_t most =
            stage_.write_bytes_most > 0 ? stage_.write_bytes_most : plan_.write_bytes_most;
        request.bytes =
            static_cast<std::uint64_t>(world_.random.between(30, static_cast<Time>(most)));
        request.origin = stage_.origin ? *stage_.origin : world_.random.below(world_.size());
        request.give_up = now() + seconds_of(5);
        world_.node(request.origin).write(request);
      }
      next_write();
    });
  }

  void pass(Time how_long) { stage_.pass(how_long); }
  template <class Condition>
  bool wait_for(Time how_long, Condition condition) {
    return stage_.wait_for(how_long, condition);
  }

  bool all_started() const {
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (!plan_.machines[i].joins_late && !world_.node(i).running()) return false;
    }
    return true;
  }

  // Whole, but for those that have never been started.
  bool expect_whole(const std::string& when) {
    const auto whole = [this] { return all_started() && why_not().empty(); };
    if (wait_for(kWholeWithin, whole)) return true;
    // Of two voters one is half: what a single disk takes may be for an operator to mend.
    if (going() && world_.checker.majority_forgot()) return force();
    if (going()) world_.fail(0, "liveness", "not whole " + when + ": " + why_not());
    return false;
  }

  std::string why_not() const {
    const std::string why = world_.why_not_whole();
    for (std::size_t i = 0; i < world_.size(); ++i) {
      const std::string& id = world_.node(i).setup().id;
      if (plan_.machines[i].joins_late && !joined_ && why == id + " is down") return {};
    }
    return why;
  }

  void join_late() {
    joined_ = true;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (plan_.machines[i].joins_late) world_.start(i);
    }
  }

  void trouble() {
    const std::uint64_t elections = world_.checker.elections();
    switch (plan_.trouble) {
      case Trouble::kCalm:
        join_late();
        pass(plan_.trouble_for);
        break;
      case Trouble::kMild:
        mild();
        break;
      case Trouble::kSingle:
        return single();
      case Trouble::kChaos:
        return chaos();
      case Trouble::kStaged:
        faults_.set_end(now() + seconds_of(300));
        plan_.scenario->play(stage_);
        stage_.origin.reset();
        return;
    }
    if (going() && world_.checker.elections() != elections) {
      world_.fail(0, "calm", "an election, and nothing had happened");
    }
  }

  void mild() {
    const Time end = now() + plan_.trouble_for;
    faults_.set_end(end);
    join_late();
    while (going() && now() < end) {
      const std::size_t machine = world_.random.below(world_.size());
      if (world_.random.chance(0.5)) {
        faults_.pause_node(machine, ms(300));
      } else {
        faults_.pause_redis(machine, ms(300));
      }
      pass(world_.random.between(ms(600), seconds_of(4)));
    }
  }

  void single() {
    for (int fault = 0; fault < 6 && going(); ++fault) {
      if (fault == 3) join_late();
      if (!expect_whole("before a single fault")) return;
      // A replica that is in sync is known to be so a moment later.
      pass(seconds_of(1));
      if (!wait_same()) return;
      const auto leader = world_.leader();
      const std::size_t machine =
          leader && world_.random.chance(0.6) ? *leader : world_.random.below(world_.size());
      const Time how_long = world_.random.mostly_little(ms(30), seconds_of(6));
      faults_.set_end(now() + how_long);
      if (world_.random.chance(0.25)) {
        world_.checker.expect_no_loss({});
        const std::string why = world_.node(machine).switch_over({});
        world_.trace(machine, "switchover: " + why);
      } else {
        world_.checker.expect_no_loss(machine);
        faults_.any_of(machine, how_long);
      }
      pass(how_long + ms(10));
      // A fault is over when the group is whole: until then it must not be held against another.
      if (!expect_whole("after a single fault")) return;
      world_.checker.stop_expecting();
      pass(world_.random.between(ms(100), seconds_of(2)));
    }
  }

  bool wait_same() {
    const auto settled = [this] { return same_data(); };
    set_writing(false);
    const bool same = wait_for(kSameDataWithin, settled);
    set_writing(true);
    if (!same && going()) world_.fail(0, "liveness", "data sets differ in a whole, quiet group");
    pass(world_.random.between(ms(50), ms(500)));
    return same;
  }

  void chaos() {
    const Time end = now() + plan_.trouble_for;
    faults_.set_end(end);
    while (going() && now() < end) {
      if (plan_.changes_members && world_.random.chance(0.3))
        world_.members.any();
      else
        faults_.any();
      if (!joined_ && world_.random.chance(0.2)) join_late();
      pass(world_.random.mostly_little(ms(20), seconds_of(4)));
    }
  }

  void finish() {
    joined_ = true;
    faults_.heal();
    if (plan_.changes_members || plan_.trouble == Trouble::kStaged) world_.members.let_all_in();
    if (!wait_for(kWholeWithin, [this] { return world_.whole(); })) {
      if (!going()) return;
      // With the last voters' disks the group itself is gone: it has to be founded anew.
      if (plan_.changes_members && world_.checker.majority_forgot()) return;
      if (!excusable() && !world_.checker.majority_forgot() && !asks_an_operator()) {
        return world_.fail(0, "liveness", "not whole after healing: " + world_.why_not_whole());
      }
      if (!force()) return;
    }
    const std::uint64_t acked = world_.checker.acked();
    const std::uint64_t quorum_acked = world_.checker.quorum_acked();
    pass(seconds_of(3));
    if (!going()) return;
    // A single member has nobody to give a second copy to.
    const bool quorum_due = plan_.machines.size() > 1 && world_.member(1);
    if (world_.checker.acked() == acked ||
        (quorum_due && world_.checker.quorum_acked() == quorum_acked)) {
      return world_.fail(0, "liveness", "whole, and no write is acknowledged");
    }
    if (!expect_whole("in peace")) return;
    wait_same();
  }

  bool same_data() const {
    const auto leader = world_.leader();
    if (!leader || world_.server(*leader).redis() == nullptr) return false;
    const std::uint64_t digest = world_.server(*leader).redis()->data().digest;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (!world_.member(i) || (plan_.machines[i].joins_late && !joined_)) continue;
      const FakeRedis* redis = world_.server(i).redis();
      if (redis == nullptr || redis->data().digest != digest) return false;
    }
    return true;
  }

  // Whether only an operator can say how to go on: a majority has lost its state or its memory.
  bool excusable() const {
    Electorate newest;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      const GroupState* state = world_.node(i).state();
      if (state != nullptr && state->electorate.newer_than(newest)) newest = state->electorate;
    }
    std::size_t fit = 0, voters = 0;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (!world_.node(i).setup().votes) continue;
      if (plan_.changes_members && !newest.has(world_.node(i).setup().id)) continue;
      ++voters;
      const GroupState* state = world_.node(i).state();
      const bool remembers = state != nullptr && state->electorate.version > 0 && !state->forgetful;
      const bool intact = !world_.member(i) || !world_.server(i).forgot;
      if (remembers && intact) ++fit;
    }
    return fit < voters / 2 + 1;
  }

  // ... or the group itself says so, and whom it waits for has lost its disk.
  bool asks_an_operator() const {
    bool disk_lost = false;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (world_.node(i).setup().sidecar()) continue;
      const GroupState* state = world_.node(i).state();
      disk_lost =
          disk_lost || state == nullptr || state->electorate.version == 0 || state->forgetful;
    }
    return disk_lost && world_.why_not_whole().find("ELECT FORCE") != std::string::npos;
  }

  // An operator takes the fullest data set that the group lets itself be given.
  bool force() {
    std::vector<std::pair<std::uint32_t, std::size_t>> candidates;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      const FakeRedis* redis = world_.server(i).redis();
      if (redis != nullptr) candidates.emplace_back(redis->data().count, i);
    }
    std::sort(candidates.rbegin(), candidates.rend());
    forced_ = true;
    world_.checker.on_forced();
    for (const auto& [count, best] : candidates) {
      const std::string& id = world_.node(best).setup().id;
      for (std::size_t asked = 0; asked < world_.size() && going(); ++asked) {
        const std::string why = world_.node(asked).force(id);
        world_.trace(asked, "is told to make " + id + " lead: " + why);
        if (why.empty() && wait_for(kWholeWithin, [this] { return world_.whole(); })) return true;
      }
    }
    if (empty_the_others()) return true;
    if (going()) world_.fail(0, "liveness", "forced, and not whole: " + world_.why_not_whole());
    return false;
  }

  // Who remembers a group that most of its voters have forgotten, and have founded anew, is no part
  // of this one until its state is taken from it.
  bool empty_the_others() {
    const auto leader = world_.leader();
    if (!leader || !world_.checker.majority_forgot()) return false;
    const std::uint64_t epoch = world_.node(*leader).view().epoch;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (world_.node(i).view().epoch == epoch && !world_.node(i).view().leader.empty()) continue;
      faults_.crash_machine(i, 0, true);
    }
    return wait_for(kWholeWithin, [this] { return world_.whole(); });
  }

  const Plan& plan_;
  World world_;
  Stage stage_;
  Faults& faults_;
  bool writing_ = true;
  bool joined_ = false;
  bool forced_ = false;
};

}  // namespace

RunResult run(const RunOptions& options) {
  const Plan plan = options.scenario != nullptr ? draw_plan(options.seed, *options.scenario)
                                                : draw_plan(options.seed, options.nodes);
  return Run(plan, options).go();
}

}  // namespace azimuth::sim
