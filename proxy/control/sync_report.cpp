#include "proxy/control/sync_report.h"

#include <algorithm>

namespace azimuth {

std::int64_t backlog_seconds(const RedisNumbers& numbers) {
  constexpr double kMost = 86'400.0 * 365;
  if (numbers.write_bytes_per_s < 1) return -1;
  const double seconds = static_cast<double>(numbers.backlog_bytes) / numbers.write_bytes_per_s;
  return static_cast<std::int64_t>(std::min(seconds, kMost));
}

}  // namespace azimuth
