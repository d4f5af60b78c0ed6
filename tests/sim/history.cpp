#include "tests/sim/history.h"

#include "tests/sim/world.h"

namespace azimuth::sim {

History::Version& History::version(WriteId id) {
  if (versions_.size() <= id) versions_.resize(id + 1);
  return versions_[id];
}

bool History::at_least(WriteId value, WriteId wanted) {
  const std::uint32_t depth = version(wanted).depth;
  while (version(value).depth > depth) value = version(value).before;
  return value == wanted;
}

void History::on_executed(std::size_t machine, WriteId id, std::uint64_t epoch,
                          const Values& before) {
  const std::size_t key = key_of(id);
  Version& made = version(id);
  if (made.depth != 0) world_.fail(machine, "I6", "write " + std::to_string(id) + " runs twice");
  if (world_.verbose()) {
    world_.trace(machine, "write " + std::to_string(id) + " runs in epoch " +
                              std::to_string(epoch) + ", key " + std::to_string(key) + " was " +
                              std::to_string(before[key]));
  }
  made.before = before[key];
  made.epoch = epoch;
  made.depth = version(made.before).depth + 1;
  // (Of a leader whose epoch is over, nobody will read it.)
  if (begins_.empty() || begins_.rbegin()->first <= epoch) {
    truth_[key].emplace_back(world_.scheduler.now(), id);
  }
  const auto sent = sent_.find(id);
  if (sent == sent_.end()) return;
  for (std::size_t each = 0; each < kKeys && !given_up_; ++each) {
    const WriteId wanted = missing(before[each], sent->second, each);
    if (wanted == 0) continue;
    world_.fail(machine, "I4",
                "write " + std::to_string(id) + " follows " + std::to_string(wanted) +
                    ", which its session had seen, and runs where key " + std::to_string(each) +
                    " is " + std::to_string(before[each]));
  }
  sent_.erase(sent);
}

void History::on_leader(std::uint64_t epoch, const DataSet& data) {
  begins_[epoch] = data;
  if (begins_.rbegin()->first != epoch) return;
  for (auto& versions : truth_) {
    while (!versions.empty() && !data.holds(versions.back().second)) versions.pop_back();
  }
}

std::size_t History::add_session() {
  sessions_.emplace_back();
  return sessions_.size() - 1;
}

void History::on_send(std::size_t session, WriteId id) {
  settle(sessions_[session]);
  sent_[id] = sessions_[session].known;
}

void History::on_acked(std::size_t session, WriteId id) {
  Known& known = sessions_[session].known;
  known.written[key_of(id)] = known.read[key_of(id)] = id;
}

void History::on_read(std::size_t machine, std::size_t index, std::size_t key, WriteId value) {
  ++checked_;
  Session& session = sessions_[index];
  settle(session);
  if (session.told_epoch != 0 || given_up_) return;
  if (const WriteId wanted = missing(value, session.known, key)) {
    world_.fail(machine, "I4",
                "session " + std::to_string(index) + " reads " + std::to_string(value) +
                    " at key " + std::to_string(key) + ", and has seen " + std::to_string(wanted));
  }
  session.known.read[key] = value;
}

WriteId History::missing(WriteId value, Known& known, std::size_t key) {
  if (!at_least(value, known.written[key])) return known.written[key];
  if (at_least(value, known.read[key])) return 0;
  if (begins_.empty() || !cut_back(known.read, begins_.rbegin()->first)) return known.read[key];
  ++lost_reads_;
  return at_least(value, known.read[key]) ? 0 : known.read[key];
}

void History::on_bounded_read(std::size_t machine, std::size_t key, WriteId value, Time invoked,
                              Time bound) {
  ++checked_;
  if (given_up_) return;
  const auto& versions = truth_[key];
  auto due = versions.rbegin();
  while (due != versions.rend() && due->first > invoked - bound) ++due;
  if (due == versions.rend() || at_least(value, due->second)) return;
  world_.fail(machine, "I4",
              "a read with a bound of " + std::to_string(bound / 1000) + " ms shows " +
                  std::to_string(value) + " at key " + std::to_string(key) + ", which was " +
                  std::to_string(due->second) + " " +
                  std::to_string((invoked - due->first) / 1000) + " ms before");
}

void History::on_told(std::size_t session, std::uint64_t epoch) {
  ++told_;
  sessions_[session].told_epoch = epoch;
  settle(sessions_[session]);
}

bool History::cut_back(Values& known, std::uint64_t epoch) {
  const auto begin = begins_.lower_bound(epoch);
  bool cut = false;
  for (WriteId& each : known) {
    while (each != 0 && version(each).epoch < begin->first && !begin->second.holds(each)) {
      each = version(each).before;
      cut = true;
    }
  }
  return cut;
}

void History::settle(Session& session) {
  if (session.told_epoch == 0) return;
  if (begins_.lower_bound(session.told_epoch) == begins_.end()) return;
  const bool written = cut_back(session.known.written, session.told_epoch);
  const bool cut = cut_back(session.known.read, session.told_epoch) || written;
  told_in_vain_ += cut ? 0 : 1;
  session.told_epoch = 0;
}

}  // namespace azimuth::sim
