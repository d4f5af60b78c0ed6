// Syncs: what the primary will answer and why; what both directions of a replication connection
// say; how far a copy is; who waits for whom; and how a replica tells of it.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "health/catch_up.h"
#include "health/copy_queue.h"
#include "health/sync_choice.h"
#include "health/sync_meter.h"

using namespace azimuth;

namespace {

const std::string kId(40, 'a'), kFormer(40, 'b'), kOther(40, 'c');

// Bytes 1000 to 1999 are in the backlog.
SyncHistory history() {
  SyncHistory out;
  out.replid = kId;
  out.replid2 = kFormer;
  out.second_offset = 1500;
  out.backlog = true;
  out.first_byte = 1000;
  out.held_bytes = 1000;
  out.end = 1999;
  return out;
}

SyncChoice judged(const std::string& replid, std::int64_t offset) {
  return judge_sync({replid, offset}, history());
}

std::string words(const std::vector<std::string>& each) {
  std::string out = "*" + std::to_string(each.size()) + "\r\n";
  for (const std::string& word : each) {
    out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return out;
}

SyncChoice first_copy() { return judged("?", -1); }

SyncChoice streamed(std::uint64_t missing) {
  return judged(kId, static_cast<std::int64_t>(2000 - missing));
}

}  // namespace

TEST_CASE("the backlog decides between a stream and a copy, to the byte") {
  CHECK(judged(kId, 1000).how == SyncHow::kPartial);
  CHECK(judged(kId, 1000).missing_bytes == 1000);
  CHECK(judged(kId, 2000).how == SyncHow::kPartial);
  CHECK(judged(kId, 2000).missing_bytes == 0);
  CHECK(judged(kId, 999).reason == SyncReason::kBeforeBacklog);
  CHECK(judged(kId, 999).how == SyncHow::kFull);
  CHECK(judged(kId, 2001).reason == SyncReason::kBeyondEnd);
  CHECK(judged(kFormer, 1500).how == SyncHow::kPartial);
  CHECK(judged(kFormer, 1501).reason == SyncReason::kBeyondFork);
  CHECK(judged(kOther, 1500).reason == SyncReason::kOtherHistory);
  CHECK(judged("?", -1).reason == SyncReason::kFirstCopy);
  CHECK(judged(kOther, 1).reason == SyncReason::kFirstCopy);
  SyncHistory bare = history();
  bare.backlog = false;
  CHECK(judge_sync({kId, 1500}, bare).reason == SyncReason::kNoBacklog);
  CHECK(judge_sync({std::string(40, 'A'), 1500}, history()).how == SyncHow::kPartial);
  CHECK(explain(judged(kId, 999)) == "offset 999 is before the backlog's first byte 1000");
  CHECK(explain(judged(kOther, 999)) == "another replication id");
}

TEST_CASE("the history is read out of INFO") {
  const auto read = read_sync_history(
      "$300\r\n# Replication\r\nrole:master\r\nmaster_replid:" + kId +
      "\r\nmaster_replid2:" + kFormer +
      "\r\nmaster_repl_offset:1999\r\nsecond_repl_offset:1500\r\nrepl_backlog_active:1\r\n"
      "repl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:1000\r\nrepl_backlog_histlen:"
      "1000"
      "\r\n\r\n");
  REQUIRE(read);
  CHECK(judge_sync({kId, 999}, *read) == judged(kId, 999));
  CHECK(judge_sync({kFormer, 1500}, *read) == judged(kFormer, 1500));
  CHECK_FALSE(read_sync_history("-NOPERM this user has no permissions\r\n"));
  CHECK_FALSE(read_sync_history(""));
}

TEST_CASE("a note comes back as it was, and nonsense is none") {
  SyncNote note;
  note.kind = SyncNote::Kind::kWaits;
  note.choice = judged(kId, 12);
  note.ahead = 2;
  note.busy = "b1";
  note.permille = 777;
  const std::string bytes = encode(note);
  CHECK(decode_sync_note(bytes) == note);
  CHECK(decode_sync_note(bytes + "more of a newer release") == note);
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(decode_sync_note(bytes.substr(0, n)));
  std::string odd = bytes;
  odd[0] = 9;
  CHECK_FALSE(decode_sync_note(odd));
  odd = bytes;
  odd[2] = 99;
  REQUIRE(decode_sync_note(odd));
  CHECK(decode_sync_note(odd)->choice.reason == SyncReason::kUnknown);
}

TEST_CASE("a replica's handshake passes up to its question, however it is cut up") {
  const std::string before = words({"PING"}) + words({"AUTH", "u", std::string(300, 'p')}) +
                             words({"REPLCONF", "listening-port", "6379"}) +
                             words({"REPLCONF", "capa", "eof", "capa", "psync2"});
  const std::string question = words({"PSYNC", kId, "1234"});
  for (const std::size_t piece : {1U, 7U, 1000U}) {
    SyncAskReader reader;
    std::string passed;
    const std::string all = before + question + "more";
    for (std::size_t at = 0; at < all.size(); at += piece) {
      passed += reader.feed(std::string_view(all).substr(at, piece));
    }
    CHECK(passed == before);
    REQUIRE(reader.asked());
    CHECK(reader.ask().replid == kId);
    CHECK(reader.ask().offset == 1234);
    CHECK(reader.take_held() == question + "more");
  }
  SyncAskReader old;
  CHECK(old.feed("PING\r\nSYNC\r\n") == "PING\r\n");
  REQUIRE(old.asked());
  CHECK(old.ask().replid == "?");
}

TEST_CASE("what is no handshake is passed on for Redis to judge, and not kept") {
  SyncAskReader reader;
  CHECK(reader.feed("*1\r\n!nonsense\r\n") == "*1\r\n!nonsense\r\n");
  CHECK(reader.feed("PSYNC ? -1\r\n") == "PSYNC ? -1\r\n");
  CHECK_FALSE(reader.asked());
  SyncAskReader endless;
  std::size_t passed = 0;
  for (int i = 0; i < 100; ++i) passed += endless.feed(std::string(1000, 'x')).size();
  CHECK(passed == 100'000);
}

TEST_CASE("the answer is followed to its end, however it is cut up") {
  const std::string mark(40, 'm');
  const std::string copy(5000, 'r');
  const std::string hello = "+PONG\r\n+OK\r\n\n+FULLRESYNC " + kId + " 77\r\n\n\n";
  for (const std::size_t piece : {1U, 39U, 40U, 41U, 10'000U}) {
    for (const bool marked : {true, false}) {
      SyncMeter meter;
      std::string all = hello + (marked ? "$EOF:" + mark + "\r\n" : "$5000\r\n") + copy;
      if (marked) all += mark;
      if (!marked) all += "*1\r\n$4\r\nPING\r\n";
      for (std::size_t at = 0; at < all.size(); at += piece) {
        meter.feed(std::string_view(all).substr(at, piece));
      }
      CHECK(meter.phase() == SyncMeter::Phase::kCopied);
      CHECK(meter.bytes() == 5000);
      CHECK(meter.total() == (marked ? 0 : 5000));
      CHECK(meter.replid() == kId);
      CHECK(meter.offset() == 77);
    }
  }
  SyncMeter partial;
  partial.feed("+OK\r\n+CONTI");
  partial.feed("NUE " + kId + "\r\n12345");
  CHECK(partial.phase() == SyncMeter::Phase::kPartial);
  partial.feed("678");
  CHECK(partial.bytes() == 8);
  SyncMeter refused;
  refused.feed("+PONG\r\n-LOADING Redis is loading\r\n" + std::string(5000, 'x'));
  CHECK(refused.phase() == SyncMeter::Phase::kHandshake);
}

TEST_CASE("progress is a share where the size is known, and a time where there is a rate") {
  CopyProgress progress;
  Instant now{5000};
  progress.begin(now);
  CHECK_FALSE(progress.percent());
  CHECK_FALSE(progress.seconds_left());
  for (int i = 1; i <= 10; ++i) {
    now = now + seconds(1);
    progress.on_bytes(now, static_cast<std::uint64_t>(i) * 1000, 0);
  }
  CHECK(progress.bytes_per_s() == 1000);
  CHECK_FALSE(progress.seconds_left());
  progress.on_share(0.25);
  CHECK(*progress.percent() == 25);
  CHECK(*progress.seconds_left() == 30);
  progress.on_bytes(now, 10'000, 20'000);
  CHECK(*progress.percent() == 50);
  CHECK(*progress.seconds_left() == 10);
  // Nothing comes any more.
  for (int i = 1; i <= 60; ++i) progress.on_bytes(now + seconds(i), 10'000, 0);
  CHECK(progress.bytes_per_s() == 0);
  CHECK_FALSE(progress.seconds_left());
}

TEST_CASE("one full copy at a time: the others wait in turn and hear of it") {
  CopyQueue queue;
  const CopyId b{0, 1}, c{1, 1}, d{0, 2};
  const Instant start{1000};
  queue.on_want(start, b, "b1", first_copy());
  auto out = queue.take_outbox();
  REQUIRE(out.sends.size() == 1);
  CHECK(out.sends[0].go);
  CHECK(out.sends[0].to == b);
  CHECK(out.events.empty());

  queue.on_want(start, c, "c1", judged(kId, 5));
  queue.on_want(start, d, "d1", first_copy());
  out = queue.take_outbox();
  REQUIRE(out.sends.size() == 2);
  CHECK_FALSE(out.sends[0].go);
  CHECK(out.sends[0].note.kind == SyncNote::Kind::kWaits);
  CHECK(out.sends[0].note.busy == "b1");
  CHECK(out.sends[0].note.ahead == 1);
  CHECK(out.sends[1].note.ahead == 2);
  REQUIRE(out.events.size() == 2);
  CHECK(out.events[0].reason ==
        "offset 5 is before the backlog's first byte 1000; b1 is copied first");
  CHECK(queue.report(start)[1].reason.find("waits: b1 is copied first") != std::string::npos);

  queue.on_full(start, b, "b1", first_copy());
  queue.on_bytes(start + seconds(1), b, 500, 1000);
  CHECK(queue.copying());
  CHECK(*queue.report(start + seconds(1))[0].progress.percent() == 50);
  CHECK(queue.take_outbox().events[0].kind == SyncEvent::Kind::kBegun);

  // They are told again before their Redises give up; and how far the copy is.
  queue.on_tick(start + milliseconds(200));
  CHECK(queue.take_outbox().sends.empty());
  queue.on_tick(start + seconds(1));
  CHECK(queue.take_outbox().sends.size() == 2);
  queue.on_tick(start + seconds(5));
  out = queue.take_outbox();
  CHECK(out.sends.size() == 2);
  REQUIRE(out.events.size() == 1);
  CHECK(out.events[0].kind == SyncEvent::Kind::kMoves);

  // A partial sync passes them all.
  queue.on_partial(start + seconds(6), CopyId{1, 9}, "e1", streamed(10));
  out = queue.take_outbox();
  CHECK(out.sends.empty());
  CHECK(out.events[0].how == SyncHow::kPartial);

  queue.on_over(start + seconds(7), b, true);
  out = queue.take_outbox();
  REQUIRE(out.sends.size() == 1);
  CHECK((out.sends[0].go && out.sends[0].to == c));
  CHECK(out.events[0].kind == SyncEvent::Kind::kDone);
  // Who gives up makes room, before the copy and in it.
  queue.on_over(start + seconds(8), c, false);
  out = queue.take_outbox();
  CHECK((out.sends.size() == 1 && out.sends[0].go && out.sends[0].to == d));
  CHECK(out.events.empty());
  queue.on_full(start + seconds(8), d, "d1", first_copy());
  queue.on_over(start + seconds(9), d, false);
  out = queue.take_outbox();
  CHECK(out.events.back().kind == SyncEvent::Kind::kBroken);
  CHECK(queue.report(start).empty());
  CHECK(queue.counts().full == 1);
  CHECK(queue.counts().partial == 1);
  CHECK(queue.counts().broken == 1);
  CHECK(queue.counts().waited == 2);
}

TEST_CASE("Redis may answer otherwise than expected") {
  CopyQueue queue;
  const CopyId b{0, 1}, c{0, 2};
  const Instant now{1000};
  // A copy where a partial sync was expected: the next one waits for it.
  queue.on_full(now, b, "b1", streamed(10));
  queue.on_want(now, c, "c1", first_copy());
  auto out = queue.take_outbox();
  REQUIRE(out.sends.size() == 1);
  CHECK_FALSE(out.sends[0].go);
  queue.on_over(now, b, true);
  CHECK(queue.take_outbox().sends[0].go);
  // A partial sync where a copy was: whoever waits goes on.
  queue.on_want(now, b, "b1", first_copy());
  queue.take_outbox();
  queue.on_partial(now, c, "c1", streamed(0));
  out = queue.take_outbox();
  REQUIRE(out.sends.size() == 1);
  CHECK((out.sends[0].go && out.sends[0].to == b));
}

TEST_CASE("the share of a copy of unknown size is told to the other side") {
  CopyQueue queue;
  const CopyId b{0, 1};
  const Instant now{1000};
  queue.on_want(now, b, "b1", first_copy());
  queue.on_full(now, b, "b1", first_copy());
  queue.take_outbox();
  queue.on_share(0.5);
  CHECK(queue.take_outbox().sends.empty());  // that of another snapshot, perhaps
  queue.on_bytes(now + seconds(1), b, 1000, 0);
  queue.on_share(0.5);
  const auto out = queue.take_outbox();
  REQUIRE(out.sends.size() == 1);
  CHECK(out.sends[0].note.kind == SyncNote::Kind::kShare);
  CHECK(out.sends[0].note.permille == 500);
  CHECK(*queue.report(now)[0].progress.percent() == 50);
  // One in front whose size is known does not hide it.
  CopyQueue both;
  both.on_full(now, CopyId{0, 2}, "c1", first_copy());
  both.on_full(now, b, "b1", first_copy());
  both.on_bytes(now + seconds(1), CopyId{0, 2}, 1000, 2000);
  both.on_bytes(now + seconds(1), b, 1000, 0);
  both.take_outbox();
  both.on_share(0.25);
  const auto share = both.take_outbox();
  REQUIRE(share.sends.size() == 1);
  CHECK(share.sends[0].to == b);
}

namespace {

// b1 is copied at that rate, and c1 waits; after how many seconds is it let through?
int waited_for(std::uint64_t bytes_per_s, int at_most) {
  CopyQueue queue;
  const CopyId b{0, 1}, c{0, 2};
  const Instant start{1000};
  queue.on_want(start, b, "b1", first_copy());
  queue.on_full(start, b, "b1", first_copy());
  queue.on_want(start, c, "c1", first_copy());
  queue.take_outbox();
  for (int s = 1; s <= at_most; ++s) {
    const Instant now = start + seconds(s);
    queue.on_bytes(now, b, bytes_per_s * static_cast<std::uint64_t>(s), 0);
    queue.on_tick(now);
    for (const auto& each : queue.take_outbox().sends) {
      if (each.go) return each.to == c ? s : -1;
    }
  }
  return at_most;
}

}  // namespace

TEST_CASE("a copy that trickles is not waited for for ever") {
  CHECK(waited_for(0, 10'000) <= 120);
  CHECK(waited_for(10'000, 10'000) <= 120);
  CHECK(waited_for(1'000'000, 10'000) == 10'000);
}

namespace {

struct Replica {
  CatchUp catch_up;
  Instant now{1000};
  std::vector<SyncEvent> events;

  void note(SyncNote::Kind kind, const SyncChoice& choice) {
    SyncNote note;
    note.kind = kind;
    note.choice = choice;
    note.busy = "c1";
    note.ahead = 1;
    catch_up.on_note(now, 1, note);
  }
  std::vector<SyncEvent::Kind> kinds() {
    std::vector<SyncEvent::Kind> out;
    for (const SyncEvent& each : catch_up.take_events()) {
      out.push_back(each.kind);
      events.push_back(each);
    }
    return out;
  }
  void on_redis(bool up, std::uint64_t offset, const std::string& replid = kId) {
    LocalRedis facts;
    facts.alive = facts.link_up = up;
    facts.replid = replid;
    facts.offset = offset;
    catch_up.on_redis(now, facts);
  }
};

using Kinds = std::vector<SyncEvent::Kind>;

}  // namespace

TEST_CASE("a replica is streamed what it missed and says so") {
  Replica replica;
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.note(SyncNote::Kind::kChosen, streamed(300));
  replica.catch_up.on_partial(replica.now, 1);
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kBegun});
  CHECK(replica.events[0].total_bytes == 300);
  CHECK(replica.events[0].reason == "offset 1700 is in the backlog, which begins at 1000");
  replica.catch_up.on_bytes(replica.now, 1, 299, 0);
  CHECK(replica.catch_up.state() == CatchUpState::kStreaming);
  replica.catch_up.on_bytes(replica.now, 1, 310, 0);
  CHECK(replica.catch_up.state() == CatchUpState::kDone);
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kDone});
  // The end of the connection, much later, takes nothing back.
  replica.catch_up.on_end(replica.now, 1);
  CHECK(replica.catch_up.state() == CatchUpState::kDone);
  CHECK(replica.catch_up.partial() == 1);
  CHECK(replica.kinds().empty());
}

TEST_CASE("a replica waits, copies, loads, and follows") {
  Replica replica;
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.note(SyncNote::Kind::kWaits, first_copy());
  replica.note(SyncNote::Kind::kWaits, first_copy());
  CHECK(replica.catch_up.state() == CatchUpState::kWaiting);
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kWaits});
  CHECK(replica.catch_up.reason().find("waits: a1 copies to c1 first") != std::string::npos);
  replica.note(SyncNote::Kind::kChosen, first_copy());
  replica.catch_up.on_full(replica.now, 1, kId, 5000);
  replica.now = replica.now + seconds(1);
  replica.catch_up.on_bytes(replica.now, 1, 1000, 4000);
  CHECK(*replica.catch_up.progress().percent() == 25);
  CHECK(*replica.catch_up.progress().seconds_left() == 3);
  replica.now = replica.now + seconds(4);
  replica.catch_up.on_tick(replica.now);
  replica.catch_up.on_tick(replica.now);
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kBegun, SyncEvent::Kind::kMoves});
  replica.catch_up.on_copied(replica.now, 1);
  CHECK(replica.catch_up.state() == CatchUpState::kLoading);
  // What Redis said before the copy is no end of it.
  replica.on_redis(true, 4000);
  replica.on_redis(false, 6000);
  replica.on_redis(true, 6000, kOther);
  CHECK(replica.catch_up.state() == CatchUpState::kLoading);
  replica.on_redis(true, 5000);
  CHECK(replica.catch_up.state() == CatchUpState::kDone);
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kDone});
  CHECK(replica.catch_up.full() == 1);
  CHECK(replica.catch_up.took(replica.now + seconds(100)) == seconds(5));
}

