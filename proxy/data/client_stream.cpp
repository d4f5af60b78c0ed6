// Requests too large to gather: they pass through to a dedicated connection piece by piece.
#include "proxy/data/dispatch.h"
#include "proxy/data/worker.h"

namespace azimuth {

void Worker::begin_stream(Client& client) {
  Input& input = *client.input;
  ProtocolError error;
  frame_request(input.bytes.data(), input.bytes.data() + input.bytes.size(), client.limits(),
                frame_, error);
  switch (stream_decision(*this, client, frame_)) {
    case StreamDecision::kGather:
      if (input.bytes.size() > kGatheredRequestBytesMax) {
        protocol_error(client, "-ERR Protocol error: this command is too large for azimuth\r\n");
      }
      return;
    case StreamDecision::kWait:
      return;  // wait is set; go_on comes back here
    case StreamDecision::kStream:
      break;
  }
  client.stream = std::make_unique<RequestStream>();
  client.stream->cursor = input.cursor;
  client.stream->heard_ms = now_ms();
  const BlockRef none;
  client.dedicated->send_more(none, input.bytes);
  client.input.reset();
  end_request(client.session);  // dispatched: CLIENT REPLY SKIP was for this one
  client.dedicated->flush();
}

void Worker::stream_readable(Client& client, const BlockRef& block, const char* p,
                             const char* end) {
  const auto fed = client.stream->cursor.feed(p, static_cast<size_t>(end - p), client.limits());
  client.stream->heard_ms = now_ms();
  Upstream& upstream = *client.dedicated;
  upstream.send_more(block, {p, fed.consumed});
  p += fed.consumed;
  if (fed.status != FrameStatus::kNeedMore) {
    client.stream.reset();
    upstream.ask_tag();
    upstream.ask_quorum();
    if (draining_) client.close_after_flush = true;
    if (fed.status == FrameStatus::kError) {
      // Redis has the same bytes, answers the same error and closes; so do we then.
      client.close_after_flush = true;
      p = end;
    }
    if (client.inflight == 0) drained(client);
  }
  upstream.flush();
  if (client.closing) return;
  if (client.stream) {
    if (client.dedicated != nullptr) room_or_wait(client, upstream);
    return;
  }
  p = process_requests(client, block, p, end);
  if (!client.closing && p != end) keep_input(client, p, end);
}

}  // namespace azimuth
