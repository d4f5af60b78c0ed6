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

// What it reads where more would have to be copied: behind a large value, since the next may be
// another; and from any client while a queue is full.
inline constexpr std::size_t kSmallReceiveBytes = 16 * kKiB;

// The body of a large value is moved from socket to socket by splice, while at least so much of it
// is to come; so much in one turn; through a pipe of that size, the most that the kernel gives
// everyone.
inline constexpr std::size_t kSpliceLeftMin = 16 * kKiB;
inline constexpr std::size_t kSpliceBytesMax = 512 * kKiB;
inline constexpr std::size_t kSplicePipeBytes = 1 * kMiB;

// Replies that a client has not taken yet: above the high mark its upstream is read no further (a
// shared one is, while this client is at its front, and no longer serves the others), below the low
// mark it goes on. The client is cut at limits.client_output_bytes_max.
inline constexpr std::size_t kClientOutputHighBytes = 1 * kMiB;
inline constexpr std::size_t kClientOutputLowBytes = kClientOutputHighBytes / 2;

// What all clients of a worker may leave unread before that happens to one at the front of a shared
// connection: so much is taken off Redis's hands, and nobody else notices.
inline constexpr std::size_t kAbsorbedBytesMax = 64 * kMiB;

// Requests that Redis has not taken yet: above the high mark the clients that feed this upstream
// connection are read no further.
inline constexpr std::size_t kUpstreamQueueHighBytes = 2 * kMiB;
inline constexpr std::size_t kUpstreamQueueLowBytes = kUpstreamQueueHighBytes / 2;
// The same of a connection that is one client's own; it goes on when all has been taken, since what
// comes next can then be moved by splice.
inline constexpr std::size_t kDedicatedQueueHighBytes = 512 * kKiB;

// Requests in flight of one client: further ones wait, so that what may come back is bounded.
inline constexpr std::uint32_t kClientInflightMax = 8192;

// Requests of one upstream connection whose reply is outstanding.
inline constexpr std::size_t kUpstreamInflightMax = 65536;

// A read is kept until its reply is there, so that it can be sent again on another connection; one
// larger than this is not kept, and answers an error when its connection is lost.
inline constexpr std::size_t kRetainedRequestBytesMax = 4 * kKiB;
inline constexpr std::size_t kRetainedBytesMax = 4 * kMiB;  // of one connection's

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
inline constexpr std::uint32_t kIdentityUnusedMsMax = 60'000;

// A sidecar, which may be one of thousands, keeps no connection to Redis that has brought nothing for
// so long: what a member holds for all sidecars is bounded by what they use.
inline constexpr std::uint32_t kSparingIdleMsMax = 10'000;

// How old azimuth's knowledge may be of whether Redis's default user needs a password.
inline constexpr std::uint32_t kLoginCheckMs = 1'000;
// What is older lets nobody in: a client of a sidecar waits for the answer (a member asks all the
// time).
inline constexpr std::uint32_t kLoginTrustMs = 10'000;

// Shared connections that were replaced and still drain, per worker: beyond these, one that is
// stuck stays in use. (One whose client does not read is replaced all the same.)
inline constexpr std::size_t kRetiredConnectionsMax = 8;

// A shared connection at whose front a request has waited for longer is stuck, and is replaced.
inline constexpr std::uint32_t kStuckMsMax = 1'000;

// While azimuth stops: a client that has sent half of a large request and for so long no more of it
// is cut.
inline constexpr std::uint32_t kDrainStallMsMax = 500;

// How long a client that does not read may hold up others whose requests cannot be moved.
inline constexpr std::uint32_t kHeldUpMsMax = 2'000;

// Dedicated connections kept open and unused, per identity and worker; and for how long all but one
// of them, since the next burst of blocking commands or transactions is soon or not at all.
inline constexpr std::size_t kDedicatedIdleMax = 16;
inline constexpr std::uint32_t kDedicatedIdleMsMax = 30'000;

