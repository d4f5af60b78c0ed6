#include "tests/sim/world.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "tests/sim/data_path.h"

namespace azimuth::sim {

World::World(const Plan& of, bool verbose)
    : random(of.seed * 2),
      network(scheduler, random, of.machines.size()),
      checker(*this),
      sessions(*this),
      plan(of),
      verbose_(verbose) {
  network.weather = of.weather;
  for (std::size_t i = 0; i < of.machines.size(); ++i) {
    const MachinePlan& machine = of.machines[i];
    servers_.push_back(std::make_unique<RedisServer>(*this, i, machine.redis));
    nodes_.push_back(std::make_unique<Node>(*this, i, machine.node, machine.clock));
  }
}

// What is on its way over a link names the link.
World::~World() {
  for (const std::weak_ptr<Link>& each : links_) {
    if (const LinkRef link = each.lock()) link->up.queue.clear(), link->down.queue.clear();
  }
}

void World::start(std::size_t index) {
  if (member(index)) server(index).start();
  checker.on_start(index);
  node(index).start();
}

std::optional<std::size_t> World::leader() const {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < size(); ++i) {
    if (nodes_[i]->lease_holds(nodes_[i]->view().epoch)) found = i;
  }
  return found;
}

bool World::whole() const { return why_not_whole().empty(); }

std::string World::why_not_whole(bool all_run) const {
  const std::optional<std::size_t> primary = leader();
  if (!primary) {
    std::string text = "no leader:";
    for (const auto& node : nodes_) {
      text += " " + node->setup().id + (node->running() ? ": " + node->view().why : " is down");
      text += ";";
    }
    return text;
  }
  const GroupView& view = nodes_[*primary]->view();
  if (!view.leader_ready) return "the leader is not ready";
  for (std::size_t i = 0; i < size(); ++i) {
    const Node& node = *nodes_[i];
    const std::string& id = node.setup().id;
    if (!node.running() && all_run) return id + " is down";
    if (!node.running() || (!all_run && view.electorate.removes(id))) continue;
    if (node.view().epoch != view.epoch || node.view().leader != view.leader) {
      return id + " is in epoch " + std::to_string(node.view().epoch) + " of " +
             node.view().leader + " and not in " + std::to_string(view.epoch) + " of " +
             view.leader + ": " + node.view().why;
    }
    if (i == *primary || !member(i)) continue;
    const LocalRedis& redis = node.facts();
    if (redis.done != OrderKind::kFollow || redis.done_epoch != view.epoch) {
      return "the Redis of " + id + " does not follow: " + node.view().why;
    }
  }
  return {};
}

std::size_t World::index_of(std::string_view id) const {
  std::size_t index = 0;
  std::from_chars(id.data() + 1, id.data() + id.size(), index);
  return index;
}

std::size_t World::index_at(std::string_view address) const {
  std::size_t index = 0;
  std::from_chars(address.data() + 7, address.data() + address.size(), index);
  return index;
}

std::string World::address_of(std::size_t index) const {
  return "10.0.0." + std::to_string(index) + ":7380";
}

std::string World::announced(std::size_t index) const {
  return "10.0.0." + std::to_string(index) + " 6379";
}

std::vector<std::string> World::seeds(std::size_t index) const {
  std::vector<std::string> addresses;
  for (std::size_t i = 0; i < std::min<std::size_t>(size(), 3); ++i) {
    if (i != index) addresses.push_back(address_of(i));
  }
  return addresses;
}

std::shared_ptr<Wire> World::dial_tunnel(std::size_t machine, std::uint16_t port) {
  const std::uint64_t epoch = nodes_[machine]->tunnel_epoch(port);
  if (epoch == 0) return nullptr;
  std::erase_if(tunnels_, [](const auto& tunnel) { return tunnel->closed(); });
  tunnels_.push_back(std::make_shared<Tunnel>(*this, machine, epoch));
  std::shared_ptr<Wire> wire = tunnels_.back()->near_wire();
  scheduler.after(us(10), [tunnel = tunnels_.back()] { tunnel->on_turn(tunnel->near()); });
  return wire;
}

// Copies, here and below: what is told to a tunnel may make another one.
void World::cut_tunnels(std::size_t near) {
  for (const auto& tunnel : std::vector(tunnels_)) {
    if (tunnel->near() == near) tunnel->cut_near();
  }
}

void World::on_redis_gone(std::size_t machine) {
  for (const auto& tunnel : std::vector(tunnels_)) tunnel->on_redis_gone(machine);
  nodes_[machine]->on_redis_gone();
}

