#include "proxy/peer/datagram_socket.h"

#include <netinet/in.h>

#include <array>
#include <cstring>
#include <utility>

#include "conf/limits.h"

namespace azimuth {
namespace {

// "fe80::1%eth0" and the like: libuv resolves the interface's name.
bool socket_address(const Endpoint& endpoint, sockaddr_storage& out) {
  if (endpoint.kind == Endpoint::Kind::kUnix) return false;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out);
  return uv_ip4_addr(endpoint.host.c_str(), endpoint.port, v4) == 0 ||
         uv_ip6_addr(endpoint.host.c_str(), endpoint.port, v6) == 0;
}

const sockaddr* plain(const sockaddr_storage& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// A socket of IPv6 reaches IPv4 by addresses of this form, and hears from it so.
void map_to_ipv6(sockaddr_storage& address) {
  const auto v4 = *reinterpret_cast<const sockaddr_in*>(&address);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = v4.sin_port;
  v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xFF;
  std::memcpy(&v6.sin6_addr.s6_addr[12], &v4.sin_addr, 4);
  std::memcpy(&address, &v6, sizeof v6);
}

}  // namespace

// --- The envelope --------------------------------------------------------------------------------

std::string gossip_envelope(std::string_view packet) {
  return std::string(1, static_cast<char>(DatagramKind::kGossip)).append(packet);
}

std::string leadership_envelope(std::string_view sender, std::string_view message) {
  AZIMUTH_CHECK(sender.size() <= kNameBytesMax);
  return std::string(1, static_cast<char>(DatagramKind::kLeadership))
      .append(1, static_cast<char>(sender.size()))
      .append(sender)
      .append(message);
}

std::optional<Envelope> open_envelope(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const auto kind = static_cast<DatagramKind>(text.front());
  text.remove_prefix(1);
  if (kind == DatagramKind::kGossip) return Envelope{kind, {}, text};
  if (kind != DatagramKind::kLeadership || text.empty()) return std::nullopt;
  const auto size = static_cast<unsigned char>(text.front());
  text.remove_prefix(1);
  if (size == 0 || size > kNameBytesMax || size > text.size()) return std::nullopt;
  return Envelope{kind, text.substr(0, size), text.substr(size)};
}

// --- The socket ----------------------------------------------------------------------------------

std::string datagram_address_text(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    uv_ip4_name(v4, host.data(), host.size());
    return to_string(tcp_endpoint(host.data(), ntohs(v4->sin_port)));
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
  if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = v6->sin6_port;
    std::memcpy(&v4.sin_addr, &v6->sin6_addr.s6_addr[12], 4);
    return datagram_address_text(reinterpret_cast<const sockaddr*>(&v4));
  }
  uv_ip6_name(v6, host.data(), host.size());
  std::string text = host.data();
  if (v6->sin6_scope_id != 0) {
    std::array<char, UV_IF_NAMESIZE> name{};
    std::size_t size = name.size();
    if (uv_if_indextoname(v6->sin6_scope_id, name.data(), &size) == 0) {
      text.append(1, '%').append(name.data(), size);
    }
  }
  return to_string(tcp_endpoint(text, ntohs(v6->sin6_port)));
}

struct DatagramSocket::Handle {
  uv_udp_t udp{};
  OnDatagram on_datagram;
  Counters counters;
  std::string last_error;
  bool ipv6 = false;
  bool closing = false;
  // Room for one byte more than is taken, so that what is longer shows.
  std::array<char, kDatagramBytesMax + 1> block;

  static Handle* of(uv_handle_t* handle) { return static_cast<Handle*>(handle->data); }
  static void allocate(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
    Handle* self = of(handle);
    *buffer = uv_buf_init(self->block.data(), static_cast<unsigned>(self->block.size()));
  }
  static void received(uv_udp_t* udp, ssize_t size, const uv_buf_t* buffer, const sockaddr* from,
                       unsigned flags) {
    Handle* self = static_cast<Handle*>(udp->data);
    if (size == 0 && from == nullptr) return;  // nothing more in this turn
    if (size < 0 || (flags & UV_UDP_PARTIAL) != 0 ||
        static_cast<std::size_t>(size) > kDatagramBytesMax) {
      ++self->counters.receive_errors;
      return;
    }
    ++self->counters.received;
    self->counters.received_bytes += static_cast<std::uint64_t>(size);
    self->on_datagram(datagram_address_text(from), {buffer->base, static_cast<std::size_t>(size)});
  }
  void close() {
    closing = true;
    uv_close(reinterpret_cast<uv_handle_t*>(&udp), [](uv_handle_t* handle) { delete of(handle); });
  }
};

Result<std::unique_ptr<DatagramSocket>> DatagramSocket::open(uv_loop_t* loop,
                                                             const Endpoint& address,
                                                             OnDatagram on_datagram) {
  const auto failed = [&](int fault) {
    return make_error(
        ErrorCode::kSystem, Fault::kSelf,
        "cannot receive datagrams at " + to_string(address) + ": " + uv_strerror(fault));
  };
  sockaddr_storage bound{};
  if (!socket_address(address, bound)) {
    return make_error(ErrorCode::kInvalid, Fault::kSelf,
                      to_string(address) + " is no numeric address to receive datagrams at");
  }
  auto* handle = new Handle;
  handle->on_datagram = std::move(on_datagram);
  handle->ipv6 = bound.ss_family == AF_INET6;
  int fault = uv_udp_init(loop, &handle->udp);
  if (fault != 0) {
    delete handle;
    return failed(fault);
  }
  handle->udp.data = handle;
  std::unique_ptr<DatagramSocket> socket(new DatagramSocket(handle));
  fault = uv_udp_bind(&handle->udp, plain(bound), 0);
  if (fault == 0) fault = uv_udp_recv_start(&handle->udp, Handle::allocate, Handle::received);
  if (fault != 0) return failed(fault);
  return socket;
}

DatagramSocket::~DatagramSocket() { handle_->close(); }

bool DatagramSocket::send(std::string_view to, std::string_view datagram) {
  Handle& handle = *handle_;
  const auto refused = [&](std::string why) {
    ++handle.counters.send_errors;
    handle.last_error = std::string(to) + ": " + std::move(why);
    return false;
  };
  if (datagram.size() > kDatagramBytesMax) return refused("longer than a datagram may be");
  const Result<Endpoint> endpoint = parse_endpoint(to);
  sockaddr_storage address{};
  if (!endpoint || !socket_address(*endpoint, address)) return refused("no numeric address");
  if (handle.ipv6 && address.ss_family == AF_INET) map_to_ipv6(address);
  if (!handle.ipv6 && address.ss_family == AF_INET6) {
    return refused("an IPv6 address cannot be reached from an IPv4 one (peer.address)");
  }
  uv_buf_t buffer =
      uv_buf_init(const_cast<char*>(datagram.data()), static_cast<unsigned>(datagram.size()));
  const int sent = uv_udp_try_send(&handle.udp, &buffer, 1, plain(address));
  if (sent < 0) return refused(uv_strerror(sent));
  ++handle.counters.sent;
  handle.counters.sent_bytes += datagram.size();
  return true;
}

const std::string& DatagramSocket::last_error() const { return handle_->last_error; }
const DatagramSocket::Counters& DatagramSocket::counters() const { return handle_->counters; }

std::string DatagramSocket::local() const {
  sockaddr_storage address{};
  int size = sizeof address;
  if (uv_udp_getsockname(&handle_->udp, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return {};
  }
  return datagram_address_text(reinterpret_cast<const sockaddr*>(&address));
}

}  // namespace azimuth
