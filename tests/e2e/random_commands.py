"""Random commands of every type for the differential test, from one seeded source.

A template is a line of words; a word in braces is drawn anew each time. Only commands are here
whose reply two redis-servers with the same history must agree on, up to the order of unordered
collections: no clocks (times are absolute and far away), no random picks, no server facts.
"""
import re

PLACE = re.compile(r"\{(\w+)\}")
# With an argument less or more: a random or unordered reply, or a script that is not loaded.
WHOLE = {b"SPOP", b"SRANDMEMBER", b"COMMAND", b"SCRIPT", b"EVAL"}
FAR = 4_000_000_000  # a time that no test lives to see

# Commands on keys; safe to run beside other connections once each has keys of its own.
DATA = """
SET {s} {v}|SET {s} {v}|SET {s} {v} NX|SET {s} {v} XX GET|SET {s} {v} GET|SET {s} {v} EXAT {far}|SET {s} {v} PXAT {farms}
SET {s} {v} KEEPTTL|SET {s} {v} NX XX|SET {s} {v} EX 0|SET {s} {n}|GET {s}|GET {s}|GET {s}|GET {k}|GETSET {s} {v}|GETDEL {s}
GETEX {s}|GETEX {s} PERSIST|GETEX {s} EXAT {far}|GETRANGE {s} {i} {i}|SUBSTR {s} {i} {i}|SETRANGE {s} {off} {v}|STRLEN {s}
APPEND {s} {w}|INCR {c}|DECR {c}|INCRBY {c} {n}|DECRBY {c} {n}|INCRBYFLOAT {c} {f}|INCR {s}|MSET {s} {v} {s} {v}|SETNX {s} {v}
MSETNX {s} {v} {s} {v}|MGET {s} {s} {k} none|MGET {s} {s}|LCS {w1} {w1}|LCS {w1} {w1} IDX|LCS {w1} {w1} LEN|SET {w1} {w}|SETEX {s} {zero} {v}
PSETEX {s} abc {v}|GET {s} extra|SET {s}|MSET {s} {v} {s}|SET {big} {huge}|GET {big}|STRLEN {big}|GETRANGE {big} 0 {off}|DEL {big}
DEL {k}|DEL {k} {k}|UNLINK {k}|EXISTS {k} {k} {k}|TYPE {k}|TOUCH {k} {k}|RENAME {s} {s}|RENAMENX {k} {s}|COPY {k} {k}
COPY {k} {k} REPLACE|PERSIST {k}|EXPIREAT {k} {far}|EXPIREAT {k} {far} NX|EXPIREAT {k} {far} XX|EXPIREAT {k} {far} GT|EXPIREAT {k} {far} LT
PEXPIREAT {k} {farms}|EXPIREAT {k} {past}|EXPIRE {k} -1|PEXPIRE {k} 0|EXPIRETIME {k}|PEXPIRETIME {k}|TTL {k}|PTTL {k}|EXPIREAT {k} {n} NX GT
OBJECT ENCODING {k}|OBJECT ENCODING {k}|OBJECT REFCOUNT {s}|OBJECT HELP|OBJECT NOSUCH {k}|OBJECT ENCODING|OBJECT FREQ {s}|DUMP {k}
RESTORE {s} 0 {payload} REPLACE|RESTORE {k} 0 {payload}|RESTORE {s} 0 junk|RESTORE {s} {farms} {payload} REPLACE ABSTTL|RESTORE {s} -1 {payload}
SETBIT {b} {bit} {01}|SETBIT {b} {bit} {01}|GETBIT {b} {bit}|BITCOUNT {b}|BITCOUNT {b} {i} {i} BIT|BITPOS {b} {01}|BITPOS {b} {01} {i} {i} BYTE
BITOP AND {b} {b} {b}|BITOP NOT {b} {b}|BITOP XOR {b} {b} {b}|BITFIELD {b} GET u8 {i} SET i16 #2 {n} INCRBY u4 1 3|BITFIELD {b} OVERFLOW FAIL INCRBY u2 100 3
BITFIELD_RO {b} GET u4 0|BITFIELD_RO {b} SET u4 0 1|SETBIT {b} -1 1|SETBIT {b} 99999999999 1|BITFIELD {b} GET u64 0
LPUSH {l} {v}|RPUSH {l} {v} {w} {w}|RPUSH {l} {w} {w} {w}|LPUSHX {l} {w}|RPUSHX {l} {v}|LPOP {l}|RPOP {l}|LPOP {l} {i}|RPOP {l} 0|LLEN {l}
LRANGE {l} {i} {i}|LRANGE {l} 0 -1|LINDEX {l} {i}|LSET {l} {i} {w}|LINSERT {l} BEFORE {w} {w}|LINSERT {l} AFTER {w} {w}|LREM {l} {i} {w}
LTRIM {l} {i} {i}|LPOS {l} {w}|LPOS {l} {w} RANK -1 COUNT 0 MAXLEN 5|RPOPLPUSH {l} {l}|LMOVE {l} {l} LEFT RIGHT|LMOVE {l} {l} UP DOWN|LMPOP 2 {l} {l} LEFT COUNT 2
LMPOP 1 {l} RIGHT|LMPOP 0 {l} LEFT|SORT {l}|SORT {l} ALPHA DESC|SORT {l} LIMIT 0 5 ALPHA|SORT {l} BY nosort GET # GET {s}*|SORT_RO {l} ALPHA|SORT {l} ALPHA STORE {l}
SORT {S} ALPHA|SORT {z} BY nosort|SORT {c}|SORT {l} BY w*->f GET {h}->a
HSET {h} {m} {v}|HSET {h} {m} {w} {m} {w}|HSET {h} {m}|HSETNX {h} {m} {w}|HGET {h} {m}|HMGET {h} {m} {m} none|HMSET {h} {m} {w}|HDEL {h} {m} {m}|HLEN {h}
HEXISTS {h} {m}|HSTRLEN {h} {m}|HINCRBY {h} {m} {i}|HINCRBY {h} cnt {n}|HINCRBYFLOAT {h} fl {f}|HGETALL {h}|HKEYS {h}|HVALS {h}|HSCAN {h} 0 COUNT 10000|HRANDFIELD none
SADD {S} {m}|SADD {S} {m} {m} {m}|SADD {S} {i} {i} {i}|SREM {S} {m} {m}|SCARD {S}|SISMEMBER {S} {m}|SMISMEMBER {S} {m} {m}|SMEMBERS {S}|SMOVE {S} {S} {m}
SUNION {S} {S}|SINTER {S} {S}|SDIFF {S} {S}|SUNIONSTORE {S} {S} {S}|SINTERSTORE {S} {S} {S}|SDIFFSTORE {S} {S} {S}|SINTERCARD 2 {S} {S}|SINTERCARD 2 {S} {S} LIMIT 1
SINTERCARD x {S}|SPOP {S} 100000|SRANDMEMBER {S} 100000|SSCAN {S} 0 COUNT 10000|SPOP none|SRANDMEMBER none 3
ZADD {z} {f} {m}|ZADD {z} {f} {m} {i} {m}|ZADD {z} NX {f} {m}|ZADD {z} XX CH {f} {m}|ZADD {z} GT CH {f} {m}|ZADD {z} INCR {f} {m}|ZADD {z} NX GT 1 a|ZADD {z} abc m
ZADD {z} inf {m} -inf {m}|ZADD {z} nan {m}|ZINCRBY {z} {f} {m}|ZREM {z} {m} {m}|ZCARD {z}|ZCOUNT {z} -inf {i}|ZSCORE {z} {m}|ZMSCORE {z} {m} {m}|ZRANK {z} {m}|ZREVRANK {z} {m}
ZRANGE {z} {i} {i}|ZRANGE {z} 0 -1 WITHSCORES|ZRANGE {z} {i} {i} REV WITHSCORES|ZRANGE {z} -inf +inf BYSCORE LIMIT 1 3|ZADD {lex} 0 {m} 0 {m}|ZREM {lex} {m}|ZRANGE {lex} [a [m BYLEX|ZREVRANGE {z} 0 3 WITHSCORES
ZRANGEBYSCORE {z} ({i} {i} WITHSCORES|ZREVRANGEBYSCORE {z} +inf -inf LIMIT 0 2|ZRANGEBYLEX {lex} - + LIMIT 0 3|ZREVRANGEBYLEX {lex} (g [b|ZLEXCOUNT {lex} [b +|ZRANGESTORE {z} {z} 0 5
ZREMRANGEBYRANK {z} {i} {i}|ZREMRANGEBYSCORE {z} {i} {i}|ZREMRANGEBYLEX {lex} [c (d|ZPOPMIN {z}|ZPOPMAX {z} 2|ZMPOP 2 {z} {z} MIN|ZMPOP 1 {z} MAX COUNT 3|ZUNIONSTORE {z} 2 {z} {z}
ZUNION 2 {z} {S} WITHSCORES|ZINTER 2 {z} {z} WEIGHTS 2 3 AGGREGATE MAX WITHSCORES|ZINTERSTORE {z} 2 {z} {S} AGGREGATE MIN|ZDIFF 2 {z} {z} WITHSCORES|ZDIFFSTORE {z} 2 {z} {z}|ZINTERCARD 2 {z} {z}
ZSCAN {z} 0 COUNT 10000|ZRANDMEMBER none|ZUNION 0 {z}|ZRANGE {z} a b
XADD {x} {id} f {w}|XADD {x} {id} f {w} g {v}|XADD {x} NOMKSTREAM {id} a b|XADD {x} MAXLEN 10 {id} a {w}|XADD {x} MAXLEN ~ 5 {id} a b|XADD {x} MINID {id} {id} a b|XADD {x} {oldid} a b
XADD {x} {ms}-* a {w}|XADD {x} 0-0 a b|XADD {x} {id} a|XLEN {x}|XRANGE {x} - +|XRANGE {x} - + COUNT 3|XREVRANGE {x} + - COUNT 2|XRANGE {x} ({oldid} +|XRANGE {x} abc +|XDEL {x} {oldid}
XTRIM {x} MAXLEN 8|XTRIM {x} MINID {oldid}|XTRIM {x} MAXLEN ~ 2 LIMIT 10|XREAD COUNT 2 STREAMS {x} {x} 0 0|XREAD STREAMS {x} {oldid}|XREAD STREAMS {x} {x} 0|XINFO STREAM {x}|XINFO GROUPS {x}
XGROUP CREATE {x} {grp} 0 MKSTREAM|XGROUP CREATE {x} {grp} $|XGROUP CREATE {x} {grp} {oldid}|XGROUP SETID {x} {grp} 0|XGROUP CREATECONSUMER {x} {grp} {con}|XGROUP DELCONSUMER {x} {grp} {con}
XGROUP DESTROY {x} {grp}|XREADGROUP GROUP {grp} {con} COUNT 3 STREAMS {x} >|XREADGROUP GROUP {grp} {con} STREAMS {x} >|XREADGROUP GROUP {grp} {con} NOACK COUNT 1 STREAMS {x} >
XREADGROUP GROUP {grp} {con} STREAMS {x} 0|XREADGROUP GROUP nogroup c STREAMS {x} >|XACK {x} {grp} {oldid} {oldid}|XPENDING {x} {grp}|XPENDING {x} nogroup|XCLAIM {x} {grp} {con} 0 {oldid} JUSTID
XCLAIM {x} {grp} {con} 0 {oldid}|XAUTOCLAIM {x} {grp} {con} 0 0 COUNT 3|XAUTOCLAIM {x} {grp} {con} 0 - JUSTID|XSETID {x} {id}|XINFO HELP|XGROUP HELP
PFADD {p} {w} {w} {w}|PFADD {p} {m}|PFCOUNT {p}|PFCOUNT {p} {p}|PFMERGE {p} {p} {p}|PFADD {p}|PFCOUNT {s}|SETRANGE {p} 0 HYLL
GEOADD {g} {lon} {lat} {m}|GEOADD {g} {lon} {lat} {m} {lon} {lat} {m}|GEOADD {g} 200 100 x|GEOADD {g} XX CH {lon} {lat} {m}|GEOPOS {g} {m} {m}|GEODIST {g} {m} {m} km|GEOHASH {g} {m} {m}
GEOSEARCH {g} FROMLONLAT {lon} {lat} BYRADIUS 5000 km ASC WITHCOORD WITHDIST WITHHASH|GEOSEARCH {g} FROMMEMBER {m} BYBOX 4000 3000 km DESC COUNT 3|GEOSEARCHSTORE {g} {g} FROMLONLAT {lon} {lat} BYRADIUS 9000 km
GEORADIUS {g} {lon} {lat} 3000 km WITHDIST ASC|GEORADIUS_RO {g} {lon} {lat} 3000 km COUNT 2 ASC|GEORADIUSBYMEMBER {g} {m} 1000 mi ASC|GEORADIUSBYMEMBER_RO {g} {m} 1000 km ASC|GEORADIUS {g} {lon} {lat} 3000 km STORE {g}
EVAL {lua} 1 {k} {w}|EVAL {lua} 1 {k} {w}|EVAL_RO {lua} 1 {k} {w}|SCRIPT LOAD {load} ; EVALSHA {loaded} 1 {k} {w}|SCRIPT LOAD {load} ; EVALSHA_RO {loaded} 1 {k} {w}|EVAL {load} 1 {k} {w} ; EVALSHA {loaded} 1 {k} {w}|EVALSHA {nosha} 0|EVAL {lua} x|EVAL {lua} 5 {k}|EVAL {lua} -1
FCALL put 1 {s} {w}|FCALL take 1 {s}|FCALL_RO take 1 {s}|FCALL_RO put 1 {s} {w}|FCALL nosuch 0|SCRIPT LOAD {lua}
BLPOP {nolist} {l} 0.002|RPUSH {l} {w} ; BLPOP {l} 0.005|RPUSH {l} {w} ; BRPOP {l} 0.005|RPUSH {l} {w} ; BLMOVE {l} {l} LEFT LEFT 0.005|ZADD {z} 1 {m} ; BZPOPMIN {z} 0.005|ZADD {z} 1 {m} ; BZMPOP 0.005 1 {z} MAX
RPUSH {l} {w} ; BLMPOP 0.005 2 {l} {l} RIGHT COUNT 2|RPUSH {l} {w} ; BRPOPLPUSH {l} {l} 0.005|XADD {x} {id} a b ; XREAD BLOCK 5 STREAMS {x} 0|BLPOP {l} abc|BLPOP {l} -1|XREAD BLOCK abc STREAMS {x} 0
"""

