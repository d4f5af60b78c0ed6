#include "proxy/control/http_server.h"

#include <http_parser.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <exception>

#include "proxy/control/log.h"
#include "proxy/data/socket.h"

namespace azimuth {

namespace {

constexpr int kBacklog = 64;
constexpr size_t kReadBytes = 4096;
constexpr size_t kHeaderNameBytes = 32;  // of a piece: more than of any name that is looked for

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 202:
      return "Accepted";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 413:
      return "Payload Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "Status";
  }
}

std::string serialise(const HttpResponse& response, bool keep_alive, bool with_body) {
  std::string text = "HTTP/1.1 " + std::to_string(response.status) + " ";
  text.append(reason_phrase(response.status));
  text.append("\r\nContent-Type: ").append(response.content_type);
  text.append("\r\nContent-Length: ").append(std::to_string(response.body.size()));
  text.append("\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: ");
  text.append(keep_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : response.headers) {
    text.append("\r\n").append(name).append(": ").append(value);
  }
  text.append("\r\n\r\n");
  if (with_body) text.append(response.body);
  return text;
}

Error system_error(const std::string& what, int code) {
  return make_error(ErrorCode::kSystem, Fault::kSelf, what + ": " + uv_strerror(code));
}

}  // namespace

// One client:  reading -> (a whole request) -> writing -> reading ... -> closing
class HttpServer::Connection {
 public:
  explicit Connection(HttpServer& server) : server_(server) {
    http_parser_init(&parser_, HTTP_REQUEST);
    parser_.data = this;
    http_parser_settings_init(&callbacks_);
    callbacks_.on_message_begin = [](http_parser* p) { return self(p).on_begin(); };
    callbacks_.on_url = [](http_parser* p, const char* at, size_t n) {
      return self(p).on_url(at, n);
    };
    callbacks_.on_header_field = [](http_parser* p, const char* at, size_t n) {
      return self(p).on_header_name(at, n);
    };
    callbacks_.on_header_value = [](http_parser* p, const char*, size_t n) {
      return self(p).on_header_value(n);
    };
    callbacks_.on_body = [](http_parser* p, const char* at, size_t n) {
      return self(p).on_body(at, n);
    };
    callbacks_.on_message_complete = [](http_parser* p) { return self(p).on_complete(); };
  }

  // Takes over the next connection of the listener. False: there was none; close() all the same.
  bool accept(uv_stream_t* listener, bool is_tcp) {
    const int made = is_tcp ? uv_tcp_init(server_.loop_, &stream_.tcp)
                            : uv_pipe_init(server_.loop_, &stream_.pipe, 0);
    if (made != 0) return false;
    stream_.handle.data = this;
    open_handles_ = 1;
    if (uv_timer_init(server_.loop_, &timer_) != 0) return false;
    timer_.data = this;
    open_handles_ = 2;
    if (uv_accept(listener, &stream_.stream) != 0) return false;
    if (is_tcp) uv_tcp_nodelay(&stream_.tcp, 1);
    restart_timer();
    return start_reading();
  }

  void close() {
    if (closing_) return;
    closing_ = true;
    if (open_handles_ == 0) {
      server_.remove(this);
      return;
    }
    const uv_close_cb closed = [](uv_handle_t* handle) {
      auto* connection = static_cast<Connection*>(handle->data);
      if (--connection->open_handles_ == 0) connection->server_.remove(connection);
    };
    const bool has_timer = open_handles_ == 2;
    uv_close(&stream_.handle, closed);
    if (has_timer) uv_close(reinterpret_cast<uv_handle_t*>(&timer_), closed);
  }

  bool closing() const { return closing_; }
  uint64_t waiting_since() const { return waiting_since_; }

 private:
  static Connection& self(http_parser* parser) { return *static_cast<Connection*>(parser->data); }

  void restart_timer() {
    waiting_since_ = uv_now(server_.loop_);
    const uv_timer_cb expired = [](uv_timer_t* timer) {
      static_cast<Connection*>(timer->data)->close();
    };
    uv_timer_start(&timer_, expired, server_.limits_.idle_ms, 0);
  }

  bool start_reading() {
    const uv_alloc_cb give_buffer = [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
      auto& input = static_cast<Connection*>(handle->data)->input_;
      *buffer = uv_buf_init(input.data(), static_cast<unsigned>(input.size()));
    };
    const uv_read_cb took = [](uv_stream_t* stream, ssize_t n, const uv_buf_t*) {
      static_cast<Connection*>(stream->data)->on_read(n);
    };
    return uv_read_start(&stream_.stream, give_buffer, took) == 0;
  }

  void on_read(ssize_t n) {
    if (n == 0) return;
    if (n < 0) return close();
    uv_read_stop(&stream_.stream);
    input_begin_ = 0;
    input_end_ = static_cast<size_t>(n);
    parse();
  }

