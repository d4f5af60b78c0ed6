// Pub/sub on a pinned connection: which frames from Redis are messages, which confirm a
// subscription, and which are ordinary replies.
//
// RESP2: messages and confirmations are arrays like any other, told by their first element; in the
// subscribed state Redis lets through no command whose reply could look like one. RESP3: they are
// pushes, and a SUBSCRIBE has no ordinary reply at all.
//
// A confirmation carries a count: channels and patterns together, or shard channels.
//
// Redis source: pubsub.c. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace azimuth {

// Of the frame that begins at p, from as few of its bytes as that takes: a message may be large.
enum class PubsubKind : std::uint8_t {
  kReply,         // answers a request
  kMessage,       // message, pmessage, smessage, invalidate: out of band
  kConfirmation,  // (p|s)subscribe, (p|s)unsubscribe
};

struct PubsubPeek {
  PubsubKind kind = PubsubKind::kReply;
  bool undecided = false;  // too few bytes to say (at most some 30 are needed)
};

// With protocol 2 for a connection that is subscribed, or is about to be; with 3 for any: there,
// only a push can be out of band.
PubsubPeek peek_pubsub(const char* p, const char* end, int protocol) noexcept;

enum class PubsubFamily : std::uint8_t { kChannel, kPattern, kShard };

struct PubsubFrame {
  PubsubKind kind = PubsubKind::kReply;
  PubsubFamily family = PubsubFamily::kChannel;
  // Of a confirmation; the channel is a view into the frame, empty where there is none.
  bool subscribes = false;
  std::string_view channel;
  std::int64_t count = 0;
};

// A complete frame.
PubsubFrame classify_pubsub(std::string_view frame, int protocol) noexcept;

}  // namespace azimuth
