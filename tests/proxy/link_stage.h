// The stage of the peer tests: a loop that is turned until something has happened, nodes with their
// links and relays on it, users of streams that keep what they hear, and a real redis-server.
// Owned by one test.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "conf/endpoint.h"
#include "proxy/data/socket.h"
#include "proxy/peer/links.h"
#include "proxy/peer/relay.h"

namespace azimuth::stage {

inline const std::string kKey(32, 'k');

// A loop whose owner flushes its links in each turn, as a worker does.
struct Loop {
  uv_loop_t loop;
  uv_prepare_t prepare;
  uv_timer_t pulse;  // so that no turn waits for ever
  std::vector<Links*> links;

  Loop() {
    REQUIRE(uv_loop_init(&loop) == 0);
    loop.data = this;
    uv_prepare_init(&loop, &prepare);
    uv_prepare_start(&prepare, [](uv_prepare_t* handle) {
      for (Links* each : static_cast<Loop*>(handle->loop->data)->links) each->flush();
    });
    uv_timer_init(&loop, &pulse);
    uv_timer_start(
        &pulse, [](uv_timer_t*) {}, 5, 5);
  }
  ~Loop() {
    uv_close(reinterpret_cast<uv_handle_t*>(&prepare), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&pulse), nullptr);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop) == 0);
  }
  void turn() { uv_run(&loop, UV_RUN_ONCE); }
  // Turns until `done`, or a minute.
  bool until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      turn();
    }
    return true;
  }
};

// One end of a stream, with what it has heard.
struct User : StreamUser {
  Stream* stream = nullptr;
  std::string heard;
  std::string to_send;  // of which send() has taken the first bytes
  std::size_t taken = 0;
  int opens = 0, holds = 0, ends = 0, writables = 0;
  StreamEnd end = StreamEnd::kLost;
  std::uint64_t delivered = 0;
  std::uint64_t sent = 0;
  std::size_t heard_bytes = 0;
  bool keep = true;
  std::function<void(std::string_view)> on_data;

  ~User() override {
    if (stream != nullptr) stream->close();
  }
  void say(std::string_view text) {
    to_send += text;
    push();
  }
  void push() {
    if (stream == nullptr || to_send.size() == taken) return;
    const iovec piece{to_send.data() + taken, to_send.size() - taken};
    const std::size_t n = stream->send(&piece, 1);
    sent += n;
    taken += n;
    if (taken < to_send.size()) return;
    to_send.clear();
    taken = 0;
  }
  void close() {
    if (stream != nullptr) std::exchange(stream, nullptr)->close();
  }
  void on_stream_open() override { ++opens; }
  void on_stream_data(const BlockRef&, std::string_view bytes) override {
    heard_bytes += bytes.size();
    if (keep) heard += bytes;
    if (on_data) on_data(bytes);
  }
  void on_stream_writable() override {
    ++writables;
    push();
  }
  void on_stream_hold() override { ++holds; }
  void on_stream_end(StreamEnd how, std::uint64_t reached) override {
    ++ends;
    end = how;
    delivered = reached;
    stream = nullptr;
  }
};

// Takes every stream that is offered.
struct Host : StreamHost {
  std::vector<std::unique_ptr<User>> users;
  std::function<void(User&)> on_new = [](User&) {};

  void on_stream_offered(Stream& stream) override {
    users.push_back(std::make_unique<User>());
    users.back()->stream = &stream;
    stream.set_user(*users.back());
    stream.opened();
    on_new(*users.back());
  }
  void flush() override {}
};

inline SocketAddress bound_address(int fd) {
  SocketAddress address;
  address.size = sizeof(address.storage);
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) == 0);
  return address;
}

inline int listen_anywhere() {
  const int fd = listen_on(*numeric_address(tcp_endpoint("127.0.0.1", 0)), 0);
  REQUIRE(fd >= 0);
  return fd;
}

inline LinkSettings settings_of(const std::string& node) {
  LinkSettings settings;
  settings.cluster = "orders";
  settings.node = node;
  settings.zone = "z1";
  settings.boot = 7;
  settings.psk = kKey;
  return settings;
}

