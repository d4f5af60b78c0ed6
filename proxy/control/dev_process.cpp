#include "proxy/control/dev_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "proxy/control/dev.h"

namespace azimuth {

namespace {

Error system_error(const std::string& what, int code) {
  return make_error(ErrorCode::kSystem, Fault::kSelf, what + ": " + std::strerror(code));
}

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

class Socket {
 public:
  Socket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }
  // The port it is bound to; nothing if that one is taken.
  std::optional<uint16_t> bind(uint16_t port) const {
    const int on = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address = loopback(port);
    socklen_t size = sizeof address;
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0) return std::nullopt;
    if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return std::nullopt;
    return ntohs(address.sin_port);
  }

 private:
  int fd_;
};

void remove_directory(const std::string& path) {
  // A process that is just dying may still add a file to it.
  for (int tries = 0; tries < 50; ++tries) {
    std::error_code failed;
    std::filesystem::remove_all(path, failed);
    if (!std::filesystem::exists(path, failed)) return;
    ::usleep(20'000);
  }
}

// Waits in a session of its own, deaf to the terminal, holding nothing of its parent's open but the
// pipe; then cleans up.
[[noreturn]] void be_janitor(int life, const std::string& path) {
  ::setsid();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) std::signal(number, SIG_IGN);
  ::prctl(PR_SET_NAME, "dev-janitor");
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, standard);
  ::dup2(life, STDERR_FILENO + 1);
  ::close_range(STDERR_FILENO + 2, ~0u, 0);
  char byte = 0;
  while (::read(STDERR_FILENO + 1, &byte, 1) < 0 && errno == EINTR) {
  }
  remove_directory(path);
  ::_exit(0);
}

}  // namespace

Outcome DevProcess::start(uv_loop_t* loop, const std::vector<std::string>& command,
                          int at_parent_death, Ended ended) {
  // "azimuth dev-child PARENT SIGNAL PROGRAM ARGUMENTS..."
  std::vector<std::string> words = {"azimuth", std::string(kDevChildCommand),
                                    std::to_string(::getpid()), std::to_string(at_parent_death)};
  words.insert(words.end(), command.begin(), command.end());
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  uv_stdio_container_t stdio[3] = {};
  stdio[0].flags = UV_IGNORE;
  stdio[1].flags = UV_IGNORE;
  stdio[2].flags = UV_INHERIT_FD;
  stdio[2].data.fd = STDERR_FILENO;
  uv_process_options_t options{};
  options.file = kOwnProgram;
  options.args = arguments.data();
  options.flags = UV_PROCESS_DETACHED;
  options.stdio_count = 3;
  options.stdio = stdio;
  options.exit_cb = [](uv_process_t* handle, int64_t exit_code, int number) {
    auto* process = static_cast<DevProcess*>(handle->data);
    process->running_ = false;
    uv_close(reinterpret_cast<uv_handle_t*>(handle), nullptr);
    process->ended_(exit_code, number);
  };
  ended_ = std::move(ended);
  handle_.data = this;
  if (const int code = uv_spawn(loop, &handle_, &options); code != 0) {
    uv_close(reinterpret_cast<uv_handle_t*>(&handle_), nullptr);
    return system_error("cannot start " + command[0], -code);
  }
  running_ = true;
  pid_ = handle_.pid;
  return Done{};
}

void DevProcess::signal(int number) {
  if (running_) uv_process_kill(&handle_, number);
}

int run_dev_child(int argc, char** argv) {
  int parent = 0, number = 0;
  const auto read = [](std::string_view text, int& out) {
    return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc();
  };
  if (argc < 3 || !read(argv[0], parent) || !read(argv[1], number)) {
    std::fputs("azimuth: dev-child is for `azimuth dev` alone\n", stderr);
    return 2;
  }
  // First the wish, then the question whether it came too late.
  if (::prctl(PR_SET_PDEATHSIG, number) != 0 || ::getppid() != parent) return 1;
  // Ourselves under a link's name: people look for azimuth in the list of processes.
  static char name[] = "azimuth";
  const char* program = argv[2];
  if (std::string_view(program) == kOwnProgram) argv[2] = name;
  // argv ends with a null pointer, as execvp wants it.
  ::execvp(program, argv + 2);
  const int code = errno;
  std::fprintf(stderr, "azimuth dev: cannot start %s: %s%s\n", program, std::strerror(code),
               code == ENOENT ? "; install it, on Debian: apt-get install redis-server" : "");
  return 127;
}

bool port_is_free(uint16_t port) {
  const Socket socket;
  return socket.bind(port).has_value();
}

std::optional<uint16_t> any_free_port() {
  const Socket socket;
  return socket.bind(0);
}

bool answers(uint16_t port, std::string_view request, std::string_view wanted) {
  const Socket socket;
  const timeval limit{0, 200'000};
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const sockaddr_in address = loopback(port);
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return false;
  }
  if (::send(socket.fd(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return false;
  }
  std::string got;
  while (got.size() < 65536 && got.find(wanted) == std::string::npos) {
    char block[4096];
    const ssize_t n = ::recv(socket.fd(), block, sizeof block, 0);
    if (n <= 0) return false;
    got.append(block, static_cast<size_t>(n));
  }
  return got.find(wanted) != std::string::npos;
}

Outcome TemporaryDirectory::make() {
  const char* base = std::getenv("TMPDIR");
  std::string name = std::string(base != nullptr && *base != '\0' ? base : "/tmp");
  name += "/azimuth-dev-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return system_error("cannot make " + name, errno);
  path_ = name;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("cannot make a pipe", errno);
  janitor_ = ::fork();
  if (janitor_ == 0) {
    ::close(ends[1]);
    be_janitor(ends[0], path_);
  }
  ::close(ends[0]);
  life_ = ends[1];
  if (janitor_ < 0) return system_error("cannot fork", errno);
  return Done{};
}

TemporaryDirectory::~TemporaryDirectory() {
  if (!path_.empty()) remove_directory(path_);
  if (life_ >= 0) ::close(life_);
  if (janitor_ > 0) ::waitpid(janitor_, nullptr, 0);
}

}  // namespace azimuth
