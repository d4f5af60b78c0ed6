// Every bound of the proxy, in one place, with what relates them proved at compile time.
//
// A queue, a pool or a message without a line here is a mistake: invariant I8 says that memory is
// bounded whatever a peer sends or fails to read. Bounds that an operator may move are settings
// (conf/settings.h); the numbers here are what the code is built around. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace azimuth {

inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = 1024 * kKiB;

// --- RESP requests: Redis's own limits, so that Redis and azimuth refuse the same bytes ---------

// An inline command, and a header line ("*3", "$5"), must end within this (PROTO_INLINE_MAX_SIZE).
inline constexpr std::size_t kInlineBytesMax = 64 * kKiB;

// One argument (proto-max-bulk-len as Redis ships it).
inline constexpr std::size_t kBulkBytesMax = 512 * kMiB;

// Arguments of one request: Redis counts them in an int.
inline constexpr std::size_t kMultibulkArgsMax = std::numeric_limits<std::int32_t>::max();

// Before a client has logged in, where Redis asks for a login: enough for AUTH and HELLO (I9).
inline constexpr std::size_t kUnauthArgsMax = 10;
inline constexpr std::size_t kUnauthBulkBytesMax = 16384;

// --- RESP replies ------------------------------------------------------------------------------

// A simple string, an error, a number or a header line. Redis writes none near it; a backend that
// sends more is not a Redis.
inline constexpr std::size_t kReplyLineBytesMax = 64 * kKiB;

// --- The data path -----------------------------------------------------------------------------

// What a worker reads from one socket in one turn. One block a worker, not one a client.
inline constexpr std::size_t kReceiveBlockBytes = 256 * kKiB;

// A request bigger than this is not gathered (but for those that must be seen whole): it streams
// through on a dedicated connection, so that a large value neither costs memory nor stands in front
// of other clients on a shared one.
inline constexpr std::size_t kStreamThresholdBytes = 64 * kKiB;

// Replies that a client has not taken yet: above the high mark its upstream is read no further (a
// shared one is, while this client is at its front, and no longer serves the others), below the low
// mark it goes on. The client is cut at limits.client_output_bytes_max.
inline constexpr std::size_t kClientOutputHighBytes = 1 * kMiB;
inline constexpr std::size_t kClientOutputLowBytes = kClientOutputHighBytes / 2;

// Requests that Redis has not taken yet: above the high mark the clients that feed this upstream
// connection are read no further.
inline constexpr std::size_t kUpstreamQueueHighBytes = 4 * kMiB;
inline constexpr std::size_t kUpstreamQueueLowBytes = kUpstreamQueueHighBytes / 2;

// Requests in flight of one client: further ones wait, so that what may come back is bounded.
inline constexpr std::uint32_t kClientInflightMax = 8192;

// Requests of one upstream connection whose reply is outstanding.
inline constexpr std::size_t kUpstreamInflightMax = 65536;

// A read is kept until its reply is there, so that it can be sent again on another connection; one
// larger than this is not kept, and answers an error when its connection is lost.
inline constexpr std::size_t kRetainedRequestBytesMax = 4 * kKiB;

// A request that must be seen whole, because its arguments change a session, may be this large.
inline constexpr std::size_t kGatheredRequestBytesMax = 32 * kMiB;

// A reply that azimuth must read itself (HELLO, INFO, SELECT) may be this large.
inline constexpr std::size_t kCollectedBytesMax = 4 * kMiB;

// Databases (0 to 63) whose connections clients share, each on one database for good; a client
// that selects a higher one gets its own.
inline constexpr std::int32_t kSharedDatabasesMax = 64;

// Identities (user, protocol, database) of a worker, used or not, up to which the connections of
// one that nobody uses stay for a minute; beyond, they are closed at once.
inline constexpr std::size_t kIdentitiesUnusedMax = 32;

// Shared connections that were replaced and still drain, per worker: beyond these, one that is
// stuck stays in use. (One whose client does not read is replaced all the same.)
inline constexpr std::size_t kRetiredConnectionsMax = 8;

// Dedicated connections kept open and unused, per identity and worker.
inline constexpr std::size_t kDedicatedIdleMax = 16;

