// Replies of redis-server 7.0.15, as it gave them, read into RedisState.
#include "health/redis_state.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

using namespace azimuth;

namespace {

constexpr std::string_view kServer =
    "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\nredis_mode:standalone\r\n"
    "process_id:18086\r\nrun_id:735b190d7c1429263593865704096321057c8681\r\ntcp_port:17831\r\n"
    "uptime_in_seconds:12\r\nconfig_file:\r\n";
constexpr std::string_view kMaster =
    "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n"
    "slave0:ip=127.0.0.1,port=17006,state=online,offset=98,lag=0\r\n"
    "master_failover_state:no-failover\r\n"
    "master_replid:9815ac76a9adabc39a6e98b04c8d60d6f6142953\r\n"
    "master_replid2:0000000000000000000000000000000000000000\r\n"
    "master_repl_offset:114\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:1\r\n";
constexpr std::string_view kReplica =
    "# Replication\r\nrole:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:7001\r\n"
    "master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\nmaster_sync_in_progress:0\r\n"
    "slave_read_repl_offset:811\r\nslave_repl_offset:746\r\nconnected_slaves:0\r\n"
    "master_replid:511ab576a9adabc39a6e98b04c8d60d6f6142953\r\n"
    "master_replid2:4df3f276a9adabc39a6e98b04c8d60d6f6142953\r\n"
    "master_repl_offset:811\r\nsecond_repl_offset:3038\r\n";

using Elements = std::vector<std::string_view>;

}  // namespace

TEST_CASE("a master's INFO") {
  RedisState state;
  apply_info(state, kServer);
  apply_info(state, kMaster);
  CHECK(state.version == "7.0.15");
  CHECK(state.mode == "standalone");
  CHECK(state.run_id == "735b190d7c1429263593865704096321057c8681");
  CHECK(state.process_id == 18086);
  CHECK(state.uptime_s == 12);
  CHECK(state.role == RedisRole::kMaster);
  CHECK(state.offset == 114);
  CHECK(state.second_offset == -1);
  CHECK(state.connected_replicas == 1);
  CHECK(state.backlog_active);
}

TEST_CASE("a replica's offset is what it has applied, not what it has received") {
  RedisState state;
  apply_info(state, kReplica);
  CHECK(state.role == RedisRole::kReplica);
  CHECK(state.offset == 746);
  CHECK(state.second_offset == 3038);
  CHECK(state.replid2.substr(0, 6) == "4df3f2");
  CHECK_FALSE(state.link_up);
  CHECK(state.master_port == 7001);
}

TEST_CASE("all sections in one text, with bare newlines, read the same") {
  RedisState state;
  apply_info(state, "role:slave\nslave_repl_offset:5\nloading:1\nredis_version:8.0\n");
  CHECK(state.role == RedisRole::kReplica);
  CHECK(state.offset == 5);
  CHECK(state.loading);
  CHECK(state.version == "8.0");
  apply_info(state, "# Persistence\r\nloading:0\r\n");
  CHECK_FALSE(state.loading);
}

TEST_CASE("a master's ROLE lists its replicas, taps with port 0 among them") {
  RedisState state;
  REQUIRE(apply_role(state,
                     Elements{"master", "114", "127.0.0.1", "17006", "98", "127.0.0.1", "0", "0"}));
  CHECK(state.role == RedisRole::kMaster);
  CHECK(state.offset == 114);
  REQUIRE(state.replicas.size() == 2);
  CHECK(state.replicas[0] == RedisReplica{"127.0.0.1", 17006, 98});
  CHECK(state.replicas[1] == RedisReplica{"127.0.0.1", 0, 0});
}

TEST_CASE("a replica's ROLE: -1 means no live link, and INFO's applied offset stays") {
  RedisState state;
  apply_info(state, kReplica);
  REQUIRE(apply_role(state, Elements{"slave", "127.0.0.1", "7001", "connect", "-1"}));
  CHECK(state.offset == 746);
  CHECK(state.link == RedisLink::kConnect);
  REQUIRE(apply_role(state, Elements{"slave", "127.0.0.1", "7001", "connected", "900"}));
  CHECK(state.offset == 900);
  CHECK(state.link_up);
}

TEST_CASE("a promoted replica forgets its master") {
  RedisState state;
  REQUIRE(apply_role(state, Elements{"slave", "127.0.0.1", "7001", "connected", "900"}));
  REQUIRE(apply_role(state, Elements{"master", "900"}));
  CHECK(state.master_host.empty());
  CHECK(state.link == RedisLink::kNone);
  CHECK_FALSE(state.link_up);
}

TEST_CASE("what is no ROLE reply changes nothing") {
  RedisState before;
  REQUIRE(apply_role(before, Elements{"master", "7"}));
  const std::vector<Elements> bad = {
      {},
      {"sentinel", "x"},
      {"master"},
      {"master", "-"},
      {"master", "9", "host", "1"},
      {"master", "9", "host", "70000", "1"},
      {"slave", "h", "1", "connected"},
      {"slave", "h", "1", "unheard-of", "5"},
      {"slave", "h", "1", "connected", "99999999999999999999"},
      Elements(3000000, "1"),
  };
  for (const Elements& elements : bad) {
    CHECK_FALSE(apply_role(before, elements));
    CHECK(before.role == RedisRole::kMaster);
    CHECK(before.offset == 7);
  }
}

TEST_CASE("an error's prefix says why a live Redis refuses") {
  CHECK(refusal_of("-LOADING Redis is loading the dataset in memory") == RedisRefusal::kLoading);
  CHECK(refusal_of("NOAUTH Authentication required.") == RedisRefusal::kNoAuth);
  CHECK(refusal_of("-WRONGPASS invalid username-password pair") == RedisRefusal::kNoAuth);
  CHECK(refusal_of("-NOPERM this user has no permissions") == RedisRefusal::kNoPerm);
  CHECK(refusal_of("-MASTERDOWN Link with MASTER is down") == RedisRefusal::kMasterDown);
  CHECK(refusal_of("-BUSY Redis is busy running a script.") == RedisRefusal::kBusy);
  CHECK(refusal_of("-MISCONF Redis is configured to save") == RedisRefusal::kMisconf);
  CHECK(refusal_of("-BUSYKEY Target key name already exists.") == RedisRefusal::kOther);
  CHECK(refusal_of("") == RedisRefusal::kOther);
}

TEST_CASE("INFO from a peer that is no Redis is bounded and harmless") {
  std::mt19937 random(3);
  for (int i = 0; i < 500; ++i) {
    std::string text(random() % 400, '\0');
    for (char& c : text) c = "role:master\n\r_-0123456789\0\xff"[random() % 27];
    RedisState state;
    apply_info(state, text);
  }
  RedisState state;
  apply_info(state, "run_id:" + std::string(100000, 'x') + "\r\nmaster_repl_offset:banana\r\n");
  CHECK(state.run_id.size() <= 256);
  CHECK(state.offset == -1);
}