TEST_CASE("a copy that was taken over is done, whatever became of its primary") {
  Replica replica;
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.catch_up.on_full(replica.now, 1, kId, 5000);
  replica.catch_up.on_copied(replica.now, 1);
  replica.catch_up.on_end(replica.now, 1);  // the primary died
  CHECK(replica.catch_up.state() == CatchUpState::kLoading);
  LocalRedis facts;
  facts.alive = facts.loading = true;
  facts.replid = kId;
  facts.offset = 5000;
  replica.catch_up.on_redis(replica.now, facts);
  CHECK(replica.catch_up.state() == CatchUpState::kLoading);
  // It was elected.
  facts.loading = false;
  facts.master = true;
  facts.replid = kOther;
  facts.replid2 = kId;
  facts.second_offset = 5001;
  replica.catch_up.on_redis(replica.now, facts);
  CHECK(replica.catch_up.state() == CatchUpState::kDone);
  CHECK(replica.catch_up.full() == 1);
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kBegun, SyncEvent::Kind::kDone});
}

TEST_CASE("whoever asks for what comes behind a copy has taken it over") {
  for (const bool taken : {true, false}) {
    Replica replica;
    replica.catch_up.on_asked(replica.now, 1, "a1");
    replica.catch_up.on_full(replica.now, 1, kId, 5000);
    replica.catch_up.on_copied(replica.now, 1);
    replica.catch_up.on_end(replica.now, 1);
    replica.kinds();
    replica.catch_up.on_asked(replica.now, 2, "b1", {taken ? kId : "?", taken ? 5001 : -1});
    CHECK(replica.catch_up.state() == CatchUpState::kAsking);
    CHECK(replica.catch_up.source() == "b1");
    CHECK(replica.kinds() == Kinds{taken ? SyncEvent::Kind::kDone : SyncEvent::Kind::kBroken});
    CHECK(replica.events.back().node == "a1");
    CHECK(replica.catch_up.full() == (taken ? 1 : 0));
  }
}

