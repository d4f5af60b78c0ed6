// The control thread between the workers' tunnels and what is known of replication's catching up.
#include <utility>

#include "proxy/clock.h"
#include "proxy/control/control.h"
#include "proxy/data/worker.h"

namespace azimuth {

void Control::make_syncs() {
  syncs_ = std::make_unique<Syncs>([this](const CopyId& to, const SyncNote& note, bool go) {
    if (to.worker >= process_.workers.size() || pulses_[to.worker].ended) return;
    process_.workers[to.worker]->post([relay = to.relay, note, go](Worker& worker) {
      if (worker.relays() == nullptr) return;
      worker.relays()->tell(relay, note);
      if (go) worker.relays()->let_copy(relay);
    });
  });
  process_.on_copy = [this](unsigned worker, CopyNews news) {
    post([this, worker, news = std::move(news)] {
      syncs_->on_copy(clock_now(), worker, news);
      refresh_board();
    });
  };
}

// Worker 0 has the tunnel.
void Control::on_sync(SyncNews news) {
  post([this, news = std::move(news)] {
    syncs_->on_sync(clock_now(), news);
    syncs_->on_redis(clock_now(), group_->pilot());
  });
}

}  // namespace azimuth
