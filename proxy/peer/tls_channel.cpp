#include "proxy/peer/tls_channel.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstring>

#include "conf/result.h"
#include "proxy/peer/certificates.h"

namespace azimuth {
namespace {

// RFC 8446 allows 2^24.5 full records a key; a link may live for months.
constexpr std::uint64_t kRecordsPerKeyMax = std::uint64_t{1} << 22U;
constexpr std::size_t kRecordBytesMax = SSL3_RT_MAX_PLAIN_LENGTH;
constexpr std::size_t kProofBytes = 32;
constexpr std::string_view kExporterLabel = "EXPORTER-azimuth-link-1";

long wire_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

// The first message says by what the opener wants to be known: with a PSK or without.
template <LinkTrust trust>
int check_hello(SSL* ssl, int* alert, void*) {
  const unsigned char* psk = nullptr;
  std::size_t size = 0;
  const bool has_psk = SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &psk, &size) == 1;
  if (has_psk == (trust == LinkTrust::kKey)) return SSL_CLIENT_HELLO_SUCCESS;
  *alert = has_psk ? SSL_AD_INSUFFICIENT_SECURITY : SSL_AD_UNKNOWN_PSK_IDENTITY;
  return SSL_CLIENT_HELLO_ERROR;
}

}  // namespace

// --- what channels have in common --------------------------------------------------------------

SslContext make_tls_context() {
  SslContext made(SSL_CTX_new(TLS_method()));
  SSL_CTX* context = made.get();
  AZIMUTH_CHECK(context != nullptr);
  AZIMUTH_CHECK(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1);
  AZIMUTH_CHECK(SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1);
  AZIMUTH_CHECK(SSL_CTX_set1_groups_list(context, "X25519") == 1);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_clear_options(context, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  return made;
}

void refuse_others(SSL_CTX* context, LinkTrust trust) {
  SSL_CTX_set_client_hello_cb(context,
                              trust == LinkTrust::kKey ? check_hello<LinkTrust::kKey>
                                                       : check_hello<LinkTrust::kCertificates>,
                              nullptr);
}

std::string link_mac(std::string_view key, std::string_view text) {
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  AZIMUTH_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                     reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac,
                     &size) != nullptr &&
                size == kProofBytes);
  return {reinterpret_cast<const char*>(mac), size};
}

// OpenSSL's view of the wire: strings, so that a turn's records leave in one write.
int TlsChannel::wire_write(BIO* bio, const char* data, std::size_t size, std::size_t* written) {
  static_cast<WireEnds*>(BIO_get_data(bio))->out->append(data, size);
  *written = size;
  return 1;
}

int TlsChannel::wire_read(BIO* bio, char* data, std::size_t size, std::size_t* got) {
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

BioMethod make_wire_method() {
  BioMethod method(BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "azimuth wire"));
  AZIMUTH_CHECK(method != nullptr);
  BIO_meth_set_write_ex(method.get(), TlsChannel::wire_write);
  BIO_meth_set_read_ex(method.get(), TlsChannel::wire_read);
  BIO_meth_set_ctrl(method.get(), wire_control);
  return method;
}

// --- the channel -------------------------------------------------------------------------------

TlsChannel::TlsChannel(SSL_CTX* context, const BIO_METHOD* method, bool opener, LinkTrust trust,
                       std::string_view key)
    : ssl_(SSL_new(context)), opener_(opener), trust_(trust), key_(key) {
  AZIMUTH_CHECK(ssl_ != nullptr);
  BIO* bio = BIO_new(method);
  AZIMUTH_CHECK(bio != nullptr);
  ends_.out = &wire_;
  BIO_set_data(bio, &ends_);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);  // takes both
  if (!opener) {
    SSL_set_accept_state(ssl_.get());
    return;
  }
  // Whoever answers an offered PSK by a certificate has none: with nobody to trust, no certificate
  // is good.
  if (trust == LinkTrust::kKey) SSL_set_verify(ssl_.get(), SSL_VERIFY_PEER, nullptr);
  SSL_set_connect_state(ssl_.get());
  go_on();
}

std::size_t TlsChannel::read(char* to, std::size_t size) {
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

void TlsChannel::write(std::string_view plain) {
  AZIMUTH_CHECK(state_ != State::kHandshake);
  if (state_ != State::kOpen || plain.empty()) return;
  records_ += 1 + plain.size() / kRecordBytesMax;
  if (records_ > kRecordsPerKeyMax) renew_key();
  put(plain);
}

void TlsChannel::put(std::string_view plain) {
  ERR_clear_error();
  std::size_t n = 0;
  // The wire's buffer takes everything, so nothing is ever half written.
  if (SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &n) != 1) {
    fail_by(SSL_get_error(ssl_.get(), 0));
  }
}

void TlsChannel::shrink() {
  SecureChannel::shrink();
  SSL_free_buffers(ssl_.get());  // allocated again by the next record; not if one is under way
}

void TlsChannel::renew_key() {
  records_ = 0;
  SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
}

