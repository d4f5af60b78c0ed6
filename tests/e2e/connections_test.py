#!/usr/bin/python3
"""What hangs on a connection: transactions, SELECT, SCAN, long pipelines, QUIT and RESET, RESP2 and RESP3.
Each scenario plays on redis-server and behind azimuth."""
import re
import threading

import harness
from resp import encode
from scenario import both


@both
def transactions(site):
    for resp in (2, 3):
        one = site.connect(resp=resp)
        one.say("MULTI")
        one.say("SET", "a", "1")
        one.say("INCR", "a")
        one.say("GET", "a")
        assert one.say("EXEC") == ["OK", 2, b"2"]
        one.say("MULTI")
        one.say("SET", "a", "9")
        one.say("DISCARD")
        assert one.say("GET", "a") == b"2"
        for wrong in (["EXEC"], ["DISCARD"], ["MULTI", "x"], ["EXEC", "x"], ["WATCH"]):
            one.say(*wrong)
        one.say("MULTI")
        one.say("MULTI")
        one.say("WATCH", "a")
        one.say("NOSUCH", "x")
        one.say("SET", "a", "7")
        assert one.say("EXEC").startswith("EXECABORT")
        one.say("MULTI")
        one.say("LPUSH", "a", "1")
        one.say("INCR", "a")
        one.say("EXEC")
        one.say("MULTI")
        assert one.say("EXEC") == []
        one.say("MULTI")
        one.say("PING")
        one.say("ECHO", "x")
        one.say("CLIENT", "SETNAME", "inside")
        one.say("CLIENT", "GETNAME")
        one.say("BLPOP", "nolist", "0")
        one.say("XREAD", "BLOCK", "0", "STREAMS", "nostream", "$")
        one.say("EXEC")
        assert one.say("CLIENT", "GETNAME") == b"inside"
        one.say("DEL", "a")


@both
def watch(site):
    one, two = site.connect(), site.connect(resp=3)
    for watcher, other in ((one, two), (two, one)):
        watcher.say("WATCH", "k", "l")
        watcher.say("MULTI")
        watcher.say("SET", "k", "mine")
        other.say("SET", "l", "theirs")
        assert watcher.say("EXEC") is None
        watcher.say("WATCH", "k")
        other.say("SET", "k", "x")
        watcher.say("UNWATCH")
        watcher.say("MULTI")
        watcher.say("PING")
        assert watcher.say("EXEC") == ["PONG"]
        watcher.say("WATCH", "k")
        watcher.say("GET", "k")
        watcher.say("SET", "k", "own change")
        watcher.say("MULTI")
        assert watcher.say("EXEC") is None
        watcher.say("WATCH", "k")
        other.say("SET", "k", "x")
        watcher.say("MULTI")
        watcher.say("DISCARD")
        watcher.say("MULTI")
        watcher.say("INCR", "n")
        assert isinstance(watcher.say("EXEC"), list)
        watcher.say("WATCH", "flushed")
        other.say("SET", "flushed", "x")
        other.say("FLUSHDB")
        watcher.say("MULTI")
        assert watcher.say("EXEC") is None
        watcher.say("WATCH", "k")
        watcher.say("RESET")
        other.say("SET", "k", "y")
        watcher.say("MULTI")
        watcher.say("PING")
        assert watcher.say("EXEC") == ["PONG"]


@both
def watch_in_one_packet(site):
    """A whole WATCH, GET, MULTI, SET, EXEC in one packet, and its replies in order."""
    one = site.connect()
    for count in range(200):
        got = one.pipeline(
            ["WATCH", "n"],
            ["GET", "n"],
            ["MULTI"],
            ["INCR", "n"],
            ["ECHO", "t%d" % count],
            ["EXEC"],
            ["GET", "n"],
            ["ECHO", "e%d" % count],
        )
        assert got[0] == "OK" and got[2] == "OK" and got[3] == got[4] == "QUEUED", got
        assert got[5] == [count + 1, b"t%d" % count], got
        assert got[6:] == [b"%d" % (count + 1), b"e%d" % count], got


