"""System calls (strace) and user-space instructions (callgrind) per request.

Both tools slow the proxy down, which makes its batches larger than in a free run: the calls and
instructions that a whole loop turn shares come out somewhat low. Each count is the slope between
two runs of different length, so start-up, connects and closes drop out.
"""

import glob
import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack

from loads import BY_NAME, COMMANDS
from machine import BenchError, SERVER_CORE, pinned
from rounds import redis_benchmark


def _strace(pid, directory, work):
    """Runs `work` while strace counts; returns (calls in all, {name: calls})."""
    out = os.path.join(directory, "strace.out")
    tracer = subprocess.Popen(pinned(SERVER_CORE, ["strace", "-c", "-f", "-p", pid, "-o", out]),
                              stderr=subprocess.PIPE, text=True)
    try:
        first = tracer.stderr.readline()
        if "attached" not in first:
            raise BenchError(f"strace cannot attach: {first.strip()}")
        work()
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)  # detaches and writes the summary
        tracer.communicate(timeout=20)
    calls = {}
    with open(out) as table:
        for line in table:
            row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if row and row.group(2) != "total":
                calls[row.group(2)] = int(row.group(1))
    return sum(calls.values()), calls


def syscalls(target, load_name, directory, requests):
    """Returns (calls per request, "name share, ..." of the four most frequent)."""
    load = BY_NAME[load_name]
    short = 2 * load.clients * load.pipeline
    low, low_calls = _strace(target.daemon.pid, directory,
                             lambda: redis_benchmark(target.port, load, short))
    high, high_calls = _strace(target.daemon.pid, directory,
                               lambda: redis_benchmark(target.port, load, short + requests))
    made = requests * len(COMMANDS)
    slopes = {n: (c - low_calls.get(n, 0)) / made for n, c in high_calls.items()}
    most = sorted(slopes.items(), key=lambda item: -item[1])[:4]
    return (high - low) / made, ", ".join(f"{n} {v:.3g}" for n, v in most)


def callgrind_run(starter, name, redis_port, load, requests, out):
    """One life of a proxy under callgrind with one load; returns the instructions executed."""
    wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    with ExitStack() as stack:
        target = starter.start(stack, name, redis_port, wrapper, timeout_s=60, slowed=True)
        redis_benchmark(target.port, load, requests)
        target.daemon.stop(timeout_s=60)
        log = target.daemon.log()
    for path in sorted(glob.glob(out + "*")):
        with open(path, errors="replace") as file:
            for line in file:
                total = re.match(r"(?:summary|totals): (\d+)", line)
                if total:
                    return int(total.group(1))
    raise BenchError(f"callgrind left no totals for {name}: {log[-600:]}")


def instructions(starter, name, redis_port, load_name, directory, requests):
    """User-space instructions per request."""
    load = BY_NAME[load_name]
    short = 2 * load.clients * load.pipeline
    totals = []
    for n in (short, short + requests):
        out = os.path.join(directory, f"callgrind.{name}.{load_name}.{n}")
        totals.append(callgrind_run(starter, name, redis_port, load, n, out))
        time.sleep(0.05)
    return (totals[1] - totals[0]) / (requests * len(COMMANDS))
