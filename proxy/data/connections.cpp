// The worker's connections to Redis: who has which, and what their coming and going means.
#include <algorithm>

#include "proxy/control/log.h"
#include "proxy/data/dispatch.h"
#include "proxy/data/worker.h"

namespace azimuth {

Identity& Worker::identity(bool logged_in, std::string_view user, std::string_view secret,
                           uint8_t protocol, int32_t db) {
  for (auto& each : identities_) {
    if (each->logged_in == logged_in && each->protocol == protocol && each->db == db &&
        each->user == user && each->secret == secret) {
      return *each;
    }
  }
  auto fresh = std::make_unique<Identity>();
  fresh->logged_in = logged_in;
  fresh->user = user;
  fresh->secret = secret;
  fresh->protocol = protocol;
  fresh->db = db;
  identities_.push_back(std::move(fresh));
  return *identities_.back();
}

void Worker::adopt_identity(Client& client, Identity& identity) {
  if (client.identity != nullptr) --client.identity->clients;
  client.identity = &identity;
  ++identity.clients;
  enter_scope(client);
  // Connected before it is needed, and so that we hear when Redis throws the user out.
  // (One with a connection of its own hears it there.)
  if (identity.logged_in && client.dedicated == nullptr) shared(identity, Role::kReads).connect();
}

void Worker::renew_identity(Client& client) {
  const Identity& now = *client.identity;
  adopt_identity(client, identity(now.logged_in, now.user, now.secret, client.session.protocol,
                                  client.session.db));
}

void Worker::close_identity(Identity& identity) {
  for (Upstream* upstream : identity.shared) {
    if (upstream != nullptr) upstream->begin_close();
  }
  close_idle(identity);
}

void Worker::close_idle(Identity& identity) {
  const std::vector<Upstream*> idle = std::move(identity.idle);
  identity.idle.clear();
  for (Upstream* upstream : idle) upstream->begin_close();
}

Upstream& Worker::shared(Identity& identity, Role role, uint8_t seat) {
  Upstream*& place = identity.shared[static_cast<size_t>(role) + seat];
  if (place == nullptr || place->retired() || place->closed()) {
    auto fresh = std::make_unique<Upstream>(*this, &identity, role, seat);
    place = fresh.get();
    upstreams_.emplace(place, std::move(fresh));
    if (holding_) place->hold();
  }
  return *place;
}

void Worker::keep_spare(Identity& identity) {
  if (!identity.idle.empty() || draining_ || sparing()) return;
  Upstream& spare = make_dedicated(identity);
  spare.idle_since_ms = now_ms();
  identity.idle.push_back(&spare);
  spare.connect();  // may fail at once, and take itself out of the pool
}

Upstream& Worker::make_dedicated(Identity& identity) {
  auto fresh = std::make_unique<Upstream>(*this, &identity, Role::kDedicated);
  Upstream& made = *fresh;
  upstreams_.emplace(&made, std::move(fresh));
  if (holding_) made.hold();
  return made;
}

Upstream& Worker::attach_dedicated(Client& client) {
  Identity& identity = *client.identity;
  // The youngest: its buffers are warm, and the old ones may go.
  Upstream* own = nullptr;
  if (identity.idle.empty()) {
    own = &make_dedicated(identity);
  } else {
    own = identity.idle.back();
    identity.idle.pop_back();
  }
  own->owner = client.self;
  client.dedicated = own;
  keep_spare(identity);
  return *own;
}

void Worker::detach_dedicated(Client& client) {
  Upstream* own = std::exchange(client.dedicated, nullptr);
  if (client.upstream == own) client.upstream = nullptr;
  if (own != nullptr) give_back(*own);
}

void Worker::give_back(Upstream& upstream) {
  upstream.owner = ClientRef();
  upstream.pause_reading(false);
  auto& pool = upstream.identity()->idle;
  if (upstream.tainted || !upstream.ready() || upstream.owes_clients() ||
      pool.size() >= kDedicatedIdleMax) {
    return upstream.begin_close();
  }
  upstream.idle_since_ms = now_ms();
  pool.push_back(&upstream);
}

// This worker's share of what all of them may have. (How other nodes' links are spread over
// workers, the kernel decides.)
size_t Worker::relays_max() const {
  const size_t workers = settings_->node.workers;
  return (settings_->limits.peer_connections_max + workers - 1) / workers;
}

// The primary is another one now, or nobody: every connection follows.
void Worker::retarget(const Target& target) {
  const Target before = std::exchange(target_, target);
  if (relays_) {
    const bool near = target_.kind == TargetKind::kNear;
    if (near) relays_->set_tunnel_epoch(target_.epoch);
    // Whoever still sends to the epoch that is over has to look for its successor.
    const uint64_t over = near ? target_.epoch - 1 : std::max(before.epoch, target_.epoch);
    relays_->refuse(StreamKind::kCommands, over);
    relays_->refuse(StreamKind::kTunnel, over);
  }
  if (target_.same_place(before)) return;
  // As much time as when a Redis goes away, from this moment on.
  away_since_ms_ = 0;
  told_losses_.clear();
  for (const auto& identity : identities_) close_idle(*identity);
  for (Upstream* each : all_upstreams()) each->retarget();
}

void Worker::set_holding(bool holding) {
  if (holding == holding_) return;
  holding_ = holding;
  told_quiet_ = false;
  holding_since_ms_ = now_ms();
  if (holding) retry_in(kStragglersMsMax);
  if (relays_) relays_->hold(holding);
  for (Upstream* each : all_upstreams()) holding ? each->hold() : each->release();
}

void Worker::check_quiet() {
  if (told_quiet_) return;
  // What takes longer (a transaction that its client does not end) is broken off.
  if (now_ms() - holding_since_ms_ < kStragglersMsMax) {
    if (relays_ && relays_->open_commands() != 0) return;
    for (const auto& [upstream, owned] : upstreams_) {
      if (!upstream->quiet()) return;
    }
  }
  told_quiet_ = true;
  for (const auto& [upstream, owned] : upstreams_) upstream->break_off();
  if (relays_) relays_->break_off();
  process_.worker_quiet(index_, hand_over_);
}

std::vector<Upstream*> Worker::all_upstreams() const {
  std::vector<Upstream*> all;
  all.reserve(upstreams_.size());
  for (const auto& [pointer, owned] : upstreams_) all.push_back(pointer);
  return all;
}

Identity* Worker::known(const Identity* identity) {
  for (const auto& each : identities_) {
    if (each.get() == identity) return each.get();
  }
  return nullptr;
}

void Worker::bury(Upstream& upstream) {
  std::erase_if(dirty_upstreams_, [&](Upstream* each) { return each == &upstream; });
  if (Identity* identity = upstream.identity()) {
    std::erase(identity->idle, &upstream);
    std::replace(identity->shared.begin(), identity->shared.end(), &upstream,
                 static_cast<Upstream*>(nullptr));
  }
  const auto found = upstreams_.find(&upstream);
  if (found == upstreams_.end()) return;
  graveyard_.push_back(std::move(found->second));
  upstreams_.erase(found);
}

void Worker::on_upstream_ready(Upstream& upstream) {
  if (upstream.role() == Role::kReplica) return;
  // Redis is back: whoever still waits to try again does so now.
  if (std::exchange(away_since_ms_, 0) != 0) {
    for (Upstream* each : all_upstreams()) each->retry_now();
  }
  if (&upstream == auth_) return tell_login_known();
  if (upstream.role() == Role::kReads && upstream.identity()->idle.empty() &&
      upstream.identity()->clients != 0) {
    keep_spare(*upstream.identity());
  }
}

void Worker::tell_planned_loss(std::string_view why) {
  if (std::find(told_losses_.begin(), told_losses_.end(), why) != told_losses_.end()) return;
  told_losses_.emplace_back(why);
  log_info("upstream_lost", {{"reason", why}});
}

void Worker::on_upstream_lost(Upstream& upstream) {
  if (&upstream == auth_) tell_login_known();
}

// Redis does not take this user any more. If it has closed the user's connections (DELUSER), so do
// we; if they are open (another password by now), those who are in stay in, as in Redis. The
// default user has to log in.
void Worker::on_identity_refused(Identity& identity, bool needs_login) {
  for (const auto& [upstream, owned] : upstreams_) {
    if (upstream->identity() == &identity && upstream->ready()) return;
  }
  for_each_client([&](Client& each) {
    if (each.identity != &identity) return;
    if (needs_login) {
      each.session.authenticated = false;
    } else {
      each.close_after_flush = true;
      finish_soon(each);
    }
  });
}

// Who may log in has changed, perhaps: a new connection shows it. The client that changed it gets
// its answer when every worker knows, so that whatever it does next meets the new rule.
void Worker::check_default_user(Client& client) {
  client.wait = Wait::kAnswer;
  const auto missing = std::make_shared<std::atomic<size_t>>(process_.workers.size());
  Worker* const home = this;
  const ClientRef ref = client.self;
  const auto arrive = [=] {
    if (--*missing == 0) home->post([ref](Worker& back) { back.answer_deferred(ref); });
  };
  for (auto& worker : process_.workers) {
    const bool takes = worker->post([=](Worker& each) {
      each.login_known_.push_back(arrive);
      if (!each.auth_->reconnect()) each.tell_login_known();
    });
    if (!takes) arrive();
  }
}

// Somebody is let in at a sidecar, which does not ask all the time: it is asked now. Where nothing
// has been heard for long he waits for the answer, whoever asked.
void Worker::learn_login_rule(Client& newcomer) {
  const uint64_t age_ms = now_ms() - login_heard_ms_;
  if (age_ms < kLoginCheckMs) return;
  const bool trusted = age_ms < kLoginTrustMs;
  const bool under_way = !auth_->asleep() && !auth_->ready();
  if (!under_way && !(trusted && auth_->outstanding() != 0)) {
    auth_checked_ms_ = now_ms();
    if (!auth_->reconnect()) return;
  }
  if (trusted) return;
  newcomer.wait = Wait::kAnswer;
  login_known_.push_back([this, ref = newcomer.self] {
    Client* const waiting = client(ref);
    if (waiting == nullptr) return;
    waiting->session.authenticated = default_user_open_;
    resume(*waiting);
  });
}

void Worker::tell_login_known() {
  std::vector<std::function<void()>> waiting;
  waiting.swap(login_known_);
  for (const auto& tell : waiting) tell();
}

void Worker::answer_deferred(ClientRef ref) {
  Client* waiter = client(ref);
  if (waiter == nullptr) return;
  const std::string text = std::move(waiter->extra().deferred);
  waiter->extra().deferred.clear();
  if (reply_wanted(waiter->session)) reply(*waiter, text);
  answered(*waiter);
}

void Worker::on_dedicated_lost(Upstream& upstream) {
  Client* owner = client(upstream.owner);
  if (owner == nullptr) return upstream.begin_close();
  if (owner->opaque) {
    upstream.begin_close();
    owner->dedicated = nullptr;
    return cut(*owner, CutReason::kUpstream);
  }
  if (carry_over(*owner, upstream)) return;
  if (owner->holds_state() || owner->stream) {
    // What it held in Redis is gone, and the client must know: as with a Redis that restarts.
    upstream.fail_outstanding();
    owner = client(upstream.owner);
    if (owner == nullptr) return;
    upstream.owner = ClientRef();
    owner->dedicated = nullptr;
    owner->stream.reset();
    owner->ending = 0;
    // (REDIRECT may have given it this connection while replies are owed to it by another one.)
    if (owner->upstream == &upstream) {
      owner->upstream = nullptr;
      owner->inflight = 0;
    }
    owner->close_after_flush = true;
    mark_dirty(*owner);
    metrics_.count_cut(CutReason::kUpstream);
    return upstream.begin_close();
  }
  const ClientRef ref = upstream.owner;
  upstream.rebuild_after_loss();
  if (upstream.closed()) return;
  if (upstream.outstanding() != 0) return upstream.schedule_connect();
  if (Client* left = client(ref); left != nullptr && left->dedicated == &upstream) {
    left->dedicated = nullptr;
    if (left->upstream == &upstream) left->upstream = nullptr;
  }
  upstream.owner = ClientRef();
  upstream.begin_close();
}

// It never came to be: whatever its client wanted it for has been answered with an error. What
// comes behind a MULTI or a WATCH must not run without it.
void Worker::on_dedicated_refused(Upstream& upstream) {
  if (upstream.closed()) return;
  Client* owner = client(upstream.owner);
  upstream.owner = ClientRef();
  if (owner != nullptr) {
    owner->dedicated = nullptr;
    if (owner->upstream == &upstream) owner->upstream = nullptr;
    Session& session = owner->session;
    if (session.subscribed && owner->extra().subscription_bytes != 0) {
      // It believes that it hears what is published.
      upstream.begin_close();
      return cut(*owner, CutReason::kUpstream);
    }
    owner->ending = 0;
    if (owner->holds_state() || owner->stream) {
      owner->stream.reset();
      owner->close_after_flush = true;
      finish_soon(*owner);
    } else if (owner->wait == Wait::kDrain) {
      resume(*owner);
    }
  }
  upstream.begin_close();
}

void Worker::set_default_user_open(bool open) {
  login_heard_ms_ = now_ms();
  const bool first = !std::exchange(default_user_known_, true);
  if (first && !open) {
    for_each_client([](Client& each) {
      if (!each.identity->logged_in) each.session.authenticated = false;
    });
  }
  if (default_user_open_ == open) return;
  default_user_open_ = open;
  // Those who have not logged in were let in, or kept out, by the old rule; Redis keeps connections
  // that are in, and so do we.
  if (!open) return;
  for_each_client([this](Client& each) {
    if (!each.identity->logged_in) each.session.authenticated = true;
  });
}

}  // namespace azimuth
