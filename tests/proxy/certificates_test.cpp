// Links by certificates: the files, who gets in, and what a proof of the key is worth elsewhere.
#include "proxy/peer/certificates.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <ctime>
#include <string>

#include "proxy/peer/tls.h"
#include "tests/proxy/certificate_stage.h"
#include "tests/proxy/link_stage.h"

using namespace azimuth;
using namespace azimuth::stage;

namespace {

using Side = std::unique_ptr<SecureChannel>;
using State = SecureChannel::State;

Signed authority(const std::string& name = "ca", long until_s = 90 * 86'400) {
  return sign({.name = name, .until_s = until_s, .authority = true});
}

// A node that takes what its own files would not be taken for: an expired certificate, say.
std::shared_ptr<const LinkCertificates> unchecked(const Signed& node, const Signed& ca) {
  const auto good = certificates_of(sign({}, &ca), ca);
  SSL_CTX_up_ref(good->context());
  SSL_CTX* const context = good->context();
  SSL_CTX_use_certificate(context, node.certificate.get());
  SSL_CTX_use_PrivateKey(context, node.key.get());
  return std::make_shared<const LinkCertificates>(context, 0);
}

std::string carry(SecureChannel& from, SecureChannel& to) {
  const std::string wire(from.wire());
  from.sent(wire.size());
  to.receive(wire);
  std::string heard;
  char bytes[4096];
  for (std::size_t n; (n = to.read(bytes, sizeof(bytes))) != 0;) heard.append(bytes, n);
  return heard;
}

void shake_hands(SecureChannel& opener, SecureChannel& acceptor) {
  for (int i = 0; i < 4; ++i) {
    carry(opener, acceptor);
    carry(acceptor, opener);
  }
}

// Two sides that fail or open; what they say of it.
struct Meeting {
  State opener, acceptor;
  std::string opener_says, acceptor_says;
};
Meeting meet(SecureChannelMaker& opening, SecureChannelMaker& accepting) {
  const Side opener = opening.make(true), acceptor = accepting.make(false);
  shake_hands(*opener, *acceptor);
  return {opener->state(), acceptor->state(), opener->why(), acceptor->why()};
}

// TLS as anybody may speak it, who has a certificate of the CA and not the cluster's key.
class Bare {
 public:
  Bare(const std::shared_ptr<const LinkCertificates>& certificates, bool opener)
      : certificates_(certificates), ssl_(SSL_new(certificates->context())) {
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    opener ? SSL_set_connect_state(ssl_) : SSL_set_accept_state(ssl_);
    SSL_do_handshake(ssl_);
  }
  ~Bare() { SSL_free(ssl_); }
  // What the other side sent goes in, and what is to be sent to it comes out.
  void exchange(SecureChannel& with) {
    const std::string in(with.wire());
    with.sent(in.size());
    BIO_write(SSL_get_rbio(ssl_), in.data(), static_cast<int>(in.size()));
    if (!done()) SSL_do_handshake(ssl_);
    char bytes[4096];
    for (int n; done() && (n = SSL_read(ssl_, bytes, sizeof(bytes))) > 0;) {
      heard.append(bytes, static_cast<std::size_t>(n));
    }
    std::string out(65'536, '\0');
    const int n = BIO_read(SSL_get_wbio(ssl_), out.data(), static_cast<int>(out.size()));
    out.resize(static_cast<std::size_t>(std::max(n, 0)));
    with.receive(out);
    with.read(bytes, sizeof(bytes));
  }
  bool done() const { return SSL_is_init_finished(ssl_) == 1; }
  void say(const std::string& text) { SSL_write(ssl_, text.data(), static_cast<int>(text.size())); }
  std::string heard;

 private:
  std::shared_ptr<const LinkCertificates> certificates_;
  SSL* ssl_;
};

}  // namespace

TEST_CASE("two nodes with certificates of one CA and the same key talk") {
  const Signed ca = authority();
  const auto a = make_certified_tls(certificates_of(sign({}, &ca), ca), kKey);
  const auto b = make_certified_tls(certificates_of(sign({.usage = ""}, &ca), ca), kKey);
  const Side opener = a->make(true), acceptor = b->make(false);
  shake_hands(*opener, *acceptor);
  REQUIRE(opener->state() == State::kOpen);
  REQUIRE(acceptor->state() == State::kOpen);
  opener->write("to");
  CHECK(carry(*opener, *acceptor) == "to");
  acceptor->renew_key();
  acceptor->write("and fro");
  CHECK(carry(*acceptor, *opener) == "and fro");
}

TEST_CASE("a certificate may come from a CA between, and the file may trust that one alone") {
  const Signed root = authority("root");
  const Signed between = sign({.name = "between", .authority = true}, &root);
  const Signed node = sign({}, &between);
  CertificateFiles files;
  files.write("crt", pem(*node.certificate) + pem(*between.certificate));
  files.write("key", pem(*node.key));
  files.write("ca", pem(*authority("another").certificate) + pem(*root.certificate));
  const auto by_root = make_certified_tls(files.read().certificates, kKey);
  const auto by_between = make_certified_tls(certificates_of(node, between), kKey);
  for (const auto& [opening, accepting] :
       {std::pair(&by_root, &by_between), std::pair(&by_between, &by_root)}) {
    const Meeting met = meet(**opening, **accepting);
    CHECK(met.opener == State::kOpen);
    CHECK(met.acceptor == State::kOpen);
  }
}

TEST_CASE("I9: who has no good certificate is refused in both directions, with the reason") {
  struct Row {
    const char* what;
    const char* good_says;  // the side that looks
    const char* bad_says;   // the side that is looked at
  };
  const Signed ca = authority(), other_ca = authority("other");
  const auto good = make_certified_tls(certificates_of(sign({}, &ca), ca), kKey);
  const auto check = [&](const Row& row, const std::shared_ptr<const LinkCertificates>& bad) {
    const auto maker = make_certified_tls(bad, kKey);
    for (const bool bad_opens : {true, false}) {
      INFO(row.what << (bad_opens ? ", opening" : ", accepting"));
      const Meeting met = bad_opens ? meet(*maker, *good) : meet(*good, *maker);
      CHECK(met.opener == State::kFailed);
      CHECK(met.acceptor == State::kFailed);
      CHECK_THAT(bad_opens ? met.acceptor_says : met.opener_says, Catch::Contains(row.good_says));
      CHECK_THAT(bad_opens ? met.opener_says : met.acceptor_says, Catch::Contains(row.bad_says));
    }
  };
  check({"expired", "has expired", "this node's certificate, or a CA above it, has expired"},
        unchecked(sign({.from_s = -7200, .until_s = -3600}, &ca), ca));
  check({"not yet valid", "compare the clocks", "its own log says why"},
        unchecked(sign({.from_s = 3600}, &ca), ca));
  check({"another CA", "comes from no CA in this node's tls_ca_file", "its tls_ca_file lacks it"},
        unchecked(sign({}, &other_ca), ca));
  check({"of itself", "comes from no CA", "its tls_ca_file lacks it"}, unchecked(sign({}), ca));
}

TEST_CASE("a certificate for servers alone opens nothing, one for clients alone accepts nothing") {
  const Signed ca = authority();
  const auto good = make_certified_tls(certificates_of(sign({}, &ca), ca), kKey);
  const auto server = make_certified_tls(unchecked(sign({.usage = "serverAuth"}, &ca), ca), kKey);
  const auto client = make_certified_tls(unchecked(sign({.usage = "clientAuth"}, &ca), ca), kKey);
  CHECK(meet(*good, *server).opener == State::kOpen);
  CHECK(meet(*client, *good).acceptor == State::kOpen);
  CHECK_THAT(meet(*server, *good).acceptor_says, Catch::Contains("serverAuth, clientAuth"));
  CHECK_THAT(meet(*good, *client).opener_says, Catch::Contains("serverAuth, clientAuth"));
}

TEST_CASE("I9: a good certificate without the cluster key is refused") {
  const Signed ca = authority();
  const auto good = make_certified_tls(certificates_of(sign({}, &ca), ca), kKey);
  const auto other = make_certified_tls(certificates_of(sign({}, &ca), ca), std::string(32, 'w'));
  const Meeting met = meet(*other, *good);
  CHECK(met.opener == State::kFailed);
  CHECK(met.acceptor == State::kFailed);
  CHECK_THAT(met.acceptor_says, Catch::Contains("another cluster key"));
  CHECK_THAT(met.opener_says, Catch::Contains("did not take the proof"));
  // The acceptor's own proof is given to nobody who has not shown his.
  Bare bare(certificates_of(sign({}, &ca), ca), true);
  const Side acceptor = good->make(false);
  for (int i = 0; i < 3; ++i) bare.exchange(*acceptor);
  REQUIRE(bare.done());
  CHECK(acceptor->state() == State::kHandshake);
  bare.say(std::string(32, 'x'));
  for (int i = 0; i < 2; ++i) bare.exchange(*acceptor);
  CHECK(acceptor->state() == State::kFailed);
  CHECK(bare.heard.empty());
}

TEST_CASE(
    "I9: a proof of the key that is passed on by a holder of a certificate is worth nothing") {
  // He stands between two honest nodes, and has a session with each.
  const Signed ca = authority();
  const auto good = make_certified_tls(certificates_of(sign({}, &ca), ca), kKey);
  const auto rogue = certificates_of(sign({.name = "rogue"}, &ca), ca);
  const Side opener = good->make(true), acceptor = good->make(false);
  Bare to_opener(rogue, false), to_acceptor(rogue, true);
  for (int i = 0; i < 3; ++i) {
    to_opener.exchange(*opener);
    to_acceptor.exchange(*acceptor);
  }
  REQUIRE(to_opener.done());
  REQUIRE(to_acceptor.done());
  REQUIRE(to_opener.heard.size() == 32);
  to_acceptor.say(to_opener.heard);
  for (int i = 0; i < 2; ++i) to_acceptor.exchange(*acceptor);
  CHECK(acceptor->state() == State::kFailed);
  CHECK(to_acceptor.heard.empty());
  // Nor is it the answer that its own sender waits for.
  to_opener.say(to_opener.heard);
  for (int i = 0; i < 2; ++i) to_opener.exchange(*opener);
  CHECK(opener->state() == State::kFailed);
}

TEST_CASE("a node with certificates and one without hear what they disagree on") {
  const Signed ca = authority();
  const auto certified = make_certified_tls(certificates_of(sign({}, &ca), ca), kKey);
  const auto keyed = make_tls(kKey);
  for (const Meeting& met : {meet(*certified, *keyed), meet(*keyed, *certified)}) {
    CHECK(met.opener == State::kFailed);
    CHECK(met.acceptor == State::kFailed);
    for (const std::string& says : {met.opener_says, met.acceptor_says}) {
      CHECK_THAT(says, Catch::Contains("by certificates") && Catch::Contains("key alone") &&
                           Catch::Contains("every node or for none"));
    }
  }
}

TEST_CASE("I9: whoever answers an opener by a certificate instead of the key is refused") {
  // Any HTTPS server may stand where a node was. (It does not look at what the opener offers.)
  const Signed ca = authority();
  const auto server = certificates_of(sign({}, &ca), ca);
  SSL_CTX_set_client_hello_cb(server->context(), nullptr, nullptr);
  SSL_CTX_set_verify(server->context(), SSL_VERIFY_NONE, nullptr);
  const auto keyed = make_tls(kKey);
  const Side opener = keyed->make(true);
  Bare https(server, false);
  for (int i = 0; i < 3; ++i) https.exchange(*opener);
  CHECK(opener->state() == State::kFailed);
  CHECK_THAT(opener->why(), Catch::Contains("no azimuth of this cluster"));
}

TEST_CASE("what is wrong with the files is said where the settings name them") {
  const Signed ca = authority();
  const Signed node = sign({}, &ca);
  CertificateFiles files;
  CHECK(files.errors() ==
        "f:13:17: tls_cert_file crt cannot be opened: No such file or directory\n"
        "f:14:16: tls_key_file key cannot be opened: No such file or directory\n"
        "f:15:15: tls_ca_file ca cannot be opened: No such file or directory\n");
  files.write(node, ca);
  CHECK(files.errors().empty());
  const auto after = [&](const std::string& name, const std::string& text, mode_t mode = 0600) {
    files.write(node, ca);
    files.write(name, text, mode);
    return files.errors();
  };
  CHECK(after("key", pem(*node.key), 0640).empty());
  CHECK_THAT(after("key", pem(*node.key), 0644),
             Catch::StartsWith("f:14:16: tls_key_file key may be used by everybody") &&
                 Catch::Contains("chmod 600"));
  CHECK_THAT(after("key", pem(*sign({}, &ca).key)),
             Catch::StartsWith("f:14:16: tls_key_file key does not belong to the certificate"));
  CHECK_THAT(after("key", pem(*node.key, "secret")),
             Catch::StartsWith("f:14:16: tls_key_file key has a passphrase"));
  CHECK_THAT(after("key", pem(*node.certificate)),
             Catch::StartsWith("f:14:16: tls_key_file key holds no private key"));
  CHECK_THAT(after("crt", ""), Catch::StartsWith("f:13:17: tls_cert_file crt holds no cert"));
  CHECK_THAT(after("crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
             Catch::StartsWith("f:13:17: tls_cert_file crt holds a certificate that cannot"));
  CHECK_THAT(after("crt", std::string(kCertificateFileBytesMax + 1, '\n')),
             Catch::Contains("is longer than"));
  CHECK_THAT(after("ca", pem(*authority("other").certificate)),
             Catch::StartsWith("f:13:17: tls_cert_file crt holds one that comes from no CA"));

  const auto of = [&](const Wish& wish) {
    files.write(sign(wish, &ca), ca);
    return files.errors();
  };
  CHECK_THAT(of({.from_s = -7200, .until_s = -60}), Catch::Contains("crt holds one that has exp"));
  CHECK_THAT(of({.from_s = 3600}), Catch::Contains("compare the clocks"));
  CHECK_THAT(of({.usage = "serverAuth"}), Catch::Contains("serverAuth, clientAuth"));
  CHECK_THAT(of({.usage = "clientAuth"}), Catch::Contains("serverAuth, clientAuth"));
}

TEST_CASE("the end is that of the first certificate in the chain that ends") {
  const auto days_left = [](const std::shared_ptr<const LinkCertificates>& certificates) {
    return (certificates->ends_unix_s() - std::time(nullptr) + 3600) / 86'400;
  };
  const Signed ca = authority("ca", 20L * 86'400);
  CHECK(days_left(certificates_of(sign({.until_s = 5L * 86'400}, &ca), ca)) == 5);
  CHECK(days_left(certificates_of(sign({.until_s = 50L * 86'400}, &ca), ca)) == 20);
}

TEST_CASE("links go over certificates, and new ones are for links that are made from then on") {
  const Signed ca = authority(), new_ca = authority("new");
  const auto by = [&](const Signed& which) { return certificates_of(sign({}, &which), which); };
  Loop loop;
  Host host;
  host.on_new = echo;
  LinkSettings far_settings = settings_of("far"), near_settings = settings_of("near");
  far_settings.certificates = by(ca);
  near_settings.certificates = by(ca);
  Node far(loop, far_settings, &host, true), near(loop, near_settings), late(loop, near_settings);
  User first, second;
  near.open(first, far.address);
  REQUIRE(loop.until([&] { return first.opens == 1; }));

  far.links.set_certificates(by(new_ca));
  first.say("still here");
  REQUIRE(loop.until([&] { return first.heard == "still here"; }));
  late.open(second, far.address);
  REQUIRE(loop.until([&] { return second.ends == 1; }));
  CHECK(second.end == StreamEnd::kRefused);
  CHECK(second.delivered == 0);
  REQUIRE(loop.until([&] { return far.metrics.links_unsafe.get() >= 1; }));

  late.links.set_certificates(by(new_ca));
  User third;
  REQUIRE(loop.until([&] {
    if (third.stream == nullptr && third.opens == 0) late.open(third, far.address);
    return third.opens == 1;
  }));
  third.say("by the new one");
  REQUIRE(loop.until([&] { return third.heard == "by the new one"; }));
  CHECK(first.ends == 0);
}
