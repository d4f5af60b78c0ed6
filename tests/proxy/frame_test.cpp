// The frames of a link: what is written reads back however it is cut, what a newer release may add
// is passed over, and a length that lies ends it.
#include "proxy/peer/frame.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace azimuth;

namespace {

std::string framed(std::uint8_t type, std::uint32_t stream, const std::string& payload) {
  std::string out(kFrameHeaderBytes, '\0');
  write_frame_header(out.data(), static_cast<FrameType>(type), stream, payload.size());
  return out + payload;
}

std::string framed(FrameType type, std::uint32_t stream, const std::string& payload) {
  return framed(static_cast<std::uint8_t>(type), stream, payload);
}

// What a reader makes of `bytes` cut into pieces of `step`, as text; DATA of one frame joined.
std::string read(const std::string& bytes, std::size_t step) {
  FrameReader reader;
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    const std::string piece = bytes.substr(at, step);
    const char* p = piece.data();
    const char* const end = p + piece.size();
    FrameView view{};
    while (true) {
      const FrameReader::Got got = reader.next(p, end, view);
      if (got == FrameReader::Got::kBad) return out + "bad";
      if (got == FrameReader::Got::kNothing) break;
      if (got == FrameReader::Got::kData) {
        out += view.bytes;
      } else {
        out += "[" + std::to_string(static_cast<int>(view.type)) + " " +
               std::to_string(view.stream) + " " + std::string(view.bytes) + "]";
      }
    }
    CHECK(p == end);
  }
  return out;
}

}  // namespace

TEST_CASE("frames read back in whatever pieces they come") {
  const std::string bytes =
      framed(FrameType::kOpen, 1, "open") + framed(FrameType::kData, 1, "hello ") +
      framed(FrameType::kData, 1, "") + framed(FrameType::kPing, 0, "") +
      framed(FrameType::kData, 70'000, "world") + framed(FrameType::kEnd, UINT32_MAX, "end");
  const std::string expected = "[2 1 open]hello [8 0 ]world[7 4294967295 end]";
  for (std::size_t step = 1; step <= bytes.size(); ++step) REQUIRE(read(bytes, step) == expected);
}

TEST_CASE("frames of a newer release's types are passed over") {
  const std::string bytes = framed(200, 5, std::string(kLinkFrameBytesMax, 'x')) +
                            framed(std::uint8_t{0}, 0, "") + framed(FrameType::kPing, 0, "");
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, bytes.size()}) {
    REQUIRE(read(bytes, step) == "[8 0 ]");
  }
}

TEST_CASE("a length that no frame may have ends the reader for good") {
  std::string lying = framed(FrameType::kData, 1, "");
  lying[1] = 1;  // 65,536 ...
  lying[3] = 1;  // ... and one
  CHECK(read(lying + framed(FrameType::kPing, 0, ""), 3) == "bad");
  CHECK(read(framed(FrameType::kHello, 0, std::string(kLinkControlFrameBytesMax + 1, 'x')), 9) ==
        "bad");
  FrameReader reader;
  FrameView view{};
  const char* p = lying.data();
  REQUIRE(reader.next(p, p + lying.size(), view) == FrameReader::Got::kBad);
  const std::string good = framed(FrameType::kPing, 0, "");
  p = good.data();
  CHECK(reader.next(p, p + good.size(), view) == FrameReader::Got::kBad);
}

TEST_CASE("payloads read back; what a newer release appends is skipped, what is cut is refused") {
  HelloFrame hello;
  hello.boot = UINT64_MAX;
  hello.cluster = "orders";
  hello.node = "a1";
  hello.zone = "use1-az1";
  hello.packs = 5;
  hello.region = "us-east-1";
  const std::string text = encode(hello);
  const auto back = decode_hello(text + "more");
  REQUIRE(back);
  CHECK(back->boot == UINT64_MAX);
  CHECK(back->cluster == "orders");
  CHECK(back->node == "a1");
  CHECK(back->zone == "use1-az1");
  CHECK(back->version_most == kLinkVersionMost);
  CHECK(back->packs == 5);
  CHECK(back->region == "us-east-1");
  // What an older release says ends before that.
  const std::size_t older = text.size() - 2 - hello.region.size();
  REQUIRE(decode_hello(text.substr(0, older)));
  CHECK(decode_hello(text.substr(0, older))->zone == "use1-az1");
  CHECK(decode_hello(text.substr(0, older))->packs == 0);
  for (std::size_t n = 0; n < text.size(); ++n) {
    if (n != older) CHECK_FALSE(decode_hello(text.substr(0, n)));
  }
  CHECK(decode_packed(encode_packed(300)) == 300);
  CHECK_FALSE(decode_packed(""));

  OpenFrame open;
  open.kind = StreamKind::kTunnel;
  open.epoch = 1'000'000'007;
  open.node = "b2";
  const auto opened = decode_open(encode(open));
  REQUIRE(opened);
  CHECK(opened->kind == StreamKind::kTunnel);
  CHECK(opened->epoch == 1'000'000'007);
  CHECK(opened->node == "b2");
  CHECK_FALSE(decode_open(""));

  CHECK(decode_window(encode_window(kTunnelWindowBytes)) == kTunnelWindowBytes);
  CHECK_FALSE(decode_window(encode_window(kTunnelWindowBytes + 1)));

  CHECK(decode_pace(encode_pace(0)) == 0U);
  CHECK(decode_pace(encode_pace(123'456) + "more") == 123'456U);
  CHECK(decode_pace(encode_pace(UINT32_MAX)) == kWriteDelayUsMax);
  CHECK_FALSE(decode_pace(""));

  CHECK(decode_quorum(encode_quorum(0)) == 0);
  CHECK(decode_quorum(encode_quorum(UINT16_MAX) + "more") == UINT16_MAX);
  CHECK_FALSE(decode_quorum(""));
  CHECK_FALSE(decode_quorum(encode_pace(UINT16_MAX + 1)));
}

TEST_CASE("I6: an end for a reason that is not known promises nothing") {
  const auto refused = decode_end(encode(EndFrame{StreamEnd::kRefused, 12}));
  REQUIRE(refused);
  CHECK(refused->end == StreamEnd::kRefused);
  CHECK(refused->delivered == 12);
  const auto newer = decode_end(std::string("\x09\x0c", 2));
  REQUIRE(newer);
  CHECK(newer->end == StreamEnd::kLost);
  CHECK_FALSE(decode_end(""));
  CHECK_FALSE(decode_end("\x01"));
}
