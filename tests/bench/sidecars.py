"""Sidecars: what each member holds for them, what a request costs it, and who answers reads, zone by zone.

Three members in three zones, and --sidecars processes spread over the zones, with --clients each. Printed in turn: the members'
connections before any sidecar, with sidecars that nobody uses, under load, and half a minute later with the clients
still there but silent; CPU a request; and a matrix of which zone's Redis answered which zone's reads.

    /usr/bin/python3 tests/bench/sidecars.py --azimuth build/release/azimuth [--sidecars 20] [--clients 3] [--seconds 8]
    ... --sidecars 8 --workers 63 --clients 252     # 504 workers: the links and connections of 504 sidecars

A sidecar's workers share nothing on the way to a member: each has a link and connections of its own. So eight processes of 63 workers
make the links, handshakes, streams, relays and connections to Redis that 504 sidecars of one worker make, on a machine that has
no room for as many processes. They do not show gossip among 504 nodes (`sim --scale 507` does), the memory of 504 processes,
nor 504 networks.

Not part of CI: its numbers are the machine's.
"""
import collections
import os
import selectors
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness  # noqa: E402
from cluster import Cluster  # noqa: E402
from harness import cpu_seconds, only_azimuth, wait_until  # noqa: E402

KEYS = 1000


def established(port):
    """TCP connections that were accepted at `port`, from the kernel."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if row[3] == "01" and int(row[1].rsplit(":", 1)[1], 16) == port)


def redis_stats(node):
    with node.redis.connect(timeout=10) as client:
        text = client.cmd("INFO", "everything").decode()
        commands = client.cmd("INFO", "commandstats").decode()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    gets = [line for line in commands.splitlines() if line.startswith("cmdstat_get:")]
    return {"connected": int(fields["connected_clients"]), "made": int(fields["total_connections_received"]),
            "gets": int(gets[0].split("calls=")[1].split(",")[0]) if gets else 0}


class Count:
    """What a member holds at the moment; `made`: connections that its Redis has taken in a second."""

    def __init__(self, members, over_s=3.0):
        before = {node.id: redis_stats(node)["made"] for node in members}
        spent = {node.id: cpu_seconds(node.process.pid) + cpu_seconds(node.redis.process.pid) for node in members}
        began = time.monotonic()
        time.sleep(over_s)
        took = time.monotonic() - began
        self.of = {}
        for node in members:
            stats = redis_stats(node)
            cpu = cpu_seconds(node.process.pid) + cpu_seconds(node.redis.process.pid) - spent[node.id]
            self.of[node.id] = (established(node.peer_port), stats["connected"] - 1,
                                (stats["made"] - before[node.id] - 1) / took, cpu / took * 100)


def count_row(name, members, primary, over_s=3.0):
    count = Count(members, over_s)
    for node in members:
        links, connected, made, cpu = count.of[node.id]
        role = "primary" if node is primary else "replica"
        print(f"| {name} | {node.id}, {node.zone}, {role} | {links} | {connected} | {made:.1f} | {cpu:.1f} % |", flush=True)


def datagrams(node, over_s=5.0):
    """Sent, their bytes, received, their bytes: a second, headers of UDP and IP not counted."""
    def totals():
        lines = node.get("/metrics")[1].splitlines()
        return [float(line.split()[-1]) for kind in ("sent", "sent_bytes", "received", "received_bytes")
                for line in lines if line.startswith(f'azimuth_datagrams_total{{kind="{kind}"}}')]
    before, began = totals(), time.monotonic()
    time.sleep(over_s)
    took = time.monotonic() - began
    return [(now - then) / took for now, then in zip(totals(), before)]


class Pump:
    """One connection in a closed loop; every `write_every`-th command is a SET."""

    def __init__(self, node, number):
        self.client = node.client(timeout=60)
        self.number, self.turn = number, number
        self.socket = self.client.sock

    def send(self, write_every):
        self.turn += 1
        key = f"key:{(self.turn * 7919 + self.number) % KEYS}"
        if write_every and self.turn % write_every == 0:
            self.client.send("SET", key, "x" * 100)
        else:
            self.client.send("GET", key)


def pump(pumps, seconds, write_every, busy):
    """Requests answered; `busy` at a time, of one client after the other."""
    done = 0
    idle = collections.deque(pumps)
    with selectors.DefaultSelector() as selector:
        for each in pumps:
            selector.register(each.socket, selectors.EVENT_READ, each)
        for _ in range(min(busy, len(pumps))):
            idle.popleft().send(write_every)
        end = time.monotonic() + seconds
        while len(idle) < len(pumps):
            for key, _ in selector.select(1):
                key.data.client.read()
                done += 1
                idle.append(key.data)
                if time.monotonic() < end:
                    idle.popleft().send(write_every)
    return done


def by_zone(members, pumps_of, seconds, busy):
    """Reads alone, of one zone's sidecars at a time: whose Redis answers them. Rows of (zone, {member: share})."""
    for zone, pumps in sorted(pumps_of.items()):
        pump(pumps, 2, 0, busy)  # what a first read needs is there
        before = {node.id: redis_stats(node)["gets"] for node in members}
        pump(pumps, seconds, 0, busy)
        gets = {node.id: redis_stats(node)["gets"] - before[node.id] for node in members}
        total = max(1, sum(gets.values()))
        yield zone, {name: count / total for name, count in gets.items()}


