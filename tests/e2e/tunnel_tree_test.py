"""Zone-aware tunnels: a zone's second replica feeds from its first, as far as `quorum` leaves it, and goes straight to the
primary when that one is lost."""
import os
import re
import signal
import subprocess
import sys
import threading
import time

import harness
from cluster import Cluster
from harness import held, in_time, only_azimuth, wait_until
from resp import Closed

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))

from consistency import check_sessions  # noqa: E402
from sessions import Load, summary  # noqa: E402

ZONES = {"a1": "a", "b1": "a", "c1": "b", "d1": "b"}  # by the names that a Cluster gives


def place(stage, text="", **zones):
    """Four members, two in each of two zones, and the primary in zone a."""
    zones = zones or ZONES
    cluster = Cluster(stage, members=len(zones), text=text, start=False)
    for node in cluster.nodes:
        node.zone = zones[node.name]
        node.start()
    return cluster


def sources(node):
    return (node.status() or {}).get("cluster", {}).get("sources", {})


def replicas_of(node):
    """Those that its redis-server itself lists, by the ports that they announce; without its own tap."""
    with node.redis.connect(timeout=5) as client:
        info = client.cmd("INFO", "replication").decode()
    ports = re.findall(r"^slave\d+:.*?port=(\d+),state=online", info, re.M)
    return {each.name for each in node.cluster.nodes if str(each.peer_port) in ports}


def wait_sources(primary, wanted, seconds=30):
    try:
        wait_until(lambda: sources(primary) == wanted, seconds, f"sources {wanted}")
    except AssertionError:
        print(f"--- sources {sources(primary)}", flush=True)
        for node in primary.cluster.nodes:
            print(f"--- {node.name}\n" + node.log()[-2500:], flush=True)
        raise


def lead_by(cluster, name):
    """Until that node is the primary of the whole group."""
    if cluster.wait_whole().id != name:
        cluster.switch_over(cluster.nodes[0], name)
    wait_until(lambda: cluster.wait_whole().id == name, 30, f"{name} leads")
    return cluster.by_id(name)


def full_syncs(cluster):
    return {node.id: node.redis_info("sync_full") for node in cluster.nodes}


class QuorumWriter(threading.Thread):
    """Writes with durability quorum until it is stopped; the longest that one of them took."""

    def __init__(self, node):
        super().__init__()
        self.node, self.over, self.longest, self.written, self.refused = node, False, 0.0, [], []
        self.start()

    def run(self):
        client = None
        index = 0
        while not self.over:
            try:
                if client is None:
                    client = self.node.client(timeout=30)
                    assert client.cmd("AZIMUTH", "DURABILITY", "quorum") == "OK"
                began = time.monotonic()
                reply = client.cmd("SET", f"q{index}", index)
                self.longest = max(self.longest, time.monotonic() - began)
                if reply == "OK":
                    self.written.append(index)
                else:
                    self.refused.append(reply)
                index += 1
            except (OSError, Closed):
                client = None
            time.sleep(0.002)
        if client:
            client.close()

    def stop(self):
        self.over = True
        self.join(40)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def judge(history):
    verdict = check_sessions(history)
    held(not verdict.violations and not verdict.lost, verdict)


def check_written(writer, node):
    with node.redis.connect(timeout=10) as client:
        lost = [index for index in writer.written if client.cmd("GET", f"q{index}") != str(index).encode()]
    assert not lost, (len(lost), lost[:10])


# --- the shape -----------------------------------------------------------------------------------


@only_azimuth
def the_second_of_a_zone_feeds_from_the_first(stage):
    with place(stage) as cluster:
        a1 = lead_by(cluster, "a1")
        full = full_syncs(cluster)
        wait_sources(a1, {"b1": "a1", "c1": "a1", "d1": "c1"})
        wait_until(lambda: replicas_of(a1) == {"b1", "c1"}, what="two replicate from the primary")
        assert replicas_of(cluster.by_id("c1")) == {"d1"}
        assert sources(cluster.by_id("d1")) == {"d1": "c1"}
        full["d1"] = cluster.by_id("d1").redis_info("sync_full")
        assert full_syncs(cluster) == full, "to go over is a partial sync"
        assert any("d1 from a1 to c1" in line for line in a1.events("tunnel_source")), a1.events("tunnel_source")
        assert re.search(r'azimuth_tunnel_source\{member="d1",source="c1"\} 1', a1.get("/metrics")[1])
        shown = subprocess.run([stage.binary, "status", "--addr", f"127.0.0.1:{a1.admin_port}"], capture_output=True,
                               text=True, timeout=20)
        assert re.search(r"^replicates +d1 from c1$", shown.stdout, re.M), shown
        for index in range(200):
            cluster.write(cluster.by_id("d1"), f"k{index}", index)
        cluster.wait_same_data()
        # The same offsets all the way down.
        wait_until(lambda: len({node.redis_info("master_repl_offset") for node in cluster.nodes}) == 1,
                   what="one offset")
        assert len({node.redis_info("master_replid") for node in cluster.nodes}) == 1


