// Bytes of a packet: what is written with a WireWriter reads back with a WireReader in the same
// order.
//
// Invariants: a reader never looks beyond what it was given; after the first thing that does not
// fit, everything reads as zero or empty and ok() is false for good, so a decoder checks once, at
// its end. Numbers are little-endian base-128 (at most ten bytes); texts and blocks are a length
// and their bytes. A block is read by a reader of its own, so that a newer release may append
// fields that an older one skips. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace azimuth {

class WireWriter {
 public:
  void u8(std::uint8_t value) { bytes_ += static_cast<char>(value); }
  void boolean(bool value) { u8(value ? 1 : 0); }
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7U) u8(static_cast<std::uint8_t>(value | 0x80U));
    u8(static_cast<std::uint8_t>(value));
  }
  void text(std::string_view value) {
    number(value.size());
    bytes_ += value;
  }
  void raw(std::string_view value) { bytes_ += value; }

  std::size_t size() const noexcept { return bytes_.size(); }
  const std::string& bytes() const noexcept { return bytes_; }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const noexcept { return ok_; }
  bool at_end() const noexcept { return rest_.empty(); }
  void fail() noexcept {
    ok_ = false;
    rest_ = {};
  }

  std::uint8_t u8() noexcept {
    if (rest_.empty()) {
      fail();
      return 0;
    }
    const auto value = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  bool boolean() noexcept {
    const std::uint8_t value = u8();
    if (value > 1) fail();
    return value == 1;
  }
  // `most`: anything greater is a lie.
  std::uint64_t number(std::uint64_t most = UINT64_MAX) noexcept {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = u8();
      if (shift == 63 && byte > 1) break;
      value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
      if ((byte & 0x80U) != 0) continue;
      if (value > most) break;
      return ok_ ? value : 0;
    }
    fail();
    return 0;
  }
  // Points into the bytes that are read.
  std::string_view text(std::size_t bytes_max) noexcept {
    const std::uint64_t size = number(bytes_max);
    if (size > rest_.size()) fail();
    if (!ok_) return {};
    const std::string_view value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return value;
  }
  WireReader block(std::size_t bytes_max) noexcept {
    WireReader inner(text(bytes_max));
    inner.ok_ = ok_;
    return inner;
  }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace azimuth
