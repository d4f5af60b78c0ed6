#include "router/spread.h"

#include "conf/limits.h"

namespace azimuth {

int least_outstanding(std::span<const Equal> equals, std::size_t home) noexcept {
  const auto better = [&](std::size_t at, std::size_t best) {
    const Equal& one = equals[at];
    const Equal& other = equals[best];
    if (one.open != other.open) return one.open;
    const bool late = best != home || other.batches > one.batches + kSpreadMargin;
    return late && one.outstanding < other.outstanding;
  };
  int best = -1;
  for (std::size_t i = 0; i < equals.size(); ++i) {
    const std::size_t at = (home + i) % equals.size();
    if (!equals[at].may) continue;
    if (best < 0 || better(at, static_cast<std::size_t>(best))) best = static_cast<int>(at);
  }
  return best;
}

}  // namespace azimuth
