// What `azimuth status` prints. Pure.
#pragma once

#include <string>
#include <string_view>

#include "conf/result.h"

namespace azimuth {

// The document of /status as a table; an error if it is none. What came from the node and is not
// printable does not reach the terminal.
Result<std::string> status_table(std::string_view document);

}  // namespace azimuth
