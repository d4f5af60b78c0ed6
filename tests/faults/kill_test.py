"""Kills under load: the primary's redis-server, then a whole node, again and again (I3, I6, I7).

Writers at every node never pause. What a quorum acknowledged is never lost; what Redis alone
acknowledged is lost only if it was acknowledged at the moment of the kill and no survivor had it.
"""
import signal
import time

from writers import Writers

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until

# A write may be lost that was acknowledged so shortly before the kill. Its reply may be read a
# while later, on a busy machine.
BEFORE_S, AFTER_S = 1.0, 2.0


def rounds_option(parser):
    parser.add_argument("--rounds", type=int, default=4)


def kill_round(cluster, writers, whole_node, report):
    """Kills the primary (its Redis, or all of it), waits until everybody gets on, brings it back."""
    primary = cluster.wait_whole()
    survivors = [node for node in cluster.nodes if node is not primary]
    writers.progress(50)
    if whole_node:
        primary.process.send_signal(signal.SIGKILL)
    primary.redis.kill()
    killed = time.monotonic()
    had = set()
    for node in survivors:
        had |= writers.held_by(node.redis)
    successor = cluster.wait_primary(but=primary, among=survivors)
    first = wait_until(lambda: writers.first_after(killed, primary.redis.port), what="a write at the successor")
    report.append((first - killed) * 1000)
    writers.progress(20)
    primary.kill(redis=True) if whole_node else None
    primary.redis.restart()
    if whole_node:
        primary.start()
    assert cluster.wait_whole() is successor, "the primary moved again"
    writers.progress(20)
    return (killed - BEFORE_S, killed + AFTER_S), had


def play(stage, cluster, kinds):
    primary = cluster.wait_whole()
    gaps, spans, had = {True: [], False: []}, [], set()
    with Writers(stage, cluster.nodes, 6) as writers:
        for whole_node in kinds:
            span, tokens = kill_round(cluster, writers, whole_node, gaps[whole_node])
            spans.append(span)
            had |= tokens
        writers.stop()
        primary = cluster.wait_whole()
        cluster.wait_same_data()
        lost = writers.audit(primary.redis, spans, had)
        print(f"       {writers.summary()}", flush=True)
        print(f"       {lost} async writes lost with the only Redis that had them", flush=True)
    for whole_node, name in ((False, "redis-server"), (True, "node")):
        if gaps[whole_node]:
            told = " ".join(f"{gap:.0f}" for gap in sorted(gaps[whole_node]))
            print(f"       {name} killed: written again after {told} ms", flush=True)


@only_azimuth
def a_killed_redis_loses_nothing_that_a_survivor_had(stage):
    with Cluster(stage) as cluster:
        play(stage, cluster, [False] * stage.options.rounds)


@only_azimuth
def a_killed_node_loses_nothing_that_a_survivor_had(stage):
    with Cluster(stage) as cluster:
        play(stage, cluster, [True] * stage.options.rounds)


@only_azimuth
def redis_and_nodes_in_turn_with_their_files_on_disk(stage):
    """What comes back has a history of its own, which may be longer than the group's."""
    with Cluster(stage, workers=2, redis=("--appendonly", "yes", "--appendfsync", "no")) as cluster:
        play(stage, cluster, [index % 2 == 1 for index in range(stage.options.rounds)])


if __name__ == "__main__":
    harness.run(__doc__, rounds_option)
