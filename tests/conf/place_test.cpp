#include "conf/place.h"

#include <catch2/catch.hpp>
#include <string>

#include "conf/limits.h"
#include "conf/settings.h"

namespace azimuth {
namespace {

std::string found(std::string_view text) {
  const Result<std::string> name = place_name(text);
  return name.ok() ? *name : "! " + name.error().message;
}

TEST_CASE("a place is a name, or where it is found") {
  CHECK(!place_source("use1-az1"));
  CHECK(!place_source("environment"));
  const auto variable = place_source("env:AZ");
  REQUIRE(variable);
  CHECK(variable->kind == PlaceSource::Kind::kEnvironment);
  CHECK(variable->name == "AZ");
  const auto file = place_source("file:/etc/podinfo/zone");
  REQUIRE(file);
  CHECK(file->kind == PlaceSource::Kind::kFile);
  CHECK(file->name == "/etc/podinfo/zone");
}

TEST_CASE("a source that cannot be one is told at once") {
  for (const char* sound : {"env:AZ", "env:_x1", "file:/zone"}) {
    CHECK(fault_of(*place_source(sound)).empty());
  }
  for (const char* wrong : {"env:", "env:1A", "env:A B", "env:A=B", "file:", "file:zone"}) {
    CHECK_FALSE(fault_of(*place_source(wrong)).empty());
  }
}

TEST_CASE("what is found there is trimmed, of a path the last part") {
  CHECK(found("use1-az1") == "use1-az1");
  CHECK(found(" use1-az1\r\n") == "use1-az1");
  CHECK(found("projects/1234/zones/europe-west1-b\n") == "europe-west1-b");
  CHECK(found("") == "! it is empty");
  CHECK(found(" \n") == "! it is empty");
  CHECK(found("zones/").starts_with("! it holds \"zones/\", which is no name"));
  CHECK(found("two words").starts_with("! it holds \"two words\", which is no name"));
  CHECK(found("{\"zone\":\"a\"}").starts_with("! "));
  CHECK(found(std::string(kNameBytesMax + 1, 'x')).starts_with("! "));
  CHECK(found(std::string(1, '\0')).starts_with("! it holds \"\\"));
  CHECK(found("z\xC3\xBCrich \xFF").starts_with("! it holds \"z??rich ?\", which is no name"));
}

TEST_CASE("the settings keep the source, and its place in the text") {
  const SettingsResult result = parse_settings(
      "[node]\nzone = \"env:AZ\"\nregion = \"file:/r\"\n[redis]\naddress = \"a:1\"\n[[listen]]\n"
      "address = \"127.0.0.1:2\"\n",
      "f", {}, "host");
  REQUIRE(result.ok());
  CHECK(result.settings.node.zone == "env:AZ");
  CHECK(result.settings.node.region == "file:/r");
  CHECK(result.file_positions.at("node.zone") == "f:2:8");
  CHECK(result.file_positions.at("node.region") == "f:3:10");
  const SettingsResult wrong = parse_settings(
      "[node]\nid = \"env:AZ\"\nzone = \"env:\"\n[redis]\naddress = \"a:1\"\n[[listen]]\n"
      "address = \"127.0.0.1:2\"\n",
      "f", {}, "host");
  REQUIRE(wrong.errors.size() == 2);
  CHECK(to_string(wrong.errors[0]).starts_with("f:2:6: id = \"env:AZ\" is no name"));
  CHECK(to_string(wrong.errors[1]) ==
        "f:3:8: zone = \"env:\" names no environment variable: write letters, digits and "
        "underscores, such as \"env:AZ\"");
}

}  // namespace
}  // namespace azimuth
