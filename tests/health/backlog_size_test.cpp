// The backlog's size by the rate of writes: a function, a rate that is smoothed, and what keeps it
// from being changed all the time.
#include "health/backlog_size.h"

#include <catch2/catch.hpp>
#include <string>

using namespace azimuth;

namespace {

constexpr double kMegabyte = 1e6;

struct Story {
  BacklogRules rules{seconds(60), 16 * kMiB, 256 * kMiB};
  BacklogSizer sizer;
  Instant now{1000};
  std::uint64_t size = 1 * kMiB;  // of Redis
  int changes = 0;
  bool resizable = true;
  std::uint64_t maxmemory = 0;

  Story() { sizer.set_rules(rules); }
  // Redis is asked twice a second, and does what is wanted.
  void pass(std::int64_t s, double bytes_per_s) {
    for (std::int64_t i = 0; i < 2 * s; ++i) {
      now = now + milliseconds(500);
      sizer.on_size(size, resizable);
      sizer.on_rate(now, bytes_per_s, maxmemory);
      if (sizer.wanted() == size) continue;
      size = sizer.wanted();
      ++changes;
    }
  }
};

}  // namespace

TEST_CASE("the backlog holds what is written in an outage, within its bounds") {
  const BacklogRules rules{seconds(60), 16 * kMiB, 256 * kMiB};
  CHECK(backlog_bytes_for(rules, 0, 0) == 16 * kMiB);
  CHECK(backlog_bytes_for(rules, 1000, 0) == 16 * kMiB);
  // 75 MB, with headroom.
  CHECK(backlog_bytes_for(rules, kMegabyte, 0) == 128 * kMiB);
  CHECK(backlog_bytes_for(rules, 100 * kMegabyte, 0) == 256 * kMiB);
  CHECK(backlog_bytes_for(rules, 1e18, 0) == 256 * kMiB);
  CHECK(backlog_bytes_for({seconds(0), 16 * kMiB, 256 * kMiB}, kMegabyte, 0) == 16 * kMiB);
  // The more is written, the more it holds; it covers the outage wherever the bounds let it.
  std::uint64_t last = 0;
  for (double rate = 1000; rate < 1e9; rate *= 1.3) {
    const std::uint64_t bytes = backlog_bytes_for(rules, rate, 0);
    CHECK(bytes >= last);
    CHECK((bytes == rules.most || static_cast<double>(bytes) >= rate * 60));
    last = bytes;
  }
}

TEST_CASE("a Redis with a maxmemory gives a tenth of it at most") {
  const BacklogRules rules{seconds(60), 16 * kMiB, 256 * kMiB};
  CHECK(backlog_bytes_for(rules, 1e9, 1000 * kMiB) == 64 * kMiB);
  CHECK(backlog_bytes_for(rules, 1e9, 10 * kMiB) == 1 * kMiB);
  CHECK(backlog_bytes_for(rules, 0, 10 * kMiB) == 1 * kMiB);
  CHECK(backlog_bytes_for(rules, 1e9, std::uint64_t{1} << 40) == 256 * kMiB);
  for (std::uint64_t maxmemory = kMiB; maxmemory < std::uint64_t{1} << 40; maxmemory *= 3) {
    for (const double rate : {0.0, 1e6, 1e9}) {
      CHECK(backlog_bytes_for(rules, rate, maxmemory) <= maxmemory / 10);
    }
  }
}

