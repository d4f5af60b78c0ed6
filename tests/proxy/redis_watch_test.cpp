// What the control thread reads out of a Redis's replies, and the watch itself against a peer that
// listens on loopback.
#include "proxy/control/redis_watch.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "proxy/control/name_lookup.h"

using namespace azimuth;

namespace {

using Reply = std::unique_ptr<redisReply, void (*)(void*)>;

Reply read_reply(const std::string& bytes) {
  redisReader* reader = redisReaderCreate();
  redisReaderFeed(reader, bytes.data(), bytes.size());
  void* reply = nullptr;
  REQUIRE(redisReaderGetReply(reader, &reply) == REDIS_OK);
  REQUIRE(reply != nullptr);
  redisReaderFree(reader);
  return {static_cast<redisReply*>(reply), &freeReplyObject};
}

std::string bulk(const std::string& text) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

std::string array(const std::vector<std::string>& elements) {
  std::string out = "*" + std::to_string(elements.size()) + "\r\n";
  for (const std::string& each : elements) out += each;
  return out;
}

std::string entry(const std::string& name, const std::vector<std::string>& subcommands = {}) {
  return array({bulk(name), ":-2\r\n", array({"+readonly\r\n", "+fast\r\n"}), ":1\r\n", ":-1\r\n",
                ":2\r\n", array({"+@read\r\n"}), array({}), array({}), array(subcommands)});
}

// A watch on a loop of its own, with what it told.
struct Watched {
  uv_loop_t loop;
  std::vector<RedisEvent> events;
  std::vector<std::string> addresses;
  std::unique_ptr<RedisWatch> watch;

  Watched(const Endpoint& endpoint, const SocketAddress& address) {
    REQUIRE(uv_loop_init(&loop) == 0);
    RedisSettings settings;
    settings.address = endpoint;
    RedisWatch::Hooks hooks;
    hooks.on_event = [this](const RedisEvent& event) { events.push_back(event); };
    hooks.on_news = [] {};
    hooks.on_commands = [](const std::shared_ptr<const ExtraCommands>&) {};
    hooks.on_address = [this](const SocketAddress& found) {
      addresses.push_back(address_text(found, false));
    };
    watch = std::make_unique<RedisWatch>(&loop, settings, address, std::move(hooks));
  }
  ~Watched() {
    watch->close();
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(watch->closed());
    watch.reset();
    CHECK(uv_loop_close(&loop) == 0);
  }
  // Turns the loop, whose timers end each wait, until `done` or about a minute.
  template <class Done>
  bool turn_until(Done done) {
    for (int turns = 0; turns < 10'000 && !done(); ++turns) uv_run(&loop, UV_RUN_ONCE);
    return done();
  }
};

// A port where nobody listens: bound, and held, so that nobody else gets it.
struct SilentPort {
  int fd;
  SocketAddress address;

  SilentPort() {
    address = *numeric_address(tcp_endpoint("127.0.0.1", 0));
    fd = ::socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(::bind(fd, address.get(), address.size) == 0);
    socklen_t size = sizeof(address.storage);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &size);
  }
  ~SilentPort() { ::close(fd); }
  Endpoint endpoint() const {
    const std::string text = address_text(address, false);
    return *parse_endpoint(text);
  }
};

}  // namespace

TEST_CASE("COMMAND's reply becomes a list of commands") {
  const Reply reply = read_reply(array({entry("get"), entry("acl", {entry("acl|new")})}));
  const std::vector<BackendCommand> commands = backend_commands(*reply);
  REQUIRE(commands.size() == 3);
  CHECK(commands[0].name == "get");
  CHECK(commands[0].arity == -2);
  CHECK(commands[0].flags == std::vector<std::string>{"readonly", "fast"});
  CHECK(commands[0].first_key == 1);
  CHECK(commands[0].last_key == -1);
  CHECK(commands[0].key_step == 2);
  CHECK(commands[1].name == "acl");
  CHECK(commands[2].name == "acl|new");
}

TEST_CASE("Redis 6 and older list six fields a command") {
  const Reply reply = read_reply(array(
      {array({bulk("get"), ":2\r\n", array({"+readonly\r\n"}), ":1\r\n", ":1\r\n", ":1\r\n"})}));
  REQUIRE(backend_commands(*reply).size() == 1);
}

TEST_CASE("entries that are no commands are passed over") {
  CHECK(backend_commands(*read_reply("+OK\r\n")).empty());
  CHECK(backend_commands(*read_reply("*-1\r\n")).empty());
  CHECK(backend_commands(*read_reply(array({":1\r\n", array({}), "$-1\r\n"}))).empty());
  const Reply odd = read_reply(
      array({array({":1\r\n", ":1\r\n", ":1\r\n", ":1\r\n", ":1\r\n", ":1\r\n"}), entry("good")}));
  CHECK(backend_commands(*odd).size() == 1);
  const Reply big = read_reply(array({array(
      {bulk("big"), ":99999999999\r\n", array({}), ":-99999999999\r\n", ":1\r\n", ":1\r\n"})}));
  REQUIRE(backend_commands(*big).size() == 1);
}

TEST_CASE("a refused connection is told as what it is, once") {
  const SilentPort port;
  Watched watched(port.endpoint(), port.address);
  watched.watch->start();
  REQUIRE(watched.turn_until([&] { return !watched.events.empty(); }));
  CHECK(watched.events[0].kind == RedisEventKind::kDown);
  CHECK(watched.events[0].reason == "Connection refused");
  CHECK(watched.watch->trouble() == "Connection refused");
  for (int turns = 0; turns < 6; ++turns) uv_run(&watched.loop, UV_RUN_ONCE);
  CHECK(watched.events.size() == 1);
}

TEST_CASE("a watch ends while its connection is being made") {
  const SilentPort port;
  Watched watched(port.endpoint(), {});
  watched.watch->start();
}

TEST_CASE("a watch that was never started ends too") {
  const SilentPort port;
  Watched watched(port.endpoint(), port.address);
}

TEST_CASE("an address that was not known at the start is told when Redis answers there") {
  const int listener = listen_on(*numeric_address(tcp_endpoint("127.0.0.1", 0)), 0);
  REQUIRE(listener >= 0);
  const Endpoint endpoint = *parse_endpoint(local_text(listener));
  {
    Watched watched(endpoint, {});
    watched.watch->start();
    REQUIRE(watched.turn_until([&] { return !watched.addresses.empty(); }));
    CHECK(watched.addresses == std::vector<std::string>{to_string(endpoint)});
  }
  ::close(listener);
}

TEST_CASE("numeric addresses need no look-up") {
  CHECK(look_up(tcp_endpoint("127.0.0.1", 6379)).addresses.size() == 1);
  CHECK(look_up(tcp_endpoint("::1", 6379)).addresses.size() == 1);
  CHECK(look_up(unix_endpoint("/run/redis.sock")).addresses.size() == 1);
}

TEST_CASE("a look-up is answered once") {
  NameLookup lookup;
  CHECK_FALSE(lookup.running());
  CHECK_FALSE(lookup.fetch());
  lookup.start(tcp_endpoint("127.0.0.1", 6379));
  std::optional<NameLookup::Answer> answer;
  while (!answer) {
    CHECK(lookup.running());
    answer = lookup.fetch();
  }
  CHECK(answer->addresses.size() == 1);
  CHECK_FALSE(lookup.running());
  CHECK_FALSE(lookup.fetch());
}
