"""The stage of the end-to-end tests: real redis-servers, azimuth in front of them, and a runner.

A test is a function marked @test that takes a Stage. `--azimuth direct` leaves azimuth out: the
same test then talks to redis-server itself, which proves the test before it judges azimuth.

Everything started here is on loopback, dies with the test program even when that is killed
(PR_SET_PDEATHSIG: start processes from the main thread), and lives in one temporary directory
that is removed at the end. A sanitizer's report in azimuth's log fails the test that caused it.
"""
import argparse
import atexit
import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from resp import Client, Closed

SKIP = 77
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
SANITIZER = re.compile(
    rb"ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|"
    rb"runtime error:|SUMMARY: UndefinedBehaviorSanitizer"
)

_live = []  # processes to kill at exit, newest last
_directory = None


def directory():
    global _directory
    if _directory is None:
        _directory = tempfile.mkdtemp(prefix="azimuth-e2e-")
    return _directory


def _clean_up():
    for process in reversed(_live):
        if process.poll() is None:
            try:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait(10)
            except OSError:
                pass
    if _directory:
        shutil.rmtree(_directory, ignore_errors=True)


atexit.register(_clean_up)


class Late(AssertionError):
    """Something did not come in time: azimuth's fault, or that of a machine that had other things to do."""


class Broken(AssertionError):
    """A guarantee does not hold: a write lost or done twice, a stale read."""


def held(holds, what):
    if not holds:
        raise Broken(what)


def in_time(done, what):
    if not done:
        raise Late(what)


def wait_until(condition, seconds=20.0, what="condition"):
    """Waits for condition() to be true and returns its value; raises Late after the deadline."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Late(f"not within {seconds} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


_ports_taken = []


def claim_port(port):
    """None if somebody listens there, or another test has claimed it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            claim.bind(f"\0azimuth-test-port-{port}")
            probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            return None
    return claim


def free_ports(count):
    """The first of so many ports in a row that nobody listens on now, outside the kernel's own range for outgoing
    ones. No other test that runs beside this one is given them: abstract sockets of their names stand for them as
    long as this process lives."""
    pick = random.Random(os.urandom(8))
    while True:
        first = pick.randrange(12000, 32000)
        claims = [claim_port(first + i) for i in range(count)]
        if all(claims):
            _ports_taken.extend(claims)
            return first
        for claim in filter(None, claims):
            claim.close()


def free_port():
    return free_ports(1)


def spawn(argv, log, **options):
    def child():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log, preexec_fn=child, **options)
    _live.append(process)
    return process


def terminate(process, again, seconds=40):
    """SIGTERM; the exit code. `again`: TSan was seen to hold a signal back for good, so it is sent twice."""
    for _ in range(2 if again else 1):
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
    process.kill()
    raise AssertionError(f"it ignores SIGTERM for {seconds} s")


