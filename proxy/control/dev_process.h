// The processes of `azimuth dev` and what it asks of the system: children tied to its life, free
// ports, its directory and the janitor that removes it. Owned by its thread.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"

namespace azimuth {

// This very program, even if its file was replaced meanwhile.
inline constexpr const char* kOwnProgram = "/proc/self/exe";

// A child process. It must stay where it is, and alive, until its loop has closed it.
class DevProcess {
 public:
  using Ended = std::function<void(int64_t exit_code, int signal)>;

  // `at_parent_death` is the signal it gets when this process is gone.
  Outcome start(uv_loop_t* loop, const std::vector<std::string>& command, int at_parent_death,
                Ended ended);
  bool running() const { return running_; }
  int pid() const { return pid_; }
  void signal(int number);

 private:
  uv_process_t handle_{};
  Ended ended_;
  bool running_ = false;
  int pid_ = 0;
};

// Whether nobody listens on that port of 127.0.0.1. (Binding with SO_REUSEPORT, as the listeners of
// azimuth do, would not tell.)
bool port_is_free(uint16_t port);
std::optional<uint16_t> any_free_port();

// Sends a request to 127.0.0.1 and waits, a fraction of a second at most, until `wanted` has come.
bool answers(uint16_t port, std::string_view request, std::string_view wanted);

// A new directory of our own, removed with all it holds when this ends; also when this process dies
// by SIGKILL. Make it before there are threads: it forks.
class TemporaryDirectory {
 public:
  TemporaryDirectory() = default;
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  Outcome make();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int life_ = -1;  // the janitor reads the other end: it closes when we are gone
  int janitor_ = 0;
};

}  // namespace azimuth
