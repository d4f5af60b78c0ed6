// The commands that a pilot may send. One that is not here stops the simulation: the fake Redis
// must then learn it.
#include <algorithm>

#include "tests/sim/fake_redis.h"

namespace azimuth::sim {

namespace {

// No group has so many replicas.
constexpr long kFence = 1000;

std::string upper(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return word;
}

}  // namespace

PilotReply text_reply(std::string text) {
  PilotReply reply;
  reply.kind = PilotReply::Kind::kText;
  reply.text = std::move(text);
  return reply;
}

PilotReply error_reply(std::string text) {
  PilotReply reply;
  reply.kind = PilotReply::Kind::kError;
  reply.text = std::move(text);
  return reply;
}

std::optional<PilotReply> FakeRedis::execute(const std::vector<std::string>& command) {
  const std::string name = upper(command.at(0));
  if (name == "PING") return text_reply("PONG");
  if (name == "INFO") return text_reply(info(command.size() > 1 ? command[1] : "all"));
  if (name == "ROLE") return role();
  if (name == "CONFIG") return config(command);
  if (name == "REPLICAOF" || name == "SLAVEOF") return replicaof(command.at(1), command.at(2));
  if (name == "FUNCTION" && upper(command.at(1)) == "LIST") {
    PilotReply none;
    none.kind = PilotReply::Kind::kList;
    return none;
  }
  if (name == "FUNCTION" && upper(command.at(1)) == "STATS") {
    PilotReply stats;
    stats.kind = PilotReply::Kind::kList;
    stats.elements = {"running_script",  "",  "engines",         "LUA",
                      "libraries_count", "0", "functions_count", "0"};
    return stats;
  }
  if (name == "CLIENT" || name == "SCRIPT") return text_reply("OK");
  if (name == "REPLCONF" && command.size() > 1 && upper(command[1]) == "GETACK") {
    if (linked()) ack_primary();
    return std::nullopt;
  }
  std::string all;
  for (const std::string& word : command) all += " " + word;
  host_.on_broken("the fake Redis does not know:" + all);
  return error_reply("ERR unknown command");
}

PilotReply FakeRedis::config(const std::vector<std::string>& command) {
  const std::string verb = upper(command.at(1));
  if (verb == "GET") {
    PilotReply reply;
    reply.kind = PilotReply::Kind::kList;
    for (std::size_t i = 2; i < command.size(); ++i) {
      const auto found = config_.find(command[i]);
      if (found == config_.end()) continue;
      reply.elements.push_back(found->first);
      reply.elements.push_back(found->second);
    }
    return reply;
  }
  if (verb == "SET") {
    for (std::size_t i = 2; i + 1 < command.size(); i += 2) {
      if (!config_.contains(command[i])) {
        host_.on_broken("the fake Redis has no setting " + command[i]);
        return error_reply("ERR Unknown option or number of arguments for CONFIG SET - '" +
                           command[i] + "'");
      }
      const bool was_fenced = number("min-replicas-to-write") > kFence;
      config_[command[i]] = command[i + 1];
      if (was_fenced && number("min-replicas-to-write") < kFence) host_.on_fence_lifted();
    }
    count_good_replicas();
    return text_reply("OK");
  }
  return text_reply("OK");  // REWRITE, RESETSTAT
}

PilotReply FakeRedis::role() const {
  PilotReply reply;
  reply.kind = PilotReply::Kind::kList;
  if (master()) {
    reply.elements = {"master", std::to_string(offset_)};
    for (const auto& [wire, replica] : replicas_) {
      if (!replica.online) continue;
      reply.elements.insert(reply.elements.end(),
                            {"127.0.0.1", "6379", std::to_string(replica.acked)});
    }
    if (tap_) reply.elements.insert(reply.elements.end(), {"127.0.0.1", "0", "0"});
    return reply;
  }
  const char* link = link_ == Link::kConnected   ? "connected"
                     : link_ == Link::kTransfer  ? "sync"
                     : link_ == Link::kHandshake ? "handshake"
                                                 : "connect";
  reply.elements = {"slave", "127.0.0.1", std::to_string(port_), link,
                    linked() ? std::to_string(offset_) : "-1"};
  return reply;
}

std::string FakeRedis::role_reply() const {
  if (master()) return "*3\r\n$6\r\nmaster\r\n:" + std::to_string(offset_) + "\r\n*0\r\n";
  const std::vector<std::string> words = role().elements;  // host, port, state, offset behind one
  const auto bulk = [](const std::string& text) {
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
  };
  return "*5\r\n" + bulk(words[0]) + bulk(words[1]) + ":" + words[2] + "\r\n" + bulk(words[3]) +
         ":" + words[4] + "\r\n";
}

std::string FakeRedis::info(const std::string& section) const {
  const bool all = section == "all" || section == "everything" || section == "default";
  std::string text;
  if (all || section == "server") {
    text +=
        "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nprocess_id:77\r\nrun_id:" +
        run_id_ + "\r\nuptime_in_seconds:5\r\n";
  }
  if (all || section == "persistence") {
    text += "# Persistence\r\nloading:" + std::string(loading() ? "1" : "0") +
            "\r\nasync_loading:0\r\nrdb_bgsave_in_progress:0\r\naof_enabled:0\r\n";
  }
  if (all || section == "replication") text += info_replication();
  if (all || section == "keyspace") {
    text += "# Keyspace\r\n";
    if (!data_.empty()) {
      text += "db0:keys=" + std::to_string(data_.count) + ",expires=0,avg_ttl=0\r\n";
    }
  }
  return text;
}

std::string FakeRedis::info_replication() const {
  std::string text = "# Replication\r\n";
  if (!master()) {
    const bool transfer = link_ == Link::kTransfer;
    // Without a link the cached one's offset; nothing is cached once a full sync has begun.
    const std::string applied = std::to_string(linked() || !cached_replid_.empty() ? offset_ : 0);
    text += "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:" + std::to_string(port_) +
            "\r\nmaster_link_status:" + (linked() ? "up" : "down") +
            "\r\nmaster_last_io_seconds_ago:" + (linked() ? "0" : "-1") +
            "\r\nmaster_sync_in_progress:" + (transfer ? "1" : "0") +
            "\r\nslave_read_repl_offset:" + applied + "\r\nslave_repl_offset:" + applied +
            "\r\nslave_priority:100\r\nslave_read_only:1\r\n";
  } else {
    text += "role:master\r\n";
  }
  text += "connected_slaves:" + std::to_string(replicas_.size() + (tap_ ? 1 : 0)) +
          "\r\nmin_slaves_good_slaves:" + std::to_string(good_replicas_) +
          "\r\nmaster_failover_state:no-failover\r\nmaster_replid:" + replid_ +
          "\r\nmaster_replid2:" +
          (replid2_.empty() ? "0000000000000000000000000000000000000000" : replid2_) +
          "\r\nmaster_repl_offset:" + std::to_string(offset_) +
          "\r\nsecond_repl_offset:" + std::to_string(second_offset_) +
          "\r\nrepl_backlog_active:" + (has_backlog_ ? "1" : "0") +
          "\r\nrepl_backlog_size:" + std::to_string(number("repl-backlog-size")) +
          "\r\nrepl_backlog_first_byte_offset:" + std::to_string(backlog_begin_ + 1) +
          "\r\nrepl_backlog_histlen:" + std::to_string(offset_ - backlog_begin_) + "\r\n";
  return text;
}

}  // namespace azimuth::sim
