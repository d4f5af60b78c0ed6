#include "proxy/control/redis_watch.h"

#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proxy/control/log.h"

namespace azimuth {
namespace {

constexpr size_t kReadBytes = 64 * kKiB;
constexpr int kReadsPerTurn = 16;
// COMMAND of Redis 7.0 has 240 entries; ROLE has three elements a replica.
constexpr int kArrayElementsMax = 65536;
constexpr size_t kRoleElementsMax = 3 * 1024;
constexpr uint64_t kLookupPollMs = 20;
constexpr unsigned kKeepaliveS = 60;
constexpr uint64_t kTextOfErrorMax = 200;
// Stands for the run_id of a Redis that does not say who it is: INFO may be forbidden.
constexpr std::string_view kNameless = "nameless";

redisReplyObjectFunctions default_functions() {
  redisReader* reader = redisReaderCreate();
  AZIMUTH_CHECK(reader != nullptr);
  const redisReplyObjectFunctions functions = *reader->fn;
  redisReaderFree(reader);
  return functions;
}

// hiredis' own functions, but for arrays: it would allocate whatever a header announces.
redisReplyObjectFunctions* bounded_functions() {
  static const redisReplyObjectFunctions usual = default_functions();
  static redisReplyObjectFunctions bounded = [] {
    redisReplyObjectFunctions functions = usual;
    functions.createArray = [](const redisReadTask* task, int elements) -> void* {
      return elements > kArrayElementsMax ? nullptr : usual.createArray(task, elements);
    };
    return functions;
  }();
  return &bounded;
}

std::string_view text_of(const redisReply& reply) {
  return reply.str == nullptr ? std::string_view() : std::string_view(reply.str, reply.len);
}

bool is_text(const redisReply& reply) {
  return reply.type == REDIS_REPLY_STRING || reply.type == REDIS_REPLY_STATUS;
}

std::span<redisReply* const> elements_of(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY || reply.element == nullptr) return {};
  return {reply.element, reply.elements};
}

// ROLE's reply laid flat, its integers as text, as apply_role wants it.
void lay_flat(const redisReply& reply, std::vector<std::string>& out) {
  for (const redisReply* each : elements_of(reply)) {
    if (out.size() >= kRoleElementsMax) return;
    if (each->type == REDIS_REPLY_ARRAY) {
      lay_flat(*each, out);
    } else if (each->type == REDIS_REPLY_INTEGER) {
      out.push_back(std::to_string(each->integer));
    } else {
      out.emplace_back(text_of(*each));
    }
  }
}

int small_int(const redisReply& reply) {
  constexpr long long kMost = 1 << 20;
  return static_cast<int>(std::clamp(reply.integer, -kMost, kMost));
}

constexpr size_t kSubcommandsAt = 9;  // since Redis 7.0

void append_commands(const redisReply& list, std::vector<BackendCommand>& out) {
  for (const redisReply* entry : elements_of(list)) {
    const auto fields = elements_of(*entry);
    if (out.size() >= ExtraCommands::kCommandsMax + kCommandCount) return;
    if (fields.size() < 6 || !is_text(*fields[0])) continue;
    BackendCommand command;
    command.name = text_of(*fields[0]);
    command.arity = small_int(*fields[1]);
    for (const redisReply* flag : elements_of(*fields[2])) {
      command.flags.emplace_back(text_of(*flag));
    }
    command.first_key = small_int(*fields[3]);
    command.last_key = small_int(*fields[4]);
    command.key_step = small_int(*fields[5]);
    out.push_back(std::move(command));
    if (fields.size() > kSubcommandsAt) append_commands(*fields[kSubcommandsAt], out);
  }
}

bool same(const SocketAddress& a, const SocketAddress& b) {
  return a.size == b.size && std::memcmp(&a.storage, &b.storage, a.size) == 0;
}

ProbeTimes probe_times(const RedisSettings& settings) {
  ProbeTimes times;
  times.connect_timeout = milliseconds(settings.connect_timeout_ms);
  return times;
}

}  // namespace

