#!/usr/bin/python3
"""Bad and odd input: the same bytes to redis-server and to azimuth must bring the same bytes back
and the same close. Each case goes in one piece, byte by byte, and cut at random."""
import re
import time

import harness
from harness import test
from protocol_cases import CASES, CLOSES, DROPS, HALVES, STAYS, UNAUTHENTICATED, WAITS
from resp import Client, Closed, encode

MARK = b"*2\r\n$4\r\nPING\r\n$12\r\n~the-marker~\r\n"
MARKED = b"$12\r\n~the-marker~\r\n"


def pieces(data, how, rng):
    if how == "whole":
        return [data]
    if how == "bytes":
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(1, 12)))
    return [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)]) if a < b]


def converse(address, fate, data, how, rng, mark=MARK):
    """Sends data and returns (bytes received, whether the peer closed by itself)."""
    client = Client(address, timeout=20)
    try:
        try:
            for piece in pieces(data, how, rng):
                client.send_raw(piece)
            if fate == STAYS:
                client.send_raw(mark)
            if fate == WAITS:
                client.sock.shutdown(1)  # nothing more will come: the peer closes
        except (BrokenPipeError, ConnectionResetError):
            pass
        if fate != STAYS:
            return client.read_to_end()
        try:
            deadline = time.monotonic() + 20
            while not done(client.buf, mark):
                client.fill(deadline)
            return bytes(client.buf)
        except Closed:
            return bytes(client.buf) + b" <closed>"
    finally:
        client.close()


def done(buf, mark):
    """Whether the reply to the mark is there."""
    return buf.endswith(MARKED if mark is MARK else b"'the-marker' \r\n")


# Before AUTH, PING is refused too; an unknown command with a marker is echoed by its error.
MARK_UNAUTHENTICATED = encode(["~unknown~", "the-marker"])


def normal(data):
    """The id in HELLO's reply is the connection's own."""
    return re.sub(rb"(\$2\r\nid\r\n):\d+\r\n", rb"\1:ID\r\n", data)


def compare(stage, cases, reference, front, mark=MARK):
    ways = ["whole", "cut", "bytes"]
    wrong = []
    for name, fate, data in cases:
        for how in ways:
            if how == "bytes" and len(data) > 2000:
                continue
            cut = stage.random.randrange(1 << 30)
            replies = []
            for address in (reference, front):
                try:
                    replies.append(
                        normal(converse(address, fate, data, how, harness.random.Random(cut), mark))
                    )
                except TimeoutError as error:
                    replies.append(f"timeout: {error}".encode())
            if replies[0].startswith(b"timeout") or replies[0].endswith(b"<closed>"):
                wrong.append(f"{name} ({how}): redis-server does not do '{fate}': {replies[0][:200]!r}")
            elif replies[0] != replies[1] and not (
                fate == DROPS
                and replies[1]
                in (b"", b"+OK\r\n", b"+PONG\r\n", b"-ERR wrong number of arguments for 'get' command\r\n")
            ):
                wrong.append(
                    f"{name} ({how}): sent {data[:100]!r}\n    redis   {replies[0][:300]!r}"
                    f"\n    azimuth {replies[1][:300]!r}"
                )
                break
    assert not wrong, "%d differences:\n  %s" % (len(wrong), "\n  ".join(wrong))


@test
def bad_input_table(stage):
    redis_a, redis_b = stage.redis(), stage.redis()
    front = stage.azimuth(redis_b)
    compare(stage, CASES, redis_a.address, front.address)
    for redis in (redis_a, redis_b):
        with redis.connect() as client:
            assert client.cmd("GET", "a") == b"before", "what came before the fault ran"


@test
def bad_input_before_authentication(stage):
    redis_a, redis_b = (stage.redis("--requirepass", "sesame") for _ in range(2))
    front = stage.azimuth(redis_b, settings=['redis.password="sesame"'])
    compare(stage, UNAUTHENTICATED, redis_a.address, front.address, MARK_UNAUTHENTICATED)


@test
def bad_input_before_authentication_without_a_password_of_azimuths_own(stage):
    redis_a, redis_b = (stage.redis("--requirepass", "sesame") for _ in range(2))
    front = stage.azimuth(redis_b)
    compare(stage, UNAUTHENTICATED, redis_a.address, front.address, MARK_UNAUTHENTICATED)


@test
def a_million_empty_arrays(stage):
    redis = stage.redis()
    front = stage.azimuth(redis)
    with front.connect() as client:
        for _ in range(10):
            client.send_raw(b"*0\r\n" * 100_000)
        assert client.cmd("PING", "after") == b"after"
        assert client.silent(0.05)


