"""An old Redis that comes back with more than the group has, of an older epoch; and two members with
a witness (I1, I3, I5)."""
import time

from writers import Writers

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until

AOF = ("--appendonly", "yes", "--appendfsync", "no")


def grow_behind_its_back(node, count=3000):
    """Writes straight to the Redis of a node whose azimuth is dead: a history that nobody else has."""
    with node.redis.connect() as client:
        client.cmd("CONFIG", "SET", "min-replicas-to-write", "0")
        replies = client.pipeline(*[["SET", f"old{index}", "x" * 100] for index in range(count)])
        assert replies == ["OK"] * count, replies[0]
        offset = client.cmd("ROLE")[1]
        client.cmd("CONFIG", "SET", "min-replicas-to-write", "999999")
    return offset


def keys_like(node, pattern):
    with node.redis.connect() as client:
        return len(client.cmd("KEYS", pattern))


def left_behind(cluster, redis_restarts):
    """The primary's azimuth dies; its Redis grows on; the others go on in a newer epoch."""
    primary = cluster.wait_whole()
    cluster.write(primary, "shared", "1")
    cluster.wait_same_data()
    primary.kill()
    offset = grow_behind_its_back(primary)
    others = [node for node in cluster.nodes if node is not primary]
    successor = cluster.wait_primary(but=primary, among=others)
    cluster.write(successor, "shared", "2")
    cluster.write(successor, "new", "1")
    with successor.redis.connect() as client:
        assert client.cmd("ROLE")[1] < offset, "the old history is meant to be the longer one"
    if redis_restarts:
        primary.redis.kill()
        primary.redis.restart()
        assert keys_like(primary, "old*") == 3000
    return primary, successor


def check_replica(cluster, old, successor):
    assert cluster.wait_whole() is successor
    cluster.wait_same_data()
    assert old.redis_role() == "slave"
    for node in cluster.members():
        with node.redis.connect() as client:
            assert client.cmd("MGET", "shared", "new") == [b"2", b"1"], node.name
            assert client.cmd("EXISTS", "old0") == 0, node.name


@only_azimuth
def a_longer_older_history_becomes_a_replica(stage):
    with Cluster(stage) as cluster:
        old, successor = left_behind(cluster, redis_restarts=False)
        old.start()
        check_replica(cluster, old, successor)


@only_azimuth
def a_longer_older_history_from_disk_becomes_a_replica(stage):
    with Cluster(stage, redis=AOF) as cluster:
        old, successor = left_behind(cluster, redis_restarts=True)
        old.start()
        check_replica(cluster, old, successor)


@only_azimuth
def a_longer_older_history_is_not_elected_when_the_primary_dies(stage):
    """It comes back and the newer primary's Redis dies at once: the other one that was there wins."""
    with Cluster(stage) as cluster:
        old, successor = left_behind(cluster, redis_restarts=False)
        third = next(node for node in cluster.nodes if node not in (old, successor))
        wait_until(lambda: keys_like(third, "new") == 1, what="the third has it")
        old.start(wait=False)
        successor.redis.kill()
        primary = cluster.wait_primary(but=successor)
        assert primary is third, primary.name
        successor.redis.restart()
        check_replica(cluster, old, third)


@only_azimuth
def a_longer_older_history_and_one_of_the_others_elect_the_other(stage):
    """Only the old one and one that followed are left: a majority, in which the newer epoch wins."""
    with Cluster(stage) as cluster:
        old, successor = left_behind(cluster, redis_restarts=False)
        third = next(node for node in cluster.nodes if node not in (old, successor))
        wait_until(lambda: keys_like(third, "new") == 1, what="the third has it")
        successor.kill(redis=True)
        old.start()
        assert cluster.wait_primary(but=successor, among=[old, third]) is third
        successor.redis.restart()
        successor.start()
        check_replica(cluster, old, third)


@only_azimuth
def an_old_history_alone_takes_no_writes(stage):
    """A minority of one, however long its history: held, then refused."""
    with Cluster(stage, text="hold_timeout_ms = 500\n") as cluster:
        old, _ = left_behind(cluster, redis_restarts=False)
        for node in cluster.nodes:
            if node is not old:
                node.kill(redis=True)
        old.start()
        with old.client() as client:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                reply = client.cmd("SET", "k", "v")
                assert str(reply).startswith("CLUSTERDOWN"), reply
        assert old.status()["primary"] is None and keys_like(old, "k") == 0


# --- two members and a witness -------------------------------------------------------------------

def lose_and_return(cluster, writers, node, kind):
    """One loss; writers get on without it; it comes back."""
    was_primary = node.member and cluster.wait_whole() is node
    rest = [each for each in cluster.nodes if each is not node]
    writers.progress(20)
    killed = time.monotonic()
    if kind == "redis":
        node.redis.kill()
    else:
        node.kill(redis=True)
    if was_primary:
        cluster.wait_primary(but=node, among=rest)
    writers.progress(20, seconds=90)
    if node.redis:
        node.redis.restart()
    if kind != "redis":
        node.start()
    cluster.wait_whole()
    writers.progress(20)
    return killed - 1.0, killed + 1.0


@only_azimuth
def two_members_and_a_witness_write_on_through_each_single_loss(stage):
    """Async writers: with one member left a quorum of copies cannot be had."""
    with Cluster(stage, members=2, witnesses=1) as cluster:
        cluster.wait_whole()
        witness = cluster.by_id("w1")
        wait_until(lambda: sorted(witness.status()["cluster"]["voters"]) == ["a1", "b1", "w1"],
                   what="the witness votes")
        spans = []
        with Writers(stage, cluster.nodes, 3, durabilities=("async",)) as writers:
            for kind in ("redis", "node"):
                for name in ("a1", "b1", "w1"):
                    node = cluster.by_id(name)
                    if node.member or kind == "node":
                        spans.append(lose_and_return(cluster, writers, node, kind))
            writers.stop()
            primary = cluster.wait_whole()
            cluster.wait_same_data()
            lost = writers.audit(primary.redis, spans)
            print(f"       {lost} async writes lost; {writers.summary()}", flush=True)


@only_azimuth
def a_quorum_of_two_members_is_both_of_them(stage):
    """While a member is away a quorum write is told UNCERTAIN or waits; what was acknowledged is kept."""
    with Cluster(stage, members=2, witnesses=1, text="hold_timeout_ms = 1500\n") as cluster:
        primary = cluster.wait_whole()
        other = next(node for node in cluster.members() if node is not primary)
        with primary.client() as client:
            assert client.cmd("AZIMUTH", "DURABILITY", "quorum") == "OK"
            assert client.cmd("SET", "k", "1") == "OK"
            other.redis.kill()
            reply = client.cmd("SET", "k", "2")
            assert str(reply).startswith("UNCERTAIN"), reply
            other.redis.restart()
            cluster.wait_whole()
            wait_until(lambda: client.cmd("SET", "k", "3") == "OK", what="acknowledged again")
        primary.kill(redis=True)
        rest = [node for node in cluster.nodes if node is not primary]
        assert cluster.wait_primary(but=primary, among=rest) is other
        with other.client() as client:
            assert client.cmd("GET", "k") == b"3"


if __name__ == "__main__":
    harness.run(__doc__)
