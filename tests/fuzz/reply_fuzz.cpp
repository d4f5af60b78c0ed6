// Reply framer: the quick path, the cursor, the walker and the reference must agree on every input
// and on every way to cut it up. The first byte chooses the cuts.
#include <cstdint>
#include <string>

#include "session/pubsub.h"
#include "session/reply_framer.h"
#include "tests/fuzz/pieces.h"
#include "tests/session/resp_reference.h"

namespace {

using namespace azimuth;
using namespace azimuth::fuzz;

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
  const std::size_t at = feed_in_pieces(
      text, choice, [&] { return !done && !cursor.failed(); },
      [&](const char* p, std::size_t n) {
        const std::size_t used = cursor.feed(p, n, done);
        AGREE(used == n || done || cursor.failed());
        return used;
      });
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
  for_each_message({reinterpret_cast<const char*>(data + 1), size - 1},
                   [&](const std::string& text) { return one_reply(text, data[0]); });
  return 0;
}
