// In a cluster another primary takes over what the lost one knew of a client: its subscriptions,
// its transaction, what it watches.
#include <algorithm>

#include "proxy/data/dispatch.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

Handling handling_of(const Entry& entry) {
  return entry.command < kCommandCount ? all_commands()[entry.command].handling
                                       : Handling::kForward;
}

bool ends_transaction(Handling handling) {
  return handling == Handling::kExec || handling == Handling::kDiscard;
}

// Whether MULTI had been sent, and what ends it had not, when the connection was lost: the first of
// them that is still to be sent tells.
bool transaction_is_open(const Session& session, const std::vector<Upstream::Settled>& settled) {
  for (const Upstream::Settled& each : settled) {
    if (each.entry.canned != Canned::kNone) continue;
    const Handling handling = handling_of(each.entry);
    if (handling == Handling::kMulti && each.entry.topic == Topic::kBegin) return false;
    if (ends_transaction(handling)) return true;
  }
  return session.in_multi;
}

// Subscriptions are made again at the new primary, which is told of nothing else: names that are
// too many are not remembered.
bool can_carry(const Client& client) {
  const Session& session = client.session;
  if (!client.holds_state() && client.ending == 0) return false;
  if (client.stream || client.opaque || client.keep_dedicated || session.tracking) return false;
  return !session.subscribed ||
         (client.extra_ && client.extra_->subscription_bytes <= kSubscriptionsKeptBytesMax);
}

void send_injected(Upstream& upstream, std::string_view request) {
  Entry entry;
  entry.kind = EntryKind::kDiscard;
  entry.injected = true;
  upstream.send(entry, {}, request);
}

}  // namespace

// A transaction that has begun, and of which the client has had a reply, cannot be begun again, and
// what was watched may have changed unseen: its EXEC becomes a DISCARD at the new primary. One that
// was not executed, and of which no reply had come, is sent as it is. False: the client has to go.
bool Worker::carry_over(Client& client, Upstream& upstream) {
  if (!process_.link || !can_carry(client)) return false;
  const ClientRef ref = upstream.owner;
  LostState lost = client.extra_ ? client.extra_->lost : LostState::kNothing;
  if (std::exchange(upstream.watched, false)) lost = std::max(lost, LostState::kWatched);
  std::vector<Upstream::Settled> settled = upstream.settle_outstanding(true);
  auto next = settled.begin();
  for (; next != settled.end() && next->answered(); ++next) upstream.queue_settled(*next);
  upstream.deliver_canned();
  if (this->client(ref) == nullptr || client.dedicated != &upstream) return true;
  wear_name(*this, client);
  if (client.session.subscribed) {
    for (const PubsubFamily family :
         {PubsubFamily::kChannel, PubsubFamily::kPattern, PubsubFamily::kShard}) {
      upstream.subscribe_again(family, client.extra().subscriptions[static_cast<size_t>(family)]);
    }
  }
  if (transaction_is_open(client.session, settled)) {
    send_injected(upstream, "*1\r\n$5\r\nMULTI\r\n");
    lost = LostState::kTransaction;
  }
  for (; next != settled.end(); ++next) {
    const Handling handling = next->answered() ? Handling::kForward : handling_of(next->entry);
    if (lost != LostState::kNothing && handling == Handling::kExec) {
      make_abort(next->entry, next->bytes, lost);
    }
    if (ends_transaction(handling) || next->entry.topic == Topic::kUnwatch) {
      lost = LostState::kNothing;
    }
    upstream.queue_settled(*next);
  }
  if (lost != LostState::kNothing || client.extra_) client.extra().lost = lost;
  upstream.schedule_connect();
  upstream.retry_soon();
  return true;
}

}  // namespace azimuth
