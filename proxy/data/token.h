// AZIMUTH TOKEN: a session's floor as a short text that another session, at another node, takes
// over. "az1." and 38 characters of base64url: epoch, offset, and 12 bytes of HMAC-SHA256.
//
// Invariants: a text that was not made with this cluster's key, or was altered, is no token (I9).
// Without a cluster there is one Redis, and no floor to forge: the key is all zeros. Any thread.
#pragma once

#include <string>
#include <string_view>

#include "conf/position.h"
#include "conf/result.h"
#include "proxy/peer/cluster_key.h"

namespace azimuth {

class Tokens {
 public:
  Tokens() = default;
  // `cluster`: a token of another one with the same key is no token either.
  Tokens(const SecretKey& key, std::string cluster) : key_(key), cluster_(std::move(cluster)) {}

  std::string make(Position position) const;
  // The error is for the client, without the prefix.
  Result<Position> read(std::string_view token) const;

 private:
  std::string sealed(std::string_view body) const;

  SecretKey key_;
  std::string cluster_;
};

}  // namespace azimuth
