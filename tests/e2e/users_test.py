#!/usr/bin/python3
"""Who is who: CLIENT commands, HELLO, AUTH and ACL users. Every command runs as its user, and what
azimuth says of its clients is true."""
import re
import time

import harness
from harness import wait_until
from resp import Closed, RespError, encode
from scenario import both

FIELDS = ("id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem "
          "rbs rbp obl oll omem tot-mem events cmd user redir resp").split()


def line(text):
    """A line of CLIENT LIST as a dict."""
    return dict(item.split("=", 1) for item in text.strip().split(" "))


def listing(client, *args):
    return [line(row) for row in client.cmd("CLIENT", "LIST", *args).decode().splitlines()]


def own(client):
    text = client.cmd("CLIENT", "INFO").decode()
    assert text.endswith("\n") and text.count("\n") == 1, text
    assert [item.split("=")[0] for item in text.strip().split(" ")] == FIELDS, text
    return line(text)


def closed(client):
    try:
        client.read(5)
        return False
    except Closed:
        return True


@both
def client_info(site):
    one, two = site.connect(), site.connect(resp=3)
    for client, resp in ((one, "2"), (two, "3")):
        info = own(client)
        assert info["id"] == str(client.id())
        host, port = client.sock.getsockname()
        assert info["addr"] == f"{host}:{port}", info
        assert info["laddr"] == "%s:%d" % site.address, info
        assert (info["name"], info["db"], info["resp"], info["user"]) == ("", "0", resp, "default"), info
        assert info["flags"] == "N" and info["cmd"] == "client|info" and info["redir"] == "-1", info
        assert info["sub"] == info["psub"] == "0" and info["multi"] == "-1", info
        client.cmd("CLIENT", "SETNAME", "my-name")
        client.cmd("SELECT", "7")
        info = own(client)
        assert (info["name"], info["db"]) == ("my-name", "7"), info
    assert one.id() != two.id() and one.id() == one.id()
    client = site.connect()
    client.cmd("WATCH", "k")
    client.cmd("MULTI")
    client.cmd("GET", "k")
    mine = [row for row in listing(one) if row["id"] == own_id(one, client)]
    assert len(mine) == 1 and mine[0]["multi"] == "1" and "x" in mine[0]["flags"], mine
    client.cmd("DISCARD")
    sub = site.connect()
    number = sub.id()
    sub.send("SUBSCRIBE", "a", "b")
    sub.read_n(2)
    sub.cmd("PSUBSCRIBE", "p*")
    row = listing(one, "ID", number)[0]
    assert (row["sub"], row["psub"], row["cmd"]) == ("2", "1", "psubscribe") and "P" in row["flags"], row
    blocked = site.connect()
    number = blocked.id()
    blocked.send("BLPOP", "q", "0")
    site.wait_blocked(1)
    row = listing(one, "ID", number)[0]
    assert "b" in row["flags"] and row["cmd"] == "blpop", row
    tracker = site.connect(resp=3)
    tracker.cmd("CLIENT", "TRACKING", "on")
    assert "t" in own(tracker)["flags"]
    tracker.cmd("CLIENT", "NO-EVICT", "on")
    assert "e" in own(tracker)["flags"]
    watcher = site.connect()
    number = watcher.id()
    watcher.cmd("MONITOR")
    assert "O" in listing(one, "ID", number)[0]["flags"]


def own_id(asker, client):
    """The id of a client that may not be asked now: found by its port."""
    port = client.sock.getsockname()[1]
    return [row["id"] for row in listing(asker) if row["addr"].endswith(":%d" % port)][0]


