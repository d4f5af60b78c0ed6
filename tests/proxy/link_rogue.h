// Peers that do not keep to the protocol: one that speaks bytes, and one that knows the key and
// says what it likes. Owned by one test.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/peer/frame.h"
#include "proxy/peer/tls.h"
#include "tests/proxy/link_stage.h"

namespace azimuth::stage {

// A client that speaks to a listener byte by byte.
struct Raw {
  int fd;
  explicit Raw(const SocketAddress& address) : fd(connect_to(address)) { REQUIRE(fd >= 0); }
  ~Raw() {
    if (fd >= 0) ::close(fd);
  }
  void say(std::string_view bytes) const { ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // Whether the other side has closed; what it said before is counted.
  bool closed() {
    char bytes[4096];
    while (true) {
      const ssize_t n = ::recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
      if (n > 0) {
        heard.append(bytes, static_cast<std::size_t>(n));
        continue;
      }
      return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    }
  }
  std::string heard;
};

inline std::string framed(FrameType type, std::uint32_t stream, const std::string& payload) {
  std::string out(kFrameHeaderBytes, '\0');
  write_frame_header(out.data(), type, stream, payload.size());
  return out + payload;
}

// A peer that knows the key and says what it likes.
struct Rogue {
  Raw raw;
  std::unique_ptr<SecureChannelMaker> maker = make_tls(kKey);
  std::unique_ptr<SecureChannel> channel = maker->make(true);
  std::string heard;

  explicit Rogue(const SocketAddress& address) : raw(address) {}
  // Whether all that is to be sent has been.
  bool push() {
    while (!channel->wire().empty()) {
      const std::string_view wire = channel->wire();
      const ssize_t n = ::send(raw.fd, wire.data(), wire.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n <= 0) return false;
      channel->sent(static_cast<std::size_t>(n));
    }
    return true;
  }
  // Whether the other side has closed.
  bool pull() {
    const bool closed = raw.closed();
    channel->receive(raw.heard);
    char bytes[4096];
    for (std::size_t n; (n = channel->read(bytes, sizeof(bytes))) != 0;) heard.append(bytes, n);
    raw.heard.clear();
    push();
    return closed;
  }
  bool open() {
    pull();
    return channel->state() == SecureChannel::State::kOpen;
  }
  static std::string hello(std::string_view zone = "", std::uint32_t packs = 0) {
    HelloFrame frame;
    frame.cluster = "orders";
    frame.node = "rogue";
    frame.zone = zone;
    frame.packs = packs;
    return framed(FrameType::kHello, 0, encode(frame));
  }
  static std::string open_stream(std::uint32_t id) {
    OpenFrame frame;
    frame.epoch = 1;
    return framed(FrameType::kOpen, id, encode(frame));
  }
};

}  // namespace azimuth::stage
