// One zone of `azimuth dev`: its ports, its directory, its redis-server and its azimuth.
//
// Invariants: a zone keeps its ports and its directory over restarts of its processes. More than
// one zone are a cluster: each azimuth has a settings file then, and all share a key that was made
// here. Owned by the thread of the loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "conf/result.h"
#include "proxy/control/dev_process.h"

namespace azimuth {

struct DevZone {
  std::string name;
  std::string directory;
  uint16_t listen_port = 0, admin_port = 0, peer_port = 0, redis_port = 0;
  int redis_tries = 0;
  // One that has ended keeps its handle until the loop has closed it.
  std::vector<std::unique_ptr<DevProcess>> redis_processes, azimuth_processes;
  uint64_t redis_again_ms = 0, azimuth_again_ms = 0;  // when to start it again; 0: not to be

  DevProcess* redis() const { return newest(redis_processes); }
  DevProcess* azimuth() const { return newest(azimuth_processes); }
  bool redis_runs() const { return redis() != nullptr && redis()->running(); }
  bool azimuth_runs() const { return azimuth() != nullptr && azimuth()->running(); }
  void signal_redis(int number) const {
    if (redis_runs()) redis()->signal(number);
  }
  void signal_azimuth(int number) const {
    if (azimuth_runs()) azimuth()->signal(number);
  }
  std::string log_file() const { return directory + "/redis.log"; }
  std::string settings_file() const { return directory + "/azimuth.toml"; }

 private:
  static DevProcess* newest(const std::vector<std::unique_ptr<DevProcess>>& processes) {
    return processes.empty() ? nullptr : processes.back().get();
  }
};

using DevZones = std::vector<std::unique_ptr<DevZone>>;

// Chooses ports and makes directories. The error says which of the options cannot be had.
Result<DevZones> plan_zones(unsigned count, uint16_t base_port, const std::string& directory);
// What a cluster's nodes need on the disk: the key and their settings files.
Outcome write_cluster(const DevZones& zones, const std::string& directory);

std::vector<std::string> redis_command(const DevZone& zone, bool keeps_data, bool in_cluster);
std::vector<std::string> azimuth_command(const DevZone& zone, bool in_cluster);

// Whether its redis-server answers: by its process id, since a port that was free may have become
// somebody else's. Waits a fraction of a second at most, as do the next two.
bool redis_answers(const DevZone& zone);
bool azimuth_answers(const DevZone& zone, bool in_cluster);
// All members are in sync, as the first zone says: any one may be killed without a loss.
bool is_whole(const DevZones& zones);
// Who the primary is, as this zone's azimuth says; null if it does not.
const DevZone* primary_of(const DevZones& zones);

}  // namespace azimuth
