#include "session/client_command.h"

#include <catch2/catch.hpp>

using namespace azimuth;

namespace {

using Args = std::vector<std::string_view>;

Args client(Args rest) {
  rest.insert(rest.begin(), "CLIENT");
  return rest;
}

template <class T>
std::string error_of(const Result<T>& result) {
  return result.ok() ? std::string() : result.error().message;
}

const std::string kSyntax = "-ERR syntax error\r\n";
const std::string kId = "-ERR client-id should be greater than 0\r\n";

}  // namespace

TEST_CASE("a line of CLIENT LIST is Redis's") {
  ClientDescription c;
  c.id = 100;
  c.addr = "127.0.0.1:59694";
  c.laddr = "127.0.0.1:17791";
  c.fd = 7;
  c.flags = kClientTracking | kClientBcast;
  c.qbuf = 381;
  c.qbuf_free = 20093;
  c.argv_mem = 10;
  c.rbs = 16384;
  c.rbp = 16384;
  c.obl = 20;
  c.oll = 2;
  c.omem = 20912;
  c.tot_mem = 58666;
  c.cmd = "client|info";
  c.redir = 0;
  std::string out;
  append_client_line(out, c);
  CHECK(out ==
        "id=100 addr=127.0.0.1:59694 laddr=127.0.0.1:17791 fd=7 name= age=0 idle=0 flags=tB db=0 "
        "sub=0 psub=0 ssub=0 multi=-1 qbuf=381 qbuf-free=20093 argv-mem=10 multi-mem=0 rbs=16384 "
        "rbp=16384 obl=20 oll=2 omem=20912 tot-mem=58666 events=r cmd=client|info user=default "
        "redir=0 resp=2");
}

TEST_CASE("flags are Redis's letters in Redis's order, and make the type") {
  const std::vector<std::tuple<std::uint32_t, std::string, ClientType>> cases = {
      {0, "N", ClientType::kNormal},
      {kClientMonitor, "O", ClientType::kNormal},
      {kClientReplica, "S", ClientType::kReplica},
      {kClientPubsub | kClientNoEvict, "Pe", ClientType::kPubsub},
      {kClientMulti | kClientBlocked | kClientUnixSocket, "xbU", ClientType::kNormal},
      {0xFFFF, "OSMPxbtRBdcuAUre", ClientType::kMaster},
  };
  for (const auto& [flags, letters, type] : cases) {
    ClientDescription c;
    c.flags = flags;
    std::string out;
    append_client_line(out, c);
    CHECK(out.find(" flags=" + letters + " db=") != std::string::npos);
    CHECK(c.type() == type);
  }
  ClientDescription fresh;
  std::string out;
  append_client_line(out, fresh);
  CHECK(out.find(" cmd=NULL ") != std::string::npos);
}

TEST_CASE("CLIENT LIST") {
  CHECK(!parse_client_list(client({"LIST"}))->by_id);
  CHECK(parse_client_list(client({"list", "type", "Slave"}))->type == ClientType::kReplica);
  const auto by_id = parse_client_list(client({"LIST", "ID", "3", "1", "-4", "3"}));
  CHECK(by_id->by_id);
  CHECK(by_id->ids == std::vector<std::int64_t>{3, 1, -4, 3});

  const std::vector<std::pair<Args, std::string>> refused = {
      {{"LIST", "TYPE", "foo"}, "-ERR Unknown client type 'foo'\r\n"},
      {{"LIST", "TYPE"}, kSyntax},
      {{"LIST", "ID"}, kSyntax},
      {{"LIST", "ID", "1", "x"}, "-ERR Invalid client ID\r\n"},
      {{"LIST", "FOO", "1"}, kSyntax},
      {{"LIST", "TYPE", "normal", "x"}, kSyntax},
  };
  for (const auto& [args, error] : refused) {
    CAPTURE(args);
    CHECK(error_of(parse_client_list(client(args))) == error);
  }
}

TEST_CASE("CLIENT KILL refuses with Redis's words") {
  const std::vector<std::pair<Args, std::string>> refused = {
      {{"KILL"}, kSyntax},
      {{"KILL", "ID", "0"}, kId},
      {{"KILL", "ID", "x"}, kId},
      {{"KILL", "ID", "-1"}, kId},
      {{"KILL", "TYPE", "fo\no"}, "-ERR Unknown client type 'fo o'\r\n"},
      {{"KILL", "SKIPME", "maybe"}, kSyntax},
      {{"KILL", "ID", "1", "x"}, kSyntax},
      {{"KILL", "ID", "1", "x", "y"}, kSyntax},
      {{"KILL", "ADDR", "a", "LADDR"}, kSyntax},
  };
  for (const auto& [args, error] : refused) {
    CAPTURE(args);
    CHECK(error_of(parse_client_kill(client(args))) == error);
  }
}