// A planned hand-over: how long requests that have been sent may take to be answered, before they
// are broken off; and how long a node that was asked to hold waits for the new primary.
#ifdef AZIMUTH_SANITIZED  // everything takes ten times as long
inline constexpr std::uint32_t kStragglersMsMax = 500;
#else
inline constexpr std::uint32_t kStragglersMsMax = 50;
#endif
inline constexpr std::uint32_t kHandOverMsMax = 3'000;

// Names of channels and patterns that a client subscribes to, remembered for the next primary.
inline constexpr std::size_t kSubscriptionsKeptBytesMax = 1 * kMiB;

// Users and client names whose connections share a session (session_scope), those remembered that
// have no connection at the moment included. More belong to the session of the whole node.
inline constexpr std::size_t kScopesMax = 4096;
// Of a client's name that names a scope; whose is longer share the node's.
inline constexpr std::size_t kScopeNameBytesMax = 256;

// Bodies of SCRIPT LOAD remembered, to be loaded again after a restart of Redis; the oldest go
// first.
inline constexpr std::size_t kRememberedScriptsBytesMax = 16 * kMiB;

// How long a `quorum` write waits for the voters at the least: hold_timeout_ms, but not less.
inline constexpr std::uint32_t kQuorumMsLeast = 1000;
// ... of which one WAIT blocks for so long: then it is asked again, by what is needed now.
inline constexpr std::uint32_t kQuorumSliceMs = 200;
// Reads at a replica: proofs of its freshness that are kept; a replica that is silent for so long
// while it owes an answer is read no more, and its reads go to the primary.
inline constexpr std::size_t kFreshnessProofsMax = 256;
inline constexpr std::uint64_t kReplicaSilenceMsMax = 50;
// Of several equal replicas a node reads at so many at most: its home, and one for what home
// does not get done; so each member has links from a share of the nodes only.
inline constexpr std::size_t kReplicasReadMax = 2;
// A node's home among them may owe so many batches more than another before that one is read.
inline constexpr std::size_t kSpreadMargin = 4;
// How often the primary is asked for its offset while a replica is read; twice as often as the
// shortest staleness bound that a session has set, but not more often than the second.
inline constexpr std::uint64_t kProofEveryMs = 200;
inline constexpr std::uint64_t kProofEveryMsLeast = 20;
// Delay before an upstream connection is tried again; doubles from the least to the most.
inline constexpr std::uint32_t kReconnectDelayLeastMs = 20;
inline constexpr std::uint32_t kReconnectDelayMostMs = 1000;

// Back-pressure: what a client has sent by the time that its delay is over goes as one, up to this;
// beyond, it waits again; one large request waits for each such piece of it, but for no more than
// so many. And the longest delay that anybody may ask for.
inline constexpr std::size_t kPacedBytesMax = 64 * kKiB;
inline constexpr std::uint64_t kPacedPiecesMax = 16;
inline constexpr std::uint32_t kWriteDelayUsMax = 10'000'000;
// A replica that is so many ramps behind is waited for no longer; and how long the primary's own
// offsets are kept, to compare an answer with what there was when it was asked for.
inline constexpr std::uint64_t kDrownedRamps = 4;
inline constexpr std::uint32_t kOwnOffsetsKeptMs = 3000;
// A link is told a delay when it is another by one part in so many, and not more often than that.
inline constexpr std::uint32_t kPaceNewsParts = 10;
inline constexpr std::uint64_t kPaceTellMs = 100;

// --- The local Redis, driven by its azimuth ------------------------------------------------------

// A reply to the control connection: INFO and ROLE are far below.
inline constexpr std::size_t kControlReplyBytesMax = 4 * kMiB;
// A line of a replication handshake.
inline constexpr std::size_t kSyncLineBytesMax = 1 * kKiB;
// Of a replica whose question is being judged: what stands behind it, and INFO's answer.
inline constexpr std::size_t kSyncHeldBytesMax = 64 * kKiB;

// --- Links between nodes (proxy/peer) ------------------------------------------------------------

