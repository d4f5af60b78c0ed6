// A small HTTP/1.1 server on a libuv loop: requests in, whole responses out. It knows nothing of
// what it serves.
//
// Invariants, whatever a peer sends or fails to read:
//  - at most connections_max connections; a further one takes the place of the one that has waited
//    longest, so nobody can lock others out by sitting there;
//  - one request at a time on each: the next is not read before the response to the last was taken,
//    so a connection costs one read buffer, one request of bounded size and one response;
//  - a request has idle_ms to arrive whole, and its response idle_ms to be taken: dripping bytes
//    buys no time.
// Owned by the thread of its loop. The process must ignore SIGPIPE: libuv writes without asking.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/endpoint.h"
#include "conf/limits.h"
#include "conf/result.h"

namespace azimuth {

struct HttpRequest {
  std::string_view method;  // "GET"
  std::string path;         // as sent, without the query; begins with '/' or is "*"
  std::string query;        // what follows the '?'
  bool from_page = false;   // a web page's script or form sent it (the Origin header)
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // further ones
};

struct HttpLimits {
  size_t header_bytes_max = kAdminRequestBytesMax;  // the request line and the headers: 431
  size_t body_bytes_max = kAdminRequestBytesMax;    // 413
  size_t connections_max = kAdminConnectionsMax;
  uint32_t idle_ms = kAdminIdleMsMax;
};

class HttpServer {
 public:
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  HttpServer(uv_loop_t* loop, Handler handler, HttpLimits limits = {});
  // Only after close() and the loop's next turns: closed() is true.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Once. Resolves a host name, so for start-up only.
  Outcome listen(const Endpoint& endpoint);
  // Where it listens: with the port that the kernel chose, if 0 was asked for.
  const Endpoint& bound() const { return bound_; }
  size_t connections() const { return connections_.size(); }

  // Idempotent. Drops all connections; the loop must run until closed().
  void close();
  bool closed() const { return !listening_ && connections_.empty(); }

 private:
  class Connection;

  void on_accept();
  void make_room();
  void remove(Connection* connection);

  uv_loop_t* loop_;
  Handler handler_;
  HttpLimits limits_;
  Endpoint bound_;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } listener_;
  bool listening_ = false;
  bool closing_ = false;
  std::list<std::unique_ptr<Connection>> connections_;
};

}  // namespace azimuth
