#!/usr/bin/python3
"""Random conversations with redis-server and with azimuth before a twin: every reply must be the
same bytes. `--seed` and `--commands` of a failed run replay it exactly.

Two kinds of turns. Alone: one connection sends a pipeline of any commands, all keys shared, so that
WATCH, SELECT and FLUSHALL of one connection meet the others. Together: all connections send at the
same time, each on keys of its own. Pipelines are cut into packets at random."""
import hashlib
import re
import select
import time

import harness
from random_commands import LIBRARY, LUA, RandomCommands
from resp import Client, RespError, encode, frame_end, parse

CONNECTIONS = 10
# Why a difference in bytes may be none: two servers hash with different seeds, so what has no order
# comes in any; times to live are read a moment apart; a connection's id is the server's own.
UNORDERED = {
    b"smembers",
    b"sunion",
    b"sinter",
    b"sdiff",
    b"keys",
    b"hgetall",
    b"hkeys",
    b"hvals",
    b"spop",
    b"srandmember",
    b"acl",
    b"function",
    b"config",
}
SCANS = {b"scan", b"sscan", b"hscan", b"zscan"}
NEAR = {b"ttl": 1, b"pttl": 3000}


def same(command, ours, theirs, queue):
    """Whether two different replies are still the same answer to the command."""
    name = command[0].lower()
    if name == b"exec":
        return same_exec(ours, theirs, queue)
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, RespError):
        return ours == theirs
    if name in UNORDERED or (name == b"sort" and b"nosort" in command):
        return unordered(ours) == unordered(theirs)
    if name in SCANS:
        return isinstance(ours, list) and ours[0] == theirs[0] and unordered(ours[1]) == unordered(theirs[1])
    if name in NEAR:
        return abs(ours - theirs) <= NEAR[name]
    if name == b"client":
        return isinstance(ours, int)
    if name == b"hello":
        return isinstance(ours, (list, dict)) and without_id(ours) == without_id(theirs)
    if name == b"dump":  # the order of a hash table, the time of a delivery
        return isinstance(ours, bytes) and len(ours) == len(theirs) and ours[:1] == theirs[:1]
    return False


def same_exec(ours, theirs, queue):
    if not isinstance(ours, list) or not isinstance(theirs, list):
        return False
    return len(ours) == len(theirs) == len(queue) and all(
        one == two or same(command, one, two, ()) for command, one, two in zip(queue, ours, theirs)
    )


def unordered(value):
    if isinstance(value, dict):
        return sorted((repr(key), unordered(item)) for key, item in value.items())
    if isinstance(value, list):
        return sorted(repr(unordered(item)) for item in value)
    return value


def without_id(value):
    items = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
    return [item for index, item in enumerate(items) if index == 0 or items[index - 1] != b"id"]


class Difference(AssertionError):
    pass


class Side:
    """One end of a twin connection: sends packets, collects a number of replies."""

    def __init__(self, address):
        self.client = Client(address, timeout=60)
        self.buf = bytearray()
        self.closed = False

    def send(self, packet):
        try:
            self.client.sock.sendall(packet)
        except ConnectionError:
            self.closed = True  # collect() says how far it came

    def collect(self, count, deadline):
        """The bytes of exactly `count` replies and the position where each ends."""
        ends, pos = [], 0
        sock, buf = self.client.sock, self.buf
        sock.setblocking(False)
        try:
            while True:
                while len(ends) < count and pos < len(buf):
                    end = frame_end(buf, pos)
                    if end < 0:
                        break
                    ends.append(end)
                    pos = end
                if len(ends) == count:
                    return ends
                ready = select.select([sock], [], [], max(0, deadline - time.monotonic()))[0]
                if not ready:
                    return ends
                try:
                    data = sock.recv(1 << 18)
                except ConnectionError:
                    data = b""
                if not data:
                    self.closed = True
                    return ends
                buf += data
        finally:
            sock.setblocking(True)

    def take(self, size):
        data = bytes(self.buf[:size])
        del self.buf[:size]
        return data


