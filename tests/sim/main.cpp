// The simulator's command line.
//
//   sim --seed S [--nodes N] [--verbose]   one run, told in full
//   sim --seeds FROM COUNT [--nodes N]     many; the line that replays a failure is printed
//   sim --list FILE                        the seeds of a file, one a line
//   sim --scenario NAME FROM COUNT         of the troubles made for a purpose; NAME may be "all"
//   sim --defects                          each deliberate defect must be caught
//   sim --defect NAME --scenario ...       runs with that defect switched on
//   sim --scale N                          gossip alone, with N nodes: rows of a table
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "tests/sim/defects.h"
#include "tests/sim/run.h"
#include "tests/sim/scale.h"
#include "tests/sim/scenarios.h"

namespace azimuth::sim {
namespace {

std::uint64_t number(const char* text) {
  std::uint64_t value = 0;
  std::from_chars(text, text + std::strlen(text), value);
  return value;
}

struct Totals {
  std::uint64_t runs = 0, failures = 0, events = 0, elections = 0, acked = 0, quorum = 0,
                full_syncs = 0, forced = 0, lost_all = 0, reads = 0, replica_reads = 0, told = 0,
                told_in_vain = 0, lost_reads = 0;
};

void print_failure(const RunOptions& options, const RunResult& result) {
  const Failure& failure = *result.failure;
  std::printf("FAILED at %.3f s, %s, %s: %s\n  (%s)\n", static_cast<double>(failure.at) / 1e6,
              failure.machine.c_str(), failure.kind.c_str(), failure.what.c_str(),
              result.plan.c_str());
  const std::string seed = std::to_string(options.seed);
  std::string again = "--seed " + seed;
  if (options.nodes > 0) again += " --nodes " + std::to_string(options.nodes);
  if (options.scenario != nullptr)
    again = "--scenario " + std::string(options.scenario->name) + " " + seed + " 1";
  std::printf("again: sim %s --verbose\n", again.c_str());
  std::fflush(stdout);
}

void run_one(const RunOptions& options, Totals& totals) {
  const RunResult result = run(options);
  ++totals.runs;
  totals.events += result.events;
  totals.elections += result.elections;
  totals.acked += result.acked;
  totals.quorum += result.quorum_acked;
  totals.full_syncs += result.full_syncs;
  totals.reads += result.reads;
  totals.replica_reads += result.replica_reads;
  totals.told += result.told;
  totals.lost_reads += result.lost_reads;
  totals.told_in_vain += result.told_in_vain;
  totals.forced += result.forced ? 1 : 0;
  totals.lost_all += result.lost_all ? 1 : 0;
  if (options.verbose) {
    std::printf("seed %llu: %s; %llu events, fingerprint %016llx\n",
                static_cast<unsigned long long>(options.seed), result.plan.c_str(),
                static_cast<unsigned long long>(result.events),
                static_cast<unsigned long long>(result.fingerprint));
  }
  if (result.failure) {
    ++totals.failures;
    print_failure(options, result);
  }
}

int run_all(const std::vector<RunOptions>& runs) {
  Totals totals;
  for (const RunOptions& options : runs) run_one(options, totals);
  // The first seed once more: what differs is drawn from outside of the seed.
  RunOptions again = runs[0];
  again.verbose = false;
  if (run(again).fingerprint != run(again).fingerprint) {
    std::printf("FAILED: two runs of seed %llu differ\n",
                static_cast<unsigned long long>(again.seed));
    ++totals.failures;
  }
  const auto count = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%llu runs, %llu failed; %llu events, %llu elections, %llu writes acknowledged "
      "(%llu by quorum), %llu reads of sessions (%llu at a replica), %llu told of a loss (%llu "
      "where nothing of theirs was lost), %llu not told that what they had read was, %llu full "
      "syncs over data, %llu runs needed an operator, %llu "
      "runs lost all holders of a write\n",
      count(totals.runs), count(totals.failures), count(totals.events), count(totals.elections),
      count(totals.acked), count(totals.quorum), count(totals.reads), count(totals.replica_reads),
      count(totals.told), count(totals.told_in_vain), count(totals.lost_reads),
      count(totals.full_syncs), count(totals.forced), count(totals.lost_all));
  return totals.failures > 0 ? 1 : 0;
}

int usage() {
  std::fprintf(stderr,
               "usage: sim --seed S [--nodes N] [--verbose] | --seeds FROM COUNT [--nodes N] | "
               "--list FILE | --scenario NAME|all FROM COUNT | --defects | --defect NAME ... | "
               "--scale N\n");
  return 2;
}

// False: there is no such scenario.
bool add_scenarios(const std::string& name, std::uint64_t from, std::uint64_t count,
                   std::vector<RunOptions>& runs) {
  for (const Scenario& scenario : scenarios()) {
    if (name != "all" && name != scenario.name) continue;
    for (std::uint64_t seed = from; seed < from + count; ++seed)
      runs.push_back({.seed = seed, .scenario = &scenario});
  }
  return name == "all" || scenario_named(name) != nullptr;
}

int main_of(int argc, char** argv) {
  RunOptions common;
  std::vector<RunOptions> runs;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--seed" && i + 1 < argc) {
      runs.push_back({.seed = number(argv[++i])});
    } else if (argument == "--seeds" && i + 2 < argc) {
      const std::uint64_t from = number(argv[i + 1]);
      for (std::uint64_t seed = 0; seed < number(argv[i + 2]); ++seed)
        runs.push_back({.seed = from + seed});
      i += 2;
    } else if (argument == "--nodes" && i + 1 < argc) {
      common.nodes = static_cast<unsigned>(number(argv[++i]));
    } else if (argument == "--verbose") {
      common.verbose = true;
    } else if (argument == "--list" && i + 1 < argc) {
      std::ifstream file(argv[++i]);
      for (std::string line; std::getline(file, line);) {
        if (!line.empty() && line[0] != '#') runs.push_back({.seed = number(line.c_str())});
      }
    } else if (argument == "--scenario" && i + 3 < argc) {
      if (!add_scenarios(argv[i + 1], number(argv[i + 2]), number(argv[i + 3]), runs))
        return usage();
      i += 3;
    } else if (argument == "--defects") {
      return catch_all_defects() ? 0 : 1;
    } else if (argument == "--defect" && i + 1 < argc) {
      if (!switch_on_by_name(argv[++i])) return usage();
    } else if (argument == "--scale" && i + 1 < argc) {
      print_scale_head();
      return measure_scale(static_cast<unsigned>(number(argv[++i])), 1) ? 0 : 1;
    } else {
      return usage();
    }
  }
  if (runs.empty()) return usage();
  for (RunOptions& options : runs) {
    options.nodes = common.nodes;
    options.verbose = common.verbose;
  }
  return run_all(runs);
}

}  // namespace
}  // namespace azimuth::sim

int main(int argc, char** argv) { return azimuth::sim::main_of(argc, argv); }