TEST_CASE("a maxmemory that is set or lowered takes back what is above its tenth, at once") {
  Story story;
  story.pass(10, 3 * kMegabyte);
  CHECK(story.size == 256 * kMiB);
  story.maxmemory = 1000 * kMiB;
  story.pass(1, 3 * kMegabyte);
  CHECK(story.size == 64 * kMiB);
  story.maxmemory = 400 * kMiB;
  story.pass(1, 100'000);
  CHECK(story.size == 32 * kMiB);
  // What is far too much shrinks, and not to more than a tenth.
  Story plenty;
  plenty.maxmemory = 200 * kMiB;
  plenty.pass(4000, 0);
  CHECK(plenty.size == 16 * kMiB);
  Story old;
  old.resizable = false;
  old.maxmemory = 50 * kMiB;
  old.pass(1, 0);
  CHECK(old.size == 4 * kMiB);
}

TEST_CASE("the rate follows a rise in seconds and forgets it in minutes") {
  WriteRate rate;
  Instant now{1000};
  std::uint64_t offset = 5000;
  const auto pass = [&](int s, std::uint64_t bytes_per_s) {
    for (int i = 0; i < 2 * s; ++i) {
      now = now + milliseconds(500);
      offset += bytes_per_s / 2;
      rate.on_offset(now, "a", offset);
    }
  };
  pass(60, 0);
  CHECK(rate.bytes_per_s() == 0);
  pass(15, 1'000'000);
  CHECK(rate.bytes_per_s() > 900'000);
  CHECK(rate.bytes_per_s() < 1'010'000);
  pass(30, 0);
  CHECK(rate.bytes_per_s() > 850'000);
  pass(1800, 0);
  CHECK(rate.bytes_per_s() < 10'000);
}

TEST_CASE("what is no write does not count as one") {
  WriteRate rate;
  rate.on_offset(Instant{1000}, "a", 0);
  rate.on_offset(Instant{2000}, "a", 1000);
  const double quiet = rate.bytes_per_s();
  CHECK(quiet > 0);
  // Another history; an offset that goes back; a time in which nobody looked; a resync.
  rate.on_offset(Instant{3000}, "b", 900'000'000);
  rate.on_offset(Instant{4000}, "b", 100);
  rate.on_offset(Instant{60'000}, "b", 800'000'000);
  rate.on_gap();
  rate.on_offset(Instant{61'000}, "b", 900'000'000);
  CHECK(rate.bytes_per_s() == quiet);
  rate.on_offset(Instant{62'000}, "b", 900'001'000);
  CHECK(rate.bytes_per_s() > quiet);
}

TEST_CASE("a backlog grows at once, in few steps, and stays while the rate wavers") {
  Story story;
  story.pass(1, 0);
  CHECK(story.size == 16 * kMiB);
  CHECK(story.changes == 1);
  story.pass(1, 500'000);
  CHECK(story.size == 64 * kMiB);
  for (int i = 0; i < 200; ++i) story.pass(10, i % 2 == 0 ? 500'000 : 300'000);
  CHECK(story.size == 64 * kMiB);
  CHECK(story.changes == 2);
}

TEST_CASE("a backlog shrinks after a long time of far less, by half of what it could") {
  Story story;
  story.pass(10, 3 * kMegabyte);
  CHECK(story.size == 256 * kMiB);
  story.pass(590, 100'000);
  CHECK(story.size == 256 * kMiB);
  story.pass(5, kMegabyte);  // begins the time anew
  story.pass(590, 100'000);
  CHECK(story.size == 256 * kMiB);
  story.pass(20, 100'000);
  CHECK(story.size == 32 * kMiB);
  story.pass(3600, 100'000);
  CHECK(story.size == 32 * kMiB);
}

TEST_CASE("what somebody else has set is the least") {
  Story story;
  story.size = 512 * kMiB;
  story.pass(3600, 0);
  CHECK(story.size == 512 * kMiB);
  CHECK(story.changes == 0);
  // At run time, too; and a smaller one takes that back.
  Story other;
  other.pass(10, 0);
  other.size = 1024 * kMiB;
  other.pass(3600, 0);
  CHECK(other.size == 1024 * kMiB);
  other.size = 2 * kMiB;
  other.pass(1, 0);
  CHECK(other.size == 16 * kMiB);
}

TEST_CASE("what an azimuth before this one has set is no floor, of the same process of Redis") {
  Story story;
  story.size = 256 * kMiB;
  story.pass(3600, 0);
  CHECK(story.size == 32 * kMiB);
  // Of a new one it is the operator's.
  Story restarted;
  restarted.pass(1, 0);
  restarted.sizer.forget();
  restarted.size = 256 * kMiB;
  restarted.pass(3600, 0);
  CHECK(restarted.size == 256 * kMiB);
  // And so is what azimuth would not set.
  Story own;
  own.size = 100 * kMiB;
  own.pass(3600, 0);
  CHECK(own.size == 100 * kMiB);
}

TEST_CASE("a Redis that empties its backlog when it is resized is left alone") {
  Story story;
  story.resizable = false;
  story.pass(100, 100 * kMegabyte);
  CHECK(story.size == 16 * kMiB);
  CHECK(story.changes == 1);
}

TEST_CASE("another process has its own configuration") {
  Story story;
  story.pass(10, 3 * kMegabyte);
  story.sizer.forget();
  CHECK(story.sizer.wanted() == 0);
  story.size = 1 * kMiB;
  story.pass(1, 3 * kMegabyte);
  CHECK(story.size == 256 * kMiB);
}
