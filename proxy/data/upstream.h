// One connection to a redis-server, shared by many clients or lent to one.
//
// Requests leave in the order they were queued, in one write a loop turn; each has an Entry in a
// FIFO, and the reply at the front belongs to the entry at the front. The object outlives its
// socket: when the connection is lost it connects again with back-off, and
//   - a request that had not been sent is sent again,
//   - a read whose bytes were kept is sent again,
//   - anything else answers -UNCERTAIN in its turn (I6: never twice).
// After `hold timeout` without a connection what waits answers -CLUSTERDOWN, and so does what
// comes.
//
// Its Redis is the primary's (Worker::target): this node's own by a socket, where every write to it
// needs the lease (I2), or another node's by a stream of a peer link, where that node sees to it.
// While a hand-over is under way, what was queued before it is sent, and what comes is held.
//
//   kIdle -> kConnecting -> kHandshake -> kReady
//     ^________ backoff _________|___________|        kClosed is final
//
// Owned by one worker.
#pragma once

#include <uv.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "conf/limits.h"
#include "health/backoff.h"
#include "proxy/data/buffer.h"
#include "proxy/data/client.h"
#include "proxy/data/redis_proof.h"
#include "proxy/data/replica.h"
#include "proxy/data/scopes.h"
#include "proxy/data/target.h"
#include "proxy/peer/link.h"
#include "session/pubsub.h"
#include "session/reply_framer.h"
#include "session/role_reply.h"

namespace azimuth {

struct Identity;

// The id by which Redis knows the connection, from HELLO's reply; 0 if it says none.
uint64_t hello_reply_id(std::string_view reply);

enum class EntryKind : uint8_t {
  kReply,    // the reply's bytes go to the client
  kDiscard,  // the reply is dropped: an injected command, or CLIENT REPLY OFF
  kNotify,   // as kReply, and the worker is told when it is complete
  kCollect,  // the whole reply goes to the worker, which answers the client
};

// What a kNotify or kCollect entry is about.
enum class Topic : uint8_t {
  kNone,
  kSubscribe,
  kUnblocked,  // a blocking command is answered
  kBegin,      // MULTI, or a WATCH in front of it
  kExec,
  kProtocolNow,
  kNameNow,
  kDiscard,
  kUnwatch,
  kPoison,  // what makes Redis abort a transaction
  kSelect,
  kAuth,
  kHello,       // AUTH on behalf of HELLO
  kLoggedIn,    // the first connection of the identity stands: AUTH is answered
  kServerInfo,  // HELLO's own reply
  kProbe,       // Redis says whether the user may do what azimuth does itself
  kInfo,
  kScriptLoad,
  kScriptFlush,
  kScriptAgain,  // SCRIPT LOAD in front of an EVALSHA, since Redis may have forgotten the script
  kAclChange,
  kTracking,    // CLIENT TRACKING
  kExecLost,    // DISCARD in EXEC's place, since what was watched may have changed
  kExecBroken,  // the same, since the transaction had begun at a primary that is gone
  kQuorum,      // WAIT behind writes of durability `quorum`
  kTag,         // ROLE behind requests to the primary: the position that they had got to
  kGate,        // ROLE in front of reads at a replica: may they be believed?
  kToken,       // ROLE on behalf of AZIMUTH TOKEN
  kRedirect,    // CLIENT TRACKINGINFO, GETREDIR: Redis's client id becomes azimuth's
};

// A reply of azimuth's own that takes its turn among Redis's.
enum class Canned : uint8_t {
  kNone,
  kUncertain,    // the connection was lost after the request was sent
  kNotSent,      // the connection was lost while it was being sent: it did not run
  kNoQuorum,     // it ran, and not enough voters had it in time
  kNotShown,     // a `strong` read: not enough voters had what it read in time
  kClusterDown,  // no connection for too long
  kHandshake,    // Redis refused the connection: the text is Redis's own
  kLostFloor,    // what its session had seen was lost while it waited: it did not run
};

struct Entry {
  ClientRef client;
  uint64_t size = 0;      // bytes on the wire, so far
  uint32_t start_us = 0;  // the worker's clock
  uint32_t replies = 1;   // frames that answer it; SUBSCRIBE a b c: three
  uint16_t command = 0;   // row of the command table; of WAIT, the replicas that it asks for
  EntryKind kind = EntryKind::kReply;
  Topic topic = Topic::kNone;
  Canned canned = Canned::kNone;
  bool repeatable : 1 = false;  // may be sent again though it may have run
  bool retained : 1 = false;    // its bytes are in retained_
  bool injected : 1 = false;    // SELECT and the like, made again when needed
  bool silent : 1 = false;      // the client wants no reply
  bool awaited : 1 = false;     // the client's Wait::kAnswer is for this one
  bool write : 1 = false;
  bool bound : 1 = false;      // of a transaction: it means nothing on another connection
  bool confirmed : 1 = false;  // SUBSCRIBE: the first confirmation is there
  bool moved : 1 = false;      // handed over once: hand_over()
  bool tried : 1 = false;      // a script that was outstanding when a connection was lost
  bool quorum : 1 = false;     // its reply is held until enough voters have what is before WAIT
  bool strong : 1 = false;     // a read that shows only what enough voters have
  bool evalsha : 1 = false;    // needs its script: Worker::load_lost_script
  bool plain : 1 = false;      // set by Upstream: nothing but its bytes matters of the reply
};

bool runs_script(const Entry& entry);

inline constexpr std::string_view kAskRole = "*1\r\n$4\r\nROLE\r\n";

// Requests queued on one connection since the last ROLE was: what has a position in common.
struct BatchTag {
  uint32_t batch = 0;
  bool shown = false;  // something of it was delivered, and its position has not come
  uint64_t epoch = 0;  // that it was asked in
  uint64_t asked_ms = 0;
  std::vector<ClientRef> clients;
  std::vector<ScopePart> parts;
};

// kReplica: reads at the replica next door (replica.h); all others lead to the primary.
enum class Role : uint8_t { kReads, kWrites, kScripts, kQuorum, kReplica, kDedicated, kAuth };

class Upstream final : private StreamUser {
 public:
  // `seat`: of the replica that it leads to.
  Upstream(Worker& worker, Identity* identity, Role role, uint8_t seat = 0);
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  void connect();

