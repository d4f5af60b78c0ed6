// A socket and a stream, joined: what one brings, the other takes. Both ends of what crosses a link
// for Redis are made of it: a relay (far side) and a tunnel (near side).
//
// Invariants: reads from the socket no more than the stream takes at once, so nothing is kept in
// that direction; of the other at most a window and a quarter waits for the socket (I8). Bytes that
// the stream brought go to the socket only after may_write() has said yes, asked right before each
// write, and the socket is read only after may_read() has; while an answer to ask() is awaited,
// nothing passes. Owned by one worker.
#pragma once

#include <uv.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/data/buffer.h"
#include "proxy/peer/link.h"

namespace azimuth {

class Pipe : public StreamUser {
 public:
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() override;

  // Writes what waits for the socket.
  void flush();
  // Ends both sides.
  void finish(StreamEnd end);

  void on_stream_data(const BlockRef& block, std::string_view bytes) override;
  void on_stream_writable() override;
  void on_stream_end(StreamEnd end, std::uint64_t delivered) override;

 protected:
  // `scratch`: what the socket brings goes through it; shared by the pipes of one owner.
  Pipe(uv_loop_t* loop, std::vector<char>& scratch) : loop_(loop), scratch_(scratch) {}

  // The socket is the pipe's from now on. It is read when there is a stream, too.
  void attach(int fd, bool connecting);
  void join(Stream& stream);
  void queue(const BlockRef& block, std::string_view bytes);
  void queue_copy(std::string_view bytes);
  Stream* stream() const { return stream_; }
  bool connecting() const { return connecting_; }
  // What is being written may have come to a halt in the middle of a word.
  bool midway() const { return !connecting_ && !queue_.empty(); }

  // Whether bytes may go to the socket at this moment; if not, the pipe is finished as refused. And
  // whether they may be taken from it; if not, they wait there for look_again().
  virtual bool may_write() = 0;
  virtual bool may_read() = 0;
  virtual void on_kept_back() {}
  void look_again();
  // Bytes from the socket, on their way into the stream.
  virtual void on_socket_bytes(std::string_view) {}
  virtual void on_connected() {}
  // A question of our own, in front of all that passes; its answer goes to on_answer() instead of
  // the stream, until let_pass(). Right after the socket has connected.
  void ask(std::string_view request);
  virtual void on_answer(std::string_view) {}
  void let_pass();
  // There is something to flush().
  virtual void on_queued() = 0;
  // Both sides are gone; the owner frees the pipe, but not before this turn is over.
  virtual void on_finished() = 0;

 private:
  static void on_poll(uv_poll_t* handle, int status, int events);
  void on_readable();
  void read_last_words();
  void pass_on(std::string_view bytes);
  void update_poll();
  void close_socket();
  void pause_when_full();
  std::size_t window() const;

  uv_loop_t* loop_;
  std::vector<char>& scratch_;
  Stream* stream_ = nullptr;
  uv_poll_t* poll_ = nullptr;
  int fd_ = -1;
  int poll_events_ = 0;
  bool connecting_ = false;
  bool asking_ = false;
  bool want_write_ = false;
  bool kept_back_ = false;
  bool stream_full_ = false;  // the stream takes nothing now
  bool paused_ = false;       // the stream is to bring nothing now
  bool broken_ = false;  // the socket takes nothing any more, and may have something left to say
  bool finished_ = false;
  OutQueue queue_{OutQueue::kLongTailBytes};
  std::uint64_t written_ = 0;
};

}  // namespace azimuth
