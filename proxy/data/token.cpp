#include "proxy/data/token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>

namespace azimuth {
namespace {

constexpr std::string_view kVersion = "az1.";
constexpr size_t kBodyBytes = 16;
constexpr size_t kMacBytes = 12;
// 28 bytes in base64 are 40 characters, of which the last two are padding.
constexpr size_t kTextBytes = 38;

Error no_token(std::string_view why) {
  return make_error(ErrorCode::kInvalid, Fault::kClient,
                    "no token of this cluster (" + std::string(why) +
                        "): pass on what AZIMUTH TOKEN answered, unchanged");
}

void append_number(std::string& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

uint64_t number_at(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

}  // namespace

std::string Tokens::sealed(std::string_view body) const {
  const auto digest = keyed_digest(key_, cluster_ + '\n' + std::string(body));
  return std::string(body) + std::string(reinterpret_cast<const char*>(digest.data()), kMacBytes);
}

std::string Tokens::make(Position position) const {
  std::string body;
  append_number(body, position.epoch);
  append_number(body, position.offset);
  const std::string bytes = sealed(body);
  std::string text(40 + 1, '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                  reinterpret_cast<const unsigned char*>(bytes.data()),
                  static_cast<int>(bytes.size()));
  text.resize(kTextBytes);
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return std::string(kVersion) + text;
}

Result<Position> Tokens::read(std::string_view token) const {
  if (!token.starts_with("az")) return no_token("it does not begin with az1.");
  if (!token.starts_with(kVersion)) return no_token("of another version");
  std::string text(token.substr(kVersion.size()));
  if (text.size() != kTextBytes) return no_token("cut short, or too long");
  const bool known = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
  if (!known) return no_token("altered");
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  text += "==";
  std::string bytes(30, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size != 30) return no_token("altered");
  bytes.resize(kBodyBytes + kMacBytes);
  const std::string expected = sealed(bytes.substr(0, kBodyBytes));
  if (CRYPTO_memcmp(expected.data(), bytes.data(), bytes.size()) != 0) {
    return no_token("altered, or of another cluster");
  }
  return Position{number_at(bytes, 0), number_at(bytes, 8)};
}

}  // namespace azimuth
