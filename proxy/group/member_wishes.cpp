#include "proxy/group/member_wishes.h"

#include <algorithm>
#include <utility>

#include "conf/limits.h"

namespace azimuth {
namespace {

constexpr Duration kAgain = milliseconds(200);
// An election is over by then: that nobody can say is the answer.
constexpr Duration kNotYetFor = seconds(6);

}  // namespace

void MemberWishes::add(Instant now, Wish wish, Answer answer) {
  if (wishes_.size() >= kWishesMax) return answer("too many wait for one already");
  last_ = "under way";
  Pending pending;
  pending.wish = std::move(wish);
  pending.answer = std::move(answer);
  pending.offer_at = pending.since = now;
  wishes_.push_back(std::move(pending));
}

void MemberWishes::offer(Instant now, const Offer& offer) {
  std::vector<Pending> late;
  for (Pending& each : wishes_) {
    if (now < each.offer_at) continue;
    each.offer_at = now + kAgain;
    if (now >= each.since + kMemberWishPatience) {
      late.push_back(std::move(each));
      each.wish.id = 0;
      continue;
    }
    std::string why_not = offer(each.wish);
    if (why_not.empty())
      each.unanswered += each.unanswered < 2;
    else
      each.reason = std::move(why_not);
  }
  std::erase_if(wishes_, [](const Pending& each) { return each.wish.id == 0; });
  for (const Pending& each : late) {
    const std::string within = " within " + std::to_string(kMemberWishPatience.ms / 1000) + " s";
    give_up(each, (each.unanswered > 1 ? "no answer" : "it was not done") + within +
                      (each.reason.empty() ? "" : ": " + each.reason));
  }
}

void MemberWishes::on_result(Instant now, const WishResult& result) {
  const auto found = std::find_if(wishes_.begin(), wishes_.end(),
                                  [&](const Pending& each) { return each.wish.id == result.id; });
  if (found == wishes_.end()) return;
  if (result.standing == WishStanding::kNotYet) {
    if (found->unanswered < 2) found->unanswered = 0;
    found->reason = result.text;
    if (now < found->since + kNotYetFor) return;
  }
  const Pending wish = std::move(*found);
  wishes_.erase(found);
  if (result.standing == WishStanding::kNotYet) return give_up(wish, result.text);
  // Somebody may have done it, and died before he could say so.
  const bool done = result.standing == WishStanding::kDone ||
                    (result.standing == WishStanding::kAlready && wish.unanswered > 1);
  settle(wish, done ? "" : result.text);
}

void MemberWishes::end(std::string_view why) {
  for (const Pending& each : std::exchange(wishes_, {})) settle(each, std::string(why));
}

Instant MemberWishes::next_wakeup() const {
  Instant next = kNever;
  for (const Pending& each : wishes_) next = earlier_of(next, each.offer_at);
  return next;
}

void MemberWishes::give_up(const Pending& wish, const std::string& why) {
  settle(wish, wish.unanswered > 1
                   ? "it is not known whether it was done, azimuth status shows it: " + why
                   : why);
}

void MemberWishes::settle(const Pending& wish, const std::string& why_not) {
  last_ = why_not.empty() ? "done" : "refused: " + why_not;
  wish.answer(why_not);
}

}  // namespace azimuth
