#include "proxy/control/status_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>

#include "conf/limits.h"
#include "proxy/control/status.h"
#include "proxy/control/status_fields.h"
#include "proxy/control/status_table.h"
#include "proxy/data/socket.h"

namespace azimuth {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kReplyBytesMax = 16 * kMiB;
constexpr uint32_t kTimeoutMs = 5000;
constexpr uint32_t kWishTimeoutMs = 15'000;  // longer than the node itself waits
constexpr useconds_t kWishPollUs = 30'000;

// A connected socket that keeps to one deadline.
class Exchange {
 public:
  Exchange(int fd, uint32_t timeout_ms)
      : fd_(fd), deadline_(Clock::now() + std::chrono::milliseconds(timeout_ms)) {}
  ~Exchange() { ::close(fd_); }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // 0, or a negative errno.
  int wait(short events) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    if (left <= 0) return -ETIMEDOUT;
    pollfd ready{fd_, events, 0};
    const int n = ::poll(&ready, 1, static_cast<int>(left));
    if (n < 0) return errno == EINTR ? 0 : -errno;
    return n == 0 ? -ETIMEDOUT : 0;
  }

  int connected() {
    const int rc = wait(POLLOUT);
    return rc != 0 ? rc : connect_result(fd_);
  }

  int send(std::string_view bytes) {
    while (!bytes.empty()) {
      if (const int rc = wait(POLLOUT); rc != 0) return rc;
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) return -errno;
    }
    return 0;
  }

  int receive_all(std::string& bytes) {
    while (bytes.size() < kReplyBytesMax) {
      if (const int rc = wait(POLLIN); rc != 0) return rc;
      char block[16384];
      const ssize_t n = ::recv(fd_, block, sizeof block, MSG_DONTWAIT);
      if (n == 0) return 0;
      if (n > 0) bytes.append(block, static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) return -errno;
    }
    return -EMSGSIZE;
  }

 private:
  int fd_;
  Clock::time_point deadline_;
};

}  // namespace

Result<HttpReply> http_request(const Endpoint& endpoint, std::string_view method,
                               std::string_view target, uint32_t timeout_ms) {
  const auto failed = [](int code) {
    return make_error(ErrorCode::kUnavailable, Fault::kPeer, std::strerror(-code));
  };
  std::string why;
  const auto address = resolve_address(endpoint, why);
  if (!address) return make_error(ErrorCode::kUnavailable, Fault::kPeer, why);
  const int fd = connect_to(*address);
  if (fd < 0) return failed(fd);
  Exchange exchange(fd, timeout_ms);
  if (const int rc = exchange.connected(); rc != 0) return failed(rc);
  std::string request(method);
  request.append(" ").append(target).append(" HTTP/1.1\r\nHost: ");
  request.append(endpoint.kind == Endpoint::Kind::kTcp ? to_string(endpoint) : "localhost");
  request.append("\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  if (const int rc = exchange.send(request); rc != 0) return failed(rc);
  std::string bytes;
  if (const int rc = exchange.receive_all(bytes); rc != 0) return failed(rc);

  const size_t header_end = bytes.find("\r\n\r\n");
  HttpReply reply;
  if (header_end == std::string::npos ||
      std::sscanf(bytes.c_str(), "HTTP/1.%*d %3d", &reply.status) != 1) {
    return make_error(ErrorCode::kInvalid, Fault::kPeer, "what listens there speaks no HTTP");
  }
  reply.body = bytes.substr(header_end + 4);
  return reply;
}

namespace {

// One of the commands, and the node that it asks.
struct Asking {
  const char* command;
  const std::string& address;
  Endpoint endpoint;

  int no_answer(const std::string& why) const {
    std::fprintf(
        stderr,
        "azimuth %s: no answer from %s: %s\n"
        "Is azimuth running there, with [admin] address = \"%s\"? Otherwise name its admin "
        "address: azimuth %s ... --addr ADDR:PORT\n",
        command, address.c_str(), why.c_str(), address.c_str(), command);
    return 1;
  }
  int no(const std::string& why) const {
    std::fprintf(stderr, "azimuth %s: %s\n", command, printable(why).c_str());
    return 1;
  }
};

std::optional<Asking> asking(const char* command, const std::string& address) {
  const auto endpoint = parse_endpoint(address);
  if (endpoint.ok()) return Asking{command, address, *endpoint};
  std::fprintf(stderr, "azimuth %s: --addr %s\n", command, endpoint.error().message.c_str());
  return std::nullopt;
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    char code[4];
    std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(c));
    out += plain ? std::string(1, c) : std::string(code);
  }
  return out;
}

