#!/usr/bin/python3
"""Redis dies, stalls, is not there, refuses; azimuth is told to stop. Names invariants I6 (what may
have run is never sent twice) and I7 (each client its own replies, in order)."""
import os
import threading
import time

import harness
from harness import only_azimuth, test, wait_until
from load import Load
from resp import Closed, RespError, encode, frame_end, parse, split_frames
from scenario import both

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
HOLD = ["cluster.hold_timeout_ms=20000"]


@test
def kill_9_under_load(stage):
    """I6, I7: twenty times; clients stay connected and recover by themselves."""
    redis = stage.redis(*DURABLE)
    front = stage.azimuth(redis, settings=HOLD)
    with Load(stage, front, redis) as load:
        for turn in range(6 if stage.slow else 20):
            load.progress(stage.random.randint(2, 40))
            uncertain = sum(len(client.uncertain) for client in load.clients)
            redis.kill()
            redis.restart()
            load.progress(1)
            more = sum(len(client.uncertain) for client in load.clients) - uncertain
            in_flight = sum(client.depth for client in load.clients)
            assert more <= in_flight, f"kill {turn}: {more} uncertain, at most {in_flight} were in flight"
        load.progress(20)
        load.stop()
        load.audit()
        print("       " + load.summary(), flush=True)
        if not stage.direct:
            reads = [
                key
                for client in load.clients
                for key in client.errors
                # (Where they stood in front of a write that may have run: load.py.)
                if key[0] in ("read", "get", "echo") and key[1] not in ("LOADING", "UNCERTAIN")
            ]
            assert not reads, f"reads failed within the hold time: {reads}"


