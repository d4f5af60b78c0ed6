"""A replica that does not keep up slows writes, and nobody else: the shape of it, with real processes.

The whole run, with a minute of it and its plots, is tests/bench/backpressure.py; the law itself is
tests/health/back_pressure_test.cpp.
"""
import signal
import threading
import time

from slow_replica import Load, SlowReplica, offset_of

import harness
from cluster import Cluster
from harness import in_time, only_azimuth, wait_until
from resp import RespError, encode

# A ramp that is short enough to be seen in seconds.
START, FULL = 256 << 10, 8 << 20
RAMP = f"""
[back_pressure]
start_bytes = {START}
full_bytes = {FULL}
start_ms = 100
full_ms = 2000
delay_ms_max = 50
give_up_ms = {{give_up_ms}}
"""
VALUE_BYTES = 1000


def pressure_on(primary, replica):
    """(delay in ms, what the primary makes of that replica), by its /status."""
    told = primary.status()["cluster"]["back_pressure"]
    return told["write_delay_us"] / 1000, told["replicas"].get(replica.id, {"standing": "none"})


def bytes_per_second(redis, seconds):
    with redis.connect() as client:
        before, began = offset_of(client), time.monotonic()
        time.sleep(seconds)  # a rate takes time to be measured
        return (offset_of(client) - before) / (time.monotonic() - began)


class Writing:
    """A whole group under load: writers at the primary and at another node, readers at the primary."""

    def __init__(self, stage, give_up_ms):
        self.cluster = Cluster(stage, text=RAMP.format(give_up_ms=give_up_ms))
        self.loads = []

    def __enter__(self):
        self.cluster.__enter__()
        self.primary = self.cluster.wait_whole()
        self.slow, self.other = [node for node in self.cluster.nodes if node is not self.primary]
        self.near = self.load(self.primary, "SET", 4)
        self.far = self.load(self.other, "SET", 4)
        self.reads = self.load(self.primary, "GET", 2)
        wait_until(lambda: all(sum(row[1] for row in load.rows) > 500 for load in self.loads), 20, "load")
        return self

    def load(self, node, verb, clients):
        made = Load(node.listen_port, verb, clients, VALUE_BYTES)
        self.loads.append(made)
        return made

    def __exit__(self, *_):
        for load in self.loads:
            load.kill()
        self.cluster.__exit__(*_)


@only_azimuth
def a_slow_replica_slows_writes_and_nothing_else(stage):
    with Writing(stage, 60_000) as group:
        primary, slow = group.primary, group.slow
        wait_until(lambda: pressure_on(primary, slow)[1]["standing"] == "counts", 10, "it counts")
        quiet_from = time.monotonic()
        rate = bytes_per_second(primary.redis, 1.0)
        quiet_to = time.monotonic()
        throttle = SlowReplica(slow.redis, rate / 4)
        throttle.start()
        wait_until(lambda: pressure_on(primary, slow)[0] > 0.2, 10, "a delay")
        lags, delays, end = [], [], time.monotonic() + 4
        wait_from = end - 2
        while time.monotonic() < end:
            delay, seen = pressure_on(primary, slow)
            assert seen["standing"] == "counts", seen
            delays.append(delay)
            lags.append(seen["lag"])
            time.sleep(0.1)  # samples
        slow_to = time.monotonic()
        throttle.end()
        let_go = time.monotonic()
        wait_until(lambda: pressure_on(primary, slow)[0] == 0, 10, "no delay")
        back_s = time.monotonic() - let_go
        bins = [(load.mean_ms(quiet_from, quiet_to), load.mean_ms(wait_from, slow_to))
                for load in (group.near, group.far, group.reads)]
        written = group.near.per_second(wait_from, slow_to) / group.near.per_second(quiet_from, quiet_to)
        print(f"       {rate / 1e6:.1f} MB/s, lag <= {max(lags) / 2**20:.1f} MiB, delay {min(delays):.2f} to "
              f"{max(delays):.2f} ms, back after {back_s:.2f} s; quiet and slowed, ms: " +
              ", ".join(f"{name} {a:.2f} {b:.2f}" for name, (a, b) in zip(("near", "far", "reads"), bins)), flush=True)
        assert max(lags) < FULL, lags
        assert 0 < max(delays) <= 50, delays
        (near, near_slow), (far, far_slow), (reads, reads_slow) = bins
        in_time(back_s < 2 or stage.slow, f"it took {back_s} s")
        in_time(near_slow > near and far_slow > far, f"who writes was not slowed: {bins}")
        in_time(written < 0.8, f"as much was written as before: {written}")
        # (With the writers waiting, there is more of the machine for them.)
        in_time(reads_slow < reads * 3 + 2, f"reads were slowed: {bins}")
        for load in group.loads:
            load.end()
        assert primary.events("writes_slowed") and not primary.events("replica_hopeless"), primary.log()[-2000:]
        counted = primary.get("/metrics")[1]
        delayed = next(line for line in counted.splitlines() if line.startswith("azimuth_writes_delayed_total"))
        assert float(delayed.split()[1]) > 0, delayed
        group.cluster.wait_same_data()