@both
def client_list_filters(site):
    clients = [site.connect() for _ in range(5)]
    sub = site.connect()
    sub_id = sub.id()
    sub.cmd("SUBSCRIBE", "c")
    ids = [client.id() for client in clients]
    one = clients[0]
    rows = listing(one)
    assert {str(number) for number in ids + [sub_id]} <= {row["id"] for row in rows}
    assert [row["id"] for row in listing(one, "ID", ids[3], ids[1], 99999999)] == [str(ids[3]), str(ids[1])]
    assert str(sub_id) in {row["id"] for row in listing(one, "TYPE", "pubsub")}
    assert str(ids[0]) not in {row["id"] for row in listing(one, "TYPE", "pubsub")}
    assert str(ids[0]) in {row["id"] for row in listing(one, "type", "NORMAL")}
    assert listing(one, "TYPE", "replica") == [] == listing(one, "TYPE", "master")
    for wrong in (["LIST", "TYPE", "nosuch"], ["LIST", "TYPE"], ["LIST", "ID"], ["LIST", "ID", "x"], ["LIST", "ID", "-1"], ["LIST", "NOSUCH"],
                  ["LIST", "TYPE", "normal", "x"], ["LIST", "ID", "0"], ["INFO", "x"], ["ID", "x"], ["GETNAME", "x"], ["SETNAME"],
                  ["SETNAME", "a b"], ["SETNAME", "a\n"], ["NO-EVICT"], ["NO-EVICT", "maybe"], ["NOSUCH"], ["REPLY"], ["GETREDIR"],
                  ["KILL"], ["KILL", "nobody:1"], ["KILL", "ID", "x"], ["KILL", "ID", "0"], ["KILL", "TYPE", "nosuch"], ["KILL", "USER", "nosuch"],
                  ["KILL", "SKIPME", "maybe"], ["KILL", "ADDR"], ["KILL", "ID", "99999999"], ["KILL", "ADDR", "1.2.3.4:5"], ["KILL", "a", "b", "c"],
                  ["PAUSE"], ["PAUSE", "x"], ["PAUSE", "-1"], ["PAUSE", "10", "NOSUCH"], ["UNPAUSE", "x"], ["UNPAUSE"], ["HELP"],
                  ["TRACKINGINFO"], ["SETNAME", ""], ["GETNAME"]):
        one.say("CLIENT", *wrong)
    one.cmd("CLIENT", "SETNAME", "first")
    assert listing(clients[1], "ID", ids[0])[0]["name"] == "first"
    clients[4].close()
    wait_until(lambda: listing(one, "ID", ids[4]) == [], what="a closed client leaves the list")


@both
def client_kill(site):
    killer = site.connect()

    def victim():
        client = site.connect()
        return client, client.id(), "%s:%d" % client.sock.getsockname()

    client, number, address = victim()
    assert killer.cmd("CLIENT", "KILL", "ID", number) == 1
    assert closed(client)
    client, number, address = victim()
    assert killer.cmd("CLIENT", "KILL", address) == "OK" and closed(client)
    assert isinstance(killer.say("CLIENT", "KILL", "127.0.0.1:1"), RespError)
    client, number, address = victim()
    assert killer.cmd("CLIENT", "KILL", "ADDR", address) == 1 and closed(client)
    client, number, address = victim()
    assert killer.cmd("CLIENT", "KILL", "ADDR", address, "ID", number + 12345) == 0
    assert killer.cmd("CLIENT", "KILL", "ADDR", address, "ID", number, "TYPE", "normal", "USER", "default") == 1 and closed(client)
    client, _, _ = victim()
    client.send("SUBSCRIBE", "c")
    client.read()
    assert killer.cmd("CLIENT", "KILL", "TYPE", "pubsub") == 1 and closed(client)
    several = [victim() for _ in range(5)]
    assert killer.cmd("CLIENT", "KILL", "LADDR", "%s:%d" % site.address) >= 5
    assert all(closed(client) for client, _, _ in several)
    assert killer.cmd("PING") == "PONG", "spared by SKIPME"
    client, number, _ = victim()
    client.send_raw(encode(["SET", "before", "1"]) + encode(["CLIENT", "KILL", "ID", str(number), "SKIPME", "no"]) + encode(["SET", "after", "1"]))
    site.note(client.read_to_end())
    assert killer.cmd("EXISTS", "before", "after") == 1
    client, _, _ = victim()
    client.send("MULTI")
    client.send("SET", "in multi", "x")
    client.read_n(2)
    assert killer.cmd("CLIENT", "KILL", "ID", own_id(killer, client)) == 1 and closed(client)
    assert killer.cmd("EXISTS", "in multi") == 0
    # MAXAGE and the like came later: an unknown filter is a syntax error.
    killer.say("CLIENT", "KILL", "MAXAGE", "10")