# Commands on the connection or the server, and wrong ones; as safe.
CONTROL = """
WATCH {k}|WATCH {k} {k} {s}|WATCH {s}|UNWATCH|MULTI|MULTI|MULTI|EXEC|EXEC|EXEC|EXEC|DISCARD|EXEC
PING|PING {w}|ECHO {v}|ECHO|SELECT {db}|SELECT {db}|SELECT {db}|SELECT 16|SELECT x|CLIENT SETNAME {name}|CLIENT GETNAME|CLIENT SETNAME {w} {w}|CLIENT ID|CLIENT NO-EVICT on|CLIENT NO-EVICT off
CLIENT GETREDIR|CLIENT TRACKINGINFO|CLIENT CACHING yes|CLIENT CACHING maybe|CLIENT NOSUCH|CLIENT KILL ID 0|CLIENT KILL 1.2.3.4:5|CLIENT KILL ID x|CLIENT LIST TYPE nosuch|CLIENT UNBLOCK 0|CLIENT UNBLOCK x
CLIENT REPLY MAYBE|CLIENT REPLY ON|CLIENT PAUSE abc|CLIENT HELP|CLIENT TRACKING off|CLIENT TRACKING maybe|CLIENT SETNAME {bad name}
HELLO 2|HELLO 3|HELLO|HELLO 3 SETNAME {name}|HELLO 9|HELLO 3 AUTH default x|HELLO 3 AUTH bob wrong|HELLO 2 AUTH bob bobpw|HELLO 3 SETNAME|HELLO 3 SETNAME {name} AUTH nobody x|HELLO x
AUTH bob bobpw|AUTH carol carolpw|AUTH default any|AUTH default any|AUTH default any|AUTH default any|AUTH bob wrong|AUTH wrong|RESET|ACL WHOAMI|ACL WHOAMI|ACL CAT|ACL NOSUCH|ACL GETUSER nobody|ACL DRYRUN bob GET x
COMMAND COUNT|COMMAND INFO get set nosuch|COMMAND GETKEYS SET a b|COMMAND GETKEYS EVAL x 2 a b|COMMAND DOCS get|COMMAND GETKEYSANDFLAGS GETSET a b|COMMAND GETKEYS PING|COMMAND NOSUCH
CONFIG GET maxmemory-policy|CONFIG GET nosuch|CONFIG SET nosuch 1|CONFIG SET maxmemory abc|CONFIG REWRITE|CONFIG NOSUCH|PUBLISH {w} {v}|SPUBLISH {w} {v}|PUBSUB NUMSUB a b|PUBSUB SHARDNUMSUB x
WAIT 0 0|WAIT x 0|WAIT 0 -1|WAIT 0|READONLY|READWRITE|ASKING|CLUSTER INFO|CLUSTER NOSUCH|MEMORY NOSUCH|MEMORY USAGE none|LATENCY NOSUCH|MODULE LIST|MODULE NOSUCH|LOLWUT VERSION 99|DEBUG NOSUCH|DEBUG SLEEP 0
SLOWLOG NOSUCH|UNSUBSCRIBE none|PUNSUBSCRIBE none|SUNSUBSCRIBE none|LPUSH|NOSUCHCOMMAND {w} {v}|{w} {w}|GETT {s}|SE|client|list id|PFSELFTEST x|SCRIPT NOSUCH|FUNCTION NOSUCH|OBJECT|XINFO NOSUCH {x}
"""

