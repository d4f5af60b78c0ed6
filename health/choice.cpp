#include "health/choice.h"

#include <algorithm>
#include <tuple>

#include "conf/defects.h"
#include "conf/limits.h"

namespace azimuth {
namespace {

using Names = std::vector<std::string>;

template <class Predicate>
Names voters_where(const Question& q, Predicate predicate) {
  Names names;
  for (const std::string& voter : q.electorate.voters) {
    const auto found = q.promises.find(voter);
    if (predicate(found == q.promises.end() ? nullptr : &found->second)) names.push_back(voter);
  }
  return names;
}

Names silent(const Question& q) {
  return voters_where(q, [](const Promise* promise) { return promise == nullptr; });
}

bool counts(const Promise* promise) {
  if (promise == nullptr) return false;
  const bool intact = promise->intact || defective(Defect::kIntactIgnored);
  return !promise->has_redis || (promise->alive && intact);
}

const Promise& promise_of(const Question& q, std::string_view voter) {
  return q.promises.find(voter)->second;
}

// Higher wins.
auto rank(const Question& q, const std::string& voter) {
  const Promise& promise = promise_of(q, voter);
  Position at = promise.position;
  if (defective(Defect::kLineagesCompared)) at.epoch = 0;
  if (defective(Defect::kHandOverWithoutTarget) && voter == q.preferred) at.epoch = UINT64_MAX;
  return std::tuple(at, voter == q.preferred, !promise.reluctant, promise.led);
}

// "n1 (Redis refuses ...) and n2 (...)"
std::string with_troubles(const Question& q, Names names) {
  for (std::string& name : names) {
    const Promise& promise = promise_of(q, name);
    name += " (" + promise.trouble + ")";
  }
  return listed(names);
}

bool obeys(const Promise* promise) {
  return promise != nullptr && promise->has_redis && promise->alive && promise->trouble.empty();
}

bool disobeys(const Promise* promise) {
  return promise != nullptr && promise->has_redis && !promise->trouble.empty();
}

// A later epoch than any of a majority has accepted never had a lease. So who led the last of these
// has by itself all that was ever acknowledged.
bool last_leader_is_whole(const Question& q) {
  std::uint64_t last = 1;
  for (const auto& [voter, promise] : q.promises) last = std::max(last, promise.accepted);
  return std::any_of(q.promises.begin(), q.promises.end(), [&](const auto& entry) {
    return entry.second.led == last && entry.second.has_redis && counts(&entry.second);
  });
}

// How far the history at `position` falls short of what the last leader is known to have had.
std::uint64_t behind(const Question& q, Position position) {
  Position known;
  for (const auto& [voter, promise] : q.promises) known = std::max(known, promise.leader_at);
  if (known.epoch < position.epoch) return 0;
  std::uint64_t common = position.offset;
  for (const Fork& fork : q.forks) {
    if (fork.epoch > position.epoch && fork.epoch <= known.epoch)
      common = std::min(common, fork.begin);
  }
  return known.offset > common ? known.offset - common : 0;
}

// Who led the last epoch that anybody has accepted; empty: nobody did, or it has not promised.
std::string last_leader(const Question& q) {
  std::uint64_t last = 1;
  for (const auto& [voter, promise] : q.promises) last = std::max(last, promise.accepted);
  for (const auto& [voter, promise] : q.promises)
    if (promise.led == last && promise.has_redis) return voter;
  return {};
}

// No lineage to go by, and every member's Redis seen: the one that holds anything.
Choice choose_by_content(const Question& q) {
  const Names full = voters_where(q, [](const Promise* promise) {
    return promise != nullptr && promise->has_redis && promise->alive && !promise->empty;
  });
  if (full.size() == 1 && !promise_of(q, full.front()).trouble.empty()) {
    return {{},
            "the Redis of " + with_troubles(q, full) +
                " alone holds data, and cannot be driven: mend that"};
  }
  if (full.size() == 1) return {full.front(), {}};
  if (full.size() > 1) {
    const std::string last = last_leader(q);
    if (std::find(full.begin(), full.end(), last) != full.end()) {
      const Promise& promise = promise_of(q, last);
      if (promise.rested && promise.trouble.empty()) return {last, {}};
      return {{},
              "the Redis of " + listed(full) + " have restarted with data of unknown age; " + last +
                  " led last (epoch " + std::to_string(promise.led) +
                  "), so it has all that was acknowledged and that its persistence kept: AZIMUTH "
                  "ELECT FORCE " +
                  last + " goes on from there, and the others become its copies"};
    }
    return {{},
            "the Redis of " + listed(full) + " hold data of unknown origin" +
                (last.empty() ? "" : ", and that of " + last + ", which led last, holds none") +
                "; the group takes one and the others become its "
                "copies: choose it by AZIMUTH ELECT FORCE <node>, or empty all but one"};
  }
  Names members = voters_where(q, obeys);
  if (members.empty()) {
    const Names disobedient = voters_where(q, disobeys);
    if (disobedient.empty()) return {{}, "no voter has a Redis that answers"};
    return {{}, "no Redis can be driven: " + with_troubles(q, disobedient)};
  }
  // Who has just failed comes last.
  std::stable_partition(members.begin(), members.end(), [&](const std::string& member) {
    return !promise_of(q, member).reluctant;
  });
  return {members.front(), {}};
}

Choice choose_forced(const Question& q) {
  const Names missing = silent(q);
  const std::size_t promised = q.electorate.voters.size() - missing.size();
  if (promised < q.electorate.majority() || (q.bootstrap && !missing.empty()))
    return {{}, "an election by force needs the promise of more voters: " + listed(missing)};
  const auto found = q.promises.find(q.forced);
  if (found == q.promises.end() || !found->second.has_redis || !found->second.alive)
    return {{}, std::string(q.forced) + " has no Redis that answers"};
  if (!found->second.trouble.empty())
    return {{}, "the Redis of " + with_troubles(q, {std::string(q.forced)}) + " cannot be driven"};
  return {std::string(q.forced), {}};
}

}  // namespace

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  return text;
}