@both
def client_pause(site):
    one, reader, writer = site.connect(), site.connect(), site.connect()
    assert one.cmd("CLIENT", "PAUSE", "60000", "WRITE") == "OK"
    writer.send("SET", "k", "late")
    for _ in range(20):
        assert reader.cmd("GET", "k") is None
    assert writer.silent(0.03)
    late = site.connect()
    late.send_raw(encode(["GET", "k"]) + encode(["INCR", "n"]) + encode(["GET", "n"]))
    assert late.read() is None and late.silent(0.03)
    assert one.cmd("CLIENT", "UNPAUSE") == "OK"
    assert writer.read() == "OK" and late.read_n(2) == [1, b"1"]
    assert one.cmd("CLIENT", "PAUSE", "600") == "OK"
    reader.send("GET", "k")
    start = time.monotonic()
    assert reader.read() == b"late"
    assert time.monotonic() - start > 0.05, "PAUSE ALL holds reads too"
    assert one.cmd("CLIENT", "UNPAUSE") == "OK"
    assert writer.cmd("SET", "k", "x") == "OK"


@both
def hello_options(site):
    def normal(frame):
        return re.sub(rb"(\$2\r\nid\r\n):\d+\r\n", rb"\1:ID\r\n", frame)

    client = site.connect()
    for args in ([], ["3"], ["2"], ["3", "SETNAME", "a"], ["3", "AUTH", "default", "whatever"], ["2", "AUTH", "default", "x", "SETNAME", "b"],
                 ["4"], ["0"], ["-1"], ["three"], [""], ["3", "SETNAME"], ["3", "AUTH", "x"], ["3", "NOSUCH"], ["3", "AUTH", "nobody", "x"],
                 ["3", "SETNAME", "kept", "AUTH", "nobody", "x"], ["3", "SETNAME", "with space"], ["SETNAME", "a"], ["99999999999999999999"],
                 ["3", "SETNAME", "c", "SETNAME", "d"], ["3.0"], ["3", "setname", "e", "nosuch"], ["2"]):
        site.note(repr(args), normal(client.raw("HELLO", *args)))
        client.say("CLIENT", "GETNAME")
        client.say("HGETALL", "none")
    client.say("MULTI")
    client.say("HELLO", "3")
    client.say("HGETALL", "none")
    site.note(normal(client.raw("EXEC")))
    assert own(client)["resp"] in "23"
    client.say("HGETALL", "none")
    client.say("CLIENT", "GETNAME")


@both(redis=["--requirepass", "sesame"])
def passwords(site):
    fresh = site.connect
    with site.redis.connect() as admin:
        admin.cmd("AUTH", "sesame")
        client = fresh()
        for command in (["GET", "k"], ["PING"], ["NOSUCH"], ["GET"], ["ECHO", "x"], ["SELECT", "1"], ["CLIENT", "ID"], ["MULTI"], ["EXEC"], ["WATCH", "k"],
                        ["SUBSCRIBE", "c"], ["CONFIG", "GET", "requirepass"], ["HELLO"], ["HELLO", "3"], ["HELLO", "3", "SETNAME", "x"], ["HELLO", "9"], ["RESET"],
                        ["AUTH", "wrong"], ["AUTH", "default", "wrong"], ["AUTH", "nobody", "sesame"], ["HELLO", "3", "AUTH", "default", "wrong"],
                        ["INFO"], ["COMMAND"], ["CLIENT", "REPLY", "OFF"], ["WAIT", "0", "0"], ["CLIENT", "SETNAME", "x"], ["AUTH"], ["MONITOR"]):
            client.say(*command)
        assert client.say("AUTH", "sesame") == "OK"
        assert client.say("SET", "k", "v") == "OK"
        client.say("AUTH", "wrong")
        assert client.say("GET", "k") == b"v", "a failed AUTH changes nothing"
        client.say("RESET")
        assert client.say("GET", "k").startswith("NOAUTH")
        client.say("AUTH", "default", "sesame")
        client.say("GET", "k")
        client = fresh()
        client.send_raw(encode(["GET", "k"]) + encode(["AUTH", "sesame"]) + encode(["GET", "k"]) + encode(["AUTH", "bad"]) + encode(["GET", "k"]))
        [client.hear() for _ in range(5)]
        client = fresh()
        client.send("HELLO", "3", "AUTH", "default", "sesame", "SETNAME", "all-at-once")
        assert isinstance(client.read(), dict)
        assert client.say("CLIENT", "GETNAME") == b"all-at-once"
        old = fresh()
        old.say("AUTH", "sesame")
        assert admin.cmd("CONFIG", "SET", "requirepass", "new") == "OK"
        assert old.say("GET", "k") == b"v", "who is in stays in"
        client = fresh()
        assert client.say("AUTH", "sesame").startswith("WRONGPASS")
        assert client.say("GET", "k").startswith("NOAUTH")
        assert client.say("AUTH", "new") == "OK"
        assert client.say("GET", "k") == b"v"