@test
def connections_are_cut_under_load(stage):
    """I6, I7: Redis stays, but closes azimuth's connections again and again."""
    redis = stage.redis()
    front = stage.azimuth(redis, settings=HOLD)
    with Load(stage, front, redis) as load, redis.connect() as admin:
        for _ in range(40):
            load.progress(stage.random.randint(1, 20))
            admin.cmd("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        load.progress(20)
        load.stop()
        load.audit()
        print("       " + load.summary(), flush=True)


@test
def redis_freezes_under_load(stage):
    """SIGSTOP and SIGCONT: latency, no error, nothing twice."""
    redis = stage.redis()
    front = stage.azimuth(redis, settings=HOLD)
    with Load(stage, front, redis) as load:
        for pause in (0.3, 1.5, 0.1):
            load.progress(20)
            redis.freeze()
            time.sleep(pause)  # the fault itself, not a wait for anything
            redis.thaw()
        load.progress(20)
        load.stop()
        load.audit()
        print("       " + load.summary(), flush=True)
        assert all(not client.errors for client in load.clients), load.summary()


@only_azimuth
def redis_is_not_there_at_start(stage):
    redis = stage.redis(start=False)
    front = stage.azimuth(redis, settings=HOLD)
    with front.connect() as one, front.connect() as two:
        one.send_raw(encode(["SET", "k", "held"]) + encode(["GET", "k"]))
        two.send("GET", "k")
        assert one.silent(0.2)
        redis.start()
        assert one.read_n(2) == ["OK", b"held"]
        assert two.read() in (None, b"held")
        two.send_raw(encode(["MULTI"]) + encode(["INCR", "n"]) + encode(["EXEC"]))
        assert two.read_n(3) == ["OK", "QUEUED", [1]]


@only_azimuth
def redis_stays_away(stage):
    """Past the hold time: CLUSTERDOWN, not executed; then back to work on the same connection."""
    redis = stage.redis()
    front = stage.azimuth(redis, settings=["cluster.hold_timeout_ms=400"])
    with front.connect() as one, front.connect() as two:
        one.pipeline(["SELECT", 3], ["SET", "k", "v"], ["CLIENT", "SETNAME", "me"])
        redis.kill()
        for command in (
            ["SET", "k", "no"],
            ["GET", "k"],
            ["INCR", "n"],
            ["EVAL", "return 1", "0"],
            ["BLPOP", "q", "0"],
        ):
            start = time.monotonic()
            reply = one.cmd(*command)
            assert isinstance(reply, RespError) and reply.startswith("CLUSTERDOWN azimuth: "), (
                command,
                reply,
            )
            assert time.monotonic() - start < 10
        got = two.pipeline(*[["INCR", "n"] for _ in range(50)])
        assert all(str(reply).startswith("CLUSTERDOWN azimuth: ") for reply in got), got
        redis.restart()
        wait_until(lambda: one.cmd("GET", "nothing") is None, what="back")
        got = one.pipeline(["SET", "where", "three"], ["GET", "n"], ["CLIENT", "GETNAME"])
        assert got == ["OK", None, b"me"], got
        with redis.connect() as admin:
            assert admin.pipeline(["SELECT", 3], ["GET", "where"])[1] == b"three", "the database is kept"


@only_azimuth
def state_lost_with_redis(stage):
    """What hung on the lost connection must not be pretended: MULTI, WATCH, blocking, subscriptions."""
    redis = stage.redis(*DURABLE)
    front = stage.azimuth(redis, settings=HOLD)
    clients = [front.connect() for _ in range(5)]
    multi, watch, block, sub, plain = clients
    track = front.connect(resp=3)
    multi.pipeline(["MULTI"], ["RPUSH", "l", "queued before"])
    watch.pipeline(["WATCH", "w"], ["GET", "w"])
    block.send("BLPOP", "q", "0")
    sub.send("SUBSCRIBE", "news")
    sub.read()
    track.pipeline(["CLIENT", "TRACKING", "on"], ["GET", "t"])
    plain.cmd("SET", "p", "1")
    with redis.connect() as admin:
        wait_until(lambda: b"blocked_clients:1\r" in admin.cmd("INFO", "clients"), what="blocked")
    redis.kill()
    redis.restart()
    assert plain.cmd("GET", "p") == b"1"

    def ask(client, *commands):
        """Replies until the connection is closed, which is an answer too."""
        replies = []
        try:
            for command in commands:
                replies.append(client.cmd(*command))
        except (Closed, OSError):
            replies.append(Closed)
        return replies

    replies = ask(multi, ["RPUSH", "l", "queued after"], ["EXEC"])
    assert replies[-1] is Closed or (
        isinstance(replies[-1], RespError) and not replies[-1].startswith("ERR EXEC without")
    ), replies
    assert plain.cmd("LRANGE", "l", 0, -1) == [], "half a transaction ran"
    if replies[-1] is not Closed:
        assert multi.cmd("RPUSH", "l2", "x") == 1, "after EXEC the client is as before"
    plain.cmd("SET", "w", "changed")
    replies = ask(watch, ["MULTI"], ["SET", "w", "overwritten"], ["EXEC"])
    assert replies[-1] in (None, Closed) or isinstance(replies[-1], RespError), replies
    assert plain.cmd("GET", "w") == b"changed", "a lost WATCH was forgotten"
    replies = ask(block, ["PING"])  # first comes the reply to BLPOP
    assert replies[0] is Closed or str(replies[0]).startswith(
        ("UNCERTAIN", "UNBLOCKED", "CLUSTERDOWN")
    ), replies
    plain.cmd("RPUSH", "q", "kept")
    assert plain.cmd("LPOP", "q") == b"kept"

    def heard():
        try:
            while not sub.silent(0.05):
                if sub.read() == [b"message", b"news", b"again"]:
                    return True
        except Closed:
            return True
        plain.cmd("PUBLISH", "news", "again")
        return False

    wait_until(heard, what="a subscriber is subscribed again, or told by a close")

    def told():
        try:
            while not track.silent(0.05):
                if track.read() == [b"invalidate", None]:
                    return True
        except Closed:
            return True
        return False

    wait_until(told, what="a tracking client is told to forget all, or closed")
    for client in clients + [track]:
        client.close()


@test
def redis_closes_idle_connections(stage):
    """`timeout` at Redis: idle upstream connections vanish; no client sees an error."""
    redis = stage.redis()
    front = stage.azimuth(redis)
    with redis.connect() as admin:
        if stage.direct:
            return
        clients = [front.connect(resp=2 + n % 2) for n in range(4)]
        for client in clients:
            client.pipeline(["SET", "k", "1"], ["GET", "k"], ["MULTI"], ["PING"], ["EXEC"])
        for _ in range(5):
            admin.cmd("CLIENT", "KILL", "TYPE", "normal")
            for n, client in enumerate(clients):
                got = client.pipeline(["SET", "k%d" % n, "x"], ["GET", "k%d" % n])
                assert got[1] == b"x" and (got[0] == "OK" or got[0].startswith("UNCERTAIN")), got
                assert client.pipeline(["MULTI"], ["GET", "k%d" % n], ["EXEC"])[2] == [b"x"]
        for client in clients:
            client.close()


@only_azimuth
def sigterm_under_load(stage):
    """Whole replies, right and in order, then a close; exit 0; nothing executed is left unanswered for long."""
    for workers in (1, 2):
        redis = stage.redis()
        front = stage.azimuth(redis, workers=workers)
        clients = [front.connect() for _ in range(8)]
        idle = front.connect()
        received = [b""] * len(clients)

        def work(index):
            sock, out = clients[index].sock, bytearray()
            sock.settimeout(30)
            request = encode(["INCR", "n%d" % index]) * 20
            try:
                while True:
                    sock.sendall(request)
                    want = out.count(b"\r\n") + 20
                    while out.count(b"\r\n") < want:
                        data = sock.recv(65536)
                        if not data:
                            raise OSError("closed")
                        out += data
                        if len(out) > 10_000_000:
                            raise AssertionError("too much")
            except OSError:
                pass
            received[index] = bytes(out)

        threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(clients))]
        [thread.start() for thread in threads]
        with redis.connect() as admin:
            wait_until(
                lambda: all(int(admin.cmd("GET", "n%d" % index) or 0) > 200 for index in range(8)),
                what="load",
            )
            front.stop()
            [thread.join(30) for thread in threads]
            for index, data in enumerate(received):
                assert data.endswith(b"\r\n"), f"client {index}: a broken reply at the end: {data[-40:]!r}"
                values = [parse(frame)[0] for frame in split_frames(data)]
                assert values == list(range(1, len(values) + 1)), f"client {index}: {values[-30:]}"
                executed = int(admin.cmd("GET", "n%d" % index))
                assert len(values) <= executed <= len(values) + 20, (index, len(values), executed)
        assert idle.read_to_end() == b""
        try:
            front.connect().cmd("PING")
            raise AssertionError("still listening")
        except (OSError, Closed):
            pass