Choice choose(const Question& q) {
  if (!q.forced.empty()) return choose_forced(q);
  const Names missing = silent(q);
  if (q.bootstrap) {
    if (!missing.empty()) return {{}, "waiting for the promise of " + listed(missing)};
    return choose_by_content(q);
  }

  const std::size_t majority = q.electorate.majority();
  const bool whole =
      voters_where(q, counts).size() >= majority ||
      (last_leader_is_whole(q) && q.electorate.voters.size() - missing.size() >= majority);
  const Names unseen = voters_where(q, [](const Promise* promise) {
    return promise != nullptr && promise->has_redis && !promise->alive;
  });
  if (!whole && !missing.empty()) {
    const Names broken = voters_where(q, [](const Promise* promise) {
      return promise != nullptr && promise->alive && !counts(promise) && !disobeys(promise);
    });
    const Names disobedient = voters_where(q, disobeys);
    std::string why = "waiting for " + listed(missing);
    if (!broken.empty()) why += "; the Redis of " + listed(broken) + " has lost what it held";
    if (!unseen.empty()) why += "; the Redis of " + listed(unseen) + " does not answer";
    if (!disobedient.empty())
      why += "; the Redis of " + with_troubles(q, disobedient) + " cannot be driven";
    return {{}, why + "; AZIMUTH ELECT FORCE <node> goes on without"};
  }
  if (!whole && !unseen.empty()) {
    return {{},
            "waiting for the Redis of " + listed(unseen) +
                ", which may hold writes that no other has; AZIMUTH ELECT FORCE <node> goes on "
                "without"};
  }

  Names eligible = voters_where(q, [](const Promise* promise) {
    return promise != nullptr && promise->has_redis && promise->alive && promise->known;
  });
  if (eligible.empty()) {
    if (missing.empty() && unseen.empty()) return choose_by_content(q);
    return {{},
            "no Redis of the group's lineage answers; waiting for " +
                listed(missing.empty() ? unseen : missing)};
  }
  // The first among equals: the lowest id.
  const auto best_of = [&](const Names& names) {
    return *std::max_element(names.begin(), names.end(), [&](const auto& a, const auto& b) {
      if (defective(Defect::kLowestWins)) return rank(q, b) < rank(q, a);
      return rank(q, a) < rank(q, b);
    });
  };
  std::string winner = best_of(eligible);
  if (!promise_of(q, winner).trouble.empty()) {
    // It can be no primary. Who holds as much may be one in its place.
    const Position most = promise_of(q, winner).position;
    std::erase_if(eligible, [&](const std::string& voter) {
      const Promise& promise = promise_of(q, voter);
      return !promise.trouble.empty() || promise.position < most;
    });
    if (eligible.empty()) {
      return {{},
              "the Redis of " + with_troubles(q, {winner}) +
                  " holds more than the others, and cannot be driven: mend that; AZIMUTH ELECT "
                  "FORCE <node> goes on without what it alone holds"};
    }
    winner = best_of(eligible);
  }
  const std::uint64_t lag = behind(q, promise_of(q, winner).position);
  if (lag > kElectionLagBytesMax && !(missing.empty() && unseen.empty())) {
    return {{},
            winner + " is the most current and lacks " + std::to_string(lag) +
                " bytes of the last primary; waiting for " +
                listed(missing.empty() ? unseen : missing) + "; AZIMUTH ELECT FORCE " + winner +
                " loses them"};
  }
  return {winner, {}};
}

}  // namespace azimuth
