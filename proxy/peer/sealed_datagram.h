// Datagrams that only nodes of one cluster can make and read: AES-256-GCM under a key of the
// sender's session.
//
//   version 1 | session 16 | counter 8, big-endian | ciphertext | tag 16
//
// session = 12 random bytes, chosen at start | 2 bytes that show the cluster key | 2 bytes that
// show the cluster's name; both pairs are cut from HMACs over the random bytes. They keep nobody
// out: they tell a wrong key from another cluster in the counters, and spare the rest of the work
// for noise. The session's key is HKDF(datagram key, session), the nonce its counter, the
// additional data everything in front of the ciphertext and the cluster's name. So no nonce
// repeats, whichever node, and no node needs to agree on anything with another.
//
// Invariants: what open() returns was sealed by a holder of the key, for this cluster, and has not
// been returned before as long as its session is remembered (the kDatagramSessionsMax last heard
// from). A datagram that was recorded may so be played to a receiver that has started since: the
// machines above stand any delay and repetition, as UDP itself may do. A datagram that does not
// authenticate changes nothing, and costs two HMACs, one HKDF and one GCM at most; new sessions are
// rationed (I9). Owned by one thread; no sockets, clocks or randomness.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "conf/instant.h"
#include "conf/limits.h"
#include "proxy/peer/cluster_key.h"

namespace azimuth {

enum class DatagramFault : std::uint8_t {
  kNone,
  kMalformed,     // too short, too long
  kOtherVersion,  // of another release's format
  kWrongKey,      // the sender's cluster key is another one
  kOtherCluster,  // the key is right, the cluster's name is not
  kForged,        // does not authenticate: altered, or made up
  kReplayed,      // had been there, or is too old to tell
  kRationed,      // too many new sessions at once
};
inline constexpr std::size_t kDatagramFaults = 8;
// As it stands in metrics: "wrong_key".
std::string_view to_string(DatagramFault fault);
// For people, with what to do: "... its cluster key is another one: copy key_file from ...".
std::string_view explain(DatagramFault fault);

class SealedDatagrams {
 public:
  static constexpr std::size_t kRandomBytes = 12;

  struct Opened {
    DatagramFault fault = DatagramFault::kNone;
    // The first of its fault since the start, or for a minute: worth a line in the log.
    bool worth_a_line = false;
    std::string text;  // no fault: what had been sealed
  };
  struct Counters {
    std::uint64_t sealed = 0;
    std::array<std::uint64_t, kDatagramFaults> opened{};  // by fault; kNone: accepted
  };

  // `random`: kRandomBytes unpredictable bytes, new at each start.
  SealedDatagrams(const SecretKey& datagram_key, std::string_view cluster, std::string_view random);
  ~SealedDatagrams();
  SealedDatagrams(const SealedDatagrams&) = delete;
  SealedDatagrams& operator=(const SealedDatagrams&) = delete;

  // kDatagramSealBytes longer than `text`.
  std::string seal(std::string_view text);
  [[nodiscard]] Opened open(Instant now, std::string_view datagram);

  const Counters& counters() const { return counters_; }
  std::size_t sessions() const;

 private:
  struct Machine;
  std::unique_ptr<Machine> machine_;
  Counters counters_;
};

}  // namespace azimuth
