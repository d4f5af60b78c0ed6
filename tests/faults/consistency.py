"""Judges of histories: what clients asked for and saw, against what a consistency level promises. Pure.

A history is a list of Op. The operations of one session stand in it in the session's own order, which is
that of its requests on one connection; sessions are joined by tokens only (GIVE in one, TAKE in another).

All but check_linearizable() compare versions: each key has one client that writes to it (through whichever
session), one write after the other, with growing versions. So the order of a key's versions is known
without a search. Only an uncertain write may take effect out of turn; what cannot be judged because of
one is counted as `unsure`. No judge cries wolf: times are those of the clients, so a write was in effect by
the time its acknowledgement was read, and a read was served after it was asked for.
"""
import bisect
import collections
import dataclasses
import itertools
from typing import Any, NamedTuple

WRITE, READ, GIVE, TAKE = "write", "read", "give", "take"
ACKNOWLEDGED, UNCERTAIN, FAILED = "acknowledged", "uncertain", "failed"
NEVER = float("inf")

READ_YOUR_WRITES, MONOTONIC_READS = "read-your-writes", "monotonic-reads"
MONOTONIC_WRITES, WRITES_FOLLOW_READS = "monotonic-writes", "writes-follow-reads"
GUARANTEES = (READ_YOUR_WRITES, MONOTONIC_READS, MONOTONIC_WRITES, WRITES_FOLLOW_READS)
REAL_READS = "real-reads"  # a read returns what was written, and not what is yet to be written
STALENESS_MS, STALENESS_WRITES, LINEARIZABLE = "staleness-ms", "staleness-writes", "linearizable"

LOSSY_S = 1.0  # a write acknowledged so shortly before its primary died may be lost with it


@dataclasses.dataclass(eq=False, slots=True)
class Op:
    kind: str
    session: str
    key: str = ""
    version: int = 0  # written or read; 0: there is no such key yet
    invoked: float = 0.0
    completed: float = 0.0
    outcome: str = ACKNOWLEDGED  # FAILED: it was not executed
    node: str = ""  # the azimuth it went through
    token: Any = None  # the same in the GIVE and in each TAKE of it
    durable: bool = False  # a write of durability `quorum`: never lost once acknowledged
    level: str = ""  # the session's consistency

    def __str__(self):
        what = f"{self.key}={self.version}" if self.kind in (WRITE, READ) else f"token {self.token}"
        return (f"{self.kind} {what} by {self.session} at {self.node or '?'}"
                f" [{self.invoked:.4f}-{self.completed:.4f}] {self.outcome}")


@dataclasses.dataclass
class Failover:
    """The primary moved. Of what was written in the last moments before `began` and until `ended`, some may be
    lost; `held` has versions that the next primary was seen to hold (key -> version)."""

    began: float
    ended: float
    held: dict = dataclasses.field(default_factory=dict)


class Violation(NamedTuple):
    guarantee: str
    op: Op
    wanted: str

    def __str__(self):
        return f"{self.guarantee}: {self.op}; {self.wanted}"


@dataclasses.dataclass
class Verdict:
    violations: list = dataclasses.field(default_factory=list)
    lost: set = dataclasses.field(default_factory=set)  # (key, version): gone in a failover, and missed by a read
    unsure: int = 0  # reads that an uncertain write keeps from being judged
    judged: int = 0  # reads that were

    def of(self, *guarantees):
        return [each for each in self.violations if each.guarantee in guarantees]

    def counts(self):
        return dict(collections.Counter(each.guarantee for each in self.violations))

    def __str__(self):
        told = "\n".join(f"  {each}" for each in self.violations[:10])
        return (f"{self.judged} reads judged, {len(self.violations)} violations {self.counts()}, "
                f"{len(self.lost)} lost, {self.unsure} unsure" + ("\n" + told if told else ""))


def everything(_):
    return True