std::vector<BackendCommand> backend_commands(const redisReply& reply) {
  std::vector<BackendCommand> commands;
  append_commands(reply, commands);
  return commands;
}

RedisWatch::RedisWatch(uv_loop_t* loop, const RedisSettings& settings, const SocketAddress& address,
                       Hooks hooks)
    : loop_(loop),
      settings_(settings),
      hooks_(std::move(hooks)),
      probe_(probe_times(settings)),
      random_(std::random_device{}()),
      found_(address) {
  if (address.size != 0) candidates_.push_back(address);
}

RedisWatch::~RedisWatch() { AZIMUTH_CHECK(closed()); }

void RedisWatch::start() {
  timer_ = new uv_timer_t;
  uv_timer_init(loop_, timer_);
  timer_->data = this;
  ++handles_;
  on_timer();
}

void RedisWatch::set_settings(const RedisSettings& settings) {
  const bool other_login =
      settings.username != settings_.username || settings.password != settings_.password;
  settings_ = settings;
  if (!other_login || closing_ || timer_ == nullptr) return;
  commands_of_.clear();
  lost("the settings have a new login");
}

void RedisWatch::close() {
  if (closing_ || timer_ == nullptr) return;
  closing_ = true;
  drop_connection();
  uv_close(reinterpret_cast<uv_handle_t*>(timer_), [](uv_handle_t* handle) {
    --static_cast<RedisWatch*>(handle->data)->handles_;
    delete reinterpret_cast<uv_timer_t*>(handle);
  });
}

// --- what the probe wants ----------------------------------------------------------------------

void RedisWatch::on_timer() {
  if (auto answer = lookup_.fetch()) {
    candidates_.assign(answer->addresses.rbegin(), answer->addresses.rend());
    if (!std::exchange(awaiting_address_, false)) {
      // Too late for the try that asked for it; the next one has it.
    } else if (candidates_.empty()) {
      probe_.on_disconnected(now(), to_string(settings_.address) + ": " + answer->error, random_());
    } else {
      connect_next_address();
    }
  }
  probe_.on_tick(now(), random_());
  carry_out();
}

void RedisWatch::carry_out() {
  for (;;) {
    ProbeOutbox outbox = probe_.take_outbox();
    if (outbox.close) {
      awaiting_address_ = false;
      drop_connection();
    }
    for (const RedisEvent& event : outbox.events) {
      if (event.kind == RedisEventKind::kUp) trouble_.clear();
      if (event.kind == RedisEventKind::kDown || event.kind == RedisEventKind::kStuck) {
        trouble_ = event.reason;
      }
      hooks_.on_event(event);
    }
    if (!outbox.events.empty()) hooks_.on_news();
    if (outbox.connect) connect();
    if (outbox.ask) {
      for (const auto& command : kProbeCommands) {
        const size_t words = command.back().empty() ? 1 : 2;
        send({command.data(), words}, Question::kProbe);
      }
    }
    if (!outbox.close && !outbox.connect && !outbox.ask && outbox.events.empty()) break;
  }
  arm_timer();
}

void RedisWatch::arm_timer() {
  if (closing_) return;
  uint64_t delay_ms = ms_until(probe_.next_wakeup(), now());
  if (lookup_.running()) delay_ms = std::min(delay_ms, kLookupPollMs);
  uv_timer_start(
      timer_, [](uv_timer_t* handle) { static_cast<RedisWatch*>(handle->data)->on_timer(); },
      delay_ms, 0);
}

// --- connecting --------------------------------------------------------------------------------

void RedisWatch::connect() {
  drop_connection();
  if (!candidates_.empty()) return connect_next_address();
  if (const auto address = numeric_address(settings_.address)) {
    candidates_.push_back(*address);
    return connect_next_address();
  }
  lookup_.start(settings_.address);  // the answer comes to on_timer
  awaiting_address_ = true;
}

