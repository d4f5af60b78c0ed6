// The admin listener: GET and HEAD of a few pages over HttpServer, and nothing that changes
// anything. Owned by the thread of its loop.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "proxy/control/http_server.h"
#include "proxy/control/status.h"

namespace azimuth {

struct AdminResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

class AdminServer {
 public:
  // Called for each request with a path that begins with '/', without the query.
  using Handler = std::function<AdminResponse(std::string_view path)>;

  AdminServer(uv_loop_t* loop, Handler handler, HttpLimits limits = {});

  Outcome listen(const Endpoint& endpoint) { return server_.listen(endpoint); }
  const Endpoint& bound() const { return server_.bound(); }
  // Idempotent; the loop must run until closed(), and only then may this be destroyed.
  void close() { server_.close(); }
  bool closed() const { return server_.closed(); }

 private:
  HttpServer server_;
};

// Where the pages get what they show. Called on the admin listener's thread.
struct AdminSources {
  std::function<NodeStatus()> status;
  WorkerMetricsView workers;
};

// The pages: / /status /metrics /healthz /readyz; 404 for anything else.
// /healthz is 200 as long as this thread turns: a Redis that is away is no reason to restart
// azimuth.
AdminResponse admin_page(std::string_view path, const AdminSources& sources);

}  // namespace azimuth
