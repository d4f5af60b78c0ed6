#include "conf/settings.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace azimuth {
namespace {

// A text that is in order, for one mistake to be put after it.
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

TEST_CASE("the file that DESIGN shows is read") {
  const Settings settings = parsed(R"([node]
id = "a1"
region = "us-east-1"
zone = "use1-az1"
data_dir = "/var/lib/azimuth"        # promises, membership, merge losers
workers = 2

[redis]
address = "unix:/run/redis/redis.sock"
username = "azimuth"
password = 'se\cret'

[[listen]]
address = "0.0.0.0:6380"
consistency = "read-my-writes"
durability = "quorum"
session_scope = "client-name"

[[listen]]
address = "[::1]:6381"
allow_sync = false

[peer]
address = "0.0.0.0:7380"
advertise = "10.0.1.5:7380"

[admin]
address = "127.0.0.1:9380"

[cluster]
name = "orders"
seeds = ["10.0.1.5:7380", "10.0.2.5:7380"]
bootstrap_expect = 3
key_file = "/etc/azimuth/cluster.key"
partition = "merge"
voter = true
lease_ms = 1500
hold_timeout_ms = 250
hold_bytes_max = 1_000_000
)");
  CHECK(settings.node.id == "a1");
  CHECK(settings.node.region == "us-east-1");
  CHECK(settings.node.zone == "use1-az1");
  CHECK(settings.node.workers == 2);
  REQUIRE(settings.redis);
  CHECK(settings.redis->address == unix_endpoint("/run/redis/redis.sock"));
  CHECK(settings.redis->username == "azimuth");
  CHECK(settings.redis->password == "se\\cret");
  REQUIRE(settings.listen.size() == 2);
  CHECK(settings.listen[0].consistency == Consistency::kReadMyWrites);
  CHECK(settings.listen[0].durability == Durability::kQuorum);
  CHECK(settings.listen[1].address == tcp_endpoint("::1", 6381));
  CHECK(settings.listen[1].consistency == Consistency::kCausal);
  CHECK(settings.listen[1].allow_sync == false);
  CHECK(session_scope(settings, settings.listen[0]) == SessionScope::kClientName);
  CHECK(session_scope(settings, settings.listen[1]) == SessionScope::kConnection);
  REQUIRE(settings.peer);
  CHECK(settings.peer->advertise == tcp_endpoint("10.0.1.5", 7380));
  CHECK(settings.admin->address == tcp_endpoint("127.0.0.1", 9380));
  REQUIRE(settings.cluster);
  CHECK(settings.cluster->name == "orders");
  CHECK(settings.cluster->seeds.size() == 2);
  CHECK(settings.cluster->bootstrap_expect == 3);
  CHECK(settings.cluster->partition == Partition::kMerge);
  CHECK(settings.cluster->voter == true);
  CHECK(settings.cluster->lease_ms == 1500);
  CHECK(settings.hold.timeout_ms == 250);
  CHECK(settings.hold.bytes_max == 1'000'000);
}

TEST_CASE("a few lines are enough, the rest are defaults") {
  const Settings settings = parsed(kWhole);
  CHECK(settings ==
        standalone(tcp_endpoint("127.0.0.1", 6380), tcp_endpoint("127.0.0.1", 6379), 1, "host"));
  CHECK(settings.node.id == "node-host");
  CHECK(settings.hold.timeout_ms == 5000);
  CHECK(settings.hold.bytes_max == 64 * kMiB);
  CHECK(settings.limits.clients_max == 10'000);
  CHECK(settings.limits.client_output_bytes_max == 64 * kMiB);
  CHECK(settings.limits.buffered_bytes_max == 512 * kMiB);
  CHECK(settings.slowlog.threshold_us == 10'000);
  CHECK(settings.slowlog.entries_max == 128);
  CHECK_FALSE(settings.peer);
  CHECK_FALSE(settings.admin);
}

TEST_CASE("TOML's other spellings of a table mean the same") {
  CHECK(parsed("redis = {address = '127.0.0.1:6379'}\nlisten = [{address = '127.0.0.1:6380'}]\n") ==
        parsed(kWhole));
  CHECK(parsed("redis.address = '127.0.0.1:6379'\n[[listen]]\naddress = '127.0.0.1:6380'\n") ==
        parsed(kWhole));
  CHECK(parsed("\xEF\xBB\xBF" + kWhole) == parsed(kWhole));
}

TEST_CASE("files that are named are found again by their places") {
  const SettingsResult result = parse_settings("[cluster]\nname = \"c\"\n  key_file = \"k\"\n", "f",
                                               std::vector<std::string>{"peer.tls_ca_file=a"});
  CHECK(result.file_positions ==
        std::map<std::string, std::string>{{"cluster.key_file", "f:3:14"},
                                           {"peer.tls_ca_file", "--set peer.tls_ca_file=a"}});
}

TEST_CASE("the node's default id comes from the host's name") {
  const auto id = [](std::string_view host) {
    return standalone(tcp_endpoint("::", 1), tcp_endpoint("::1", 2), 1, host).node.id;
  };
  CHECK(id("") == "node");
  CHECK(id("web-1.example.com") == "node-web-1.example.com");
  CHECK(id("odd name\n") == "node-odd-name-");
  CHECK(id(std::string(500, 'h')).size() == kNameBytesMax);
}

struct Mistake {
  std::string text;   // after kWhole's four lines
  std::string error;  // without "f:"
};

TEST_CASE("each mistake is told with its position and what to write instead") {
  const std::vector<Mistake> cases = {
      // unknown keys and tables
      {"consistancy = \"causal\"",
       "5:1: unknown key \"consistancy\" in [[listen]]: write consistency"},
      {"workers = 2", "5:1: unknown key \"workers\" in [[listen]]: write it under [node]"},
      {"[log]\n  color = true", "6:3: unknown key \"color\" in [log]: the keys are level"},
      {"[limit]\nclients_max = 5", "5:2: unknown table [limit]: write [limits]"},
      {"[[nodes]]\nid = \"a\"\n[[nodes]]", "5:1: unknown table [nodes]: write [node]"},
      {"[tls]",
       "5:2: unknown table [tls]: the tables are node, redis, listen, peer, admin, "
       "cluster, reads, back_pressure, limits, log, slowlog"},
      {"[log.file]\nname = \"x\"", "5:6: unknown key \"file\" in [log]: the keys are level"},
      // tables of the wrong shape
      {"[[admin]]\naddress = \"127.0.0.1:1\"",
       "5:1: [[admin]] is written [admin], for there is but one"},
      // wrong types
      {"[node]\nworkers = \"2\"",
       "6:11: workers takes a whole number, not a text: write workers = 1"},
      {"[node]\nworkers = 2.0",
       "6:11: workers takes a whole number, not a number with a fraction: write workers = 1"},
      {"[node]\nid = 7", "6:6: id takes a text in quotes, not a whole number: write id = \"a1\""},
      {"[node]\nid = 1979-05-27",
       "6:6: id takes a text in quotes, not a date or time: write id = \"a1\""},
      {"allow_sync = \"yes\"",
       "5:14: allow_sync takes true or false, not a text: write allow_sync = true"},
      {"consistency = 3",
       "5:15: consistency takes a word in quotes, not a whole number: write consistency = "
       "\"causal\""},
      {"[admin]\naddress = 9380",
       "6:11: address takes an address in quotes, not a whole number: write address = "
       "\"127.0.0.1:9380\""},
      {"[log]\nlevel = [\"info\"]",
       "6:9: level takes a word in quotes, not a list: write level = \"info\""},
      {"[log]\nlevel = {a = 1}",
       "6:9: level takes a word in quotes, not a table: write level = \"info\""},
      // out of range
      {"[node]\nworkers = 0", "6:11: workers = 0 is out of range: write a number from 1 to 64"},
      {"[node]\nworkers = -1", "6:11: workers = -1 is out of range: write a number from 1 to 64"},
      {"[limits]\ntcp_keepalive_s = 99999999999",
       "6:19: tcp_keepalive_s = 99999999999 is out of range: write a number from 0 to 32767"},
      {"unix_mode = 0o1777",
       "5:13: unix_mode = 0o1777 is out of range: write a number from 0o0 to 0o777"},
      {"[cluster]\nhold_bytes_max = -5",
       "6:18: hold_bytes_max = -5 is out of range: write a number from 0 to 1099511627776"},
      // words
      {"consistency = \"casual\"", "5:15: consistency = \"casual\" is not known: write \"causal\""},
      {"durability = \"fsync-all\"",
       "5:14: durability = \"fsync-all\" is not known: write \"async\" or \"quorum\""},
      {"[log]\nlevel = \"INFO\"", "6:9: level = \"INFO\" is not known: write \"info\""},
      // texts
      {"[node]\nid = \"a b\"",
       "6:6: id = \"a b\" is no name: write 1 to 64 letters, digits, dots, underscores and "
       "hyphens, "
       "such as \"a1\""},
      {"[node]\ndata_dir = \"\"", "6:12: data_dir is empty: write data_dir = \"/var/lib/azimuth\""},
      {"[node]\ndata_dir = \"a\\nb\"",
       "6:12: data_dir holds a control character: write data_dir = \"/var/lib/azimuth\""},
      // addresses
      {"[admin]\naddress = \"9380\"", "6:11: address has no host: write \"127.0.0.1:9380\""},
      {"[[listen]]\naddress = \"127.0.0.1\"",
       "6:11: address has no port: write \"127.0.0.1:6379\""},
      // missing
      {"[[listen]]\nconsistency = \"strong\"",
       "5:1: [listen] lacks its address: write address = \"127.0.0.1:6380\" under it"},
      {"[admin]", "5:2: [admin] lacks its address: write address = \"127.0.0.1:9380\" under it"},
      // between tables
      {"[[listen]]\naddress = \"127.0.0.1:6380\"",
       "6:11: address = \"127.0.0.1:6380\" is taken by another listener (f:4:11): write another "
       "one"},
      {"[admin]\naddress = \"0.0.0.0:6380\"",
       "6:11: address = \"0.0.0.0:6380\" is taken by another listener (f:4:11): write another one"},
      {"[[listen]]\naddress = \"0.0.0.0:6379\"",
       "6:11: address = \"0.0.0.0:6379\" is where Redis is said to be (redis.address), so that "
       "azimuth would connect to itself: write another one"},
      {"[peer]\naddress = \"10.0.0.1:7380\"",
       "5:2: [peer] is of no use without a cluster: write a [cluster] too, or no [peer]"},
      {"[back_pressure]\nstart_bytes = 67108864",
       "6:15: start_bytes = 67108864 is not below full_bytes = 50331648: write where the ramp "
       "begins and where it ends"},
      {"[limits]\nbuffered_bytes_max = 16777216",
       "6:22: client_output_bytes_max = 67108864 is more than buffered_bytes_max = 16777216, which "
       "all clients share: write a smaller or a larger one"},
      // no TOML
      {"[node]\nid = a1",
       "6:6: no TOML: write text in quotes, a number in digits alone, a switch as true or false"},
      {"[cluster]\nhold_timeout_ms = 5s",
       "6:20: no TOML: decimal integer: expected digit, saw 's': write the number in digits alone, "
       "without a unit"},
      {"[node]\nid =", "6:5: no TOML: key-value pair: encountered end-of-file: write key = value"},
      {"[log]\nlevel = \"info\"\nlevel = \"warn\"",
       "7:9: no TOML: key-value pair: cannot redefine existing string 'level': write each key once "
       "in its table"},
      {"[redis]\nusername = \"a\"",
       "5:1: no TOML: table header: cannot redefine existing table 'redis': write each table once "
       "([[listen]] alone may be repeated)"},
      {"[log", "5:5: no TOML: table header: encountered end-of-file: write [table] or [[listen]]"},
      {"[node]\n\u00E9 = 1",
       "6:1: no TOML: root table: expected keys, tables, whitespace or comments, saw '\u00E9'"},
      {"[node]\nzone = \u021C",
       "6:8: no TOML: write text in quotes, a number in digits alone, a switch as true or false"},
      {"[=\nx = 1",
       "5:2: no TOML: key: expected bare key starting character or string delimiter, saw '=': "
       "write [table] or [[listen]]"},
      {"[[[a]]]",
       "5:3: no TOML: key: expected bare key starting character or string delimiter, saw '[': "
       "write [table] or [[listen]]"},
      {"[", "5:2: no TOML: table header: encountered end-of-file: write [table] or [[listen]]"},
      {"[node]\nid = \"a1\nzone = \"z\"",
       "6:9: no TOML: string: unescaped control characters other than TAB (U+0009) are explicitly "
       "prohibited: a closing quote is missing"},
  };
  for (const Mistake& one : cases) {
    INFO(one.text);
    CHECK(errors_of(kWhole + one.text) == Errors{"f:" + one.error});
  }
}

TEST_CASE("what a text must have at least") {
  CHECK(errors_of("") ==
        Errors{"f:1:1: no [[listen]]: write [[listen]] and address = \"127.0.0.1:6380\" under it",
               "f:1:1: no [redis], and no [cluster] whose sidecar this could be: write [redis] and "
               "address = \"127.0.0.1:6379\" under it"});
  CHECK(errors_of("[redis]\nadress = \"127.0.0.1:6379\"\n[[listen]]\naddress = \"[::]:1\"\n") ==
        Errors{"f:2:1: unknown key \"adress\" in [redis]: write address"});
  CHECK(errors_of("[redis]\naddress = \"127.0.0.1:6379\"\n[listen]\naddress = \"[::]:1\"\n") ==
        Errors{"f:3:2: [listen] is written [[listen]], since there may be more than one"});
  CHECK(errors_of("listen = []\nredis = \"127.0.0.1:6379\"\nworkers = 2\ncolor = 1\n") ==
        Errors{"f:1:1: \"listen\" is a table: write [[listen]] and its keys under it",
               "f:2:1: \"redis\" is a table: write [redis] and its keys under it",
               "f:3:1: \"workers\" stands outside its table: write it under [node]",
               "f:4:1: unknown key \"color\" outside of any table: write keys under their tables, "
               "such as [node]"});
}

const std::string kCluster =
    "[redis]\naddress = \"127.0.0.1:6379\"\n"
    "[[listen]]\naddress = \"127.0.0.1:6380\"\n"
    "[peer]\naddress = \"10.0.1.5:7380\"\n"
    "[cluster]\nname = \"c\"\nkey_file = \"k\"\n";

TEST_CASE("a cluster has what it needs") {
  const std::string three = "bootstrap_expect = 3\nseeds = [\"10.0.1.5:7380\"]\n";
  CHECK(errors_of(kCluster + three).empty());
  CHECK(errors_of(kCluster + "bootstrap_expect = 1\n").empty());
  CHECK(errors_of(kCluster + "bootstrap_expect = 1\nseeds = [\"10.0.1.5:7380\"]\n").empty());
  CHECK(
      errors_of(kCluster + "bootstrap_expect = 1\nseeds = [\"10.0.2.5:7380\"]\n") ==
      Errors{"f:10:20: bootstrap_expect = 1 makes this node a cluster of its own, and seeds names "
             "others: write how many members the cluster began with, or no seeds"});
  CHECK(parsed(kCluster + three).peer->advertise == tcp_endpoint("10.0.1.5", 7380));
  CHECK_FALSE(parsed(kCluster + three).peer->plaintext);
  CHECK(parsed(kCluster + three, {"peer.plaintext=true"}).peer->plaintext);
  CHECK(parsed(kCluster + three).peer->compression == Compression::kAuto);
  CHECK(parsed(kCluster + three, {"peer.compression=off"}).peer->compression == Compression::kOff);
  CHECK(errors_of(kCluster + three, {"peer.compression_level_min=7"}) ==
        Errors{"--set peer.compression_level_min=7: compression_level_min = 7 is above "
               "compression_level_max = 6: write a lower or a higher one"});
  CHECK(parsed(kCluster + three).cluster->lease_ms == 1000);
  CHECK(parsed(kCluster + three).cluster->probe_interval_ms == 200);
  CHECK(parsed(kCluster + three).cluster->suspicion_ms == 600);
  CHECK(parsed(kCluster + three).cluster->redis_silence_ms == 5000);
  CHECK(parsed(kCluster + three).cluster->backlog_outage_ms == 60'000);
  CHECK(parsed(kCluster + three).cluster->backlog_bytes_max == 256 * kMiB);
  CHECK(errors_of(kCluster + three, {"cluster.backlog_bytes_min=300000000"}) ==
        Errors{"--set cluster.backlog_bytes_min=300000000: backlog_bytes_min = 300000000 is above "
               "backlog_bytes_max = 268435456: write a lower or a higher one"});
  CHECK(errors_of(kCluster) ==
        Errors{"f:7:2: [cluster] lacks its bootstrap_expect: write bootstrap_expect = 3 under it"});
  CHECK(errors_of(kCluster + "bootstrap_expect = 3\n") ==
        Errors{"f:7:2: [cluster] lacks its seeds: write seeds = [\"10.0.1.5:7380\"] with some of "
               "its nodes"});
  CHECK(errors_of(kCluster + "bootstrap_expect = 3\nseeds = [\"10.0.1.5:7380\", \"10.0.2.5\"]\n") ==
        Errors{"f:11:27: seeds[1] has no port: write \"10.0.2.5:6379\""});
  CHECK(errors_of(kCluster + "bootstrap_expect = 3\nseeds = [\"a:1\", \"a:1\"]\n") ==
        Errors{"f:11:17: seeds[1] is there twice: write each address once"});
  CHECK(errors_of(kCluster + "bootstrap_expect = 3\nseeds = \"10.0.1.5:7380\"\n") ==
        Errors{"f:11:9: seeds takes a list of addresses, not a text: write seeds = "
               "[\"10.0.1.5:7380\", \"10.0.2.5:7380\"]"});
  CHECK(errors_of(kCluster + three + "probe_interval_ms = 3000\nsuspicion_ms = 4000\n") ==
        Errors{"f:12:21: probe_interval_ms = 3000 is not below lease_ms = 1000: write a shorter "
               "interval or a longer lease"});
  CHECK(errors_of(kCluster + three + "probe_interval_ms = 700\n") ==
        Errors{"f:12:21: probe_interval_ms = 700 is not below suspicion_ms = 600: write a shorter "
               "interval or a longer suspicion"});
  CHECK(parsed(kCluster + three).peer->tls_cert_file.empty());
  CHECK(errors_of(kCluster + three,
                  {"peer.tls_cert_file=c", "peer.tls_key_file=k", "peer.tls_ca_file=a"})
            .empty());
  CHECK(errors_of(kCluster + three, {"peer.tls_cert_file=c", "peer.tls_ca_file=a"}) ==
        Errors{"--set peer.tls_ca_file=a: tls_ca_file goes with tls_key_file, which is not there: "
               "write tls_key_file = \"/etc/azimuth/node.key\" too, or none of the tls_ keys"});
  CHECK(errors_of(kCluster + three, {"peer.tls_cert_file=c", "peer.tls_key_file=k",
                                     "peer.tls_ca_file=a", "peer.plaintext=true"}) ==
        Errors{"--set peer.plaintext=true: plaintext = true and certificates exclude each other: "
               "write plaintext = false, or no tls_ca_file"});
  CHECK(errors_of(kCluster + three, {"peer.plaintext=1"}) ==
        Errors{"--set peer.plaintext=1: plaintext takes true or false, not a whole number: write "
               "plaintext = false"});
  CHECK(errors_of(kWhole + "[cluster]\nname = \"c\"\nkey_file = \"k\"\n" + three) ==
        Errors{"f:5:2: [cluster] needs to be reached by its nodes: write [peer] with address = "
               "\"0.0.0.0:7380\" and advertise"});
  CHECK(
      errors_of(kCluster + three, {"peer.address=0.0.0.0:7380"}) ==
      Errors{"--set peer.address=0.0.0.0:7380: [peer] lacks its advertise, since address is every "
             "interface and no address to tell others: write advertise = \"10.0.1.5:7380\""});
  CHECK(errors_of(kCluster + three, {"peer.advertise=0.0.0.0:7380"}) ==
        Errors{"--set peer.advertise=0.0.0.0:7380: advertise = \"0.0.0.0:7380\" is every interface "
               "and none to connect to: write one such as \"10.0.1.5:7380\""});
  CHECK(errors_of(kCluster + three, {"redis.address=127.0.0.1:0"}) ==
        Errors{"--set redis.address=127.0.0.1:0: address = \"127.0.0.1:0\" has the port 0, which "
               "only a listener may have: write one such as \"127.0.0.1:6379\""});
  CHECK(errors_of(kCluster + three, {"peer.address=unix:/p"}) ==
        Errors{"--set peer.address=unix:/p: address = \"unix:/p\" is no address that another "
               "machine can reach: write one such as \"0.0.0.0:7380\""});
}

TEST_CASE("hold keys alone make no cluster, and a sidecar needs no Redis") {
  const Settings held = parsed(kWhole + "[cluster]\nhold_timeout_ms = 1\n");
  CHECK_FALSE(held.cluster);
  CHECK(held.hold.timeout_ms == 1);
  const Settings sidecar = parsed(kCluster.substr(kCluster.find("[[listen]]")) +
                                  "bootstrap_expect = 3\nseeds = [\"10.0.1.5:7380\"]\n");
  CHECK_FALSE(sidecar.redis);
  CHECK(sidecar.cluster);
}

TEST_CASE("unset switches follow from what the node is") {
  const Settings single = parsed(kWhole);
  CHECK(allows_sync(single, single.listen[0]));
  CHECK_FALSE(votes(single));
  const Settings refused = parsed(kWhole + "allow_sync = false\n");
  CHECK_FALSE(allows_sync(refused, refused.listen[0]));

  const std::vector<std::string> expect = {"cluster.bootstrap_expect=1"};
  const Settings member = parsed(kCluster, expect);
  CHECK_FALSE(allows_sync(member, member.listen[0]));
  CHECK(votes(member));
  CHECK_FALSE(votes(parsed(kCluster + "voter = false\n", expect)));
  const std::string sidecar = kCluster.substr(kCluster.find("[[listen]]"));
  const std::vector<std::string> seeded = {"cluster.bootstrap_expect=1", "cluster.seeds=a:1"};
  CHECK_FALSE(votes(parsed(sidecar, seeded)));
  CHECK(votes(parsed(sidecar + "voter = true\n", seeded)));

  CHECK(session_scope(member, member.listen[0]) == SessionScope::kConnection);
  const Settings beside = parsed(sidecar, seeded);
  CHECK(session_scope(beside, beside.listen[0]) == SessionScope::kNode);
}

TEST_CASE("all mistakes are told at once, in the order of the text") {
  CHECK(
      errors_of("[node]\n"
                "workers = 99\n"
                "zone = use1-az1\n"  // no TOML
                "[redis\n"           // no TOML: its keys are not the node's
                "address = \"127.0.0.1:1\"\n"
                "id = 5\n"
                "[[listen]]\n"
                "address = \"x\"\n"
                "durability = sync\n"  // no TOML
                "[slowlog]\n"
                "entries = 5\n",
                {"log.level=loud", "limits.clients_max=0"}) ==
      Errors{"f:2:11: workers = 99 is out of range: write a number from 1 to 64",
             "f:3:8: no TOML: write text in quotes, a number in digits alone, a switch as true or "
             "false",
             "f:4:7: no TOML: table header: expected ']', saw '\\n': write [table] or [[listen]]",
             "f:8:11: address has no port: write \"x:6379\"",
             "f:9:14: no TOML: write text in quotes, a number in digits alone, a switch as true "
             "or false",
             "f:11:1: unknown key \"entries\" in [slowlog]: write entries_max",
             "--set log.level=loud: level = \"loud\" is not known: write \"debug\", \"info\", "
             "\"warn\" or \"error\"",
             "--set limits.clients_max=0: clients_max = 0 is out of range: write a number from 1 "
             "to 1000000"});
}

TEST_CASE("a list without its end is one mistake, not one for each line below") {
  const Errors errors = errors_of("[cluster]\nseeds = [\"a:1\",\nname = \"c\"\nkey_file = \"k\"\n");
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].starts_with("f:3:"));
}

TEST_CASE("the number of errors is bounded") {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "k" + std::to_string(i) + " = 1\n";
  const Errors errors = errors_of(text);
  CHECK(errors.size() == kSettingsErrorsMax + 1);
  CHECK(errors.back().ends_with(": and 902 more errors"));

  std::string broken;
  for (int i = 0; i < 1000; ++i) broken += "k\n";
  CHECK(errors_of(broken).size() == kSettingsSyntaxErrorsMax);

  CHECK(errors_of(std::string(kSettingsBytesMax + 1, '\n')).size() == 1);
}

TEST_CASE("texts that nest deeply or repeat much are refused, and cost no stack") {
  std::string dots = "a";
  for (int i = 0; i < 100'000; ++i) dots += ".a";
  CHECK_FALSE(errors_of(dots + " = 1\n").empty());
  CHECK_FALSE(errors_of("[" + dots + "]\n").empty());
  CHECK_FALSE(errors_of("x = " + std::string(100'000, '[')).empty());
  std::string tables = "x = ";
  for (int i = 0; i < 100'000; ++i) tables += "{a=";
  CHECK_FALSE(errors_of(tables).empty());
  CHECK_FALSE(errors_of(kWhole, {"node.workers=" + std::string(100'000, '[')}).empty());

  std::string listeners = "[redis]\naddress = \"127.0.0.1:1\"\n";
  for (int i = 0; i < 100; ++i) {
    listeners += "[[listen]]\naddress = \"127.0.0.1:" + std::to_string(7000 + i) + "\"\n";
  }
  CHECK(errors_of(listeners) == Errors{"f:35:1: more than 16 [[listen]] tables: write fewer"});
}

}  // namespace
}  // namespace azimuth