// --- the handshake -----------------------------------------------------------------------------

void TlsChannel::go_on() {
  if (!secured_) {
    ERR_clear_error();
    const int rc = SSL_do_handshake(ssl_.get());
    if (rc != 1) {
      const int error = SSL_get_error(ssl_.get(), rc);
      if (error != SSL_ERROR_WANT_READ) fail_by(error);
      return;
    }
    on_secured();
  }
  if (state_ == State::kHandshake) take_proof();
}

// What the contexts allow is looked at once more: nothing else may ever pass.
void TlsChannel::on_secured() {
  secured_ = true;
  AZIMUTH_CHECK(SSL_version(ssl_.get()) == TLS1_3_VERSION);
  const bool by_key = SSL_session_reused(ssl_.get()) != 0;
  if (trust_ == LinkTrust::kKey) {
    if (!by_key) return fail("the peer has not used the cluster key");
    state_ = State::kOpen;
    return;
  }
  if (by_key || SSL_get0_peer_certificate(ssl_.get()) == nullptr ||
      SSL_get_verify_result(ssl_.get()) != X509_V_OK) {
    return fail("the peer has not shown a good certificate");
  }
  begin_proof();
}

void TlsChannel::begin_proof() {
  std::string exporter(kProofBytes, '\0');
  AZIMUTH_CHECK(SSL_export_keying_material(
                    ssl_.get(), reinterpret_cast<unsigned char*>(exporter.data()), exporter.size(),
                    kExporterLabel.data(), kExporterLabel.size(), nullptr, 0, 0) == 1);
  const std::string of_opener = link_mac(key_, "certified opener" + exporter);
  const std::string of_acceptor = link_mac(key_, "certified acceptor" + exporter);
  own_proof_ = opener_ ? of_opener : of_acceptor;
  peer_proof_ = opener_ ? of_acceptor : of_opener;
  if (opener_) put(own_proof_);
}

void TlsChannel::take_proof() {
  char bytes[kProofBytes];
  while (heard_proof_.size() < kProofBytes) {
    ERR_clear_error();
    std::size_t n = 0;
    if (SSL_read_ex(ssl_.get(), bytes, kProofBytes - heard_proof_.size(), &n) != 1) {
      const int error = SSL_get_error(ssl_.get(), 0);
      if (error == SSL_ERROR_WANT_READ) return;
      if (error != SSL_ERROR_ZERO_RETURN) return fail_by(error);
      return fail(
          "the peer did not take the proof of the cluster key: every node needs the same "
          "key_file");
    }
    heard_proof_.append(bytes, n);
  }
  if (CRYPTO_memcmp(peer_proof_.data(), heard_proof_.data(), kProofBytes) != 0) {
    SSL_shutdown(ssl_.get());
    return fail(
        "the peer has a good certificate and another cluster key: every node needs the "
        "same key_file");
  }
  if (!opener_) put(own_proof_);
  if (state_ == State::kHandshake) state_ = State::kOpen;
}

// --- what went wrong ---------------------------------------------------------------------------

void TlsChannel::fail_by(int error) {
  if (error == SSL_ERROR_ZERO_RETURN) return fail("closed by the peer");
  const std::string text = reason_text(ERR_peek_last_error());
  ERR_clear_error();
  fail(text);
}

std::string TlsChannel::reason_text(unsigned long code) const {
  constexpr const char* kEverywhere =
      ": the tls_ settings of [peer] are for every node or for none (and SIGHUP puts them in "
      "force)";
  const bool certified = trust_ == LinkTrust::kCertificates;
  const char* const plain = ERR_reason_error_string(code);
  const std::string otherwise = plain != nullptr ? plain : "TLS failed";
  if (ERR_GET_LIB(code) != ERR_LIB_SSL) return otherwise;
  switch (ERR_GET_REASON(code)) {
    case SSL_R_CALLBACK_FAILED:  // check_hello() here, and the others there
    case SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY:
    case SSL_R_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY:
      return (certified ? "this node links by certificates, the peer by the cluster key alone"
                        : "this node links by the cluster key alone, the peer by certificates") +
             std::string(kEverywhere);
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      if (!certified)
        return "the peer answers with a certificate: it is no azimuth of this cluster";
      return trust_fault(SSL_get_verify_result(ssl_.get()), "the peer's certificate");
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return "the peer has no certificate" + std::string(kEverywhere);
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return "the peer says that this node's certificate, or a CA above it, has expired: renew it, "
             "and send SIGHUP; or compare the clocks";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return certified ? "the peer knows no CA of this node's certificate: its tls_ca_file lacks it"
                       : otherwise;
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
      return "the peer does not accept this node's certificate: its own log says why";
    case SSL_R_BINDER_DOES_NOT_VERIFY:
    case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:  // the same, as the opener hears it
      if (certified) return otherwise;
      return "the peer has another cluster key: every node needs the same key_file";
    default:
      return otherwise;
  }
}

}  // namespace azimuth
