#!/usr/bin/python3
"""Large values, slow readers, leavers and idle crowds: memory stays bounded, others go on."""
import os
import socket
import threading
import time
import urllib.request

import harness
from harness import memory_kib, only_azimuth, test, wait_until
from resp import Client, encode

MIB = 1 << 20
PEAK_KIB = 96 * 1024


class Bystander(threading.Thread):
    """A client that asks small things all the while and keeps its worst latency."""

    def __init__(self, front):
        super().__init__(daemon=True)
        self.client = front.connect(timeout=60)
        self.worst = 0.0
        self.count = 0
        self.trouble = None
        self.over = threading.Event()

    def run(self):
        try:
            while not self.over.wait(0.002):
                start = time.monotonic()
                token = b"t%d" % self.count
                got = self.client.pipeline(["SET", "by", token], ["GET", "by"], ["ECHO", token])
                if got != ["OK", token, token]:
                    raise AssertionError(f"bystander got {got!r}")
                self.count += 1
                self.worst = max(self.worst, time.monotonic() - start)
        except Exception as error:  # handed to the test's own thread
            self.trouble = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)
        self.client.close()
        if self.trouble:
            raise self.trouble
        print(f"       bystander: {self.count} rounds, worst {self.worst * 1000:.0f} ms", flush=True)


def send_value(client, key, size, block):
    """SET key of size bytes made of repeated blocks, without holding it."""
    client.send_raw(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(key), key, size))
    left = size
    while left:
        piece = block[: min(left, len(block))]
        client.send_raw(piece)
        left -= len(piece)
    client.send_raw(b"\r\n")


def check_value(client, size, block):
    """Reads one bulk reply and compares it block by block."""
    sock, buf = client.sock, bytearray()
    sock.settimeout(60)
    while b"\r\n" not in buf:
        buf += sock.recv(4096)
    head, rest = bytes(buf).split(b"\r\n", 1)
    assert head == b"$%d" % size, head
    buf = bytearray(rest)
    left = size
    while left:
        want = block[: min(left, len(block))]
        while len(buf) < len(want):
            data = sock.recv(MIB)
            assert data, "closed in the middle of a value"
            buf += data
        assert buf[: len(want)] == want, f"wrong bytes, {left} before the end"
        del buf[: len(want)]
        left -= len(want)
    while len(buf) < 2:
        buf += sock.recv(2 - len(buf))
    assert buf == b"\r\n", buf[:40]


def assert_bounded(stage, front, what):
    if stage.direct or stage.slow:  # Redis holds the value; a sanitizer's memory says nothing
        return
    peak = memory_kib(front.pid, "VmHWM")
    print(f"       {what}: peak {peak} KiB", flush=True)
    assert peak < PEAK_KIB, f"{what}: azimuth's memory peaked at {peak} KiB"


