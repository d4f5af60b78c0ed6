#include "conf/endpoint.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "conf/limits.h"

namespace azimuth {
namespace {

struct Sound {
  std::string text;
  Endpoint endpoint;
  std::string written;
};

TEST_CASE("an address is read, and written in its one spelling") {
  const std::vector<Sound> cases = {
      {"127.0.0.1:6379", tcp_endpoint("127.0.0.1", 6379), "127.0.0.1:6379"},
      {"0.0.0.0:0", tcp_endpoint("0.0.0.0", 0), "0.0.0.0:0"},
      {"localhost:65535", tcp_endpoint("localhost", 65535), "localhost:65535"},
      {"Redis-1.Example.COM:6379", tcp_endpoint("redis-1.example.com", 6379),
       "redis-1.example.com:6379"},
      {"redis_0:6379", tcp_endpoint("redis_0", 6379), "redis_0:6379"},
      {"[::1]:6379", tcp_endpoint("::1", 6379), "[::1]:6379"},
      {"[::]:1", tcp_endpoint("::", 1), "[::]:1"},
      {"[0:0:0:0:0:0:0:1]:6379", tcp_endpoint("::1", 6379), "[::1]:6379"},
      {"[2001:DB8:0:0:1:0:0:1]:1", tcp_endpoint("2001:db8::1:0:0:1", 1), "[2001:db8::1:0:0:1]:1"},
      {"[2001:db8:0:1:1:1:1:1]:1", tcp_endpoint("2001:db8:0:1:1:1:1:1", 1),
       "[2001:db8:0:1:1:1:1:1]:1"},
      {"[1::]:1", tcp_endpoint("1::", 1), "[1::]:1"},
      {"[1:0:0:2:0:0:0:3]:1", tcp_endpoint("1:0:0:2::3", 1), "[1:0:0:2::3]:1"},
      {"[::ffff:10.0.0.1]:1", tcp_endpoint("::ffff:a00:1", 1), "[::ffff:a00:1]:1"},
      {"[1:2:3:4:5:6:7:8]:1", tcp_endpoint("1:2:3:4:5:6:7:8", 1), "[1:2:3:4:5:6:7:8]:1"},
      {"[fe80::1%eth0]:1", tcp_endpoint("fe80::1%eth0", 1), "[fe80::1%eth0]:1"},
      {"unix:/run/redis.sock", unix_endpoint("/run/redis.sock"), "unix:/run/redis.sock"},
      {"unix:///run/redis.sock", unix_endpoint("/run/redis.sock"), "unix:/run/redis.sock"},
      {"unix:./redis.sock", unix_endpoint("./redis.sock"), "unix:./redis.sock"},
      {"unix:/with:colon 1@x", unix_endpoint("/with:colon 1@x"), "unix:/with:colon 1@x"},
      {"unix:/" + std::string(kUnixPathBytesMax - 1, 'a'),
       unix_endpoint("/" + std::string(kUnixPathBytesMax - 1, 'a')),
       "unix:/" + std::string(kUnixPathBytesMax - 1, 'a')},
  };
  for (const Sound& one : cases) {
    INFO(one.text);
    const auto endpoint = parse_endpoint(one.text);
    REQUIRE(endpoint.ok());
    CHECK(*endpoint == one.endpoint);
    CHECK(to_string(*endpoint) == one.written);
    CHECK(*parse_endpoint(to_string(*endpoint)) == *endpoint);
  }
}

struct Unsound {
  std::string text;
  std::string message;
};

TEST_CASE("what is no address is told apart, with what to write instead") {
  const std::vector<Unsound> cases = {
      {"", "is empty: write \"127.0.0.1:6379\""},
      {"6379", "has no host: write \"127.0.0.1:6379\""},
      {":6379", "has no host: write \"127.0.0.1:6379\", or \"0.0.0.0:6379\""},
      {"*:6379", "\"0.0.0.0:6379\" for every interface"},
      {"127.0.0.1", "has no port: write \"127.0.0.1:6379\""},
      {"localhost", "has no port: write \"localhost:6379\""},
      {"[::1]", "has no port: write \"[::1]:6379\""},
      {"::1:6379", "write an IPv6 address in brackets, \"[::1]:6379\""},
      {"127.0.0.1:", "has the port \"\": write a number from 0 to 65535"},
      {"127.0.0.1:65536", "has the port \"65536\""},
      {"127.0.0.1:-1", "has the port \"-1\""},
      {"127.0.0.1:+1", "has the port \"+1\""},
      {"127.0.0.1: 1", "has the port \" 1\""},
      {"127.0.0.1:redis", "has the port \"redis\""},
      {"256.0.0.1:1", "\"256.0.0.1\" is no IPv4 address"},
      {"127.0.0.01:1", "without leading zeros"},
      {"127.0.1:1", "is no IPv4 address"},
      {"1.2.3.4.5:1", "is no IPv4 address"},
      {"a b:1", "\"a b\" is no host name"},
      {"a..b:1", "is no host name"},
      {"-a:1", "is no host name"},
      {std::string("a\0b:1", 5), "\"a\\u0000b\" is no host name"},
      {"[::1:6379", "holds no IPv6 address"},
      {"[::1]6379", "holds no IPv6 address"},
      {"[]:1", "holds no IPv6 address"},
      {"[1:2:3:4:5:6:7]:1", "holds no IPv6 address"},
      {"[1:2:3:4:5:6:7:8:9]:1", "holds no IPv6 address"},
      {"[1:2:3:4::5:6:7:8]:1", "holds no IPv6 address"},
      {"[1::2::3]:1", "holds no IPv6 address"},
      {"[:::]:1", "holds no IPv6 address"},
      {"[12345::]:1", "holds no IPv6 address"},
      {"[::1%]:1", "holds no IPv6 address"},
      {"[127.0.0.1]:1", "holds no IPv6 address"},
      {"redis://h:1", "is a URL: write host and port alone"},
      {"/run/redis.sock", "write \"unix:/run/redis.sock\""},
      {"unix:", "has no path"},
      {"unix:redis.sock", "has no path"},
      {std::string("unix:/a\0b", 9), "has a NUL byte"},
      {"unix:/" + std::string(kUnixPathBytesMax, 'a'), "at most 107"},
      {std::string(300, 'a') + ":1", "is no host name"},
  };
  for (const Unsound& one : cases) {
    INFO(one.text);
    const auto endpoint = parse_endpoint(one.text);
    REQUIRE_FALSE(endpoint.ok());
    INFO(endpoint.error().message);
    CHECK(endpoint.error().message.find(one.message) != std::string::npos);
  }
}

TEST_CASE("a login in an address is not shown") {
  for (const std::string text : {"redis://user:hunter2@h:1", "user:hunter2@h:1", "hunter2@h:1"}) {
    const auto endpoint = parse_endpoint(text);
    REQUIRE_FALSE(endpoint.ok());
    CHECK(endpoint.error().message.find("hunter2") == std::string::npos);
  }
}

TEST_CASE("whether a connection would come back to one's own listener") {
  const auto comes_back = [](const std::string& target, const std::string& listener) {
    return reaches(*parse_endpoint(target), *parse_endpoint(listener));
  };
  CHECK(comes_back("127.0.0.1:1", "127.0.0.1:1"));
  CHECK(comes_back("127.0.0.1:1", "0.0.0.0:1"));
  CHECK(comes_back("127.0.0.1:1", "[::]:1"));
  CHECK(comes_back("localhost:1", "127.0.0.1:1"));
  CHECK(comes_back("localhost:1", "[::1]:1"));
  CHECK(comes_back("0.0.0.0:1", "127.0.0.1:1"));
  CHECK(comes_back("unix:/a", "unix:/a"));
  CHECK_FALSE(comes_back("127.0.0.1:1", "127.0.0.1:2"));
  CHECK_FALSE(comes_back("127.0.0.1:1", "127.0.0.2:1"));
  CHECK_FALSE(comes_back("redis:1", "0.0.0.0:1"));
  CHECK_FALSE(comes_back("10.0.0.1:1", "0.0.0.0:1"));
  CHECK_FALSE(comes_back("unix:/a", "unix:/b"));
  CHECK_FALSE(comes_back("unix:/a", "127.0.0.1:1"));
}

}  // namespace
}  // namespace azimuth
