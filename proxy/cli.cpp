#include "proxy/cli.h"

#include <sys/random.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/settings.h"
#include "proxy/control/dev.h"
#include "proxy/control/places.h"
#include "proxy/control/reload.h"
#include "proxy/control/status_client.h"
#include "proxy/run.h"

namespace azimuth {

namespace {

constexpr int kExitUser = 2;
constexpr size_t kKeyBytes = 32;

// What was written for the commands that read settings.
struct SettingsArguments {
  std::string config_file;
  std::vector<std::string> overrides;
  std::string listen, redis;
  std::string workers;
};

// Nothing: the errors are on standard error.
std::optional<RunOptions> load(const SettingsArguments& arguments) {
  RunOptions options;
  options.config_file = arguments.config_file;
  // The short options stand for settings; --set comes after them and wins.
  if (!arguments.listen.empty()) {
    options.overrides.push_back("listen.0.address=" + arguments.listen);
  }
  if (!arguments.redis.empty()) options.overrides.push_back("redis.address=" + arguments.redis);
  if (!arguments.workers.empty()) {
    options.overrides.push_back("node.workers=" + arguments.workers);
  }
  options.overrides.insert(options.overrides.end(), arguments.overrides.begin(),
                           arguments.overrides.end());

  std::string text;
  if (!options.config_file.empty()) {
    auto file = read_settings_file(options.config_file);
    if (!file.ok()) {
      std::fprintf(stderr, "azimuth: %s\n", file.error().message.c_str());
      return std::nullopt;
    }
    text = std::move(*file);
  }
  SettingsResult result = parse_settings(text, options.config_file, options.overrides, host_name());
  read_places(result);
  for (const SettingsError& error : result.errors) {
    std::fprintf(stderr, "%s\n", to_string(error).c_str());
  }
  if (!result.ok()) return std::nullopt;
  CertificatesResult certificates = read_certificates(result);
  for (const SettingsError& error : certificates.errors) {
    std::fprintf(stderr, "%s\n", to_string(error).c_str());
  }
  if (!certificates.errors.empty()) return std::nullopt;
  options.certificates = std::move(certificates.certificates);
  options.settings = std::move(result.settings);
  return options;
}

int run(const SettingsArguments& arguments, bool print_defaults) {
  if (print_defaults) {
    std::fputs(annotated_defaults().c_str(), stdout);
    return 0;
  }
  if (arguments.config_file.empty() && arguments.listen.empty() && arguments.overrides.empty()) {
    std::fputs(
        "azimuth run: say where clients connect and where Redis is:\n"
        "  azimuth run --listen 127.0.0.1:6380 --redis 127.0.0.1:6379\n"
        "  azimuth run --config FILE    (azimuth run --print-defaults writes a sample)\n",
        stderr);
    return kExitUser;
  }
  const auto options = load(arguments);
  return options ? run_proxy(*options) : kExitUser;
}

int check(const SettingsArguments& arguments) {
  if (!load(arguments)) return kExitUser;
  std::printf("%s: ok\n", arguments.config_file.c_str());
  return 0;
}

int keygen() {
  std::array<unsigned char, kKeyBytes> key{};
  size_t have = 0;
  while (have < key.size()) {
    const ssize_t n = getrandom(key.data() + have, key.size() - have, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      std::fprintf(stderr, "azimuth keygen: no random numbers: %s\n", std::strerror(errno));
      return 1;
    }
    have += static_cast<size_t>(n);
  }
  for (const unsigned char byte : key) std::printf("%02x", static_cast<unsigned>(byte));
  std::printf("\n");
  return std::fflush(stdout) == 0 ? 0 : 1;
}

void add_settings_options(CLI::App& command, SettingsArguments& arguments, bool config_required) {
  auto* config = command.add_option("--config", arguments.config_file, "Settings file (TOML)");
  config->type_name("FILE");
  if (config_required) config->required();
  command
      .add_option("--set", arguments.overrides,
                  "Override one setting; may be repeated, and wins over the file")
      ->type_name("SECTION.KEY=VALUE")
      ->allow_extra_args(false);
}

// What was written, and the commands that may have been written. CLI11 keeps pointers to all of it.
struct CommandLine {
  CLI::App app{"A RESP proxy that gives stock Redis what it lacks across availability zones.",
               "azimuth"};
  SettingsArguments settings;
  bool print_defaults = false;
  DevOptions dev;
  std::string address = "127.0.0.1:9380";
  bool as_json = false;
  std::string successor, forced, member;
  CLI::App* run_command = app.add_subcommand("run", "Serve clients, until SIGTERM");
  CLI::App* check_command = app.add_subcommand("check", "Check a settings file: all its errors");
  CLI::App* dev_command =
      app.add_subcommand("dev", "Start redis-servers of its own and an azimuth before each");
  CLI::App* status_command = app.add_subcommand("status", "Ask a running node how it is");
  CLI::App* switchover_command = app.add_subcommand(
      "switchover", "Hand the writes over to another member, without loss and without an error");
  CLI::App* elect_command = app.add_subcommand(
      "elect", "Make a member the primary though it may lack acknowledged writes");
  CLI::App* member_command =
      app.add_subcommand("member", "Take a member out of the group for good, or let it in again");
  CLI::App* remove_command = member_command->add_subcommand(
      "remove", "Take a member or a witness out, a dead one too; the primary hands over first");
  CLI::App* add_command = member_command->add_subcommand(
      "add", "Let one that was taken out in again; a new one joins by itself");
  CLI::App* keygen_command =
      app.add_subcommand("keygen", "Print a new cluster key (write it to a file of mode 0600)");
};

void add_node_options(CommandLine& line) {
  CLI::App& run_command = *line.run_command;
  add_settings_options(run_command, line.settings, false);
  run_command
      .add_option("--listen", line.settings.listen,
                  "Where clients connect; stands for listen.0.address")
      ->type_name("ADDR:PORT|unix:PATH");
  run_command
      .add_option("--redis", line.settings.redis, "The redis-server; stands for redis.address")
      ->type_name("ADDR:PORT|unix:PATH");
  run_command
      .add_option("--workers", line.settings.workers, "Worker threads; stands for node.workers")
      ->type_name("N");
  run_command.add_flag("--print-defaults", line.print_defaults,
                       "Print every setting with its meaning and default, and exit");
  add_settings_options(*line.check_command, line.settings, true);
}

void add_dev_options(CommandLine& line) {
  CLI::App& dev_command = *line.dev_command;
  dev_command.add_option("--zones", line.dev.zones, "How many zones; more than one are a cluster")
      ->type_name("N")
      ->check(CLI::Range(1U, kDevZonesMax))
      ->capture_default_str();
  dev_command
      .add_option("--base-port", line.dev.base_port, "Where clients connect: this port, and up")
      ->type_name("PORT")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  dev_command
      .add_option("--dir", line.dev.directory, "Keep the data there; without it, in memory only")
      ->type_name("DIR");
}

void add_asking_options(CommandLine& line) {
  for (CLI::App* command : {line.status_command, line.switchover_command, line.elect_command,
                            line.remove_command, line.add_command}) {
    command->add_option("--addr", line.address, "The node's admin address")
        ->type_name("ADDR:PORT|unix:PATH")
        ->capture_default_str();
  }
  line.status_command->add_flag("--json", line.as_json,
                                "The document itself, as GET /status gives it");
  line.switchover_command
      ->add_option("--to", line.successor, "Which member; without it, the fittest")
      ->type_name("NODE");
  line.member_command->require_subcommand(1);
  for (CLI::App* command : {line.remove_command, line.add_command}) {
    command->add_option("node", line.member, "Which node")->type_name("NODE")->required();
  }
  line.elect_command->add_option("--force", line.forced, "Which member")
      ->type_name("NODE")
      ->required();
}

int parse_and_run(int argc, char** argv) {
  CommandLine line;
  CLI::App& app = line.app;
  app.set_version_flag("--version", std::string("azimuth ") + AZIMUTH_VERSION);
  app.require_subcommand(0, 1);  // at least one, too: but an unknown one is told by its name
  app.footer("azimuth COMMAND --help says more.");
  add_node_options(line);
  add_dev_options(line);
  add_asking_options(line);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) throw CLI::RequiredError("A subcommand");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUser;  // --help and --version are "errors" of code 0
  }
  if (line.run_command->parsed()) return run(line.settings, line.print_defaults);
  if (line.check_command->parsed()) return check(line.settings);
  if (line.dev_command->parsed()) return run_dev(line.dev);
  if (line.status_command->parsed()) return run_status(line.address, line.as_json);
  if (line.switchover_command->parsed()) return run_switchover(line.address, line.successor);
  if (line.elect_command->parsed()) return run_elect_force(line.address, line.forced);
  if (line.remove_command->parsed()) return run_member_change(line.address, false, line.member);
  if (line.add_command->parsed()) return run_member_change(line.address, true, line.member);
  if (line.keygen_command->parsed()) return keygen();
  return kExitUser;
}

}  // namespace

int run_cli(int argc, char** argv) {
  // How `azimuth dev` starts its children; not for people, so not in the help.
  if (argc >= 2 && std::string_view(argv[1]) == kDevChildCommand) {
    return run_dev_child(argc - 2, argv + 2);
  }
  try {
    return parse_and_run(argc, argv);
  } catch (const std::exception& fault) {
    std::fprintf(stderr, "azimuth: %s\n", fault.what());
    return 1;
  }
}

}  // namespace azimuth