// A node's links. Those of a node that listens have an address.
struct Node {
  Loop& loop;
  LinkMetrics metrics;
  Links links;
  SocketAddress address;

  Node(Loop& on, LinkSettings settings, StreamHost* host = nullptr, bool listens = false)
      : loop(on),
        links(&on.loop, std::move(settings), host, metrics,
              [n = std::uint64_t{0}]() mutable { return ++n * 0x9e3779b97f4a7c15U; }) {
    loop.links.push_back(&links);
    if (!listens) return;
    const int fd = listen_anywhere();
    address = bound_address(fd);
    links.listen(fd);
  }
  ~Node() { std::erase(loop.links, &links); }

  void open(User& user, const SocketAddress& to, StreamKind kind = StreamKind::kCommands,
            std::uint64_t epoch = 1) {
    user.stream = links.open(to, "", kind, epoch, user);
  }
};

// A redis-server of the test's own, on a UNIX socket in a directory that goes with it.
class RedisServer {
 public:
  RedisServer() {
    char name[] = "/tmp/azimuth-peer-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    directory_ = name;
    start();
  }
  ~RedisServer() {
    kill();
    std::filesystem::remove_all(directory_);
  }
  void start() {
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int null = ::open("/dev/null", O_RDWR);
      for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
      ::execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path().c_str(),
               "--dir", directory_.c_str(), "--save", "", "--repl-diskless-sync-delay", "0",
               "--enable-debug-command", "yes", static_cast<char*>(nullptr));
      ::_exit(127);
    }
    for (int tries = 0; tries < 2000; ++tries) {
      const int fd = connect_to(address());
      if (fd >= 0) {
        ::close(fd);
        return;
      }
      ::usleep(5000);
    }
    FAIL("redis-server does not start");
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  SocketAddress address() const { return *numeric_address(unix_endpoint(path())); }
  // Asks by a connection of its own; the reply as it is on the wire, one line and its bulk.
  std::string ask(const std::string& command) const {
    const int fd = connect_to(address());
    REQUIRE(fd >= 0);
    ::fcntl(fd, F_SETFL, 0);
    const std::string request = command + "\r\n";
    REQUIRE(::send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(request.size()));
    std::string reply;
    char bytes[4096];
    while (!whole(reply)) {
      const ssize_t n = ::recv(fd, bytes, sizeof(bytes), 0);
      if (n <= 0) break;
      reply.append(bytes, static_cast<std::size_t>(n));
    }
    ::close(fd);
    return reply;
  }

 private:
  static bool whole(const std::string& reply) {
    const std::size_t line = reply.find("\r\n");
    if (line == std::string::npos) return false;
    if (reply[0] != '$' || reply[1] == '-') return true;
    return reply.size() >= line + 4 + static_cast<std::size_t>(std::atoll(reply.c_str() + 1));
  }
  std::string path() const { return directory_ + "/redis.sock"; }

  std::string directory_;
  pid_t pid_ = -1;
};

// Two nodes, of which one takes the other's streams.
struct Pair {
  Loop loop;
  Host host;
  Node far, near;

  explicit Pair(const std::function<void(LinkSettings&)>& change_near = {}, bool plaintext = false)
      : far(loop, with(plaintext, settings_of("far"), {}), &host, true),
        near(loop, with(plaintext, settings_of("near"), change_near)) {}
  static LinkSettings with(bool plaintext, LinkSettings settings,
                           const std::function<void(LinkSettings&)>& change) {
    settings.plaintext = plaintext;
    if (change) change(settings);
    return settings;
  }
  void open(User& user, StreamKind kind = StreamKind::kCommands) {
    near.open(user, far.address, kind);
  }
};

inline void echo(User& user) {
  user.on_data = [&user](std::string_view bytes) { user.say(bytes); };
}

inline std::string random_text(std::size_t size, unsigned seed) {
  std::string out(size, '\0');
  for (char& c : out) {
    seed = seed * 1664525 + 1013904223;
    c = static_cast<char>(seed >> 24U);
  }
  return out;
}

}  // namespace azimuth::stage
