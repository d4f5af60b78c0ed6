#include "tests/sim/tree_scenarios.h"

#include <algorithm>

namespace azimuth::sim {

namespace {

void must(Stage& stage, bool what, std::size_t machine, const char* kind, const char* text) {
  if (stage.going() && !what) stage.world.fail(machine, kind, text);
}

// One that feeds from another than the leader, if there is one.
std::optional<std::size_t> chained(const Stage& stage) {
  const auto leader = stage.world.leader();
  if (!leader) return std::nullopt;
  const std::string& id = stage.world.node(*leader).setup().id;
  for (std::size_t i = 0; i < stage.world.size(); ++i) {
    const Node& node = stage.world.node(i);
    if (i == *leader || !node.running() ||
        node.view().epoch != stage.world.node(*leader).view().epoch)
      continue;
    if (!node.tunnel_source().empty() && node.tunnel_source() != id) return i;
  }
  return std::nullopt;
}

struct Chain {
  std::size_t leader = 0, head = 0, behind = 0;
};

// Waits for one; none: the leader stands where nobody has a neighbour to feed from.
std::optional<Chain> chain(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return std::nullopt;
  const auto formed = [&] {
    const auto found = chained(stage);
    return found && stage.world.server(*found).redis() != nullptr &&
           stage.world.server(*found).redis()->linked();
  };
  if (!stage.wait_for(seconds_of(8), formed)) return std::nullopt;
  const std::size_t behind = *chained(stage);
  const auto leader = stage.world.leader();
  if (!leader) return std::nullopt;
  return Chain{*leader, stage.world.index_of(stage.world.node(behind).tunnel_source()), behind};
}

// `first` leads, so that the others of its zone are none, or one.
bool led_by(Stage& stage, std::size_t first) {
  for (int i = 0; i < 5 && stage.going(); ++i) {
    const auto cast = stage.cast();
    if (!cast) return false;
    if (cast->leader == first) return true;
    (void)stage.world.node(cast->leader).switch_over(stage.world.node(first).setup().id);
    stage.other_leads(cast->leader, seconds_of(3));
  }
  return false;
}

bool acks_quorum(Stage& stage, Time within) {
  const std::uint64_t before = stage.world.checker.quorum_acked();
  return stage.wait_for(
      within, [&] { return stage.world.checker.quorum_acked() > before; }, ms(5));
}

}  // namespace

void one_and_many(Plan& plan, Random& random) {
  plan.weather.delay = random.between(us(50), ms(1));
  for (std::size_t i = 0; i < plan.machines.size(); ++i) {
    plan.machines[i].node.zone = i == 0 ? "near" : "far";
  }
}

void two_and_two(Plan& plan, Random& random) {
  plan.weather.delay = random.between(us(50), ms(1));
  for (std::size_t i = 0; i < plan.machines.size(); ++i) {
    plan.machines[i].node.zone = i % 2 == 0 ? "even" : "odd";
  }
}

// `quorum` writes go on at once, whichever it is.
void one_of_the_direct_dies(Stage& stage) {
  if (!led_by(stage, 0)) return;
  const auto found = chain(stage);
  must(stage, found.has_value(), 0, "liveness", "no chain came about");
  if (!found || found->leader != 0) return;
  must(stage, acks_quorum(stage, seconds_of(1)), 0, "I3", "too few copies for `quorum`");
  stage.faults.crash_machine(found->head, seconds_of(4), false);
  stage.pass(ms(20));  // what was acknowledged on its way
  must(stage, acks_quorum(stage, ms(500)), 0, "I3", "too few copies for `quorum` without one");
  stage.pass(seconds_of(3));
}

// The one behind it is connected, and hears nothing.
void head_is_cut_off(Stage& stage) {
  for (int round = 0; round < 3 && stage.going(); ++round) {
    const auto found = chain(stage);
    must(stage, found.has_value(), 0, "liveness", "no chain came about");
    if (!found) return;
    stage.part(found->leader, found->head);
    const auto goes_straight = [&] {
      const auto leader = stage.world.leader();
      return !leader || *leader != found->leader ||
             stage.world.node(found->behind).tunnel_source() ==
                 stage.world.node(*leader).setup().id;
    };
    must(stage, stage.wait_for(seconds_of(5), goes_straight), found->behind, "liveness",
         "waits for a source that hears nothing");
    stage.pass(seconds_of(1));
    stage.part(found->leader, found->head, false);
  }
}

void neighbours(Stage& stage) {
  for (int round = 0; round < 2 && stage.going(); ++round) {
    const auto found = chain(stage);
    if (!found) return;
    stage.faults.kill_redis(found->head, ms(50));
    stage.pass(seconds_of(2));
  }
}

// The first of the other zone is behind by a moment when the second comes to feed from it.
void source_lags(Stage& stage) {
  const auto cast = stage.cast();
  if (!cast) return;
  const auto near = [&](std::size_t each) {
    return stage.world.node(each).setup().zone == stage.world.node(cast->leader).setup().zone;
  };
  const std::size_t head =
      *std::find_if_not(cast->others.begin(), cast->others.end(), near);  // by its id
  for (int round = 0; round < 5 && stage.going(); ++round) {
    stage.part(cast->leader, head);
    stage.pass(stage.world.random.between(ms(500), ms(800)));
    stage.part(cast->leader, head, false);
    stage.pass(ms(150));
  }
}

void chained_one_takes_over(Stage& stage) {
  stage.world.checker.expect_no_loss({});
  for (int round = 0; round < 3 && stage.going(); ++round) {
    const auto found = chain(stage);
    must(stage, found.has_value(), 0, "liveness", "no chain came about");
    if (!found) return;
    const std::string& to = stage.world.node(found->behind).setup().id;
    const std::string why = stage.world.node(found->leader).switch_over(to);
    if (!why.empty()) continue;  // a moment behind, perhaps
    must(stage, stage.other_leads(found->leader), found->behind, "liveness", "did not take over");
  }
  stage.world.checker.stop_expecting();
}

// With nothing, and comes back; the one behind it has more than it.
void head_restarts(Stage& stage) {
  for (int round = 0; round < 4 && stage.going(); ++round) {
    const auto found = chain(stage);
    must(stage, found.has_value(), 0, "liveness", "no chain came about");
    if (!found) return;
    if (stage.world.random.chance(0.5))
      stage.faults.kill_redis(found->head, us(100));
    else
      stage.faults.crash_machine(found->head, ms(200), false);
    stage.pass(seconds_of(1));
  }
}

}  // namespace azimuth::sim
