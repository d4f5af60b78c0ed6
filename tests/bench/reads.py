"""Reads at the replica next door: how many are local, what they cost, and how soon after a write.

Three nodes with 1 ms on each way between them (2 ms there and back, by a relay). Clients at a node
that is not the primary read nine times and write once, at causal, each a session of its own and then
all one (session scope node); or read alone, with the gate and without. Then the same reads go to the
primary (bounded-staleness 1 writes), for comparison. Not part of CI: its numbers are the machine's.

    /usr/bin/python3 tests/bench/reads.py --azimuth build/release/azimuth [--seconds 10] [--clients 50]
"""
import os
import selectors
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness  # noqa: E402
from cluster import Cluster  # noqa: E402
from distance import DistantCluster  # noqa: E402
from harness import cpu_seconds, only_azimuth, wait_until  # noqa: E402

KEYS = 1000
VALUE = "x" * 100


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class Pump:
    """One connection in a closed loop: every `write_every`-th command is a SET."""

    def __init__(self, node, number, write_every, session):
        self.client = node.client(timeout=30)
        if session:
            assert self.client.cmd("AZIMUTH", *session.split()) == "OK"
        self.number, self.write_every, self.turn = number, write_every, number
        self.socket = self.client.sock
        self.began = 0.0
        self.writes = False

    def send(self):
        self.turn += 1
        key = f"key:{(self.turn * 7919 + self.number) % KEYS}"
        self.writes = self.write_every != 0 and self.turn % self.write_every == 0
        self.began = time.perf_counter()
        if self.writes:
            self.client.send("SET", key, VALUE)
        else:
            self.client.send("GET", key)

    def receive(self):
        self.client.read()
        return time.perf_counter() - self.began


def pump(node, clients, seconds, write_every, session):
    pumps = [Pump(node, number, write_every, session) for number in range(clients)]
    reads, writes = [], []
    before, cpu = node.status()["counters"]["reads"], cpu_seconds(node.process.pid)
    with selectors.DefaultSelector() as selector:
        for each in pumps:
            selector.register(each.socket, selectors.EVENT_READ, each)
            each.send()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(1):
                took = key.data.receive()
                (writes if key.data.writes else reads).append(took)
                key.data.send()
        for each in pumps:
            each.receive()
            each.client.close()
    after = node.status()["counters"]["reads"]
    counted = {reason: after[reason] - before.get(reason, 0) for reason in after}
    share = counted.get("read-local", 0) / max(1, sum(counted.values()))
    spent = (cpu_seconds(node.process.pid) - cpu) / max(1, len(reads) + len(writes)) * 1e6
    return reads, writes, share, spent


def row(name, found):
    reads, writes, share, spent = found
    write_ms = f"{statistics.median(writes) * 1000:.2f}" if writes else "-"
    print(f"| {name} | {len(reads) + len(writes)} | {share * 100:.1f} % | {statistics.median(reads) * 1000:.2f} | "
          f"{percentile(reads, 0.99) * 1000:.2f} | {write_ms} | {spent:.1f} |", flush=True)


def until_local(node, rounds):
    """From a write's acknowledgement until the same session's read is local again."""
    found = []
    with node.client(timeout=30) as client:
        client.cmd("SET", "until", "0")
        for number in range(rounds):
            client.cmd("SET", "until", str(number))
            began = time.perf_counter()
            while client.cmd("AZIMUTH", "ROUTE", "GET", "until")[5] != b"read-local":
                assert time.perf_counter() - began < 5
            found.append(time.perf_counter() - began)
    return found


@only_azimuth
def reads(stage):
    cluster = Cluster(stage, start=False, workers=stage.options.workers or 1)
    far = DistantCluster(cluster, 1.0)
    for node in cluster.nodes:
        node.start()
    with cluster:
        primary = cluster.wait_whole()
        node = next(each for each in cluster.nodes if each is not primary)
        with primary.client() as client:
            for number in range(KEYS):
                client.cmd("SET", f"key:{number}", VALUE)
        cluster.wait_same_data()
        with node.client() as client:
            wait_until(lambda: client.cmd("GET", "key:1") and
                       client.cmd("AZIMUTH", "ROUTE", "GET", "key:1")[5] == b"read-local", what="local reads")
        options = stage.options
        at_primary = "CONSISTENCY bounded-staleness 1 writes"
        print("| clients read and write | requests | local | read p50 ms | read p99 ms | write p50 ms | CPU us a request |\n"
              "| --- | --- | --- | --- | --- | --- | --- |")
        row("9 : 1, causal", pump(node, options.clients, options.seconds, 10, ""))
        row("9 : 1, causal, all one session", pump(node, options.clients, options.seconds, 10, "SESSION node"))
        row("9 : 1, at the primary", pump(node, options.clients, options.seconds, 10, at_primary))
        row("reads alone, causal", pump(node, options.clients, options.seconds, 0, ""))
        row("reads alone, eventual: no gate", pump(node, options.clients, options.seconds, 0, "CONSISTENCY eventual"))
        row("reads alone, causal, all one session", pump(node, options.clients, options.seconds, 0, "SESSION node"))
        row("reads alone, at the primary", pump(node, options.clients, options.seconds, 0, at_primary))
        found = until_local(node, 1000)
        print(f"\nfrom a write's acknowledgement until its session's read is local: "
              f"median {statistics.median(found) * 1000:.2f} ms, p99 {percentile(found, 0.99) * 1000:.2f} ms")
    far.close()


def add_options(parser):
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each load goes on")
    parser.add_argument("--clients", type=int, default=50)


if __name__ == "__main__":
    harness.run(__doc__, add_options)
