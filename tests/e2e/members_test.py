"""Members that come and go while clients read and write: `azimuth member remove|add`, and what it refuses."""
import os
import subprocess
import sys

import harness
from cluster import Cluster
from harness import held, in_time, only_azimuth, wait_until
from resp import RespError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))

from consistency import ACKNOWLEDGED, WRITE, check_sessions  # noqa: E402
from sessions import Load, summary  # noqa: E402


def member(stage, node, change, name):
    """(exit code, what was said) of `azimuth member` at a node."""
    done = subprocess.run([stage.binary, "member", change, name, "--addr", f"127.0.0.1:{node.admin_port}"],
                          capture_output=True, text=True, timeout=40)
    return done.returncode, (done.stdout + done.stderr).strip()


def change(stage, node, kind, name):
    code, text = member(stage, node, kind, name)
    assert code == 0, f"member {kind} {name} at {node.name}: {text}\n" + node.log()[-3000:]
    return text


def refused(stage, node, kind, name):
    code, text = member(stage, node, kind, name)
    assert code == 1, f"member {kind} {name} at {node.name} was not refused: {code} {text}"
    return text


def voters(node):
    return node.status()["cluster"]["voters"]


def is_ready_at(primary, name):
    return any(each["id"] == name and each["ready"] for each in primary.status()["members"])


def join(cluster, node, primary):
    node.start()
    wait_until(lambda: node.id in voters(primary) and is_ready_at(primary, node.id), 40, f"{node.id} in the group")
    wait_until(lambda: (node.status() or {}).get("ready"), 10, f"{node.id} ready")


# --- growing and shrinking under clients -----------------------------------------------------------


@only_azimuth
def from_one_to_three_zones_to_a_second_region_and_back_to_one_under_clients(stage):
    """Back to another one than it began with, so that the primary itself moves on the way."""
    with Cluster(stage, members=1) as cluster:
        first = cluster.wait_whole()
        nodes = [first]  # where clients go; the list is theirs
        with Load(stage, nodes, count=4) as load:
            load.progress(20)
            for name, region in (("b1", "r1"), ("c1", "r1"), ("d1", "r2"), ("e1", "r2")):
                node = cluster.add(name, bootstrap=3)  # (one that expects itself alone founds a group)
                node.region = region
                join(cluster, node, first)
                nodes.append(node)
                load.progress(20)
            assert voters(first) == ["a1", "b1", "c1", "d1", "e1"], voters(first)
            stays = cluster.by_id("e1")
            for name in ("c1", "a1", "d1", "b1"):
                leaver = cluster.by_id(name)
                nodes.remove(leaver)  # new sessions go elsewhere; the old ones stay, and it forwards them
                change(stage, stage.random.choice(cluster.nodes), "remove", name)
                wait_until(lambda: leaver.status()["role"] == "removed" and name not in voters(stays), 20, f"{name} told")
                assert leaver.get("/readyz")[0] == 503
                load.progress(20)
            history = load.stop()
        # (A session that moves to a node that has not heard of its epoch yet is told so.)
        refusals = [each for each in load.refusals() if "token is of epoch" not in str(each)]
        assert not refusals, refusals
        verdict = check_sessions(history)
        print(f"       {verdict}\n       {summary(history)}", flush=True)
        held(not verdict.violations and not verdict.lost, verdict)
        in_time(verdict.judged > 200, f"hardly a read: {verdict}")
        assert voters(stays) == ["e1"] and stays.status()["primary"] == "e1", stays.status()
        for node in cluster.nodes:
            if node is not stays:
                node.end()  # it owes nothing to anybody
        newest = {}
        for op in history:
            if op.kind == WRITE and op.outcome == ACKNOWLEDGED:
                newest[op.key] = max(newest.get(op.key, 0), op.version)
        with stays.client() as client:
            for key, version in newest.items():
                found = int(client.cmd("GET", key).split(b":")[1])
                held(found >= version, f"{key}: {found} after {version} was acknowledged")


# --- the dead --------------------------------------------------------------------------------------


@only_azimuth
def a_dead_voter_is_taken_out_and_the_loss_of_another_is_survived(stage):
    with Cluster(stage, members=4) as cluster:
        primary = cluster.wait_whole()
        wait_until(lambda: len(voters(primary)) == 4, what="four voters")
        dead, lost = [node for node in cluster.nodes if node is not primary][:2]
        cluster.write(primary, "k", "v")
        cluster.wait_same_data()
        dead.kill(redis=True)
        text = change(stage, lost, "remove", dead.id)
        assert f"{dead.id} is out of the group" in text and dead.id not in voters(primary), text
        lost.kill(redis=True)
        rest = [node for node in cluster.nodes if node not in (dead, lost)]
        cluster.write(rest[1], "k", "two of three")
        # It comes back, and everybody restarts: it stays out.
        dead.redis.restart()
        lost.redis.restart()
        for node in rest:
            node.kill()
        for node in cluster.nodes:
            node.start()
        wait_until(lambda: "taken out" in dead.get("/readyz")[1], 20, "it is told")
        status = dead.status()
        assert status["ready"] is False and status["role"] == "removed", status
        assert f"azimuth member add {dead.id}" in status["why"], status
        primary = cluster.wait_primary()
        assert dead.id not in voters(primary) and primary.status()["cluster"]["removed"] == [dead.id]
        assert dead.redis_info("min_replicas") != "up" and "slave" != dead.redis_role(), dead.redis_role()
        with dead.client() as client:  # takes its clients to the primary
            wait_until(lambda: client.cmd("GET", "k") == b"two of three", what="its clients' answer")
            assert client.cmd("SET", "k", "through it") == "OK"
            assert client.cmd("AZIMUTH", "MEMBER", "ADD", dead.id) == "OK"  # and the operator, too
        cluster.wait_whole()
        wait_until(lambda: dead.id in voters(primary), what="its vote")
        cluster.wait_same_data()