  // Parses until a request is whole, the input is used up or it is no HTTP.
  void parse() {
    const size_t n = http_parser_execute(&parser_, &callbacks_, input_.data() + input_begin_,
                                         input_end_ - input_begin_);
    input_begin_ += n;
    const http_errno error = HTTP_PARSER_ERRNO(&parser_);
    if (complete_) return respond();
    if (error == HPE_OK && parser_.upgrade == 0) {
      if (!start_reading()) close();
      return;
    }
    keep_alive_ = false;
    if (body_too_large_) {
      send({413, "text/plain; charset=utf-8", "The body is too large.\n", {}}, true);
    } else if (header_too_large_ || error == HPE_HEADER_OVERFLOW) {
      send({431, "text/plain; charset=utf-8", "The request's header is too large.\n", {}}, true);
    } else {
      send({400, "text/plain; charset=utf-8", "This is no HTTP request.\n", {}}, true);
    }
  }

  int on_begin() {
    request_ = {};
    target_.clear();
    header_name_.clear();
    header_bytes_ = 0;
    return 0;
  }
  // The parser would take 80 KiB; its own bound is global to the process, so this one is ours. A
  // callback's error stops the parser.
  int on_header(size_t n) {
    header_bytes_ += n;
    header_too_large_ = header_bytes_ > server_.limits_.header_bytes_max;
    return header_too_large_ ? 1 : 0;
  }
  // A name may come in pieces.
  int on_header_name(const char* at, size_t n) {
    header_name_.append(at, std::min(n, kHeaderNameBytes));
    return on_header(n);
  }
  int on_header_value(size_t n) {
    if (::strcasecmp(header_name_.c_str(), "origin") == 0) request_.from_page = true;
    header_name_.clear();
    return on_header(n);
  }
  int on_url(const char* at, size_t n) {
    if (on_header(n) != 0) return 1;
    target_.append(at, n);
    return 0;
  }
  int on_body(const char* at, size_t n) {
    body_too_large_ = request_.body.size() + n > server_.limits_.body_bytes_max;
    if (body_too_large_) return 1;
    request_.body.append(at, n);
    return 0;
  }
  int on_complete() {
    complete_ = true;
    keep_alive_ = http_should_keep_alive(&parser_) != 0 && parser_.upgrade == 0;
    http_parser_pause(&parser_, 1);  // what follows waits until this is answered
    return 0;
  }

  bool split_target() {
    http_parser_url url;
    http_parser_url_init(&url);
    const bool is_connect = parser_.method == HTTP_CONNECT;
    if (http_parser_parse_url(target_.data(), target_.size(), is_connect, &url) != 0) return false;
    const auto part = [&](int field) {
      if ((url.field_set & (1 << field)) == 0) return std::string();
      return target_.substr(url.field_data[field].off, url.field_data[field].len);
    };
    request_.path = part(UF_PATH);
    request_.query = part(UF_QUERY);
    return true;
  }

  void respond() {
    complete_ = false;
    request_.method = http_method_str(static_cast<http_method>(parser_.method));
    const bool with_body = parser_.method != HTTP_HEAD;
    if (!split_target()) {
      keep_alive_ = false;
      return send({400, "text/plain; charset=utf-8", "This is no target.\n", {}}, with_body);
    }
    // Handlers make documents with libraries that may throw; none of it may end the process.
    try {
      send(server_.handler_(request_), with_body);
    } catch (const std::exception& fault) {
      log_error("http_handler_failed", {{"path", request_.path}, {"reason", fault.what()}});
      send({500, "text/plain; charset=utf-8", "Internal error.\n", {}}, with_body);
    }
  }

  void send(const HttpResponse& response, bool with_body) {
    restart_timer();
    output_ = serialise(response, keep_alive_, with_body);
    const uv_buf_t buffer = uv_buf_init(output_.data(), static_cast<unsigned>(output_.size()));
    write_.data = this;
    const uv_write_cb written = [](uv_write_t* request, int status) {
      static_cast<Connection*>(request->data)->on_written(status);
    };
    if (uv_write(&write_, &stream_.stream, &buffer, 1, written) != 0) close();
  }

  void on_written(int status) {
    output_ = {};
    if (closing_) return;
    if (status != 0 || !keep_alive_) return finish();
    restart_timer();
    http_parser_pause(&parser_, 0);
    if (input_begin_ < input_end_) return parse();
    if (!start_reading()) close();
  }

  // A close with unread input would reset the connection, and the peer might lose the response: so
  // our side ends first, and what the peer still says is read and dropped until it ends or the
  // time is over.
  void finish() {
    const uv_shutdown_cb ended = [](uv_shutdown_t* request, int status) {
      auto* connection = static_cast<Connection*>(request->data);
      if (!connection->closing_ && status != 0) connection->close();
    };
    const uv_alloc_cb give_buffer = [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
      auto& input = static_cast<Connection*>(handle->data)->input_;
      *buffer = uv_buf_init(input.data(), static_cast<unsigned>(input.size()));
    };
    const uv_read_cb drop = [](uv_stream_t* stream, ssize_t n, const uv_buf_t*) {
      if (n < 0) static_cast<Connection*>(stream->data)->close();
    };
    shutdown_.data = this;
    if (uv_shutdown(&shutdown_, &stream_.stream, ended) != 0 ||
        uv_read_start(&stream_.stream, give_buffer, drop) != 0) {
      return close();
    }
    const uv_timer_cb expired = [](uv_timer_t* timer) {
      static_cast<Connection*>(timer->data)->close();
    };
    uv_timer_start(&timer_, expired, std::min<uint32_t>(1000, server_.limits_.idle_ms), 0);
  }

