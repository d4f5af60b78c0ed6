"""Replicas that were away catch up: by what the backlog still has, or by a full copy, one at a time; and they say which, and
why. The backlog has grown with the rate of writes by then."""
import contextlib
import re
import threading
import time

import netns
from netns import PlacedCluster

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until
from resp import Closed

VALUE = "v" * 1000
SMALL_BACKLOG = "backlog_bytes_min = 1048576\nbacklog_bytes_max = 1048576\n"


class Writer:
    """Writes through a node, about `bytes_per_s`, until it is stopped; what is refused is written again."""

    def __init__(self, node, bytes_per_s):
        self.node = node
        self.pause = 100 * len(VALUE) / bytes_per_s
        self.written = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        client = None
        while not self.stopped.is_set():
            try:
                client = client or self.node.client(timeout=10)
                replies = client.pipeline(*[["SET", f"w{index}", VALUE] for index in range(100)])
                self.written += sum(len(VALUE) for reply in replies if reply == "OK")
            except (OSError, Closed):
                client = None
            time.sleep(self.pause)
        if client:
            client.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join(30)


def sync_of(node):
    status = node.status()
    return status["cluster"]["sync"] if status else {"state": None}


def fields(line):
    return {key: quoted or plain for key, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|(\S+))', line)}


def events_since(node, name, count):
    return [fields(line) for line in node.events(name)[count:]]


def metric(node, sample):
    _, text = node.get("/metrics")
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.M)
    return found and float(found.group(1))


def fill(primary, keys):
    """`keys` keys of which Redis takes a millisecond each to copy."""
    with primary.client(timeout=30) as client:
        for begin in range(0, keys, 500):
            replies = client.pipeline(*[["SET", f"key{index}", VALUE] for index in range(begin, begin + 500)])
            assert replies == ["OK"] * 500, replies[0]
    with primary.redis.connect() as client:
        assert client.cmd("CONFIG", "SET", "rdb-key-save-delay", "1000") == "OK"


@contextlib.contextmanager
def place(stage, **options):
    """A cluster whose nodes can be unplugged; without namespaces they are stopped instead (and so cut off, too)."""
    if netns.available() is None:
        with PlacedCluster(stage, **options) as cluster:
            yield cluster, cluster.unplug, cluster.plug_in
    else:
        import signal
        with Cluster(stage, **options) as cluster:
            yield (cluster, lambda node: node.process.send_signal(signal.SIGSTOP),
                   lambda node: node.process.send_signal(signal.SIGCONT))


@only_azimuth
def one_that_was_cut_off_for_5_s_is_streamed_what_it_missed(stage):
    text = "backlog_bytes_min = 1048576\nbacklog_bytes_max = 134217728\nbacklog_outage_ms = 20000\n"
    with place(stage, text=text) as (cluster, unplug, plug_in):
        primary = cluster.wait_whole()
        replica = next(node for node in cluster.nodes if node is not primary)
        full = primary.redis_info("sync_full")
        with Writer(primary, 1_500_000) as writer:
            # The backlog grows with the rate, on replicas too, and keeps what it has.
            first = int(primary.redis_info("repl_backlog_first_byte_offset"))
            wait_until(lambda: int(primary.redis_info("repl_backlog_size")) >= 16 << 20, what="a larger backlog")
            held = int(primary.redis_info("repl_backlog_first_byte_offset"))
            assert held - first < 4_000_000, (first, held)
            wait_until(lambda: all(int(node.redis_info("repl_backlog_size")) >= 16 << 20 for node in cluster.nodes),
                       what="larger backlogs")
            assert any("repl-backlog-size 1048576" in line for line in primary.events("redis_setting"))
            began = [len(each.events(name)) for each, name in ((replica, "sync_started"), (primary, "feed_started"))]
            written = writer.written
            unplug(replica)
            time.sleep(5)  # the fault itself
            plug_in(replica)
            missed = writer.written - written
            assert missed > 2 << 20, f"{missed} bytes: a backlog of 1 MiB would have done"
            wait_until(lambda: events_since(replica, "sync_started", began[0]), what="the replica asks")
            wait_until(lambda: sync_of(replica)["state"] == "done", what="the replica has caught up")
        assert cluster.wait_whole() is primary
        started = events_since(replica, "sync_started", began[0])
        assert [each["how"] for each in started] == ["partial"], started
        assert "is in the backlog" in started[0]["reason"] and started[0]["from"] == primary.id, started
        assert int(started[0]["bytes"]) > missed / 2, started
        assert events_since(primary, "feed_started", began[1])[-1]["how"] == "partial"
        assert [each["to"] for each in events_since(primary, "feed_started", began[1])] == [replica.id]
        done = fields(replica.events("sync_done")[-1])
        assert done["how"] == "partial" and int(done["bytes"]) >= int(started[0]["bytes"]), done
        assert primary.redis_info("sync_full") == full
        status = replica.status()["cluster"]
        assert status["sync"]["how"] == "partial" and status["sync"]["percent"] == 100, status["sync"]
        assert status["backlog"]["bytes"] >= 16 << 20 and status["backlog"]["write_bytes_per_s"] > 0, status["backlog"]
        assert metric(replica, 'azimuth_syncs_total{side="got",how="partial"}') >= 1
        cluster.wait_same_data()
        print(f"       {missed} bytes missed; {done['bytes']} streamed in {done['seconds']} s; "
              f"backlog {status['backlog']['bytes'] >> 20} MiB", flush=True)