// Asks for something, and looks at /status until that is done or refused.
int run_wish(const char* command, const std::string& address, const std::string& target,
             const std::function<void(const Json& status)>& print_done) {
  const auto node = asking(command, address);
  if (!node) return 2;
  const auto asked = http_request(node->endpoint, "POST", target, kTimeoutMs);
  if (!asked.ok()) return node->no_answer(asked.error().message);
  std::string body = asked->body;
  while (body.ends_with('\n')) body.pop_back();
  if (asked->status != 202) return node->no(body);
  const std::string wish = body.substr(body.rfind(' ') + 1);
  const auto deadline = Clock::now() + std::chrono::milliseconds(kWishTimeoutMs);
  while (Clock::now() < deadline) {
    const auto reply = http_request(node->endpoint, "GET", "/status", kTimeoutMs);
    if (!reply.ok()) return node->no_answer(reply.error().message);
    const Json status = Json::parse(reply->body, nullptr, false);
    const std::string how = text_of(member(member(status, "cluster"), "wishes"), wish.c_str());
    if (how == "done") {
      print_done(status);
      return std::fflush(stdout) == 0 ? 0 : 1;
    }
    if (how.starts_with(kWishRefused)) return node->no(how.substr(kWishRefused.size()));
    if (how == "-") return node->no("it was started anew meanwhile; azimuth status shows what is");
    ::usleep(kWishPollUs);
  }
  return node->no("not done in time; azimuth status shows how it goes on");
}

void print_primary(const Json& status) {
  std::printf("%s is the primary, epoch %s\n", text_of(status, "primary").c_str(),
              text_of(status, "epoch").c_str());
}

}  // namespace

int run_switchover(const std::string& address, const std::string& node) {
  const std::string query = node.empty() ? "" : "?to=" + percent_encoded(node);
  return run_wish("switchover", address, "/switchover" + query, print_primary);
}

int run_elect_force(const std::string& address, const std::string& node) {
  return run_wish("elect", address, "/elect?force=" + percent_encoded(node), print_primary);
}

int run_member_change(const std::string& address, bool add, const std::string& node) {
  const std::string target = std::string("/member?") + (add ? "add=" : "remove=");
  return run_wish("member", address, target + percent_encoded(node), [&](const Json& status) {
    const std::string voters = names_of(member(status, "cluster"), "voters");
    std::printf("%s %s; voters: %s\n", printable(node).c_str(),
                add ? "may join again" : "is out of the group", voters.c_str());
  });
}

int run_status(const std::string& address, bool as_json) {
  const auto node = asking("status", address);
  if (!node) return 2;
  const auto reply = http_request(node->endpoint, "GET", "/status", kTimeoutMs);
  if (!reply.ok()) return node->no_answer(reply.error().message);
  if (reply->status != 200) return node->no_answer("HTTP status " + std::to_string(reply->status));
  const auto table = status_table(reply->body);
  if (!table.ok()) return node->no_answer(table.error().message);
  const std::string& text = as_json ? reply->body : *table;
  std::fputs(text.c_str(), stdout);
  if (!text.ends_with('\n')) std::fputc('\n', stdout);
  return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace azimuth
