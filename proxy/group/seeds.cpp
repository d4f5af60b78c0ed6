#include "proxy/group/seeds.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "proxy/control/log.h"
#include "proxy/peer/datagram_socket.h"

namespace azimuth {
namespace {

constexpr Duration kLookupPoll = milliseconds(20);
constexpr Duration kAgainAlone = seconds(2);
constexpr Duration kAgain = seconds(60);

}  // namespace

Seeds::Seeds(const std::vector<Endpoint>& endpoints, std::string own)
    : endpoints_(endpoints), own_(std::move(own)), next_(kNever) {
  for (const Endpoint& endpoint : endpoints) {
    if (const auto address = numeric_address(endpoint)) {
      numeric_.push_back(datagram_address_text(address->get()));
    } else {
      names_.push_back({endpoint, {}, {}});
      next_ = Instant{};
    }
  }
  gather();
}

bool Seeds::on_tick(Instant now, bool alone) {
  if (alone && !names_.empty()) next_ = earlier_of(next_, now + kAgainAlone);
  if (now < next_) return false;
  bool changed = false;
  if (lookup_.running()) {
    std::optional<NameLookup::Answer> answer = lookup_.fetch();
    if (!answer) {
      next_ = now + kLookupPoll;
      return false;
    }
    changed = take(std::move(*answer));
    if (++at_ == names_.size()) {
      at_ = 0;
      next_ = now + (alone ? kAgainAlone : kAgain);
      return changed;
    }
  }
  lookup_.start(names_[at_].endpoint);
  next_ = now + kLookupPoll;
  return changed;
}

bool Seeds::take(NameLookup::Answer answer) {
  Seed& seed = names_[at_];
  if (answer.addresses.empty()) {
    if (seed.error != answer.error) {
      log_warning("seed_unknown", {{"seed", to_string(seed.endpoint)},
                                   {"reason", answer.error},
                                   {"advice", "correct cluster.seeds, or the name server"}});
    }
    seed.error = answer.error;
    return false;  // what was known is better than nothing
  }
  seed.error.clear();
  seed.addresses.clear();
  for (const SocketAddress& each : answer.addresses) {
    seed.addresses.push_back(datagram_address_text(each.get()));
  }
  return gather();
}

bool Seeds::gather() {
  std::vector<std::string> all = numeric_;
  for (const Seed& each : names_) {
    all.insert(all.end(), each.addresses.begin(), each.addresses.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::erase(all, own_);
  const bool changed = all != addresses_;
  addresses_ = std::move(all);
  return changed;
}

std::string Seeds::text() const {
  std::string out;
  for (const Endpoint& each : endpoints_) {
    out += (out.empty() ? "" : ", ") + to_string(each);
    for (const Seed& name : names_) {
      if (name.endpoint == each && !name.error.empty()) out += " (" + name.error + ")";
    }
  }
  return out;
}

}  // namespace azimuth
