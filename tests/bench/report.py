"""Turns measurements into rows with verdicts, and rows into text and Markdown."""

from loads import (CPU_OVER_PEER_MAX, IDLE_KIB_MAX, IDLE_REDIS_CONNECTIONS_MAX, INSTRUCTIONS_MAX,
                   PACE_P99_MS_MAX, PACE_P99_OVER_DIRECT_MAX, PACE_RATE, PEAK_RSS_MIB_MAX,
                   SYSCALLS_MAX, BY_NAME)
from machine import NOISE_SHARE

PASS, FAIL = "pass", "FAIL"
NONE = "-"


def verdict(ok):
    return PASS if ok else FAIL


def cpu_text(value):
    """Three digits that matter, whatever the size."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def load_rows(result):
    """One row a target, printed as soon as a load is through."""
    rows = []
    for name in ("direct", "nutcracker", "haproxy", "azimuth"):
        if not result.has(name):
            continue
        rate = result.median(name, "rate")
        redis_cpu = cpu_text(result.median(name, "redis_cpu"))
        if name == "direct":
            rows.append([result.load.title, name, f"{rate:,.0f}", NONE, NONE, redis_cpu])
            continue
        ratio, low, high = result.against(name, "direct", "rate")
        rows.append([result.load.title, name, f"{rate:,.0f}",
                     f"{ratio:.2f} ({low:.2f}-{high:.2f})",
                     cpu_text(result.median(name, "cpu")), redis_cpu])
    return rows


LOAD_HEADER = ["load", "target", "requests/s", "ratio (range)", "CPU s/M", "Redis s/M"]
LOAD_WIDTHS = [13, 11, 12, 18, 8, 9]


def text_row(cells, widths):
    return "  ".join(str(c).ljust(w) for c, w in zip(cells, widths)).rstrip()


def _load_verdict(result):
    cpu = result.median("azimuth", "cpu") <= result.load.cpu_max
    ratio = result.against("azimuth", "direct", "rate")[0] >= result.load.ratio_min
    return f"CPU {verdict(cpu)}, ratio {verdict(ratio)}"


def _pair(result, name):
    if not result.has(name):
        return NONE
    ratio = result.against(name, "direct", "rate")[0]
    return f"{cpu_text(result.median(name, 'cpu'))} / {ratio:.2f}"


def main_table(results):
    """The issue's table: each proxy as "CPU s/M / ratio to direct"."""
    rows = [["load (GET and SET)", "direct, requests/s", "nutcracker", "haproxy", "azimuth",
             "at most / at least", "verdict"]]
    for r in results:
        rows.append([r.load.title + (" (noisy)" if r.noisy() else ""),
                     f"{r.median('direct', 'rate'):,.0f}", _pair(r, "nutcracker"),
                     _pair(r, "haproxy"), _pair(r, "azimuth"),
                     f"{cpu_text(r.load.cpu_max)} / {r.load.ratio_min:.2f}",
                     _load_verdict(r) if r.has("azimuth") else NONE])
    return rows


def _peer_rows(results):
    by_load = {r.load.name: r for r in results}
    rows = []
    for load_name, peer, limit in CPU_OVER_PEER_MAX:
        r = by_load.get(load_name)
        if r and r.has(peer) and r.has("azimuth"):
            value, low, high = r.against("azimuth", peer, "cpu")
            rows.append([f"CPU over {peer}'s, {r.load.title}",
                         f"{value:.2f} ({low:.2f}-{high:.2f})", f"{limit:.2f}", NONE,
                         verdict(value <= limit)])
    return rows


def _count_rows(counts, label, limits, form):
    """`counts`: {(target, load): (value, detail)}."""
    rows = []
    for load_name, limit in limits.items():
        mine = counts.get(("azimuth", load_name))
        peers = ", ".join(f"{t} {v:{form}}" for (t, n), (v, _) in counts.items()
                          if n == load_name and t != "azimuth")
        title = BY_NAME[load_name].title
        if mine:
            rows.append([f"{label}, {title}", f"{mine[0]:{form}}{mine[1]}", f"{limit:g}",
                         peers or NONE, verdict(mine[0] <= limit)])
        elif peers:
            rows.append([f"{label}, {title}", NONE, f"{limit:g}", peers, NONE])
    return rows


