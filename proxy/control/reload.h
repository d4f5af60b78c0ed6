// What a reload may change while the node runs, and what has to wait for a restart.
// Pure, except read_settings_file.
#pragma once

#include <string>

#include "conf/result.h"
#include "conf/settings.h"

namespace azimuth {

// `running` with every value of `wanted` that needs no restart. An endpoint that has moved in the
// file keeps all of its values: what stands in its place there is another one.
Settings without_restart(const Settings& running, const Settings& wanted);

// The file as parse_settings wants it: of one that is too long, one byte more than may be.
Result<std::string> read_settings_file(const std::string& path);

// What stands for the node's name where the file has none.
std::string host_name();

}  // namespace azimuth
