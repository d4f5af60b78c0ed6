#include "tests/sim/defects.h"

#include <array>
#include <cstdio>
#include <string_view>

#include "tests/sim/defect_switch.h"
#include "tests/sim/run.h"
#include "tests/sim/scenarios.h"

namespace azimuth::sim {

namespace {

// A defect must be caught within so many runs of its scenario.
constexpr std::uint64_t kRunsMost = 100;

struct Row {
  Defect defect;
  const char* name;
  const char* scenario;
  std::uint64_t first;  // the seed that last caught it, so that there is nothing to look for
};

constexpr std::array<Row, 25> kRows = {{
    {Defect::kPromiseNotSaved, "promise_not_saved", "leader_dies", 1},
    {Defect::kLineagesCompared, "lineages_compared", "longer_history_of_an_old_epoch", 1},
    {Defect::kLeaseFromReply, "lease_from_reply", "grants_wait_in_the_socket", 1},
    {Defect::kVoteDuringLease, "vote_during_lease", "one_does_not_hear_the_leader", 1},
    {Defect::kNoWaitAfterBoot, "no_wait_after_boot", "one_is_deaf_and_one_restarts", 1},
    {Defect::kIntactIgnored, "intact_ignored", "one_lags_and_one_forgets", 1},
    {Defect::kLowestWins, "lowest_wins", "one_lags", 1},
    {Defect::kAnyFullSync, "any_full_sync", "redis_restarts_empty", 100},
    {Defect::kPromiseToAnyone, "promise_to_anyone", "two_coordinators", 1},
    {Defect::kFenceLiftedEarly, "fence_lifted_early", "leader_dies", 1},
    {Defect::kAmnesiacVotes, "amnesiac_votes", "disk_is_lost_after_a_promise", 1},
    {Defect::kTwoVotersAtOnce, "two_voters_at_once", "two_join", 1},
    {Defect::kHandOverWithoutTarget, "hand_over_without_target", "hand_overs", 1},
    {Defect::kTwoVotersAtOnce, "two_removed_at_once", "two_are_taken_out", 1},
    {Defect::kRemovedVoterCounts, "removed_voter_counts", "one_is_taken_out", 1},
    {Defect::kRemovalAnsweredEarly, "removal_answered_early", "removal_dies_with_its_leader", 1},
    {Defect::kQuorumByOwnView, "quorum_by_own_view", "beside_one_that_does_not_vote", 1},
    {Defect::kWriteAfterLease, "write_after_lease", "leader_is_cut_off", 1},
    {Defect::kEpochsCompared, "epochs_compared", "leader_is_cut_off", 100},
    {Defect::kTapOfAnotherProcess, "tap_of_another_process", "replicas_restart", 5},
    {Defect::kTagBeforeWrite, "tag_before_write", "reads_next_door", 1},
    {Defect::kTooFewDirect, "too_few_direct", "one_of_the_direct_dies", 1},
    {Defect::kOwnSource, "own_source", "neighbours", 1},
    {Defect::kBehindFeeds, "behind_feeds", "source_lags", 1},
    {Defect::kFloorLostAtReconnect, "floor_lost_at_reconnect", "sessions_move_to_one_that_lags", 1},
}};

// A group that only hangs has not shown what the defect does.
bool against_safety(std::string_view kind) {
  return kind.starts_with('I') || kind == "loss" || kind == "broken";
}

// The failure that a run with this seed shows; empty: none.
std::string shown_by(const Row& row, std::uint64_t seed) {
  RunOptions options;
  options.seed = seed;
  options.scenario = scenario_named(row.scenario);
  const RunResult result = run(options);
  if (!result.failure || !against_safety(result.failure->kind)) return {};
  return result.failure->kind + ": " + result.failure->what;
}

bool catch_defect(const Row& row) {
  switch_on(row.defect);
  std::string failure = shown_by(row, row.first);
  std::uint64_t seed = row.first;
  std::uint64_t runs = 1;
  for (; failure.empty() && runs < kRunsMost; ++runs) {
    seed = runs == row.first ? kRunsMost : runs;
    failure = shown_by(row, seed);
  }
  switch_on(Defect::kNone);
  if (failure.empty()) {
    std::printf("%-24s NOT CAUGHT in %llu runs: sim --defect %s --scenario %s 1 %llu\n", row.name,
                static_cast<unsigned long long>(runs), row.name, row.scenario,
                static_cast<unsigned long long>(runs));
  } else {
    std::printf("%-24s caught by run %llu, seed %llu of %s: %s\n", row.name,
                static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed),
                row.scenario, failure.c_str());
  }
  std::fflush(stdout);
  return !failure.empty();
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

bool catch_all_defects() {
  bool all = true;
  for (const Row& row : kRows) all = catch_defect(row) && all;
  return all;
}

}  // namespace azimuth::sim