@both
def watch_race(site):
    """Optimistic counters of many clients: each success counts once."""
    clients = [site.connect(resp=2 + index % 2) for index in range(6)]
    wins = [0] * len(clients)

    def work(index):
        client = clients[index]
        while wins[index] < 40:
            client.cmd("WATCH", "counter")
            value = int(client.cmd("GET", "counter") or 0)
            got = client.pipeline(["MULTI"], ["SET", "counter", value + 1], ["INCR", "total"], ["EXEC"])
            wins[index] += got[3] is not None

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(clients))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert site.admin.cmd("GET", "counter") == b"240"
    assert site.admin.cmd("GET", "total") == b"240"


@both
def select(site):
    one, two = site.connect(), site.connect(resp=3)
    for client in (one, two):
        client.say("SELECT", "3")
        client.say("SET", "here", "three")
        client.say("SELECT", "0")
        client.say("GET", "here")
        client.say("SELECT", "16")
        client.say("SELECT", "-1")
        client.say("SELECT", "abc")
        client.say("MULTI")
        client.say("SELECT", "3")
        client.say("GET", "here")
        client.say("EXEC")
        assert client.say("GET", "here") == b"three", "SELECT inside MULTI holds after EXEC"
        client.say("MULTI")
        client.say("SELECT", "5")
        client.say("DISCARD")
        assert client.say("GET", "here") == b"three"
        client.say("MULTI")
        client.say("SELECT", "99")
        client.say("SELECT", "7")
        client.say("SELECT", "98")
        client.say("EXEC")
        client.say("SET", "where", "seven")
        assert site.admin.cmd("SELECT", 7) == "OK" and site.admin.cmd("GET", "where") == b"seven"
        client.say("WATCH", "where")
        client.say("SELECT", "8")
        client.say("SET", "where", "eight")
        client.say("MULTI")
        client.say("PING")
        assert client.say("EXEC") == ["PONG"], "another database's key was touched"
        client.say("SWAPDB", "7", "8")
        client.say("GET", "where")
        client.say("MOVE", "where", "9")
        client.say("SELECT", "9")
        client.say("GET", "where")
        client.say("DEL", "where")
        client.say("EVAL", "redis.call('SELECT', 2); return redis.call('SET', 'x', 'in two')", "0")
        client.say("GET", "x")
        client.say("SELECT", "2")
        client.say("GET", "x")
        client.say("FLUSHALL")


@both
def select_of_many_clients_mixed(site):
    """Clients in all databases at once: no command may land in a neighbour's database."""
    clients = [site.connect() for _ in range(16)]
    for db, client in enumerate(clients):
        assert client.cmd("SELECT", db) == "OK"
    for turn in range(60):
        for db, client in enumerate(clients):
            client.send_raw(encode(["APPEND", "k", "%d," % db]) + encode(["GET", "k"]) + encode(["DBSIZE"]))
        for db, client in enumerate(clients):
            length, value, size = client.read_n(3)
            assert value == b"%d," % db * (turn + 1) and length == len(value) and size == 1, (db, value)


@both
def selects_of_many_clients_at_once(site):
    """SELECTs of several clients are under way on one connection at the same time."""
    clients = [site.connect() for _ in range(16)]
    for turn in range(40):
        order = list(range(16))
        site.random.shuffle(order)
        for n in order:
            db = (n + turn) % 16
            clients[n].send_raw(
                encode(["SELECT", db])
                + encode(["SET", "k", "%d:%d" % (turn, db)])
                + (encode(["SELECT", "99"]) if n % 3 == 0 else b"")
                + encode(["GET", "k"])
            )
        for n in order:
            got = clients[n].read_n(4 if n % 3 == 0 else 3)
            assert got[0] == got[1] == "OK" and got[-1] == b"%d:%d" % (turn, (n + turn) % 16), (turn, n, got)


@both(redis=["--hz", "500"])
def a_connection_of_ones_own_keeps_to_its_clients_database(site):
    """What one client leaves behind on a pooled connection must not reach the next client."""
    site.admin.pipeline(["SET", "where", "db 0"], ["SELECT", 3], ["SET", "where", "db 3"])
    uses = (
        [["EVAL", "return redis.call('GET', 'where')", "0"]],
        [["MULTI"], ["GET", "where"], ["EXEC"]],
        [["WATCH", "x"], ["GET", "where"], ["UNWATCH"]],
        [["BLPOP", "none", "0.001"], ["GET", "where"]],
        [["SUBSCRIBE", "c"], ["UNSUBSCRIBE", "c"], ["GET", "where"]],
        [["MULTI"], ["SELECT", "3"], ["GET", "where"], ["EXEC"]],
        [["EVAL", "redis.call('SELECT', 3) return redis.call('GET', 'where')", "0"]],
        [["FCALL", "none", "0"]],
        [["MULTI"], ["SELECT", "3"], ["DISCARD"]],
        [["WATCH", "x"], ["SELECT", "3"]],
        [["MULTI"], ["GET", "where"]],
    )
    for first in uses:
        for second in uses:
            for databases in (("3", "0"), ("0", "3")):
                for database, use in zip(databases, (first, second)):
                    with site.front.connect() as client:
                        client.cmd("SELECT", database)
                        site.note(
                            database, repr(use), repr(client.pipeline(*use)), repr(client.cmd("GET", "where"))
                        )


