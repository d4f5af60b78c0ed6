"""The judges of consistency.py, judged: good histories pass, each bad one is found. Starts no process.

A history is written a line an operation: session, from-to, what. `w x2` wrote version 2 of x (`w? x2` with an
unknown outcome, `w! x2` refused, `W x2` durably), `r x2` read it, `give t` and `take t` hand a token over.
"""
import itertools
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import consistency  # noqa: E402
import harness  # noqa: E402
from consistency import (ACKNOWLEDGED, FAILED, GIVE, GUARANTEES, LINEARIZABLE, MONOTONIC_READS,  # noqa: E402
                         MONOTONIC_WRITES, READ, READ_YOUR_WRITES, REAL_READS, STALENESS_MS, STALENESS_WRITES, TAKE,
                         UNCERTAIN, WRITE, WRITES_FOLLOW_READS, Failover, Op, check_linearizable, check_sessions,
                         check_staleness_ms, check_staleness_writes)
from harness import test  # noqa: E402

KINDS = {"w": (WRITE, ACKNOWLEDGED), "W": (WRITE, ACKNOWLEDGED), "w?": (WRITE, UNCERTAIN), "w!": (WRITE, FAILED),
         "r": (READ, ACKNOWLEDGED), "give": (GIVE, ACKNOWLEDGED), "take": (TAKE, ACKNOWLEDGED)}


def read_history(text):
    history = []
    for line in filter(None, (line.strip() for part in text.split("\n") for line in part.split(";"))):
        session, span, kind, what = line.split()
        begin, _, end = span.partition("-")
        op = Op(KINDS[kind][0], session, invoked=float(begin), completed=float(end), outcome=KINDS[kind][1],
                durable=kind == "W")
        if op.kind in (WRITE, READ):
            op.key, op.version = what[0], int(what[1:])
        else:
            op.token = what
        history.append(op)
    return history


def judge_all(cases, check):
    """cases: (what it shows, history, the guarantees that must be found broken)."""
    for name, text, broken, *arguments in cases:
        verdict = check(read_history(text), *arguments)
        assert set(verdict.counts()) == set(broken), f"{name}: {verdict}"


