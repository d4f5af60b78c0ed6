// Sealed datagrams: what opens, what is dropped and under which name; the socket and the envelope.
#include "proxy/peer/sealed_datagram.h"

#include <uv.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "proxy/peer/datagram_socket.h"

using namespace azimuth;

namespace {

constexpr Instant kStart{10'000};

SecretKey key_of(std::uint8_t first) {
  SecretKey key;
  key.data()[0] = first;
  return key;
}

SealedDatagrams node(char random, std::uint8_t key = 1, std::string_view cluster = "orders") {
  return {key_of(key), cluster, std::string(SealedDatagrams::kRandomBytes, random)};
}

std::uint64_t count(const SealedDatagrams& datagrams, DatagramFault fault) {
  return datagrams.counters().opened[static_cast<std::size_t>(fault)];
}

}  // namespace

TEST_CASE("what one node seals another opens, whatever it is") {
  SealedDatagrams a = node('a');
  SealedDatagrams b = node('b');
  for (const std::string& text : {std::string(), std::string("x"), std::string(1300, '\0')}) {
    const std::string sealed = a.seal(text);
    CHECK(sealed.size() == text.size() + kDatagramSealBytes);
    const auto opened = b.open(kStart, sealed);
    CHECK(opened.fault == DatagramFault::kNone);
    CHECK(opened.text == text);
    CHECK_FALSE(opened.worth_a_line);
  }
  CHECK(a.counters().sealed == 3);
  CHECK(count(b, DatagramFault::kNone) == 3);
  CHECK(b.sessions() == 1);
}

TEST_CASE("the same text never looks the same, and is not to be seen") {
  SealedDatagrams a = node('a');
  SealedDatagrams other = node('c');
  const std::string text(64, 'x');
  const std::string once = a.seal(text);
  const std::string again = a.seal(text);
  const std::string others = other.seal(text);
  for (const auto& sealed : {once, again, others}) CHECK(sealed.find("xxxx") == std::string::npos);
  CHECK(once.substr(25) != again.substr(25));
  CHECK(once.substr(25) != others.substr(25));
}

TEST_CASE("I9: an altered byte anywhere, or a cut anywhere, is dropped and changes nothing") {
  SealedDatagrams a = node('a');
  SealedDatagrams b = node('b');
  const std::string sealed = a.seal("the text");
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string altered = sealed;
    altered[i] = static_cast<char>(altered[i] ^ 0x40);
    CHECK(b.open(kStart + seconds(static_cast<std::int64_t>(i)), altered).fault !=
          DatagramFault::kNone);
    const auto cut = b.open(kStart + seconds(static_cast<std::int64_t>(i)), sealed.substr(0, i));
    CHECK(cut.fault != DatagramFault::kNone);
    CHECK(cut.text.empty());
  }
  CHECK(b.sessions() == 0);
  CHECK(b.open(kStart + seconds(100), sealed).text == "the text");
  // And of a session that is known: the replay window does not move for what is forged.
  std::string forged = a.seal("next");
  const std::string genuine = forged;
  forged.back() = static_cast<char>(forged.back() ^ 1);
  CHECK(b.open(kStart + seconds(100), forged).fault == DatagramFault::kForged);
  CHECK(b.open(kStart + seconds(100), genuine).fault == DatagramFault::kNone);
}

TEST_CASE("each fault has its name, a counter, and one line a minute") {
  SealedDatagrams b = node('b');
  SealedDatagrams good = node('a');
  std::string version = good.seal("x");
  version[0] = 2;
  std::string forged = good.seal("x");
  forged.back() = static_cast<char>(forged.back() ^ 1);
  struct Row {
    std::string datagram;
    DatagramFault fault;
    std::string_view name;
  };
  const std::vector<Row> rows = {
      {"", DatagramFault::kMalformed, "malformed"},
      {"*1\r\n$4\r\nPING\r\n", DatagramFault::kMalformed, "malformed"},
      {std::string(kDatagramBytesMax + 1, '\1'), DatagramFault::kMalformed, "malformed"},
      {version, DatagramFault::kOtherVersion, "other_version"},
      {node('w', 2).seal("x"), DatagramFault::kWrongKey, "wrong_key"},
      {node('o', 1, "invoices").seal("x"), DatagramFault::kOtherCluster, "other_cluster"},
      {forged, DatagramFault::kForged, "forged"},
  };
  Instant now = kStart;
  for (const Row& row : rows) {
    INFO(row.name);
    now = now + seconds(1000);
    const std::uint64_t before = count(b, row.fault);
    const auto opened = b.open(now, row.datagram);
    CHECK(opened.fault == row.fault);
    CHECK(opened.worth_a_line);
    CHECK_FALSE(b.open(now + seconds(59), row.datagram).worth_a_line);
    CHECK(b.open(now + seconds(60), row.datagram).worth_a_line);
    CHECK(count(b, row.fault) == before + 3);
    CHECK(to_string(row.fault) == row.name);
    CHECK_FALSE(explain(row.fault).empty());
  }
  CHECK(b.sessions() == 0);
}