  // Queues a request whose bytes stand in `block` (or anywhere, when `block` is empty: copied).
  void send(const Entry& entry, const BlockRef& block, std::string_view bytes);
  // A run of plain requests of one client that stand side by side: an entry each, then the bytes.
  void add_to_run(const Entry& entry);
  void end_run(const BlockRef& block, std::string_view bytes);
  // More bytes of the request sent last, which streams.
  void send_more(const BlockRef& block, std::string_view bytes);
  // The same, from the socket `from` and at most so many; how many, 0 where they must be received.
  size_t splice_request(int from, size_t most);
  // How many replicas a quorum takes may have changed at this node's own primary: what is
  // outstanding there is judged by no less than that.
  void on_quorum(unsigned since);
  // Behind requests to the primary: the position that they have got to (positions.cpp).
  void ask_tag();
  // The same for nobody: how far the primary is (session/freshness.h).
  void ask_proof();
  // To a replica: the reads queued from now on until the next flush are believed only where it
  // has applied `offset` by then; `any`: whatever it is.
  void require(uint64_t offset, bool any);
  // ... has begun, and what joins it costs no more questions.
  bool batch_open() const { return gate_open_; }
  // Batches that it has not begun to answer, the open one among them.
  size_t batches_owed() const { return gates_.size(); }
  // A read of so many bytes can be sent to the primary should the replica fail.
  bool can_retain(size_t bytes) const;
  // A replica that owes an answer and is silent; or whose Redis is to be tried again.
  void tend_replica();
  // To the primary with all that is outstanding here. (`failed`: that is the replica's fault.)
  void give_up_replica(std::string_view why, bool failed = true);
  // The same, planned: a reply that has begun comes to its end first, on a connection that retires.
  void leave_replica();
  // SCRIPT LOAD, at most once a connection, in front of the EVALSHA that is sent next.
  void load_script(std::string_view sha, std::string_view body);
  // Subscribes to `names` of one family again, without the client's noticing.
  void subscribe_again(PubsubFamily family, const std::set<std::string, std::less<>>& names);
  // A reply of ours after all that is outstanding.
  void answer_in_turn(Entry entry, Canned canned);

