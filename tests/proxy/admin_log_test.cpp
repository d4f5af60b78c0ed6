// The event log: its lines, its escaping, its rate limit, and that it never waits for its reader.
#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

#include "proxy/control/log.h"

using azimuth::EventLog;
using azimuth::LogLevel;

namespace {

struct Recorded {
  std::vector<std::string> lines;
  EventLog::Clock::time_point now{};
  bool writable = true;
  EventLog log{[this](std::string_view line) {
                 if (writable) lines.emplace_back(line);
                 return writable;
               },
               [this] { return now; }};
  // What follows the time stamp.
  std::string last() const { return lines.back().substr(lines.back().find(' ') + 1); }
};

std::string escaped(std::string_view text) {
  std::string line;
  azimuth::append_log_value(line, text);
  return line;
}

}  // namespace

TEST_CASE("an event is one line with its time, level, name and fields") {
  Recorded r;
  r.log.write(LogLevel::kInfo, "redis_up",
              {{"addr", "127.0.0.1:6379"}, {"port", 6379}, {"lag", -3}, {"ok", true}});
  REQUIRE(r.lines.size() == 1);
  CHECK(r.last() == "level=info event=redis_up addr=127.0.0.1:6379 port=6379 lag=-3 ok=true\n");
  const std::string& line = r.lines[0];
  CHECK(line.substr(0, 5) == "ts=20");
  CHECK(line[13] == 'T');
  CHECK(line.substr(26, 2) == "Z ");
}

TEST_CASE("values that could forge a line are quoted and escaped") {
  CHECK(escaped("plain-1.2:3") == "plain-1.2:3");
  CHECK(escaped("") == "\"\"");
  CHECK(escaped("two words") == "\"two words\"");
  CHECK(escaped("a\"b\\c") == "\"a\\\"b\\\\c\"");
  CHECK(escaped("x\r\nlevel=info") == "\"x\\r\\nlevel=info\"");
  CHECK(escaped(std::string_view("\0\x1b\xff", 3)) == "\"\\x00\\x1b\\xff\"");
  CHECK(escaped(std::string(300, 'a')) == "\"" + std::string(256, 'a') + "...\"");
}

TEST_CASE("a line is bounded however many fields it is given") {
  Recorded r;
  const std::string big(256, '\x01');
  r.log.write(LogLevel::kInfo, "big", {{"a", big}, {"b", big}, {"c", big}, {"d", big}, {"e", big}});
  CHECK(r.lines[0].size() <= 4096);
  CHECK(r.lines[0].find("clipped=true\n") != std::string::npos);
}

TEST_CASE("the level is settable at run time") {
  Recorded r;
  r.log.write(LogLevel::kDebug, "quiet", {});
  CHECK(r.lines.empty());
  r.log.set_level(LogLevel::kDebug);
  r.log.write(LogLevel::kDebug, "loud", {});
  CHECK(r.last() == "level=debug event=loud\n");
  r.log.set_level(LogLevel::kError);
  r.log.write(LogLevel::kWarn, "quiet", {});
  CHECK(r.lines.size() == 1);
}

TEST_CASE("a flood of one event is held back, counted, and does not hide another event") {
  Recorded r;
  for (int i = 0; i < 1000; ++i) r.log.write(LogLevel::kInfo, "client_cut", {{"n", i}});
  r.log.write(LogLevel::kInfo, "redis_up", {});
  CHECK(r.lines.size() == azimuth::kLogLinesPerEventAndSecondMax + 1);
  CHECK(r.last() == "level=info event=redis_up\n");

  r.log.on_tick();  // the window is not over
  CHECK(r.lines.size() == azimuth::kLogLinesPerEventAndSecondMax + 1);
  r.now += std::chrono::seconds(1);
  r.log.on_tick();
  CHECK(r.last() == "level=warn event=log_suppressed name=client_cut count=990\n");

  for (int i = 0; i < 12; ++i) r.log.write(LogLevel::kInfo, "client_cut", {{"n", i}});
  r.log.flush();
  CHECK(r.last() == "level=warn event=log_suppressed name=client_cut count=2\n");
  const auto before = r.lines.size();
  r.log.flush();
  CHECK(r.lines.size() == before);
}

TEST_CASE("a stalled reader costs lines, and is told how many") {
  Recorded r;
  r.writable = false;
  r.log.write(LogLevel::kInfo, "lost", {});
  r.log.write(LogLevel::kInfo, "lost", {});
  r.writable = true;
  r.log.write(LogLevel::kInfo, "seen", {});
  REQUIRE(r.lines.size() == 2);
  CHECK(r.lines[0].find("level=warn event=log_dropped count=2\n") != std::string::npos);
  CHECK(r.last() == "level=info event=seen\n");
}

TEST_CASE("a full pipe does not block its writer") {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  {
    EventLog log(ends[1]);
    // Far more than a pipe holds; distinct names, so that the rate limit does not save us.
    const std::string big(250, 'x');
    for (int i = 0; i < 2000; ++i) {
      log.write(LogLevel::kInfo, "event_" + std::to_string(i % 250), {{"a", big}, {"b", big}});
    }
  }
  close(ends[0]);
  close(ends[1]);
}

TEST_CASE("threads may log at the same time") {
  std::vector<std::string> lines;  // guarded by the log itself
  EventLog log([&](std::string_view line) { return lines.emplace_back(line), true; },
               [] { return EventLog::Clock::time_point{}; });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log, t] {
      for (int i = 0; i < 5; ++i) {
        log.write(LogLevel::kInfo, "event_" + std::to_string(t), {{"i", i}});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(lines.size() == 20);
}
