#include "tests/sim/members.h"

#include <algorithm>

#include "tests/sim/world.h"

namespace azimuth::sim {

namespace {

constexpr Time kAgain = ms(200);
constexpr Time kPatience = seconds_of(15);

}  // namespace

std::uint64_t Members::ask(std::size_t machine, Wish::Kind kind, const std::string& node) {
  const std::uint64_t id = ++last_;
  world_.trace(machine,
               (kind == Wish::Kind::kAdd ? "is asked to let in " : "is asked to take out ") + node);
  if (kind == Wish::Kind::kAdd) {
    out_.erase(node);
    adds_[node].push_back(id);
  }
  open_[id] = {machine, {kind, id, node}, world_.scheduler.now() + kPatience};
  ask_again(id);
  return id;
}

std::uint64_t Members::remove(std::size_t machine, std::size_t whom) {
  return ask(machine, Wish::Kind::kRemove, world_.node(whom).setup().id);
}

std::uint64_t Members::add(std::size_t machine, std::size_t whom) {
  return ask(machine, Wish::Kind::kAdd, world_.node(whom).setup().id);
}

void Members::ask_again(std::uint64_t id) {
  const auto found = open_.find(id);
  if (found == open_.end()) return;
  if (world_.scheduler.now() >= found->second.until) {
    open_.erase(found);
    return;
  }
  const Asked asked = found->second;
  world_.scheduler.after(kAgain, [this, id] { ask_again(id); });
  world_.node(asked.machine).change_members(asked.wish);
}

const WishResult* Members::answer(std::uint64_t id) const {
  const auto found = answers_.find(id);
  return found == answers_.end() ? nullptr : &found->second;
}

void Members::on_results(std::size_t machine, const WishResult& result) {
  const auto found = open_.find(result.id);
  if (found == open_.end() || found->second.machine != machine) return;
  if (result.standing == WishStanding::kNotYet) return;
  const Wish wish = found->second.wish;
  world_.trace(machine, "is told of " + wish.node + ": " +
                            (result.accepted ? std::string("done") : result.text));
  open_.erase(found);
  answers_[result.id] = result;
  if (!result.accepted) return;
  // Somebody may have been asked to let it in meanwhile, or long before and is not answered yet.
  const std::vector<std::uint64_t>& adds = adds_[wish.node];
  const bool settled = std::all_of(adds.begin(), adds.end(), [&](std::uint64_t add) {
    return add < wish.id && answers_.contains(add);
  });
  if (wish.kind == Wish::Kind::kRemove && settled) out_.insert(wish.node);
}

void Members::on_done(std::size_t leader) {
  const GroupState* state = world_.node(leader).state();
  if (state == nullptr || world_.checker.majority_forgot()) return;
  std::size_t know = 0;
  for (const std::string& voter : state->electorate.voters) {
    const GroupState* disk = world_.node(world_.index_of(voter)).on_disk();
    if (disk == nullptr || !state->electorate.newer_than(disk->electorate)) ++know;
  }
  if (know < state->electorate.majority())
    world_.fail(leader, "I1", "says that the members are changed, and no majority knows");
}

void Members::on_lease(std::size_t leader) {
  if (out_.empty() || world_.checker.majority_forgot()) return;
  const Electorate& electorate = world_.node(leader).view().electorate;
  for (const std::string& node : out_) {
    if (electorate.has(node))
      world_.fail(leader, "I1", "leads with the vote of " + node + ", which was taken out");
  }
}

void Members::any() {
  const std::size_t machine = world_.random.below(world_.size());
  const std::size_t whom = world_.random.below(world_.size());
  const GroupState* state = world_.node(machine).state();
  const bool is_out = state != nullptr && state->electorate.removes(world_.node(whom).setup().id);
  if (is_out)
    add(machine, whom);
  else
    remove(machine, whom);
}

void Members::let_all_in() {
  open_.clear();
  world_.scheduler.after(ms(300), [this] { let_all_in(); });
  const auto leader = world_.leader();
  if (!leader) return;
  const std::vector<std::string> removed = world_.node(*leader).view().electorate.removed;
  for (const std::string& node : removed) ask(*leader, Wish::Kind::kAdd, node);
  for (std::size_t i = 0; i < world_.size(); ++i) {
    if (world_.node(i).view().why.find("data of unknown origin") != std::string::npos) empty(i);
  }
}

// What the message asks of an operator: a Redis that has restarted while its node was out may hold
// anything, unless it remembers its lineage.
void Members::empty(std::size_t machine) {
  world_.trace(machine, "its redis is started anew and empty, by an operator");
  world_.server(machine).kill();
  world_.server(machine).lose_disk();
  world_.server(machine).start();
}

}  // namespace azimuth::sim
