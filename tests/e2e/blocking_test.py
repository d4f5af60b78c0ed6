#!/usr/bin/python3
"""What makes a client wait: blocking commands, CLIENT UNBLOCK, scripts that never end, WAIT; and scripts
that Redis has forgotten. Each scenario plays on redis-server and behind azimuth."""
import harness
from harness import only_azimuth, wait_until
from resp import Closed, RespError, encode
from scenario import both


@both
def blocking_lists(site):
    one, two = site.connect(), site.connect(resp=3)
    site.connect()
    for client, other in ((one, two), (two, one)):
        for command, push in (
            (["BLPOP", "q", "q2", "0"], ["RPUSH", "q2", "e1"]),
            (["BRPOP", "q", "0"], ["RPUSH", "q", "e2", "e3"]),
            (["BLMOVE", "q", "d", "LEFT", "RIGHT", "0"], ["RPUSH", "q", "e4"]),
            (["BRPOPLPUSH", "empty", "d", "0"], ["LPUSH", "empty", "e5"]),
            (["BLMPOP", "0", "2", "m1", "m2", "LEFT", "COUNT", "2"], ["RPUSH", "m2", "a", "b"]),
            (["BZPOPMIN", "z", "0"], ["ZADD", "z", "1.5", "m"]),
            (["BZPOPMAX", "z", "0"], ["ZADD", "z", "2", "m"]),
            (["BZMPOP", "0", "1", "z", "MIN"], ["ZADD", "z", "3", "m", "4", "n"]),
            (["XREAD", "BLOCK", "0", "STREAMS", "s", "$"], ["XADD", "s", None, "f", "v"]),
        ):
            if push[0] == "XADD":
                push[2] = "%d-1" % (1 if client is one else 2)
            site.admin.cmd("DEL", "q", "q2", "empty", "m2", "z")
            client.send(*command)
            site.wait_blocked(1)
            other.say(*push)
            site.note(command[0])
            client.hear()
        assert client.say("PING") == "PONG"
        for command in (
            ["BLPOP", "none", "0.01"],
            ["BRPOP", "none", "0.01"],
            ["BLMOVE", "none", "d", "LEFT", "LEFT", "0.01"],
            ["BZPOPMIN", "none", "0.01"],
            ["BLMPOP", "0.01", "1", "none", "LEFT"],
            ["BZMPOP", "0.01", "1", "none", "MAX"],
            ["XREAD", "BLOCK", "10", "STREAMS", "none", "$"],
            ["BLPOP", "none", "-1"],
            ["BLPOP", "none", "x"],
            ["BLPOP", "none", "nan"],
            ["BLPOP", "none"],
            ["XREAD", "BLOCK", "-1", "STREAMS", "none", "$"],
            ["BLPOP", "d", "1"],
        ):
            client.say(*command)
        client.say("SET", "str", "x")
        client.say("BLPOP", "str", "1")


@both
def blocking_streams_with_groups(site):
    site.admin.pipeline(["XGROUP", "CREATE", "st", "g", "$", "MKSTREAM"], ["DEL", "x"])
    workers = [site.connect(resp=2 + index % 2) for index in range(3)]
    producer = site.connect()
    for index, client in enumerate(workers):
        client.send(
            "XREADGROUP", "GROUP", "g", "c%d" % index, "COUNT", "1", "BLOCK", "0", "STREAMS", "st", ">"
        )
        site.wait_blocked(index + 1)
    for index in range(3):
        producer.say("XADD", "st", "5-%d" % index, "n", index)
    for client in workers:
        client.hear()
    producer.say("XACK", "st", "g", "5-0", "5-1")
    producer.say("XPENDING", "st", "g")
    workers[0].send("XREADGROUP", "GROUP", "g", "c0", "BLOCK", "0", "STREAMS", "st", ">")
    site.wait_blocked(1)
    producer.say("DEL", "st")
    workers[0].hear()
    workers[0].say("XREADGROUP", "GROUP", "g", "c0", "BLOCK", "10", "STREAMS", "st", ">")


@both
def blocked_clients_are_served_in_order(site):
    clients = [site.connect() for _ in range(30)]
    for count, client in enumerate(clients):
        client.send("BLPOP", "fifo", "0")
        site.wait_blocked(count + 1)
    with site.front.connect() as producer:
        for count in range(30):
            producer.cmd("RPUSH", "fifo", "e%d" % count)
    assert [client.read()[1] for client in clients] == [b"e%d" % count for count in range(30)]


@both
def a_blocked_client_holds_nobody_up(site):
    blocked, others = site.connect(), [site.connect() for _ in range(5)]
    blocked.send_raw(
        encode(["SET", "a", "1"])
        + encode(["BLPOP", "q", "0"])
        + encode(["GET", "a"])
        + encode(["SELECT", "1"])
        + encode(["GET", "a"])
        + encode(["ECHO", "end"])
    )
    assert blocked.read() == "OK"
    site.wait_blocked(1)
    for _ in range(100):
        for other in others:
            assert other.pipeline(["SET", "x", "1"], ["GET", "x"], ["MULTI"], ["GET", "x"], ["EXEC"])[4] == [
                b"1"
            ]
    assert blocked.silent(0.02)
    others[0].cmd("RPUSH", "q", "go")
    assert blocked.read_n(5) == [[b"q", b"go"], b"1", "OK", None, b"end"]


