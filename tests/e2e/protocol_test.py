#!/usr/bin/python3
"""Bad and odd input: the same bytes to redis-server and to azimuth must bring the same bytes back
and the same close. Each case goes in one piece, byte by byte, and cut at random."""
import re
import time

import harness
from harness import test
from resp import Client, Closed, encode

MARK = b"*2\r\n$4\r\nPING\r\n$11\r\n~the-marker~\r\n".replace(b"$11", b"$12")
MARKED = b"$12\r\n~the-marker~\r\n"
PING = b"*1\r\n$4\r\nPING\r\n"

# What the connection is expected to do, proved on redis-server itself:
STAYS, CLOSES, WAITS = "stays", "closes", "waits for more"
# Redis closes at once and may or may not have written the replies to what came before.
DROPS = "closes at once"

CASES = [
    # --- well formed, oddly dressed
    ("inline ping", STAYS, b"PING\r\n"),
    ("inline with a bare newline", STAYS, b"PING\n"),
    ("inline with arguments", STAYS, b"SET a b\r\nGET a\r\n"),
    ("inline with much white space", STAYS, b"  \t SET   a\t\tb  \r\nGET a\r\n"),
    ("inline, double quotes and escapes", STAYS, b'SET a "x\\x41\\n\\r\\t\\b\\a\\"\\\\z\\q"\r\nGET a\r\n'),
    ("inline, single quotes", STAYS, b"SET a 'it\\'s \\n'\r\nGET a\r\n"),
    ("inline, empty quotes", STAYS, b"SET a \"\"\r\nGET a\r\nECHO ''\r\n"),
    ("inline, quotes in the middle", STAYS, b'SET a x"y z"\r\nGET a\r\n'),
    ("inline, broken hex escape", STAYS, b'ECHO "\\xzz\\x4"\r\n'),
    ("inline, quotes that are not closed", CLOSES, b'SET a "b\r\n' + PING),
    ("inline, single quotes that are not closed", CLOSES, b"PING\r\nSET a 'b\r\n" + PING),
    ("inline, text after a closing quote", CLOSES, b'SET a "b"c\r\n'),
    ("inline, unknown command", STAYS, b"NOSUCHCOMMAND a b c\r\n"),
    ("inline, wrong arity", STAYS, b"GET\r\n"),
    ("inline, one quote", CLOSES, b'"\r\n'),
    ("inline, high bytes", STAYS, b"ECHO \xff\xfe\x80\r\n"),
    ("inline, form feed and vertical tab", STAYS, b"ECHO\x0bx\r\nECHO a\x0cb\r\n"),
    ("inline, carriage return inside", STAYS, b"ECHO a\rb\r\n"),
    ("inline, 1,000 arguments", STAYS, b"DEL" + b" k" * 1000 + b"\r\n"),
    ("inline, 60,000 bytes", STAYS, b"ECHO " + b"x" * 60000 + b"\r\n"),
    ("inline, only a NUL", WAITS, b"\0\r\n" + PING),
    ("inline, NUL inside", WAITS, b"ECHO a\0b\r\n" + PING),
    ("inline between multibulks", STAYS, PING + b"PING\r\n" + PING + b"ECHO x\n" + PING),
    ("blank lines", STAYS, b"\r\n\r\n\n\r\n" + PING + b"\r\n"),
    ("blank line of spaces", STAYS, b"   \r\n" + PING),
    ("empty arrays", STAYS, b"*0\r\n*0\r\n" + PING + b"*0\r\n"),
    ("null array", STAYS, b"*-1\r\n" + PING),
    ("negative count", STAYS, b"*-10\r\n" + PING),
    ("most negative count", STAYS, b"*-9223372036854775808\r\n" + PING),
    ("empty argument", STAYS, b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"),
    ("empty command name", STAYS, b"*1\r\n$0\r\n\r\n"),
    ("empty command name with arguments", STAYS, b"*3\r\n$0\r\n\r\n$1\r\na\r\n$1\r\nb\r\n"),
    ("any byte after a header's carriage return", STAYS, b"*1\rX$4\rYPING\r\n"),
    ("any two bytes after a body", STAYS, b"*1\r\n$4\r\nPINGXY*1\r\n$4\r\nPING\r\r"),
    ("NUL bytes in an argument", STAYS, b"*2\r\n$4\r\nECHO\r\n$3\r\n\0\0\0\r\n"),
    ("NUL in the command name", STAYS, b"*1\r\n$5\r\nPI\0NG\r\n"),
    ("NUL after the command name", STAYS, b"*1\r\n$5\r\nPING\0\r\n"),
    ("carriage returns in an argument", STAYS, b"*2\r\n$4\r\nECHO\r\n$6\r\n\r\n$4\r\n\r\n"),
    ("mixed case", STAYS, b"*2\r\n$4\r\neChO\r\n$2\r\nHi\r\n"),
    ("zero padded length", CLOSES, b"*1\r\n$04\r\nPING\r\n"),
    # --- malformed multibulk
    ("count is not a number", CLOSES, PING + b"*abc\r\n" + PING),
    ("count is empty", CLOSES, b"*\r\n" + PING),
    ("count has a plus", CLOSES, b"*+1\r\n$4\r\nPING\r\n"),
    ("count has a leading zero", CLOSES, b"*01\r\n$4\r\nPING\r\n"),
    ("count has a space", CLOSES, b"* 1\r\n$4\r\nPING\r\n"),
    ("count has a trailing space", CLOSES, b"*1 \r\n$4\r\nPING\r\n"),
    ("count is minus zero", CLOSES, b"*-0\r\n" + PING),
    ("count is a fraction", CLOSES, b"*1.0\r\n$4\r\nPING\r\n"),
    ("count over INT_MAX", CLOSES, b"*2147483648\r\n"),
    ("count overflows 64 bits", CLOSES, b"*18446744073709551617\r\n"),
    ("count of a hundred digits", CLOSES, b"*" + b"9" * 100 + b"\r\n"),
    ("INT_MAX arguments, none sent", WAITS, b"*2147483647\r\n"),
    ("a million arguments, one sent", WAITS, b"*1000000\r\n$3\r\nDEL\r\n"),
    ("bulk length missing", CLOSES, b"*1\r\n$\r\nPING\r\n"),
    ("bulk length is negative", CLOSES, b"*2\r\n$4\r\nECHO\r\n$-1\r\n"),
    ("bulk length is not a number", CLOSES, b"*2\r\n$4\r\nECHO\r\n$x\r\n"),
    ("bulk length has a plus", CLOSES, b"*1\r\n$+4\r\nPING\r\n"),
    ("bulk length has a space", CLOSES, b"*1\r\n$ 4\r\nPING\r\n"),
    ("bulk length over 512 MiB", CLOSES, b"*2\r\n$4\r\nECHO\r\n$536870913\r\n"),
    ("bulk length 2^31", CLOSES, b"*2\r\n$4\r\nECHO\r\n$2147483648\r\n"),
    ("bulk length 2^63", CLOSES, b"*2\r\n$4\r\nECHO\r\n$9223372036854775808\r\n"),
    ("bulk length 2^64+4", CLOSES, b"*1\r\n$18446744073709551620\r\nPING\r\n"),
    ("integer instead of bulk", CLOSES, b"*2\r\n:1\r\n$1\r\na\r\n"),
    ("simple string instead of bulk", CLOSES, b"*1\r\n+PING\r\n"),
    ("array inside an array", CLOSES, b"*1\r\n*1\r\n$4\r\nPING\r\n"),
    ("high byte instead of bulk", CLOSES, b"*1\r\n\xff\r\n"),
    ("NUL instead of bulk", WAITS, b"*1\r\n\0\r\n"),
    ("carriage return instead of bulk", CLOSES, b"*1\r\n\r\n"),
    ("NUL in the count", WAITS, b"*1\0\r\n$4\r\nPING\r\n"),
    ("NUL in the length", WAITS, b"*1\r\n$4\0\r\nPING\r\n"),
    ("reply types as requests", STAYS, b"+OK\r\n:1\r\n$3\r\n"),
    ("RESP3 types as requests", STAYS, b"%1\r\n~1\r\n>1\r\n_\r\n"),
    ("body too long", STAYS, b"*2\r\n$4\r\nECHO\r\n$1\r\nabc\r\n"),
    # --- never ending headers
    ("inline that never ends", CLOSES, PING + b"a" * 200000),
    ("count that never ends", CLOSES, PING + b"*" + b"1" * 200000),
    ("length that never ends", CLOSES, PING + b"*1\r\n$" + b"1" * 200000),
    ("NULs that never end", CLOSES, b"\0" * 200000),
    # --- other people's protocols
    ("HTTP post", CLOSES, b"POST / HTTP/1.1\r\nHost: example\r\n\r\n"),
    ("HTTP get", DROPS, b"GET / HTTP/1.1\r\nHost: example\r\nAccept: */*\r\n\r\n"),
    ("host line alone", CLOSES, b"Host: example\r\n" + PING),
    ("host line in lower case", CLOSES, b"host: example\r\n"),
    ("post as a multibulk", CLOSES, encode(["POST", "/"]) + PING),
    ("host as a multibulk", DROPS, PING + encode(["HOST:"]) + PING),
    ("post after a command", DROPS, encode(["SET", "a", "before"]) + b"POST / HTTP/1.1\r\n"),
    ("TLS hello", WAITS, bytes.fromhex("16030100a5010000a10303") + bytes(range(1, 10))),
    ("SSH greeting", STAYS, b"SSH-2.0-OpenSSH_9.2\r\n"),
    # --- unknown and wrong
    ("unknown command", STAYS, encode(["nosuch"])),
    ("unknown command, many arguments", STAYS, encode(["nosuch"] + ["arg%d" % i for i in range(40)])),
    ("unknown command, long name", STAYS, encode(["x" * 300, "y" * 300])),
    ("unknown command with line ends", STAYS, encode(["no\r\nsuch", "a\r\nb", "\0c"])),
    ("unknown command, high bytes", STAYS, encode([b"\xff\xfe", b"\x80"])),
    ("command with a bar", STAYS, encode(["client|list"])),
    ("command with a space", STAYS, encode(["CLIENT LIST"])),
    ("prefix of a command", STAYS, encode(["GE", "a"]) + encode(["GETT", "a"]) + encode(["SETEXX", "a"])),
    (
        "wrong types",
        STAYS,
        b"".join(
            map(
                encode,
                [
                    ["SET", "s", "x"],
                    ["LPUSH", "s", "1"],
                    ["HGET", "s", "f"],
                    ["ZADD", "s", "1", "m"],
                    ["INCR", "s"],
                    ["XADD", "s", "*", "a", "b"],
                    ["SADD", "s", "m"],
                    ["PFADD", "s", "1"],
                    ["GEOADD", "s", "1", "1", "m"],
                    ["BITFIELD", "s", "GET", "u99", "0"],
                    ["SETRANGE", "s", "-1", "x"],
                    ["EXPIRE", "s", "abc"],
                    ["SELECT", "99"],
                    ["SELECT", "x"],
                    ["SETBIT", "s", "-1", "1"],
                    ["LSET", "nolist", "0", "x"],
                    ["RENAME", "none", "x"],
                ],
            )
        ),
    ),
    (
        "transaction out of order",
        STAYS,
        b"".join(
            map(
                encode,
                [
                    ["EXEC"],
                    ["DISCARD"],
                    ["MULTI"],
                    ["MULTI"],
                    ["WATCH", "a"],
                    ["NOSUCH"],
                    ["EXEC"],
                    ["MULTI"],
                    ["GET"],
                    ["EXEC"],
                    ["MULTI"],
                    ["EXEC"],
                    ["UNWATCH"],
                ],
            )
        ),
    ),
    (
        "subscribed, then what is not allowed",
        STAYS,
        b"".join(
            map(
                encode,
                [
                    ["SUBSCRIBE", "c1", "c2"],
                    ["GET", "a"],
                    ["PING"],
                    ["PING", "x"],
                    ["NOSUCH"],
                    ["GET"],
                    ["PUBLISH", "c1", "x"],
                    ["PSUBSCRIBE", "p*"],
                    ["UNSUBSCRIBE", "c1"],
                    ["UNSUBSCRIBE"],
                    ["PUNSUBSCRIBE"],
                    ["GET", "nokey"],
                ],
            )
        ),
    ),
    (
        "unsubscribe from nothing",
        STAYS,
        b"".join(
            map(encode, [["UNSUBSCRIBE"], ["PUNSUBSCRIBE"], ["SUNSUBSCRIBE"], ["UNSUBSCRIBE", "a", "b"]])
        ),
    ),
    ("quit, then more", CLOSES, PING + encode(["QUIT"]) + PING),
    ("quit with arguments", CLOSES, encode(["QUIT", "now"]) + PING),
    ("reset alone", STAYS, encode(["RESET"])),
    (
        "hello of an unknown protocol",
        STAYS,
        encode(["HELLO", "4"])
        + encode(["HELLO", "x"])
        + encode(["HELLO", "1"])
        + encode(["HELLO", "3", "WHAT"])
        + encode(["HELLO", "3", "AUTH", "a"])
        + encode(["HELLO", "2", "SETNAME", "a b"]),
    ),
    (
        "auth without a password set",
        STAYS,
        encode(["AUTH", "x"])
        + encode(["AUTH", "u", "x"])
        + encode(["AUTH"])
        + encode(["AUTH", "a", "b", "c"]),
    ),
    ("pings", STAYS, encode(["PING", "a", "b"]) + encode(["PING", ""]) + encode(["PING"])),
    (
        "select at the edges",
        STAYS,
        b"".join(encode(["SELECT", n]) for n in ("15", "16", "-1", "0", "1.5", "", "99999999999999999999")),
    ),
]

# Requests cut off in the middle by a client that leaves: nobody else may be harmed.
HALVES = [
    b"*",
    b"*3",
    b"*3\r",
    b"*3\r\n",
    b"*3\r\n$3\r\nSE",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nabc",
    b"SET k v",
    b'SET k "v',
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + b"z" * 70000,
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabc",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabc\r",
]

UNAUTHENTICATED = [
    ("command before auth", STAYS, encode(["GET", "a"]) + encode(["PING"]) + encode(["SET", "a", "b"])),
    ("unknown command before auth", STAYS, encode(["NOSUCH"]) + encode(["GET"]) + b"nosuch\r\n"),
    ("ten arguments", STAYS, encode(["DEL"] + ["k"] * 9)),
    ("eleven arguments", CLOSES, encode(["DEL"] + ["k"] * 10)),
    ("eleven, only the count", CLOSES, b"*11\r\n"),
    ("argument of 16,384 bytes", STAYS, encode(["ECHO", "x" * 16384])),
    ("argument of 16,385 bytes", CLOSES, encode(["ECHO", "x" * 16385])),
    ("length of 16,385, no body", CLOSES, b"*2\r\n$4\r\nECHO\r\n$16385\r\n"),
    ("huge length", CLOSES, b"*2\r\n$4\r\nECHO\r\n$1000000000\r\n"),
    ("inline before auth", STAYS, b"GET a\r\nPING\r\n"),
    ("many inline arguments", STAYS, b"DEL" + b" k" * 100 + b"\r\n"),
    ("negative count", STAYS, b"*-5\r\n"),
    ("quit", CLOSES, encode(["QUIT"])),
    ("hello alone", STAYS, encode(["HELLO"]) + encode(["HELLO", "3"])),
    ("hello, wrong password", STAYS, encode(["HELLO", "3", "AUTH", "default", "no"])),
    (
        "auth, wrong password",
        STAYS,
        encode(["AUTH", "no"]) + encode(["AUTH", "default", "no"]) + encode(["AUTH", "nouser", "no"]),
    ),
    ("reset", STAYS, encode(["RESET"]) + encode(["GET", "a"])),
    ("multi", STAYS, encode(["MULTI"]) + encode(["EXEC"]) + encode(["WATCH", "a"])),
    ("subscribe", STAYS, encode(["SUBSCRIBE", "a"]) + encode(["MONITOR"]) + encode(["PSYNC", "?", "-1"])),
    (
        "client commands",
        STAYS,
        encode(["CLIENT", "LIST"])
        + encode(["CLIENT", "ID"])
        + encode(["CLIENT", "REPLY", "OFF"])
        + encode(["CLIENT", "NOSUCH"])
        + encode(["SELECT", "1"])
        + encode(["ECHO", "x"])
        + encode(["CONFIG", "GET", "*"])
        + encode(["CLIENT", "KILL", "TYPE", "normal"]),
    ),
    (
        "auth, then all limits are gone",
        STAYS,
        encode(["AUTH", "sesame"]) + encode(["DEL"] + ["k"] * 20) + encode(["ECHO", "x" * 20000]),
    ),
    (
        "auth and reset brings them back",
        CLOSES,
        encode(["AUTH", "sesame"]) + encode(["PING"]) + encode(["RESET"]) + encode(["DEL"] + ["k"] * 20),
    ),
]


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
            while (
                not client.buf.endswith(MARKED)
                and not client.buf.endswith(b"-NOAUTH Authentication required.\r\n~")
                and not done(client.buf, mark)
            ):
                client.fill(deadline)
            return bytes(client.buf)
        except Closed:
            return bytes(client.buf) + b" <closed>"
    finally:
        client.close()


def done(buf, mark):
    return mark is not MARK and buf.endswith(b"marker' \r\n")


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