void World::on_node_gone(std::size_t machine, bool machine_too) {
  for (const auto& tunnel : std::vector(tunnels_)) tunnel->on_node_gone(machine, machine_too);
  for (const auto& each : std::vector(links_)) {
    const LinkRef link = each.lock();
    if (!link) continue;
    if (link->near == machine) {
      link->near_gone = true;
      link->up.queue.clear();
    }
    if (link->far != machine || link->far_boot == 0) continue;
    // A dead machine says nothing: the other end finds out by its silence.
    link->far_gone = true;
    scheduler.after(machine_too ? seconds_of(2) : network.delay(),
                    [this, link] { break_link(link); });
  }
  sessions.on_node_gone(machine);
}

void World::add_link(const LinkRef& link) {
  std::erase_if(links_, [](const auto& each) { return each.expired(); });
  links_.push_back(link);
}

void World::break_link(const LinkRef& link) {
  link->far_gone = true;
  link->up.queue.clear();
  link->down.queue.clear();
  nodes_[link->near]->work([link](DataPath& data) { data.on_link_end(link, link->sent); });
}

void World::reply_to_session(std::size_t session, std::uint64_t connection, Time when,
                             const Reply& reply) {
  scheduler.at(
      when, [this, session, connection, reply] { sessions.on_reply(session, connection, reply); });
}

void World::on_tap_bytes(std::size_t machine, std::uint64_t offset) {
  nodes_[machine]->on_tap_bytes(offset);
}

void World::on_tap_end(std::size_t machine) { nodes_[machine]->on_tap_end(); }

void World::on_full_sync(std::size_t machine, const Snapshot& incoming) {
  const DataSet& old = servers_[machine]->redis()->data();
  trace(machine, "full sync, " + std::to_string(incoming.data.count) + " writes over " +
                     std::to_string(old.count));
  if (!old.empty()) ++full_syncs_over_data_;
  checker.on_full_sync(machine, old, incoming);
}

void World::on_fence_lifted(std::size_t machine) { checker.on_fence_lifted(machine); }

void World::on_turn(std::size_t machine) {
  checker.on_turn(machine);
  for (const auto& tunnel : tunnels_) tunnel->on_turn(machine);
}

void World::on_save(std::size_t machine, const GroupState* before, const GroupState& after) {
  checker.on_save(machine, before, after);
}

void World::on_group_message(std::size_t machine, std::string_view to,
                             const GroupMessage& message) {
  checker.on_message(machine, to, message);
}

void World::on_flush(std::size_t machine, std::uint64_t epoch) { checker.on_flush(machine, epoch); }

void World::on_executed(std::size_t machine, WriteId id, std::uint64_t epoch,
                        const Values& before) {
  checker.on_executed(machine, id, epoch, before);
}

void World::on_acked(std::size_t machine, WriteId id, bool quorum) {
  checker.on_acked(machine, id, quorum);
}

void World::trace(std::size_t machine, std::string_view what) {
  scheduler.note(what);
  if (!verbose_) return;
  std::printf("%9.3f %-4s %.*s\n", static_cast<double>(scheduler.now()) / 1000.0,
              nodes_[machine]->setup().id.c_str(), static_cast<int>(what.size()), what.data());
}

void World::trace_state() {
  for (std::size_t i = 0; i < size(); ++i) {
    const LocalRedis& redis = nodes_[i]->facts();
    const GroupState* state = nodes_[i]->state();
    if (state == nullptr) continue;
    std::string text =
        "state: promised " + std::to_string(state->promised) + " to " + state->promised_to +
        ", accepted " + std::to_string(state->accepted) + " of " + state->leader + ", electorate " +
        std::to_string(state->electorate.epoch) + "." + std::to_string(state->electorate.version);
    for (const std::string& voter : state->electorate.voters) text += " " + voter;
    text += state->forgetful ? ", forgetful" : "";
    text += "; redis";
    text += redis.alive ? " alive" : " dead";
    text += redis.loading ? " loading" : "";
    text += redis.master ? " master" : redis.link_up ? " replica" : " replica without link";
    text += state->intact_run_id == redis.run_id ? " intact" : " not intact";
    text += ", done " + std::string(to_string(redis.done)) + " " +
            std::to_string(redis.done_epoch) + ", offset " + std::to_string(redis.offset);
    if (const FakeRedis* process = servers_[i]->redis()) {
      text += ", holds " + std::to_string(process->data().count);
    }
    trace(i, text);
  }
}

void World::fail(std::size_t machine, std::string_view kind, std::string_view what) {
  trace(machine, std::string(kind) + ": " + std::string(what));
  if (failure_) return;
  // With the last voters' disks the group is gone, and one that was taken out may found another.
  if (plan.changes_members && checker.majority_forgot()) return;
  trace_state();
  failure_ =
      Failure{scheduler.now(), nodes_[machine]->setup().id, std::string(kind), std::string(what)};
}

}  // namespace azimuth::sim
