// What a node must not forget: its promises, the epochs and their lineages, the group's voters.
//
// Invariants: saved, and on the disk (fsync), before the message that depends on it leaves (I1).
// Epochs only grow. `forks` is in the order of epochs, each epoch once. A text that is cut short,
// altered or of another cluster does not decode: a node with such a file does not vote. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/position.h"
#include "conf/result.h"

namespace azimuth {

// Where an epoch's history begins (the leader-epoch cache of Kafka's KIP-101): what an older epoch
// wrote beyond `begin` is not in it.
struct Fork {
  std::uint64_t epoch = 0;
  std::string replid;
  std::uint64_t begin = 0;  // offset

  friend bool operator==(const Fork&, const Fork&) = default;
};

// The voters of the group, and who was taken out of it. Versions differ by one voter at most
// (Raft's single-server change), so that any majority of one meets any majority of the next. No
// node is in both lists.
struct Electorate {
  std::uint64_t epoch = 0;          // of the leader that made it
  std::uint64_t version = 0;        // 0: the group does not exist yet
  std::vector<std::string> voters;  // sorted
  // Taken out by an operator, and kept out until an operator takes them in again. Sorted; at most
  // kRemovedMax with kRemovedBytesMax of names.
  std::vector<std::string> removed = {};

  std::size_t majority() const noexcept { return voters.size() / 2 + 1; }
  bool has(std::string_view node) const noexcept;
  bool removes(std::string_view node) const noexcept;
  // Sorted, each once, no one both in and out, and names that a file's words can hold.
  bool well_formed() const;
  // A leader whose predecessor's last change did not reach a majority may overrule it.
  bool newer_than(const Electorate& other) const noexcept {
    return epoch != other.epoch ? epoch > other.epoch : version > other.version;
  }
  friend bool operator==(const Electorate&, const Electorate&) = default;
};

struct GroupState {
  std::string cluster, node;
  std::uint64_t promised = 0;  // no older epoch gets anything from this node
  std::string promised_to;     // the coordinator that the promise was given to
  std::uint64_t accepted = 0;  // the epoch whose leader it follows, or is
  std::string leader;          // of `accepted`
  Electorate electorate;
  std::vector<Fork> forks;
  // A voter that came back without its state: it may have given promises that it does not know of,
  // and gives none until the leader has admitted it again.
  bool forgetful = false;
  // Its Redis is one of the group's: what it holds may be overwritten by the group's data.
  bool adopted = false;
  // The process of the local Redis that was last known to hold all that it ever acknowledged;
  // another run_id may have forgotten.
  std::string intact_run_id;
  // The epoch that this node led when it was ended in an orderly way, its Redis fenced and whole:
  // no write came after, so what that Redis keeps on its disk is all that was ever acknowledged. 0:
  // none.
  std::uint64_t rested = 0;

  friend bool operator==(const GroupState&, const GroupState&) = default;
};

// The file's text: one JSON-free, line-oriented document with a checksum over all of it.
std::string encode(const GroupState& state);
Result<GroupState> decode_group_state(std::string_view text);

// Of the history that `forks` tells: the last epoch whose lineage `replid` is; 0 if none.
std::uint64_t epoch_of(const std::vector<Fork>& forks, std::string_view replid);

// Where the history of a Redis ends, in terms of `forks`; nothing if it is of no known lineage.
// `replid2` holds up to and without `second_offset`. What an epoch's lineage holds from before that
// epoch began counts as its predecessor's: a replica has the new replid as soon as it is attached.
std::optional<Position> position_of(const std::vector<Fork>& forks, std::string_view replid,
                                    std::uint64_t offset, std::string_view replid2,
                                    std::int64_t second_offset);

// The table of a history that goes on from `from` (nothing: from the empty one) as `fork`.
std::vector<Fork> forked(std::vector<Fork> forks, const std::optional<Position>& from, Fork fork);

// Equal tables have equal digests.
std::uint64_t digest(const std::vector<Fork>& forks);

}  // namespace azimuth