@only_azimuth
def sigterm_with_waiting_clients(stage):
    """A blocked client, a subscriber and a transaction do not keep azimuth from stopping."""
    redis = stage.redis()
    front = stage.azimuth(redis, settings=["limits.drain_timeout_ms=1000"])
    block, sub, multi = (front.connect() for _ in range(3))
    block.send("BLPOP", "q", "0")
    sub.send("SUBSCRIBE", "c")
    sub.read()
    multi.pipeline(["MULTI"], ["SET", "k", "no"])
    with redis.connect() as admin:
        wait_until(lambda: b"blocked_clients:1\r" in admin.cmd("INFO", "clients"), what="blocked")
        front.stop(20)
        for client in (block, sub, multi):
            rest = client.read_to_end()
            assert frame_end(rest, 0) == len(rest) if rest else True, rest
        wait_until(lambda: b"blocked_clients:0\r" in admin.cmd("INFO", "clients"), what="let go")
        assert admin.cmd("RPUSH", "q", "kept") == 1 and admin.cmd("EXISTS", "k") == 0


@both(redis=["--enable-protected-configs", "yes"])
def errors_of_redis_pass_through(site):
    """OOM, NOREPLICAS, MISCONF, READONLY, MASTERDOWN: the same texts, and the client goes on after."""
    one, two = site.connect(), site.connect(resp=3)
    commands = (
        ["SET", "k", "v"],
        ["GET", "k"],
        ["INCR", "n"],
        ["DEL", "gone"],
        ["EVAL", "return redis.call('SET', 'k', 'x')", "0"],
        ["EVAL", "#!lua flags=no-writes\nreturn 1", "0"],
        ["MULTI"],
        ["SET", "k", "v"],
        ["EXEC"],
        ["MULTI"],
        ["GET", "k"],
        ["EXEC"],
        ["LPUSH", "l", "x"],
        ["PUBLISH", "c", "x"],
        ["BLPOP", "l", "0.001"],
        ["PFADD", "p", "x"],
        ["FLUSHALL"],
        ["SCRIPT", "LOAD", "return 1"],
    )

    def play(name):
        site.note("---", name)
        for client in (one, two):
            for command in commands:
                client.say(*command)
            client.cmd("DISCARD")

    play("healthy")
    site.admin.cmd("CONFIG", "SET", "maxmemory", "1")
    play("OOM")
    site.admin.cmd("CONFIG", "SET", "maxmemory", "0", "min-replicas-to-write", "2")
    play("NOREPLICAS")
    site.admin.cmd("CONFIG", "SET", "min-replicas-to-write", "0")
    gone = os.path.join(site.redis.dir, "gone")
    os.mkdir(gone)
    site.admin.cmd("CONFIG", "SET", "dir", gone)
    os.rmdir(gone)
    site.admin.cmd("CONFIG", "SET", "save", "3600 1")
    site.admin.cmd("BGSAVE")
    wait_until(lambda: site.info("rdb_last_bgsave_status") == "err", what="a failed save")
    play("MISCONF")
    site.admin.cmd("CONFIG", "SET", "stop-writes-on-bgsave-error", "no", "save", "")
    site.admin.cmd("REPLICAOF", "127.0.0.1", "1")
    play("READONLY")
    site.admin.cmd("CONFIG", "SET", "replica-serve-stale-data", "no")
    play("MASTERDOWN")
    site.admin.cmd("REPLICAOF", "NO", "ONE")
    play("healthy again")


