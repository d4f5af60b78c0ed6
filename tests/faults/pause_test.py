"""Frozen processes: SIGSTOP of the primary's azimuth, of its redis-server, of both, then SIGCONT (I2, I3).

The history of acknowledged writes tells who took each of them, and when. Once somebody else has
acknowledged a write, the one that was frozen takes none that was asked for later, until it leads again.
"""
import signal
import time

from writers import Writers, check_takers

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until


def seconds_option(parser):
    parser.add_argument("--seconds", type=float, default=4.0, help="how long a process is frozen")


def freeze_and_thaw(stage, frozen, text="redis_silence_ms = 1000"):
    """frozen(node) -> the processes to stop."""
    with Cluster(stage, text=text) as cluster:
        primary = cluster.wait_whole()
        others = [node for node in cluster.nodes if node is not primary]
        with Writers(stage, cluster.nodes, 6) as writers:
            writers.progress(50)
            processes = frozen(primary)
            began = time.monotonic()
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            successor = cluster.wait_primary(but=primary, among=others)
            first = wait_until(lambda: writers.first_after(stopped, primary.redis.port), what="a write elsewhere")
            time.sleep(max(0.0, began + stage.options.seconds - time.monotonic()))  # the fault itself
            thawed = time.monotonic()
            for process in processes:
                process.send_signal(signal.SIGCONT)
            writers.progress(30)
            assert cluster.wait_whole() is successor, "the primary moved again"
            assert primary.redis_role() == "slave" and primary.status()["role"] == "replica"
            writers.progress(30)
            over = time.monotonic()
            writers.stop()
            late = check_takers(writers, began, over, primary.redis.port, successor.redis.port)
            cluster.wait_same_data()
            # What the frozen one took last nobody else has: async writes of that moment may be lost, and
            # also those whose replies lay in the frozen process.
            spans = [(began - 1.0, stopped + 1.0), (thawed, thawed + 2.0)]
            lost = writers.audit(successor.redis, spans)
            print(f"       written elsewhere after {(first - began) * 1000:.0f} ms; {len(late)} acknowledged late "
                  f"by the frozen one; {lost} async writes lost; {writers.summary()}", flush=True)


@only_azimuth
def a_frozen_azimuth_is_replaced_and_comes_back_a_replica(stage):
    freeze_and_thaw(stage, lambda node: [node.process])


@only_azimuth
def a_frozen_redis_is_replaced_and_comes_back_a_replica(stage):
    freeze_and_thaw(stage, lambda node: [node.redis.process])


@only_azimuth
def a_frozen_node_is_replaced_and_comes_back_a_replica(stage):
    freeze_and_thaw(stage, lambda node: [node.process, node.redis.process])


@only_azimuth
def pauses_that_a_lease_survives_elect_nobody(stage):
    """300 ms of any one azimuth, again and again: the epoch stays."""
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        with Writers(stage, cluster.nodes, 3) as writers:
            for _ in range(12):
                node = stage.random.choice(cluster.nodes)
                node.process.send_signal(signal.SIGSTOP)
                time.sleep(0.3)  # the fault itself
                node.process.send_signal(signal.SIGCONT)
                writers.progress(3)
            writers.stop()
            cluster.wait_whole()
            cluster.wait_same_data()
            assert writers.audit(primary.redis) == 0
        assert primary.status()["epoch"] == epoch, primary.log()[-3000:]


if __name__ == "__main__":
    harness.run(__doc__, seconds_option)