SESSIONS = (
    ("its own write", "A 0-1 w x1; A 2-3 r x1", ()),
    ("its own write is not seen", "A 0-1 w x1; A 2-3 r x0", [READ_YOUR_WRITES]),
    ("in one packet", "A 0-1 w x1; A 0-1 r x1", ()),
    ("in one packet, not seen", "A 0-1 w x1; A 0-1 r x0", [READ_YOUR_WRITES]),
    ("a read that is asked for first need not see it", "A 0-1 r x0; A 0-1 w x1", ()),
    ("another session need not see it", "A 0-1 w x1; B 2-3 r x0", ()),
    ("a refused write need not be seen", "A 0-1 w! x1; A 2-3 r x0", ()),
    ("nor an uncertain one", "A 0-1 w? x1; A 2-3 r x0", ()),
    ("which may be seen late", "A 0-1 w? x1; A 2-3 r x0; A 4-5 r x1", ()),
    ("but then for good", "A 0-1 w? x1; A 4-5 r x1; A 6-7 r x0", [MONOTONIC_READS]),
    ("forwards", "A 0-1 w x1; A 2-3 w x2; B 2-3 r x1; B 4-5 r x2", ()),
    ("backwards", "A 0-1 w x1; A 2-3 w x2; B 2-3 r x2; B 4-5 r x1", [MONOTONIC_READS]),
    ("each session has a pace of its own", "A 0-1 w x1; B 2-3 r x1; C 4-5 r x0", ()),
    ("a token brings the writes", "A 0-1 w x1; A 2-3 give t; B 4-5 take t; B 4-5 r x0", [READ_YOUR_WRITES]),
    ("a token brings the reads", "A 0-1 w x1; B 2-3 r x1; B 4-5 give t; C 6-7 take t; C 8-9 r x0",
     [MONOTONIC_READS]),
    ("a token is of its moment", "A 0-1 give t; A 2-3 w x1; B 4-5 take t; B 6-7 r x0", ()),
    ("a token works from when it is taken", "A 0-1 w x1; A 2-3 give t; B 2-3 r x0; B 4-5 take t; B 6-7 r x1", ()),
    ("over two hands", "A 0-1 w x1; A 2-3 give t; B 4-5 take t; B 6-7 give u; C 8-9 take u; C 8-9 r x0",
     [READ_YOUR_WRITES]),
    ("who sees the second write sees the first", "A 0-1 w x1; A 2-3 w y1; B 4-5 r y1; B 6-7 r x1", ()),
    ("and does not", "A 0-1 w x1; A 2-3 w y1; B 4-5 r y1; B 6-7 r x0", [MONOTONIC_WRITES]),
    ("the first was refused", "A 0-1 w! x1; A 2-3 w y1; B 4-5 r y1; B 6-7 r x0", ()),
    ("the other order of reads says nothing", "A 0-1 w x1; A 2-3 w y1; B 4-5 r x0; B 6-7 r y1", ()),
    ("who sees an answer sees the question", "A 0-1 w x1; B 2-3 r x1; B 4-5 w y1; C 6-7 r y1; C 8-9 r x1", ()),
    ("and does not", "A 0-1 w x1; B 2-3 r x1; B 4-5 w y1; C 6-7 r y1; C 8-9 r x0", [WRITES_FOLLOW_READS]),
    ("the question was read after the answer was given", "A 0-1 w x1; B 2-3 w y1; B 4-5 r x1; C 6-7 r y1; C 8-9 r x0",
     ()),
    ("a chain of three", "A 0-1 w x1; B 2-3 r x1; B 4-5 w y1; C 6-7 r y1; C 8-9 w z1; D 10-11 r z1; D 12-13 r x0",
     [WRITES_FOLLOW_READS]),
    ("an answer by way of a token", "A 0-1 w x1; A 2-3 give t; B 4-5 take t; B 6-7 w y1; C 8-9 r y1; C 10-11 r x0",
     [MONOTONIC_WRITES]),
    ("read while it is written", "A 0-9 w x1; A 10-11 w y1; B 1-2 r x1; B 12-13 r y1; B 14-15 r x1", ()),
    ("read before it is acknowledged, and its past counts", "A 0-1 w x1; A 3-9 w y1; B 2-4 r y1; B 5-6 r x0",
     [MONOTONIC_WRITES]),
    ("nobody wrote it", "A 0-1 w x1; B 2-3 r x7", [REAL_READS]),
    ("it was refused", "A 0-1 w! x1; B 2-3 r x1", [REAL_READS]),
    ("it was not written yet", "B 0-1 r x1; A 2-3 w x1", [REAL_READS]),
    ("a packet that reads its own future", "A 0-1 r x1; A 0-1 w x1", [REAL_READS]),
    ("or sees it because it was sent again", "A 0-1 r x1; A 0-1 w? x1", ()),
    ("two packets that read each other's", "A 0-1 r x1; A 0-1 w y1; B 0-1 r y1; B 0-1 w x1", [REAL_READS]),
    ("what is late and uncertain is not judged", "A 0-1 w? x1; A 2-3 w x2; B 4-5 r x2; B 6-7 r x1", ()),
)


@test
def the_four_guarantees_are_told_apart(stage):
    judge_all(SESSIONS, check_sessions)
    unsure = check_sessions(read_history(SESSIONS[-1][1]))
    assert unsure.unsure == 1 and unsure.judged == 2, unsure


@test
def only_the_reads_that_are_judged_are_blamed(stage):
    history = read_history("A 0-1 w x1; A 2-3 r x0; B 4-5 r x1; B 6-7 r x0")
    assert set(check_sessions(history).counts()) == {READ_YOUR_WRITES, MONOTONIC_READS}
    verdict = check_sessions(history, judged=lambda op: op.session == "B")
    assert verdict.counts() == {MONOTONIC_READS: 1} and verdict.judged == 2, verdict


@test
def a_failover_excuses_what_it_lost_and_nothing_else(stage):
    """x1 is old, x2 and x3 are acknowledged shortly before the primary dies at 10; all agree at 12."""
    written = "A 1-2 w x1; A 9.3-9.4 w x2; A 9.5-9.6 w x3; "
    gone = Failover(10, 12, held={"x": 2})
    unknown = Failover(10, 12)
    later = Failover(30, 32)
    cases = (
        ("the last one is lost", written + "A 13-14 r x2", (), {("x", 3)}, gone),
        ("the next primary had it", written + "A 13-14 r x2", [READ_YOUR_WRITES], set(), Failover(10, 12, {"x": 3})),
        ("it was read before", written + "B 9.7-9.8 r x3; B 13-14 r x2", (), {("x", 3)}, gone),
        ("what the next primary had is due", written + "A 13-14 r x1", [READ_YOUR_WRITES], set(), gone),
        ("nobody knows what it had", written + "A 13-14 r x1", (), {("x", 3)}, unknown),
        ("what is old is due", written + "A 13-14 r x0", [READ_YOUR_WRITES], set(), unknown),
        ("within one epoch nothing is lost", written + "A 9.7-9.9 r x2", [READ_YOUR_WRITES], set(), gone),
        ("nor by a later failover", written + "A 33-34 r x2", [READ_YOUR_WRITES], set(), later),
        ("what is written afterwards is due", written + "A 13-14 w x4; A 15-16 r x2", [READ_YOUR_WRITES], set(), gone),
        ("what is durable is due", "A 1-2 w x1; A 9.5-9.6 W x2; A 13-14 r x1", [READ_YOUR_WRITES], set(), unknown),
        ("on each key its own", written + "A 9.7-9.8 w y1; B 9.9-9.95 r y1; B 13-14 r y0; B 15-16 r x2", (),
         {("y", 1), ("x", 3)}, gone),
    )
    for name, text, broken, lost, failover in cases:
        verdict = check_sessions(read_history(text), [failover])
        assert set(verdict.counts()) == set(broken) and verdict.lost == lost, f"{name}: {verdict}"


