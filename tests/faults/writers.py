"""Clients that write without pause through faults, and the books that tell afterwards what must, may
and must not be in Redis.

Every request carries a token. A scripted write's reply repeats it and names the port of the
redis-server that ran it, so the books also know who took which write, and when.
"""
import collections
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import Late, held, in_time  # noqa: E402
from resp import Client, Closed, RespError, encode  # noqa: E402

APPEND = (
    "redis.call('RPUSH', KEYS[1], ARGV[1]) "
    "return ARGV[1] .. ' ' .. string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')"
)
DEPTHS = (1, 4, 16)


class Write:
    """One write that was acknowledged: when it was asked for, when the reply was read, by which Redis."""

    __slots__ = ("token", "sent", "acked", "port")

    def __init__(self, token, sent, acked, port):
        self.token, self.sent, self.acked, self.port = token, sent, acked, port


class Writer(threading.Thread):
    """One connection in a loop; when its node dies it goes to the next one, as a client library would."""

    def __init__(self, number, nodes, durability, rng, patience=40.0):
        super().__init__(daemon=True)
        self.number, self.nodes, self.durability = number, nodes, durability
        self.turn = number
        self.rng = rng
        self.patience = patience
        self.depth = DEPTHS[number % len(DEPTHS)]
        self.key = f"list{number}"
        self.serial = 0
        self.over = threading.Event()
        self.acknowledged = []  # Write, in the order of the replies
        self.uncertain = []
        self.refused = []
        self.errors = {}
        self.answered = 0
        self.worst = 0.0
        self.trouble = None
        self.client = None
        self.last = collections.deque(maxlen=20)  # (kind, token, replies), to be shown in a failure

    def connect(self):
        """Any node that takes us: the next one each time."""
        deadline = time.monotonic() + self.patience
        while not self.over.is_set():
            node = self.nodes[self.turn % len(self.nodes)]
            self.turn += 1
            try:
                self.client = node.client(timeout=self.patience)
                reply = self.client.cmd("AZIMUTH", "DURABILITY", self.durability)
                assert reply == "OK", f"writer {self.number}: AZIMUTH DURABILITY: {reply!r}"
                return
            except (OSError, Closed):
                in_time(time.monotonic() < deadline, f"writer {self.number}: no node takes it")
                time.sleep(0.005)

    def run(self):
        try:
            self.connect()
            while not self.over.is_set():
                requests = [self.request() for _ in range(self.depth)]
                began = time.monotonic()
                self.play(requests, began)
                self.worst = max(self.worst, time.monotonic() - began)
        except Exception as error:  # the test's own thread looks at it
            told = "\n".join(f"    {each}" for each in self.last)
            error.args = (f"{error}\n  the last replies of this writer ({self.durability}):\n{told}",)
            self.trouble = error

    def request(self):
        """(kind, token, commands)"""
        self.serial += 1
        token = f"{self.number}-{self.serial}"
        luck = self.rng.random()
        if luck < 0.5:
            return "script", token, [["EVAL", APPEND, "1", self.key, token]]
        if luck < 0.7:
            return "push", token, [["RPUSH", self.key, token]]
        if luck < 0.85:
            return "transaction", token, [["MULTI"], ["RPUSH", self.key, token], ["ECHO", token], ["EXEC"]]
        return "echo", token, [["ECHO", token]]

    def play(self, requests, began):
        sent = b"".join(encode(command) for _, _, commands in requests for command in commands)
        rest = list(requests)
        try:
            self.client.send_raw(sent)
            while rest:
                kind, token, commands = rest[0]
                replies = [self.client.reply() for _ in commands]
                self.last.append((kind, token, replies))
                self.judge(kind, token, replies, began)
                rest.pop(0)
        except TimeoutError:
            raise Late(f"writer {self.number}: {rest[0][:2]} unanswered for {self.patience} s") from None
        except (OSError, Closed):
            self.uncertain += [token for kind, token, _ in rest if kind != "echo"]
            self.client.close()
            self.connect()

    def judge(self, kind, token, replies, began):
        value, port = replies[-1], None
        if isinstance(value, RespError):
            prefix = value.split(" ")[0]
            name = f"{kind} {prefix}"
            self.errors[name] = self.errors.get(name, 0) + 1
            # (TRYAGAIN: a failover has lost something that the session, or its neighbour, had done.)
            # (NOREPLICAS, READONLY: what had left and met the fence of a Redis that leads no more; nothing ran.)
            if prefix in ("CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "READONLY"):
                self.refused.append(token)
            elif prefix == "EXECABORT" and (
                    value.startswith("EXECABORT azimuth: the primary moved") or str(replies[1]).startswith("CLUSTERDOWN")):
                self.refused.append(token)
            elif prefix == "UNCERTAIN" and kind != "echo":
                self.uncertain.append(token)
            else:
                raise AssertionError(f"writer {self.number}: a {kind} was answered {replies!r}")
            return
        if kind == "script":
            said, _, port = value.decode().partition(" ")
            right = said == token
            port = int(port)
        elif kind == "transaction":
            right = isinstance(value, list) and isinstance(value[0], int) and value[1] == token.encode()
        elif kind == "push":
            right = isinstance(value, int)
        else:
            right = value == token.encode()
        assert right, f"writer {self.number}: {kind} {token} was answered {replies!r}"
        self.answered += 1
        if kind != "echo":
            self.acknowledged.append(Write(token, began, time.monotonic(), port))


class Writers:
    """Several of them, in turn of each durability, spread over the nodes."""

    def __init__(self, stage, nodes, count=4, durabilities=("async", "quorum")):
        self.nodes = nodes
        make = type(stage.random)
        self.clients = [
            Writer(number, nodes, durabilities[number % len(durabilities)], make(stage.random.random()))
            for number in range(count)
        ]
        for client in self.clients:
            client.start()

    def trouble(self):
        for client in self.clients:
            if client.trouble:
                raise client.trouble

    def progress(self, more=20, seconds=60):
        """Waits until every writer has had `more` right answers from now on."""
        before = [client.answered for client in self.clients]
        deadline = time.monotonic() + seconds
        while True:
            self.trouble()
            behind = [each.number for each, start in zip(self.clients, before) if each.answered < start + more]
            if not behind:
                return
            in_time(time.monotonic() < deadline, f"writers {behind} do not get on: {self.summary()}")
            time.sleep(0.002)

    def stop(self):
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(90)
            in_time(not client.is_alive(), f"writer {client.number} hangs")
        self.trouble()

    def first_after(self, instant, not_by=None):
        """The first acknowledgement read after `instant`, of a Redis other than `not_by`; or None."""
        times = [
            write.acked
            for client in self.clients
            for write in list(client.acknowledged)[-4000:]
            if write.acked > instant and write.port is not None and write.port != not_by
        ]
        return min(times, default=None)

    def acknowledged(self):
        return [write for client in self.clients for write in client.acknowledged]

    def held_by(self, redis, last=400):
        """The tokens at the end of each list in one Redis, as it is at this moment."""
        with redis.connect(timeout=10) as client:
            lists = client.pipeline(*[["LRANGE", each.key, -last, -1] for each in self.clients])
        return {token.decode() for tokens in lists if isinstance(tokens, list) for token in tokens}

    def audit(self, redis, forgiven=(), survivors=frozenset()):
        """Each acknowledged write once and in order, no refused one, an uncertain one at most once.

        An async write may be missing if it was acknowledged within one of the `forgiven` spans (from, to)
        and no survivor had it (`survivors`: tokens seen there). Returns how many are missing."""
        lost = 0
        with redis.connect(timeout=120) as admin:  # (after ten minutes these lists are long)
            for client in self.clients:
                kept = [token.decode() for token in admin.cmd("LRANGE", client.key, 0, -1)]
                lost += self._audit(client, kept, forgiven, survivors)
            everything = {
                token.decode() for client in self.clients for token in admin.cmd("LRANGE", client.key, 0, -1)
            }
        gone = sorted(survivors - everything)
        held(not gone, f"a survivor had {gone[:10]} ({len(gone)}), and they are lost")
        return lost

    def _audit(self, client, kept, forgiven, survivors):
        who = f"writer {client.number} ({client.durability})"
        seen, unsure = set(kept), set(client.uncertain)
        held(len(seen) == len(kept), f"{who}: executed twice: {_twice(kept)}")
        missing = [write for write in client.acknowledged if write.token not in seen]
        if client.durability == "quorum":
            held(not missing, f"{who}: acknowledged and lost: {_when(missing)}")
        wrong = [each for each in missing if not any(begin <= each.acked <= end for begin, end in forgiven)]
        held(not wrong, f"{who}: acknowledged at no time of a fault and lost: {_when(wrong)} of {forgiven}")
        ghosts = [token for token in client.refused if token in seen]
        held(not ghosts, f"{who}: refused yet executed: {ghosts[:10]}")
        gone = {write.token for write in missing}
        expected = [write.token for write in client.acknowledged if write.token not in gone]
        strangers = seen - set(expected) - unsure
        held(not strangers, f"{who}: not asked for: {sorted(strangers)[:10]}")
        order = [token for token in kept if token not in unsure]
        held(order == expected, f"{who}: out of order")
        return len(missing)

    def summary(self):
        errors = {}
        for client in self.clients:
            for prefix, count in client.errors.items():
                errors[prefix] = errors.get(prefix, 0) + count
        return (
            f"{sum(client.answered for client in self.clients)} answered, "
            f"{len(self.acknowledged())} writes, "
            f"{sum(len(client.uncertain) for client in self.clients)} uncertain, worst wait "
            f"{max(client.worst for client in self.clients) * 1000:.0f} ms, errors {errors}"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(5)
            if client.client:
                client.client.close()


def history(writers, since):
    """Acknowledged writes since then whose taker is known, by the time of their replies."""
    return sorted((write for write in writers.acknowledged() if write.port is not None and write.acked > since),
                  key=lambda write: write.acked)


def check_takers(writers, since, until, old, new):
    """In the span, `old` takes nothing that was asked for after `new` took something. Returns how many
    `old` took before that and acknowledged afterwards."""
    took = history(writers, since)
    first = next(write.acked for write in took if write.port == new)
    late = [write for write in took if write.port == old and first < write.acked < until]
    both = [write for write in late if write.sent > first]
    held(not both, (
        f"two primaries at once: {new} took a write {first - since:.3f} s after the freeze; {old} took "
        f"{[(write.token, round(write.sent - since, 3), round(write.acked - since, 3)) for write in both[:8]]}"))
    held({write.port for write in took if write.acked < until} <= {old, new}, "a third took writes")
    return late


def _twice(items):
    seen = set()
    return [item for item in items if item in seen or seen.add(item)][:10]


def _when(writes):
    return [(write.token, round(write.acked, 3), write.port) for write in writes[:10]] + [len(writes)]
