#!/usr/bin/python3
"""HELLO, AUTH and ACL users: every command runs as its user, whoever shares its connection."""
import re

import harness
from client_list import listing, own
from harness import wait_until
from resp import encode
from scenario import both


@both
def hello_options(site):
    def normal(frame):
        return re.sub(rb"(\$2\r\nid\r\n):\d+\r\n", rb"\1:ID\r\n", frame)

    client = site.connect()
    for args in (
        [],
        ["3"],
        ["2"],
        ["3", "SETNAME", "a"],
        ["3", "AUTH", "default", "whatever"],
        ["2", "AUTH", "default", "x", "SETNAME", "b"],
        ["4"],
        ["0"],
        ["-1"],
        ["three"],
        [""],
        ["3", "SETNAME"],
        ["3", "AUTH", "x"],
        ["3", "NOSUCH"],
        ["3", "AUTH", "nobody", "x"],
        ["3", "SETNAME", "kept", "AUTH", "nobody", "x"],
        ["3", "SETNAME", "with space"],
        ["SETNAME", "a"],
        ["99999999999999999999"],
        ["3", "SETNAME", "c", "SETNAME", "d"],
        ["3.0"],
        ["3", "setname", "e", "nosuch"],
        ["2"],
    ):
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
        for command in (
            ["GET", "k"],
            ["PING"],
            ["NOSUCH"],
            ["GET"],
            ["ECHO", "x"],
            ["SELECT", "1"],
            ["CLIENT", "ID"],
            ["MULTI"],
            ["EXEC"],
            ["WATCH", "k"],
            ["SUBSCRIBE", "c"],
            ["CONFIG", "GET", "requirepass"],
            ["HELLO"],
            ["HELLO", "3"],
            ["HELLO", "3", "SETNAME", "x"],
            ["HELLO", "9"],
            ["RESET"],
            ["AUTH", "wrong"],
            ["AUTH", "default", "wrong"],
            ["AUTH", "nobody", "sesame"],
            ["HELLO", "3", "AUTH", "default", "wrong"],
            ["INFO"],
            ["COMMAND"],
            ["CLIENT", "REPLY", "OFF"],
            ["WAIT", "0", "0"],
            ["CLIENT", "SETNAME", "x"],
            ["AUTH"],
            ["MONITOR"],
        ):
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
        client.send_raw(
            encode(["GET", "k"])
            + encode(["AUTH", "sesame"])
            + encode(["GET", "k"])
            + encode(["AUTH", "bad"])
            + encode(["GET", "k"])
        )
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
    for rules in (
        ["reader", "on", ">r", "~public:*", "+@read", "+@connection", "+select"],
        [
            "writer",
            "on",
            ">w",
            "~*",
            "&news:*",
            "+@all",
            "-@dangerous",
            "-client|kill",
            "-client|id",
            "-echo",
        ],
        ["nobody", "on", "nopass"],
        ["off", "off", ">x", "+@all", "~*"],
        [
            "bare",
            "on",
            ">b",
            "~*",
            "+@all",
            "-ping",
            "-echo",
            "-select",
            "-multi",
            "-exec",
            "-wait",
            "-watch",
            "-client",
            "-info",
            "-subscribe",
            "-script|load",
            "-blpop",
            "-monitor",
            "-unwatch",
            "-discard",
            "-unsubscribe",
        ],
    ):
        assert admin.say("ACL", "SETUSER", *rules) == "OK"
    admin.say("MSET", "public:1", "p", "secret", "s")
    probes = (
        ["ACL", "WHOAMI"],
        ["GET", "public:1"],
        ["GET", "secret"],
        ["SET", "public:1", "x"],
        ["MGET", "public:1", "secret"],
        ["PING"],
        ["ECHO", "x"],
        ["SELECT", "0"],
        ["CLIENT", "GETNAME"],
        ["CLIENT", "KILL", "ID", "99999999"],
        ["CLIENT", "LIST", "ID", "99999999"],
        ["CLIENT", "SETNAME", "x"],
        ["CLIENT", "NO-EVICT", "off"],
        ["CLIENT", "TRACKINGINFO"],
        ["CLIENT", "NOSUCH"],
        ["CLIENT", "UNBLOCK", "99999999"],
        ["CLIENT", "PAUSE", "0"],
        ["CLIENT", "UNPAUSE"],
        ["CLIENT", "REPLY", "ON"],
        ["CLIENT", "TRACKING", "off"],
        ["CLIENT", "CACHING", "yes"],
        ["CLIENT", "GETREDIR"],
        ["CONFIG", "RESETSTAT"],
        ["WAIT", "0", "0"],
        ["SCRIPT", "LOAD", "return 1"],
        ["EVAL", "return redis.call('GET', 'secret')", "0"],
        ["BLPOP", "public:q", "0.001"],
        ["WATCH", "public:1"],
        ["UNWATCH"],
        ["MULTI"],
        ["GET", "public:1"],
        ["GET", "secret"],
        ["EXEC"],
        ["DISCARD"],
        ["MULTI"],
        ["SET", "public:2", "x"],
        ["DISCARD"],
        ["PUBLISH", "news:1", "x"],
        ["PUBLISH", "else", "x"],
        ["SUBSCRIBE", "other"],
        ["UNSUBSCRIBE", "other"],
        ["DEBUG", "HELP"],
        ["ACL", "USERS"],
        ["NOSUCH"],
        ["GET"],
        ["OBJECT", "ENCODING", "secret"],
        ["RESET"],
    )
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
            client.send_raw(
                encode(["ACL", "WHOAMI"])
                + encode(["SET", "u%d:k" % (n % 8), turn])
                + encode(["GET", "u%d:k" % ((n + 1) % 8)])
            )
        for n, client in enumerate(clients):
            who, ok, other = client.read_n(3)
            assert who == b"u%d" % (n % 8) and ok == "OK" and other.startswith("NOPERM"), (n, who, ok, other)
    for n, client in enumerate(clients):  # and when they change places
        user = (n + 3) % 8
        got = client.pipeline(
            ["AUTH", "u%d" % user, "p%d" % user],
            ["ACL", "WHOAMI"],
            ["AUTH", "u%d" % user, "wrong"],
            ["ACL", "WHOAMI"],
            ["RESET"],
            ["ACL", "WHOAMI"],
        )
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
