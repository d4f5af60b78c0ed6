// What operators have asked this node for (a switchover, a forced election) and wait for: answered
// when the group has the primary that was wished for, when leadership says no, or when it takes too
// long.
//
// Invariants: each wish is answered once; at most kWishesMax wait. Pure; owned by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/instant.h"
#include "conf/limits.h"
#include "health/leadership.h"

namespace azimuth {

class Wishes {
 public:
  // Empty: done. Else why not.
  using Answer = std::function<void(const std::string& why_not)>;

  // `to`: who is to lead; empty: anybody but the one who does now.
  void add(Instant now, const GroupView& view, std::string to, Answer answer);
  // Leadership has said no.
  void refuse(std::string_view why);
  void on_view(Instant now, const GroupView& view);
  // When the oldest has waited long enough.
  Instant next_wakeup() const;
  // One has come that is not taken on yet; in the end it was not.
  void begin() { last_ = kUnderWay; }
  void settle_untaken(const Answer& answer, const std::string& why_not);
  // How the last one went, for /status: kUnderWay, "done", or "refused: " and why; empty at first.
  static constexpr const char* kUnderWay = "under way";
  const std::string& last() const { return last_; }

 private:
  struct Wish {
    std::string to, from;
    std::uint64_t epoch;  // of `from`; what was wished for is a later one
    Instant deadline;
    Answer answer;
  };
  void settle(Wish& wish, const std::string& why_not);

  std::vector<Wish> wishes_;
  std::string last_;
};

}  // namespace azimuth
