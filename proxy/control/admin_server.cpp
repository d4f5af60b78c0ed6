#include "proxy/control/admin_server.h"

#include <utility>

#include "proxy/control/metrics_text.h"
#include "proxy/control/status_page.h"

namespace azimuth {

namespace {

HttpResponse answer(const AdminServer::Handler& handler, const HttpRequest& request) {
  HttpResponse response;
  if (request.method != "GET" && request.method != "HEAD") {
    response.status = 405;
    response.headers.emplace_back("Allow", "GET, HEAD");
    response.body = "Only GET and HEAD.\n";
    return response;
  }
  if (!request.path.starts_with('/')) {
    response.status = 404;
    response.body = "Not found.\n";
    return response;
  }
  AdminResponse page = handler(request.path);
  response.status = page.status;
  response.content_type = std::move(page.content_type);
  response.body = std::move(page.body);
  // The page loads nothing from anywhere, and nobody may frame it.
  response.headers.emplace_back("Content-Security-Policy",
                                "default-src 'none'; style-src 'unsafe-inline'; "
                                "frame-ancestors 'none'");
  return response;
}

}  // namespace

AdminServer::AdminServer(uv_loop_t* loop, Handler handler, HttpLimits limits)
    : server_(
          loop,
          [handler = std::move(handler)](const HttpRequest& request) {
            return answer(handler, request);
          },
          limits) {}

AdminResponse admin_page(std::string_view path, const AdminSources& sources) {
  AdminResponse response;
  if (path == "/healthz") {
    response.body = "ok\n";
  } else if (path == "/readyz") {
    const NodeStatus node = sources.status();
    response.status = node.ready ? 200 : 503;
    response.body = node.ready ? "ready\n" : "not ready: " + node.not_ready_reason + "\n";
  } else if (path == "/status") {
    response.content_type = "application/json";
    response.body = status_json(sources.status(), sources.workers) + "\n";
  } else if (path == "/metrics") {
    response.content_type = kPrometheusContentType;
    response.body = prometheus_text(sources.status(), sources.workers);
  } else if (path == "/") {
    response.content_type = "text/html; charset=utf-8";
    response.body = status_page(sources.status(), sources.workers);
  } else {
    response.status = 404;
    response.body = "Not found. There are / /status /metrics /healthz /readyz\n";
  }
  return response;
}

}  // namespace azimuth
