#include "proxy/data/redis_proof.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "conf/limits.h"
#include "proxy/group/lease.h"
#include "session/request_framer.h"

namespace azimuth {

std::uint64_t process_of(std::string_view run_id) {
  return std::max<std::uint64_t>(std::hash<std::string_view>{}(run_id), Lease::kNoProcess + 1);
}

RedisProof::RedisProof(std::string_view username, std::string_view password)
    : logs_in_(!password.empty()) {
  if (logs_in_ && username.empty()) {
    append_request(request_, std::vector<std::string_view>{"AUTH", password});
  } else if (logs_in_) {
    append_request(request_, std::vector<std::string_view>{"AUTH", username, password});
  }
  append_request(request_, std::vector<std::string_view>{"INFO", "server"});
  if (logs_in_) append_request(request_, std::vector<std::string_view>{"RESET"});
}

std::size_t RedisProof::feed(const char* p, std::size_t n) {
  std::size_t used = 0;
  while (used < n && state_ == State::kAsked) {
    bool done = false;
    const std::size_t taken = cursor_.feed(p + used, n - used, done);
    reply_.append(p + used, taken);
    used += taken;
    if (cursor_.failed() || reply_.size() > kCollectedBytesMax) {
      state_ = State::kRefused;
      why_ = "the peer does not speak RESP";
    } else if (done) {
      take(reply_);
      reply_.clear();
      cursor_ = ReplyCursor();
    }
  }
  return used;
}

void RedisProof::take(std::string_view reply) {
  constexpr std::string_view kKey = "\nrun_id:";
  const unsigned place = replies_++ + (logs_in_ ? 0U : 1U);  // AUTH, INFO, RESET
  if (reply.starts_with('-')) {
    state_ = State::kRefused;
    why_ = reply.substr(1, reply.find('\r') - 1);
  } else if (place == 1) {
    const std::size_t at = reply.find(kKey);
    if (at == std::string_view::npos) {
      state_ = State::kRefused;
      why_ = "INFO names no run_id";
      return;
    }
    reply.remove_prefix(at + kKey.size());
    process_ = process_of(reply.substr(0, reply.find('\r')));
    if (!logs_in_) state_ = State::kAnswered;
  } else if (place == 2) {
    state_ = State::kAnswered;
  }
}

}  // namespace azimuth
