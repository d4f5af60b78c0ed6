#include "health/tunnel_tree.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "conf/defects.h"
#include "conf/limits.h"

namespace azimuth {
namespace {

void erase_name(std::vector<std::string>& names, std::string_view name) {
  names.erase(std::remove(names.begin(), names.end(), name), names.end());
}

}  // namespace

std::vector<TreeChange> TunnelTree::update(Instant now, const TreeSight& sight) {
  sight_ = sight;
  take_in(now);
  leave_what_is_lost(now);
  const Wanted want = wanted();
  lift(now, want);
  place(now, want);
  economize(now, want);
  return std::exchange(changes_, {});
}

TreeOrder TunnelTree::order_of(std::string_view node) const {
  const auto found = links_.find(node);
  if (found == links_.end() || found->second.version == 0) return {};
  return {found->second.version, found->second.source};
}

const TreeNode* TunnelTree::find(std::string_view node) const {
  const auto found = std::find_if(sight_.nodes.begin(), sight_.nodes.end(),
                                  [&](const TreeNode& each) { return each.id == node; });
  return found == sight_.nodes.end() ? nullptr : &*found;
}

// What each has told, beside what it was ordered.
void TunnelTree::take_in(Instant now) {
  std::erase_if(links_, [&](const auto& entry) { return find(entry.first) == nullptr; });
  for (const TreeNode& node : sight_.nodes) {
    const auto [at, is_new] = links_.try_emplace(node.id);
    Link& link = at->second;
    if (is_new) {
      link.since = now;
      link.maybe.insert(std::string());
    }
    // (A suspicion is refuted as a rule: who still speaks is there.)
    const bool present = node.alive || node.heard;
    if (present && !link.present && !fit(node)) link.placed = false;
    link.present = present;
    if (!node.heard) {
      link.settled = false;
    } else if (!node.able) {
      link.source.clear();
      link.version = 0;
      link.maybe = {std::string()};
      link.settled = true;
    } else if (node.version != link.version) {
      link.maybe.insert(node.source);
      link.settled = false;
    } else {
      // Before the first order it has what it had from an earlier life of this leader.
      if (link.version == 0) link.source = node.source;
      link.maybe = {node.source};
      link.settled = node.source == link.source;
    }
    const bool there = fit(node) && link.settled;
    if (there || !node.alive)
      link.missing_since = kNever;
    else if (link.missing_since == kNever || node.copying)
      link.missing_since = now;
  }
}

std::string TunnelTree::lost(Instant now, const std::string& source) const {
  const TreeNode* node = find(source);
  if (node == nullptr || (!node->alive && !node->heard)) return source + " is gone";
  if (node->leaving) return source + " is about to leave";
  const Link& link = links_.find(source)->second;
  const bool moves = link.version != 0 && now < link.since + times_.moving;
  const bool just_begun = now < began_ + times_.moving + times_.moving;
  if (node->in_sync || moves || (!node->heard && just_begun)) return {};
  return source + (node->heard ? " is not in sync" : " does not answer");
}

void TunnelTree::leave_what_is_lost(Instant now) {
  for (const TreeNode& node : sight_.nodes) {
    Link& link = links_.find(node.id)->second;
    if (link.source.empty()) continue;
    std::string why = lost(now, link.source);
    if (why.empty() && now >= link.missing_since + times_.patience) {
      why = "no stream comes from " + link.source;
      link.shunned = link.source;
      link.shunned_until = now + times_.shun;
    }
    if (!why.empty()) order(now, node.id, {}, std::move(why));
  }
}

// One of the candidates; best the one that is it already, so that little moves.
std::string TunnelTree::head_of(const Names& candidates, const Names& dependants) const {
  std::string best;
  std::tuple<std::size_t, bool, bool> best_rank;
  for (const std::string& id : candidates) {
    const auto feeds = std::count_if(dependants.begin(), dependants.end(), [&](const auto& each) {
      return links_.find(each)->second.source == id;
    });
    const std::tuple rank{static_cast<std::size_t>(feeds), links_.find(id)->second.source.empty(),
                          find(id)->votes};
    if (!best.empty() && rank <= best_rank) continue;
    best = id;
    best_rank = rank;
  }
  return best;
}

// Where each would be best, by where they are and who is fit.
TunnelTree::Wanted TunnelTree::wanted() const {
  Wanted want;
  using Place = std::pair<std::string, std::string>;
  std::map<Place, Names> zones;  // region, zone: all there
  for (const TreeNode& node : sight_.nodes) {
    want[node.id];
    const bool near = node.region == sight_.region && node.zone == sight_.zone;
    if (sight_.wanted && !near && node.able) zones[{node.region, node.zone}].push_back(node.id);
  }
  std::map<std::string, Names> heads;  // by region
  for (const auto& [place, all] : zones) {
    Names able = all;
    std::erase_if(able, [&](const std::string& id) { return !fit(*find(id)); });
    const std::string head = head_of(able, all);
    for (const std::string& id : all) want[id] = id == head ? std::string() : head;
    if (!head.empty()) heads[place.first].push_back(head);
  }
  for (const auto& [region, of_zones] : heads) {
    if (region == sight_.region) continue;
    const std::string first = head_of(of_zones, of_zones);
    for (const std::string& id : of_zones) want[id] = id == first ? std::string() : first;
    // In a zone where nobody is fit yet.
    for (const TreeNode& node : sight_.nodes) {
      const bool alone = node.region == region && want[node.id].empty() && node.id != first;
      if (alone && node.able) want[node.id] = first;
    }
  }
  keep_enough_direct(want);
  return want;
}

TunnelTree::Names TunnelTree::fit_and_direct() const {
  Names names;
  for (const TreeNode& node : sight_.nodes) {
    if (fit(node) && links_.find(node.id)->second.source.empty()) names.push_back(node.id);
  }
  return names;
}

// `quorum` goes on without any one of them, and without any one zone, where there are so many.
bool TunnelTree::enough_direct(const Names& direct) const {
  const std::size_t needed = sight_.direct_needed;
  if (needed == 0 || defective(Defect::kTooFewDirect)) return true;
  std::size_t all = 0;
  std::map<std::pair<std::string, std::string>, std::size_t> fit_in, direct_in;
  for (const TreeNode& node : sight_.nodes) {
    if (!fit(node)) continue;
    ++all;
    ++fit_in[{node.region, node.zone}];
    const bool is_direct = std::find(direct.begin(), direct.end(), node.id) != direct.end();
    direct_in[{node.region, node.zone}] += is_direct;
  }
  if (direct.size() < std::min(needed + 1, all)) return false;
  return std::all_of(fit_in.begin(), fit_in.end(), [&](const auto& entry) {
    const bool near = entry.first == std::pair(sight_.region, sight_.zone);
    return near || direct.size() - direct_in[entry.first] >= std::min(needed, all - entry.second);
  });
}

void TunnelTree::keep_enough_direct(Wanted& want) const {
  Names direct;
  std::vector<const TreeNode*> others;
  for (const TreeNode& node : sight_.nodes) {
    if (!fit(node)) continue;
    if (want[node.id].empty())
      direct.push_back(node.id);
    else
      others.push_back(&node);
  }
  // Those who are direct already, who vote, who are near, by id.
  const auto rank = [&](const TreeNode* node) {
    return std::tuple(!links_.find(node->id)->second.source.empty(), !node->votes,
                      node->region != sight_.region);
  };
  std::stable_sort(others.begin(), others.end(),
                   [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
  // The first that mends anything: one more of a zone whose loss is provided for would not.
  while (!enough_direct(direct) && !others.empty()) {
    auto chosen = others.begin();
    for (auto each = others.begin(); each != others.end(); ++each) {
      direct.push_back((*each)->id);
      const bool mends = enough_direct(direct);
      direct.pop_back();
      if (!mends) continue;
      chosen = each;
      break;
    }
    direct.push_back((*chosen)->id);
    want[(*chosen)->id].clear();
    others.erase(chosen);
  }
}

// Safety does not wait.
void TunnelTree::lift(Instant now, const Wanted& want) {
  Names direct = fit_and_direct();
  for (const TreeNode& node : sight_.nodes) {
    if (enough_direct(direct)) return;
    if (!fit(node) || !want.find(node.id)->second.empty()) continue;
    if (links_.find(node.id)->second.source.empty()) continue;
    order(now, node.id, {}, "too few replicate straight from the primary");
    direct.push_back(node.id);
  }
}

// Who has just come, or come back, and whose tunnel leads nowhere yet.
void TunnelTree::place(Instant now, const Wanted& want) {
  for (const TreeNode& node : sight_.nodes) {
    Link& link = links_.find(node.id)->second;
    if (!node.alive || std::exchange(link.placed, true)) continue;
    const std::string& source = want.find(node.id)->second;
    if (fit(node) || node.copying || source.empty() || source == link.source) continue;
    if (may_feed(now, source, node.id)) order(now, node.id, source, "its first place");
  }
}

// One at a time: who moves is without its stream for a moment.
void TunnelTree::economize(Instant now, const Wanted& want) {
  if (sight_.quiet || now < began_ + times_.apart) return;
  for (const TreeNode& node : sight_.nodes) {
    const Link& link = links_.find(node.id)->second;
    if (node.alive && link.version != 0 && !link.settled) return;
  }
  for (const TreeNode& node : sight_.nodes) {
    const Link& link = links_.find(node.id)->second;
    const std::string& source = want.find(node.id)->second;
    if (source == link.source || !fit(node) || !link.settled || now < link.since + times_.apart)
      continue;
    if (source.empty()) return order(now, node.id, {}, "it has its place there");
    const TreeNode* feeder = find(source);
    const bool near = feeder->offset + kTunnelMoveLagBytesMax >= node.offset &&
                      node.offset + kTunnelMoveLagBytesMax >= feeder->offset;
    if (!near || !may_feed(now, source, node.id)) continue;
    Names direct = fit_and_direct();
    erase_name(direct, node.id);
    if (!enough_direct(direct)) continue;
    return order(now, node.id, source, source + " is nearer than the primary");
  }
}

// Its way to the primary, as each on it was ordered and has told.
bool TunnelTree::may_feed(Instant now, const std::string& source, const std::string& node) const {
  const Link& own = links_.find(node)->second;
  if (own.shunned == source && now < own.shunned_until) return false;
  std::size_t depth = 1;
  for (std::string at = source; !at.empty(); ++depth) {
    const TreeNode* next = find(at);
    if (next == nullptr || !fit(*next) || at == node || depth > kTunnelDepthMax) return false;
    const Link& link = links_.find(at)->second;
    if (!link.settled) return false;
    at = link.source;
  }
  return depth + height_below(node) <= kTunnelDepthMax;
}

// By what their tunnels may lead to, of which no order makes a ring; the bound is for what a
// node might tell that lies.
std::size_t TunnelTree::height_below(std::string_view node) const {
  std::set<std::string, std::less<>> above{std::string(node)};
  std::size_t height = 0;
  for (; height <= kTunnelDepthMax; ++height) {
    std::set<std::string, std::less<>> below;
    for (const auto& [id, link] : links_) {
      const bool fed = std::any_of(link.maybe.begin(), link.maybe.end(),
                                   [&](const auto& source) { return above.contains(source); });
      if (fed) below.insert(id);
    }
    if (below.empty()) break;
    above = std::move(below);
  }
  return height;
}

void TunnelTree::order(Instant now, const std::string& node, const std::string& source,
                       std::string why) {
  Link& link = links_.find(node)->second;
  changes_.push_back({node, link.source, source, std::move(why)});
  link.source = source;
  link.version = ++last_version_;
  link.since = now;
  link.settled = false;
  link.maybe.insert(source);
  // A new way has its own time to bring something.
  link.missing_since = now;
}

}  // namespace azimuth
