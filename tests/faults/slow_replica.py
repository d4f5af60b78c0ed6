"""A replica that is slower than its primary: its redis-server is stopped whenever it is ahead of a given pace.

And clients that write or read one after another, each in its turn, with what they have seen in bins of time.
"""
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from resp import Client, Closed, encode  # noqa: E402

BIN_S = 0.1


def offset_of(client):
    """What a Redis has applied, as a replica, or written, as a primary."""
    role = client.cmd("ROLE")
    return int(role[1] if role[0] == b"master" else role[4])


class SlowReplica(threading.Thread):
    """Lets `redis` apply so many bytes a second, on average over some tenths; end() lets it go.

    It takes as much at a time as it finds, and is never stopped for longer than stop_s_max, for its azimuth would take
    it for dead: a very low rate is not kept.
    """

    def __init__(self, redis, bytes_per_second, stop_s_max=2.0):
        super().__init__(daemon=True)
        self.redis, self.rate, self.stop_s_max = redis, bytes_per_second, stop_s_max
        self.over = threading.Event()
        self.trouble = None

    def run(self):
        try:
            self.hold_back()
        except (OSError, Closed) as error:
            self.trouble = error
        finally:
            self.redis.process.send_signal(signal.SIGCONT)

    def hold_back(self):
        with self.redis.connect(timeout=10) as client:
            allowed, then = offset_of(client), time.monotonic()
            while not self.over.is_set():
                self.redis.process.send_signal(signal.SIGCONT)
                applied = offset_of(client)
                now = time.monotonic()
                allowed = min(allowed + self.rate * (now - then), applied + self.rate / 5)
                then = now
                if applied > allowed:
                    self.redis.process.send_signal(signal.SIGSTOP)
                    self.over.wait(min((applied - allowed) / self.rate, self.stop_s_max))
                else:
                    time.sleep(0.001)

    def end(self):
        self.over.set()
        self.join(20)
        assert self.trouble is None, self.trouble


class Bins:
    """What one load has seen: for each bin of time the count, the mean and the worst latency in ms."""

    def __init__(self):
        self.rows = []  # (monotonic time, count, mean ms, worst ms)

    def between(self, begin, end):
        return [row for row in self.rows if begin <= row[0] < end]

    def mean_ms(self, begin, end):
        rows = [row for row in self.between(begin, end) if row[1]]
        count = sum(row[1] for row in rows)
        return sum(row[1] * row[2] for row in rows) / count if count else float("nan")

    def per_second(self, begin, end):
        return sum(row[1] for row in self.between(begin, end)) / (end - begin)


class Load(Bins):
    """A process of its own with `clients` connections, each with one request under way."""

    def __init__(self, port, verb, clients, value_bytes):
        super().__init__()
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), str(port), verb, str(clients), str(value_bytes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            at, count, mean, worst = line.split()
            self.rows.append((float(at), int(count), float(mean), float(worst)))

    def end(self):
        self.process.stdin.close()
        code = self.process.wait(20)
        self.reader.join(20)
        assert code == 0, f"a load ended with {code}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)


def drive(port, verb, clients, value_bytes):
    """Runs until standard input ends; any error reply ends it with a traceback."""
    selector = selectors.DefaultSelector()
    value = b"v" * value_bytes
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    state = {}

    def ask(sock, number):
        key = f"{verb}:{number}:{state[sock][1] % 100}"
        state[sock] = [time.monotonic(), state[sock][1] + 1, b""]
        sock.sendall(encode(["SET", key, value] if verb == "SET" else ["GET", f"SET:{number}:0"]))

    for number in range(clients):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        state[sock] = [0.0, 0, b""]
        selector.register(sock, selectors.EVENT_READ, number)
        ask(sock, number)
    bin_end, count, total, worst = time.monotonic() + BIN_S, 0, 0.0, 0.0
    while not stop.is_set():
        for key, _ in selector.select(BIN_S / 4):
            sock = key.fileobj
            data = sock.recv(1 << 16)
            assert data, "the connection was closed"
            answer = state[sock][2] + data
            state[sock][2] = answer
            assert answer[:1] in b"+$", answer[:200]
            if not answer.endswith(b"\r\n"):
                continue
            took = time.monotonic() - state[sock][0]
            count, total, worst = count + 1, total + took, max(worst, took)
            ask(sock, key.data)
        now = time.monotonic()
        if now >= bin_end:
            print(f"{now:.3f} {count} {total * 1000 / max(count, 1):.3f} {worst * 1000:.3f}", flush=True)
            bin_end, count, total, worst = now + BIN_S, 0, 0.0, 0.0


if __name__ == "__main__":
    drive(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