  void flush();
  void pause_reading(bool paused);
  void begin_close();
  // After a loss: queues again what may be sent again, and answers the rest.
  void rebuild_after_loss();
  struct Settled {
    Entry entry;
    std::string bytes;  // to be sent again
    bool answered() const { return entry.canned != Canned::kNone; }
  };
  std::vector<Settled> settle_outstanding(bool keep_bound);
  std::vector<bool> may_repeat(const std::vector<Entry>& outstanding, bool keep_bound) const;
  void queue_settled(const Settled& settled);
  bool is_lost(const Entry& entry);
  // The same of another connection's; answered at once where nothing can be sent.
  void take_over(const Settled& settled);
  void send_elsewhere(Client& client, Upstream& other);
  // Of a replica's connection: what all but one client are owed is asked of the primary.
  void send_others_elsewhere(const Client& staying);
  struct Elsewhere {
    Upstream& reads;
    Upstream& scripts;
    std::unordered_set<uint32_t> run_scripts;  // clients, by index
    Upstream& of(const Client& client) const;
  };
  Elsewhere elsewhere();
  void deliver_canned();
  // Answers all that is outstanding: what has run or may have says so, the rest did not run.
  void fail_outstanding();
  void answer_all(Canned canned);
  // Tries to connect again after a delay.
  void schedule_connect();
  void retry_soon();
  // No new requests; closes when the outstanding ones are answered.
  void retire();
  // The client at the front does not read its reply, and this shared connection must not wait for
  // that: it retires to that client, whose pace it has from now on, and `fresh` takes over what may
  // be sent again (reads whose bytes are kept) for everybody else. A request that was handed over
  // before goes to a connection of its client's own instead: it is never sent more than three
  // times, however many clients do not read.
  void hand_over(Client& slow, Upstream& fresh);
  // Since when somebody's request is stuck behind a client that does not read; 0: none is.
  uint64_t held_up_since_ms() const { return held_up_since_ms_; }
  void cut_front(CutReason reason);
  void check_front_reads();
  // What is still to come here was handed over, or asked by clients that have gone.
  bool forsaken();
  void on_tick(uint64_t now_ms);
  // A shared one that nobody has used for a while is closed, until somebody needs it; of a sidecar,
  // which keeps none in store (Worker::sparing).
  void rest_if_unused(uint64_t now_ms);
  // The login connection: closed on purpose, until somebody needs it.
  bool asleep() const { return asleep_; }

  // The primary is elsewhere now, or nobody: what is outstanding is judged as after a loss.
  void retarget();
  // Sends nothing that is queued from now on, until release().
  void hold();
  void release();
  // What has begun and does not end is cut where it is.
  void break_off();
  // Nothing that was sent is unanswered, but for what blocks.
  bool quiet();
  bool watched = false;  // WATCH was sent on it, and nothing that ends that was answered

  bool ready() const { return state_ == State::kReady; }
  // Tells the id by which Redis knows it as soon as it stands; nothing if it never does.
  using TellId = std::function<void(std::string_view id)>;
  void when_ready(TellId tell);
  // Does not wait for the back-off any longer: Redis takes connections.
  void retry_now();
  // Loses the connection on purpose, also one that is being made, to be told anew what a new one is
  // told. False: there is none.
  bool reconnect();
  bool failing_fast() const { return failing_fast_; }
  bool closed() const { return state_ == State::kClosed; }
  bool retired() const { return retired_; }
  // At the pace of the client at its front, which keeps nobody's memory but its own.
  bool reads_slowly() const { return paused_; }
  size_t outstanding() const { return entries_.size(); }
  // ... but for what azimuth has asked for itself, and what stops nobody.
  bool owes_clients();
  size_t queued_bytes() const { return out_.size(); }
  bool full() const {
    const bool own = role_ == Role::kDedicated;
    return out_.size() > (own ? kDedicatedQueueHighBytes : kUpstreamQueueHighBytes) ||
           entries_.size() >= kUpstreamInflightMax;
  }
  // ... enough for those who have waited.
  bool has_room() const {
    const bool own = role_ == Role::kDedicated;
    return (own ? out_.empty() : out_.size() < kUpstreamQueueLowBytes) &&
           entries_.size() < kUpstreamInflightMax / 2;
  }
  uint64_t redis_client_id() const { return redis_client_id_; }
  Role role() const { return role_; }
  uint8_t seat() const { return seat_; }
  Identity* identity() const { return identity_; }
  const std::string& handshake_error() const { return handshake_error_; }

