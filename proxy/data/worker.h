// A worker: one thread, one loop, its listeners, its clients and its connections to Redis. Workers
// share nothing on the data path but sessions that span connections (scopes.h); they and the
// control thread meet in mailboxes (post).
//
// A turn of the loop: sockets that are ready are read, requests go to upstream queues, replies go
// straight to clients' sockets. Before the loop sleeps again (on_prepare) the upstream queues are
// written, one write each, clients that may go on do, and what is left for clients is sent.
//
// Life of a request: on_client_readable -> process_requests -> dispatch -> forward ->
// Upstream::send
//
// Life of a reply: Upstream::on_readable -> deliver -> on_replied, flush_clients
#pragma once

#include <uv.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/settings.h"
#include "health/leadership_messages.h"
#include "proxy/control/metrics.h"
#include "proxy/control/slowlog.h"
#include "proxy/data/client.h"
#include "proxy/data/identity.h"
#include "proxy/data/replica.h"
#include "proxy/data/scripts.h"
#include "proxy/data/socket.h"
#include "proxy/data/splice.h"
#include "proxy/data/target.h"
#include "proxy/data/token.h"
#include "proxy/data/upstream.h"
#include "proxy/data/write_pace.h"
#include "proxy/group/applied.h"
#include "proxy/group/lease.h"
#include "proxy/peer/links.h"
#include "proxy/peer/relay.h"
#include "proxy/peer/tunnel.h"
#include "router/extra_commands.h"
#include "router/route.h"
#include "router/topology.h"

namespace azimuth {

class Worker;

// What the workers of a process have in common. Set up before they run; then only the atomics move.
struct Process {
  std::vector<std::unique_ptr<Worker>> workers;
  std::atomic<uint64_t> next_client_id{1};
  std::atomic<int64_t> clients{0};
  std::atomic<uint64_t> slowlog_ids{0};
  Lease lease;
  Applied applied;
  Scopes scopes;
  Tokens tokens;
  std::optional<LinkSettings> link;  // none: no cluster, and so no peers
  // Runs on the control thread.
  std::function<void(std::function<void()>)> post_to_control;
  // A worker has nothing in flight any more, while the topology says `holding` for this hand-over.
  // Any thread.
  std::function<void(unsigned worker, uint64_t hand_over)> worker_quiet;
  // What becomes of tunnels to the local Redis. Any thread; unset without a cluster.
  std::function<void(unsigned worker, CopyNews news)> on_copy;
  // AZIMUTH SWITCHOVER, ELECT FORCE, MEMBER. `answer` runs on the control thread: empty when the
  // new primary is ready or the members are changed, else why not. Any thread; unset without a
  // cluster.
  std::function<void(Wish::Kind kind, std::string node,
                     std::function<void(const std::string&)> answer)>
      ask_group;
  // AZIMUTH STATUS, INFO's section and the like; thread-safe.
  std::function<std::string()> status_json;
  std::function<std::string()> info_section;
};

struct ReceiveSpace {
  BlockRef block;
  char* data;
  size_t size;
};

// A request as dispatch sees it. `block` is empty where the bytes do not stand in a receive block.
struct Request {
  const RequestFrame& frame;
  std::string_view bytes;
  const BlockRef& block;
  bool more;  // the client has sent more behind it
  std::span<const std::string_view> args() const { return {frame.args.data(), frame.stored}; }
};

enum class Step : uint8_t { kDone, kWait };  // kWait: the request stays where it is

class Worker {
 public:
  Worker(Process& process, unsigned index, std::shared_ptr<const Settings> settings,
         std::shared_ptr<const Topology> topology, SocketAddress redis_address);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // --- set-up and control (before run(), or from the control thread where it says so)
  // Takes a listening socket; the worker closes it.
  void add_listener(int fd, size_t settings_index);
  // Takes a listening socket for the links of peers.
  void add_peer_listener(int fd);
  // Runs the loop until drain() is done.
  void run();
  // Any thread: runs `task` on this worker's thread, in order. False: it has ended, and does not.
  bool post(std::function<void(Worker&)> task);
  // Any thread: something that the worker has asked to be told of has happened.
  void wake();
  void drain();  // on the worker's thread
  void apply_settings(std::shared_ptr<const Settings> settings);
  // `hand_over`: the number of the hand-over that the topology is holding for.
  void set_topology(std::shared_ptr<const Topology> topology, SocketAddress redis_address,
                    uint64_t hand_over);
  void set_extra_commands(std::shared_ptr<const ExtraCommands> commands);
  // As long as this node is the primary's, each write is to wait for so long, here and at the nodes
  // that send theirs here.
  void set_pace(uint32_t delay_us);
  const WorkerMetrics& metrics() const { return metrics_; }
  const LinkMetrics& link_metrics() const { return link_metrics_; }
  // On the worker's thread; null without a cluster. The tunnel of this node's Redis: worker 0 only.
  Links* links() { return links_ ? &*links_ : nullptr; }
  Relays* relays() { return relays_ ? &*relays_ : nullptr; }
  std::unique_ptr<TunnelListener>& tunnel() { return tunnel_; }

