// A redis-server as far as replication goes: replication ids, offsets, a backlog, partial and full
// syncs, promotion, the write fence, restarts. The facts are those of Redis 7.0, measured.
//
// Invariants: its data set is the writes that it holds, a digest over them in their order, and of
// each key the last one, which is its value; each item of its stream carries the digest behind it,
// so that a replica which applies an item to other data than its primary had is found out at once.
// Every stimulus comes from the owner, who waits while the process is paused. Owned by one
// simulation.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "health/redis_pilot.h"
#include "tests/sim/random.h"
#include "tests/sim/scheduler.h"

namespace azimuth::sim {

using WriteId = std::uint32_t;  // from 1; 0: none

// Each write sets one key to its own id.
constexpr std::size_t kKeys = 8;
constexpr std::size_t key_of(WriteId id) { return id % kKeys; }

using Values = std::array<WriteId, kKeys>;  // by key

struct DataSet {
  std::vector<bool> has;  // by write id
  Values values{};
  std::uint32_t count = 0;
  std::uint64_t digest = 0;

  void add(WriteId id);
  bool holds(WriteId id) const { return id < has.size() && has[id]; }
  bool empty() const { return count == 0; }
};

// What an RDB file holds; without replid where the master that wrote it had no backlog.
struct Snapshot {
  DataSet data;
  std::string replid;
  std::uint64_t offset = 0;
};

struct StreamItem {
  std::uint64_t begin = 0, end = 0;  // offsets: the bytes after `begin`, up to `end`
  WriteId write = 0;                 // 0: a PING or a GETACK
  bool getack = false;
  std::uint64_t digest = 0;  // of the primary's data, behind this item
};

// What a replication connection carries.
struct StreamMessage {
  std::string text;  // handshake and ACKs
  std::shared_ptr<const Snapshot> snapshot;
  std::optional<StreamItem> item;
};

// The end of a replication connection that a redis-server holds.
class Wire {
 public:
  virtual ~Wire() = default;
  virtual void send(StreamMessage message) = 0;
  virtual void close() = 0;  // from this end: the other one hears of it, this one does not
};

class FakeRedis;

// What a redis-server meets outside of itself.
class RedisHost {
 public:
  virtual ~RedisHost() = default;
  virtual std::shared_ptr<Wire> dial(std::uint16_t port) = 0;  // null: refused
  // `happen` at `when`, unless the process is gone by then; later if it is paused.
  virtual void run_at(Time when, std::function<void()> happen) = 0;
  virtual void on_tap_bytes(std::uint64_t offset) = 0;
  virtual void on_tap_end() = 0;
  virtual void on_full_sync(const Snapshot& incoming) = 0;  // before the old data goes
  virtual void on_fence_lifted() = 0;
  virtual void on_broken(const std::string& what) = 0;  // an impossibility: a check has failed
};

enum class WriteResult : std::uint8_t { kDone, kLoading, kReadOnly, kFenced };

class FakeRedis {
 public:
  FakeRedis(RedisHost& host, Scheduler& scheduler, Random& random,
            std::map<std::string, std::string> config, const Snapshot* disk, bool from_aof);

  // The pilot's connection. Null: no reply (GETACK).
  std::optional<PilotReply> execute(const std::vector<std::string>& command);

  // A client's write; `bytes` long in the stream.
  WriteResult write(WriteId id, std::uint64_t bytes);
  // A client's read: the key's value. Nothing: -LOADING.
  std::optional<WriteId> read(std::size_t key) const;
  // ROLE, as a client gets it.
  std::string role_reply() const;
  // WAIT: `held` is called once `replicas` have it (at once, perhaps); never after a change of
  // role.
  void wait(std::uint64_t offset, std::size_t replicas, std::function<void()> held);

  // A replication connection from outside, by its number.
  void on_replica(std::uint64_t wire, const std::shared_ptr<Wire>& end,
                  const StreamMessage& message);
  void on_replica_gone(std::uint64_t wire);
  // The connection to its own primary.
  void on_primary(const Wire* from, const StreamMessage& message);
  void on_primary_gone(const Wire* from);

  // The tap. False: refused, try again later.
  bool attach_tap();
  void detach_tap();
  void tap_ack();

  void on_cron();    // ten times a second
  void close_all();  // the process dies
  Snapshot snapshot() const;

  bool master() const { return !port_; }
  bool loading() const { return scheduler_.now() < loaded_at_; }
  bool linked() const { return link_ == Link::kConnected; }
  const DataSet& data() const { return data_; }
  const std::string& run_id() const { return run_id_; }
  const std::string& replid() const { return replid_; }
  std::uint64_t offset() const { return offset_; }
  std::uint64_t full_syncs() const { return full_syncs_; }
  std::uint64_t partial_syncs() const { return partial_syncs_; }
  bool config_is(const std::string& key, std::string_view value) const;

 private:
  enum class Link : std::uint8_t { kNone, kConnect, kHandshake, kTransfer, kConnected };
  struct Replica {
    std::shared_ptr<Wire> end;
    bool online = false;
    bool stream_held = false;  // after a full sync, until its first ACK
    std::deque<StreamItem> held;
    std::uint64_t acked = 0;
    Time acked_at = 0;
  };
  struct Waiting {
    std::uint64_t offset;
    std::size_t replicas;
    std::function<void()> held;
  };

  std::string fresh_id();
  long number(const std::string& key) const;
  void make_backlog();
  void append(StreamItem item);
  void trim_backlog();
  void feed(const StreamItem& item);
  void answer_psync(std::uint64_t wire, const std::string& replid, std::uint64_t from);
  void full_sync(std::uint64_t wire);
  void note_ack(Replica& replica, std::uint64_t offset);
  void check_waiting();
  void count_good_replicas();
  void drop_replicas();

  void connect();
  void start_handshake();
  void read_psync_reply(const std::string& text);
  void take_snapshot(const std::shared_ptr<const Snapshot>& snapshot);
  void apply(const StreamItem& item);
  void ack_primary();

  PilotReply replicaof(const std::string& host, const std::string& port);
  PilotReply config(const std::vector<std::string>& command);
  PilotReply role() const;
  std::string info(const std::string& section) const;
  std::string info_replication() const;

  RedisHost& host_;
  Scheduler& scheduler_;
  Random& random_;
  std::map<std::string, std::string> config_;

  std::string run_id_, replid_, replid2_;
  std::int64_t second_offset_ = -1;
  std::uint64_t offset_ = 0;  // a master's end of stream; what a replica has applied
  DataSet data_;
  Time loaded_at_ = 0;

  bool has_backlog_ = false;
  std::deque<StreamItem> backlog_;
  std::uint64_t backlog_begin_ = 0;  // the offset that the first kept byte follows

  std::map<std::uint64_t, Replica> replicas_;
  bool tap_ = false;
  Time tap_acked_ = 0;
  std::size_t good_replicas_ = 0;
  std::vector<Waiting> waiting_;

  std::uint16_t port_ = 0;  // of its primary, on loopback; 0: it is a master
  Link link_ = Link::kNone;
  std::shared_ptr<Wire> primary_;
  std::string cached_replid_;        // what it asks to continue; empty: nothing
  std::deque<StreamItem> incoming_;  // arrived while it loads
  Time next_second_ = 0;
  Time next_ping_ = 0;
  std::uint64_t full_syncs_ = 0, partial_syncs_ = 0;
};

PilotReply text_reply(std::string text);
PilotReply error_reply(std::string text);

}  // namespace azimuth::sim
