// What stands between a link's bytes and its socket's: TLS 1.3 with the links' key; or, where the
// settings say so, TLS 1.3 with certificates, or plain text, both after a proof of the same key.
//
// Invariants: read() gives nothing and write() may not be called before the other side has proved
// its knowledge of the key (state kOpen); a side that fails to gets no answer but what TLS says by
// itself: an alert and, where there are certificates, ours. No tickets, no early data; keys are
// renewed long before AES-GCM's bound on the records of one key (RFC 8446, 5.5). No I/O: bytes in,
// bytes out. Owned by one worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace azimuth {

class LinkCertificates;

class SecureChannel {
 public:
  enum class State : std::uint8_t { kHandshake, kOpen, kFailed };

  virtual ~SecureChannel() = default;
  // Bytes from the socket, to be read() before the next are given; they stay the caller's.
  virtual void receive(std::string_view wire) = 0;
  // Goes on with the handshake; then the other side's bytes. 0: nothing more for now.
  virtual std::size_t read(char* to, std::size_t size) = 0;
  // Adds to wire(). Only while kOpen.
  virtual void write(std::string_view plain) = 0;
  // Encrypts with a fresh key from here on. write() does it by itself where it is due.
  virtual void renew_key() {}

  // What is to be sent, from the front.
  std::string_view wire() const { return std::string_view(wire_).substr(wire_sent_); }
  void sent(std::size_t n);
  // Gives back the memory that traffic needs, which idle links by the thousand do not.
  virtual void shrink();

  State state() const { return state_; }
  const std::string& why() const { return why_; }

 protected:
  void fail(std::string_view why);

  std::string wire_;
  std::size_t wire_sent_ = 0;
  State state_ = State::kHandshake;
  std::string why_;
};

// What the channels of a worker have in common. Outlives them.
class SecureChannelMaker {
 public:
  virtual ~SecureChannelMaker() = default;
  // `opener`: the side that connected. Its first bytes are in wire() at once.
  virtual std::unique_ptr<SecureChannel> make(bool opener) = 0;
};

// `psk`: 32 bytes.
std::unique_ptr<SecureChannelMaker> make_tls(std::string_view psk);
std::unique_ptr<SecureChannelMaker> make_plaintext(std::string_view psk);
// TLS by certificates on both sides, and inside it the proof of knowing the key.
std::unique_ptr<SecureChannelMaker> make_certified_tls(
    std::shared_ptr<const LinkCertificates> certificates, std::string_view psk);

}  // namespace azimuth