  // --- for connections to Redis
  uv_loop_t* loop() { return &loop_; }
  WorkerMetrics& metrics() { return metrics_; }
  const Settings& settings() const { return *settings_; }
  const SocketAddress& redis_address() const { return redis_address_; }
  const Target& target() const { return target_; }
  // A client at the front of a shared connection has left so much unread: keep it for the client
  // nevertheless, and go on reading?
  bool absorbs(size_t unread) const;
  bool leads() const {
    return target_.kind == TargetKind::kNear && process_.lease.holds(target_.epoch);
  }
  // A sidecar: it may be one of thousands, and opens connections when they are needed, not before.
  bool sparing() const { return process_.link && !settings_->redis; }
  uint64_t connect_timeout_ms() const;
  uint32_t now_us();
  uint64_t now_ms() const { return uv_now(&loop_); }
  uint64_t random() { return random_(); }
  // A client's request has found a full queue: what else is read now may do so, too, and would have
  // to be kept. So it is read in small pieces, until there is room.
  void note_crowded() { crowded_ = true; }
  ReceiveSpace receive_space();
  void received(size_t bytes) { receive_used_ += bytes; }
  Client* client(ClientRef ref);
  void deliver(Client& client, const BlockRef& block, std::string_view bytes);
  // The same of what has gone to the client's socket already, but for the rest.
  void delivered(Client& client, const SplicePipe::Moved& moved);
  SplicePipe& splice() { return splice_; }
  void flush_clients();
  void mark_dirty(Upstream& upstream);
  void mark_dirty(Client& client);
  void resume_all(std::vector<ClientRef>& waiting);
  void retry_in(uint64_t delay_ms);
  void bury(Upstream& upstream);
  void cut(Client& client, CutReason reason);
  // Plain requests of one client, sent in one turn, are answered.
  void on_run_replied(Client& client, const Entry& first, uint32_t reads, uint32_t writes);
  void on_replied(Upstream& upstream, const Entry& entry, char type, size_t bytes);
  void on_collected(Upstream& upstream, const Entry& entry, const std::string& reply);
  void on_canned(Upstream& upstream, const Entry& entry);
  void on_upstream_ready(Upstream& upstream);
  void on_upstream_lost(Upstream& upstream);
  // All connections follow a primary that moves: it is told once.
  void tell_planned_loss(std::string_view why);
  void on_dedicated_lost(Upstream& upstream);
  void on_dedicated_refused(Upstream& upstream);
  void tell_login_known();
  void on_identity_refused(Identity& identity, bool needs_login);
  void set_default_user_open(bool open);
  void learn_login_rule(Client& newcomer);  // of a sidecar
  // Since when Redis takes no connections (ms); what waits for one waits no longer than since then.
  uint64_t note_redis_away(bool for_sure) {
    if (away_since_ms_ != 0) return away_since_ms_;
    if (for_sure) away_since_ms_ = now_ms();
    return now_ms();
  }

  // --- positions (positions.cpp)
  // There is a cluster, where what a session has done and seen has a position. (How many members
  // are known says nothing: a node that has just started may not have heard of the others.)
  bool tags() const { return topology_->epoch != 0; }
  // ... reads as well: the primary is elsewhere, and the next one may be read next door.
  bool tags_reads() const { return target_.kind == TargetKind::kFar && replica_.there(); }
  uint32_t next_batch() { return ++batches_; }
  // The primary, asked behind the batch, had got as far as `offset`.
  void on_tag(const BatchTag& tag, uint64_t offset);
  // Brings the client's floor into the present epoch. False: what it had seen is lost, and it has
  // to be told.
  bool carry_floor(Client& client);
  // It is told now. False: another connection of its session has just been.
  bool take_word_of_loss(Client& client);
  // Its user, its name or what it wants has changed: it shares its session with others (scopes.h).
  void enter_scope(Client& client);
  // Some client does.
  bool shares_sessions() const { return sharing_ != 0; }
  Replica& replica() { return replica_; }
  const Replica& replica() const { return replica_; }
  unsigned index() const { return index_; }
  // How many replicas a `quorum` write takes at this node's own primary may have changed: said to
  // all that await an answer there (upstream_quorum.cpp).
  const QuorumCount::Seen& look_at_quorum();
  WritePace& pace() { return pace_; }

