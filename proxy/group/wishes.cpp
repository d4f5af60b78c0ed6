#include "proxy/group/wishes.h"

#include <algorithm>
#include <utility>

namespace azimuth {
namespace {

// Longer than a hand-over and an election together may take.
constexpr Duration kPatience = seconds(10);

}  // namespace

void Wishes::add(Instant now, const GroupView& view, std::string to, Answer answer) {
  if (wishes_.size() >= kWishesMax) return answer("too many wait for one already");
  last_ = kUnderWay;
  wishes_.push_back({std::move(to), view.leader, view.epoch, now + kPatience, std::move(answer)});
}

void Wishes::refuse(std::string_view why) {
  std::vector<Wish> all;
  all.swap(wishes_);
  for (Wish& each : all) settle(each, std::string(why));
}

void Wishes::on_view(Instant now, const GroupView& view) {
  std::vector<Wish> waiting;
  waiting.swap(wishes_);
  for (Wish& each : waiting) {
    const bool moved = view.leader_ready && view.epoch > each.epoch;
    const bool fulfilled = each.to.empty() ? view.leader != each.from : view.leader == each.to;
    if (moved && fulfilled) {
      settle(each, "");
    } else if (moved) {
      settle(each, "node " + view.leader + " has become the primary instead");
    } else if (now >= each.deadline) {
      settle(each, "it was not done within " + std::to_string(kPatience.ms / 1000) + " s" +
                       (view.why.empty() ? "" : ": " + view.why));
    } else {
      wishes_.push_back(std::move(each));
    }
  }
}

Instant Wishes::next_wakeup() const {
  Instant next = kNever;
  for (const Wish& each : wishes_) next = earlier_of(next, each.deadline);
  return next;
}

void Wishes::settle_untaken(const Answer& answer, const std::string& why_not) {
  last_ = why_not.empty() ? "done" : "refused: " + why_not;
  answer(why_not);
}

void Wishes::settle(Wish& wish, const std::string& why_not) {
  settle_untaken(wish.answer, why_not);
}

}  // namespace azimuth
