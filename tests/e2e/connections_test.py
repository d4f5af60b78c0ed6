#!/usr/bin/python3
"""What hangs on a connection: transactions, blocking commands, SELECT, scripts, WAIT, SCAN, long
pipelines, QUIT and RESET. Each scenario plays on redis-server and behind azimuth."""
import re
import threading

import harness
from harness import only_azimuth, wait_until
from resp import Closed, RespError, encode
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
        got = one.pipeline(["WATCH", "n"], ["GET", "n"], ["MULTI"], ["INCR", "n"], ["ECHO", "t%d" % count],
                           ["EXEC"], ["GET", "n"], ["ECHO", "e%d" % count])
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
            client.send_raw(encode(["APPEND", "k", "%d," % db]) + encode(["GET", "k"]) +
                            encode(["DBSIZE"]))
        for db, client in enumerate(clients):
            length, value, size = client.read_n(3)
            assert value == b"%d," % db * (turn + 1) and length == len(value) and size == 1, (db, value)


@both
def blocking_lists(site):
    one, two = site.connect(), site.connect(resp=3)
    site.connect()
    for client, other in ((one, two), (two, one)):
        for command, push in ((["BLPOP", "q", "q2", "0"], ["RPUSH", "q2", "e1"]),
                              (["BRPOP", "q", "0"], ["RPUSH", "q", "e2", "e3"]),
                              (["BLMOVE", "q", "d", "LEFT", "RIGHT", "0"], ["RPUSH", "q", "e4"]),
                              (["BRPOPLPUSH", "empty", "d", "0"], ["LPUSH", "empty", "e5"]),
                              (["BLMPOP", "0", "2", "m1", "m2", "LEFT", "COUNT", "2"], ["RPUSH", "m2", "a", "b"]),
                              (["BZPOPMIN", "z", "0"], ["ZADD", "z", "1.5", "m"]),
                              (["BZPOPMAX", "z", "0"], ["ZADD", "z", "2", "m"]),
                              (["BZMPOP", "0", "1", "z", "MIN"], ["ZADD", "z", "3", "m", "4", "n"]),
                              (["XREAD", "BLOCK", "0", "STREAMS", "s", "$"], ["XADD", "s", None, "f", "v"])):
            if push[0] == "XADD":
                push[2] = "%d-1" % (1 if client is one else 2)
            site.admin.cmd("DEL", "q", "q2", "empty", "m2", "z")
            client.send(*command)
            site.wait_blocked(1)
            other.say(*push)
            site.note(command[0])
            client.hear()
        assert client.say("PING") == "PONG"
        for command in (["BLPOP", "none", "0.01"], ["BRPOP", "none", "0.01"], ["BLMOVE", "none", "d", "LEFT", "LEFT", "0.01"],
                        ["BZPOPMIN", "none", "0.01"], ["BLMPOP", "0.01", "1", "none", "LEFT"],
                        ["BZMPOP", "0.01", "1", "none", "MAX"], ["XREAD", "BLOCK", "10", "STREAMS", "none", "$"],
                        ["BLPOP", "none", "-1"], ["BLPOP", "none", "x"], ["BLPOP", "none", "nan"], ["BLPOP", "none"],
                        ["XREAD", "BLOCK", "-1", "STREAMS", "none", "$"], ["BLPOP", "d", "1"]):
            client.say(*command)
        client.say("SET", "str", "x")
        client.say("BLPOP", "str", "1")


