#include "router/command_table.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace azimuth {
namespace {

using Args = std::vector<std::string_view>;

const CommandRow& row(std::string_view name) {
  const std::size_t bar = name.find('|');
  const CommandRow* found = find_command(name.substr(0, bar));
  if (found != nullptr && bar != std::string_view::npos) {
    found = find_subcommand(*found, name.substr(bar + 1));
  }
  INFO(name);
  REQUIRE(found != nullptr);
  return *found;
}

std::string_view last_part(const CommandRow& r) {
  return r.name.substr(r.name.find('|') + 1);  // npos + 1 == 0
}

const CommandRow* find_like(const CommandRow& model, std::string_view text) {
  return model.container == model.id ? find_command(text)
                                     : find_subcommand(all_commands()[model.container], text);
}

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return result;
}

std::string every_other_upper(std::string_view text) {
  std::string result(text);
  for (std::size_t i = 0; i < result.size(); i += 2) {
    result[i] = static_cast<char>(std::toupper(static_cast<unsigned char>(result[i])));
  }
  return result;
}

TEST_CASE("every row is found by its name in any case") {
  REQUIRE(all_commands().size() == kCommandCount);
  for (const CommandRow& r : all_commands()) {
    const std::string_view name = last_part(r);
    INFO(r.name);
    CHECK(find_like(r, name) == &r);
    CHECK(find_like(r, upper(name)) == &r);
    CHECK(find_like(r, every_other_upper(name)) == &r);
  }
}

TEST_CASE("near misses are not found") {
  std::set<std::string> known;
  for (const CommandRow& r : all_commands()) known.insert(std::string(r.name));
  const auto expect_unknown = [&](const CommandRow& model, const std::string& text) {
    std::string full = model.container == model.id
                           ? text
                           : std::string(all_commands()[model.container].name) + "|" + text;
    std::transform(full.begin(), full.end(), full.begin(), [](unsigned char c) {
      return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    });
    if (known.contains(full)) return;
    if (find_like(model, text) != nullptr) FAIL("found by '" << text << "': " << model.name);
  };
  for (const CommandRow& r : all_commands()) {
    const std::string name(last_part(r));
    expect_unknown(r, name + "x");
    expect_unknown(r, name + " ");
    expect_unknown(r, name + std::string(1, '\0'));
    expect_unknown(r, "x" + name);
    expect_unknown(r, name.substr(1));
    expect_unknown(r, name.substr(0, name.size() - 1));
    for (std::size_t i = 0; i < name.size(); ++i) {
      for (int bit = 0; bit < 8; ++bit) {  // all that case folding by OR could take for the same
        std::string other = name;
        other[i] = static_cast<char>(other[i] ^ (1 << bit));
        expect_unknown(r, other);
      }
    }
  }
}

