// `azimuth status` and `azimuth switchover`: a running node asked over its admin listener.
// Blocking, with a deadline.
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

// One request over a connection of its own. Bounded in time (for the whole exchange) and size.
Result<HttpReply> http_request(const Endpoint& endpoint, std::string_view method,
                               std::string_view target, uint32_t timeout_ms);

// The command. Exit code 0; 1 if the node cannot be asked; 2 for an address that is none.
int run_status(const std::string& address, bool as_json);

// `azimuth switchover` (to `node`, or to the fittest) and `azimuth elect --force`: exit code 0 when
// the new primary is ready; 1 with the reason if it cannot be had; 2 for an address that is none.
int run_switchover(const std::string& address, const std::string& node);
int run_elect_force(const std::string& address, const std::string& node);
// `azimuth member remove` and `member add`, alike: 0 when a majority knows.
int run_member_change(const std::string& address, bool add, const std::string& node);

}  // namespace azimuth
