#include "tests/sim/scenarios.h"

#include <algorithm>

#include "tests/sim/member_scenarios.h"
#include "tests/sim/tree_scenarios.h"

namespace azimuth::sim {

std::optional<Stage::Cast> Stage::cast() {
  if (!wait_for(seconds_of(20), [this] { return world.leader() && world.running_are_whole(); }))
    return std::nullopt;
  pass(ms(700));  // until all are known to be in sync
  const auto leader = world.leader();
  if (!leader) return std::nullopt;
  Cast found;
  found.leader = *leader;
  for (std::size_t i = 0; i < world.size(); ++i) {
    if (i != *leader && world.node(i).running()) found.others.push_back(i);
  }
  return found;
}

bool Stage::other_leads(std::size_t than, Time within) {
  const auto leads = [&] {
    const auto leader = world.leader();
    return leader && *leader != than && world.node(*leader).view().leader_ready;
  };
  return wait_for(within, leads, ms(1));
}

void Stage::part(std::size_t a, std::size_t b, bool is_cut) {
  world.network.cut(a, b, is_cut);
  world.network.cut(b, a, is_cut);
}

void Stage::isolate(std::size_t machine, bool is_cut) {
  for (std::size_t other = 0; other < world.size(); ++other) {
    if (other != machine) part(machine, other, is_cut);
  }
}

namespace {

void near(Plan& plan, Random& random) { plan.weather.delay = random.between(us(50), ms(1)); }

void far(Plan& plan, Random& random) { plan.weather.delay = random.between(ms(15), ms(40)); }

// The stream to a replica is now ahead of an answer to its node, now behind it.
void far_and_uneven(Plan& plan, Random& random) {
  far(plan, random);
  plan.weather.jitter = ms(20);
}

void near_without_disks(Plan& plan, Random& random) {
  near(plan, random);
  for (MachinePlan& machine : plan.machines) machine.redis.persistence = Persistence::kNone;
}

void far_and_two_join_late(Plan& plan, Random& random) {
  far(plan, random);
  for (MachinePlan& machine : plan.machines) machine.node.bootstrap_expect = 3;
  for (std::size_t i = 3; i < plan.machines.size(); ++i) plan.machines[i].joins_late = true;
}

void leader_dies(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  stage.faults.crash_machine(cast->leader, seconds_of(4), false);
  stage.other_leads(cast->leader);
  stage.pass(seconds_of(1));
}

void leader_is_cut_off(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  stage.isolate(cast->leader);
  stage.pass(seconds_of(3));
}

// One follower has not heard from the leader for a while when the leader's node dies.
void one_lags(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  const std::size_t laggard = stage.world.random.pick(cast->others);
  stage.part(cast->leader, laggard);
  stage.pass(ms(700));
  stage.faults.crash_node(cast->leader, seconds_of(4));
  stage.other_leads(cast->leader);
  stage.pass(ms(500));
}

// ... and the Redis of the other one restarts with nothing at that moment.
void one_lags_and_one_forgets(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  stage.part(cast->leader, cast->others[0]);
  stage.pass(ms(700));
  stage.faults.kill_redis(cast->others[1], ms(1));
  stage.faults.crash_node(cast->leader, seconds_of(4));
  stage.pass(seconds_of(3));
}

// The old leader has written more in an epoch that is over than the new one in its own, and comes
// back as the new one goes.
void longer_history_of_an_old_epoch(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  stage.origin = cast->leader;
  stage.write_bytes_most = 50'000;
  stage.isolate(cast->leader);
  if (!stage.other_leads(cast->leader)) return;
  const std::size_t next = *stage.world.leader();
  stage.origin = next;
  stage.write_bytes_most = 0;
  const std::uint64_t acked = stage.world.checker.quorum_acked();
  stage.wait_for(seconds_of(2), [&] { return stage.world.checker.quorum_acked() > acked; });
  stage.faults.crash_node(next, seconds_of(4));
  stage.isolate(cast->leader, false);
  stage.pass(seconds_of(3));
}

// The leader's process stands still while the grants come in, and is cut off when it wakes.
void grants_wait_in_the_socket(Stage& stage) {
  for (int round = 0; round < 4 && stage.going(); ++round) {
    const auto cast = stage.cast();
    if (!cast) return;
    stage.pass(stage.world.random.between(0, ms(200)));
    stage.faults.pause_node(cast->leader, ms(800));
    stage.pass(ms(100));
    stage.isolate(cast->leader);
    stage.pass(seconds_of(2));
    stage.isolate(cast->leader, false);
  }
}

// And nobody should help it: the leader is not to hear of it if somebody does.
void one_does_not_hear_the_leader(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  const std::size_t other = cast->others[1];
  stage.part(cast->leader, cast->others[0]);
  const std::uint64_t before = stage.world.node(other).state()->promised;
  const auto helps = [&] { return stage.world.node(other).state()->promised > before; };
  if (stage.wait_for(seconds_of(3), helps, ms(1))) stage.part(cast->leader, other);
  stage.pass(seconds_of(1));
}

// The other one restarts, and might help it to an election.
void one_is_deaf_and_one_restarts(Stage& stage) {
  for (int round = 0; round < 3 && stage.going(); ++round) {
    const auto cast = stage.cast();
    if (!cast) return;
    stage.part(cast->leader, cast->others[0]);
    stage.pass(ms(1300) + stage.world.random.between(0, ms(400)));
    stage.faults.crash_node(cast->others[1], ms(1));
    stage.part(cast->leader, cast->others[1]);
    stage.pass(seconds_of(2));
    stage.world.network.heal();
  }
}

void redis_restarts_empty(Stage& stage) {
  for (int round = 0; round < 8 && stage.going(); ++round) {
    const auto cast = stage.cast();
    if (!cast) return;
    stage.faults.kill_redis(cast->leader, us(100));
    stage.pass(ms(500));
  }
}

// Two that do not hear each other begin at one moment, and ask the same voters.
void two_coordinators(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  stage.faults.crash_machine(cast->leader, seconds_of(4), false);
  stage.part(cast->others[0], cast->others[1]);
  stage.pass(seconds_of(3));
}

// Who helped a leader into office loses its disk, and then hears only the leader before.
void disk_is_lost_after_a_promise(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  stage.isolate(cast->leader);
  if (!stage.other_leads(cast->leader)) return;
  const std::size_t next = *stage.world.leader();
  const std::size_t voter = cast->others[0] == next ? cast->others[1] : cast->others[0];
  stage.part(next, voter);
  stage.part(cast->leader, voter, false);
  stage.faults.crash_machine(voter, ms(1), true);
  stage.pass(seconds_of(2));
}

// One voter is away and two members join; the first of them dies as it becomes a voter.
void two_join(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  World& world = stage.world;
  stage.faults.crash_machine(cast->others[0], seconds_of(8), false);
  for (std::size_t i = 0; i < world.size(); ++i) {
    if (world.plan.machines[i].joins_late) world.start(i);
  }
  const auto joined = [&]() -> const Electorate* {
    const GroupState* state = world.node(cast->leader).state();
    return state != nullptr && state->electorate.voters.size() == 4 ? &state->electorate : nullptr;
  };
  if (!stage.wait_for(
          seconds_of(8), [&] { return joined() != nullptr; }, ms(1)))
    return;
  for (const std::string& voter : joined()->voters) {
    const std::size_t index = world.index_of(voter);
    if (world.plan.machines[index].joins_late) stage.faults.crash_node(index, seconds_of(4));
  }
  stage.pass(seconds_of(2));
}

// To one that has not heard the leader for a moment, and hears it again in the middle.
void hand_overs(Stage& stage) {
  for (int round = 0; round < 5 && stage.going(); ++round) {
    const auto cast = stage.cast();
    if (!cast) return;
    const std::size_t successor = stage.world.random.pick(cast->others);
    stage.world.checker.expect_no_loss({});
    stage.part(cast->leader, successor);
    stage.pass(ms(80));
    (void)stage.world.node(cast->leader).switch_over(stage.world.node(successor).setup().id);
    stage.pass(stage.world.random.between(ms(5), ms(100)));
    stage.part(cast->leader, successor, false);
    stage.other_leads(cast->leader, seconds_of(3));
  }
  stage.world.checker.stop_expecting();
}

// Nothing goes wrong.
void reads_next_door(Stage& stage) {
  if (stage.cast()) stage.pass(seconds_of(3));
}

// One after the other falls behind for a while, and sessions come to it from where they have read
// more.
void sessions_move_to_one_that_lags(Stage& stage) {
  stage.world.sessions.set_moving(0.3);
  for (int round = 0; round < 6 && stage.going(); ++round) {
    const auto cast = stage.cast();
    if (!cast) return;
    const std::size_t laggard = stage.world.random.pick(cast->others);
    stage.part(cast->leader, laggard);
    stage.pass(ms(700));
    stage.part(cast->leader, laggard, false);
  }
}

// A supervisor starts them again at once: empty, and nobody's replicas.
void replicas_restart(Stage& stage) {
  for (int round = 0; round < 10 && stage.going(); ++round) {
    const auto cast = stage.cast();
    if (!cast) return;
    stage.faults.kill_redis(stage.world.random.pick(cast->others), us(100));
    stage.pass(ms(300));
  }
}

}  // namespace

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = {
      {"leader_dies", 3, far, leader_dies},
      {"leader_is_cut_off", 3, near, leader_is_cut_off},
      {"one_lags", 3, near, one_lags},
      {"one_lags_and_one_forgets", 3, near_without_disks, one_lags_and_one_forgets},
      {"longer_history_of_an_old_epoch", 3, near, longer_history_of_an_old_epoch},
      {"grants_wait_in_the_socket", 3, far, grants_wait_in_the_socket},
      {"one_does_not_hear_the_leader", 3, near, one_does_not_hear_the_leader},
      {"one_is_deaf_and_one_restarts", 3, near, one_is_deaf_and_one_restarts},
      {"redis_restarts_empty", 3, near_without_disks, redis_restarts_empty},
      {"two_coordinators", 5, near, two_coordinators},
      {"disk_is_lost_after_a_promise", 3, near, disk_is_lost_after_a_promise},
      {"two_join", 5, far_and_two_join_late, two_join},
      {"hand_overs", 3, near, hand_overs},
      {"one_is_taken_out", 4, near, one_is_taken_out},
      {"dead_one_is_taken_out", 4, near, dead_one_is_taken_out},
      {"leader_is_taken_out", 3, near, leader_is_taken_out},
      {"removal_dies_with_its_leader", 4, far, removal_dies_with_its_leader},
      {"two_are_taken_out", 5, near, two_are_taken_out},
      {"beside_one_that_does_not_vote", 5, last_has_no_vote_and_one_no_redis,
       beside_one_that_does_not_vote},
      {"reads_next_door", 3, far_and_uneven, reads_next_door},
      {"sessions_move_to_one_that_lags", 3, near, sessions_move_to_one_that_lags},
      {"replicas_restart", 3, near_without_disks, replicas_restart},
      {"one_of_the_direct_dies", 5, one_and_many, one_of_the_direct_dies},
      {"head_is_cut_off", 4, two_and_two, head_is_cut_off},
      {"neighbours", 4, two_and_two, neighbours},
      {"source_lags", 4, two_and_two, source_lags},
      {"chained_one_takes_over", 4, two_and_two, chained_one_takes_over},
      {"head_restarts", 4, two_and_two, head_restarts},
  };
  return all;
}

const Scenario* scenario_named(std::string_view name) {
  const auto found = std::find_if(scenarios().begin(), scenarios().end(),
                                  [&](const Scenario& each) { return each.name == name; });
  return found == scenarios().end() ? nullptr : &*found;
}

}  // namespace azimuth::sim