TEST_CASE("names that are no command at all") {
  const std::string long_name(100'000, 'g');
  for (std::string_view name : std::initializer_list<std::string_view>{
           "", "g", "\0", "client|list", "client list", "get ", " get", "get\r", "post",
           "host:", "nosuch", "sentinel", "\xff\xff\xff\xff\xff\xff\xff\xff", long_name}) {
    INFO(name.substr(0, 40));
    CHECK(find_command(name) == nullptr);
  }
}

TEST_CASE("subcommands belong to their container") {
  const CommandRow& client = row("client");
  CHECK(client.has_subcommands);
  CHECK(find_subcommand(client, "KILL") == &row("client|kill"));
  CHECK(find_subcommand(client, "kill")->container == client.id);
  CHECK(find_subcommand(row("script"), "Kill") == &row("script|kill"));
  CHECK(find_subcommand(client, "load") == nullptr);
  CHECK(find_subcommand(client, "") == nullptr);
  CHECK(find_subcommand(client, "client|kill") == nullptr);
  CHECK(find_subcommand(client, "no-evict") == &row("client|no-evict"));
  CHECK(find_subcommand(client, "no_evict") == nullptr);
  CHECK(find_subcommand(row("get"), "help") == nullptr);
  CHECK_FALSE(row("get").has_subcommands);
  CHECK_FALSE(row("client|kill").has_subcommands);
  CHECK(find_command("kill") == nullptr);
  CHECK(find_command("set-config-epoch") == nullptr);
}

TEST_CASE("a row's id is its place, and its CommandId") {
  for (std::size_t i = 0; i < kCommandCount; ++i) CHECK(all_commands()[i].id == i);
  CHECK(command_row(CommandId::kGet).name == "get");
  CHECK(command_row(CommandId::kClientNoEvict).name == "client|no-evict");
  CHECK(is(row("zrangestore"), CommandId::kZrangestore));
  CHECK_FALSE(is(row("zrange"), CommandId::kZrangestore));
}

TEST_CASE("arity") {
  CHECK(arity_ok(row("get"), 2));
  CHECK_FALSE(arity_ok(row("get"), 1));
  CHECK_FALSE(arity_ok(row("get"), 3));
  CHECK(arity_ok(row("set"), 3));
  CHECK(arity_ok(row("set"), 1'000'000));
  CHECK_FALSE(arity_ok(row("set"), 2));
  CHECK(arity_ok(row("ping"), 1));
  CHECK(arity_ok(row("client|list"), 2));
}

TEST_CASE("keys are where COMMAND says") {
  CHECK(row("mset").key_step == 2);
  CHECK(row("mset").last_key == -1);
  CHECK(row("bitop").first_key == 2);
  CHECK(row("memory|usage").first_key == 2);
  CHECK(has_flag(row("xread"), kMovableKeys));
  CHECK(has_flag(row("eval"), kMovableKeys));
}

TEST_CASE("may_replicate, which COMMAND hides, is on exactly six commands") {
  std::set<std::string_view> marked;
  for (const CommandRow& r : all_commands()) {
    if (has_flag(r, kMayReplicate)) marked.insert(r.name);
  }
  CHECK(marked ==
        std::set<std::string_view>{"eval", "evalsha", "fcall", "publish", "spublish", "pfcount"});
}

void expect_place(Place place, std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) {
    INFO(name);
    CHECK(row(name).place == place);
  }
}

TEST_CASE("no write may be served by any but the primary") {
  for (const CommandRow& r : all_commands()) {
    INFO(r.name);
    if (has_flag(r, kWrite)) CHECK(r.place == Place::kPrimary);
    if (r.place == Place::kAnywhere) {
      CHECK(has_flag(r, kReadonly));
      CHECK_FALSE(has_flag(r, kMayReplicate));
    }
  }
}

// REDIS-FACTS part 2, section 2, A: neither write nor readonly, and not safe on a replica.
TEST_CASE("what is silently wrong on a replica goes to the primary") {
  expect_place(Place::kPrimary,
               {"publish", "spublish", "subscribe", "psubscribe", "ssubscribe", "eval", "evalsha",
                "fcall", "wait", "multi", "exec", "watch", "select", "auth", "hello", "reset"});
  expect_place(Place::kNodeLocal, {"pubsub|channels",
                                   "pubsub|numsub",
                                   "pubsub|numpat",
                                   "pubsub|shardchannels",
                                   "pubsub|shardnumsub",
                                   "script|load",
                                   "script|exists",
                                   "script|flush",
                                   "script|kill",
                                   "acl|setuser",
                                   "acl|deluser",
                                   "acl|load",
                                   "acl|save",
                                   "config|set",
                                   "config|rewrite",
                                   "module|load",
                                   "client|pause",
                                   "client|kill",
                                   "client|list",
                                   "client|unblock",
                                   "client|no-evict",
                                   "latency|latest",
                                   "slowlog|get",
                                   "memory|stats",
                                   "info",
                                   "role",
                                   "lastsave",
                                   "time",
                                   "command",
                                   "function|list",
                                   "function|dump",
                                   "function|stats",
                                   "function|kill",
                                   "debug",
                                   "monitor"});
}

