// Where a node stands, taken from its surroundings: instead of a name, node.zone and node.region
// may say where the name is found.
//
//   "use1-az1"                 the name itself
//   "env:AZ"                   an environment variable
//   "file:/etc/podinfo/zone"   a file that is mounted in
//
// What is found there is read elsewhere (proxy/control/places.h) and brought back. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "conf/result.h"

namespace azimuth {

struct PlaceSource {
  enum class Kind : std::uint8_t { kEnvironment, kFile };
  Kind kind = Kind::kEnvironment;
  std::string_view name;  // of the variable, or the file's path; part of the text that was parsed
};

// None: the text is a name, or meant to be one.
std::optional<PlaceSource> place_source(std::string_view text);

// What is wrong with the source itself; empty: nothing.
std::string_view fault_of(const PlaceSource& source);

bool is_name(std::string_view text) noexcept;

// The name in what was found: without white space around it, and of a path as clouds write it
// ("projects/1234/zones/europe-west1-b") the last part.
Result<std::string> place_name(std::string_view found);

}  // namespace azimuth