class Twin:
    """The same connection to redis-server and to azimuth."""

    def __init__(self, index, addresses):
        self.index = index
        self.sides = [Side(address) for address in addresses]
        self.in_multi = False
        self.queue = []
        self.history = []

    def track(self, command):
        name = command[0].upper()
        if len(command) == 1:
            if name == b"MULTI":
                self.in_multi = True
            elif name in (b"EXEC", b"DISCARD", b"RESET"):
                self.in_multi = False


class Differential:
    def __init__(self, stage, redis_a, front, redis_b):
        self.rng = stage.random
        self.stage = stage
        self.servers = (redis_a, redis_b)
        with redis_a.connect() as admin:
            admin.pipeline(["SET", "s", "payload"], ["RPUSH", "l", "a", "b"], ["ZADD", "z", "1.5", "m"])
            payload = admin.pipeline(["DUMP", "s"], ["DUMP", "l"], ["DUMP", "z"])
            admin.cmd("FLUSHALL")
        for redis in self.servers:
            with redis.connect() as admin:
                admin.pipeline(
                    [
                        "ACL",
                        "SETUSER",
                        "bob",
                        "on",
                        ">bobpw",
                        "~*",
                        "&*",
                        "+@all",
                        "-flushall",
                        "-client|setname",
                        "-echo",
                    ],
                    [
                        "ACL",
                        "SETUSER",
                        "carol",
                        "on",
                        ">carolpw",
                        "~s*",
                        "~l*",
                        "~p*",
                        "+@all",
                        "-config|get",
                        "-client|id",
                        "-select",
                        "-wait",
                    ],
                    ["FUNCTION", "LOAD", LIBRARY],
                )
        shas = [hashlib.sha1(script.encode()).hexdigest() for script in LUA[:9]]
        self.make = RandomCommands(self.rng, payload, shas)
        self.twins = [Twin(index, (redis_a.address, front.address)) for index in range(CONNECTIONS)]
        self.done = 0
        self.seen = {}
        self.lenient = 0

    # --- making batches: [(command, wire bytes, replies)]

    def wire(self, command):
        """Mostly a multibulk, now and then the same command inline."""
        if self.rng.random() < 0.03 and sum(map(len, command)) < 1000:
            words = []
            for arg in command:
                if arg and re.fullmatch(rb"[A-Za-z0-9_.*:-]+", arg):
                    words.append(arg)
                else:
                    words.append(b'"' + b"".join(b"\\x%02x" % byte for byte in arg) + b'"')
            if not re.match(rb"[*]", words[0]):
                return (b" " * self.rng.randint(1, 2)).join(words) + self.rng.choice([b"\r\n", b"\n"])
        junk = b"\r\n" if self.rng.random() < 0.005 else b""
        return junk + encode(command)

    def batch(self, twin, alone):
        size = min(self.rng.choice([1, 1, 2, 3, 5, 8, 13, 20, 30, 50]), 50)
        special = self.rng.random()
        if special < 0.02:
            return self.pubsub_batch()
        if special < 0.04:
            return self.silent_batch()
        batch = []
        while len(batch) < size:
            for command in self.make.commands(alone):
                twin.track(command)
                batch.append((command, self.wire(command), 1))
        return batch

    def preamble(self):
        commands = [[b"RESET"]] + ([[b"HELLO", b"3"]] if self.rng.random() < 0.5 else [])
        return [(command, encode(command), 1) for command in commands]

    def pubsub_batch(self):
        """Subscribes, speaks while subscribed, unsubscribes: a fixed number of replies."""
        name = self.make.prefix.encode() + b"ch%d" % self.rng.randrange(3)
        rows = [
            ([b"SUBSCRIBE", name, name + b"x"], 2),
            ([b"PING"], 1),
            ([b"PING", b"text"], 1),
            ([b"GET", name], 1),
            ([b"PSUBSCRIBE", name + b"p*"], 1),
            ([b"NOSUCH"], 1),
            ([b"SUBSCRIBE"], 1),
            ([b"UNSUBSCRIBE", name, b"other"], 2),
            ([b"SSUBSCRIBE", name], 1),
            ([b"SET", name, b"x"], 1),
            ([b"UNSUBSCRIBE", name + b"x"], 1),
            ([b"SUNSUBSCRIBE", name], 1),
            ([b"PUNSUBSCRIBE"], 1),
            ([b"GET", name], 1),
            ([b"PING"], 1),
        ]
        return self.preamble() + [(command, encode(command), count) for command, count in rows]

    def silent_batch(self):
        """CLIENT REPLY OFF and SKIP: commands that run without a reply."""
        key = self.make.prefix.encode() + b"c1"
        rows = [
            ([b"CLIENT", b"REPLY", b"OFF"], 0),
            ([b"INCR", key], 0),
            ([b"NOSUCH"], 0),
            ([b"SELECT", b"2"], 0),
            ([b"MULTI"], 0),
            ([b"INCR", key], 0),
            ([b"EXEC"], 0),
            ([b"CLIENT", b"REPLY", b"ON"], 1),
            ([b"GET", key], 1),
            ([b"CLIENT", b"REPLY", b"SKIP"], 0),
            ([b"INCR", key], 0),
            ([b"GET", key], 1),
            ([b"CLIENT", b"REPLY", b"SKIP"], 0),
            ([b"CLIENT", b"REPLY", b"SKIP"], 0),
            ([b"ECHO", b"lost"], 0),
            ([b"ECHO", b"heard"], 1),
            ([b"CLIENT", b"REPLY", b"SKIP"], 0),
            ([b"PING"], 0),
            ([b"CLIENT", b"GETNAME"], 1),
        ]
        return self.preamble() + [(command, encode(command), count) for command, count in rows]

    def packets(self, batch):
        data = b"".join(wire for _, wire, _ in batch)
        if self.rng.random() < 0.6:
            return [data]
        cuts = sorted(self.rng.randrange(len(data) + 1) for _ in range(self.rng.randint(1, 5)))
        return [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)]) if a < b]

    # --- sending and comparing

    def turn_alone(self):
        twin = self.rng.choice(self.twins)
        self.make.prefix = ""
        batch = self.batch(twin, True)
        packets = self.packets(batch)
        for side in twin.sides:
            for packet in packets:
                side.send(packet)
        self.compare(twin, batch)

    def turn_together(self):
        for twin in self.twins:  # what waits in a MULTI would touch shared keys
            if twin.in_multi:
                twin.in_multi = False
                batch = [([b"DISCARD"], encode([b"DISCARD"]), 1)]
                for side in twin.sides:
                    side.send(batch[0][1])
                self.compare(twin, batch)
        batches, streams = [], []
        for twin in self.twins:
            self.make.prefix = f"own{twin.index}:"
            batches.append(self.batch(twin, False))
            if twin.in_multi:  # nor may one stay open
                twin.in_multi = False
                batches[-1].append(([b"EXEC"], encode([b"EXEC"]), 1))
            streams += [(twin, packet) for packet in self.packets(batches[-1])]
        order = list(range(len(streams)))
        self.rng.shuffle(order)
        queues = {}
        for twin, packet in streams:
            queues.setdefault(twin.index, []).append(packet)
        for number in (0, 1):
            positions = dict.fromkeys(queues, 0)
            for place in order:  # packets of one connection in their order, connections mixed
                twin = streams[place][0]
                packet = queues[twin.index][positions[twin.index]]
                positions[twin.index] += 1
                twin.sides[number].send(packet)
        for twin, batch in zip(self.twins, batches):
            self.compare(twin, batch)

    def compare(self, twin, batch):
        count = sum(replies for _, _, replies in batch)
        deadline = time.monotonic() + 60
        ends = [side.collect(count, deadline) for side in twin.sides]
        self.done += len(batch)
        if len(ends[0]) == len(ends[1]) == count and not count:
            return
        sizes = [end[-1] if end else 0 for end in ends]
        ours, theirs = (side.take(size) for side, size in zip(twin.sides, sizes))
        complete = len(ends[0]) == len(ends[1]) == count
        commands = [command for command, _, replies in batch for _ in range(replies)]
        self.follow_queue(twin, commands, ours, theirs, complete, ends)
        for side, who in zip(twin.sides, ("redis", "azimuth")):
            if side.buf:
                raise Difference(
                    self.report(twin, batch, len(batch), f"{who} sent more: {bytes(side.buf[:200])!r}")
                )
        for command in commands[-40:]:
            twin.history.append(command)
        del twin.history[:-40]

    def follow_queue(self, twin, commands, ours, theirs, complete, ends):
        if complete and ours == theirs and b"+QUEUED" not in ours and not twin.queue:
            return
        starts = [[0] + end for end in ends]
        for index, command in enumerate(commands):
            if index >= len(ends[0]) or index >= len(ends[1]):
                raise Difference(
                    self.report(
                        twin,
                        commands,
                        index,
                        "no reply in 60 s, or a close: "
                        + ", ".join(
                            f"{who} sent {len(end)} of {len(commands)} replies" + " and closed" * side.closed
                            for who, end, side in zip(("redis", "azimuth"), ends, twin.sides)
                        ),
                    )
                )
            one = ours[starts[0][index] : starts[0][index + 1]]
            two = theirs[starts[1][index] : starts[1][index + 1]]
            if one != two:
                if not same(command, parse(one)[0], parse(two)[0], twin.queue):
                    raise Difference(
                        self.report(twin, commands, index, f"redis   {one[:600]!r}\n  azimuth {two[:600]!r}")
                    )
                self.lenient += 1
            if one == b"+QUEUED\r\n":
                twin.queue.append(command)
            elif command[0].upper() in (b"EXEC", b"DISCARD", b"RESET"):
                twin.queue = []

    def report(self, twin, commands, index, what):
        rows = [row[0] if isinstance(row, tuple) else row for row in commands]
        before = (twin.history + rows[:index])[-15:]
        lines = [
            f"connection {twin.index}, command {self.done} or a little before; in MULTI: {len(twin.queue)} queued"
        ]
        lines += ["    %r" % ([arg[:80] for arg in row],) for row in before]
        if index < len(rows):
            lines.append("  > %r" % ([arg[:200] for arg in rows[index]],))
        lines.append("  " + what)
        return "\n".join(lines)

    def same_data(self):
        digests = []
        for redis in self.servers:
            with redis.connect(timeout=60) as admin:
                digests.append(admin.cmd("DEBUG", "DIGEST"))
        if digests[0] != digests[1]:
            raise Difference(f"after {self.done} commands the data differ: {digests}")


def add_options(parser):
    parser.add_argument(
        "--commands", type=int, default=0, help="how many (default 210,000; a sanitizer build 60,000)"
    )


@harness.test
def random_conversations(stage):
    commands = stage.options.commands or (60_000 if stage.slow else 210_000)
    options = ("--enable-debug-command", "yes", "--hz", "500")  # hz: how fast a blocking command times out
    redis_a, redis_b = stage.redis(*options), stage.redis(*options)
    front = stage.azimuth(redis_b, workers=stage.options.workers or 2)
    run = Differential(stage, redis_a, front, redis_b)
    started = said = time.monotonic()
    while run.done < commands:
        for _ in range(20):
            (run.turn_together if stage.random.random() < 0.15 else run.turn_alone)()
        if time.monotonic() - said > 10:
            said = time.monotonic()
            run.same_data()
            print(f"       {run.done} commands", flush=True)
    run.same_data()
    took = time.monotonic() - started
    print(
        f"       {run.done} commands in {took:.1f} s, {run.lenient} replies equal up to order, seed {stage.seed}",
        flush=True,
    )


if __name__ == "__main__":
    harness.run(__doc__, add_options)
