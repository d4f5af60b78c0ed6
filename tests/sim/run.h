// One simulation from its seed to its verdict. Owned by whoever calls.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/sim/world.h"

namespace azimuth::sim {

struct RunOptions {
  std::uint64_t seed = 1;
  unsigned nodes = 0;  // 0: as the seed will have it
  const Scenario* scenario = nullptr;
  bool verbose = false;
};

struct RunResult {
  std::optional<Failure> failure;
  std::string plan;
  std::uint64_t fingerprint = 0, events = 0;
  std::uint64_t elections = 0, acked = 0, quorum_acked = 0, full_syncs = 0;
  std::uint64_t reads = 0, replica_reads = 0;
  // Sessions, that something is lost; and reads that went back with nobody told.
  std::uint64_t told = 0, told_in_vain = 0, lost_reads = 0;
  bool forced = false;    // an operator was needed, and that was right
  bool lost_all = false;  // quorum writes all of whose holders lost their memory
};

RunResult run(const RunOptions& options);

}  // namespace azimuth::sim
