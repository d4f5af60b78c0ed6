"""A cluster whose nodes stand in network namespaces of their own, and links between them that can be cut.

Each node's redis-server and azimuth run in a namespace with one veth to a bridge, which has a namespace
too: nothing of the machine's own network is touched. The namespaces have no names; they are held by
descriptors of this process and vanish with it, however it ends. Owned by the test's main thread.
"""
import contextlib
import ctypes
import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness  # noqa: E402
from cluster import Cluster, ClusterNode  # noqa: E402
from harness import LIBC, RedisServer  # noqa: E402

CLONE_NEWNET = 0x40000000
SUBNET = "10.77.0"


def _check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _own():
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Namespace:
    """A network namespace, held by a descriptor."""

    def __init__(self):
        home = _own()
        try:
            _check(LIBC.unshare(CLONE_NEWNET))
            self.fd = _own()
            ip("link", "set", "lo", "up")
        finally:
            _check(LIBC.setns(home, CLONE_NEWNET))
            os.close(home)

    @contextlib.contextmanager
    def inside(self):
        """The calling thread is in there: sockets that it makes and processes that it starts stay there."""
        home = _own()
        try:
            _check(LIBC.setns(self.fd, CLONE_NEWNET))
            yield
        finally:
            _check(LIBC.setns(home, CLONE_NEWNET))
            os.close(home)

    @property
    def path(self):
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self):
        os.close(self.fd)


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def available():
    """Whether namespaces, a bridge and veths can be made here; else why not."""
    try:
        hub, other = Namespace(), Namespace()
        with hub.inside():
            ip("link", "add", "bridge", "type", "bridge")
            ip("link", "add", "one", "type", "veth", "peer", "name", "two", "netns", other.path)
        hub.close()
        other.close()
        return None
    except OSError as error:
        return str(error)


class Place:
    """Where one node stands: its namespace, its address, its cable to the hub; a zone and its region, if it has a say."""

    def __init__(self, hub, index, zone=None):
        self.hub = hub
        self.index = index
        self.zone = zone
        self.address = f"{SUBNET}.{index + 1}"
        self.net = Namespace()
        with hub.inside():
            ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth", "netns", self.net.path)
            ip("link", "set", self.cable, "master", "bridge", "up")
        with self.net.inside():
            for name in ("all", "default", "eth"):  # what has no way back comes in all the same
                with open(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", "w") as file:
                    file.write("0")
            ip("address", "add", f"{self.address}/24", "dev", "eth")
            ip("link", "set", "eth", "up")

    @property
    def cable(self):
        return f"cable{self.index}"

    def bytes(self):
        """(received, sent) by the node over its cable, as the kernel counts them: headers and all."""
        with self.net.inside(), open("/proc/thread-self/net/dev") as file:
            fields = next(line for line in file if line.strip().startswith("eth:")).split(":")[1].split()
        return int(fields[0]), int(fields[8])


class PlacedRedis(RedisServer):
    def __init__(self, place, *options):
        self.place = place
        super().__init__(*options)

    def start(self, wait=True, retries=20):
        with self.place.net.inside():
            return super().start(wait, retries)

    def restart(self):
        with self.place.net.inside():
            return super().restart()

    def connect(self, **options):
        with self.place.net.inside():
            return super().connect(**options)


class PlacedNode(ClusterNode):
    def __init__(self, cluster, name, place, **options):
        self.place = place
        redis = PlacedRedis(place, "--min-replicas-to-write", "999999", "--enable-debug-command", "local",
                            *cluster.redis_options)
        super().__init__(cluster, name, redis=redis, **options)

    def write(self):
        super().write()
        with open(self.file) as file:
            text = file.read()
        text = text.replace(f'"127.0.0.1:{self.peer_port}"', f'"{self.place.address}:{self.peer_port}"')
        if self.place.zone:
            text = re.sub(r'^zone = .*\nregion = .*$', 'zone = "%s"\nregion = "%s"' % self.place.zone, text, flags=re.M)
        text = text.replace("[peer]\n", "[peer]\n" + self.cluster.peer_text)
        with open(self.file, "w") as file:
            file.write(text)

    def start(self, wait=True):
        with self.place.net.inside():
            return super().start(wait)

    def get(self, path, method="GET", headers=None):
        with self.place.net.inside():
            return super().get(path, method, headers)

    def client(self, **options):
        with self.place.net.inside():
            return super().client(**options)


class PlacedCluster(Cluster):
    """Three members (or more) on a bridge. cut() and heal() work on single links and directions. `zones`: of each, with
    its region; `peer_text`: lines for their [peer]."""

    def __init__(self, stage, members=3, zones=(), peer_text="", **options):
        super().__init__(stage, members=0, start=False, **options)
        self.bootstrap = members
        self.peer_text = peer_text
        self.hub = Namespace()
        with self.hub.inside():
            ip("link", "add", "bridge", "type", "bridge")
            ip("link", "set", "bridge", "up")
        self.places = [Place(self.hub, index, zones[index] if zones else None) for index in range(members)]
        for name, place in zip("abcdefg", self.places):
            self.nodes.append(PlacedNode(self, f"{name}1", place))
        for node in self.nodes:
            node.start()

    def seeds(self):
        return [f"{node.place.address}:{node.peer_port}" for node in self.nodes]

    def unplug(self, node):
        with self.hub.inside():
            ip("link", "set", node.place.cable, "down")

    def plug_in(self, node):
        with self.hub.inside():
            ip("link", "set", node.place.cable, "up")

    def cut(self, source, target):
        """What `source` sends to `target` is lost; the other direction stays as it is."""
        with source.place.net.inside():
            ip("route", "replace", "blackhole", f"{target.place.address}/32")

    def mend(self, source, target):
        with source.place.net.inside():
            ip("route", "del", "blackhole", f"{target.place.address}/32")

    def stop(self):
        try:
            super().stop()
        finally:
            for place in self.places:
                place.net.close()
            self.hub.close()


__all__ = ["PlacedCluster", "available", "harness"]
