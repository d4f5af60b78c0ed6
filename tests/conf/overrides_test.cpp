// Overrides, as `--set` gives them, and that no error of either kind shows a secret.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "conf/settings.h"

namespace azimuth {
namespace {

const std::string kWhole =
    "[redis]\n"
    "address = \"127.0.0.1:6379\"\n"
    "[[listen]]\n"
    "address = \"127.0.0.1:6380\"\n";

std::vector<std::string> errors_of(const std::string& text,
                                   const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> errors;
  const SettingsResult result = parse_settings(text, "f", overrides, "host");
  for (const SettingsError& error : result.errors) errors.push_back(to_string(error));
  return errors;
}

using Errors = std::vector<std::string>;

Settings parsed(const std::string& text, const std::vector<std::string>& overrides = {}) {
  for (const std::string& error : errors_of(text, overrides)) UNSCOPED_INFO(error);
  const SettingsResult result = parse_settings(text, "f", overrides, "host");
  REQUIRE(result.ok());
  return result.settings;
}

const std::string kCluster =
    "[redis]\naddress = \"127.0.0.1:6379\"\n"
    "[[listen]]\naddress = \"127.0.0.1:6380\"\n"
    "[peer]\naddress = \"10.0.1.5:7380\"\n"
    "[cluster]\nname = \"c\"\nkey_file = \"k\"\n";

struct Mistake {
  std::string text;
  std::string error;
};

TEST_CASE("overrides set keys, with TOML or bare values") {
  const Settings settings = parsed(
      kWhole, {"node.id=b2", "node.zone='z0'", "node.zone=\"z1\"", "node.workers=3",
               "redis.password=a=b\"c", "limits.clients_max=1_000", "listen.0.consistency=strong",
               "listen.0.allow_sync=true", "listen.1.address=unix:/tmp/a.sock",
               "listen.1.unix_mode=0o600", "admin.address=\"127.0.0.1:9380\""});
  CHECK(settings.node.id == "b2");
  CHECK(settings.node.workers == 3);
  CHECK(settings.redis->password == "a=b\"c");
  CHECK(settings.limits.clients_max == 1000);
  CHECK(settings.listen[0].consistency == Consistency::kStrong);
  CHECK(settings.listen[0].allow_sync == true);
  REQUIRE(settings.listen.size() == 2);
  CHECK(settings.listen[1].address == unix_endpoint("/tmp/a.sock"));
  CHECK(settings.listen[1].unix_mode == 0600);
  CHECK(settings.admin->address == tcp_endpoint("127.0.0.1", 9380));

  const std::vector<std::string> cluster = {"cluster.bootstrap_expect=3",
                                            "cluster.seeds=10.0.1.5:7380, 10.0.2.5:7380"};
  CHECK(parsed(kCluster, cluster).cluster->seeds.size() == 2);
  CHECK(parsed(kCluster, {cluster[0], "cluster.seeds=[\"a:1\"]"}).cluster->seeds ==
        std::vector{tcp_endpoint("a", 1)});
  CHECK_FALSE(parsed(kWhole, {"cluster.hold_timeout_ms=7"}).cluster);
}

TEST_CASE("overrides alone make a whole") {
  const std::vector<std::string> overrides = {"listen.0.address=127.0.0.1:6380",
                                              "redis.address=127.0.0.1:6379"};
  const SettingsResult result = parse_settings("", "", overrides, "host");
  REQUIRE(result.ok());
  CHECK(result.settings == parsed(kWhole));
  const SettingsResult none = parse_settings("", "");
  REQUIRE_FALSE(none.ok());
  CHECK(to_string(none.errors[0]).starts_with("settings: no [[listen]]"));
}

TEST_CASE("a wrong override is told by its own text") {
  const std::vector<Mistake> cases = {
      {"node.workers=many",
       "node.workers=many: workers takes a whole number, not a text: write workers = 1"},
      {"node.workers=",
       "node.workers=: workers takes a whole number, not a text: write workers = 1"},
      {"listen.0.allow_sync=1",
       "listen.0.allow_sync=1: allow_sync takes true or false, not a whole number: write "
       "allow_sync = true"},
      {"listen.address=127.0.0.1:1",
       "listen.address=127.0.0.1:1: which one is not said: write listen.0.address"},
      {"listen.2.address=127.0.0.1:1",
       "listen.2.address=127.0.0.1:1: there are 1 [[listen]] tables: write an index from 0 to 1"},
      {"redis.0.address=127.0.0.1:1",
       "redis.0.address=127.0.0.1:1: there is but one [redis]: write redis.address"},
      {"node.worker=2", "node.worker=***: unknown key \"worker\" in [node]: write workers"},
      {"nodes.workers=2", "nodes.workers=***: unknown table [nodes]: write [node]"},
      {"workers=2",
       "workers=***: no setting: write --set section.key=value, such as --set "
       "limits.clients_max=500"},
      {"node.workers",
       "node.workers: no setting: write --set section.key=value, such as --set "
       "limits.clients_max=500"},
      {"node.zone=a\nb",
       "\"node.zone=a\\nb\": zone holds a control character: write zone = \"use1-az1\""},
      {"listen.1.consistency=strong",
       "listen.1.consistency=strong: [listen] lacks its address: write address = "
       "\"127.0.0.1:6380\" under it"},
  };
  for (const Mistake& one : cases) {
    INFO(one.text);
    CHECK(errors_of(kWhole, {one.text}) == Errors{"--set " + one.error});
  }
}

TEST_CASE("no error shows a password") {
  const std::vector<std::string> texts = {
      kWhole + "[redis]\npassword = \"hunter2\"\n",
      "[redis]\npassword = hunter2\n",
      "[redis]\npassword = \"hunter2\n",
      "[redis]\npassword = 'a' hunter2\n",
      "[redis]\npassword = hunter2 # \"\n",
      "[redis]\npassword = [\"hunter2\"]\n",
      "[redis]\npassword = \"\"\"hunter2\n",
      "[redis]\npasword = \"hunter2\"\n",
      "[redis]\npassword = \"" + std::string(5000, 'x') + "hunter2\"\n",
      "[redis]\naddress = \"redis://:hunter2@h:1\"\n",
      "password = \"hunter2\"\n",
  };
  for (const std::string& text : texts) {
    const Errors errors = errors_of(text);
    CHECK_FALSE(errors.empty());
    for (const std::string& error : errors) CHECK(error.find("hunter2") == std::string::npos);
  }
  const std::vector<std::string> overrides = {
      "redis.password=hunter2" + std::string(5000, 'x'),
      "redis.pasword=hunter2",
      "redis.0.password=hunter2",
      "password=hunter2",
      "redis.password:hunter2",
      "redis.password hunter2",
      "redis.address=redis://:hunter2@h:1",
  };
  for (const std::string& one : overrides) {
    const Errors errors = errors_of(kWhole, {one});
    CHECK_FALSE(errors.empty());
    for (const std::string& error : errors) CHECK(error.find("hunter2") == std::string::npos);
  }
}

}  // namespace
}  // namespace azimuth
