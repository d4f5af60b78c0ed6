// Frames of a link: however the bytes are cut, the reader finds the same frames in them, keeps to
// its bounds, and what it decodes encodes back. The first byte chooses the cuts.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/peer/frame.h"
#include "tests/fuzz/pieces.h"

namespace {

using namespace azimuth;

// What a reader has made of some bytes: DATA counted by stream and content, the rest as it is.
struct Story {
  std::string text;
  std::uint32_t data_stream = 0;
  bool in_data = false;
  bool bad = false;

  void data(std::uint32_t stream, std::string_view bytes) {
    if (!in_data || stream != data_stream) text += "\nD" + std::to_string(stream) + " ";
    in_data = true;
    data_stream = stream;
    text += bytes;
  }
  void control(const FrameView& frame) {
    in_data = false;
    text += "\nC" + std::to_string(static_cast<int>(frame.type)) + " " +
            std::to_string(frame.stream) + " ";
    text += frame.bytes;
  }
};

void check_payload(std::string_view bytes) {
  if (const auto hello = decode_hello(bytes)) {
    const auto again = decode_hello(encode(*hello));
    AGREE(again && again->node == hello->node && again->cluster == hello->cluster &&
          again->boot == hello->boot && again->version_least == hello->version_least);
    AGREE(hello->node.size() <= kNameBytesMax && hello->cluster.size() <= kNameBytesMax);
  }
  if (const auto open = decode_open(bytes)) {
    const auto again = decode_open(encode(*open));
    AGREE(again && again->epoch == open->epoch && again->node == open->node);
  }
  if (const auto end = decode_end(bytes)) {
    AGREE(end->end == StreamEnd::kDone || end->end == StreamEnd::kRefused ||
          end->end == StreamEnd::kLost);
  }
  if (const auto credit = decode_window(bytes)) AGREE(*credit <= kTunnelWindowBytes);
  if (const auto replicas = decode_quorum(bytes)) {
    AGREE(decode_quorum(encode_quorum(*replicas)) == *replicas);
  }
  if (const auto pace = decode_pace(bytes)) AGREE(*pace <= kWriteDelayUsMax);
}

Story read(std::string_view bytes, std::size_t step) {
  FrameReader reader;
  Story story;
  while (!bytes.empty() && !story.bad) {
    const std::size_t n = std::min(step, bytes.size());
    const fuzz::Exact piece(bytes.data(), n);
    bytes.remove_prefix(n);
    const char* p = piece.begin();
    const char* const end = piece.end();
    FrameView frame{};
    while (true) {
      const FrameReader::Got got = reader.next(p, end, frame);
      AGREE(p <= end);
      if (got == FrameReader::Got::kNothing) {
        AGREE(p == end);
        break;
      }
      if (got == FrameReader::Got::kBad) {
        story.bad = true;
        break;
      }
      if (got == FrameReader::Got::kData) {
        AGREE(!frame.bytes.empty());
        story.data(frame.stream, frame.bytes);
      } else {
        AGREE(frame.bytes.size() <= kLinkControlFrameBytesMax);
        check_payload(frame.bytes);
        story.control(frame);
      }
    }
  }
  return story;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  check_payload(bytes);
  const Story whole = read(bytes, bytes.size() + 1);
  const Story cut = read(bytes, 1 + data[0] % 64U);
  AGREE(whole.bad == cut.bad);
  AGREE(whole.text == cut.text);
  return 0;
}