// One frame's payload; a frame other than DATA carries a few names and numbers.
inline constexpr std::size_t kLinkFrameBytesMax = 64 * kKiB;
inline constexpr std::size_t kLinkControlFrameBytesMax = 1 * kKiB;

// What may be on its way on one stream, unread by the other side: part of the protocol, since both
// sides begin with it.
inline constexpr std::size_t kStreamWindowBytes = 256 * kKiB;
inline constexpr std::size_t kTunnelWindowBytes = 1 * kMiB;

// What one stream puts on its link in a turn, so that a bulk transfer does not stand in front of a
// command; what all put there before the link is written; and what the kernel holds unsent of it.
inline constexpr std::size_t kStreamTurnBytes = 64 * kKiB;
inline constexpr std::size_t kLinkOutBytesMax = 256 * kKiB;
inline constexpr std::size_t kLinkUnsentBytesMax = 128 * kKiB;

// Answers that a peer provokes and does not take: beyond, it is read no further.
inline constexpr std::size_t kLinkAnswerBytesMax = 1 * kMiB;

// Accepted links that have not shown that they know the key, those in all, streams of one link, and
// relays to the local Redis: each a worker's. A tunnel port's connections: Redis needs one.
inline constexpr std::size_t kLinkHandshakesMax = 128;
inline constexpr std::size_t kLinksMax = 16'384;
// Certificates that a peer shows before it is known, in all; and a file of them.
inline constexpr std::size_t kLinkCertificateBytesMax = 32 * kKiB;
inline constexpr std::size_t kCertificateFileBytesMax = 1 * kMiB;
// Refused peers that a worker remembers to have told of; the next ones are told of again.
inline constexpr std::size_t kLinkWarningsMax = 64;
inline constexpr std::size_t kStreamsPerLinkMax = 16'384;
inline constexpr std::size_t kRelaysMax = 8192;
inline constexpr std::size_t kTunnelConnectionsMax = 4;

// A link is made within this, counted from connect(), or its streams end; an accepted one may take
// longer, since the maker gives up first.
inline constexpr std::uint32_t kLinkMakeMsMax = 1000;
inline constexpr std::uint32_t kLinkAcceptMsMax = 2000;
inline constexpr std::uint32_t kLinkRetryMsLeast = 10;
inline constexpr std::uint32_t kLinkRetryMsMost = 100;
inline constexpr std::uint32_t kLinkPingMs = 500;
inline constexpr std::uint32_t kLinkSilentMsMax = 2000;
inline constexpr std::uint32_t kLinkIdleMsMax = 60'000;
inline constexpr std::uint32_t kLinkWarningMs = 60'000;

// --- Packing: what crosses a zone boundary on a link, compressed (proxy/peer/pack.h) -------------

// How far back a repetition is found (log2 of bytes): on a link that carries replication from this
// side, and on any other. Both sides keep to it.
inline constexpr unsigned kPackWindowLog = 17;
inline constexpr unsigned kPackTunnelWindowLog = 23;

// log2 of the tables of a link without replication, which is one of many; and what does not begin a
// stream where there is none: heartbeats, single commands.
inline constexpr int kPackSmallTableLog = 15;
inline constexpr std::size_t kPackStartBytes = 256;

// What one direction of a link costs while it has something to carry, and a worker's bound for all
// of them: beyond, links send as they did before, and say to others that they would rather be sent
// so. A quarter of it is for replication alone.
inline constexpr std::size_t kPackerBytes = 1536 * kKiB;
inline constexpr std::size_t kPackerTunnelBytes = 22 * kMiB;
inline constexpr std::size_t kUnpackerBytes = 768 * kKiB;
inline constexpr std::size_t kUnpackerTunnelBytes = 9 * kMiB;
inline constexpr std::size_t kPackMemoryBytesMax = 512 * kMiB;
inline constexpr std::size_t kPackReserveShare = 4;