TEST_CASE("a stream is over when Redis is abreast, however much its source has promised") {
  Replica replica;
  SyncChoice lie = streamed(300);
  lie.missing_bytes = UINT64_MAX;
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.note(SyncNote::Kind::kChosen, lie);
  replica.catch_up.on_partial(replica.now, 1);
  LocalRedis facts;
  facts.alive = facts.link_up = true;
  replica.catch_up.on_redis(replica.now, facts);
  CHECK(replica.catch_up.state() == CatchUpState::kStreaming);
  replica.catch_up.on_redis(replica.now, facts, true);
  CHECK(replica.catch_up.state() == CatchUpState::kDone);
}

TEST_CASE("a copy of which nothing was taken over ends, when its Redis leads with something else") {
  Replica replica;
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.catch_up.on_full(replica.now, 1, kId, 5000);
  replica.catch_up.on_copied(replica.now, 1);
  LocalRedis facts;
  facts.alive = facts.master = true;
  facts.replid = kOther;
  facts.offset = 6000;
  replica.catch_up.on_redis(replica.now, facts);  // from before it followed, perhaps
  CHECK(replica.catch_up.state() == CatchUpState::kLoading);
  replica.now = replica.now + seconds(10);
  replica.catch_up.on_redis(replica.now, facts);
  CHECK(replica.catch_up.state() == CatchUpState::kBroken);
  CHECK(replica.catch_up.full() == 0);
  CHECK(replica.catch_up.broken() == 1);
}

