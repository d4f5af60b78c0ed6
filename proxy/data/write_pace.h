// Clients whose writes wait for a replica's sake (health/back_pressure.h): each for the same time,
// and then with all that it has sent by then, up to kPacedBytesMax. One request that is longer
// waits as often as it has pieces of that size (up to kPacedPiecesMax), since it is so much more
// for the replica to take.
//
//   write comes -> admits()? --no--> wait() --delay--> the client goes on, kPacedBytesMax admitted
//                                           <- piece by piece ->
//
// Invariants: with a delay of 0 nobody waits, and all that did go on at once. A client waits once
// for what it has sent in one piece, and no longer than the delay is now; reads never come here,
// nor does anything else of a client that does not write. Owned by one worker.
#pragma once

#include <uv.h>

#include <cstdint>
#include <deque>

#include "proxy/data/client.h"

namespace azimuth {

class Worker;

class WritePace {
 public:
  explicit WritePace(Worker& worker) : worker_(worker) {}
  WritePace(const WritePace&) = delete;
  WritePace& operator=(const WritePace&) = delete;

  void set(uint32_t delay_us);
  bool on() const { return delay_us_ != 0; }
  bool admits(const Client& client) const { return delay_us_ == 0 || client.paced_bytes != 0; }
  // The client has sent so many bytes on.
  void spend(Client& client, size_t bytes) const {
    client.paced_bytes -=
        bytes < client.paced_bytes ? static_cast<uint32_t>(bytes) : client.paced_bytes;
  }
  // Its Wait::kPace begins, for a request of so many bytes. False: there is no timer to be had, and
  // so no wait.
  bool wait(Client& client, uint64_t bytes);
  // Before the loop ends.
  void close();

 private:
  struct Waiter {
    ClientRef client;
    uint64_t began_us, since_us;  // its wait, and that of this piece
    uint64_t pieces;              // to be waited for, with this one
  };

  void release_due(uint64_t now_us);
  void arm(uint64_t now_us);
  bool open();

  Worker& worker_;
  uint32_t delay_us_ = 0;
  std::deque<Waiter> waiting_;  // by when they came, which is the order in which they are due
  uv_poll_t* poll_ = nullptr;
  int timer_fd_ = -1;  // the loop's own timers know no less than a millisecond
  bool closed_ = false;
};

}  // namespace azimuth