// Bodies of SCRIPT LOAD remembered, to be loaded again after a restart of Redis; the oldest go
// first.
inline constexpr std::size_t kRememberedScriptsBytesMax = 16 * kMiB;

// Delay before an upstream connection is tried again; doubles from the least to the most.
inline constexpr std::uint32_t kReconnectDelayLeastMs = 20;
inline constexpr std::uint32_t kReconnectDelayMostMs = 1000;

// --- What an operator may configure: the ends of the ranges in conf/settings_table.cpp ----------

inline constexpr std::uint32_t kWorkersMax = 64;
inline constexpr std::size_t kListenersMax = 16;
inline constexpr std::size_t kSeedsMax = 64;
inline constexpr std::uint32_t kMembersMax = 128;
inline constexpr std::uint32_t kClientsMax = 1'000'000;
inline constexpr std::uint64_t kConfiguredBytesMax = std::uint64_t{1} << 40;  // 1 TiB: a typo above
inline constexpr std::uint32_t kConfiguredMsMax = 24 * 3600 * 1000;           // one day
inline constexpr std::uint32_t kConfiguredSecondsMax = 365 * 24 * 3600;

// The settings' text itself: a file that is larger was not meant to be one.
inline constexpr std::size_t kSettingsBytesMax = 1 * kMiB;
inline constexpr std::size_t kSettingsErrorsMax = 100;
inline constexpr std::size_t kSettingsSyntaxErrorsMax = 20;
inline constexpr std::size_t kSettingsDotsPerLineMax = 512;

// Names (node, zone, region, cluster), DNS names (RFC 1035), and sun_path without its NUL.
inline constexpr std::size_t kNameBytesMax = 64;
inline constexpr std::size_t kHostBytesMax = 253;
inline constexpr std::size_t kUnixPathBytesMax = 107;
inline constexpr std::size_t kSettingTextBytesMax = 4 * kKiB;

// --- The admin listener, the slow log and the log ----------------------------------------------

inline constexpr std::size_t kAdminRequestBytesMax = 8 * kKiB;
inline constexpr std::size_t kAdminConnectionsMax = 64;
inline constexpr std::uint32_t kAdminIdleMsMax = 30'000;

// Redis clips its own slow log alike (SLOWLOG_ENTRY_MAX_ARGC, SLOWLOG_ENTRY_MAX_STRING).
inline constexpr std::uint32_t kSlowlogEntriesMax = 16384;
inline constexpr std::size_t kSlowlogArgsMax = 32;
inline constexpr std::size_t kSlowlogArgBytesMax = 128;

// What one hostile client may make the log say.
inline constexpr std::size_t kLogValueBytesMax = 256;
inline constexpr std::uint32_t kLogLinesPerEventAndSecondMax = 10;

// --- What holds between them -------------------------------------------------------------------

static_assert(kUnauthArgsMax < kMultibulkArgsMax);
static_assert(kUnauthBulkBytesMax < kBulkBytesMax);
static_assert(kStreamThresholdBytes <= kReceiveBlockBytes,
              "a request that does not stream fits in the receive block, whole");
static_assert(kInlineBytesMax <= kReceiveBlockBytes,
              "a header line or inline command that Redis would take fits in the receive block");
static_assert(kReplyLineBytesMax <= kReceiveBlockBytes);
static_assert(kRetainedRequestBytesMax <= kStreamThresholdBytes,
              "what streams has left and cannot be sent again");
static_assert(kClientOutputLowBytes * 2 == kClientOutputHighBytes);
static_assert(kUpstreamQueueLowBytes * 2 == kUpstreamQueueHighBytes);
static_assert(kReceiveBlockBytes <= kClientOutputLowBytes,
              "one turn's reading does not leap from the low mark over the high one");
static_assert(kStreamThresholdBytes <= kUpstreamQueueLowBytes);
static_assert(kReconnectDelayLeastMs < kReconnectDelayMostMs);
static_assert(kSlowlogArgsMax * kSlowlogArgBytesMax * kSlowlogEntriesMax <= 64 * kMiB,
              "a full slow log stays small beside the clients' own buffers");

}  // namespace azimuth
