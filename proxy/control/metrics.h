// What a worker counts. Hot: a count is one plain load, add and store.
//
// Invariants: each WorkerMetrics has one writer, its worker; anyone may read at any time, and reads
// values that are each true, though not all of one instant. Counters only grow; gauges are set.
// Owned by one worker; outlives it (the control thread reads it until the process ends).
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "router/command_table.h"
#include "router/route.h"

namespace azimuth {

class Counter {
 public:
  // A single writer needs no locked instruction.
  void add(uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void add(int64_t n) { set(get() + n); }
  int64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Durations in microseconds, in buckets that end at powers of two: bucket i counts what is above
// 2^(i-1) and at most 2^i us; the first also holds 0, the last everything above 2^26 us (67 s).
class Histogram {
 public:
  static constexpr size_t kBuckets = 28;
  static constexpr uint64_t upper_us(size_t bucket) { return uint64_t{1} << bucket; }
  static constexpr size_t bucket_of(uint64_t us) {
    const auto bucket = static_cast<size_t>(std::bit_width(us - (us != 0)));
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  void record(uint64_t us, uint64_t times = 1) {
    buckets_[bucket_of(us)].add(times);
    sum_us_.add(us * times);
  }
  uint64_t bucket(size_t i) const { return buckets_[i].get(); }
  uint64_t sum_us() const { return sum_us_.get(); }

 private:
  std::array<Counter, kBuckets> buckets_;
  Counter sum_us_;
};

// The closed sets below each have a table of names of the same length; adding one is a row in each.

enum class CommandRoute : uint8_t { kReads, kWrites, kDedicated, kLocal };
inline constexpr std::array<std::string_view, 4> kCommandRouteNames = {"reads", "writes",
                                                                       "dedicated", "local"};

// Why a client's connection ended. (GCC 12 takes a scoped enumerator for a shadow of the limit of
// the same name.)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
enum class CutReason : uint8_t {
  kClosed,          // the client closed it, or QUIT
  kReset,           // an error on its socket
  kIdle,            // client_idle_timeout_s
  kOutputLimit,     // did not read its replies
  kBufferedLimit,   // the node's buffers were full and this client held the most
  kProtocol,        // no RESP
  kCrossProtocol,   // POST or Host: somebody points a browser at us
  kKilled,          // CLIENT KILL, ACL DELUSER
  kTooManyClients,  // refused at the door
  kUpstream,        // its dedicated connection to Redis ended
  kDrain,           // this process stops
};
inline constexpr std::array<std::string_view, 11> kCutReasonNames = {
    "closed",         "reset",  "idle",        "output-limit", "buffered-limit", "protocol",
    "cross-protocol", "killed", "clients-max", "upstream",     "drain"};

// Errors that clients got.
enum class ErrorKind : uint8_t {
  kUncertain,    // -UNCERTAIN: sent, and the connection was lost before the reply
  kClusterDown,  // -CLUSTERDOWN: not sent, Redis stayed away
  kProtocol,     // -ERR Protocol error
  kRefused,      // a command that azimuth does not let through
  kRedis,        // an error reply of Redis's own, passed on
  kLocal,        // an error reply of azimuth's own to a command that it answers itself
};
inline constexpr std::array<std::string_view, 6> kErrorKindNames = {
    "uncertain", "clusterdown", "protocol", "refused", "redis", "local"};

static_assert(kCommandRouteNames.size() == static_cast<size_t>(CommandRoute::kLocal) + 1);
static_assert(kCutReasonNames.size() == static_cast<size_t>(CutReason::kDrain) + 1);
static_assert(kErrorKindNames.size() == static_cast<size_t>(ErrorKind::kLocal) + 1);

inline constexpr size_t kReasonCount = static_cast<size_t>(Reason::kVacant) + 1;

struct alignas(64) WorkerMetrics {
  // Commands by id (kExtraCommandId: not in the table) and route, counted when they are sent (or
  // answered here).
  std::array<std::array<Counter, kCommandRouteNames.size()>, kCommandIdCount> commands;
  std::array<Counter, kReasonCount> reads_by_reason;  // why each read went where it went
  Histogram read_latency, write_latency;              // from the request framed to its reply framed

  Counter client_bytes_in, client_bytes_out;
  Counter upstream_bytes_in, upstream_bytes_out;

  Counter connections_accepted;
  Gauge connections_current;
  std::array<Counter, kCutReasonNames.size()> connections_cut;

  Counter upstream_connects, upstream_connect_failures;
  Gauge upstream_connections;  // open now, shared and dedicated
  Gauge upstream_queued;       // requests that wait for a connection
  Gauge upstream_in_flight;    // requests sent and not answered

  std::array<Counter, kErrorKindNames.size()> errors;
  Counter floors_lost;       // sessions of which a failover has lost something
  Counter gates_closed;      // batches of reads that a replica could not be believed for
  Counter commands_resent;   // sent again: known not to have run, or reads
  Counter scripts_reloaded;  // SCRIPT LOAD repeated after NOSCRIPT

  Counter writes_delayed, write_delay_us;  // since a replica did not keep up: batches, their sum
  Gauge write_delay_now_us;

  Gauge dedicated_in_use, dedicated_idle;
  Gauge buffered_bytes;  // of all clients of this worker: requests held and replies not yet taken

  void count_command(size_t id, CommandRoute route, uint64_t n = 1) {
    commands[id < kCommandIdCount ? id : kExtraCommandId][static_cast<size_t>(route)].add(n);
  }
  void count_read(Reason reason, uint64_t n = 1) {
    reads_by_reason[static_cast<size_t>(reason)].add(n);
  }
  void count_cut(CutReason reason) { connections_cut[static_cast<size_t>(reason)].add(); }
  void count_error(ErrorKind kind) { errors[static_cast<size_t>(kind)].add(); }
};

}  // namespace azimuth
