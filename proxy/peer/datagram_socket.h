// The UDP socket of a node, and the envelope that tells what a datagram is about.
//
// Invariants: a turn of the loop receives a bounded number of datagrams (libuv's 32); sending never
// blocks nor queues: what the kernel does not take now is counted and gone, as the network may lose
// anything. Addresses are texts "host:port" with a numeric host; one address has one spelling (an
// IPv4 address that came in over IPv6 is written as IPv4). Owned by the control thread.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "conf/endpoint.h"
#include "conf/result.h"
#include "proxy/data/socket.h"

namespace azimuth {

// --- The envelope: the first byte under the seal -------------------------------------------------

enum class DatagramKind : std::uint8_t { kGossip = 1, kLeadership = 2 };

struct Envelope {
  DatagramKind kind;
  std::string_view sender;  // kLeadership: node id
  std::string_view body;
};
std::string gossip_envelope(std::string_view packet);
std::string leadership_envelope(std::string_view sender, std::string_view message);
// Points into `text`. Nothing for a kind that this release does not know.
std::optional<Envelope> open_envelope(std::string_view text);

// --- The socket ----------------------------------------------------------------------------------

// "10.0.1.5:7380", "[fe80::1%eth0]:7380".
std::string datagram_address_text(const sockaddr* address);

class DatagramSocket {
 public:
  using OnDatagram = std::function<void(std::string_view from, std::string_view datagram)>;
  struct Counters {
    std::uint64_t sent = 0, received = 0;
    std::uint64_t sent_bytes = 0, received_bytes = 0;
    std::uint64_t send_errors = 0;     // the network or the kernel said no
    std::uint64_t receive_errors = 0;  // longer than kDatagramBytesMax, or the kernel's
  };

  // Binds `address` (numeric; port 0 lets the kernel choose) and begins to receive.
  static Result<std::unique_ptr<DatagramSocket>> open(uv_loop_t* loop, const Endpoint& address,
                                                      OnDatagram on_datagram);
  // Closes; the handle's memory goes when the loop has turned once more.
  ~DatagramSocket();
  DatagramSocket(const DatagramSocket&) = delete;
  DatagramSocket& operator=(const DatagramSocket&) = delete;

  // False where it could not be sent, with the reason in last_error().
  bool send(std::string_view to, std::string_view datagram);
  const std::string& last_error() const;
  // What it is bound to.
  std::string local() const;
  const Counters& counters() const;

 private:
  struct Handle;
  explicit DatagramSocket(Handle* handle) : handle_(handle) {}
  Handle* handle_;
};

}  // namespace azimuth
