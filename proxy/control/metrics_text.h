// The document of GET /metrics: Prometheus's text format, version 0.0.4.
// Pure: it reads the counters and makes text.
#pragma once

#include <string>

#include "proxy/control/status.h"

namespace azimuth {

inline constexpr std::string_view kPrometheusContentType =
    "text/plain; version=0.0.4; charset=utf-8";

// Commands that never ran have no line; everything else always has.
std::string prometheus_text(const NodeReport& node, WorkerMetricsView workers);

}  // namespace azimuth
