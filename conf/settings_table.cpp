#include "conf/settings_table.h"

#include <type_traits>

#include "conf/limits.h"

namespace azimuth {
namespace {

template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;

// Enumerators are reached as bytes, which C++ lets alias anything.
template <class Enum>
unsigned char* as_byte(Enum& value) {
  static_assert(sizeof(Enum) == 1);
  return reinterpret_cast<unsigned char*>(&value);
}

Field ref(std::string& field) { return &field; }
Field ref(std::uint32_t& field) { return &field; }
Field ref(std::uint64_t& field) { return &field; }
Field ref(bool& field) { return &field; }
Field ref(std::optional<bool>& field) { return &field; }
Field ref(Endpoint& field) { return &field; }
Field ref(std::vector<Endpoint>& field) { return &field; }
Field ref(Consistency& field) { return ChoiceField{as_byte(field), kConsistencyNames}; }
Field ref(Durability& field) { return ChoiceField{as_byte(field), kDurabilityNames}; }
Field ref(SessionScope& field) { return ChoiceField{as_byte(field), kSessionScopeNames}; }
Field ref(OnLostWrite& field) { return ChoiceField{as_byte(field), kOnLostWriteNames}; }
Field ref(Compression& field) { return ChoiceField{as_byte(field), kCompressionNames}; }
Field ref(Partition& field) { return ChoiceField{as_byte(field), kPartitionNames}; }
Field ref(LogLevel& field) { return ChoiceField{as_byte(field), kLogLevelNames}; }

// field<&Settings::redis, &RedisSettings::address>: the way from the settings to one field.
template <auto Section, auto Member>
Field field(Settings& settings, std::size_t index) {
  auto& section = settings.*Section;
  using Holder = std::remove_reference_t<decltype(section)>;
  if constexpr (kIsVector<Holder>) {
    if (index >= section.size()) return std::monostate{};
    return ref(section[index].*Member);
  } else if constexpr (kIsOptional<Holder>) {
    if (!section) return std::monostate{};
    return ref((*section).*Member);
  } else {
    return ref(section.*Member);
  }
}

template <auto Section>
void add(Settings& settings) {
  auto& section = settings.*Section;
  using Holder = std::remove_reference_t<decltype(section)>;
  if constexpr (kIsVector<Holder>) {
    section.emplace_back();
  } else if constexpr (kIsOptional<Holder>) {
    if (!section) section.emplace();
  }
}

template <auto Section>
std::size_t count(const Settings& settings) {
  const auto& section = settings.*Section;
  using Holder = std::remove_cvref_t<decltype(section)>;
  if constexpr (kIsVector<Holder>) return section.size();
  if constexpr (kIsOptional<Holder>) return section ? 1 : 0;
  return 1;
}

using Kind = SectionRow::Kind;

constexpr SectionRow kSections[] = {
    {"node", Kind::kAlways, true, "This node: who it is and where it stands.", add<&Settings::node>,
     count<&Settings::node>},
    {"redis", Kind::kOptional, true,
     "The redis-server that this node stands in front of. Leave the table out for a sidecar, which "
     "has none of its own.",
     add<&Settings::redis>, count<&Settings::redis>},
    {"listen", Kind::kRepeated, true,
     "Where clients connect. Write a [[listen]] table for each endpoint.", add<&Settings::listen>,
     count<&Settings::listen>},
    {"peer", Kind::kOptional, false, "Where the other nodes of a cluster reach this one.",
     add<&Settings::peer>, count<&Settings::peer>},
    {"admin", Kind::kOptional, true,
     "HTTP for operators: /metrics, /healthz, /readyz, /status and a status page. It has no login: "
     "keep it where only operators reach it.",
     add<&Settings::admin>, count<&Settings::admin>},
    {"cluster", Kind::kOptional, false,
     "The cluster that this node is part of. Without it, or with the hold_ keys alone, the node "
     "stands in front of a single redis-server.",
     add<&Settings::cluster>, count<&Settings::cluster>},
    {"reads", Kind::kAlways, true,
     "In a cluster: reads at the replica next door, by the consistency of the session.",
     add<&Settings::reads>, count<&Settings::reads>},
    {"back_pressure", Kind::kAlways, true,
     "In a cluster: how the primary slows writes down, by a little and more and more, while a "
     "replica does not keep up with them. Reads are never slowed.",
     add<&Settings::back_pressure>, count<&Settings::back_pressure>},
    {"limits", Kind::kAlways, true, "What clients may cost.", add<&Settings::limits>,
     count<&Settings::limits>},
    {"log", Kind::kAlways, true, "The log, on standard error, one line an event.",
     add<&Settings::log>, count<&Settings::log>},
    {"slowlog", Kind::kAlways, true,
     "The node's own slow log: what took long as the clients see it, from the request's arrival to "
     "its reply.",
     add<&Settings::slowlog>, count<&Settings::slowlog>},
};

constexpr SettingRow kRows[] = {
    // [node]
    {.section = "node",
     .key = "id",
     .field = field<&Settings::node, &NodeSettings::id>,
     .doc = "The node's name: unique in its cluster and the same after a restart. Unset: node- and "
            "the host's name.",
     .sample = "\"a1\"",
     .text = TextRule::kName,
     .needs_restart = true},
    {.section = "node",
     .key = "region",
     .field = field<&Settings::node, &NodeSettings::region>,
     .doc = "The region that the zone is in; like the zone.",
     .sample = "\"us-east-1\"",
     .text = TextRule::kPlace,
     .needs_restart = true},
    {.section = "node",
     .key = "zone",
     .field = field<&Settings::node, &NodeSettings::zone>,
     .doc =
         "The availability zone. Reads stay in it where they may. Or where its name is found: "
         "\"env:AZ\" in the environment, \"file:/etc/podinfo/zone\" in a file (of a path, the last "
         "part).",
     .sample = "\"use1-az1\"",
     .text = TextRule::kPlace,
     .needs_restart = true},
    {.section = "node",
     .key = "data_dir",
     .field = field<&Settings::node, &NodeSettings::data_dir>,
     .doc = "Where a cluster's node keeps its promises, its membership and what lost in merges. "
            "Not used without a cluster.",
     .text = TextRule::kPath,
     .needs_restart = true},
    {.section = "node",
     .key = "workers",
     .field = field<&Settings::node, &NodeSettings::workers>,
     .doc = "Threads that serve clients. One keeps up with a redis-server; more help with many "
            "connections or large values.",
     .least = 1,
     .most = kWorkersMax,
     .needs_restart = true},

    // [redis]
    {.section = "redis",
     .key = "address",
     .field = field<&Settings::redis, &RedisSettings::address>,
     .doc = "host:port, [IPv6]:port or unix:/path.",
     .sample = "\"127.0.0.1:6379\"",
     .endpoint = EndpointRule::kConnect,
     .required = true,
     .needs_restart = true},
    {.section = "redis",
     .key = "username",
     .field = field<&Settings::redis, &RedisSettings::username>,
     .doc = "What the node itself logs in as, to watch its Redis and in a cluster to drive it: the "
            "same on every member. Clients log in with their own names and passwords. Unset: the "
            "default user.",
     .sample = "\"azimuth\""},
    {.section = "redis",
     .key = "password",
     .field = field<&Settings::redis, &RedisSettings::password>,
     .doc = "Its password. Never logged or shown.",
     .sample = "\"secret\"",
     .text = TextRule::kSecret},
    {.section = "redis",
     .key = "connect_timeout_ms",
     .field = field<&Settings::redis, &RedisSettings::connect_timeout_ms>,
     .doc = "How long one attempt to connect may take before the next begins.",
     .least = 10,
     .most = 60'000},

    // [[listen]]
    {.section = "listen",
     .key = "address",
     .field = field<&Settings::listen, &ListenSettings::address>,
     .doc = "host:port, [IPv6]:port or unix:/path. 0.0.0.0:6380 and [::]:6380 are every interface.",
     .sample = "\"127.0.0.1:6380\"",
     .endpoint = EndpointRule::kListen,
     .required = true,
     .needs_restart = true},
    {.section = "listen",
     .key = "consistency",
     .field = field<&Settings::listen, &ListenSettings::consistency>,
     .doc = "What reads promise; a session changes it with AZIMUTH CONSISTENCY. causal: one's own "
            "writes are seen, and reads never go back."},
    {.section = "listen",
     .key = "staleness_ms",
     .field = field<&Settings::listen, &ListenSettings::staleness_ms>,
     .doc = "With bounded-staleness: how old what is read may be, in milliseconds.",
     .least = 1,
     .most = 3'600'000},
    {.section = "listen",
     .key = "durability",
     .field = field<&Settings::listen, &ListenSettings::durability>,
     .doc = "When a write is acknowledged. async: when the primary has it, as Redis does. quorum: "
            "when every later election must find it; clients' users need the right to WAIT. No "
            "difference in front of a single Redis."},
    {.section = "listen",
     .key = "session_scope",
     .field = field<&Settings::listen, &ListenSettings::session_scope>,
     .doc = "Whose writes and reads a session's reads must not fall behind, in a cluster: those of "
            "one connection, of all connections of its user, of its client-name (CLIENT SETNAME), "
            "or of the whole node, so that an application sees its own writes whichever connection "
            "of its pool it draws. A session changes it with AZIMUTH SESSION. by-role: connection "
            "for a member, node for a sidecar."},
    {.section = "listen",
     .key = "allow_sync",
     .field = field<&Settings::listen, &ListenSettings::allow_sync>,
     .doc = "Whether SYNC, PSYNC and REPLCONF are served, for redis-cli --rdb and --replica. "
            "Unset: in front of a single Redis only.",
     .sample = "true"},
    {.section = "listen",
     .key = "unix_mode",
     .field = field<&Settings::listen, &ListenSettings::unix_mode>,
     .doc = "The access mode of a unix: address.",
     .least = 0,
     .most = 0777,
     .octal = true,
     .needs_restart = true},

    // [peer]
    {.section = "peer",
     .key = "address",
     .field = field<&Settings::peer, &PeerSettings::address>,
     .doc = "Where this node listens for the others: TCP for links, UDP for gossip.",
     .sample = "\"0.0.0.0:7380\"",
     .endpoint = EndpointRule::kPeer,
     .required = true,
     .needs_restart = true},
    {.section = "peer",
     .key = "advertise",
     .field = field<&Settings::peer, &PeerSettings::advertise>,
     .doc = "The address that the others are told. Unset: address, which must then be one that "
            "they can reach.",
     .sample = "\"10.0.1.5:7380\"",
     .endpoint = EndpointRule::kReached,
     .needs_restart = true},
    {.section = "peer",
     .key = "plaintext",
     .field = field<&Settings::peer, &PeerSettings::plaintext>,
     .doc =
         "Whether commands and replication pass between the nodes in plain text. Unset, they are "
         "encrypted. Gossip and elections always are. The same on every node.",
     .needs_restart = true},
    {.section = "peer",
     .key = "compression",
     .field = field<&Settings::peer, &PeerSettings::compression>,
     .doc = "Whether what this node sends to another zone is compressed (by zstd; within a zone "
            "nothing ever is). auto: as hard as it is worth, and not what does not shrink. on: all "
            "of it, always at compression_level_max. off: nothing, in neither direction.",
     .needs_restart = true},
    {.section = "peer",
     .key = "compression_level_min",
     .field = field<&Settings::peer, &PeerSettings::compression_level_min>,
     .doc = "The level of zstd that auto falls to where compressing would take more than a third "
            "of a worker's time.",
     .least = 1,
     .most = kPackLevelMost,
     .needs_restart = true},
    {.section = "peer",
     .key = "compression_level_max",
     .field = field<&Settings::peer, &PeerSettings::compression_level_max>,
     .doc = "The level that auto rises to where it takes less than an eighth, or where the "
            "network is what everybody waits for.",
     .least = 1,
     .most = kPackLevelMost,
     .needs_restart = true},
    {.section = "peer",
     .key = "compression_delay_ms",
     .field = field<&Settings::peer, &PeerSettings::compression_delay_ms>,
     .doc = "How long replication to another zone may wait for more of it, which compresses better "
            "together and shares its packets. It waits only where enough is to be expected, and "
            "never when a write waits for its copies, or anything else goes the same way. 0: not "
            "at all.",
     .least = 0,
     .most = kPackDelayMsMost,
     .needs_restart = true},
    {.section = "peer",
     .key = "tls_cert_file",
     .field = field<&Settings::peer, &PeerSettings::tls_cert_file>,
     .doc = "With certificates, links between the nodes are mutual TLS 1.3, and the cluster key is "
            "proved inside. PEM: this node's certificate, for servers and clients, and the CAs in "
            "between. All three tls_ keys or none, on every node alike; SIGHUP reads the files "
            "again.",
     .sample = "\"/etc/azimuth/node.crt\"",
     .text = TextRule::kPath},
    {.section = "peer",
     .key = "tls_key_file",
     .field = field<&Settings::peer, &PeerSettings::tls_key_file>,
     .doc = "The certificate's private key: PEM, without a passphrase, mode 0640 or stricter.",
     .sample = "\"/etc/azimuth/node.key\"",
     .text = TextRule::kPath},
    {.section = "peer",
     .key = "tls_ca_file",
     .field = field<&Settings::peer, &PeerSettings::tls_ca_file>,
     .doc = "PEM: the CAs that the certificates of all nodes must come from.",
     .sample = "\"/etc/azimuth/ca.crt\"",
     .text = TextRule::kPath},

    // [admin]
    {.section = "admin",
     .key = "address",
     .field = field<&Settings::admin, &AdminSettings::address>,
     .doc = "host:port, [IPv6]:port or unix:/path.",
     .sample = "\"127.0.0.1:9380\"",
     .endpoint = EndpointRule::kListen,
     .required = true,
     .needs_restart = true},

    // [cluster]
    {.section = "cluster",
     .key = "name",
     .field = field<&Settings::cluster, &ClusterSettings::name>,
     .doc = "The cluster's name: nodes of another name are not listened to.",
     .sample = "\"orders\"",
     .text = TextRule::kName,
     .required = true,
     .needs_restart = true},
    {.section = "cluster",
     .key = "seeds",
     .field = field<&Settings::cluster, &ClusterSettings::seeds>,
     .doc = "Some nodes of the cluster, by their advertised addresses, of which one must be up for "
            "this node to find the rest. Its own address may be among them.",
     .sample = "[\"10.0.1.5:7380\", \"10.0.2.5:7380\"]",
     .endpoint = EndpointRule::kReached,
     .needs_restart = true},
    {.section = "cluster",
     .key = "bootstrap_expect",
     .field = field<&Settings::cluster, &ClusterSettings::bootstrap_expect>,
     .doc =
         "How many members a new cluster waits for before it elects its first primary; a witness "
         "is none. The same on every node.",
     .sample = "3",
     .least = 1,
     .most = kMembersMax,
     .required = true,
     .needs_restart = true},
    {.section = "cluster",
     .key = "key_file",
     .field = field<&Settings::cluster, &ClusterSettings::key_file>,
     .doc =
         "The file of the cluster's key, which all nodes share: 64 hexadecimal digits, mode 0600. "
         "azimuth keygen prints one.",
     .sample = "\"/etc/azimuth/cluster.key\"",
     .text = TextRule::kPath,
     .required = true,
     .needs_restart = true},
    {.section = "cluster",
     .key = "partition",
     .field = field<&Settings::cluster, &ClusterSettings::partition>,
     .doc =
         "What a split does to writes. pause: the side with a majority takes them, the other "
         "holds and then refuses. merge: each side goes on, and they are merged on healing; until "
         "that is there it is as pause.",
     .needs_restart = true},
    {.section = "cluster",
     .key = "voter",
     .field = field<&Settings::cluster, &ClusterSettings::voter>,
     .doc = "Whether the node has a vote in elections. Unset: with a [redis] yes, as a sidecar no. "
            "A sidecar that votes is a witness.",
     .sample = "true",
     .needs_restart = true},
    {.section = "cluster",
     .key = "lease_ms",
     .field = field<&Settings::cluster, &ClusterSettings::lease_ms>,
     .doc = "How long the primary may take writes after a majority of voters last agreed; it asks "
            "five times in each. Shorter: a dead primary is replaced sooner. Longer: a stumbling "
            "network matters less. The same on every node.",
     .least = 100,
     .most = 60'000,
     .needs_restart = true},
    {.section = "cluster",
     .key = "probe_interval_ms",
     .field = field<&Settings::cluster, &ClusterSettings::probe_interval_ms>,
     .doc = "How often the node asks some other node whether it is alive. Short of both lease_ms "
            "and suspicion_ms.",
     .least = 10,
     .most = 60'000,
     .needs_restart = true},
    {.section = "cluster",
     .key = "suspicion_ms",
     .field = field<&Settings::cluster, &ClusterSettings::suspicion_ms>,
     .doc = "How long a silent node may deny its death before it counts as dead, at the least: the "
            "fewer confirm it, the longer.",
     .least = 10,
     .most = 600'000,
     .needs_restart = true},
    {.section = "cluster",
     .key = "redis_silence_ms",
     .field = field<&Settings::cluster, &ClusterSettings::redis_silence_ms>,
     .doc = "How long the local Redis may leave its azimuth without an answer, busy with a long "
            "script or a large value, before another node's takes its place. One whose process "
            "has ended is noticed at once.",
     .least = 100,
     .most = 600'000,
     .needs_restart = true},
    {.section = "cluster",
     .key = "backlog_outage_ms",
     .field = field<&Settings::cluster, &ClusterSettings::backlog_outage_ms>,
     .doc = "How long a replica may be cut off and still be streamed what it missed instead of "
            "taking a full copy: by the measured rate of writes, the backlog of Redis is made "
            "large enough for it (before Redis 7.0 it stays at backlog_bytes_min).",
     .least = 0,
     .most = 86'400'000,
     .needs_restart = true},
    {.section = "cluster",
     .key = "backlog_bytes_min",
     .field = field<&Settings::cluster, &ClusterSettings::backlog_bytes_min>,
     .doc = "The least that the backlog is made. A larger repl-backlog-size is left as it is.",
     .least = 16 * kKiB,
     .most = kConfiguredBytesMax,
     .needs_restart = true},
    {.section = "cluster",
     .key = "backlog_bytes_max",
     .field = field<&Settings::cluster, &ClusterSettings::backlog_bytes_max>,
     .doc = "The most; it is memory of Redis. Where Redis has a maxmemory, a tenth of that is the "
            "most, too.",
     .least = 16 * kKiB,
     .most = kConfiguredBytesMax,
     .needs_restart = true},
    {.section = "cluster",
     .key = "tunnel_tree",
     .field = field<&Settings::cluster, &ClusterSettings::tunnel_tree>,
     .doc = "true: while this node is the primary, replicas of another zone replicate from one "
            "among them, as far as that leaves enough copies for `quorum`, so that the stream "
            "crosses to their zone once; false: each from the primary."},
    {.section = "cluster",
     .key = "hold_timeout_ms",
     .field = field<&Settings::hold, &HoldSettings::timeout_ms>,
     .doc = "How long a command waits for a Redis or a primary that is away before it is refused "
            "with CLUSTERDOWN, and a quorum write for its copies before it answers UNCERTAIN. In "
            "force without a cluster too. 0: refused at once.",
     .least = 0,
     .most = 600'000},
    {.section = "cluster",
     .key = "hold_bytes_max",
     .field = field<&Settings::hold, &HoldSettings::bytes_max>,
     .doc =
         "How many bytes of commands may wait for each shared connection to a Redis that is away; "
         "more are refused at once. In force without a cluster too.",
     .least = 0,
     .most = kConfiguredBytesMax},

    // [reads]
    {.section = "reads",
     .key = "wait_ms",
     .field = field<&Settings::reads, &ReadSettings::wait_ms>,
     .doc = "How long a read waits for the replica next door to apply what the session has seen, "
            "before it goes to the primary. 0: it goes at once.",
     .least = 0,
     .most = 1000},
    {.section = "reads",
     .key = "lag_ms_max",
     .field = field<&Settings::reads, &ReadSettings::lag_ms_max>,
     .doc = "A replica whose data is older is not read, whatever the session has seen (but for "
            "the level eventual).",
     .least = 400,
     .most = 60'000},
    {.section = "reads",
     .key = "lag_bytes_max",
     .field = field<&Settings::reads, &ReadSettings::lag_bytes_max>,
     .doc = "... and neither is one that is more bytes behind than this, beyond what lag_ms_max "
            "allows.",
     .least = 0,
     .most = kConfiguredBytesMax},
    {.section = "reads",
     .key = "on_lost_write",
     .field = field<&Settings::reads, &ReadSettings::on_lost_write>,
     .doc = "Where a failover has lost something that a session had written or read: error tells "
            "it so in the place of its next command, continue does not. Both log it."},

    // [back_pressure]
    {.section = "back_pressure",
     .key = "start_bytes",
     .field = field<&Settings::back_pressure, &BackPressureSettings::start_bytes>,
     .doc = "A replica that lacks less than this of what the primary has written slows nobody ...",
     .least = 64 * kKiB,
     .most = kConfiguredBytesMax},
    {.section = "back_pressure",
     .key = "full_bytes",
     .field = field<&Settings::back_pressure, &BackPressureSettings::full_bytes>,
     .doc = "... and one that lacks this much slows writes by the whole delay_ms_max. Keep it "
            "below the limit of Redis's own output buffer for replicas.",
     .least = 128 * kKiB,
     .most = kConfiguredBytesMax},
    {.section = "back_pressure",
     .key = "start_ms",
     .field = field<&Settings::back_pressure, &BackPressureSettings::start_ms>,
     .doc = "The same in time: how long the primary takes to write, at its usual pace, what a "
            "replica lacks. The larger of the two counts.",
     .least = 10,
     .most = kConfiguredMsMax},
    {.section = "back_pressure",
     .key = "full_ms",
     .field = field<&Settings::back_pressure, &BackPressureSettings::full_ms>,
     .doc = "... at which writes are slowed by the whole delay_ms_max.",
     .least = 20,
     .most = kConfiguredMsMax},
    {.section = "back_pressure",
     .key = "delay_ms_max",
     .field = field<&Settings::back_pressure, &BackPressureSettings::delay_ms_max>,
     .doc = "The most that a write waits for a replica's sake. 0: no write ever does.",
     .least = 0,
     .most = kWriteDelayUsMax / 1000},
    {.section = "back_pressure",
     .key = "give_up_ms",
     .field = field<&Settings::back_pressure, &BackPressureSettings::give_up_ms>,
     .doc = "A replica that has been at the end of that ramp for so long counts as out of sync: "
            "the log says replica_hopeless, and writes are slowed for the others alone until it is "
            "up to date again.",
     .least = 1000,
     .most = kConfiguredMsMax},

    // [limits]
    {.section = "limits",
     .key = "clients_max",
     .field = field<&Settings::limits, &LimitSettings::clients_max>,
     .doc = "Client connections of the node; one more is told so and closed, as Redis does.",
     .least = 1,
     .most = kClientsMax},
    {.section = "limits",
     .key = "client_output_bytes_max",
     .field = field<&Settings::limits, &LimitSettings::client_output_bytes_max>,
     .doc = "Replies that wait for one client; one past it that does not read is cut.",
     .least = kClientOutputHighBytes,
     .most = kConfiguredBytesMax},
    {.section = "limits",
     .key = "buffered_bytes_max",
     .field = field<&Settings::limits, &LimitSettings::buffered_bytes_max>,
     .doc = "Requests and replies that wait for all clients of the node; above it the clients that "
            "hold the most are cut.",
     .least = 16 * kMiB,
     .most = kConfiguredBytesMax},
    {.section = "limits",
     .key = "peer_connections_max",
     .field = field<&Settings::limits, &LimitSettings::peer_connections_max>,
     .doc =
         "Connections to this node's Redis for the clients of other nodes, above all of sidecars; "
         "one more is refused, and its commands wait there. Keep it well below Redis's maxclients. "
         "Replication is not counted.",
     .least = 16,
     .most = kClientsMax},
    {.section = "limits",
     .key = "client_idle_timeout_s",
     .field = field<&Settings::limits, &LimitSettings::client_idle_timeout_s>,
     .doc = "Closes a client that sent nothing for so long; not one that blocks, subscribes or "
            "monitors. 0: never.",
     .least = 0,
     .most = kConfiguredSecondsMax},
    {.section = "limits",
     .key = "tcp_keepalive_s",
     .field = field<&Settings::limits, &LimitSettings::tcp_keepalive_s>,
     .doc = "How long a connection is silent before TCP asks whether the client is still there. 0: "
            "never.",
     .least = 0,
     .most = 32'767},
    {.section = "limits",
     .key = "drain_timeout_ms",
     .field = field<&Settings::limits, &LimitSettings::drain_timeout_ms>,
     .doc = "How long a stopping node waits for outstanding replies before it closes its clients.",
     .least = 0,
     .most = 600'000},

    // [log]
    {.section = "log",
     .key = "level",
     .field = field<&Settings::log, &LogSettings::level>,
     .doc = "The least important events that are written."},

    // [slowlog]
    {.section = "slowlog",
     .key = "threshold_us",
     .field = field<&Settings::slowlog, &SlowlogSettings::threshold_us>,
     .doc = "Commands that take at least so long are kept.",
     .least = 0,
     .most = std::uint64_t{kConfiguredMsMax} * 1000},
    {.section = "slowlog",
     .key = "entries_max",
     .field = field<&Settings::slowlog, &SlowlogSettings::entries_max>,
     .doc = "How many are kept, the latest. 0: none.",
     .least = 0,
     .most = kSlowlogEntriesMax},
};

}  // namespace

std::span<const SettingRow> setting_rows() { return kRows; }
std::span<const SectionRow> section_rows() { return kSections; }

}  // namespace azimuth
