// What the primary's node says on the links that bring it commands: the pace of writes, and how
// many replicas a quorum takes, in order with the replies.
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "proxy/group/quorum_count.h"
#include "tests/proxy/link_stage.h"

using namespace azimuth;
using namespace azimuth::stage;

namespace {

// Notes each number in the midst of the bytes that it came between.
struct Near : User {
  void on_stream_quorum(std::uint16_t replicas) override {
    heard += "<" + std::to_string(replicas) + ">";
    ++told;
  }
  int told = 0;
};

}  // namespace

TEST_CASE("the number that judges an answer is one that was said after the question") {
  QuorumCount count;
  CHECK(count.seen().raises == 0);  // nothing was said
  count.set(1, 1);
  const QuorumCount::Seen asked = count.seen();
  CHECK(asked.now == 1);
  count.set(1, 1);
  CHECK(count.seen() == asked);
  SECTION("a raise") {
    count.set(1, 2);
    CHECK(count.seen().since(asked) == 2);
  }
  SECTION("a raise that was taken back while nobody looked") {
    count.set(1, 3);
    count.set(1, 1);
    CHECK(count.seen().now == 1);
    CHECK(count.seen().since(asked) == 3);
  }
  SECTION("a fall") {
    count.set(1, 0);
    CHECK(count.seen().since(asked) == 0);  // what was asked for counts besides
    count.set(1, 1);
    CHECK(count.seen().since(asked) == 1);
  }
  SECTION("another epoch forgets what an earlier one took, but not at once") {
    count.set(1, 7);
    count.set(2, 2);
    CHECK(count.seen().since(asked) == 7);
    const QuorumCount::Seen later = count.seen();
    count.set(3, 2);
    count.set(3, 3);
    CHECK(count.seen().since(later) == 3);
  }
}

TEST_CASE("I3: an answer of Redis comes behind the number that was in force when it was read") {
  Pair pair;
  QuorumCount count;
  count.set(1, 1);
  pair.far.links.set_quorum(count);
  Near user;
  pair.open(user);
  // Known before a byte may be asked of Redis.
  REQUIRE(pair.loop.until([&] { return user.opens == 1; }));
  REQUIRE(user.stream->quorum() == 1);
  CHECK(user.heard == "<1>");
  User& redis = *pair.host.users.back();
  redis.say("a");
  count.set(1, 2);
  redis.say("b");  // (nobody has told the links)
  redis.say("c");
  count.set(1, 4);
  count.set(1, 3);
  redis.say("d");
  REQUIRE(pair.loop.until([&] { return user.heard.ends_with("d"); }));
  CHECK(user.heard == "<1>a<2>bc<4><3>d");
  CHECK(user.stream->quorum() == 3);
  SECTION("and a change is told without an answer, too") {
    count.set(1, 1);
    pair.far.links.look_at_quorum();
    REQUIRE(pair.loop.until([&] { return user.stream->quorum() == 1; }));
  }
  SECTION("one that is raised on another stream of the link counts for all of them") {
    Near other;
    pair.open(other);
    REQUIRE(pair.loop.until([&] { return other.opens == 1; }));
    CHECK(other.stream->quorum() == 3);
    count.set(1, 5);
    pair.host.users.back()->say("e");
    REQUIRE(pair.loop.until([&] { return other.heard.ends_with("e"); }));
    CHECK(user.heard.ends_with("d<5>"));
  }
}

TEST_CASE("I7: a number takes nothing of the room for which an answer was read") {
  Pair pair;
  QuorumCount count;
  count.set(1, 1);
  pair.far.links.set_quorum(count);
  std::vector<Near> users(6);
  for (Near& user : users) pair.open(user);
  REQUIRE(pair.loop.until([&] { return pair.host.users.size() == users.size(); }));
  const auto send = [](Stream& stream, std::size_t size) {
    std::string bytes(size, 'v');
    const iovec piece{bytes.data(), size};
    return stream.send(&piece, 1);
  };
  // The link is all but full: what is left of it is the bound, and no stream's window.
  std::size_t left = 0;
  for (auto& redis : pair.host.users) {
    left = redis->stream->room();
    if (left < kStreamTurnBytes) {
      count.set(1, 2);
      count.set(1, 4);
      count.set(1, 3);
      CHECK(send(*redis->stream, left) == left);
      break;
    }
    REQUIRE(send(*redis->stream, left - 100) == left - 100);
  }
  CHECK(left < kStreamTurnBytes);
  CHECK(left > 0);
}

