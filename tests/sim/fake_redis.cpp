// The primary's side: the stream, the backlog, attached replicas, the fence, WAIT; and the life of
// the process. The replica's side is in fake_redis_replica.cpp, commands in
// fake_redis_commands.cpp.
#include "tests/sim/fake_redis.h"

#include <charconv>

#include "tests/sim/stream_text.h"

namespace azimuth::sim {

namespace {

constexpr std::uint64_t kPingBytes = 14, kGetackBytes = 37;

}  // namespace

void DataSet::add(WriteId id) {
  if (has.size() <= id) has.resize(id + 1, false);
  if (!has[id]) ++count;
  has[id] = true;
  values[key_of(id)] = id;
  digest = (digest ^ id) * 0x9e3779b97f4a7c15;
  digest ^= digest >> 31;
}

FakeRedis::FakeRedis(RedisHost& host, Scheduler& scheduler, Random& random,
                     std::map<std::string, std::string> config, const Snapshot* disk, bool from_aof)
    : host_(host), scheduler_(scheduler), random_(random), config_(std::move(config)) {
  run_id_ = fresh_id();
  replid_ = fresh_id();
  if (disk != nullptr) {
    data_ = disk->data;
    if (!from_aof && !disk->replid.empty()) {
      replid2_ = disk->replid;
      offset_ = disk->offset;
      second_offset_ = static_cast<std::int64_t>(offset_) + 1;
      make_backlog();
    }
    loaded_at_ = scheduler_.now() + random_.between(ms(5), ms(200));
  }
  next_second_ = scheduler_.now() + random_.between(0, seconds_of(1));
  next_ping_ = scheduler_.now() + random_.between(0, seconds_of(10));
}

std::string FakeRedis::fresh_id() {
  std::string id;
  for (int i = 0; i < 40; ++i) id += "0123456789abcdef"[random_.below(16)];
  return id;
}

long FakeRedis::number(const std::string& key) const {
  const auto found = config_.find(key);
  long value = 0;
  if (found != config_.end()) {
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), value);
  }
  return value;
}

bool FakeRedis::config_is(const std::string& key, std::string_view value) const {
  const auto found = config_.find(key);
  return found != config_.end() && found->second == value;
}

Snapshot FakeRedis::snapshot() const {
  return {data_, has_backlog_ ? replid_ : std::string(), offset_};
}

void FakeRedis::make_backlog() {
  has_backlog_ = true;
  backlog_.clear();
  backlog_begin_ = offset_;
}

void FakeRedis::append(StreamItem item) {
  const std::uint64_t bytes = item.end;
  item.begin = offset_;
  item.end = offset_ + bytes;
  item.digest = data_.digest;
  offset_ = item.end;
  feed(item);
}

// Into the backlog, and to whoever is attached.
void FakeRedis::feed(const StreamItem& item) {
  backlog_.push_back(item);
  trim_backlog();
  for (auto& [wire, replica] : replicas_) {
    if (replica.stream_held || !replica.online) {
      replica.held.push_back(item);
    } else {
      replica.end->send({.text = {}, .snapshot = nullptr, .item = item});
    }
  }
  if (tap_) host_.on_tap_bytes(offset_);
}

void FakeRedis::trim_backlog() {
  const auto size = static_cast<std::uint64_t>(number("repl-backlog-size"));
  while (!backlog_.empty() && offset_ - backlog_begin_ > size) {
    backlog_begin_ = backlog_.front().end;
    backlog_.pop_front();
  }
}

WriteResult FakeRedis::write(WriteId id, std::uint64_t bytes) {
  if (loading()) return WriteResult::kLoading;
  if (!master()) return WriteResult::kReadOnly;
  const long wanted = number("min-replicas-to-write");
  if (wanted > 0 && number("min-replicas-max-lag") > 0 &&
      good_replicas_ < static_cast<std::size_t>(wanted)) {
    return WriteResult::kFenced;
  }
  data_.add(id);
  // Without a backlog the offset stands still.
  if (has_backlog_) append({0, bytes, id, false, 0});
  return WriteResult::kDone;
}

std::optional<WriteId> FakeRedis::read(std::size_t key) const {
  if (loading()) return std::nullopt;
  return data_.values[key];
}

void FakeRedis::wait(std::uint64_t offset, std::size_t replicas, std::function<void()> held) {
  waiting_.push_back({offset, replicas, std::move(held)});
  check_waiting();
  if (!waiting_.empty() && has_backlog_) append({0, kGetackBytes, 0, true, 0});
}

void FakeRedis::check_waiting() {
  for (std::size_t i = 0; i < waiting_.size();) {
    std::size_t have = 0;
    for (const auto& [wire, replica] : replicas_) {
      if (replica.online && replica.acked >= waiting_[i].offset) ++have;
    }
    if (have < waiting_[i].replicas) {
      ++i;
      continue;
    }
    const auto held = std::move(waiting_[i].held);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    held();
  }
}

void FakeRedis::count_good_replicas() {
  const long lag = number("min-replicas-max-lag");
  const auto good = [&](Time acked) {
    return scheduler_.now() / seconds_of(1) - acked / seconds_of(1) <= lag;
  };
  good_replicas_ = tap_ && good(tap_acked_) ? 1 : 0;
  for (const auto& [wire, replica] : replicas_) {
    if (replica.online && !replica.stream_held && good(replica.acked_at)) ++good_replicas_;
  }
}

