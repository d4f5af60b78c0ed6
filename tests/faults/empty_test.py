"""The empty-primary trap: a primary without persistence whose supervisor restarts it at once (I5)."""
import threading
import time

from writers import Writers

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until
from resp import Closed

KEYS = 2000


def rounds_option(parser):
    parser.add_argument("--rounds", type=int, default=5)


def sizes(nodes):
    """DBSIZE of each Redis that answers and has a data set (not one in the middle of a copy)."""
    found = {}
    for node in nodes:
        try:
            with node.redis.connect(timeout=5) as client:
                size = client.cmd("DBSIZE")
                loading = b"loading:1" in client.cmd("INFO", "persistence")
        except (OSError, Closed):
            continue
        if isinstance(size, int) and not loading:
            found[node.name] = size
    return found


class Watch(threading.Thread):
    """Asks without pause, through one node, how much data there is: it never shrinks."""

    def __init__(self, node, least):
        super().__init__(daemon=True)
        self.node, self.least = node, least
        self.over = threading.Event()
        self.asked = self.refused = 0
        self.trouble = None

    def run(self):
        try:
            with self.node.client(timeout=40) as client:
                while not self.over.is_set():
                    size = client.cmd("DBSIZE")
                    if isinstance(size, str) and size.split(" ")[0] in ("CLUSTERDOWN", "UNCERTAIN"):
                        self.refused += 1
                        continue
                    self.asked += 1
                    assert isinstance(size, int) and size >= self.least, f"DBSIZE: {size!r}"
        except Exception as error:  # the test's own thread looks at it
            self.trouble = error


def fill(cluster, primary):
    """KEYS keys, held by everybody before anything is killed."""
    with primary.client() as client:
        replies = client.pipeline(*[["SET", f"key{index}", f"value{index}"] for index in range(KEYS)])
    assert replies == ["OK"] * KEYS
    cluster.wait_same_data()


def restart_at_once(redis):
    """kill -9, and a new process on the same port and directory at once; how long it was away."""
    died = time.monotonic()
    redis.kill()
    redis.restart()
    return time.monotonic() - died


def rest_of(cluster, primary):
    return [node for node in cluster.nodes if node is not primary]


@only_azimuth
def an_empty_primary_never_empties_the_others(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        fill(cluster, primary)
        watches = [Watch(node, KEYS) for node in cluster.nodes]
        for watch in watches:
            watch.start()
        away = []
        try:
            with Writers(stage, cluster.nodes, 3) as writers:
                spans, had = [], set()
                for _ in range(stage.options.rounds):
                    primary = cluster.wait_whole()
                    writers.progress(10)
                    others = rest_of(cluster, primary)
                    killed = time.monotonic()
                    away.append(restart_at_once(primary.redis))
                    for node in others:
                        had |= writers.held_by(node.redis)
                    spans.append((killed - 1, killed + 1))
                    writers.progress(10)
                    cluster.wait_whole()
                writers.stop()
                primary = cluster.wait_whole()
                cluster.wait_same_data()
                lost = writers.audit(primary.redis, spans, had)
                print(f"       {writers.summary()}; {lost} async writes lost")
        finally:
            for watch in watches:
                watch.over.set()
            for watch in watches:
                watch.join(50)
        for watch in watches:
            if watch.trouble:
                raise watch.trouble
            assert watch.asked > 0 and not watch.is_alive()
        print(f"       away for {' '.join(f'{each * 1000:.0f}' for each in sorted(away))} ms; "
              f"{sum(watch.asked for watch in watches)} times DBSIZE, "
              f"{sum(watch.refused for watch in watches)} refused")
        with primary.redis.connect() as client:
            values = client.cmd("MGET", *[f"key{index}" for index in range(KEYS)])
        assert values == [b"value%d" % index for index in range(KEYS)]


@only_azimuth
def replicas_keep_their_data_all_the_while(stage):
    """Nobody writes: each Redis that was not killed itself never has less than everything."""
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        fill(cluster, primary)
        for _ in range(stage.options.rounds):
            others = rest_of(cluster, primary)
            restart_at_once(primary.redis)
            deadline = time.monotonic() + 40
            while cluster.agreed() is None or len(sizes(cluster.nodes)) < 3 or min(
                    sizes(cluster.nodes).values()) < KEYS:
                for name, size in sizes(others).items():
                    assert size == KEYS, f"{name} has {size} keys"
                assert time.monotonic() < deadline, f"not whole again: {sizes(cluster.nodes)}"
            primary = cluster.wait_whole()
            cluster.wait_same_data()
            assert sizes(cluster.nodes) == {node.name: KEYS for node in cluster.nodes}


@only_azimuth
def all_empty_at_once_but_one(stage):
    """Two of three lose everything within a moment: the one that has the data becomes the primary."""
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        fill(cluster, primary)
        keeper = rest_of(cluster, primary)[0]
        for node in rest_of(cluster, keeper):
            node.redis.kill()
        for node in rest_of(cluster, keeper):
            node.redis.restart()
        assert cluster.wait_whole() is keeper
        cluster.wait_same_data()
        wait_until(lambda: sizes(cluster.nodes) == {node.name: KEYS for node in cluster.nodes}, what="all have all")


if __name__ == "__main__":
    harness.run(__doc__, rounds_option)
