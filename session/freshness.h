// How old a replica's data may be, without synchronised clocks: the primary is asked for its
// offset, and whoever has applied what it answers is no older than the moment of the question, by
// the asker's own clock.
//
// Invariants: a proof holds only for the epoch in which it was made; at most kFreshnessProofsMax
// are kept. Pure; owned by one worker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "conf/limits.h"
#include "conf/position.h"

namespace azimuth {

class Freshness {
 public:
  // The primary, asked at `asked_ms`, had got as far as `position`. In the order of questions.
  void add(std::uint64_t asked_ms, Position position) noexcept;
  // The offset of `epoch` that must have been applied where a read at `now_ms` is to show nothing
  // older than `bound_ms`. Nothing: no proof is that young.
  std::optional<std::uint64_t> needed(std::uint64_t epoch, std::uint64_t now_ms,
                                      std::uint64_t bound_ms) const noexcept;

 private:
  struct Proof {
    std::uint64_t asked_ms = 0;
    std::uint64_t offset = 0;
  };
  const Proof& at(std::size_t age) const noexcept {  // 0: the youngest
    return proofs_[(next_ + proofs_.size() - 1 - age) % proofs_.size()];
  }

  std::array<Proof, kFreshnessProofsMax> proofs_{};
  std::size_t next_ = 0;
  std::size_t count_ = 0;
  std::uint64_t epoch_ = 0;
};

}  // namespace azimuth
