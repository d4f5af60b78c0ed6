// The stage of tests of links between zones: text that shrinks, what was counted, and bytes as a
// peer would pack them. Owned by one test.
#pragma once

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>

#include "tests/proxy/link_rogue.h"
#include "tests/proxy/link_stage.h"

namespace azimuth::stage {

inline void stands_elsewhere(LinkSettings& settings) { settings.zone = "z2"; }

inline std::string lines(std::size_t size) {
  std::string out;
  for (unsigned i = 1; out.size() < size; ++i) {
    out += "*3\r\n$3\r\nSET\r\n$8\r\nuser" + std::to_string(1000 + i % 9000) +
           "\r\n$40\r\n{\"name\":\"somebody\",\"score\":" + std::to_string(i * 7919 % 100'000) +
           ",\"active\":true}\r\n";
  }
  out.resize(size);
  return out;
}

inline const PeerTraffic* traffic(const Node& node, std::string_view peer) {
  for (std::size_t i = 0; i < node.metrics.traffic.size(); ++i) {
    if (node.metrics.traffic.at(i).node == peer) return &node.metrics.traffic.at(i);
  }
  return nullptr;
}

inline std::uint64_t of(const std::array<Counter, kLinkKinds>& counters, LinkKind kind) {
  return counters[static_cast<std::size_t>(kind)].get();
}

inline std::uint64_t sum(const std::array<Counter, kLinkKinds>& counters) {
  return std::accumulate(counters.begin(), counters.end(), std::uint64_t{0},
                         [](std::uint64_t all, const Counter& each) { return all + each.get(); });
}

// Sends `text` there and back.
inline void there_and_back(Pair& pair, const std::string& text,
                           StreamKind kind = StreamKind::kCommands) {
  User user;
  pair.open(user, kind);
  user.say(text);
  REQUIRE(pair.loop.until([&] { return user.heard.size() >= text.size() || user.ends != 0; }));
  REQUIRE((user.heard == text));
}

inline std::string chunk(unsigned mode, std::string_view bytes) {
  std::string out;
  auto header = static_cast<std::uint32_t>(bytes.size() << 2U) | mode;
  for (; header >= 0x80; header >>= 7U) out += static_cast<char>(header | 0x80U);
  out += static_cast<char>(header);
  return out.append(bytes);
}

// Packs as any peer would.
inline std::string packed(std::string_view plain) {
  Packer packer({3, kPackWindowLog}, false);
  std::string out;
  packer.pack(plain, out);
  return out;
}

inline std::string begins_packing() {
  return framed(FrameType::kPacked, 0, encode_packed(kPackFormat));
}

}  // namespace azimuth::stage
