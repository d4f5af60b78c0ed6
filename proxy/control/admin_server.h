// The admin listener: a few pages over HttpServer, by GET and HEAD, and what an operator may ask a
// node to do, by POST.
//
// Invariant: nothing is done for a web page: a request that a browser says comes from one is
// refused. There is no login: who reaches the address is an operator. Owned by the thread of its
// loop.
#pragma once

#include <functional>
#include <optional>
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
  // Called for each POST; nothing: that path takes none.
  using Action =
      std::function<std::optional<AdminResponse>(std::string_view path, std::string_view query)>;

  AdminServer(uv_loop_t* loop, Handler handler, HttpLimits limits = {}, Action action = {});

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
  std::function<NodeReport()> status;
  WorkerMetricsView workers;
};

// The value of `name` in a query such as "to=b1&x=y", percent signs decoded; empty if there is
// none. Pure.
std::string query_value(std::string_view query, std::string_view name);

// The pages: / /status /metrics /healthz /readyz; 404 for anything else.
// /healthz is 200 as long as this thread turns: a Redis that is away is no reason to restart
// azimuth.
AdminResponse admin_page(std::string_view path, const AdminSources& sources);

}  // namespace azimuth