@only_azimuth
def one_that_was_cut_off_past_the_backlog_takes_a_full_copy(stage):
    with place(stage, text=SMALL_BACKLOG) as (cluster, unplug, plug_in):
        primary = cluster.wait_whole()
        replica = next(node for node in cluster.nodes if node is not primary)
        began = len(replica.events("sync_started"))
        streams = int(primary.redis_info("connected_slaves"))
        unplug(replica)
        # As long as the link stands, what it lacks is kept for it.
        wait_until(lambda: int(primary.redis_info("connected_slaves")) < streams, what="the replica is lost")
        fill(primary, 6000)  # six times what the backlog holds
        plug_in(replica)
        copying = wait_until(lambda: (lambda sync: sync if sync["state"] == "copying" and sync["percent"] and sync["seconds_left"] else None)(
            sync_of(replica)), what="progress")
        assert copying["how"] == "full" and copying["from"] == primary.id, copying
        assert "is before the backlog's first byte" in copying["reason"], copying
        assert copying["bytes"] > 0 and 0 < copying["percent"] <= 100, copying
        assert copying["bytes_per_s"] > 0 and copying["seconds_left"] is not None, copying
        given = primary.status()["cluster"]["copies"]
        assert [each["node"] for each in given] == [replica.id] and given[0]["state"] == "copying", given
        assert given[0]["reason"] == copying["reason"], given
        assert metric(primary, 'azimuth_copies{state="copying"}') == 1
        assert metric(replica, "azimuth_sync_in_progress") == 1
        assert cluster.wait_whole() is primary
        wait_until(lambda: sync_of(replica)["state"] == "done", what="the copy is loaded")
        started = events_since(replica, "sync_started", began)
        assert started[-1]["how"] == "full" and "before the backlog's first byte" in started[-1]["reason"], started
        progress = fields(replica.events("sync_progress")[-1])
        assert progress["how"] == "full" and int(progress["percent"]) > 0 and int(progress["bytes"]) > 0, progress
        done = fields(replica.events("sync_done")[-1])
        assert done["how"] == "full" and int(done["bytes"]) > 100_000, done  # Redis compresses the values
        assert fields(primary.events("feed_done")[-1])["to"] == replica.id
        assert metric(replica, 'azimuth_syncs_total{side="got",how="full"}') >= 1
        cluster.wait_same_data()
        print(f"       {copying['percent']:.0f} %, {copying['seconds_left']} s left at {copying['bytes_per_s']} bytes/s; "
              f"{done['bytes']} bytes in {done['seconds']} s", flush=True)


@only_azimuth
def of_two_that_need_a_full_copy_one_waits_and_a_partial_sync_does_not(stage):
    with Cluster(stage, members=4) as cluster:
        primary = cluster.wait_whole()
        first, second, third = (node for node in cluster.nodes if node is not primary)
        fill(primary, 3000)
        wait_until(lambda: third.redis_info("master_repl_offset") == primary.redis_info("master_repl_offset"),
                   what="the third has it")
        # When the group began, one may have waited already.
        waited = {node.id: len(node.events("sync_waits")) for node in (first, second)}
        for node in (first, second):
            node.redis.kill()
        for node in (first, second):
            node.redis.restart()

        def states():
            return {each["node"]: each for each in primary.status()["cluster"]["copies"]}

        both = wait_until(lambda: (lambda found: found if sorted(each["state"] for each in found.values()) == [
            "copying", "waiting"] else None)(states()), what="one that copies and one that waits")
        waiting = cluster.by_id(next(node for node, each in both.items() if each["state"] == "waiting"))
        copied = first if waiting is second else second
        assert f"{copied.id} is copied first" in both[waiting.id]["reason"], both
        sync = wait_until(lambda: (lambda each: each if each["state"] == "waiting" else None)(sync_of(waiting)),
                          what="it knows that it waits")
        assert "first copy" in sync["reason"] and f"copies to {copied.id} first" in sync["reason"], sync
        assert metric(primary, 'azimuth_copies{state="waiting"}') == 1
        # Beside them, one whose connection breaks goes on at once.
        partial = len(third.events("sync_done"))
        with third.redis.connect() as client:
            assert client.cmd("CLIENT", "KILL", "TYPE", "master") == 1
        wait_until(lambda: len(third.events("sync_done")) > partial, what="a partial sync")
        assert fields(third.events("sync_done")[-1])["how"] == "partial"
        assert set(states()) == {first.id, second.id}, "the copies are to go on meanwhile"
        # Never two at a time, and both come to their end.
        most = 0

        def whole():
            nonlocal most
            most = max(most, sum(each["state"] != "waiting" for each in states().values()))
            return all(sync_of(node)["state"] == "done" for node in (first, second))
        wait_until(whole, 40, "both copies")
        assert most == 1, most
        assert cluster.wait_whole() is primary
        ends = [fields(line)["to"] for line in primary.events("feed_done")]
        assert ends[-2:] == [copied.id, waiting.id], ends
        waits = events_since(waiting, "sync_waits", waited[waiting.id])
        assert [each["how"] for each in waits] == ["full"], waits
        assert primary.status()["cluster"]["syncs"]["given"]["waited"] >= 1
        cluster.wait_same_data()


if __name__ == "__main__":
    harness.run(__doc__)
