// The deliberate defects and how many seeds each may take until it is caught. Owned by whoever
// calls.
#pragma once

namespace azimuth::sim {

// Runs the list; true: each one was caught. Prints a line a defect.
bool catch_all_defects(bool verbose);
// "promise_not_saved" ...: switches it on. False: there is no such defect.
bool switch_on_by_name(const char* name);

}  // namespace azimuth::sim
