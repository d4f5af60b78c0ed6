// TLS 1.3 as a channel: how OpenSSL meets our wire, and the proof of the cluster key inside a
// session that certificates have made. For tls.cpp and certificates.cpp alone.
//
//   opener                                   acceptor
//     TLS 1.3, certificates on both sides <->
//     MAC("opener" exporter)              ->        checked first,
//                                         <-        then answered by MAC("acceptor" exporter)
//
// The exporter (RFC 8446, 7.5) is a number of this very session, which both sides know and nobody
// else: who sits in the middle with a good certificate has two sessions, and a proof of one is
// worth nothing in the other. Owned by one worker.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "proxy/peer/tls.h"

namespace azimuth {

template <auto free_function>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using Ssl = std::unique_ptr<SSL, Free<SSL_free>>;
using SslContext = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;
using BioMethod = std::unique_ptr<BIO_METHOD, Free<BIO_meth_free>>;

// What all links have in common: TLS 1.3 alone, one cipher, no tickets.
SslContext make_tls_context();
BioMethod make_wire_method();

// HMAC-SHA256.
std::string link_mac(std::string_view key, std::string_view text);

// By what the sides know each other. Told apart in the first message, so that a node that was set
// up the other way hears so.
enum class LinkTrust : std::uint8_t { kKey, kCertificates };
void refuse_others(SSL_CTX* context, LinkTrust trust);

class TlsChannel final : public SecureChannel {
 public:
  // `key`: of the proof, kCertificates; outlives the channel.
  TlsChannel(SSL_CTX* context, const BIO_METHOD* method, bool opener, LinkTrust trust,
             std::string_view key);

  void receive(std::string_view wire) override { ends_.in = wire; }
  std::size_t read(char* to, std::size_t size) override;
  void write(std::string_view plain) override;
  void renew_key() override;
  void shrink() override;

 private:
  struct WireEnds {
    std::string_view in;
    std::string* out = nullptr;
  };
  friend BioMethod make_wire_method();
  static int wire_write(BIO* bio, const char* data, std::size_t size, std::size_t* written);
  static int wire_read(BIO* bio, char* data, std::size_t size, std::size_t* got);

  void go_on();
  void on_secured();
  void begin_proof();
  void take_proof();
  void put(std::string_view plain);
  void fail_by(int error);
  std::string reason_text(unsigned long code) const;

  Ssl ssl_;
  WireEnds ends_;
  const bool opener_;
  const LinkTrust trust_;
  bool secured_ = false;  // the handshake is over, and with kCertificates the proof begins
  const std::string_view key_;
  std::string own_proof_, peer_proof_, heard_proof_;
  std::uint64_t records_ = 0;
};

}  // namespace azimuth
