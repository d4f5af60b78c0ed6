// Packing: what a link sends to another zone, compressed by zstd as one stream that lasts as long
// as the link, so that each turn's bytes find their like in those of earlier turns.
//
// On the wire: chunks. Each begins with a number (little-endian base-128): its lowest two bits say
// how it is packed, the rest how many bytes of it follow.
//
//   0 plain    as they are, and nothing for later ones to refer to
//   1 packed   a flushed piece of the zstd stream
//   2 fresh    the same, and the stream begins anew with it: nothing before may be referred to
//   3 rest     no bytes: the stream is over, and its memory may go; the next packed one is fresh
//
// Invariants: what pack() has appended can be read whole, nothing is kept back; a chunk unpacks to
// at most kPackChunkBytesMax; an Unpacker refers back no further than the window that it was given
// and allocates no more than that asks for, whatever it reads; it is done for good after the first
// thing that does not fit. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "conf/limits.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace azimuth {

// The releases of the format, as bits: what a peer says it can read. There is one.
inline constexpr std::uint32_t kPackFormat = 1;

struct PackShape {
  int level = 3;
  unsigned window_log = kPackWindowLog;

  friend bool operator==(const PackShape&, const PackShape&) = default;
};

// Whether the bytes look as if they had been compressed or encrypted: drawn evenly from all 256. A
// sample of them is counted.
bool looks_random(std::string_view bytes);

// Which chunks are not worth an attempt: those that look random, once such chunks have not shrunk.
// One is tried all the same now and then, at growing distances: they may repeat earlier ones.
class PackSkips {
 public:
  bool skip(std::string_view chunk);
  // How an attempt went.
  void note(std::size_t plain, std::size_t packed);

 private:
  bool random_ = false;  // what was last asked about
  int fruitless_ = 0;    // attempts at random-looking chunks, in a row
  std::size_t pause_bytes_ = 0;
  std::size_t pause_left_ = 0;
};

class Packer {
 public:
  // `skips`: chunks that do not shrink are passed as they are.
  explicit Packer(PackShape shape, bool skips = true);
  ~Packer();
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  // Appends `plain` to `out`, in chunks.
  void pack(std::string_view plain, std::string& out);
  // As they are: there is no memory for a stream.
  void pass(std::string_view plain, std::string& out);
  // From the next pack() on; the stream begins anew where it differs.
  void reshape(PackShape shape);
  // Gives the stream's memory back. Nothing if there is none.
  void rest(std::string& out);

  const PackShape& shape() const { return shape_; }
  // Whether pack() needs no more memory than it has.
  bool awake() const { return context_ != nullptr; }
  // ... or would begin a stream for so many bytes; others it passes as they are.
  bool wants(std::size_t bytes) const { return awake() || bytes >= kPackStartBytes; }
  std::size_t memory() const;
  std::uint64_t skipped() const { return skipped_; }  // bytes passed, for what they looked like
  std::uint64_t streams() const { return streams_; }  // begun so far

 private:
  enum class Mode : std::uint8_t { kPlain, kPacked, kFresh, kRest };
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  friend class Unpacker;

  static void put_chunk(Mode mode, std::string_view bytes, std::string& out);
  void pack_chunk(std::string_view plain, std::string& out);
  bool begin();

  PackShape shape_;
  const bool skips_;
  bool fresh_ = true;
  PackSkips random_;
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  std::string scratch_;  // one chunk, packed
  std::uint64_t skipped_ = 0;
  std::uint64_t streams_ = 0;
};

class Unpacker {
 public:
  explicit Unpacker(unsigned window_log_max) : window_log_(window_log_max) {}
  ~Unpacker();
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  // Streams that begin from here on may refer back so far.
  void set_window(unsigned window_log_max) { window_log_ = window_log_max; }
  // Bytes from the wire, to be read() before the next are given; they stay the caller's.
  void give(std::string_view wire) { in_ = wire; }
  // The next plain bytes, if there are any.
  std::size_t read(char* to, std::size_t size);

  // Whether all that was given is read.
  bool done() const { return (in_.empty() && !more_) || failed(); }
  bool failed() const { return !why_.empty(); }
  const std::string& why() const { return why_; }
  // Whether a stream has begun, and not come to rest.
  bool awake() const { return context_ != nullptr; }
  std::size_t memory() const;

 private:
  using Mode = Packer::Mode;
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };

  bool read_header();
  bool begin_chunk(std::uint32_t header);
  std::size_t read_plain(char* to, std::size_t size);
  std::size_t read_packed(char* to, std::size_t size);
  bool is_magic(std::string_view bytes);
  void fail(std::string_view why) { why_ = why; }

  unsigned window_log_;
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
  std::string_view in_;
  std::uint32_t header_ = 0;
  unsigned header_bits_ = 0;  // of header_ that are read
  Mode mode_ = Mode::kPlain;
  std::size_t left_ = 0;        // of the chunk, on the wire
  std::size_t plain_left_ = 0;  // what it may still unpack to
  std::size_t magic_seen_ = 0;  // of the stream's first bytes
  bool more_ = false;           // the context may hold bytes that were asked for and had no room
  std::string why_;
};

}  // namespace azimuth
