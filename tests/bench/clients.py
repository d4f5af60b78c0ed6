"""What clients cost and feel: memory of idle ones, latency at a fixed rate."""

import json
import os
import socket
import subprocess
import time
from contextlib import ExitStack
from statistics import median

from loads import PACE_CLIENTS, PACE_RATE
from machine import BenchError, CLIENT_CORE, Strangers, pinned, rss_kib
from targets import connect

_GET = b"*2\r\n$3\r\nGET\r\n$10\r\nbench:idle\r\n"
_SETTLE_S = 0.3
_HERE = os.path.dirname(os.path.abspath(__file__))


def _ask(link, request):
    link.sendall(request)
    reply = link.recv(4096)
    if not reply or reply.startswith(b"-"):
        raise BenchError(f"unexpected reply {reply[:100]!r} to {request[:60]!r}")
    return reply


def _redis_connections(redis_port):
    with connect(redis_port) as link:
        text = _ask(link, b"*2\r\n$4\r\nINFO\r\n$7\r\nclients\r\n").decode()
    return int(text.split("connected_clients:")[1].split()[0])


def idle(starter, name, redis_port, count):
    """A fresh proxy with `count` clients, all but the first counted, that each sent one GET.

    Returns (KiB a client, connections to Redis before, after). The GET runs before the first
    reading too, so that what is made once (pools, buffers of the loop) is not counted.
    """
    with ExitStack() as stack:
        target = starter.start(stack, name, redis_port)
        pid = target.daemon.pid
        first = stack.enter_context(connect(target.port))
        _ask(first, _GET)
        time.sleep(_SETTLE_S)
        rss_before, links_before = rss_kib(pid), _redis_connections(redis_port)
        links = []
        try:
            for _ in range(count - 1):  # the first is there already; proxies stop at 10,000
                link = connect(target.port)
                links.append(link)
                _ask(link, _GET)
            time.sleep(_SETTLE_S)
            target.daemon.check_alive()
            rss_after, links_after = rss_kib(pid), _redis_connections(redis_port)
        except OSError as error:
            raise BenchError(f"{name} fails its idle client {len(links):,}: {error}") from None
        finally:
            for link in links:
                # A reset instead of TIME_WAIT: 10,000 of those would disturb what comes next.
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                link.close()
    return (rss_after - rss_before) / (count - 1), links_before, links_after


def build_pacer(directory):
    pacer = os.path.join(directory, "pacer")
    done = subprocess.run(["g++", "-std=c++20", "-O2", "-o", pacer,
                           os.path.join(_HERE, "pacer.cpp")], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError("g++ cannot build pacer.cpp:\n" + done.stderr[-2000:])
    return pacer


def _pace(pacer, port, seconds):
    argv = [pacer, port, PACE_CLIENTS, PACE_RATE, seconds]
    try:
        done = subprocess.run(pinned(CLIENT_CORE, argv), capture_output=True, text=True,
                              timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise BenchError(f"pacer hangs at port {port}") from None
    if done.returncode != 0:
        raise BenchError(f"pacer failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def pace(pacer, targets, rounds, seconds):
    """In turns; returns {target: {"p50_ms", "p99_ms", ..., "strangers"}}, each a median.

    "sender_late_p99_ms" and "strangers" tell what is the machine's fault and not the target's.
    """
    seen = {t.name: [] for t in targets}
    pids = {t.daemon.pid for t in targets}
    for _ in range(rounds):
        for target in targets:
            with Strangers(pids) as strangers:
                result = _pace(pacer, target.port, seconds)
            seen[target.name].append({**result, "strangers": strangers.share or 0.0})
    return {name: {key: median(r[key] for r in results) for key in results[0]}
            for name, results in seen.items()}
