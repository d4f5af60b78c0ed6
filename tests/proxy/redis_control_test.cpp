// The pilot, its connection and its tap against real redis-servers: leading, following, the fence,
// the dead man's switch, restarts, and that everything is put back.
#include "proxy/group/redis_control.h"

#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "proxy/clock.h"

using namespace azimuth;

namespace {

constexpr int kWaitMs = 60'000;

std::uint16_t free_port() {
  const int listener = listen_on(*numeric_address(tcp_endpoint("127.0.0.1", 0)), 0);
  REQUIRE(listener >= 0);
  const Endpoint endpoint = *parse_endpoint(local_text(listener));
  ::close(listener);
  return endpoint.port;
}

// A redis-server of the machine's own, in a directory of its own; gone when this is.
class RedisServer {
 public:
  explicit RedisServer(std::vector<std::string> options = {}, std::string login = {})
      : options_(std::move(options)), login_(std::move(login)) {
    char name[] = "/tmp/azimuth-redis-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    directory_ = name;
    start();
  }
  ~RedisServer() {
    kill();
    std::filesystem::remove_all(directory_);
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  // Tries other ports if somebody else was faster; keeps the port on a restart.
  void start() {
    for (int tries = 0; tries < 5; ++tries) {
      if (port == 0 || tries > 0) port = free_port();
      spawn();
      if (wait_until_it_answers()) return;
      kill();
    }
    FAIL("redis-server does not start");
  }
  void kill() {
    client_.reset();
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
  void signal(int number) const { ::kill(pid_, number); }

  // A status, bulk, integer or error as text; an array joined by blanks.
  std::string command(const std::vector<std::string>& words) {
    if (client_ == nullptr && !connect()) return "no connection";
    std::vector<const char*> arguments;
    for (const std::string& word : words) arguments.push_back(word.c_str());
    const auto reply = std::unique_ptr<redisReply, void (*)(void*)>(
        static_cast<redisReply*>(redisCommandArgv(client_.get(), static_cast<int>(words.size()),
                                                  arguments.data(), nullptr)),
        &freeReplyObject);
    if (reply == nullptr) {
      client_.reset();
      return "no reply";
    }
    return text_of(*reply);
  }
  std::string setting(const std::string& name) {
    const std::string pair = command({"CONFIG", "GET", name});
    return pair.substr(std::min(pair.size(), name.size() + 1));
  }
  std::string info(const std::string& key) {
    const std::string text = command({"INFO"});
    const std::size_t at = text.find("\n" + key + ":");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + key.size() + 2;
    return text.substr(begin, text.find('\r', begin) - begin);
  }

  RedisSettings settings() const {
    RedisSettings settings;
    settings.address = tcp_endpoint("127.0.0.1", port);
    settings.password = login_;
    return settings;
  }

  std::uint16_t port = 0;

 private:
  static std::string text_of(const redisReply& reply) {
    if (reply.type == REDIS_REPLY_INTEGER) return std::to_string(reply.integer);
    if (reply.type != REDIS_REPLY_ARRAY) {
      return reply.str == nullptr ? "" : std::string(reply.str, reply.len);
    }
    std::string text;
    for (std::size_t i = 0; i < reply.elements; ++i) {
      text += (i == 0 ? "" : " ") + text_of(*reply.element[i]);
    }
    return text;
  }
  void spawn() {
    std::vector<std::string> words = {
        "redis-server", "--port",   std::to_string(port), "--bind",   "127.0.0.1", "--save", "",
        "--dir",        directory_, "--logfile",          "redis.log"};
    words.insert(words.end(), options_.begin(), options_.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execvp("redis-server", arguments.data());
    ::_exit(127);
  }
  bool wait_until_it_answers() {
    for (int waited_ms = 0; waited_ms < kWaitMs; waited_ms += 10) {
      if (command({"PING"}) == "PONG") return true;
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        return false;
      }
      ::usleep(10'000);
    }
    return false;
  }
  bool connect() {
    const timeval patience = {5, 0};
    client_.reset(redisConnectWithTimeout("127.0.0.1", port, patience));
    if (client_ == nullptr || client_->err != 0) {
      client_.reset();
      return false;
    }
    redisSetTimeout(client_.get(), patience);
    return login_.empty() || command({"AUTH", login_}) == "OK";
  }

  struct Free {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  std::vector<std::string> options_;
  std::string login_;
  std::string directory_;
  pid_t pid_ = -1;
  std::unique_ptr<redisContext, Free> client_;
};

// The loop that controls run on, which turns until a condition holds.
class Loop {
 public:
  Loop() {
    REQUIRE(uv_loop_init(&loop) == 0);
    uv_timer_init(&loop, &pulse_);
    uv_timer_start(
        &pulse_, [](uv_timer_t*) {}, 5, 5);
  }
  ~Loop() {
    uv_close(reinterpret_cast<uv_handle_t*>(&pulse_), nullptr);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop) == 0);
  }
  template <class Done>
  bool turn_until(Done done, int wait_ms = kWaitMs) {
    const Instant deadline = clock_now() + milliseconds(wait_ms);
    while (!done() && clock_now() < deadline) uv_run(&loop, UV_RUN_ONCE);
    return done();
  }
  void turn_for(int wait_ms) {
    turn_until([] { return false; }, wait_ms);
  }
  uv_loop_t loop;

 private:
  uv_timer_t pulse_;
};

// A control, with what it told.
struct Control {
  Loop& loop;
  std::unique_ptr<RedisControl> control;
  std::vector<PilotOutbox::Event> events;
  std::uint64_t wanted_tunnel = 0;
  std::uint16_t tunnel_port = 0;  // opened at once when it is asked for; 0: it is not
  std::uint64_t applied = 0;
  bool acks = true;

  Control(Loop& on, const RedisServer& redis) : Control(on, redis.settings()) {}
  Control(Loop& on, const RedisSettings& settings) : loop(on) {
    RedisControl::Hooks hooks;
    hooks.on_event = [this](const PilotOutbox::Event& event) { events.push_back(event); };
    hooks.on_want_tunnel = [this](std::uint64_t epoch) {
      wanted_tunnel = epoch;
      if (epoch != 0 && tunnel_port != 0) control->on_tunnel_port({epoch, tunnel_port});
    };
    hooks.on_applied = [this](std::string_view, std::uint64_t offset) { applied = offset; };
    hooks.may_ack = [this] { return acks; };
    control =
        std::make_unique<RedisControl>(&loop.loop, settings, "10.9.8.7", 7380, std::move(hooks));
    control->start();
  }
  ~Control() {
    control->close();
    CHECK(loop.turn_until([&] { return control->closed(); }));
  }
  const LocalRedis& facts() const { return control->pilot().facts(); }
  bool order(OrderKind kind, std::uint64_t epoch, const std::string& leader = {},
             const std::string& replid = {}) {
    control->set_order({kind, epoch, leader, replid});
    return loop.turn_until([&] { return done(kind, epoch); });
  }
  bool done(OrderKind kind, std::uint64_t epoch) const {
    return facts().done == kind && facts().done_epoch == epoch;
  }
  bool lead(std::uint64_t epoch) { return alive() && order(OrderKind::kLead, epoch); }
  bool follow(std::uint64_t epoch, const RedisServer& leader, const std::string& replid) {
    tunnel_port = leader.port;
    return order(OrderKind::kFollow, epoch, "leader", replid);
  }
  bool alive() {
    return loop.turn_until([&] { return facts().alive; });
  }
  std::string told(const std::string& name) const {
    std::string all;
    for (const auto& event : events) {
      if (event.name == name) all += event.text + "\n";
    }
    return all;
  }
};

bool begins(const std::string& text, std::string_view with) { return text.starts_with(with); }

const std::string kRefused = "NOREPLICAS";

}  // namespace

TEST_CASE("a Redis is fenced before anything else, and leads when it is told to") {
  Loop loop;
  RedisServer redis;
  CHECK(redis.command({"SET", "before", "1"}) == "OK");
  Control node(loop, redis);
  REQUIRE(loop.turn_until([&] { return node.facts().fenced; }));
  CHECK(begins(redis.command({"SET", "k", "1"}), kRefused));
  CHECK_FALSE(node.facts().empty);
  CHECK(node.facts().master);

  REQUIRE(node.lead(1));
  CHECK(redis.command({"SET", "k", "1"}) == "OK");
  // The first replica of a primary changes its replid: what the facts say is what stays.
  const std::string replid = node.facts().replid;
  CHECK(redis.info("master_replid") == replid);
  CHECK(redis.info("repl_backlog_active") == "1");
  const std::uint64_t before = node.facts().offset;
  CHECK(redis.command({"SET", "k", "2"}) == "OK");
  CHECK(loop.turn_until([&] { return node.facts().offset > before; }));
  CHECK(loop.turn_until(
      [&] { return std::to_string(node.applied) == redis.info("master_repl_offset"); }));
  CHECK(node.facts().replid == replid);

  REQUIRE(node.order(OrderKind::kFence, 1));
  CHECK(begins(redis.command({"SET", "k", "3"}), kRefused));
  CHECK(redis.command({"GET", "k"}) == "2");
  // Without its tap a primary that does not lead keeps its offset: no PING moves it.
  CHECK(loop.turn_until([&] { return redis.info("connected_slaves") == "0"; }));
  REQUIRE(node.order(OrderKind::kLead, 1));
  CHECK(node.facts().replid == replid);
}

TEST_CASE("the dead man's switch: a silent tap fences, one that speaks again lifts") {
  Loop loop;
  RedisServer redis;
  Control node(loop, redis);
  REQUIRE(node.lead(1));
  node.acks = false;
  const Instant silent = clock_now();
  const auto refused = [&] { return begins(redis.command({"SET", "k", "1"}), kRefused); };
  REQUIRE(loop.turn_until(refused));
  CHECK((clock_now() - silent).ms < 4000);
  node.acks = true;
  CHECK(loop.turn_until([&] { return !refused(); }));
}

TEST_CASE("a replica follows through its tunnel port, is promoted, and the other comes back") {
  Loop loop;
  RedisServer first, second;
  Control a(loop, first), b(loop, second);
  REQUIRE(a.lead(1));
  for (int i = 0; i < 100; ++i) first.command({"SET", "k" + std::to_string(i), "v"});
  const std::string replid = a.facts().replid;

  b.tunnel_port = first.port;
  b.control->set_order({OrderKind::kFollow, 1, "a", replid});
  REQUIRE(loop.turn_until([&] { return b.done(OrderKind::kFollow, 1); }));
  CHECK(b.wanted_tunnel == 1);
  CHECK(b.facts().link_up);
  CHECK_FALSE(b.facts().master);
  CHECK(b.facts().fenced);
  // The primary lists it as soon as it has noticed that the copy is over.
  CHECK(loop.turn_until(
      [&] { return first.command({"ROLE"}).find("10.9.8.7 7380") != std::string::npos; }));
  first.command({"SET", "last", "1"});
  CHECK(loop.turn_until([&] { return b.applied == a.applied && b.facts().offset == b.applied; }));
  CHECK(loop.turn_until([&] { return second.command({"GET", "last"}) == "1"; }));

  // Planned: the old one stands, steps down, and only then the new one is promoted.
  REQUIRE(a.order(OrderKind::kStand, 1));
  CHECK(begins(first.command({"SET", "k", "1"}), kRefused));
  const std::uint64_t target = a.facts().offset;
  CHECK(loop.turn_until([&] { return b.facts().offset >= target; }));
  a.tunnel_port = second.port;
  a.control->set_order({OrderKind::kFollow, 2, "b", ""});
  REQUIRE(loop.turn_until([&] { return !a.facts().master; }));
  CHECK(a.wanted_tunnel == 2);
  CHECK(a.facts().offset >= target);
  const Instant ordered = clock_now();
  REQUIRE(b.order(OrderKind::kLead, 2));
  CHECK((clock_now() - ordered).ms < 500);
  CHECK(b.facts().replid != replid);
  CHECK(b.facts().replid2 == replid);
  CHECK(b.wanted_tunnel == 0);
  CHECK(second.command({"SET", "new", "1"}) == "OK");
  REQUIRE(a.follow(2, second, b.facts().replid));
  CHECK(second.info("sync_full") == "0");
  CHECK(loop.turn_until([&] { return first.command({"GET", "new"}) == "1"; }));
}

TEST_CASE("a link that is up after a first copy carries what is written at once") {
  Loop loop;
  RedisServer first, second;
  Control a(loop, first), b(loop, second);
  REQUIRE(a.lead(1));
  first.command({"SET", "k", "1"});
  REQUIRE(b.follow(1, first, a.facts().replid));
  first.command({"SET", "k", "2"});
  // Redis by itself withholds its stream for up to a second in about every other try.
  CHECK(loop.turn_until([&] { return second.command({"GET", "k"}) == "2"; }, 500));
}

TEST_CASE("I5: a Redis that has restarted does not lead the epoch that it led") {
  Loop loop;
  RedisServer redis;
  Control node(loop, redis);
  REQUIRE(node.lead(1));
  redis.command({"SET", "k", "1"});
  const std::string run_id = node.facts().run_id;
  redis.kill();
  REQUIRE(loop.turn_until([&] { return !node.facts().alive; }));
  CHECK(node.facts().done_epoch == 0);
  redis.start();
  REQUIRE(loop.turn_until([&] { return node.facts().alive && node.facts().fenced; }));
  CHECK(node.facts().run_id != run_id);
  CHECK(node.facts().empty);
  loop.turn_for(300);
  CHECK(begins(redis.command({"SET", "k", "1"}), kRefused));
  // Nor after the order was taken back for a while.
  REQUIRE(node.order(OrderKind::kFence, 1));
  node.control->set_order({OrderKind::kLead, 1, "", ""});
  loop.turn_for(300);
  CHECK_FALSE(node.done(OrderKind::kLead, 1));
  CHECK(begins(redis.command({"SET", "k", "1"}), kRefused));
  CHECK(node.order(OrderKind::kLead, 2));
  CHECK(redis.command({"SET", "k", "1"}) == "OK");
  CHECK(node.told("redis_restarted").find(run_id) != std::string::npos);
}

TEST_CASE("a stopped Redis is stuck after a second, and takes no write when it goes on") {
  Loop loop;
  RedisServer redis;
  Control node(loop, redis);
  REQUIRE(node.lead(1));
  redis.signal(SIGSTOP);
  const Instant stopped = clock_now();
  REQUIRE(loop.turn_until([&] { return !node.facts().alive; }));
  CHECK((clock_now() - stopped).ms < 2500);
  node.control->set_order({OrderKind::kFence, 2, "", ""});
  redis.signal(SIGCONT);
  REQUIRE(loop.turn_until([&] { return node.done(OrderKind::kFence, 2); }));
  CHECK(begins(redis.command({"SET", "k", "1"}), kRefused));
}

TEST_CASE("what was changed is put back, but for the fence") {
  Loop loop;
  RedisServer redis({"--repl-backlog-ttl", "77", "--shutdown-timeout", "9",
                     "--repl-diskless-sync-delay", "5", "--min-replicas-max-lag", "0"});
  Control node(loop, redis);
  REQUIRE(node.lead(1));
  CHECK(redis.setting("repl-backlog-ttl") == "0");
  CHECK(redis.setting("replica-announce-ip") == "10.9.8.7");
  CHECK(redis.setting("replica-announce-port") == "7380");
  CHECK(redis.setting("repl-backlog-size") == "16777216");
  CHECK(redis.setting("min-replicas-to-write") == "1");
  CHECK(node.told("redis_setting").find("repl-backlog-ttl 77 0\n") != std::string::npos);
  node.control->leave();
  REQUIRE(loop.turn_until([&] { return node.control->pilot().left(); }));
  CHECK(redis.setting("repl-backlog-ttl") == "77");
  CHECK(redis.setting("shutdown-timeout") == "9");
  CHECK(redis.setting("repl-diskless-sync-delay") == "5");
  CHECK(redis.setting("replica-announce-ip").empty());
  CHECK(redis.setting("replica-announce-port") == "0");
  CHECK(redis.setting("min-replicas-to-write") == "999999");
  CHECK(redis.setting("min-replicas-max-lag") == "1");
  CHECK(begins(redis.command({"SET", "k", "1"}), kRefused));
}

TEST_CASE("a Redis with a password leads and follows with it") {
  Loop loop;
  const std::vector<std::string> options = {"--requirepass", "sesame"};
  RedisServer first(options, "sesame"), second(options, "sesame");
  Control a(loop, first), b(loop, second);
  REQUIRE(a.lead(1));
  REQUIRE(b.follow(1, first, a.facts().replid));
  CHECK(b.told("redis_setting").find("sesame") == std::string::npos);
}

TEST_CASE("what stands in the way is told, with what to do") {
  Loop loop;
  SECTION("a password that we do not have") {
    RedisServer redis({"--requirepass", "sesame"}, "sesame");
    RedisSettings settings = redis.settings();
    settings.password.clear();
    Control node(loop, settings);
    REQUIRE(loop.turn_until([&] { return !node.control->pilot().trouble().empty(); }));
    CHECK(node.control->pilot().trouble().find("redis.password") != std::string::npos);
    CHECK_FALSE(node.facts().alive);
  }
  SECTION("a renamed command") {
    RedisServer redis({"--rename-command", "CONFIG", ""});
    Control node(loop, redis);
    REQUIRE(loop.turn_until([&] { return !node.control->pilot().trouble().empty(); }));
    CHECK(node.control->pilot().trouble().find("rename-command") != std::string::npos);
    CHECK_FALSE(node.facts().fenced);
  }
  SECTION("a user without the rights, until it has them") {
    RedisServer redis;
    redis.command({"ACL", "SETUSER", "pilot", "on", ">pw", "+@all", "-replicaof", "~*"});
    RedisServer leader;
    Control a(loop, leader);
    REQUIRE(a.lead(1));
    RedisSettings settings = redis.settings();
    settings.username = "pilot";
    settings.password = "pw";
    Control node(loop, settings);
    node.tunnel_port = leader.port;
    node.control->set_order({OrderKind::kFollow, 1, "a", a.facts().replid});
    REQUIRE(loop.turn_until([&] { return !node.control->pilot().trouble().empty(); }));
    CHECK(node.control->pilot().trouble().find("+replicaof") != std::string::npos);
    redis.command({"CONFIG", "SET", "masteruser", ""});
    redis.command({"ACL", "SETUSER", "pilot", "+@all"});
    CHECK(loop.turn_until([&] { return node.control->pilot().trouble().empty(); }));
  }
}

TEST_CASE("a Redis that is not there is waited for") {
  Loop loop;
  RedisServer redis;
  redis.kill();
  Control node(loop, redis);
  REQUIRE(loop.turn_until([&] { return !node.told("redis_down").empty(); }));
  redis.start();
  CHECK(node.alive());
}
