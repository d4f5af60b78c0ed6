#include "tests/sim/defects.h"

#include <array>
#include <cstdio>
#include <string_view>

#include "tests/sim/defect_switch.h"
#include "tests/sim/run.h"

namespace azimuth::sim {

namespace {

struct Row {
  Defect defect;
  const char* name;
  unsigned seeds_most;  // caught within so many
};

constexpr std::array<Row, 14> kRows = {{
    {Defect::kPromiseNotSaved, "promise_not_saved", 20},
    {Defect::kLineagesCompared, "lineages_compared", 2000},
    {Defect::kLeaseFromReply, "lease_from_reply", 2000},
    {Defect::kVoteDuringLease, "vote_during_lease", 200},
    {Defect::kNoWaitAfterBoot, "no_wait_after_boot", 2000},
    {Defect::kIntactIgnored, "intact_ignored", 500},
    {Defect::kLowestWins, "lowest_wins", 500},
    {Defect::kAnyFullSync, "any_full_sync", 500},
    {Defect::kPromiseToAnyone, "promise_to_anyone", 2000},
    {Defect::kFenceLiftedEarly, "fence_lifted_early", 500},
    {Defect::kAmnesiacVotes, "amnesiac_votes", 2000},
    {Defect::kTwoVotersAtOnce, "two_voters_at_once", 2000},
    {Defect::kHandOverWithoutTarget, "hand_over_without_target", 500},
    {Defect::kWriteAfterLease, "write_after_lease", 200},
}};

// A group that only hangs has not shown what the defect does.
bool against_safety(std::string_view kind) {
  return kind.starts_with('I') || kind == "loss" || kind == "broken";
}

}  // namespace

bool switch_on_by_name(const char* name) {
  for (const Row& row : kRows) {
    if (std::string_view(row.name) != name) continue;
    switch_on(row.defect);
    return true;
  }
  return false;
}

bool catch_all_defects(bool verbose) {
  bool all = true;
  for (const Row& row : kRows) {
    switch_on(row.defect);
    bool caught = false;
    for (unsigned seed = 1; seed <= row.seeds_most && !caught; ++seed) {
      RunOptions options;
      options.seed = seed;
      const RunResult result = run(options);
      if (!result.failure || !against_safety(result.failure->kind)) continue;
      caught = true;
      std::printf("%-26s caught by seed %u of %u: %s\n", row.name, seed, row.seeds_most,
                  result.failure->kind.c_str());
      if (verbose) std::printf("    %s\n", result.failure->what.c_str());
    }
    if (!caught) {
      std::printf("%-26s NOT CAUGHT in %u seeds: sim --defect %s --seeds 1 %u\n", row.name,
                  row.seeds_most, row.name, row.seeds_most);
      all = false;
    }
    std::fflush(stdout);
  }
  switch_on(Defect::kNone);
  return all;
}

}  // namespace azimuth::sim
