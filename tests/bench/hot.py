"""Profiles one proxy under one load and prints the functions that cost most; see profile.sh.

    profile.sh p16                    perf: kernel and user, a share for each function
    profile.sh p16 --callers          perf with call chains (build with -fno-omit-frame-pointer)
    profile.sh p16 --callgrind        user-space instructions per request, function by function
    profile.sh p16 --syscalls         system calls per request (strace)
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack

from counts import callgrind_run, syscalls
from loads import BY_NAME, COMMANDS
from machine import BenchError, CLIENT_CORE, cpu_ns, pinned, raise_file_limit
from rounds import redis_benchmark
from targets import ORDER, Starter, start_redis

_HZ = 2_999  # samples a second; prime, so that it does not beat with timers


def _event():
    """Hardware cycles, or the clock where a virtual machine has no counters."""
    probe = subprocess.run(["perf", "stat", "-e", "cycles", "true"], capture_output=True, text=True)
    broken = probe.returncode != 0 or "not supported" in probe.stderr
    return "cpu-clock" if broken else "cycles"


def _report(data, top, *options):
    shown = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children",
                            *options], capture_output=True, text=True)
    lines = [line for line in shown.stdout.splitlines() if line and not line.startswith("#")]
    if not lines:
        raise BenchError("perf report is empty: " + shown.stderr[-400:])
    # perf pads rows with columns of its own that say nothing here.
    print("\n".join(re.sub(r"\s+-\s+-\s*$", "", line) for line in lines[:top]))


def perf(args, target, load, directory):
    rate = redis_benchmark(target.port, load, max(load.rate_guess // 5, 8))
    requests = [max(8, int(r * args.seconds / len(args.commands))) for r in rate]
    data = os.path.join(directory, "perf.data")
    event = _event()
    argv = ["perf", "record", "-q", "-e", event, "-F", _HZ, "-p", target.daemon.pid, "-o", data]
    before = cpu_ns(target.daemon.pid)
    recorder = subprocess.Popen(pinned(CLIENT_CORE, argv + (["-g"] if args.callers else [])),
                                stderr=subprocess.PIPE, text=True)
    try:
        rates = [redis_benchmark(target.port, load, requests[COMMANDS.index(c)], (c,))[0]
                 for c in args.commands]
    finally:
        recorder.terminate()
        error = recorder.communicate(timeout=60)[1]
    if not os.path.exists(data):
        raise BenchError("perf recorded nothing: " + error[-400:])
    made = sum(requests[COMMANDS.index(c)] for c in args.commands)
    print(f"{target.name}, {load.title}: {', '.join(f'{r:,.0f}' for r in rates)} requests/s "
          f"({', '.join(args.commands)}), {(cpu_ns(target.daemon.pid) - before) / 1e3 / made:.2f} "
          f"CPU s/M while recorded (event {event})\n")
    _report(data, 8, "--sort", "dso", "-g", "none")
    print()
    _report(data, args.top * (6 if args.callers else 1), "--sort", "dso,symbol",
            *([] if args.callers else ["-g", "none"]))


def callgrind(args, starter, redis, load, directory):
    out = os.path.join(directory, "callgrind.out")
    requests = max(2 * load.clients * load.pipeline, 20_000 if load.pipeline == 1 else 100_000)
    requests = min(requests, 200) if load.value_bytes >= 1 << 20 else requests
    total = callgrind_run(starter, args.target, redis.port, load, requests, out)
    made = requests * len(COMMANDS)
    print(f"{args.target}, {load.title}: {total / made:,.0f} instructions a request, start-up "
          f"included (run.py subtracts it)\n\n  per request   share  function")
    shown = subprocess.run(["callgrind_annotate", "--threshold=100", out], capture_output=True,
                           text=True).stdout
    count = 0
    for line in shown.splitlines():
        row = re.match(r"\s*([\d,]+) \(\s*([\d.]+)%\)\s+(.*)$", line)
        if not row or "PROGRAM TOTALS" in line:
            continue
        each = int(row.group(1).replace(",", "")) / made
        print(f"{each:13,.1f}  {row.group(2):>5}%  {row.group(3)}")
        count += 1
        if count == args.top:
            break
    if args.keep:
        shutil.copy(out, args.keep)


def arguments():
    root = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    options = argparse.ArgumentParser(prog="profile.sh", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("load", choices=list(BY_NAME))
    options.add_argument("--azimuth", default=os.path.join(root, "build/release/azimuth"))
    options.add_argument("--azimuth-arg", action="append", default=[], metavar="ARG")
    options.add_argument("--target", default="azimuth", choices=ORDER[1:])
    options.add_argument("--command", choices=[c.lower() for c in COMMANDS],
                         help="only this one of SET and GET (perf)")
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--top", type=int, default=40, help="how many functions")
    options.add_argument("--callers", action="store_true")
    options.add_argument("--callgrind", action="store_true")
    options.add_argument("--syscalls", action="store_true")
    options.add_argument("--keep", metavar="OUT", help="keep the callgrind output there")
    args = options.parse_args()
    args.commands = [args.command.upper()] if args.command else list(COMMANDS)
    args.azimuth = os.path.abspath(args.azimuth)
    return args


def main():
    args = arguments()
    load = BY_NAME[args.load]
    try:
        raise_file_limit()
        with tempfile.TemporaryDirectory(prefix="azimuth-profile-") as directory, \
                ExitStack() as stack:
            redis = start_redis(stack, directory)
            starter = Starter(directory, args.azimuth, args.azimuth_arg)
            if args.callgrind:
                callgrind(args, starter, redis, load, directory)
                return 0
            target = starter.start(stack, args.target, redis.port, slowed=args.syscalls)
            if args.syscalls:
                requests = max(20, load.rate_guess // 4)
                each, most = syscalls(target, load.name, directory, requests)
                print(f"{args.target}, {load.title}: {each:.3f} system calls a request ({most})")
            else:
                perf(args, target, load, directory)
        return 0
    except BenchError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