// B: readonly, yet unsafe or misleading to balance.
TEST_CASE("reads that mislead on a replica go to the primary") {
  expect_place(Place::kNodeLocal,
               {"scan", "hscan", "sscan", "zscan", "object|idletime", "object|freq",
                "object|encoding", "object|refcount", "memory|usage", "dump", "xinfo|consumers",
                "randomkey", "dbsize", "keys", "lolwut"});
  expect_place(Place::kPrimary, {"touch", "pfcount"});
}

// C: flagged write though often pure reads. E: writes without a key.
TEST_CASE("writes that often only read, and writes without a key, go to the primary") {
  expect_place(Place::kPrimary, {"sort", "georadius", "georadiusbymember", "bitfield", "getex",
                                 "xreadgroup", "getset", "getdel", "xack", "xclaim", "xautoclaim",
                                 "spop", "flushall", "flushdb", "swapdb", "function|delete",
                                 "function|flush", "function|load", "function|restore"});
}

TEST_CASE("reads that any replica may serve") {
  expect_place(
      Place::kAnywhere,
      {"get",        "mget",         "getrange",     "strlen",   "exists",     "type",
       "ttl",        "pttl",         "expiretime",   "hget",     "hgetall",    "lrange",
       "smembers",   "zrange",       "zscore",       "xrange",   "xread",      "bitfield_ro",
       "sort_ro",    "georadius_ro", "geosearch",    "eval_ro",  "evalsha_ro", "fcall_ro",
       "sintercard", "srandmember",  "xinfo|groups", "bitcount", "lcs",        "substr"});
}

void expect_handling(Handling handling, std::set<std::string_view> names) {
  std::set<std::string_view> marked;
  for (const CommandRow& r : all_commands()) {
    if (r.handling == handling) marked.insert(r.name);
  }
  CHECK(marked == names);
}

TEST_CASE("each special handling is for exactly its commands") {
  expect_handling(Handling::kBlocking, {"blmove", "blmpop", "blpop", "brpop", "brpoplpush",
                                        "bzmpop", "bzpopmax", "bzpopmin"});
  expect_handling(Handling::kBlockingIfAsked, {"xread", "xreadgroup"});
  expect_handling(Handling::kSubscribe, {"subscribe", "psubscribe", "ssubscribe"});
  expect_handling(Handling::kUnsubscribe, {"unsubscribe", "punsubscribe", "sunsubscribe"});
  expect_handling(Handling::kSync, {"sync", "psync", "replconf"});
  expect_handling(Handling::kMonitor, {"monitor"});
  expect_handling(Handling::kEvalsha, {"evalsha", "evalsha_ro"});
  expect_handling(Handling::kScriptLoad, {"script|load"});
  expect_handling(Handling::kScriptFlush, {"script|flush"});
  expect_handling(Handling::kAclChange, {"acl|setuser", "acl|deluser", "acl|load", "config|set"});
  expect_handling(Handling::kUrgent, {"script|kill", "function|kill", "function|stats"});
  expect_handling(Handling::kPinned, {"script|debug"});
  expect_handling(Handling::kAzimuth, {"azimuth"});
  expect_handling(
      Handling::kRefused,
      {"replicaof", "slaveof", "failover", "shutdown", "cluster|addslots", "cluster|addslotsrange",
       "cluster|bumpepoch", "cluster|delslots", "cluster|delslotsrange", "cluster|failover",
       "cluster|flushslots", "cluster|forget", "cluster|meet", "cluster|replicate", "cluster|reset",
       "cluster|saveconfig", "cluster|set-config-epoch", "cluster|setslot"});
  // What Redis flags as blocking is all handled as such.
  for (const CommandRow& r : all_commands()) {
    INFO(r.name);
    CHECK(has_flag(r, kBlocking) ==
          (r.handling == Handling::kBlocking || r.handling == Handling::kBlockingIfAsked));
  }
}

