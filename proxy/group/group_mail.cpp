// What comes in and goes out: datagrams, the local Redis's news, and what people are told of them.
#include <algorithm>
#include <utility>

#include "proxy/clock.h"
#include "proxy/control/log.h"
#include "proxy/group/group.h"
#include "proxy/group/redis_control.h"

namespace azimuth {
namespace {

constexpr std::string_view kKeepsNothingEvent = "redis_keeps_nothing";
constexpr Duration kIdTakenFor = seconds(5);
constexpr Duration kSuspicionsWithin = seconds(30);
constexpr int kSuspicionsToTell = 4;
constexpr Duration kSolitudeFirst = seconds(5);
constexpr Duration kSolitudeAgain = seconds(60);

bool is_loopback_text(const std::string& address) {
  const Result<Endpoint> endpoint = parse_endpoint(address);
  return endpoint.ok() && is_loopback(*endpoint);
}

}  // namespace

// --- the local Redis -----------------------------------------------------------------------------

void Group::start_redis() {
  RedisControl::Hooks hooks;
  hooks.on_facts = [this] { turn(); };
  hooks.on_woken = [this] {
    if (!closing_ && leadership_.next_wakeup() <= clock_now()) on_tick();
  };
  hooks.on_event = [](const PilotOutbox::Event& event) {
    const LogLevel level = event.error                        ? LogLevel::kError
                           : event.name == kKeepsNothingEvent ? LogLevel::kWarn
                                                              : LogLevel::kInfo;
    log_event(level, event.name, {{"text", event.text}});
  };
  // Only what follows this epoch's primary has an offset that says something in this epoch.
  hooks.on_applied = [this](std::string_view, std::uint64_t offset) {
    const bool follows = !published_.leading && is_readable(redis_->pilot().facts(), published_);
    if (follows) applied_.set({published_.epoch, offset});
  };
  hooks.on_want_tunnel = [this](std::uint64_t epoch) {
    tunnel_epoch_ = 0;
    hooks_.want_tunnel(epoch);
  };
  // The dead man's switch: a primary's Redis that does not hear from us fences itself.
  hooks.may_ack = [this] {
    return ordered_.kind != OrderKind::kLead || lease_.holds(ordered_.epoch);
  };
  hooks.on_address = [](const SocketAddress&) {};  // the watch tells it to all
  const Result<Endpoint> own = parse_endpoint(membership_.address);
  redis_ = std::make_unique<RedisControl>(loop_, *redis_settings_, own->host, own->port,
                                          std::move(hooks));
  redis_->set_silence(redis_silence_);
  redis_->set_backlog(backlog_);
  redis_->start();
  if (!is_loopback(redis_settings_->address)) {
    log_warning("redis_not_local",
                {{"addr", to_string(redis_settings_->address)},
                 {"advice",
                  "the Redis of a cluster's node is to listen on this machine's loopback "
                  "or a UNIX socket alone: it replicates from a port on 127.0.0.1, and "
                  "who reaches it directly goes past every fence"}});
  }
}

std::string Group::announced() const {
  const Result<Endpoint> own = parse_endpoint(membership_.address);
  return own->host + " " + std::to_string(own->port);
}

// --- datagrams -----------------------------------------------------------------------------------

void Group::on_datagram(std::string_view from, std::string_view datagram) {
  if (closing_ || timer_ == nullptr) return;
  const Instant now = clock_now();
  const SealedDatagrams::Opened opened = sealed_.open(now, datagram);
  if (opened.fault != DatagramFault::kNone) {
    if (opened.worth_a_line) {
      log_warning(
          "datagram_dropped",
          {{"from", from}, {"kind", to_string(opened.fault)}, {"reason", explain(opened.fault)}});
    }
    return;
  }
  const std::optional<Envelope> envelope = open_envelope(opened.text);
  if (!envelope) {
    ++messages_refused_;
    return;
  }
  switch (envelope->kind) {
    case DatagramKind::kGossip:
      gossip_.on_packet(now, from, envelope->body, random());
      break;
    case DatagramKind::kLeadership:
      on_message(now, from, *envelope);
      break;
  }
  turn();
}

void Group::on_message(Instant now, std::string_view from, const Envelope& envelope) {
  const Result<GroupMessage> message = decode_group_message(envelope.body);
  // From our own id: somebody else has it, which gossip tells of; or an echo.
  if (!message.ok() || envelope.sender == gossip_.self().id) {
    ++messages_refused_;
    return;
  }
  if (heard_.size() < kCorrespondentsMax || heard_.contains(envelope.sender)) {
    heard_[std::string(envelope.sender)] = from;
  }
  gossip_.on_heard(now, envelope.sender);
  share_facts(now);  // an answer tells what Redis has applied by now
  leadership_.on_message(now, envelope.sender, *message, random());
}

void Group::send(const std::string& node, const GroupMessage& message) {
  const std::string address = address_of(node);
  if (address.empty()) {
    ++messages_unsent_;
    return;
  }
  socket_->send(address, sealed_.seal(leadership_envelope(gossip_.self().id, encode(message))));
}

// Where a node says that it is; or, before gossip knows, where it has written from.
std::string Group::address_of(const std::string& node) const {
  const NodeRecord* record = gossip_.find(node);
  const bool lives = record != nullptr && (record->status == NodeStatus::kAlive ||
                                           record->status == NodeStatus::kSuspect);
  if (lives) return record->address;
  const auto heard = heard_.find(node);
  if (heard != heard_.end()) return heard->second;
  return record != nullptr ? record->address : std::string();
}

// --- gossip's news -------------------------------------------------------------------------------

void Group::on_gossip_event(Instant now, const GossipOutbox::Event& event) {
  using News = GossipOutbox::News;
  const NodeRecord* record = gossip_.find(event.id);
  const std::string address = record != nullptr ? record->address : std::string();
  switch (event.news) {
    case News::kJoined:
      log_info("node_joined", {{"node", event.id}, {"addr", address}});
      if (is_loopback_text(membership_.address) && !is_loopback_text(address)) {
        log_warning("advertise_loopback",
                    {{"advertise", membership_.address},
                     {"reason", "nodes of other machines cannot reach it"},
                     {"advice", "set peer.advertise to an address of this machine"}});
      }
      break;
    case News::kUpdated:
      break;
    case News::kSuspect:
      log_debug("node_suspect", {{"node", event.id}, {"addr", address}});
      if (record != nullptr && reputes_.size() < kCorrespondentsMax) note_suspicion(now, *record);
      break;
    case News::kAlive:
      if (const auto known = reputes_.find(event.id); known != reputes_.end()) {
        if (std::exchange(known->second.dead, false)) {
          log_info("node_alive", {{"node", event.id}, {"addr", address}});
        }
      }
      break;
    case News::kDead:
      if (reputes_.size() < kCorrespondentsMax) reputes_[event.id].dead = true;
      log_warning("node_dead", {{"node", event.id}, {"addr", address}, {"text", event.text}});
      break;
    case News::kLeft:
      reputes_.erase(event.id);
      log_info("node_left", {{"node", event.id}});
      break;
    case News::kIdTaken:
      id_taken_by_ = event.text;
      log_error("node_id_taken", {{"node", event.id}, {"reason", event.text}});
      break;
  }
  if (record != nullptr &&
      (record->member || record->wants_vote || leadership_.knows(event.id))) {
    leadership_.on_peer(now, event.id, peer_facts(*record));
  }
  topology_stale_ = again_ = true;
}

// Two nodes of one id are one voter that may vote twice: the one that gossip silences has no say,
// for some time longer, so that it does not speak while gossip looks whether the other is still
// there.
void Group::watch_id(Instant now) {
  if (gossip_.id_taken()) id_taken_until_ = now + kIdTakenFor;
  const bool taken = now < id_taken_until_;
  if (taken == id_taken_) return;
  id_taken_ = taken;
  if (taken) {
    log_error("node_silent", {{"node", gossip_.self().id},
                              {"reason", id_taken_by_},
                              {"effect", "this node neither votes nor leads"}});
  } else {
    log_info("node_id_free", {{"node", gossip_.self().id}});
  }
}

// Who lives and is suspected all the same, again and again, is not reached where it says that it
// is.
void Group::note_suspicion(Instant now, const NodeRecord& record) {
  Repute& repute = reputes_[record.id];
  if (now >= repute.since + kSuspicionsWithin) repute = {now, 0, repute.dead};
  if (++repute.suspicions != kSuspicionsToTell) return;
  const auto heard = heard_.find(record.id);
  log_warning("node_unreachable",
              {{"node", record.id},
               {"advertise", record.address},
               {"writes_from", heard != heard_.end() ? heard->second : "unknown"},
               {"reason", "it is suspected again and again, and lives"},
               {"advice",
                "see that peer.advertise of that node is an address that this one can "
                "reach, and that UDP and TCP get through to its port"}});
}

void Group::tell_solitude(Instant now) {
  if (!gossip_.nodes().empty() || (seeds_.addresses().empty() && seeds_.text().empty())) return;
  const bool first = solitude_told_ == Instant{};
  if (now < (first ? started_ + kSolitudeFirst : solitude_told_ + kSolitudeAgain)) return;
  solitude_told_ = now;
  log_warning("no_seed_answers",
              {{"seeds", seeds_.text()},
               {"advice",
                "start those nodes; see that UDP and TCP reach their port, and that all "
                "have the same cluster.name and key"}});
}

// --- what is shown -------------------------------------------------------------------------------

void Group::describe(NodeReport& report) const {
  azimuth::describe(sight(), report);
  if (!has_say() && !leaving_) report.why = mute_reason();
  report.cluster->name = cluster_;
  report.cluster->switchover = wishes_.last();
  report.cluster->change = member_wishes_.last();
  report.cluster->write_delay_us = back_pressure_.delay_us();
  report.cluster->sources = leadership_.sources();
  const GroupView& view = leadership_.view();
  if (redis_ && !view.leading && !tunnel_source_.node.empty() && redis_->pilot().facts().link_up) {
    report.cluster->sources.emplace_back(gossip_.self().id, tunnel_source_.node);
  }
  report.cluster->source_changes = source_changes_;
  for (MemberStatus& member : report.members) {
    const auto known = back_pressure_.replicas().find(member.id);
    if (known == back_pressure_.replicas().end()) continue;
    const BackPressure::Replica& replica = known->second;
    member.pressure = MemberPressure{std::string(to_string(replica.standing)), replica.lag_bytes,
                                     replica.behind.ms, replica.position, replica.weight};
  }
  std::vector<NamedCount>& counts = report.cluster->datagrams;
  const DatagramSocket::Counters sockets =
      socket_ ? socket_->counters() : DatagramSocket::Counters{};
  counts.push_back({"sent", sockets.sent});
  counts.push_back({"received", sockets.received});
  counts.push_back({"sent_bytes", sockets.sent_bytes});
  counts.push_back({"received_bytes", sockets.received_bytes});
  counts.push_back({"send_errors", sockets.send_errors});
  counts.push_back({"receive_errors", sockets.receive_errors});
  for (size_t i = 1; i < kDatagramFaults; ++i) {
    counts.push_back({"dropped_" + std::string(to_string(static_cast<DatagramFault>(i))),
                      sealed_.counters().opened[i]});
  }
  counts.push_back({"messages_refused", messages_refused_});
  counts.push_back({"messages_unsent", messages_unsent_});
}

std::string Group::why_not_ready() const {
  // A primary that serves is ready, whatever else there is to say of it.
  const bool serves = published_.leader_ready && !published_.leader.empty() && has_say();
  if (published_.removed && has_say()) return published_.why;
  if (serves) return published_.leading ? "" : published_.why;
  if (!has_say() && !leaving_) return mute_reason();
  return published_.why.empty() ? "the group has no primary" : published_.why;
}

}  // namespace azimuth