void FakeRedis::on_replica(std::uint64_t wire, const std::shared_ptr<Wire>& end,
                           const StreamMessage& message) {
  const std::vector<std::string> words = stream_words(message.text);
  if (words.empty()) return;
  if (words[0] == "PING") return end->send({.text = "+PONG\r\n", .snapshot = {}, .item = {}});
  if (words[0] == "REPLCONF" && words[1] == "ACK") {
    const auto found = replicas_.find(wire);
    if (found != replicas_.end()) note_ack(found->second, std::stoull(words[2]));
    return;
  }
  if (words[0] == "REPLCONF") return end->send({.text = "+OK\r\n", .snapshot = {}, .item = {}});
  if (words[0] != "PSYNC") return;
  if (loading()) {
    end->send({.text = "-LOADING Redis is loading the dataset in memory\r\n",
               .snapshot = {},
               .item = {}});
  } else if (!master() && !linked()) {
    end->send({.text = "-NOMASTERLINK Can't SYNC while not connected with my master\r\n",
               .snapshot = {},
               .item = {}});
  } else {
    replicas_[wire].end = end;
    const long long from = std::stoll(words[2]);
    answer_psync(wire, words[1], from < 1 ? 0 : static_cast<std::uint64_t>(from) - 1);
  }
}

// masterTryPartialResync: `from` is what the replica has applied.
void FakeRedis::answer_psync(std::uint64_t wire, const std::string& replid, std::uint64_t from) {
  const bool known = replid == replid_ ||
                     (replid == replid2_ && static_cast<std::int64_t>(from) + 1 <= second_offset_);
  if (!known || !has_backlog_ || from < backlog_begin_ || from > offset_) return full_sync(wire);
  Replica& replica = replicas_[wire];
  replica.online = true;
  replica.acked_at = scheduler_.now();
  replica.end->send({.text = "+CONTINUE " + replid_ + "\r\n", .snapshot = {}, .item = {}});
  std::uint64_t sent = from;
  for (const StreamItem& item : backlog_) {
    if (item.end <= from) continue;
    if (item.begin < sent) host_.on_broken("a partial sync from inside of an item of the stream");
    sent = item.end;
    replica.end->send({.text = {}, .snapshot = nullptr, .item = item});
  }
  ++partial_syncs_;
  count_good_replicas();
}

void FakeRedis::full_sync(std::uint64_t wire) {
  if (!has_backlog_) {
    // The first to attach to a master without a backlog: whatever had this id before is history.
    replid_ = fresh_id();
    replid2_.clear();
    second_offset_ = -1;
    make_backlog();
  }
  Replica& replica = replicas_[wire];
  replica.stream_held = true;
  replica.end->send({.text = "+FULLRESYNC " + replid_ + " " + std::to_string(offset_) + "\r\n",
                     .snapshot = {},
                     .item = {}});
  auto copy = std::make_shared<Snapshot>(Snapshot{data_, replid_, offset_});
  replica.end->send({.text = {}, .snapshot = std::move(copy), .item = {}});
  ++full_syncs_;
}

void FakeRedis::note_ack(Replica& replica, std::uint64_t offset) {
  if (offset > replica.acked) replica.acked = offset;
  replica.acked_at = scheduler_.now();
  if (replica.stream_held) {
    // The stream of a diskless sync begins with the first ACK.
    replica.stream_held = false;
    replica.online = true;
    for (const StreamItem& item : replica.held) {
      replica.end->send({.text = {}, .snapshot = nullptr, .item = item});
    }
    replica.held.clear();
    count_good_replicas();
  }
  check_waiting();
}

void FakeRedis::on_replica_gone(std::uint64_t wire) {
  replicas_.erase(wire);
  count_good_replicas();
}

void FakeRedis::drop_replicas() {
  auto replicas = std::move(replicas_);
  replicas_.clear();
  for (auto& [wire, replica] : replicas) replica.end->close();
  if (tap_) {
    tap_ = false;
    host_.on_tap_end();
  }
  count_good_replicas();
}

bool FakeRedis::attach_tap() {
  if (loading() || (!master() && !linked())) return false;
  if (!has_backlog_) {
    replid_ = fresh_id();
    replid2_.clear();
    second_offset_ = -1;
    make_backlog();
  }
  tap_ = true;
  tap_ack();
  count_good_replicas();
  host_.on_tap_bytes(offset_);
  return true;
}

void FakeRedis::detach_tap() {
  tap_ = false;
  count_good_replicas();
}

void FakeRedis::tap_ack() { tap_acked_ = scheduler_.now(); }

void FakeRedis::on_cron() {
  const Time now = scheduler_.now();
  if (now < next_second_) return;
  next_second_ = now + seconds_of(1);
  count_good_replicas();
  if (port_ != 0 && link_ == Link::kConnect && !loading()) connect();
  if (linked()) ack_primary();
  if (master() && now >= next_ping_) {
    next_ping_ = now + seconds_of(10);
    if (has_backlog_ && (tap_ || !replicas_.empty())) append({0, kPingBytes, 0, false, 0});
  }
}

void FakeRedis::close_all() {
  drop_replicas();
  waiting_.clear();
  if (primary_) primary_->close();
  primary_.reset();
}

}  // namespace azimuth::sim
