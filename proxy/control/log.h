// The event log: one line an event on standard error, `ts=... level=info event=NAME key=value ...`.
//
// Invariants:
//  - A line never holds a control byte or a bare quote of somebody else's making: values with
//  spaces,
//    quotes or bytes outside printable ASCII are quoted and escaped, each at most
//    kLogValueBytesMax.
//  - At most kLogLinesPerEventAndSecondMax lines a second for each event name; what was left out is
//  counted
//    and told in one line (`event=log_suppressed`), so no client can flood the log.
//  - A line is written only when standard error takes it at once: a stalled reader of the log costs
//    lines (counted, `event=log_dropped`), never a worker's time.
// Thread safe. The free functions write to the process's log; tests build an EventLog of their own.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "conf/limits.h"
#include "conf/settings.h"

namespace azimuth {

// Of this file alone: the bounds that matter to others are in conf/limits.h.
inline constexpr size_t kLogLineBytesMax = 4000;  // a pipe takes up to 4096 bytes whole
inline constexpr size_t kLogEventNamesMax = 256;  // names that the rate limit tells apart

// A value of a field: text (borrowed for the call), a number or a truth value.
class LogValue {
 public:
  LogValue(std::string_view text) : text_(text) {}                               // NOLINT
  LogValue(const char* text) : text_(text == nullptr ? "" : text) {}             // NOLINT
  LogValue(const std::string& text) : text_(text) {}                             // NOLINT
  LogValue(bool value) : kind_(Kind::kText), text_(value ? "true" : "false") {}  // NOLINT
  template <std::signed_integral T>
  LogValue(T value) : kind_(Kind::kSigned), number_(static_cast<uint64_t>(value)) {}  // NOLINT
  template <std::unsigned_integral T>
  LogValue(T value) : kind_(Kind::kUnsigned), number_(value) {}  // NOLINT
  void append_to(std::string& line) const;

 private:
  enum class Kind : uint8_t { kText, kSigned, kUnsigned };
  Kind kind_ = Kind::kText;
  uint64_t number_ = 0;
  std::string_view text_;
};

struct LogField {
  std::string_view key;
  LogValue value;
};
using LogFields = std::initializer_list<LogField>;

// Appends `text`, quoted and escaped where it needs to be, clipped to kLogValueBytesMax.
void append_log_value(std::string& line, std::string_view text);

class EventLog {
 public:
  using Clock = std::chrono::steady_clock;
  using Now = std::function<Clock::time_point()>;
  // Takes a whole line with its newline; says whether it was written.
  using Write = std::function<bool(std::string_view line)>;
  // Writes to a file descriptor, without ever waiting for it.
  explicit EventLog(int fd);
  EventLog(Write write, Now now);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  LogLevel level() const { return level_.load(std::memory_order_relaxed); }
  bool enabled(LogLevel level) const { return level >= this->level(); }
  // `event` is one of our own names: letters, digits and underscores.
  void write(LogLevel level, std::string_view event, LogFields fields);
  // Tells what the rate limit has held back in windows that are over. Call about once a second.
  void on_tick();
  // The same, without waiting for the windows to be over. Call before the process ends.
  void flush();

 private:
  class Sink;
  std::atomic<LogLevel> level_{LogLevel::kInfo};
  std::unique_ptr<Sink> sink_;
};

// The process's log, on standard error. It is never destroyed: what runs at exit may still log.
EventLog& event_log();

inline void log_event(LogLevel level, std::string_view event, LogFields fields = {}) {
  if (event_log().enabled(level)) event_log().write(level, event, fields);
}
inline void log_debug(std::string_view event, LogFields fields = {}) {
  log_event(LogLevel::kDebug, event, fields);
}
inline void log_info(std::string_view event, LogFields fields = {}) {
  log_event(LogLevel::kInfo, event, fields);
}
inline void log_warning(std::string_view event, LogFields fields = {}) {
  log_event(LogLevel::kWarn, event, fields);
}
inline void log_error(std::string_view event, LogFields fields = {}) {
  log_event(LogLevel::kError, event, fields);
}
inline void set_log_level(LogLevel level) { event_log().set_level(level); }

}  // namespace azimuth
