"""A group of real azimuths and redis-servers: bootstrap, failover, switchover, witnesses, and what is set up wrongly."""
import json
import os
import re
import signal
import stat
import subprocess
import time

import harness
from cluster import Cluster, ClusterNode
from harness import RedisServer, only_azimuth, wait_until
from resp import Client


def run(stage, *arguments, timeout=30):
    return subprocess.run([stage.binary, *arguments], capture_output=True, text=True, timeout=timeout)


# --- the whole group -----------------------------------------------------------------------------

@only_azimuth
def three_members_become_one_group(stage):
    with Cluster(stage, workers=2) as cluster:
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        for node in cluster.nodes:
            status = node.status()
            assert (status["epoch"], status["primary"]) == (epoch, primary.id), status
            assert status["role"] == ("primary" if node is primary else "replica"), status
            assert status["isolated"] is False and status["ready"] is True, status
            assert [each["id"] for each in status["members"]] == ["a1", "b1", "c1"], status
            assert {each["zone"] for each in status["members"]} == {"z-a1", "z-b1", "z-c1"}
            for each in status["members"]:
                assert each["alive"] and each["ready"], each
                assert each["role"] == ("primary" if each["id"] == primary.id else "replica"), each
                assert set(each) == {"id", "zone", "region", "role", "alive", "ready", "position", "lag"}
            assert sorted(status["cluster"]["voters"]) == ["a1", "b1", "c1"]
            assert node.redis_role() == ("master" if node is primary else "slave"), node.name
            assert node.get("/readyz")[0] == 200
            assert "azimuth_member_ready{" in node.get("/metrics")[1]
            assert primary.id in node.get("/")[1]
        for node in cluster.nodes:
            cluster.write(node, f"from-{node.id}", "x")
        cluster.wait_same_data()
        shown = run(stage, "status", "--addr", f"127.0.0.1:{primary.admin_port}").stdout
        for node in cluster.nodes:
            assert re.search(rf"^{node.id} +z-{node.id} +r1 +(primary|replica) +yes +yes ", shown, re.M), shown
        with primary.client() as client:
            info = client.cmd("INFO", "azimuth").decode()
            assert f"azimuth_primary:{primary.id}\r\n" in info and "azimuth_member2:id=c1" in info, info
            members = client.cmd("AZIMUTH", "MEMBERS")
            assert len(members) == 3, members


@only_azimuth
def two_members_of_three_elect_nobody_at_first(stage):
    with Cluster(stage, start=False) as cluster:
        for node in cluster.nodes[:2]:
            node.start()
        first = cluster.nodes[0]
        wait_until(lambda: (first.status() or {}).get("why"), what="a reason")
        status = first.status()
        assert status["primary"] is None and status["ready"] is False, status
        code, text = first.get("/readyz")
        assert code == 503 and "not ready: " in text, text
        cluster.nodes[2].start()
        cluster.wait_whole()


