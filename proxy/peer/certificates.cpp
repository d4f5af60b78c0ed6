#include "proxy/peer/certificates.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

#include "conf/limits.h"
#include "conf/result.h"
#include "proxy/peer/tls_channel.h"

namespace azimuth {
namespace {

using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Stack =
    std::unique_ptr<STACK_OF(X509), decltype([](STACK_OF(X509) * all) { sk_X509_free(all); })>;
using Verification = std::unique_ptr<X509_STORE_CTX, Free<X509_STORE_CTX_free>>;

Error bad(std::string message) {
  return make_error(ErrorCode::kInvalid, Fault::kSelf, std::move(message));
}

std::string openssl_reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "OpenSSL does not say why";
}

struct Closed {
  int fd;
  ~Closed() { ::close(fd); }
};

// `secret`: refused where everybody could read it. A group may: that is how services are given
// keys.
Result<std::string> read_pem(const std::string& path, bool secret) {
  const auto fault = [](const char* what) { return bad(std::string(what) + std::strerror(errno)); };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fault("cannot be opened: ");
  const Closed closed{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0) return fault("cannot be looked at: ");
  if (!S_ISREG(info.st_mode)) return bad("is no file");
  if (secret && (info.st_mode & 07U) != 0) {
    return bad("may be used by everybody on this machine: chmod 600 " + path);
  }
  std::string text(kCertificateFileBytesMax + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fault("cannot be read: ");
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kCertificateFileBytesMax) {
    return bad("is longer than " + std::to_string(kCertificateFileBytesMax) + " bytes");
  }
  text.resize(size);
  return text;
}

Result<std::vector<Certificate>> certificates_in(const std::string& text) {
  const Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  AZIMUTH_CHECK(bio != nullptr);
  std::vector<Certificate> all;
  ERR_clear_error();
  while (X509* each = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    all.emplace_back(each);
  }
  const unsigned long end = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(end) == ERR_LIB_PEM && ERR_GET_REASON(end) == PEM_R_NO_START_LINE;
  if (!at_end) return bad("holds a certificate that cannot be read: " + openssl_reason());
  ERR_clear_error();
  if (all.empty()) return bad("holds no certificate: write PEM (-----BEGIN CERTIFICATE-----)");
  return all;
}

Result<Key> key_in(std::string& text) {
  const Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  AZIMUTH_CHECK(bio != nullptr);
  bool asked = false;
  ERR_clear_error();
  Key key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr,
      [](char*, int, int, void* was_asked) {
        *static_cast<bool*>(was_asked) = true;
        return -1;
      },
      &asked));
  const std::string reason = openssl_reason();
  OPENSSL_cleanse(text.data(), text.size());
  if (key != nullptr) return key;
  if (asked) return bad("has a passphrase, and nobody is there to type it: store the key without");
  return bad("holds no private key in PEM (-----BEGIN PRIVATE KEY-----): " + reason);
}

std::int64_t ends(const X509* certificate) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1) return 0;
  return ::timegm(&parts);
}

// Does for the three files what read_certificates() promises; collects every error.
class Reader {
 public:
  explicit Reader(const SettingsResult& settings)
      : settings_(settings), peer_(*settings.settings.peer), context_(make_tls_context()) {}

  CertificatesResult read() {
    auto own = take(kCertificate, certificates_in_file(peer_.tls_cert_file));
    auto key = take(kKey, key_in_file());
    auto authorities = take(kAuthority, certificates_in_file(peer_.tls_ca_file));
    if (result_.errors.empty()) use_own(*own, **key);
    if (result_.errors.empty()) trust(*authorities);
    std::int64_t first_end = INT64_MAX;
    // A link's maker is TLS's client, and its other end the server: every node is both.
    for (const char* purpose : {"ssl_server", "ssl_client"}) {
      if (result_.errors.empty()) first_end = std::min(first_end, verify(*own, purpose));
    }
    if (result_.errors.empty()) {
      result_.certificates =
          std::make_shared<const LinkCertificates>(context_.release(), first_end);
    }
    return std::move(result_);
  }

 private:
  static constexpr std::string_view kCertificate = "tls_cert_file";
  static constexpr std::string_view kKey = "tls_key_file";
  static constexpr std::string_view kAuthority = "tls_ca_file";

  const std::string& path(std::string_view key) const {
    return key == kCertificate ? peer_.tls_cert_file
           : key == kKey       ? peer_.tls_key_file
                               : peer_.tls_ca_file;
  }

