// Packing: what goes in comes out however it is cut, what does not shrink is passed, and bytes that
// nobody has packed end it within their bounds.
#include "proxy/peer/pack.h"

#include <zstd.h>

#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

using namespace azimuth;

namespace {

std::string noise(std::size_t size, unsigned seed) {
  std::mt19937 draw(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(draw() & 0xFFU);
  return out;
}

// Lines that have much in common with one another.
std::string lines(std::size_t size, unsigned seed) {
  std::mt19937 draw(seed);
  std::string out;
  while (out.size() < size) {
    out += R"({"user":)" + std::to_string(draw() % 100'000) + R"(,"name":"somebody )" +
           std::to_string(draw() % 500) + R"(","active":true,"score":)" +
           std::to_string(draw() % 1000) + "}\r\n";
  }
  out.resize(size);
  return out;
}

// All that an unpacker makes of `wire`, given in pieces of at most `step`, taken in pieces of
// `room`.
std::string unpacked(Unpacker& unpacker, std::string_view wire, std::size_t step = SIZE_MAX,
                     std::size_t room = 64 * kKiB) {
  std::string out;
  std::string block(room, '\0');
  while (!wire.empty() && !unpacker.failed()) {
    const std::size_t n = std::min(step, wire.size());
    unpacker.give(wire.substr(0, n));
    wire.remove_prefix(n);
    while (!unpacker.done()) out.append(block, 0, unpacker.read(block.data(), block.size()));
  }
  return out;
}

std::string packed_by(Packer& packer, std::string_view plain) {
  std::string out;
  packer.pack(plain, out);
  return out;
}

std::string chunk(unsigned mode, std::string_view bytes) {
  std::string out;
  auto header = static_cast<std::uint32_t>(bytes.size() << 2U) | mode;
  for (; header >= 0x80; header >>= 7U) out += static_cast<char>(header | 0x80U);
  out += static_cast<char>(header);
  return out.append(bytes);
}
constexpr unsigned kPlain = 0, kGoesOn = 1, kFresh = 2, kRest = 3;

// A zstd frame, of which the end is left out unless it is asked for.
std::string frame(std::string_view plain, int window_log, bool whole = false) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  std::string out(ZSTD_compressBound(plain.size()) + 64, '\0');
  ZSTD_inBuffer in{plain.data(), plain.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  REQUIRE(ZSTD_compressStream2(context, &to, &in, whole ? ZSTD_e_end : ZSTD_e_flush) == 0);
  ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

}  // namespace

TEST_CASE("what is packed turn by turn comes out at once, however it is cut") {
  const bool wide = GENERATE(false, true);
  const unsigned window = wide ? kPackTunnelWindowLog : kPackWindowLog;
  std::mt19937 draw(7);
  Packer packer({3, window});
  Unpacker unpacker(window);
  for (int turn = 0; turn < 400; ++turn) {
    const std::size_t size = draw() % 5 == 0 ? draw() % 200'000 : 1 + draw() % 600;
    const std::string plain = turn % 7 == 0 ? noise(size, draw()) : lines(size, draw());
    if (turn % 50 == 49) packer.reshape({1 + turn % 6, turn % 100 == 99 ? window : kPackWindowLog});
    std::string wire;
    if (turn % 90 == 89) packer.rest(wire);
    packer.pack(plain, wire);
    const std::size_t step = draw() % 2 == 0 ? SIZE_MAX : 1 + draw() % 300;
    const std::string got = unpacked(unpacker, wire, step, 1 + draw() % 70'000);
    INFO("turn " << turn << ", " << size << " bytes: " << unpacker.why());
    REQUIRE((got == plain));
  }
}

TEST_CASE("bytes of a turn shrink by what earlier turns had in common with them") {
  Packer packer({3, kPackWindowLog});
  std::size_t together = 0, alone = 0, plain = 0;
  for (unsigned turn = 0; turn < 300; ++turn) {
    const std::string text = lines(400, turn);
    Packer other({3, kPackWindowLog});
    together += packed_by(packer, text).size();
    alone += packed_by(other, text).size();
    plain += text.size();
  }
  CHECK(together * 3 < alone * 2);
  CHECK(together * 3 < plain);
}

TEST_CASE("replication refers back further than anything else, and both keep to their memory") {
  const std::string text = noise(300 * kKiB, 1);  // once, so nothing of it is skipped
  for (const bool wide : {false, true}) {
    Packer packer({6, wide ? kPackTunnelWindowLog : kPackWindowLog}, false);
    Unpacker unpacker(wide ? kPackTunnelWindowLog : kPackWindowLog);
    std::string wire = packed_by(packer, text);
    REQUIRE((unpacked(unpacker, wire) == text));
    wire = packed_by(packer, text);
    REQUIRE((unpacked(unpacker, wire) == text));
    CHECK((wire.size() < text.size() / 20) == wide);
    for (int level = 1; level <= static_cast<int>(kPackLevelMost); ++level) {
      packer.reshape({level, packer.shape().window_log});
      REQUIRE((unpacked(unpacker, packed_by(packer, text)) == text));
    }
    CHECK(packer.memory() <= (wide ? kPackerTunnelBytes : kPackerBytes));
    CHECK(unpacker.memory() <= (wide ? kUnpackerTunnelBytes : kUnpackerBytes));
    std::string out;
    packer.rest(out);
    REQUIRE(unpacked(unpacker, out).empty());
    CHECK(packer.memory() == 0);
    CHECK(unpacker.memory() == 0);
    CHECK_FALSE(unpacker.failed());
  }
}

TEST_CASE("what does not shrink is passed as it is, and tried again now and then") {
  Packer packer({3, kPackWindowLog});
  Unpacker unpacker(kPackWindowLog);
  std::size_t plain = 0, wire_bytes = 0;
  for (unsigned i = 0; i < 1000; ++i) {
    const std::string text = noise(32 * kKiB, i);
    const std::string wire = packed_by(packer, text);
    plain += text.size();
    wire_bytes += wire.size();
    REQUIRE((unpacked(unpacker, wire) == text));
  }
  CHECK(packer.skipped() > plain * 9 / 10);
  CHECK(packer.skipped() < plain);
  CHECK(wire_bytes < plain + plain / 1000);
  SECTION("text between it is packed all the same") {
    const std::uint64_t skipped = packer.skipped();
    std::size_t packed = 0;
    for (unsigned i = 0; i < 20; ++i) {
      packed += packed_by(packer, lines(8 * kKiB, i)).size();
      packed_by(packer, noise(8 * kKiB, i));
    }
    CHECK(packed < 20 * 8 * kKiB / 3);
    CHECK(packer.skipped() > skipped);
  }
  SECTION("and what repeats itself is found out") {
    const std::string same = noise(64 * kKiB, 77);
    std::size_t last = 0;
    for (int i = 0; i < 300 && (i < 3 || last > same.size() / 10); ++i) {
      last = packed_by(packer, same).size();
    }
    CHECK(last <= same.size() / 10);
  }
}

TEST_CASE("bytes that are told apart by a sample") {
  CHECK(looks_random(noise(512, 1)));
  CHECK(looks_random(noise(64 * kKiB, 2)));
  CHECK_FALSE(looks_random(noise(100, 3)));  // too few to say
  CHECK_FALSE(looks_random(lines(4000, 4)));
  std::string base64 = noise(4000, 5);
  for (char& c : base64) {
    c = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[c & 63];
  }
  CHECK_FALSE(looks_random(base64));
  CHECK_FALSE(looks_random(std::string(4000, '\0')));
  const std::string text = lines(100'000, 6);
  CHECK(looks_random(frame(text, 17)));
}

TEST_CASE("a few bytes do not begin a stream, and rest without one says nothing") {
  Packer packer({3, kPackWindowLog});
  std::string wire;
  packer.rest(wire);
  CHECK(wire.empty());
  packer.pack("12345678", wire);
  CHECK(wire == chunk(kPlain, "12345678"));
  CHECK_FALSE(packer.awake());
}

TEST_CASE("I8: what unpacks to more than it may is given up before it has") {
  const std::string bomb = frame(std::string(8 * kMiB, '\0'), 17);
  REQUIRE(bomb.size() < 4 * kKiB);
  Unpacker unpacker(kPackWindowLog);
  const std::string got = unpacked(unpacker, chunk(kFresh, bomb));
  CHECK(unpacker.failed());
  CHECK(got.size() <= kPackChunkBytesMax);
  CHECK(unpacker.memory() <= kUnpackerBytes);

  // One byte too many is too many.
  Unpacker exact(kPackWindowLog), over(kPackWindowLog);
  const std::string full(kPackChunkBytesMax, 'x');
  CHECK((unpacked(exact, chunk(kFresh, frame(full, 17))) == full));
  CHECK_FALSE(exact.failed());
  unpacked(over, chunk(kFresh, frame(full + "x", 17)));
  CHECK(over.failed());
}

TEST_CASE("I8: a stream that asks for a wider window than was agreed is refused") {
  Unpacker unpacker(kPackWindowLog);
  CHECK(unpacked(unpacker, chunk(kFresh, frame(lines(1000, 1), kPackWindowLog + 1))).empty());
  CHECK(unpacker.failed());
  CHECK(unpacker.memory() <= kUnpackerBytes);
  Unpacker tunnel(kPackWindowLog);
  tunnel.set_window(kPackTunnelWindowLog);
  CHECK((unpacked(tunnel, chunk(kFresh, frame("x", kPackTunnelWindowLog))) == "x"));
}

TEST_CASE("bytes that nobody has packed end it") {
  const std::string whole = frame("hello", 17, true);
  const std::string begun = frame("hello", 17);
  std::string skippable("\x50\x2A\x4D\x18\x04\0\0\0abcd", 12);
  const std::vector<std::string> cases = {
      chunk(kPlain, ""),                                        // nothing
      chunk(kGoesOn, ""),                                       // the same
      chunk(kGoesOn, begun),                                    // of a stream that was never begun
      chunk(kFresh, "hello, this is no zstd"),                  // nor is this
      chunk(kFresh, skippable),                                 // nor this, though zstd reads it
      chunk(kFresh, whole),                                     // ends by itself
      chunk(kRest, "x"),                                        // a rest with bytes
      chunk(kPlain, std::string(kPackChunkBytesMax + 1, 'x')),  // longer than any
      std::string(3, '\xFF'),                                   // the same
      chunk(kFresh, begun) + chunk(kRest, "") + chunk(kGoesOn, begun),  // after a rest
      chunk(kFresh, begun) + chunk(kGoesOn, noise(2000, 1)),            // no block
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    INFO("case " << i);
    for (const std::size_t step : {SIZE_MAX, std::size_t{1}}) {
      Unpacker unpacker(kPackWindowLog);
      unpacked(unpacker, cases[i], step);
      CHECK(unpacker.failed());
      CHECK(unpacked(unpacker, chunk(kPlain, "more")).empty());
    }
  }
}

TEST_CASE("packed bytes with a few of them changed do no harm") {
  std::mt19937 draw(11);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    Packer packer({3, kPackWindowLog});
    std::string wire = packed_by(packer, lines(3000, draw()));
    wire += packed_by(packer, lines(500, draw()));
    wire[draw() % wire.size()] ^= static_cast<char>(1U << draw() % 8);
    Unpacker unpacker(kPackWindowLog);
    const std::string got = unpacked(unpacker, wire, 1 + draw() % 500, 1 + draw() % 5000);
    CHECK(got.size() <= 3 * kPackChunkBytesMax);
    CHECK(unpacker.memory() <= kUnpackerBytes);
    refused += unpacker.failed() ? 1 : 0;
  }
  CHECK(refused > 30);  // TLS is what protects the others: zstd's own sums are left out
}
