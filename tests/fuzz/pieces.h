// What the fuzz targets of the framers share: an input is a choice byte and a text, the text holds
// one message after another, and each is also fed in pieces that the choice draws.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#define AGREE(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      std::fprintf(stderr, "disagree: %s (line %d)\n", #condition, __LINE__); \
      std::abort();                                                           \
    }                                                                         \
  } while (false)

namespace azimuth::fuzz {

// Exactly as large as its content, so that the sanitizer sees each byte read beyond it.
struct Exact {
  Exact(const char* p, std::size_t n) : bytes(new char[n]), size(n) {
    if (n > 0) std::memcpy(bytes.get(), p, n);
  }
  const char* begin() const { return bytes.get(); }
  const char* end() const { return bytes.get() + size; }
  std::unique_ptr<char[]> bytes;
  std::size_t size;
};

// feed(bytes, n) takes a piece and returns how much of it it has used; it is called while more()
// holds. All that was used is the result.
template <class More, class Feed>
std::size_t feed_in_pieces(const std::string& text, unsigned choice, More more, Feed feed) {
  // Small pieces, but not by the tens of thousands.
  const std::size_t piece_max = choice % 37 + 1 + text.size() / 64;
  std::size_t at = 0;
  unsigned cut = choice;
  while (at < text.size() && more()) {
    cut = cut * 1103515245 + 12345;
    const std::size_t n = std::min<std::size_t>(text.size() - at, 1 + (cut >> 16) % piece_max);
    const Exact piece(text.data() + at, n);
    const std::size_t used = feed(piece.begin(), n);
    AGREE(used <= n);
    at += used;
  }
  return at;
}

// one(text) reads the message that `text` begins with and returns its size; 0: there is none.
template <class One>
void for_each_message(std::string text, One one) {
  for (int rounds = 0; rounds < 64 && !text.empty(); ++rounds) {
    const std::size_t used = one(text);
    if (used == 0) break;
    text.erase(0, used);
  }
}

}  // namespace azimuth::fuzz
