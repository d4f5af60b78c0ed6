// What a reload may change in a running node.
#include "proxy/control/reload.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <string>

#include "conf/settings_table.h"

using namespace azimuth;

namespace {

constexpr const char* kBase = R"(
[node]
id = "a"
[redis]
address = "127.0.0.1:6379"
[[listen]]
address = "127.0.0.1:6380"
[[listen]]
address = "127.0.0.1:6381"
)";

Settings parsed(const std::string& text) {
  SettingsResult result = parse_settings(text, "test.toml");
  for (const SettingsError& error : result.errors) FAIL(to_string(error));
  return result.settings;
}

Settings with(const std::string& overrides_text) { return parsed(kBase + overrides_text); }

Settings overridden(std::vector<std::string> overrides) {
  SettingsResult result = parse_settings(kBase, "test.toml", overrides);
  for (const SettingsError& error : result.errors) FAIL(to_string(error));
  return result.settings;
}

std::vector<std::string> keys(const std::vector<SettingChange>& changes) {
  std::vector<std::string> names;
  for (const SettingChange& change : changes) names.push_back(change.key);
  return names;
}

}  // namespace

TEST_CASE("a reload takes what needs no restart and leaves the rest") {
  const Settings running = with("");
  const Settings wanted = with(
      "[limits]\nclients_max = 7\n[log]\nlevel = \"debug\"\n[slowlog]\nthreshold_us = 5\n"
      "[admin]\naddress = \"127.0.0.1:9380\"\n");
  const Settings applied = without_restart(running, wanted);
  CHECK(applied.limits.clients_max == 7);
  CHECK(applied.log.level == LogLevel::kDebug);
  CHECK(applied.slowlog.threshold_us == 5);
  CHECK_FALSE(applied.admin);
  CHECK(keys(diff(applied, wanted)) == std::vector<std::string>{"admin.address"});
}

TEST_CASE("the hold times of a node without a cluster are in force after a reload") {
  const Settings applied =
      without_restart(with(""), with("[cluster]\nhold_timeout_ms = 77\nhold_bytes_max = 1000\n"));
  CHECK(applied.hold.timeout_ms == 77);
  CHECK(applied.hold.bytes_max == 1000);
  CHECK_FALSE(applied.cluster);
}

TEST_CASE("the login for Redis changes, its address does not") {
  const Settings running = with("");
  const Settings wanted = overridden({"redis.address=127.0.0.1:1234", "redis.password=new"});
  const Settings applied = without_restart(running, wanted);
  CHECK(applied.redis->password == "new");
  CHECK(applied.redis->address.port == 6379);
}

TEST_CASE("what is said of an endpoint goes to no other one") {
  const Settings running = with("");
  SECTION("the same address") {
    const Settings wanted = overridden({"listen.1.consistency=strong"});
    CHECK(without_restart(running, wanted).listen[1].consistency == Consistency::kStrong);
  }
  SECTION("another address in its place") {
    const Settings wanted =
        overridden({"listen.1.address=127.0.0.1:7000", "listen.1.consistency=strong"});
    CHECK(without_restart(running, wanted).listen[1] == running.listen[1]);
  }
  SECTION("one more, and one less") {
    const Settings more = overridden({"listen.2.address=127.0.0.1:7000"});
    CHECK(without_restart(running, more) == running);
    CHECK(without_restart(more, running) == more);
  }
}

TEST_CASE("a reload of the same file changes nothing") {
  const Settings running = with("[limits]\nclients_max = 7\n");
  CHECK(without_restart(running, running) == running);
}

TEST_CASE("each key is either applied by a reload or named as needing a restart") {
  // Two files that differ in every number and every name that the table has a row for.
  const Settings before = with("");
  Settings after = before;
  for (const SettingRow& row : setting_rows()) {
    const Field field = row.field(after, 0);
    if (auto* const* number = std::get_if<std::uint32_t*>(&field)) ++**number;
    if (auto* const* number = std::get_if<std::uint64_t*>(&field)) ++**number;
    if (const auto* choice = std::get_if<ChoiceField>(&field)) *choice->index ^= 1U;
    if (auto* const* text = std::get_if<std::string*>(&field)) **text += "x";
  }
  const Settings applied = without_restart(before, after);
  for (const SettingChange& change : diff(before, applied)) {
    INFO(change.key);
    CHECK_FALSE(change.needs_restart);
  }
  for (const SettingChange& change : diff(applied, after)) {
    INFO(change.key);
    CHECK(change.needs_restart);
  }
  CHECK(diff(before, applied).size() + diff(applied, after).size() == diff(before, after).size());
}

TEST_CASE("a settings file that cannot be read says why") {
  const Result<std::string> missing = read_settings_file("/nonexistent/azimuth.toml");
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().message ==
        "cannot read /nonexistent/azimuth.toml: No such file or directory");
  CHECK_FALSE(read_settings_file("/").ok());
}
