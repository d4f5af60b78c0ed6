"""CPU and throughput: redis-benchmark against each target in turns (A B C D, A B C D, ...)."""

import subprocess
import time
from dataclasses import dataclass, field
from statistics import mean, median

from loads import COMMANDS
from machine import BenchError, CLIENT_CORE, NOISE_SHARE, Strangers, cpu_ns, pinned

_SETTLE_S = 0.02  # closes of the last clients are charged to the run that opened them


def redis_benchmark(port, load, requests, commands=COMMANDS):
    """Runs the load, all requests once for each command; returns [requests/s] per command."""
    argv = ["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-c", load.clients,
            "-P", load.pipeline, "-d", load.value_bytes, "-n", requests,
            "-t", ",".join(c.lower() for c in commands), "--csv"]
    try:
        done = subprocess.run(pinned(CLIENT_CORE, argv), capture_output=True, text=True,
                              timeout=180)
    except subprocess.TimeoutExpired:
        raise BenchError(f"redis-benchmark hangs: {load.title} at port {port}") from None
    rates = {}
    for line in done.stdout.splitlines():
        cells = [c.strip('"') for c in line.split(",")]
        if cells[0] in commands:
            rates[cells[0]] = float(cells[1])
    if done.returncode != 0 or set(rates) != set(commands):
        raise BenchError(f"redis-benchmark failed ({load.title}, port {port}, exit "
                         f"{done.returncode}): {(done.stdout + done.stderr)[-400:]}")
    return [rates[c] for c in commands]


@dataclass
class Sample:
    rate: float  # requests/s
    cpu: float  # the proxy's CPU seconds per million requests; 0 for direct
    redis_cpu: float


@dataclass
class LoadResult:
    load: object
    samples: dict = field(default_factory=dict)  # (target, command) -> [Sample], one a round
    strangers: list = field(default_factory=list)

    def has(self, target):
        return (target, COMMANDS[0]) in self.samples

    def _rounds(self, target, attribute):
        """One value a round: the mean over SET and GET."""
        lists = [[getattr(s, attribute) for s in self.samples[target, c]] for c in COMMANDS]
        return [mean(pair) for pair in zip(*lists)]

    def median(self, target, attribute):
        return median(self._rounds(target, attribute))

    def against(self, target, base, attribute):
        """Medians of the quotients of neighbours in time, so that drift cancels out."""
        by_command = []
        for c in COMMANDS:
            pairs = zip(self.samples[target, c], self.samples[base, c])
            by_command.append([getattr(a, attribute) / getattr(b, attribute) for a, b in pairs])
        per_round = [mean(pair) for pair in zip(*by_command)]
        return median(per_round), min(per_round), max(per_round)

    def noisy(self):
        seen = [s for s in self.strangers if s is not None]
        return bool(seen) and mean(seen) > NOISE_SHARE


def _books(target, redis, load, command, requests):
    """One run: (requests/s, the proxy's CPU ns, Redis's CPU ns)."""
    before = (cpu_ns(target.daemon.pid), cpu_ns(redis.daemon.pid))
    rate = redis_benchmark(target.port, load, requests, (command,))[0]
    time.sleep(_SETTLE_S)
    target.daemon.check_alive()
    after = (cpu_ns(target.daemon.pid), cpu_ns(redis.daemon.pid))
    return rate, after[0] - before[0], after[1] - before[1]


def _measure(target, redis, load, command, requests, connecting=(0, 0, 0)):
    """`connecting`: (requests, CPU ns, Redis's CPU ns) of the run to subtract."""
    rate, cpu, redis_cpu = _books(target, redis, load, command, requests)
    requests -= connecting[0]
    cpu -= connecting[1]
    redis_cpu -= connecting[2]
    per_million = 1e6 / requests / 1e9
    return Sample(rate, cpu * per_million if target.is_proxy else 0.0, redis_cpu * per_million)


def _requests(load, rate, seconds):
    batch = load.clients * load.pipeline
    return max((20 if load.connects_apart else 2) * batch, 8, int(rate * seconds))


def run_load(load, targets, rounds, seconds):
    """A warm-up finds each target's rate, so that every round lasts about `seconds`."""
    redis = targets[0]
    result = LoadResult(load)
    rates, connecting = {}, {}
    for target in targets:
        for command in COMMANDS:
            key = (target.name, command)
            result.samples[key] = []
            rates[key] = _books(target, redis, load, command,
                                _requests(load, load.rate_guess, 0.1))[0]
            connecting[key] = (0, 0, 0)
            if load.connects_apart:
                little = 2 * load.clients
                connecting[key] = (little, *_books(target, redis, load, command, little)[1:])
    pids = {t.daemon.pid for t in targets}
    for _ in range(rounds):
        for target in targets:
            with Strangers(pids) as strangers:
                for command in COMMANDS:
                    key = (target.name, command)
                    requests = _requests(load, rates[key], seconds)
                    sample = _measure(target, redis, load, command, requests, connecting[key])
                    rates[key] = sample.rate
                    result.samples[key].append(sample)
            result.strangers.append(strangers.share)
    return result
