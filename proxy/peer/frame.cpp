#include "proxy/peer/frame.h"

#include <algorithm>
#include <cstring>

#include "conf/result.h"
#include "health/wire.h"

namespace azimuth {
namespace {

bool known(std::uint8_t type) {
  return type >= static_cast<std::uint8_t>(FrameType::kHello) &&
         type <= static_cast<std::uint8_t>(FrameType::kQuorum);
}

}  // namespace

std::string encode(const HelloFrame& frame) {
  WireWriter out;
  out.number(frame.version_least);
  out.number(frame.version_most);
  out.number(frame.boot);
  out.text(frame.cluster);
  out.text(frame.node);
  out.text(frame.zone);
  out.number(frame.packs);
  out.text(frame.region);
  return out.take();
}

std::optional<HelloFrame> decode_hello(std::string_view payload) {
  WireReader in(payload);
  HelloFrame frame;
  frame.version_least = static_cast<std::uint32_t>(in.number(UINT32_MAX));
  frame.version_most = static_cast<std::uint32_t>(in.number(UINT32_MAX));
  frame.boot = in.number();
  frame.cluster = in.text(kNameBytesMax);
  frame.node = in.text(kNameBytesMax);
  frame.zone = in.text(kNameBytesMax);
  if (!in.ok()) return std::nullopt;
  if (in.at_end()) return frame;  // of a release that does not pack
  frame.packs = static_cast<std::uint32_t>(in.number(UINT32_MAX));
  frame.region = in.text(kNameBytesMax);
  if (!in.ok()) return std::nullopt;
  return frame;
}

std::string encode(const OpenFrame& frame) {
  WireWriter out;
  out.u8(static_cast<std::uint8_t>(frame.kind));
  out.number(frame.epoch);
  out.text(frame.node);
  return out.take();
}

std::optional<OpenFrame> decode_open(std::string_view payload) {
  WireReader in(payload);
  OpenFrame frame;
  frame.kind = static_cast<StreamKind>(in.u8());
  frame.epoch = in.number();
  frame.node = in.text(kNameBytesMax);
  if (!in.ok()) return std::nullopt;
  return frame;
}

std::string encode(const EndFrame& frame) {
  WireWriter out;
  out.u8(static_cast<std::uint8_t>(frame.end));
  out.number(frame.delivered);
  return out.take();
}

std::optional<EndFrame> decode_end(std::string_view payload) {
  WireReader in(payload);
  EndFrame frame;
  const std::uint8_t end = in.u8();
  frame.delivered = in.number();
  if (!in.ok()) return std::nullopt;
  // A reason of a newer release is no promise that anything did not run.
  frame.end = end == 1 || end == 2 ? static_cast<StreamEnd>(end) : StreamEnd::kLost;
  return frame;
}

std::string encode_window(std::uint64_t credit) {
  WireWriter out;
  out.number(credit);
  return out.take();
}

std::optional<std::uint64_t> decode_window(std::string_view payload) {
  WireReader in(payload);
  const std::uint64_t credit = in.number(kTunnelWindowBytes);
  if (!in.ok()) return std::nullopt;
  return credit;
}

std::string encode_packed(std::uint32_t format) {
  WireWriter out;
  out.number(format);
  return out.take();
}

std::optional<std::uint32_t> decode_packed(std::string_view payload) {
  WireReader in(payload);
  const auto format = static_cast<std::uint32_t>(in.number(UINT32_MAX));
  if (!in.ok()) return std::nullopt;
  return format;
}

void write_frame_header(char* to, FrameType type, std::uint32_t stream, std::size_t size) {
  AZIMUTH_CHECK(size <= kLinkFrameBytesMax);
  const auto n = static_cast<std::uint32_t>(size);
  const auto byte = [](std::uint32_t value, unsigned shift) {
    return static_cast<char>(static_cast<unsigned char>(value >> shift));
  };
  const char header[kFrameHeaderBytes] = {
      static_cast<char>(type), byte(n, 16),      byte(n, 8),      byte(n, 0),
      byte(stream, 24),        byte(stream, 16), byte(stream, 8), byte(stream, 0)};
  std::memcpy(to, header, kFrameHeaderBytes);
}

std::string encode_pace(std::uint32_t delay_us) {
  WireWriter out;
  out.number(delay_us);
  return out.take();
}

std::optional<std::uint32_t> decode_pace(std::string_view payload) {
  WireReader in(payload);
  const std::uint64_t delay_us = in.number();
  if (!in.ok()) return std::nullopt;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(delay_us, kWriteDelayUsMax));
}

std::string encode_quorum(std::uint16_t replicas) {
  WireWriter out;
  out.number(replicas);
  return out.take();
}

std::optional<std::uint16_t> decode_quorum(std::string_view payload) {
  WireReader in(payload);
  const std::uint64_t replicas = in.number(UINT16_MAX);
  if (!in.ok()) return std::nullopt;
  return static_cast<std::uint16_t>(replicas);
}

bool FrameReader::read_header(const char*& p, const char* end) {
  const std::size_t n =
      std::min(kFrameHeaderBytes - header_have_, static_cast<std::size_t>(end - p));
  std::memcpy(header_ + header_have_, p, n);
  header_have_ += n;
  p += n;
  if (header_have_ < kFrameHeaderBytes) return false;
  left_ = std::size_t{header_[1]} << 16U | std::size_t{header_[2]} << 8U | header_[3];
  const bool control = known(header_[0]) && header_[0] != static_cast<int>(FrameType::kData);
  bad_ = left_ > (control ? kLinkControlFrameBytesMax : kLinkFrameBytesMax);
  gathered_.clear();
  return true;
}

FrameReader::Got FrameReader::next(const char*& p, const char* end, FrameView& out) {
  while (!bad_) {
    if (header_have_ < kFrameHeaderBytes && !read_header(p, end)) return Got::kNothing;
    if (bad_) break;
    const std::size_t n = std::min(left_, static_cast<std::size_t>(end - p));
    const std::string_view piece(p, n);
    p += n;
    left_ -= n;
    const bool whole = left_ == 0;
    if (whole) header_have_ = 0;
    out.type = static_cast<FrameType>(header_[0]);
    out.stream = std::uint32_t{header_[4]} << 24U | std::uint32_t{header_[5]} << 16U |
                 std::uint32_t{header_[6]} << 8U | header_[7];
    if (out.type == FrameType::kData) {
      out.bytes = piece;
      if (n != 0) return Got::kData;
    } else if (known(header_[0])) {
      if (!whole || !gathered_.empty()) gathered_ += piece;
      if (whole) {
        out.bytes = gathered_.empty() ? piece : gathered_;
        return Got::kControl;
      }
    }
    if (!whole) return Got::kNothing;
  }
  return Got::kBad;
}

}  // namespace azimuth