@both
def quit_and_reset(site):
    for resp in (2, 3):
        client = site.connect(resp=resp)
        client.send_raw(encode(["SET", "a", "1"]) + encode(["QUIT"]) + encode(["SET", "a", "2"]))
        site.note(client.read_to_end())
        client = site.connect(resp=resp)
        client.say("SELECT", "4")
        client.say("CLIENT", "SETNAME", "me")
        client.say("MULTI")
        client.say("SET", "a", "3")
        client.say("RESET")
        client.say("EXEC")
        client.say("CLIENT", "GETNAME")
        assert client.say("GET", "a") == b"1", "back in database 0"
        client.say("HGETALL", "none")
        client.say("RESET", "now")
        client.say("MULTI")
        client.say("QUIT")
        site.note(client.read_to_end())


@both
def resp_protocols(site):
    """The types that differ between RESP2 and RESP3, switched to and fro on one connection."""
    client = site.connect()
    fill = [
        ["HSET", "h", "f", "v"],
        ["SADD", "s", "m"],
        ["ZADD", "z", "1.5", "m"],
        ["XADD", "x", "1-1", "f", "v"],
        ["SET", "n", "3.25"],
    ]
    client.pipeline(*fill)
    for proto in ("3", "2", "3"):
        site.note(re.sub(rb"id\r\n:\d+", b"id\r\n:ID", client.raw("HELLO", proto)))
        for command in (
            ["HGETALL", "h"],
            ["SMEMBERS", "s"],
            ["ZRANGE", "z", "0", "-1", "WITHSCORES"],
            ["ZSCORE", "z", "m"],
            ["GET", "none"],
            ["HGET", "h", "none"],
            ["LPOP", "none"],
            ["XRANGE", "x", "-", "+"],
            ["XREAD", "STREAMS", "x", "0"],
            ["CONFIG", "GET", "maxmemory"],
            ["EVAL", "return {1,'a',{2}}", "0"],
            ["EVAL", "return 1.5", "0"],
            ["EVAL", "redis.setresp(3); return redis.call('HGETALL','h')", "0"],
            ["EVAL", "return {double=1.5}", "0"],
            ["EVAL", "return {map={a=1}}", "0"],
            ["EVAL", "return {big_number='12345678901234567890'}", "0"],
            ["EVAL", "return {verbatim_string={format='txt',string='hi'}}", "0"],
            ["EVAL", "return redis.error_reply('MYERR no')", "0"],
            ["EVAL", "redis.setresp(3); return true", "0"],
            ["LOLWUT", "VERSION", "99"],
            ["GEOPOS", "none", "a"],
            ["COMMAND", "INFO", "get", "nosuch"],
            ["XINFO", "STREAM", "x"],
            ["DEBUG", "PROTOCOL", "attrib"],
            ["DEBUG", "PROTOCOL", "bignum"],
            ["PING"],
            ["DEBUG", "PROTOCOL", "verbatim"],
            ["DEBUG", "PROTOCOL", "null"],
            ["DEBUG", "PROTOCOL", "true"],
            ["DEBUG", "PROTOCOL", "map"],
            ["DEBUG", "PROTOCOL", "set"],
        ):
            client.say(*command)