STALENESS = (
    ("fresh", "A 0-1 w x1; B 2-3 r x1", ()),
    ("within the bound", "A 0-1 w x1; A 5-6 w x2; B 6.4-7 r x1", ()),
    ("beyond it", "A 0-1 w x1; A 5-6 w x2; B 6.6-7 r x1", [STALENESS_MS]),
    ("the reply's time does not count", "A 0-1 w x1; A 5-6 w x2; B 6.4-9 r x1", ()),
    ("the oldest that overwrote it counts", "A 0-1 w x1; A 5-6 w x2; A 6-7 w x3; B 7.1-8 r x1", [STALENESS_MS]),
    ("what was there instead does not", "A 5-6 w x2; A 6-7 w x3; B 7.1-8 r x2", ()),
    ("before the first write", "A 0-1 w x1; B 2-3 r x0", [STALENESS_MS]),
    ("a refused or uncertain write overwrites nothing", "A 0-1 w! x1; A 1-2 w? x2; B 5-6 r x0", ()),
    ("an uncertain write may be the last", "A 0-1 w? x1; A 1-2 w x2; B 5-6 r x1", ()),
)


@test
def staleness_in_milliseconds_has_a_bound(stage):
    judge_all([case + (500,) for case in STALENESS], check_staleness_ms)
    excused = check_staleness_ms(read_history("A 0-1 w x1; A 9.5-9.6 w x2; B 13-14 r x1"), 500,
                                 [Failover(10, 12, {"x": 1})])
    assert not excused.violations and excused.lost == {("x", 2)}, excused


@test
def staleness_in_writes_has_a_bound(stage):
    three = "A 0-1 w x1; A 2-3 w x2; A 4-5 w x3; "
    cases = (
        ("it lacks two", three + "B 6-7 r x1", (), 2),
        ("it lacks two, not one", three + "B 6-7 r x1", [STALENESS_WRITES], 1),
        ("it lacks none", three + "B 6-7 r x3", (), 0),
        ("the third was not acknowledged yet", three + "B 4.5-7 r x1", (), 1),
        ("those of other keys count", "A 0-1 w x1; A 2-3 w y1; A 4-5 w z1; B 6-7 r x0", [STALENESS_WRITES], 2),
        ("up to the bound", "A 0-1 w x1; A 2-3 w y1; A 4-5 w z1; B 6-7 r x0", (), 3),
        ("but not those that may have come before", "A 0-1 w x1; C 0-1 w y1; D 0-1 w z1; B 6-7 r x0", (), 1),
        ("nor those that may be under way", "A 0-1 w x1; C 2-9 w y1; B 6-7 r x0", (), 1),
        ("nor refused ones", "A 0-1 w x1; A 2-3 w! x2; A 4-5 w? x3; B 6-7 r x0", (), 1),
    )
    judge_all(cases, check_staleness_writes)


