"""A replica at half the rate of writing for a minute: what lags, what writers and readers wait, how soon it is over.

Three nodes; writers and readers at the primary and writers at another node. Each tenth of a second goes to a CSV, and
a picture of it to an SVG. Not part of CI: its numbers are the machine's.

    /usr/bin/python3 tests/bench/backpressure.py --azimuth build/release/azimuth [--csv FILE] [--svg FILE]
"""
import csv
import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "e2e"), os.path.join(HERE, "..", "faults")]

import harness  # noqa: E402
from cluster import Cluster  # noqa: E402
from harness import wait_until  # noqa: E402
from slow_replica import BIN_S, Load, SlowReplica, offset_of  # noqa: E402

QUIET_S, AFTER_S = 10, 10
WIDTH, PANEL, GAP, LEFT = 720, 130, 34, 56
POINTS = 160  # of a line in the picture
COLOURS = ("#c0392b", "#2471a3", "#7d8c93")


class Sampler(threading.Thread):
    """Offsets of all Redises and the primary's delay, ten times a second. One that is stopped answers later: so each
    is asked by a thread of its own."""

    def __init__(self, primary, nodes):
        super().__init__(daemon=True)
        self.primary, self.nodes = primary, nodes
        self.over = threading.Event()
        self.offsets = {node.id: [] for node in nodes}  # (time, offset)
        self.delays = []  # (time, ms)
        self.askers = [threading.Thread(target=self.ask, args=(node,), daemon=True) for node in nodes]

    def ask(self, node):
        with node.redis.connect(timeout=30) as client:
            while not self.over.wait(BIN_S / 2):
                offset = offset_of(client)
                self.offsets[node.id].append((time.monotonic(), offset))

    def run(self):
        for asker in self.askers:
            asker.start()
        while not self.over.wait(BIN_S):
            self.delays.append((time.monotonic(), self.delay_ms()))

    def delay_ms(self):
        return self.primary.status()["cluster"]["back_pressure"]["write_delay_us"] / 1000

    def lag_mib(self, node, at):
        ours, theirs = self.value(self.offsets[self.primary.id], at), self.value(self.offsets[node.id], at)
        return max(ours - theirs, 0) / 2**20

    @staticmethod
    def value(samples, at):
        before = [value for when, value in samples if when <= at]
        return before[-1] if before else samples[0][1]

    def end(self):
        self.over.set()
        for thread in (self, *self.askers):
            thread.join(60)


def measure(stage, options):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        slow, other = [node for node in cluster.nodes if node is not primary]
        loads = [Load(primary.listen_port, "SET", options.clients, options.bytes),
                 Load(other.listen_port, "SET", options.clients, options.bytes),
                 Load(primary.listen_port, "GET", 4, options.bytes)]
        try:
            wait_until(lambda: all(load.rows for load in loads), 20, "load")
            time.sleep(3)  # to be warm
            sampler = Sampler(primary, cluster.nodes)
            sampler.start()
            began = time.monotonic()
            time.sleep(QUIET_S)
            first, last = sampler.offsets[primary.id][0], sampler.offsets[primary.id][-1]
            rate = (last[1] - first[1]) / (last[0] - first[0])
            throttle = SlowReplica(slow.redis, rate / 2)
            throttle.start()
            slowed = time.monotonic()
            print(f"quiet: {rate / 1e6:.1f} MB/s; {slow.id} is held at half of it for {options.seconds} s", flush=True)
            time.sleep(options.seconds)
            throttle.end()
            freed = time.monotonic()
            time.sleep(AFTER_S)
            end = time.monotonic()
            sampler.end()
            for load in loads:
                load.end()
        finally:
            for load in loads:
                load.kill()
        cluster.wait_same_data()
        events = [line.split(" event=", 1)[1] for name in ("writes_slowed", "writes_free", "replica_hopeless")
                  for line in primary.events(name)]
        return rows_of(sampler, loads, (slow, other), began, end), (slowed - began, freed - began), (slow, other), events


def rows_of(sampler, loads, replicas, began, end):
    near, far, reads = loads
    rows, at = [], began
    while at + BIN_S <= end:
        to = at + BIN_S
        row = {"t_s": round(at - began, 1), "written_per_s": round(near.per_second(at, to) + far.per_second(at, to)),
               "write_ms": near.mean_ms(at, to), "far_write_ms": far.mean_ms(at, to), "read_ms": reads.mean_ms(at, to),
               "delay_ms": Sampler.value(sampler.delays, to)}
        for replica in replicas:
            row[f"lag_mib_{replica.id}"] = sampler.lag_mib(replica, to)
        rows.append(row)
        at = to
    return rows


def part(rows, begin, end, key):
    return [row[key] for row in rows if begin <= row["t_s"] < end and row[key] == row[key]]


def mean(values):
    return sum(values) / len(values) if values else float("nan")


