#include "health/leadership_messages.h"

#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "conf/limits.h"

using namespace azimuth;

namespace {

Electorate largest_electorate() {
  Electorate electorate{UINT64_MAX, UINT64_MAX, {}};
  for (std::size_t i = 0; i < kVotersMax; ++i)
    electorate.voters.push_back(std::string(kNameBytesMax - 1, 'v') + std::to_string(i));
  return electorate;
}

// By kind, how many bytes shorter what an older release writes may be: before each field that was
// appended.
const std::map<std::size_t, std::set<std::size_t>> kAppended{{0, {3, 2}}, {1, {5, 4}}, {5, {1}},
                                                             {6, {1}},    {8, {1}},    {10, {1}}};

std::vector<GroupMessage> one_of_each() {
  Renew renew{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, true, UINT64_MAX,
              {},         {},         UINT64_MAX, 0,          {}};
  renew.electorate = largest_electorate();
  for (std::size_t i = 0; i < kForksMax; ++i)
    renew.forks.push_back({UINT64_MAX - i, std::string(kReplidBytesMax, 'f'), UINT64_MAX});
  Promise promise;
  promise.epoch = 9;
  promise.known = promise.alive = true;
  promise.position = {3, 77};
  promise.electorate = largest_electorate();
  return {
      renew,
      Grant{
          3, 4, 5, true, false, 6, true, true, false, 7, 8, 9, 10, false, false, true, true, 0, {}},
      Refuse{3, 4},
      Probe{3, 2},
      ProbeReply{3, 4, 5, 600},
      Prepare{6, 5, true, false, largest_electorate()},
      promise,
      Reject{6, 7, "c3", RejectReason::kNotReady, 40},
      Elected{6, "b2", false, largest_electorate()},
      Wish{Wish::Kind::kForce, 77, "c3"},
      WishResult{77, false, std::string(kReasonBytesMax, 'w')},
      BallotOver{8, "nobody"}};
}

}  // namespace

TEST_CASE("each message comes back as it was, and fits in a datagram") {
  const std::vector<GroupMessage> all = one_of_each();
  REQUIRE(all.size() == std::variant_size_v<GroupMessage>);
  for (std::size_t kind = 0; kind < all.size(); ++kind) {
    INFO("kind " << kind);
    REQUIRE(all[kind].index() == kind);
    const std::string bytes = encode(all[kind]);
    CHECK(bytes.size() <= kGroupMessageBytesMax);
    const Result<GroupMessage> again = decode_group_message(bytes);
    REQUIRE(again.ok());
    CHECK(*again == all[kind]);
    // Fields that a newer release appended are passed over.
    if (bytes.size() + 4 <= kGroupMessageBytesMax) {
      const Result<GroupMessage> newer = decode_group_message(bytes + "more");
      REQUIRE(newer.ok());
      CHECK(*newer == all[kind]);
    }
    // What this release appended, an older one does not write.
    const auto appended = kAppended.find(kind);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const bool older = appended != kAppended.end() && appended->second.count(bytes.size() - size);
      CHECK(decode_group_message(std::string_view(bytes).substr(0, size)).ok() == older);
    }
  }
}

TEST_CASE("a source goes there and back, and is none of an older release's") {
  Renew renew;
  renew.source_version = 7;
  renew.source = std::string(kNameBytesMax, 's');
  CHECK(std::get<Renew>(*decode_group_message(encode(renew))) == renew);
  Grant grant;
  grant.knows_sources = grant.copying = true;
  grant.source_version = 7;
  grant.source = "b1";
  const std::string bytes = encode(grant);
  CHECK(std::get<Grant>(*decode_group_message(bytes)) == grant);
  const Result<GroupMessage> older = decode_group_message(bytes.substr(0, bytes.size() - 6));
  REQUIRE(older.ok());
  CHECK_FALSE(std::get<Grant>(*older).knows_sources);
}

TEST_CASE("an electorate with all names as long as they may be fits in each message") {
  Electorate electorate = largest_electorate();
  for (std::size_t i = 0; i < kRemovedMax; ++i)
    electorate.removed.push_back(std::string(kRemovedBytesMax / kRemovedMax - 2, 'r') +
                                 std::to_string(10 + i));
  Renew renew;
  renew.electorate = electorate;
  Promise promise;
  promise.electorate = electorate;
  promise.trouble = std::string(kReasonBesideElectorateBytesMax, 't');
  for (const GroupMessage& message : {GroupMessage(renew), GroupMessage(promise),
                                      GroupMessage(Prepare{6, 5, true, false, electorate}),
                                      GroupMessage(Elected{6, "b2", false, electorate})}) {
    REQUIRE(fits(message));
    const Result<GroupMessage> again = decode_group_message(encode(message));
    REQUIRE(again.ok());
    CHECK(*again == message);
  }
  promise.trouble = std::string(kReasonBytesMax, 't');
  CHECK_FALSE(fits(promise));
}

TEST_CASE("unknown kinds, lying counts and oversized messages are refused") {
  CHECK_FALSE(decode_group_message("").ok());
  CHECK_FALSE(decode_group_message("\x3f").ok());
  CHECK_FALSE(decode_group_message("\x7f\x01\x01\x01").ok());
  std::string bytes = encode(Prepare{1, 0, false, false, {}});
  bytes.back() = '\x7f';  // 127 voters
  CHECK_FALSE(decode_group_message(bytes).ok());
  CHECK_FALSE(decode_group_message(encode(Refuse{1, 2}) + std::string(2000, 'x')).ok());
}

TEST_CASE("an electorate that no file could hold is refused before it is saved") {
  for (const Electorate& bad :
       {Electorate{1, 1, {"b2", "a1"}}, Electorate{1, 1, {"a1", "a1"}},
        Electorate{1, 1, {"a1", "b\n2"}}, Electorate{1, 1, {""}},
        Electorate{1, 1, {"a1"}, {"c3", "b2"}}, Electorate{1, 1, {"a1", "b2"}, {"b2"}}}) {
    CHECK_FALSE(bad.well_formed());
    Renew renew;
    renew.electorate = bad;
    CHECK_FALSE(decode_group_message(encode(renew)).ok());
    CHECK_FALSE(decode_group_message(encode(Prepare{6, 5, true, false, bad})).ok());
  }
}

TEST_CASE("what an operator types, however long, makes no message too large") {
  const std::string bytes = encode(Wish{Wish::Kind::kSwitchOver, 1, std::string(100'000, 'n')});
  CHECK(bytes.size() <= kGroupMessageBytesMax);
}