@both
def blocking_streams_with_groups(site):
    site.admin.pipeline(["XGROUP", "CREATE", "st", "g", "$", "MKSTREAM"], ["DEL", "x"])
    workers = [site.connect(resp=2 + index % 2) for index in range(3)]
    producer = site.connect()
    for index, client in enumerate(workers):
        client.send("XREADGROUP", "GROUP", "g", "c%d" % index, "COUNT", "1", "BLOCK", "0", "STREAMS", "st", ">")
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
    blocked.send_raw(encode(["SET", "a", "1"]) + encode(["BLPOP", "q", "0"]) + encode(["GET", "a"]) +
                     encode(["SELECT", "1"]) + encode(["GET", "a"]) + encode(["ECHO", "end"]))
    assert blocked.read() == "OK"
    site.wait_blocked(1)
    for _ in range(100):
        for other in others:
            assert other.pipeline(["SET", "x", "1"], ["GET", "x"], ["MULTI"], ["GET", "x"], ["EXEC"])[4] == [b"1"]
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
    for command in (["BLPOP", "jobs", "0"], ["BLMOVE", "jobs", "done", "LEFT", "LEFT", "0"],
                    ["BZPOPMIN", "zjobs", "0"], ["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "sjobs", ">"]):
        other.cmd("XGROUP", "CREATE", "sjobs", "g", "$", "MKSTREAM")
        for how in ("close", "reset"):
            leaver = site.front.connect()
            leaver.send(*command)
            site.wait_blocked(1)
            if how == "reset":
                leaver.sock.setsockopt(harness.socket.SOL_SOCKET, harness.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
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
    for command in (["BLPOP", "q", "0"], ["XREAD", "BLOCK", "0", "STREAMS", "s", "$"],
                    ["BLMOVE", "q", "r", "LEFT", "LEFT", "0"], ["BZPOPMAX", "z", "0"]):
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
    fill = [["HSET", "h", "f", "v"], ["SADD", "s", "m"], ["ZADD", "z", "1.5", "m"], ["XADD", "x", "1-1", "f", "v"],
            ["SET", "n", "3.25"]]
    client.pipeline(*fill)
    for proto in ("3", "2", "3"):
        site.note(re.sub(rb"id\r\n:\d+", b"id\r\n:ID", client.raw("HELLO", proto)))
        for command in (["HGETALL", "h"], ["SMEMBERS", "s"], ["ZRANGE", "z", "0", "-1", "WITHSCORES"], ["ZSCORE", "z", "m"],
                        ["GET", "none"], ["HGET", "h", "none"], ["LPOP", "none"], ["XRANGE", "x", "-", "+"],
                        ["XREAD", "STREAMS", "x", "0"], ["CONFIG", "GET", "maxmemory"], ["EVAL", "return {1,'a',{2}}", "0"],
                        ["EVAL", "return 1.5", "0"], ["EVAL", "redis.setresp(3); return redis.call('HGETALL','h')", "0"],
                        ["EVAL", "return {double=1.5}", "0"], ["EVAL", "return {map={a=1}}", "0"],
                        ["EVAL", "return {big_number='12345678901234567890'}", "0"],
                        ["EVAL", "return {verbatim_string={format='txt',string='hi'}}", "0"],
                        ["EVAL", "return redis.error_reply('MYERR no')", "0"], ["EVAL", "redis.setresp(3); return true", "0"],
                        ["LOLWUT", "VERSION", "99"], ["GEOPOS", "none", "a"], ["COMMAND", "INFO", "get", "nosuch"],
                        ["XINFO", "STREAM", "x"], ["DEBUG", "PROTOCOL", "attrib"], ["DEBUG", "PROTOCOL", "bignum"],
                        ["PING"], ["DEBUG", "PROTOCOL", "verbatim"], ["DEBUG", "PROTOCOL", "null"],
                        ["DEBUG", "PROTOCOL", "true"], ["DEBUG", "PROTOCOL", "map"], ["DEBUG", "PROTOCOL", "set"]):
            client.say(*command)


@both
def scan_families(site):
    client = site.connect()
    client.pipeline(*[["SET", "key:%d" % n, n] for n in range(2000)])
    client.pipeline(*[[kind, kind, *item] for n in range(700) for kind, item in (
        ("SADD", ["m%d" % n]), ("HSET", ["f%d" % n, n]), ("ZADD", [n, "m%d" % n]))])

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
    for wrong in (["SCAN"], ["SCAN", "x"], ["SCAN", "0", "COUNT", "0"], ["SCAN", "0", "COUNT"], ["SCAN", "0", "NOSUCH", "1"],
                  ["SSCAN", "key:1", "0"], ["HSCAN", "none", "0"]):
        client.say(*wrong)


@both
def long_pipelines(site):
    client = site.connect()
    count = 10_000
    got = client.pipeline(*[["INCR", "n"] for _ in range(count)])
    assert got == list(range(1, count + 1))
    mixed = []
    for n in range(count // 4):
        mixed += [["SET", "k%d" % (n % 50), n], ["GET", "k%d" % (n % 50)], ["ECHO", "e%d" % n], ["NOSUCH%d" % n]]
    got = client.pipeline(*mixed)
    for n in range(count // 4):
        assert got[4 * n:4 * n + 3] == ["OK", b"%d" % n, b"e%d" % n]
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
    client.say("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function(k, a) return {k, a} end)\n"
               "redis.register_function{function_name='g', callback=function() return redis.call('GET','n') end, flags={'no-writes'}}")
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
    for kill, start in ((["SCRIPT", "KILL"], ["EVAL", "while true do end", "0"]),
                        (["FUNCTION", "KILL"], ["FCALL", "spin", "0"])):
        if kill[0] == "FUNCTION":
            other.say("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function{function_name='spin', "
                      "callback=function() while true do end end, flags={'no-writes'}}")
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


@both
def odd_pairs(site):
    """Commands whose reply order is easily broken: answered by azimuth itself between forwarded ones."""
    client = site.connect()
    local = [["PING"], ["ECHO", "x"], ["CLIENT", "SETNAME", "n"], ["CLIENT", "GETNAME"], ["SELECT", "1"], ["SELECT", "0"],
             ["RESET"], ["CLIENT", "REPLY", "ON"], ["UNWATCH"], ["WAIT", "0", "0"], ["MULTI"], ["DISCARD"], ["HELLO", "x"],
             ["CLIENT", "NO-EVICT", "on"], ["CLIENT", "TRACKING", "off"], ["UNSUBSCRIBE"], ["AUTH", "no"], ["WATCH", "k"],
             ["BLPOP", "q", "0.001"], ["EXEC"], ["READONLY"], ["ASKING"], ["CLIENT", "CACHING", "yes"]]
    for _ in range(60):
        batch = []
        for n in range(site.random.randint(1, 20)):
            batch.append(site.random.choice(local) if site.random.random() < 0.5 else
                         site.random.choice([["INCR", "n"], ["GET", "n"], ["APPEND", "a", "x"], ["STRLEN", "a"], ["NOSUCH"]]))
        client.send_raw(b"".join(map(encode, batch)))
        for command in batch:
            site.note(repr(command), client.read_raw())
        client.cmd("RESET")


if __name__ == "__main__":
    harness.run(__doc__)
