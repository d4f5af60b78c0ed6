#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "conf/settings.h"

namespace azimuth {
namespace {

Settings settings_with(const std::vector<std::string>& overrides) {
  std::vector<std::string> all = {"listen.0.address=127.0.0.1:6380",
                                  "redis.address=127.0.0.1:6379"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  const SettingsResult result = parse_settings("", "", all, "host");
  for (const SettingsError& error : result.errors) UNSCOPED_INFO(to_string(error));
  REQUIRE(result.ok());
  return result.settings;
}

std::vector<SettingChange> change(const std::vector<std::string>& before,
                                  const std::vector<std::string>& after) {
  return diff(settings_with(before), settings_with(after));
}

using Changes = std::vector<SettingChange>;

TEST_CASE("nothing changed, nothing said") {
  CHECK(change({}, {}).empty());
  CHECK(change({"limits.clients_max=5"}, {"limits.clients_max=5"}).empty());
}

TEST_CASE("a change names the key, both values, and whether it needs a restart") {
  CHECK(change({}, {"limits.clients_max=5"}) ==
        Changes{{"limits.clients_max", "10000", "5", false}});
  CHECK(change({}, {"node.workers=2"}) == Changes{{"node.workers", "1", "2", true}});
  CHECK(change({"log.level=debug"}, {}) == Changes{{"log.level", "\"debug\"", "\"info\"", false}});
  CHECK(change({}, {"listen.0.allow_sync=false"}) ==
        Changes{{"listen.0.allow_sync", "", "false", false}});
  CHECK(change({}, {"listen.0.unix_mode=0o777"}) ==
        Changes{{"listen.0.unix_mode", "0o660", "0o777", true}});
  CHECK(change({"peer.address=10.0.1.5:7380", "cluster.name=c", "cluster.bootstrap_expect=1",
                "cluster.key_file=k"},
               {"peer.address=10.0.1.5:7380", "cluster.name=c", "cluster.bootstrap_expect=1",
                "cluster.key_file=k", "peer.plaintext=true"}) ==
        Changes{{"peer.plaintext", "false", "true", true}});
  CHECK(change({}, {"cluster.hold_timeout_ms=1"}) ==
        Changes{{"cluster.hold_timeout_ms", "5000", "1", false}});
}

TEST_CASE("several changes come in the order of the sample file") {
  const Changes changes = change({}, {"slowlog.entries_max=1", "node.zone=z", "log.level=warn"});
  REQUIRE(changes.size() == 3);
  CHECK(changes[0].key == "node.zone");
  CHECK(changes[1].key == "log.level");
  CHECK(changes[2].key == "slowlog.entries_max");
}

TEST_CASE("a secret that changes is said to, and not shown") {
  CHECK(change({"redis.password=old"}, {"redis.password=new"}) ==
        Changes{{"redis.password", "***", "***", false}});
  CHECK(change({}, {"redis.password=new"}) == Changes{{"redis.password", "\"\"", "***", false}});
}

TEST_CASE("tables that come and go need a restart") {
  const Changes added = change({}, {"listen.1.address=127.0.0.1:6381"});
  REQUIRE_FALSE(added.empty());
  CHECK(added[0] == SettingChange{"listen.1.address", "", "\"127.0.0.1:6381\"", true});
  for (const SettingChange& one : added) CHECK(one.needs_restart);

  const Changes removed = change({"admin.address=127.0.0.1:9380"}, {});
  CHECK(removed == Changes{{"admin.address", "\"127.0.0.1:9380\"", "", true}});
}

}  // namespace
}  // namespace azimuth
