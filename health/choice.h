// Who wins an election, from what the voters have promised and shown. Free functions.
//
// Invariants: a winner holds every write that a majority's promise would have to find: it has the
// highest position among a majority of voters whose memory is whole; or among any majority that has
// the last epoch's leader in it, whole; or among all voters where there is neither and nothing more
// can be learnt (I3). Offsets of two lineages are never
// compared: positions are of one fork table. Bootstrap and an operator's word are the two
// exceptions, and say so. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "health/group_state.h"
#include "health/leadership_messages.h"

namespace azimuth {

using Promises = std::map<std::string, Promise, std::less<>>;  // by voter

struct Question {
  const Electorate& electorate;
  const Promises& promises;
  const std::vector<Fork>& forks;
  std::string_view preferred;  // wins among equals: the successor of a planned hand-over
  std::string_view forced;     // an operator's word; empty: none
  bool bootstrap = false;
};

struct Choice {
  std::string winner;  // empty: nobody yet
  std::string why;     // why nobody, for people
};

Choice choose(const Question& question);

// "a1, b2 and c3"
std::string listed(const std::vector<std::string>& names);

}  // namespace azimuth
