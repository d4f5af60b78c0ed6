#include "proxy/peer/pack.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "conf/result.h"

namespace azimuth {
namespace {

// What stands in front of every zstd frame. Other formats that the library may read (those of its
// years before 1.0, skippable frames) are none of ours.
constexpr std::string_view kMagic = "\x28\xB5\x2F\xFD";

// Not worth the guess of what they look like.
constexpr std::size_t kSampleBytesLeast = 512;

constexpr std::size_t kPauseBytesLeast = 256 * kKiB;
constexpr std::size_t kPauseBytesMost = 4 * kMiB;

constexpr std::uint32_t kModeBits = 2;
constexpr unsigned kHeaderBitsMax = 21;  // three bytes
// A chunk that does not shrink is a little longer when it is packed.
constexpr std::size_t kChunkWireBytesMax = kPackChunkBytesMax + 1 * kKiB;
static_assert(kChunkWireBytesMax << kModeBits < std::size_t{1} << kHeaderBitsMax);

bool is_error(std::size_t code) { return ZSTD_isError(code) != 0; }

}  // namespace

// --- what does not shrink ----------------------------------------------------------------------

bool looks_random(std::string_view bytes) {
  if (bytes.size() < kSampleBytesLeast) return false;
  constexpr std::size_t kRuns = 16, kRunBytes = 64;
  std::array<std::uint16_t, 256> counts{};
  std::size_t n = 0;
  const std::size_t stride = bytes.size() / kRuns;
  const std::size_t run = std::min(kRunBytes, stride);
  for (std::size_t at = 0; at + run <= bytes.size() && n < kRuns * run; at += stride) {
    for (const char c : bytes.substr(at, run)) ++counts[static_cast<unsigned char>(c)];
    n += run;
  }
  // How often two bytes of the sample are the same: once in 256 where all are as likely, once in 64
  // in base64, once in 16 in a text.
  std::size_t same = 0;
  for (const std::size_t count : counts) same += count * count;
  return (same - n) * 200 < n * n;
}

bool PackSkips::skip(std::string_view chunk) {
  random_ = looks_random(chunk);
  if (!random_ || fruitless_ < 2) return false;
  if (pause_left_ == 0) return false;
  pause_left_ -= std::min(pause_left_, chunk.size());
  return true;
}

void PackSkips::note(std::size_t plain, std::size_t packed) {
  if (!random_) return;
  if (packed < plain - plain / 32) {
    fruitless_ = 0;
    pause_bytes_ = 0;
    return;
  }
  if (++fruitless_ < 2) return;
  pause_bytes_ = std::clamp(pause_bytes_ * 2, kPauseBytesLeast, kPauseBytesMost);
  pause_left_ = pause_bytes_;
}

// --- out ---------------------------------------------------------------------------------------

void Packer::Free::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }

Packer::Packer(PackShape shape, bool skips) : shape_(shape), skips_(skips) {}
Packer::~Packer() = default;

void Packer::put_chunk(Mode mode, std::string_view bytes, std::string& out) {
  auto header = static_cast<std::uint32_t>(bytes.size() << kModeBits) | static_cast<unsigned>(mode);
  for (; header >= 0x80; header >>= 7U) out += static_cast<char>(header | 0x80U);
  out += static_cast<char>(header);
  out += bytes;
}

void Packer::reshape(PackShape shape) {
  if (shape == shape_) return;
  shape_ = shape;
  fresh_ = true;
}

bool Packer::begin() {
  if (context_ == nullptr) context_.reset(ZSTD_createCCtx());
  if (context_ == nullptr) return false;
  ZSTD_CCtx* context = context_.get();
  ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
  const auto set = [context](ZSTD_cParameter parameter, int value) {
    AZIMUTH_CHECK(!is_error(ZSTD_CCtx_setParameter(context, parameter, value)));
  };
  set(ZSTD_c_compressionLevel, shape_.level);
  set(ZSTD_c_windowLog, static_cast<int>(shape_.window_log));
  set(ZSTD_c_contentSizeFlag, 0);
  if (shape_.window_log > kPackWindowLog) {
    // Replication says again what it said megabytes ago.
    set(ZSTD_c_enableLongDistanceMatching, 1);
  } else {
    set(ZSTD_c_hashLog, kPackSmallTableLog);
    set(ZSTD_c_chainLog, kPackSmallTableLog);
  }
  scratch_.resize(ZSTD_compressBound(kPackChunkBytesMax));
  ++streams_;
  return true;
}

void Packer::pack(std::string_view plain, std::string& out) {
  if (!wants(plain.size())) return pass(plain, out);
  while (!plain.empty()) {
    const std::string_view chunk = plain.substr(0, kPackChunkBytesMax);
    plain.remove_prefix(chunk.size());
    if (skips_ && random_.skip(chunk)) {
      skipped_ += chunk.size();
      put_chunk(Mode::kPlain, chunk, out);
    } else {
      pack_chunk(chunk, out);
    }
  }
}

void Packer::pass(std::string_view plain, std::string& out) {
  for (; !plain.empty(); plain.remove_prefix(std::min(plain.size(), kPackChunkBytesMax))) {
    put_chunk(Mode::kPlain, plain.substr(0, kPackChunkBytesMax), out);
  }
}

