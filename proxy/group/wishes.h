// What operators have asked this node for (a switchover, a forced election) and wait for: answered
// when the group has the primary that was wished for, when leadership still says no after a little
// while (a member that has just joined is not known to be in sync at once), or when it takes too
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
#include "health/leadership_messages.h"

namespace azimuth {

class Wishes {
 public:
  // Empty: done. Else why not.
  using Answer = std::function<void(const std::string& why_not)>;
  // Puts a wish to leadership, here or elsewhere. Empty: it has taken it on. Else why not.
  using Offer = std::function<std::string(Wish::Kind kind, const std::string& node)>;

  // `to`: who is to lead; empty: anybody but the one who does now.
  void add(Instant now, Wish::Kind kind, std::string to, Answer answer);
  // Puts those whose time has come to leadership.
  void offer(Instant now, const GroupView& view, const Offer& offer);
  // Leadership has said no to what it had taken on.
  void refuse(Instant now, std::string_view why);
  // No is the last word on all of them.
  void end(std::string_view why);
  void on_view(Instant now, const GroupView& view);
  // When one is to be offered, or has waited long enough.
  Instant next_wakeup() const;
  // How the last one went, for /status: "under way", "done", or "refused: " and why; empty at
  // first.
  const std::string& last() const { return last_; }

 private:
  struct Pending {
    Wish::Kind kind;
    std::string to;
    Instant offer_until;
    Answer answer;
    bool taken = false;
    Instant offer_at{};       // not taken
    std::string from{};       // taken: who led then,
    std::uint64_t epoch = 0;  // in which epoch; what was wished for is a later one
    Instant deadline{};       // taken
  };
  std::vector<Pending> take_all();
  // To be offered again, while there is time.
  void put_back(Instant now, Pending wish, std::string_view why);
  void settle(const Answer& answer, const std::string& why_not);

  std::vector<Pending> wishes_;
  std::string last_;
};

}  // namespace azimuth