// What one chunk unpacks to; and of what a link unpacks beyond what its streams' windows allow (the
// frames themselves, and what was on its way to streams that have ended), so much at once, and so
// much more for each byte that was received.
inline constexpr std::size_t kPackChunkBytesMax = 64 * kKiB;
inline constexpr std::int64_t kPackUnpaidBytesMax = 1 * kMiB;
inline constexpr std::int64_t kPackUnpaidRatioMax = 16;

// Replication that waits for more of its kind (peer.compression_delay_ms) goes when it is so much;
// and does not wait where less than the second is to be expected meanwhile.
inline constexpr std::size_t kPackBatchBytes = 48 * kKiB;
inline constexpr std::size_t kPackBatchWorthBytes = 2 * kKiB;

// A direction that has had nothing to carry for so long gives its memory back.
inline constexpr std::uint32_t kPackIdleMsMax = 10'000;

// Levels of zstd that may be asked for: more would stand in the way of commands.
inline constexpr std::uint32_t kPackLevelMost = 9;
inline constexpr std::uint32_t kPackDelayMsMost = 100;

// Peers that a worker counts one by one; those that are no members, up to half of it. The rest
// together.
inline constexpr std::size_t kLinkPeersCountedMax = 256;

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

// --- The group ---------------------------------------------------------------------------------

// The file of what a node must not forget: one that is larger was not written by azimuth.
inline constexpr std::size_t kGroupStateFileBytesMax = 64 * kKiB;

// Nodes whose last address is remembered apart from gossip, to answer them.
inline constexpr std::size_t kCorrespondentsMax = 1024;

// Operators that wait for a switchover or an election at one time.
inline constexpr std::size_t kWishesMax = 64;

// --- The admin listener, the slow log and the log ----------------------------------------------

inline constexpr std::size_t kAdminRequestBytesMax = 8 * kKiB;
inline constexpr std::size_t kAdminConnectionsMax = 64;
inline constexpr std::uint32_t kAdminIdleMsMax = 30'000;

// Redis clips its own slow log alike (SLOWLOG_ENTRY_MAX_ARGC, SLOWLOG_ENTRY_MAX_STRING).
inline constexpr std::uint32_t kSlowlogEntriesMax = 16384;
inline constexpr std::size_t kSlowlogArgsMax = 32;
inline constexpr std::size_t kSlowlogArgBytesMax = 128;

// Slow requests that a worker records in a tick: when all are slow, a share tells as much.
inline constexpr std::uint32_t kSlowlogEntriesPerTickMax = 32;

// What one hostile client may make the log say.
inline constexpr std::size_t kLogValueBytesMax = 256;
inline constexpr std::uint32_t kLogLinesPerEventAndSecondMax = 10;

// --- Gossip and the sealed datagrams under it --------------------------------------------------

// A datagram is never fragmented on an ordinary path: 1,500 bytes less IPv6 and UDP, with a margin
// for tunnels of the network's own. A gossip packet or a leadership message leaves room for the
// seal and the envelope.
inline constexpr std::size_t kDatagramBytesMax = 1400;
inline constexpr std::size_t kDatagramSealBytes =
    1 + 16 + 8 + 16;  // version, session, counter, tag
inline constexpr std::size_t kGossipPacketBytesMax = 1200;

// One record in a packet, and the address and replid in it (names are kNameBytesMax).
inline constexpr std::size_t kGossipAddressBytesMax = 128;
inline constexpr std::size_t kGossipReplidBytesMax = 40;
inline constexpr std::size_t kGossipRecordBytesMax =
    4 * kNameBytesMax + kGossipAddressBytesMax + kGossipReplidBytesMax + 80;

// Nodes remembered, dead ones included; seeds; probes under way, of one's own and for others.
inline constexpr std::size_t kGossipNodesMax = 8192;
inline constexpr std::size_t kGossipSeedsMax = 256;
inline constexpr std::size_t kGossipProbesMax = 32;
inline constexpr std::size_t kGossipRelaysMax = 256;
// Accusers of one suspect that are told on: with these, suspicion is at its shortest.
inline constexpr std::size_t kGossipAccusersMax = 4;