@both
def a_password_set_by_a_client(site):
    old = site.connect()
    old.say("SET", "k", "v")
    other = site.connect()
    other.say("CONFIG", "SET", "requirepass", "late")
    assert other.say("GET", "k") == b"v"
    assert old.say("GET", "k") == b"v"
    fresh = site.connect()
    assert fresh.say("GET", "k").startswith("NOAUTH")
    assert fresh.say("AUTH", "late") == "OK" and fresh.say("GET", "k") == b"v"
    fresh.say("CONFIG", "SET", "requirepass", "")
    assert site.connect().say("GET", "k") == b"v"


@both
def acl_users(site):
    admin = site.connect()
    for rules in (["reader", "on", ">r", "~public:*", "+@read", "+@connection", "+select"],
                  ["writer", "on", ">w", "~*", "&news:*", "+@all", "-@dangerous", "-client|kill", "-client|id", "-echo"],
                  ["nobody", "on", "nopass"], ["off", "off", ">x", "+@all", "~*"],
                  ["bare", "on", ">b", "~*", "+@all", "-ping", "-echo", "-select", "-multi", "-exec", "-wait", "-watch", "-client", "-info", "-subscribe",
                   "-script|load", "-blpop", "-monitor", "-unwatch", "-discard", "-unsubscribe"]):
        assert admin.say("ACL", "SETUSER", *rules) == "OK"
    admin.say("MSET", "public:1", "p", "secret", "s")
    probes = (["ACL", "WHOAMI"], ["GET", "public:1"], ["GET", "secret"], ["SET", "public:1", "x"], ["MGET", "public:1", "secret"], ["PING"], ["ECHO", "x"],
              ["SELECT", "0"], ["CLIENT", "GETNAME"], ["CLIENT", "KILL", "ID", "99999999"], ["CLIENT", "LIST", "ID", "99999999"], ["CLIENT", "SETNAME", "x"],
              ["CLIENT", "NO-EVICT", "off"], ["CLIENT", "TRACKINGINFO"], ["CLIENT", "NOSUCH"], ["CLIENT", "UNBLOCK", "99999999"], ["CLIENT", "PAUSE", "0"], ["CLIENT", "UNPAUSE"],
              ["CLIENT", "REPLY", "ON"], ["CLIENT", "TRACKING", "off"], ["CLIENT", "CACHING", "yes"], ["CLIENT", "GETREDIR"], ["CONFIG", "RESETSTAT"],
              ["WAIT", "0", "0"], ["SCRIPT", "LOAD", "return 1"], ["EVAL", "return redis.call('GET', 'secret')", "0"], ["BLPOP", "public:q", "0.001"],
              ["WATCH", "public:1"], ["UNWATCH"], ["MULTI"], ["GET", "public:1"], ["GET", "secret"], ["EXEC"], ["DISCARD"], ["MULTI"], ["SET", "public:2", "x"], ["DISCARD"],
              ["PUBLISH", "news:1", "x"], ["PUBLISH", "else", "x"], ["SUBSCRIBE", "other"], ["UNSUBSCRIBE", "other"], ["DEBUG", "HELP"], ["ACL", "USERS"],
              ["NOSUCH"], ["GET"], ["OBJECT", "ENCODING", "secret"], ["RESET"])
    for user, password in (("reader", "r"), ("writer", "w"), ("nobody", "any"), ("bare", "b")):
        for resp in (2, 3):
            client = site.connect()
            if resp == 3:
                client.cmd("HELLO", "3", "AUTH", user, password)
            else:
                assert client.say("AUTH", user, password) == "OK"
            for probe in probes:
                client.send(*probe)
                site.note(user, repr(probe), re.sub(rb":\d{3,}", b":N", client.read_raw()))
    client = site.connect()
    for wrong in (["off", "x"], ["reader", "w"], ["nosuch", "x"], ["reader", ""]):
        client.say("AUTH", *wrong)
    assert client.say("ACL", "WHOAMI") == b"default"
    assert own_user(admin, "writer", "w") == "writer"


