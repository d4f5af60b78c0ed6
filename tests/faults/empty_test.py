"""The empty-primary trap: a primary without persistence whose supervisor restarts it at once (I5)."""
import select
import socket
import threading
import time

from writers import Writers

import harness
from cluster import Cluster
from harness import RedisServer, held, only_azimuth, wait_until
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
                    # (TRYAGAIN: it has counted `async` writes that nobody else had.)
                    if isinstance(size, str) and size.split(" ")[0] in (
                            "CLUSTERDOWN", "UNCERTAIN", "TRYAGAIN", "MASTERDOWN", "LOADING", "NOREPLICAS"):
                        self.refused += 1
                        continue
                    self.asked += 1
                    assert isinstance(size, int), f"DBSIZE: {size!r}"
                    held(size >= self.least, f"DBSIZE: {size!r}")
        except Exception as error:  # the test's own thread looks at it
            self.trouble = error


def fill(cluster, primary):
    """KEYS keys, held by everybody before anything is killed."""
    with primary.client() as client:
        replies = client.pipeline(*[["SET", f"key{index}", f"value{index}"] for index in range(KEYS)])
    assert replies == ["OK"] * KEYS
    cluster.wait_same_data()


def restart_at_once(redis):
    """kill -9, and a new process on the same port and directory at once: when it was dead, and back."""
    redis.kill()
    died = time.monotonic()
    redis.restart()
    return died, time.monotonic()


def rest_of(cluster, primary):
    return [node for node in cluster.nodes if node is not primary]


def unfenced(cluster):
    """Its redis-servers start as most people start them: they would take a write at once."""
    for node in cluster.nodes:
        node.redis.options = [each for each in node.redis.options
                              if each not in ("--min-replicas-to-write", "999999")]
    return cluster


@only_azimuth
def an_empty_primary_never_empties_the_others(stage):
    restart_under_load(stage, lambda cluster: cluster)


@only_azimuth
def an_empty_primary_without_a_boot_fence_never_empties_the_others(stage):
    restart_under_load(stage, unfenced)


def restart_under_load(stage, fences):
    with fences(Cluster(stage)) as cluster:
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
                    died, back = restart_at_once(primary.redis)
                    away.append(back - died)
                    for node in others:
                        had |= writers.held_by(node.redis)
                    spans.append((died - 1, died + 1))
                    writers.progress(10)
                    assert cluster.wait_whole() is not primary
                    # What came back empty was never written to.
                    taken = [write.token for write in writers.acknowledged()
                             if write.sent > died and write.port == primary.redis.port]
                    held(not taken, f"the empty one took {taken[:10]}")
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
            found = {}
            while cluster.agreed() is None or len(found) < 3 or min(found.values()) < KEYS:
                for name, size in sizes(others).items():
                    assert size == KEYS, f"{name} has {size} keys"
                assert time.monotonic() < deadline, f"not whole again: {found}"
                found = sizes(cluster.nodes)
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


class Door:
    """In front of a redis-server: a connection stays with the one that it was let in to, new ones may be led elsewhere.
    What a restart looks like to a worker, while the control thread is too late to have seen it."""

    def __init__(self, redis):
        self.redis = redis
        self.leads_to = redis.port
        self.pairs, self.kinds = [], {}
        self.led_astray = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.run, daemon=True).start()

    def __getattr__(self, name):
        return getattr(self.redis, name)

    def run(self):
        while True:
            with self.lock:
                pairs = dict(self.pairs + [(b, a) for a, b in self.pairs])
            try:
                ready = select.select([self.listener, *pairs], [], [], 0.02)[0]
                for each in ready:
                    if each is self.listener:
                        self.admit()
                    elif each in pairs:
                        self.carry(each, pairs[each])
            except (OSError, ValueError):
                self.pairs = [pair for pair in self.pairs if min(one.fileno() for one in pair) >= 0]
                if self.listener.fileno() < 0:
                    return

    def admit(self):
        near = self.listener.accept()[0]
        try:
            far = socket.create_connection(("127.0.0.1", self.leads_to))
        except OSError:
            return near.close()
        self.led_astray += self.leads_to != self.redis.port
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.pairs.append((near, far))

    def carry(self, source, sink):
        data = source.recv(65536)
        if b"min-replicas" in data or b"PSYNC" in data:
            self.kinds[source] = self.kinds[sink] = "control"
        if data:
            return sink.sendall(data)
        with self.lock:
            self.pairs = [pair for pair in self.pairs if source not in pair]
        source.close()
        sink.close()

    def lead_to(self, port):
        """New connections go there; the workers have to make all of theirs anew."""
        self.leads_to = port
        with self.lock:
            for pair in self.pairs:
                if pair[0] not in self.kinds:
                    for each in pair:
                        each.shutdown(socket.SHUT_RDWR)