class Writes:
    """All writes of a history, and which of them a read may do without because a failover lost them."""

    def __init__(self, history, failovers=()):
        self.failovers = list(failovers)
        self.by_version = {}
        self.acknowledged = {}  # key -> its acknowledged writes, in the order of versions
        for op in history:
            if op.kind == WRITE:
                if (op.key, op.version) in self.by_version:
                    raise ValueError(f"written twice: {op}")
                self.by_version[op.key, op.version] = op
                if op.outcome == ACKNOWLEDGED:
                    self.acknowledged.setdefault(op.key, []).append(op)
        for ops in self.acknowledged.values():
            ops.sort(key=lambda op: op.version)
            for before, after in zip(ops, ops[1:]):
                if after.invoked < before.invoked:
                    raise ValueError(f"versions are not in the order of writing: {before}, {after}")

    def get(self, key, version):
        return self.by_version.get((key, version))

    def is_uncertain(self, key, version):
        op = self.get(key, version)
        return op is not None and op.outcome == UNCERTAIN

    def newer(self, read, before):
        """The writes of the read's key with greater versions that were acknowledged before that time."""
        ops = self.acknowledged.get(read.key, [])
        start = bisect.bisect_right(ops, read.version, key=lambda op: op.version)
        asked = itertools.takewhile(lambda op: op.invoked < before, itertools.islice(ops, start, None))
        return [op for op in asked if op.completed < before]

    def lost_before(self, read, version):
        """Whether a failover may have lost this version of the read's key, and left what the read returned."""
        write = self.get(read.key, version)
        if write is None or (write.durable and write.outcome == ACKNOWLEDGED):
            return False
        return any(
            failover.began - LOSSY_S <= self.acknowledged_at(write)
            and write.invoked < failover.ended
            and read.completed > failover.began
            and self.survived(failover, read.key) < version
            and self.survived(failover, read.key) <= read.version
            for failover in self.failovers
        )

    @staticmethod
    def acknowledged_at(write):
        return write.completed if write.outcome == ACKNOWLEDGED else NEVER

    def survived(self, failover, key):
        """The newest version of the key that the next primary is known to have had from the start."""
        newest = 0
        for op in reversed(self.acknowledged.get(key, [])):
            if op.completed < failover.began - LOSSY_S or op.durable and op.completed < failover.began:
                newest = op.version
                break
        held = self.get(key, failover.held.get(key, 0))
        if held is not None and self.acknowledged_at(held) < failover.began:
            newest = max(newest, held.version)
        return newest


# --- the four guarantees of sessions ---------------------------------------------------------------


def join(floor, other):
    for key, version in other.items():
        if version > floor.get(key, 0):
            floor[key] = version


class Past:
    """What a session must not fall behind, by guarantee: key -> version. Its own writes; its own reads;
    what the writers of all that it saw had written before; what they had read before."""

    def __init__(self):
        self.floors = {guarantee: {} for guarantee in GUARANTEES}

    def raise_to(self, guarantee, key, version):
        join(self.floors[guarantee], {key: version})

    def join(self, other):
        for guarantee in GUARANTEES:
            join(self.floors[guarantee], other.floors[guarantee])

    def before_a_write(self):
        """What whoever reads the write that is made now must see from then on."""
        past = Past()
        for own, seen in ((READ_YOUR_WRITES, MONOTONIC_WRITES), (MONOTONIC_READS, WRITES_FOLLOW_READS)):
            join(past.floors[seen], self.floors[own])
            join(past.floors[seen], self.floors[seen])
        return past

    def copy(self):
        past = Past()
        past.join(self)
        return past


