#include "health/back_pressure.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

namespace azimuth {
namespace {

constexpr double kMs = 1000.0;  // microseconds

std::vector<std::string> names(const std::vector<BackPressure::Event>& events) {
  std::vector<std::string> out;
  for (const auto& each : events) out.push_back(each.name);
  return out;
}

// One primary with closed-loop writers, and a replica that applies at a rate of its own. Time runs
// in milliseconds; the replica is asked every 200 ms, or when back-pressure wants to know.
struct Loop {
  double clients = 50, bytes = 200, writes_max = 40'000;  // a second, without a delay
  double round_trip_us = 300;
  std::function<double(double t_s)> applies = [](double) { return 1e12; };  // bytes a second
  std::function<bool(double t_s)> in_sync = [](double) { return true; };
  std::function<bool(double t_s)> whole = [](double) { return true; };

  struct Point {
    double t_s, lag_mib, delay_ms, written_mb_s;
    ReplicaStanding standing;
  };

  explicit Loop(const BackPressureSettings& ramp = {}) : pressure(ramp) {}

  void run(double until_s) {
    for (; now.ms < static_cast<std::int64_t>(until_s * 1000); now.ms += 1) {
      const double t_s = static_cast<double>(now.ms) / 1000;
      const double writes =
          std::min(writes_max, clients * 1e6 / (round_trip_us + static_cast<double>(delay_us)));
      own += writes * bytes / 1000;
      applied = std::min(own, applied + applies(t_s) / 1000);
      if (now.ms % 200 == 0 || asked) {
        asked = false;
        told = {"b1", in_sync(t_s), whole(t_s), static_cast<std::uint64_t>(applied), now};
      }
      if (!pressure.due(now)) continue;
      pressure.on_progress(now, static_cast<std::uint64_t>(own), std::vector{told});
      asked = !pressure.to_ask(now).empty();
      for (const auto& each : pressure.take_events()) events.push_back(each);
      const auto& replica = pressure.replicas().at("b1");
      points.push_back({t_s, (own - applied) / static_cast<double>(kMiB), pressure.delay_us() / kMs,
                        writes * bytes / 1e6, replica.standing});
      delay_us = pressure.delay_us();
    }
  }
  std::vector<Point> between(double from_s, double to_s) const {
    std::vector<Point> part;
    for (const Point& each : points) {
      if (each.t_s >= from_s && each.t_s < to_s) part.push_back(each);
    }
    return part;
  }
  static double most(const std::vector<Point>& part, double Point::*what) {
    double value = 0;
    for (const Point& each : part) value = std::max(value, each.*what);
    return value;
  }
  static double least(const std::vector<Point>& part, double Point::*what) {
    double value = 1e18;
    for (const Point& each : part) value = std::min(value, each.*what);
    return value;
  }

