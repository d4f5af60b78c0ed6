// The changes of members that operators have asked this node for and wait for. Whoever leads is
// asked again and again, under the same id, until it answers: the primary may be another one by
// then, since one that is to be taken out itself hands over first.
//
// Invariants: each wish is answered once, within kMemberWishPatience; at most kWishesMax wait.
// Pure; owned by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/instant.h"
#include "health/leadership_messages.h"

namespace azimuth {

// A hand-over, an election and the copies that are waited for, together.
inline constexpr Duration kMemberWishPatience = seconds(12);

class MemberWishes {
 public:
  // Empty: done. Else why not.
  using Answer = std::function<void(const std::string& why_not)>;
  // Puts a wish to leadership, here or elsewhere; why that is not possible now.
  using Offer = std::function<std::string(const Wish& wish)>;

  void add(Instant now, Wish wish, Answer answer);
  // Those whose turn it is.
  void offer(Instant now, const Offer& offer);
  void on_result(Instant now, const WishResult& result);
  // No is the last word on all of them.
  void end(std::string_view why);
  Instant next_wakeup() const;
  // As Wishes::last().
  const std::string& last() const { return last_; }

 private:
  struct Pending {
    Wish wish;
    Answer answer;
    Instant offer_at, since;
    unsigned unanswered = 0;  // 2: somebody may have taken it on and never said how it ended
    std::string reason;       // why not yet
  };
  // Where somebody had taken it on, that is no refusal.
  void give_up(const Pending& wish, const std::string& why);
  void settle(const Pending& wish, const std::string& why_not);

  std::vector<Pending> wishes_;
  std::string last_;
};

}  // namespace azimuth
