"""Partitions in network namespaces: cables unplugged, single directions cut, healed (I1, I2, I3)."""
import sys
import time

from writers import Writers, check_takers

import harness
import netns
from harness import only_azimuth, wait_until
from netns import PlacedCluster

HOLD = "hold_timeout_ms = 500\n"


def others_of(cluster, node):
    return [each for each in cluster.nodes if each is not node]


def check_refused(node):
    """Held, then refused; what it says of itself is that it is alone."""
    wait_until(lambda: node.status()["isolated"], what="isolated")
    wait_until(lambda: node.status()["role"] != "primary", what="no primary any more")
    with node.client() as client:
        began = time.monotonic()
        reply = client.cmd("SET", "refused", "1")
        assert str(reply).startswith("CLUSTERDOWN"), reply
        assert time.monotonic() - began < 10
    with node.redis.connect() as client:
        assert client.cmd("EXISTS", "refused") == 0


def replace_primary(stage, part, join):
    """part(cluster, primary) cuts it off, join() mends that: the majority goes on, the minority refuses, and
    one primary is left. Writers all the while."""
    with PlacedCluster(stage, text=HOLD) as cluster:
        primary = cluster.wait_whole()
        others = others_of(cluster, primary)
        with Writers(stage, cluster.nodes, 6) as writers:
            writers.progress(30)
            began = time.monotonic()
            part(cluster, primary)
            successor = cluster.wait_primary(but=primary, among=others)
            first = wait_until(lambda: writers.first_after(began, primary.redis.port), what="a write elsewhere")
            check_refused(primary)
            joined = time.monotonic()
            join(cluster, primary)
            writers.progress(20)
            assert cluster.wait_whole() is successor, "the primary moved again"
            assert primary.status()["isolated"] is False and primary.redis_role() == "slave"
            writers.progress(20)
            writers.stop()
            late = check_takers(writers, began, time.monotonic(), primary.redis.port, successor.redis.port)
            cluster.wait_same_data()
            # Until its lease was out it took async writes that nobody else got.
            lost = writers.audit(successor.redis, [(began - 1.0, began + 3.0), (joined, joined + 2.0)])
            print(f"       written elsewhere after {(first - began) * 1000:.0f} ms; {len(late)} acknowledged late; "
                  f"{lost} async writes lost; {writers.summary()}", flush=True)


@only_azimuth
def a_primary_that_is_cut_off_is_replaced(stage):
    replace_primary(stage, PlacedCluster.unplug, PlacedCluster.plug_in)


@only_azimuth
def a_primary_that_cannot_be_heard_is_replaced(stage):
    def part(cluster, primary):
        for node in others_of(cluster, primary):
            cluster.cut(primary, node)

    def join(cluster, primary):
        for node in others_of(cluster, primary):
            cluster.mend(primary, node)

    replace_primary(stage, part, join)


@only_azimuth
def a_primary_that_cannot_hear_is_replaced(stage):
    def part(cluster, primary):
        for node in others_of(cluster, primary):
            cluster.cut(node, primary)

    def join(cluster, primary):
        for node in others_of(cluster, primary):
            cluster.mend(node, primary)

    replace_primary(stage, part, join)


def keep_primary(stage, part, join, at):
    """part(cluster, primary, others) hurts the group but leaves the primary its majority: it stays, and
    the writers at the nodes `at` write on."""
    with PlacedCluster(stage, text=HOLD) as cluster:
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        others = others_of(cluster, primary)
        with Writers(stage, at(primary, others), 4, durabilities=("quorum",)) as writers:
            writers.progress(30)
            part(cluster, primary, others)
            # The fault: long enough for several leases and suspicions.
            deadline = time.monotonic() + (3 if stage.slow else 5)
            while time.monotonic() < deadline:
                writers.progress(5)
                assert primary.status()["epoch"] == epoch, primary.log()[-3000:]
            join(cluster, primary, others)
            assert cluster.wait_whole() is primary
            writers.progress(20)
            writers.stop()
            cluster.wait_same_data()
            assert writers.audit(primary.redis) == 0
            print(f"       {writers.summary()}", flush=True)
        assert primary.status()["epoch"] == epoch, primary.log()[-3000:]


@only_azimuth
def a_replica_that_is_cut_off_changes_nothing(stage):
    keep_primary(stage, lambda cluster, _, others: cluster.unplug(others[0]),
                 lambda cluster, _, others: cluster.plug_in(others[0]),
                 lambda primary, others: [primary, others[1]])


@only_azimuth
def two_replicas_that_cannot_see_each_other_change_nothing(stage):
    def part(cluster, _, others):
        cluster.cut(others[0], others[1])
        cluster.cut(others[1], others[0])

    def join(cluster, _, others):
        cluster.mend(others[0], others[1])
        cluster.mend(others[1], others[0])

    keep_primary(stage, part, join, lambda primary, others: [primary, *others])


@only_azimuth
def a_primary_that_one_replica_cannot_see_stays(stage):
    """Both others are alive to each other and to the third: no loss is confirmed by a majority."""
    def part(cluster, primary, others):
        cluster.cut(others[0], primary)
        cluster.cut(primary, others[0])

    def join(cluster, primary, others):
        cluster.mend(others[0], primary)
        cluster.mend(primary, others[0])

    keep_primary(stage, part, join, lambda primary, others: [primary, others[1]])


@only_azimuth
def a_primary_that_one_replica_cannot_hear_stays(stage):
    keep_primary(stage, lambda cluster, primary, others: cluster.cut(primary, others[0]),
                 lambda cluster, primary, others: cluster.mend(primary, others[0]),
                 lambda primary, others: [primary, others[1]])


@only_azimuth
def apart_from_each_other_nobody_writes(stage):
    with PlacedCluster(stage, text=HOLD) as cluster:
        primary = cluster.wait_whole()
        cluster.write(primary, "k", "v")
        cluster.wait_same_data()
        for node in cluster.nodes:
            cluster.unplug(node)
        for node in cluster.nodes:
            check_refused(node)
        for node in cluster.nodes:
            cluster.plug_in(node)
        primary = cluster.wait_whole()
        cluster.wait_same_data()
        for node in cluster.nodes:
            with node.client() as client:
                assert client.cmd("GET", "k") == b"v"
                assert client.cmd("SET", f"from-{node.id}", "again") == "OK"


@only_azimuth
def a_cable_that_flaps_leaves_one_primary(stage):
    """In and out, of anybody, for as long as leases last; then quiet."""
    with PlacedCluster(stage, text=HOLD) as cluster:
        cluster.wait_whole()
        spans = []
        with Writers(stage, cluster.nodes, 4) as writers:
            writers.progress(20)
            for _ in range(4 if stage.slow else 8):
                node = stage.random.choice(cluster.nodes)
                began = time.monotonic()
                cluster.unplug(node)
                time.sleep(stage.random.uniform(0.1, 1.6))  # the fault itself
                cluster.plug_in(node)
                time.sleep(stage.random.uniform(0.0, 0.8))  # the fault itself
                spans.append((began - 1.0, began + 5.0))
            primary = cluster.wait_whole()
            writers.progress(20)
            writers.stop()
            cluster.wait_same_data()
            lost = writers.audit(primary.redis, spans)
            print(f"       epoch {primary.status()['epoch']}; {lost} async writes lost; {writers.summary()}", flush=True)


if __name__ == "__main__":
    reason = netns.available()
    if reason:
        print(f"skipped: no network namespaces here: {reason}")
        sys.exit(harness.SKIP)
    harness.run(__doc__)