class SessionJudge:
    """Goes through a history in an order in which each read comes after the write it returns, and each
    TAKE after its GIVE; within a session in the session's order."""

    def __init__(self, history, failovers, judged):
        self.writes = Writes(history, failovers)
        self.judged = judged
        self.verdict = Verdict()
        self.sessions = collections.defaultdict(collections.deque)  # what is still to be gone through
        self.pasts = collections.defaultdict(Past)
        self.behind = {}  # write -> what whoever reads it must see from then on
        self.tokens = {}  # token -> what it stands for
        self.givers = {}
        for op in history:
            if op.outcome == ACKNOWLEDGED or op.kind == WRITE and op.outcome == UNCERTAIN:
                self.sessions[op.session].append(op)
                if op.kind == GIVE:
                    self.givers[op.token] = op.session

    def run(self):
        while True:
            moved = False
            for ops in self.sessions.values():
                while ops and self.waits_for(ops[0]) is None:
                    self.apply(ops.popleft())
                    moved = True
            waiting = [name for name, ops in self.sessions.items() if ops]
            if not waiting:
                return self.verdict
            if not moved:
                self.break_cycle(waiting[0])

    def waits_for(self, op):
        """The session that has to go on first; None if the operation's turn has come."""
        if op.kind == TAKE and op.token not in self.tokens:
            if op.token not in self.givers:
                raise ValueError(f"nobody gave it: {op}")
            return self.givers[op.token]
        if op.kind == READ:
            write = self.writes.get(op.key, op.version)
            if write is not None and write.outcome != FAILED and write not in self.behind:
                return write.session
        return None

    def break_cycle(self, session):
        """Sessions wait for each other in a ring: one has read what could only be written after its read.

        A packet of a read and a write, whose connection is lost when both have run: the read is sent again and
        may see the write, of which the client is told that it is uncertain. That is not held against it."""
        seen = []
        while session not in seen:
            seen.append(session)
            session = self.waits_for(self.sessions[session][0])
        ring = seen[seen.index(session):]
        heads = [self.sessions[name][0] for name in ring]
        op = next((op for op in heads if op.kind == READ), None)
        if op is None:
            raise ValueError(f"tokens that were taken before they were given: {heads[0]}")
        if len(ring) == 1 and self.writes.is_uncertain(op.key, op.version):
            self.verdict.unsure += 1
        else:
            self.blame(REAL_READS, op, "that was written after this read, by the order of sessions")
        self.sessions[op.session].popleft()
        self.pasts[op.session].raise_to(MONOTONIC_READS, op.key, op.version)

    def blame(self, guarantee, op, wanted):
        if self.judged(op):
            self.verdict.violations.append(Violation(guarantee, op, wanted))

    def apply(self, op):
        past = self.pasts[op.session]
        if op.kind == WRITE:
            self.behind[op] = past.before_a_write()
            if op.outcome == ACKNOWLEDGED:
                past.raise_to(READ_YOUR_WRITES, op.key, op.version)
        elif op.kind == READ:
            self.judge(op, past)
            past.raise_to(MONOTONIC_READS, op.key, op.version)
            write = self.writes.get(op.key, op.version)
            if write in self.behind:
                past.join(self.behind[write])
        elif op.kind == GIVE:
            self.tokens[op.token] = past.copy()
        elif op.kind == TAKE:
            past.join(self.tokens[op.token])

    def judge(self, op, past):
        if not self.judged(op):
            return
        self.verdict.judged += 1
        write = self.writes.get(op.key, op.version)
        if op.version != 0 and (write is None or write.outcome == FAILED):
            self.blame(REAL_READS, op, "nobody wrote that")
        elif write is not None and write.invoked > op.completed:
            self.blame(REAL_READS, op, f"it was asked for later: {write}")
        for guarantee in GUARANTEES:
            floor = past.floors[guarantee].get(op.key, 0)
            if op.version >= floor:
                continue
            if self.writes.is_uncertain(op.key, op.version):
                self.verdict.unsure += 1
            elif self.writes.lost_before(op, floor):
                self.verdict.lost.add((op.key, floor))
            else:
                self.blame(guarantee, op, f"at least {op.key}={floor} is due: {self.writes.get(op.key, floor)}")


def check_sessions(history, failovers=(), judged=everything):
    """The four guarantees, and that reads are real, for the reads that `judged` accepts."""
    return SessionJudge(history, failovers, judged).run()


# --- bounded staleness -----------------------------------------------------------------------------


def check_staleness_ms(history, bound_ms, failovers=(), judged=everything):
    """No read returns what was overwritten, by an acknowledged write, longer than the bound before it was asked for."""
    writes, verdict = Writes(history, failovers), Verdict()
    for read in _reads(history, judged):
        verdict.judged += 1
        if writes.is_uncertain(read.key, read.version):
            verdict.unsure += 1
            continue
        for write in writes.newer(read, read.invoked - bound_ms / 1000):
            if writes.lost_before(read, write.version):
                verdict.lost.add((read.key, write.version))
                continue
            late = (read.invoked - write.completed) * 1000
            verdict.violations.append(Violation(STALENESS_MS, read, f"overwritten {late:.1f} ms before: {write}"))
            break
    return verdict