def memory_kib(pid, field):
    """A line of /proc/PID/status in KiB: VmRSS, VmHWM."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise AssertionError(f"no {field} for {pid}")


def reset_peak_memory(pid):
    """VmHWM starts again from now."""
    with open(f"/proc/{pid}/clear_refs", "w") as refs:
        refs.write("5")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class RedisServer:
    """A redis-server of our own; keeps its port and directory over restarts."""

    def __init__(self, *options, host="127.0.0.1", unix=False, start=True):
        self.options = list(options)
        self.host = host
        self.dir = tempfile.mkdtemp(prefix="redis-", dir=directory())
        self.unix = os.path.join(self.dir, "redis.sock") if unix else None
        self.port = free_port()
        self.process = None
        if start:
            self.start()

    @property
    def address(self):
        return self.unix or (self.host, self.port)

    @property
    def endpoint(self):
        """The address as azimuth's settings spell it."""
        if self.unix:
            return f"unix:{self.unix}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def argv(self):
        argv = [
            "redis-server",
            "--bind",
            self.host,
            "--save",
            "",
            "--dir",
            self.dir,
            "--daemonize",
            "no",
            "--port",
            "0" if self.unix else str(self.port),
        ]
        if self.unix:
            argv += ["--unixsocket", self.unix]
        return argv + self.options

    def start(self, wait=True, retries=20):
        for _ in range(retries):
            with open(os.path.join(self.dir, "log"), "ab") as log:
                self.process = spawn(self.argv(), log, stdout=log)
            if not wait or self._wait_ready():
                return self
            if self.log().count(b"Address already in use"):  # taken since free_port()
                self.port = free_port()
                continue
            break
        raise AssertionError("redis-server does not start:\n" + self.log().decode("latin-1")[-2000:])

    def _wait_ready(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                with Client(self.address, 5) as client:
                    if not str(client.cmd("PING")).startswith("LOADING"):
                        return True
            except (OSError, Closed):
                pass
            time.sleep(0.005)
        return False

    def restart(self):
        """Same port, same directory. Retries while the kernel still holds the port."""
        deadline = time.monotonic() + 20
        while True:
            with open(os.path.join(self.dir, "log"), "ab") as log:
                self.process = spawn(self.argv(), log, stdout=log)
            if self._wait_ready():
                return self
            assert time.monotonic() < deadline, "redis-server does not come back"

    def kill(self, sig=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(sig)
            self.process.wait(20)

    stop = kill

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def log(self):
        with open(os.path.join(self.dir, "log"), "rb") as log:
            return log.read()

    def connect(self, **options):
        return Client(self.address, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Azimuth:
    """`azimuth run` in front of a RedisServer; with binary "direct", that redis-server itself."""

    def __init__(
        self, binary, redis, workers=1, settings=(), listen=None, admin=False, config=None, extra=()
    ):
        self.binary = binary
        self.direct = binary == "direct"
        self.redis = redis
        self.dir = tempfile.mkdtemp(prefix="azimuth-", dir=directory())
        self.process = None
        self.admin_port = None
        self.node = None
        if self.direct:
            self._address = redis.address
            return
        for attempt in range(20):
            if self._start(workers, list(settings), listen, admin, config, extra):
                return
        raise AssertionError("azimuth does not start:\n" + self.log().decode("latin-1")[-3000:])

    def _start(self, workers, settings, listen, admin, config, extra):
        self._reserved = None
        if listen is None:
            port = free_port()
            # Held by a socket that never listens: azimuth's SO_REUSEPORT may share it, others not.
            self._reserved = socket.socket()
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                self._reserved.bind(("127.0.0.1", port))
            except OSError:
                self._reserved.close()
                return False
            listen, self._address = f"127.0.0.1:{port}", ("127.0.0.1", port)
        elif listen.startswith("unix:"):
            self._address = listen[5:]
        else:
            host, port = listen.rsplit(":", 1)
            self._address = (host.strip("[]"), int(port))
        argv = [self.binary, "run"]
        if config:
            argv += ["--config", config]
        else:
            argv += ["--listen", listen, "--redis", self.redis.endpoint]
            if workers:
                argv += ["--workers", str(workers)]
        if admin:
            self.admin_port = free_port()
            settings = settings + [f'admin.address="127.0.0.1:{self.admin_port}"']
        for setting in settings:
            argv += ["--set", setting]
        argv += list(extra)
        self.argv = argv
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = spawn(argv, log, stdout=subprocess.PIPE, bufsize=0)
        return self._wait_ready()

    def _wait_ready(self):
        self._lines, done = [], threading.Event()

        def pump(stream):
            for line in stream:
                self._lines.append(line)
                if line.startswith(b"azimuth ready"):
                    self.ready_line = line.decode().strip()
                    done.set()
            done.set()

        threading.Thread(target=pump, args=(self.process.stdout,), daemon=True).start()
        done.wait(30)
        return any(line.startswith(b"azimuth ready") for line in self._lines)

    @property
    def address(self):
        return self._address

    @property
    def pid(self):
        return (self.redis if self.direct else self).process.pid

    def connect(self, **options):
        return Client(self.address, **options)

    def log(self):
        try:
            with open(os.path.join(self.dir, "log"), "rb") as log:
                return log.read()
        except FileNotFoundError:
            return b""

    def sanitized(self):
        return is_sanitized(self.binary)

    def stop(self, seconds=40):
        """SIGTERM: azimuth must drain, exit 0 and have nothing to complain about."""
        if self.direct or self.process is None:
            return
        try:
            code = terminate(self.process, self.sanitized(), seconds)
        finally:
            self._release()
        self.check(code)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        self._release()

    def _release(self):
        if getattr(self, "_reserved", None):
            self._reserved.close()

    def check(self, code=0):
        log = self.log()
        tail = log.decode("latin-1")[-6000:]
        assert not SANITIZER.search(log), f"sanitizer report:\n{tail}"
        assert code == 0, f"azimuth exited with {code}:\n{tail}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
            return
        died = self.process.poll() if self.process else None
        self.kill()
        if died is not None:
            print(f"--- azimuth had ended by itself with code {died}", flush=True)
        log = self.log().decode("latin-1")
        if log and not self.direct:
            print("--- the end of azimuth's log:\n" + log[-1500:], flush=True)


def is_sanitized(binary):
    """Whether the binary is a sanitizer build: slower, and its memory says nothing."""
    if binary == "direct":
        return False
    with open(binary, "rb") as file:
        data = file.read()
    return b"__asan_init" in data or b"__tsan_init" in data


class Stage:
    """What a test gets: the options, a seeded random source, and makers of servers."""

    def __init__(self, options):
        self.options = options
        self.binary = options.azimuth
        self.direct = options.azimuth == "direct"
        self.slow = is_sanitized(options.azimuth)
        self.seed = options.seed
        self.random = random.Random(options.seed)
        self._open = []

    def redis(self, *options, **named):
        return self._keep(RedisServer(*options, **named))

    def azimuth(self, redis, **named):
        named.setdefault("workers", self.options.workers or 1)
        return self._keep(Azimuth(self.binary, redis, **named))

    def _keep(self, server):
        self._open.append(server)
        return server

    def close(self, failed):
        """Stops what the test started, newest first; checks azimuth's exit unless it failed."""
        trouble = None
        for server in reversed(self._open):
            try:
                if isinstance(server, Azimuth):
                    server.__exit__(AssertionError if failed or trouble else None, None, None)
                else:
                    server.kill()
            except AssertionError as error:
                trouble = trouble or error
        self._open = []
        if trouble:
            raise trouble


_tests = []


def test(function):
    _tests.append(function)
    return function


def only_azimuth(function):
    """A test of what plain Redis does not do: left out with --azimuth direct."""
    function.only_azimuth = True
    return test(function)


def parse_options(description, add=None):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--azimuth", required=True, help="path of the binary, or 'direct'")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--only", default="", help="run tests whose name holds this")
    if add:
        add(parser)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(4), "big")
    return options


LATE = (Late, TimeoutError, subprocess.TimeoutExpired)


def attempt(function, options):
    """Runs one test. Returns its trouble as text, or None, and whether it may be tried again: see run."""
    stage, trouble, again = Stage(options), None, True
    try:
        function(stage)
    except Exception as error:  # a test that fails must not stop the others
        trouble = traceback.format_exc()
        of_a_guarantee = isinstance(error, Broken) or re.match(r"i\d", function.__name__)
        again = isinstance(error, LATE) or not of_a_guarantee
    try:
        stage.close(trouble is not None)
    except AssertionError:
        trouble, again = trouble or traceback.format_exc(), False
    return trouble, again


def run(description, add=None):
    """Runs all tests of the calling program and exits with ctest's code.

    A test that fails is run once more, and its name stands in the last lines of tests/run.sh: hundreds of tests of
    real processes meet a moment now and then that their authors did not think of. What must never happen fails at
    once: a broken guarantee (Broken, and whatever is wrong in a test that is named after an invariant, but for its
    deadlines), a bad exit, a sanitizer's report.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = parse_options(description, add)
    program = os.path.basename(sys.argv[0])
    print(f"{program}: azimuth={options.azimuth} seed={options.seed}", flush=True)
    passed, failed = 0, []
    for function in _tests:
        name = function.__name__
        if options.only not in name:
            continue
        if options.azimuth == "direct" and getattr(function, "only_azimuth", False):
            print(f"leave  {name} (nothing to see on redis-server itself)", flush=True)
            continue
        start = time.monotonic()
        trouble, once_more = attempt(function, options)
        again = f"again: {program} --azimuth {options.azimuth} --seed {options.seed} --only {name}"
        if trouble and once_more:
            print(f"AGAIN  {name} ({time.monotonic() - start:.2f} s)\n{trouble}{again}", flush=True)
            trouble, _ = attempt(function, options)
        took = time.monotonic() - start
        if trouble:
            failed.append(name)
            print(f"FAIL   {name} ({took:.2f} s)\n{trouble}{again}", flush=True)
        else:
            passed += 1
            print(f"ok     {name} ({took:.2f} s)", flush=True)
    if failed:
        print("failed: " + " ".join(failed))
    print(f"{passed} passed, {len(failed)} failed", flush=True)
    sys.exit(1 if failed else 0)