def report(rows, throttle, replicas, events):
    slowed, freed = throttle
    phases = (("quiet", 1, slowed), ("slowed, first 10 s", slowed, slowed + 10),
              ("slowed, last 20 s", freed - 20, freed), ("2 s after", freed + 2, rows[-1]["t_s"]))
    print("\n| | writes/s | write ms | from another node | read ms | delay ms | " +
          " | ".join(f"lag of {each.id}, most MiB" for each in replicas) + " |")
    print("| --- |" + " --- |" * (5 + len(replicas)))
    for name, begin, end in phases:
        cells = [f"{mean(part(rows, begin, end, 'written_per_s')):,.0f}"]
        cells += [f"{mean(part(rows, begin, end, key)):.2f}" for key in ("write_ms", "far_write_ms", "read_ms", "delay_ms")]
        cells += [f"{max(part(rows, begin, end, f'lag_mib_{each.id}')):.1f}" for each in replicas]
        print(f"| {name} | " + " | ".join(cells) + " |")
    over = [row["t_s"] - freed for row in rows if row["t_s"] >= freed and row["delay_ms"] == 0]
    most = max(row["delay_ms"] for row in rows)
    settled = mean(part(rows, freed - 20, freed, "delay_ms"))
    print(f"\nno delay {over[0]:.1f} s after it was let go; the delay was {most:.2f} ms at most, {settled:.2f} in the end")
    for event in events:
        print("  " + event)


def polyline(rows, key, colour, low, most, top, seconds):
    points = []
    step = max(1, len(rows) // POINTS)
    for index in range(0, len(rows), step):
        values = [row[key] for row in rows[index:index + step] if row[key] == row[key]]
        if not values:
            continue
        x = LEFT + rows[index]["t_s"] / seconds * (WIDTH - LEFT - 10)
        y = top + PANEL - (mean(values) - low) / (most - low) * PANEL
        points.append(f"{x:.0f},{y:.0f}")
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def draw(rows, throttle, replicas):
    """The run as an SVG: lag, latency and delay, writes."""
    seconds = rows[-1]["t_s"]
    panels = (("lag, MiB", [(f"lag_mib_{each.id}", f"{each.id}{' (held)' if each is replicas[0] else ''}")
                            for each in replicas]),
              ("ms", [("write_ms", "write"), ("delay_ms", "its delay"), ("read_ms", "read")]),
              ("writes/s", [("written_per_s", "writes/s")]))
    height = len(panels) * (PANEL + GAP) + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           'font-family="sans-serif" font-size="11" fill="#333">', f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>']
    to_x = [LEFT + each / seconds * (WIDTH - LEFT - 10) for each in throttle]
    for index, (unit, lines) in enumerate(panels):
        top = 18 + index * (PANEL + GAP)
        most = max(max(part(rows, 0, seconds + 1, key)) for key, _ in lines) * 1.05 or 1
        out.append(f'<rect x="{to_x[0]:.0f}" y="{top}" width="{to_x[1] - to_x[0]:.0f}" height="{PANEL}" fill="#f4ecd8"/>')
        out.append(f'<path d="M{LEFT},{top}V{top + PANEL}H{WIDTH - 10}" fill="none" stroke="#333"/>')
        for share in (0, 0.5, 1):
            out.append(f'<text x="{LEFT - 4}" y="{top + PANEL - share * PANEL + 4:.0f}" text-anchor="end">{most * share:.3g}</text>')
        x = LEFT + 6
        for (key, name), colour in zip(lines, COLOURS):
            out.append(polyline(rows, key, colour, 0, most, top, seconds))
            out.append(f'<text x="{x}" y="{top - 4}" fill="{colour}">{name}</text>')
            x += 90
        out.append(f'<text x="{WIDTH - 10}" y="{top - 4}" text-anchor="end">{unit}</text>')
    for second in range(0, int(seconds) + 1, 10):
        x = LEFT + second / seconds * (WIDTH - LEFT - 10)
        out.append(f'<text x="{x:.0f}" y="{height - 18}" text-anchor="middle">{second} s</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    def add(parser):
        parser.add_argument("--seconds", type=float, default=60, help="how long the replica is held back")
        parser.add_argument("--clients", type=int, default=25, help="writers at each of two nodes")
        parser.add_argument("--bytes", type=int, default=1000, help="of a value")
        parser.add_argument("--csv", help="every sample, to a file")
        parser.add_argument("--svg", help="a picture of the run, to a file")
    options = harness.parse_options(__doc__, add)
    rows, throttle, replicas, events = measure(harness.Stage(options), options)
    report(rows, throttle, replicas, events)
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows({key: f"{value:.3f}" if isinstance(value, float) else value for key, value in row.items()}
                             for row in rows)
    if options.svg:
        with open(options.svg, "w") as file:
            file.write(draw(rows, throttle, replicas))


if __name__ == "__main__":
    main()