TEST_CASE("CLIENT KILL finds whom it means") {
  ClientDescription self;
  self.id = 1;
  self.addr = "127.0.0.1:1000";
  self.laddr = "127.0.0.1:6380";
  ClientDescription other = self;
  other.id = 2;
  other.addr = "127.0.0.1:2000";
  other.user = "bob";
  other.flags = kClientPubsub;

  struct Case {
    Args args;
    bool self;
    bool other;
  };
  const std::vector<Case> cases = {
      {{"KILL", "127.0.0.1:1000"}, true, false},
      {{"KILL", "127.0.0.1:9999"}, false, false},
      {{"KILL", "ADDR", "127.0.0.1:1000"}, false, false},
      {{"KILL", "ADDR", "127.0.0.1:1000", "skipme", "NO"}, true, false},
      {{"KILL", "LADDR", "127.0.0.1:6380"}, false, true},
      {{"KILL", "LADDR", "127.0.0.1:6380", "SKIPME", "no"}, true, true},
      {{"KILL", "ID", "2"}, false, true},
      {{"KILL", "ID", "2", "ID", "9223372036854775807"}, false, false},
      {{"KILL", "USER", "bob"}, false, true},
      {{"KILL", "USER", "Bob"}, false, false},
      {{"KILL", "TYPE", "pubsub"}, false, true},
      {{"KILL", "TYPE", "normal", "SKIPME", "no"}, true, false},
      {{"KILL", "USER", "bob", "TYPE", "normal"}, false, false},
      {{"KILL", "SKIPME", "yes"}, false, true},
  };
  for (const Case& c : cases) {
    CAPTURE(c.args);
    const auto filter = parse_client_kill(client(c.args));
    REQUIRE(filter.ok());
    CHECK(filter->matches(self, 1) == c.self);
    CHECK(filter->matches(other, 1) == c.other);
  }
}

TEST_CASE("CLIENT KILL answers in its two forms") {
  ClientFilter old_form;
  old_form.old_form = true;
  std::string out;
  append_kill_reply(out, old_form, 0);
  append_kill_reply(out, old_form, 1);
  append_kill_reply(out, ClientFilter{}, 0);
  append_kill_reply(out, ClientFilter{}, 3);
  CHECK(out == "-ERR No such client\r\n+OK\r\n:0\r\n:3\r\n");
}

TEST_CASE("CLIENT REPLY, UNBLOCK and NO-EVICT") {
  CHECK(*parse_client_reply(client({"REPLY", "On"})) == ReplyMode::kOn);
  CHECK(*parse_client_reply(client({"REPLY", "off"})) == ReplyMode::kOff);
  CHECK(*parse_client_reply(client({"REPLY", "SKIP"})) == ReplyMode::kSkip);
  CHECK(error_of(parse_client_reply(client({"REPLY", "x"}))) == kSyntax);

  CHECK(parse_client_unblock(client({"UNBLOCK", "-7"}))->id == -7);
  CHECK(!parse_client_unblock(client({"UNBLOCK", "7", "TIMEOUT"}))->with_error);
  CHECK(parse_client_unblock(client({"UNBLOCK", "7", "Error"}))->with_error);
  CHECK(error_of(parse_client_unblock(client({"UNBLOCK", "x"}))) ==
        "-ERR value is not an integer or out of range\r\n");
  CHECK(error_of(parse_client_unblock(client({"UNBLOCK", "x", "bad"}))) ==
        "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n");
  CHECK(error_of(parse_client_unblock(client({"unBlock", "1", "error", "x"}))) ==
        "-ERR unknown subcommand or wrong number of arguments for 'unBlock'. Try CLIENT HELP.\r\n");

  CHECK(*parse_client_no_evict(client({"NO-EVICT", "ON"})));
  CHECK(!*parse_client_no_evict(client({"NO-EVICT", "off"})));
  CHECK(error_of(parse_client_no_evict(client({"NO-EVICT", "x"}))) == kSyntax);

  CHECK(valid_client_name(""));
  CHECK(valid_client_name("a!~"));
  CHECK(!valid_client_name("a b"));
  CHECK(!valid_client_name("\xc3\xa9"));
}
