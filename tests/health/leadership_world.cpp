#include "leadership_world.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>
#include <utility>

namespace azimuth::test {
namespace {

constexpr std::int64_t kOrderMs = 3;  // a Redis needs to do what it is told
// Speaks only when it fails, so that the events before it are shown.
void expect(bool holds, const char* what) {
  if (!holds) FAIL(what);
}

constexpr std::int64_t kSuspectMs = 600;  // gossip needs to find a node dead

}  // namespace

std::uint64_t World::random() {
  random_ ^= random_ << 13U;
  random_ ^= random_ >> 7U;
  random_ ^= random_ << 17U;
  return random_;
}

Node& World::add(const std::string& id, bool member, std::uint32_t expect) {
  Node& node = nodes_[id];
  node.settings.cluster = "test";
  node.settings.node = id;
  node.settings.has_redis = member;
  node.settings.bootstrap_expect = expect;
  if (member) start_redis(id);
  return node;
}

void World::start(const std::string& id) {
  Node& node = nodes_.at(id);
  node.boot = next_id_++;
  node.machine = std::make_unique<Leadership>(node.settings, node.disk, node.boot, Instant{now_});
  std::erase_if(told_, [&](const auto& entry) { return entry.first.first == id; });
  reported_.erase(id);
  collect(id);
}

void World::kill(const std::string& id) {
  nodes_.at(id).machine.reset();
  nodes_.at(id).down_since = now_;
}

void World::leave(const std::string& id) {
  nodes_.at(id).machine->on_rest(Instant{now_});
  collect(id);
  kill(id);
  nodes_.at(id).down_since = now_ - kSuspectMs;
}

void World::kill_redis(const std::string& id) {
  FakeRedis& redis = nodes_.at(id).redis;
  redis.alive = false;
  redis.words.clear();
}

void World::start_redis(const std::string& id, Words words) {
  FakeRedis fresh;
  fresh.run_id = "run" + std::to_string(next_id_++);
  fresh.replid = "own" + std::to_string(next_id_++);
  fresh.words = std::move(words);
  fresh.order = nodes_.at(id).redis.order;
  fresh.order_at = now_;
  nodes_.at(id).redis = std::move(fresh);
}

void World::cut(const std::string& a, const std::string& b) {
  cuts_.emplace(std::pair(a, b), now_);
  cuts_.emplace(std::pair(b, a), now_);
}

void World::isolate(const std::string& id) {
  for (const auto& [other, node] : nodes_)
    if (other != id) cut(id, other);
}

bool World::linked(const std::string& a, const std::string& b) const {
  return cuts_.count({a, b}) == 0;
}

// What the machine has to say: saved first, then sent.
void World::collect(const std::string& id) {
  Node& node = nodes_.at(id);
  LeadershipOutbox out = node.machine->take_outbox();
  if (out.save) {
    if (node.disk) {
      expect(out.save->promised >= node.disk->promised,
             "out.save->promised >= node.disk->promised");
      expect(out.save->accepted >= node.disk->accepted,
             "out.save->accepted >= node.disk->accepted");
    }
    expect(out.save->promised >= out.save->accepted, "out.save->promised >= out.save->accepted");
    const Result<GroupState> again = decode_group_state(encode(*out.save));
    expect(again.ok(), "again.ok()");
    expect(*again == *out.save, "*again == *out.save");
    node.disk = std::move(out.save);
  }
  for (LeadershipOutbox::Send& send : out.sends) {
    if (filter && !filter(id, send.to, send.message)) continue;
    const std::string bytes = encode(send.message);
    Result<GroupMessage> message = decode_group_message(bytes);
    expect(message.ok(), "message.ok()");
    expect(*message == send.message, "*message == send.message");
    const auto drawn = static_cast<double>(random() % 1'000'000) / 1e6;
    if (drawn < loss || nodes_.count(send.to) == 0) continue;
    const std::int64_t late =
        jitter == 0 ? 0 : static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(jitter));
    letters_.emplace(now_ + delay + late, Letter{id, send.to, std::move(*message)});
  }
  node.results.insert(node.results.end(), out.results.begin(), out.results.end());
  for (const LeadershipOutbox::Event& event : out.events) {
    ++events_[event.name];
    if (std::getenv("AZIMUTH_LEADERSHIP_LOG"))
      std::cerr << now_ << " " << id << " " << event.name << " " << event.text << "\n";
    UNSCOPED_INFO(now_ << " " << id << " " << event.name << " " << event.text);
  }
  if (out.order != node.redis.order) {
    node.redis.order = out.order;
    node.redis.order_at = now_;
  }
}

Outcome World::switch_over(const std::string& asked, const std::string& to) {
  Outcome outcome = nodes_.at(asked).machine->switch_over(Instant{now_}, to);
  collect(asked);
  return outcome;
}

void World::change_members(const std::string& asked, Wish::Kind kind, const std::string& node,
                           std::uint64_t id) {
  nodes_.at(asked).machine->change_members(Instant{now_}, kind, node, id);
  collect(asked);
}

