// The data path, as far as safety depends on it: where a write goes, the lease at each flush, the
// acknowledgement, the drain before a hand-over.
#include "tests/sim/process.h"

namespace azimuth::sim {

void Node::write(const WriteRequest& request) {
  if (world_.scheduler.now() > request.give_up) return;
  if (!process_) return;  // the client's connection is refused
  turn(generation_, [this, request] {
    const GroupView& seen = view();
    if (seen.leader.empty() || !seen.leader_ready) return retry(request);
    if (seen.leader == setup_.id) return execute(request, seen.epoch);
    const std::size_t to = world_.index_of(seen.leader);
    if (!world_.network.open(index_, to)) return retry(request);
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
  server.post(
      world_.random.between(us(10), us(80)),
      [this, request, epoch, generation = generation_, reign = process_->reign](FakeRedis& redis) {
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
        await_copies(request, reign, offset, world_.replicas_for_quorum(index_));
      });
}

// WAIT. Whoever attaches while it blocks counts too: so what is needed is looked up again when it
// is over. It is nobody's answer any more when the primary has moved meanwhile: a Redis that stood
// still may run the write long after, and what is needed elsewhere by then says nothing of it.
void Node::await_copies(const WriteRequest& request, std::uint64_t reign, std::uint64_t offset,
                        std::size_t replicas) {
  const auto held = [this, request, reign, offset, replicas, generation = generation_] {
    if (generation != generation_ || !process_ || reign != process_->reign) return;
    const std::size_t needed = world_.replicas_for_quorum(index_);
    if (needed > replicas) return await_copies(request, reign, offset, needed);
    world_.on_acked(index_, request.id, true);
  };
  world_.server(index_).redis()->wait(offset, replicas, held);
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
