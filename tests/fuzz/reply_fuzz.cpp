// Reply framer: the quick path, the cursor, the walker and the reference must agree on every input
// and on every way to cut it up. The first byte chooses the cuts.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "session/pubsub.h"
#include "session/reply_framer.h"
#include "tests/session/resp_reference.h"

namespace {

using namespace azimuth;

#define AGREE(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      std::fprintf(stderr, "disagree: %s (line %d)\n", #condition, __LINE__); \
      std::abort();                                                           \
    }                                                                         \
  } while (false)

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

void walk(std::string_view reply) {
  ReplyReader reader(reply);
  ReplyElement element;
  std::uint64_t left = 1;
  while (left > 0) {
    AGREE(reader.next(element));
    left += element.children;
    --left;
  }
  AGREE(reader.at_end());
}

std::size_t one_reply(const std::string& text, unsigned choice) {
  // Deeper than the reference's recursion goes, agreement is not asked for.
  const auto expected = reference::read_reply(text);
  const bool shallow = text.size() < 200 * 4;
  ReplyCursor cursor;
  bool done = false;
  std::size_t at = 0;
  unsigned cut = choice;
  while (at < text.size() && !done && !cursor.failed()) {
    cut = cut * 1103515245 + 12345;
    const std::size_t n =
        std::min<std::size_t>(text.size() - at, 1 + (cut >> 16) % (choice % 37 + 1));
    const Exact piece(text.data() + at, n);
    const std::size_t used = cursor.feed(piece.begin(), n, done);
    AGREE(used <= n);
    AGREE(used == n || done || cursor.failed());
    at += used;
  }
  if (shallow || expected.verdict == reference::Verdict::kComplete) {
    AGREE(done == (expected.verdict == reference::Verdict::kComplete));
    AGREE(cursor.failed() == (expected.verdict == reference::Verdict::kError));
  }
  if (done && expected.verdict == reference::Verdict::kComplete) {
    AGREE(at == expected.size);
    AGREE(cursor.type() == expected.type);
  }
  const Exact exact(text.data(), text.size());
  const std::size_t quick = ReplyCursor::quick(exact.begin(), exact.end());
  if (quick != 0) AGREE(done && quick == at);
  for (const int protocol : {2, 3}) peek_pubsub(exact.begin(), exact.end(), protocol);
  if (!done) return 0;
  const Exact whole(text.data(), at);
  walk({whole.begin(), at});
  for (const int protocol : {2, 3}) classify_pubsub({whole.begin(), at}, protocol);
  return at;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  for (int rounds = 0; rounds < 64 && !text.empty(); ++rounds) {
    const std::size_t used = one_reply(text, data[0]);
    if (used == 0) break;
    text.erase(0, used);
  }
  return 0;
}
