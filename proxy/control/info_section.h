// The `# Azimuth` section of INFO: key:value lines, as Redis writes its own sections. Pure.
#pragma once

#include <string>

#include "proxy/control/status.h"

namespace azimuth {

std::string info_section(const NodeReport& node, const CounterTotals& totals);

}  // namespace azimuth
