// The frames of a link: a header of eight bytes (type, length in three bytes, stream; big-endian)
// and what belongs to the type. proxy/peer/README.md has the table.
//
// Invariants: a reader keeps at most kLinkControlFrameBytesMax bytes, hands out DATA in pieces as
// they come, passes over frames of types that it does not know, and is done for good after a length
// that no frame may have. Fields that a newer release appends are skipped. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "conf/limits.h"

namespace azimuth {

inline constexpr std::size_t kFrameHeaderBytes = 8;

// The releases of the protocol that this one speaks.
inline constexpr std::uint32_t kLinkVersionLeast = 1;
inline constexpr std::uint32_t kLinkVersionMost = 1;

enum class FrameType : std::uint8_t {
  kHello = 1,
  kOpen = 2,
  kOpened = 3,
  kData = 4,
  kWindow = 5,
  kHold = 6,
  kEnd = 7,
  kPing = 8,
  kPong = 9,
  kPacked = 10,  // plain text; all that follows it in its direction is packed (proxy/peer/pack.h)
  kPace = 11,    // how many microseconds each write is to wait; of the link
  kNote = 12,    // of a tunnel: how the sync goes on (health/sync_choice.h)
  kQuorum = 13,  // how many replicas must hold a `quorum` write; of the link
};

// What a stream is for; said when it is opened.
enum class StreamKind : std::uint8_t {
  kCommands = 1,  // to the Redis of the far node, as long as it leads `epoch`: RESP both ways
  kTunnel = 2,    // the same, for replication: the far end of a tunnel
  kReads = 3,     // to the Redis of the far node, as long as it is a replica in `epoch`
};

// Why a stream ended.
enum class StreamEnd : std::uint8_t {
  kDone = 1,     // the other side closed it
  kRefused = 2,  // the far node does not lead that epoch (any more), or its Redis is away
  kLost = 3,  // the link broke: what had been sent may or may not have arrived (never on the wire)
};

struct HelloFrame {
  std::uint32_t version_least = kLinkVersionLeast, version_most = kLinkVersionMost;
  std::uint64_t boot = 0;
  std::string cluster, node, zone;
  std::uint32_t packs = 0;  // the formats of packing that its sender reads, as bits
  std::string region;       // of a release that packs
};

struct OpenFrame {
  StreamKind kind = StreamKind::kCommands;
  std::uint64_t epoch = 0;
  std::string node;  // whom it is meant for; empty: whoever gets it
};

struct EndFrame {
  StreamEnd end = StreamEnd::kDone;
  std::uint64_t delivered = 0;
};

std::string encode(const HelloFrame& frame);
std::string encode(const OpenFrame& frame);
std::string encode(const EndFrame& frame);
std::string encode_window(std::uint64_t credit);
std::string encode_packed(std::uint32_t format);
std::string encode_pace(std::uint32_t delay_us);
std::string encode_quorum(std::uint16_t replicas);
std::optional<HelloFrame> decode_hello(std::string_view payload);
// A kind that this release does not know comes back as it is, to be refused.
std::optional<OpenFrame> decode_open(std::string_view payload);
std::optional<EndFrame> decode_end(std::string_view payload);
std::optional<std::uint64_t> decode_window(std::string_view payload);
std::optional<std::uint32_t> decode_packed(std::string_view payload);
// A delay that is longer than any setting makes it is cut.
std::optional<std::uint32_t> decode_pace(std::string_view payload);
std::optional<std::uint16_t> decode_quorum(std::string_view payload);

// Writes a header to `to`, which has room for kFrameHeaderBytes. `size` <= kLinkFrameBytesMax.
void write_frame_header(char* to, FrameType type, std::uint32_t stream, std::size_t size);

struct FrameView {
  FrameType type;
  std::uint32_t stream;
  std::string_view bytes;  // valid until the reader's next step
};

class FrameReader {
 public:
  enum class Got : std::uint8_t {
    kNothing,  // everything is read
    kControl,  // a whole frame that is not DATA
    kData,     // the next bytes of a DATA frame, some or all
    kBad,      // a length that no frame may have
  };
  // Reads on from `p`, which it moves.
  Got next(const char*& p, const char* end, FrameView& out);

 private:
  bool read_header(const char*& p, const char* end);

  unsigned char header_[kFrameHeaderBytes] = {};
  std::size_t header_have_ = 0;
  std::size_t left_ = 0;  // of the payload
  std::string gathered_;  // of a control frame that came in pieces
  bool bad_ = false;
};

}  // namespace azimuth
