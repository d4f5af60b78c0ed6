"""Sessions at several azimuths, under lag, resyncs, cut links and failovers, judged (I4).

At each level the judges of consistency.py find nothing; where nothing is promised the same judges do.
"""
import itertools
import signal
import os
import time

import netns
from consistency import (GUARANTEES, LINEARIZABLE, MONOTONIC_READS, READ_YOUR_WRITES, REAL_READS, Failover,
                         check_linearizable, check_sessions, check_staleness_ms, check_staleness_writes)
from netns import PlacedCluster
from sessions import CarelessSession, Load, PooledSession, ScatteredSession, UngatedSession, summary

import harness
from cluster import Cluster
from harness import held, in_time, only_azimuth

BOUND_MS, BOUND_WRITES = 150, 20
BOUNDED_MS, BOUNDED_WRITES = f"bounded-staleness {BOUND_MS}", f"bounded-staleness {BOUND_WRITES} writes"


def seconds_option(parser):
    parser.add_argument("--seconds", type=float, 
                        default=float(os.environ.get("AZIMUTH_TEST_SECONDS", "4")),
                        help="how long faults go on in each test")


def others_of(cluster, node):
    return [each for each in cluster.members() if each is not node]


def reads_of(node):
    """How many GETs the Redis of a node has served since it was started."""
    found = node.redis_info("cmdstat_get")
    return int(found.split(",")[0].partition("=")[2]) if found else 0


# --- the faults ----------------------------------------------------------------------------------


def hold_back(stage, node):
    """Its Redis serves reads, and applies nothing of what it is sent, for a while."""
    with node.redis.connect() as client:
        assert client.cmd("CLIENT", "PAUSE", stage.random.randint(50, 400), "WRITE") == "OK"


def freeze_redis(stage, node):
    node.redis.freeze()
    time.sleep(stage.random.uniform(0.05, 0.3))  # the fault itself
    node.redis.thaw()


def lag(stage, cluster, load):
    """One fault after the other, on either replica; the primary stays."""
    primary = cluster.wait_whole()
    epoch = primary.status()["epoch"]
    replicas = others_of(cluster, primary)
    deadline = time.monotonic() + stage.options.seconds
    while time.monotonic() < deadline or min(client.steps for client in load.clients) < 60:
        fault = stage.random.choice((hold_back, hold_back, hold_back, freeze_redis))
        fault(stage, stage.random.choice(replicas))
        load.progress(20)
    assert primary.status()["epoch"] == epoch, "the primary moved"
    return sum(reads_of(node) for node in replicas)


def newest_held(nodes, keys):
    """key -> the newest version that one of these Redis has at this moment."""
    held = {}
    for node in nodes:
        with node.redis.connect() as client:
            for key, value in zip(keys, client.cmd("MGET", *keys)):
                if value is not None:
                    held[key] = max(int(value.split(b":")[1]), held.get(key, 0))
    return held


def fail_over(cluster, load, hurt, heal):
    """hurt(cluster, primary), somebody else leads, heal(cluster, primary), the group is whole. The Failover."""
    primary = cluster.wait_whole()
    survivors = others_of(cluster, primary)
    load.progress(20)
    began = time.monotonic()
    hurt(cluster, primary)
    held = newest_held(survivors, load.keys)
    cluster.wait_primary(but=primary, among=survivors)
    load.check()
    heal(cluster, primary)
    cluster.wait_whole()
    ended = time.monotonic()
    load.progress(20)
    return Failover(began, ended, held)


def fail_over_and_again(stage, cluster, load, kinds):
    """Each of (hurt, heal) once, and so on until the time is over."""
    failovers = []
    deadline = time.monotonic() + stage.options.seconds
    for hurt, heal in itertools.cycle(kinds):
        if len(failovers) >= len(kinds) and time.monotonic() > deadline:
            return failovers
        failovers.append(fail_over(cluster, load, hurt, heal))


def kill_redis(_, node):
    node.redis.kill()


def restart_redis(_, node):
    node.redis.restart()


def kill_node(_, node):
    node.kill(redis=True)


def restart_node(_, node):
    node.redis.restart()
    node.start()


def freeze(_, node):
    node.process.send_signal(signal.SIGSTOP)


def thaw(_, node):
    time.sleep(0.5)  # the fault goes on while somebody else leads
    node.process.send_signal(signal.SIGCONT)


# --- the judging ---------------------------------------------------------------------------------
# (A busy machine does little in a few seconds; what has not come up in them says nothing: in_time.)


