#include "proxy/group/wishes.h"

#include <utility>

namespace azimuth {
namespace {

// Longer than a hand-over and an election together may take.
constexpr Duration kPatience = seconds(10);
// A member is known to be in sync within a few renewals of the lease, or it is not.
constexpr Duration kOfferWithin = milliseconds(1500);
constexpr Duration kOfferAgain = milliseconds(50);

}  // namespace

std::vector<Wishes::Pending> Wishes::take_all() { return std::exchange(wishes_, {}); }

void Wishes::add(Instant now, Wish::Kind kind, std::string to, Answer answer) {
  if (wishes_.size() >= kWishesMax) return answer("too many wait for one already");
  last_ = "under way";
  wishes_.push_back({kind, std::move(to), now + kOfferWithin, std::move(answer)});
}

void Wishes::offer(Instant now, const GroupView& view, const Offer& offer) {
  for (Pending& each : take_all()) {
    if (each.taken || now < each.offer_at) {
      wishes_.push_back(std::move(each));
      continue;
    }
    const std::string why_not = offer(each.kind, each.to);
    if (!why_not.empty()) {
      put_back(now, std::move(each), why_not);
      continue;
    }
    each.taken = true;
    each.from = view.leader;
    each.epoch = view.epoch;
    each.deadline = now + kPatience;
    wishes_.push_back(std::move(each));
  }
}

void Wishes::put_back(Instant now, Pending wish, std::string_view why) {
  if (now >= wish.offer_until) return settle(wish.answer, std::string(why));
  wish.taken = false;
  wish.offer_at = now + kOfferAgain;
  wishes_.push_back(std::move(wish));
}

void Wishes::refuse(Instant now, std::string_view why) {
  for (Pending& each : take_all()) {
    if (each.taken)
      put_back(now, std::move(each), why);
    else
      wishes_.push_back(std::move(each));
  }
}

void Wishes::end(std::string_view why) {
  for (const Pending& each : take_all()) settle(each.answer, std::string(why));
}

void Wishes::on_view(Instant now, const GroupView& view) {
  for (Pending& each : take_all()) {
    const bool moved = each.taken && view.leader_ready && view.epoch > each.epoch;
    const bool fulfilled = each.to.empty() ? view.leader != each.from : view.leader == each.to;
    if (moved && fulfilled) {
      settle(each.answer, "");
    } else if (moved) {
      settle(each.answer, "node " + view.leader + " has become the primary instead");
    } else if (each.taken && now >= each.deadline) {
      settle(each.answer, "it was not done within " + std::to_string(kPatience.ms / 1000) + " s" +
                              (view.why.empty() ? "" : ": " + view.why));
    } else {
      wishes_.push_back(std::move(each));
    }
  }
}

Instant Wishes::next_wakeup() const {
  Instant next = kNever;
  for (const Pending& each : wishes_) {
    next = earlier_of(next, each.taken ? each.deadline : each.offer_at);
  }
  return next;
}

void Wishes::settle(const Answer& answer, const std::string& why_not) {
  last_ = why_not.empty() ? "done" : "refused: " + why_not;
  answer(why_not);
}

}  // namespace azimuth