@only_azimuth
def a_hopeless_replica_is_given_up_and_comes_back(stage):
    with Writing(stage, 1000) as group:
        primary, slow = group.primary, group.slow
        wait_until(lambda: pressure_on(primary, slow)[1]["standing"] == "counts", 10, "it counts")
        throttle = SlowReplica(slow.redis, 20_000)
        throttle.start()
        wait_until(lambda: pressure_on(primary, slow)[1]["standing"] == "hopeless", 20, "it is given up")
        wait_until(lambda: pressure_on(primary, slow)[0] == 0, 5, "writes are free")
        throttle.end()
        wait_until(lambda: pressure_on(primary, slow)[1]["standing"] == "counts", 20, "it counts again")
        for load in group.loads:
            load.end()
        told = [name for name in ("replica_hopeless", "replica_back") if primary.events(name)]
        assert told == ["replica_hopeless", "replica_back"], primary.log()[-2000:]
        group.cluster.wait_same_data()


DELAY_MS = 200
STEEP = f"""
redis_silence_ms = 60000
[back_pressure]
start_bytes = 65536
full_bytes = {FULL}
start_ms = 10
full_ms = 100
delay_ms_max = {DELAY_MS}
give_up_ms = 60000
"""
PIECE = 64 << 10  # for each of which a large request waits


def asked(node, *requests, first=()):
    """One packet with the requests; ms until all are answered, the replies."""
    with node.client(timeout=30) as client:
        for request in first:
            assert client.cmd(*request) == "OK", request
        began = time.monotonic()
        client.send_raw(b"".join(encode(list(request)) for request in requests))
        replies = [client.read() for _ in requests]
        return (time.monotonic() - began) * 1000, replies