  // --- for the commands that azimuth answers (local_commands.cpp, client_commands.cpp)
  Process& process() { return process_; }
  ScriptCache& scripts() { return scripts_; }
  // In front of an EVALSHA: Redis may have restarted since the script was loaded, or the primary
  // has moved. (Answering NOSCRIPT first and repeating the command would let later ones overtake.)
  void load_lost_script(Upstream& upstream, std::string_view evalsha);
  Slowlog& slowlog() { return slowlog_; }
  Upstream& auth_connection() { return *auth_; }
  Identity& default_identity() { return *default_identity_; }
  // Which shared connection a plain command goes to, as long as the topology is this one.
  Role plain_role(const CommandRow& row) const { return plain_roles_[row.id]; }
  bool default_user_open() const { return default_user_open_; }
  void reply(Client& client, std::string_view text);
  void resume(Client& client);
  // The reply that the client waited for (Wait::kAnswer) is written: on with its next request.
  void answered(Client& client);
  Client* find_client(uint64_t id);
  void for_each_client(const std::function<void(Client&)>& visit);
  Identity& identity(bool logged_in, std::string_view user, std::string_view secret,
                     uint8_t protocol, int32_t db);
  void adopt_identity(Client& client, Identity& identity);
  // The levels that its listener gives to whoever has not asked for others.
  void adopt_listener(Client& client);
  // The client's protocol or database has changed.
  void renew_identity(Client& client);
  Upstream& shared(Identity& identity, Role role, uint8_t seat = 0);
  // A copy: what is done with one may make or close others.
  std::vector<Upstream*> all_upstreams() const;
  // Itself, if it still exists; else null.
  Identity* known(const Identity* identity);
  Upstream& attach_dedicated(Client& client);
  void detach_dedicated(Client& client);
  // Queues a request of the client's (`bytes` may stand in `block`) on `upstream`.
  void forward(Client& client, Upstream& upstream, Entry entry, const BlockRef& block,
               std::string_view bytes);
  void record_command(const CommandRow* row, CommandRoute route);
  // `strong` reads show only what every later primary has, and so do its writes. (One Redis alone
  // has no later one.)
  bool is_strong(const Client& client) const {
    return client.session.consistency == Consistency::kStrong && tags();
  }
  bool wants_quorum(const Client& client) const {
    return client.session.durability == Durability::kQuorum || is_strong(client);
  }
  // What its read must reach together with others; nothing where it need not.
  Scope::Sight shared_sight(const Client& client) const;
  SessionView view_of(const Client& client, const Scope::Sight& shared) const;
  const Topology& topology() const { return *topology_; }
  const ExtraCommands* extra_commands() const { return extra_commands_.get(); }
  // The clients of all workers: `ask` runs on each worker's thread and appends what it finds;
  // `done` runs here with all of it, if the client still exists.
  using Ask = std::function<void(Worker&, std::string& out)>;
  using Done = std::function<void(Client&, const std::string& all)>;
  void ask_all(Client& client, Ask ask, Done done);
  // The same where a worker may find it later: it calls `tell` once.
  using Tell = std::function<void(std::string_view found)>;
  using AskLater = std::function<void(Worker&, const Tell& tell)>;
  void ask_all_later(Client& client, AskLater ask, Done done);

 private:
  struct Listener {
    uv_poll_t* poll;
    int fd;
    size_t settings_index;
    Worker* worker;
  };

  // client_io.cpp
  void on_accept(Listener& listener);
  void admit(int fd, const Listener& listener);
  static void on_client_poll(uv_poll_t* handle, int status, int events);
  void on_client_readable(Client& client);
  void on_client_bytes(Client& client, const BlockRef& block, const char* p, const char* end);
  void on_client_eof(Client& client);
  ssize_t receive(Client& client, char* to, size_t most);
  void read_along(Client& client);
  const char* process_requests(Client& client, const BlockRef& block, const char* p,
                               const char* end);
  const char* forward_run(Client& client, const BlockRef& block, const char* p, const char* end);
  const char* finish_partial(Client& client, const char* p, const char* end);
  Step dispatch_inline(Client& client);
  void dispatch_input(Client& client, std::unique_ptr<Input> input);
  void keep_input(Client& client, const BlockRef& block, const char* p, const char* end);
  void scan_partial(Client& client);
  void stream_input(Client& client);
  void go_on(Client& client);
  bool begin_stream(Client& client, const RequestCursor& cursor, const BlockRef& block,
                    std::string_view bytes);
  void stream_readable(Client& client, const BlockRef& block, const char* p, const char* end);
  bool splice_stream(Client& client);
  void end_stream(Client& client);
  void deliver_apart(Client& client, const BlockRef& block, std::string_view bytes);
  void flush_client(Client& client);
  void after_flush(Client& client);
  void update_poll(Client& client);
  void protocol_error(Client& client, std::string_view text);

