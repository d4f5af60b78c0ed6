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
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "conf/limits.h"
#include "proxy/data/socket.h"

namespace azimuth {

namespace {

using Json = nlohmann::json;
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

std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  }
  return text;
}

// A member of an object as text: strings as they are, the rest as JSON; "-" if there is none.
std::string text_of(const Json& object, const char* key) {
  if (!object.is_object()) return "-";
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "-";
  if (it->is_string()) {
    const auto text = it->get<std::string>();
    return text.empty() ? "-" : printable(text);
  }
  return it->dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json& member(const Json& object, const char* key) {
  static const Json nothing;
  if (!object.is_object()) return nothing;
  const auto it = object.find(key);
  return it == object.end() ? nothing : *it;
}

bool is_true(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_boolean() && value.get<bool>();
}

// Columns as wide as their widest cell.
std::string columns(const std::vector<std::vector<std::string>>& rows, std::string_view indent) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    out.append(indent);
    for (size_t i = 0; i < row.size(); ++i) {
      out.append(row[i]);
      if (i + 1 < row.size()) out.append(widths[i] - row[i].size() + 2, ' ');
    }
    out += '\n';
  }
  return out;
}

// "reads 10, writes 2": what is zero is left out, unless all of it is.
std::string counts(const Json& object) {
  std::string out;
  if (object.is_object()) {
    for (const auto& [key, value] : object.items()) {
      if (!value.is_number() || value.get<double>() == 0) continue;
      out += (out.empty() ? "" : ", ") + printable(key) + " " + value.dump();
    }
  }
  return out.empty() ? "none" : out;
}

std::string redis_line(const Json& redis) {
  if (!redis.is_object()) return "none (a sidecar)";
  std::string out = text_of(redis, "address") + ": " + text_of(redis, "status");
  if (is_true(redis, "loading")) out += ", loading its data set";
  if (redis.contains("reason")) out += " (" + text_of(redis, "reason") + ")";
  if (text_of(redis, "version") != "-") {
    out += ", version " + text_of(redis, "version") + ", " + text_of(redis, "role") + ", offset " +
           text_of(redis, "offset");
  }
  return out;
}

std::string latency_line(const Json& latency) {
  return "p50 " + text_of(latency, "p50") + " us, p99 " + text_of(latency, "p99") + " us";
}

// The strings of a list.
std::string names_of(const Json& object, const char* key) {
  std::string out;
  const Json& list = member(object, key);
  if (list.is_array()) {
    for (const Json& each : list) {
      if (each.is_string()) out += (out.empty() ? "" : ", ") + printable(each.get<std::string>());
    }
  }
  return out.empty() ? "-" : out;
}

// What the primary makes of replicas that do not keep up; empty: they do.
std::string slowness_of(const Json& back_pressure) {
  std::string out;
  const Json& delay_us = member(back_pressure, "write_delay_us");
  if (delay_us.is_number() && delay_us.get<double>() > 0) {
    char text[64];
    std::snprintf(text, sizeof text, "each waits %.2f ms for a replica that does not keep up",
                  delay_us.get<double>() / 1000);
    out = text;
  }
  for (const auto& [id, replica] : member(back_pressure, "replicas").items()) {
    if (text_of(replica, "standing") != "hopeless") continue;
    out += (out.empty() ? "" : "; ") + printable(id) + " is left behind";
  }
  return out;
}

std::string member_table(const Json& members) {
  if (!members.is_array() || members.empty()) return "";
  std::vector<std::vector<std::string>> rows = {
      {"member", "zone", "region", "role", "alive", "ready", "position", "lag"}};
  for (const Json& each : members) {
    const Json& position = member(each, "position");
    rows.push_back(
        {text_of(each, "id"), text_of(each, "zone"), text_of(each, "region"), text_of(each, "role"),
         is_true(each, "alive") ? "yes" : "no", is_true(each, "ready") ? "yes" : "no",
         text_of(position, "epoch") + ":" + text_of(position, "offset"), text_of(each, "lag")});
  }
  return "\n" + columns(rows, "");
}

// "12.3 MB"
std::string size_text(const Json& bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = bytes.is_number() ? bytes.get<double>() : 0;
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
                kUnits[unit]);
  return text;
}

std::string way_text(const Json& way) {
  return size_text(member(way, "bytes")) + " as " + size_text(member(way, "wire"));
}

std::string peer_table(const Json& peers) {
  if (!peers.is_array() || peers.empty()) return "";
  std::vector<std::vector<std::string>> rows = {
      {"link to", "zone", "compressed", "sent", "received", "zstd"}};
  for (const Json& each : peers) {
    const Json &out = member(each, "out"), &in = member(each, "in");
    const auto seconds = [](const Json& way) {
      const Json& value = member(way, "zstd_seconds");
      return value.is_number() ? value.get<double>() : 0.0;
    };
    char cpu[32];
    std::snprintf(cpu, sizeof cpu, "%.2f s", seconds(out) + seconds(in));
    const Json& level = member(each, "level");
    const bool packs = level.is_number() && level.get<int64_t>() > 0;
    rows.push_back({text_of(each, "node"), text_of(each, "zone"),
                    packs ? "level " + text_of(each, "level") : "no", way_text(out), way_text(in),
                    cpu});
  }
  return "\n" + columns(rows, "");
}

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