TEST_CASE("a link that carries no commands hears neither pace nor quorum, until it does") {
  Pair pair;
  QuorumCount count;
  count.set(1, 2);
  pair.far.links.set_quorum(count);
  pair.far.links.set_pace(5000);
  Near reads;
  pair.open(reads, StreamKind::kReads);
  REQUIRE(pair.loop.until([&] { return reads.opens == 1; }));
  pair.host.users.back()->say("x");
  REQUIRE(pair.loop.until([&] { return reads.heard == "x"; }));
  CHECK(reads.told == 0);
  CHECK_FALSE(reads.stream->quorum());
  CHECK(pair.near.links.pace_us(pair.far.address) == 0);
  Near commands;
  pair.open(commands);
  REQUIRE(pair.loop.until([&] { return commands.opens == 1; }));
  CHECK(commands.stream->quorum() == 2);
  CHECK(pair.near.links.pace_us(pair.far.address) == 5000);
  // The last one has gone, and it changes: the next one is told.
  commands.close();
  REQUIRE(pair.loop.until([&] { return pair.host.users.back()->ends == 1; }));
  count.set(1, 3);
  pair.far.links.look_at_quorum();
  Near next;
  pair.open(next);
  REQUIRE(pair.loop.until([&] { return next.opens == 1; }));
  CHECK(next.stream->quorum() == 3);
}

TEST_CASE("a pressure that trembles is a frame now and then on each of many links") {
  constexpr int kLinks = 40;
  Loop loop;
  Host host;
  Node far(loop, settings_of("far"), &host, true);
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::unique_ptr<User>> users;
  for (int i = 0; i < kLinks; ++i) {
    nodes.push_back(std::make_unique<Node>(loop, settings_of("n" + std::to_string(i))));
    users.push_back(std::make_unique<User>());
    nodes.back()->open(*users.back(), far.address);
  }
  const auto all = [&](const auto& is) {
    return loop.until([&] {
      for (int i = 0; i < kLinks; ++i) {
        if (!is(i)) return false;
      }
      return true;
    });
  };
  REQUIRE(all([&](int i) { return users[i]->opens == 1; }));
  const auto frames = [&] {
    std::uint64_t sum = 0;
    for (const auto& node : nodes) sum += node->metrics.frames_in.get();
    return sum;
  };
  const std::uint64_t before = frames();
  // Up and down, each of 400 steps by some 3 %: less than a tenth in all.
  far.links.set_pace(20'000);
  for (int step = 0; step < 400; ++step) {
    far.links.set_pace(20'000 + static_cast<std::uint32_t>(step * 7 % 3 - 1) * 600);
    if (step % 10 == 0) loop.turn();
  }
  REQUIRE(all([&](int i) { return nodes[i]->links.pace_us(far.address) != 0; }));
  CHECK(frames() - before <= kLinks * 3);  // one; and heartbeats
  // It doubles at each step, all within a moment: the last one is heard, those between need not be.
  const std::uint64_t then = frames();
  for (std::uint32_t delay_us = 1000; delay_us <= 512'000; delay_us *= 2)
    far.links.set_pace(delay_us);
  REQUIRE(all([&](int i) { return nodes[i]->links.pace_us(far.address) == 512'000; }));
  CHECK(frames() - then <= kLinks * 4);
  // That writes need not wait any more is heard at once.
  far.links.set_pace(0);
  REQUIRE(all([&](int i) { return nodes[i]->links.pace_us(far.address) == 0; }));
  for (auto& user : users) user->close();
}