def _idle_rows(idle):
    """`idle`: {target: (KiB a client, links before, links after, clients)}."""
    peers = [f"{name} {found[0]:.2f}" for name, found in idle.items() if name != "azimuth"]
    if "azimuth" not in idle:
        return [["KiB per idle client", NONE, f"{IDLE_KIB_MAX}", ", ".join(peers), NONE]]
    kib, before, after, clients = idle["azimuth"]
    more = after - before
    return [[f"KiB per idle client ({clients:,})", f"{kib:.2f}", f"{IDLE_KIB_MAX}",
             ", ".join(peers) or NONE, verdict(kib <= IDLE_KIB_MAX)],
            ["Redis connections that these added", f"{more} (to {before})",
             f"{IDLE_REDIS_CONNECTIONS_MAX}", NONE, verdict(more <= IDLE_REDIS_CONNECTIONS_MAX)]]


def _pace_rows(pace):
    def both(name):
        return f"{pace[name]['p50_ms']:.2f} / {pace[name]['p99_ms']:.2f}"

    label = f"p50 / p99 ms at {PACE_RATE:,} requests/s"
    if max(found["strangers"] for found in pace.values()) > NOISE_SHARE:
        label += " (noisy)"
    peers = ", ".join(f"{name} {both(name)}" for name in pace if name != "azimuth")
    if "azimuth" not in pace:
        return [[label, NONE, f"p99 {PACE_P99_MS_MAX}", peers, NONE]]
    limit, limit_text = PACE_P99_MS_MAX, f"p99 {PACE_P99_MS_MAX}"
    relative = pace["direct"]["p99_ms"] * PACE_P99_OVER_DIRECT_MAX if "direct" in pace else 0
    if relative > limit:
        limit, limit_text = relative, f"p99 {relative:.2f} ({PACE_P99_OVER_DIRECT_MAX} of direct's)"
    return [[label, both("azimuth"), limit_text, peers,
             verdict(pace["azimuth"]["p99_ms"] <= limit)]]


def rest_table(results, extras):
    """Everything but CPU and throughput; leaves out what was not measured."""
    rows = [["measure", "azimuth", "at most", "others", "verdict"]]
    rows += _peer_rows(results)
    rows += _count_rows(extras.get("syscalls", {}), "system calls per request", SYSCALLS_MAX, ".3f")
    rows += _count_rows(extras.get("instructions", {}), "user-space instructions per request",
                        INSTRUCTIONS_MAX, ",.0f")
    if extras.get("idle"):
        rows += _idle_rows(extras["idle"])
    peaks = extras.get("peak_rss_mib", {})
    if peaks:
        mine = peaks.get("azimuth")
        others = ", ".join(f"{n} {v:.1f}" for n, v in peaks.items() if n != "azimuth")
        rows.append(["peak RSS in these loads, MiB", NONE if mine is None else f"{mine:.1f}",
                     f"{PEAK_RSS_MIB_MAX}", others or NONE,
                     NONE if mine is None else verdict(mine <= PEAK_RSS_MIB_MAX)])
    if extras.get("pace"):
        rows += _pace_rows(extras["pace"])
    return rows


def markdown_table(rows):
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows[1:]]
    return "\n".join(lines)


def failures(rows):
    return sum(str(row[-1]).count(FAIL) for row in rows[1:])


def markdown(command, facts, note, results, extras):
    """The whole report, as it goes into a README."""
    parts = [f"Made by `{command}` on {facts['processor']}, Linux {facts['kernel']}, "
             f"redis {facts['redis']}, nutcracker {facts['nutcracker']}, "
             f"haproxy {facts['haproxy']}. {note}"]
    if results:
        parts.append("Each proxy: CPU seconds per million requests / throughput against redis "
                     "directly.\n\n" + markdown_table(main_table(results)))
    rest = rest_table(results, extras)
    if len(rest) > 1:
        parts.append(markdown_table(rest))
    return "\n\n".join(parts) + "\n"
