// Troubles around replicas that feed from each other; rows of scenarios().
#pragma once

#include "tests/sim/scenarios.h"

namespace azimuth::sim {

// One machine in the first zone, all others in the second; or two and two.
void one_and_many(Plan& plan, Random& random);
void two_and_two(Plan& plan, Random& random);

void one_of_the_direct_dies(Stage& stage);
void head_is_cut_off(Stage& stage);
void neighbours(Stage& stage);
void source_lags(Stage& stage);
void chained_one_takes_over(Stage& stage);
void head_restarts(Stage& stage);

}  // namespace azimuth::sim