@only_azimuth
def sidecars(stage):
    options = stage.options
    with Cluster(stage, text=options.settings.replace("\\n", "\n")) as cluster:
        primary = cluster.wait_whole()
        members = cluster.members()
        with primary.client() as client:
            for number in range(KEYS):
                client.cmd("SET", f"key:{number}", "x" * 100)
        cluster.wait_same_data()
        print("| when | member | links to it | connections to its Redis | new ones a second | CPU: azimuth and Redis |\n"
              "| --- | --- | --- | --- | --- | --- |")
        count_row("no sidecar", members, primary)
        added = []
        for number in range(options.sidecars):
            node = cluster.add(f"s{number + 1}", member=False)
            node.zone, node.workers = members[number % len(members)].zone, options.workers or 1
            node.bootstrap = len(members)
            node.start()
            added.append(node)
        wait_until(lambda: all((each.status() or {}).get("primary") == primary.id for each in added), 60, "sidecars that know the primary")
        time.sleep(options.rest)
        count_row("nobody at the sidecars", members, primary)

        pumps_of = {}
        for node in added:
            for _ in range(options.clients):
                pumps = pumps_of.setdefault(node.zone, [])
                pumps.append(Pump(node, len(pumps)))
        everybody = [each for pumps in pumps_of.values() for each in pumps]
        pump(everybody, 3, 10, options.busy)
        processes = {"members' azimuths": [node.process.pid for node in members],
                     "members' Redises": [node.redis.process.pid for node in members],
                     "sidecars": [node.process.pid for node in added]}
        spent = {name: sum(map(cpu_seconds, pids)) for name, pids in processes.items()}
        done = pump(everybody, options.seconds, 10, options.busy)
        cost = {name: (sum(map(cpu_seconds, pids)) - spent[name]) / done * 1e6 for name, pids in processes.items()}
        count_row("in use", members, primary, over_s=1.0)
        print("\nCPU a request, in microseconds (9 reads, 1 write): " +
              ", ".join(f"{name} {each:.1f}" for name, each in cost.items()) + f"; {done / options.seconds:.0f} requests a second\n")
        print("| reads of the sidecars in | " + " | ".join(f"answered by {node.id} ({node.zone}{', primary' if node is primary else ''})"
                                                          for node in members) + " |\n| --- |" + " --- |" * len(members))
        for zone, shares in by_zone(members, pumps_of, min(3.0, options.seconds), options.busy):
            print(f"| {zone} | " + " | ".join(f"{shares[node.id] * 100:.1f} %" for node in members) + " |", flush=True)
        print("\n| when | member | links to it | connections to its Redis | new ones a second | CPU: azimuth and Redis |\n"
              "| --- | --- | --- | --- | --- | --- |")
        time.sleep(options.rest)
        count_row("clients there, and silent", members, primary)
        for each in everybody:
            each.client.close()
        time.sleep(options.rest)
        count_row("clients gone", members, primary)
        print("\ngossip, leases and votes, a second: " + "; ".join(
            f"{node.id} sends {packets:.1f} datagrams, {size / 1000:.2f} kB, and receives {got:.1f}, {got_size / 1000:.2f} kB"
            for node, (packets, size, got, got_size) in ((node, datagrams(node)) for node in (primary, added[0]))))


def add_options(parser):
    parser.add_argument("--sidecars", type=int, default=20)
    parser.add_argument("--clients", type=int, default=3, help="of each sidecar")
    parser.add_argument("--busy", type=int, default=20, help="requests that are under way at a time, of all clients")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the load goes on")
    parser.add_argument("--rest", type=float, default=35.0, help="how long nothing happens before what is left is counted")
    parser.add_argument("--settings", default="", help="more lines of every node's file")


if __name__ == "__main__":
    harness.run(__doc__, add_options)
