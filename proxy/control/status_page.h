// The page of GET /: what /status says, as one self-contained HTML document for people.
// Pure: it reads the counters and makes text.
#pragma once

#include <string>

#include "proxy/control/status.h"

namespace azimuth {

std::string status_page(const NodeReport& node, WorkerMetricsView workers);

}  // namespace azimuth
