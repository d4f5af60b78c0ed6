// A client that does not read what it has asked for, at the front of a connection that it shares.
#include <unordered_set>

#include "proxy/data/identity.h"
#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"

namespace azimuth {

// A reply that its client does not take stops here, before it fills the memory. The pace is that of
// the client at the front, and of nobody else.
void Upstream::check_front_reads() {
  if (state_ != State::kReady || role_ >= Role::kDedicated) return;
  Client* client = entries_.empty() ? nullptr : worker_.client(entries_.front().client);
  const size_t unread = client != nullptr ? client->output_size() : 0;
  if (paused_) {
    if (unread >= kClientOutputLowBytes) return;
    held_up_since_ms_ = 0;
    return pause_reading(false);
  }
  if (unread <= kClientOutputHighBytes || worker_.absorbs(unread)) return;
  retire();
  if (role_ == Role::kReplica) {
    send_others_elsewhere(*client);
  } else {
    hand_over(*client, worker_.shared(*identity_, role_));
  }
  pause_reading(true);
}

void Upstream::retire() {
  retired_ = true;
  worker_.resume_all(waiting);  // they find the connection that takes over
}

void Upstream::cut_front(CutReason reason) {
  // (Who is held up has waited long enough: should the next at the front not read either, it is cut
  // at once.)
  if (!paused_ || entries_.empty()) return;
  if (Client* client = worker_.client(entries_.front().client)) worker_.cut(*client, reason);
}

void Upstream::hand_over(Client& slow, Upstream& fresh) {
  // A client's requests move all or none: their order must hold.
  std::unordered_set<uint32_t> staying;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (!entry.retained && !entry.injected) staying.insert(entry.client.index);
  }
  bool held_up = false;
  size_t offset = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    const size_t at = offset;
    if (entry.retained) offset += entry.size;
    Client* client = worker_.client(entry.client);
    if (client == nullptr || client == &slow || entry.injected) continue;
    if (staying.contains(entry.client.index)) {
      held_up = true;
      continue;
    }
    if (client->upstream == this) {
      const bool alone =
          entry.moved && client->dedicated == nullptr && client->identity == identity_;
      client->upstream = alone ? &worker_.attach_dedicated(*client) : &fresh;
    }
    Entry moved = entry;
    moved.retained = false;
    moved.moved = true;
    entry.client = ClientRef();  // the reply that comes here is nobody's
    client->upstream->send(moved, {}, retained_.at(at, entry.size));
    worker_.metrics().commands_resent.add();
  }
  if (!held_up) {
    held_up_since_ms_ = 0;
  } else if (held_up_since_ms_ == 0) {
    held_up_since_ms_ = worker_.now_ms();
  }
}

bool Upstream::forsaken() {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.injected || !entry.repeatable || worker_.client(entry.client) != nullptr) {
      return false;
    }
  }
  return true;
}

}  // namespace azimuth