  HttpServer& server_;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } stream_{};
  uv_timer_t timer_{};
  uv_write_t write_{};
  uv_shutdown_t shutdown_{};
  int open_handles_ = 0;
  bool closing_ = false;
  bool complete_ = false;
  bool keep_alive_ = false;
  bool header_too_large_ = false;
  bool body_too_large_ = false;
  uint64_t waiting_since_ = 0;
  size_t header_bytes_ = 0;
  http_parser parser_{};
  http_parser_settings callbacks_{};
  HttpRequest request_;
  std::string target_;
  std::string header_name_;
  std::string output_;
  size_t input_begin_ = 0, input_end_ = 0;
  std::array<char, kReadBytes> input_{};
};

HttpServer::HttpServer(uv_loop_t* loop, Handler handler, HttpLimits limits)
    : loop_(loop), handler_(std::move(handler)), limits_(limits), listener_{} {}

HttpServer::~HttpServer() { AZIMUTH_CHECK(closed()); }

Outcome HttpServer::listen(const Endpoint& endpoint) {
  AZIMUTH_CHECK(!listening_ && !closing_);
  const std::string what = "cannot listen on " + to_string(endpoint);
  std::string why;
  const auto address = resolve_address(endpoint, why);
  if (!address) return make_error(ErrorCode::kSystem, Fault::kSelf, what + ": " + why);
  const bool is_tcp = endpoint.kind == Endpoint::Kind::kTcp;
  const int made =
      is_tcp ? uv_tcp_init(loop_, &listener_.tcp) : uv_pipe_init(loop_, &listener_.pipe, 0);
  if (made != 0) return system_error(what, made);
  listener_.handle.data = this;
  listening_ = true;

  int code = 0;
  if (is_tcp) {
    // Not the data path's listener: its SO_REUSEPORT would let two processes share this address.
    const unsigned flags = address->family() == AF_INET6 ? UV_TCP_IPV6ONLY : 0;
    code = uv_tcp_bind(&listener_.tcp, address->get(), flags);
  } else {
    code = listen_on(*address, 0660);
    if (code >= 0) code = uv_pipe_open(&listener_.pipe, code);
  }
  const uv_connection_cb accept = [](uv_stream_t* listener, int status) {
    if (status == 0) static_cast<HttpServer*>(listener->data)->on_accept();
  };
  if (code == 0) code = uv_listen(&listener_.stream, kBacklog, accept);
  if (code != 0) {
    close();
    return system_error(what, code);
  }
  bound_ = endpoint;
  sockaddr_storage name{};
  int size = sizeof name;
  if (is_tcp && endpoint.port == 0 &&
      uv_tcp_getsockname(&listener_.tcp, reinterpret_cast<sockaddr*>(&name), &size) == 0) {
    // sin_port and sin6_port are at the same place.
    bound_.port = ntohs(reinterpret_cast<const sockaddr_in*>(&name)->sin_port);
  }
  return Done{};
}

void HttpServer::on_accept() {
  if (closing_) return;
  make_room();
  connections_.push_back(std::make_unique<Connection>(*this));
  Connection* connection = connections_.back().get();
  if (!connection->accept(&listener_.stream, bound_.kind == Endpoint::Kind::kTcp)) {
    connection->close();
  }
}

void HttpServer::make_room() {
  size_t open = 0;
  Connection* longest = nullptr;
  for (const auto& connection : connections_) {
    if (connection->closing()) continue;
    ++open;
    if (longest == nullptr || connection->waiting_since() < longest->waiting_since()) {
      longest = connection.get();
    }
  }
  if (open >= limits_.connections_max && longest != nullptr) longest->close();
}

void HttpServer::remove(Connection* connection) {
  connections_.remove_if([connection](const auto& each) { return each.get() == connection; });
}

void HttpServer::close() {
  if (closing_) return;
  closing_ = true;
  if (listening_) {
    // Ours only if it was bound; another's socket at that path made listen() fail.
    if (bound_.kind == Endpoint::Kind::kUnix) unlink(bound_.path.c_str());
    uv_close(&listener_.handle, [](uv_handle_t* handle) {
      static_cast<HttpServer*>(handle->data)->listening_ = false;
    });
  }
  // Closing may remove at once, so not from within the list's own walk.
  std::vector<Connection*> all;
  for (const auto& connection : connections_) all.push_back(connection.get());
  for (Connection* connection : all) connection->close();
}

}  // namespace azimuth