@only_azimuth
def all_restarted_they_are_the_same_group(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        cluster.write(primary, "k", "v")
        cluster.wait_same_data()
        epoch = primary.status()["epoch"]
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        again = cluster.wait_whole()
        assert again.status()["epoch"] >= epoch
        with again.redis.connect() as client:
            assert client.cmd("GET", "k") == b"v"


# --- failures ------------------------------------------------------------------------------------

@only_azimuth
def a_killed_redis_is_replaced_and_comes_back_empty_as_a_replica(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        cluster.write(primary, "k", "v")
        cluster.wait_same_data()
        primary.redis.kill()
        began = time.monotonic()
        successor = cluster.wait_primary(but=primary)
        took = time.monotonic() - began
        assert took < (10 if stage.slow else 3), took
        assert successor.redis_role() == "master"
        cluster.write(primary, "k2", "v2")  # through the node whose own Redis is gone
        primary.redis.restart()  # empty: it has nothing on disk
        assert cluster.wait_whole() is successor
        cluster.wait_same_data()
        with primary.redis.connect() as client:
            assert (client.cmd("GET", "k"), client.cmd("GET", "k2")) == (b"v", b"v2")


@only_azimuth
def an_empty_primary_that_is_back_at_once_erases_nobody(stage):
    with Cluster(stage) as cluster:
        for round_ in range(2):
            primary = cluster.wait_whole()
            cluster.write(primary, f"k{round_}", "v")
            cluster.wait_same_data()
            primary.redis.kill()
            primary.redis.restart()
            cluster.wait_whole()
            cluster.wait_same_data()
            with cluster.wait_primary().redis.connect() as client:
                for each in range(round_ + 1):
                    assert client.cmd("GET", f"k{each}") == b"v"


@only_azimuth
def a_killed_node_is_replaced_and_rejoins(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        cluster.write(primary, "k", "v")
        cluster.wait_same_data()
        primary.kill(redis=True)
        rest = [node for node in cluster.nodes if node is not primary]
        began = time.monotonic()
        successor = cluster.wait_primary(but=primary, among=rest)
        took = time.monotonic() - began
        assert took < (20 if stage.slow else 6), took
        for node in rest:
            wait_until(lambda: not next(each for each in node.status()["members"]
                                        if each["id"] == primary.id)["alive"], what="known to be dead")
            cluster.write(node, f"at-{node.id}", "v")
        primary.redis.restart()
        primary.start()
        assert cluster.wait_whole() is successor
        cluster.wait_same_data()


@only_azimuth
def alone_a_node_takes_no_writes_and_says_so(stage):
    with Cluster(stage, text="hold_timeout_ms = 300\n") as cluster:
        primary = cluster.wait_whole()
        cluster.write(primary, "k", "v")
        for node in cluster.nodes:
            if node is not primary:
                node.kill(redis=True)
        wait_until(lambda: primary.status()["isolated"], what="isolated")
        wait_until(lambda: primary.status()["role"] == "replica", what="no primary any more")
        status = primary.status()
        assert status["primary"] is None and status["ready"] is False and status["why"], status
        with primary.client() as client:
            wait_until(lambda: str(client.cmd("SET", "k", "lost")).startswith("CLUSTERDOWN"),
                       what="refused")
        with primary.redis.connect() as client:
            assert client.cmd("GET", "k") == b"v"
        for node in cluster.nodes:
            if node is not primary:
                node.redis.restart()
                node.start()
        cluster.wait_whole()


# --- switchover ----------------------------------------------------------------------------------

@only_azimuth
def a_switchover_moves_the_primary_without_a_full_sync(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        cluster.write(primary, "k", "v")
        cluster.wait_same_data()
        full = {node.id: node.redis_info("sync_full") for node in cluster.nodes}
        others = [node for node in cluster.nodes if node is not primary]
        # By the command line, to whom it likes.
        done = run(stage, "switchover", "--addr", f"127.0.0.1:{primary.admin_port}")
        assert done.returncode == 0, done
        second = cluster.wait_whole()
        assert second is not primary and f"{second.id} is the primary" in done.stdout, done
        # By RESP, at a node that does not lead, to a named one.
        cluster.switch_over(primary, primary.id)
        assert cluster.wait_whole() is primary
        # By the admin listener.
        assert second.get(f"/switchover?to={others[0].id}", method="POST")[0] == 202
        wait_until(lambda: (cluster.agreed() or (0, ""))[1] == others[0].id, what="switched over")
        cluster.wait_whole()
        cluster.wait_same_data()
        cluster.assert_no_full_sync(full)


@only_azimuth
def a_switchover_that_cannot_be_is_refused_with_the_reason(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        done = run(stage, "switchover", "--to", "nobody", "--addr", f"127.0.0.1:{primary.admin_port}")
        assert done.returncode == 1 and "nobody" in done.stderr, done
        assert primary.status()["cluster"]["switchover"].startswith("refused: ")
        with primary.client() as client:
            reply = client.cmd("AZIMUTH", "SWITCHOVER", "nobody")
            assert str(reply).startswith("ERR azimuth: ") and "nobody" in reply, reply
            assert str(client.cmd("AZIMUTH", "SWITCHOVER", "a", "b")).startswith("ERR ")
            assert str(client.cmd("AZIMUTH", "ELECT", "FORCE")).startswith("ERR ")
        code, text = primary.get("/switchover", method="POST", headers={"Origin": "http://evil"})
        assert code == 403, (code, text)
        assert primary.get("/switchover")[0] == 404
        assert cluster.wait_whole() is primary
        gone = next(node for node in cluster.nodes if node is not primary)
        gone.redis.kill()
        done = run(stage, "switchover", "--to", gone.id, "--addr", f"127.0.0.1:{primary.admin_port}")
        assert done.returncode == 1 and gone.id in done.stderr, done
        assert cluster.wait_primary() is primary


@only_azimuth
def a_primary_that_is_told_to_stop_hands_over_first(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        full = {node.id: node.redis_info("sync_full") for node in cluster.nodes}
        cluster.write(primary, "k", "v")
        primary.end()
        assert primary.events("stepped_down"), primary.log()[-2000:]
        rest = [node for node in cluster.nodes if node is not primary]
        successor = cluster.wait_primary(but=primary, among=rest)
        primary.start()
        assert cluster.wait_whole() is successor
        cluster.wait_same_data()
        cluster.assert_no_full_sync(full)


@only_azimuth
def who_wants_a_quorum_may_log_in(stage):
    """By its session, and by its listener from the first word on. None of that is a write."""
    for listen in ("", 'durability = "quorum"'):
        with Cluster(stage, sidecars=1, listen=listen) as cluster:
            cluster.wait_whole()
            for node in cluster.members():
                with node.redis.connect() as client:
                    assert client.cmd("ACL", "SETUSER", "bob", "on", ">pw", "+@all", "~*") == "OK"
            for node in cluster.nodes:
                with node.client() as client:
                    assert listen or client.cmd("AZIMUTH", "DURABILITY", "quorum") == "OK"
                    assert isinstance(client.cmd("HELLO", "3"), (list, dict))
                    assert isinstance(client.cmd("HELLO", "2", "AUTH", "bob", "pw"), list)
                    assert client.cmd("AUTH", "bob", "pw") == "OK"
                    assert str(client.cmd("AUTH", "bob", "wrong")).startswith("WRONGPASS")
                    assert client.cmd("CLIENT", "UNBLOCK", client.cmd("CLIENT", "ID")) == 0
                    assert client.cmd("SET", "k", "v") == "OK"
                    assert client.cmd("MULTI") == "OK" and client.cmd("HELLO", "3")
                    assert client.cmd("DISCARD") == "OK" and client.cmd("GET", "k") == b"v"


@only_azimuth
def a_user_who_may_not_fail_over_may_not_switch_over(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        for node in cluster.nodes:
            with node.redis.connect() as client:
                assert client.cmd("ACL", "SETUSER", "app", "on", ">pw", "+@all", "-failover", "~*") == "OK"
                assert client.cmd("ACL", "SETUSER", "ops", "on", ">pw", "+@all", "~*") == "OK"
        with primary.client() as client:
            assert client.cmd("AUTH", "app", "pw") == "OK"
            assert str(client.cmd("AZIMUTH", "SWITCHOVER")).startswith("NOPERM")
            assert str(client.cmd("AZIMUTH", "ELECT", "FORCE", "b1")).startswith("NOPERM")
            assert cluster.wait_whole() is primary
            assert client.cmd("AUTH", "ops", "pw") == "OK"
            assert client.cmd("AZIMUTH", "SWITCHOVER") == "OK"
        cluster.wait_primary(but=primary)


# --- witnesses and sidecars ----------------------------------------------------------------------

@only_azimuth
def two_members_and_a_witness_survive_each_single_loss(stage):
    with Cluster(stage, members=2, witnesses=1) as cluster:
        witness = cluster.by_id("w1")
        primary = cluster.wait_whole()
        status = witness.status()
        assert status["role"] == "witness" and status["redis"] is None, status
        assert [each["id"] for each in status["cluster"]["witnesses"]] == ["w1"], status
        wait_until(lambda: sorted(witness.status()["cluster"]["voters"]) == ["a1", "b1", "w1"],
                   what="the witness votes")
        witness.kill()
        cluster.write(primary, "without", "witness")
        witness.start()
        cluster.wait_whole()
        wait_until(lambda: witness.status()["primary"] == primary.id, what="the witness is back")
        primary.kill(redis=True)
        other = next(node for node in cluster.members() if node is not primary)
        assert cluster.wait_primary(but=primary, among=[other, witness]) is other
        cluster.write(other, "without", "primary")
        primary.redis.restart()
        primary.start()
        assert cluster.wait_whole() is other


@only_azimuth
def a_sidecar_follows_without_a_vote(stage):
    with Cluster(stage, sidecars=1) as cluster:
        primary = cluster.wait_whole()
        sidecar = cluster.by_id("s1")
        wait_until(lambda: sidecar.status()["primary"] == primary.id, what="the sidecar knows")
        status = sidecar.status()
        assert status["role"] == "sidecar" and status["redis"] is None, status
        assert len(status["members"]) == 3 and status["cluster"]["witnesses"] == [], status
        assert sidecar.get("/readyz")[0] == 200
        cluster.write(sidecar, "through", "sidecar")
        cluster.switch_over(sidecar)
        successor = cluster.wait_primary(but=primary)
        cluster.write(sidecar, "through", "it again")
        with successor.redis.connect() as client:
            assert client.cmd("GET", "through") == b"it again"


# --- what is set up wrongly ----------------------------------------------------------------------

@only_azimuth
def a_wrong_key_is_told_and_changes_nothing(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        stranger = cluster.add("d1", key=cluster.new_key())
        stranger.start()
        wait_until(lambda: any(node.events("datagram_dropped") for node in cluster.nodes[:3]),
                   what="a line about it")
        line = next(node for node in cluster.nodes if node.events("datagram_dropped")).events(
            "datagram_dropped")[0]
        assert "kind=wrong_key" in line and "key_file" in line, line
        wait_until(lambda: stranger.events("no_seed_answers"), what="no seed answers")
        assert "cluster.name and key" in stranger.events("no_seed_answers")[0]
        assert stranger.status()["primary"] is None
        for node in cluster.nodes[:3]:
            status = node.status()
            assert (status["epoch"], status["primary"], len(status["members"])) == (epoch, primary.id, 3)


@only_azimuth
def a_taken_node_id_silences_the_newcomer(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        # Who has been there for some seconds had the id first.
        wait_until(lambda: cluster.nodes[1].status()["uptime_s"] >= 4, what="b1 established")
        twin = cluster.add("twin", node_id="b1")
        twin.start()
        wait_until(lambda: twin.events("node_id_taken"), what="a line about it")
        line = twin.events("node_id_taken")[0]
        assert str(cluster.nodes[1].peer_port) in line and "node.id" in line, line
        wait_until(lambda: "taken" in twin.get("/readyz")[1], what="said by /readyz")
        assert twin.redis_role() == "master" and twin.status()["role"] != "primary"
        twin.kill(redis=True)
        cluster.nodes.remove(twin)
        assert cluster.wait_whole() is primary
        assert primary.status()["epoch"] == epoch


@only_azimuth
def an_address_that_others_cannot_reach_is_told(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        nowhere = harness.free_port()
        lost = cluster.add("d1", advertise_port=nowhere)
        lost.start()
        line = wait_until(lambda: [line for node in cluster.nodes[:3] for line in node.events("node_unreachable")],
                          what="a line about it")[0]
        assert "node=d1" in line and f"127.0.0.1:{nowhere}" in line and "peer.advertise" in line, line
        lost.kill(redis=True)
        assert (primary.status()["epoch"], primary.status()["primary"]) == (epoch, primary.id)


@only_azimuth
def a_key_file_that_others_can_read_is_refused(stage):
    with Cluster(stage, start=False) as cluster:
        node = cluster.nodes[0]
        os.chmod(cluster.key_file, 0o644)
        node.start(wait=False)
        assert node.process.wait(20) == 2
        assert cluster.key_file in node.log() and "600" in node.log(), node.log()
        os.chmod(cluster.key_file, stat.S_IRUSR | stat.S_IWUSR)
        with open(cluster.key_file, "w") as file:
            file.write("abc\n")
        node.start(wait=False)
        assert node.process.wait(20) == 2 and "keygen" in node.log(), node.log()


@only_azimuth
def a_corrupt_state_is_not_taken_for_none(stage):
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        node = cluster.nodes[2]
        node.kill()
        path = os.path.join(node.data_dir, "group.state")
        with open(path, "rb") as file:
            whole = file.read()
        with open(path, "wb") as file:
            file.write(whole[:len(whole) // 2])
        node.start(wait=False)
        assert node.process.wait(20) == 2
        assert path in node.log() and "move the file away" in node.log(), node.log()[-1500:]
        os.unlink(path)
        node.start()
        cluster.wait_whole()
        wait_until(lambda: sorted(node.status()["cluster"]["voters"]) == ["a1", "b1", "c1"], what="a voter again")


@only_azimuth
def one_data_dir_is_one_node_s(stage):
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        first = cluster.nodes[0]
        thief = ClusterNode(cluster, "thief", data_dir=first.data_dir)
        thief.start(wait=False)
        assert thief.process.wait(20) == 2
        assert "in use by another azimuth" in thief.log(), thief.log()
        first.kill()
        thief.start(wait=False)
        assert thief.process.wait(20) == 2
        assert "is that of node a1 in cluster orders" in thief.log(), thief.log()
        thief.redis.kill()
        first.start()
        cluster.wait_whole()


@only_azimuth
def a_state_that_cannot_be_saved_costs_the_node_its_say(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        hurt = next(node for node in cluster.nodes if node is not primary)
        # A directory where the new file is to be: the disk as good as full, also for root.
        os.mkdir(os.path.join(hurt.data_dir, "group.state.new"))
        third = next(node for node in cluster.nodes if node not in (primary, hurt))
        cluster.switch_over(primary, third.id)  # a majority can save
        wait_until(lambda: hurt.events("state_not_saved"), what="a line about it")
        assert "group.state" in hurt.events("state_not_saved")[0]
        os.rmdir(os.path.join(hurt.data_dir, "group.state.new"))
        wait_until(lambda: hurt.events("state_saved"), what="saved after all")
        assert cluster.wait_whole() is third


@only_azimuth
def two_redis_servers_with_data_are_not_made_one_by_chance(stage):
    with Cluster(stage, start=False) as cluster:
        for index in (0, 1):
            with cluster.nodes[index].redis.connect() as client:
                client.cmd("CONFIG", "SET", "min-replicas-to-write", "0")
                assert client.cmd("SET", f"from-{index}", "x") == "OK"
        for node in cluster.nodes:
            node.start()
        said = wait_until(lambda: (cluster.nodes[0].status() or {}).get("why") if "b1" in str(
            (cluster.nodes[0].status() or {}).get("why")) else None, what="the reason")
        assert "a1" in said and "ELECT FORCE" in said, said
        for index in (0, 1):
            with cluster.nodes[index].redis.connect() as client:
                assert client.cmd("GET", f"from-{index}") == b"x"
        with cluster.nodes[2].client() as client:
            assert client.cmd("AZIMUTH", "ELECT", "FORCE", "b1") == "OK"
        assert cluster.wait_whole().id == "b1"
        with cluster.nodes[0].redis.connect() as client:
            assert (client.cmd("GET", "from-0"), client.cmd("GET", "from-1")) == (None, b"x")


@only_azimuth
def a_redis_with_data_is_adopted_as_the_first_primary(stage):
    with Cluster(stage, start=False) as cluster:
        with cluster.nodes[1].redis.connect() as client:
            client.cmd("CONFIG", "SET", "min-replicas-to-write", "0")
            assert client.cmd("SET", "k", "v") == "OK"
        for node in cluster.nodes:
            node.start()
        assert cluster.wait_whole().id == "b1"
        cluster.wait_same_data()


@only_azimuth
def a_group_of_one_serves(stage):
    with Cluster(stage, members=1) as cluster:
        primary = cluster.wait_whole()
        cluster.write(primary, "k", "v")
        primary.end()
        primary.start()
        cluster.wait_whole()
        with primary.client() as client:
            assert client.cmd("GET", "k") == b"v"


# --- ends and beginnings -------------------------------------------------------------------------

@only_azimuth
def a_redis_that_refuses_config_leads_nothing_and_says_why(stage):
    with Cluster(stage, start=False) as cluster:
        bad = cluster.nodes[0]
        bad.redis.kill()
        bad.redis = RedisServer("--min-replicas-to-write", "999999", "--rename-command", "CONFIG", "")
        for node in cluster.nodes:
            node.start()
        others = cluster.nodes[1:]
        assert cluster.wait_primary(among=others) in others
        wait_until(lambda: "rename-command" in (bad.status()["why"] or ""), 10, "why it is out of order")
        assert bad.status()["ready"] is False
        cluster.write(bad, "k", "through its azimuth all the same")


@only_azimuth
def who_leaves_is_gone_for_the_others_at_once_and_nobody_hands_over_to_it(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        leaver, heir = [node for node in cluster.nodes if node is not primary]
        leaver.end()
        primary.end()
        hand_over = primary.events("hand_over")
        assert len(hand_over) == 1 and heir.id in hand_over[0].split(" to ")[1], hand_over
        assert not primary.events("hand_over_failed"), primary.log()[-2000:]


@only_azimuth
def all_are_stopped_within_a_moment_and_come_back_with_what_their_aof_kept(stage):
    with Cluster(stage, redis=("--appendonly", "yes")) as cluster:
        cluster.wait_whole()
        cluster.write(cluster.nodes[1], "k", "kept")
        began = time.monotonic()
        for node in cluster.nodes:
            node.process.send_signal(signal.SIGTERM)
        for node in cluster.nodes:
            assert node.process.wait(20) == 0
        assert time.monotonic() - began < (15 if stage.slow else 5), "one waits for those that have left"
        for node in cluster.nodes:
            node.redis.stop(signal.SIGTERM)
            node.redis.restart()
        for node in cluster.nodes:
            node.start()
        cluster.wait_whole()
        with cluster.nodes[2].client() as client:
            assert client.cmd("GET", "k") == b"kept"


@only_azimuth
def a_redis_that_is_busy_for_some_seconds_is_not_deposed(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        with primary.redis.connect(timeout=10) as client:
            assert client.cmd("DEBUG", "SLEEP", "2.5") == "OK"
        cluster.write(cluster.nodes[1], "k", "v")
        assert primary.status()["epoch"] == epoch, primary.log()[-2000:]


if __name__ == "__main__":
    harness.run(__doc__)
