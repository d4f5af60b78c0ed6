// The HTTP server against well and badly behaved peers, over loopback sockets and its own loop.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proxy/control/admin_server.h"

using namespace azimuth;

namespace {

constexpr auto kDeadline = std::chrono::seconds(60);

// A server on a free port and the loop that runs it, turned by the tests themselves.
class Server {
 public:
  explicit Server(HttpLimits limits = {}, const std::string& where = "127.0.0.1:0",
                  AdminServer::Action action = {}) {
    std::signal(SIGPIPE, SIG_IGN);  // as main does
    REQUIRE(uv_loop_init(&loop_) == 0);
    admin_ = std::make_unique<AdminServer>(
        &loop_, [this](std::string_view path) { return page(path); }, limits, std::move(action));
    const Outcome outcome = admin_->listen(parse_endpoint(where).value());
    REQUIRE(outcome.ok());
  }
  ~Server() {
    admin_->close();
    run_until([this] { return admin_->closed(); });
    admin_.reset();
    CHECK(uv_loop_close(&loop_) == 0);  // no handle was left open
  }
  template <class Condition>
  bool run_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      uv_timer_t wake;  // repeats, so that a turn never waits long
      uv_timer_init(&loop_, &wake);
      uv_timer_start(
          &wake, [](uv_timer_t*) {}, 2, 2);
      uv_run(&loop_, UV_RUN_ONCE);
      bool closed = false;
      wake.data = &closed;
      uv_close(reinterpret_cast<uv_handle_t*>(&wake),
               [](uv_handle_t* handle) { *static_cast<bool*>(handle->data) = true; });
      while (!closed) uv_run(&loop_, UV_RUN_NOWAIT);
    }
    return true;
  }
  uint16_t port() const { return admin_->bound().port; }
  int calls = 0;

 private:
  AdminResponse page(std::string_view path) {
    ++calls;
    if (path == "/throw") throw std::runtime_error("no");
    if (path == "/big") return {200, "text/plain", std::string(4 << 20, 'x')};
    if (path == "/page") return {200, "text/plain", "hello\n"};
    return {404, "text/plain", "nothing here\n"};
  }
  uv_loop_t loop_;
  std::unique_ptr<AdminServer> admin_;
};

// A peer that does exactly what it is told.
class Peer {
 public:
  explicit Peer(Server& server) : server_(server) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server.port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  Peer(Peer&& other) noexcept : server_(other.server_), fd_(std::exchange(other.fd_, -1)) {}
  ~Peer() {
    if (fd_ >= 0) close(fd_);
  }
  // What the server no longer takes is of no interest.
  void send(std::string_view bytes) {
    server_.run_until([&] {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) return true;
      if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
      return bytes.empty();
    });
  }
  void end() { shutdown(fd_, SHUT_WR); }
  // Whatever has come until `enough` of it is there, or the connection ended.
  template <class Enough>
  std::string receive(Enough enough) {
    std::string got;
    server_.run_until([&] {
      char block[65536];
      const ssize_t n = recv(fd_, block, sizeof block, MSG_DONTWAIT);
      if (n > 0) got.append(block, static_cast<size_t>(n));
      ended = n == 0 || (n < 0 && errno != EAGAIN);
      return ended || enough(got);
    });
    return got;
  }
  std::string receive_all() {
    return receive([](const std::string&) { return false; });
  }
  std::string receive_one() {
    return receive([](const std::string& got) { return got.ends_with("hello\n"); });
  }
  bool ended = false;

 private:
  Server& server_;
  int fd_;
};

std::string talk(Server& server, std::string_view request) {
  Peer peer(server);
  peer.send(request);
  return peer.receive_all();
}

int status_of(std::string_view response) {
  return response.starts_with("HTTP/1.1 ") ? std::stoi(std::string(response.substr(9, 3))) : 0;
}