@only_azimuth
def what_listens_where_the_primary_did_is_not_the_primary(stage):
    """I3: a worker that connects to another process than the promoted one sends it nothing, lease or no lease."""
    cluster = Cluster(stage, start=False, text="hold_timeout_ms = 600")
    for node in cluster.nodes:
        node.redis = Door(node.redis)
    with cluster:
        for node in cluster.nodes:
            node.start()
        primary = cluster.wait_whole()
        cluster.write(primary, "key", "value")
        empty = RedisServer()
        primary.redis.lead_to(empty.port)
        for node in cluster.nodes:
            wait_until(lambda: ask(node, "GET", "key") != b"value", what="its connection is lost")
        for index in range(4):
            for node in cluster.nodes:
                assert ask(node, "SET", f"key{index}", "value") != "OK", node.name
                assert ask(node, "GET", "key") is not None, node.name
        assert primary.redis.led_astray >= len(cluster.nodes), "each of them has tried"
        with empty.connect() as client:
            assert client.cmd("DBSIZE") == 0
            stats = client.cmd("INFO", "commandstats").decode()
            assert "cmdstat_set:" not in stats and "cmdstat_get:" not in stats, stats
        primary.redis.lead_to(primary.redis.redis.port)
        for node in cluster.nodes:
            cluster.write(node, "key", "again")
        assert cluster.wait_primary() is primary, "it has led all the while"


@only_azimuth
def who_may_not_ask_redis_who_it_is_is_served(stage):
    """The process is asked for by the node's own login, of which nothing is left to a client."""
    cluster = Cluster(stage, start=False, redis=("--requirepass", "secret", "--user", "app", "on", ">word", "~*", "+set",
                                                 "+get", "+multi", "+exec", "--user", "default", "on", ">secret", "~*", "&*", "+@all"))
    for node in cluster.nodes:
        node.redis = Locked(node.redis)
    with cluster:
        for node in cluster.nodes:
            node.start()
        primary = cluster.wait_whole()
        for node in cluster.nodes:
            with node.client() as client:
                assert str(client.cmd("GET", "k")).startswith("NOAUTH"), node.name
                assert client.cmd("AUTH", "app", "word") == "OK"
                assert client.cmd("SET", "k", node.name) == "OK"
                assert client.cmd("MULTI") == "OK"
                assert client.cmd("GET", "k") == "QUEUED"
                assert client.cmd("EXEC") == [node.name.encode()]
                assert str(client.cmd("INFO", "server")).startswith("NOPERM"), node.name
                assert str(client.cmd("CONFIG", "GET", "port")).startswith("NOPERM"), node.name
        assert cluster.wait_primary() is primary


class Locked:
    """A redis-server that asks for a login; its node has it in its settings."""

    def __init__(self, redis):
        self.redis = redis
        self.endpoint = f'{redis.endpoint}"\npassword = "secret'

    def __getattr__(self, name):
        return getattr(self.redis, name)


def ask(node, *words):
    try:
        with node.client(timeout=20) as client:
            return client.cmd(*words)
    except (OSError, Closed):
        return "CLOSED"


if __name__ == "__main__":
    harness.run(__doc__, rounds_option)