void World::inject(const std::string& to, const std::string& from, const GroupMessage& message) {
  nodes_.at(to).machine->on_message(Instant{now_}, from, message, random());
  collect(to);
}

Outcome World::force(const std::string& asked, const std::string& to) {
  Outcome outcome = nodes_.at(asked).machine->force(Instant{now_}, to);
  if (!outcome) UNSCOPED_INFO(now_ << " " << asked << " refused: " << outcome.error().message);
  collect(asked);
  return outcome;
}

void World::deliver() {
  while (!letters_.empty() && letters_.begin()->first <= now_) {
    const Letter letter = std::move(letters_.begin()->second);
    letters_.erase(letters_.begin());
    Node& to = nodes_.at(letter.to);
    if (!to.machine || !linked(letter.from, letter.to)) continue;
    if (to.paused) {
      letters_.emplace(now_ + 1, letter);
      continue;
    }
    to.machine->on_message(Instant{now_}, letter.from, letter.message, random());
    collect(letter.to);
  }
}

void World::gossip() {
  for (auto& [id, node] : nodes_) {
    if (!node.machine || node.paused) continue;
    for (auto& [other, peer] : nodes_) {
      if (other == id || (!peer.machine && peer.boot == 0)) continue;
      PeerFacts facts;
      const auto since = cuts_.find({other, id});
      facts.alive = peer.machine ? since == cuts_.end() || now_ - since->second < kSuspectMs
                                 : now_ - peer.down_since < kSuspectMs;
      facts.member = peer.settings.has_redis;
      facts.wants_vote = peer.settings.wants_vote;
      facts.has_state = peer.machine && peer.machine->state().electorate.version > 0;
      facts.redis_ready = peer.redis.alive;
      facts.redis_empty = peer.redis.words.empty();
      facts.boot = peer.boot;
      facts.epoch = peer.machine ? peer.machine->state().accepted : 0;
      facts.bootstrap_expect = peer.settings.bootstrap_expect;
      PeerFacts& told = told_[{id, other}];
      if (told == facts) continue;
      told = facts;
      node.machine->on_peer(Instant{now_}, other, facts);
      collect(id);
    }
  }
}

// A replica takes the whole of its leader's list: what both have, it need not copy.
void World::step_redis(const std::string& id) {
  FakeRedis& redis = nodes_.at(id).redis;
  if (!redis.alive || !nodes_.at(id).settings.has_redis) return;
  const bool is_fence = redis.order.kind == OrderKind::kFence && redis.fenced;
  const RedisOrder order = redis.trouble.empty() || is_fence ? redis.order : redis.done;
  if (now_ < redis.order_at + kOrderMs || !nodes_.at(id).machine) return;
  const std::int64_t size = static_cast<std::int64_t>(redis.words.size());
  redis.link_up = false;
  redis.fenced = order.kind != OrderKind::kLead;
  switch (order.kind) {
    case OrderKind::kFence:
    case OrderKind::kStand:
      redis.done = order;
      break;
    case OrderKind::kLead:
      if (!redis.master || redis.replid.rfind("own", 0) == 0) {
        redis.replid2 = std::exchange(redis.replid, "lineage" + std::to_string(next_id_++));
        redis.second_offset = size + 1;
        redis.master = true;
      }
      redis.done = order;
      break;
    case OrderKind::kFollow: {
      redis.master = false;
      const auto found = nodes_.find(order.leader);
      const FakeRedis& from = found->second.redis;
      const bool up = found->second.machine && !found->second.paused &&
                      found->second.machine->view().lease_until > Instant{now_} && from.alive &&
                      !found->second.machine->view().electorate.removes(id) && from.master &&
                      from.replid == order.replid && linked(id, order.leader) &&
                      linked(order.leader, id);
      if (!up) break;
      if (redis.replid != from.replid) {
        redis.replid2 = std::exchange(redis.replid, from.replid);
        redis.second_offset = size + 1;
      }
      redis.words = from.words;
      redis.link_up = true;
      redis.done = order;
      break;
    }
  }
}

void World::report_redis(const std::string& id) {
  Node& node = nodes_.at(id);
  if (!node.machine || node.paused || !node.settings.has_redis) return;
  const FakeRedis& redis = node.redis;
  LocalRedis facts;
  facts.alive = redis.alive;
  if (redis.alive) {
    facts.loading = redis.loading;
    facts.master = redis.master;
    facts.link_up = redis.link_up;
    facts.empty = redis.words.empty();
    facts.fenced = redis.fenced;
    facts.run_id = redis.run_id;
    facts.replid = redis.replid;
    facts.replid2 = redis.replid2;
    facts.second_offset = redis.second_offset;
    facts.offset = redis.words.size();
    facts.trouble = redis.trouble;
    if (redis.done.kind == redis.order.kind && redis.done.epoch == redis.order.epoch) {
      facts.done = redis.done.kind;
      facts.done_epoch = redis.done.epoch;
    }
  }
  const auto found = reported_.find(id);
  constexpr std::int64_t kRoundMs = 50;
  facts.asked.at = Instant{now_};
  const bool known = found != reported_.end() && found->second == facts;
  const bool due =
      redis_rounds && redis.alive && known && now_ >= found->second.asked.at.ms + kRoundMs;
  if (known && !due) return;
  reported_[id] = facts;
  node.machine->on_redis(Instant{now_}, facts);
  collect(id);
}

