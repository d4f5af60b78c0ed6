#include "session/hello.h"

#include "session/client_command.h"
#include "session/strict_integer.h"
#include "session/words.h"

namespace azimuth {

HelloRequest parse_hello(std::span<const std::string_view> args) {
  HelloRequest request;
  std::size_t next = 1;
  if (args.size() >= 2) {
    const auto version = parse_integer(args[next++]);
    if (!version) {
      request.error = error_line("Protocol version is not an integer or out of range");
      return request;
    }
    if (*version < 2 || *version > 3) {
      request.error = error_line("-NOPROTO unsupported protocol version");
      return request;
    }
    request.protocol = static_cast<int>(*version);
  }
  for (std::size_t j = next; j < args.size(); ++j) {
    const std::size_t more = args.size() - 1 - j;
    if (same_word(args[j], "auth") && more >= 2) {
      request.steps.push_back({HelloStep::Kind::kAuth, args[j + 1], args[j + 2], {}});
      j += 2;
    } else if (same_word(args[j], "setname") && more >= 1) {
      if (!valid_client_name(args[j + 1])) {
        request.error = kClientNameErrorReply;
        return request;
      }
      request.steps.push_back({HelloStep::Kind::kSetName, {}, {}, args[j + 1]});
      ++j;
    } else {
      request.error =
          error_line("Syntax error in HELLO option '" + std::string(until_nul(args[j])) + "'");
      return request;
    }
  }
  return request;
}

}  // namespace azimuth