# Commands that touch what other connections see: only while no other connection is busy.
GLOBAL = """
FLUSHDB|FLUSHDB ASYNC|FLUSHDB SYNC|FLUSHDB MAYBE|FLUSHALL|DBSIZE|DBSIZE|PUBSUB NUMPAT|PUBSUB CHANNELS|PUBSUB NUMSUB ch1 ch1x|KEYS *|KEYS {pat}|SCAN 0 COUNT 100000|SCAN 0 MATCH {pat} COUNT 100000|SCAN 0 TYPE list COUNT 100000|SWAPDB {db} {db}
MOVE {k} {db}|COPY {k} {k} DB {db}|COPY {k} {k} DB 99|SCRIPT FLUSH|SCRIPT FLUSH SYNC|SCRIPT EXISTS {sha} {nosha}|EVALSHA {sha} 1 {k} {w}|EVALSHA {sha} 1 {k} {w}|EVALSHA_RO {sha} 1 {k} {w}|FUNCTION LOAD REPLACE {lib}|FUNCTION LOAD {lib}|FUNCTION LIST|FUNCTION LIST WITHCODE|FUNCTION DELETE nolib
FUNCTION DUMP|FUNCTION STATS|CONFIG SET hash-max-listpack-entries {small}|CONFIG SET zset-max-listpack-entries {small}|CONFIG SET set-max-intset-entries {small}|CONFIG SET list-max-listpack-size {small}
CONFIG GET hash-max-listpack-entries|CONFIG RESETSTAT|ACL USERS|ACL CAT string|ACL SETUSER eve on nopass|ACL SETUSER eve ~{w}* +get|ACL SETUSER eve nosuch|ACL DELUSER nobody|ACL GETUSER eve
"""