@only_azimuth
def writes_wait_once_and_reads_never(stage):
    with Cluster(stage, text=STEEP) as cluster:
        primary = cluster.wait_whole()
        slow, other = [node for node in cluster.nodes if node is not primary]
        wait_until(lambda: pressure_on(primary, slow)[1]["standing"] == "counts", 10, "it counts")
        slow.redis.process.send_signal(signal.SIGSTOP)
        for serial in range(10):
            cluster.write(primary, f"k{serial}", "v" * 200_000)
        cluster.write(other, "list", "x")
        wait_until(lambda: pressure_on(primary, slow)[0] == DELAY_MS, 10, "the whole delay")
        large = "v" * 300_000
        waits = {
            "a write": ([("SET", "a", 1)], ()),
            "a pipeline": ([("SET", f"p{i}", i) for i in range(200)], ()),
            "a pipeline of both": ([("SET", "a", 2), ("GET", "a"), ("INCR", "a"), ("GET", "a")], ()),
            "a script": ([("EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "b")], ()),
            "a transaction": ([("MULTI",), ("SET", "a", 3), ("SET", "b", 3), ("EXEC",)], ()),
            "a large value": ([("SET", "large", large)], ()),
            "what blocks": ([("BLPOP", "nothing", 0.01)], ()),
            "a quorum write": ([("SET", "q", 1)], [("AZIMUTH", "DURABILITY", "quorum")]),
        }
        goes = {
            "a read": ([("GET", "a")], ()),
            "reads": ([("GET", "k1"), ("MGET", "k1", "k2"), ("PFCOUNT", "none")], ()),
            "a script that reads": ([("EVAL_RO", "return redis.call('GET', KEYS[1])", 1, "a")], ()),
            "a transaction of reads": ([("MULTI",), ("GET", "a"), ("EXEC",)], ()),
            "a strong read": ([("GET", "a")], [("AZIMUTH", "CONSISTENCY", "strong")]),
            "others": ([("PING",), ("CONFIG", "GET", "maxmemory"), ("CLIENT", "ID")], ()),
        }
        for node in (primary, other):
            for expected, cases in ((True, waits), (False, goes)):
                for name, (requests, first) in cases.items():
                    # (A machine that is busy may take its time; one try of three that does not is enough.)
                    tries = [asked(node, *requests, first=first) for _ in range(3)]
                    for _, replies in tries:
                        errors = [each for each in replies if isinstance(each, RespError)]
                        assert not errors, (node.id, name, errors)
                    took = min(ms for ms, _ in tries)
                    print(f"       {node.id} {name}: {took:.0f} ms", flush=True)
                    if expected:  # an eighth early at most, and not once for each request
                        whole = DELAY_MS * (len(large) // PIECE if name == "a large value" else 1)
                        assert whole * 0.8 < took, (node.id, name, took)
                        in_time(took < whole + DELAY_MS or stage.slow, f"{node.id} {name}: {took} ms")
                    else:
                        in_time(took < DELAY_MS / 2 or stage.slow, f"{node.id} {name}: {took} ms")
        # A hand-over does not wait for it, and leaves nothing of it.
        cluster.switch_over(primary, other.id)
        slow.redis.process.send_signal(signal.SIGCONT)
        successor = cluster.wait_whole()
        assert successor is other, successor.id
        wait_until(lambda: pressure_on(successor, slow)[0] == 0, 10, "no delay")
        in_time(min(asked(primary, ("SET", "a", 4))[0] for _ in range(3)) < DELAY_MS / 2, "writes wait yet")
        cluster.wait_same_data()


CLIENTS, BUFFERED = 120, 16 << 20  # (the least that may be set)
CROWD = f"""
redis_silence_ms = 60000
[back_pressure]
start_bytes = 65536
full_bytes = {64 << 20}
start_ms = 10
full_ms = 100
delay_ms_max = {DELAY_MS}
give_up_ms = 60000
[limits]
buffered_bytes_max = {BUFFERED}
client_output_bytes_max = {BUFFERED}
"""


@only_azimuth
def who_pipelines_is_not_cut_for_being_slowed(stage):
    with Cluster(stage, text=CROWD) as cluster:
        primary = cluster.wait_whole()
        slow = next(node for node in cluster.nodes if node is not primary)
        wait_until(lambda: pressure_on(primary, slow)[1]["standing"] == "counts", 10, "it counts")
        slow.redis.process.send_signal(signal.SIGSTOP)
        for serial in range(10):
            cluster.write(primary, f"k{serial}", "v" * 200_000)
        wait_until(lambda: pressure_on(primary, slow)[0] == DELAY_MS, 10, "the whole delay")
        # Each sends more than a turn takes, and reads the replies when it has: what is kept of all is bounded.
        pipeline = b"".join(encode(["SET", f"p{i}", b"v" * 1000]) for i in range(400))
        assert len(pipeline) * CLIENTS > BUFFERED * 2
        clients = [primary.client(timeout=60) for _ in range(CLIENTS)]
        senders = [threading.Thread(target=client.send_raw, args=(pipeline,)) for client in clients]
        for sender in senders:
            sender.start()
        most = 0
        while any(sender.is_alive() for sender in senders):
            most = max(most, buffered(primary))
        for sender, client in zip(senders, clients):
            sender.join(60)
            assert [client.read() for _ in range(400)] == ["OK"] * 400
            client.close()
        print(f"       {most / 2**20:.1f} MiB kept at most, of {len(pipeline) * CLIENTS / 2**20:.0f}", flush=True)
        assert not primary.events("client_cut"), primary.log()[-2000:]
        slow.redis.process.send_signal(signal.SIGCONT)
        cluster.wait_same_data()


def buffered(node):
    counted = node.get("/metrics")[1]
    line = next(line for line in counted.splitlines() if line.startswith("azimuth_client_buffered_bytes"))
    return float(line.split()[1])


if __name__ == "__main__":
    harness.run(__doc__)
