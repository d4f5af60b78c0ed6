"""`azimuth dev`: it serves, tells of deaths, and leaves no process and no file behind, however it ends."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile

import harness
from harness import free_ports, only_azimuth, spawn, wait_until
from node import get_page
from resp import Client


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    if int(stat.read().rsplit(")", 1)[1].split()[1]) == pid:
                        found.append(int(entry))
            except OSError:
                pass
    return found


def named(pids, name):
    """The one of them whose command line begins so."""
    for pid in pids:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            if line.read().replace(b"\0", b" ").startswith(name):
                return pid
    raise AssertionError(f"no {name} among {pids}")


class Dev:
    def __init__(self, stage, *arguments, wait=True, environment=None):
        self.temporary = tempfile.mkdtemp(prefix="dev-", dir=harness.directory())
        self.port = free_ports(3)  # a zone each
        self.log_name = os.path.join(harness.directory(), f"dev-{self.port}.log")
        with open(self.log_name, "wb") as log:
            self.process = spawn(
                [stage.binary, "dev", "--base-port", str(self.port), *arguments], log,
                stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": self.temporary,
                                             **(environment or {})})
        self.output = ""
        if wait:
            for line in self.process.stdout:
                self.output += line.decode()
                if line.startswith(b"azimuth dev ready "):
                    break
            assert f"azimuth dev ready listen=127.0.0.1:{self.port}\n" in self.output, self.log()
            self.children = children(self.process.pid)
            self.redis = named(self.children, b"redis-server ")
            self.azimuth = named(self.children, b"azimuth run ")
            self.admin = re.search(r"status +http://(\S+)/", self.output)[1]

    def log(self):
        with open(self.log_name) as log:
            return log.read()

    def end(self, number=None, seconds=40):
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def assert_nothing_left(self):
        wait_until(lambda: not any(running(pid) for pid in self.children), what="children gone")
        wait_until(lambda: os.listdir(self.temporary) == [], what="directory removed")
        # A process counts as gone when its first thread is; the others may still hold the port.
        wait_until(lambda: not self.listens(), what="port closed")

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@only_azimuth
def it_serves_and_ctrl_c_ends_all_of_it(stage):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        dev = Dev(stage)
        with Client(("127.0.0.1", dev.port)) as client:
            assert client.cmd("SET", "greeting", "hello") == "OK"
            assert client.cmd("GET", "greeting") == b"hello"
        status = subprocess.run([stage.binary, "status", "--addr", dev.admin], timeout=20,
                                stdout=subprocess.PIPE, check=True).stdout.decode()
        assert re.search(r"^ready +yes$", status, re.M), status
        assert re.search(r"^node +zone-1 ", status, re.M), status
        assert dev.end(number) == 0, dev.log()
        dev.assert_nothing_left()


@only_azimuth
def killed_it_leaves_nothing_either(stage):
    dev = Dev(stage)
    with Client(("127.0.0.1", dev.port)) as client:
        assert client.cmd("SET", "a", "b") == "OK"
        assert client.cmd("SAVE") == "OK"  # a file in its directory
    dev.end(signal.SIGKILL)
    dev.assert_nothing_left()


@only_azimuth
def a_child_that_dies_is_told_and_not_replaced(stage):
    dev = Dev(stage)
    os.kill(dev.redis, signal.SIGKILL)
    wait_until(lambda: "redis-server of zone-1 was ended by signal 9" in dev.log(), what="told")
    assert running(dev.azimuth) and dev.process.poll() is None
    assert named(children(dev.process.pid), b"azimuth run ") == dev.azimuth
    assert not [pid for pid in children(dev.process.pid) if pid not in dev.children]
    os.kill(dev.azimuth, signal.SIGKILL)
    assert dev.end() == 1
    assert "azimuth of zone-1 was ended by signal 9; nothing is left" in dev.log()
    dev.assert_nothing_left()


@only_azimuth
def a_second_signal_does_not_wait(stage):
    dev = Dev(stage)
    os.kill(dev.azimuth, signal.SIGSTOP)  # it will not drain
    dev.process.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping" in dev.log(), what="stopping")
    assert dev.end(signal.SIGINT, 10) == 0
    dev.assert_nothing_left()


@only_azimuth
def with_a_directory_the_data_stays(stage):
    place = os.path.join(harness.directory(), "dev-data")
    for expected in (None, b"b"):
        dev = Dev(stage, "--dir", place)
        with Client(("127.0.0.1", dev.port)) as client:
            assert client.cmd("GET", "a") == expected
            assert client.cmd("SET", "a", "b") == "OK"
        assert dev.end(signal.SIGTERM) == 0
        dev.assert_nothing_left()


@only_azimuth
def a_port_that_is_taken_is_said(stage):
    dev = Dev(stage)
    second = subprocess.run([stage.binary, "dev", "--base-port", str(dev.port)], timeout=20,
                            stderr=subprocess.PIPE)
    assert second.returncode == 2
    assert f"something listens on port {dev.port} already" in second.stderr.decode()
    assert dev.end(signal.SIGTERM) == 0


@only_azimuth
def without_a_redis_server_it_says_what_to_install(stage):
    dev = Dev(stage, wait=False, environment={"PATH": "/nonexistent"})
    assert dev.end() == 1
    assert "apt-get install redis-server" in dev.log(), dev.log()
    wait_until(lambda: os.listdir(dev.temporary) == [], what="directory removed")


@only_azimuth
def a_number_of_zones_that_cannot_be_had_is_refused(stage):
    for zones in ("0", "10", "x"):
        done = subprocess.run([stage.binary, "dev", "--zones", zones], timeout=20, stderr=subprocess.PIPE)
        assert done.returncode == 2 and b"--zones" in done.stderr, done


# --- several zones -------------------------------------------------------------------------------

def status_of(dev, zone):
    """The /status of the zone's azimuth; None where it does not answer."""
    admin = re.findall(r"status +http://127\.0\.0\.1:(\d+)/", dev.output)[zone]
    try:
        return json.loads(get_page(int(admin), "/status")[1])
    except (OSError, ValueError):
        return None


