#include "proxy/run.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "proxy/control/control.h"
#include "proxy/control/log.h"
#include "proxy/data/socket.h"
#include "proxy/data/worker.h"
#include "router/topology.h"

namespace azimuth {
namespace {

constexpr int kExitStartFault = 2;

// One [[listen]] entry, open: a socket for each worker.
struct Listening {
  std::string text;         // where it really listens
  std::string socket_file;  // to be removed at the end
  std::vector<int> sockets;
};

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

std::string advice_for(int error) {
  switch (error) {
    case EADDRINUSE:
      return "; stop what listens there, or choose another address";
    case EADDRNOTAVAIL:
      return "; this machine has no such address (0.0.0.0 or [::] is every address)";
    case EACCES:
      return "; choose a port from 1024 on or a directory that this user may write to";
    case ENOENT:
    case ENOTDIR:
      return "; make the directory first";
    case EAFNOSUPPORT:
      return "; IPv6 is switched off on this machine";
    default:
      return "; choose another address";
  }
}

// The address that a socket is bound to: with the port that the kernel chose.
SocketAddress bound_address(int fd, const SocketAddress& asked) {
  SocketAddress bound;
  bound.size = sizeof(bound.storage);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size) != 0) {
    return asked;
  }
  return bound;
}

// Opens a socket a worker, or says what stands in the way.
Outcome listen_for_workers(const ListenSettings& settings, unsigned workers, Listening& out) {
  const std::string wanted = to_string(settings.address);
  const auto fault = [&wanted](const std::string& why) {
    return make_error(ErrorCode::kSystem, Fault::kSelf, "cannot listen on " + wanted + ": " + why);
  };
  std::string error;
  std::optional<SocketAddress> address = resolve_address(settings.address, error);
  if (!address) return fault(error + "; write a numeric address, or a name that resolves");
  const bool is_unix = settings.address.kind == Endpoint::Kind::kUnix;
  while (out.sockets.size() < workers) {
    // A UNIX path is one socket, whose queue the workers share.
    const int fd = is_unix && !out.sockets.empty() ? ::dup(out.sockets.front())
                                                   : listen_on(*address, settings.unix_mode);
    if (fd < 0) {
      const int reason = fd == -1 && is_unix && !out.sockets.empty() ? errno : -fd;
      return fault(std::strerror(reason) + advice_for(reason));
    }
    out.sockets.push_back(fd);
    if (is_unix) out.socket_file = settings.address.path;
    *address = is_unix ? *address : bound_address(fd, *address);
  }
  out.text = address_text(*address, false);
  return Done{};
}

void close_all(std::vector<Listening>& listening) {
  for (Listening& each : listening) {
    for (const int fd : each.sockets) ::close(fd);
    if (!each.socket_file.empty()) ::unlink(each.socket_file.c_str());
  }
}

// Where Redis is, if that is known already; a name that does not resolve yet is tried again later.
SocketAddress redis_address(const RedisSettings& redis) {
  std::string error;
  if (auto address = resolve_address(redis.address, error)) return *address;
  log_warning("redis_address_unknown", {{"address", to_string(redis.address)}, {"reason", error}});
  return {};
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
      control.worker_ended();
    });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return threads;
}

}  // namespace

int run_proxy(const RunOptions& options) {
  const auto settings = std::make_shared<const Settings>(options.settings);
  set_log_level(settings->log.level);
  if (settings->cluster || !settings->redis) {
    return start_fault(
        "a [cluster] is not supported by this version; leave the table out and name a [redis] to "
        "stand in front of one redis-server");
  }
  ::signal(SIGPIPE, SIG_IGN);
  tune_memory(settings->node.workers);
  raise_open_files(*settings);

  std::vector<Listening> listening;
  std::vector<std::string> endpoints;
  for (const ListenSettings& listen : settings->listen) {
    listening.emplace_back();
    const Outcome opened = listen_for_workers(listen, settings->node.workers, listening.back());
    if (!opened.ok()) {
      close_all(listening);
      return start_fault(opened.error().message);
    }
    endpoints.push_back(listening.back().text);
  }

  Process process;
  const auto topology = std::make_shared<const Topology>(single_redis(
      settings->node.id, settings->node.zone, settings->node.region, settings->redis->address));
  Control control(process, options, settings, topology, endpoints);
  if (const Outcome opened = control.open(); !opened.ok()) {
    close_all(listening);
    return start_fault(opened.error().message);
  }
  const SocketAddress redis = redis_address(*settings->redis);
  for (unsigned i = 0; i < settings->node.workers; ++i) {
    process.workers.push_back(std::make_unique<Worker>(process, i, settings, topology, redis));
    for (size_t j = 0; j < listening.size(); ++j) {
      process.workers.back()->add_listener(listening[j].sockets[i], j);
    }
  }

  std::vector<std::thread> threads = start_workers(process, control);
  for (const std::string& endpoint : endpoints) {
    std::printf("azimuth ready listen=%s node=%s\n", endpoint.c_str(), settings->node.id.c_str());
  }
  std::fflush(stdout);
  control.run(redis);
  for (std::thread& thread : threads) thread.join();
  for (Listening& each : listening) {
    if (!each.socket_file.empty()) ::unlink(each.socket_file.c_str());
  }
  log_info("stopped", {{"node", settings->node.id}});
  event_log().flush();
  return 0;
}

}  // namespace azimuth