// Sender sessions whose key and replay window are kept; sessions that one may begin a second.
inline constexpr std::size_t kDatagramSessionsMax = kGossipNodesMax;
inline constexpr std::uint32_t kDatagramNewSessionsPerSecond = 1000;
inline constexpr std::size_t kReplayWindow = 1024;

// --- Who leads: group messages and the state file ----------------------------------------------

inline constexpr std::size_t kGroupMessageBytesMax = 1200;
// Voters of a group: with nine, four may fail; more only make elections slower.
inline constexpr std::size_t kVotersMax = 9;
// Nodes that an operator has taken out and that are kept out, and the bytes of their names: they
// travel with the voters, in one datagram.
inline constexpr std::size_t kRemovedMax = 32;
inline constexpr std::size_t kRemovedBytesMax = 320;
// Epochs whose lineage is remembered. A Redis that has been away for longer copies anew.
inline constexpr std::size_t kForksMax = 8;
inline constexpr std::size_t kReplidBytesMax = 40;
// What people are told: why there is no leader, why a wish was not granted.
inline constexpr std::size_t kReasonBytesMax = 400;
// What a promise says of its Redis where it tells of an electorate as well.
inline constexpr std::size_t kReasonBesideElectorateBytesMax = 128;
// A replica that lacks more than this of what the last primary is known to have had is not elected
// by itself.
inline constexpr std::uint64_t kElectionLagBytesMax = 8 * kMiB;
// A planned hand-over waits for this much at most to be copied while writes are held.
inline constexpr std::uint64_t kHandOverLagBytesMax = 1 * kMiB;

// A replica goes over to another source only while the two are no farther apart than this.
inline constexpr std::uint64_t kTunnelMoveLagBytesMax = 8 * kMiB;
// One that comes over to a source which is behind it is asked after so often, ten times a second.
inline constexpr unsigned kSyncAskedAgainMax = 50;
// From the primary to a replica by at most so many tunnels: head of a region, of a zone, and it.
inline constexpr std::size_t kTunnelDepthMax = 3;

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
static_assert(kSpliceBytesMax <= kClientOutputLowBytes);
static_assert(kSpliceBytesMax <= kDedicatedQueueHighBytes);
static_assert(kStreamThresholdBytes <= kUpstreamQueueLowBytes);
static_assert(kReconnectDelayLeastMs < kReconnectDelayMostMs);
static_assert(kStreamTurnBytes <= kLinkOutBytesMax && kLinkOutBytesMax <= kLinkAnswerBytesMax);
static_assert(kStreamWindowBytes <= kTunnelWindowBytes, "a window update names at most a tunnel's");
static_assert(kLinkPingMs * 2 < kLinkSilentMsMax);
static_assert(kPackMemoryBytesMax / kPackReserveShare >= 5 * kPackerTunnelBytes);
static_assert(kPackBatchBytes <= kStreamTurnBytes, "what waits leaves room for its stream");
static_assert(kPackDelayMsMost < kLinkPingMs, "what waits is no silence");
static_assert(kPackUnpaidBytesMax >= std::int64_t{kTunnelWindowBytes});
static_assert(2 * kMembersMax <= kLinkPeersCountedMax);
static_assert(kSlowlogArgsMax * kSlowlogArgBytesMax * kSlowlogEntriesMax <= 64 * kMiB,
              "a full slow log stays small beside the clients' own buffers");
static_assert(2 * kGossipRecordBytesMax + kNameBytesMax + 64 <= kGossipPacketBytesMax,
              "a packet has room for its sender, its head and one more record");
static_assert(kGossipPacketBytesMax + kDatagramSealBytes + kNameBytesMax + 2 <= kDatagramBytesMax);

static_assert(kVotersMax * (kNameBytesMax + 1) + kForksMax * (kReplidBytesMax + 1 + 2 * 10) + 100 <=
                  kGroupMessageBytesMax,
              "a Renew carries the voters and the forks at once");
static_assert(kReasonBytesMax + 100 <= kGroupMessageBytesMax);

}  // namespace azimuth
