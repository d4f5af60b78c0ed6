#!/usr/bin/python3
"""Redis's own tools through azimuth: redis-cli in all its modes, redis-benchmark; and every kind of
socket on both sides. What a tool prints must be what it prints against redis-server."""
import os
import re
import subprocess
import tempfile

import harness
from harness import test, wait_until
from resp import encode

BENCHMARKS = (
    "PING_INLINE PING_MBULK SET GET INCR LPUSH RPUSH LPOP RPOP SADD HSET SPOP ZADD ZPOPMIN "
    "LRANGE_100 LRANGE_300 LRANGE_500 LRANGE_600 MSET"
).split()


def where(address):
    if isinstance(address, str):
        return ["-s", address]
    return ["-h", address[0], "-p", str(address[1])]


def cli(address, *args, stdin=b"", code=0, env=None):
    done = subprocess.run(
        ["redis-cli", *where(address), *args],
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )
    assert code is None or done.returncode == code, (
        args,
        done.returncode,
        done.stdout[-500:],
        done.stderr[-500:],
    )
    return done.stdout + done.stderr


def start(address, *args):
    """A tool that goes on until it is stopped."""
    return harness.spawn(["redis-cli", *where(address), *args], subprocess.STDOUT, stdout=subprocess.PIPE)


def until(tool, text):
    """Lines of a running tool up to one that holds the text."""
    lines = []
    for line in tool.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} never came: {lines}")


def fill(client):
    client.pipeline(*[["SET", "string:%d" % n, "v" * (n % 90)] for n in range(1000)])
    client.pipeline(*[["RPUSH", "list:%d" % (n % 7), n] for n in range(200)])
    client.pipeline(
        *[["HSET", "hash", "f%d" % n, n] for n in range(50)],
        ["SADD", "set", "a", "b"],
        ["ZADD", "zset", "1", "m"],
        ["XADD", "stream", "1-1", "f", "v"],
    )


def twins(stage, *options):
    """Two redis-servers, the second behind azimuth, and the two addresses to compare."""
    one, two = stage.redis(*options), stage.redis(*options)
    return one, two, stage.azimuth(two)


@test
def redis_cli_commands(stage):
    one, two, front = twins(stage)
    script = (
        b"SET k v\nGET k\nINCR k\nSELECT 3\nSET three 3\nKEYS thr*\nMULTI\nINCR n\nGET n\nEXEC\nMULTI\nDISCARD\nNOSUCH\nHSET h f v\nHGETALL h\n"
        b"EVAL \"return {1,'two',{3}}\" 0\nACL WHOAMI\nOBJECT ENCODING k\nSUBSTR k 0 1\nRESET\nGET k\nHELLO 3\nHGETALL h\n3 PING\nCOMMAND COUNT\n"
    )
    runs = [
        ([], script),
        (["-3"], script.replace(b"HELLO 3\n", b"")),
        (["SET", "x", "1"], b""),
        (["-n", "5", "SET", "five", "5"], b""),
        (["-n", "5", "GET", "five"], b""),
        (["-x", "SET", "from-stdin"], b"binary\0\xff data"),
        (["GET", "from-stdin"], b""),
        (["-r", "5", "INCR", "times"], b""),
        (["--csv", "LRANGE", "list:0", "0", "5"], b""),
        (["--json", "HGETALL", "h"], b""),
        (["--no-raw", "GET", "x"], b""),
        (["-2", "HGETALL", "h"], b""),
        (["--raw", "LRANGE", "list:1", "0", "-1"], b""),
        (["-e", "GET"], b""),
        (["DBSIZE"], b""),
        (["COMMAND", "DOCS", "get"], b""),
        (["CLIENT", "SETNAME", "x"], b""),
        (["EVAL", "return redis.call('DBSIZE')", "0"], b""),
    ]
    for redis in (one, two):
        with redis.connect() as client:
            fill(client)
    for args, stdin in runs:
        outputs = [
            re.sub(rb"\bid (=> )?\d+", b"id N", cli(address, *args, stdin=stdin, code=None))
            for address in (one.address, front.address)
        ]
        assert (
            outputs[0] == outputs[1]
        ), f"{args}\nredis:\n{outputs[0].decode('latin-1')[-1500:]}\nazimuth:\n{outputs[1].decode('latin-1')[-1500:]}"
    with tempfile.NamedTemporaryFile(suffix=".lua", dir=harness.directory()) as lua:
        lua.write(b"return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}")
        lua.flush()
        outputs = [
            cli(address, "--eval", lua.name, "x", ",", "arg") for address in (one.address, front.address)
        ]
        assert outputs[0] == outputs[1] and b"arg" in outputs[1], outputs


