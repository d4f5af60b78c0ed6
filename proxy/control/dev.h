// `azimuth dev`: a local playground. For each zone a redis-server of its own and an azimuth before
// it, as child processes; endpoints on standard output; Ctrl-C, SIGTERM or SIGHUP ends all of it.
//
// Invariants: no process and no file is left behind, however this process ends:
//  - each child asks the kernel for a signal at its parent's death (PR_SET_PDEATHSIG);
//  - the directory it makes itself is removed at the end, by a janitor process that waits for this
//    one's death where this one could not (SIGKILL).
// A child that dies is told. With one zone it is not restarted; of several, which are a cluster, it
// is after a moment, as a supervisor would, so that one sees a node rejoin. Children are in
// sessions of their own, so that Ctrl-C reaches only this process, which ends them in order:
// azimuth first, then Redis. One thread, one loop.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace azimuth {

inline constexpr unsigned kDevZonesMax = 9;

struct DevOptions {
  unsigned zones = 1;
  uint16_t base_port = 6380;  // clients connect to base_port, base_port + 1, ...
  std::string directory;      // empty: a temporary one, and no data on disk
};

// The exit code: 0 after a signal, 1 if something died, 2 for options that cannot be had.
int run_dev(const DevOptions& options);

// The hidden command `azimuth dev-child PARENT SIGNAL PROGRAM ARGUMENTS...`, which ties itself to
// its parent's life and becomes PROGRAM: libuv's uv_spawn runs nothing of ours between fork and
// exec. It returns only on failure.
inline constexpr std::string_view kDevChildCommand = "dev-child";
int run_dev_child(int argc, char** argv);

}  // namespace azimuth
