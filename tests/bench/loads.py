"""What is measured and what counts as passed. Data only: a new load or a new limit is one row.

Units last: CPU in seconds per million requests, memory in KiB, latency in milliseconds.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    name: str
    title: str
    clients: int
    pipeline: int
    value_bytes: int
    rate_guess: int  # requests/s; sizes the warm-up only, the rounds use the rate the warm-up saw
    cpu_max: float
    ratio_min: float  # throughput against redis directly
    # Subtract a run that does little but connect: many connects would weigh on few requests.
    connects_apart: bool = False


LOADS = [
    Load("p1", "P=1", 50, 1, 3, 60_000, 7.3, 1.06),
    Load("p16", "P=16", 50, 16, 3, 400_000, 0.48, 0.85),
    Load("p64", "P=64", 50, 64, 3, 600_000, 0.30, 0.65),
    Load("10k", "10 KiB, P=1", 50, 1, 10_240, 40_000, 9.5, 0.95),
    Load("10k-p16", "10 KiB, P=16", 50, 16, 10_240, 60_000, 4.4, 0.45),
    Load("c1000", "c=1000, P=1", 1000, 1, 3, 50_000, 8.4, 1.06, connects_apart=True),
    Load("1m", "1 MiB, c=4", 4, 1, 1 << 20, 800, 300.0, 0.63),
]
BY_NAME = {load.name: load for load in LOADS}
COMMANDS = ("SET", "GET")  # in this order: GET reads the value that SET left

# (load, peer, azimuth's CPU over the peer's at most)
CPU_OVER_PEER_MAX = [
    ("p1", "nutcracker", 0.80),
    ("p16", "nutcracker", 0.21),
    ("p64", "haproxy", 1.10),
]

SYSCALLS_MAX = {"p1": 2.5, "p16": 0.16}
INSTRUCTIONS_MAX = {"p1": 3000, "p16": 600}

IDLE_CLIENTS = 10_000
IDLE_KIB_MAX = 0.4
# "No Redis connection per client": the idle ones may add only what pools hold anyway.
IDLE_REDIS_CONNECTIONS_MAX = 16
PEAK_RSS_MIB_MAX = 16

PACE_RATE = 20_000
PACE_CLIENTS = 50
PACE_P99_MS_MAX = 1.5
PACE_P99_OVER_DIRECT_MAX = 0.9  # 1.5 of 1.66, for machines slower than where 1.5 was seen
