#include "proxy/group/tap.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <span>
#include <utility>

#include "conf/limits.h"
#include "conf/result.h"
#include "health/redis_pilot_settings.h"

namespace azimuth {
namespace {

// A third of min-replicas-max-lag's second, and far below repl-timeout.
constexpr Duration kAckInterval = milliseconds(300);
constexpr Duration kStartInterval = milliseconds(20);
constexpr std::size_t kMarkBytes = 40;
constexpr std::string_view kMarkPrefix = "$EOF:";

std::uint64_t number_in(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The n-th word of a line, counted from 0.
std::string_view word(std::string_view line, int n) {
  for (; n > 0; --n) {
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) return {};
    line.remove_prefix(blank + 1);
  }
  return line.substr(0, line.find(' '));
}

}  // namespace

Tap::Tap(uv_loop_t* loop, Hooks hooks)
    : loop_(loop),
      hooks_(std::move(hooks)),
      socket_(loop, {.on_open = [this] { on_open(); },
                     .on_bytes = [this](std::string_view bytes) { on_bytes(bytes); },
                     .on_lost = [this](std::string_view reason) { end(reason); }}),
      backoff_(milliseconds(10), milliseconds(500)) {}

Tap::~Tap() { AZIMUTH_CHECK(closed()); }

void Tap::set_target(const SocketAddress& address, std::string username, std::string password) {
  address_ = address;
  username_ = std::move(username);
  password_ = std::move(password);
}

void Tap::set_lineage(std::string_view replid, std::uint64_t offset) {
  known_replid_ = replid;
  known_offset_ = offset;
}

void Tap::set_wanted(bool wanted) {
  if (wanted == wanted_ || closing_) return;
  wanted_ = wanted;
  if (wanted) {
    backoff_.reset();
    arm_timer(milliseconds(0));
  } else {
    socket_.close();
    leave_stream();
  }
}

void Tap::close() {
  if (closing_) return;
  wanted_ = false;
  closing_ = true;
  socket_.close();
  phase_ = Phase::kAway;
  if (timer_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(timer_, nullptr)), [](uv_handle_t* handle) {
    --static_cast<Tap*>(handle->data)->handles_;
    delete reinterpret_cast<uv_timer_t*>(handle);
  });
}

// --- connecting --------------------------------------------------------------------------------

void Tap::arm_timer(Duration delay) {
  if (closing_) return;
  if (timer_ == nullptr) {
    timer_ = new uv_timer_t;
    uv_timer_init(loop_, timer_);
    timer_->data = this;
    ++handles_;
  }
  uv_timer_start(
      timer_, [](uv_timer_t* handle) { static_cast<Tap*>(handle->data)->on_timer(); },
      static_cast<std::uint64_t>(delay.ms), 0);
}

void Tap::on_timer() {
  if (!wanted_) return;
  if (phase_ == Phase::kAway) return connect();
  if (phase_ != Phase::kStream) return;
  settled_ = !awaiting_start_;
  acknowledge();
  arm_timer(awaiting_start_ ? kStartInterval : kAckInterval);
}

void Tap::connect() {
  if (address_.size == 0) return arm_timer(backoff_.next(hooks_.random()));
  phase_ = Phase::kConnecting;
  if (const int rc = socket_.open(address_); rc != 0) end(std::strerror(-rc));
}

void Tap::on_open() {
  line_.clear();
  phase_ = Phase::kGreeting;
  greetings_ = 0;
  if (!password_.empty() && username_.empty()) greet({"AUTH", password_});
  if (!password_.empty() && !username_.empty()) greet({"AUTH", username_, password_});
  greet({"REPLCONF", "capa", "eof", "capa", "psync2"});
  // A copy without any data. Redis 6 does not know it and sends them all.
  greet({"REPLCONF", "rdb-filter-only", ""});
}

void Tap::greet(std::initializer_list<std::string_view> words) {
  ++greetings_;
  command(words);
}

// Refused, lost, or a reply that no Redis gives: again later.
void Tap::end(std::string_view /*reason*/) {
  // A promotion ends every stream, and a primary without its tap refuses writes: no time to lose.
  const bool at_once = std::exchange(settled_, false);
  if (at_once) backoff_.reset();
  socket_.close();
  leave_stream();
  if (wanted_) arm_timer(at_once ? milliseconds(0) : backoff_.next(hooks_.random()));
}

void Tap::leave_stream() {
  const bool was_attached = phase_ == Phase::kStream;
  phase_ = Phase::kAway;
  if (was_attached) hooks_.on_detached();
}

void Tap::command(std::initializer_list<std::string_view> words) {
  std::string bytes;
  append_command(bytes, std::span(words.begin(), words.size()));
  socket_.send(bytes);
}