@test
def loading_passes_through(stage):
    """A Redis that loads its data says so, through azimuth too, and then serves on the same connection."""
    redis = stage.redis()
    front = stage.azimuth(redis, settings=HOLD)
    with redis.connect() as admin:
        admin.pipeline(*[["SET", "key%d" % n, "v" * 100] for n in range(1500)])
        assert admin.cmd("SAVE") == "OK"
    old = None if stage.direct else front.connect()
    assert old is None or old.cmd("GET", "key1") == b"v" * 100
    redis.kill()
    redis.options += ["--key-load-delay", "6000", "--loading-process-events-interval-bytes", "1024"]
    redis.start(wait=False)

    def loading():
        try:
            with redis.connect() as probe:
                return str(probe.cmd("GET", "key1")).startswith("LOADING")
        except (OSError, Closed):
            return False

    wait_until(loading, what="LOADING")
    new = front.connect()
    for client in filter(None, (old, new)):
        reply = client.cmd("GET", "key1")
        assert reply == "LOADING Redis is loading the dataset in memory", reply
        assert client.cmd("SET", "x", "1").startswith("LOADING")
    for client in filter(None, (old, new)):
        wait_until(lambda: client.cmd("GET", "key1") == b"v" * 100, 60, "loaded")
        assert client.pipeline(["SET", "x", "1"], ["MULTI"], ["GET", "x"], ["EXEC"])[3] == [b"1"]
        client.close()


if __name__ == "__main__":
    harness.run(__doc__)