def tell(load, history, verdict):
    print(f"       {verdict}\n       {summary(history)}; refused: {load.refusals()}", flush=True)


def check_causal(load, history, failovers=()):
    verdict = check_sessions(history, failovers)
    tell(load, history, verdict)
    held(not verdict.violations, verdict)
    in_time(verdict.judged > 150, f"hardly a read: {verdict}")
    return verdict


# --- what is promised is kept ----------------------------------------------------------------------


@only_azimuth
def causal_sessions_hold_while_replicas_lag(stage):
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes) as load:
            local = lag(stage, cluster, load)
            history = load.stop()
        print(f"       {local} reads at replicas", flush=True)
        verdict = check_causal(load, history)
        held(not verdict.lost, verdict)
        in_time(local > verdict.judged / 20, f"only {local} of {verdict.judged} reads were at replicas")


@only_azimuth
def causal_sessions_hold_while_replicas_resync(stage):
    """A replica's Redis comes back empty, loads and catches up, again and again."""
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        with Load(stage, cluster.nodes) as load:
            deadline = time.monotonic() + stage.options.seconds
            while time.monotonic() < deadline:
                replica = stage.random.choice(others_of(cluster, primary))
                replica.redis.kill()
                load.progress(10)
                replica.redis.restart()
                load.progress(20)
                assert cluster.wait_whole() is primary, "the primary moved"
            load.progress(50)
            local = sum(reads_of(node) for node in others_of(cluster, primary))
            history = load.stop()
        print(f"       {local} reads at replicas since the last resync", flush=True)
        verdict = check_causal(load, history)
        held(not verdict.lost, verdict)
        in_time(local > 0, "no read was at a replica")


@only_azimuth
def causal_sessions_hold_across_failovers(stage):
    """Writes may be lost with the only Redis that had them; else nothing goes back."""
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        kinds = ((kill_redis, restart_redis), (freeze, thaw), (kill_node, restart_node))
        with Load(stage, cluster.nodes) as load:
            failovers = fail_over_and_again(stage, cluster, load, kinds)
            history = load.stop()
        check_causal(load, history, failovers)


@only_azimuth
def causal_sessions_of_several_connections_hold_while_replicas_lag_and_primaries_die(stage):
    with Cluster(stage, workers=2) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, kind=PooledSession) as load:
            local = lag(stage, cluster, load)
            kinds = ((kill_redis, restart_redis), (freeze, thaw), (kill_node, restart_node))
            failovers = fail_over_and_again(stage, cluster, load, kinds)
            history = load.stop()
        verdict = check_causal(load, history, failovers)
        in_time(local > 50, f"only {local} of {verdict.judged} reads were at replicas")


@only_azimuth
def causal_sessions_at_sidecars_hold_while_the_two_replicas_that_they_read_lag(stage):
    for scope in ("node", "connection"):
        with Cluster(stage, workers=2, sidecars=3, listen=f'session_scope = "{scope}"') as cluster:
            primary = cluster.wait_whole()
            with Load(stage, [node for node in cluster.nodes if not node.member]) as load:
                lag(stage, cluster, load)
                at_each = [reads_of(node) for node in others_of(cluster, primary)]
                failovers = fail_over_and_again(stage, cluster, load, ((kill_redis, restart_redis), (freeze, thaw)))
                history = load.stop()
            print(f"       scope {scope}: {at_each} reads at the replicas", flush=True)
            check_causal(load, history, failovers)
            assert min(at_each) > 50, f"only {at_each} reads were at replicas: nothing is shown"


@only_azimuth
def causal_sessions_hold_while_links_are_cut(stage):
    """Cables out and in, of a replica, of the primary, and one direction between any two."""
    reason = netns.available()
    if reason:
        print(f"       left out, no network namespaces here: {reason}", flush=True)
        return
    with PlacedCluster(stage, text="hold_timeout_ms = 500\n") as cluster:
        failovers = []
        with Load(stage, cluster.nodes) as load:
            deadline = time.monotonic() + stage.options.seconds
            began, epoch = time.monotonic(), cluster.wait_whole().status()["epoch"]
            while time.monotonic() < deadline:
                source, target = stage.random.sample(cluster.nodes, 2)
                cluster.cut(source, target)
                time.sleep(stage.random.uniform(0.05, 0.5))  # the fault itself
                cluster.mend(source, target)
                now = cluster.wait_whole().status()["epoch"]
                if now != epoch:
                    failovers.append(Failover(began, time.monotonic()))
                began, epoch = time.monotonic(), now
            print(f"       single directions cut: {len(failovers)} elections", flush=True)
            failovers.append(fail_over(cluster, load, PlacedCluster.unplug, PlacedCluster.plug_in))
            history = load.stop()
        check_causal(load, history, failovers)


