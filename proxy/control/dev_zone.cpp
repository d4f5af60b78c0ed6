#include "proxy/control/dev_zone.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <utility>

#include "proxy/control/status_client.h"

namespace azimuth {
namespace {

constexpr unsigned kAdminPortDistance = 3000;  // 6380 -> 9380, where `azimuth status` asks
constexpr unsigned kPeerPortDistance = 1000;   // 6380 -> 7380
constexpr uint32_t kAskMsMax = 300;
const std::string kHost = "127.0.0.1:";

Error fault(std::string message) {
  return make_error(ErrorCode::kSystem, Fault::kSelf, std::move(message));
}

std::string at(uint16_t port) { return kHost + std::to_string(port); }

// The port that far above the clients' one, or any.
std::optional<uint16_t> port_beside(uint16_t listen_port, unsigned distance) {
  const unsigned wanted = listen_port + distance;
  if (wanted <= 65535 && port_is_free(static_cast<uint16_t>(wanted))) {
    return static_cast<uint16_t>(wanted);
  }
  return any_free_port();
}

// A file that only this user reads.
Outcome write_file(const std::string& path, const std::string& text) {
  std::FILE* const file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return fault("cannot write " + path + ": " + std::strerror(errno));
  const bool written = ::fchmod(::fileno(file), 0600) == 0 &&
                       std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) == 0 && written) return Done{};
  return fault("cannot write " + path + ": " + std::strerror(errno));
}

std::string new_key() {
  std::random_device random;
  std::string digits;
  while (digits.size() < 64) {
    char part[9];
    std::snprintf(part, sizeof part, "%08x", random());
    digits += part;
  }
  return digits + "\n";
}

std::string settings_text(const DevZone& zone, const std::string& seeds, size_t members,
                          const std::string& key_file) {
  std::string text;
  const auto line = [&text](std::string_view key, const std::string& value) {
    text.append(key).append(" = ").append(value).append("\n");
  };
  const auto quoted = [](const std::string& value) { return "\"" + value + "\""; };
  text += "# Written by azimuth dev at each start.\n[node]\n";
  line("id", quoted(zone.name));
  line("zone", quoted(zone.name));
  line("region", quoted("local"));
  line("data_dir", quoted(zone.directory + "/azimuth"));
  text += "\n[redis]\n";
  line("address", quoted(at(zone.redis_port)));
  text += "\n[[listen]]\n";
  line("address", quoted(at(zone.listen_port)));
  text += "\n[peer]\n";
  line("address", quoted(at(zone.peer_port)));
  text += "\n[admin]\n";
  line("address", quoted(at(zone.admin_port)));
  text += "\n[cluster]\n";
  line("name", quoted("dev"));
  line("seeds", "[" + seeds + "]");
  line("bootstrap_expect", std::to_string(members));
  line("key_file", quoted(key_file));
  return text;
}

}  // namespace

Result<DevZones> plan_zones(unsigned count, uint16_t base_port, const std::string& directory) {
  DevZones zones;
  for (unsigned i = 0; i < count; ++i) {
    auto zone = std::make_unique<DevZone>();
    zone->name = "zone-" + std::to_string(i + 1);
    zone->directory = directory + "/" + zone->name;
    if (base_port + i > 65535) {
      return fault("there is no port " + std::to_string(base_port + i) +
                   "; choose a lower one: azimuth dev --base-port PORT");
    }
    zone->listen_port = static_cast<uint16_t>(base_port + i);
    if (!port_is_free(zone->listen_port)) {
      return fault("something listens on port " + std::to_string(zone->listen_port) +
                   " already; choose another one: azimuth dev --base-port PORT");
    }
    const auto admin = port_beside(zone->listen_port, kAdminPortDistance);
    const auto peer = port_beside(zone->listen_port, kPeerPortDistance);
    if (!admin || !peer) return fault("no port is free");
    zone->admin_port = *admin;
    zone->peer_port = *peer;
    std::error_code failed;
    std::filesystem::create_directories(zone->directory, failed);
    if (failed) return fault("cannot make " + zone->directory + ": " + failed.message());
    zones.push_back(std::move(zone));
  }
  return zones;
}

Outcome write_cluster(const DevZones& zones, const std::string& directory) {
  const std::string key_file = directory + "/cluster.key";
  if (!std::filesystem::exists(key_file)) {
    if (const Outcome written = write_file(key_file, new_key()); !written.ok()) return written;
  }
  std::string seeds;
  for (const auto& zone : zones) {
    seeds += (seeds.empty() ? "\"" : ", \"") + at(zone->peer_port) + "\"";
  }
  for (const auto& zone : zones) {
    const Outcome written =
        write_file(zone->settings_file(), settings_text(*zone, seeds, zones.size(), key_file));
    if (!written.ok()) return written;
  }
  return Done{};
}

std::vector<std::string> redis_command(const DevZone& zone, bool keeps_data, bool in_cluster) {
  std::vector<std::string> command = {"redis-server", "--port",    std::to_string(zone.redis_port),
                                      "--bind",       "127.0.0.1", "--dir",
                                      zone.directory, "--logfile", zone.log_file(),
                                      "--daemonize",  "no"};
  if (!keeps_data) command.insert(command.end(), {"--save", ""});
  // One that comes back takes no writes until its azimuth knows that it may.
  if (in_cluster) command.insert(command.end(), {"--min-replicas-to-write", "999999"});
  return command;
}

std::vector<std::string> azimuth_command(const DevZone& zone, bool in_cluster) {
  if (in_cluster) return {kOwnProgram, "run", "--config", zone.settings_file()};
  return {kOwnProgram, "run",
          "--listen",  at(zone.listen_port),
          "--redis",   at(zone.redis_port),
          "--set",     "admin.address=" + at(zone.admin_port),
          "--set",     "node.id=" + zone.name,
          "--set",     "node.zone=" + zone.name,
          "--set",     "node.region=local",
          "--set",     "node.data_dir=" + zone.directory};
}

bool redis_answers(const DevZone& zone) {
  if (!zone.redis_runs()) return false;
  const std::string wanted = "process_id:" + std::to_string(zone.redis()->pid()) + "\r\n";
  return answers(zone.redis_port, "INFO server\r\n", wanted);
}

bool azimuth_answers(const DevZone& zone, bool in_cluster) {
  if (!in_cluster) return answers(zone.listen_port, "PING\r\n", "+PONG\r\n");
  return answers(zone.admin_port, "GET /readyz HTTP/1.0\r\n\r\n", "HTTP/1.1 200");
}

bool is_whole(const DevZones& zones) {
  const Endpoint admin = tcp_endpoint("127.0.0.1", zones.front()->admin_port);
  const auto reply = http_request(admin, "GET", "/status", kAskMsMax);
  if (!reply.ok()) return false;
  const auto status = nlohmann::json::parse(reply->body, nullptr, false);
  if (!status.is_object() || !status.contains("members")) return false;
  size_t ready = 0;
  for (const auto& member : status["members"]) ready += member.value("ready", false);
  return ready == zones.size();
}

const DevZone* primary_of(const DevZones& zones) {
  const Endpoint admin = tcp_endpoint("127.0.0.1", zones.front()->admin_port);
  const auto reply = http_request(admin, "GET", "/status", kAskMsMax);
  if (!reply.ok()) return nullptr;
  for (const auto& zone : zones) {
    const std::string wanted = "\"primary\":\"" + zone->name + "\"";
    if (reply->body.find(wanted) != std::string::npos) return zone.get();
  }
  return nullptr;
}

}  // namespace azimuth