@only_azimuth
def the_primary_switches_over_before_it_is_taken_out(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        cluster.write(primary, "k", "v")
        wait_until(lambda: len(voters(primary)) == 3, what="three voters")
        with primary.client() as client:
            assert client.cmd("AZIMUTH", "MEMBER", "REMOVE", primary.id) == "OK"
        heir = cluster.wait_primary(but=primary)
        assert heir.status()["epoch"] > epoch and primary.id not in voters(heir)
        assert primary.events("hand_over") and not primary.events("hand_over_failed")
        with heir.client() as client:
            assert client.cmd("GET", "k") == b"v"
        with primary.client() as client:
            assert client.cmd("GET", "k") == b"v"
        assert primary.get("/readyz")[0] == 503


# --- what is refused changes nothing ---------------------------------------------------------------


@only_azimuth
def refusals_are_clear_and_change_nothing(stage):
    with Cluster(stage, sidecars=1) as cluster:
        primary = cluster.wait_whole()
        wait_until(lambda: len(voters(primary)) == 3, what="three voters")
        epoch = primary.status()["epoch"]
        replicas = [node for node in cluster.members() if node is not primary]
        sidecar = cluster.by_id("s1")
        for asked in (primary, replicas[0], sidecar):
            assert "no member or witness z9" in refused(stage, asked, "remove", "z9")
            assert "joins by itself" in refused(stage, asked, "add", "z9")
            assert "is a member already" in refused(stage, asked, "add", replicas[0].id)
            assert "sidecar" in refused(stage, asked, "remove", "s1")
        with sidecar.client() as client:
            reply = client.cmd("AZIMUTH", "MEMBER", "REMOVE", "z9")
            assert isinstance(reply, RespError) and "no member or witness z9" in reply, reply
            assert isinstance(client.cmd("AZIMUTH", "MEMBER", "REMOVE"), RespError)
            assert isinstance(client.cmd("AZIMUTH", "MEMBER", "DESTROY", "a1"), RespError)
        replicas[1].kill()
        wait_until(lambda: not is_ready_at(primary, replicas[1].id), 20, "its death is known")
        for last in (replicas[0], primary):
            text = refused(stage, primary, "remove", last.id)
            assert f"no word from {replicas[1].id}" in text, text
        assert primary.status()["epoch"] == epoch, "it was not even begun"
        assert len(voters(primary)) == 3
        # Down to one, twice the same, and no further.
        change(stage, sidecar, "remove", replicas[1].id)
        assert "already" in refused(stage, replicas[0], "remove", replicas[1].id)
        change(stage, primary, "remove", replicas[0].id)
        assert "last member" in refused(stage, primary, "remove", primary.id)
        cluster.write(sidecar, "k", "v")
        shown = subprocess.run([stage.binary, "status", "--addr", f"127.0.0.1:{primary.admin_port}"],
                               capture_output=True, text=True, timeout=20).stdout
        assert "taken out" in shown and replicas[0].id in shown, shown


@only_azimuth
def who_joins_with_data_of_its_own_or_anothers_id_is_refused(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        wait_until(lambda: len(voters(primary)) == 3, what="three voters")
        foreign = cluster.add("d1")
        with foreign.redis.connect(timeout=5) as client:
            client.cmd("CONFIG", "SET", "min-replicas-to-write", "0")
            assert client.cmd("SET", "precious", "x") == "OK"
        foreign.start()
        wait_until(lambda: "unknown origin" in (foreign.status()["why"] or ""), 20, "the reason")
        assert "in the group already" in refused(stage, primary, "add", "d1")
        with foreign.redis.connect(timeout=5) as client:
            assert client.cmd("GET", "precious") == b"x"
        assert "d1" not in voters(primary)
        change(stage, primary, "remove", "d1")  # who is out for good need not be tried again and again
        foreign.end()
        taken = cluster.by_id("b1")
        # Who has been there for some seconds had the id first.
        wait_until(lambda: taken.status()["uptime_s"] >= 4, what="b1 established")
        double = cluster.add("b1-again", node_id="b1")
        double.start()
        wait_until(lambda: "id is taken" in double.get("/readyz")[1], 20, "the reason")
        assert f"127.0.0.1:{taken.peer_port}" in double.get("/readyz")[1], double.get("/readyz")
        assert sorted(voters(primary)) == ["a1", "b1", "c1"]
        assert taken.status()["ready"] is True, taken.status()
        double.kill(redis=True)
        cluster.nodes.remove(double)


if __name__ == "__main__":
    harness.run(__doc__)
