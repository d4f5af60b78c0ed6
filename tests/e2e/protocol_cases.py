"""Odd and bad input, one row a case: its name, what the connection does, the bytes. The rows are proved
on redis-server itself; protocol_test.py plays them."""
from resp import encode

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
