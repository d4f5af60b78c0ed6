// What holds a node's part in its group together: the state file, wishes, seeds, and what is told
// of the group. The machines themselves are tested in tests/health, the whole in tests/e2e.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "conf/limits.h"
#include "proxy/group/seeds.h"
#include "proxy/group/state_file.h"
#include "proxy/group/topology_of.h"
#include "proxy/group/wishes.h"

using namespace azimuth;

namespace {

namespace fs = std::filesystem;

class Directory {
 public:
  Directory() {
    std::string name = (fs::temp_directory_path() / "azimuth-group-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Directory() {
    std::error_code ignored;
    fs::permissions(path_, fs::perms::owner_all, ignored);
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

GroupState some_state(std::uint64_t promised = 7) {
  GroupState state;
  state.cluster = "orders";
  state.node = "a1";
  state.promised = promised;
  state.promised_to = "b1";
  state.accepted = 6;
  state.leader = "b1";
  state.electorate.version = 1;
  state.electorate.voters = {"a1", "b1", "c1"};
  state.forks = {{6, std::string(40, 'a'), 100}};
  return state;
}

std::unique_ptr<StateFile> open_file(const std::string& directory) {
  auto file = StateFile::open(directory);
  if (!file.ok()) FAIL(file.error().message);
  return std::move(*file);
}

std::string load_error(const StateFile& file) {
  const auto loaded = file.load("orders", "a1");
  REQUIRE_FALSE(loaded.ok());
  return loaded.error().message;
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("what was saved is there after a restart, and nothing where there never was a file") {
  Directory directory;
  const std::string data_dir = directory.file("deep/er");  // is made
  {
    const auto file = open_file(data_dir);
    const auto none = file->load("orders", "a1");
    REQUIRE(none.ok());
    CHECK_FALSE(none.value().has_value());
    REQUIRE(file->save(some_state(7)).ok());
    REQUIRE(file->save(some_state(8)).ok());
  }
  const auto file = open_file(data_dir);
  const auto loaded = file->load("orders", "a1");
  REQUIRE(loaded.ok());
  CHECK(loaded.value() == some_state(8));
  struct stat facts {};
  REQUIRE(::stat(file->path().c_str(), &facts) == 0);
  CHECK((facts.st_mode & 0777) == 0600);
}

TEST_CASE("I1: a file that is cut short or altered is never taken for none") {
  Directory directory;
  const auto file = open_file(directory.path());
  REQUIRE(file->save(some_state()).ok());
  const std::string whole = read_text(file->path());
  for (size_t size = 0; size < whole.size(); ++size) {
    write_text(file->path(), whole.substr(0, size));
    CHECK_FALSE(file->load("orders", "a1").ok());
  }
  std::string altered = whole;
  altered[whole.size() / 2] ^= 1;
  write_text(file->path(), altered);
  const std::string error = load_error(*file);
  CHECK(error.find(file->path()) != std::string::npos);
  CHECK(error.find("move the file away") != std::string::npos);
  write_text(file->path(), std::string(1 << 20, 'x'));
  CHECK(load_error(*file).find("larger than a state can be") != std::string::npos);
}

TEST_CASE("the state of another node or cluster is not this one's") {
  Directory directory;
  const auto file = open_file(directory.path());
  REQUIRE(file->save(some_state()).ok());
  CHECK(file->load("orders", "a1").ok());
  for (const auto& [cluster, node] : {std::pair{"orders", "a2"}, std::pair{"other", "a1"}}) {
    const auto loaded = file->load(cluster, node);
    REQUIRE_FALSE(loaded.ok());
    CHECK(loaded.error().message.find("node a1 in cluster orders") != std::string::npos);
    CHECK(loaded.error().message.find("node.data_dir") != std::string::npos);
  }
}

TEST_CASE("a data_dir has one azimuth at a time, also after one was killed") {
  Directory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto file = StateFile::open(directory.path());
    ::_exit(file.ok() ? 0 : 1);  // as a kill does: nothing is tidied up
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WEXITSTATUS(status) == 0);
  const auto file = open_file(directory.path());
  const auto second = StateFile::open(directory.path());
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().message.find("in use by another azimuth") != std::string::npos);
}

TEST_CASE("a directory that cannot be written is told with what to do") {
  Directory directory;
  write_text(directory.file("plain"), "x");
  const auto in_a_file = StateFile::open(directory.file("plain/data"));
  REQUIRE_FALSE(in_a_file.ok());
  CHECK(in_a_file.error().message.find("node.data_dir " + directory.file("plain/data")) !=
        std::string::npos);
  // A directory in the place of the file: what a save renames onto it does not go.
  const auto file = open_file(directory.path());
  fs::create_directories(file->path() + "/in-the-way");
  const Outcome saved = file->save(some_state());
  REQUIRE_FALSE(saved.ok());
  CHECK(saved.error().message.find("cannot write " + file->path()) == 0);
  fs::remove_all(file->path());
  CHECK(file->save(some_state()).ok());
}

// --- wishes --------------------------------------------------------------------------------------

namespace {

GroupView led_by(const std::string& leader, std::uint64_t epoch, bool ready = true) {
  GroupView view;
  view.leader = leader;
  view.epoch = epoch;
  view.leader_ready = ready;
  return view;
}

constexpr Wish::Kind kSwitchOver = Wish::Kind::kSwitchOver;

std::string take_it(Wish::Kind, const std::string&) { return {}; }

// Answers in the order in which they came; "" is done.
struct Answers {
  std::vector<std::string> all;
  Wishes::Answer take() {
    return [this](const std::string& why_not) { all.push_back(why_not); };
  }
};

}  // namespace

TEST_CASE("a wish is answered when the new primary is ready, and once") {
  Wishes wishes;
  Answers answers;
  const Instant now{1000};
  wishes.add(now, kSwitchOver, "b1", answers.take());
  wishes.add(now, kSwitchOver, "", answers.take());
  CHECK(wishes.last() == "under way");
  wishes.offer(now, led_by("a1", 3), take_it);
  wishes.on_view(now, led_by("a1", 3));
  wishes.on_view(now, led_by("", 3, false));
  wishes.on_view(now, led_by("b1", 4, false));
  CHECK(answers.all.empty());
  wishes.on_view(now, led_by("b1", 4));
  CHECK(answers.all == std::vector<std::string>{"", ""});
  wishes.on_view(now, led_by("c1", 5));
  wishes.end("late");
  CHECK(answers.all.size() == 2);
  CHECK(wishes.last() == "done");
}

TEST_CASE("a wish that is refused is offered again for a little while") {
  Wishes wishes;
  Answers answers;
  Instant now{1000};
  int offered = 0;
  const auto refuse_it = [&](Wish::Kind, const std::string&) {
    ++offered;
    return std::string("b1 is not in sync yet");
  };
  wishes.add(now, kSwitchOver, "b1", answers.take());
  wishes.offer(now, led_by("a1", 3), refuse_it);
  CHECK(wishes.next_wakeup() > now);
  now = wishes.next_wakeup();
  wishes.offer(now, led_by("a1", 3), take_it);
  // The leader is another node, and says no to what it was passed: that is no other case.
  wishes.refuse(now, "b1 is not in sync yet");
  CHECK(answers.all.empty());
  while (answers.all.empty() && offered < 1000) {
    now = wishes.next_wakeup();
    wishes.offer(now, led_by("a1", 3), refuse_it);
  }
  CHECK(answers.all == std::vector<std::string>{"b1 is not in sync yet"});
  CHECK(offered > 2);
  CHECK(now > Instant{1000} + seconds(1));
}

TEST_CASE("a wish that fails says why") {
  Wishes wishes;
  Answers answers;
  const Instant now{1000};
  wishes.add(now, kSwitchOver, "b1", answers.take());
  wishes.end("the node is leaving");
  wishes.add(now, kSwitchOver, "b1", answers.take());
  wishes.offer(now, led_by("a1", 3), take_it);
  wishes.on_view(now, led_by("c1", 4));
  wishes.add(now, kSwitchOver, "b1", answers.take());
  wishes.offer(now, led_by("a1", 3), take_it);
  GroupView vacant = led_by("", 3, false);
  vacant.why = "b1 does not answer";
  wishes.on_view(now + seconds(9), vacant);
  CHECK(answers.all.size() == 2);
  wishes.on_view(wishes.next_wakeup(), vacant);
  CHECK(answers.all == std::vector<std::string>{"the node is leaving",
                                                "node c1 has become the primary instead",
                                                "it was not done within 10 s: b1 does not answer"});
  CHECK(wishes.last() == "refused: " + answers.all.back());
  CHECK(wishes.next_wakeup() == kNever);
}

TEST_CASE("I8: wishes that wait are bounded") {
  Wishes wishes;
  Answers answers;
  for (size_t i = 0; i <= kWishesMax; ++i) {
    wishes.add(Instant{0}, kSwitchOver, "b1", answers.take());
  }
  CHECK(answers.all == std::vector<std::string>{"too many wait for one already"});
}

// --- seeds ---------------------------------------------------------------------------------------

TEST_CASE("seeds are numbers, without this very node") {
  Seeds seeds({*parse_endpoint("10.0.0.2:7380"), *parse_endpoint("10.0.0.1:7380"),
               *parse_endpoint("[2001:db8::1]:7380")},
              "10.0.0.1:7380");
  CHECK(seeds.addresses() == std::vector<std::string>{"10.0.0.2:7380", "[2001:db8::1]:7380"});
  CHECK(seeds.next_wakeup() == kNever);
  CHECK_FALSE(seeds.on_tick(Instant{1000}, true));
}

TEST_CASE("a seed's name is looked up, while others wait for nobody") {
  Seeds seeds({*parse_endpoint("localhost:7380"), *parse_endpoint("10.0.0.2:7380")},
              "10.0.0.1:7380");
  CHECK(seeds.addresses() == std::vector<std::string>{"10.0.0.2:7380"});
  Instant now{0};
  bool changed = false;
  for (int turns = 0; turns < 1000 && !changed; ++turns) {
    now = later_of(now + milliseconds(1), seeds.next_wakeup());
    changed = seeds.on_tick(now, true);
    if (!changed) ::usleep(2000);  // the look-up's thread is real
  }
  REQUIRE(changed);
  const auto& all = seeds.addresses();
  CHECK(all.size() >= 2);
  CHECK((std::count(all.begin(), all.end(), "127.0.0.1:7380") == 1 ||
         std::count(all.begin(), all.end(), "[::1]:7380") == 1));
}

// --- what is told of the group -------------------------------------------------------------------

namespace {

NodeRecord record(const std::string& id, bool member = true) {
  NodeRecord out;
  out.id = id;
  out.zone = "z-" + id;
  out.region = "r1";
  out.address = "10.0.0." + std::to_string(id[0] - 'a' + 1) + ":7380";
  out.member = member;
  out.wants_vote = member;
  out.redis_ready = member;
  out.readable = member;
  out.epoch = 4;
  out.leader = "b1";
  return out;
}

// a1 looks at b1, which leads epoch 4, at c1, a witness w1 and a sidecar s1.
struct Scene {
  NodeRecord a1 = record("a1"), b1 = record("b1"), c1 = record("c1"), w1 = record("w1", false),
             s1 = record("s1", false);
  GroupView view = led_by("b1", 4);
  LocalRedis local;
  std::vector<Fork> forks;

  Scene() {
    w1.wants_vote = true;
    view.electorate.version = 2;
    view.electorate.voters = {"a1", "b1", "c1", "d1", "w1"};
    a1.offset = 90;
    b1.offset = 100;
    c1.offset = 60;
  }
  GroupSight sight() const {
    return {a1, {&b1, &c1, &s1, &w1}, view, local, tcp_endpoint("127.0.0.1", 6379), forks};
  }
  NodeReport report() const {
    NodeReport out;
    describe(sight(), out);
    return out;
  }
};

}  // namespace

TEST_CASE("the topology has the members, by id, and names a primary that is ready") {
  Scene scene;
  scene.c1.readable = false;
  Topology topology = topology_of(scene.sight());
  REQUIRE(topology.members.size() == 3);
  CHECK(topology.epoch == 4);
  CHECK(topology.members[0].id == "a1");
  CHECK(topology.members[0].redis == tcp_endpoint("127.0.0.1", 6379));
  CHECK(topology.members[1].peer == "10.0.0.2:7380");
  CHECK(topology.members[1].redis == Endpoint{});
  CHECK(topology.local == 0);
  CHECK(topology.primary == 1);
  CHECK(topology.members[0].readiness == Readiness::kReady);
  CHECK(topology.members[2].readiness == Readiness::kNotReady);
  CHECK_FALSE(topology.holding);

  // What changes all the time is not in it.
  const Topology before = topology_of(scene.sight());
  scene.b1.offset += 1000;
  scene.view.lease_until = Instant{5};
  CHECK(topology_of(scene.sight()) == before);

  scene.view.leader_ready = false;
  CHECK(topology_of(scene.sight()).vacant());
  scene.b1.status = NodeStatus::kLeft;
  CHECK(topology_of(scene.sight()).members.size() == 2);
}

TEST_CASE("I4: where epochs begin is told only if the table reaches the present one") {
  Scene scene;
  scene.forks = {{2, "r2", 10}, {3, "r3", 70}};
  CHECK(topology_of(scene.sight()).starts.empty());
  scene.forks.push_back({4, "r4", 65});
  CHECK(topology_of(scene.sight()).starts ==
        std::vector<EpochStart>{EpochStart{2, 10}, EpochStart{3, 70}, EpochStart{4, 65}});
}

TEST_CASE("I1: a sidecar does not go back to an older epoch") {
  Scene scene;  // b1 leads epoch 4
  const std::vector<const NodeRecord*> others = {&scene.a1, &scene.b1, &scene.c1};
  for (NodeRecord* each : {&scene.a1, &scene.b1, &scene.c1}) {
    each->epoch = 4;
    each->leader = "b1";
    each->readable = true;
  }
  const GroupView view = view_by_gossip(others, 3);
  CHECK(view.epoch == 4);
  CHECK(view.leader == "b1");
  CHECK(view.leader_ready);
  SECTION("whoever is behind is not followed") {
    const GroupView later = view_by_gossip(others, 5);
    CHECK(later.epoch == 5);
    CHECK(later.leader.empty());
    CHECK_FALSE(later.leader_ready);
    CHECK(later.why.find("b1 leads epoch 4") != std::string::npos);
  }
  SECTION("nobody leads") {
    for (NodeRecord* each : {&scene.a1, &scene.b1, &scene.c1}) each->leader.clear();
    const GroupView later = view_by_gossip(others, view.epoch);
    CHECK(later.epoch == 4);
    CHECK(later.leader.empty());
  }
}

TEST_CASE("I4: a sidecar knows the history as far as leaders have told it") {
  const auto leads = [](std::uint64_t epoch, std::uint64_t begin, std::uint64_t after) {
    NodeRecord leader;
    leader.epoch = epoch;
    leader.begin = begin;
    leader.after = after;
    return leader;
  };
  const auto known = [](const std::vector<Fork>& forks) {
    std::vector<EpochStart> starts;
    for (const Fork& each : forks) starts.push_back({each.epoch, each.begin});
    return starts;
  };
  using Starts = std::vector<EpochStart>;
  std::vector<Fork> forks;
  follow_history(forks, leads(1, 0, 0));
  follow_history(forks, leads(2, 100, 1));
  follow_history(forks, leads(2, 100, 1));
  CHECK(known(forks) == Starts{EpochStart{1, 0}, EpochStart{2, 100}});
  SECTION("an epoch that the next one does not go on from is none of it") {
    follow_history(forks, leads(3, 90, 1));
    CHECK(known(forks) == Starts{EpochStart{1, 0}, EpochStart{3, 90}});
  }
  SECTION("behind one that it has not heard of, only that one is known") {
    follow_history(forks, leads(4, 300, 3));
    CHECK(known(forks) == Starts{EpochStart{3, 0}, EpochStart{4, 300}});
  }
  SECTION("a history that begins anew") {
    follow_history(forks, leads(3, 0, 0));
    CHECK(known(forks) == Starts{EpochStart{3, 0}});
  }
  SECTION("it does not grow without end") {
    for (std::uint64_t epoch = 3; epoch < 100; ++epoch) {
      follow_history(forks, leads(epoch, epoch * 100, epoch - 1));
    }
    CHECK(forks.size() == kForksMax);
    CHECK(forks.back().epoch == 99);
  }
}

TEST_CASE("I4: the port that a replica follows through is told of this epoch, and of no primary") {
  Scene scene;
  scene.a1.replica_port = 4711;
  scene.b1.replica_port = 4712;
  scene.c1.replica_port = 4713;
  scene.c1.epoch = 3;
  const Topology topology = topology_of(scene.sight());
  CHECK(topology.members[0].replica_port == 4711);
  CHECK(topology.members[1].replica_port == 0);  // leads
  CHECK(topology.members[2].replica_port == 0);
}

TEST_CASE("a sidecar is no member, and has none of its own") {
  Scene scene;
  const GroupSight sight{scene.s1,   {&scene.a1, &scene.b1}, scene.view, scene.local, {},
                         scene.forks};
  const Topology topology = topology_of(sight);
  CHECK(topology.local == -1);
  CHECK(topology.primary == 1);
  NodeReport report;
  describe(sight, report);
  CHECK(report.role == "sidecar");
  CHECK(report.primary == "b1");
}

TEST_CASE("/status tells members, witnesses and voters that nobody has seen") {
  Scene scene;
  scene.c1.status = NodeStatus::kDead;
  NodeReport report = scene.report();
  CHECK(report.role == "replica");
  CHECK(report.epoch == 4);
  CHECK(report.primary == "b1");
  CHECK(report.why.empty());
  REQUIRE(report.members.size() == 4);
  CHECK(report.members[0].id == "a1");
  CHECK(report.members[0].ready);
  CHECK(report.members[0].lag_bytes == 10);
  CHECK(report.members[1].role == "primary");
  CHECK(report.members[1].lag_bytes == 0);
  CHECK_FALSE(report.members[2].alive);
  CHECK_FALSE(report.members[2].ready);
  CHECK(report.members[3].id == "d1");
  CHECK(report.members[3].role == "unknown");
  CHECK_FALSE(report.members[3].alive);
  REQUIRE(report.cluster);
  REQUIRE(report.cluster->witnesses.size() == 1);
  CHECK(report.cluster->witnesses[0].id == "w1");
  CHECK(report.cluster->sidecars == 1);
  CHECK(report.cluster->voters.size() == 5);
  // That the group has a primary does not say that this node has its part in it.
  scene.view.why = "the Redis of a1 holds data of unknown origin";
  CHECK(scene.report().why == scene.view.why);
}

TEST_CASE("a primary whose lease is out does not call itself one") {
  Scene scene;
  scene.view = led_by("a1", 4);
  scene.view.leading = true;
  CHECK(scene.report().role == "primary");
  scene.view.leading = scene.view.leader_ready = false;
  scene.view.isolated = true;
  scene.view.why = "2 of 3 voters do not answer";
  const NodeReport report = scene.report();
  CHECK(report.role == "replica");
  CHECK_FALSE(report.primary);
  CHECK(report.isolated);
  CHECK(report.why == "2 of 3 voters do not answer");
}

TEST_CASE("a replica may be read when it follows this epoch and is in sync") {
  GroupView view = led_by("b1", 4);
  LocalRedis local;
  local.alive = local.link_up = true;
  local.done = OrderKind::kFollow;
  local.done_epoch = 4;
  CHECK(is_readable(local, view));
  const auto broken = [&](auto change) {
    LocalRedis other = local;
    change(other);
    return is_readable(other, view);
  };
  CHECK_FALSE(broken([](LocalRedis& it) { it.alive = false; }));
  CHECK_FALSE(broken([](LocalRedis& it) { it.loading = true; }));
  CHECK_FALSE(broken([](LocalRedis& it) { it.link_up = false; }));
  CHECK_FALSE(broken([](LocalRedis& it) { it.done = OrderKind::kFence; }));
  CHECK_FALSE(broken([](LocalRedis& it) { it.done_epoch = 3; }));
}
