// Request framer: the quick path, the slow path, the cursor and the reference must agree on every
// input and on every way to cut it up. The first byte chooses the limits and the cuts.
#include <cstdint>
#include <string>
#include <vector>

#include "session/request_framer.h"
#include "tests/fuzz/pieces.h"
#include "tests/session/resp_reference.h"

namespace {

using namespace azimuth;
using namespace azimuth::fuzz;

reference::Verdict verdict_of(FrameStatus status) {
  switch (status) {
    case FrameStatus::kComplete:
      return reference::Verdict::kComplete;
    case FrameStatus::kEmpty:
      return reference::Verdict::kEmpty;
    case FrameStatus::kNeedMore:
      return reference::Verdict::kNeedMore;
    case FrameStatus::kError:
      break;
  }
  return reference::Verdict::kError;
}

std::size_t one_request(const std::string& text, unsigned choice, const RequestLimits& limits,
                        const reference::Limits& reference_limits) {
  const auto expected = reference::read_request(text, reference_limits);
  const Exact exact(text.data(), text.size());
  RequestFrame frame;
  ProtocolError error;
  const FrameStatus status = frame_request(exact.begin(), exact.end(), limits, frame, error);
  AGREE(verdict_of(status) == expected.verdict);
  const std::string reply =
      status == FrameStatus::kError ? protocol_error_reply(error) : std::string();
  if (status == FrameStatus::kError) {
    AGREE(reply == "-ERR Protocol error: " + expected.error + "\r\n");
  } else if (status != FrameStatus::kNeedMore) {
    AGREE(frame.size == expected.size);
    AGREE(frame.argc == expected.args.size());
    std::vector<std::string_view> args;
    collect_args(frame, exact.begin(), args);
    AGREE(args.size() == expected.args.size());
    for (std::size_t i = 0; i < args.size(); ++i) {
      AGREE(args[i] == expected.args[i]);
      if (i < frame.stored) AGREE(frame.args[i] == args[i]);
    }
    if (status == FrameStatus::kComplete) {
      const auto again = reference::read_request(encode_request(args));
      AGREE(again.args == expected.args);
    }
  }

  RequestCursor cursor;
  RequestCursor::Fed fed{0, FrameStatus::kNeedMore};
  const std::size_t at = feed_in_pieces(
      text, choice, [&] { return fed.status == FrameStatus::kNeedMore; },
      [&](const char* p, std::size_t n) {
        const std::size_t before = cursor.size_so_far();
        fed = cursor.feed(p, n, limits);
        AGREE(cursor.size_so_far() == before + fed.consumed);
        return fed.consumed;
      });
  AGREE(fed.status == status);
  if (status == FrameStatus::kError) {
    AGREE(protocol_error_reply(cursor.error()) == reply);
  } else if (status == FrameStatus::kNeedMore) {
    AGREE(cursor.needed_min() == frame.size);
  } else {
    AGREE(at == frame.size);
  }
  return status == FrameStatus::kComplete || status == FrameStatus::kEmpty ? frame.size : 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const unsigned choice = data[0];
  std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  const bool login = (choice & 1) == 0;
  // A byte of 0xFE stands for a long run, which a fuzzer would not find by itself.
  const std::size_t run = text.find('\xfe');
  if (run != std::string::npos) text.replace(run, 1, std::string(65600, choice & 2 ? '1' : 'a'));
  for_each_message(text, [&](const std::string& rest) {
    return one_request(rest, choice, login ? kAuthenticatedLimits : kUnauthenticatedLimits,
                       login ? reference::Limits{} : reference::Limits{10, 16384});
  });
  return 0;
}