Result<std::string> status_table(std::string_view document) {
  const Json status = Json::parse(document, nullptr, false);
  if (!status.is_object() || !status.contains("node")) {
    return make_error(ErrorCode::kInvalid, Fault::kPeer, "what listens there is no azimuth");
  }
  const Json& counters = member(status, "counters");
  const Json& clients = member(counters, "clients");
  const Json& latency = member(counters, "latency_us");
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"node", text_of(status, "node") + " (azimuth " + text_of(status, "version") +
                              ", up " + text_of(status, "uptime_s") + " s)"});
  rows.push_back(
      {"ready", is_true(status, "ready") ? "yes" : "no: " + text_of(status, "not_ready_reason")});
  rows.push_back({"role", text_of(status, "role") +
                              (is_true(status, "isolated") ? ", isolated" : "") +
                              (is_true(status, "draining") ? ", draining" : "")});
  rows.push_back({"primary", text_of(status, "primary") + ", epoch " + text_of(status, "epoch")});
  if (status.contains("why"))
    rows.push_back(
        {"", (text_of(status, "primary") == "-" ? "no primary: " : "") + text_of(status, "why")});
  rows.push_back({"zone", text_of(status, "zone") + ", region " + text_of(status, "region")});
  rows.push_back({"listen", names_of(status, "listen")});
  rows.push_back({"redis", redis_line(member(status, "redis"))});
  rows.push_back({"clients", text_of(clients, "connected") + " now, " +
                                 text_of(clients, "accepted") + " accepted"});
  rows.push_back({"commands", counts(member(counters, "commands"))});
  rows.push_back({"errors", counts(member(counters, "errors"))});
  rows.push_back({"latency", "reads " + latency_line(member(latency, "reads")) + "; writes " +
                                 latency_line(member(latency, "writes"))});
  const Json& cluster = member(status, "cluster");
  if (cluster.is_object()) {
    rows.push_back({"cluster", text_of(cluster, "name") + ", voters " +
                                   names_of(cluster, "voters") + ", sidecars " +
                                   text_of(cluster, "sidecars")});
    if (names_of(cluster, "removed") != "-")
      rows.push_back({"taken out", names_of(cluster, "removed")});
    const std::string slowness = slowness_of(member(cluster, "back_pressure"));
    if (!slowness.empty()) rows.push_back({"writes", slowness});
    for (const Json& each : member(cluster, "witnesses")) {
      rows.push_back({"witness", text_of(each, "id") + " in zone " + text_of(each, "zone") +
                                     (is_true(each, "alive") ? ", alive" : ", dead")});
    }
  }
  return columns(rows, "") + member_table(member(status, "members")) +
         peer_table(member(cluster, "peers"));
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
        "address: azimuth %s --addr ADDR:PORT\n",
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

// Asks for something, and looks at `field` of /status until that is done or refused.
int run_wish(const char* command, const std::string& address, const std::string& target,
             const char* field, const std::function<void(const Json& status)>& print_done) {
  const auto node = asking(command, address);
  if (!node) return 2;
  const auto asked = http_request(node->endpoint, "POST", target, kTimeoutMs);
  if (!asked.ok()) return node->no_answer(asked.error().message);
  std::string body = asked->body;
  while (body.ends_with('\n')) body.pop_back();
  if (asked->status != 202) return node->no(body);
  const auto deadline = Clock::now() + std::chrono::milliseconds(kWishTimeoutMs);
  while (Clock::now() < deadline) {
    const auto reply = http_request(node->endpoint, "GET", "/status", kTimeoutMs);
    if (!reply.ok()) return node->no_answer(reply.error().message);
    const Json status = Json::parse(reply->body, nullptr, false);
    const std::string how = text_of(member(status, "cluster"), field);
    if (how == "done") {
      print_done(status);
      return std::fflush(stdout) == 0 ? 0 : 1;
    }
    if (how.starts_with("refused: ")) return node->no(how.substr(9));
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
  return run_wish("switchover", address, "/switchover" + query, "switchover", print_primary);
}

int run_elect_force(const std::string& address, const std::string& node) {
  return run_wish("elect", address, "/elect?force=" + percent_encoded(node), "switchover",
                  print_primary);
}

int run_member_change(const std::string& address, bool add, const std::string& node) {
  const std::string target = std::string("/member?") + (add ? "add=" : "remove=");
  return run_wish("member", address, target + percent_encoded(node), "member_change",
                  [&](const Json& status) {
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
