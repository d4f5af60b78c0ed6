// Looks up the addresses of a host name without blocking the one who asks.
//
// The C library's look-up blocks, for many seconds where no name server answers, and cannot be
// interrupted. So each runs on a thread of its own that nobody waits for: the answer is left for
// the asker to fetch, and an asker that is gone by then leaves nothing behind but the thread's end.
// Owned by one thread.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conf/endpoint.h"
#include "proxy/data/socket.h"

namespace azimuth {

class NameLookup {
 public:
  struct Answer {
    std::vector<SocketAddress> addresses;  // none: `error` says why
    std::string error;
  };

  // Idempotent while a look-up is under way.
  void start(const Endpoint& endpoint);
  bool running() const { return question_ != nullptr; }
  // The answer, once, when it is there.
  std::optional<Answer> fetch();

 private:
  struct Question {
    Endpoint endpoint;
    Answer answer;
    std::atomic<bool> answered{false};
  };
  std::shared_ptr<Question> question_;
};

// Blocks. Numeric addresses and UNIX paths need no look-up and have one address.
NameLookup::Answer look_up(const Endpoint& endpoint);

}  // namespace azimuth