@test
def half_a_request_then_gone(stage):
    redis = stage.redis()
    front = stage.azimuth(redis)
    with front.connect() as other:
        other.cmd("SET", "k", "safe")
        for round_ in range(3):
            for half in HALVES:
                with front.connect() as client:
                    if round_:
                        assert client.cmd("PING") == "PONG"
                    client.send_raw(half)
                assert other.pipeline(["GET", "k"], ["PING", "x"]) == [b"safe", b"x"]
        # A reset instead of a plain close.
        for half in HALVES:
            client = front.connect()
            client.send_raw(half)
            client.sock.setsockopt(harness.socket.SOL_SOCKET, harness.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            assert other.cmd("GET", "k") == b"safe"


@test
def replies_before_a_fault_arrive_first(stage):
    """1,000 good commands, then garbage: 1,000 replies, the error, the close."""
    redis_a, redis_b = stage.redis(), stage.redis()
    front = stage.azimuth(redis_b)
    good = b"".join(encode(["INCR", "n"]) for _ in range(1000))
    got = [
        converse(address, CLOSES, good + b"*1\r\n$x\r\n", "cut", stage.random)
        for address in (redis_a.address, front.address)
    ]
    assert got[0] == got[1], (got[0][-200:], got[1][-200:])
    assert got[1].endswith(b":1000\r\n-ERR Protocol error: invalid bulk length\r\n"), got[1][-200:]


# Commands whose call with no argument, or with any, does more than answer.
SELF_ACTING = {
    "shutdown",
    "monitor",
    "sync",
    "psync",
    "replconf",
    "quit",
    "reset",
    "failover",
    "debug",
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "lolwut",
    "time",
    "lastsave",
    "info",
    "randomkey",
    "role",
    "bgsave",
    "save",
    "bgrewriteaof",
    "hello",
    "auth",
    "multi",
    "exec",
    "discard",
    "asking",
    "readonly",
    "readwrite",
    "replicaof",
    "slaveof",
    "slowlog",
    "latency",
    "memory",
    "restore-asking",
    "pfselftest",
    "keys",
    "wait",
}


def all_commands(redis):
    """name -> (arity, {subcommand: arity}) from a live COMMAND."""
    table = {}
    with redis.connect() as client:
        for row in client.cmd("COMMAND"):
            name = row[0].decode()
            subs = {sub[0].decode().split("|")[1]: sub[1] for sub in row[9]}
            table[name] = (row[1], subs)
    return table


@test
def wrong_arity_of_every_command(stage):
    redis_a, redis_b = stage.redis(), stage.redis()
    front = stage.azimuth(redis_b)
    requests = []
    for name, (arity, subs) in sorted(all_commands(redis_a).items()):
        least = abs(arity)
        if least > 1:
            requests.append([name] * (least - 1))
            requests.append([name.upper()])
        if arity > 0 and name not in ("quit", "monitor", "sync"):
            requests.append([name] + ["x"] * arity)
        for sub, sub_arity in sorted(subs.items()):
            if abs(sub_arity) > 2:
                requests.append([name, sub] + ["x"] * (abs(sub_arity) - 3))
            if sub_arity > 0:
                requests.append([name, sub.upper()] + ["x"] * (sub_arity - 1))
        if subs:
            requests += [[name, "nosuch"], [name, "nosuch", "a", "b"], [name, ""], [name, "no\r\nsuch"]]
            if name not in ("debug", "slowlog", "latency", "memory"):
                requests.append([name, "help"])
    with redis_a.connect() as one, front.connect() as two:
        for resp in (2, 3):
            for request in requests:
                expected, got = one.raw(*request), two.raw(*request)
                assert expected == got, f"RESP{resp} {request}: redis {expected!r} azimuth {got!r}"
            for client in (one, two):
                client.cmd("HELLO", 3)
    print(f"       {len(requests)} requests in each protocol", flush=True)


@test
def every_command_with_junk(stage):
    """Right arity, senseless arguments, on a key of each type."""
    redis_a, redis_b = stage.redis(), stage.redis()
    front = stage.azimuth(redis_b)
    keys = {
        "str": ["SET", "str", "v"],
        "lst": ["RPUSH", "lst", "a"],
        "set": ["SADD", "set", "1"],
        "hsh": ["HSET", "hsh", "f", "v"],
        "zst": ["ZADD", "zst", "1", "m"],
        "stm": ["XADD", "stm", "1-1", "f", "v"],
    }
    requests = []
    for name, (arity, subs) in sorted(all_commands(redis_a).items()):
        if name in SELF_ACTING or subs or name in ("flushall", "flushdb", "swapdb"):
            continue
        for key in keys:
            for junk in ("x", "1", "-1", "0"):
                requests.append([name, key] + [junk] * max(0, abs(arity) - 2))
    with redis_a.connect() as one, front.connect() as two:
        for client in (one, two):
            client.pipeline(*keys.values())
        different = []
        for request in requests:
            if request[0] in (
                "blpop",
                "brpop",
                "blmove",
                "brpoplpush",
                "bzpopmin",
                "bzpopmax",
                "blmpop",
                "bzmpop",
                "xread",
                "xreadgroup",
                "dump",
                "object",
                "srandmember",
                "spop",
                "hrandfield",
                "zrandmember",
                "acl",
            ):
                continue
            if request[0] in (
                "expire",
                "pexpire",
                "setex",
                "psetex",
                "monitor",
                "client",
                "select",
                "swapdb",
                "migrate",
                "move",
                "copy",
            ):
                continue
            expected, got = one.raw(*request), two.raw(*request)
            if expected != got and len(different) < 10:
                different.append(f"{request}: redis {expected!r} azimuth {got!r}")
        assert not different, "\n".join(different)
    print(f"       {len(requests)} requests", flush=True)


@test
def nobody_else_is_harmed(stage):
    """A client with a long, exact conversation while others send the whole table."""
    redis = stage.redis()
    front = stage.azimuth(redis)
    with front.connect() as good:
        for count, (_, fate, data) in enumerate(CASES):
            bad = front.connect()
            try:
                bad.send_raw(data[: stage.random.randint(1, len(data))])
            except OSError:
                pass
            token = b"token-%d" % count
            assert good.pipeline(["SET", "mine", token], ["GET", "mine"], ["ECHO", token]) == [
                "OK",
                token,
                token,
            ]
            bad.close()


if __name__ == "__main__":
    harness.run(__doc__)
