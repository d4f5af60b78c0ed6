#include "session/hello.h"

#include <catch2/catch.hpp>

using namespace azimuth;

namespace {

HelloRequest hello(std::vector<std::string_view> args) {
  args.insert(args.begin(), "HELLO");
  return parse_hello(args);
}

}  // namespace

TEST_CASE("HELLO refuses with Redis's words") {
  const std::string syntax = "-ERR Syntax error in HELLO option '";
  const std::string name =
      "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
  const std::string number = "-ERR Protocol version is not an integer or out of range\r\n";
  const std::string version = "-NOPROTO unsupported protocol version\r\n";
  const std::vector<std::pair<std::vector<std::string_view>, std::string>> cases = {
      {{"x"}, number},
      {{"03"}, number},
      {{"9999999999999999999"}, number},
      {{"AUTH", "u", "p"}, number},
      {{"4"}, version},
      {{"1"}, version},
      {{"-3", "FOO"}, version},
      {{"3", "AUTH", "u"}, syntax + "AUTH'\r\n"},
      {{"3", "SETNAME"}, syntax + "SETNAME'\r\n"},
      {{"3", "foo", "bar"}, syntax + "foo'\r\n"},
      {{"3", "FO\r\nO\r\n"}, syntax + "FO  O  '\r\n"},
      {{"3", std::string_view("a\0b", 3)}, syntax + "a'\r\n"},
      {{"3", "SETNAME", "a b"}, name},
      {{"2", "SETNAME", "\x7f"}, name},
      {{"2", "SETNAME", "a\n", "FOO"}, name},
  };
  for (const auto& [args, error] : cases) {
    CAPTURE(args);
    CHECK(hello(args).error == error);
  }
}

TEST_CASE("HELLO's options come in their order, and those before an error count") {
  HelloRequest got = hello({});
  CHECK(got.error.empty());
  CHECK(!got.protocol);
  CHECK(got.steps.empty());
  CHECK(got.auth() == nullptr);

  got = hello({"3", "auth", "me", "secret", "SetName", "it"});
  CHECK(got.error.empty());
  CHECK(got.protocol == 3);
  REQUIRE(got.auth() != nullptr);
  CHECK(got.auth()->user == "me");
  CHECK(got.auth()->password == "secret");
  REQUIRE(got.set_name() != nullptr);
  CHECK(got.set_name()->name == "it");

  got = hello({"2", "SETNAME", "a", "AUTH", "u", "p", "SETNAME", "", "FOO"});
  CHECK(got.error == "-ERR Syntax error in HELLO option 'FOO'\r\n");
  REQUIRE(got.steps.size() == 3);
  CHECK(got.steps[0].kind == HelloStep::Kind::kSetName);
  CHECK(got.steps[1].kind == HelloStep::Kind::kAuth);
  CHECK(got.steps[2].name.empty());
}