void Packer::pack_chunk(std::string_view plain, std::string& out) {
  if (fresh_ && !begin()) return put_chunk(Mode::kPlain, plain, out);
  ZSTD_inBuffer in{plain.data(), plain.size(), 0};
  ZSTD_outBuffer packed{scratch_.data(), scratch_.size(), 0};
  const std::size_t left = ZSTD_compressStream2(context_.get(), &packed, &in, ZSTD_e_flush);
  if (left != 0) {  // out of memory: what the stream has taken is sent as it is
    context_.reset();
    fresh_ = true;
    return put_chunk(Mode::kPlain, plain, out);
  }
  random_.note(plain.size(), packed.pos);
  put_chunk(fresh_ ? Mode::kFresh : Mode::kPacked, {scratch_.data(), packed.pos}, out);
  fresh_ = false;
}

void Packer::rest(std::string& out) {
  if (context_ == nullptr) return;
  context_.reset();
  std::string().swap(scratch_);
  fresh_ = true;
  put_chunk(Mode::kRest, {}, out);
}

std::size_t Packer::memory() const {
  return awake() ? ZSTD_sizeof_CCtx(context_.get()) + scratch_.capacity() : 0;
}

// --- in ----------------------------------------------------------------------------------------

void Unpacker::Free::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

Unpacker::~Unpacker() = default;

std::size_t Unpacker::memory() const { return ZSTD_sizeof_DCtx(context_.get()); }

std::size_t Unpacker::read(char* to, std::size_t size) {
  std::size_t have = 0;
  while (have < size && !failed()) {
    if (left_ == 0 && !more_) {
      if (!read_header()) break;
    } else if (mode_ == Mode::kPlain) {
      if (in_.empty()) break;
      have += read_plain(to + have, size - have);
    } else {
      if (in_.empty() && !more_) break;
      have += read_packed(to + have, size - have);
    }
  }
  return have;
}

// Whether a chunk has begun, or at least something has been read.
bool Unpacker::read_header() {
  while (!in_.empty()) {
    const auto byte = static_cast<unsigned char>(in_.front());
    in_.remove_prefix(1);
    header_ |= (byte & 0x7FU) << header_bits_;
    header_bits_ += 7;
    if ((byte & 0x80U) == 0) {
      const std::uint32_t header = header_;
      header_ = 0;
      header_bits_ = 0;
      return begin_chunk(header);
    }
    if (header_bits_ < kHeaderBitsMax) continue;
    fail("a chunk longer than any");
    return false;
  }
  return false;
}

bool Unpacker::begin_chunk(std::uint32_t header) {
  mode_ = static_cast<Mode>(header & ((1U << kModeBits) - 1));
  left_ = header >> kModeBits;
  plain_left_ = kPackChunkBytesMax;
  if (mode_ == Mode::kRest) {
    context_.reset();
    if (left_ != 0) fail("a rest with bytes");
    return left_ == 0;
  }
  if (left_ == 0) fail("a chunk without bytes");
  if (left_ > (mode_ == Mode::kPlain ? kPackChunkBytesMax : kChunkWireBytesMax)) {
    fail("a chunk longer than any");
  }
  if (mode_ == Mode::kPacked && context_ == nullptr) fail("a stream that was never begun");
  if (mode_ != Mode::kFresh || failed()) return !failed();
  if (context_ == nullptr) context_.reset(ZSTD_createDCtx());
  if (context_ == nullptr || is_error(ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only)) ||
      is_error(ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax,
                                      static_cast<int>(window_log_)))) {
    fail("no memory");
    return false;
  }
  magic_seen_ = 0;
  return true;
}

std::size_t Unpacker::read_plain(char* to, std::size_t size) {
  const std::size_t n = std::min({left_, in_.size(), size});
  std::memcpy(to, in_.data(), n);
  in_.remove_prefix(n);
  left_ -= n;
  return n;
}

bool Unpacker::is_magic(std::string_view bytes) {
  const std::size_t n = std::min(kMagic.size() - magic_seen_, bytes.size());
  if (bytes.substr(0, n) != kMagic.substr(magic_seen_, n)) return false;
  magic_seen_ += n;
  return true;
}

std::size_t Unpacker::read_packed(char* to, std::size_t size) {
  const std::string_view piece = in_.substr(0, left_);
  if (!is_magic(piece)) {
    fail("no zstd");
    return 0;
  }
  // One more byte than it may be, so that one that is too long is found out.
  ZSTD_inBuffer in{piece.data(), piece.size(), 0};
  ZSTD_outBuffer out{to, std::min(size, plain_left_ + 1), 0};
  const std::size_t code = ZSTD_decompressStream(context_.get(), &out, &in);
  in_.remove_prefix(in.pos);
  left_ -= in.pos;
  if (is_error(code)) {
    fail(ZSTD_getErrorName(code));
    return 0;
  }
  if (code == 0) {
    fail("a stream that ends by itself");
    return 0;
  }
  if (out.pos > plain_left_) {
    fail("a chunk that holds more than any");
    return 0;
  }
  plain_left_ -= out.pos;
  more_ = out.pos == out.size;
  return out.pos;
}

}  // namespace azimuth
