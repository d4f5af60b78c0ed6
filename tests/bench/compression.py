"""What replication between zones costs, on the wire and in CPU: real azimuths and redis-servers in network namespaces, three
zones in two regions and a fourth member in the primary's zone, by the kernel's own interface counters.

One run compares, for each rate: compression on and off, other zones and the same zone, and what `zstd -3 --long` makes of the
very same stream in one piece (a connection of the bench's own takes it down from the primary's Redis). Large packets that the
kernel would pass over a veth undivided are cut as on a real wire, so that each carries its headers. Needs root and zstd. Not
part of CI: its numbers are the machine's.

    /usr/bin/python3 tests/bench/compression.py --azimuth build/release/azimuth [--rates 1,4,16] [--seconds 8]
"""
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e"), os.path.join(HERE, "..", "faults")]

import harness  # noqa: E402
import netns  # noqa: E402
from harness import Stage, cpu_seconds, wait_until  # noqa: E402
from netns import PlacedCluster, ip  # noqa: E402
from resp import Client  # noqa: E402
from values import Values, encoded  # noqa: E402

ZONES = [("z1", "r1"), ("z2", "r1"), ("z3", "r2"), ("z1", "r1")]
NAMES = {"b1": "other zone", "c1": "other region", "d1": "same zone"}
CLIENTS = 16
TICK_S = 0.001
GOAL = 1.15


class Capture(threading.Thread):
    """Takes the replication stream down to a file, from now on."""

    def __init__(self, node, path):
        super().__init__(daemon=True)
        self.client = node.redis.connect(timeout=60)
        self.path = path
        self.size = 0
        self.over = False
        self.client.send("PSYNC", "?", "-1")
        self.skip_copy()
        self.start()

    def skip_copy(self):
        """+FULLRESYNC ..., blank lines while the copy is made, $SIZE, the copy."""
        client = self.client
        while b"$" not in client.buf:
            client.fill(time.monotonic() + 60)
        at = client.buf.index(b"$")
        while b"\r\n" not in client.buf[at:]:
            client.fill(time.monotonic() + 60)
        end = client.buf.index(b"\r\n", at)
        size = int(client.buf[at + 1:end])
        while len(client.buf) < end + 2 + size:
            client.fill(time.monotonic() + 60)
        del client.buf[:end + 2 + size]

    def run(self):
        with open(self.path, "wb") as file:
            while not self.over:
                file.write(self.client.buf)
                self.size += len(self.client.buf)
                self.client.buf.clear()
                try:
                    self.client.fill(time.monotonic() + 0.2)
                except TimeoutError:
                    pass

    def close(self):
        self.over = True
        self.join(20)
        self.client.close()


class Load:
    """Commands at a fixed rate in bytes, over some connections, whatever the replies do."""

    def __init__(self, node, commands, seconds):
        self.clients = [node.client(timeout=60) for _ in range(CLIENTS)]
        self.commands = commands
        self.seconds = seconds

    def run(self):
        queues = [self.commands[index::CLIENTS] for index in range(CLIENTS)]
        drains = [threading.Thread(target=lambda c=client, n=len(queue): [c.read_raw(60) for _ in range(n)])
                  for client, queue in zip(self.clients, queues)]
        for each in drains:
            each.start()
        began, index, total = time.monotonic(), 0, len(self.commands)
        while index < total:
            due = min(total, int(total * (time.monotonic() - began) / self.seconds) + 1)
            for client in range(CLIENTS):  # what is due for one connection goes in one packet
                part = self.commands[index + client:due:CLIENTS]
                if part:
                    self.clients[(index + client) % CLIENTS].send_raw(b"".join(part))
            index = due
            time.sleep(TICK_S)
        for each in drains:
            each.join(60)
        for client in self.clients:
            client.close()
        return time.monotonic() - began


class Marker(threading.Thread):
    """How long after its acknowledgement at the primary a write is seen at a replica: one each 20 ms, asked for without pause."""

    def __init__(self, primary, replica):
        super().__init__(daemon=True)
        self.writer, self.reader = primary.client(timeout=60), replica.redis.connect(timeout=60)
        self.over = False
        self.ms = []

    def run(self):
        serial = 0
        while not self.over:
            serial += 1
            assert self.writer.cmd("SET", "marker", serial) == "OK"
            acknowledged = time.monotonic()
            while self.reader.cmd("GET", "marker") != str(serial).encode() and not self.over:
                pass
            if not self.over:
                self.ms.append((time.monotonic() - acknowledged) * 1000)
            time.sleep(0.02)

    def close(self):
        self.over = True
        self.join(20)
        self.writer.close()
        self.reader.close()


def offset_of(node):
    return int(node.redis_info("master_repl_offset"))


def facts(cluster, primary):
    sent = {each["node"]: each for each in primary.status()["cluster"]["peers"]}
    return {"rx": {node.id: node.place.bytes()[0] for node in cluster.nodes},
            "cpu": {node.id: cpu_seconds(node.process.pid) for node in cluster.nodes},
            "sent": sent, "got": {node.id: {each["node"]: each for each in node.status()["cluster"]["peers"]}
                                  for node in cluster.nodes}}