  void say(std::string_view key, const std::string& what) {
    const std::string name(key);
    const auto at = settings_.file_positions.find("peer." + name);
    AZIMUTH_CHECK(at != settings_.file_positions.end());
    result_.errors.push_back({at->second, name + " " + path(key) + " " + what});
  }

  template <class T>
  std::optional<T> take(std::string_view key, Result<T> found) {
    if (found.ok()) return std::move(found).value();
    say(key, found.error().message);
    return std::nullopt;
  }

  static Result<std::vector<Certificate>> certificates_in_file(const std::string& path) {
    const Result<std::string> text = read_pem(path, false);
    if (!text.ok()) return text.error();
    return certificates_in(*text);
  }

  Result<Key> key_in_file() const {
    Result<std::string> text = read_pem(peer_.tls_key_file, true);
    if (!text.ok()) return text.error();
    return key_in(*text);
  }

  void use_own(const std::vector<Certificate>& own, EVP_PKEY& key) {
    ERR_clear_error();
    if (X509_check_private_key(own.front().get(), &key) != 1) {
      ERR_clear_error();
      return say(kKey, "does not belong to the certificate in tls_cert_file, the first there");
    }
    SSL_CTX* context = context_.get();
    if (SSL_CTX_use_certificate(context, own.front().get()) != 1 ||
        SSL_CTX_use_PrivateKey(context, &key) != 1) {
      return say(kCertificate, "cannot be used: " + openssl_reason());
    }
    for (std::size_t i = 1; i < own.size(); ++i) {
      if (SSL_CTX_add1_chain_cert(context, own[i].get()) == 1) continue;
      return say(kCertificate, "holds a CA that cannot be used: " + openssl_reason());
    }
  }

  void trust(const std::vector<Certificate>& authorities) {
    SSL_CTX* context = context_.get();
    refuse_others(context, LinkTrust::kCertificates);
    X509_STORE* store = SSL_CTX_get_cert_store(context);
    for (const Certificate& each : authorities) {
      if (X509_STORE_add_cert(store, each.get()) == 1) continue;
      return say(kAuthority, "cannot be used: " + openssl_reason());
    }
    // What the file names is trusted, a CA below the root too: often one that signs nothing else.
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_max_cert_list(context, static_cast<long>(kLinkCertificateBytesMax));
  }

  // As the peers will; the first end in the chain.
  std::int64_t verify(const std::vector<Certificate>& own, const char* purpose) {
    const Stack between(sk_X509_new_null());
    for (std::size_t i = 1; i < own.size(); ++i) sk_X509_push(between.get(), own[i].get());
    const Verification check(X509_STORE_CTX_new());
    AZIMUTH_CHECK(check != nullptr && between != nullptr &&
                  X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(context_.get()),
                                      own.front().get(), between.get()) == 1 &&
                  X509_STORE_CTX_set_default(check.get(), purpose) == 1);
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(check.get()),
                                     SSL_CTX_get_security_level(context_.get()));
    const bool sound = X509_verify_cert(check.get()) == 1;
    ERR_clear_error();
    if (!sound) {
      say(kCertificate, trust_fault(X509_STORE_CTX_get_error(check.get()), "holds one that"));
      return 0;
    }
    std::int64_t first = INT64_MAX;
    const STACK_OF(X509)* chain = X509_STORE_CTX_get0_chain(check.get());
    for (int i = 0; i < sk_X509_num(chain); ++i) {
      first = std::min(first, ends(sk_X509_value(chain, i)));
    }
    return first;
  }

  const SettingsResult& settings_;
  const PeerSettings& peer_;
  SslContext context_;
  CertificatesResult result_;
};

}  // namespace

LinkCertificates::~LinkCertificates() { SSL_CTX_free(context_); }

CertificatesResult read_certificates(const SettingsResult& settings) {
  const auto& peer = settings.settings.peer;
  if (!settings.ok() || !peer || peer->tls_cert_file.empty()) return {};
  return Reader(settings).read();
}

std::string trust_fault(long error, std::string_view whose) {
  const std::string start(whose);
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return start + " has expired, or a CA above it has: renew it, and send that azimuth SIGHUP";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return start + " is not valid yet: compare the clocks of the machines";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return start +
             " comes from no CA in this node's tls_ca_file: all nodes need certificates of "
             "the CAs that all name, and the CAs in between behind their own in "
             "tls_cert_file";
    case X509_V_ERR_INVALID_PURPOSE:
      return start +
             " is made for something else: it, and the CAs above it, must be allowed for "
             "servers and for clients (extendedKeyUsage = serverAuth, clientAuth)";
    default:
      return start + " is not accepted: " + X509_verify_cert_error_string(error);
  }
}

}  // namespace azimuth