TEST_CASE("a replayed datagram is dropped; late ones are not, as far as the window reaches") {
  SealedDatagrams a = node('a');
  SealedDatagrams b = node('b');
  std::vector<std::string> sealed;
  for (std::size_t i = 0; i < 3 * kReplayWindow; ++i) sealed.push_back(a.seal(std::to_string(i)));
  const auto opens = [&](std::size_t i) {
    const auto opened = b.open(kStart, sealed[i]);
    if (opened.fault == DatagramFault::kNone) CHECK(opened.text == std::to_string(i));
    return opened.fault;
  };
  CHECK(opens(5) == DatagramFault::kNone);
  CHECK(opens(5) == DatagramFault::kReplayed);
  CHECK(opens(0) == DatagramFault::kNone);
  CHECK(opens(0) == DatagramFault::kReplayed);
  const std::size_t far = 2 * kReplayWindow;
  CHECK(opens(far) == DatagramFault::kNone);
  CHECK(opens(far - kReplayWindow) == DatagramFault::kReplayed);  // too old to tell
  for (std::size_t i = far - kReplayWindow + 1; i < far; ++i) {
    CHECK(opens(i) == DatagramFault::kNone);
  }
  for (std::size_t i = far - kReplayWindow; i <= far; ++i) {
    CHECK(opens(i) == DatagramFault::kReplayed);
  }
  CHECK(opens(far + 700) == DatagramFault::kNone);
  CHECK(opens(far + 600) == DatagramFault::kNone);
  CHECK(opens(far - 1) == DatagramFault::kReplayed);
}

TEST_CASE("I9: new sessions are rationed, those that are known are not") {
  SealedDatagrams b = node('b');
  SealedDatagrams known = node('k');
  CHECK(b.open(kStart, known.seal("x")).fault == DatagramFault::kNone);
  // Somebody repeats the head of a good datagram with rubbish behind it, under sessions that show
  // both marks: he cannot make such sessions, only reuse one.
  std::string rubbish = node('z').seal("x");
  rubbish.back() = static_cast<char>(rubbish.back() ^ 1);
  std::uint64_t forged = 0;
  for (std::uint32_t i = 0; i < 2 * kDatagramNewSessionsPerSecond; ++i) {
    forged += b.open(kStart, rubbish).fault == DatagramFault::kForged ? 1 : 0;
  }
  CHECK(forged < kDatagramNewSessionsPerSecond);
  CHECK(count(b, DatagramFault::kRationed) > kDatagramNewSessionsPerSecond);
  CHECK(b.open(kStart, known.seal("x")).fault == DatagramFault::kNone);
  CHECK(b.open(kStart, node('n').seal("x")).fault == DatagramFault::kRationed);
  CHECK(b.open(kStart + seconds(1), node('n').seal("x")).fault == DatagramFault::kNone);
}

TEST_CASE("I8: sessions are remembered up to a bound, the last heard from longest") {
  SealedDatagrams b = node('b');
  SealedDatagrams loyal = node('l');
  const std::string first = loyal.seal("first");
  CHECK(b.open(kStart, first).fault == DatagramFault::kNone);
  Instant now = kStart;
  for (std::size_t i = 0; i < kDatagramSessionsMax + 100; ++i) {
    std::string random = std::to_string(i);
    random.resize(SealedDatagrams::kRandomBytes, '-');
    SealedDatagrams passing(key_of(1), "orders", random);
    now = now + milliseconds(2);
    REQUIRE(b.open(now, passing.seal("x")).fault == DatagramFault::kNone);
    if (i % 1000 == 0) REQUIRE(b.open(now, loyal.seal("x")).fault == DatagramFault::kNone);
  }
  CHECK(b.sessions() == kDatagramSessionsMax);
  CHECK(b.open(now, first).fault == DatagramFault::kReplayed);
}