TEST_CASE("XREAD and XREADGROUP block when they are asked to") {
  const auto blocks = [](Args args) { return asks_to_block(row(args[0]), args); };
  CHECK(blocks({"XREAD", "BLOCK", "0", "STREAMS", "s", "$"}));
  CHECK(blocks({"xread", "count", "2", "block", "100", "streams", "s", "0"}));
  CHECK(blocks({"XREADGROUP", "GROUP", "g", "c", "BLOCK", "5", "STREAMS", "s", ">"}));
  CHECK(blocks({"XREADGROUP", "NOACK", "GROUP", "g", "c", "Block", "5", "STREAMS", "s", ">"}));
  CHECK(blocks({"XREADGROUP", "GROUP", "streams", "c", "BLOCK", "5", "STREAMS", "s", ">"}));

  CHECK_FALSE(blocks({"XREAD", "STREAMS", "s", "0"}));
  CHECK_FALSE(blocks({"XREAD", "COUNT", "2", "STREAMS", "block", "0"}));
  CHECK_FALSE(blocks({"XREAD", "STREAMS", "s", "BLOCK"}));
  CHECK_FALSE(blocks({"XREADGROUP", "GROUP", "block", "block", "STREAMS", "s", ">"}));
  CHECK_FALSE(blocks({"XREAD", "NONSENSE", "BLOCK", "0", "STREAMS", "s", "0"}));

  // Only the beginning is known: the option may follow.
  CHECK(blocks({"XREAD", "COUNT", "1", "COUNT", "1", "COUNT", "1"}));
  CHECK(blocks({"XREAD"}));
}

TEST_CASE("the blocking commands always ask to block, others never") {
  CHECK(asks_to_block(row("blpop"), Args{"BLPOP", "k", "1"}));
  CHECK(asks_to_block(row("bzmpop"), Args{"BZMPOP"}));
  CHECK_FALSE(asks_to_block(row("lpop"), Args{"LPOP", "BLOCK"}));
  CHECK_FALSE(asks_to_block(row("get"), Args{"GET", "block"}));
}

TEST_CASE("only what asks and changes nothing is repeatable") {
  for (std::string_view name :
       {"get",         "mget",          "hgetall",       "scan",         "xread",      "xrange",
        "sort_ro",     "eval_ro",       "object|freq",   "ping",         "echo",       "info",
        "time",        "role",          "command",       "command|docs", "config|get", "acl|whoami",
        "client|list", "function|list", "script|exists", "slowlog|len"}) {
    INFO(name);
    CHECK(repeatable(row(name)));
  }
  for (std::string_view name :
       {"set",          "incr",          "getex",         "getdel",      "getset",    "lpop",
        "spop",         "blpop",         "xreadgroup",    "eval",        "evalsha",   "fcall",
        "publish",      "pfcount",       "sort",          "bitfield",    "georadius", "config|set",
        "script|load",  "acl|log",       "slowlog|reset", "client|kill", "multi",     "exec",
        "watch",        "select",        "wait",          "debug",       "save",      "flushall",
        "memory|purge", "latency|reset", "subscribe",     "monitor",     "replconf",  "azimuth"}) {
    INFO(name);
    CHECK_FALSE(repeatable(row(name)));
  }
  CHECK_FALSE(repeatable(row("xread"), true));
}

TEST_CASE("names are compared like strcasecmp in the C locale") {
  CHECK(equal_ignoring_case("GeT", "gEt"));
  CHECK(equal_ignoring_case("", ""));
  CHECK_FALSE(equal_ignoring_case("get", "gets"));
  CHECK_FALSE(equal_ignoring_case("a@", "a`"));
  CHECK_FALSE(equal_ignoring_case("[", "{"));
}

}  // namespace
}  // namespace azimuth