TEST_CASE("whoever was told to wait is told that this is over; a late share changes nothing") {
  Replica replica;
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.note(SyncNote::Kind::kWaits, first_copy());
  replica.catch_up.on_end(replica.now, 1);
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kWaits, SyncEvent::Kind::kBroken});
  CHECK(replica.catch_up.broken() == 0);  // nothing had begun
  // Its turn came, and then the source died.
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.note(SyncNote::Kind::kWaits, first_copy());
  replica.note(SyncNote::Kind::kChosen, first_copy());
  CHECK(replica.catch_up.state() == CatchUpState::kAsking);
  replica.catch_up.on_end(replica.now, 1);
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kWaits, SyncEvent::Kind::kBroken});
  // One that did not wait says nothing.
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.catch_up.on_end(replica.now, 1);
  CHECK(replica.kinds().empty());

  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.catch_up.on_partial(replica.now, 1);
  CHECK(*replica.catch_up.progress().percent() == 100);
  replica.note(SyncNote::Kind::kShare, first_copy());
  CHECK(*replica.catch_up.progress().percent() == 100);
}

TEST_CASE("a copy that breaks off, one that the gate refuses, and a source that says nothing") {
  Replica replica;
  replica.catch_up.on_asked(replica.now, 1, "a1");
  replica.catch_up.on_full(replica.now, 1, kId, 5000);
  CHECK(replica.catch_up.reason() == "the primary's node does not say why");
  // The next connection asks before the end of the last one is seen.
  replica.catch_up.on_asked(replica.now, 2, "a1");
  CHECK(replica.kinds() == Kinds{SyncEvent::Kind::kBegun, SyncEvent::Kind::kBroken});
  replica.catch_up.on_end(replica.now, 1);
  CHECK(replica.catch_up.state() == CatchUpState::kAsking);
  replica.catch_up.on_refused(replica.now, 2, "a full sync of the lineage x instead of y");
  replica.catch_up.on_end(replica.now, 2);
  CHECK(replica.catch_up.state() == CatchUpState::kRefused);
  CHECK(replica.catch_up.reason() ==
        "refused by the gate: a full sync of the lineage x instead of y");
  replica.catch_up.on_asked(replica.now, 3, "b1");
  replica.catch_up.on_partial(replica.now, 3);
  CHECK(replica.catch_up.state() == CatchUpState::kDone);
  CHECK(replica.catch_up.broken() == 1);
}
