// The level of compression by what it costs, and how long replication waits for more of its kind.
#include "proxy/peer/pack_pace.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "conf/limits.h"

using namespace azimuth;

namespace {

constexpr std::uint64_t kTickMs = 100;

// A worker whose compressor takes a share of the time, which doubles every second level.
struct Machine {
  PackLevel level;
  std::uint64_t now_ms = 1000;
  int changes = 0;
  double share_at_3 = 0;
  double others = 0;  // of the time, other links' compressors
  bool stuck = false;

  void run(std::uint64_t ms) {
    for (const std::uint64_t end = now_ms + ms; now_ms < end;) {
      now_ms += kTickMs;
      const double share = share_at_3 * std::pow(2.0, (level.level() - 3) / 2.0);
      const double tick_ns = static_cast<double>(kTickMs) * 1e6;
      PackLoad load;
      load.own_ns = static_cast<std::uint64_t>(share * tick_ns);
      load.worker_ns = static_cast<std::uint64_t>((share + others) * tick_ns);
      load.stuck = stuck;
      changes += level.on_tick(now_ms, load) ? 1 : 0;
    }
  }
};

}  // namespace

TEST_CASE("the level rises where there is time, and keeps to its bounds") {
  Machine idle{.level = PackLevel(1, 6)};
  CHECK(idle.level.level() == 3);
  idle.run(20'000);
  CHECK(idle.level.level() == 3);  // nothing to measure
  idle.share_at_3 = 0.01;
  idle.run(2000);
  CHECK(idle.level.level() == 6);
  idle.run(60'000);
  CHECK(idle.level.level() == 6);
  CHECK(idle.changes == 1);
  CHECK(PackLevel(5, 9).level() == 5);
  CHECK(PackLevel(1, 2).level() == 2);
  CHECK(PackLevel(6, 6).level() == 6);
}

TEST_CASE("the level falls where compressing takes too much, and does not flutter") {
  Machine busy{.level = PackLevel(1, 6)};
  busy.share_at_3 = 0.6;
  busy.run(2000);
  CHECK(busy.level.level() == 1);
  busy.run(60'000);
  CHECK(busy.level.level() == 1);  // 0.3: not too much, and too much to rise
  busy.share_at_3 = 0.01;
  busy.run(600'000);
  CHECK(busy.level.level() == 6);
  busy.changes = 0;
  // Between what it may take and what it aims at, it stays.
  busy.share_at_3 = 0.06;  // 0.17 at level 6
  busy.run(600'000);
  CHECK(busy.changes == 0);
}

TEST_CASE("a level that was too much is tried again later and later") {
  Machine machine{.level = PackLevel(1, 6)};
  machine.share_at_3 = 0.01;
  machine.run(2000);
  for (int i = 0; i < 50; ++i) {  // a burst each minute
    machine.share_at_3 = 0.2;
    machine.run(3000);
    machine.share_at_3 = 0.01;
    machine.run(57'000);
  }
  CHECK(machine.changes < 40);
}

TEST_CASE("what other links of the worker take counts") {
  Machine machine{.level = PackLevel(1, 6)};
  machine.share_at_3 = 0.02;
  machine.others = 0.6;
  machine.run(5000);
  CHECK(machine.level.level() == 1);
  machine.others = 0.09;
  machine.run(600'000);
  CHECK(machine.level.level() <= 2);
}

TEST_CASE("a network that is slower still is worth more of the CPU") {
  Machine machine{.level = PackLevel(1, 6)};
  machine.share_at_3 = 0.12;
  machine.run(30'000);
  CHECK(machine.level.level() == 3);
  machine.stuck = true;
  machine.run(30'000);
  CHECK(machine.level.level() > 3);
}

TEST_CASE("replication waits where enough is coming, and no longer than it may") {
  PackDelay delay(5);
  std::uint64_t now = 10'000;
  const auto feed = [&](std::size_t bytes_per_ms, int ms) {
    for (int i = 0; i < ms; ++i) delay.note(++now, bytes_per_ms);
  };
  SECTION("a single write goes at once") {
    delay.note(now, 500);
    CHECK_FALSE(delay.wait(now, 500));
  }
  SECTION("a trickle does not wait for the next drop") {
    feed(300, 500);
    CHECK_FALSE(delay.wait(now, 300));
  }
  SECTION("a stream waits for the delay at most") {
    feed(1000, 500);
    CHECK(delay.wait(now, 1000));
    CHECK(delay.due_ms() == now + 5);
    CHECK(delay.wait(now + 4, 5000));
    CHECK_FALSE(delay.wait(now + 5, 6000));
    CHECK(delay.wait(now + 6, 1000));  // the next
    CHECK(delay.due_ms() == now + 11);
  }
  SECTION("and for a batch at most") {
    feed(8000, 500);
    CHECK(delay.wait(now, 8000));
    CHECK_FALSE(delay.wait(now + 1, kPackBatchBytes));
    CHECK_FALSE(delay.wait(now + 1, kPackBatchBytes + 1));
  }
  SECTION("what has gone with something else does not shorten the next") {
    feed(1000, 500);
    CHECK(delay.wait(now, 1000));
    delay.sent();
    CHECK(delay.wait(now + 3, 1000));
    CHECK(delay.due_ms() == now + 8);
  }
  SECTION("a stream that has ended is forgotten") {
    feed(1000, 500);
    now += 5000;
    delay.note(now, 100);
    CHECK_FALSE(delay.wait(now, 100));
  }
  SECTION("without a delay nothing waits") {
    PackDelay none(0);
    for (int i = 0; i < 500; ++i) none.note(++now, 1000);
    CHECK_FALSE(none.wait(now, 1000));
    CHECK_FALSE(none.delays());
  }
}
