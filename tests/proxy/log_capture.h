// What the process logs while this is in scope, by taking its standard error. Owned by one test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>

namespace azimuth::stage {

class LogCapture {
 public:
  LogCapture() : before_(::dup(STDERR_FILENO)), taken_(::memfd_create("log", 0)) {
    REQUIRE(before_ >= 0);
    REQUIRE(taken_ >= 0);
    REQUIRE(::dup2(taken_, STDERR_FILENO) == STDERR_FILENO);
  }
  ~LogCapture() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
    ::close(taken_);
  }
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  // The lines of one event, so far.
  std::string of(const std::string& event) const {
    std::string text(1 << 20, '\0'), lines;
    const ssize_t n = ::pread(taken_, text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      const std::string line = text.substr(at, end - at);
      if (line.find("event=" + event + " ") != std::string::npos) lines += line + "\n";
      at = end + 1;
    }
    return lines;
  }

 private:
  int before_, taken_;
};

}  // namespace azimuth::stage
