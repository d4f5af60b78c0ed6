"""Sessions that span connections (I4): a pool's, a user's, a client name's, a node's; and what ends with them."""
import contextlib
import os
import signal
import threading
import time

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until
from reading import lose_a_write, reads, reads_next_door, reads_the_past, replicas_of, route

# A replica that applies nothing is read all the same by whoever has not seen more.
LAGGING = "[reads]\nwait_ms = 0\nlag_ms_max = 60000\n"


@contextlib.contextmanager
def pool(node, size, *first):
    """Connections, spread over the node's workers by the kernel."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(node.client(timeout=20)) for _ in range(size)]
        for client in clients:
            if first:
                assert client.cmd(*first) == "OK"
        yield clients


@contextlib.contextmanager
def stutter(node):
    """Its Redis applies what it has received in bursts."""
    stop = threading.Event()

    def pause():
        with node.redis.connect() as direct:
            while not stop.is_set():
                direct.cmd("CLIENT", "PAUSE", "15", "WRITE")
                stop.wait(0.03)
            direct.cmd("CLIENT", "UNPAUSE")
    thread = threading.Thread(target=pause)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def lagging(node):
    """Its Redis applies nothing."""
    with node.redis.connect() as direct:
        assert direct.cmd("CLIENT", "PAUSE", "60000", "WRITE") == "OK"
        try:
            yield
        finally:
            assert direct.cmd("CLIENT", "UNPAUSE") == "OK"


def stale_reads(clients, rounds, enough=None):
    """Writes on one connection, reads on another one at once. How many reads did not show it."""
    stale = 0
    for i in range(rounds):
        writer, reader = clients[i % len(clients)], clients[(i * 5 + i // len(clients) + 1) % len(clients)]
        assert writer.cmd("SET", "k", str(i)) == "OK"
        stale += int(reader.cmd("GET", "k")) != i
        if stale == enough:
            break
    return stale


@only_azimuth
def i4_a_pool_reads_its_own_writes_whichever_connection_it_draws(stage):
    with Cluster(stage, workers=2, listen='session_scope = "node"', text="[reads]\nwait_ms = 1\n") as cluster:
        near = replicas_of(cluster, cluster.wait_whole())[0]
        with pool(near, 8) as clients:
            clients[0].cmd("SET", "k", "0")
            for client in clients:
                reads_next_door(client)
            with stutter(near):
                before = reads(near).get("read-local", 0)

                def enough_are_local():
                    assert stale_reads(clients, 1000) == 0
                    return reads(near).get("read-local", 0) - before > 50
                wait_until(enough_are_local, 60, "local reads")
                # In the same place, those who share nothing do read the past.
                for client in clients:
                    assert client.cmd("AZIMUTH", "SESSION", "connection") == "OK"
                assert stale_reads(clients, 3000, enough=1) == 1, "this test shows nothing"


@only_azimuth
def i4_a_pool_that_pipelines_on_all_workers_reads_its_own_writes(stage):
    with Cluster(stage, workers=2, listen='session_scope = "node"') as cluster:
        near = replicas_of(cluster, cluster.wait_whole())[0]
        faults = []
        acknowledged = [0] * 4  # by key: what some thread has seen acknowledged

        def work(number, rounds):
            with pool(near, 3) as clients:
                for i in range(1, rounds):
                    expected = list(acknowledged)
                    reader = clients[i % 3]
                    for key in range(4):
                        reader.send("GET", f"k{key}")
                    found = [int(reader.read() or 0) for _ in range(4)]
                    if any(a < b for a, b in zip(found, expected)):
                        faults.append((number, i, found, expected))
                    writer = clients[(i + 1) % 3]
                    for j in range(5):
                        writer.send("SET", f"k{number}", str(i * 5 + j))
                    for j in range(5):
                        assert writer.read() == "OK"
                        acknowledged[number] = i * 5 + j
        with stutter(near):
            threads = [threading.Thread(target=work, args=(number, 400)) for number in range(4)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        assert not faults, faults[:5]
        assert min(acknowledged) == 399 * 5 + 4, acknowledged
        assert reads(near).get("read-local", 0) > 0, reads(near)


@only_azimuth
def i4_a_pool_s_reads_never_go_back(stage):
    """Somebody else writes; what one connection was shown, at the primary or at a replica, binds the others."""
    with Cluster(stage, workers=2, sidecars=1) as cluster:
        primary = cluster.wait_whole()
        sidecar = cluster.nodes[-1]
        stop = threading.Event()

        def write():
            with primary.client(timeout=20) as client:
                number = 0
                while not stop.is_set():
                    number += 1
                    client.cmd("SET", "n", str(number))

        def look(clients, rounds):
            last = went_back = 0
            for i in range(rounds):
                if i % 20 == 0:  # after this, that connection's own next read is at the primary
                    clients[i % len(clients)].cmd("SET", "other", "x")
                value = int(clients[(i * 5 + i // 7) % len(clients)].cmd("GET", "n") or 0)
                went_back += value < last
                last = max(last, value)
            return went_back
        thread = threading.Thread(target=write)
        thread.start()
        try:
            with pool(sidecar, 8) as clients:
                clients[0].cmd("SET", "n", "0")
                assert clients[0].cmd("AZIMUTH", "SESSION") == b"node"
                read_at = cluster.by_id([reads_next_door(client, "n", "read-region") for client in clients][-1])
                with stutter(read_at):
                    assert look(clients, 2000) == 0
                    for client in clients:
                        assert client.cmd("AZIMUTH", "SESSION", "connection") == "OK"
                    wait_until(lambda: look(clients, 200) != 0, what="a read that goes back where nothing is shared")
                    for client in clients:
                        assert client.cmd("AZIMUTH", "SESSION", "node") == "OK"
                # It stops: the pool reads elsewhere, and nothing that is older.
                os.kill(read_at.redis.process.pid, signal.SIGSTOP)
                try:
                    assert look(clients, 1000) == 0
                finally:
                    os.kill(read_at.redis.process.pid, signal.SIGCONT)
                assert look(clients, 1000) == 0
                # It dies, and comes back with nothing.
                read_at.redis.kill()
                assert look(clients, 500) == 0
                read_at.redis.restart()
                assert look(clients, 1000) == 0
                assert reads(sidecar).get("read-region", 0) > 50, reads(sidecar)
        finally:
            stop.set()
            thread.join()


@only_azimuth
def i4_what_is_shown_before_its_position_came_is_seen_by_the_others(stage):
    """The position of a batch stands behind all its replies: a long one, of which only the first reply is read."""
    with Cluster(stage, workers=2, listen='session_scope = "node"', text=LAGGING) as cluster:
        near = replicas_of(cluster, cluster.wait_whole())[0]
        with pool(near, 1) as (writer,), pool(near, 4) as others:
            writer.cmd("SET", "large", "x" * 60000)
            writer.cmd("SET", "k", "before")
            for client in others:
                reads_next_door(client)
            with lagging(near):
                for i in range(20):
                    writer.send("SET", "k", str(i))
                    for _ in range(100):
                        writer.send("GET", "large")
                    assert writer.read() == "OK"
                    for client in others:
                        assert client.cmd("GET", "k") == str(i).encode()
                    for _ in range(100):
                        assert len(writer.read()) == 60000


@only_azimuth
def i4_workers_that_read_at_two_replicas_show_no_session_the_past(stage):
    with Cluster(stage, workers=2, sidecars=1, text=LAGGING) as cluster:
        primary = cluster.wait_whole()
        sidecar = cluster.nodes[-1]
        with pool(sidecar, 12) as clients, primary.client() as somebody:
            somebody.cmd("SET", "n", "0")

            def place(client):
                return reads_next_door(client, "n", "read-region")
            one = cluster.by_id(place(clients[0]))
            two = next(node for node in replicas_of(cluster, primary) if node is not one)
            wait_until(lambda: {place(client) for client in clients} == {one.id}, what="all read at one of them")
            places = {}

            def apart():
                """One worker loses its connection to the replica, and reads at the other one for a second."""
                if set(places.values()) <= {one.id}:
                    with one.redis.connect() as direct:
                        readers = [int(line.split()[0].removeprefix("id=")) for line in
                                   direct.cmd("CLIENT", "LIST").decode().splitlines()
                                   if " cmd=role " in line or " cmd=get " in line]
                        direct.cmd("CLIENT", "KILL", "ID", str(max(readers)))
                places.update({client: place(client) for client in clients})
                return set(places.values()) == {one.id, two.id}
            wait_until(apart, what="two workers at two replicas")
            ahead = next(client for client in clients if places[client] == one.id)
            behind = next(client for client in clients if places[client] == two.id)
            with lagging(two):
                somebody.cmd("SET", "n", "1")
                wait_until(lambda: ahead.cmd("GET", "n") == b"1", what="replicated")
                assert behind.cmd("GET", "n") == b"1"


@only_azimuth
def i4_a_user_s_connections_are_one_session_and_a_client_name_s(stage):
    with Cluster(stage, text=LAGGING) as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        for node in cluster.nodes:
            with node.redis.connect() as direct:
                for user in ("ann", "bob"):
                    direct.cmd("ACL", "SETUSER", user, "on", ">secret", "~*", "+@all")
        with pool(near, 6) as clients:
            ann, ann_too, bob, web, web_too, nameless = clients
            for client in (ann, ann_too, bob):
                assert client.cmd("AZIMUTH", "SESSION", "user") == "OK"
            for client in (web, web_too, nameless):
                assert client.cmd("AZIMUTH", "SESSION", "client-name") == "OK"
            for client, user in ((ann, "ann"), (ann_too, "ann"), (bob, "bob")):
                assert client.cmd("AUTH", user, "secret") == "OK"
            assert web.cmd("CLIENT", "SETNAME", "web") == "OK"
            web_too.cmd("HELLO", "2", "SETNAME", "web")
            ann.cmd("SET", "k", "old")
            for client in clients:
                reads_next_door(client)
            with lagging(near):
                assert ann.cmd("SET", "k", "new") == "OK"
                assert route(ann_too, "GET", "k") == (primary.id, "behind-floor")
                assert ann_too.cmd("GET", "k") == b"new"
                for client in (bob, web, web_too, nameless):
                    reads_the_past(client)  # it shares nothing with ann
                assert web.cmd("SET", "k", "newer") == "OK"
                assert web_too.cmd("GET", "k") == b"newer"
                for client in (bob, nameless):
                    reads_the_past(client)  # it shares nothing with web
                # Whoever becomes one of them sees what they have seen.
                assert nameless.cmd("CLIENT", "SETNAME", "web") == "OK"
                assert nameless.cmd("GET", "k") == b"newer"
                assert bob.cmd("AUTH", "ann", "secret") == "OK"
                assert bob.cmd("GET", "k") == b"newer"


@only_azimuth
def i4_who_leaves_a_session_takes_along_what_it_has_seen(stage):
    with Cluster(stage, text=LAGGING) as cluster:
        near = replicas_of(cluster, cluster.wait_whole())[0]
        with pool(near, 4, "AZIMUTH", "SESSION", "client-name") as clients:
            mover, left, other, alone = clients
            for client, name in ((mover, "one"), (left, "one"), (other, "two")):
                assert client.cmd("CLIENT", "SETNAME", name) == "OK"
            mover.cmd("SET", "k", "old")
            for client in clients:
                reads_next_door(client)
            with lagging(near):
                assert left.cmd("SET", "k", "new") == "OK"
                token = left.cmd("AZIMUTH", "TOKEN").decode()
                assert mover.cmd("GET", "k") == b"new"
                for becoming in (["CLIENT", "SETNAME", "three"], ["CLIENT", "SETNAME", ""], ["RESET"],
                                 ["AZIMUTH", "SESSION", "connection"], ["AZIMUTH", "SESSION", "user"]):
                    assert mover.cmd(*becoming) in ("OK", "RESET")
                    assert mover.cmd("GET", "k") == b"new", becoming
                assert mover.cmd("AZIMUTH", "SESSION", "client-name") == "OK"
                assert mover.cmd("CLIENT", "SETNAME", "two") == "OK"
                reads_the_past(other)  # nobody has seen it as one of its name
                # A token that one of them takes binds them all.
                assert mover.cmd("AZIMUTH", "TOKEN", token) == "OK"
                assert other.cmd("GET", "k") == b"new"
                reads_the_past(alone)


@only_azimuth
def whose_session_it_is_goes_by_the_role_the_setting_and_the_session(stage):
    with Cluster(stage, members=2, sidecars=1) as cluster:
        cluster.wait_whole()
        member, sidecar = cluster.nodes[0], cluster.nodes[-1]
        with member.client() as client, sidecar.client() as beside:
            assert client.cmd("AZIMUTH", "SESSION") == b"connection"
            assert beside.cmd("AZIMUTH", "SESSION") == b"node"
            for wanted in ("connection", "user", "client-name", "node"):
                assert client.cmd("AZIMUTH", "SESSION", wanted) == "OK"
                assert client.cmd("AZIMUTH", "SESSION") == wanted.encode()
            for bad in (["by-role"], ["nonsense"], [""], ["node", "node"]):
                assert str(client.cmd("AZIMUTH", "SESSION", *bad)).startswith("ERR azimuth: "), bad
            assert client.cmd("AZIMUTH", "SESSION") == b"node"
            for command, reply in ((["MULTI"], "OK"), (["AZIMUTH", "SESSION", "user"], "QUEUED")):
                answer = client.cmd(*command)
                assert answer == reply or str(answer).startswith("ERR azimuth: "), answer
            client.cmd("DISCARD")
            assert client.cmd("AZIMUTH", "SESSION") == b"node"
            assert client.cmd("GET", "none") is None


@only_azimuth
def i4_a_user_who_may_not_ask_role_leaves_nobody_of_its_session_with_the_past(stage):
    with Cluster(stage, workers=2, listen='session_scope = "node"') as cluster:
        near = replicas_of(cluster, cluster.wait_whole())[0]
        for node in cluster.nodes:
            with node.redis.connect() as direct:
                direct.cmd("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-@dangerous")
        with pool(near, 2) as others, pool(near, 2, "AUTH", "app", "secret") as denied:
            others[0].cmd("SET", "k", "0")
            denied[0].cmd("GET", "k")
            wait_until(lambda: near.events("role_denied"), what="told")
            with stutter(near):
                for i in range(1000):
                    assert denied[i % 2].cmd("SET", "k", str(i)) == "OK"
                    assert others[i % 2].cmd("GET", "k") == str(i).encode()
            for client in others:
                reads_next_door(client)


@only_azimuth
def i4_a_loss_is_told_once_to_those_who_share_a_session(stage):
    with Cluster(stage, workers=2, listen='session_scope = "node"') as cluster:
        primary = cluster.wait_whole()
        node = replicas_of(cluster, primary)[0]
        with pool(node, 6) as clients:
            lose_a_write(cluster, clients[0], primary, seen_by=clients)
            first = [client.cmd("GET", "k") for client in clients]
            told = [reply for reply in first if str(reply).startswith("TRYAGAIN azimuth: ")]
            assert len(told) == 1 and first.count(b"kept") == 5, first
            for client in clients:
                assert client.cmd("GET", "k") == b"kept"
            lost = [line for line in node.events("floor_lost") if "scope=node" in line]
            assert len(lost) == 1, node.events("floor_lost")


if __name__ == "__main__":
    harness.run(__doc__)
