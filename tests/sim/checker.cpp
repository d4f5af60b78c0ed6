#include "tests/sim/checker.h"

#include "tests/sim/world.h"

namespace azimuth::sim {

WriteId Checker::new_write(bool quorum) {
  (void)quorum;
  writes_.emplace_back();
  return static_cast<WriteId>(writes_.size() - 1);
}

void Checker::on_save(std::size_t node, const GroupState* before, const GroupState& after) {
  if (before == nullptr) return;
  if (after.promised < before->promised) world_.fail(node, "I1", "takes a promise back");
  if (after.accepted < before->accepted) world_.fail(node, "I1", "accepts an older epoch");
  if (before->electorate.newer_than(after.electorate)) {
    world_.fail(node, "I1", "goes back to an older electorate");
  }
  const bool changed = before->electorate.version > 0 &&
                       (after.electorate.voters != before->electorate.voters ||
                        after.electorate.removed != before->electorate.removed) &&
                       after.electorate.version == before->electorate.version + 1 &&
                       after.leader == after.node && after.accepted == after.electorate.epoch;
  if (changed) check_electorate(node, before->electorate);
}

// An electorate is changed again only when a majority of it has it on the disk.
void Checker::check_electorate(std::size_t node, const Electorate& before) {
  std::size_t know = 0;
  for (const std::string& voter : before.voters) {
    const GroupState* disk = world_.node(world_.index_of(voter)).on_disk();
    // (One that has lost its disk since the leader decided may have known: the save can be late.)
    if (disk == nullptr || !before.newer_than(disk->electorate)) ++know;
  }
  if (know < before.majority()) {
    world_.fail(node, "I1", "changes an electorate that no majority knows yet");
  }
}

void Checker::on_message(std::size_t node, std::string_view to, const GroupMessage& message) {
  const GroupState* disk = world_.node(node).on_disk();
  std::uint64_t said = 0;
  if (const auto* promise = std::get_if<Promise>(&message)) {
    said = promise->epoch;
    const auto [found, fresh] = promised_.try_emplace({node, said}, to);
    if (!fresh && found->second != to) {
      world_.fail(node, "I1",
                  "promises epoch " + std::to_string(said) + " to " + std::string(to) +
                      ", and has promised it to " + found->second);
    }
  }
  if (const auto* grant = std::get_if<Grant>(&message); grant != nullptr && grant->granted) {
    said = grant->epoch;
  }
  if (said > (disk != nullptr ? disk->promised : 0)) {
    world_.fail(node, "I1", "says a promise that is not on its disk: " + std::to_string(said));
  }
}

void Checker::on_start(std::size_t node) { last_epoch_.erase(node); }

void Checker::on_disk_lost(std::size_t loser) {
  std::erase_if(promised_, [&](const auto& entry) { return entry.first.first == loser; });
  Electorate newest;
  for (std::size_t node = 0; node < world_.size(); ++node) {
    const GroupState* disk = world_.node(node).on_disk();
    if (disk != nullptr && disk->electorate.newer_than(newest)) newest = disk->electorate;
  }
  std::size_t remember = 0;
  for (const std::string& voter : newest.voters) {
    const GroupState* disk = world_.node(world_.index_of(voter)).on_disk();
    if (disk != nullptr && disk->electorate.version > 0 && !disk->forgetful) ++remember;
  }
  if (remember >= newest.majority()) return;
  majority_forgot_ = true;
  history_.give_up();
  for (Write& write : writes_) {
    if (write.quorum_acked && !write.forgiven) ++quorum_forgiven_;
    write.forgiven = true;
  }
  leader_of_.clear();
  ready_.clear();
  newest_ = {};
}

void Checker::on_turn(std::size_t index) {
  const Node& node = world_.node(index);
  const GroupView& view = node.view();
  std::uint64_t& last = last_epoch_[index];
  if (view.epoch < last) {
    world_.fail(
        index, "I1",
        "goes back from epoch " + std::to_string(last) + " to " + std::to_string(view.epoch));
  }
  last = view.epoch;
  RedisServer& server = world_.server(index);
  if (server.redis() != nullptr && node.state()->intact_run_id == server.redis()->run_id()) {
    server.forgot = false;
  }
  check_ring(index);
  if (!node.lease_holds(view.epoch)) return;
  last_lease_[index] = world_.scheduler.now();
  world_.members.on_lease(index);
  const auto [found, fresh] = leader_of_.try_emplace(view.epoch, node.setup().id);
  if (!fresh && found->second != node.setup().id) {
    world_.fail(index, "I1",
                "leads epoch " + std::to_string(view.epoch) + ", which " + found->second + " led");
  }
  for (std::size_t other = 0; other < world_.size(); ++other) {
    if (other == index || !world_.node(other).running()) continue;
    if (world_.node(other).lease_holds(world_.node(other).view().epoch)) {
      world_.fail(index, "I2", "its lease lives beside that of " + world_.node(other).setup().id);
    }
  }
  if (view.leader_ready && !ready_.contains(view.epoch)) on_ready(index, view.epoch);
  if (view.leader_ready && !view.replid.empty()) lineages_.insert(view.replid);
}

void Checker::check_ring(std::size_t index) {
  const std::uint64_t epoch = world_.node(index).tunnel_epoch();
  std::size_t at = index;
  for (std::size_t hops = 0; hops <= world_.size(); ++hops) {
    const Node& node = world_.node(at);
    if (node.tunnel_epoch() != epoch || node.tunnel_source().empty()) return;
    at = world_.index_of(node.tunnel_source());
  }
  world_.fail(index, "I4", "the tunnels of epoch " + std::to_string(epoch) + " make a ring");
}

bool Checker::intact_holder(const Write& write, WriteId id, const Electorate& voters) const {
  for (const auto& [machine, generation] : write.holders) {
    const RedisServer& server = world_.server(machine);
    // What only those hold that an operator took out since, he has given up.
    if (!voters.has(world_.node(machine).setup().id)) continue;
    if (server.generation() == generation && server.redis() != nullptr &&
        server.redis()->data().holds(id)) {
      return true;
    }
  }
  return false;
}

bool Checker::held_elsewhere(std::size_t node, WriteId id) const {
  for (std::size_t other = 0; other < world_.size(); ++other) {
    if (other == node || failed_ == other) continue;
    const FakeRedis* redis = world_.server(other).redis();
    if (redis != nullptr && redis->data().holds(id)) return true;
  }
  return false;
}

void Checker::on_ready(std::size_t index, std::uint64_t epoch) {
  const FakeRedis* redis = world_.server(index).redis();
  if (redis == nullptr) return;  // it has died a moment ago
  ready_.insert(epoch);
  ++elections_;
  history_.on_leader(epoch, redis->data());
  // All that older epochs ever acknowledge must be in here.
  if (epoch == *ready_.rbegin()) newest_ = redis->data();
  world_.trace(index, "leads epoch " + std::to_string(epoch) + " with " +
                          std::to_string(redis->data().count) + " writes");
  for (WriteId id = 1; id < writes_.size(); ++id) {
    Write& write = writes_[id];
    if (redis->data().holds(id) || write.forgiven) continue;
    if (write.quorum_acked && intact_holder(write, id, world_.node(index).view().electorate)) {
      return world_.fail(index, "I3",
                         "leads epoch " + std::to_string(epoch) + " without quorum write " +
                             std::to_string(id) + " of epoch " + std::to_string(write.epoch));
    }
    if (write.acked && expecting_ && held_elsewhere(index, id)) {
      return world_.fail(index, "loss",
                         "leads epoch " + std::to_string(epoch) +
                             " without the acknowledged write " + std::to_string(id) +
                             ", which a survivor has");
    }
    if (write.quorum_acked || write.acked) {
      write.forgiven = true;
      if (write.quorum_acked) ++quorum_forgiven_;
    }
  }
}

void Checker::on_fence_lifted(std::size_t machine) {
  const Time now = world_.scheduler.now();
  const Node& node = world_.node(machine);
  // A command is on its way for a moment, or for as long as Redis does not read.
  const bool was_paused = now - world_.server(machine).resumes() < ms(100) && now > ms(100);
  const auto last = last_lease_.find(machine);
  const bool recent = last != last_lease_.end() && now - last->second < ms(100);
  if (!was_paused && !recent && !node.lease_holds(node.view().epoch)) {
    world_.fail(machine, "I2", "its Redis is opened for writes without the lease");
  }
}

void Checker::on_flush(std::size_t node, std::uint64_t epoch) {
  if (!world_.node(node).lease_holds(epoch)) {
    world_.fail(node, "I2", "a write goes to Redis without the lease");
  }
  const auto leader = leader_of_.find(epoch);
  if (leader != leader_of_.end() && leader->second != world_.node(node).setup().id) {
    world_.fail(node, "I1", "takes a write for an epoch that another leads");
  }
}

void Checker::on_executed(std::size_t node, WriteId id, std::uint64_t epoch, const Values& before) {
  writes_[id].epoch = epoch;
  history_.on_executed(node, id, epoch, before);
}

void Checker::on_acked(std::size_t node, WriteId id, bool quorum) {
  Write& write = writes_[id];
  last_ack_ = world_.scheduler.now();
  ++acked_;
  write.acked = true;
  if (!quorum) return;
  ++quorum_acked_;
  write.quorum_acked = true;
  // (Its leader may be gone by the time that another node acknowledges it.)
  const GroupState* const state = world_.node(node).on_disk();
  const Electorate electorate = state != nullptr ? state->electorate : Electorate();
  for (std::size_t machine = 0; machine < world_.size(); ++machine) {
    const RedisServer& server = world_.server(machine);
    if (!electorate.has(world_.node(machine).setup().id)) continue;
    if (server.redis() != nullptr && server.redis()->data().holds(id)) {
      write.holders.emplace_back(machine, server.generation());
    }
  }
  if (ready_.empty() || *ready_.rbegin() <= write.epoch || newest_.holds(id)) return;
  world_.fail(node, "I3",
              "acknowledges quorum write " + std::to_string(id) + " of epoch " +
                  std::to_string(write.epoch) + ", which the leader of epoch " +
                  std::to_string(*ready_.rbegin()) + " began without");
}

void Checker::on_full_sync(std::size_t node, const DataSet& old, const Snapshot& incoming) {
  if (old.empty()) return;
  if (!lineages_.contains(incoming.replid)) {
    world_.fail(node, "I5", "takes a full sync of a lineage that no leader had");
  }
  for (WriteId id = 1; id < writes_.size(); ++id) {
    if (writes_[id].quorum_acked && !writes_[id].forgiven && old.holds(id) &&
        !incoming.data.holds(id) &&
        intact_holder(writes_[id], id, world_.node(node).view().electorate)) {
      world_.fail(node, "I5", "a full sync wipes quorum write " + std::to_string(id));
    }
  }
}

void Checker::on_forced() {
  history_.give_up();
  for (Write& write : writes_) write.forgiven = write.forgiven || write.acked;
}

void Checker::expect_no_loss(std::optional<std::size_t> failed) {
  expecting_ = true;
  failed_ = failed;
}

}  // namespace azimuth::sim