  // The client that a dedicated connection is lent to; none: in the pool.
  ClientRef owner;
  uint8_t protocol = 2;
  std::string name;     // CLIENT SETNAME
  bool pubsub = false;  // SUBSCRIBE was sent: frames may be messages
  // From now on (after what is outstanding) everything that arrives goes to the owner, unframed.
  void make_opaque() { opaque_ = true; }
  bool dirty = false;    // in the worker's list of upstreams to flush
  bool tainted = false;  // has state that no pool may hand on: closed when given back
  uint64_t idle_since_ms = 0;
  uint32_t front_age_us(uint32_t now_us) {
    return entries_.empty() || state_ != State::kReady ? 0 : now_us - entries_.front().start_us;
  }
  std::vector<ClientRef> waiting;  // clients that wait for a shorter queue

 private:
  enum class State : uint8_t { kIdle, kConnecting, kHandshake, kReady, kClosed };

  static void on_poll(uv_poll_t* handle, int status, int events);
  void on_stream_open() override;
  void on_stream_data(const BlockRef& block, std::string_view bytes) override;
  void on_stream_writable() override;
  void on_stream_hold() override;
  void on_stream_quorum(uint16_t replicas) override;
  void on_stream_end(StreamEnd end, uint64_t delivered) override;
  void connect_far(const SocketAddress& address, const std::string& node, StreamKind kind,
                   uint64_t epoch);
  void leave_far();
  uint64_t end_of_begun();
  uint64_t end_of_batch();
  bool blocks();
  bool may_use_redis();
  // As much as the kernel, or the stream's window, takes now; -1 where the connection was lost.
  ssize_t write(iovec* pieces, int count);
  void queue_bytes(const BlockRef& block, std::string_view bytes);
  void note_more(size_t bytes);
  bool splice_reply();
  void start_handshake();
  bool prove(const char*& p, const char* end);
  void finish_handshake(std::string_view reply);
  void tell_ready(std::string_view id);
  void on_writable();
  void on_readable();
  void consume(const BlockRef& block, const char* p, const char* end);
  const char* consume_run(const BlockRef& block, const char* p, const char* end);
  void after_replies();
  void flush_replies();
  void end_pubsub(Client& client);
  const char* consume_frame(const BlockRef& block, const char* p, const char* end);
  const char* consume_push(const BlockRef& block, const char* p, const char* end);
  void deliver_opaque(const BlockRef& block, const char* p, const char* end);
  void deliver(const BlockRef& block, const char* p, size_t n, bool done);
  void finish_front();
  // upstream_quorum.cpp
  bool ask_quorum();
  std::optional<unsigned> quorum_replicas();
  std::optional<size_t> wait_place();
  bool put_wait(size_t at, unsigned replicas, uint32_t since_us);
  void put_in_front(size_t at, const Entry& entry, std::string_view bytes);
  // Its reply is held until enough voters have what stands in front of it.
  bool holds(const Entry& entry) const {
    return entry.quorum ||
           (!held_replies_.empty() && !entry.injected && entry.kind != EntryKind::kDiscard);
  }
  void on_waited(std::string_view answer, const Entry& wait);
  void release_quorum(bool enough);
  void cut_largest_holder();
  void note_sent(const Entry& entry);
  void add_part(const std::shared_ptr<Scope>& scope, uint64_t asked);
  void announce();
  static void lose_part(ScopePart& part, bool shown);
  bool tag_has_left();
  void drop_tags();
  void take_tag(std::string_view role);
  void check_gate(std::string_view role);
  bool waits_for_script();
  bool judges_error(const Entry& entry) const;
  void judge_error(const std::string& error);
  // `planned`: nothing went wrong, and the log need not warn.
  void lost(std::string_view why, bool planned = false);
  std::vector<Entry> take_outstanding();
  void update_poll();
  void close_socket();

