// Deliberate defects, by which the simulator proves that it would notice: each is a line in a pure
// room, or in the simulator's stand-in for the data path, that does the wrong thing while its
// defect is switched on.
//
// Invariant: outside of the simulator's own build (AZIMUTH_DEFECTS) every one is off, and known to
// be off at compile time. Pure; tests/sim owns the switch.
#pragma once

#include <cstdint>

namespace azimuth {

enum class Defect : std::uint8_t {
  kNone,
  kPromiseNotSaved,        // a promise is answered and not put on the disk
  kLineagesCompared,       // offsets are compared across lineages
  kLeaseFromReply,         // the lease is counted from when the grant came back
  kVoteDuringLease,        // a promise is given while another's lease lives
  kNoWaitAfterBoot,        // a voter that has just started forgets that it may have granted a lease
  kIntactIgnored,          // a Redis that has lost its memory counts as if it had not
  kLowestWins,             // the candidate that has seen the least is chosen
  kAnyFullSync,            // a full sync is taken from whoever offers one
  kPromiseToAnyone,        // one epoch is promised to two coordinators
  kFenceLiftedEarly,       // a Redis is opened for writes before its node may lead
  kAmnesiacVotes,          // a voter that has lost its state votes as if it had not
  kTwoVotersAtOnce,        // the electorate changes again before a majority knows the last change
  kHandOverWithoutTarget,  // a successor leads before it has all that the old leader had
  kRemovedVoterCounts,     // the lease is counted with the grants of voters that were taken out
  kQuorumByOwnView,        // a near node goes by what itself knows of how many copies a quorum is
  kRemovalAnsweredEarly,   // a change of members is said to be done before a majority has it
  kWriteAfterLease,        // the leader goes by its lease for longer than it was granted
  kEpochsCompared,         // an offset of an older epoch is taken for one of this epoch
  kTapOfAnotherProcess,    // what the tap has pushed is believed of whatever process answers
  kTagBeforeWrite,         // a write's position is asked for in front of it
  kFloorLostAtReconnect,   // a token does not raise the floor
  kTooFewDirect,           // too few replicate straight from the primary for `quorum` writes
  kOwnSource,              // a replica chooses its source itself, among its neighbours
  kBehindFeeds,            // a replica that is ahead of its new source takes a copy of less from it
};

#ifdef AZIMUTH_DEFECTS
bool defective(Defect defect);
#else
constexpr bool defective(Defect) { return false; }
#endif

}  // namespace azimuth