LUA = [
    "return ARGV[1]",
    "return {1, 2, {3, ARGV[1]}, false}",
    "return redis.call('TYPE', KEYS[1])",
    "return redis.pcall('INCR', KEYS[1])",
    "return redis.call('APPEND', KEYS[1], ARGV[1])",
    "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])",
    "return redis.status_reply('FINE')",
    "return redis.error_reply('BAD thing')",
    "return redis.call('NOSUCH')",
    "error('boom')",
    "this is no lua",
    "redis.setresp(3); return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')",
    "return tostring(3.5)",
    "return {map={a=1}}",
    "return redis.sha1hex(ARGV[1])",
    "redis.call('SELECT', 3); return redis.call('EXISTS', KEYS[1])",
    "return redis.call('SMEMBERS', KEYS[1])[9999]",
]

LIBRARY = """#!lua name=lib
redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
redis.register_function{function_name='take', callback=function(keys, args)
  return redis.call('GET', keys[1]) end, flags={'no-writes'}}
"""


def templates(text):
    rows = []
    for row in text.strip().replace("\n", "|").split("|"):
        rows.append([command.replace("{bad name}", "{badname}").split() for command in row.split(" ; ")])
    return rows


class RandomCommands:
    """Draws commands: lists of byte strings."""

    def __init__(self, rng, payload, shas, nosha="0" * 40):
        self.rng = rng
        self.data, self.control, self.everywhere = map(templates, (DATA, CONTROL, GLOBAL))
        self.stream_ms = 1
        self.prefix = ""
        self.payload = payload
        self.shas = shas
        word = "abcdefgh"
        choice, number = rng.choice, rng.randrange
        keys = [kind + digit for kind in "slhSzxpgbc" for digit in "0123"]
        self.draw = {
            "k": lambda: self.prefix + choice(keys),
            "w": lambda: choice(word) * (1 + number(3)),
            "m": lambda: choice(word) + str(number(40)) if number(3) else str(number(60)),
            "v": self.value,
            "huge": self.huge,
            "i": lambda: str(number(-5, 15)),
            "n": self.integer,
            "f": lambda: choice(["1.5", "-2", "0.1", "3e5", "1e-7", "10", "-0", str(number(100) / 8)]),
            "far": lambda: str(FAR + number(1000)),
            "farms": lambda: str(FAR * 1000 + number(10**6)),
            "past": lambda: str(1_000_000 + number(1000)),
            "zero": lambda: choice(["0", "-1"]),
            "off": lambda: str(number(3000)),
            "bit": lambda: str(number(4000)),
            "01": lambda: choice("01"),
            "db": lambda: str(number(16)),
            "pat": lambda: choice(["s*", "?1", "[a-m]*", "*", "nosuch", "l[^2]"]),
            "id": self.stream_id,
            "oldid": lambda: "%d-%d" % (1 + number(self.stream_ms), number(2)),
            "ms": lambda: str(self.stream_ms),
            "grp": lambda: choice(["g1", "g2"]),
            "con": lambda: choice(["c1", "c2"]),
            "lon": lambda: "%.4f" % (number(-1800, 1800) / 10),
            "lat": lambda: "%.4f" % (number(-850, 850) / 10),
            "lua": lambda: choice(LUA),
            "sha": lambda: choice(shas),
            "load": self.load,
            "loaded": lambda: shas[self.loaded],
            "nosha": lambda: nosha,
            "name": lambda: "name%d" % number(5),
            "badname": lambda: "bad name",
            "small": lambda: choice(["4", "16", "128"]),
            "payload": lambda: choice(payload),
            "lib": lambda: LIBRARY,
            "nolist": lambda: self.prefix + "nolist",
            "w1": lambda: self.prefix + "w" + choice("12"),
            # All of one score: by lexical range, others depend on a skip list's random levels.
            "lex": lambda: self.prefix + "y" + choice("12"),
            "big": lambda: self.prefix + "big" + choice("12"),
        }
        for kind in "slhSzxpgbc":
            self.draw[kind] = self.key_drawer(kind, keys)

    def key_drawer(self, kind, keys):
        rng = self.rng

        def draw():
            if rng.random() < 0.03:  # now and then the wrong type
                return self.prefix + rng.choice(keys)
            return self.prefix + kind + rng.choice("0123")

        return draw

    def value(self):
        rng = self.rng
        kind = rng.randrange(20)
        if kind < 8:
            return "v%d" % rng.randrange(1000)
        if kind < 12:
            return str(rng.randrange(-100, 1000))
        if kind < 14:
            return rng.randbytes(rng.randrange(30))
        if kind < 16:
            return b"line\r\n$5\r\nhello\r\n*1\r\n"
        if kind < 18:
            return ""
        if kind < 19:
            return "x" * rng.randrange(40, 300)
        return "y" * rng.randrange(300, 5000)

    def huge(self):
        return b"h" * self.rng.choice([16383, 16384, 16385, 65535, 65536, 65537, 70000, 130000])

    def integer(self):
        return self.rng.choice(
            [
                "1",
                "-1",
                "100",
                "9223372036854775807",
                "-9223372036854775808",
                "12345678901",
                "abc",
                "1.5",
                " 1",
                "0",
            ]
        )

    def stream_id(self):
        self.stream_ms += self.rng.randrange(2)
        return "%d-%d" % (self.stream_ms, self.rng.randrange(1, 1000))

    def load(self):
        """A script that {loaded} names until the next one; LUA and shas go side by side."""
        self.loaded = self.rng.randrange(len(self.shas))
        return LUA[self.loaded]

    def fill(self, word):
        if word[0] == "{" and word.find("}") == len(word) - 1:
            return self.draw[word[1:-1]]()
        return PLACE.sub(lambda place: self.draw[place.group(1)](), word)

    def commands(self, alone):
        """One or two commands; alone: no other connection is busy."""
        rng = self.rng
        luck = rng.random()
        rows = self.data if luck < 0.78 else self.control if luck < 0.94 or not alone else self.everywhere
        drawn = []
        for template in rows[int(rng.random() * len(rows))]:
            args = [self.fill(word) if "{" in word else word for word in template]
            args = [arg if isinstance(arg, bytes) else arg.encode() for arg in args]
            luck = rng.random()
            if luck < 0.005 and len(args) > 1 and args[0] not in WHOLE:
                args.pop()
            elif luck < 0.03 and b"UNSUBSCRIBE" not in args[0] and args[0] not in WHOLE:
                args.append(b"extra")
            elif luck < 0.1:
                args[0] = args[0].lower()
            elif luck < 0.12:
                args[0] = args[0].title()
            drawn.append(args)
        return drawn
