"""What a sidecar's reads cost where two replicas are equally near, beside one that has a replica of its own.

Builds take turns in one cluster, a sidecar each, so that figures stand beside their neighbours in time; ratios are medians of quotients
with the first build's figure of the same round.

    /usr/bin/python3 tests/bench/equal_replicas.py --azimuth build/release/azimuth --builds before=/path/azimuth,now=build/release/azimuth
    ... --one     # members in zones of their own, and the sidecars in a replica's: nobody has to choose

Not part of CI: its numbers are the machine's.
"""
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness  # noqa: E402
from cluster import Cluster  # noqa: E402
from harness import cpu_seconds, only_azimuth, wait_until  # noqa: E402

COLUMNS = ("requests a second", "CPU us a request: the sidecar", "members' azimuths", "Redises")


def run(node, members, clients, count):
    pids = ([node.process.pid], [each.process.pid for each in members], [each.redis.process.pid for each in members])
    before = [sum(map(cpu_seconds, some)) for some in pids]
    out = subprocess.run(["redis-benchmark", "-p", str(node.listen_port), "-c", str(clients), "-n", str(count), "-r", "1000",
                          "-t", "get", "--csv"], capture_output=True, text=True, check=True).stdout
    rate = float(out.strip().splitlines()[-1].split(",")[1].strip('"'))
    return [rate] + [(sum(map(cpu_seconds, some)) - then) / count * 1e6 for some, then in zip(pids, before)]


@only_azimuth
def equal_replicas(stage):
    options = stage.options
    builds = dict(each.split("=", 1) for each in options.builds.split(",")) if options.builds else {"now": stage.binary}
    with Cluster(stage, members=3, start=False) as cluster:
        for node in cluster.nodes:
            node.zone = node.zone if options.one else "z1"
            node.start()
        primary = cluster.wait_whole()
        members = cluster.members()
        with primary.client() as client:
            for number in range(1000):
                client.cmd("SET", f"key:{number:012d}", "x" * 100)
        replica = next(node for node in members if node is not primary)
        binary, nodes = stage.binary, {}
        for name, stage.binary in builds.items():
            nodes[name] = cluster.add(f"s-{name}", member=False)
            nodes[name].zone, nodes[name].bootstrap = replica.zone if options.one else "z-elsewhere", len(members)
            nodes[name].start()
        stage.binary = binary
        for node in nodes.values():
            with node.client(timeout=20) as client:
                def reads_there(client=client, node=node):
                    client.cmd("GET", "k")
                    return node.status()["counters"]["reads"].get("read-region", 0)
                wait_until(reads_there, 20, "reads at a replica")
            run(node, members, 20, 5000)
        print("| clients | build | " + " | ".join(COLUMNS) + " |\n| --- | --- |" + " --- |" * len(COLUMNS))
        for clients in map(int, options.clients.split(",")):
            rounds = {name: [] for name in nodes}
            for turn in range(options.rounds):
                for name, node in list(nodes.items())[::-1 if turn % 2 else 1]:
                    rounds[name].append(run(node, members, clients, options.requests))
            for name, rows in rounds.items():
                first = rounds[next(iter(rounds))]
                cells = [f"{statistics.median(row[i] for row in rows):.1f}, "
                         f"{statistics.median(row[i] / max(1e-9, other[i]) for row, other in zip(rows, first)):.2f}"
                         for i in range(len(COLUMNS))]
                print(f"| {clients} | {name} | " + " | ".join(cells) + " |", flush=True)


def add_options(parser):
    parser.add_argument("--builds", default="", help="name=path,... ; the first is what the others are compared with")
    parser.add_argument("--one", action="store_true", help="each sidecar has one replica in its zone")
    parser.add_argument("--clients", default="1,8,20,50,200")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=25_000)


if __name__ == "__main__":
    harness.run(__doc__, add_options)
