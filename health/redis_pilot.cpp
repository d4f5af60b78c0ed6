#include "health/redis_pilot.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "conf/limits.h"
#include "health/redis_pilot_machine.h"

namespace azimuth {

namespace {

constexpr Duration kConnectTimeout = milliseconds(2000);
constexpr Duration kGiveUpAfter = milliseconds(15000);
// A client's CONFIG SET is undone by then; while the order is not carried out, it may be why.
constexpr Duration kSettingsInterval = seconds(10);
constexpr Duration kSettingsAgain = seconds(1);
constexpr Duration kRecountAfter = milliseconds(500);

// How often it is asked: right after a change of what is wanted, while something is awaited, else.
constexpr Duration kEagerInterval = milliseconds(10);
constexpr Duration kAwaitInterval = milliseconds(100);
constexpr Duration kCalmInterval = milliseconds(500);

// After a diskless copy a primary withholds its stream until the next ACK, which may be a second
// away: so long, and so often, the replica is asked to send one.
constexpr Duration kNudgeFor = milliseconds(1200);
constexpr Duration kNudgeInterval = milliseconds(50);

constexpr const char* kSaveName = "save";

std::uint64_t number_in(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

bool mentions(std::string_view text, std::string_view word) {
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  return std::search(text.begin(), text.end(), word.begin(), word.end(), same) != text.end();
}

}  // namespace

RedisExtras read_extras(std::string_view info) {
  RedisExtras extras;
  while (!info.empty()) {
    const std::size_t end = info.find('\n');
    const std::string_view line = info.substr(0, end);
    info.remove_prefix(end == std::string_view::npos ? info.size() : end + 1);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 1);
    if (key == "number_of_functions") {
      extras.functions = number_in(value);
    } else if (key == "min_slaves_good_slaves") {
      extras.good_replicas = static_cast<std::uint32_t>(number_in(value));
    } else if (key == "repl_backlog_size") {
      extras.backlog_bytes = number_in(value);
    } else if (key == "repl_backlog_first_byte_offset") {
      extras.backlog_first = number_in(value);
    } else if (key == "repl_backlog_histlen") {
      extras.backlog_held = number_in(value);
    } else if (key == "maxmemory") {
      extras.maxmemory = number_in(value);
    } else if (key == "current_save_keys_processed") {
      extras.keys_saved = number_in(value);
    } else if (key == "current_save_keys_total") {
      extras.keys_to_save = number_in(value);
    } else if (key == "aof_enabled") {
      extras.appends = number_in(value) != 0;
    } else if (key == "master_repl_offset") {
      extras.own_offset = number_in(value);
    } else if (key.starts_with("db") && value.starts_with("keys=")) {
      extras.keys += number_in(value.substr(5));
    }
  }
  return extras;
}

RedisPilot::Machine::Machine(std::string announce_host, std::uint16_t announce_port, Instant now)
    : wakeup(now), backoff(milliseconds(10), milliseconds(200)) {
  facts.fenced = false;  // as far as anybody knows
  // One second: a frozen azimuth, whose tap is silent, fences its Redis within two or three.
  settings.need(kLagName, "1");
  settings.need("replica-read-only", "yes");
  if (!announce_host.empty()) {
    settings.need("replica-announce-ip", std::move(announce_host));
    settings.need("replica-announce-port", std::to_string(announce_port));
  }
  settings.need("repl-backlog-ttl", "0");
  settings.need(kBacklogName, std::to_string(backlog.rules().least), PilotSettings::Rule::kAtLeast);
  settings.need("repl-diskless-sync", "yes");
  settings.need("repl-diskless-sync-delay", "0");
  settings.need("rdb-del-sync-files", "yes");
  // The tap never acknowledges anything, so SHUTDOWN would wait for it in vain.
  settings.need("shutdown-timeout", "0");
}

// --- the connection ----------------------------------------------------------------------------

void RedisPilot::on_connected(Instant now) {
  Machine& m = *machine_;
  if (m.phase != Machine::Phase::kConnecting) return;
  m.phase = Machine::Phase::kOpen;
  m.known = {};
  m.extras = {};
  m.min_replicas.reset();
  m.max_lag.reset();
  m.nudged = false;
  m.fence_sent.reset();
  std::erase_if(m.refusals, [](const auto& entry) { return entry.first != Machine::kTapName; });
  // Whatever it is, it takes no writes until it is known to be what it should be.
  m.set_fence(now, Machine::kFencedCount);
  m.ask_round(now, true);
}

void RedisPilot::on_disconnected(Instant now, std::string_view reason, std::uint64_t random) {
  if (machine_->phase == Machine::Phase::kWaitToConnect) return;
  machine_->disconnect(now, reason, random);
}

void RedisPilot::Machine::disconnect(Instant now, std::string_view reason, std::uint64_t random) {
  phase = Phase::kWaitToConnect;
  wakeup = now + backoff.next(random);
  out.connect = false;  // what was not carried out yet is out of date
  out.commands.clear();
  asked.clear();
  if (leaving) left = true;
  if (!std::exchange(told_down, true)) {
    emit("redis_down", std::string(reason.substr(0, kReasonBytesMax)));
  }
  lead_done = false;
  link_up_since = kNever;
  LocalRedis next = facts;
  next.alive = false;
  next.link_up = false;
  next.fenced = false;
  next.done = OrderKind::kFence;
  next.done_epoch = 0;
  publish(next);
}

void RedisPilot::on_tick(Instant now, std::uint64_t random) {
  Machine& m = *machine_;
  switch (m.phase) {
    case Machine::Phase::kWaitToConnect:
      if (now < m.wakeup || m.left) return;
      m.phase = Machine::Phase::kConnecting;
      m.out.connect = true;
      m.wakeup = now + kConnectTimeout;
      return;
    case Machine::Phase::kConnecting:
      if (now < m.wakeup) return;
      m.out.close = true;
      return m.disconnect(now, "connect timed out", random);
    case Machine::Phase::kOpen:
      break;
  }
  if (m.leaving && now >= m.leave_until) m.left = true;
  if (m.asked.empty()) {
    if (now >= m.poll_at && !m.leaving) {
      const bool done = m.facts.done == m.order.kind && m.facts.done_epoch == m.order.epoch;
      m.ask_round(now, now - m.settings_asked >= (done ? kSettingsInterval : kSettingsAgain));
    }
    return;
  }
  const Duration silence = now - m.progress;
  if (silence >= m.give_up_after()) {
    m.out.close = true;
    return m.disconnect(now, "no reply for " + std::to_string(silence.ms) + " ms", random);
  }
  if (silence >= m.silence_max && m.facts.alive) {
    m.emit("redis_stuck", "no reply for " + std::to_string(silence.ms) + " ms");
    LocalRedis next = m.facts;
    next.alive = false;
    m.publish(next);
  }
}

Instant RedisPilot::next_wakeup() const {
  const Machine& m = *machine_;
  if (m.left) return kNever;
  if (m.phase != Machine::Phase::kOpen) return m.wakeup;
  if (m.asked.empty()) return m.poll_at;
  const Instant next = m.progress + (m.facts.alive ? m.silence_max : m.give_up_after());
  return m.leaving ? earlier_of(next, m.leave_until) : next;
}

// --- questions ---------------------------------------------------------------------------------

void RedisPilot::Machine::send(Instant now, std::vector<std::string> words, Asked question) {
  if (asked.empty()) progress = now;
  out.commands.push_back(std::move(words));
  question.when = now;
  asked.push_back(std::move(question));
}

void RedisPilot::Machine::ask_round(Instant now, bool with_settings) {
  nudge(now);
  send(now, {"INFO"}, {Question::kInfo, {}, {}, orders});
  send(now, {"ROLE"}, {Question::kRole, {}, {}, 0});
  if (with_settings) {
    settings_asked = now;
    for (const std::string& name : settings.names()) {
      send(now, {"CONFIG", "GET", name}, {Question::kSetting, name, {}, 0});
    }
    send(now, {"CONFIG", "GET", kSaveName}, {Question::kSetting, kSaveName, {}, 0});
  }
  send(now, {"CONFIG", "GET", kLagName}, {Question::kSetting, kLagName, {}, 0});
  send(now, {"CONFIG", "GET", kFenceName}, {Question::kRoundOver, kFenceName, {}, 0});
}

// A Redis that was busy counts its replicas before it reads what they sent meanwhile, finds none
// and takes no writes until it counts again, a second later. Setting what it counts by makes it
// count.
void RedisPilot::Machine::recount(Instant now) {
  if (phase != Phase::kOpen || !leads()) return;
  send(now, {"CONFIG", "SET", kLagName, "1"}, {Question::kChange, kLagName, {}, 0});
}

// On a replica nobody waits for a script any more that has made Redis say BUSY: it could only read,
// and who had asked for it has long been answered by the primary (proxy/data/replica.h). Meanwhile
// the replica applies nothing. On what was the primary until then its client has been told that it
// may have run (and Redis ends none that has written).
void RedisPilot::Machine::end_script(Instant now) {
  send(now, {"SCRIPT", "KILL"}, {Question::kTry, {}, "SCRIPT KILL", 0});
  send(now, {"FUNCTION", "KILL"}, {Question::kTry, {}, "FUNCTION KILL", 0});
}

// REPLCONF GETACK has no reply, unless it is refused: see on_reply.
void RedisPilot::Machine::nudge(Instant now) {
  if (effective() != OrderKind::kFollow || !known.link_up) return;
  if (link_up_since == kNever || now - link_up_since > kNudgeFor) return;
  nudged = true;
  out.commands.push_back({"REPLCONF", "GETACK", "*"});
}

// --- answers -----------------------------------------------------------------------------------

void RedisPilot::on_reply(Instant now, const PilotReply& reply) {
  Machine& m = *machine_;
  if (m.phase != Machine::Phase::kOpen) return;
  const bool error = reply.kind == PilotReply::Kind::kError;
  if (error && m.nudged && mentions(reply.text, "replconf")) return;
  if (m.asked.empty()) {
    m.out.close = true;
    return m.disconnect(now, "a reply to no question", 0);
  }
  const bool was_silent = now - m.progress >= kRecountAfter;
  m.progress = now;
  const Machine::Asked asked = std::move(m.asked.front());
  m.asked.pop_front();
  m.answer(now, asked, reply);
  if (was_silent) m.recount(now);
  if (m.phase == Machine::Phase::kOpen && m.leaving && m.asked.empty()) m.left = true;
}

void RedisPilot::Machine::answer(Instant now, const Asked& question, const PilotReply& reply) {
  const bool error = reply.kind == PilotReply::Kind::kError;
  switch (question.question) {
    case Question::kInfo:
      info_read = !error;
      if (error) return refused(now, "INFO", reply.text);
      accepted(now, "INFO");
      round_orders = question.orders;
      round_asked = question.when;
      return answer_info(reply);
    case Question::kRole:
      role_read = !error;
      if (error) return refused(now, "ROLE", reply.text);
      accepted(now, "ROLE");
      return answer_role(reply);
    case Question::kSetting:
    case Question::kRoundOver:
      if (error) {
        refused(now, "CONFIG GET", reply.text);
      } else {
        accepted(now, "CONFIG GET");
        answer_setting(question.name, reply);
      }
      if (question.question == Question::kRoundOver) finish_round(now);
      return;
    case Question::kTry:
      if (!error) emit("redis_ordered", question.text);
      return;
    case Question::kFence:
    case Question::kChange:
    case Question::kCommand:
      if (error) return refused(now, question.name, reply.text);
      accepted(now, question.name);
      if (question.question == Question::kChange) settings.on_changed(question.name);
      if (question.text.empty()) return;
      return emit(question.question == Question::kCommand ? "redis_ordered" : "redis_setting",
                  question.text);
  }
}

void RedisPilot::Machine::answer_info(const PilotReply& reply) {
  if (reply.kind != PilotReply::Kind::kText) {
    info_read = false;
    return;
  }
  apply_info(known, reply.text);
  extras = read_extras(reply.text);
  if (lead_run_id.empty() && lead_epoch != 0) lead_run_id = known.run_id;
  if (known.run_id == facts.run_id) return;
  // Another process: nothing of what the last one has shown is true of it.
  if (!facts.run_id.empty()) {
    emit("redis_restarted", facts.run_id + " -> " + known.run_id);
    backlog.forget();
  }
  settings.forget();
  has_served = copy_broken = lead_done = false;
}

void RedisPilot::Machine::answer_role(const PilotReply& reply) {
  const std::vector<std::string_view> elements(reply.elements.begin(), reply.elements.end());
  role_read = reply.kind == PilotReply::Kind::kList && apply_role(known, elements);
}

void RedisPilot::Machine::answer_setting(std::string_view name, const PilotReply& reply) {
  if (reply.kind != PilotReply::Kind::kList) return;
  std::optional<std::string_view> value;
  if (reply.elements.size() == 2) value = reply.elements[1];
  settings.on_value(name, value);
  const auto number = [&]() -> std::optional<std::int64_t> {
    if (!value) return std::nullopt;
    return static_cast<std::int64_t>(number_in(*value));
  };
  if (name == kFenceName) min_replicas = number();
  if (name == kLagName) max_lag = number();
  if (name == kSaveName && value) saves = !value->empty();
}

void RedisPilot::Machine::finish_round(Instant now) {
  if (!info_read || !role_read) {
    // It may be alive, and cannot be driven: nobody should count on it. One that says that it is
    // busy with a script is borne for as long as one that says nothing.
    const auto refusal = refusals.find("INFO");
    const bool busy = refusal != refusals.end() && refusal->second.text.empty();
    LocalRedis next = facts;
    next.alive = facts.alive && busy && now - whole_at < silence_max;
    publish(next);
    const bool follows = known.role == RedisRole::kReplica || effective() == OrderKind::kFollow;
    if (busy && follows && asked.empty()) end_script(now);
    poll_at = now + kAwaitInterval;
    return;
  }
  backoff.reset();
  whole_at = now;
  // Whether the tap is still refused shows only when it is wanted again.
  if (refusals.contains(kTapName) && !pending_refusal(now, kTapName)) refusals.erase(kTapName);
  tell_trouble(now);
  answered = round_orders;
  update_facts(now);
  size_backlog(now);
  if (asked.empty()) decide(now);
  if (asked.empty() && answered != orders) ask_round(now, false);
  poll_at = now + poll_interval(now);
}

void RedisPilot::Machine::update_facts(Instant now) {
  const bool replica = known.role == RedisRole::kReplica;
  const bool syncing = replica && (known.sync_in_progress || known.link == RedisLink::kSync);
  const bool loading = known.loading && !known.async_loading;
  const bool link_up = replica && known.link_up && !syncing;
  if (!link_up) link_up_since = kNever;
  if (link_up && link_up_since == kNever) link_up_since = now;
  // A copy that is being loaded has thrown away the data that were there. If it breaks off, the old
  // replid and offset stay, over an empty data set. (One that was received whole is loaded to its
  // end, link or no link, and then its primary's are there.)
  if (loading && replica && has_served && !std::exchange(copy_broken, true)) {
    copied_replid = known.replid;
    copied_offset = known.offset;
  }
  const bool taken_over = known.replid != copied_replid || known.offset > copied_offset;
  const bool whole = !loading && (link_up || taken_over);
  if (!replica || whole) copy_broken = false;
  if (!loading) has_served = true;

  LocalRedis next;
  next.alive = true;
  next.trouble = facts.trouble;
  next.loading = loading || syncing || copy_broken;
  next.master = known.role == RedisRole::kMaster;
  next.link_up = link_up;
  next.empty = extras.keys == 0 && extras.functions == 0;
  next.fenced = fenced();
  next.run_id = known.run_id;
  next.replid = known.replid;
  next.replid2 = known.replid2;
  next.second_offset = known.second_offset;
  next.offset = static_cast<std::uint64_t>(std::max<std::int64_t>(known.offset, 0));
  if (replica && !link_up) next.offset = std::max(next.offset, extras.own_offset);
  if (tap_attached && tap_replid == next.replid) next.offset = std::max(next.offset, tap_offset);
  next.asked.at = round_asked;
  if (!next.master) lead_done = false;
  if (leads()) lead_done = true;
  judge_done(next);
  tell_persistence();
  if (std::exchange(told_down, false) || !facts.alive) {
    emit("redis_up", "it answers, version " + known.version);
  }
  publish(next);
}

void RedisPilot::Machine::publish(const LocalRedis& next) {
  const bool news = next != facts;
  facts = next;
  if (!news) return;
  out.facts_changed = true;
}

void RedisPilot::Machine::emit(std::string name, std::string text, bool error) {
  out.events.push_back({std::move(name), std::move(text), error});
}

Duration RedisPilot::Machine::give_up_after() const {
  return std::max(kGiveUpAfter, Duration{3 * silence_max.ms});
}

Duration RedisPilot::Machine::poll_interval(Instant now) const {
  const bool follows = effective() == OrderKind::kFollow;
  const bool done = facts.done == order.kind && facts.done_epoch == order.epoch;
  const bool settled = done && !facts.loading;
  // Asking faster would not make it obey.
  if (!trouble.empty()) return now < eager_until ? kAwaitInterval : kCalmInterval;
  if (!settled) return now < eager_until ? kEagerInterval : kAwaitInterval;
  const bool nudging = follows && link_up_since != kNever && now - link_up_since <= kNudgeFor;
  return nudging ? kNudgeInterval : kCalmInterval;
}

// --- the owner's side --------------------------------------------------------------------------

RedisPilot::RedisPilot(std::string announce_host, std::uint16_t announce_port, Instant now)
    : machine_(std::make_unique<Machine>(std::move(announce_host), announce_port, now)) {}

RedisPilot::~RedisPilot() = default;

void RedisPilot::set_login(std::string username, std::string password) {
  // Without a login too: one that is set all the same would be refused by the primary.
  machine_->settings.need("masteruser", std::move(username));
  machine_->settings.need("masterauth", std::move(password), PilotSettings::Rule::kEqual, true);
}

void RedisPilot::set_silence(Duration most) { machine_->silence_max = most; }

void RedisPilot::set_order(Instant now, const RedisOrder& order) {
  Machine& m = *machine_;
  if (order == m.order) return;
  if (order.kind != m.order.kind || order.epoch != m.order.epoch) m.lead_done = false;
  if (order.kind == OrderKind::kLead && order.epoch != m.lead_epoch) {
    m.lead_epoch = order.epoch;
    m.lead_run_id = m.facts.run_id;
  }
  m.order = order;
  ++m.orders;
  m.on_news(now);
}

void RedisPilot::on_tunnel_port(Instant now, const TunnelPort& port) {
  machine_->tunnel = port;
  machine_->on_news(now);
}

void RedisPilot::on_tap(Instant now, bool attached, std::string_view replid) {
  Machine& m = *machine_;
  m.tap_attached = attached;
  if (attached) m.accepted(now, Machine::kTapName);
  m.tap_replid = replid;
  m.tap_offset = 0;
  m.on_news(now);
}

void RedisPilot::on_applied(Instant /*now*/, std::uint64_t offset) {
  Machine& m = *machine_;
  m.tap_offset = std::max(m.tap_offset, offset);
  if (!m.tap_attached || !m.facts.alive || m.tap_replid != m.facts.replid) return;
  LocalRedis next = m.facts;
  next.offset = std::max(next.offset, offset);
  m.publish(next);
}

PilotOutbox RedisPilot::take_outbox() {
  Machine& m = *machine_;
  PilotOutbox out = std::exchange(m.out, {});
  out.want_tap = m.wants_tap();
  out.want_tunnel_epoch = m.wanted_tunnel();
  return out;
}

bool RedisPilot::left() const { return machine_->left; }
const LocalRedis& RedisPilot::facts() const { return machine_->facts; }

}  // namespace azimuth
