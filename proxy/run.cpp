#include "proxy/run.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "proxy/control/control.h"
#include "proxy/control/listening.h"
#include "proxy/control/log.h"
#include "proxy/data/socket.h"
#include "proxy/data/worker.h"
#include "proxy/group/group.h"

namespace azimuth {
namespace {

constexpr int kExitStartFault = 2;

int start_fault(const std::string& text) {
  std::fprintf(stderr, "azimuth: %s\n", text.c_str());
  return kExitStartFault;
}

// Buffers come and go in blocks of up to a few hundred KiB. By default the C library would learn
// from the first large ones to keep them all, in up to eight arenas a core.
void tune_memory(unsigned workers) {
  ::mallopt(M_ARENA_MAX, static_cast<int>(workers) + 1);
  ::mallopt(M_MMAP_THRESHOLD, static_cast<int>(4 * kMiB));
  ::mallopt(M_TRIM_THRESHOLD, static_cast<int>(1 * kMiB));
}

// A client is an open file. The soft limit is for programs that use select().
void raise_open_files(const Settings& settings) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  constexpr rlim_t kOthers = 256;  // listeners, connections to Redis, the process's own
  if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < settings.limits.clients_max + kOthers) {
    log_warning("few_open_files", {{"limit", static_cast<uint64_t>(limit.rlim_max)},
                                   {"clients_max", settings.limits.clients_max}});
  }
}

// Where Redis is, if that is known already; a name that does not resolve yet is tried again later.
SocketAddress redis_address(const RedisSettings& redis) {
  std::string error;
  if (auto address = resolve_address(redis.address, error)) return *address;
  log_warning("redis_address_unknown", {{"address", to_string(redis.address)}, {"reason", error}});
  return {};
}

LinkSettings link_settings(const RunOptions& options, const Membership& membership) {
  const Settings& settings = options.settings;
  LinkSettings link;
  link.cluster = settings.cluster->name;
  link.node = settings.node.id;
  link.zone = settings.node.zone;
  link.region = settings.node.region;
  link.boot = membership.boot;
  link.psk = membership.keys.link.view();
  link.plaintext = settings.peer->plaintext;
  link.compression = settings.peer->compression;
  link.level_min = settings.peer->compression_level_min;
  link.level_max = settings.peer->compression_level_max;
  link.delay_ms = settings.peer->compression_delay_ms;
  link.certificates = options.certificates;
  return link;
}

// The client endpoints in the settings' order, and behind them, in a cluster, where peers connect.
Result<std::vector<Listening>> open_listeners(const Settings& settings) {
  std::vector<ListenSettings> wanted = settings.listen;
  if (settings.peer) wanted.emplace_back().address = settings.peer->address;
  std::vector<Listening> listening;
  for (const ListenSettings& each : wanted) {
    Result<Listening> opened = listen_for_workers(each, settings.node.workers);
    if (!opened.ok()) {
      close_all(listening);
      return opened.error();
    }
    listening.push_back(std::move(*opened));
  }
  return listening;
}

// The threads of the workers. Signals are the main thread's affair: a worker must not be
// interrupted in the middle of a system call.
std::vector<std::thread> start_workers(Process& process, Control& control) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::vector<std::thread> threads;
  threads.reserve(process.workers.size());
  for (size_t i = 0; i < process.workers.size(); ++i) {
    threads.emplace_back([&process, &control, i] {
      const std::string name = "worker-" + std::to_string(i);
      pthread_setname_np(pthread_self(), name.c_str());
      process.workers[i]->run();
      control.worker_ended(i);
    });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return threads;
}

}  // namespace

int run_proxy(const RunOptions& options) {
  const auto settings = std::make_shared<const Settings>(options.settings);
  set_log_level(settings->log.level);
  ::signal(SIGPIPE, SIG_IGN);
  tune_memory(settings->node.workers);
  raise_open_files(*settings);

  Process process;
  std::optional<Membership> membership;
  if (settings->cluster) {
    Result<Membership> prepared = prepare_membership(*settings);
    if (!prepared.ok()) return start_fault(prepared.error().message);
    membership = std::move(*prepared);
    process.link = link_settings(options, *membership);
    process.tokens = Tokens(membership->keys.token, settings->cluster->name);
  } else {
    process.lease.grant_for_ever();
  }

  Result<std::vector<Listening>> opened = open_listeners(*settings);
  if (!opened.ok()) return start_fault(opened.error().message);
  const std::vector<Listening>& listening = *opened;
  std::vector<std::string> endpoints;
  for (size_t i = 0; i < settings->listen.size(); ++i) endpoints.push_back(listening[i].text);

  Control control(process, options, settings, endpoints, std::move(membership));
  if (const Outcome control_opened = control.open(); !control_opened.ok()) {
    close_all(listening);
    return start_fault(control_opened.error().message);
  }
  const SocketAddress redis = settings->redis ? redis_address(*settings->redis) : SocketAddress{};
  for (unsigned i = 0; i < settings->node.workers; ++i) {
    process.workers.push_back(
        std::make_unique<Worker>(process, i, settings, control.topology(), redis));
    Worker& worker = *process.workers.back();
    for (size_t j = 0; j < endpoints.size(); ++j) {
      worker.add_listener(listening[j].sockets[i], j);
    }
    if (settings->peer) worker.add_peer_listener(listening.back().sockets[i]);
  }

  process.applied.set_workers(settings->node.workers,
                              [&process](unsigned i) { process.workers[i]->wake(); });

  std::vector<std::thread> threads = start_workers(process, control);
  for (const std::string& endpoint : endpoints) {
    std::printf("azimuth ready listen=%s node=%s\n", endpoint.c_str(), settings->node.id.c_str());
  }
  std::fflush(stdout);
  log_info("started", {{"version", AZIMUTH_VERSION},
                       {"node", settings->node.id},
                       {"listen", endpoints.front()},
                       {"redis", settings->redis ? to_string(settings->redis->address) : "none"},
                       {"cluster", settings->cluster ? settings->cluster->name : "none"},
                       {"workers", settings->node.workers}});
  control.run(redis);
  for (std::thread& thread : threads) thread.join();
  remove_socket_files(listening);
  log_info("stopped", {{"node", settings->node.id}});
  event_log().flush();
  return 0;
}

}  // namespace azimuth