@only_azimuth
def off_means_all_from_the_primary(stage):
    with place(stage, text="tunnel_tree = false\n") as cluster:
        a1 = lead_by(cluster, "a1")
        with a1.client() as client:
            until = time.monotonic() + 5
            while time.monotonic() < until:  # longer than it takes where it is on
                assert client.cmd("SET", "k", "v") == "OK"
                assert set(sources(a1).values()) <= {"a1"}, sources(a1)
                time.sleep(0.05)
        assert replicas_of(a1) == {"b1", "c1", "d1"}


# --- the loss of the one in the middle -----------------------------------------------------------


@only_azimuth
def the_head_dies_and_the_other_goes_straight_to_the_primary(stage):
    with place(stage) as cluster:
        a1 = lead_by(cluster, "a1")
        c1, d1 = cluster.by_id("c1"), cluster.by_id("d1")
        wait_sources(a1, {"b1": "a1", "c1": "a1", "d1": "c1"})
        copies = a1.redis_info("sync_full")
        with Load(stage, [a1, cluster.by_id("b1"), d1], count=3) as load, QuorumWriter(a1) as writer:
            load.progress(20)
            began = time.monotonic()
            c1.kill(redis=True)
            wait_until(lambda: sources(a1).get("d1") == "a1", 20, "d1 feeds from a1")
            took = time.monotonic() - began
            load.progress(20)
            writer.stop()
            history = load.stop()
        wait_until(lambda: replicas_of(a1) == {"b1", "d1"}, what="d1 replicates from the primary")
        assert a1.redis_info("sync_full") == copies, "d1 catches up by a partial sync"
        refusals = load.refusals()
        assert not refusals, refusals
        judge(history)
        check_written(writer, a1)
        assert not writer.refused, writer.refused[:5]
        in_time(writer.longest < 2, f"a quorum write took {writer.longest:.2f} s")
        wait_until(lambda: d1.redis_info("master_repl_offset") == a1.redis_info("master_repl_offset"), what="d1 is current")
        print(f"       straight to the primary {took:.2f} s after the kill; {summary(history)}; {len(writer.written)} "
              f"quorum writes, the longest {writer.longest * 1000:.0f} ms", flush=True)
        # It comes back, and is one of two again.
        c1.redis.start()
        c1.start()
        wait_until(lambda: sorted(sources(a1).values()) != ["a1"] * 3 and len(sources(a1)) == 3, 40, "a chain again")
        cluster.wait_same_data()


@only_azimuth
def a_head_without_its_link_makes_nobody_stale(stage):
    """Its azimuth stands still: what feeds from it is connected, and hears nothing."""
    with place(stage) as cluster:
        a1 = lead_by(cluster, "a1")
        c1, d1 = cluster.by_id("c1"), cluster.by_id("d1")
        wait_sources(a1, {"b1": "a1", "c1": "a1", "d1": "c1"})
        with Load(stage, [a1, d1], count=3) as load, QuorumWriter(a1) as writer:
            load.progress(20)
            c1.process.send_signal(signal.SIGSTOP)
            try:
                wait_until(lambda: sources(a1).get("d1") == "a1", 20, "d1 feeds from a1")
                load.progress(20)
            finally:
                c1.process.send_signal(signal.SIGCONT)
            load.progress(20)
            writer.stop()
            history = load.stop()
        judge(history)
        check_written(writer, a1)
        in_time(writer.longest < 2, f"a quorum write took {writer.longest:.2f} s")
        wait_sources(a1, {"b1": "a1", "c1": "a1", "d1": "c1"}, 40)
        cluster.wait_same_data()


