// How many replicas must hold a `quorum` write before it is acknowledged: what the control thread
// of the primary says, and whoever acknowledges goes by.
//
// The answer of Redis to a WAIT counts all replicas that were attached when it was made. So the
// number that judges it is one that is looked up after the answer was read:
//
//   control   raises the number -- lets a voter be chosen, a replica attach, which it makes needed
//   worker    reads an answer -- looks the number up -- passes it on in front of the answer
//
// Then an answer that was judged by the old number was given before the raise, and so was the write
// that it is about: no worker and no far node has to be waited for. One that has missed a raise
// that was taken back meanwhile finds `raises` changed and takes `most`. Across a link the number
// is a frame in front of the answer (QUORUM), and the near node goes by the largest that has come
// since it asked.
//
// Invariants: written by the control thread alone, before what is allowed by it leaves this node,
// and before the lease of its epoch. Any thread reads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace azimuth {

class QuorumCount {
 public:
  struct Seen {
    std::uint32_t raises = 0;  // 0: nothing has been said yet
    std::uint16_t most = 0;    // since the epoch began
    std::uint16_t now = 0;

    friend bool operator==(const Seen&, const Seen&) = default;
    // What judges an answer that was asked for when it was `before`, beside what was asked for.
    std::uint16_t since(const Seen& before) const { return raises != before.raises ? most : now; }
  };

  void set(std::uint64_t epoch, std::size_t replicas) {
    Seen next = seen();
    const auto now = static_cast<std::uint16_t>(std::min<std::size_t>(replicas, UINT16_MAX));
    const bool first = next.raises == 0 || epoch != epoch_;
    if (!first && now == next.now) return;
    if (first || now > next.now) ++next.raises;
    next.most = first ? std::max(now, next.now) : std::max(now, next.most);
    next.now = now;
    epoch_ = epoch;
    word_.store(std::uint64_t{next.raises} << 32U | std::uint64_t{next.most} << 16U | next.now);
  }

  Seen seen() const {
    const std::uint64_t word = word_.load();
    return {static_cast<std::uint32_t>(word >> 32U), static_cast<std::uint16_t>(word >> 16U),
            static_cast<std::uint16_t>(word)};
  }

 private:
  std::atomic<std::uint64_t> word_{0};
  std::uint64_t epoch_ = 0;
};

}  // namespace azimuth
