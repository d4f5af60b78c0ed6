// A Redis that is only as real as its answers to the pilot's commands. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "health/redis_pilot.h"

namespace azimuth {

using Words = std::vector<std::string>;

inline std::string text_of(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

struct FakeRedis {
  std::string run_id = "run1", replid = "A", replid2 = "0";
  std::int64_t offset = 0, second_offset = -1;
  bool master = true, backlog = false, tap = false, loading = false, syncing = false;
  std::string link = "connect", master_host = "elsewhere", master_port = "1";
  int keys = 0, functions = 0;
  std::map<std::string, std::string> config = {
      {"min-replicas-to-write", "0"}, {"min-replicas-max-lag", "10"},
      {"repl-backlog-ttl", "3600"},   {"repl-backlog-size", "1048576"},
      {"replica-announce-ip", ""},    {"replica-announce-port", "0"}};
  std::map<std::string, std::string> errors;  // by the beginning of a command

  bool writable() const {
    if (!master) return false;
    const int wanted = std::stoi(config.at("min-replicas-to-write"));
    const int lag = std::stoi(config.at("min-replicas-max-lag"));
    return wanted == 0 || lag == 0 || (tap ? 1 : 0) >= wanted;
  }
  std::string info() const {
    std::string text = "redis_version:7.0.15\r\nrun_id:" + run_id +
                       "\r\nloading:" + (loading ? "1" : "0") +
                       "\r\nnumber_of_functions:" + std::to_string(functions) +
                       "\r\nrole:" + (master ? "master" : "slave") + "\r\n";
    if (!master) {
      text += "master_host:" + master_host + "\r\nmaster_port:" + master_port +
              "\r\nmaster_link_status:" + (link == "connected" ? "up" : "down") +
              "\r\nmaster_sync_in_progress:" + (syncing ? "1" : "0") +
              "\r\nslave_repl_offset:" + std::to_string(link == "connected" ? offset : 1) + "\r\n";
    }
    text += "connected_slaves:" + std::string(tap ? "1" : "0") +
            "\r\nmin_slaves_good_slaves:" + (tap ? "1" : "0") + "\r\nmaster_replid:" + replid +
            "\r\nmaster_replid2:" + replid2 + "\r\nmaster_repl_offset:" + std::to_string(offset) +
            "\r\nsecond_repl_offset:" + std::to_string(second_offset) +
            "\r\nrepl_backlog_active:" + (backlog ? "1" : "0") + "\r\n# Keyspace\r\n";
    text += extra_info;
    if (keys > 0) text += "db0:keys=" + std::to_string(keys) + ",expires=0,avg_ttl=0\r\n";
    return text;
  }
  int asked = 0;
  std::string extra_info;
  PilotReply answer(const Words& words) {
    ++asked;
    PilotReply reply;
    for (const auto& [begin, error] : errors) {
      if (!text_of(words).starts_with(begin)) continue;
      reply.kind = PilotReply::Kind::kError;
      reply.text = error;
      return reply;
    }
    reply.kind = PilotReply::Kind::kText;
    reply.text = "OK";
    if (words[0] == "INFO") reply.text = info();
    if (words[0] == "ROLE") {
      reply.kind = PilotReply::Kind::kList;
      reply.elements = {"master", std::to_string(offset)};
      if (!master) {
        reply.elements = {"slave", master_host, master_port, link,
                          link == "connected" ? std::to_string(offset) : "-1"};
      }
    } else if (words[0] == "CONFIG" && words[1] == "GET") {
      reply.kind = PilotReply::Kind::kList;
      if (config.contains(words[2])) reply.elements = {words[2], config[words[2]]};
    } else if (words[0] == "CONFIG") {
      config[words[2]] = words[3];
    } else if (words[0] == "REPLICAOF") {
      if (words[1] == "NO") {
        replid2 = std::exchange(replid, replid + "'");
        second_offset = offset + 1;
        master = true;
        tap = false;
      } else {
        master = false;
        link = "connect";
        master_host = words[1];
        master_port = words[2];
      }
    }
    return reply;
  }
};

}  // namespace azimuth