@only_azimuth
def a_head_that_leaves_in_order_is_left_before(stage):
    with place(stage) as cluster:
        a1 = lead_by(cluster, "a1")
        wait_sources(a1, {"b1": "a1", "c1": "a1", "d1": "c1"})
        with QuorumWriter(a1) as writer:
            cluster.by_id("c1").end()
            wait_until(lambda: sources(a1).get("d1") == "a1", 10, "d1 feeds from a1")
            writer.stop()
        assert "c1 is about to leave" in a1.events("tunnel_source")[-1], a1.events("tunnel_source")
        check_written(writer, a1)
        assert not writer.refused, writer.refused[:5]
        in_time(writer.longest < 1, f"a quorum write took {writer.longest:.2f} s")


# --- leadership ----------------------------------------------------------------------------------


@only_azimuth
def a_planned_switchover_to_one_that_is_chained(stage):
    with place(stage) as cluster:
        a1 = lead_by(cluster, "a1")
        wait_sources(a1, {"b1": "a1", "c1": "a1", "d1": "c1"})
        full = full_syncs(cluster)
        d1 = cluster.by_id("d1")
        with Load(stage, cluster.nodes, count=4) as load, QuorumWriter(a1) as writer:
            load.progress(20)
            cluster.switch_over(a1, "d1")
            wait_until(lambda: cluster.wait_primary() is d1, 20, "d1 leads")
            load.progress(20)
            # The tree of the new epoch: the first of zone a, and the other behind it.
            wait_sources(d1, {"a1": "d1", "b1": "a1", "c1": "d1"})
            load.progress(20)
            writer.stop()
            history = load.stop()
        assert not load.refusals(), load.refusals()
        judge(history)
        check_written(writer, d1)
        assert not writer.refused, writer.refused[:5]
        assert full_syncs(cluster) == full, (full, full_syncs(cluster))
        cluster.wait_same_data()
        print(f"       {summary(history)}; {len(writer.written)} quorum writes, the longest "
              f"{writer.longest * 1000:.0f} ms", flush=True)


@only_azimuth
def the_primary_dies_and_nothing_is_lost(stage):
    with place(stage) as cluster:
        a1 = lead_by(cluster, "a1")
        wait_sources(a1, {"b1": "a1", "c1": "a1", "d1": "c1"})
        others = [node for node in cluster.nodes if node is not a1]
        with Load(stage, others, count=3) as load, QuorumWriter(others[0]) as writer:
            load.progress(20)
            a1.kill(redis=True)
            winner = cluster.wait_primary(but=a1, among=others)
            load.progress(20)
            writer.stop()
            history = load.stop()
        judge(history)
        check_written(writer, winner)
        a1.redis.start()
        a1.start()
        cluster.wait_whole()
        cluster.wait_same_data()


# --- members that come ---------------------------------------------------------------------------


@only_azimuth
def a_new_member_is_copied_from_within_its_zone(stage):
    with place(stage) as cluster:
        a1 = lead_by(cluster, "a1")
        wait_sources(a1, {"b1": "a1", "c1": "a1", "d1": "c1"})
        for index in range(100):
            cluster.write(a1, f"k{index}", "v" * 1000)
        copies = {node.id: int(node.redis_info("sync_full")) for node in cluster.nodes}
        with QuorumWriter(a1) as writer:
            e1 = cluster.add("e1")
            e1.zone = "b"
            e1.start()
            wait_until(lambda: "e1" in a1.status()["cluster"]["voters"], 40, "e1 votes")
            writer.stop()
        after = {node.id: int(node.redis_info("sync_full")) for node in cluster.nodes}
        assert after["a1"] == copies["a1"], "no full copy across zones"
        assert after["c1"] + after["d1"] > copies["c1"] + copies["d1"], after
        check_written(writer, a1)
        # (One that is on its way while more copies become necessary may be told that they were not seen.)
        assert len(writer.refused) < 3 and all("UNCERTAIN" in str(each) for each in writer.refused), writer.refused[:5]
        in_time(writer.longest < 2, f"a quorum write took {writer.longest:.2f} s")
        cluster.wait_same_data()
        # Five voters: `quorum` needs two replicas, and one may die.
        wait_until(lambda: sorted(sources(a1).values()) in (["a1", "a1", "a1", each] for each in ("c1", "d1")), 30,
                   "all have their places")
        print(f"       sources {sources(a1)}; the longest quorum write {writer.longest * 1000:.0f} ms", flush=True)


if __name__ == "__main__":
    harness.run(__doc__)
