"""How long nobody can write when the primary goes: azimuth's three ways of losing it, and Redis Sentinel.

One writer asks without pause. A gap is the longest time between two acknowledged writes around the
event. Not part of CI: its numbers are the machine's.

    /usr/bin/python3 tests/bench/failover.py --azimuth build/release/azimuth [--rounds 50]
"""
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness  # noqa: E402
from cluster import Cluster  # noqa: E402
from harness import RedisServer, Stage, free_port, spawn, wait_until  # noqa: E402
from resp import Client, Closed  # noqa: E402

SENTINELS = 3
DOWN_AFTER_MS = 1000


class Asker(threading.Thread):
    """Writes one after another by connect(); keeps the times of acknowledgements, counts errors."""

    def __init__(self, connect):
        super().__init__(daemon=True)
        self.connect = connect
        self.over = threading.Event()
        self.times = []
        self.errors = 0

    def run(self):
        client, serial = None, 0
        while not self.over.is_set():
            try:
                client = client or self.connect()
                serial += 1
                if client.cmd("SET", "bench", serial) == "OK":
                    self.times.append(time.monotonic())
                    continue
            except (OSError, Closed):
                pass
            self.errors += 1
            if client:
                client.close()
            client = None
            time.sleep(0.001)
        if client:
            client.close()

    def goes_on(self, since, more=100):
        """Whether so many writes were acknowledged after `since`."""
        return len(self.times) > more and self.times[-more] > since

    def gap_ms(self, begin, end):
        times = [each for each in list(self.times) if begin - 0.5 <= each <= end]
        return max(b - a for a, b in zip(times, times[1:])) * 1000


def measure(asker, event):
    """Plays the event under load; the gap in ms once writes go on."""
    wait_until(lambda: asker.goes_on(0), what="writes")
    began = time.monotonic()
    event()
    happened = time.monotonic()
    wait_until(lambda: asker.goes_on(happened), 60, "writes after the event")
    return asker.gap_ms(began, time.monotonic())


def azimuth_rounds(stage, rounds, event, elsewhere):
    """event(cluster, primary) -> what brings it back. `elsewhere`: the writer is at another node."""
    gaps, errors = [], 0
    with Cluster(stage) as cluster:
        for _ in range(rounds):
            primary = cluster.wait_whole()
            node = next(each for each in cluster.nodes if (each is not primary) == elsewhere)
            asker = Asker(lambda: node.client(timeout=60))
            asker.start()
            back = []
            gaps.append(measure(asker, lambda: back.append(event(cluster, primary))))
            asker.over.set()
            asker.join(60)
            errors += asker.errors
            back[0]()
    return gaps, errors


def redis_killed(_, primary):
    primary.redis.kill()
    return primary.redis.restart


def node_killed(_, primary):
    primary.process.kill()
    primary.kill(redis=True)

    def back():
        primary.redis.restart()
        primary.start()

    return back


def switched_over(_, primary):
    with primary.client() as client:
        assert client.cmd("AZIMUTH", "SWITCHOVER") == "OK"
    return lambda: None


class Sentinel:
    """Redis's own: a primary, two replicas, three sentinels."""

    def __init__(self):
        self.redis = [RedisServer() for _ in range(3)]
        for replica in self.redis[1:]:
            with replica.connect() as client:
                assert client.cmd("REPLICAOF", "127.0.0.1", self.redis[0].port) == "OK"
        self.ports = [free_port() for _ in range(SENTINELS)]
        for port in self.ports:
            directory = tempfile.mkdtemp(prefix="sentinel-", dir=harness.directory())
            path = os.path.join(directory, "sentinel.conf")
            with open(path, "w") as file:
                file.write(f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
                           f"sentinel monitor bench 127.0.0.1 {self.redis[0].port} 2\n"
                           f"sentinel down-after-milliseconds bench {DOWN_AFTER_MS}\n"
                           "sentinel failover-timeout bench 10000\n")
            with open(os.path.join(directory, "log"), "ab") as log:
                spawn(["redis-server", path, "--sentinel"], log, stdout=log)

    def primary_port(self):
        for port in self.ports:
            try:
                with Client(("127.0.0.1", port), 5) as client:
                    reply = client.cmd("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "bench")
                if isinstance(reply, list):
                    return int(reply[1])
            except (OSError, Closed):
                continue
        return None

    def primary(self):
        port = self.primary_port()
        return next(each for each in self.redis if each.port == port)

    def connect(self):
        port = self.primary_port()
        if port is None:
            raise OSError("no sentinel answers")
        return Client(("127.0.0.1", port), 60)

    def whole(self):
        """All sentinels know each other and two replicas that are in sync with one primary."""
        for port in self.ports:
            try:
                with Client(("127.0.0.1", port), 5) as client:
                    flat = client.cmd("SENTINEL", "MASTER", "bench")
            except (OSError, Closed):
                return False
            said = dict(zip(flat[::2], flat[1::2])) if isinstance(flat, list) else {}
            if (said.get(b"num-slaves"), said.get(b"num-other-sentinels"), said.get(b"flags")) != (
                    b"2", b"2", b"master"):
                return False
        with self.primary().connect() as client:
            role = client.cmd("ROLE")
        return role[0] == b"master" and len(role[2]) == 2


def sentinel_rounds(rounds):
    gaps, errors = [], 0
    group = Sentinel()
    for _ in range(rounds):
        wait_until(group.whole, 90, "a whole group of sentinels")
        asker = Asker(group.connect)
        asker.start()
        primary = group.primary()
        gaps.append(measure(asker, primary.kill))
        asker.over.set()
        asker.join(60)
        errors += asker.errors
        primary.restart()
    return gaps, errors


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def report(name, measured):
    gaps, errors = measured
    print(f"{name:34} {len(gaps):4} {statistics.median(gaps):9.1f} {percentile(gaps, 0.99):9.1f} "
          f"{max(gaps):9.1f} {errors / len(gaps):9.1f}", flush=True)


def main():
    def add(parser):
        parser.add_argument("--rounds", type=int, default=50)
        parser.add_argument("--sentinel-rounds", type=int, default=0, help="0: as many")

    options = harness.parse_options(__doc__, add)
    stage = Stage(options)
    version = subprocess.run([options.azimuth, "--version"], capture_output=True, text=True).stdout.strip()
    print(f"{version}; write gap in ms, errors a round; one writer without pause, {os.cpu_count()} cores")
    print(f"{'event':34} {'n':>4} {'median':>9} {'p99':>9} {'max':>9} {'errors':>9}")
    rows = [
        ("switchover, writer elsewhere", switched_over, True),
        ("switchover, writer at the primary", switched_over, False),
        ("redis killed, writer elsewhere", redis_killed, True),
        ("redis killed, writer at the primary", redis_killed, False),
        ("node killed, writer elsewhere", node_killed, True),
    ]
    for name, event, elsewhere in rows:
        if options.only in name:
            report(name, azimuth_rounds(stage, options.rounds, event, elsewhere))
    if options.only in "sentinel":
        report(f"sentinel, down-after {DOWN_AFTER_MS} ms",
               sentinel_rounds(options.sentinel_rounds or options.rounds))


if __name__ == "__main__":
    main()
