// Pub/sub on a pinned connection: which frames from Redis are messages, which confirm a
// subscription, and which are ordinary replies; and what that makes of the connection's state.
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
#include <vector>

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
  bool subscribes = false;   // of a confirmation: subscribe, not unsubscribe
  bool no_channel = false;   // unsubscribed from nothing
  std::string_view channel;  // channel or pattern, of a confirmation
  std::int64_t count = 0;    // of a confirmation
};

// A complete frame.
PubsubFrame classify_pubsub(std::string_view frame, int protocol) noexcept;

// What a client asked on its pinned connection, and what is answered of it. Each request is told to
// sent() as it goes out, each frame to received() as it comes in.
//
//   request                          answered by
//   SUBSCRIBE a b (and P, S)         one confirmation for each name, or one error
//   UNSUBSCRIBE a b                  one confirmation for each name, or one error
//   UNSUBSCRIBE                      one for each subscription of the family, but at least one
//   any other                        one ordinary reply
//
// Messages, and confirmations that nobody asked for, answer nothing. Requests are answered in
// order.
class PubsubTracker {
 public:
  void sent_ordinary();
  // `names` is 0 for "all of them".
  void sent_unsubscribe(PubsubFamily family, std::uint32_t names);
  void sent_subscribe(PubsubFamily family, std::uint32_t names);

  // True: the frame completes the oldest request. It is a frame of its own either way, to be passed
  // on.
  bool received(const PubsubFrame& frame);

  // As Redis has it after the frames received so far.
  bool subscribed() const noexcept { return channels_ + patterns_ + shard_channels_ > 0; }
  std::uint64_t channels() const noexcept { return channels_; }
  std::uint64_t patterns() const noexcept { return patterns_; }
  std::uint64_t shard_channels() const noexcept { return shard_channels_; }

  // Requests not yet answered, and those of them that wait for an ordinary reply.
  std::size_t outstanding() const noexcept { return requests_.size() - front_; }
  std::size_t ordinary_outstanding() const noexcept { return ordinary_; }
  // The connection has nothing left of pub/sub: it may serve something else.
  bool quiet() const noexcept { return !subscribed() && outstanding() == 0; }

 private:
  enum class Kind : std::uint8_t { kOrdinary, kSubscribe, kUnsubscribe };
  struct Request {
    Kind kind;
    PubsubFamily family;
    std::uint32_t left;  // confirmations to come; 0 of kUnsubscribe: not counted yet
  };

  void push(Request request);
  void pop() noexcept;
  bool answers(const PubsubFrame& frame) noexcept;
  void count(const PubsubFrame& frame) noexcept;
  std::uint64_t held(PubsubFamily family) const noexcept;

  std::vector<Request> requests_;  // [front_, end)
  std::size_t front_ = 0;
  std::size_t ordinary_ = 0;
  std::uint64_t channels_ = 0;
  std::uint64_t patterns_ = 0;
  std::uint64_t shard_channels_ = 0;
};

}  // namespace azimuth