def own_user(admin, user, password):
    with harness.Client(admin.address) as client:
        client.cmd("AUTH", user, password)
        port = client.sock.getsockname()[1]
        return [row["user"] for row in listing(admin) if row["addr"].endswith(":%d" % port)][0]


@both
def users_side_by_side(site):
    """Many users over few connections: every command runs as its own."""
    admin = site.connect()
    for n in range(8):
        admin.cmd("ACL", "SETUSER", "u%d" % n, "on", ">p%d" % n, "~u%d:*" % n, "+@all")
    clients = []
    for n in range(24):
        client = site.connect()
        if n % 3 == 0:
            client.cmd("HELLO", "3", "AUTH", "u%d" % (n % 8), "p%d" % (n % 8))
        else:
            assert client.cmd("AUTH", "u%d" % (n % 8), "p%d" % (n % 8)) == "OK"
        clients.append(client)
    for turn in range(30):
        for n, client in enumerate(clients):
            client.send_raw(encode(["ACL", "WHOAMI"]) + encode(["SET", "u%d:k" % (n % 8), turn]) + encode(["GET", "u%d:k" % ((n + 1) % 8)]))
        for n, client in enumerate(clients):
            who, ok, other = client.read_n(3)
            assert who == b"u%d" % (n % 8) and ok == "OK" and other.startswith("NOPERM"), (n, who, ok, other)
    for n, client in enumerate(clients):  # and when they change places
        user = (n + 3) % 8
        got = client.pipeline(["AUTH", "u%d" % user, "p%d" % user], ["ACL", "WHOAMI"], ["AUTH", "u%d" % user, "wrong"], ["ACL", "WHOAMI"], ["RESET"], ["ACL", "WHOAMI"])
        assert got[1] == got[3] == b"u%d" % user and got[5] == b"default", got


@both
def users_change_under_their_sessions(site):
    admin = site.connect()
    admin.say("ACL", "SETUSER", "eve", "on", ">one", "~*", "&*", "+@all")
    eve, waiting = site.connect(), site.connect()
    for client in (eve, waiting):
        client.say("AUTH", "eve", "one")
    eve.say("SET", "k", "v")
    admin.say("ACL", "SETUSER", "eve", "-set", "resetkeys", "~k*")
    eve.say("SET", "k", "w")
    eve.say("GET", "k")
    eve.say("GET", "other")
    admin.say("ACL", "SETUSER", "eve", ">two", "<one", "+set", "~*")
    fresh = site.connect()
    assert fresh.say("AUTH", "eve", "one").startswith("WRONGPASS")
    assert fresh.say("AUTH", "eve", "two") == "OK"
    # A session that came in with the old password stays in, whatever it does next.
    assert eve.say("SET", "k", "x") == "OK"
    eve.say("MULTI")
    eve.say("GET", "k")
    assert eve.say("EXEC") == [b"x"]
    eve.say("BLPOP", "none", "0.001")
    eve.say("SUBSCRIBE", "c")
    eve.say("UNSUBSCRIBE", "c")
    assert eve.say("GET", "k") == b"x"
    admin.say("ACL", "SETUSER", "eve", "off")
    eve.say("GET", "k")
    fresh.say("GET", "k")
    site.connect().say("AUTH", "eve", "two")
    admin.say("ACL", "DELUSER", "eve")
    for client in (eve, fresh, waiting):
        wait_until(lambda: gone(client), what="DELUSER closes the user's sessions")
    assert admin.say("GET", "k") == b"x"


@both
def a_deleted_user_is_cut_while_blocked_and_subscribed(site):
    admin = site.connect()
    admin.say("ACL", "SETUSER", "eve", "on", "nopass", "~*", "&*", "+@all")
    clients = [site.connect() for _ in range(4)]
    for client in clients:
        client.say("AUTH", "eve", "x")
    clients[0].send("BLPOP", "q", "0")
    clients[1].say("SUBSCRIBE", "c")
    clients[2].say("MULTI")
    site.wait_blocked(1)
    admin.say("ACL", "DELUSER", "eve")
    for client in clients:
        wait_until(lambda: gone(client), what="cut")
    assert admin.cmd("RPUSH", "q", "kept") == 1 and admin.cmd("LPOP", "q") == b"kept"


def gone(client):
    """Whether the peer has closed; asks nothing of an open connection."""
    try:
        client.sock.settimeout(0.01)
        return client.sock.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


if __name__ == "__main__":
    harness.run(__doc__)
