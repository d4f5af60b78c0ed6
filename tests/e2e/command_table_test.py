#!/usr/bin/env python3
"""router/commands.inc against the COMMAND reply of a live redis-server.

The table is read as text, so this needs no azimuth binary. It is true of Redis 7.0: in front of
another version the test is skipped, since there the differences are what ExtraCommands is for.
"""
import pathlib
import re
import sys

import harness
from harness import test

TABLE = pathlib.Path(__file__).resolve().parents[2] / "router" / "commands.inc"
ROW = re.compile(r'^ROW\((\w+),\s*"([^"]+)",\s*(-?\d+),\s*(-?\d+),\s*(-?\d+),\s*(-?\d+),\s*'
                 r"(\w+),\s*(\w+),\s*([\w|]+)\)$")
GROUP = re.compile(r"^// group: ([\w-]+)")
VERSION = "7.0."

# What COMMAND does not say: hidden by Redis (server.c), or azimuth's own.
NOT_IN_COMMAND = {"may_replicate", "inquiry"}
# Flags that the mechanical spelling (kDenyOom -> deny_oom) does not give.
SPELLING = {"deny_oom": "denyoom", "no_script": "noscript", "movable_keys": "movablekeys",
            "no_flags": None}


def flag_name(enumerator):
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", enumerator[1:]).lower()
    return SPELLING.get(name, name)


def read_table():
    """name -> (arity, flags, keys), group of each name, names in order, identifiers."""
    rows, groups, order, idents, group = {}, {}, [], [], None
    for line in TABLE.read_text().splitlines():
        if match := GROUP.match(line):
            group = match[1]
        elif line.startswith("ROW("):
            match = ROW.match(line)
            assert match, f"not a row: {line}"
            ident, name, arity, first, last, step, _, _, flags = match.groups()
            assert name not in rows, f"twice: {name}"
            rows[name] = (int(arity), {flag_name(f) for f in flags.split("|")} - {None},
                          (int(first), int(last), int(step)))
            groups[name] = group
            order.append((group, name))
            idents.append((ident, name))
    return rows, groups, order, idents


def read_command(client):
    """The same from COMMAND, subcommands included."""
    rows = {}
    for entry in client.cmd("COMMAND"):
        for row in [entry] + entry[9]:
            rows[text(row[0])] = (row[1], {text(flag) for flag in row[2]},
                                  (row[3], row[4], row[5]))
    return rows


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def start(stage):
    redis = stage.redis()
    client = redis.connect()
    info = text(client.cmd("INFO", "server"))
    version = re.search(r"redis_version:(\S+)", info)[1]
    if not version.startswith(VERSION):
        print(f"skipped: redis-server is {version}, the table is of {VERSION}x", flush=True)
        sys.exit(harness.SKIP)
    return redis, client


@test
def arity_flags_and_keys_are_those_of_command(stage):
    live = read_command(start(stage)[1])
    table = {name: row for name, row in read_table()[0].items() if name != "azimuth"}
    wrong = [f"missing: {name} {live[name]}" for name in sorted(live.keys() - table.keys())]
    wrong += [f"not in Redis: {name}" for name in sorted(table.keys() - live.keys())]
    for name in sorted(live.keys() & table.keys()):
        arity, flags, keys = table[name]
        if (arity, flags - NOT_IN_COMMAND, keys) != live[name]:
            wrong.append(f"{name}: the table says {table[name]}, COMMAND {live[name]}")
    assert not wrong, "\n".join(wrong)


@test
def rows_are_grouped_as_redis_groups_them_and_sorted(stage):
    _, client = start(stage)
    docs = client.cmd("COMMAND", "DOCS")
    group_of = {}
    for name, facts in zip(docs[::2], docs[1::2]):
        pairs = {text(key): value for key, value in zip(facts[::2], facts[1::2])}
        group_of[text(name)] = text(pairs["group"])
    _, groups, order, _ = read_table()
    wrong = [f"{name} is under {group}, Redis says {group_of[name.split('|')[0]]}"
             for name, group in groups.items()
             if name != "azimuth" and group != group_of[name.split("|")[0]]]
    assert not wrong, "\n".join(wrong)
    for (before, after) in zip(order, order[1:]):
        assert before < after, f"out of order: {before} before {after}"


@test
def identifiers_are_the_names(stage):
    del stage  # the text alone
    for ident, name in read_table()[3]:
        expected = "".join(part.capitalize() for part in re.split(r"[|_-]", name))
        assert ident == expected, f"{name}: {ident} should be {expected}"


@test
def may_replicate_is_set_where_pause_write_postpones(stage):
    """COMMAND hides the flag; CLIENT PAUSE ... WRITE shows it: what it postpones that is no
    write may replicate."""
    table = read_table()[0]
    marked = {name for name, row in table.items() if "may_replicate" in row[1]}
    samples = {"eval": ("EVAL", "return 1", "0"), "fcall": ("FCALL", "nosuch", "0"),
               "evalsha": ("EVALSHA", "0" * 40, "0"), "publish": ("PUBLISH", "c", "m"),
               "spublish": ("SPUBLISH", "c", "m"), "pfcount": ("PFCOUNT", "k")}
    assert marked == samples.keys(), marked
    redis, control = start(stage)
    control.cmd("CLIENT", "PAUSE", "600000", "WRITE")
    clients = []
    for request in samples.values():
        clients.append(redis.connect())
        clients[-1].send(*request)
    passing = redis.connect()
    for request in (("GET", "k"), ("EVAL_RO", "return 1", "0"), ("INFO",), ("TIME",),
                    ("CONFIG", "GET", "port"), ("SCRIPT", "LOAD", "return 2"), ("SCAN", "0"),
                    ("ACL", "WHOAMI"), ("TOUCH", "k"), ("PUBSUB", "CHANNELS"), ("MEMORY", "STATS")):
        passing.cmd(*request)  # answered at once, though writes are paused

    def all_postponed():
        return f"blocked_clients:{len(samples)}\r" in text(control.cmd("INFO", "clients"))

    harness.wait_until(all_postponed, what="all samples are postponed")
    control.cmd("CLIENT", "UNPAUSE")
    for client in clients:
        client.read()


if __name__ == "__main__":
    harness.run(__doc__)
