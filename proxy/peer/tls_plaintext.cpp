// Links without encryption, for machines that are joined by a network that encrypts by itself. The
// key is asked for all the same: each side sends a fresh number, then the other proves that it
// knows the key by a MAC of both numbers. Nothing else is said before.
//
//   opener                            acceptor
//     "azimuth plain 1\n" number  ->
//                                 <-  "azimuth plain 1\n" number
//     MAC("opener" both)          ->                                 checked first,
//                                 <-  MAC("acceptor" both)           then answered
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

#include "conf/result.h"
#include "proxy/peer/tls.h"
#include "proxy/peer/tls_channel.h"

namespace azimuth {
namespace {

constexpr std::string_view kGreeting = "azimuth plain 1\n";
constexpr std::size_t kNumberBytes = 32;
constexpr std::size_t kMacBytes = 32;

class PlainChannel final : public SecureChannel {
 public:
  PlainChannel(const std::string& key, bool opener) : key_(key), opener_(opener) {
    own_number_.resize(kNumberBytes);
    AZIMUTH_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(own_number_.data()),
                             static_cast<int>(kNumberBytes)) == 1);
    if (opener_) greet();
  }

  void receive(std::string_view wire) override { in_ = wire; }

  std::size_t read(char* to, std::size_t size) override {
    while (state_ == State::kHandshake && gather()) step();
    if (state_ != State::kOpen) return 0;
    const std::size_t n = std::min(size, in_.size());
    std::memcpy(to, in_.data(), n);
    in_.remove_prefix(n);
    return n;
  }

  void write(std::string_view plain) override {
    AZIMUTH_CHECK(state_ != State::kHandshake);
    if (state_ == State::kOpen) wire_ += plain;
  }

 private:
  void greet() {
    wire_ += kGreeting;
    wire_ += own_number_;
  }

  // Whether the handshake's next message is there, whole.
  bool gather() {
    const std::size_t wanted = peer_number_.empty() ? kGreeting.size() + kNumberBytes : kMacBytes;
    const std::size_t n = std::min(wanted - gathered_.size(), in_.size());
    gathered_ += in_.substr(0, n);
    in_.remove_prefix(n);
    return gathered_.size() == wanted;
  }

  void step() {
    if (peer_number_.empty()) {
      if (!gathered_.starts_with(kGreeting)) return fail("the peer does not speak plain text");
      peer_number_ = gathered_.substr(kGreeting.size());
      if (opener_) {
        wire_ += proof(true);
      } else {
        greet();
      }
    } else {
      const std::string expected = proof(!opener_);
      if (CRYPTO_memcmp(expected.data(), gathered_.data(), kMacBytes) != 0) {
        return fail("the peer does not know the cluster key");
      }
      if (!opener_) wire_ += proof(false);
      state_ = State::kOpen;
    }
    gathered_.clear();
  }

  std::string proof(bool of_opener) const {
    std::string text(of_opener ? "opener" : "acceptor");
    text += opener_ ? own_number_ : peer_number_;
    text += opener_ ? peer_number_ : own_number_;
    return link_mac(key_, text);
  }

  const std::string& key_;
  const bool opener_;
  std::string own_number_, peer_number_;
  std::string gathered_;
  std::string_view in_;
};

class PlainMaker final : public SecureChannelMaker {
 public:
  explicit PlainMaker(std::string_view psk) : key_(psk) {}
  ~PlainMaker() override { OPENSSL_cleanse(key_.data(), key_.size()); }
  std::unique_ptr<SecureChannel> make(bool opener) override {
    return std::make_unique<PlainChannel>(key_, opener);
  }

 private:
  std::string key_;
};

}  // namespace

std::unique_ptr<SecureChannelMaker> make_plaintext(std::string_view psk) {
  return std::make_unique<PlainMaker>(psk);
}

}  // namespace azimuth