size_t count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("GET, and the same without the body for HEAD") {
  Server server;
  const std::string got =
      talk(server, "GET /page?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(status_of(got) == 200);
  CHECK(got.find("\r\nContent-Length: 6\r\n") != std::string::npos);
  CHECK(got.ends_with("\r\n\r\nhello\n"));
  const std::string head =
      talk(server, "HEAD /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(head.find("\r\nContent-Length: 6\r\n") != std::string::npos);
  CHECK(head.ends_with("\r\n\r\n"));
}

TEST_CASE("HTTP/1.0 closes by itself, an absolute target is served") {
  Server server;
  CHECK(status_of(talk(server, "GET /page HTTP/1.0\r\n\r\n")) == 200);
  const std::string got =
      talk(server, "GET http://example.test/page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(got.ends_with("hello\n"));
}

TEST_CASE("a kept connection serves one request after another") {
  Server server;
  Peer peer(server);
  for (int i = 0; i < 3; ++i) {
    peer.send("GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(peer.receive_one().find("Connection: keep-alive") != std::string::npos);
    CHECK_FALSE(peer.ended);
  }
  CHECK(server.calls == 3);
}

TEST_CASE("pipelined requests, cut anywhere, are each answered in order") {
  for (const size_t cut : {1, 3, 7, 50, 5000}) {
    Server server;
    Peer peer(server);
    std::string requests;
    for (int i = 0; i < 300; ++i) requests += "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    requests += "POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    requests += "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    if (cut < 10) requests = requests.substr(requests.size() - 400);
    requests = requests.substr(requests.find("GET"));
    for (size_t at = 0; at < requests.size(); at += cut) peer.send(requests.substr(at, cut));
    const std::string got = peer.receive_all();
    CHECK(count(got, "HTTP/1.1 200") == count(requests, "/page HTTP") - 1);
    CHECK(count(got, "HTTP/1.1 405") == 1);
    CHECK(got.ends_with("nothing here\n"));
  }
}

TEST_CASE("a body in chunks is skipped over") {
  Server server;
  const std::string got =
      talk(server,
           "POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
           "\r\nGET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(count(got, "HTTP/1.1 405") == 1);
  CHECK(count(got, "HTTP/1.1 200") == 1);
}

TEST_CASE("what is not to be had") {
  Server server;
  const std::string tail = " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  CHECK(status_of(talk(server, "GET /else" + tail)) == 404);
  CHECK(status_of(talk(server, "OPTIONS *" + tail)) == 405);
  CHECK(status_of(talk(server, "GET /throw" + tail)) == 500);
  const std::string got = talk(server, "DELETE /page" + tail);
  CHECK(status_of(got) == 405);
  CHECK(got.find("\r\nAllow: GET, HEAD\r\n") != std::string::npos);
  CHECK(status_of(talk(server, "CONNECT a:1" + tail)) == 405);
  CHECK(status_of(talk(server,
                       "GET /page HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                       "Upgrade: websocket\r\n\r\n")) == 200);
}

TEST_CASE("a POST is an operator's, and never a web page's") {
  std::vector<std::string> asked;
  {
    Server server({}, "127.0.0.1:0", [&](std::string_view path, std::string_view query) {
      if (path != "/switchover") return std::optional<AdminResponse>();
      asked.emplace_back(query);
      AdminResponse page;
      page.status = 202;
      return std::optional(page);
    });
    const auto post = [&](const std::string& target, const std::string& headers = "") {
      return status_of(talk(server, "POST " + target + " HTTP/1.1\r\nHost: a\r\n" + headers +
                                        "Content-Length: 0\r\nConnection: close\r\n\r\n"));
    };
    CHECK(post("/switchover?to=b1") == 202);
    CHECK(post("/elsewhere") == 405);
    CHECK(post("/switchover", "Origin: http://a\r\n") == 403);
    CHECK(post("/switchover", "oRIGIN: null\r\n") == 403);
    CHECK(post("/switchover", "X-Origin: b\r\n") == 202);
    CHECK(status_of(talk(server,
                         "PUT /switchover HTTP/1.1\r\nHost: a\r\nContent-Length: "
                         "0\r\nConnection: close\r\n\r\n")) == 405);
  }
  CHECK(asked == std::vector<std::string>{"to=b1", ""});
}

TEST_CASE("what is no HTTP is told so and left") {
  for (const std::string_view bytes :
       {std::string_view("*1\r\n$4\r\nPING\r\n"), std::string_view("\0\0\0\0", 4),
        std::string_view("GET\r\n\r\n"), std::string_view("GET /page HTTP/9.9.9\r\n\r\n"),
        std::string_view("GET /page HTTP/1.1\r\nContent-Length: -5\r\n\r\n"),
        std::string_view("GET /page HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        std::string_view("GET /pa\x01ge HTTP/1.1\r\n\r\n")}) {
    Server server;
    CHECK(status_of(talk(server, bytes)) == 400);
    CHECK(server.calls == 0);
  }
}

TEST_CASE("requests are bounded: I8") {
  Server server;
  SECTION("a long target") {
    CHECK(status_of(talk(server, "GET /" + std::string(100000, 'a') + " HTTP/1.1\r\n")) == 431);
  }
  SECTION("many headers") {
    std::string request = "GET /page HTTP/1.1\r\n";
    for (int i = 0; i < 5000; ++i) request += "A: b\r\n";
    CHECK(status_of(talk(server, request)) == 431);
  }
  SECTION("a header that never ends") {
    const std::string got = talk(server, "GET /page HTTP/1.1\r\nA: " + std::string(1000000, 'b'));
    CHECK(status_of(got) == 431);
  }
  SECTION("a large body") {
    CHECK(status_of(talk(server, "POST /page HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n" +
                                     std::string(20000, 'b'))) == 413);
  }
  CHECK(server.calls == 0);
}

TEST_CASE("a request just within the bounds is served") {
  Server server;
  const std::string got =
      talk(server,
           "GET /page HTTP/1.1\r\nConnection: close\r\nA: " + std::string(8000, 'b') + "\r\n\r\n");
  CHECK(status_of(got) == 200);
}

TEST_CASE("a peer that sits, drips or does not read is cut, and others are served meanwhile") {
  Server server({.idle_ms = 150});
  Peer sitting(server), dripping(server), deaf(server);
  deaf.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
  dripping.send("GET /pa");
  CHECK(status_of(talk(server, "GET /page HTTP/1.0\r\n\r\n")) == 200);
  CHECK(sitting.receive_all().empty());
  CHECK(sitting.ended);
  CHECK(dripping.receive_all().empty());
  CHECK(dripping.ended);
  CHECK(deaf.receive_all().size() < (4 << 20));
}

TEST_CASE("with all places taken, a new peer gets the place of who has waited longest") {
  Server server({.connections_max = 4});
  std::vector<Peer> sitting;
  for (int i = 0; i < 20; ++i) sitting.emplace_back(server);
  CHECK(status_of(talk(server, "GET /page HTTP/1.0\r\n\r\n")) == 200);
  CHECK(sitting.front().receive_all().empty());
  CHECK(sitting.front().ended);
}

TEST_CASE("a peer that leaves in the middle costs nothing") {
  Server server;
  for (const std::string_view bytes :
       {"", "GET", "GET /page HTTP/1.1\r\nHo", "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"}) {
    Peer peer(server);
    peer.send(bytes);
  }
  CHECK(status_of(talk(server, "GET /page HTTP/1.0\r\n\r\n")) == 200);
}

TEST_CASE("a peer that has said its last word still gets its answer") {
  Server server;
  Peer peer(server);
  peer.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
  peer.end();
  CHECK(peer.receive_all().size() > (4 << 20));
}

TEST_CASE("an address that is taken is an error with its name; a UNIX socket leaves no file") {
  Server server;
  uv_loop_t loop;
  REQUIRE(uv_loop_init(&loop) == 0);
  {
    AdminServer second(&loop, [](std::string_view) { return AdminResponse{}; });
    const std::string taken = "127.0.0.1:" + std::to_string(server.port());
    const Outcome outcome = second.listen(parse_endpoint(taken).value());
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().message == "cannot listen on " + taken + ": address already in use");
    second.close();
    while (!second.closed()) uv_run(&loop, UV_RUN_ONCE);
  }
  CHECK(uv_loop_close(&loop) == 0);

  char directory[] = "/tmp/azimuth-admin-XXXXXX";
  REQUIRE(mkdtemp(directory) != nullptr);
  const std::string path = std::string(directory) + "/admin.sock";
  {
    Server local({}, "unix:" + path);
    CHECK(std::filesystem::exists(path));
  }
  CHECK_FALSE(std::filesystem::exists(path));
  std::filesystem::remove(directory);
}
