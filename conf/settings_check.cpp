#include "conf/settings_check.h"

#include <algorithm>
#include <utility>

#include "conf/quoted.h"
#include "conf/settings_table.h"

namespace azimuth {
namespace {

constexpr std::string_view kCertificateKeys[] = {"tls_cert_file", "tls_key_file", "tls_ca_file"};

class Checker {
 public:
  Checker(const Settings& settings, const Origins& origins, bool unread)
      : settings_(settings), origins_(origins), unread_(unread) {}

  std::vector<OriginError> run() {
    if (!unread_) {
      check_tables();
      check_required();
    }
    check_listeners();
    check_peer();
    check_cluster();
    check_back_pressure();
    check_limits();
    return std::move(errors_);
  }

 private:
  struct Listener {
    std::string_view section;
    std::size_t index;
    const Endpoint* address;
  };

  void say(const Origin& at, std::string message) { errors_.push_back({at, std::move(message)}); }
  void say(std::string_view section, std::string_view key, std::string message) {
    say(origins_.of(section, 0, key), std::move(message));
  }

  void check_tables() {
    if (settings_.listen.empty() && !origins_.given("listen", 0)) {
      say("", "", "no [[listen]]: write [[listen]] and address = \"127.0.0.1:6380\" under it");
    }
    const bool cluster = settings_.cluster || origins_.given("cluster", 0, "name");
    if (!settings_.redis && !origins_.given("redis", 0) && !cluster) {
      say("", "",
          "no [redis], and no [cluster] whose sidecar this could be: write [redis] and address = "
          "\"127.0.0.1:6379\" under it");
    }
    if (settings_.cluster && !settings_.peer && !origins_.given("peer", 0)) {
      say("cluster", "",
          "[cluster] needs to be reached by its nodes: write [peer] with address = "
          "\"0.0.0.0:7380\" and advertise");
    }
    if (settings_.peer && !settings_.cluster && !origins_.given("cluster", 0)) {
      say("peer", "", "[peer] is of no use without a cluster: write a [cluster] too, or no [peer]");
    }
  }

  void check_required() {
    for (const SettingRow& row : setting_rows()) {
      if (!row.required) continue;
      const std::size_t count = find_section(row.section)->count(settings_);
      for (std::size_t index = 0; index < count; ++index) {
        if (origins_.given(row.section, index, row.key)) continue;
        say(origins_.of(row.section, index),
            "[" + std::string(row.section) + "] lacks its " + std::string(row.key) + ": write " +
                std::string(row.key) + " = " + example_text(row) + " under it");
      }
    }
  }

  std::vector<Listener> listeners() const {
    std::vector<Listener> all;
    for (std::size_t i = 0; i < settings_.listen.size(); ++i) {
      all.push_back({"listen", i, &settings_.listen[i].address});
    }
    if (settings_.peer) all.push_back({"peer", 0, &settings_.peer->address});
    if (settings_.admin) all.push_back({"admin", 0, &settings_.admin->address});
    std::erase_if(all, [](const Listener& one) { return *one.address == Endpoint{}; });
    return all;
  }

  // With SO_REUSEPORT two listeners on one address do not fail: clients would reach either.
  static bool clash(const Endpoint& a, const Endpoint& b) {
    if (a.kind != b.kind) return false;
    if (a.kind == Endpoint::Kind::kUnix) return a == b;
    if (a.port != b.port || a.port == 0) return false;
    return a.host == b.host || ((is_wildcard(a) || is_wildcard(b)) && is_ipv6(a) == is_ipv6(b));
  }

  void check_listeners() {
    const std::vector<Listener> all = listeners();
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Endpoint& address = *all[i].address;
      const Origin& at = origins_.of(all[i].section, all[i].index, "address");
      const std::string name = "address = " + quoted_in_error(to_string(address));
      if (settings_.redis && settings_.redis->address != Endpoint{} &&
          reaches(settings_.redis->address, address)) {
        say(at, name +
                    " is where Redis is said to be (redis.address), so that azimuth would "
                    "connect to itself: write another one");
      }
      for (std::size_t j = 0; j < i; ++j) {
        if (!clash(address, *all[j].address)) continue;
        const Origin& taken = origins_.of(all[j].section, all[j].index, "address");
        say(later(at, taken), name + " is taken by another listener (" +
                                  (at.order < taken.order ? at : taken).position +
                                  "): write another one");
        break;
      }
    }
  }

  static const Origin& later(const Origin& a, const Origin& b) { return a.order < b.order ? b : a; }

  void check_peer() {
    if (!settings_.peer) return;
    if (is_wildcard(settings_.peer->address) && !origins_.given("peer", 0, "advertise")) {
      say("peer", "address",
          "[peer] lacks its advertise, since address is every interface and no address to tell "
          "others: write advertise = \"10.0.1.5:" +
              std::to_string(settings_.peer->address.port) + "\"");
    }
    const std::uint32_t least = settings_.peer->compression_level_min;
    const std::uint32_t most = settings_.peer->compression_level_max;
    if (least > most) {
      say(later(origins_.of("peer", 0, "compression_level_min"),
                origins_.of("peer", 0, "compression_level_max")),
          "compression_level_min = " + std::to_string(least) +
              " is above compression_level_max = " + std::to_string(most) +
              ": write a lower or a higher one");
    }
    check_certificates();
  }

