#include "proxy/peer/cluster_key.h"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

namespace azimuth {
namespace {

constexpr std::size_t kDigits = 2 * SecretKey::kBytes;
constexpr std::string_view kMakeOne = "make one with \"azimuth keygen\" and copy it to every node";

Error bad(std::string message) {
  return make_error(ErrorCode::kInvalid, Fault::kSelf, std::move(message));
}

std::optional<std::uint8_t> digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<std::uint8_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<std::uint8_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<std::uint8_t>(c - 'A' + 10);
  return std::nullopt;
}

void* bytes_of(std::string_view text) { return const_cast<char*>(text.data()); }

struct Closed {
  int fd;
  ~Closed() { ::close(fd); }
};

}  // namespace

SecretKey::~SecretKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

SecretKey derive_key(const SecretKey& key, std::string_view label, std::string_view context) {
  // A length in front of the label: no label and context run into each other.
  std::string info(1, static_cast<char>(label.size()));
  info.append(label).append(context);
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, bytes_of(key.view()),
                                        SecretKey::kBytes),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end()};
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  AZIMUTH_CHECK(kdf != nullptr);
  EVP_KDF_CTX* context_of_kdf = EVP_KDF_CTX_new(kdf);
  EVP_KDF_free(kdf);
  SecretKey derived;
  const bool done = context_of_kdf != nullptr &&
                    EVP_KDF_derive(context_of_kdf, derived.data(), SecretKey::kBytes, params) == 1;
  EVP_KDF_CTX_free(context_of_kdf);
  AZIMUTH_CHECK(done);
  return derived;
}

std::array<std::uint8_t, 32> keyed_digest(const SecretKey& key, std::string_view text) {
  std::array<std::uint8_t, 32> digest{};
  unsigned size = 0;
  const bool done = HMAC(EVP_sha256(), key.view().data(), static_cast<int>(SecretKey::kBytes),
                         reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                         digest.data(), &size) != nullptr;
  AZIMUTH_CHECK(done && size == digest.size());
  return digest;
}

// The errors say how the text is shaped and never what it is.
Result<ClusterKeys> parse_cluster_key(std::string_view text) {
  const std::size_t given = text.size();
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (text.size() != kDigits) {
    return bad("holds " + std::to_string(given) + " bytes and not " + std::to_string(kDigits) +
               " hexadecimal digits and a newline: " + std::string(kMakeOne));
  }
  SecretKey key;
  bool all_zero = true;
  for (std::size_t i = 0; i < SecretKey::kBytes; ++i) {
    const auto high = digit(text[2 * i]);
    const auto low = digit(text[2 * i + 1]);
    if (!high || !low) {
      return bad("holds something other than a hexadecimal digit at place " +
                 std::to_string(2 * i + (high ? 2 : 1)) + ": " + std::string(kMakeOne));
    }
    key.data()[i] = static_cast<std::uint8_t>(*high << 4U | *low);
    all_zero = all_zero && key.data()[i] == 0;
  }
  if (all_zero) return bad("holds nothing but zeros, which is no secret: " + std::string(kMakeOne));
  return ClusterKeys{derive_key(key, "azimuth datagram v1"), derive_key(key, "azimuth link v1"),
                     derive_key(key, "azimuth token v1")};
}

Result<ClusterKeys> read_cluster_key(const std::string& path) {
  const auto named = [&](const std::string& what) { return bad("key_file " + path + " " + what); };
  const auto system = [&](const char* what) {
    const std::string reason = std::strerror(errno);
    const std::string advice = errno == ENOENT ? ": " + std::string(kMakeOne) : std::string();
    return make_error(ErrorCode::kSystem, Fault::kSelf,
                      "key_file " + path + " " + what + ": " + reason + advice);
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return system("cannot be opened");
  const Closed closed{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0) return system("cannot be looked at");
  if (!S_ISREG(info.st_mode)) return named("is no file");
  if ((info.st_mode & 077U) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", info.st_mode & 07777U);
    return named("has mode " + std::string(mode) +
                 ", so that others than its owner may use it: chmod 600 " + path);
  }
  // One byte more than a key with "\r\n": a longer file is seen to be longer.
  char text[kDigits + 3];
  std::size_t size = 0;
  while (size < sizeof text) {
    const ssize_t got = ::read(fd, text + size, sizeof text - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system("cannot be read");
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  Result<ClusterKeys> keys =
      size == sizeof text
          ? Result<ClusterKeys>(bad("is longer than " + std::to_string(kDigits) +
                                    " hexadecimal digits and a newline: " + std::string(kMakeOne)))
          : parse_cluster_key({text, size});
  OPENSSL_cleanse(text, sizeof text);
  if (!keys) return named(keys.error().message);
  return keys;
}

}  // namespace azimuth
