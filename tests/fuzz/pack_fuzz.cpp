// Packed bytes of a link, and the frames in them: whatever they are and however they are cut, both
// readers keep to their bounds, a reader that has failed stays so, and what we pack reads back. The
// first byte chooses the cuts and what the rest is.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/peer/frame.h"
#include "proxy/peer/pack.h"
#include "tests/fuzz/pieces.h"

namespace {

using namespace azimuth;

struct Story {
  std::string plain;
  std::uint64_t control = 0, data = 0;
  bool failed = false;
};

// Frames, as a link reads them out of what has been unpacked.
void read_frames(FrameReader& reader, std::string_view plain, Story& story) {
  const fuzz::Exact block(plain.data(), plain.size());
  const char* p = block.begin();
  FrameView frame{};
  while (true) {
    const FrameReader::Got got = reader.next(p, block.end(), frame);
    AGREE(p <= block.end());
    if (got == FrameReader::Got::kBad || got == FrameReader::Got::kNothing) return;
    (got == FrameReader::Got::kData ? story.data : story.control) += frame.bytes.size();
    if (got == FrameReader::Got::kControl) {
      AGREE(frame.bytes.size() <= kLinkControlFrameBytesMax);
      static_cast<void>(decode_packed(frame.bytes));
    }
  }
}

Story unpack(std::string_view wire, std::size_t step, std::size_t room) {
  Unpacker unpacker(kPackWindowLog);
  FrameReader reader;
  Story story;
  std::string block(room, '\0');
  while (!wire.empty() && !unpacker.failed()) {
    const std::size_t n = std::min(step, wire.size());
    const fuzz::Exact piece(wire.data(), n);
    wire.remove_prefix(n);
    unpacker.give({piece.begin(), n});
    while (!unpacker.done()) {
      const std::size_t got = unpacker.read(block.data(), block.size());
      AGREE(got <= block.size());
      read_frames(reader, {block.data(), got}, story);
      if (story.plain.size() < (std::size_t{1} << 20U)) story.plain.append(block, 0, got);
    }
    AGREE(unpacker.memory() <= kUnpackerBytes);
  }
  story.failed = unpacker.failed();
  if (story.failed) {
    AGREE(!unpacker.why().empty());
    unpacker.give("more");
    AGREE(unpacker.done() && unpacker.read(block.data(), block.size()) == 0);
  }
  return story;
}

void check_round_trip(std::string_view plain, unsigned choice) {
  Packer packer({1 + static_cast<int>(choice % 6), kPackWindowLog}, choice % 2 == 0);
  std::string wire;
  const std::string_view head = plain.substr(0, plain.size() / 3);
  packer.pack(head, wire);
  if (choice % 5 == 0) packer.rest(wire);
  if (choice % 7 == 0) packer.reshape({2, kPackWindowLog});
  packer.pack(plain.substr(head.size()), wire);
  const Story story = unpack(wire, 1 + choice % 50, 1 + choice * 7);
  AGREE(!story.failed);
  AGREE(story.plain == plain);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const unsigned choice = data[0] / 2;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 != 0) {
    check_round_trip(bytes, choice);
    return 0;
  }
  const Story whole = unpack(bytes, bytes.size() + 1, kPackChunkBytesMax);
  const Story cut = unpack(bytes, 1 + choice % 64, 1 + choice * 3);
  AGREE(whole.failed == cut.failed);
  // What was read before it failed may be more where it was read in larger pieces, or smaller ones.
  const std::size_t common = std::min(whole.plain.size(), cut.plain.size());
  AGREE(whole.plain.compare(0, common, cut.plain, 0, common) == 0);
  if (!whole.failed) AGREE(whole.plain.size() == cut.plain.size() && whole.control == cut.control);
  return 0;
}
