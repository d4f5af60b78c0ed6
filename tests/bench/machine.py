"""Reads the kernel's books (CPU time, memory, who else runs) and starts pinned processes.

Everything started here dies with the driver: a context manager stops it, and the kernel does
(PR_SET_PDEATHSIG) where the driver itself is killed.
"""

import ctypes
import os
import platform
import random
import re
import resource
import signal
import socket
import subprocess
import time

SERVER_CORE = 0  # Redis and the proxy under test share it
CLIENT_CORE = 1
NOISE_SHARE = 0.05  # others taking more than this of the machine make a figure doubtful
_libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """Something the bench needs is missing or broke; the text says what to do."""


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG


def free_port():
    """A loopback port outside the kernel's ephemeral range, so no client socket can sit on it."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchError("no free loopback port between 20000 and 32000")


def pinned(core, argv):
    return ["taskset", "-c", str(core)] + [str(a) for a in argv]


class Daemon:
    """A server process, its output in a file; stopped (TERM, then KILL) on exit."""

    def __init__(self, name, argv, directory, core=SERVER_CORE):
        self.name = name
        self.log_path = os.path.join(directory, f"{name}-{random.randrange(1 << 32):08x}.log")
        with open(self.log_path, "wb") as log:
            # taskset execs the program, so the pid is the program's own.
            self.process = subprocess.Popen(
                pinned(core, argv), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, cwd=directory, preexec_fn=_die_with_parent)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def check_alive(self):
        if self.process.poll() is not None:
            tail = "\n".join(self.log().splitlines()[-15:])
            raise BenchError(f"{self.name} exited with {self.process.returncode}:\n{tail}")

    def wait_until(self, ready, timeout_s=15):
        """Polls `ready()` until it is true; fails at once where the process has gone."""
        end = time.monotonic() + timeout_s
        while not ready():
            self.check_alive()
            if time.monotonic() > end:
                tail = "\n".join(self.log().splitlines()[-15:])
                raise BenchError(f"{self.name} is not ready after {timeout_s} s:\n{tail}")
            time.sleep(0.02)

    def stop(self, timeout_s=20):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def cpu_ns(pid):
    """CPU time of all living threads, user and system, from the scheduler's own account."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
                total += int(stat.read().split()[0])
        except FileNotFoundError:
            pass  # the thread ended between the two calls
    return total


def _field_kib(path, field):
    with open(path) as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise BenchError(f"{path} has no {field}")


def rss_kib(pid):
    """Exact resident set: /proc/PID/status lags by a batch of pages for each CPU."""
    return _field_kib(f"/proc/{pid}/smaps_rollup", "Rss")


def peak_rss_kib(pid):
    return _field_kib(f"/proc/{pid}/status", "VmHWM")


class Strangers:
    """The share of the machine that others took while the block ran (None if it was too short).

    `own_pids` are the servers; the clients are the children waited for inside the block.
    """

    def __init__(self, own_pids):
        self.own_pids = own_pids
        self.share = None

    @staticmethod
    def _busy_s():
        with open("/proc/stat") as stat:
            ticks = [int(n) for n in stat.readline().split()[1:9]]
        # user nice system idle iowait irq softirq steal
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")

    def _own_s(self):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime + sum(cpu_ns(p) for p in self.own_pids) / 1e9

    def __enter__(self):
        self._start = (time.monotonic(), self._busy_s(), self._own_s())
        return self

    def __exit__(self, *_):
        took = time.monotonic() - self._start[0]
        if took > 0.3:
            others = (self._busy_s() - self._start[1]) - (self._own_s() - self._start[2])
            self.share = max(0.0, others / (took * (os.cpu_count() or 1)))


def _version(argv, pattern):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "absent"
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def facts():
    """What a reader needs to judge the figures: processor, kernel, versions."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "redis": _version(["redis-server", "--version"], r"v=(\S+)"),
        "nutcracker": _version(["nutcracker", "-V"], r"nutcracker-(\S+)"),
        "haproxy": _version(["haproxy", "-v"], r"version (\S+)"),
    }
