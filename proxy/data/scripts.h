// The scripts that clients have loaded, so that a restart of Redis does not lose them: Redis
// forgets them, azimuth loads them again in front of the next EVALSHA. Owned by one worker; bodies
// are shared between workers, which tell each other.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "conf/limits.h"

namespace azimuth {

class ScriptCache {
 public:
  using Body = std::shared_ptr<const std::string>;

  // Redis has this script, and said so. The oldest are forgotten beyond
  // kRememberedScriptsBytesMax.
  void remember(std::string_view sha, Body body) {
    const std::string key = lower(sha);
    if (body->size() > kRememberedScriptsBytesMax || scripts_.contains(key)) return;
    bytes_ += body->size();
    scripts_.emplace(key, Script{std::move(body), redis_run_});
    order_.push_back(key);
    while (bytes_ > kRememberedScriptsBytesMax) {
      const auto oldest = scripts_.find(order_.front());
      bytes_ -= oldest->second.body->size();
      scripts_.erase(oldest);
      order_.pop_front();
    }
  }

  // SCRIPT FLUSH: they are gone because somebody wanted that.
  void clear() {
    scripts_.clear();
    order_.clear();
    bytes_ = 0;
  }

  // A connection was lost: Redis may be another process now, with no scripts.
  void doubt_all() { ++redis_run_; }

  // The body, if it is known; else null.
  Body known(std::string_view sha) const {
    if (scripts_.empty()) return nullptr;
    const auto found = scripts_.find(lower(sha));
    return found != scripts_.end() ? found->second.body : nullptr;
  }
  // The same, if the primary's Redis may have lost this script.
  Body lost(std::string_view sha) const {
    if (scripts_.empty()) return nullptr;
    const auto found = scripts_.find(lower(sha));
    if (found == scripts_.end() || found->second.loaded_in_run == redis_run_) return nullptr;
    return found->second.body;
  }
  void confirm(std::string_view sha) {
    const auto found = scripts_.find(lower(sha));
    if (found != scripts_.end()) found->second.loaded_in_run = redis_run_;
  }

 private:
  struct Script {
    Body body;
    uint64_t loaded_in_run;
  };
  static std::string lower(std::string_view sha) {
    std::string out(sha);
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return out;
  }

  std::unordered_map<std::string, Script> scripts_;
  std::deque<std::string> order_;
  size_t bytes_ = 0;
  uint64_t redis_run_ = 1;
};

}  // namespace azimuth
