// The control thread between the group and the workers: topology, tunnels, hand-over, wishes.
#include <algorithm>
#include <utility>

#include "proxy/clock.h"
#include "proxy/control/control.h"
#include "proxy/control/log.h"
#include "proxy/data/worker.h"

namespace azimuth {
namespace {

// Of the time to drain: what is left is for the clients.
constexpr uint64_t kStepDownMsMax = 5000;

AdminResponse text_page(int status, std::string text) {
  AdminResponse page;
  page.status = status;
  page.body = std::move(text) + "\n";
  return page;
}

const char* name_of(Wish::Kind kind) {
  switch (kind) {
    case Wish::Kind::kSwitchOver:
      return "switchover";
    case Wish::Kind::kForce:
      return "elect_force";
    case Wish::Kind::kRemove:
      return "member_remove";
    case Wish::Kind::kAdd:
      return "member_add";
  }
  return "wish";
}

}  // namespace

void Control::make_group(Membership membership) {
  make_syncs();
  Group::Hooks hooks;
  hooks.on_topology = [this](const std::shared_ptr<const Topology>& topology) {
    set_topology(topology);
  };
  hooks.on_news = [this] {
    syncs_->on_redis(clock_now(), group_->pilot());
    refresh_board();
    if (stepping_down_) check_drain();  // perhaps nobody is left to hand over to
  };
  hooks.on_write_delay = [this](std::uint32_t delay_us) {
    for_each_live_worker([delay_us](Worker& worker) {
      worker.post([delay_us](Worker& each) { each.set_pace(delay_us); });
    });
  };
  hooks.want_tunnel = [this](std::uint64_t epoch) { want_tunnel(epoch); };
  hooks.set_tunnel_source = [this](std::uint64_t epoch, const SocketAddress& source,
                                   const std::string& node, const std::string& replid) {
    set_tunnel_source(epoch, source, node, replid);
  };
  group_ = std::make_unique<Group>(&loop_, *settings_, std::move(membership), process_.lease,
                                   process_.applied, std::move(hooks));
  process_.worker_quiet = [this](unsigned index, std::uint64_t hand_over) {
    post([this, index, hand_over] { on_worker_quiet(index, hand_over); });
  };
  process_.ask_group = [this](Wish::Kind kind, std::string node, Wishes::Answer answer) {
    post([this, kind, node = std::move(node), answer = std::move(answer)] {
      ask_group(kind, node, answer);
    });
  };
}

void Control::set_topology(const std::shared_ptr<const Topology>& topology) {
  if (topology->holding && !topology_->holding) quiet_.begin(process_.workers.size());
  topology_ = topology;
  for_each_live_worker([this](Worker& worker) {
    worker.post([topology = topology_, address = redis_address_, hand_over = quiet_.hand_over()](
                    Worker& each) { each.set_topology(topology, address, hand_over); });
  });
}

// --- the tunnel of the local Redis: worker 0 has it ----------------------------------------------

void Control::want_tunnel(std::uint64_t epoch) {
  tunnel_again_ = 0;
  if (pulses_[0].ended) return;
  process_.workers[0]->post([this, epoch, announced = group_->announced()](Worker& worker) {
    worker.tunnel().reset();
    if (epoch == 0 || worker.links() == nullptr) return;
    TunnelListener::Hooks hooks;
    hooks.on_refused = [](std::uint64_t of, const std::string& why) {
      log_error("sync_refused", {{"epoch", of}, {"reason", why}});
    };
    hooks.on_sync = [this](const SyncNews& news) { on_sync(news); };
    auto tunnel =
        std::make_unique<TunnelListener>(*worker.links(), epoch, announced, std::move(hooks));
    const Result<std::uint16_t> port = tunnel->open();
    if (!port.ok()) {
      log_error("tunnel_not_open", {{"epoch", epoch}, {"reason", port.error().message}});
      return post([this, epoch] { tunnel_again_ = epoch; });
    }
    worker.tunnel() = std::move(tunnel);
    post([this, epoch, port = *port] { group_->on_tunnel_port(epoch, port); });
  });
}

void Control::set_tunnel_source(std::uint64_t epoch, const SocketAddress& source,
                                const std::string& node, const std::string& replid) {
  if (pulses_[0].ended) return;
  process_.workers[0]->post([=, this](Worker& worker) {
    if (worker.tunnel() == nullptr || worker.tunnel()->epoch() != epoch) return;
    worker.tunnel()->set_source(source, node, replid);
    post([this, epoch, node] { group_->on_tunnel_source(epoch, node); });
  });
}

// --- hand-over -----------------------------------------------------------------------------------

void Control::on_worker_quiet(unsigned index, std::uint64_t hand_over) {
  if (!topology_->holding || !quiet_.say(index, hand_over)) return;
  for (size_t i = 0; i < process_.workers.size(); ++i) {
    if (!quiet_.is_quiet(i) && !pulses_[i].ended) return;
  }
  group_->on_drained();
}

// Draining begins when the group has another primary, or is known to have none that is fit.
void Control::step_down() {
  stepping_down_ = true;
  step_down_deadline_ms_ =
      uv_now(&loop_) + std::min<uint64_t>(settings_->limits.drain_timeout_ms / 2, kStepDownMsMax);
  group_->switch_over("", [this](const std::string& why_not) {
    if (!stepping_down_) return;
    if (why_not.empty()) {
      log_info("stepped_down", {{"epoch", topology_->epoch}});
    } else {
      log_warning("not_stepped_down", {{"reason", why_not}});
    }
    drain_workers();
  });
}

// --- wishes --------------------------------------------------------------------------------------

void Control::ask_group(Wish::Kind kind, const std::string& node, const Wishes::Answer& answer) {
  const char* const what = name_of(kind);
  const bool members = kind == Wish::Kind::kRemove || kind == Wish::Kind::kAdd;
  const char* const key = members ? "node" : "to";
  log_info(what, {{key, node}});
  const auto told = [what, key, node, answer](const std::string& why_not) {
    if (!why_not.empty()) {
      log_warning(std::string(what) + "_refused", {{key, node}, {"reason", why_not}});
    }
    answer(why_not);
  };
  if (!group_) return told("this node is in no cluster");
  switch (kind) {
    case Wish::Kind::kSwitchOver:
      return group_->switch_over(node, told);
    case Wish::Kind::kForce:
      return group_->force(node, told);
    case Wish::Kind::kRemove:
    case Wish::Kind::kAdd:
      return group_->change_members(kind, node, told);
  }
}

// What POST asks for: /switchover[?to=NODE], /elect?force=NODE, /member?remove=NODE or ?add=NODE.
std::optional<AdminResponse> Control::admin_action(std::string_view path, std::string_view query) {
  using Kind = Wish::Kind;
  Kind kind = Kind::kSwitchOver;
  std::string node;
  if (path == "/switchover") {
    node = query_value(query, "to");
  } else if (path == "/elect") {
    kind = Kind::kForce;
    node = query_value(query, "force");
    if (node.empty()) return text_page(400, "Which node? POST /elect?force=NODE");
  } else if (path == "/member") {
    node = query_value(query, "add");
    kind = node.empty() ? Kind::kRemove : Kind::kAdd;
    if (node.empty()) node = query_value(query, "remove");
    if (node.empty()) return text_page(400, "POST /member?remove=NODE, or /member?add=NODE");
  } else {
    return std::nullopt;
  }
  // Whoever asked looks at /status for how it goes on; what is refused at once is said at once.
  const uint64_t wish = ++last_wish_;
  if (wishes_.size() >= kWishesMax) wishes_.pop_front();
  wishes_.push_back({wish, "under way"});
  ask_group(kind, node, [this, wish](const std::string& why_not) {
    for (WishOutcome& each : wishes_) {
      if (each.id == wish)
        each.how = why_not.empty() ? "done" : std::string(kWishRefused) + why_not;
    }
  });
  const std::string& how = wishes_.back().how;
  if (how.starts_with(kWishRefused)) return text_page(409, how.substr(kWishRefused.size()));
  return text_page(202, "asked: wish " + std::to_string(wish));
}

}  // namespace azimuth