REGISTERS = (
    ("in turn", "A 0-1 w x1; B 2-3 r x1", ()),
    ("a stale read", "A 0-1 w x1; B 2-3 r x0", [LINEARIZABLE]),
    ("during the write: either", "A 0-9 w x1; B 1-2 r x0; C 3-4 r x1; D 5-6 r x1", ()),
    ("during the write: not back again", "A 0-9 w x1; B 1-2 r x1; C 3-4 r x0", [LINEARIZABLE]),
    ("two writers at once, one order", "A 0-9 w x1; B 0-9 w x2; C 10-11 r x1; D 12-13 r x1", ()),
    ("two writers at once, two orders", "A 0-9 w x1; B 0-9 w x2; C 10-11 r x1; D 12-13 r x2", [LINEARIZABLE]),
    ("versions say nothing of the order", "A 0-1 w x2; B 2-3 w x1; C 4-5 r x1", ()),
    ("overwritten", "A 0-1 w x2; B 2-3 w x1; C 4-5 r x2", [LINEARIZABLE]),
    ("an uncertain write that never was", "A 0-1 w? x1; B 2-3 r x0; B 4-5 r x0", ()),
    ("that was, late", "A 0-1 w? x1; B 2-3 r x0; B 4-5 r x1; C 6-7 r x1", ()),
    ("that was, after a later one", "A 0-1 w? x1; A 2-3 w x2; B 4-5 r x2; B 6-7 r x1", ()),
    ("that was and was not", "A 0-1 w? x1; B 2-3 r x1; B 4-5 r x0", [LINEARIZABLE]),
    ("that was twice", "A 0-1 w? x1; B 2-3 r x1; A 4-5 w x2; B 6-7 r x2; B 8-9 r x1", [LINEARIZABLE]),
    ("a refused write that was read", "A 0-1 w! x1; B 2-3 r x1", [LINEARIZABLE]),
    ("read before it was asked for", "B 0-1 r x1; A 2-3 w x1", [LINEARIZABLE]),
    ("nobody wrote it", "B 0-1 r x1", [LINEARIZABLE]),
    ("each key by itself", "A 0-1 w x1; A 2-3 w y1; B 4-5 r y1; B 6-7 r x1", ()),
    ("one key of two", "A 0-1 w x1; A 2-3 w y1; B 4-5 r y1; B 6-7 r x0", [LINEARIZABLE]),
)


@test
def registers_are_linearizable_or_not(stage):
    judge_all(REGISTERS, check_linearizable)


def by_zones(ops):
    """The dumb twin, for one register and no uncertain write: Gibbons and Korach, "Testing shared memories" (1997).
    A value's zone lies between the first end and the last beginning of its write and reads."""
    clusters = {0: [Op(WRITE, "", invoked=-2, completed=-1)]}
    for op in ops:
        clusters.setdefault(op.version, []).append(op)
    forward, backward = [], []
    for cluster in clusters.values():
        writes = [op for op in cluster if op.kind == WRITE]
        if not writes or any(op.completed < writes[0].invoked for op in cluster):
            return False
        low, high = min(op.completed for op in cluster), max(op.invoked for op in cluster)
        (forward if low < high else backward).append((min(low, high), max(low, high)))
    for one, other in itertools.combinations(sorted(forward), 2):
        if other[0] < one[1]:
            return False
    return not any(one[0] < low and high < one[1] for one in forward for low, high in backward)


@test
def registers_are_judged_as_a_dumb_twin_judges_them(stage):
    verdicts = {True: 0, False: 0}
    for number in range(3000):
        rng = random.Random(stage.seed + number)
        times = [float(each) for each in range(16)]
        rng.shuffle(times)
        ops = []
        for index in range(rng.randint(2, 8)):
            begin, end = sorted((times.pop(), times.pop()))
            kind, version = rng.choice(((WRITE, index + 1), (READ, rng.randint(0, index + 1))))
            ops.append(Op(kind, f"s{index}", "x", version, begin, end))
        expected = by_zones(ops)
        verdicts[expected] += 1
        assert (not check_linearizable(ops).violations) == expected, (number, expected, [str(op) for op in ops])
    print(f"       {verdicts}", flush=True)
    assert min(verdicts.values()) > 300, verdicts


@test
def thousands_of_operations_are_judged_at_once(stage):
    """Eight clients on one register, every operation open while many others are; an eighth uncertain."""
    ops, value, now = [], 0, 0.0
    for number in range(1, 4001):
        now += 1.0
        begin, end = now - stage.random.uniform(0, 4), now + stage.random.uniform(0, 4)
        if stage.random.random() < 0.4:
            value = number
            outcome = UNCERTAIN if stage.random.random() < 0.125 else ACKNOWLEDGED
            ops.append(Op(WRITE, "s", "x", number, begin, end, outcome))
        else:
            ops.append(Op(READ, "s", "x", value, begin, end))
    assert not check_linearizable(ops).violations
    # (An uncertain one might have come to be just now.)
    first = next(op.version for op in ops if op.kind == WRITE and op.outcome == ACKNOWLEDGED)
    stale = Op(READ, "s", "x", first, now + 9, now + 10)
    assert len(check_linearizable(ops + [stale]).violations) == 1


TICK = 0.001


