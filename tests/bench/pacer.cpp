// Open-loop load at a fixed rate against one RESP endpoint on loopback.
//
//   pacer PORT CLIENTS RATE SECONDS
//
// Request i is due at start + i / RATE whatever the server does, on connection i % CLIENTS; SET
// and GET alternate from round to round of the connections. Latency runs from the moment a request
// was due, so a stall counts against every request that it delays (no coordinated omission). The
// sender spins on its own core; how late it was itself is reported beside the latencies, because
// that much is not the server's. Prints one JSON object.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr int64_t kWarmUpNs = kNsPerSecond / 4;  // sent, not counted
constexpr int64_t kDrainNs = 5 * kNsPerSecond;   // how long the last replies may take
constexpr std::string_view kSet = "*3\r\n$3\r\nSET\r\n$10\r\nbench:pace\r\n$3\r\nxxx\r\n";
constexpr std::string_view kGet = "*2\r\n$3\r\nGET\r\n$10\r\nbench:pace\r\n";

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "pacer: %s\n", what.c_str());
  std::exit(1);
}

int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kNsPerSecond + t.tv_nsec;
}

struct Connection {
  int fd = -1;
  std::string unsent;          // what the socket did not take
  std::string unread;          // the start of a reply whose end is not here yet
  std::deque<int64_t> due_ns;  // one for each reply outstanding, oldest first
};

// The length of the first whole reply, 0 where more bytes are needed. Only what SET and GET
// answer: a simple string or a bulk; anything else ends the run.
size_t reply_length(std::string_view bytes) {
  const size_t line = bytes.find("\r\n");
  if (line == std::string_view::npos) return 0;
  if (bytes[0] == '+') return line + 2;
  if (bytes[0] != '$') fail("unexpected reply: " + std::string(bytes.substr(0, line)));
  const long length = std::strtol(bytes.data() + 1, nullptr, 10);
  if (length < 0) return line + 2;
  const size_t whole = line + 2 + static_cast<size_t>(length) + 2;
  return whole <= bytes.size() ? whole : 0;
}

int connect_to(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    fail(std::string("connect: ") + std::strerror(errno));
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

class Pacer {
 public:
  Pacer(uint16_t port, size_t clients, int64_t rate, int64_t seconds)
      : rate_(rate), total_(rate * seconds + rate * kWarmUpNs / kNsPerSecond) {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    connections_.resize(clients);
    for (size_t i = 0; i < clients; ++i) {
      connections_[i].fd = connect_to(port);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = i;
      epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i].fd, &event);
    }
    latency_ns_.reserve(static_cast<size_t>(total_));
    lateness_ns_.reserve(static_cast<size_t>(total_));
  }

  void run() {
    start_ns_ = now_ns() + kNsPerSecond / 100;
    while (done_ < total_) {
      const int64_t now = now_ns();
      if (now > due_at(total_) + kDrainNs) fail("replies are missing after the run");
      while (sent_ < total_ && due_at(sent_) <= now) send_next(now);
      receive();
    }
  }

  void print() {
    const double took_s = static_cast<double>(now_ns() - start_ns_) / 1e9;
    std::printf("{\"rate\": %.0f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, ",
                static_cast<double>(done_) / took_s, percentile_ms(latency_ns_, 0.5),
                percentile_ms(latency_ns_, 0.99), percentile_ms(latency_ns_, 0.999));
    std::printf("\"sender_late_p99_ms\": %.4f}\n", percentile_ms(lateness_ns_, 0.99));
  }

 private:
  int64_t due_at(int64_t i) const { return start_ns_ + i * kNsPerSecond / rate_; }
  bool counts(int64_t due) const { return due >= start_ns_ + kWarmUpNs; }

  void send_next(int64_t now) {
    const auto clients = static_cast<int64_t>(connections_.size());
    Connection& to = connections_[static_cast<size_t>(sent_ % clients)];
    const int64_t due = due_at(sent_);
    to.unsent += (sent_ / clients) % 2 == 0 ? kSet : kGet;
    to.due_ns.push_back(due);
    if (counts(due)) lateness_ns_.push_back(now - due);
    ++sent_;
    flush(to);
  }

  void flush(Connection& to) {
    const ssize_t n = send(to.fd, to.unsent.data(), to.unsent.size(), MSG_NOSIGNAL);
    if (n > 0) to.unsent.erase(0, static_cast<size_t>(n));
    if (n < 0 && errno != EAGAIN) fail(std::string("send: ") + std::strerror(errno));
  }

  void receive() {
    epoll_event events[64];
    const int ready = epoll_wait(epoll_, events, 64, 0);
    for (int e = 0; e < ready; ++e) {
      Connection& from = connections_[events[e].data.u64];
      char block[16384];
      const ssize_t n = recv(from.fd, block, sizeof block, 0);
      if (n == 0) fail("the server closed a connection");
      if (n < 0) {
        if (errno == EAGAIN) continue;
        fail(std::string("recv: ") + std::strerror(errno));
      }
      const int64_t now = now_ns();
      from.unread.append(block, static_cast<size_t>(n));
      take_replies(from, now);
      if (!from.unsent.empty()) flush(from);
    }
  }

  void take_replies(Connection& from, int64_t now) {
    size_t at = 0;
    while (size_t length = reply_length(std::string_view(from.unread).substr(at))) {
      if (from.due_ns.empty()) fail("a reply that nobody asked for");
      if (counts(from.due_ns.front())) latency_ns_.push_back(now - from.due_ns.front());
      from.due_ns.pop_front();
      at += length;
      ++done_;
    }
    from.unread.erase(0, at);
  }

  static double percentile_ms(std::vector<int64_t>& values, double share) {
    if (values.empty()) return 0;
    const auto at = static_cast<size_t>(share * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at),
                     values.end());
    return static_cast<double>(values[at]) / 1e6;
  }

  int64_t rate_;
  int64_t total_;
  int64_t start_ns_ = 0;
  int64_t sent_ = 0;
  int64_t done_ = 0;
  int epoll_ = -1;
  std::vector<Connection> connections_;
  std::vector<int64_t> latency_ns_;
  std::vector<int64_t> lateness_ns_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) fail("usage: pacer PORT CLIENTS RATE SECONDS");
  const long port = std::atol(argv[1]);
  const long clients = std::atol(argv[2]);
  const long rate = std::atol(argv[3]);
  const long seconds = std::atol(argv[4]);
  if (port < 1 || port > 65535 || clients < 1 || clients > 10'000 || rate < 1 || rate > 1'000'000 ||
      seconds < 1 || seconds > 600) {
    fail("an argument is out of range");
  }
  Pacer pacer(static_cast<uint16_t>(port), static_cast<size_t>(clients), rate, seconds);
  pacer.run();
  pacer.print();
  return 0;
}