def measure(cluster, primary, rate_mb, seconds, directory):
    """One load; what each replica's cable carried, and what it cost."""
    commands, size = [], 0
    values = iter(Values(int(rate_mb * 1000)))  # another stream each time: the window remembers
    while size < rate_mb * 1e6 * seconds:
        commands.append(encoded(next(values)))
        size += len(commands[-1])
    replicas = [node for node in cluster.nodes if node is not primary]
    capture = Capture(primary, os.path.join(directory, "stream"))
    wait_until(lambda: len({offset_of(node) for node in cluster.nodes}) == 1, what="quiet replicas")
    time.sleep(0.5)
    before, began, skip = facts(cluster, primary), offset_of(primary), capture.size
    took = Load(primary, commands, seconds).run()
    stream = offset_of(primary) - began
    wait_until(lambda: all(offset_of(node) >= began + stream for node in replicas), 60, "replicas that have it all")
    wait_until(lambda: capture.size - skip >= stream, 60, "the bench's own copy")
    time.sleep(0.2)
    after = facts(cluster, primary)
    capture.close()
    with open(capture.path, "rb") as file, open(capture.path + ".part", "wb") as part:
        file.seek(skip)
        part.write(file.read(stream))
    subprocess.run(["zstd", "-3", "--long", "-q", "-f", "-k", part.name], check=True, timeout=300)
    result = {"stream": stream, "seconds": took, "zstd": os.path.getsize(part.name + ".zst"), "replicas": {}}
    for node in replicas:
        def sent(of, way, field):
            return of[node.id][way][field] if node.id in of else 0
        result["replicas"][node.id] = {
            "wire": after["rx"][node.id] - before["rx"][node.id],
            "own": sent(after["sent"], "out", "wire") - sent(before["sent"], "out", "wire"),
            "pack": sent(after["sent"], "out", "zstd_seconds") - sent(before["sent"], "out", "zstd_seconds"),
            "unpack": after["got"][node.id][primary.id]["in"]["zstd_seconds"]
            - before["got"][node.id][primary.id]["in"]["zstd_seconds"],
            "level": after["sent"][node.id]["level"],
            "cpu": after["cpu"][node.id] - before["cpu"][node.id]}
    result["cpu"] = after["cpu"][primary.id] - before["cpu"][primary.id]
    return result


def visible_ms(cluster, primary, rate_mb, seconds):
    """Median and 95th percentile of how long a write takes to another zone, under the same load."""
    commands, size = [], 0
    for arguments in Values(5):
        commands.append(encoded(arguments))
        size += len(commands[-1])
        if size > rate_mb * 1e6 * seconds:
            break
    marker = Marker(primary, next(node for node in cluster.nodes if node.id == "b1"))
    marker.start()
    Load(primary, commands, seconds).run()
    marker.close()
    return statistics.median(marker.ms), statistics.quantiles(marker.ms, n=20)[-1]


def row(mode, rate, result, node_id, visible):
    of = result["replicas"][node_id]
    mb = result["stream"] / 1e6
    cells = [f"{rate:g}", mode, NAMES[node_id], f"{mb:.1f}", f"{of['wire'] / 1e6:.2f}", f"{of['wire'] / result['stream']:.3f}",
             f"{of['wire'] / result['zstd']:.2f}", f"{of['own'] / result['zstd']:.2f}", str(of["level"] or "-"),
             f"{of['pack'] * 1000 / mb:.1f}", f"{of['unpack'] * 1000 / mb:.1f}", f"{of['cpu'] * 1000 / mb:.1f}",
             "%.1f / %.1f" % visible if visible else ""]
    return "| " + " | ".join(cells) + " |"


def compare(stage, options, directory):
    print("| MB/s | compression | replica in | stream, MB | wire, MB | of the stream | of `zstd -3 --long` | without headers | level "
          "| compressing, ms/MB | decompressing, ms/MB | replica's azimuth, ms/MB | seen after, ms (p50 / p95) |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    missed = []
    for mode in options.modes.split(","):
        kind, _, delay = mode.partition(":")
        text = f'compression = "{kind}"\n' + (f"compression_delay_ms = {delay}\n" if delay else "")
        with PlacedCluster(stage, members=4, zones=ZONES, peer_text=text) as cluster:
            for place in cluster.places:
                with place.net.inside():
                    ip("link", "set", "dev", "eth", "gso_max_segs", "1")
            primary = cluster.wait_whole()
            if primary.id != "a1":
                cluster.switch_over(primary, "a1")
                primary = cluster.wait_whole()
            for rate in map(float, options.rates.split(",")):
                result = measure(cluster, primary, rate, options.seconds, directory)
                visible = visible_ms(cluster, primary, rate, 4) if options.visible else None
                for node_id in NAMES:
                    print(row(mode, rate, result, node_id, visible if node_id == "b1" else None), flush=True)
                print(f"|  |  | primary's azimuth: {result['cpu'] * 1000 / (result['stream'] / 1e6):.1f} ms/MB; "
                      f"{result['stream'] / 1e6 / result['seconds']:.1f} MB/s; zstd: "
                      f"{result['zstd'] / 1e6:.2f} MB |", flush=True)
                worst = max(result["replicas"][each]["wire"] / result["zstd"] for each in ("b1", "c1"))
                if kind != "off" and worst > GOAL:
                    missed.append(f"{mode} at {rate:g} MB/s: {worst:.2f} times zstd's, wanted {GOAL}")
    for each in missed:
        print("missed: " + each)


def main():
    def add(parser):
        parser.add_argument("--rates", default="1,4,16", help="MB of commands a second")
        parser.add_argument("--seconds", type=float, default=8.0)
        parser.add_argument("--modes", default="auto,off", help="peer.compression, and :DELAY_MS where it is another")
        parser.add_argument("--visible", action="store_true", help="how soon a write is seen in another zone, too")
    reason = netns.available()
    if reason:
        print(f"no network namespaces here: {reason}")
        return harness.SKIP
    options = harness.parse_options(__doc__, add)
    with tempfile.TemporaryDirectory(prefix="azimuth-bench-") as directory:
        stage = Stage(options)
        try:
            compare(stage, options, directory)
        finally:
            stage.close(False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
