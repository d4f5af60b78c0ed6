// What arrives that nobody has asked for: messages, invalidations, and confirmations of SUBSCRIBE.
#include <array>

#include "proxy/data/upstream.h"
#include "proxy/data/worker.h"
#include "session/reply_writer.h"

namespace azimuth {
namespace {

void keep_subscription(ClientExtra& extra, const PubsubFrame& frame) {
  auto& names = extra.subscriptions[static_cast<size_t>(frame.family)];
  if (!frame.subscribes) {
    if (names.erase(std::string(frame.channel)) != 0) {
      extra.subscription_bytes -= frame.channel.size();
    }
  } else if (extra.subscription_bytes <= kSubscriptionsKeptBytesMax &&
             names.emplace(frame.channel).second) {
    extra.subscription_bytes += frame.channel.size();
  }
}

void count_subscriptions(ClientExtra& extra, const PubsubFrame& frame) {
  if (frame.kind != PubsubKind::kConfirmation) return;
  keep_subscription(extra, frame);
  const auto count = static_cast<int>(frame.count);
  switch (frame.family) {  // channels and patterns share a count
    case PubsubFamily::kChannel:
      extra.channels = count - extra.patterns;
      break;
    case PubsubFamily::kPattern:
      extra.patterns = count - extra.channels;
      break;
    case PubsubFamily::kShard:
      extra.shard_channels = count;
      break;
  }
}

}  // namespace

void Upstream::subscribe_again(PubsubFamily family,
                               const std::set<std::string, std::less<>>& names) {
  static constexpr std::array<std::string_view, 3> kCommands = {"SUBSCRIBE", "PSUBSCRIBE",
                                                                "SSUBSCRIBE"};
  if (names.empty()) return;
  std::vector<std::string_view> args = {kCommands[static_cast<size_t>(family)]};
  args.insert(args.end(), names.begin(), names.end());
  Entry entry;
  entry.client = owner;
  entry.kind = EntryKind::kDiscard;
  entry.topic = Topic::kSubscribe;
  entry.replies = static_cast<uint32_t>(names.size());
  entry.injected = true;
  pubsub = tainted = true;
  confirmations_due_ += entry.replies;
  send(entry, {}, encode_request(args));
}

// With nothing subscribed and nothing asked, any frame is a reply again.
void Upstream::end_pubsub(Client& client) {
  const ClientExtra& extra = client.extra();
  if (extra.channels + extra.patterns + extra.shard_channels != 0) return;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].topic == Topic::kSubscribe) return;
  }
  pubsub = false;
  client.session.subscribed = false;  // its connection goes with the next reply (drained)
}

// A message, an invalidation or a confirmation: not the reply that the front entry waits for.
const char* Upstream::consume_push(const BlockRef& block, const char* p, const char* end) {
  bool done = false;
  const size_t n = cursor_.feed(p, static_cast<size_t>(end - p), done);
  if (cursor_.failed()) {
    lost("the peer does not speak RESP");
    return end;
  }
  Client* client = worker_.client(owner);
  const bool ours = push_confirms_ && confirmations_due_ != 0;
  if (client != nullptr && !ours) worker_.deliver(*client, block, {p, n});
  if (push_confirms_) push_.append(p, n);
  if (done) {
    cursor_ = ReplyCursor();
    in_push_ = false;
    if (ours) {
      --confirmations_due_;
    } else if (client != nullptr && push_confirms_) {
      count_subscriptions(client->extra(), classify_pubsub(push_, protocol));
    }
    push_.clear();
    if (push_confirms_ && !entries_.empty() && entries_.front().topic == Topic::kSubscribe) {
      entries_.front().confirmed = true;
      if (--entries_.front().replies == 0) finish_front();
    }
    if (push_confirms_ && !ours && client != nullptr) end_pubsub(*client);
  }
  return p + n;
}

}  // namespace azimuth
