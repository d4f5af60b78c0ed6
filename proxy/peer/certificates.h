// The certificates of this node's links, where the settings name some: the three PEM files of
// [peer] read, checked and made into what TLS needs.
//
// Invariants: what read_certificates() hands out can be used: the key belongs to the certificate,
// the chain leads to a CA of tls_ca_file, is valid today and may serve as server and as client.
// Nothing of the key is in an error. Immutable, so that all workers share one; reading touches the
// disk.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/settings.h"

namespace azimuth {

class LinkCertificates {
 public:
  // Takes the context.
  LinkCertificates(SSL_CTX* context, std::int64_t ends_unix_s)
      : context_(context), ends_unix_s_(ends_unix_s) {}
  ~LinkCertificates();
  LinkCertificates(const LinkCertificates&) = delete;
  LinkCertificates& operator=(const LinkCertificates&) = delete;

  // For both sides of a link. Nobody changes it any more.
  SSL_CTX* context() const { return context_; }
  // When this node's certificate ends, or one above it that ends before.
  std::int64_t ends_unix_s() const { return ends_unix_s_; }

 private:
  SSL_CTX* context_;
  std::int64_t ends_unix_s_;
};

struct [[nodiscard]] CertificatesResult {
  std::shared_ptr<const LinkCertificates> certificates;  // none: the settings name none, or errors
  std::vector<SettingsError> errors;                     // each at the key that names the file
};

// Of settings without errors; of others nothing is read.
CertificatesResult read_certificates(const SettingsResult& settings);

// Why `whose` certificate is not trusted, by an X509_V_ERR_ code, and what to do.
std::string trust_fault(long error, std::string_view whose);

}  // namespace azimuth
