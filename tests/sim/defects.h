// The deliberate defects and the scenario that shows each. Owned by whoever
// calls.
#pragma once

namespace azimuth::sim {

// Runs the list; true: each one was caught within a hundred runs. Prints a line a defect.
bool catch_all_defects();
// "promise_not_saved" ...: switches it on. False: there is no such defect.
bool switch_on_by_name(const char* name);

}  // namespace azimuth::sim
