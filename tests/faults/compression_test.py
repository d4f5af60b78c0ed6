"""What crosses a zone is compressed and what stays in it is not, by the kernel's own counters: three zones in two regions,
a namespace each, and a fourth member in the primary's zone."""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))

import netns  # noqa: E402
from netns import PlacedCluster, harness  # noqa: E402
from harness import only_azimuth, wait_until  # noqa: E402
from values import Values, encoded  # noqa: E402

ZONES = [("z1", "r1"), ("z2", "r1"), ("z3", "r2"), ("z1", "r1")]
STREAM_BYTES = 3_000_000
SECONDS = 2.0


def offset_of(node):
    return int(node.redis_info("master_repl_offset"))


def write(node, commands):
    """Through `node`, over some connections, spread over SECONDS."""
    clients = [node.client(timeout=20) for _ in range(4)]

    def drain(client, replies):
        for _ in range(replies):
            client.read()
    drains = [threading.Thread(target=drain, args=(client, len(commands[index::4])))
              for index, client in enumerate(clients)]
    for each in drains:
        each.start()
    began = time.monotonic()
    for index, command in enumerate(commands):
        clients[index % 4].send_raw(command)
        if index % 50 == 0:
            time.sleep(max(0.0, began + SECONDS * index / len(commands) - time.monotonic()))
    for each in drains:
        each.join(20)
        assert not each.is_alive(), "no replies"
    for client in clients:
        client.close()


def some_commands():
    commands, size = [], 0
    for arguments in Values(7):
        commands.append(encoded(arguments))
        size += len(commands[-1])
        if size > STREAM_BYTES:
            return commands


def traffic(node, peer):
    """What `node` says of what it sent to `peer`."""
    return next(each for each in node.status()["cluster"]["peers"] if each["node"] == peer.id)


@only_azimuth
def only_what_crosses_a_zone_is_compressed(stage):
    with PlacedCluster(stage, members=4, zones=ZONES) as cluster:
        primary = cluster.wait_whole()
        if primary.place.zone != ZONES[0]:
            cluster.switch_over(primary, "a1")
            primary = cluster.wait_whole()
        replicas = [node for node in cluster.nodes if node is not primary]
        commands = some_commands()
        received = {node.id: node.place.bytes()[0] for node in replicas}
        said = {node.id: traffic(primary, node)["out"]["wire"] for node in replicas}
        began = offset_of(primary)
        write(primary, commands)
        stream = offset_of(primary) - began
        wait_until(lambda: all(offset_of(node) >= began + stream for node in replicas), what="replicas that have it")
        wait_until(lambda: all(traffic(primary, node)["out"]["wire"] > said[node.id] for node in replicas), what="counts")
        assert stream > STREAM_BYTES
        for node in replicas:
            wire = node.place.bytes()[0] - received[node.id]
            counted = traffic(primary, node)
            print(f"       {node.id} in {node.place.zone}: {stream} bytes of replication were {wire} on the wire, "
                  f"compressed at level {counted['level']}", flush=True)
            assert counted["zone"] == node.place.zone[0]
            # What azimuth says it sent, the kernel has counted, with headers on top, and gossip.
            own = counted["out"]["wire"] - said[node.id]
            assert own < wire < 1.6 * own, (own, wire)
            if node.place.zone == primary.place.zone:
                assert stream < wire < 1.4 * stream, (stream, wire)
                assert counted["compressed_links"] == 0 and counted["out"]["zstd_seconds"] == 0, counted
            else:
                assert wire < 0.6 * stream, (stream, wire)
                assert counted["compressed_links"] > 0 and counted["out"]["zstd_seconds"] > 0, counted
                tunnels = counted["out"]["tunnels"]
                assert tunnels["bytes"] >= stream and tunnels["wire"] < tunnels["bytes"] / 2, tunnels
        cluster.wait_same_data()


if __name__ == "__main__":
    reason = netns.available()
    if reason:
        print(f"skipped: no network namespaces here: {reason}")
        sys.exit(harness.SKIP)
    harness.run(__doc__)
