// Who shares a session with whom, and what many threads make of one.
#include "proxy/data/scopes.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

namespace azimuth {
namespace {

TEST_CASE("a session scope is a connection's own, its user's, its client name's or the node's") {
  Scopes scopes;
  CHECK(scopes.of(SessionScope::kConnection, "ann", "web") == nullptr);
  CHECK(scopes.of(SessionScope::kClientName, "ann", "") == nullptr);
  const auto ann = scopes.of(SessionScope::kUser, "ann", "web");
  CHECK(ann == scopes.of(SessionScope::kUser, "ann", "batch"));
  CHECK(ann != scopes.of(SessionScope::kUser, "bob", "web"));
  const auto web = scopes.of(SessionScope::kClientName, "ann", "web");
  CHECK(web == scopes.of(SessionScope::kClientName, "bob", "web"));
  CHECK(web != scopes.of(SessionScope::kUser, "web", ""));
  const auto node = scopes.of(SessionScope::kNode, "ann", "web");
  CHECK(node == scopes.of(SessionScope::kNode, "bob", ""));
  CHECK(node->name() == "node");
  CHECK(ann->name() == "user ann");
}

TEST_CASE("I8: so many are remembered; who is in use is not forgotten, and never becomes two") {
  Scopes scopes(2);
  auto one = scopes.of(SessionScope::kUser, "one", "");
  const auto two = scopes.of(SessionScope::kUser, "two", "");
  const Scope* const before = one.get();
  one.reset();
  CHECK(scopes.of(SessionScope::kUser, "one", "").get() == before);  // nobody uses it, and it stays
  auto three = scopes.of(SessionScope::kUser, "three", "");
  CHECK(three->name() == "user three");
  CHECK(scopes.size() == 2);
  const auto node = scopes.of(SessionScope::kNode, "", "");
  CHECK(scopes.of(SessionScope::kUser, "four", "") == node);
  // Connections of `four` are the node's from now on, though there is room again.
  three.reset();
  CHECK(scopes.of(SessionScope::kUser, "four", "") == node);
  CHECK(scopes.of(SessionScope::kUser, "two", "") == two);
}

TEST_CASE("a word is owed to a session once, whoever takes it") {
  Scopes scopes;
  const auto ann = scopes.of(SessionScope::kUser, "ann", "");
  ann->place({1, 500}, 0, ann->last());
  std::vector<std::string> lost;
  const auto note = [&](Scope& scope) {
    lost.push_back(scope.name());
    scope.owe_word();
  };
  const std::vector<EpochStart> starts = {{1, 0}, {2, 400}};
  scopes.carry(starts, note);
  scopes.carry(starts, note);  // another worker
  CHECK(lost == std::vector<std::string>{"user ann"});
  CHECK(ann->owes_word());
  CHECK(ann->take_word());
  CHECK_FALSE(ann->take_word());
  CHECK_FALSE(ann->loses({1, 500}));
}

// A writer shows things, their positions come a little later; a reader that looks after something
// was shown sees the floor at or above it, or that the floor is not whole.
TEST_CASE("I4: what one thread has shown, another one sees or is warned of") {
  Scope scope("node");
  scope.place({1, 1}, 0, scope.last());
  std::atomic<uint64_t> acknowledged{1};
  std::atomic<bool> over{false};
  std::thread writer([&] {
    for (uint64_t offset = 2; offset < 20'000; ++offset) {
      const uint64_t number = offset % 3 == 0 ? 0 : scope.show(0);
      if (number == 0) scope.place({1, offset}, 0, 0);
      acknowledged = offset;
      if (number != 0) scope.place({1, offset}, number, 0);
    }
    over = true;
  });
  uint64_t violations = 0;
  while (!over) {
    const uint64_t seen = acknowledged;
    const Scope::Sight sight = scope.sight();
    if (sight.whole && sight.floor.offset < seen) ++violations;
  }
  writer.join();
  CHECK(violations == 0);
  CHECK(scope.sight().whole);
  CHECK(scope.sight().floor == Position{1, 19'999});
}

TEST_CASE("how far a replica was is remembered of the one that was read last") {
  Scope scope("node");
  scope.place({1, 1}, 0, scope.last());
  scope.place_read({1, 70}, 0, 7);
  scope.place_read({1, 60}, 0, 7);
  CHECK(scope.sight().replica == 7);
  CHECK(scope.sight().applied == 70);
  scope.place_read({1, 65}, 0, 8);
  CHECK(scope.sight().replica == 8);
  CHECK(scope.sight().applied == 65);
  CHECK(scope.sight().floor == Position{1, 70});
}

}  // namespace
}  // namespace azimuth
