// The channels under the links, without sockets: what is on the wire, and what a proof is worth.
#include "proxy/peer/tls.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>

using namespace azimuth;

namespace {

const std::string kKey(32, 'k');

}  // namespace

TEST_CASE("keys are renewed on a link that lives long") {
  // More records than one key may have in both directions would take hours: the channels alone.
  const auto maker = make_tls(kKey);
  const auto opener = maker->make(true), acceptor = maker->make(false);
  std::string heard;
  const auto carry = [&](SecureChannel& from, SecureChannel& to) {
    const std::string wire(from.wire());
    from.sent(wire.size());
    to.receive(wire);
    char bytes[4096];
    for (std::size_t n; (n = to.read(bytes, sizeof(bytes))) != 0;) heard.append(bytes, n);
  };
  for (int i = 0; i < 4; ++i) {
    carry(*opener, *acceptor);
    carry(*acceptor, *opener);
  }
  REQUIRE(opener->state() == SecureChannel::State::kOpen);
  REQUIRE(acceptor->state() == SecureChannel::State::kOpen);
  for (int i = 0; i < 100; ++i) {
    opener->renew_key();
    opener->write("a");
    carry(*opener, *acceptor);
  }
  CHECK(heard == std::string(100, 'a'));
}

TEST_CASE("bytes between nodes are not readable on the wire, unless the settings say so") {
  const bool plaintext = GENERATE(false, true);
  const auto maker = plaintext ? make_plaintext(kKey) : make_tls(kKey);
  const auto opener = maker->make(true), acceptor = maker->make(false);
  std::string all;
  const auto carry = [&](SecureChannel& from, SecureChannel& to) {
    const std::string wire(from.wire());
    all += wire;
    from.sent(wire.size());
    to.receive(wire);
    char bytes[4096];
    while (to.read(bytes, sizeof(bytes)) != 0) {
    }
  };
  for (int i = 0; i < 4; ++i) {
    carry(*opener, *acceptor);
    carry(*acceptor, *opener);
  }
  opener->write("SET secret value");
  carry(*opener, *acceptor);
  CHECK((all.find("secret") != std::string::npos) == plaintext);
  CHECK(all.find(kKey) == std::string::npos);
}

TEST_CASE("I9: a proof of knowing the key is worth nothing on another connection") {
  // Plain text: what the opener proved once is replayed to a fresh acceptor.
  const auto maker = make_plaintext(kKey);
  const auto opener = maker->make(true), acceptor = maker->make(false), victim = maker->make(false);
  const auto carry = [](SecureChannel& from, SecureChannel& to) {
    const std::string wire(from.wire());
    from.sent(wire.size());
    to.receive(wire);
    char byte = 0;
    to.read(&byte, 1);
    return wire;
  };
  const std::string greeting = carry(*opener, *acceptor);
  carry(*acceptor, *opener);
  const std::string proof = carry(*opener, *acceptor);
  REQUIRE(acceptor->state() == SecureChannel::State::kOpen);
  const std::string replay = greeting + proof;
  victim->receive(replay);
  char byte = 0;
  victim->read(&byte, 1);
  CHECK(victim->state() == SecureChannel::State::kFailed);
}

TEST_CASE("I9: a TLS server that stands where a node once did is refused") {
  // It knows no key of ours, and answers with its certificate.
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  REQUIRE(X509_sign(certificate.get(), key.get(), EVP_sha256()) != 0);
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_server_method()),
                                                                  SSL_CTX_free);
  REQUIRE(SSL_CTX_use_certificate(context.get(), certificate.get()) == 1);
  REQUIRE(SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1);
  const std::unique_ptr<SSL, decltype(&SSL_free)> server(SSL_new(context.get()), SSL_free);
  BIO* const in = BIO_new(BIO_s_mem());
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(server.get(), in, out);  // takes both
  SSL_set_accept_state(server.get());

  const auto maker = make_tls(kKey);
  const auto opener = maker->make(true);
  for (int i = 0; i < 4 && opener->state() == SecureChannel::State::kHandshake; ++i) {
    const std::string wire(opener->wire());
    opener->sent(wire.size());
    BIO_write(in, wire.data(), static_cast<int>(wire.size()));
    SSL_do_handshake(server.get());
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(out, &bytes);
    const std::string answer(bytes, static_cast<std::size_t>(size));
    BIO_reset(out);
    opener->receive(answer);
    char plain[64];
    CHECK(opener->read(plain, sizeof(plain)) == 0);
  }
  CHECK(opener->state() == SecureChannel::State::kFailed);
  CHECK(opener->why() == "the peer answers with a certificate: it is no azimuth of this cluster");
}
