"""A member more while clients write: 1 GB of data, a steady load, and what its writers wait before, while and after the new
member copies.

A group of two members; a third joins. One process writes at a fixed rate, whatever the replies do, so that a pause shows in
every write that it holds up. Not part of CI: its numbers are the machine's.

    /usr/bin/python3 tests/bench/join.py --azimuth build/release/azimuth [--gigabytes 1] [--rate 2000] [--quiet 20]
"""
import multiprocessing
import os
import selectors
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "e2e")]

import harness  # noqa: E402
from cluster import Cluster  # noqa: E402
from harness import Stage, wait_until  # noqa: E402
from resp import encode  # noqa: E402

VALUE = b"v" * 1000
NOISE = os.urandom(100_000)  # so that the copy is as long as the data
CLIENTS = 32
GOAL = 2.0


def fill(port, gigabytes):
    """Keys of 1,000 bytes each, by pipelines."""
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        count, step = int(gigabytes * 1e9 / (len(VALUE) + 60)), 500  # (a key and its entry cost some 60 bytes more)
        for begin in range(0, count, step):
            sock.sendall(b"".join(encode(["SET", f"data:{index}", NOISE[index % 90_000:][:len(VALUE)]]) for index in range(begin, begin + step)))
            left = step * 5
            while left:
                reply = sock.recv(left)
                assert reply and b"-" not in reply, reply
                left -= len(reply)
    return count


def drive(port, rate, over, rows):
    """Writes at `rate` until `over`; sends (due, waited ms, right) of each down `rows`, in the end."""
    selector, idle, seen = selectors.DefaultSelector(), [], []
    for number in range(CLIENTS):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ)
        idle.append(sock)
    due_of, began, sent = {}, time.monotonic(), 0
    while not over.is_set() or due_of:
        now = time.monotonic()
        # A write that finds no connection free waits for one, and its wait counts.
        while idle and began + sent / rate <= now and not over.is_set():
            sock = idle.pop()
            due_of[sock] = began + sent / rate
            sock.sendall(encode(["SET", f"load:{sent % 1000}", VALUE]))
            sent += 1
        for key, _ in selector.select(0.0005):
            reply = key.fileobj.recv(4096)
            due = due_of.pop(key.fileobj)
            seen.append((due, (time.monotonic() - due) * 1000, reply == b"+OK\r\n"))
            idle.append(key.fileobj)
    rows.send(seen)


def percentile(rows, begin, end, share):
    waits = sorted(ms for due, ms, _ in rows if begin <= due < end)
    return waits[min(len(waits) - 1, int(len(waits) * share))] if waits else float("nan")


def progress(joiner):
    sync = (joiner.status() or {}).get("cluster", {}).get("sync") or {}
    if sync.get("state") in ("copying", "loading", "waiting", "streaming"):
        left = sync["seconds_left"]
        return f"{sync['how']} sync, {sync['state']}: {sync['bytes'] / 1e6:.0f} MB" + \
            (f", {sync['percent']:.0f} %" if sync["percent"] is not None else "") + (f", {left} s left" if left is not None else "")
    return None


def measure(stage, options):
    with Cluster(stage, members=2) as cluster:
        primary = cluster.wait_whole()
        keys = fill(primary.listen_port, options.gigabytes)
        cluster.wait_whole(120)
        print(f"{keys} keys; Redis holds {int(primary.redis_info('used_memory')) / 1e9:.2f} GB", flush=True)
        over = multiprocessing.Event()
        ours, theirs = multiprocessing.Pipe(False)
        load = multiprocessing.Process(target=drive, args=(primary.listen_port, options.rate, over, theirs), daemon=True)
        load.start()
        time.sleep(3)  # to be warm
        quiet = time.monotonic()
        time.sleep(options.quiet)
        joiner = cluster.add("c1", bootstrap=2)
        joins, shown = time.monotonic(), []
        joiner.start()

        def ready():
            text = progress(joiner)
            if text and text not in shown:
                shown.append(text)
            return any(each["id"] == "c1" and each["ready"] for each in primary.status()["members"])
        wait_until(ready, 300, "the new member is ready")
        joined = time.monotonic()
        time.sleep(options.quiet / 2)
        after = time.monotonic()
        over.set()
        rows = ours.recv()
        load.join(20)
        for text in shown[::max(1, len(shown) // 6)]:
            print("  " + text)
        wrong = sum(not right for _, _, right in rows)
        print(f"\nready {joined - joins:.1f} s after its start; {len(rows)} writes, {wrong} errors\n")
        print("| | writes | p50 ms | p99 ms | p99.9 ms | most ms |\n| --- | --- | --- | --- | --- | --- |")
        for name, begin, end in (("quiet", quiet, joins), ("while it joins", joins, joined), ("afterwards", joined, after)):
            cells = [f"{percentile(rows, begin, end, share):.2f}" for share in (0.5, 0.99, 0.999, 1)]
            count = sum(begin <= due < end for due, _, _ in rows)
            print(f"| {name} | {count} | " + " | ".join(cells) + " |")
        ratio = percentile(rows, joins, joined, 0.99) / percentile(rows, quiet, joins, 0.99)
        print(f"\np99 while it joins: {ratio:.2f} times the quiet one" + ("" if ratio <= GOAL else f" (missed: wanted {GOAL})"))
        cluster.wait_same_data(60)
        return 1 if wrong else 0


def main():
    def add(parser):
        parser.add_argument("--gigabytes", type=float, default=1.0)
        parser.add_argument("--rate", type=float, default=2000.0, help="writes a second, of 1,000 bytes")
        parser.add_argument("--quiet", type=float, default=20.0, help="seconds before, and half of it after")
    options = harness.parse_options(__doc__, add)
    stage = Stage(options)
    try:
        return measure(stage, options)
    finally:
        stage.close(False)


if __name__ == "__main__":
    sys.exit(main())
