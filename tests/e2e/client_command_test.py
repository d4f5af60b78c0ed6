#!/usr/bin/python3
"""CLIENT ID, INFO, LIST, KILL, PAUSE and the like: what azimuth says of its clients is true, and what it
does to them is what Redis would."""
import time

import harness
from client_list import listing, own, own_id
from harness import wait_until
from resp import Closed, RespError, encode
from scenario import both


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
    for wrong in (
        ["LIST", "TYPE", "nosuch"],
        ["LIST", "TYPE"],
        ["LIST", "ID"],
        ["LIST", "ID", "x"],
        ["LIST", "ID", "-1"],
        ["LIST", "NOSUCH"],
        ["LIST", "TYPE", "normal", "x"],
        ["LIST", "ID", "0"],
        ["INFO", "x"],
        ["ID", "x"],
        ["GETNAME", "x"],
        ["SETNAME"],
        ["SETNAME", "a b"],
        ["SETNAME", "a\n"],
        ["NO-EVICT"],
        ["NO-EVICT", "maybe"],
        ["NOSUCH"],
        ["REPLY"],
        ["GETREDIR"],
        ["KILL"],
        ["KILL", "nobody:1"],
        ["KILL", "ID", "x"],
        ["KILL", "ID", "0"],
        ["KILL", "TYPE", "nosuch"],
        ["KILL", "USER", "nosuch"],
        ["KILL", "SKIPME", "maybe"],
        ["KILL", "ADDR"],
        ["KILL", "ID", "99999999"],
        ["KILL", "ADDR", "1.2.3.4:5"],
        ["KILL", "a", "b", "c"],
        ["PAUSE"],
        ["PAUSE", "x"],
        ["PAUSE", "-1"],
        ["PAUSE", "10", "NOSUCH"],
        ["UNPAUSE", "x"],
        ["UNPAUSE"],
        ["HELP"],
        ["TRACKINGINFO"],
        ["SETNAME", ""],
        ["GETNAME"],
    ):
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
    assert killer.cmd(
        "CLIENT", "KILL", "ADDR", address, "ID", number, "TYPE", "normal", "USER", "default"
    ) == 1 and closed(client)
    client, _, _ = victim()
    client.send("SUBSCRIBE", "c")
    client.read()
    assert killer.cmd("CLIENT", "KILL", "TYPE", "pubsub") == 1 and closed(client)
    several = [victim() for _ in range(5)]
    assert killer.cmd("CLIENT", "KILL", "LADDR", "%s:%d" % site.address) >= 5
    assert all(closed(client) for client, _, _ in several)
    assert killer.cmd("PING") == "PONG", "spared by SKIPME"
    client, number, _ = victim()
    client.send_raw(
        encode(["SET", "before", "1"])
        + encode(["CLIENT", "KILL", "ID", str(number), "SKIPME", "no"])
        + encode(["SET", "after", "1"])
    )
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
    start = time.monotonic()
    assert one.cmd("CLIENT", "PAUSE", "600") == "OK"
    reader.send("GET", "k")
    assert reader.read() == b"late"
    assert time.monotonic() - start > 0.55, "PAUSE ALL holds reads too"
    assert one.cmd("CLIENT", "UNPAUSE") == "OK"
    assert writer.cmd("SET", "k", "x") == "OK"


if __name__ == "__main__":
    harness.run(__doc__)
