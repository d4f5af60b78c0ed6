// The one secret of a cluster, and the keys that are derived from it.
//
// Invariants: the text of the key is in no error, log or status; a file that others could read is
// refused. Keys of different purposes are independent (HKDF-SHA256, RFC 5869, a label for each):
// who learns one learns nothing of another. Derivation is pure; reading touches the disk. Any
// thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "conf/result.h"

namespace azimuth {

// 256 bits, wiped when they go out of use.
class SecretKey {
 public:
  static constexpr std::size_t kBytes = 32;

  SecretKey() = default;
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();

  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }
  std::uint8_t* data() { return bytes_.data(); }

 private:
  std::array<std::uint8_t, kBytes> bytes_{};
};

// HKDF-SHA256 of `key` for the purpose that `label` names, bound to `context`.
SecretKey derive_key(const SecretKey& key, std::string_view label, std::string_view context = {});

// HMAC-SHA256, all 32 bytes.
std::array<std::uint8_t, 32> keyed_digest(const SecretKey& key, std::string_view text);

struct ClusterKeys {
  SecretKey datagram;  // the root of each session's key, see sealed_datagram.h
  SecretKey link;      // the PSK of the TLS links
  SecretKey token;     // of AZIMUTH TOKEN
};

// 64 hexadecimal digits and a newline.
Result<ClusterKeys> parse_cluster_key(std::string_view text);
// The same from a file of mode 0600 or stricter. The error says what to do.
Result<ClusterKeys> read_cluster_key(const std::string& path);

}  // namespace azimuth
