// The addresses of the seeds: what the settings write as numbers or names, as numbers.
//
// Invariants: a look-up blocks nobody, and one is under way at a time; an address that was found
// stays until its name resolves to another. Names are looked up anew, often while the node is alone
// and seldom later: where a pod is rescheduled its name finds it again. Owned by one thread; the
// owner calls on_tick() when next_wakeup() has come.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "conf/endpoint.h"
#include "conf/instant.h"
#include "proxy/control/name_lookup.h"

namespace azimuth {

class Seeds {
 public:
  // `own`: this node's advertised address, which is no seed of itself.
  Seeds(const std::vector<Endpoint>& endpoints, std::string own);

  // `alone`: no other node is known. True: addresses() has changed.
  bool on_tick(Instant now, bool alone);
  Instant next_wakeup() const { return next_; }
  const std::vector<std::string>& addresses() const { return addresses_; }
  // As the settings write them, for people: "a:7380 (unknown name), 10.0.0.1:7380".
  std::string text() const;

 private:
  struct Seed {
    Endpoint endpoint;
    std::vector<std::string> addresses;
    std::string error;  // of the last look-up
  };

  bool take(NameLookup::Answer answer);
  bool gather();

  std::vector<Seed> names_;
  std::vector<Endpoint> endpoints_;
  const std::string own_;
  std::vector<std::string> numeric_;
  std::vector<std::string> addresses_;
  NameLookup lookup_;
  std::size_t at_ = 0;  // of names_: that is looked up, or is next
  Instant next_;
};

}  // namespace azimuth
