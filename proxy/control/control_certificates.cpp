// The links' certificates in a running node: new ones by a reload, and a word before they end.
#include <array>
#include <ctime>

#include "proxy/control/control.h"
#include "proxy/control/log.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

constexpr std::int64_t kDayS = 86'400;
constexpr std::int64_t kWarnDays = 14;

std::string date_text(std::int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  std::array<char, 32> text{};
  if (::gmtime_r(&time, &parts) == nullptr) return "?";
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

}  // namespace

void Control::set_certificates(std::shared_ptr<const LinkCertificates> certificates) {
  const bool had = certificates_ != nullptr;
  certificates_ = std::move(certificates);
  if (!had && !certificates_) return;
  expiry_told_unix_s_ = 0;
  for_each_live_worker([this](Worker& worker) {
    worker.post([fresh = certificates_](Worker& each) {
      if (each.links() != nullptr) each.links()->set_certificates(fresh);
    });
  });
  if (certificates_) {
    log_info("certificates_read", {{"ends", date_text(certificates_->ends_unix_s())},
                                   {"for", "links that are made from now on"}});
  } else {
    log_warning("certificates_gone", {{"reason", "links are made by the cluster key alone"}});
  }
}

// Once a day from two weeks before the end.
void Control::watch_certificates() {
  if (!certificates_) return;
  const std::int64_t now_s = std::time(nullptr);
  const std::int64_t left_s = certificates_->ends_unix_s() - now_s;
  if (left_s >= kWarnDays * kDayS || now_s < expiry_told_unix_s_ + kDayS) return;
  expiry_told_unix_s_ = now_s;
  log_event(left_s > 0 ? LogLevel::kWarn : LogLevel::kError,
            left_s > 0 ? "certificate_ends_soon" : "certificate_expired",
            {{"file", settings_->peer->tls_cert_file},
             {"ends", date_text(certificates_->ends_unix_s())},
             {"days_left", left_s > 0 ? left_s / kDayS : 0},
             {"do", "renew it, or the CA above it, and send SIGHUP"}});
}

}  // namespace azimuth
