"""A bad network and short pauses: 10 % of datagrams lost, 50 ms of jitter, processes that stand still for 300 ms.

Nobody is elected, and no write is lost. A few seconds in CI; --seconds 600 for the whole of it.
"""
import os
import signal
import time

from distance import DistantCluster
from writers import Writers

import harness
from cluster import Cluster
from harness import only_azimuth


def seconds_option(parser):
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("AZIMUTH_TEST_SECONDS", "8")),
                        help="how long it goes on")


@only_azimuth
def loss_jitter_and_pauses_elect_nobody(stage):
    cluster = Cluster(stage, start=False)
    far = DistantCluster(cluster, 1.0, jitter_ms=50.0, loss=0.1)
    try:
        for node in cluster.nodes:
            node.start()
        with cluster:
            cluster.wait_whole()
            epoch = cluster.wait_primary().status()["epoch"]
            with Writers(stage, cluster.nodes, 3) as writers:
                pauses, end = 0, time.monotonic() + stage.options.seconds
                while time.monotonic() < end:
                    node = stage.random.choice(cluster.nodes)
                    process = stage.random.choice((node.process, node.redis.process))
                    process.send_signal(signal.SIGSTOP)
                    time.sleep(0.3)  # the fault itself
                    process.send_signal(signal.SIGCONT)
                    time.sleep(stage.random.uniform(0.2, 1.0))
                    pauses += 1
                writers.progress(10)
                writers.stop()
                status = cluster.wait_primary().status()
                print(f"       {pauses} pauses, epoch {epoch} -> {status['epoch']}, {writers.summary()}", flush=True)
                assert status["epoch"] == epoch, "somebody was elected"
                assert writers.audit(cluster.wait_primary().redis, []) == 0
    finally:
        far.close()


if __name__ == "__main__":
    harness.run(__doc__, seconds_option)
