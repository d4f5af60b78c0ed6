// The replica's side: the handshake, partial and full syncs, applying the stream, REPLICAOF.
#include "tests/sim/fake_redis.h"
#include "tests/sim/stream_text.h"

namespace azimuth::sim {

PilotReply FakeRedis::replicaof(const std::string& host, const std::string& port) {
  if (loading()) return error_reply("LOADING Redis is loading the dataset in memory");
  if (host == "no" || host == "NO") {
    if (master()) return text_reply("OK");
    if (primary_) primary_->close();
    primary_.reset();
    port_ = 0;
    link_ = Link::kNone;
    cached_replid_.clear();
    // shiftReplicationId: the history so far stays known by its old name.
    replid2_ = replid_;
    second_offset_ = static_cast<std::int64_t>(offset_) + 1;
    replid_ = fresh_id();
    drop_replicas();
    return text_reply("OK");
  }
  const auto wanted = static_cast<std::uint16_t>(std::stoi(port));
  if (port_ == wanted) return text_reply("OK Already connected to specified master");
  if (master()) {
    // replicationCacheMasterUsingMyself: it offers to continue its own stream.
    if (!has_backlog_) make_backlog();
    cached_replid_ = replid_;
    waiting_.clear();
  }
  if (primary_) primary_->close();
  primary_.reset();
  port_ = wanted;
  connect();
  return text_reply("OK");
}

void FakeRedis::connect() {
  link_ = Link::kConnect;
  primary_ = host_.dial(port_);
  if (primary_) {
    link_ = Link::kHandshake;
    primary_->send({.text = stream_command({"PING"}), .snapshot = {}, .item = {}});
  }
}

void FakeRedis::on_primary(const Wire* from, const StreamMessage& message) {
  if (primary_.get() != from) return;  // of a connection that it has given up
  if (message.snapshot) return take_snapshot(message.snapshot);
  if (message.item) {
    if (link_ == Link::kConnected) {
      apply(*message.item);
    } else {
      incoming_.push_back(*message.item);
    }
    return;
  }
  if (message.text.starts_with("+PONG")) {
    primary_->send(
        {.text = stream_command({"REPLCONF", "listening-port", config_["replica-announce-port"],
                                 "ip-address", config_["replica-announce-ip"], "capa", "psync2"}),
         .snapshot = {},
         .item = {}});
  } else if (message.text.starts_with("+OK")) {
    const std::string from_byte = cached_replid_.empty() ? "-1" : std::to_string(offset_ + 1);
    primary_->send({.text = stream_command(
                        {"PSYNC", cached_replid_.empty() ? "?" : cached_replid_, from_byte}),
                    .snapshot = {},
                    .item = {}});
  } else {
    read_psync_reply(message.text);
  }
}

void FakeRedis::read_psync_reply(const std::string& text) {
  if (text.starts_with("+CONTINUE ")) {
    const std::string id = text.substr(10, text.find('\r') - 10);
    if (id != replid_) {
      replid2_ = cached_replid_;
      second_offset_ = static_cast<std::int64_t>(offset_) + 1;
      replid_ = id;
      drop_replicas();
    }
    cached_replid_ = replid_;
    link_ = Link::kConnected;
    incoming_.clear();
    ack_primary();
  } else if (text.starts_with("+FULLRESYNC ")) {
    cached_replid_.clear();  // from here on there is nothing to continue
    link_ = Link::kTransfer;
    incoming_.clear();
  } else {  // an error: again at the next cron
    primary_->close();
    primary_.reset();
    link_ = Link::kConnect;
  }
}

// The RDB file is here: it is loaded to its end, whatever becomes of the link. The id and the
// offset are the old ones until then.
void FakeRedis::take_snapshot(const std::shared_ptr<const Snapshot>& snapshot) {
  host_.on_full_sync(*snapshot);
  drop_replicas();
  data_ = snapshot->data;
  loaded_at_ = scheduler_.now() + random_.between(ms(2), ms(150));
  host_.run_at(loaded_at_, [this, snapshot, wire = primary_.get()] {
    replid_ = cached_replid_ = snapshot->replid;
    offset_ = snapshot->offset;
    replid2_.clear();
    second_offset_ = -1;
    make_backlog();
    if (primary_.get() != wire) return;
    link_ = Link::kConnected;
    // The ACK that makes the primary send on: at once, or in a race only a cron later.
    if (random_.chance(0.6)) ack_primary();
    for (const StreamItem& item : std::exchange(incoming_, {})) apply(item);
  });
}

void FakeRedis::apply(const StreamItem& item) {
  if (item.begin != offset_) {
    host_.on_broken("a stream that goes on at " + std::to_string(item.begin) +
                    " reached a replica at " + std::to_string(offset_));
    return;
  }
  if (item.write != 0) data_.add(item.write);
  if (data_.digest != item.digest) {
    host_.on_broken("a replica's data differ from its primary's at offset " +
                    std::to_string(item.end));
  }
  offset_ = item.end;
  feed(item);
  if (item.getack) ack_primary();
}

void FakeRedis::ack_primary() {
  primary_->send({.text = stream_command({"REPLCONF", "ACK", std::to_string(offset_)}),
                  .snapshot = {},
                  .item = {}});
}

void FakeRedis::on_primary_gone(const Wire* from) {
  if (primary_.get() != from) return;
  const bool was_linked = link_ == Link::kConnected;
  primary_.reset();
  link_ = Link::kConnect;
  incoming_.clear();
  // A link that stood is made anew at once, and what did not come to stand at the next second.
  if (was_linked) connect();
}

}  // namespace azimuth::sim