// --- what Redis says ---------------------------------------------------------------------------

void Tap::on_bytes(std::string_view bytes) {
  while (!bytes.empty() && phase_ != Phase::kStream) {
    if (phase_ == Phase::kCopy) {
      skip_copy(bytes);
      continue;
    }
    if (!take_line(bytes)) break;
    const std::string line = std::exchange(line_, {});
    if (!line.empty()) on_line(line);  // an empty one keeps a waiting replica patient
    if (phase_ == Phase::kAway) return;
  }
  if (line_.size() > kSyncLineBytesMax) return end("a line without an end");
  if (phase_ != Phase::kStream || bytes.empty()) return;
  awaiting_start_ = false;
  applied_ += bytes.size();
  hooks_.on_applied(applied_);
}

bool Tap::take_line(std::string_view& bytes) {
  const std::size_t end_of_line = bytes.find('\n');
  line_ += bytes.substr(0, end_of_line);
  if (end_of_line == std::string_view::npos) {
    bytes = {};
    return false;
  }
  bytes.remove_prefix(end_of_line + 1);
  if (line_.ends_with('\r')) line_.pop_back();
  return true;
}

void Tap::on_line(const std::string& line) {
  switch (phase_) {
    case Phase::kGreeting:
      // Refusals show in what follows; which Redis takes only when nothing else is outstanding.
      if (--greetings_ == 0) ask_sync();
      return;
    case Phase::kAsking:
      return on_sync_reply(line);
    case Phase::kCopyHead:
      return on_copy_head(line);
    case Phase::kAway:
    case Phase::kConnecting:
    case Phase::kCopy:
    case Phase::kStream:
      return;
  }
}

void Tap::ask_sync() {
  phase_ = Phase::kAsking;
  if (known_replid_.empty()) return command({"PSYNC", "?", "-1"});
  command({"PSYNC", known_replid_, std::to_string(known_offset_ + 1)});
}

void Tap::on_sync_reply(const std::string& line) {
  if (line.starts_with("+CONTINUE")) {
    const std::string_view replid = word(line, 1);
    replid_ = replid.empty() ? known_replid_ : std::string(replid);
    applied_ = known_offset_;
    awaiting_start_ = false;
    return start_stream();
  }
  if (line.starts_with("+FULLRESYNC")) {
    replid_ = word(line, 1);
    applied_ = number_in(word(line, 2));
    phase_ = Phase::kCopyHead;
    return;
  }
  // What was known of the stream may have been the reason.
  known_replid_.clear();
  // A replica without its link, and one that loads, will take it later.
  const bool passes = line.starts_with("-NOMASTERLINK") || line.starts_with("-LOADING");
  const std::string why =
      passes ? std::string() : explain_refusal("PSYNC", std::string_view(line).substr(1));
  end(line);
  if (!why.empty()) hooks_.on_trouble(why);
}

void Tap::on_copy_head(const std::string& line) {
  awaiting_start_ = line.starts_with(kMarkPrefix);
  if (awaiting_start_) {
    mark_ = line.substr(kMarkPrefix.size());
    tail_.clear();
    if (mark_.size() != kMarkBytes) return end("no mark");
  } else if (line.starts_with('$')) {
    copy_left_ = number_in(std::string_view(line).substr(1));
  } else {
    return end(line);
  }
  phase_ = Phase::kCopy;
  if (!awaiting_start_ && copy_left_ == 0) start_stream();
}

// Nothing but the stream comes behind a copy, and behind one with a mark not even that, until it is
// ACKed: so the mark is where the bytes end.
void Tap::skip_copy(std::string_view& bytes) {
  if (!awaiting_start_) {
    const std::size_t part = std::min<std::uint64_t>(copy_left_, bytes.size());
    bytes.remove_prefix(part);
    copy_left_ -= part;
    if (copy_left_ == 0) start_stream();
    return;
  }
  tail_ += bytes.substr(bytes.size() - std::min(bytes.size(), kMarkBytes));
  bytes = {};
  tail_.erase(0, tail_.size() - std::min(tail_.size(), kMarkBytes));
  if (tail_ == mark_) start_stream();
}

void Tap::start_stream() {
  phase_ = Phase::kStream;
  acknowledge();
  arm_timer(awaiting_start_ ? kStartInterval : kAckInterval);
  hooks_.on_attached(replid_);
  if (phase_ == Phase::kStream) hooks_.on_applied(applied_);
}

void Tap::acknowledge() {
  if (hooks_.may_ack()) command({"REPLCONF", "ACK", "0"});
}

}  // namespace azimuth
