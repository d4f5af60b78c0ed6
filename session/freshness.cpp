#include "session/freshness.h"

#include <algorithm>

namespace azimuth {
namespace {

// Closer ones would push the older ones out, which a bound of seconds needs.
constexpr std::uint64_t kProofsApartMs = 10;

}  // namespace

void Freshness::add(std::uint64_t asked_ms, Position position) noexcept {
  if (position.epoch < epoch_) return;
  if (position.epoch > epoch_) {
    epoch_ = position.epoch;
    count_ = 0;
  }
  if (count_ != 0 && asked_ms < at(0).asked_ms + kProofsApartMs) return;
  proofs_[next_] = {asked_ms, position.offset};
  next_ = (next_ + 1) % proofs_.size();
  count_ = std::min(count_ + 1, proofs_.size());
}

// The oldest that is young enough asks the least of a replica.
std::optional<std::uint64_t> Freshness::needed(std::uint64_t epoch, std::uint64_t now_ms,
                                               std::uint64_t bound_ms) const noexcept {
  if (epoch != epoch_) return std::nullopt;
  std::optional<std::uint64_t> least;
  for (std::size_t age = 0; age < count_; ++age) {
    const Proof& proof = at(age);
    if (proof.asked_ms + bound_ms < now_ms) break;
    least = proof.offset;
  }
  return least;
}

}  // namespace azimuth
