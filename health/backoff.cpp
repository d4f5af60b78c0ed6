#include "health/backoff.h"

#include <algorithm>
#include <limits>

#include "conf/result.h"

namespace azimuth {

Backoff::Backoff(Duration least, Duration most) : least_(least), most_(most) {
  AZIMUTH_CHECK(least.ms > 0 && least <= most);
}

Duration Backoff::next(uint64_t random) {
  // Shifting is safe only while the result is known to stay below `most`.
  int64_t ceiling = most_.ms;
  if (failures_ < 62 && least_.ms <= (most_.ms >> failures_)) ceiling = least_.ms << failures_;
  if (failures_ < std::numeric_limits<uint32_t>::max()) ++failures_;
  const int64_t half = ceiling / 2;
  const auto spread = static_cast<uint64_t>(ceiling - half) + 1;
  return milliseconds(std::max<int64_t>(1, half + static_cast<int64_t>(random % spread)));
}

}  // namespace azimuth
