// The data path, as far as safety depends on it: where a write goes, the lease at each flush, the
// acknowledgement, the drain before a hand-over.
#include <algorithm>

#include "conf/defects.h"
#include "tests/sim/process.h"

namespace azimuth::sim {

void Node::write(const WriteRequest& request) {
  if (world_.scheduler.now() > request.give_up) return;
  if (!process_) return;  // the client's connection is refused
  turn(generation_, [this, request = request]() mutable {
    request.boot = generation_;
    request.asked.reset();
    const GroupView& seen = view();
    if (seen.leader.empty() || !seen.leader_ready) return retry(request);
    if (seen.leader == setup_.id) return execute(request, seen.epoch);
    const std::size_t to = world_.index_of(seen.leader);
    if (!world_.network.open(index_, to)) return retry(request);
    const auto told = process_->told_quorum.find({to, seen.epoch});
    if (told != process_->told_quorum.end()) request.asked = told->second;
    if (defective(Defect::kQuorumByOwnView)) request.asked = quorum_by_own_view();
    world_.scheduler.after(world_.network.delay(), [this, to, request, epoch = seen.epoch] {
      world_.node(to).on_forwarded(request, epoch);
    });
  });
}

void Node::retry(const WriteRequest& request) {
  later(ms(30), [this, request] { write(request); });
}

// Refused without having been executed: the origin holds it and tries again.
void Node::on_forwarded(const WriteRequest& request, std::uint64_t epoch) {
  turn(generation_, [this, request, epoch] { execute(request, epoch); });
}

void Node::execute(const WriteRequest& request, std::uint64_t epoch) {
  const auto refuse = [this, request] {
    world_.scheduler.after(world_.network.delay() + ms(20),
                           [this, request] { world_.node(request.origin).write(request); });
  };
  // The moment of the flush: the lease is read right before the bytes go to Redis (I2).
  if (view().handing_over || !lease_holds(epoch)) return refuse();
  RedisServer& server = world_.server(index_);
  if (process_->upstream == 0) {
    const bool may = world_.scheduler.now() >= process_->upstream_from && server.redis() != nullptr;
    if (!may) return refuse();
    process_->upstream = server.generation();
  }
  world_.on_flush(index_, epoch);
  if (process_->upstream != server.generation()) return;  // into a connection that has ended
  ++process_->in_flight;
  server.post(world_.random.between(us(10), us(80)), [this, request, epoch,
                                                      generation = generation_,
                                                      reign = process_->reign](FakeRedis& redis) {
    const Values before = redis.data().values;
    const WriteResult result = redis.write(request.id, request.bytes);
    if (result == WriteResult::kDone) {
      world_.on_executed(index_, request.id, epoch, before);
    }
    const std::uint64_t offset = redis.offset();
    if (generation != generation_ || !process_) return;
    later(world_.random.between(us(10), us(80)),
          [this, request, epoch, result] { on_executed(request, epoch, result); });
    if (result != WriteResult::kDone || !request.quorum) return;
    await_copies({request, index_, epoch, reign, offset, request.asked.value_or(process_->quorum)});
  });
}

// WAIT. It is nobody's answer any more when the primary has moved meanwhile: a Redis that stood
// still may run the write long after, and what is needed elsewhere by then says nothing of it. The
// number that is needed is looked up when the answer is read, and comes to who asked in front of it
// (proxy/group/quorum_count.h).
void Node::await_copies(const Awaited& awaited) {
  const auto held = [this, awaited, generation = generation_] {
    later(world_.random.between(us(5), us(80)), [this, awaited, generation] {
      if (generation != generation_ || awaited.reign != process_->reign) return;
      const std::size_t needed = process_->quorum;
      const std::size_t to = awaited.request.origin;
      if (to == index_) return on_copied(awaited, needed);
      if (!world_.network.open(index_, to)) return;  // the link is lost with what was on it
      world_.scheduler.after(world_.network.delay(), [&world = world_, to, awaited, needed] {
        world.node(to).on_copied(awaited, needed);
      });
    });
  };
  world_.server(index_).redis()->wait(awaited.offset, awaited.replicas, held);
}

// Whoever has attached while it blocked may have been counted, and more may be needed for it.
void Node::on_copied(const Awaited& awaited, std::size_t needed) {
  turn(awaited.request.boot, [this, awaited, needed] {
    process_->told_quorum[{awaited.leader, awaited.epoch}] = needed;
    const bool own = defective(Defect::kQuorumByOwnView) && awaited.leader != index_;
    const std::size_t wanted = own ? quorum_by_own_view() : needed;
    if (awaited.replicas >= wanted)
      return world_.on_acked(awaited.leader, awaited.request.id, true);
    Awaited again = awaited;
    again.replicas = wanted;
    world_.scheduler.after(world_.network.delay(), [&world = world_, again] {
      Node& leader = world.node(again.leader);
      leader.turn(leader.generation_, [&leader, &world, again] {
        const bool same = again.reign == leader.process_->reign;
        if (same && world.server(again.leader).redis() != nullptr) leader.await_copies(again);
      });
    });
  });
}

// The defect: what a node knows of the electorate, or guesses from gossip.
std::size_t Node::quorum_by_own_view() const {
  if (!setup_.sidecar()) return std::max<std::size_t>(view().quorum_copies, 1) - 1;
  std::size_t voters = 0, members = 0;
  for (const NodeRecord* each : process_->gossip.nodes()) {
    voters += each->wants_vote;
    members += each->member;
  }
  return voters == 0 ? 0
                     : std::min(voters - (voters / 2 + 1), std::max<std::size_t>(members, 1) - 1);
}

void Node::on_executed(const WriteRequest& request, std::uint64_t epoch, WriteResult result) {
  if (process_->in_flight > 0) --process_->in_flight;
  if (result == WriteResult::kDone) {
    if (!request.quorum) world_.on_acked(index_, request.id, false);
    return;
  }
  (void)epoch;
  world_.scheduler.after(world_.network.delay() + ms(20),
                         [this, request] { world_.node(request.origin).write(request); });
}

void Node::mind_drain() {
  if (!view().handing_over) {
    process_->told_drained = false;
    return;
  }
  const bool quiet = process_->in_flight == 0 && process_->data.quiet();
  if (!quiet || process_->told_drained) return;
  process_->told_drained = true;
  later(us(100), [this] { process_->leadership.on_drained(now()); });
}

}  // namespace azimuth::sim