def all_ready(dev, zone):
    status = status_of(dev, zone)
    return status is not None and all(each["ready"] for each in status["members"])


def primary_of(dev, zones, but=None):
    """The number of the zone that all of `zones` name as the primary."""
    def agreed():
        said = {(status_of(dev, zone) or {}).get("primary") for zone in zones}
        name = said.pop() if len(said) == 1 else None
        return name if name and name != but else None
    return int(wait_until(agreed, 30, "one primary").split("-")[1]) - 1


@only_azimuth
def three_zones_are_a_cluster_that_survives_kills(stage):
    dev = Dev(stage, "--zones", "3")
    assert "is the primary. Kill its Redis" in dev.output, dev.output
    redis = [int(pid) for pid in re.findall(r"redis-server, process (\d+)", dev.output)]
    azimuth = [int(pid) for pid in re.findall(r"azimuth +process (\d+)", dev.output)]
    assert len(redis) == len(azimuth) == 3, dev.output
    with Client(("127.0.0.1", dev.port)) as client:
        reply = client.cmd("SET", "greeting", "hello")
        assert reply == "OK", reply
        assert client.cmd("WAIT", 2, 20000) == 2  # what is acknowledged only may die with its primary
    first = primary_of(dev, range(3))
    os.kill(redis[first], signal.SIGKILL)
    second = primary_of(dev, range(3), but=f"zone-{first + 1}")
    wait_until(lambda: f"redis-server of zone-{first + 1} was ended by signal 9; it starts again" in dev.log(),
               what="told")
    wait_until(lambda: f"redis-server of zone-{first + 1} has started again" in dev.log(), what="started again")
    wait_until(lambda: all_ready(dev, second), 40, "rejoined")
    os.kill(azimuth[second], signal.SIGKILL)
    rest = [zone for zone in range(3) if zone != second]
    primary_of(dev, rest)  # it may be the same one, back in time
    wait_until(lambda: f"azimuth of zone-{second + 1} has started again" in dev.log(), what="started again")
    third = primary_of(dev, range(3))
    wait_until(lambda: all_ready(dev, third), 40, "rejoined")
    with Client(("127.0.0.1", dev.port + 2)) as client:
        reply = client.cmd("GET", "greeting")
        assert reply == b"hello", reply
    dev.children = children(dev.process.pid)
    assert dev.end(signal.SIGINT) == 0, dev.log()
    dev.assert_nothing_left()


@only_azimuth
def three_zones_killed_leave_nothing(stage):
    dev = Dev(stage, "--zones", "3")
    dev.end(signal.SIGKILL)
    dev.assert_nothing_left()


@only_azimuth
def three_zones_with_a_directory_go_on_where_they_were(stage):
    place = os.path.join(harness.directory(), "dev-cluster")
    for expected in (None, b"b"):
        dev = Dev(stage, "--zones", "3", "--dir", place)
        with Client(("127.0.0.1", dev.port + 1)) as client:
            assert client.cmd("GET", "a") == expected
            assert client.cmd("SET", "a", "b") == "OK"
        assert dev.end(signal.SIGTERM) == 0, dev.log()
        dev.assert_nothing_left()


if __name__ == "__main__":
    harness.run(__doc__)
