// The makers of TLS channels: by the links' key alone (an external PSK), or by certificates.
#include "proxy/peer/tls.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include <utility>

#include "conf/result.h"
#include "proxy/peer/certificates.h"
#include "proxy/peer/tls_channel.h"

namespace azimuth {
namespace {

// Says nothing of the cluster to whoever listens on the wire.
constexpr std::string_view kPskIdentity = "azimuth link 1";
constexpr std::size_t kPskBytes = 32;
constexpr unsigned char kCipherId[2] = {0x13, 0x01};  // TLS_AES_128_GCM_SHA256

using SslSession = std::unique_ptr<SSL_SESSION, Free<SSL_SESSION_free>>;

class TlsMaker final : public SecureChannelMaker {
 public:
  explicit TlsMaker(std::string_view psk)
      : psk_(psk), method_(make_wire_method()), context_(make_tls_context()) {
    AZIMUTH_CHECK(psk.size() == kPskBytes);
    SSL_CTX* context = context_.get();
    refuse_others(context, LinkTrust::kKey);
    SSL_CTX_set_app_data(context, this);
    SSL_CTX_set_psk_use_session_callback(context, offer);
    SSL_CTX_set_psk_find_session_callback(context, find);
  }
  ~TlsMaker() override { OPENSSL_cleanse(psk_.data(), psk_.size()); }

  std::unique_ptr<SecureChannel> make(bool opener) override {
    return std::make_unique<TlsChannel>(context_.get(), method_.get(), opener, LinkTrust::kKey,
                                        std::string_view());
  }

 private:
  static const TlsMaker& of(SSL* ssl) {
    return *static_cast<TlsMaker*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  }

  SslSession session(SSL* ssl) const {
    SslSession session(SSL_SESSION_new());
    const SSL_CIPHER* cipher = SSL_CIPHER_find(ssl, kCipherId);
    const auto* key = reinterpret_cast<const unsigned char*>(psk_.data());
    if (session == nullptr || cipher == nullptr ||
        SSL_SESSION_set1_master_key(session.get(), key, psk_.size()) != 1 ||
        SSL_SESSION_set_cipher(session.get(), cipher) != 1 ||
        SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1) {
      return nullptr;
    }
    return session;
  }

  static int offer(SSL* ssl, const EVP_MD* digest, const unsigned char** id, std::size_t* id_size,
                   SSL_SESSION** out) {
    *id = reinterpret_cast<const unsigned char*>(kPskIdentity.data());
    *id_size = kPskIdentity.size();
    SslSession session = of(ssl).session(ssl);
    if (session == nullptr) return 0;
    // After a HelloRetryRequest OpenSSL names the digest that the offer has to have.
    if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha256) {
      *out = nullptr;
      return 1;
    }
    *out = session.release();
    return 1;
  }

  static int find(SSL* ssl, const unsigned char* id, std::size_t id_size, SSL_SESSION** out) {
    *out = nullptr;
    const std::string_view asked(reinterpret_cast<const char*>(id), id_size);
    if (asked == kPskIdentity) *out = of(ssl).session(ssl).release();
    return 1;  // without a session there is no certificate to go on with, and the handshake ends
  }

  std::string psk_;
  BioMethod method_;
  SslContext context_;
};

class CertifiedTlsMaker final : public SecureChannelMaker {
 public:
  CertifiedTlsMaker(std::shared_ptr<const LinkCertificates> certificates, std::string_view key)
      : certificates_(std::move(certificates)), key_(key), method_(make_wire_method()) {}
  ~CertifiedTlsMaker() override { OPENSSL_cleanse(key_.data(), key_.size()); }

  std::unique_ptr<SecureChannel> make(bool opener) override {
    return std::make_unique<TlsChannel>(certificates_->context(), method_.get(), opener,
                                        LinkTrust::kCertificates, key_);
  }

 private:
  std::shared_ptr<const LinkCertificates> certificates_;
  std::string key_;
  BioMethod method_;
};

}  // namespace

void SecureChannel::sent(std::size_t n) {
  wire_sent_ += n;
  if (wire_sent_ < wire_.size()) return;
  wire_.clear();
  wire_sent_ = 0;
}

void SecureChannel::shrink() {
  if (wire_.empty()) std::string().swap(wire_);
}

void SecureChannel::fail(std::string_view why) {
  state_ = State::kFailed;
  why_ = why;
}

std::unique_ptr<SecureChannelMaker> make_tls(std::string_view psk) {
  return std::make_unique<TlsMaker>(psk);
}

std::unique_ptr<SecureChannelMaker> make_certified_tls(
    std::shared_ptr<const LinkCertificates> certificates, std::string_view psk) {
  return std::make_unique<CertifiedTlsMaker>(std::move(certificates), psk);
}

}  // namespace azimuth