  BackPressure pressure;
  Instant now{1'000'000};
  double own = 1e9, applied = 1e9;
  std::uint32_t delay_us = 0;
  bool asked = false;
  ReplicaProgress told;
  std::vector<Point> points;
  std::vector<BackPressure::Event> events;
};

// Seconds of the loop's own time.
constexpr double at(double s) { return 1000 + s; }

}  // namespace

TEST_CASE("the curve is 0 below, the cap at the end, and rises without a step between") {
  const BackPressureSettings ramp;
  CHECK(delay_us_at(ramp, -1) == 0);
  CHECK(delay_us_at(ramp, 0) == 0);
  CHECK(delay_us_at(ramp, 1) == ramp.delay_ms_max * 1000);
  CHECK(delay_us_at(ramp, 7) == ramp.delay_ms_max * 1000);
  std::uint32_t before = 0;
  for (double x = 0; x <= 1; x += 0.001) {
    const std::uint32_t delay = delay_us_at(ramp, x);
    CHECK(delay >= before);
    // A thousandth of the ramp is seven thousandths of the delay, wherever that is.
    CHECK(delay <= before * 1.0072 + 3);
    before = delay;
  }
  BackPressureSettings off = ramp;
  off.delay_ms_max = 0;
  CHECK(delay_us_at(off, 1) == 0);
}

TEST_CASE("the picture of the curve in health/README.md is what the curve is") {
  std::ifstream file(std::string(AZIMUTH_SOURCE_DIR) + "/health/README.md");
  const std::string readme{std::istreambuf_iterator<char>(file), {}};
  std::string chart;
  for (int i = 0; i <= 10; ++i) {
    const double ms = delay_us_at(BackPressureSettings{}, i / 10.0) / kMs;
    char line[80];
    std::snprintf(line, sizeof(line), "  %3.1f %8.2f ms  ", i / 10.0, ms);
    std::string text =
        line + std::string(static_cast<size_t>(std::lround(6 * std::log(1 + ms / 0.1))), '#');
    text.erase(text.find_last_not_of(' ') + 1);
    chart += text + "\n";
  }
  INFO(chart);
  CHECK(readme.find("\n" + chart + "```") != std::string::npos);
}

TEST_CASE("the ramp goes by bytes or by time, whichever is further") {
  const BackPressureSettings ramp;
  CHECK(ramp_position(ramp, ramp.start_bytes, milliseconds(0)) == 0);
  CHECK(ramp_position(ramp, ramp.full_bytes, milliseconds(0)) == Approx(1));
  CHECK(ramp_position(ramp, (ramp.start_bytes + ramp.full_bytes) / 2,
                      milliseconds(ramp.start_ms)) == Approx(0.5));
  CHECK(ramp_position(ramp, kMiB, milliseconds(ramp.start_ms)) == 0);
  CHECK(ramp_position(ramp, kMiB, milliseconds(ramp.full_ms)) == Approx(1));
  CHECK(ramp_position(ramp, 2 * ramp.full_bytes, milliseconds(0)) > 2);
  // A few bytes may lie for long without anybody being too slow.
  CHECK(ramp_position(ramp, 1000, seconds(60)) == 0);
}

TEST_CASE("a replica at half the rate for a minute: the delay settles, and goes when that does") {
  struct Case {
    double clients, bytes, writes_max, share;
  };
  for (const Case& each :
       {Case{50, 100, 80'000, 0.5}, Case{50, 1000, 50'000, 0.5}, Case{8, 200, 20'000, 0.5},
        Case{500, 300, 100'000, 0.5}, Case{4, 300, 8'000, 0.1}, Case{800, 1000, 80'000, 0.5},
        Case{50, 1000, 50'000, 0.1}}) {
    Loop loop;
    loop.clients = each.clients;
    loop.bytes = each.bytes;
    loop.writes_max = each.writes_max;
    const double full = std::min(each.writes_max, each.clients * 1e6 / 300) * each.bytes;
    INFO(each.clients << " clients, " << full / 1e6 << " MB/s, to " << each.share);
    loop.applies = [&](double t) {
      return t >= at(5) && t < at(65) ? full * each.share : full * 3;
    };
    loop.run(at(72));
    const BackPressureSettings ramp;
    const auto quiet = loop.between(at(0), at(5));
    CHECK(Loop::most(quiet, &Loop::Point::delay_ms) == 0);
    const auto slow = loop.between(at(5), at(65));
    const auto settled = loop.between(at(45), at(65));
    // The lag stays on the ramp, the delay below its cap.
    CHECK(Loop::most(slow, &Loop::Point::lag_mib) < ramp.full_bytes / kMiB + 1);
    const double delay = Loop::most(settled, &Loop::Point::delay_ms);
    CHECK(delay > 0);
    CHECK(delay < ramp.delay_ms_max);
    // No swing: it goes up to where it stays, at most a tenth beyond, and stays.
    CHECK(Loop::most(slow, &Loop::Point::delay_ms) < delay * 1.15);
    CHECK(Loop::least(settled, &Loop::Point::delay_ms) > delay * 0.85);
    double highest = 0;
    for (const auto& point : loop.between(at(5), at(45))) {
      CHECK(point.delay_ms >= highest * 0.85);
      highest = std::max(highest, point.delay_ms);
    }
    CHECK(Loop::most(settled, &Loop::Point::written_mb_s) ==
          Approx(full * each.share / 1e6).epsilon(0.25));
    // Back to normal.
    CHECK(Loop::most(loop.between(at(67), at(72)), &Loop::Point::delay_ms) == 0);
    CHECK(names(loop.events) == std::vector<std::string>{"writes_slowed", "writes_free"});
  }
}

TEST_CASE("the delay never jumps") {
  Loop loop;
  loop.applies = [](double t) { return t < at(5) ? 1e12 : 0; };
  loop.run(at(20));
  double before = 0;
  for (const auto& point : loop.points) {
    CHECK(point.delay_ms <= before * 2.1 + 0.2);
    before = point.delay_ms;
  }
  CHECK(before > 20);
}

TEST_CASE(
    "a replica that applies nothing is given up after the bound, and counts again when back") {
  Loop loop;
  loop.applies = [](double t) { return t < at(5) ? 1e12 : t < at(60) ? 0 : 1e9; };
  loop.run(at(30));
  CHECK(loop.points.back().delay_ms > 20);
  CHECK(loop.points.back().standing == ReplicaStanding::kCounts);
  loop.run(at(50));
  CHECK(loop.points.back().standing == ReplicaStanding::kHopeless);
  CHECK(loop.points.back().delay_ms == 0);
  REQUIRE(names(loop.events) ==
          std::vector<std::string>{"writes_slowed", "replica_hopeless", "writes_free"});
  CHECK(loop.events[1].replica == "b1");
  CHECK(loop.events[1].warning);
  // For as long as was agreed, from when it was seen to lag.
  const auto first = std::find_if(loop.points.begin(), loop.points.end(), [](const auto& each) {
    return each.standing == ReplicaStanding::kHopeless;
  });
  CHECK(first->t_s > at(35));
  CHECK(first->t_s < at(45));
  loop.run(at(70));
  CHECK(loop.events.back().name == "replica_back");
  CHECK(loop.points.back().standing == ReplicaStanding::kCounts);
  CHECK(loop.points.back().delay_ms == 0);
}

TEST_CASE("one that is several ramps behind holds nobody, and is given up after the bound") {
  Loop loop;
  loop.clients = 20'000;  // whom no delay slows enough
  loop.writes_max = 200'000;
  loop.bytes = 2000;
  loop.applies = [](double t) { return t < at(5) ? 1e12 : 0; };
  loop.run(at(8));
  REQUIRE(loop.points.back().lag_mib > 4 * 48);
  CHECK(loop.points.back().standing == ReplicaStanding::kDrowned);
  CHECK(loop.points.back().delay_ms == 0);
  loop.run(at(30));
  CHECK(loop.points.back().standing == ReplicaStanding::kDrowned);
  CHECK(names(loop.events) == std::vector<std::string>{"writes_slowed", "writes_free"});
  loop.run(at(40));
  CHECK(loop.points.back().standing == ReplicaStanding::kHopeless);
  CHECK(loop.events.back().name == "replica_hopeless");
}

TEST_CASE("one value of many ramps makes no healthy replica hopeless") {
  // 210 MiB at once; each replica has it after a while, and has taken nothing until then.
  BackPressure pressure{BackPressureSettings{}};
  const double takes_s = GENERATE(0.5, 3.0, 25.0);
  std::uint64_t own = 1'000 * kMiB;
  double held_s = 0;
  for (std::int64_t ms = 1000; ms < 60'000; ms += 20) {
    const Instant now{1'000'000 + ms};
    if (ms == 10'000) own += 210 * kMiB;
    own += 20'000;  // a megabyte a second of other writes
    const bool taking = ms >= 10'000 && ms < 10'000 + takes_s * 1000;
    const std::uint64_t offset = taking ? 1'000 * kMiB + 20'000 * 450 : own;
    pressure.on_progress(now, own,
                         std::vector<ReplicaProgress>{{"a", true, true, offset, now},
                                                      {"b", true, true, offset, now}});
    held_s += pressure.delay_us() > 20'000 ? 0.02 : 0;
    CHECK(pressure.replicas().at("a").standing != ReplicaStanding::kHopeless);
  }
  CHECK(held_s < 1);
  CHECK(pressure.replicas().at("a").standing == ReplicaStanding::kCounts);
  CHECK(pressure.replicas().at("a").weight == 1);
  CHECK(pressure.delay_us() == 0);
}

TEST_CASE("a replica that does not keep up and goes away again and again is given up as well") {
  // Redis drops a slow replica when its buffer is full; a partial sync takes it back.
  Loop loop;
  loop.applies = [](double t) { return t < at(5) ? 1e12 : t < at(90) ? 0 : 1e9; };
  loop.in_sync = [](double t) { return t < at(5) || std::fmod(t, 20) >= 2; };
  loop.run(at(50));
  CHECK(loop.points.back().standing == ReplicaStanding::kHopeless);
  CHECK(loop.points.back().delay_ms == 0);
  const auto first = std::find_if(loop.points.begin(), loop.points.end(), [](const auto& each) {
    return each.standing == ReplicaStanding::kHopeless;
  });
  CHECK(first->t_s > at(35));  // not before its time: what it was away does not count
  loop.run(at(110));
  CHECK(loop.points.back().standing == ReplicaStanding::kCounts);
  // One that goes away as often and keeps up is none of these.
  Loop healthy;
  healthy.in_sync = loop.in_sync;
  healthy.run(at(200));
  CHECK(healthy.points.back().standing == ReplicaStanding::kCounts);
  CHECK(healthy.events.empty());
}

TEST_CASE("a hopeless replica does not hide one that lags within reason") {
  BackPressure pressure{BackPressureSettings{}};
  std::uint64_t own = 1'000 * kMiB;
  Instant now{1};
  const auto tell = [&](std::uint64_t lag_a, std::uint64_t lag_b) {
    now = now + milliseconds(200);
    own += 1000;
    pressure.on_progress(now, own,
                         std::vector<ReplicaProgress>{{"a", true, true, own - lag_a, now},
                                                      {"b", true, true, own - lag_b, now}});
  };
  for (int i = 0; i < 50; ++i) tell(0, 0);
  // (With no rate of writing, only the bytes count: all the rest is without end.)
  BackPressureSettings bytes_alone;
  bytes_alone.start_ms = bytes_alone.full_ms = 4'000'000'000;
  pressure.set_ramp(bytes_alone);
  for (int i = 0; i < 5 * 35; ++i) tell(60 * kMiB, 26 * kMiB);
  CHECK(pressure.replicas().at("a").standing == ReplicaStanding::kHopeless);
  CHECK(pressure.replicas().at("a").weight == 0);
  CHECK(pressure.replicas().at("b").standing == ReplicaStanding::kCounts);
  CHECK(pressure.pressure() == Approx(0.5));
  CHECK(pressure.delay_us() == delay_us_at(bytes_alone, 0.5));
}

TEST_CASE("a replica in its first copy, and until it has caught up, changes nothing") {
  Loop loop;
  loop.in_sync = [](double t) { return t >= at(10); };
  loop.whole = [](double t) { return t >= at(12); };
  // Meanwhile it falls behind, and takes seconds to catch up.
  loop.applies = [](double t) { return t < at(10) ? 0 : 12e6; };
  loop.run(at(9));
  CHECK(loop.points.back().standing == ReplicaStanding::kAway);
  loop.run(at(14));
  CHECK(loop.points.back().standing == ReplicaStanding::kCatchingUp);
  CHECK(loop.points.back().lag_mib > 40);
  loop.run(at(60));
  CHECK(loop.points.back().standing == ReplicaStanding::kCounts);
  CHECK(Loop::most(loop.points, &Loop::Point::delay_ms) == 0);
  CHECK(loop.events.empty());
  // From then on it counts like any other.
  loop.applies = [](double) { return 4e6; };
  loop.run(at(90));
  CHECK(loop.points.back().delay_ms > 0);
}

TEST_CASE("who is not heard from, or not in sync, slows nobody") {
  Loop loop;
  loop.applies = [](double t) { return t < at(5) ? 1e12 : 4e6; };
  loop.in_sync = [](double t) { return t < at(20); };
  loop.run(at(19.9));
  REQUIRE(loop.points.back().delay_ms > 0);
  loop.run(at(22));
  CHECK(loop.points.back().standing == ReplicaStanding::kAway);
  CHECK(loop.points.back().delay_ms == 0);

  BackPressure pressure{BackPressureSettings{}};
  Instant now{0};
  const std::uint64_t own = 100 * kMiB;
  std::vector<ReplicaProgress> told;
  for (int i = 0; i < 20; ++i) {
    now = now + milliseconds(200);
    told = {{"a", true, true, own - 30 * kMiB * (i > 10), now}};
    pressure.on_progress(now, own, told);
  }
  CHECK(pressure.delay_us() > 0);
  for (int i = 0; i < 20; ++i) {
    now = now + milliseconds(200);
    pressure.on_progress(now, own, told);  // it says nothing new
  }
  CHECK(pressure.delay_us() == 0);
  CHECK(pressure.replicas().at("a").standing == ReplicaStanding::kAway);
}

TEST_CASE("without the lead there is no delay, and nothing is remembered") {
  Loop loop;
  loop.applies = [](double t) { return t < at(5) ? 1e12 : 4e6; };
  loop.run(at(20));
  REQUIRE(loop.pressure.delay_us() > 0);
  loop.pressure.on_rest(loop.now);
  CHECK(loop.pressure.delay_us() == 0);
  CHECK(loop.pressure.replicas().empty());
  CHECK(loop.pressure.next_wakeup() == kNever);
}

TEST_CASE("a delay of 0 switches it off, at once") {
  Loop loop;
  loop.applies = [](double t) { return t < at(5) ? 1e12 : 4e6; };
  loop.run(at(20));
  REQUIRE(loop.pressure.delay_us() > 0);
  BackPressureSettings off;
  off.delay_ms_max = 0;
  loop.pressure.set_ramp(off);
  loop.run(at(20.1));
  CHECK(loop.pressure.delay_us() == 0);
}

TEST_CASE("the way there and back is no lag") {
  // 80 ms away, writing 50 MB/s: what is on the wire when it answers has been written since it was
  // asked.
  BackPressure pressure{BackPressureSettings{}};
  Instant now{0};
  for (int i = 0; i < 500; ++i) {
    now = now + milliseconds(20);
    const Instant asked = now - milliseconds(160);
    const auto own_then = static_cast<std::uint64_t>(50'000 * std::max<std::int64_t>(asked.ms, 0));
    const auto own = static_cast<std::uint64_t>(50'000 * now.ms);
    pressure.on_progress(now, own,
                         std::vector<ReplicaProgress>{{"a", true, true, own_then, asked}});
  }
  CHECK(pressure.replicas().at("a").lag_bytes < 1'100'000);
  CHECK(pressure.delay_us() == 0);
}

}  // namespace azimuth
