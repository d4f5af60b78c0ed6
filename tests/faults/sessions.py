"""Clients that read and write through sessions at several azimuths, carry tokens between them, and write down
the history that consistency.py judges.

A session is one connection at one azimuth. A client has one at each node, switches between them, and hands
its tokens to itself and to others. Values say key:version:writer.
"""
import collections
import itertools
import os
import queue
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from consistency import ACKNOWLEDGED, FAILED, GIVE, READ, TAKE, UNCERTAIN, WRITE, Op  # noqa: E402
from harness import in_time  # noqa: E402
from resp import Closed, RespError, encode  # noqa: E402

PATIENCE_S = 40.0
# Was not executed, and a client may be told so; all else is a fault.
REFUSED = ("CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "READONLY")


class Token:
    """What AZIMUTH TOKEN answered; each is one of its own, though two may have the same text."""

    def __init__(self, name):
        self.name, self.text = name, None

    def __str__(self):
        return self.name


class Session:
    """One connection at one azimuth, at a level, and what went over it."""

    def __init__(self, name, node, level, durability):
        self.name, self.node, self.level, self.durability = name, node, level, durability
        self.client = node.client(timeout=PATIENCE_S)
        replies = self.client.pipeline(["AZIMUTH", "CONSISTENCY", *level.split()], ["AZIMUTH", "DURABILITY", durability])
        assert replies == ["OK", "OK"], f"{level}, {durability}: {replies}"
        self.history = []
        self.refusals = []  # what was said of the operations that failed
        self.tokens = 0

    def op(self, kind, key="", version=0, token=None):
        return Op(kind, self.name, key, version, node=self.node.name, token=token, level=self.level,
                  durable=kind == WRITE and self.durability == "quorum")

    def give(self):
        self.tokens += 1
        return self.op(GIVE, token=Token(f"{self.name}/{self.tokens}"))

    def command(self, op):
        if op.kind == WRITE:
            return ["SET", op.key, f"{op.key}:{op.version}:{self.name}"]
        if op.kind == READ:
            return ["GET", op.key]
        return ["AZIMUTH", "TOKEN"] + ([op.token.text] if op.kind == TAKE else [])

    def exchange(self, ops):
        """All in one packet; yields their replies as they come."""
        self.client.send_raw(b"".join(encode(self.command(op)) for op in ops))
        for _ in ops:
            yield self.client.reply()

    def play(self, *ops):
        """The operations in one packet, written down. Raises Closed when the connection is lost."""
        began = time.monotonic()
        for op in ops:
            op.invoked = op.completed = began
            op.outcome = UNCERTAIN if op.kind == WRITE else FAILED  # unless a reply says otherwise
        self.history += ops
        try:
            for op, reply in zip(ops, self.exchange(ops)):
                op.completed = time.monotonic()
                self.judge(op, reply)
        except OSError as error:
            in_time(not isinstance(error, TimeoutError), f"{ops[0]}... unanswered for {PATIENCE_S} s")
            raise Closed(str(error)) from None

    def judge(self, op, reply):
        if isinstance(reply, RespError):
            # (A read in front of a write of its own that may have run is not sent again.)
            lost_read = op.kind == READ and reply.startswith("UNCERTAIN")
            if reply.startswith(REFUSED) or lost_read:
                op.outcome = FAILED
                self.refusals.append(f"{op.kind}: {reply}")
            else:
                assert op.kind == WRITE and reply.startswith("UNCERTAIN"), f"{op} was answered {reply!r}"
            return
        op.outcome = ACKNOWLEDGED
        if op.kind == READ:
            if reply is not None:
                key, version, _ = reply.decode().split(":")
                assert key == op.key, f"{op} was answered {reply!r}"
                op.version = int(version)
        elif op.kind == GIVE:
            assert isinstance(reply, bytes) and reply, f"{op} was answered {reply!r}"
            op.token.text = reply
        else:
            assert reply == "OK", f"{op} was answered {reply!r}"

    def close(self):
        self.client.close()


class PooledSession(Session):
    """One session of several connections (AZIMUTH SESSION client-name): each packet goes on the next one."""

    scope = "client-name"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.pool = [self.client] + [self.node.client(timeout=PATIENCE_S) for _ in range(3)]
        for client in self.pool:
            replies = client.pipeline(["AZIMUTH", "CONSISTENCY", *self.level.split()],
                                      ["AZIMUTH", "DURABILITY", self.durability],
                                      ["CLIENT", "SETNAME", self.name], ["AZIMUTH", "SESSION", self.scope])
            assert replies[0] == replies[1] == replies[3] == "OK", replies
            if replies[2] != "OK":
                raise Closed(f"CLIENT SETNAME: {replies[2]}")  # there is no primary whose ACL could allow it
        self.turn = itertools.cycle(self.pool)

    def exchange(self, ops):
        self.client = next(self.turn)
        return super().exchange(ops)

    def close(self):
        for client in self.pool:
            client.close()


class ScatteredSession(PooledSession):
    """The same of connections that share nothing."""

    scope = "connection"


class CarelessSession(Session):
    """Says that it gives and takes tokens, and does not: what a client gets that switches without them."""

    def exchange(self, ops):
        replies = super().exchange([op for op in ops if op.kind in (READ, WRITE)])
        for op in ops:
            yield next(replies) if op.kind in (READ, WRITE) else b"none" if op.kind == GIVE else "OK"


class UngatedSession(Session):
    """Reads from the Redis next door, past azimuth and its gate."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.redis = self.node.redis.connect(timeout=PATIENCE_S)

    def exchange(self, ops):
        for op in ops:
            if op.kind in (READ, WRITE):
                yield (self.redis if op.kind == READ else self.client).cmd(*self.command(op))
            else:
                yield b"none" if op.kind == GIVE else "OK"

    def close(self):
        super().close()
        self.redis.close()


class SessionClient(threading.Thread):
    """One client of a Load. Without keys of its own it only reads: what holds it is nothing but what it has read,
    so it passes tokens to its like alone."""

    def __init__(self, load, number, level, own, rng):
        super().__init__(daemon=True)
        self.load, self.number, self.level, self.own, self.rng = load, number, level, own, rng
        self.board = load.boards.setdefault((level, bool(own)), queue.SimpleQueue())
        self.recent = collections.deque(load.keys[:1], maxlen=3)  # keys that it has to do with
        self.over = threading.Event()
        self.sessions = {}  # by node
        self.past = []  # all there ever were
        self.session = None
        self.memory = None  # the last token, against the loss of a connection
        self.steps = 0
        self.trouble = None

    def run(self):
        try:
            self.come_back()
            while not self.over.is_set():
                try:
                    self.step()
                    self.steps += 1
                except Closed:
                    self.come_back()
                time.sleep(self.rng.uniform(0, 2 * self.load.pace_s))  # a client thinks
        except Exception as error:  # the test's own thread looks at it
            self.trouble = error

    def connect(self, node):
        name = f"{self.number}.{len(self.past)}"
        session = self.load.kind(name, node, self.level, self.load.durability)
        self.sessions[node] = session
        self.past.append(session)
        return session

    def come_back(self):
        """The connection is lost, or there was none: any node that takes us, with the last token."""
        self.sessions = {node: each for node, each in self.sessions.items() if each is not self.session}
        deadline = time.monotonic() + PATIENCE_S
        while not self.over.is_set():
            try:
                self.session = self.session_at(self.rng.choice(self.load.nodes))
                if self.memory:
                    self.session.play(self.session.op(TAKE, token=self.memory))
                return
            except (OSError, Closed):
                self.sessions = {node: each for node, each in self.sessions.items() if each is not self.session}
                in_time(time.monotonic() < deadline, f"client {self.number}: no node takes it")
                time.sleep(0.01)

    def session_at(self, node):
        return self.sessions.get(node) or self.connect(node)

    def read(self, key=None):
        key = key or self.rng.choice(self.load.keys)
        self.recent.append(key)
        return self.session.op(READ, key)

    def write(self):
        if not self.own:
            return self.read()
        key = self.rng.choice(self.own)
        self.recent.append(key)
        return self.session.op(WRITE, key, next(self.load.versions[key]))

    def step(self):
        luck = self.rng.random()
        if luck < 0.25:
            self.session.play(*(self.read() for _ in range(self.rng.choice((1, 1, 2, 5)))))
        elif luck < 0.35:
            self.session.play(self.write())
        elif luck < 0.50:
            op = self.write()
            self.session.play(op, self.read(op.key))
        elif luck < 0.55:
            op = self.write()
            self.session.play(self.read(op.key), op, self.read())
        elif luck < 0.75:
            self.switch()
        elif luck < 0.87:
            self.hand_over()
        else:
            self.pick_up()

    def switch(self):
        """To another azimuth, with a token: what it did here it must see there."""
        give = self.session.give()
        self.session.play(give)
        if give.outcome == ACKNOWLEDGED:
            self.go(self.rng.choice(self.load.nodes), give.token, self.rng.choice(self.recent))

    def hand_over(self):
        """A write (or a read) and the token behind it in one packet, for whoever comes first."""
        op, give = self.write(), self.session.give()
        self.session.play(op, give)
        if give.outcome == ACKNOWLEDGED and self.board.qsize() < 20:
            self.board.put((give.token, op.key))

    def pick_up(self):
        try:
            token, key = self.board.get_nowait()
        except queue.Empty:
            return
        self.go(self.rng.choice(self.load.nodes), token, key)

    def go(self, node, token, key):
        """The token and a read in one packet, at that node."""
        try:
            session = self.session_at(node)
        except (OSError, Closed):
            return  # it is down: stay
        self.session, self.memory = session, token
        take = session.op(TAKE, token=token)
        session.play(take, self.read(key))


class Load:
    """Clients in turn of each level, from the first moment until stop(). Every second one writes, to keys that are
    its alone; with `shared` all write to all keys, and versions only differ."""

    def __init__(self, stage, nodes, count=6, levels=("causal",), durability="async", kind=Session, shared=False,
                 pace_s=0.003):
        self.nodes, self.durability, self.kind, self.shared, self.pace_s = nodes, durability, kind, shared, pace_s
        self.keys = [f"k{index}" for index in range(4 if shared else 2 * count)]
        self.versions = {key: itertools.count(1) for key in self.keys}
        self.boards = {}
        make = type(stage.random)
        self.clients = []
        for number in range(count):
            own = self.keys
            if not shared:
                own = self.keys[2 * number:2 * number + 4] if number % 2 == 0 else []
            level = levels[number // 2 % len(levels)]
            self.clients.append(SessionClient(self, number, level, own, make(stage.random.random())))
        for client in self.clients:
            client.start()

    def check(self):
        for client in self.clients:
            if client.trouble:
                raise client.trouble

    def progress(self, more=5, seconds=60.0):
        """Waits until every client has made `more` steps from now on."""
        before = [client.steps for client in self.clients]
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            behind = [each.number for each, start in zip(self.clients, before) if each.steps < start + more]
            if not behind:
                return
            in_time(time.monotonic() < deadline, f"clients {behind} do not get on")
            time.sleep(0.005)

    def stop(self):
        """Ends it; the history."""
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(PATIENCE_S + 10)
            in_time(not client.is_alive(), f"client {client.number} hangs")
        self.check()
        return self.history()

    def history(self):
        return [op for client in self.clients for session in client.past for op in session.history]

    def refusals(self):
        return dict(collections.Counter(
            each for client in self.clients for session in client.past for each in session.refusals))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(5)
            for session in client.past:
                session.close()


def summary(history):
    counts = collections.Counter((op.kind, op.outcome) for op in history)
    return ", ".join(f"{count} {kind} {outcome}" for (kind, outcome), count in sorted(counts.items()))