class Model:
    """A primary's log, replicas that lag behind it, and sessions with floors; `defect` names what is forgotten."""

    def __init__(self, rng, defect=None):
        self.failovers = []
        self.rng = rng
        self.defect = defect
        self.log = []  # (key, version)
        self.applied = [0, 0, 0]
        self.floors = {}
        self.now = 0.0
        self.history = []
        self.versions = {}

    def note(self, kind, session, **fields):
        self.now += TICK
        self.history.append(Op(kind, session, invoked=self.now, completed=self.now + TICK / 2, **fields))

    def raise_floor(self, session, position, what):
        if self.defect != what:
            self.floors[session] = max(position, self.floors.get(session, 0))

    def write(self, session, key):
        version = self.versions[key] = self.versions.get(key, 0) + 1
        self.log.append((key, version))
        self.note(WRITE, session, key=key, version=version)
        self.raise_floor(session, len(self.log), "writes")

    def read(self, session, key):
        replica = self.rng.randrange(3)
        position = self.applied[replica]
        if position < self.floors.get(session, 0) and self.defect != "gate":
            position = len(self.log)
        version = max((version for name, version in self.log[:position] if name == key), default=0)
        self.note(READ, session, key=key, version=version)
        self.raise_floor(session, position, "reads")

    def hand_over(self, giver, taker):
        token = f"{giver}{len(self.history)}"
        self.note(GIVE, giver, token=token)
        self.note(TAKE, taker, token=token)
        self.raise_floor(taker, self.floors.get(giver, 0), "tokens")

    def fail_over(self):
        """The foremost replica leads; what it does not have is lost, and floors end where its history does."""
        self.log = self.log[:max(self.applied)]
        self.floors = {session: min(floor, len(self.log)) for session, floor in self.floors.items()}
        began = self.now + TICK
        self.now = began + TICK
        self.failovers.append(Failover(began, self.now, dict(self.log)))

    def run(self, steps=150, failovers=0):
        for step in range(steps):
            if failovers and step % (steps // failovers) == steps // failovers - 10:
                self.fail_over()
            giver, taker = self.rng.sample("ABCD", 2)
            luck = self.rng.random()
            if luck < 0.3:
                self.write(giver, giver.lower())
            elif luck < 0.7:
                self.read(giver, self.rng.choice("abcd"))
            elif luck < 0.8:
                self.hand_over(giver, taker)
            else:
                replica = self.rng.randrange(3)
                self.applied[replica] = self.rng.randint(self.applied[replica], len(self.log))
        return self.history


@test
def a_model_of_the_gate_keeps_all_guarantees_and_its_defects_are_found(stage):
    found = {}
    for defect in (None, "gate", "writes", "reads", "tokens"):
        broken = found[defect] = set()
        for number in range(60):
            seed = number if defect else stage.seed + number  # that a defect is found must not depend on luck
            history = Model(random.Random(seed), defect).run()
            broken |= set(check_sessions(history).counts())
    print(f"       {found}", flush=True)
    assert found[None] == set()
    assert found["gate"] == set(GUARANTEES)
    assert READ_YOUR_WRITES in found["writes"] and READ_YOUR_WRITES not in found["reads"]
    assert {MONOTONIC_READS, WRITES_FOLLOW_READS} <= found["reads"]
    assert {READ_YOUR_WRITES, MONOTONIC_READS} <= found["tokens"]


@test
def a_model_that_fails_over_loses_writes_and_breaks_nothing(stage):
    for defect in (None, "gate"):
        lost, broken = 0, 0
        for number in range(40):
            model = Model(random.Random(stage.seed + number), defect)
            history = model.run(failovers=3)
            verdict = check_sessions(history, model.failovers)
            lost, broken = lost + len(verdict.lost), broken + len(verdict.violations)
            stale = check_staleness_ms(history, 1e6, model.failovers)
            assert not stale.violations and not stale.lost, stale
        print(f"       defect {defect}: {lost} lost, {broken} violations", flush=True)
        assert lost > 20 and (broken > 0) == (defect is not None)


@test
def a_history_that_is_none_is_refused(stage):
    for text in ("A 0-1 w x1; A 2-3 w x1", "A 0-1 w x2; A 2-3 w x1", "A 0-1 take t"):
        try:
            check_sessions(read_history(text))
        except ValueError:
            continue
        raise AssertionError(f"taken for a history: {text}")


@test
def a_verdict_says_what_is_wrong(stage):
    told = str(check_sessions(read_history("A 0-1 w x1; A 2-3 r x0")))
    assert "read-your-writes" in told and "x=1" in told and "read x=0 by A" in told, told
    assert consistency.check_sessions([]).judged == 0


if __name__ == "__main__":
    harness.run(__doc__)