@only_azimuth
def weaker_sessions_hold_what_they_promise(stage):
    levels = {"read-my-writes": {READ_YOUR_WRITES, REAL_READS}, "monotonic-reads": {MONOTONIC_READS, REAL_READS}}
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, levels=tuple(levels)) as load:
            lag(stage, cluster, load)
            history = load.stop()
        for level, promised in levels.items():
            verdict = check_sessions(history, judged=lambda op, level=level: op.level == level)
            print(f"       {level}: {verdict.judged} reads judged, {verdict.counts()}", flush=True)
            held(not verdict.of(*promised), verdict)


@only_azimuth
def bounded_staleness_holds_while_replicas_lag(stage):
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, levels=(BOUNDED_MS, BOUNDED_WRITES)) as load:
            local = lag(stage, cluster, load)
            history = load.stop()
        for level, check, bound in ((BOUNDED_MS, check_staleness_ms, BOUND_MS),
                                    (BOUNDED_WRITES, check_staleness_writes, BOUND_WRITES)):
            verdict = check(history, bound, judged=lambda op, level=level: op.level == level)
            print(f"       {level}: {verdict}; {local} reads at replicas", flush=True)
            held(not verdict.violations, verdict)
            in_time(verdict.judged > 50, f"hardly a read: {verdict}")
        in_time(local > 20, "hardly a read was at a replica")


@only_azimuth
def strong_sessions_are_linearizable_across_failovers(stage):
    """Every client writes to every key, durably. A primary is killed, and one is frozen beyond its lease."""
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, levels=("strong",), durability="quorum", shared=True) as load:
            fail_over_and_again(stage, cluster, load,
                                ((kill_redis, restart_redis), (freeze, thaw), (kill_node, restart_node)))
            history = load.stop()
        verdict = check_linearizable(history)
        tell(load, history, verdict)
        held(not verdict.violations, verdict)
        in_time(verdict.judged > 100, f"hardly a read: {verdict}")


# --- and the judges do find what is not promised -----------------------------------------------------


def check_found(history, guarantees):
    verdict = check_sessions(history)
    print(f"       found: {verdict.counts()} in {verdict.judged} reads; {summary(history)}", flush=True)
    missing = [each for each in guarantees if not verdict.of(each)]
    in_time(not missing, f"lag was injected, and {missing} was never broken")


def check_stale(history):
    late, lacking = check_staleness_ms(history, 50), check_staleness_writes(history, BOUND_WRITES)
    in_time(late.violations and lacking.violations, f"never stale: {late}, {lacking}")


@only_azimuth
def eventual_sessions_are_found_out(stage):
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, levels=("eventual",)) as load:
            lag(stage, cluster, load)
            history = load.stop()
        check_found(history, GUARANTEES)
        check_stale(history)


@only_azimuth
def eventual_registers_are_not_linearizable(stage):
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, levels=("eventual",), durability="quorum", shared=True) as load:
            lag(stage, cluster, load)
            history = load.stop()
        verdict = check_linearizable(history)
        tell(load, history, verdict)
        in_time(verdict.of(LINEARIZABLE), "lag was injected, and no read was stale")


@only_azimuth
def clients_that_leave_their_tokens_behind_are_found_out(stage):
    """Each session by itself is causal, but switching without the token is not."""
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, kind=CarelessSession) as load:
            lag(stage, cluster, load)
            history = load.stop()
        check_found(history, (READ_YOUR_WRITES, MONOTONIC_READS))


@only_azimuth
def pools_of_connections_that_share_nothing_are_found_out(stage):
    """The same load as that of sessions of several connections, which hold."""
    with Cluster(stage, workers=2) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, kind=ScatteredSession) as load:
            lag(stage, cluster, load)
            history = load.stop()
        check_found(history, (READ_YOUR_WRITES, MONOTONIC_READS))


@only_azimuth
def reads_past_the_gate_are_found_out(stage):
    """Straight from the replica next door: this is what lag does when nothing stands in between."""
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        with Load(stage, cluster.nodes, kind=UngatedSession) as load:
            lag(stage, cluster, load)
            history = load.stop()
        check_found(history, GUARANTEES)
        check_stale(history)


if __name__ == "__main__":
    harness.run(__doc__, seconds_option)
