// Requests that have come in part: kept until they are whole; or, too large to gather, passed
// through to a dedicated connection piece by piece.
#include "proxy/data/dispatch.h"
#include "proxy/data/worker.h"

namespace azimuth {

// Bytes that cannot be dispatched yet: a request that is not whole, or whole ones that must wait.
void Worker::keep_input(Client& client, const BlockRef& block, const char* p, const char* end) {
  const std::string_view bytes(p, static_cast<size_t>(end - p));
  if (client.input || client.wait != Wait::kNone) {
    if (!client.input) client.input = std::make_unique<Input>();
    client.input->bytes += bytes;
    client.input->scanned = false;
    if (client.wait == Wait::kNone) scan_partial(client);
    return;
  }
  RequestCursor cursor;
  cursor.feed(bytes.data(), bytes.size(), client.limits());
  if (cursor.needed_min() > kStreamThresholdBytes && begin_stream(client, cursor, block, bytes)) {
    return;
  }
  client.input = std::make_unique<Input>();
  client.input->bytes = bytes;
  client.input->cursor = cursor;
  client.input->scanned = true;
}

void Worker::scan_partial(Client& client) {
  Input& input = *client.input;
  if (input.offset != 0) {
    input.bytes.erase(0, input.offset);
    input.offset = 0;
  }
  input.cursor.reset();
  input.cursor.feed(input.bytes.data(), input.bytes.size(), client.limits());
  input.scanned = true;
  stream_input(client);
}

void Worker::stream_input(Client& client) {
  const Input& input = *client.input;
  if (input.cursor.needed_min() > kStreamThresholdBytes &&
      begin_stream(client, input.cursor, {}, input.bytes)) {
    client.input.reset();
  }
}

// `bytes` are the beginning of a request that is large. False: it is gathered, or has to wait.
bool Worker::begin_stream(Client& client, const RequestCursor& cursor, const BlockRef& block,
                          std::string_view bytes) {
  ProtocolError error;
  frame_request(bytes.data(), bytes.data() + bytes.size(), client.limits(), frame_, error);
  switch (stream_decision(*this, client, frame_, cursor.needed_min())) {
    case StreamDecision::kGather:
      if (bytes.size() > kGatheredRequestBytesMax) {
        protocol_error(client, "-ERR Protocol error: this command is too large for azimuth\r\n");
      }
      return false;
    case StreamDecision::kWait:
      return false;  // wait is set; go_on comes back here
    case StreamDecision::kStream:
      break;
  }
  client.stream = std::make_unique<RequestStream>();
  client.stream->cursor = cursor;
  client.stream->heard_ms = now_ms();
  client.dedicated->send_more(block, bytes);
  end_request(client.session);  // dispatched: CLIENT REPLY SKIP was for this one
  client.dedicated->flush();
  return true;
}

void Worker::stream_readable(Client& client, const BlockRef& block, const char* p,
                             const char* end) {
  const auto fed = client.stream->cursor.feed(p, static_cast<size_t>(end - p), client.limits());
  client.stream->heard_ms = now_ms();
  Upstream& upstream = *client.dedicated;
  upstream.send_more(block, {p, fed.consumed});
  p += fed.consumed;
  if (fed.status == FrameStatus::kError) {
    // Redis has the same bytes, answers the same error and closes; so do we then.
    client.close_after_flush = true;
    p = end;
  }
  if (fed.status != FrameStatus::kNeedMore) end_stream(client);
  upstream.flush();
  if (client.closing) return;
  if (client.stream) {
    if (client.dedicated != nullptr) room_or_wait(client, upstream);
    return;
  }
  p = process_requests(client, block, p, end);
  if (!client.closing && p != end) keep_input(client, block, p, end);
}

// What has come of the body that is under way goes to Redis unseen. False: to be received.
bool Worker::splice_stream(Client& client) {
  RequestStream& stream = *client.stream;
  const uint64_t left = stream.cursor.body_left();
  if (left < kSpliceLeftMin || client.dedicated == nullptr) return false;
  Upstream& upstream = *client.dedicated;
  const size_t taken = upstream.splice_request(client.fd, left);
  if (taken == 0) return false;
  metrics_.client_bytes_in.add(taken);
  client.active_s = static_cast<uint32_t>(now_ms() / 1000);
  stream.heard_ms = now_ms();
  client.bulky = client.bulky || left >= SplicePipe::kBulkyBytes;
  if (stream.cursor.skip_body(taken)) end_stream(client);
  upstream.flush();
  return true;
}

void Worker::end_stream(Client& client) {
  client.stream.reset();
  client.dedicated->ask_tag();
  if (draining_) client.close_after_flush = true;
  if (client.inflight == 0) drained(client);
}

}  // namespace azimuth