@both
def many_blocked_clients(site):
    clients = [site.connect() for _ in range(150)]
    for index, client in enumerate(clients):
        client.send("BLPOP", "list%d" % index, "0")
    site.wait_blocked(150)
    order = list(range(150))
    site.random.shuffle(order)
    with site.front.connect() as producer:
        producer.pipeline(*[["RPUSH", "list%d" % index, "for%d" % index] for index in order])
    for index, client in enumerate(clients):
        assert client.read() == [b"list%d" % index, b"for%d" % index]
    for client in clients:
        assert client.cmd("PING") == "PONG"


@both
def leaving_while_blocked_loses_no_element(site):
    other = site.connect()
    for command in (
        ["BLPOP", "jobs", "0"],
        ["BLMOVE", "jobs", "done", "LEFT", "LEFT", "0"],
        ["BZPOPMIN", "zjobs", "0"],
        ["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "sjobs", ">"],
    ):
        other.cmd("XGROUP", "CREATE", "sjobs", "g", "$", "MKSTREAM")
        for how in ("close", "reset"):
            leaver = site.front.connect()
            leaver.send(*command)
            site.wait_blocked(1)
            if how == "reset":
                leaver.sock.setsockopt(
                    harness.socket.SOL_SOCKET, harness.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )
            leaver.close()
            site.wait_blocked(0)
            other.cmd("RPUSH", "jobs", "job")
            other.cmd("ZADD", "zjobs", "1", "job")
            other.cmd("XADD", "sjobs", "*", "job", "1")
            assert other.cmd("LPOP", "jobs") == b"job"
            assert other.cmd("ZPOPMIN", "zjobs") == [b"job", b"1"]
            assert other.cmd("XLEN", "done") == 0 and other.cmd("XPENDING", "sjobs", "g")[0] == 0
            assert other.cmd("XTRIM", "sjobs", "MAXLEN", "0") == 1


@both
def client_unblock(site):
    blocked, other = site.connect(), site.connect()
    number = blocked.id()
    for command in (
        ["BLPOP", "q", "0"],
        ["XREAD", "BLOCK", "0", "STREAMS", "s", "$"],
        ["BLMOVE", "q", "r", "LEFT", "LEFT", "0"],
        ["BZPOPMAX", "z", "0"],
    ):
        for how in ((), ("TIMEOUT",), ("ERROR",), ("error",)):
            blocked.send(*command)
            site.wait_blocked(1)
            assert other.cmd("CLIENT", "UNBLOCK", number, *how) == 1
            blocked.hear()
            assert blocked.say("PING") == "PONG"
    assert other.cmd("CLIENT", "UNBLOCK", number) == 0
    assert other.cmd("CLIENT", "UNBLOCK", 99999999) == 0
    other.say("CLIENT", "UNBLOCK", "x")
    other.say("CLIENT", "UNBLOCK", "1", "NOSUCH")
    other.say("CLIENT", "UNBLOCK")
    blocked.send("BLPOP", "q", "0")
    site.wait_blocked(1)
    assert other.cmd("CLIENT", "KILL", "ID", number) == 1
    try:
        blocked.read()
        raise AssertionError("a killed client got a reply")
    except Closed:
        pass
    site.wait_blocked(0)


@both
def scripts_and_functions(site):
    client = site.connect()
    sha = client.say("SCRIPT", "LOAD", "return {KEYS[1], ARGV[1], redis.call('INCR', 'n')}").decode()
    client.say("EVALSHA", sha, "1", "k", "a")
    client.say("EVALSHA", sha.upper(), "1", "k", "a")
    client.say("EVALSHA_RO", sha, "1", "k", "a")
    client.say("EVALSHA", "0" * 40, "0")
    client.say("EVALSHA", "short", "0")
    client.say("SCRIPT", "EXISTS", sha, "0" * 40)
    client.say("MULTI")
    client.say("EVALSHA", sha, "1", "k", "b")
    client.say("EVALSHA", "1" * 40, "0")
    client.say("EXEC")
    client.say("SCRIPT", "FLUSH")
    client.say("SCRIPT", "EXISTS", sha)
    client.say("EVALSHA", sha, "1", "k", "a")
    client.say("EVAL", "return redis.call('GET', KEYS[1])", "1", "n")
    client.say("EVAL_RO", "return redis.call('SET', KEYS[1], 'x')", "1", "n")
    client.say("EVAL", "return redis.call('NOSUCH')", "0")
    client.say("EVAL", "this is no lua", "0")
    client.say("EVAL", "return 1", "2", "k")
    client.say(
        "FUNCTION",
        "LOAD",
        "#!lua name=lib\nredis.register_function('f', function(k, a) return {k, a} end)\n"
        "redis.register_function{function_name='g', callback=function() return redis.call('GET','n') end, flags={'no-writes'}}",
    )
    client.say("FCALL", "f", "1", "k", "a")
    client.say("FCALL_RO", "g", "0")
    client.say("FCALL_RO", "f", "0")
    client.say("FCALL", "nosuch", "0")
    client.say("FUNCTION", "LOAD", "#!lua name=lib\n")
    client.say("FUNCTION", "STATS")
    client.say("FUNCTION", "DELETE", "lib")
    client.say("SCRIPT", "KILL")
    client.say("FUNCTION", "KILL")


@both(redis=["--busy-reply-threshold", "30"])
def a_script_that_never_ends_is_killed(site):
    stuck, other = site.connect(), site.connect()
    for kill, start in (
        (["SCRIPT", "KILL"], ["EVAL", "while true do end", "0"]),
        (["FUNCTION", "KILL"], ["FCALL", "spin", "0"]),
    ):
        if kill[0] == "FUNCTION":
            other.say(
                "FUNCTION",
                "LOAD",
                "#!lua name=l\nredis.register_function{function_name='spin', "
                "callback=function() while true do end end, flags={'no-writes'}}",
            )
        stuck.send(*start)
        wait_until(lambda: str(site.admin.cmd("GET", "a")).startswith("BUSY"), what="BUSY")
        other.say("GET", "a")
        other.say("SET", "a", "1")
        other.say("PING")
        fresh = site.connect()
        fresh.say(*kill)
        assert isinstance(stuck.read(), RespError)
        assert other.say("SET", "a", "1") == "OK"
        assert stuck.say("GET", "a") == b"1"
        fresh.say(*kill)


@only_azimuth
def scripts_are_loaded_again_after_a_restart(stage):
    redis = stage.redis()
    front = stage.azimuth(redis)
    with front.connect() as client:
        shas = [client.cmd("SCRIPT", "LOAD", "return 'script %d'" % n).decode() for n in range(20)]
        for turn in range(3):
            redis.kill()
            redis.restart()
            wait_until(lambda: client.cmd("PING") == "PONG", what="azimuth reconnects")
            commands = []
            for n, sha in enumerate(shas):
                commands += [["APPEND", "log", "%d," % n], ["EVALSHA", sha, "0"], ["GET", "log"]]
            got = client.pipeline(*commands)
            for n in range(20):
                want = "".join("%d," % m for m in range(n + 1)).encode()
                assert got[3 * n + 1] == b"script %d" % n, (turn, n, got[3 * n + 1])
                assert got[3 * n + 2] == want, "order kept around the reload"
            unknown = client.cmd("EVALSHA", "0" * 40, "0")
            assert unknown.startswith("NOSCRIPT No matching script"), unknown
            assert client.cmd("SCRIPT", "EXISTS", shas[0]) == [1]
        # After SCRIPT FLUSH, a script must be gone as it is on redis-server.
        assert client.cmd("SCRIPT", "FLUSH") == "OK"
        assert client.cmd("EVALSHA", shas[0], "0").startswith("NOSCRIPT"), "flushed"


@harness.test
def wait_for_a_real_replica(stage):
    primary = stage.redis("--repl-diskless-sync-delay", "0")
    replica = stage.redis("--replicaof", "127.0.0.1 %d" % primary.port)
    front = stage.azimuth(primary)
    with front.connect() as client, front.connect() as noise, replica.connect() as there:
        wait_until(lambda: b"master_link_status:up" in there.cmd("INFO", "replication"), what="replica up")
        for n in range(20):
            noise.send("INCR", "noise")
            assert client.pipeline(["SET", "k", n], ["WAIT", "1", "5000"]) == ["OK", 1]
            assert there.cmd("GET", "k") == b"%d" % n
        assert client.cmd("WAIT", "0", "0") in (0, 1)
        assert isinstance(client.cmd("WAIT", "x", "0"), RespError)
        assert isinstance(client.cmd("WAIT", "1", "-1"), RespError)
        assert client.pipeline(["MULTI"], ["SET", "k", "m"], ["WAIT", "1", "0"], ["EXEC"])[3][0] == "OK"
        assert client.cmd("WAIT", "1", "5000") == 1
        replica.freeze()
        client.cmd("SET", "k", "late")
        assert client.cmd("WAIT", "1", "100") == 0, "a frozen replica acknowledges nothing"
        other = front.connect()
        other.cmd("SET", "o", "1")
        assert other.cmd("WAIT", "1", "60") == 0
        client.send("WAIT", "1", "0")
        assert noise.read_n(20)[-1] == 20 and noise.cmd("PING") == "PONG"
        assert client.silent(0.02)
        replica.thaw()
        assert client.read() == 1
        assert there.cmd("GET", "k") == b"late"
        other.close()


if __name__ == "__main__":
    harness.run(__doc__)