TEST_CASE("the envelope tells gossip from leadership and names the sender") {
  const std::string text = gossip_envelope("packet");
  const auto gossip = open_envelope(text);
  REQUIRE(gossip);
  CHECK(gossip->kind == DatagramKind::kGossip);
  CHECK(gossip->body == "packet");
  const std::string message = leadership_envelope("a1", std::string("\0body", 5));
  const auto leadership = open_envelope(message);
  REQUIRE(leadership);
  CHECK(leadership->kind == DatagramKind::kLeadership);
  CHECK(leadership->sender == "a1");
  CHECK(leadership->body == std::string_view("\0body", 5));
  for (const std::string& bad : {std::string(), std::string("\x02"), std::string("\x02\x00x", 3),
                                 std::string("\x02\x05"
                                             "abcd"),
                                 std::string("\x03"
                                             "abc"),
                                 "\x02\x41" + std::string(80, 'x')}) {
    CHECK_FALSE(open_envelope(bad));
  }
}

namespace {

// A loop that the test turns by hand.
struct Loop {
  Loop() { REQUIRE(uv_loop_init(&loop) == 0); }
  ~Loop() {
    uv_run(&loop, UV_RUN_DEFAULT);  // the close callbacks
    CHECK(uv_loop_close(&loop) == 0);
  }
  template <class Condition>
  bool run_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    uv_timer_t tick;
    uv_timer_init(&loop, &tick);
    uv_timer_start(
        &tick, [](uv_timer_t*) {}, 1, 1);
    bool met = condition();
    while (!met && std::chrono::steady_clock::now() < end) {
      uv_run(&loop, UV_RUN_ONCE);
      met = condition();
    }
    bool closed = false;
    tick.data = &closed;
    uv_close(reinterpret_cast<uv_handle_t*>(&tick),
             [](uv_handle_t* handle) { *static_cast<bool*>(handle->data) = true; });
    while (!closed) uv_run(&loop, UV_RUN_NOWAIT);
    return met;
  }
  uv_loop_t loop;
};

struct Received {
  std::string from, text;
};

std::unique_ptr<DatagramSocket> socket_at(Loop& loop, const std::string& address,
                                          std::vector<Received>& received) {
  auto socket = DatagramSocket::open(&loop.loop, parse_endpoint(address).value(),
                                     [&](std::string_view from, std::string_view text) {
                                       received.push_back({std::string(from), std::string(text)});
                                     });
  if (!socket) return nullptr;
  return std::move(socket).value();
}

}  // namespace

TEST_CASE("sockets send and receive, over IPv4 and IPv6, and spell addresses one way") {
  struct Row {
    std::string here, there, reach;
  };
  for (const Row& row :
       {Row{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"}, Row{"[::1]:0", "[::1]:0", "[::1]"},
        Row{"127.0.0.1:0", "[::]:0", "127.0.0.1"}}) {
    INFO(row.here << " to " << row.there);
    Loop loop;
    std::vector<Received> at_a;
    std::vector<Received> at_b;
    auto a = socket_at(loop, row.here, at_a);
    auto b = socket_at(loop, row.there, at_b);
    if (row.here[0] == '[' && a == nullptr) continue;  // no IPv6 here
    if (row.there[0] == '[' && b == nullptr) continue;
    REQUIRE(a != nullptr);
    REQUIRE(b != nullptr);
    const std::string local = b->local();
    const std::string target = row.reach + local.substr(local.rfind(':'));
    const std::string longest(kDatagramBytesMax, 'x');
    REQUIRE(a->send(target, longest));
    REQUIRE(loop.run_until([&] { return !at_b.empty(); }));
    CHECK(at_b[0].text == longest);
    CHECK(at_b[0].from == a->local());
    REQUIRE(b->send(at_b[0].from, "answer"));  // also from a socket of both families
    REQUIRE(loop.run_until([&] { return !at_a.empty(); }));
    CHECK(at_a[0].text == "answer");
    CHECK(at_a[0].from == target);
    CHECK(a->counters().sent == 1);
    CHECK(b->counters().received_bytes == longest.size());
  }
}

TEST_CASE("what cannot be sent or bound is said, counted, and no more") {
  Loop loop;
  std::vector<Received> received;
  auto socket = socket_at(loop, "127.0.0.1:0", received);
  REQUIRE(socket != nullptr);
  CHECK_FALSE(socket->send("node.example:7380", "x"));
  CHECK_FALSE(socket->send("rubbish", "x"));
  CHECK_FALSE(socket->send("unix:/tmp/x", "x"));
  CHECK_FALSE(socket->send("[::1]:7380", "x"));
  CHECK(socket->last_error().find("IPv6") != std::string::npos);
  CHECK_FALSE(socket->send(socket->local(), std::string(kDatagramBytesMax + 1, 'x')));
  CHECK(socket->counters().send_errors == 5);
  const auto second = DatagramSocket::open(&loop.loop, parse_endpoint(socket->local()).value(), {});
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().message.find(socket->local()) != std::string::npos);
}
