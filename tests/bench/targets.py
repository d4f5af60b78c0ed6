"""The four ways to the same Redis: directly, through nutcracker, haproxy (TCP mode), azimuth.

Each proxy is one thread, pinned with Redis; its configuration is written into the run's own
temporary directory.
"""

import os
import socket
from dataclasses import dataclass

from machine import BenchError, Daemon, SERVER_CORE, free_port

ORDER = ("direct", "nutcracker", "haproxy", "azimuth")


@dataclass
class Target:
    name: str
    port: int
    daemon: Daemon  # Redis itself for "direct"

    @property
    def is_proxy(self):
        return self.name != "direct"


def connect(port, timeout_s=10):
    link = socket.create_connection(("127.0.0.1", port), timeout_s)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def answers_ping(port):
    try:
        with connect(port, timeout_s=1) as link:
            link.sendall(b"*1\r\n$4\r\nPING\r\n")
            return link.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def start_redis(stack, directory):
    for _ in range(5):
        port = free_port()
        redis = Daemon("redis-server", [
            "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "",
            "--appendonly", "no", "--daemonize", "no", "--dir", directory,
            "--maxclients", 12_000, "--tcp-backlog", 4096], directory)
        try:
            redis.wait_until(lambda: answers_ping(port))
        except BenchError:
            redis.stop()  # most likely somebody took the port
            continue
        stack.enter_context(redis)
        return Target("direct", port, redis)
    raise BenchError("redis-server does not start; its log: " + redis.log()[-500:])


def _start(stack, name, argv, directory, port, wrapper=(), timeout_s=15):
    daemon = stack.enter_context(Daemon(name, [*wrapper, *argv], directory))
    daemon.wait_until(lambda: answers_ping(port), timeout_s)
    return Target(name, port, daemon)


def _write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def start_nutcracker(stack, directory, redis_port, wrapper=(), timeout_s=15):
    port = free_port()
    settings = _write(directory, f"nutcracker-{port}.yml", f"""\
bench:
  listen: 127.0.0.1:{port}
  hash: fnv1a_64
  distribution: ketama
  auto_eject_hosts: false
  redis: true
  preconnect: true
  backlog: 4096
  servers:
   - 127.0.0.1:{redis_port}:1
""")
    argv = ["nutcracker", "-c", settings, "-a", "127.0.0.1", "-s", free_port(), "-v", "1"]
    return _start(stack, "nutcracker", argv, directory, port, wrapper, timeout_s)


def start_haproxy(stack, directory, redis_port, wrapper=(), timeout_s=15):
    port = free_port()
    settings = _write(directory, f"haproxy-{port}.cfg", f"""\
global
    nbthread 1
    maxconn 5000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{port} backlog 4096
    server redis 127.0.0.1:{redis_port}
""")
    argv = ["haproxy", "-db", "-q", "-f", settings]
    return _start(stack, "haproxy", argv, directory, port, wrapper, timeout_s)


def start_azimuth(stack, directory, redis_port, binary, extra=(), wrapper=(), timeout_s=15):
    port = free_port()
    argv = [binary, "run", "--listen", f"127.0.0.1:{port}", "--redis",
            f"127.0.0.1:{redis_port}", "--workers", 1, *extra]
    daemon = stack.enter_context(Daemon("azimuth", [*wrapper, *argv], directory, SERVER_CORE))
    daemon.wait_until(lambda: "azimuth ready " in daemon.log(), timeout_s)
    daemon.wait_until(lambda: answers_ping(port), timeout_s)
    return Target("azimuth", port, daemon)


# strace and callgrind make requests slow; azimuth would put each of them into its SLOWLOG, and
# that is not what is to be counted.
_SLOWED = ("--set", "slowlog.threshold_us=60000000")


class Starter:
    """Starts any proxy by its name; `binary` and `extra` are azimuth's.

    `slowed`: a tool will slow it down. `wrapper`: the words of the tool, before the program.
    """

    def __init__(self, directory, binary, extra):
        self.directory = directory
        self.binary = binary
        self.extra = extra

    def start(self, stack, name, redis_port, wrapper=(), timeout_s=15, slowed=False):
        if name == "azimuth":
            extra = [*self.extra, *(_SLOWED if slowed else ())]
            return start_azimuth(stack, self.directory, redis_port, self.binary, extra, wrapper,
                                 timeout_s)
        start = {"nutcracker": start_nutcracker, "haproxy": start_haproxy}[name]
        return start(stack, self.directory, redis_port, wrapper, timeout_s)