void World::check() {
  std::set<std::string> leased;
  for (const auto& [id, node] : nodes_) {
    if (!node.machine) continue;
    const GroupView& view = node.machine->view();
    if (view.lease_until <= Instant{now_}) continue;
    leased.insert(id);
    const auto [entry, first] = leaders_.emplace(node.machine->state().accepted, id);
    expect(entry->second == id, "entry->second == id");
    highest_epoch_ = std::max(highest_epoch_, entry->first);
  }
  expect(leased.size() <= 1, "leased.size() <= 1");
}

bool World::majority_remembers_without(const std::string& id) const {
  const auto remember = std::count_if(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
    const std::optional<GroupState>& disk = entry.second.disk;
    return entry.first != id && disk && disk->electorate.version > 0 && !disk->forgetful;
  });
  return static_cast<std::size_t>(remember) > nodes_.size() / 2;
}

bool World::has(const std::string& id, const std::string& word) const {
  const Words& words = nodes_.at(id).redis.words;
  return std::find(words.begin(), words.end(), word) != words.end();
}

void World::check_writes() {
  const auto copies = [&](const std::string& word) {
    return static_cast<std::size_t>(std::count_if(
        nodes_.begin(), nodes_.end(), [&](const auto& entry) { return has(entry.first, word); }));
  };
  std::erase_if(written_, [&](const auto& entry) {
    const auto& [word, at] = entry;
    const Node& node = nodes_.at(at.by);
    if (!node.machine || node.machine->state().accepted != at.epoch) return true;
    const GroupView& view = node.machine->view();
    if (!view.leading || view.lease_until <= Instant{now_}) return true;
    if (copies(word) < view.quorum_copies) return false;
    acknowledged_.insert(word);
    return true;
  });
  const std::string led = leader();
  if (led.empty()) return;
  const std::pair ready(nodes_.at(led).machine->state().accepted, led);
  if (ready == last_ready_) return;
  last_ready_ = ready;
  std::erase_if(acknowledged_, [&](const std::string& word) { return copies(word) == 0; });
  for (const std::string& word : acknowledged_) {
    if (!has(led, word)) FAIL(led << " leads epoch " << ready.first << " without " << word);
  }
}

void World::run(std::int64_t ms) {
  for (const std::int64_t end = now_ + ms; now_ < end;) {
    ++now_;
    deliver();
    gossip();
    for (auto& [id, node] : nodes_) {
      step_redis(id);
      report_redis(id);
      if (!node.machine || node.paused) continue;
      if (node.machine->view().handing_over && handed_over_drains) {
        node.machine->on_drained(Instant{now_});
        collect(id);
      }
      if (node.machine->next_wakeup() > Instant{now_}) continue;
      node.machine->on_tick(Instant{now_}, random());
      collect(id);
    }
    check();
    check_writes();
  }
}

bool World::run_until(const std::function<bool()>& condition, std::int64_t ms) {
  for (const std::int64_t end = now_ + ms; now_ < end; run(1))
    if (condition()) return true;
  return condition();
}

std::string World::leader() const {
  for (const auto& [id, node] : nodes_) {
    if (node.machine && !node.paused && node.machine->view().leading &&
        node.machine->view().leader_ready && !node.redis.fenced &&
        node.machine->view().lease_until > Instant{now_})
      return id;
  }
  return {};
}

bool World::settled() const {
  const std::string led = leader();
  if (led.empty()) return false;
  const FakeRedis& primary = nodes_.at(led).redis;
  for (const auto& [id, node] : nodes_) {
    if (id == led || !node.machine) continue;
    if (node.machine->view().leader != led || !node.machine->view().leader_ready) return false;
    if (!node.settings.has_redis || !node.redis.alive) continue;
    if (!node.redis.link_up || node.redis.words != primary.words) return false;
    if (node.machine->state().intact_run_id != node.redis.run_id) return false;
  }
  return true;
}

bool World::run_until_settled(std::int64_t ms) {
  return run_until([&] { return settled(); }, ms);
}

bool World::write(const std::string& word) {
  const std::string led = leader();
  if (led.empty() || nodes_.at(led).machine->view().handing_over) return false;
  nodes_.at(led).redis.words.push_back(word);
  written_[word] = {led, nodes_.at(led).machine->state().accepted};
  return true;
}

World& three(World& world) {
  for (const char* id : {"a1", "b2", "c3"}) world.add(id);
  for (const char* id : {"a1", "b2", "c3"}) world.start(id);
  REQUIRE(world.run_until_settled());
  return world;
}

}  // namespace azimuth::test