  void check_certificates() {
    std::string_view given;
    for (const std::string_view key : kCertificateKeys) {
      if (origins_.given("peer", 0, key)) given = key;
    }
    if (given.empty()) return;
    for (const std::string_view key : kCertificateKeys) {
      if (unread_ || origins_.given("peer", 0, key)) continue;
      say("peer", given,
          std::string(given) + " goes with " + std::string(key) + ", which is not there: write " +
              std::string(key) + " = " + example_text(*find_setting("peer", key)) +
              " too, or none of the tls_ keys");
    }
    if (!settings_.peer->plaintext) return;
    say(later(origins_.of("peer", 0, "plaintext"), origins_.of("peer", 0, given)),
        "plaintext = true and certificates exclude each other: write plaintext = false, or no " +
            std::string(given));
  }

  void check_cluster() {
    if (!settings_.cluster) return;
    const ClusterSettings& cluster = *settings_.cluster;
    const bool alone = settings_.redis && cluster.bootstrap_expect <= 1;
    const bool known = !unread_ && origins_.sound("cluster", 0, "bootstrap_expect");
    if (cluster.seeds.empty() && !alone && known && origins_.sound("cluster", 0, "seeds")) {
      say("cluster", "seeds",
          "[cluster] lacks its seeds: write seeds = [\"10.0.1.5:7380\"] with some of its nodes");
    }
    // It would elect itself before it has heard anybody.
    const auto is_other = [&](const Endpoint& seed) {
      return settings_.peer && seed != settings_.peer->advertise && seed != settings_.peer->address;
    };
    if (alone && known && std::any_of(cluster.seeds.begin(), cluster.seeds.end(), is_other)) {
      say("cluster", "bootstrap_expect",
          "bootstrap_expect = 1 makes this node a cluster of its own, and seeds names others: "
          "write "
          "how many members the cluster began with, or no seeds");
    }
    check_below("probe_interval_ms", cluster.probe_interval_ms, "lease_ms", cluster.lease_ms,
                "write a shorter interval or a longer lease");
    // A suspect is asked again at least once before it counts as dead.
    check_below("probe_interval_ms", cluster.probe_interval_ms, "suspicion_ms",
                cluster.suspicion_ms, "write a shorter interval or a longer suspicion");
    if (cluster.backlog_bytes_min > cluster.backlog_bytes_max) {
      say(later(origins_.of("cluster", 0, "backlog_bytes_min"),
                origins_.of("cluster", 0, "backlog_bytes_max")),
          "backlog_bytes_min = " + std::to_string(cluster.backlog_bytes_min) +
              " is above backlog_bytes_max = " + std::to_string(cluster.backlog_bytes_max) +
              ": write a lower or a higher one");
    }
  }

  void check_below(std::string_view less, std::uint32_t value, std::string_view more,
                   std::uint32_t bound, std::string_view advice) {
    if (value < bound) return;
    say(later(origins_.of("cluster", 0, less), origins_.of("cluster", 0, more)),
        std::string(less) + " = " + std::to_string(value) + " is not below " + std::string(more) +
            " = " + std::to_string(bound) + ": " + std::string(advice));
  }

  void check_back_pressure() {
    const BackPressureSettings& ramp = settings_.back_pressure;
    check_ramp("start_bytes", ramp.start_bytes, "full_bytes", ramp.full_bytes);
    check_ramp("start_ms", ramp.start_ms, "full_ms", ramp.full_ms);
  }

  void check_ramp(std::string_view start, std::uint64_t from, std::string_view full,
                  std::uint64_t to) {
    if (from < to) return;
    say(later(origins_.of("back_pressure", 0, start), origins_.of("back_pressure", 0, full)),
        std::string(start) + " = " + std::to_string(from) + " is not below " + std::string(full) +
            " = " + std::to_string(to) + ": write where the ramp begins and where it ends");
  }

  void check_limits() {
    const LimitSettings& limits = settings_.limits;
    if (limits.client_output_bytes_max > limits.buffered_bytes_max) {
      say(later(origins_.of("limits", 0, "client_output_bytes_max"),
                origins_.of("limits", 0, "buffered_bytes_max")),
          "client_output_bytes_max = " + std::to_string(limits.client_output_bytes_max) +
              " is more than buffered_bytes_max = " + std::to_string(limits.buffered_bytes_max) +
              ", which all clients share: write a smaller or a larger one");
    }
  }

  const Settings& settings_;
  const Origins& origins_;
  bool unread_;
  std::vector<OriginError> errors_;
};

}  // namespace

void Origins::record(std::string_view section, std::size_t index, std::string_view key,
                     Origin origin) {
  auto place = std::tuple(std::string(section), index, std::string(key));
  if (key.empty()) {
    places_.try_emplace(std::move(place), std::move(origin));
  } else {
    places_.insert_or_assign(std::move(place), std::move(origin));
  }
}

void Origins::spoil(std::string_view section, std::size_t index, std::string_view key) {
  spoilt_.emplace(section, index, key);
}

bool Origins::sound(std::string_view section, std::size_t index, std::string_view key) const {
  return !spoilt_.contains(std::tuple(std::string(section), index, std::string(key)));
}

bool Origins::given(std::string_view section, std::size_t index, std::string_view key) const {
  return places_.contains(std::tuple(std::string(section), index, std::string(key)));
}

const Origin& Origins::of(std::string_view section, std::size_t index, std::string_view key) const {
  for (const std::string_view name : {key, std::string_view()}) {
    const auto place = places_.find(std::tuple(std::string(section), index, std::string(name)));
    if (place != places_.end()) return place->second;
  }
  return whole_;
}

std::vector<OriginError> check_settings(const Settings& settings, const Origins& origins,
                                        bool unread) {
  return Checker(settings, origins, unread).run();
}

}  // namespace azimuth
