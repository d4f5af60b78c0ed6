#include "proxy/group/redis_control.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <utility>

#include "conf/limits.h"
#include "conf/result.h"
#include "proxy/clock.h"

namespace azimuth {
namespace {

// CONFIG GET has two elements, ROLE three a replica.
constexpr int kElementsMax = 3 * 1024;
constexpr std::uint64_t kLookupPollMs = 20;

// hiredis' own functions, but for arrays: it would allocate whatever a header announces.
redisReader* make_reader() {
  static redisReplyObjectFunctions usual;
  static redisReplyObjectFunctions bounded;
  redisReader* reader = redisReaderCreate();
  AZIMUTH_CHECK(reader != nullptr);
  usual = bounded = *reader->fn;
  bounded.createArray = [](const redisReadTask* task, int elements) -> void* {
    return elements > kElementsMax ? nullptr : usual.createArray(task, elements);
  };
  reader->fn = &bounded;
  return reader;
}

std::string text_of(const redisReply& reply) {
  return reply.str == nullptr ? std::string() : std::string(reply.str, reply.len);
}

void lay_flat(const redisReply& reply, std::vector<std::string>& out) {
  for (std::size_t i = 0; i < reply.elements && out.size() < std::size_t{kElementsMax}; ++i) {
    const redisReply& each = *reply.element[i];
    if (each.type == REDIS_REPLY_ARRAY) {
      lay_flat(each, out);
    } else if (each.type == REDIS_REPLY_INTEGER) {
      out.push_back(std::to_string(each.integer));
    } else {
      out.push_back(text_of(each));
    }
  }
}

PilotReply pilot_reply(const redisReply& reply) {
  PilotReply answer;
  switch (reply.type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      answer.kind = PilotReply::Kind::kText;
      answer.text = text_of(reply);
      break;
    case REDIS_REPLY_ERROR:
      answer.kind = PilotReply::Kind::kError;
      answer.text = text_of(reply);
      break;
    case REDIS_REPLY_INTEGER:
      answer.kind = PilotReply::Kind::kInteger;
      answer.integer = reply.integer;
      break;
    case REDIS_REPLY_ARRAY:
      answer.kind = PilotReply::Kind::kList;
      lay_flat(reply, answer.elements);
      break;
    default:
      break;
  }
  return answer;
}

bool same(const SocketAddress& a, const SocketAddress& b) {
  return a.size == b.size && std::memcmp(&a.storage, &b.storage, a.size) == 0;
}

}  // namespace

RedisControl::RedisControl(uv_loop_t* loop, const RedisSettings& settings,
                           std::string announce_host, std::uint16_t announce_port, Hooks hooks)
    : loop_(loop),
      settings_(settings),
      hooks_(std::move(hooks)),
      pilot_(std::move(announce_host), announce_port, clock_now()),
      random_(std::random_device{}()),
      socket_(loop, {.on_open = [this] { on_open(); },
                     .on_bytes = [this](std::string_view bytes) { on_bytes(bytes); },
                     .on_lost = [this](std::string_view reason) { lost(reason); }}),
      tap_(loop, tap_hooks()) {
  pilot_.set_login(settings.username, settings.password);
}

RedisControl::~RedisControl() { AZIMUTH_CHECK(closed()); }

Tap::Hooks RedisControl::tap_hooks() {
  Tap::Hooks hooks;
  hooks.on_attached = [this](std::string_view replid) {
    tap_replid_ = replid;
    pilot_.on_tap(clock_now(), true, replid);
    carry_out();
  };
  hooks.on_detached = [this] {
    pilot_.on_tap(clock_now(), false);
    carry_out();
  };
  hooks.on_applied = [this](std::uint64_t offset) {
    pilot_.on_applied(clock_now(), offset);
    if (hooks_.on_applied) hooks_.on_applied(tap_replid_, offset);
    carry_out();
  };
  hooks.may_ack = [this] { return !hooks_.may_ack || hooks_.may_ack(); };
  hooks.random = [this] { return random_(); };
  hooks.on_trouble = [this](std::string_view reason) {
    pilot_.on_tap_trouble(clock_now(), reason);
    carry_out();
  };
  return hooks;
}

void RedisControl::start() {
  timer_ = new uv_timer_t;
  uv_timer_init(loop_, timer_);
  timer_->data = this;
  ++handles_;
  on_timer();
}

void RedisControl::set_order(const RedisOrder& order) {
  pilot_.set_order(clock_now(), order);
  carry_out();
}

void RedisControl::on_tunnel_port(const TunnelPort& port) {
  pilot_.on_tunnel_port(clock_now(), port);
  carry_out();
}

void RedisControl::set_settings(const RedisSettings& settings) {
  const bool other_login =
      settings.username != settings_.username || settings.password != settings_.password;
  settings_ = settings;
  if (!other_login || closing_ || timer_ == nullptr) return;
  pilot_.set_login(settings.username, settings.password);
  tap_.set_target(address_, settings.username, settings.password);
  lost("the settings have a new login");
}

void RedisControl::leave() {
  pilot_.leave(clock_now());
  carry_out();
}

void RedisControl::close() {
  if (closing_) return;
  closing_ = true;
  drop_connection();
  tap_.close();
  if (timer_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(timer_), [](uv_handle_t* handle) {
    --static_cast<RedisControl*>(handle->data)->handles_;
    delete reinterpret_cast<uv_timer_t*>(handle);
  });
}

bool RedisControl::closed() const { return handles_ == 0 && socket_.closed() && tap_.closed(); }

// --- what the pilot wants ----------------------------------------------------------------------

void RedisControl::on_timer() {
  if (auto answer = lookup_.fetch()) {
    candidates_.assign(answer->addresses.rbegin(), answer->addresses.rend());
    if (!std::exchange(awaiting_address_, false)) {
      // Too late for the try that asked for it; the next one has it.
    } else if (candidates_.empty()) {
      pilot_.on_disconnected(clock_now(), to_string(settings_.address) + ": " + answer->error,
                             random_());
    } else {
      connect_next_address();
    }
  }
  pilot_.on_tick(clock_now(), random_());
  carry_out();
}

void RedisControl::carry_out() {
  if (closing_ || timer_ == nullptr) return;
  // A hook that comes back here finds the loop below at work, which goes round again.
  again_ = true;
  if (carrying_out_) return;
  carrying_out_ = true;
  while (std::exchange(again_, false) && !closing_) {
    const PilotOutbox outbox = pilot_.take_outbox();
    again_ = outbox.close || outbox.connect || !outbox.commands.empty() || !outbox.events.empty() ||
             outbox.facts_changed;
    if (outbox.close) {
      awaiting_address_ = false;
      drop_connection();
    }
    if (outbox.connect) connect();
    send(outbox.commands);
    const LocalRedis& facts = pilot_.facts();
    if (outbox.facts_changed && !tap_.attached()) tap_.set_lineage(facts.replid, facts.offset);
    tap_.set_wanted(outbox.want_tap);
    if (outbox.want_tunnel_epoch != wanted_tunnel_) {
      wanted_tunnel_ = outbox.want_tunnel_epoch;
      if (hooks_.on_want_tunnel) hooks_.on_want_tunnel(wanted_tunnel_);
    }
    for (const PilotOutbox::Event& event : outbox.events) {
      if (hooks_.on_event) hooks_.on_event(event);
    }
    if (outbox.facts_changed && hooks_.on_facts) hooks_.on_facts();
  }
  carrying_out_ = false;
  arm_timer();
}

void RedisControl::arm_timer() {
  if (closing_) return;
  std::uint64_t delay_ms = ms_until(pilot_.next_wakeup(), clock_now());
  if (lookup_.running()) delay_ms = std::min(delay_ms, kLookupPollMs);
  uv_timer_start(
      timer_, [](uv_timer_t* handle) { static_cast<RedisControl*>(handle->data)->on_timer(); },
      delay_ms, 0);
}

void RedisControl::send(const std::vector<std::vector<std::string>>& commands) {
  std::string bytes;
  for (const std::vector<std::string>& command : commands) {
    const std::vector<std::string_view> words(command.begin(), command.end());
    append_command(bytes, words);
  }
  socket_.send(bytes);
}

// --- connecting --------------------------------------------------------------------------------

void RedisControl::connect() {
  drop_connection();
  if (!candidates_.empty()) return connect_next_address();
  if (const auto address = numeric_address(settings_.address)) {
    candidates_.push_back(*address);
    return connect_next_address();
  }
  lookup_.start(settings_.address);  // the answer comes to on_timer
  awaiting_address_ = true;
}

void RedisControl::connect_next_address() {
  address_ = candidates_.back();
  candidates_.pop_back();
  const int rc = socket_.open(address_);
  if (rc != 0) pilot_.on_disconnected(clock_now(), std::strerror(-rc), random_());
}

void RedisControl::on_open() {
  candidates_.clear();
  reader_ = make_reader();
  tap_.set_target(address_, settings_.username, settings_.password);
  if (!same(address_, found_)) {
    found_ = address_;
    if (hooks_.on_address) hooks_.on_address(found_);
  }
  login_pending_ = !settings_.password.empty();
  if (login_pending_ && settings_.username.empty()) {
    send({{"AUTH", settings_.password}});
  } else if (login_pending_) {
    send({{"AUTH", settings_.username, settings_.password}});
  }
  pilot_.on_connected(clock_now());
  carry_out();
}

void RedisControl::lost(std::string_view reason) {
  drop_connection();
  pilot_.on_disconnected(clock_now(), reason, random_());
  carry_out();
}

void RedisControl::drop_connection() {
  socket_.close();
  if (reader_ != nullptr) redisReaderFree(std::exchange(reader_, nullptr));
  reply_bytes_ = 0;
}

// --- replies -----------------------------------------------------------------------------------

void RedisControl::on_bytes(std::string_view bytes) {
  if (hooks_.on_woken) hooks_.on_woken();
  if (reader_ == nullptr) return;  // that has ended the connection
  reply_bytes_ += bytes.size();
  if (reply_bytes_ > kControlReplyBytesMax) return lost("a reply of more than 4 MiB");
  redisReaderFeed(reader_, bytes.data(), bytes.size());
  for (;;) {
    void* whole = nullptr;
    if (redisReaderGetReply(reader_, &whole) != REDIS_OK) {
      return lost(std::string("no RESP: ") + reader_->errstr);
    }
    if (whole == nullptr) break;
    const std::unique_ptr<redisReply, void (*)(void*)> reply(static_cast<redisReply*>(whole),
                                                             &freeReplyObject);
    reply_bytes_ = 0;
    on_reply(*reply);
    if (reader_ == nullptr) return;  // that was the last it had to say
  }
}

void RedisControl::on_reply(const redisReply& reply) {
  if (!std::exchange(login_pending_, false)) {
    pilot_.on_reply(clock_now(), pilot_reply(reply));
    return carry_out();
  }
  const std::string error = reply.type == REDIS_REPLY_ERROR ? text_of(reply) : std::string();
  if (!error.empty() && error != login_error_ && hooks_.on_event) {
    hooks_.on_event({"redis_login_refused", error, true});
  }
  login_error_ = error;
}

}  // namespace azimuth
