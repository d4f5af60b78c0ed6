// Reads along a replica's handshake with its primary, inside a tunnel, and lets no full sync of an
// unexpected lineage through (I5).
//
// Invariants: before PSYNC is answered only whole lines of status or error, and empty ones, get to
// the replica: the end of a line passes when the line has been judged (a replica acts on whole
// lines only), and what is no such line (the copy that answers a bare SYNC) does not begin to pass.
// After the gate has closed nothing passes. Once the PSYNC reply is accepted everything passes
// unread. Pure; one for each tunnel connection. Source: syncWithMaster and
// slaveTryPartialResynchronization in Redis's replication.c.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace azimuth {

enum class SyncVerdict : unsigned char {
  kHandshake,  // PSYNC has not been answered
  kPartial,    // +CONTINUE, of an accepted lineage: unread from here
  kFull,       // +FULLRESYNC of the accepted lineage: unread from here
  kRefused,    // cut the tunnel; why() says what was seen
};

class SyncGate {
 public:
  // `replid`: the lineage of the epoch, which alone may be copied. `announced`: the host and port
  // by which the replica must have introduced itself, as "host port" (the pilot has told it to): a
  // loopback port that was somebody else's tunnel a moment ago may still be dialled by that one's
  // Redis. Empty: whoever it is.
  explicit SyncGate(std::string replid, std::string announced = {});

  // What the replica sends (commands); to find who it is. Passes as it is.
  void on_replica(std::string_view bytes);
  // What the primary sends; how much of `bytes` may be passed on now: less than all of it when, and
  // only when, the gate has closed.
  std::size_t on_primary(std::string_view bytes);
  SyncVerdict verdict() const { return verdict_; }
  const std::string& why() const { return why_; }

 private:
  void judge(std::string_view line);
  void accept(SyncVerdict verdict);
  void refuse(std::string why);

  std::string replid_;
  std::string announced_;
  std::string line_;  // of the primary, so far
  std::string why_;
  SyncVerdict verdict_ = SyncVerdict::kHandshake;

  std::string replica_line_;  // so far
  std::string host_, port_;   // that the replica has announced
  std::string option_;        // whose value is to come
  int lines_to_value_ = 0;
};

}  // namespace azimuth
