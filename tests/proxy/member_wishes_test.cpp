// Operators that wait for a change of members, and what is shown of a node that was taken out.
#include "proxy/group/member_wishes.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "conf/limits.h"
#include "proxy/group/topology_of.h"

using namespace azimuth;

namespace {

struct Operator {
  MemberWishes wishes;
  Instant now = Instant{1000};
  std::vector<std::string> answers;
  unsigned offers = 0;
  std::string obstacle;

  void ask(std::uint64_t id = 7) {
    wishes.add(now, {Wish::Kind::kRemove, id, "d4"},
               [this](const std::string& why_not) { answers.push_back(why_not); });
    offer();
  }
  void offer() {
    wishes.offer(now, [this](const Wish& wish) {
      CHECK(wish.node == "d4");
      ++offers;
      return obstacle;
    });
  }
  void wait() {
    now = wishes.next_wakeup();
    offer();
  }
  void say(WishStanding standing, const std::string& text = {}, std::uint64_t id = 7) {
    wishes.on_result(now, {id, standing == WishStanding::kDone, text, standing});
  }
};

using Answers = std::vector<std::string>;

}  // namespace

TEST_CASE("a change of members is asked for again until it is answered, and then no more") {
  Operator op;
  op.ask();
  CHECK(op.wishes.last() == "under way");
  op.wait();
  op.wait();
  CHECK(op.offers == 3);
  op.say(WishStanding::kDone, "", 8);  // another one's
  CHECK(op.answers.empty());
  op.say(WishStanding::kDone);
  op.say(WishStanding::kDone);
  CHECK(op.answers == Answers{""});
  CHECK(op.wishes.last() == "done");
  CHECK(op.wishes.next_wakeup() == kNever);
}

TEST_CASE("a refusal is the last word; not yet is not, for a while") {
  Operator op;
  op.ask();
  op.say(WishStanding::kNotYet, "an election");
  CHECK(op.answers.empty());
  op.wait();
  op.say(WishStanding::kRefused, "the last member");
  CHECK(op.answers == Answers{"the last member"});
  CHECK(op.wishes.last() == "refused: the last member");
  op.ask();
  const Instant began = op.now;
  while (op.answers.size() == 1) {
    op.say(WishStanding::kNotYet, "no primary");
    if (op.answers.size() == 1) op.wait();
  }
  CHECK(op.answers.back() == "no primary");
  CHECK(op.now - began < kMemberWishPatience);
}

TEST_CASE("already is an error, unless somebody may have done it and died before he said so") {
  Operator op;
  op.ask();
  op.say(WishStanding::kAlready, "it is out already");
  CHECK(op.answers == Answers{"it is out already"});
  op.ask();
  op.wait();
  op.say(WishStanding::kNotYet, "an election");
  op.wait();
  op.say(WishStanding::kAlready, "it is out already");
  CHECK(op.answers.back().empty());
}

TEST_CASE("a change of members that nobody answers ends, with what is known") {
  Operator op;
  op.obstacle = "no node that votes answers";
  op.ask();
  const Instant began = op.now;
  while (op.answers.empty()) op.wait();
  CHECK_THAT(op.answers[0], Catch::Contains("no node that votes answers"));
  CHECK(op.now - began <= kMemberWishPatience + milliseconds(200));
  op.ask();
  op.wishes.end("the node stops");
  CHECK(op.answers.back() == "the node stops");
}

TEST_CASE("what somebody has taken on and never answered is not known to be undone") {
  Operator op;
  op.ask();
  op.wait();
  while (op.answers.empty()) op.wait();
  CHECK_THAT(op.answers[0], Catch::Contains("not known whether it was done"));
  op.ask();
  op.wait();
  while (op.answers.size() == 1) {
    op.say(WishStanding::kNotYet, "no primary");
    if (op.answers.size() == 1) op.wait();
  }
  CHECK_THAT(op.answers[1], Catch::Contains("not known whether it was done"));
  CHECK_THAT(op.answers[1], Catch::Contains("no primary"));
}

TEST_CASE("I8: changes of members that wait are bounded") {
  Operator op;
  for (std::size_t i = 0; i <= kWishesMax; ++i) op.ask(i + 1);
  REQUIRE(op.answers.size() == 1);
  CHECK_THAT(op.answers[0], Catch::Contains("too many"));
}

TEST_CASE("who was taken out is no member for the others, and says so of itself") {
  NodeRecord self, other;
  self.id = "a1";
  other.id = "d4";
  other.redis_ready = other.readable = true;
  GroupView view;
  view.electorate.version = 3;
  view.electorate.voters = {"a1"};
  view.electorate.removed = {"d4"};
  view.leader = "a1";
  view.leading = view.leader_ready = true;
  const LocalRedis local;
  const std::vector<Fork> forks;
  const GroupSight at_a1{self, {&other}, view, local, {}, forks};
  Topology topology = topology_of(at_a1);
  CHECK(topology.members.size() == 1);
  CHECK(topology.unfed == std::vector<std::string>{"d4"});
  NodeReport report;
  describe(at_a1, report);
  CHECK(report.members.size() == 1);
  CHECK(report.cluster->removed == std::vector<std::string>{"d4"});

  view.leading = false;
  view.removed = true;
  other.readable = false;
  const GroupSight at_d4{other, {&self}, view, local, {}, forks};
  topology = topology_of(at_d4);
  REQUIRE(topology.local >= 0);
  CHECK(topology.members[static_cast<std::size_t>(topology.local)].readiness ==
        Readiness::kNotReady);
  CHECK(topology.members[static_cast<std::size_t>(topology.primary)].id == "a1");
  describe(at_d4, report);
  CHECK(report.role == "removed");
}
