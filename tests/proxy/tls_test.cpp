// The channels under the links, without sockets: what is on the wire, and what a proof is worth.
#include "proxy/peer/tls.h"

#include <catch2/catch.hpp>
#include <string>

using namespace azimuth;

namespace {

const std::string kKey(32, 'k');

}  // namespace

TEST_CASE("keys are renewed on a link that lives long") {
  // More records than one key may have in both directions would take hours: the channels alone.
  const auto maker = make_tls(kKey);
  const auto opener = maker->make(true), acceptor = maker->make(false);
  std::string heard;
  const auto carry = [&](SecureChannel& from, SecureChannel& to) {
    const std::string wire(from.wire());
    from.sent(wire.size());
    to.receive(wire);
    char bytes[4096];
    for (std::size_t n; (n = to.read(bytes, sizeof(bytes))) != 0;) heard.append(bytes, n);
  };
  for (int i = 0; i < 4; ++i) {
    carry(*opener, *acceptor);
    carry(*acceptor, *opener);
  }
  REQUIRE(opener->state() == SecureChannel::State::kOpen);
  REQUIRE(acceptor->state() == SecureChannel::State::kOpen);
  for (int i = 0; i < 100; ++i) {
    opener->renew_key();
    opener->write("a");
    carry(*opener, *acceptor);
  }
  CHECK(heard == std::string(100, 'a'));
}

TEST_CASE("bytes between nodes are not readable on the wire, unless the settings say so") {
  const bool plaintext = GENERATE(false, true);
  const auto maker = plaintext ? make_plaintext(kKey) : make_tls(kKey);
  const auto opener = maker->make(true), acceptor = maker->make(false);
  std::string all;
  const auto carry = [&](SecureChannel& from, SecureChannel& to) {
    const std::string wire(from.wire());
    all += wire;
    from.sent(wire.size());
    to.receive(wire);
    char bytes[4096];
    while (to.read(bytes, sizeof(bytes)) != 0) {
    }
  };
  for (int i = 0; i < 4; ++i) {
    carry(*opener, *acceptor);
    carry(*acceptor, *opener);
  }
  opener->write("SET secret value");
  carry(*opener, *acceptor);
  CHECK((all.find("secret") != std::string::npos) == plaintext);
  CHECK(all.find(kKey) == std::string::npos);
}

TEST_CASE("I9: a proof of knowing the key is worth nothing on another connection") {
  // Plain text: what the opener proved once is replayed to a fresh acceptor.
  const auto maker = make_plaintext(kKey);
  const auto opener = maker->make(true), acceptor = maker->make(false), victim = maker->make(false);
  const auto carry = [](SecureChannel& from, SecureChannel& to) {
    const std::string wire(from.wire());
    from.sent(wire.size());
    to.receive(wire);
    char byte = 0;
    to.read(&byte, 1);
    return wire;
  };
  const std::string greeting = carry(*opener, *acceptor);
  carry(*acceptor, *opener);
  const std::string proof = carry(*opener, *acceptor);
  REQUIRE(acceptor->state() == SecureChannel::State::kOpen);
  const std::string replay = greeting + proof;
  victim->receive(replay);
  char byte = 0;
  victim->read(&byte, 1);
  CHECK(victim->state() == SecureChannel::State::kFailed);
}
