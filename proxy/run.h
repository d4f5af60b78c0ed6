// One node from its settings to its exit: listeners, workers, the control thread, the drain.
// Called once, on the main thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "conf/settings.h"
#include "proxy/peer/certificates.h"

namespace azimuth {

struct RunOptions {
  std::string config_file;             // read again on SIGHUP; empty: there is none
  std::vector<std::string> overrides;  // --set and what stands for it, in order
  Settings settings;                   // what both of them gave
  std::shared_ptr<const LinkCertificates> certificates;  // the files that peer.tls_* name
};

// Runs the node until SIGTERM or SIGINT has drained it. The exit code: 0, or 2 for a fault at
// start-up, which is on standard error by then.
int run_proxy(const RunOptions& options);

}  // namespace azimuth