@test
def redis_cli_scans(stage):
    one, two, front = twins(stage)
    for redis in (one, two):
        with redis.connect() as client:
            fill(client)
    for args in (["--scan"], ["--scan", "--pattern", "string:1*"], ["-n", "3", "--scan"]):
        outputs = [sorted(cli(address, *args).splitlines()) for address in (one.address, front.address)]
        assert outputs[0] == outputs[1], args
    for args in (["--bigkeys"], ["--memkeys"], ["--memkeys-samples", "0"], ["--bigkeys", "-i", "0.001"]):
        outputs = [summary(cli(address, *args)) for address in (one.address, front.address)]
        assert outputs[0] == outputs[1] and outputs[0], (args, outputs)
    for redis in (one, two):
        with redis.connect() as client:
            client.cmd("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
            client.pipeline(*[["GET", "string:7"]] * 300)
    assert b"string:7" in cli(front.address, "--hotkeys")


def summary(text):
    """The closing part of --bigkeys: counts and sizes; which of equals it names is chance."""
    tail = text.split(b"-------- summary -------")[1]
    return sorted(re.sub(rb"'[^']*'|\"[^\"]*\"", b"NAME", line) for line in tail.splitlines() if line)


@test
def redis_cli_pipe(stage):
    one, two, front = twins(stage)
    load = b"".join(encode(["SET", "key%d" % n, "value %d" % n]) for n in range(50_000)) + encode(
        ["LPUSH", "key1", "x"]
    )
    for address in (one.address, front.address):
        output = cli(address, "--pipe", stdin=load, code=None)
        assert b"errors: 1, replies: 50001" in output, output[-300:]
    inline = b"".join(b"SET inline%d %d\r\n" % (n, n) for n in range(5000))
    for address in (one.address, front.address):
        assert b"errors: 0, replies: 5000" in cli(address, "--pipe", stdin=inline)
    with one.connect() as a, two.connect() as b:
        assert a.cmd("DBSIZE") == b.cmd("DBSIZE") == 55_000
        assert b.cmd("GET", "key49999") == b"value 49999"


@test
def redis_cli_rdb(stage):
    one, two, front = twins(stage, "--repl-diskless-sync-delay", "0")
    with two.connect() as client:
        fill(client)
    path = os.path.join(two.dir, "copied.rdb")
    output = cli(front.address, "--rdb", path)
    assert b"Transfer finished with success" in output, output
    with open(path, "rb") as rdb:
        assert rdb.read(5) == b"REDIS"
    copy = stage.redis("--dbfilename", "copied.rdb", "--dir", two.dir)
    with two.connect() as a, copy.connect() as b:
        assert a.cmd("DBSIZE") == b.cmd("DBSIZE") > 1000
    output = cli(front.address, "--functions-rdb", path)
    assert b"Transfer finished with success" in output, output
    with front.connect() as client:
        assert client.cmd("PING") == "PONG"


@test
def redis_cli_watches(stage):
    """--stat, MONITOR, SUBSCRIBE, --replica: tools that go on."""
    _, _, front = twins(stage, "--repl-diskless-sync-delay", "0")
    with front.connect() as client:
        monitor = start(front.address, "MONITOR")
        until(monitor, b"OK")
        client.cmd("SET", "watched", "yes")
        assert b'"SET" "watched" "yes"' in until(monitor, b'"watched"')[-1]
        for args in (["SUBSCRIBE", "news", "more"], ["-3", "SUBSCRIBE", "news"], ["PSUBSCRIBE", "n*"]):
            subscriber = start(front.address, *args)
            until(subscriber, b"subscribe")
            wait_until(lambda: client.cmd("PUBLISH", "news", "hello") == 1, what="subscribed")
            until(subscriber, b"hello")
            subscriber.kill()
            subscriber.wait(10)
            wait_until(lambda: client.cmd("PUBLISH", "news", "x") == 0, what="unsubscribed")
        stat = start(front.address, "--stat", "-i", "0.05")
        lines = until(stat, b"keys") + [stat.stdout.readline() for _ in range(4)]
        assert re.match(rb"\d+ +[\d.]+\w ", lines[-1]), lines
        follower = start(front.address, "--replica")
        until(follower, b"SYNC done")
        client.cmd("SET", "followed", "yes")
        until(follower, b"followed")
        for tool in (monitor, stat, follower):
            tool.kill()
            tool.wait(10)
        assert client.cmd("GET", "watched") == b"yes"


@test
def redis_benchmark_whole(stage):
    _, two, front = twins(stage)
    for args in (
        ["-n", "1000", "-c", "10"],
        ["-n", "2000", "-c", "20", "-P", "16", "-r", "1000"],
        ["-n", "500", "-c", "3", "-3"],
    ):
        done = subprocess.run(
            ["redis-benchmark", *where(front.address), "-q", *args], capture_output=True, timeout=120
        )
        output = re.sub(rb".*\r(?!\n)", b"", done.stdout).decode()
        assert done.returncode == 0 and not done.stderr, (args, done.stderr[-300:])
        assert "rror" not in output and "WARNING" not in output, output
        for name in BENCHMARKS:
            assert re.search(rf"^{name}\b.*: [\d.]+ requests per second", output, re.M), (args, name, output)
    for args in (
        ["-n", "5000", "--threads", "2", "-t", "set,get"],
        ["-n", "3000", "-k", "0", "-c", "10", "-t", "get"],
        ["-n", "20", "-d", "1000000", "-t", "set,get"],
        ["-n", "1000", "-e", "EVAL", "return redis.call('INCR', KEYS[1])", "1", "k"],
        ["-n", "1000", "--dbnum", "5", "-t", "incr"],
    ):
        done = subprocess.run(
            ["redis-benchmark", *where(front.address), "-q", *args], capture_output=True, timeout=120
        )
        assert done.returncode == 0 and b"requests per second" in done.stdout, (
            args,
            done.stdout[-300:],
            done.stderr[-300:],
        )
    with two.connect() as client:
        assert client.pipeline(["SELECT", 5], ["GET", "counter:__rand_int__"])[1] == b"1000"


@test
def sockets_of_every_kind(stage):
    """IPv4, IPv6 and UNIX sockets on either side."""
    listens = {
        "ipv4": None,
        "ipv6": lambda: "[::1]:%d" % harness.free_port(),
        "localhost": lambda: "localhost:%d" % harness.free_port(),
        "unix": lambda: "unix:" + os.path.join(tempfile.mkdtemp(dir=harness.directory()), "az.sock"),
    }
    for backend in ({}, {"host": "::1"}, {"unix": True}):
        redis = stage.redis(**backend)
        for name, listen in listens.items():
            if stage.direct and name != "ipv4":
                continue
            front = stage.azimuth(redis, listen=listen and listen())
            with front.connect() as client, front.connect(resp=3) as other:
                assert client.pipeline(["SET", "k", name], ["GET", "k"], ["MULTI"], ["GET", "k"], ["EXEC"])[
                    4
                ] == [name.encode()]
                other.send("SUBSCRIBE", "c")
                other.read()
                assert client.cmd("PUBLISH", "c", "x") == 1 and other.read() == [b"message", b"c", b"x"]
                info = dict(
                    item.split("=", 1) for item in client.cmd("CLIENT", "INFO").decode().strip().split(" ")
                )
                if name == "ipv6":
                    assert (
                        info["addr"].startswith("[::1]:") and info["laddr"] == "[::1]:%d" % front.address[1]
                    ), info
                elif name == "unix" or (stage.direct and "unix" in backend):
                    assert info["addr"].endswith(":0") and info["addr"].startswith("/"), info
                listing = client.cmd("CLIENT", "LIST").decode().splitlines()
                assert len(listing) >= 2
                assert client.cmd("CLIENT", "KILL", "TYPE", "pubsub") == 1
            if not stage.direct:
                assert b"+PONG" in b"+" + cli(front.address, "PING")
                front.stop()
                if name == "unix":
                    assert not os.path.exists(front.address), "the socket's file is removed"


@harness.only_azimuth
def several_listeners(stage):
    redis = stage.redis("--requirepass", "pw")
    ports = [harness.free_port(), harness.free_port()]
    path = os.path.join(harness.directory(), "several.sock")
    config = os.path.join(harness.directory(), "several.toml")
    with open(config, "w") as file:
        file.write(
            f'[node]\nid = "n1"\nworkers = 2\n[redis]\naddress = "{redis.endpoint}"\npassword = "pw"\n'
            f'[[listen]]\naddress = "127.0.0.1:{ports[0]}"\n[[listen]]\naddress = "[::1]:{ports[1]}"\n[[listen]]\naddress = "unix:{path}"\n'
        )
    front = stage.azimuth(redis, config=config, listen=f"127.0.0.1:{ports[0]}")
    assert "node=n1" in front.ready_line, front.ready_line
    for address in (("127.0.0.1", ports[0]), ("::1", ports[1]), path):
        with harness.Client(address) as client:
            assert client.cmd("GET", "k").startswith("NOAUTH"), "azimuth's own password is not its clients'"
            assert client.pipeline(["AUTH", "pw"], ["INCR", "n"])[0] == "OK"


@harness.only_azimuth
def keepalive_and_nodelay(stage):
    """Read from the kernel: each TCP connection of azimuth's has its keepalive timer running."""
    redis = stage.redis()
    front = stage.azimuth(redis)
    with front.connect() as client:
        client.cmd("SET", "k", "v")
        mine = set()
        for name in os.listdir(f"/proc/{front.pid}/fd"):
            try:
                mine.add(os.readlink(f"/proc/{front.pid}/fd/{name}"))
            except OSError:
                pass

        def timers():
            """Columns: state 01 is established; the timer 02 is keepalive's; the inode names the socket. (01: something
            is on its way, and has not been confirmed yet.)"""
            with open("/proc/net/tcp") as table:
                rows = [row.split() for row in table.readlines()[1:]]
            return [row[5].split(":")[0] for row in rows if row[3] == "01" and f"socket:[{row[9]}]" in mine]
        assert len(timers()) >= 2, "a client's and Redis's"
        harness.wait_until(lambda: set(timers()) == {"02"}, what="keepalive timers alone")


if __name__ == "__main__":
    harness.run(__doc__)
