#include "proxy/peer/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "conf/result.h"

namespace azimuth {
namespace {

// Says nothing of the cluster to whoever listens on the wire.
constexpr std::string_view kPskIdentity = "azimuth link 1";
constexpr std::size_t kPskBytes = 32;
// RFC 8446 allows 2^24.5 full records a key; a link may live for months.
constexpr std::uint64_t kRecordsPerKeyMax = std::uint64_t{1} << 22U;
constexpr std::size_t kRecordBytesMax = SSL3_RT_MAX_PLAIN_LENGTH;
constexpr unsigned char kCipherId[2] = {0x13, 0x01};  // TLS_AES_128_GCM_SHA256

template <auto free_function>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using Ssl = std::unique_ptr<SSL, Free<SSL_free>>;
using SslContext = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;
using SslSession = std::unique_ptr<SSL_SESSION, Free<SSL_SESSION_free>>;
using BioMethod = std::unique_ptr<BIO_METHOD, Free<BIO_meth_free>>;

// --- OpenSSL's view of the wire: strings, so that a turn's records leave in one write -----------

struct WireEnds {
  std::string_view in;
  std::string* out = nullptr;
};

int wire_write(BIO* bio, const char* data, std::size_t size, std::size_t* written) {
  static_cast<WireEnds*>(BIO_get_data(bio))->out->append(data, size);
  *written = size;
  return 1;
}

int wire_read(BIO* bio, char* data, std::size_t size, std::size_t* got) {
  auto* ends = static_cast<WireEnds*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (ends->in.empty()) {
    BIO_set_retry_read(bio);
    *got = 0;
    return 0;
  }
  *got = std::min(size, ends->in.size());
  std::memcpy(data, ends->in.data(), *got);
  ends->in.remove_prefix(*got);
  return 1;
}

long wire_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BioMethod make_wire_method() {
  BioMethod method(BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "azimuth wire"));
  AZIMUTH_CHECK(method != nullptr);
  BIO_meth_set_write_ex(method.get(), wire_write);
  BIO_meth_set_read_ex(method.get(), wire_read);
  BIO_meth_set_ctrl(method.get(), wire_control);
  return method;
}

// --- TLS 1.3 by an external PSK ----------------------------------------------------------------

class TlsChannel final : public SecureChannel {
 public:
  TlsChannel(SSL_CTX* context, const BIO_METHOD* method, bool opener) : ssl_(SSL_new(context)) {
    AZIMUTH_CHECK(ssl_ != nullptr);
    BIO* bio = BIO_new(method);
    AZIMUTH_CHECK(bio != nullptr);
    ends_.out = &wire_;
    BIO_set_data(bio, &ends_);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);  // takes both
    if (opener) {
      SSL_set_connect_state(ssl_.get());
      go_on();
    } else {
      SSL_set_accept_state(ssl_.get());
    }
  }

  void receive(std::string_view wire) override { ends_.in = wire; }

  std::size_t read(char* to, std::size_t size) override {
    if (state_ == State::kHandshake) go_on();
    std::size_t have = 0;
    while (state_ == State::kOpen && have < size) {
      if (ends_.in.empty() && SSL_pending(ssl_.get()) == 0) break;
      ERR_clear_error();
      std::size_t n = 0;
      if (SSL_read_ex(ssl_.get(), to + have, size - have, &n) == 1) {
        have += n;
      } else {
        const int error = SSL_get_error(ssl_.get(), 0);
        if (error == SSL_ERROR_WANT_READ) break;
        fail_by(error);
      }
    }
    return have;
  }

  void write(std::string_view plain) override {
    AZIMUTH_CHECK(state_ != State::kHandshake);
    if (state_ != State::kOpen || plain.empty()) return;
    ERR_clear_error();
    records_ += 1 + plain.size() / kRecordBytesMax;
    if (records_ > kRecordsPerKeyMax) renew_key();
    std::size_t n = 0;
    // The wire's buffer takes everything, so nothing is ever half written.
    if (SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &n) != 1) {
      fail_by(SSL_get_error(ssl_.get(), 0));
    }
  }

  void shrink() override {
    SecureChannel::shrink();
    SSL_free_buffers(ssl_.get());  // allocated again by the next record; not if one is under way
  }

  void renew_key() override {
    records_ = 0;
    SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
  }

 private:
  void go_on() {
    ERR_clear_error();
    const int rc = SSL_do_handshake(ssl_.get());
    if (rc == 1) {
      // Any TLS server may listen where a node once did.
      if (SSL_session_reused(ssl_.get()) == 0)
        return fail("the peer answers with a certificate: it is no azimuth of this cluster");
      AZIMUTH_CHECK(SSL_version(ssl_.get()) == TLS1_3_VERSION);  // what the maker below allows
      state_ = State::kOpen;
      return;
    }
    const int error = SSL_get_error(ssl_.get(), rc);
    if (error != SSL_ERROR_WANT_READ) fail_by(error);
  }

  void fail_by(int error) {
    if (error == SSL_ERROR_ZERO_RETURN) return fail("closed by the peer");
    const char* reason = ERR_reason_error_string(ERR_peek_error());
    fail(reason != nullptr ? reason : "TLS failed");
    ERR_clear_error();
  }

  Ssl ssl_;
  WireEnds ends_;
  std::uint64_t records_ = 0;
};

class TlsMaker final : public SecureChannelMaker {
 public:
  explicit TlsMaker(std::string_view psk)
      : psk_(psk), method_(make_wire_method()), context_(SSL_CTX_new(TLS_method())) {
    AZIMUTH_CHECK(psk.size() == kPskBytes && context_ != nullptr);
    SSL_CTX* context = context_.get();
    AZIMUTH_CHECK(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1);
    AZIMUTH_CHECK(SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1);
    AZIMUTH_CHECK(SSL_CTX_set1_groups_list(context, "X25519") == 1);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_clear_options(context, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_app_data(context, this);
    SSL_CTX_set_psk_use_session_callback(context, offer);
    SSL_CTX_set_psk_find_session_callback(context, find);
  }
  ~TlsMaker() override { OPENSSL_cleanse(psk_.data(), psk_.size()); }

  std::unique_ptr<SecureChannel> make(bool opener) override {
    return std::make_unique<TlsChannel>(context_.get(), method_.get(), opener);
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

}  // namespace azimuth