void RedisWatch::connect_next_address() {
  drop_connection();
  address_ = candidates_.back();
  candidates_.pop_back();
  fd_ = connect_to(address_);
  if (fd_ < 0) {
    const int reason = -std::exchange(fd_, -1);
    probe_.on_disconnected(now(), std::strerror(reason), random_());
    return;
  }
  tune(fd_, kKeepaliveS);
  poll_ = new uv_poll_t;
  uv_poll_init(loop_, poll_, fd_);
  poll_->data = this;
  ++handles_;
  update_poll();
}

void RedisWatch::on_connected() {
  connected_ = true;
  candidates_.clear();
  if (commands_of_ == kNameless) commands_of_.clear();
  reader_ = redisReaderCreateWithFunctions(bounded_functions());
  AZIMUTH_CHECK(reader_ != nullptr);
  if (!same(address_, found_)) {
    found_ = address_;
    hooks_.on_address(found_);
  }
  if (!settings_.password.empty()) {
    if (settings_.username.empty()) {
      const std::string_view login[] = {"AUTH", settings_.password};
      send(login, Question::kLogin);
    } else {
      const std::string_view login[] = {"AUTH", settings_.username, settings_.password};
      send(login, Question::kLogin);
    }
  }
  probe_.on_connected(now());
}

void RedisWatch::on_poll(int status, int events) {
  if (!connected_) {
    // The loop calls every error of a socket EBADF; the socket knows better.
    const int rc = connect_result(fd_);
    if (rc == 0 && status >= 0) {
      on_connected();
      if (fd_ >= 0) update_poll();
    } else {
      lost(rc != 0 ? std::strerror(-rc) : "the connection failed");
    }
  } else {
    if ((events & UV_WRITABLE) != 0) flush();
    if (fd_ >= 0 && (status < 0 || (events & UV_READABLE) != 0)) on_readable();
    if (fd_ >= 0 && status < 0) lost("the connection failed");  // and reading did not say why
  }
  if (!closing_) carry_out();
}

void RedisWatch::lost(std::string_view reason) {
  drop_connection();
  probe_.on_disconnected(now(), reason, random_());
  carry_out();
}

void RedisWatch::unreadable(const std::string& reason) {
  // Its list of commands, if it is that, would be so again.
  if (!questions_.empty() && questions_.front() == Question::kCommands) questions_.pop_front();
  lost(reason);
}

void RedisWatch::drop_connection() {
  if (fd_ < 0) return;
  const bool unanswered =
      std::find(questions_.begin(), questions_.end(), Question::kCommands) != questions_.end();
  if (unanswered) commands_of_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(poll_, nullptr)), [](uv_handle_t* handle) {
    --static_cast<RedisWatch*>(handle->data)->handles_;
    delete reinterpret_cast<uv_poll_t*>(handle);
  });
  ::close(std::exchange(fd_, -1));
  if (reader_ != nullptr) redisReaderFree(std::exchange(reader_, nullptr));
  connected_ = false;
  reply_bytes_ = 0;
  out_.clear();
  questions_.clear();
}

// --- asking and answers ------------------------------------------------------------------------

void RedisWatch::send(std::span<const std::string_view> command, Question question) {
  if (fd_ < 0) return;
  std::vector<const char*> words;
  std::vector<size_t> sizes;
  for (const std::string_view word : command) {
    words.push_back(word.data());
    sizes.push_back(word.size());
  }
  char* formatted = nullptr;
  const int size = redisFormatCommandArgv(&formatted, static_cast<int>(words.size()), words.data(),
                                          sizes.data());
  AZIMUTH_CHECK(size > 0);
  out_.append(formatted, static_cast<size_t>(size));
  redisFreeCommand(formatted);
  questions_.push_back(question);
  update_poll();  // written when the loop says so: all questions of a round in one piece
}

void RedisWatch::flush() {
  while (!out_.empty()) {
    const ssize_t n = ::send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      return lost(std::strerror(errno));
    }
    out_.erase(0, static_cast<size_t>(n));
  }
  update_poll();
}

void RedisWatch::update_poll() {
  const int events = !connected_ ? UV_WRITABLE : UV_READABLE | (out_.empty() ? 0 : UV_WRITABLE);
  uv_poll_start(poll_, events, [](uv_poll_t* handle, int status, int ready) {
    static_cast<RedisWatch*>(handle->data)->on_poll(status, ready);
  });
}