def check_staleness_writes(history, bound, failovers=(), judged=everything):
    """No read is of a state that lacks more than `bound` writes acknowledged before it was asked for, on any keys.

    Whoever does not have a write has none of the primary's later ones either. So it lacks the next version of
    its key, and all that were asked for after that was acknowledged. That is less than it may lack in truth."""
    writes, verdict = Writes(history, failovers), Verdict()
    acknowledged = [op for ops in writes.acknowledged.values() for op in ops]
    invoked, completed = sorted(op.invoked for op in acknowledged), sorted(op.completed for op in acknowledged)
    for read in _reads(history, judged):
        verdict.judged += 1
        if writes.is_uncertain(read.key, read.version):
            verdict.unsure += 1
            continue
        missed = writes.newer(read, read.invoked)
        known = [op for op in missed if not writes.lost_before(read, op.version)]
        verdict.lost |= {(op.key, op.version) for op in missed} - {(op.key, op.version) for op in known}
        if not known or len(known) < len(missed):
            continue
        done = bisect.bisect_left(completed, read.invoked)
        later = done - bisect.bisect_right(invoked, known[0].completed)
        lacks = max(len(known), 1 + later)
        if lacks > bound:
            verdict.violations.append(Violation(STALENESS_WRITES, read, f"it lacks {lacks} writes, from {known[0]}"))
    return verdict


def _reads(history, judged):
    return [op for op in history if op.kind == READ and op.outcome == ACKNOWLEDGED and judged(op)]


# --- linearizability -------------------------------------------------------------------------------


def check_linearizable(history):
    """Each key is a register: every operation takes effect at one moment between its request and its reply; an
    uncertain write at any moment after its request, or never. Versions of a key differ; any client may write.

    Wing and Gong's search, done just in time as Lowe describes it ("Testing for linearizability", 2017): all
    states of affairs that explain the history up to a moment are kept, each once. When an operation ends,
    those remain in which it has taken effect. Where none is open only values are left."""
    keys = collections.defaultdict(list)
    for op in history:
        if op.kind in (WRITE, READ):
            keys[op.key].append(op)
    verdict = Verdict()
    for ops in keys.values():
        verdict.judged += sum(op.kind == READ and op.outcome == ACKNOWLEDGED for op in ops)
        violation = _linearize(ops)
        if violation:
            verdict.violations.append(violation)
    return verdict


def _linearize(ops):
    """The first operation of one key that cannot be explained; None if all can."""
    opened = set()
    states = {(0, frozenset())}  # the register's value, and which of the open operations have taken effect
    for _, ends, op in _events(ops):
        if not ends:
            opened.add(op)
            continue
        explained = _take_effect(op, opened, states)
        if not explained:
            values = sorted({value for value, _ in states})
            return Violation(LINEARIZABLE, op, f"the value may be one of {values}, and those that were being written")
        opened.remove(op)
        states = explained
    return None


def _events(ops):
    """(time, ends, op), invocations before the ends of the same moment. An uncertain write must have taken effect
    by the time the first read of it is over; one that nobody read might as well never have run."""
    first_read = {}
    for op in ops:
        if op.kind == READ and op.outcome == ACKNOWLEDGED:
            first_read[op.version] = min(op.completed, first_read.get(op.version, NEVER))
    events = []
    for op in ops:
        ends = op.completed
        if op.outcome == UNCERTAIN and op.kind == WRITE:
            ends = first_read.get(op.version, NEVER)
        elif op.outcome != ACKNOWLEDGED:
            ends = NEVER
        if ends != NEVER:
            events.append((op.invoked, False, op))
            events.append((max(ends, op.invoked), True, op))
    return sorted(events, key=lambda event: event[:2])


def _take_effect(op, opened, states):
    """All states in which `op` has taken effect, after as many of the other open operations as need be."""
    explained, seen, rest = set(), set(states), list(states)
    while rest:
        value, done = rest.pop()
        # A read that fits may as well be now: it changes nothing.
        done |= {each for each in opened if each.kind == READ and each.version == value}
        if op in done:
            explained.add((value, done - {op}))
            continue
        for each in opened - done:
            if each.kind == WRITE:
                state = (each.version, done | {each})
                if state not in seen:
                    seen.add(state)
                    rest.append(state)
    return explained
