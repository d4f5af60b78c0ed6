#include "proxy/control/log.h"

#include <poll.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace azimuth {

namespace {

constexpr auto kWindow = std::chrono::seconds(1);

bool plain(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=') return false;
  }
  return true;
}

// One write(2), and only when poll(2) says that it will not wait: a line is smaller than a pipe's
// atomic unit, so a writable pipe takes it whole.
bool write_at_once(int fd, std::string_view line) {
  pollfd ready{fd, POLLOUT, 0};
  if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) return false;
  ssize_t n = 0;
  do {
    n = ::write(fd, line.data(), line.size());
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(line.size());
}

// spdlog's way out: it formats the time and hands over whole lines. Levels are ours.
class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LineSink(EventLog::Write write) : write_(std::move(write)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (dropped_ > 0) {
      const std::string text = "level=warn event=log_dropped count=" + std::to_string(dropped_);
      const spdlog::details::log_msg told(message.time, {}, {}, spdlog::level::info, text);
      if (!write_formatted(told)) {
        ++dropped_;
        return;
      }
      dropped_ = 0;
    }
    if (!write_formatted(message)) ++dropped_;
  }
  void flush_() override {}

 private:
  bool write_formatted(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    return write_(std::string_view(line.data(), line.size()));
  }

  EventLog::Write write_;
  uint64_t dropped_ = 0;
};

}  // namespace

void append_log_value(std::string& line, std::string_view text) {
  const bool clipped = text.size() > kLogValueBytesMax;
  if (clipped) text = text.substr(0, kLogValueBytesMax);
  if (!clipped && plain(text)) {
    line += text;
    return;
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  line += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (c == '\n') {
      line += "\\n";
    } else if (c == '\r') {
      line += "\\r";
    } else if (c == '\t') {
      line += "\\t";
    } else if (byte < 0x20 || byte >= 0x7f) {
      line += "\\x";
      line += kHex[byte >> 4];
      line += kHex[byte & 15];
    } else {
      line += c;
    }
  }
  line += clipped ? "...\"" : "\"";
}

void LogValue::append_to(std::string& line) const {
  switch (kind_) {
    case Kind::kText:
      append_log_value(line, text_);
      return;
    case Kind::kSigned:
      line += std::to_string(static_cast<int64_t>(number_));
      return;
    case Kind::kUnsigned:
      line += std::to_string(number_);
      return;
  }
}

// The rate limit and the way out, behind one mutex.
class EventLog::Sink {
 public:
  Sink(Write write, Now now)
      : now_(std::move(now)), logger_("azimuth", std::make_shared<LineSink>(std::move(write))) {
    logger_.set_formatter(std::make_unique<spdlog::pattern_formatter>(
        "ts=%Y-%m-%dT%H:%M:%S.%eZ %v", spdlog::pattern_time_type::utc));
    logger_.set_level(spdlog::level::trace);  // EventLog's own level decides
  }

  void write(LogLevel level, std::string_view event, LogFields fields) {
    const std::lock_guard lock(mutex_);
    if (!admit(event)) return;
    std::string line;
    line.reserve(256);
    line += "level=";
    line += to_string(level);
    line += " event=";
    append_log_value(line, event);
    for (const LogField& field : fields) {
      const size_t before = line.size();
      line += ' ';
      line += field.key;
      line += '=';
      field.value.append_to(line);
      if (line.size() > kLogLineBytesMax - 64) {  // 64: the time, the level and this mark
        line.resize(before);
        line += " clipped=true";
        break;
      }
    }
    logger_.log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  }

  void tell_suppressed(bool even_open_windows) {
    const std::lock_guard lock(mutex_);
    const auto now = now_();
    for (auto& [name, bucket] : buckets_) {
      if (bucket.suppressed == 0 || (!even_open_windows && now - bucket.start < kWindow)) continue;
      tell(name, bucket);
    }
  }

 private:
  struct Bucket {
    Clock::time_point start;
    unsigned lines = 0;
    uint64_t suppressed = 0;
  };

  bool admit(std::string_view event) {
    const auto now = now_();
    auto it = buckets_.find(event);
    if (it == buckets_.end()) {
      // Names are ours and few; should somebody make them up, they share the limit of one.
      if (buckets_.size() >= kLogEventNamesMax) event = "other";
      it = buckets_.try_emplace(std::string(event), Bucket{now}).first;
    }
    Bucket& bucket = it->second;
    if (now - bucket.start >= kWindow) {
      if (bucket.suppressed > 0) tell(it->first, bucket);
      bucket.start = now;
      bucket.lines = 0;
    }
    if (bucket.lines >= kLogLinesPerEventAndSecondMax) {
      ++bucket.suppressed;
      return false;
    }
    ++bucket.lines;
    return true;
  }

  void tell(std::string_view name, Bucket& bucket) {
    std::string line = "level=warn event=log_suppressed name=";
    append_log_value(line, name);
    line += " count=" + std::to_string(bucket.suppressed);
    bucket.suppressed = 0;
    logger_.log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  }

  std::mutex mutex_;
  Now now_;
  std::map<std::string, Bucket, std::less<>> buckets_;
  spdlog::logger logger_;
};

EventLog::EventLog(int fd)
    : EventLog([fd](std::string_view line) { return write_at_once(fd, line); },
               [] { return Clock::now(); }) {}

EventLog::EventLog(Write write, Now now)
    : sink_(std::make_unique<Sink>(std::move(write), std::move(now))) {}

EventLog::~EventLog() = default;

void EventLog::write(LogLevel level, std::string_view event, LogFields fields) {
  if (enabled(level)) sink_->write(level, event, fields);
}

void EventLog::on_tick() { sink_->tell_suppressed(false); }

void EventLog::flush() { sink_->tell_suppressed(true); }

EventLog& event_log() {
  static auto* const log = new EventLog(STDERR_FILENO);  // leaked on purpose, see the header
  return *log;
}

}  // namespace azimuth