  // worker.cpp
  void on_prepare();
  void on_tick();
  void tend_upstreams(uint64_t now_ms);
  void count_upstreams();
  bool is_over(Identity& identity, uint64_t now_ms);
  void on_mail();
  void end_mail();
  void finish_drain();
  void end_late_ones(uint64_t now_ms);
  void remember_script(Client& client, const std::string& sha_reply);
  void forget_scripts();
  void leave_scope(Client& client);
  void carry_scopes();
  void show_unplaced(Client& client);
  void take_state(Client& client, Upstream& upstream, Topic topic, std::string_view reply);
  void finish_replied(Client& client);
  void drained(Client& client);
  void finish_soon(Client& client);
  void check_default_user(Client& client);
  void answer_deferred(ClientRef ref);
  void give_back(Upstream& upstream);
  void keep_spare(Identity& identity);
  void retarget(const Target& target);
  void renew_pace();
  bool carry_over(Client& client, Upstream& upstream);
  void set_holding(bool holding);
  void check_quiet();
  Upstream& make_dedicated(Identity& identity);
  void close_identity(Identity& identity);
  void close_idle(Identity& identity);
  void check_clients(uint64_t now_ms);
  void compute_plain_roles();
  size_t relays_max() const;
  void check_auth_connection(uint64_t now_ms);
  void start_accepting(Listener& listener);
  bool needs_quorum(const Client& client, const Entry& entry) const;
  void note_latency(Client& client, const Entry& entry);
  void note_slow(Client& client, const Entry& entry, uint32_t us);

  Process& process_;
  const unsigned index_;
  std::shared_ptr<const Settings> settings_;
  std::shared_ptr<const Topology> topology_;
  std::array<Role, kCommandIdCount> plain_roles_{};
  std::shared_ptr<const ExtraCommands> extra_commands_;
  SocketAddress redis_address_;
  Target target_;
  bool holding_ = false;     // a hand-over is under way: nothing new is sent
  bool told_quiet_ = false;  // ... and what was sent is answered
  uint64_t holding_since_ms_ = 0;
  uint64_t hand_over_ = 0;                // the last one's number
  std::vector<std::string> told_losses_;  // since the primary was another one
  WorkerMetrics metrics_;
  Slowlog slowlog_;
  ScriptCache scripts_;
  std::mt19937_64 random_;

  uv_loop_t loop_;
  uv_prepare_t prepare_;
  uv_timer_t tick_;
  uv_timer_t retry_;
  uv_async_t wake_;
  uint64_t retry_at_ms_ = 0;
  std::mutex mail_mutex_;
  std::vector<std::function<void(Worker&)>> mail_;
  bool ended_ = false;  // takes no mail any more

  std::vector<std::unique_ptr<Listener>> listeners_;
  // Clients stand in chunks that never move; a free place remembers the next one.
  static constexpr size_t kChunkClients = 64;
  std::vector<std::unique_ptr<Client[]>> chunks_;
  std::vector<uint32_t> free_clients_;
  uint32_t clients_ = 0;
  size_t unread_bytes_ = 0;  // output of all clients, as of their last flush

  std::vector<std::unique_ptr<Identity>> identities_;
  std::unordered_map<Upstream*, std::unique_ptr<Upstream>> upstreams_;
  std::vector<std::unique_ptr<Upstream>> graveyard_;
  Upstream* auth_ = nullptr;
  Identity* default_identity_ = nullptr;
  bool default_user_open_ = true;  // Redis's default user needs no password; assumed until known
  bool default_user_known_ = false;
  uint64_t login_heard_ms_ = 0;     // when Redis said so
  std::vector<std::function<void()>> login_known_;  // told when default_user_open_ is fresh

  // Peers: links are made by streams of ours and of theirs; what theirs want goes through relays.
  LinkMetrics link_metrics_;
  Replica replica_;
  WritePace pace_;
  uint32_t own_pace_us_ = 0;
  QuorumCount::Seen quorum_;
  uint32_t batches_ = 0;
  uint32_t sharing_ = 0;  // clients that have a scope
  std::optional<Relays> relays_;
  std::optional<Links> links_;
  std::unique_ptr<TunnelListener> tunnel_;

  BlockRef receive_block_;
  size_t receive_used_ = 0;
  SplicePipe splice_;
  BlockRef span_block_;
  std::vector<uint32_t> dirty_clients_;
  std::vector<Upstream*> dirty_upstreams_;
  std::vector<ClientRef> resuming_;
  RequestFrame frame_;
  bool crowded_ = false;
  uint32_t slowlog_budget_ = kSlowlogEntriesPerTickMax;
  uint32_t turn_us_ = 0;
  bool turn_timed_ = false;
  bool draining_ = false;
  bool drained_ = false;
  uint64_t drain_deadline_ms_ = 0;
  uint64_t away_since_ms_ = 0;
  uint64_t auth_checked_ms_ = 0;
};

}  // namespace azimuth
