#include "router/extra_commands.h"

#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace azimuth {
namespace {

using Args = std::vector<std::string_view>;

std::vector<BackendCommand> newer_server() {
  return {
      {"get", 2, {"readonly", "fast"}, 1, 1, 1},
      {"GET", 99, {"write"}, 0, 0, 0},
      {"client|list", -2, {"admin"}, 0, 0, 0},
      {"hpexpire", -6, {"write", "fast", "denyoom"}, 1, 1, 1},
      {"HTTL", -5, {"readonly", "fast"}, 1, 1, 1},
      {"waitaof", 4, {"blocking"}, 0, 0, 0},
      {"client|no-touch", 3, {"noscript", "loading", "stale"}, 0, 0, 0},
      {"cluster|slot-stats", -4, {"stale", "loading"}, 0, 0, 0},
      {"cluster|migrateslots", -4, {"admin"}, 0, 0, 0},
      {"ft.cursor|read", -4, {"readonly"}, 0, 0, 0},
      {"ft.cursor", -2, {}, 0, 0, 0},
      {"get|nonsense", 3, {"write"}, 0, 0, 0},
      {"", 1, {}, 0, 0, 0},
      {std::string(200, 'x'), 1, {}, 0, 0, 0},
      {"json.get", -2, {"readonly", "something-new"}, 1, 1, 100'000},
  };
}

TEST_CASE("only what the table does not know is kept") {
  const auto commands = newer_server();
  const ExtraCommands extra(commands);
  CHECK(extra.size() == 9);
  CHECK(extra.find("get") == nullptr);
  CHECK(extra.find("set") == nullptr);
  CHECK(extra.find("") == nullptr);
  CHECK(extra.find(std::string(200, 'x')) == nullptr);
  CHECK(extra.find(std::string(100'000, 'x')) == nullptr);
  CHECK(extra.find("ft.cursor|read") == nullptr);
  CHECK(extra.find_subcommand(*find_command("get"), "nonsense") == nullptr);
}

TEST_CASE("a command is found in any case, with COMMAND's facts") {
  const auto commands = newer_server();
  const ExtraCommands extra(commands);
  const CommandRow* found = extra.find("HPexpire");
  REQUIRE(found != nullptr);
  CHECK(found->name == "hpexpire");
  CHECK(found->arity == -6);
  CHECK(found->first_key == 1);
  CHECK(found->id == kExtraCommandId);
  CHECK(found->flags == (kWrite | kFast | kDenyOom | kExtra));
  REQUIRE(extra.find("httl") != nullptr);
  CHECK(extra.find("json.get")->key_step == 32767);
}

TEST_CASE("nothing is assumed of a command that we do not know") {
  const auto commands = newer_server();
  const ExtraCommands extra(commands);
  for (std::string_view name : {"hpexpire", "httl", "waitaof", "ft.cursor", "json.get"}) {
    INFO(name);
    REQUIRE(extra.find(name) != nullptr);
    CHECK(extra.find(name)->place == Place::kPrimary);
    CHECK_FALSE(repeatable(*extra.find(name)));
  }
  CHECK(extra.find("httl")->handling == Handling::kForward);
  CHECK(extra.find("waitaof")->handling == Handling::kBlocking);
}

TEST_CASE("new subcommands of containers, ours and theirs") {
  const auto commands = newer_server();
  const ExtraCommands extra(commands);
  const CommandRow& client = *find_command("client");
  const CommandRow& cluster = *find_command("cluster");
  REQUIRE(extra.find_subcommand(client, "NO-TOUCH") != nullptr);
  CHECK(extra.find_subcommand(client, "NO-TOUCH")->handling == Handling::kClient);
  CHECK(extra.find_subcommand(client, "NO-TOUCH")->container == client.id);
  CHECK(extra.find_subcommand(cluster, "slot-stats")->handling == Handling::kForward);
  CHECK(extra.find_subcommand(cluster, "migrateslots")->handling == Handling::kRefused);
  CHECK(extra.find_subcommand(client, "list") == nullptr);

  const CommandRow* cursor = extra.find("FT.CURSOR");
  REQUIRE(cursor != nullptr);
  CHECK(cursor->has_subcommands);
  REQUIRE(extra.find_subcommand(*cursor, "READ") != nullptr);
  CHECK(extra.find_subcommand(*cursor, "READ")->name == "ft.cursor|read");
  CHECK(extra.find_subcommand(*cursor, std::string(1000, 'r')) == nullptr);
  CHECK_FALSE(extra.find("httl")->has_subcommands);
}

TEST_CASE("resolve finds the row that a request is about") {
  const auto commands = newer_server();
  const ExtraCommands extra(commands);
  const auto name = [&](Args args, const ExtraCommands* set) {
    const CommandRow* found = resolve(args, set);
    return found == nullptr ? std::string_view("-") : found->name;
  };
  CHECK(name({"GET", "k"}, nullptr) == "get");
  CHECK(name({"CLIENT"}, nullptr) == "client");
  CHECK(name({"CLIENT", "LIST"}, nullptr) == "client|list");
  CHECK(name({"CLIENT", "NO-TOUCH", "on"}, nullptr) == "client");
  CHECK(name({"CLIENT", "NO-TOUCH", "on"}, &extra) == "client|no-touch");
  CHECK(name({"CLIENT", "NOSUCH"}, &extra) == "client");
  CHECK(name({"COMMAND"}, &extra) == "command");
  CHECK(name({"COMMAND", "docs", "get"}, &extra) == "command|docs");
  CHECK(name({"httl", "k"}, nullptr) == "-");
  CHECK(name({"httl", "k"}, &extra) == "httl");
  CHECK(name({"ft.cursor", "read", "i", "1"}, &extra) == "ft.cursor|read");
  CHECK(name({"ft.cursor", "nosuch"}, &extra) == "ft.cursor");
  CHECK(name({"nosuch", "list"}, &extra) == "-");
}

TEST_CASE("a backend that lists without end is cut short") {
  std::vector<BackendCommand> many;
  for (std::size_t i = 0; i < ExtraCommands::kCommandsMax + 10; ++i) {
    many.push_back({"m." + std::to_string(i), 1, {}, 0, 0, 0});
  }
  const ExtraCommands extra(many);
  CHECK(extra.size() == ExtraCommands::kCommandsMax);
}

TEST_CASE("flags have COMMAND's names") {
  CHECK(command_flag("write") == kWrite);
  CHECK(command_flag("no_async_loading") == kNoAsyncLoading);
  CHECK(command_flag("Write") == 0);
  CHECK(command_flag("") == 0);
}

}  // namespace
}  // namespace azimuth
