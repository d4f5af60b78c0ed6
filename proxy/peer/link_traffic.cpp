#include "proxy/peer/link_traffic.h"

#include <algorithm>
#include <numeric>

namespace azimuth {

KindBytes share_out(const KindBytes& plain, std::size_t wire) {
  KindBytes shares{};
  const std::size_t total = std::accumulate(plain.begin(), plain.end(), std::size_t{0});
  const auto largest =
      static_cast<std::size_t>(std::max_element(plain.begin(), plain.end()) - plain.begin());
  std::size_t rest = wire;
  for (std::size_t i = 0; i < kLinkKinds; ++i) {
    if (i == largest || plain[i] == 0) continue;
    shares[i] = wire * plain[i] / total;
    rest -= shares[i];
  }
  shares[largest] = rest;
  return shares;
}

void WayTraffic::add(const KindBytes& plain_bytes, std::size_t wire_bytes) {
  const KindBytes shares = share_out(plain_bytes, wire_bytes);
  for (std::size_t i = 0; i < kLinkKinds; ++i) {
    if (plain_bytes[i] != 0) plain[i].add(plain_bytes[i]);
    if (shares[i] != 0) wire[i].add(shares[i]);
  }
}

PeerTraffic& LinkTraffic::of(std::string_view node, std::string_view zone, bool member) {
  const std::size_t n = size_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < n; ++i) {
    if (peers_[i]->node == node && peers_[i]->zone == zone) return *peers_[i];
  }
  const std::size_t named = n - (others_ != nullptr ? 1 : 0);
  if (named < (member ? kLinkPeersCountedMax : kLinkPeersCountedMax / 2)) return add(node, zone);
  if (others_ == nullptr) others_ = &add(kOtherPeers, "");
  return *others_;
}

PeerTraffic& LinkTraffic::add(std::string_view node, std::string_view zone) {
  const std::size_t n = size_.load(std::memory_order_relaxed);
  peers_[n] = std::make_unique<PeerTraffic>(std::string(node), std::string(zone));
  size_.store(n + 1, std::memory_order_release);
  return *peers_[n];
}

}  // namespace azimuth
