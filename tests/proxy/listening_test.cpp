// Opening client endpoints, and seeing who listens already.
#include "proxy/control/listening.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>

using namespace azimuth;

namespace {

SocketAddress address(const std::string& text) { return *numeric_address(*parse_endpoint(text)); }

ListenSettings at(const Endpoint& endpoint) {
  ListenSettings settings;
  settings.address = endpoint;
  return settings;
}

constexpr std::string_view kTable =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    "   0: 0100007F:18EC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
    "   1: 00000000:18ED 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
    "   2: 0100007F:18EE 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0\n"
    "   3: zzz\n";

}  // namespace

TEST_CASE("a listener on the same port is found by its address and by a wildcard") {
  CHECK(has_listener(kTable, address("127.0.0.1:6380")));
  CHECK(has_listener(kTable, address("0.0.0.0:6380")));
  CHECK_FALSE(has_listener(kTable, address("127.0.0.2:6380")));
  CHECK(has_listener(kTable, address("127.0.0.2:6381")));
}

TEST_CASE("a connection is no listener, and a free port has none") {
  CHECK_FALSE(has_listener(kTable, address("127.0.0.1:6382")));
  CHECK_FALSE(has_listener(kTable, address("127.0.0.1:6383")));
  CHECK_FALSE(has_listener("", address("127.0.0.1:6380")));
}

TEST_CASE("IPv6 listeners are found in their own table") {
  constexpr std::string_view kTable6 =
      "  sl  local_address                         remote_address                        st\n"
      "   0: 00000000000000000000000001000000:18EC 00000000000000000000000000000000:0000 0A 0\n";
  CHECK(has_listener(kTable6, address("[::1]:6380")));
  CHECK(has_listener(kTable6, address("[::]:6380")));
  CHECK_FALSE(has_listener(kTable6, address("[::2]:6380")));
}

TEST_CASE("port 0 is chosen once and shared by the workers") {
  Result<Listening> opened = listen_for_workers(at(tcp_endpoint("127.0.0.1", 0)), 3);
  REQUIRE(opened.ok());
  REQUIRE(opened->sockets.size() == 3);
  for (const int fd : opened->sockets) CHECK(local_text(fd) == opened->text);
  // Though each socket would let another one in.
  const Result<Listening> again = listen_for_workers(at(*parse_endpoint(opened->text)), 1);
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().message == "cannot listen on " + opened->text +
                                     ": Address already in use; stop what listens there, or "
                                     "choose another address");
  close_all({*opened});
}

TEST_CASE("a UNIX socket's file is there while it is open") {
  char directory[] = "/tmp/azimuth-listening-XXXXXX";
  REQUIRE(::mkdtemp(directory) != nullptr);
  const std::string path = std::string(directory) + "/s";
  ListenSettings settings = at(unix_endpoint(path));
  settings.unix_mode = 0600;
  Result<Listening> opened = listen_for_workers(settings, 2);
  REQUIRE(opened.ok());
  CHECK(opened->text == "unix:" + path);
  struct stat file {};
  REQUIRE(::stat(path.c_str(), &file) == 0);
  CHECK((file.st_mode & 0777) == 0600);
  CHECK_FALSE(listen_for_workers(settings, 1).ok());
  close_all({*opened});
  CHECK(::stat(path.c_str(), &file) != 0);
  CHECK(::rmdir(directory) == 0);
}

TEST_CASE("what stands in the way is explained") {
  const auto message = [](const Endpoint& endpoint) {
    const Result<Listening> opened = listen_for_workers(at(endpoint), 1);
    return opened.ok() ? std::string("opened") : opened.error().message;
  };
  CHECK(message(tcp_endpoint("192.0.2.1", 6380)).find("no such address") != std::string::npos);
  CHECK(message(unix_endpoint("/nonexistent/azimuth.sock")).find("make the directory") !=
        std::string::npos);
  CHECK(message(tcp_endpoint("no-such-host.invalid", 6380)).find("numeric address") !=
        std::string::npos);
}
