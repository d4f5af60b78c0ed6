// `azimuth status`: GET /status of a running node, shown to people. Blocking, with a deadline.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "conf/endpoint.h"
#include "conf/result.h"

namespace azimuth {

struct HttpReply {
  int status = 0;
  std::string body;
};

// One GET over a connection of its own. Bounded in time (for the whole exchange) and size.
Result<HttpReply> http_get(const Endpoint& endpoint, std::string_view path, uint32_t timeout_ms);

// The document of /status as a table; an error if it is none. What came from the node and is not
// printable does not reach the terminal. Pure.
Result<std::string> status_table(std::string_view document);

// The command. Exit code 0; 1 if the node cannot be asked; 2 for an address that is none.
int run_status(const std::string& address, bool as_json);

}  // namespace azimuth
