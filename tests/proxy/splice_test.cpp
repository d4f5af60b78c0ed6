// Bytes from socket to socket through a pipe: all of them, in order, and none left in the pipe.
#include "proxy/data/splice.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <string>
#include <utility>

#include "conf/limits.h"
#include "proxy/data/socket.h"

using namespace azimuth;

namespace {

// Two connected sockets that never wait.
struct Pair {
  int one = -1, two = -1;

  explicit Pair(bool tcp) {
    std::signal(SIGPIPE, SIG_IGN);  // as main does
    if (!tcp) {
      int ends[2];
      REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
      one = ends[0];
      two = ends[1];
      return;
    }
    SocketAddress address = *numeric_address(tcp_endpoint("127.0.0.1", 0));
    const int listener = listen_on(address, 0);
    REQUIRE(listener >= 0);
    REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&address.storage), &address.size) ==
            0);
    one = connect_to(address);
    while (two < 0) two = accept_from(listener);
    ::close(listener);
  }
  ~Pair() {
    if (one >= 0) ::close(one);
    if (two >= 0) ::close(two);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
};

std::string pattern(std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>(i * 31 + i / 977);
  return out;
}

// Until there is something to read: what is sent over loopback may come a moment later.
int ready(int fd) {
  pollfd wanted{fd, POLLIN, 0};
  REQUIRE(::poll(&wanted, 1, 60'000) == 1);
  return fd;
}

// What can be read now.
std::string drain(int fd) {
  std::string out(1 << 20, '\0');
  const ssize_t n = ::recv(fd, out.data(), out.size(), 0);
  out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return out;
}

}  // namespace

TEST_CASE("bytes pass from one socket to the other, and what one does not take is handed back") {
  for (const bool tcp : {true, false}) {
    INFO((tcp ? "TCP" : "UNIX"));
    Pair from(tcp), to(tcp);
    SplicePipe pipe;
    const std::string all = pattern(16 * kMiB);
    std::string got, waits;
    std::size_t written = 0;
    bool handed_back = false;
    // The reader sleeps until something is handed back; from then on it reads.
    for (int turn = 0; got.size() < all.size(); ++turn) {
      REQUIRE(turn < 1'000'000);
      if (written < all.size()) {
        const ssize_t n = ::send(from.one, all.data() + written, all.size() - written, 0);
        if (n > 0) written += static_cast<std::size_t>(n);
      }
      if (waits.empty()) {
        const SplicePipe::Moved moved = pipe.move(from.two, to.one, all.size());
        REQUIRE(moved.taken <= kSpliceBytesMax);
        REQUIRE(moved.sent <= moved.taken);
        REQUIRE(bool(moved.rest) == (moved.sent < moved.taken));
        if (moved.rest) waits = moved.rest_bytes();
        handed_back = handed_back || moved.rest;
      } else {
        const ssize_t n = ::send(to.one, waits.data(), waits.size(), MSG_NOSIGNAL);
        if (n > 0) waits.erase(0, static_cast<std::size_t>(n));
      }
      if (handed_back) got += drain(to.two);
    }
    CHECK(got == all);
  }
}

TEST_CASE("no more is taken than was asked for") {
  Pair from(true), to(true);
  SplicePipe pipe;
  const std::string text = "the body\r\nthe next request";
  REQUIRE(::send(from.one, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  CHECK(pipe.move(ready(from.two), to.one, 10).sent == 10);
  CHECK(drain(ready(to.two)) == "the body\r\n");
  CHECK(drain(ready(from.two)) == "the next request");
}

TEST_CASE("a socket that has ended is found by whoever receives and sends") {
  Pair from(true), to(true);
  SplicePipe pipe;
  CHECK(pipe.move(from.two, to.one, 100).taken == 0);  // nothing there
  // The reader has gone: what was taken is handed back, whole.
  const std::string text = pattern(1000);
  ::close(std::exchange(to.two, -1));
  std::string back;
  ready(to.one);                 // its end
  for (int i = 0; i < 2; ++i) {  // (the first may still go, and meets the reset)
    REQUIRE(::send(from.one, text.data(), text.size(), 0) == 1000);
    const SplicePipe::Moved moved = pipe.move(ready(from.two), to.one, 1000);
    CHECK(moved.taken == 1000);
    if (moved.rest) back = moved.rest_bytes();
  }
  CHECK(back == text);
  // The writer has gone.
  ::close(std::exchange(from.one, -1));
  Pair other(true);
  CHECK(pipe.move(ready(from.two), other.one, 100).taken == 0);
  CHECK(::recv(from.two, back.data(), back.size(), 0) == 0);
  // And the pipe serves others as before.
  REQUIRE(::send(other.two, "x", 1, 0) == 1);
  Pair third(true);
  CHECK(pipe.move(ready(other.one), third.one, 100).sent == 1);
  CHECK(drain(ready(third.two)) == "x");
}
