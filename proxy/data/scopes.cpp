#include "proxy/data/scopes.h"

#include <algorithm>

#include "conf/limits.h"
#include "proxy/control/log.h"

namespace azimuth {

Scope::Sight Scope::sight() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {floor_.whole(), floor_.floor(), replica_, applied_};
}

std::uint64_t Scope::show(std::uint64_t before) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return floor_.show(before);
}

void Scope::lose(std::uint64_t number) {
  const std::lock_guard<std::mutex> lock(mutex_);
  floor_.lose(number);
}

void Scope::show_unplaced() {
  const std::lock_guard<std::mutex> lock(mutex_);
  floor_.lose(floor_.show());
}

std::uint64_t Scope::last() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return floor_.last();
}

void Scope::place(Position position, std::uint64_t number, std::uint64_t asked) {
  const std::lock_guard<std::mutex> lock(mutex_);
  floor_.place(position, number, asked);
}

void Scope::place_read(Position position, std::uint64_t number, std::uint64_t replica) {
  const std::lock_guard<std::mutex> lock(mutex_);
  floor_.place(position, number, 0);
  applied_ = replica_ == replica ? std::max(applied_, position.offset) : position.offset;
  replica_ = replica;
}

void Scope::raise(Position position) {
  const std::lock_guard<std::mutex> lock(mutex_);
  floor_.raise(position);
}

bool Scope::loses(Position floor) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return floor_.loses(floor);
}

bool Scope::carry(const std::vector<EpochStart>& starts) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return floor_.carry(starts);
}

std::shared_ptr<Scope> Scopes::of(SessionScope kind, std::string_view user,
                                  std::string_view client_name) {
  switch (kind) {
    case SessionScope::kByRole:
    case SessionScope::kConnection:
      return nullptr;
    case SessionScope::kUser:
      break;
    case SessionScope::kClientName:
      if (client_name.empty()) return nullptr;
      if (client_name.size() > kScopeNameBytesMax) return node_;
      break;
    case SessionScope::kNode:
      return node_;
  }
  const std::string_view own = kind == SessionScope::kUser ? user : client_name;
  const std::string name = std::string(to_string(kind)) + ' ' + std::string(own);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto found = scopes_.find(name); found != scopes_.end()) return found->second;
  if (full_) return node_;
  if (scopes_.size() >= most_) {
    // (Nobody but us has it, and nobody can come by it but through here.)
    const auto unused = std::find_if(scopes_.begin(), scopes_.end(),
                                     [](const auto& each) { return each.second.use_count() == 1; });
    if (unused == scopes_.end()) {
      full_ = true;
      log_warning("session_scopes_full",
                  {{"in_use", scopes_.size()},
                   {"effect", "sessions of further names share the node's scope"}});
      return node_;
    }
    scopes_.erase(unused);
  }
  return scopes_.emplace(name, std::make_shared<Scope>(name)).first->second;
}

void Scopes::carry(const std::vector<EpochStart>& starts, const std::function<void(Scope&)>& lost) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (node_->carry(starts)) lost(*node_);
  for (const auto& [name, scope] : scopes_) {
    if (scope->carry(starts)) lost(*scope);
  }
}

std::size_t Scopes::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return scopes_.size();
}

}  // namespace azimuth