  Worker& worker_;
  Identity* identity_;
  uv_poll_t* poll_ = nullptr;
  int fd_ = -1;
  Stream* stream_ = nullptr;  // instead of the two above: the Redis is another node's
  State state_ = State::kIdle;
  Role role_;
  const uint8_t seat_;
  bool want_write_ = false;
  uint8_t handshake_replies_ = 1;
  std::unique_ptr<RedisProof> proof_;  // of kHandshake, while the process is not known
  bool paused_ = false;
  bool awaits_lease_ = false;  // not read, since what it says may not be true any more
  bool held_ = false;
  bool parked_ = false;  // stays with a Redis that leads no longer, until that ends what blocks
  bool told_parked_ = false;
  bool told_lost_ = false;
  bool opaque_ = false;
  bool retired_ = false;
  // Of a replica: what it was made for. Its seat may have another holder while answers are still to
  // come, and they are not judged by that one.
  Replica::Place place_;
  bool failing_fast_ = false;
  bool reply_started_ = false;  // part of the front's reply has been seen
  bool bulky_ = false;          // a large body has passed: the next may begin behind it
  char reply_type_ = 0;         // first byte of the reply in progress
  size_t reply_bytes_ = 0;
  int poll_events_ = 0;
  Ring<Entry> entries_;
  OutQueue out_;
  ByteRing retained_;
  size_t run_size_ = 0;  // of add_to_run's requests since end_run
  bool run_writes_ = false;
  ReplyCursor cursor_;
  bool in_push_ = false;
  bool push_confirms_ = false;
  std::string push_;                // of a confirmation, what has come
  uint32_t confirmations_due_ = 0;  // to subscriptions that we have made again ourselves
  std::string carry_;               // the undecided start of a frame on a pub/sub connection
  std::string collected_;
  std::string handshake_error_;
  // Replies to writes that Redis has executed, and which not enough voters are known to have yet.
  struct HeldReply {
    Entry entry;
    std::string bytes;
  };
  std::vector<HeldReply> held_replies_;
  size_t held_bytes_ = 0;
  std::set<std::string, std::less<>> loaded_;  // by load_script(), since it was last lost
  bool quorum_due_ = false;                    // a write was queued, and no WAIT behind it
  // Those in the queue of `tags_` wait for their position.
  BatchTag open_tag_;
  bool tag_due_ = false;
  bool shown_ = false;  // something of the batch at the front was delivered since announce()
  std::deque<BatchTag> tags_;
  // What each ROLE in front of reads at a replica must show; the last one may still rise.
  std::deque<ReadGate> gates_;
  bool gate_open_ = false;
  uint64_t heard_ms_ = 0;      // when the replica last said something
  size_t waits_ = 0;           // WAITs of ask_quorum() that are not answered: none or one
  unsigned quorum_since_ = 0;  // the largest number of replicas that was said since it was asked
  // Behind the first of them nothing is sent: in queued_total_'s count; 0: it is not looked up yet.
  uint64_t batch_until_ = 0;
  // Bytes ever queued; those taken out of the queue by the socket or the stream; and those that
  // Redis may have seen, which are less where a far node says so in the end.
  uint64_t queued_total_ = 0;
  uint64_t taken_total_ = 0;
  uint64_t sent_total_ = 0;
  // While held: in queued_total_'s count; UINT64_MAX: what has begun has not come to its end yet.
  uint64_t send_until_ = UINT64_MAX;
  uint64_t handshake_bytes_ = 0;  // of this connection, sent in front of
  uint64_t requests_before_ = 0;  // ... what sent_total_ counted when it was made
  bool asleep_ = false;
  uint64_t front_offset_ = 0;  // where the front entry's request begins, in queued_total_'s count
  uint64_t redis_client_id_ = 0;
  uint64_t down_since_ms_ = 0;
  uint64_t retry_at_ms_ = 0;
  uint64_t connect_deadline_ms_ = 0;
  uint64_t held_up_since_ms_ = 0;
  uint64_t held_since_ms_ = 0;
  std::vector<TellId> told_ready_;
  Backoff backoff_;
};

}  // namespace azimuth