@both
def scan_families(site):
    client = site.connect()
    client.pipeline(*[["SET", "key:%d" % n, n] for n in range(2000)])
    client.pipeline(
        *[
            [kind, kind, *item]
            for n in range(700)
            for kind, item in (("SADD", ["m%d" % n]), ("HSET", ["f%d" % n, n]), ("ZADD", [n, "m%d" % n]))
        ]
    )

    def whole(command, *key, step=1):
        cursor, seen = b"0", set()
        while True:
            cursor, items = client.cmd(command, *key, cursor, "COUNT", "37")
            seen.update(items[::step])
            if cursor == b"0":
                return seen

    assert len(whole("SCAN")) == 2003
    assert len(whole("SSCAN", "SADD")) == 700
    assert len(whole("HSCAN", "HSET", step=2)) == 700
    assert len(whole("ZSCAN", "ZADD", step=2)) == 700
    cursor, _ = client.cmd("SCAN", "0", "MATCH", "key:1*", "COUNT", "5000", "TYPE", "string")
    assert cursor == b"0"
    for wrong in (
        ["SCAN"],
        ["SCAN", "x"],
        ["SCAN", "0", "COUNT", "0"],
        ["SCAN", "0", "COUNT"],
        ["SCAN", "0", "NOSUCH", "1"],
        ["SSCAN", "key:1", "0"],
        ["HSCAN", "none", "0"],
    ):
        client.say(*wrong)


@both
def long_pipelines(site):
    client = site.connect()
    count = 10_000
    got = client.pipeline(*[["INCR", "n"] for _ in range(count)])
    assert got == list(range(1, count + 1))
    mixed = []
    for n in range(count // 4):
        mixed += [
            ["SET", "k%d" % (n % 50), n],
            ["GET", "k%d" % (n % 50)],
            ["ECHO", "e%d" % n],
            ["NOSUCH%d" % n],
        ]
    got = client.pipeline(*mixed)
    for n in range(count // 4):
        assert got[4 * n : 4 * n + 3] == ["OK", b"%d" % n, b"e%d" % n]
        assert got[4 * n + 3].startswith("ERR unknown command 'NOSUCH%d'" % n)


@both
def long_pipelines_side_by_side(site):
    clients = [site.connect(resp=2 + index % 2) for index in range(10)]

    def work(index):
        for turn in range(5):
            batch = [[("GET", "ECHO")[n % 2], "%d-%d-%d" % (index, turn, n)] for n in range(1000)]
            got = clients[index].pipeline(*batch)
            for n in range(1, 1000, 2):
                if got[n] != batch[n][1].encode() or got[n - 1] is not None:
                    trouble.append((index, turn, n, got[n]))

    trouble = []
    threads = [threading.Thread(target=work, args=(index,)) for index in range(10)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not trouble, trouble[:5]


@both
def a_pipeline_sent_whole_before_its_replies_are_read(site):
    """Client libraries do this: 20,000 requests written, then 20 MB of replies read."""
    client = site.connect(timeout=60)
    value = b"v" * 1000
    client.cmd("SET", "k", value)
    client.send_raw(encode(["GET", "k"]) * 20_000 + encode(["ECHO", "end"]))
    want = b"$1000\r\n" + value + b"\r\n"
    for _ in range(20_000):
        assert client.read_raw() == want
    assert client.read() == b"end"


@both
def odd_pairs(site):
    """Commands whose reply order is easily broken: answered by azimuth itself between forwarded ones."""
    client = site.connect()
    local = [
        ["PING"],
        ["ECHO", "x"],
        ["CLIENT", "SETNAME", "n"],
        ["CLIENT", "GETNAME"],
        ["SELECT", "1"],
        ["SELECT", "0"],
        ["RESET"],
        ["CLIENT", "REPLY", "ON"],
        ["UNWATCH"],
        ["WAIT", "0", "0"],
        ["MULTI"],
        ["DISCARD"],
        ["HELLO", "x"],
        ["CLIENT", "NO-EVICT", "on"],
        ["CLIENT", "TRACKING", "off"],
        ["UNSUBSCRIBE"],
        ["AUTH", "no"],
        ["WATCH", "k"],
        ["BLPOP", "q", "0.001"],
        ["EXEC"],
        ["READONLY"],
        ["ASKING"],
        ["CLIENT", "CACHING", "yes"],
    ]
    for _ in range(60):
        batch = []
        for n in range(site.random.randint(1, 20)):
            batch.append(
                site.random.choice(local)
                if site.random.random() < 0.5
                else site.random.choice(
                    [["INCR", "n"], ["GET", "n"], ["APPEND", "a", "x"], ["STRLEN", "a"], ["NOSUCH"]]
                )
            )
        client.send_raw(b"".join(map(encode, batch)))
        for command in batch:
            site.note(repr(command), client.read_raw())
        client.cmd("RESET")


if __name__ == "__main__":
    harness.run(__doc__)
