#!/usr/bin/python3
"""Measures azimuth beside redis directly, nutcracker and haproxy; README.md here explains it.

    tests/bench/run.py [--azimuth build/release/azimuth] [--quick] [--markdown OUT]

Exit code: 0 whatever the figures say (--strict: 1 where a limit is missed), 2 where it cannot run.
"""

import sys

sys.dont_write_bytecode = True

import argparse
import json
import os
import shlex
import shutil
import signal
import tempfile
import time
from contextlib import ExitStack

import report
from clients import build_pacer, idle, pace
from counts import instructions, syscalls
from loads import BY_NAME, IDLE_CLIENTS, INSTRUCTIONS_MAX, LOADS, SYSCALLS_MAX
from machine import BenchError, facts, peak_rss_kib, raise_file_limit
from rounds import run_load
from targets import ORDER, Starter, start_redis

PARTS = ("cpu", "syscalls", "instructions", "idle", "pace")
TOOLS = {"cpu": "redis-benchmark", "syscalls": "strace", "instructions": "valgrind", "pace": "g++"}


def arguments():
    root = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    options = argparse.ArgumentParser(description="azimuth against its peers, on one machine")
    options.add_argument("--azimuth", default=os.path.join(root, "build/release/azimuth"),
                         help="the binary to measure (default: build/release/azimuth)")
    options.add_argument("--azimuth-arg", action="append", default=[], metavar="ARG",
                         help="one more argument for `azimuth run` (repeat it)")
    options.add_argument("--quick", action="store_true", help="about two minutes, rougher")
    options.add_argument("--targets", default=",".join(ORDER), help="some of " + ",".join(ORDER))
    options.add_argument("--loads", default=",".join(BY_NAME), help="some of " + ",".join(BY_NAME))
    options.add_argument("--parts", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    options.add_argument("--rounds", type=int, help="rounds of A B C D (default 5; quick 3)")
    options.add_argument("--seconds", type=float, help="length of one run (default 0.9; quick 0.2)")
    options.add_argument("--markdown", metavar="OUT", help="also write the Markdown report there")
    options.add_argument("--json", metavar="OUT", help="also write every sample there")
    options.add_argument("--strict", action="store_true", help="exit 1 where a limit is missed")
    args = options.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (0.2 if args.quick else 0.9)
    for name, known in (("targets", ORDER), ("loads", tuple(BY_NAME)), ("parts", PARTS)):
        chosen = [c for c in getattr(args, name).split(",") if c]
        unknown = [c for c in chosen if c not in known]
        if unknown or not chosen:
            options.error(f"--{name}: {','.join(unknown) or 'nothing'}; known: {','.join(known)}")
        setattr(args, name, [k for k in known if k in chosen])
    args.azimuth = os.path.abspath(args.azimuth)
    return args


def check_machine(args):
    if (os.cpu_count() or 1) < 2:
        raise BenchError("needs two cores: one for Redis and the proxy, one for the clients")
    needed = {"redis-server": "redis", "taskset": "util-linux"}
    needed.update({t: t for t in args.targets if t in ("nutcracker", "haproxy")})
    needed.update({TOOLS[p]: TOOLS[p] for p in args.parts if p in TOOLS})
    missing = [tool for tool in needed if not shutil.which(tool)]
    if missing:
        raise BenchError("missing programs: " + ", ".join(missing))
    if "azimuth" in args.targets and not os.access(args.azimuth, os.X_OK):
        raise BenchError(f"no azimuth at {args.azimuth}: build it (cmake --preset release && cmake "
                         "--build --preset release), or leave it out with --targets")


def say(text):
    print(text, flush=True)


class Run:
    """One run's processes and findings."""

    def __init__(self, args, directory, stack):
        self.args = args
        self.directory = directory
        self.starter = Starter(directory, args.azimuth, args.azimuth_arg)
        self.redis = start_redis(stack, directory)
        self.names = [n for n in args.targets if n != "direct"]
        self.results = []
        self.extras = {}

    def start_all(self, stack, slowed=False):
        return [self.redis] + [self.starter.start(stack, n, self.redis.port, slowed=slowed)
                               for n in self.names]

    def cpu(self):
        say(report.text_row(report.LOAD_HEADER, report.LOAD_WIDTHS))
        with ExitStack() as stack:
            targets = self.start_all(stack)
            for load in LOADS:
                if load.name not in self.args.loads:
                    continue
                result = run_load(load, targets, self.args.rounds, self.args.seconds)
                self.results.append(result)
                for row in report.load_rows(result):
                    say(report.text_row(row, report.LOAD_WIDTHS))
                if result.noisy():
                    say("  (noisy: other processes took over 5 % of the machine meanwhile)")
            self.extras["peak_rss_mib"] = {
                t.name: peak_rss_kib(t.daemon.pid) / 1024 for t in targets if t.is_proxy}

    def syscalls(self):
        self.extras["syscalls"] = found = {}
        requests = {"p1": 5_000, "p16": 40_000} if self.args.quick else {"p1": 20_000,
                                                                          "p16": 150_000}
        with ExitStack() as stack:
            for target in self.start_all(stack, slowed=True)[1:]:
                for load in (n for n in SYSCALLS_MAX if n in self.args.loads):
                    calls, most = syscalls(target, load, self.directory, requests[load])
                    found[target.name, load] = (calls, f" ({most})")
                    say(f"{target.name}, {BY_NAME[load].title}: {calls:.3f} system calls a request "
                        f"({most})")

    def instructions(self):
        self.extras["instructions"] = found = {}
        requests = {"p1": 8_000, "p16": 50_000} if self.args.quick else {"p1": 30_000,
                                                                          "p16": 200_000}
        # Peers' counts do not depend on our code and take long under callgrind: full runs only.
        names = [n for n in self.names if n == "azimuth" or (
            n == "nutcracker" and ("azimuth" not in self.names or not self.args.quick))]
        for name in names:
            for load in (n for n in INSTRUCTIONS_MAX if n in self.args.loads):
                count = instructions(self.starter, name, self.redis.port, load, self.directory,
                                     requests[load])
                found[name, load] = (count, "")
                say(f"{name}, {BY_NAME[load].title}: {count:,.0f} instructions a request in user "
                    "space")

    def idle(self):
        self.extras["idle"] = found = {}
        # haproxy would need 20,000 descriptors; it holds a connection for each client anyway.
        for name in (n for n in self.names if n != "haproxy"):
            count = min(IDLE_CLIENTS, raise_file_limit() - 1_000)
            kib, before, after = idle(self.starter, name, self.redis.port, count)
            found[name] = (kib, before, after, count)
            say(f"{name}: {kib:.2f} KiB per idle client ({count:,} of them), connections to Redis "
                f"{before} -> {after}")

    def pace(self):
        pacer = build_pacer(self.directory)
        rounds, seconds = (3, 1) if self.args.quick else (5, 3)
        with ExitStack() as stack:
            self.extras["pace"] = found = pace(pacer, self.start_all(stack), rounds, seconds)
        for name, r in found.items():
            say(f"{name}: p50 {r['p50_ms']:.3f} ms, p99 {r['p99_ms']:.3f} ms, p99.9 "
                f"{r['p999_ms']:.3f} ms at {r['rate']:,.0f} requests/s (the sender's own p99 "
                f"lateness {r['sender_late_p99_ms']:.3f} ms)")


def as_json(run, seen):
    samples = [{"load": r.load.name, "target": t, "command": c, "strangers": r.strangers,
                "rounds": [vars(s) for s in rounds]}
               for r in run.results for (t, c), rounds in r.samples.items()]
    extras = {k: {"/".join(n) if isinstance(n, tuple) else n: v for n, v in found.items()}
              for k, found in run.extras.items()}
    return json.dumps({"machine": seen, "samples": samples, **extras}, indent=1)


def finish(args, run, took_s):
    command = shlex.join(["tests/bench/run.py", *sys.argv[1:]])
    note = (f"Medians of {args.rounds} rounds of {args.seconds:g} s; one thread a proxy, on one "
            f"core with Redis, the client on the other; {took_s / 60:.0f} min in all.")
    seen = facts()
    text = report.markdown(command, seen, note, run.results, run.extras)
    say("\n" + text)
    if args.markdown:
        with open(args.markdown, "w") as out:
            out.write(text)
    if args.json:
        with open(args.json, "w") as out:
            out.write(as_json(run, seen))
    missed = report.failures(report.rest_table(run.results, run.extras))
    missed += report.failures(report.main_table(run.results))
    say(f"{missed} limits missed" if missed else "no limit missed")
    return 1 if missed and args.strict else 0


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds: stops what it started
    started = time.monotonic()
    broken = []
    try:
        check_machine(args)
        raise_file_limit()
        with tempfile.TemporaryDirectory(prefix="azimuth-bench-") as directory, \
                ExitStack() as stack:
            run = Run(args, directory, stack)
            for part in args.parts:
                say(f"-- {part}, {time.monotonic() - started:.0f} s")
                try:
                    getattr(run, part)()
                except (BenchError, OSError) as error:  # the other parts are still worth having
                    broken.append(f"{part}: {error}")
                    print(f"bench: {broken[-1]}", file=sys.stderr, flush=True)
        code = finish(args, run, time.monotonic() - started)
        for what in broken:
            print(f"bench: not measured: {what}", file=sys.stderr)
        return 2 if broken else code
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
