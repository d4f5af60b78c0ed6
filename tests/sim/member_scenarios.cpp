#include "tests/sim/member_scenarios.h"

namespace azimuth::sim {

namespace {

bool done(Stage& stage, std::uint64_t wish) {
  const auto answered = [&] { return stage.world.members.answer(wish) != nullptr; };
  if (!stage.wait_for(seconds_of(15), answered, ms(1))) return false;
  return stage.world.members.answer(wish)->accepted;
}

void must(Stage& stage, bool what, std::size_t machine, const char* text) {
  if (stage.going() && !what) stage.world.fail(machine, "liveness", text);
}

bool knows_removal(Stage& stage, std::size_t machine, std::size_t of) {
  const GroupState* state = stage.world.node(machine).state();
  return state != nullptr && state->electorate.removes(stage.world.node(of).setup().id);
}

}  // namespace

// It still hears the leader, and would grant it a lease, when both are cut off from the rest.
void one_is_taken_out(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  const std::size_t whom = cast->others[2];
  const std::size_t asked = stage.world.random.pick(cast->others);
  must(stage, done(stage, stage.world.members.remove(asked, whom)), asked, "not taken out");
  const auto knows = [&] { return knows_removal(stage, whom, whom); };
  must(stage, stage.wait_for(seconds_of(2), knows), whom, "was not told that it is out");
  for (const std::size_t other : {cast->others[0], cast->others[1]}) {
    stage.part(cast->leader, other);
    stage.part(whom, other);
  }
  must(stage, stage.other_leads(cast->leader), cast->others[0], "the majority has no leader");
  stage.pass(seconds_of(1));
  stage.world.network.heal();
  stage.pass(seconds_of(2));
  must(stage, knows(), whom, "is no longer out");
}

// Of four, one is dead and forgotten; another one may die then. Everybody restarts, and the dead
// one comes back: it stays out until it is let in.
void dead_one_is_taken_out(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  const std::size_t dead = cast->others[0], next = cast->others[1];
  const bool lose_disk = stage.world.random.chance(0.3);
  stage.faults.crash_machine(dead, seconds_of(12), lose_disk);
  stage.pass(stage.world.random.between(0, seconds_of(3)));
  must(stage, done(stage, stage.world.members.remove(cast->leader, dead)), cast->leader,
       "not taken out");
  stage.faults.crash_machine(next, seconds_of(3), false);
  stage.pass(seconds_of(2));
  must(stage, stage.world.leader().has_value(), cast->leader, "two of three make no majority");
  for (std::size_t i = 0; i < stage.world.size(); ++i) {
    if (i != dead) stage.faults.crash_node(i, ms(5));
  }
  const auto knows = [&] { return knows_removal(stage, dead, dead); };
  must(stage, stage.wait_for(seconds_of(20), knows), dead, "was not told that it is out");
  if (!stage.cast()) return;
  must(stage, knows(), dead, "is no longer out");
  must(stage, done(stage, stage.world.members.add(dead, dead)), dead, "not let in again");
}

void leader_is_taken_out(Stage& stage) {
  for (int round = 0; round < 3 && stage.going(); ++round) {
    const auto cast = stage.cast();
    if (!cast) return;
    stage.world.checker.expect_no_loss({});
    const std::size_t asked = stage.world.random.below(stage.world.size());
    if (!done(stage, stage.world.members.remove(asked, cast->leader))) return;
    stage.world.checker.stop_expecting();
    const auto leader = stage.world.leader();
    must(stage, !leader || *leader != cast->leader, cast->leader, "leads, and was taken out");
    stage.pass(stage.world.random.between(0, seconds_of(1)));
    must(stage, done(stage, stage.world.members.add(asked, cast->leader)), asked, "not let in");
  }
}

// It is cut off as soon as it has written the change, and nobody but itself has it.
void removal_dies_with_its_leader(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  stage.world.members.remove(cast->leader, cast->others[0]);
  const auto written = [&] { return knows_removal(stage, cast->leader, cast->others[0]); };
  if (!stage.wait_for(seconds_of(5), written, us(100))) return;
  stage.isolate(cast->leader);
  stage.other_leads(cast->leader);
  stage.pass(seconds_of(3));
}

// Of five, two at once; the leader is cut off from the others when it has written the first.
void two_are_taken_out(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  stage.world.members.remove(cast->leader, cast->others[0]);
  const auto written = [&] { return knows_removal(stage, cast->leader, cast->others[0]); };
  if (!stage.wait_for(seconds_of(5), written, us(100))) return;
  for (const std::size_t other : cast->others) {
    if (other != cast->others[3]) stage.part(cast->leader, other);
  }
  stage.world.members.remove(cast->leader, cast->others[1]);
  stage.pass(seconds_of(4));
}

// Three voters, a member that does not vote, and a sidecar.
void last_has_no_vote_and_one_no_redis(Plan& plan, Random&) {
  plan.weather = NetworkWeather{};
  for (MachinePlan& each : plan.machines) each.node.bootstrap_expect = 3;
  plan.machines[3].node.votes = false;
  plan.machines[4].node.member = plan.machines[4].node.votes = false;
}

// The leader is cut off together with a replica that does not vote, and with the sidecar that all
// writes come through: nobody may be told, for as long as the lease lasts, that a quorum has them.
void beside_one_that_does_not_vote(Stage& stage) {
  stage.origin = 4;
  for (int round = 0; round < 3 && stage.going(); ++round) {
    const auto cast = stage.cast();
    if (!cast) return;
    const auto all_vote = [&] {
      const GroupState* state = stage.world.node(cast->leader).state();
      return state != nullptr && state->electorate.voters.size() == 3;
    };
    if (!stage.wait_for(seconds_of(10), all_vote)) return;
    for (std::size_t voter = 0; voter < 3; ++voter) {
      if (voter == cast->leader) continue;
      for (const std::size_t near : {cast->leader, std::size_t{3}, std::size_t{4}}) {
        stage.part(near, voter);
      }
    }
    must(stage, stage.other_leads(cast->leader), cast->leader, "the majority has no leader");
    stage.pass(ms(500));
    stage.world.network.heal();
    stage.pass(seconds_of(2));
  }
}

}  // namespace azimuth::sim
