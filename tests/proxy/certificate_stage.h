// Certificates for tests: a CA of the test's own that signs what it is asked for, good or bad, and
// PEM files in a directory that goes with it. Owned by one test.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "proxy/peer/certificates.h"

namespace azimuth::stage {

// A certificate and its key.
struct Signed {
  std::shared_ptr<X509> certificate;
  std::shared_ptr<EVP_PKEY> key;
};

struct Wish {
  std::string name = "node";
  long from_s = -3600, until_s = 90 * 86'400;  // from now
  bool authority = false;
  std::string usage = "serverAuth,clientAuth";  // empty: no such extension
};

// Signed by `by`, or by itself.
inline Signed sign(const Wish& wish, const Signed* by = nullptr) {
  Signed made;
  made.key.reset(EVP_EC_gen("P-256"), EVP_PKEY_free);
  made.certificate.reset(X509_new(), X509_free);
  X509* x = made.certificate.get();
  static long serial = 1;
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(x), wish.from_s);
  X509_gmtime_adj(X509_getm_notAfter(x), wish.until_s);
  X509_set_pubkey(x, made.key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(wish.name.c_str()), -1, -1, 0);
  X509* const issuer = by != nullptr ? by->certificate.get() : x;
  X509_set_issuer_name(x, X509_get_subject_name(issuer));
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, x, nullptr, nullptr, 0);
  const auto add = [&](int kind, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
    REQUIRE(extension != nullptr);
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
  };
  add(NID_basic_constraints, wish.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (wish.authority) add(NID_key_usage, "critical,keyCertSign,cRLSign");
  if (!wish.authority && !wish.usage.empty()) add(NID_ext_key_usage, wish.usage);
  REQUIRE(X509_sign(x, by != nullptr ? by->key.get() : made.key.get(), EVP_sha256()) > 0);
  return made;
}

inline std::string pem(const X509& certificate) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, &certificate);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  std::string out(text, static_cast<std::size_t>(size));
  BIO_free(bio);
  return out;
}

inline std::string pem(const EVP_PKEY& key, const char* passphrase = nullptr) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(bio, &key, passphrase != nullptr ? EVP_aes_128_cbc() : nullptr,
                                nullptr, 0, nullptr, const_cast<char*>(passphrase));
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  std::string out(text, static_cast<std::size_t>(size));
  BIO_free(bio);
  return out;
}

// The three files of a node, and what azimuth makes of them.
class CertificateFiles {
 public:
  CertificateFiles() {
    char name[] = "/tmp/azimuth-certificates-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    directory_ = name;
  }
  ~CertificateFiles() { std::filesystem::remove_all(directory_); }
  CertificateFiles(const CertificateFiles&) = delete;
  CertificateFiles& operator=(const CertificateFiles&) = delete;

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  void write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    std::ofstream(path(name)) << text;
    REQUIRE(::chmod(path(name).c_str(), mode) == 0);
  }
  void write(const Signed& node, const Signed& authority) const {
    write("crt", pem(*node.certificate));
    write("key", pem(*node.key));
    write("ca", pem(*authority.certificate));
  }
  CertificatesResult read() const {
    const std::string text =
        "[node]\nid = \"a\"\n[redis]\naddress = \"127.0.0.1:6379\"\n[[listen]]\n"
        "address = \"127.0.0.1:6380\"\n[cluster]\nname = \"c\"\nkey_file = \"k\"\n"
        "bootstrap_expect = 1\n[peer]\naddress = \"127.0.0.1:7380\"\ntls_cert_file = \"" +
        path("crt") + "\"\ntls_key_file = \"" + path("key") + "\"\ntls_ca_file = \"" + path("ca") +
        "\"\n";
    const SettingsResult settings = parse_settings(text, "f");
    REQUIRE(settings.ok());
    return read_certificates(settings);
  }
  // The errors' texts, without the directory's name.
  std::string errors() const {
    std::string all;
    for (const SettingsError& error : read().errors) all += to_string(error) + "\n";
    for (std::size_t at; (at = all.find(directory_ + "/")) != std::string::npos;) {
      all.erase(at, directory_.size() + 1);
    }
    return all;
  }

 private:
  std::string directory_;
};

inline std::shared_ptr<const LinkCertificates> certificates_of(const Signed& node,
                                                               const Signed& authority) {
  const CertificateFiles files;
  files.write(node, authority);
  CertificatesResult result = files.read();
  for (const SettingsError& error : result.errors) FAIL(to_string(error));
  return result.certificates;
}

}  // namespace azimuth::stage
