"""A cluster of real processes on loopback, for tests: members with a redis-server each, witnesses, sidecars."""
import os
import re
import secrets
import signal
import subprocess
import tempfile
import time

import harness
from harness import RedisServer, free_port, in_time, spawn, terminate, wait_until
from node import get_page
from resp import Client, Closed


# Why a switchover may be refused at one moment and not at the next.
PASSING = ("bytes behind", "does not answer", "not in sync yet", "not ready yet", "did not catch up", "under way")


class ClusterNode:
    """One azimuth of a Cluster; keeps its ports, files and Redis over restarts."""

    def __init__(self, cluster, name, member=True, voter=None, bootstrap=None, key=None, redis=None,
                 data_dir=None, node_id=None, seeds=None, advertise_port=None):
        self.cluster = cluster
        self.name = name
        self.id = node_id or name
        self.region = "r1"
        self.zone = f"z-{name}"
        self.member = member
        self.voter = voter
        self.bootstrap = bootstrap
        self.key = key or cluster.key_file
        self.seeds = seeds
        self.advertise_port = advertise_port
        self.peer_text = ""  # more settings of [peer]
        self.redis_text = ""  # ... of [redis]
        self.zone, self.workers = f"z-{name}", cluster.workers
        self.dir = tempfile.mkdtemp(prefix=f"{name}-", dir=harness.directory())
        self.data_dir = data_dir or os.path.join(self.dir, "data")
        self.file = os.path.join(self.dir, "azimuth.toml")
        self.log_name = os.path.join(self.dir, "log")
        self.listen_port, self.peer_port, self.admin_port = free_port(), free_port(), free_port()
        self.redis = redis
        if member and redis is None:
            self.redis = RedisServer("--min-replicas-to-write", "999999", "--enable-debug-command", "local",
                                     *cluster.redis_options, unix=cluster.unix)
        self.process = None

    def write(self):
        seeds = self.seeds if self.seeds is not None else self.cluster.seeds()
        lines = [f'[node]\nid = "{self.id}"\nzone = "{self.zone}"\nregion = "{self.region}"\n'
                 f'workers = {self.workers}\ndata_dir = "{self.data_dir}"']
        if self.redis:
            lines.append(f'[redis]\naddress = "{self.redis.endpoint}"\n{self.redis_text}')
        lines += [f'[[listen]]\naddress = "127.0.0.1:{self.listen_port}"\n{self.cluster.listen}',
                  f'[peer]\naddress = "127.0.0.1:{self.peer_port}"\n'
                  f'advertise = "127.0.0.1:{self.advertise_port or self.peer_port}"\n{self.peer_text}',
                  f'[admin]\naddress = "127.0.0.1:{self.admin_port}"',
                  f'[cluster]\nname = "{self.cluster.name}"\nkey_file = "{self.key}"\n'
                  f'bootstrap_expect = {self.bootstrap or self.cluster.bootstrap}\n'
                  f'seeds = [{", ".join(chr(34) + seed + chr(34) for seed in seeds)}]']
        if self.voter is not None:
            lines.append(f'voter = {"true" if self.voter else "false"}')
        lines.append(self.cluster.text)
        with open(self.file, "w") as file:
            file.write("\n".join(lines) + "\n")

    def start(self, wait=True):
        self.write()
        for _ in range(200):  # the kernel may still hold the ports of one that was killed
            with open(self.log_name, "ab") as log:
                self.process = spawn([self.cluster.stage.binary, "run", "--config", self.file], log,
                                     stdout=subprocess.PIPE)
            if not wait:
                return self
            line = self.process.stdout.readline()
            if line.startswith(b"azimuth ready "):
                return self
            self.process.wait(20)
            if "already" not in self.log()[-500:] and "in use" not in self.log()[-500:]:
                break
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not start:\n" + self.log()[-3000:])

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, redis=False):
        """SIGKILL: of azimuth, and of its Redis too if `redis`."""
        if redis and self.redis:
            self.redis.kill()
        if self.runs():
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        if self.process:
            self.process.wait(20)

    def end(self):
        code = terminate(self.process, self.cluster.stage.slow)
        assert code == 0, (self.name, code, self.log()[-3000:])

    def log(self):
        try:
            with open(self.log_name, errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def events(self, name):
        return [line for line in self.log().splitlines() if f" event={name} " in line + " "]

    def get(self, path, method="GET", headers=None):
        return get_page(self.admin_port, path, method, headers)

    def status(self):
        """The document of /status; None where nobody answers."""
        import json
        try:
            code, body = self.get("/status")
            return json.loads(body) if code == 200 else None
        except OSError:
            return None

    def client(self, **options):
        return Client(("127.0.0.1", self.listen_port), **options)

    def redis_role(self):
        """What its redis-server itself says: master or slave."""
        try:
            with self.redis.connect(timeout=5) as client:
                return client.cmd("ROLE")[0].decode()
        except (OSError, Closed):
            return "down"

    def redis_info(self, field):
        with self.redis.connect(timeout=5) as client:
            text = client.cmd("INFO", "everything").decode()
        found = re.search(rf"^{field}:(.*)\r$", text, re.M)
        return found.group(1) if found else None


class Cluster:
    def __init__(self, stage, members=3, witnesses=0, sidecars=0, workers=1, text="", redis=(), start=True,
                 name="orders", listen="", unix=False):
        self.stage = stage
        self.name = name
        self.workers = workers
        self.text = text
        if stage.slow and "hold_timeout_ms" not in text:
            self.text = "hold_timeout_ms = 12000\n" + text  # its failovers take longer, too
        self.listen = listen
        self.redis_options = redis
        self.unix = unix  # between each azimuth and its Redis
        self.bootstrap = members
        self.key_file = self.new_key()
        self.nodes = []
        names = [f"{letter}1" for letter in "abcdefghijklmnopqrstuv"]
        for _ in range(members):
            self.nodes.append(ClusterNode(self, names[len(self.nodes)]))
        for index in range(witnesses):
            self.nodes.append(ClusterNode(self, f"w{index + 1}", member=False, voter=True))
        for index in range(sidecars):
            self.nodes.append(ClusterNode(self, f"s{index + 1}", member=False))
        if start:
            for node in self.nodes:
                node.start()

    def new_key(self):
        handle, path = tempfile.mkstemp(prefix="key-", dir=harness.directory())
        os.write(handle, (secrets.token_hex(32) + "\n").encode())
        os.close(handle)
        return path

    def seeds(self):
        return [f"127.0.0.1:{node.peer_port}" for node in self.nodes if node.member]

    def members(self):
        return [node for node in self.nodes if node.member]

    def by_id(self, node_id):
        return next(node for node in self.nodes if node.id == node_id)

    def add(self, name, **options):
        node = ClusterNode(self, name, **options)
        self.nodes.append(node)
        return node

    def agreed(self, among=None):
        """(epoch, primary) that all of them say, or None; the primary's own Redis must be a master."""
        said = set()
        for node in among or [each for each in self.nodes if each.runs()]:
            status = node.status()
            if status is None or status["primary"] is None:
                return None
            said.add((status["epoch"], status["primary"]))
        if len(said) != 1:
            return None
        return said.pop()

    def wait_primary(self, but=None, among=None, seconds=30.0):
        """The node that all name as the primary (and is not `but`)."""
        def found():
            pair = self.agreed(among)
            return pair if pair and (but is None or pair[1] != but.id) else None
        try:
            return self.by_id(wait_until(found, seconds, "one primary")[1])
        except AssertionError:
            for node in self.nodes:
                print(f"--- {node.name}: {node.status()}\n" + node.log()[-2500:], flush=True)
            raise

    def wait_whole(self, seconds=40.0):
        """Until every member is alive and in sync; the primary."""
        def whole():
            pair = self.agreed()
            if pair is None:
                return False
            members = self.by_id(pair[1]).status()["members"]
            return len(members) == len(self.members()) and all(each["ready"] for each in members)
        try:
            wait_until(whole, seconds, "a whole group")
        except AssertionError:
            for node in self.nodes:
                print(f"--- {node.name}: {node.status()}\n" + node.log()[-2500:], flush=True)
            raise
        return self.wait_primary()

    def switch_over(self, node, *to, seconds=30.0):
        """AZIMUTH SWITCHOVER at `node`, again as long as it is refused for what passes."""
        def done():
            with node.client() as client:
                reply = client.cmd("AZIMUTH", "SWITCHOVER", *to)
            assert reply == "OK" or any(each in reply for each in PASSING), reply
            return reply == "OK"
        wait_until(done, seconds, "switched over")

    def write(self, node, key, value, seconds=20.0):
        """Writes through `node`, again as long as it is refused."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with node.client(timeout=10) as client:
                    reply = client.cmd("SET", key, value)
                if reply == "OK":
                    return
            except (OSError, Closed) as error:
                reply = error
            in_time(time.monotonic() < deadline, f"SET at {node.name}: {reply}\n" + node.log()[-2000:])
            time.sleep(0.02)

    def wait_same_data(self, seconds=30.0):
        """Until DEBUG DIGEST agrees on all members."""
        def digests():
            found = set()
            for node in self.members():
                with node.redis.connect(timeout=5) as client:
                    digest = client.cmd("DEBUG", "DIGEST")
                    assert len(digest) == 40, digest  # an error would be the same everywhere
                    found.add(digest)
            return len(found) == 1
        wait_until(digests, seconds, "the same data everywhere")

    def assert_no_full_sync(self, before):
        for node in self.members():
            assert node.redis_info("sync_full") == before[node.id], node.name

    def stop(self):
        for node in self.nodes:
            if node.runs():
                node.kill()
            if node.redis:
                node.redis.kill()
            assert not harness.SANITIZER.search(node.log().encode()), node.log()[-6000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