void RedisWatch::on_readable() {
  std::vector<char> bytes(kReadBytes);
  for (int i = 0; i < kReadsPerTurn; ++i) {
    const ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
    if (n == 0) return lost("Redis closed the connection");
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      return lost(std::strerror(errno));
    }
    reply_bytes_ += static_cast<size_t>(n);
    if (reply_bytes_ > kReplyBytesMax) return unreadable("a reply of more than 16 MiB");
    redisReaderFeed(reader_, bytes.data(), static_cast<size_t>(n));
    for (;;) {
      void* whole = nullptr;
      if (redisReaderGetReply(reader_, &whole) != REDIS_OK) {
        return unreadable(std::string("no RESP: ") + reader_->errstr);
      }
      if (whole == nullptr) break;
      std::unique_ptr<redisReply, void (*)(void*)> reply(static_cast<redisReply*>(whole),
                                                         &freeReplyObject);
      reply_bytes_ = 0;
      const bool commands = !questions_.empty() && questions_.front() == Question::kCommands;
      on_reply(*reply);
      reply.reset();
      if (commands) ::malloc_trim(0);  // a megabyte in small pieces, once a connection
      if (fd_ < 0) return;             // that was the last it had to say
    }
    if (static_cast<size_t>(n) < bytes.size()) return;
  }
}

void RedisWatch::on_reply(const redisReply& reply) {
  if (questions_.empty()) return lost("a reply to no question");
  const Question question = questions_.front();
  questions_.pop_front();
  if (question == Question::kLogin) return on_login_reply(reply);
  if (question == Question::kCommands) return on_commands_reply(reply);

  RedisReply answer;
  std::vector<std::string> words;
  std::vector<std::string_view> elements;
  if (reply.type == REDIS_REPLY_ERROR) {
    answer.kind = RedisReply::Kind::kError;
    answer.text = text_of(reply);
  } else if (is_text(reply)) {
    answer.kind = RedisReply::Kind::kText;
    answer.text = text_of(reply);
  } else if (reply.type == REDIS_REPLY_ARRAY) {
    answer.kind = RedisReply::Kind::kList;
    lay_flat(reply, words);
    elements.assign(words.begin(), words.end());
    answer.elements = elements;
  }
  probe_.on_reply(now(), answer, random_());
  const bool round_over =
      std::find(questions_.begin(), questions_.end(), Question::kProbe) == questions_.end();
  carry_out();
  if (!round_over || fd_ < 0) return;
  hooks_.on_news();
  ask_commands();
}

void RedisWatch::on_login_reply(const redisReply& reply) {
  const bool refused = reply.type == REDIS_REPLY_ERROR;
  const std::string error(refused ? text_of(reply).substr(0, kTextOfErrorMax) : "");
  if (refused && error != login_error_) {
    log_warning(
        "redis_login_refused",
        {{"user", settings_.username.empty() ? "default" : settings_.username}, {"reason", error}});
  }
  login_error_ = error;
}

// Once for each Redis, after its first round of answers; a nameless one after each connect.
void RedisWatch::ask_commands() {
  if (probe_.loading() || probe_.state().refusal == RedisRefusal::kNoAuth) return;
  const std::string& run_id = probe_.state().run_id;
  const std::string name(run_id.empty() ? kNameless : run_id);
  if (name == commands_of_) return;
  commands_of_ = name;
  const std::string_view command[] = {"COMMAND"};
  send(command, Question::kCommands);
}

void RedisWatch::on_commands_reply(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_ERROR) {
    log_info("commands_unknown", {{"reason", text_of(reply)}});
    return;
  }
  const std::vector<BackendCommand> commands = backend_commands(reply);
  const auto extra = std::make_shared<const ExtraCommands>(commands);
  log_debug("commands_known", {{"listed", commands.size()}, {"extra", extra->size()}});
  hooks_.on_commands(extra);
}

}  // namespace azimuth
