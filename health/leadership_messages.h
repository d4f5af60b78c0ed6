// What the nodes of a group say to each other about who leads: one struct a message, one datagram
// each.
//
// Invariants: an encoded message fits in kGroupMessageBytesMax; fields that a newer release appends
// are skipped, and a kind or a text that does not fit is refused as a whole. A message may be lost,
// doubled or late: nothing here is right only in order. Pure. The conversation: health/README.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "conf/position.h"
#include "conf/result.h"
#include "health/group_state.h"

namespace azimuth {

// The leader asks for its lease to be renewed, and says what its followers must know.
struct Renew {
  std::uint64_t epoch = 0;
  std::uint64_t boot = 0;        // of the leader's process: an answer to another life is none
  std::uint64_t asked_ms = 0;    // the leader's clock; comes back in the answer
  std::uint64_t offset = 0;      // of its Redis
  bool ready = false;            // promoted: `forks` ends in this epoch
  std::uint64_t readmitted = 0;  // the receiver's boot that may vote again; 0: none
  // Only where the receiver is not known to have them: version 0, and empty, otherwise.
  Electorate electorate;
  std::vector<Fork> forks;
  std::uint64_t quorum_copies = 0;  // as the leader's view says
  // The receiver's source (tunnel_tree.h): its number among this leader's orders, and the node;
  // empty: the leader. 0: no order.
  std::uint64_t source_version = 0;
  std::string source;

  friend bool operator==(const Renew&, const Renew&) = default;
};

struct Grant {
  std::uint64_t epoch = 0;
  std::uint64_t leader_boot = 0;
  std::uint64_t asked_ms = 0;
  bool granted = false;    // false: heard, and no vote (it has no state yet, or has forgotten it)
  bool forgetful = false;  // was a voter and has lost its state: waits to be readmitted
  std::uint64_t boot = 0;
  bool has_redis = false;
  bool in_sync = false;      // its first sync of this epoch is over
  bool intact = false;       // its Redis holds all that it ever acknowledged
  std::uint64_t offset = 0;  // applied, of this epoch's lineage (if in_sync)
  std::uint64_t electorate_epoch = 0, electorate_version = 0;
  std::uint64_t forks_digest = 0;
  bool leaving = false;  // is about to end: nobody hands over to it
  // Was taken out of the group, and its Redis replicates from nobody any more.
  bool detached = false;
  bool knows_sources = false;  // its release does
  bool copying = false;        // a copy is on its way to its Redis
  // The order about its source that it has carried out last, and where its tunnel leads.
  std::uint64_t source_version = 0;
  std::string source;

  friend bool operator==(const Grant&, const Grant&) = default;
};

// A Renew came too late: another epoch has been promised.
struct Refuse {
  std::uint64_t epoch = 0;  // that was refused
  std::uint64_t promised = 0;

  friend bool operator==(const Refuse&, const Refuse&) = default;
};

// "Does the leader's lease still live with you?" Changes nothing.
struct Probe {
  std::uint64_t epoch = 0;     // the last one the asker knows
  std::uint64_t released = 0;  // the epoch that the asker itself led and does not lead any more

  friend bool operator==(const Probe&, const Probe&) = default;
};

struct ProbeReply {
  std::uint64_t epoch = 0;     // of the Probe
  std::uint64_t accepted = 0;  // the voter's
  std::uint64_t promised = 0;
  std::uint64_t busy_ms = 0;  // its lease, its wait after a start or a ballot, has this long to go

  friend bool operator==(const ProbeReply&, const ProbeReply&) = default;
};

// A coordinator asks for the promise to take nothing from epochs before `epoch`.
struct Prepare {
  std::uint64_t epoch = 0;
  std::uint64_t released = 0;  // the epoch whose lease the coordinator held and has given up
  bool forced = false;         // an operator's word
  bool bootstrap = false;      // there is no group yet: `electorate` is the one proposed
  Electorate electorate;       // the coordinator's

  friend bool operator==(const Prepare&, const Prepare&) = default;
};

struct Promise {
  std::uint64_t epoch = 0;
  bool has_redis = false;
  bool alive = false;
  bool empty = false;
  bool intact = false;    // holds all that it ever acknowledged, and has shown its position
  bool known = false;     // of the group's lineage: `position` means something
  Position position;      // where its history ends
  std::uint64_t led = 0;  // the epoch that it accepted last, if it led that one
  std::uint64_t accepted = 0;
  std::string trouble;     // why its Redis cannot lead; what it holds counts all the same
  bool rested = false;     // led `led`, and ended it in an orderly way
  bool reluctant = false;  // its last promotion failed, or it is about to leave: others first
  Position leader_at;      // the last offset of a leader that it heard of, and that leader's epoch
  Electorate electorate;   // version 0: none that is newer than the coordinator's

  friend bool operator==(const Promise&, const Promise&) = default;
};

enum class RejectReason : std::uint8_t {
  kPromised,    // to another coordinator, this epoch or a later one
  kLease,       // another leader's lease lives
  kWaiting,     // has just started, and may have granted a lease that it forgot
  kForgetful,   // has lost its state
  kOtherGroup,  // belongs to a group already, or to none yet
  kNotReady,    // its Redis has not answered yet
};

struct Reject {
  std::uint64_t epoch = 0;
  std::uint64_t promised = 0;
  std::string promised_to;
  RejectReason reason = RejectReason::kPromised;
  std::uint64_t wait_ms = 0;  // kLease, kWaiting: ask again then

  friend bool operator==(const Reject&, const Reject&) = default;
};

struct Elected {
  std::uint64_t epoch = 0;
  std::string winner;
  bool forced = false;
  Electorate electorate;

  friend bool operator==(const Elected&, const Elected&) = default;
};

// A ballot ended without a winner.
struct BallotOver {
  std::uint64_t epoch = 0;
  std::string why;

  friend bool operator==(const BallotOver&, const BallotOver&) = default;
};

// An operator's wish, passed on to whom it concerns.
struct Wish {
  // kRemove, kAdd: take a node out of the group for good; let it in again.
  enum class Kind : std::uint8_t { kSwitchOver, kForce, kRemove, kAdd };
  Kind kind = Kind::kSwitchOver;
  std::uint64_t id = 0;  // of a change of members: the same when it is asked again
  std::string node;      // empty: the best one

  friend bool operator==(const Wish&, const Wish&) = default;
};

// A switchover or an election is taken on, or not; how it ends shows in the view. The answer about
// a change of members comes when it is done, or will not be.
enum class WishStanding : std::uint8_t {
  kTaken,    // no change of members: see `accepted`
  kDone,     // a majority has it on the disk
  kRefused,  // for the reason that the text says; nothing was changed
  kAlready,  // it was so before; nothing was changed
  kNotYet,   // nobody can say at this moment: ask again
};

struct WishResult {
  std::uint64_t id = 0;
  bool accepted = false;
  std::string text;  // why not
  WishStanding standing = WishStanding::kTaken;

  friend bool operator==(const WishResult&, const WishResult&) = default;
};

using GroupMessage = std::variant<Renew, Grant, Refuse, Probe, ProbeReply, Prepare, Promise, Reject,
                                  Elected, Wish, WishResult, BallotOver>;

std::string encode(const GroupMessage& message);
// Whether it can be encoded: all that a Renew may say at once does not always fit.
bool fits(const GroupMessage& message);
Result<GroupMessage> decode_group_message(std::string_view bytes);

}  // namespace azimuth
