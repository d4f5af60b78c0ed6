// The `# Azimuth` section of INFO.
#include "proxy/control/info_section.h"

#include <catch2/catch.hpp>
#include <map>
#include <sstream>
#include <string>

using namespace azimuth;

namespace {

std::map<std::string, std::string> fields_of(const std::string& section) {
  std::map<std::string, std::string> fields;
  std::istringstream lines(section);
  std::string line;
  std::getline(lines, line);
  CHECK(line == "# Azimuth\r");
  while (std::getline(lines, line)) {
    INFO(line);
    REQUIRE(line.ends_with('\r'));
    const size_t colon = line.find(':');
    REQUIRE(colon != std::string::npos);
    CHECK(fields.emplace(line.substr(0, colon), line.substr(colon + 1, line.size() - colon - 2))
              .second);
  }
  return fields;
}

NodeReport some_node() {
  NodeReport node;
  node.id = "a1";
  node.zone = "z1";
  node.region = "r1";
  node.version = "0.1.0";
  node.role = "primary";
  node.primary = "a1";
  node.epoch = 3;
  node.workers = 2;
  node.uptime_s = 61;
  return node;
}

}  // namespace

TEST_CASE("INFO's section names the node and what it counts") {
  CounterTotals totals;
  totals.commands = {10, 20, 3, 4};
  totals.connections_current = 5;
  totals.upstream_connections = 6;
  const auto fields = fields_of(info_section(some_node(), totals));
  CHECK(fields.at("azimuth_version") == "0.1.0");
  CHECK(fields.at("azimuth_node") == "a1");
  CHECK(fields.at("azimuth_zone") == "z1");
  CHECK(fields.at("azimuth_region") == "r1");
  CHECK(fields.at("azimuth_role") == "primary");
  CHECK(fields.at("azimuth_epoch") == "3");
  CHECK(fields.at("azimuth_workers") == "2");
  CHECK(fields.at("azimuth_uptime_in_seconds") == "61");
  CHECK(fields.at("azimuth_connected_clients") == "5");
  CHECK(fields.at("azimuth_commands_processed") == "37");
  CHECK(fields.at("azimuth_upstream_connections") == "6");
}

TEST_CASE("no value of INFO's section makes a line of its own") {
  NodeReport node = some_node();
  node.zone = "z1\r\nazimuth_role:primary";
  const auto fields = fields_of(info_section(node, {}));
  CHECK(fields.at("azimuth_zone") == "z1  azimuth_role:primary");
}

TEST_CASE("a node that knows of no primary leaves its name empty") {
  NodeReport node = some_node();
  node.primary.reset();
  CHECK(fields_of(info_section(node, {})).at("azimuth_primary").empty());
}
