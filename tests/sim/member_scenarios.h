// Troubles around nodes that are taken out of the group; rows of scenarios().
#pragma once

#include "tests/sim/scenarios.h"

namespace azimuth::sim {

void one_is_taken_out(Stage& stage);
void dead_one_is_taken_out(Stage& stage);
void leader_is_taken_out(Stage& stage);
void removal_dies_with_its_leader(Stage& stage);
void two_are_taken_out(Stage& stage);
void last_has_no_vote_and_one_no_redis(Plan& plan, Random& random);
void beside_one_that_does_not_vote(Stage& stage);

}  // namespace azimuth::sim