@test
def half_a_gibibyte_each_way(stage):
    size = 64 * MIB if stage.slow else 512 * MIB
    redis = stage.redis()
    front = stage.azimuth(redis)
    block = os.urandom(MIB) + b"\r\n$5\r\n*1\r\n:1\r\n"
    with front.connect(timeout=120) as client:
        with Bystander(front) if not stage.direct else Client(redis.address):
            send_value(client, b"huge", size, block)
            assert client.read(120) == "OK"
            assert client.cmd("STRLEN", "huge") == size
            assert_bounded(stage, front, "SET of %d MiB" % (size // MIB))
            client.send("GET", "huge")
            check_value(client, size, block)
            assert client.cmd("PING") == "PONG"
            assert_bounded(stage, front, "GET of %d MiB" % (size // MIB))
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (512 * MIB + 1))
        assert client.read() == "ERR Protocol error: invalid bulk length"
        assert client.read_to_end() == b""


@test
def large_values_among_small_ones(stage):
    """Sizes around every boundary, in pipelines, on several connections and in transactions."""
    redis = stage.redis()
    front = stage.azimuth(redis)
    sizes = [0, 1, 16383, 16384, 16385, 65534, 65535, 65536, 65537, 131072, 262143, MIB, 3 * MIB + 1]
    with front.connect(timeout=60) as one, front.connect(resp=3, timeout=60) as two:
        for turn, client in enumerate((one, two, one)):
            for size in sizes:
                value = stage.random.randbytes(size)
                got = client.pipeline(
                    ["INCR", "n"],
                    ["SET", "k", value],
                    ["GET", "k"],
                    ["STRLEN", "k"],
                    ["ECHO", "e%d" % size],
                    ["APPEND", "k", "x"],
                    ["GETRANGE", "k", "-2", "-1"],
                    ["ECHO", value],
                    ["GET", "n"],
                )
                count = got[0]
                assert got == [
                    count,
                    "OK",
                    value,
                    size,
                    b"e%d" % size,
                    size + 1,
                    (value + b"x")[-2:],
                    value,
                    b"%d" % count,
                ], size
                got = client.pipeline(
                    ["WATCH", "k"], ["MULTI"], ["SET", "k", value], ["GET", "k"], ["EXEC"], ["PING"]
                )
                assert got == ["OK", "OK", "QUEUED", "QUEUED", ["OK", value], "PONG"], size
                client.pipeline(["SELECT", turn + 1], ["SET", "other", value], ["SELECT", 0])
                assert client.cmd("GET", "other") is None
        values = [stage.random.randbytes(100_000) for _ in range(30)]
        commands = [["MSET"] + [item for n, value in enumerate(values) for item in ("m%d" % n, value)]]
        commands += [
            ["MGET"] + ["m%d" % n for n in range(30)],
            ["DEL", "l"],
            ["RPUSH", "l"] + values,
            ["LRANGE", "l", "0", "-1"],
        ]
        assert one.pipeline(*commands) == ["OK", values, 0, 30, values]
        many = [b"%d" % n for n in range(200_000)]
        assert two.pipeline(
            ["DEL", "l"], ["RPUSH", "l"] + many, ["LRANGE", "l", "0", "-1"], ["LLEN", "l"]
        ) == [1, 200_000, many, 200_000]


@test
def large_values_side_by_side(stage):
    redis = stage.redis()
    front = stage.azimuth(redis)
    trouble = []

    def work(index):
        try:
            with front.connect(timeout=120) as client:
                for turn in range(4):
                    value = (b"%d-%d|" % (index, turn)) * 400_000
                    got = client.pipeline(
                        ["SET", "k%d" % index, value], ["GET", "k%d" % index], ["ECHO", "x"]
                    )
                    if got != ["OK", value, b"x"]:
                        trouble.append((index, turn))
        except Exception as error:  # reported by the test's own thread
            trouble.append((index, repr(error)))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not trouble, trouble
    assert_bounded(stage, front, "eight clients with 2 MiB values")


@only_azimuth
def a_slow_reader_is_paused_then_served(stage):
    """It does not read for a while: memory stays bounded, others go on, then it gets everything."""
    redis = stage.redis()
    front = stage.azimuth(redis)
    value = os.urandom(MIB)
    with front.connect() as one:
        one.cmd("SET", "mib", value)
    slow = front.connect(timeout=60)
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with Bystander(front) as bystander:
        slow.send_raw(encode(["GET", "mib"]) * 40)
        seen = bystander.count
        wait_until(lambda: bystander.count > seen + 100 or bystander.trouble, 60, "others go on")
        if not stage.slow:
            assert memory_kib(front.pid, "VmRSS") < PEAK_KIB
        want = b"$%d\r\n" % MIB + value + b"\r\n"
        for _ in range(40):
            assert slow.read_raw() == want
        assert slow.cmd("PING") == "PONG"
    slow.close()
    assert_bounded(stage, front, "slow reader")


@only_azimuth
def a_reader_that_never_reads_is_cut(stage):
    """Past its output limit a client that does not read is closed; the log says so."""
    redis = stage.redis()
    front = stage.azimuth(redis, settings=["limits.client_output_bytes_max=4194304"])
    with front.connect() as one:
        one.cmd("SET", "k", b"v" * 10_000)
    with Bystander(front):
        deaf = front.connect(timeout=30)
        deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        deaf.sock.setblocking(False)
        request, sent = encode(["GET", "k"]) * 100, 0

        def cut():
            nonlocal sent
            try:
                if sent < 400_000:  # 40 GB of replies asked for, if anybody took them all
                    sent += deaf.sock.send(request[sent % len(request) :])
            except BlockingIOError:
                pass
            except OSError:
                return True
            return b"client_cut" in front.log()

        # Either the output limit cuts it, or azimuth has stopped reading: then it must hold only little.
        start = time.monotonic()
        while time.monotonic() - start < 3 and not cut():
            time.sleep(0.001)
        deaf.sock.setblocking(True)
        deaf.close()
        sub = front.connect()
        sub.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sub.send("SUBSCRIBE", "flood")
        assert sub.read() == [b"subscribe", b"flood", 1]
        with front.connect() as pub:
            flood = encode(["PUBLISH", "flood", b"f" * 100_000]) * 20

            def published():
                pub.send_raw(flood)
                return pub.read_n(20)[-1] == 0

            # A subscriber that does not read must be cut: there is no asking for less.
            wait_until(published, 60, "a deaf subscriber is cut")
        sub.close()
    assert_bounded(stage, front, "deaf clients")


@only_azimuth
def leaving_in_the_middle_of_large_values(stage):
    redis = stage.redis()
    front = stage.azimuth(redis)
    with front.connect() as one, Bystander(front):
        one.cmd("SET", "big", os.urandom(20 * MIB))
        for turn in range(12):
            uploader = front.connect()
            uploader.send_raw(
                b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$%d\r\n" % (100 * MIB) + b"h" * (turn * 300_000 + 10)
            )
            downloader = front.connect()
            downloader.send_raw(encode(["GET", "big"]) * 3)
            downloader.sock.recv(1000 + turn * 100_000)
            for leaver in (uploader, downloader):
                if turn % 2:
                    leaver.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                leaver.close()
            assert one.cmd("EXISTS", "half") == 0
            assert one.cmd("STRLEN", "big") == 20 * MIB
        with redis.connect() as admin:  # what was begun for those who left is given up
            wait_until(
                lambda: int(
                    dict(
                        row.split(b":") for row in admin.cmd("INFO", "clients").split(b"\r\n") if b":" in row
                    )[b"connected_clients"]
                )
                < 60,
                what="no pile of Redis connections",
            )
    assert_bounded(stage, front, "leavers")


def in_pieces(random, client, data):
    """Sends it cut anywhere: in the middle of headers, of bodies, of what stands behind them."""
    at = 0
    while at < len(data):
        size = random.choice([1, 3, 100, 5_000, 16_384, 70_000, 300_000, 2 * MIB])
        client.send_raw(data[at : at + size])
        at += size


def some_commands(random, count):
    """Commands with large and small values, both ways and nested, and nothing that two runs answer
    differently."""
    edges = [65_534, 65_536, 65_537, 81_920, 262_143, 262_145, 524_287, 524_290, MIB - 2, MIB, MIB + 1]
    for _ in range(count):
        size = random.choice(edges + [random.randrange(60_000, MIB)] * 4)
        value = random.randbytes(1 + size // 7) * 7
        key = "k%d" % random.randrange(3)
        yield from random.choice(
            [
                [["SET", key, value], ["INCR", "n"], ["GET", key]],
                [["GET", key]] * random.randrange(1, 5) + [["ECHO", "small"]],
                [["MSET", "k0", value, "k1", value[:100_000], "k2", b"s"], ["MGET", "k1", "k0", "no", "k2"]],
                [["ECHO", value], ["STRLEN", key], ["ECHO", value[:70_000]]],
                [["RPUSH", "l", value], ["RPUSH", "l", "s"], ["LRANGE", "l", "-3", "-1"]],
                [["MULTI"], ["SET", key, value], ["GET", key], ["EXEC"], ["GET", key]],
                [["SET", value, value], ["GET", value], ["DEL", value]],
                [["EVAL", "return {ARGV[1], {redis.call('GET', KEYS[1])}, 7}", "1", key, value]],
                [["SET", key, value, "nonsense"], ["LPUSH", "n", value], ["PING"]],
            ]
        )


@test
def large_values_cut_anywhere(stage):
    """Byte for byte what redis-server answers, however the requests come and the replies are read."""
    redis, twin = stage.redis(), stage.redis()
    fronts = [stage.azimuth(redis)]
    if not stage.direct:
        listen = "unix:" + os.path.join(harness.directory(), "large.sock")
        fronts.append(stage.azimuth(redis, listen=listen, workers=2))
    for front in fronts:
        for resp in (2, 3):
            with front.connect(resp=resp, timeout=60) as one, twin.connect(resp=resp, timeout=60) as two:
                for client in (one, two):
                    client.cmd("FLUSHALL")
                for turn in range(6 if stage.slow else 20):
                    commands = list(some_commands(stage.random, 4))
                    request = b"".join(map(encode, commands))
                    two.send_raw(request)
                    wanted = [two.read_raw() for _ in commands]
                    sender = threading.Thread(target=in_pieces, args=(stage.random, one, request))
                    sender.start()
                    for command, want in zip(commands, wanted):
                        got = one.read_raw()
                        assert got == want, (turn, command[0], len(got), len(want), got[:60], want[:60])
                    sender.join()


def waits_for_redis(front):
    """Bytes that clients have sent and Redis's sockets have not taken."""
    with urllib.request.urlopen(f"http://127.0.0.1:{front.admin_port}/metrics", timeout=10) as page:
        rows = dict(row.rsplit(" ", 1) for row in page.read().decode().splitlines() if row[0] != "#")
    return int(rows['azimuth_client_bytes_total{direction="in"}']) - int(
        rows['azimuth_upstream_bytes_total{direction="out"}']
    )


@only_azimuth
def redis_stands_still_in_the_middle_of_large_values(stage):
    """What its socket does not take, and what the client's does not, waits and comes whole."""
    redis = stage.redis()
    front = stage.azimuth(redis, admin=True)
    value = os.urandom(MIB) * 48
    with front.connect(timeout=60) as one, front.connect(timeout=60) as two, Client(redis.address) as admin:
        for turn in range(2):
            one.send("SET", "k%d" % turn, value[: 2 * MIB])
            assert one.read() == "OK"  # (From now on it is known to send large ones.)
        sender = threading.Thread(target=one.send, args=("SET", "big", value))
        redis.freeze()
        sender.start()
        wait_until(lambda: waits_for_redis(front) > 500_000, what="Redis's socket is full")
        redis.thaw()
        assert one.read() == "OK"
        sender.join()
        assert admin.cmd("STRLEN", "big") == len(value)
        two.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        want = b"$%d\r\n" % len(value) + value + b"\r\n"
        for _ in range(2):
            two.send("GET", "big")
            assert two.read_raw() == want
    assert_bounded(stage, front, "Redis stood still")


@only_azimuth
def redis_dies_in_the_middle_of_large_values(stage):
    """Who has had part of a value is closed and gets no other bytes; who has sent part is told."""
    # More than a UNIX socket's buffers and azimuth together take of what the reader does not.
    redis = stage.redis(unix=True)
    settings = ["cluster.hold_timeout_ms=20000", f"limits.client_output_bytes_max={8 * MIB}"]
    front = stage.azimuth(redis, settings=settings)
    value = os.urandom(32 * MIB)
    for turn in range(3 if stage.slow else 8):
        with front.connect(timeout=60) as reader, front.connect(timeout=60) as writer:
            assert reader.cmd("SET", "big", value) == "OK"
            reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            for _ in range(turn % 3):
                assert reader.cmd("GETRANGE", "big", "0", "999999") == value[:1_000_000]
            send_value(writer, b"half", 2 * MIB, value[:MIB])
            assert writer.read() == "OK"
            writer.send_raw(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$%d\r\n" % (4 * MIB))
            writer.send_raw(value[: 100_000 + turn * 300_000])
            reader.send_raw(encode(["GET", "big"]) + encode(["ECHO", "behind"]))
            while len(reader.buf) < 100_000 + turn * 400_000:
                reader.fill(time.monotonic() + 20)
            redis.kill()
            told = writer.read_to_end()
            assert told == b"" or told.startswith(b"-CLUSTERDOWN"), told
            got = reader.read_to_end()
            assert len(got) < len(value) and (b"$%d\r\n" % len(value) + value).startswith(got)
            redis.restart()
            with front.connect(timeout=60) as other:
                assert other.cmd("EXISTS", "half", "big") == 0
    assert_bounded(stage, front, "Redis died")


@test
def many_idle_clients(stage):
    count = 1000
    redis = stage.redis()
    front = stage.azimuth(redis)
    crowd = []
    with front.connect() as one:
        assert one.cmd("GET", "k") is None
        before = memory_kib(front.pid, "VmRSS")
        for index in range(count):
            crowd.append(front.connect())
            crowd[-1].send("GET", "k")
        assert all(client.read() is None for client in crowd)
        after = memory_kib(front.pid, "VmRSS")
        if not stage.direct:
            with redis.connect() as admin:
                connections = len(admin.cmd("CLIENT", "LIST").splitlines())
            print(
                f"       {(after - before) / count:.2f} KiB a client, {connections} connections to Redis",
                flush=True,
            )
            assert connections < 60, "a Redis connection per client"
            if not stage.slow:
                assert after - before < 4 * count, "more than 4 KiB an idle client"
        for turn in range(3):
            for client in crowd:
                client.send("INCR", "n")
            assert sorted(client.read() for client in crowd) == list(
                range(turn * count + 1, (turn + 1) * count + 1)
            )
        for client in crowd:
            client.close()
        assert one.cmd("GET", "n") == b"%d" % (3 * count)


if __name__ == "__main__":
    harness.run(__doc__)
