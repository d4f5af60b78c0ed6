#include "proxy/control/admin_server.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "proxy/control/metrics_text.h"
#include "proxy/control/status_page.h"

namespace azimuth {

namespace {

HttpResponse response_of(AdminResponse page) {
  HttpResponse response;
  response.status = page.status;
  response.content_type = std::move(page.content_type);
  response.body = std::move(page.body);
  return response;
}

HttpResponse perform(const AdminServer::Action& action, const HttpRequest& request) {
  HttpResponse response;
  if (request.method == "POST" && action && request.path.starts_with('/')) {
    if (request.from_page) {
      response.status = 403;
      response.body = "Not for web pages.\n";
      return response;
    }
    if (auto done = action(request.path, request.query)) return response_of(std::move(*done));
  }
  response.status = 405;
  response.headers.emplace_back("Allow", "GET, HEAD");
  response.body = "Only GET and HEAD.\n";
  return response;
}

HttpResponse answer(const AdminServer::Handler& handler, const AdminServer::Action& action,
                    const HttpRequest& request) {
  if (request.method != "GET" && request.method != "HEAD") return perform(action, request);
  if (!request.path.starts_with('/')) {
    HttpResponse response;
    response.status = 404;
    response.body = "Not found.\n";
    return response;
  }
  HttpResponse response = response_of(handler(request.path));
  // The page loads nothing from anywhere, and nobody may frame it.
  response.headers.emplace_back("Content-Security-Policy",
                                "default-src 'none'; style-src 'unsafe-inline'; "
                                "frame-ancestors 'none'");
  return response;
}

}  // namespace

AdminServer::AdminServer(uv_loop_t* loop, Handler handler, HttpLimits limits, Action action)
    : server_(
          loop,
          [handler = std::move(handler), action = std::move(action)](const HttpRequest& request) {
            return answer(handler, action, request);
          },
          limits) {}

std::string query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    if (!pair.starts_with(name) || pair.substr(name.size(), 1) != "=") continue;
    const std::string_view text = pair.substr(name.size() + 1);
    std::string value;
    for (size_t i = 0; i < text.size(); ++i) {
      unsigned byte = 0;
      const char* const digits = text.data() + i + 1;
      if (text[i] == '%' && i + 2 < text.size() &&
          std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
        value += static_cast<char>(byte);
        i += 2;
      } else {
        value += text[i];
      }
    }
    return value;
  }
  return "";
}

AdminResponse admin_page(std::string_view path, const AdminSources& sources) {
  AdminResponse response;
  if (path == "/healthz") {
    response.body = "ok\n";
  } else if (path == "/readyz") {
    const NodeReport node = sources.status();
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
