"""Reads at the replica next door (I4): the three checks, tokens, levels, and replicas that lag, stop or restart."""
import os
import re
import signal
import threading
import time

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until
from reading import lose_a_write, reads, reads_next_door, reads_the_past, replicas_of, route
from resp import encode


@only_azimuth
def i4_a_session_reads_its_own_writes_next_door(stage):
    with Cluster(stage, text="[reads]\nwait_ms = 1000\n") as cluster:
        primary = cluster.wait_whole()
        for node in cluster.nodes:
            with node.client() as client:
                client.cmd("SET", "k", "0")
                if node is not primary:
                    reads_next_door(client)
                before = reads(node).get("read-local", 0)
                for i in range(500):
                    assert client.cmd("SET", "k", str(i)) == "OK"
                    assert client.cmd("GET", "k") == str(i).encode()
                if node is not primary:
                    assert reads(node).get("read-local", 0) > before


@only_azimuth
def i4_a_pipeline_of_write_and_read_returns_what_it_wrote(stage):
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        for node in cluster.nodes:
            with node.client() as client:
                for i in range(200):
                    client.send("SET", "p", str(i))
                    client.send("GET", "p")
                    client.send("GET", "p")
                    assert [client.read() for _ in range(3)] == ["OK", str(i).encode(), str(i).encode()]


@only_azimuth
def nothing_of_ours_stands_inside_a_transaction(stage):
    with Cluster(stage) as cluster:
        cluster.wait_whole()
        for node in cluster.nodes:
            with node.client() as client:
                for _ in range(20):
                    for command in (["WATCH", "w"], ["SET", "a", "1"], ["SET", "b", "2"], ["GET", "a"], ["MULTI"],
                                    ["SET", "a", "3"], ["GET", "a"], ["EXEC"], ["GET", "a"]):
                        client.send(*command)
                    assert [client.read() for _ in range(9)] == [
                        "OK", "OK", "OK", b"1", "OK", "QUEUED", "QUEUED", ["OK", b"3"], b"3"]


@only_azimuth
def what_route_says_is_what_the_next_command_does(stage):
    with Cluster(stage, text="[reads]\nwait_ms = 0\n") as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        with near.client() as client:
            client.cmd("SET", "k", "v")
            reads_next_door(client)

            def agrees(*command):
                for _ in range(20):
                    node, reason = route(client, *command)
                    before = reads(near)
                    client.cmd(*command)
                    after = reads(near)
                    if route(client, *command) == (node, reason):
                        break  # else a moment's silence came between
                assert after.get(reason, 0) == before.get(reason, 0) + 1, (reason, before, after)
                return node, reason
            wait_until(lambda: agrees("GET", "k") == (near.id, "read-local"), what="local reads")
            assert route(client, "SET", "k", "v") == (primary.id, "primary-only")
            assert agrees("SCAN", "0") == (primary.id, "not-replica-safe")
            # A replica that applies nothing: the session's own write is not there.
            with near.redis.connect() as direct:
                assert direct.cmd("CLIENT", "PAUSE", "20000", "WRITE") == "OK"
                client.cmd("SET", "k", "w")
                wait_until(lambda: agrees("GET", "k") == (primary.id, "behind-floor"), what="behind the floor")
                assert client.cmd("GET", "k") == b"w"
                assert direct.cmd("CLIENT", "UNPAUSE") == "OK"
            reads_next_door(client)
            assert client.cmd("MULTI") == "OK"
            assert route(client, "GET", "k") == (primary.id, "in-transaction")
            assert client.cmd("GET", "k") == "QUEUED"
            assert route(client, "GET", "k") == (primary.id, "in-transaction")
            assert client.cmd("EXEC") == [b"w"]
            assert client.cmd("WATCH", "k") == "OK"
            assert route(client, "GET", "k") == (primary.id, "in-transaction")
            assert client.cmd("UNWATCH") == "OK"
            assert client.cmd("AZIMUTH", "CONSISTENCY", "strong") == "OK"
            assert route(client, "GET", "k") == (primary.id, "primary-only")


@only_azimuth
def i4_who_does_not_read_at_a_replica_harms_nobody(stage):
    """Its connection there is its own from then on, until it has read: the others' reads go on, and so does it."""
    limit = 4 << 20
    with Cluster(stage, text=f"[limits]\nclient_output_bytes_max = {limit}\n", unix=True) as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        value = b"v" * (3 << 20)
        with near.client() as other, near.redis.connect() as direct:
            other.cmd("SET", "small", "s")
            assert other.cmd("SET", "large", value) == "OK"
            reads_next_door(other, "small")
            before = len(direct.cmd("CLIENT", "LIST").splitlines())
            for _ in range(3):
                with near.client(timeout=60) as slow:
                    slow.cmd("GET", "small")
                    reads_next_door(slow, "small")
                    for _ in range(4):
                        slow.send("GET", "large")
                    held = wait_until(lambda: max(int(size) for size in re.findall(
                        rb"omem=(\d+)", other.cmd("CLIENT", "LIST"))) > limit / 4, what="its replies are held")
                    assert held
                    reads_next_door(other, "small")
                    for _ in range(3):
                        assert slow.read() == value
                    slow.send("GET", "small")
                    assert slow.read() == value and slow.read() == b"s"
                    assert slow.cmd("GET", "small") == b"s"
            wait_until(lambda: other.cmd("GET", "small") == b"s" and
                       len(direct.cmd("CLIENT", "LIST").splitlines()) <= before, what="its connections are gone")


@only_azimuth
def i4_a_write_behind_an_unsubscribe_is_seen(stage):
    """In RESP2 it stands where its position cannot be asked for."""
    with Cluster(stage) as cluster:
        near = replicas_of(cluster, cluster.wait_whole())[0]
        with near.client() as client, near.redis.connect() as direct:
            client.cmd("SET", "k", "old")
            reads_next_door(client)
            assert direct.cmd("CLIENT", "PAUSE", "20000", "WRITE") == "OK"
            client.send_raw(encode(["SUBSCRIBE", "c"]) + encode(["UNSUBSCRIBE", "c"]) + encode(["SET", "k", "new"]))
            for _ in range(2):
                client.read()
            assert client.read() == "OK"
            for _ in range(20):
                assert client.cmd("GET", "k") == b"new"
            direct.cmd("CLIENT", "UNPAUSE")


@only_azimuth
def i4_a_token_takes_the_floor_to_another_node(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        one, two = replicas_of(cluster, primary)
        with one.client() as writer, two.client() as reader:
            reader.cmd("SET", "t", "x")
            reads_next_door(reader, "t")
            for i in range(200):
                writer.cmd("SET", "t", str(i))
                token = writer.cmd("AZIMUTH", "TOKEN").decode()
                reader.send("AZIMUTH", "TOKEN", token)
                reader.send("GET", "t")
                assert reader.read() == "OK"
                assert reader.read() == str(i).encode()
            # A replica behind the token is not read.
            with two.redis.connect() as direct:
                direct.cmd("CLIENT", "PAUSE", "20000", "WRITE")
                writer.cmd("SET", "t", "new")
                token = writer.cmd("AZIMUTH", "TOKEN").decode()
                assert reader.cmd("AZIMUTH", "TOKEN", token) == "OK"
                assert reader.cmd("GET", "t") == b"new"
                direct.cmd("CLIENT", "UNPAUSE")
            altered = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
            for bad in (altered, token[:-3], "az9." + token[4:], "", "x" * 5000):
                reply = reader.cmd("AZIMUTH", "TOKEN", bad)
                assert str(reply).startswith("ERR azimuth: no token of this cluster"), reply
            assert str(reader.cmd("AZIMUTH", "TOKEN", "a", "b")).startswith("ERR ")
            assert reader.cmd("GET", "t") == b"new"


@only_azimuth
def a_token_of_another_cluster_is_refused(stage):
    with Cluster(stage, members=2, name="one") as one, Cluster(stage, members=2, name="two") as two:
        with one.wait_whole().client() as here, two.wait_whole().client() as there:
            token = here.cmd("AZIMUTH", "TOKEN").decode()
            assert here.cmd("AZIMUTH", "TOKEN", token) == "OK"
            assert "of another cluster" in there.cmd("AZIMUTH", "TOKEN", token)


@only_azimuth
def i4_a_replica_that_stops_is_read_no_more(stage):
    # All the while it counts as ready, and the other one is not asked, which might lack more.
    with Cluster(stage, text="redis_silence_ms = 60000\n") as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        with near.client(timeout=10) as client, primary.client() as writer:
            client.cmd("SET", "k", "0")
            reads_next_door(client)
            os.kill(near.redis.process.pid, signal.SIGSTOP)
            try:
                slowest = 0
                for i in range(200):
                    writer.cmd("SET", "k", str(i))
                    began = time.monotonic()
                    value = int(client.cmd("GET", "k"))
                    slowest = max(slowest, time.monotonic() - began)
                    assert value >= i - 1, (value, i)  # (what was read from it before it stopped)
                    time.sleep(0.005)
            finally:
                os.kill(near.redis.process.pid, signal.SIGCONT)
            print(f"the slowest read took {slowest * 1000:.0f} ms", flush=True)
            # It catches up before it is read again.
            for i in range(200, 700):
                writer.cmd("SET", "k", str(i))
                value = int(client.cmd("GET", "k"))
                assert value >= 199, (value, i)
            reads_next_door(client)


@only_azimuth
def i4_a_replica_that_restarts_from_nothing_shows_nothing_old(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        with near.client(timeout=10) as client:
            last = -1
            for i in range(5):
                client.cmd("SET", "k", str(i))
                reads_next_door(client)
                near.redis.kill()
                near.redis.restart()
                deadline = time.monotonic() + 20
                while time.monotonic() < deadline:
                    value = client.cmd("GET", "k")
                    assert isinstance(value, bytes) and int(value) >= last, (value, last)
                    last = int(value)
                    if route(client, "GET", "k")[1] == "read-local":
                        break
                assert last == i


@only_azimuth
def i4_reads_never_go_back_while_primaries_change(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        stop = threading.Event()
        faults = []

        def watch(node):
            last = -1
            with node.client(timeout=20) as client:
                while not stop.is_set():
                    value = client.cmd("GET", "n")
                    if isinstance(value, bytes):
                        if int(value) < last:
                            faults.append((node.id, last, int(value)))
                        last = int(value)
        cluster.write(primary, "n", "0")
        watchers = [threading.Thread(target=watch, args=(node,)) for node in cluster.nodes]
        for each in watchers:
            each.start()
        try:
            with cluster.nodes[0].client(timeout=20) as writer:
                number = 0
                for _ in range(4):
                    deadline = time.monotonic() + 0.5
                    while time.monotonic() < deadline:
                        number += 1
                        assert writer.cmd("SET", "n", str(number)) == "OK"
                    cluster.switch_over(cluster.nodes[0])
        finally:
            stop.set()
            for each in watchers:
                each.join()
        assert not faults, faults
        assert number > 100


@only_azimuth
def bounded_staleness_shows_nothing_older(stage):
    with Cluster(stage, text="[reads]\nwait_ms = 0\n") as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        with near.client() as client, primary.client() as writer:
            assert client.cmd("AZIMUTH", "CONSISTENCY", "bounded-staleness", "300") == "OK"
            writer.cmd("SET", "k", "0")
            reads_next_door(client)
            with near.redis.connect() as direct:
                direct.cmd("CLIENT", "PAUSE", "20000", "WRITE")
                when = []
                for i in range(1, 150):
                    writer.cmd("SET", "k", str(i))
                    when.append(time.monotonic())
                    asked = time.monotonic()
                    value = int(client.cmd("GET", "k"))
                    if value < i:  # version value + 1 was acknowledged at when[value]
                        assert when[value] >= asked - 0.3, (value, i, asked - when[value])
                    time.sleep(0.005)
                assert reads(near).get("stale-bound", 0) > 0
                direct.cmd("CLIENT", "UNPAUSE")
            reads_next_door(client)
            for bad in (["nonsense"], ["bounded-staleness"], ["bounded-staleness", "-1"], ["causal", "5"],
                        ["bounded-staleness", "many"], ["bounded-staleness", "5", "apples"]):
                assert str(client.cmd("AZIMUTH", "CONSISTENCY", *bad)).startswith("ERR azimuth: "), bad
            assert client.cmd("AZIMUTH", "CONSISTENCY") == b"bounded-staleness 300"
            assert client.cmd("AZIMUTH", "Consistency", "CAUSAL") == "OK"
            assert client.cmd("AZIMUTH", "CONSISTENCY") == b"causal"
            assert client.cmd("AZIMUTH", "CONSISTENCY", "bounded-staleness", "5", "WRITES") == "OK"
            assert client.cmd("RESET") == "RESET"
            assert client.cmd("AZIMUTH", "CONSISTENCY") == b"causal"


@only_azimuth
def read_only_scripts_run_next_door_and_fall_back_where_they_are_not_known(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        near, other = replicas_of(cluster, primary)
        library = "#!lua name=l\nredis.register_function{function_name='f', callback=function(k) return redis.call('GET', k[1]) end, flags={'no-writes'}}"
        script = "return redis.call('GET', KEYS[1])"
        with near.client() as client, near.redis.connect() as direct:
            assert client.cmd("FUNCTION", "LOAD", library) == b"l"
            sha = client.cmd("SCRIPT", "LOAD", script).decode()
            for i in range(100):
                assert client.cmd("SET", "k", str(i)) == "OK"
                got = client.pipeline(["EVALSHA_RO", sha, "1", "k"], ["GET", "k"], ["EVAL_RO", script, "1", "k"],
                                      ["FCALL_RO", "f", "1", "k"])
                assert got == [str(i).encode()] * 4, got
            reads_next_door(client)

            def runs_next_door():
                local = reads(near).get("read-local", 0)
                assert client.cmd("EVALSHA_RO", sha, "1", "k") == b"99"
                ran = reads(near).get("read-local", 0) > local
                return ran and route(client, "EVALSHA_RO", sha, "1", "k") == (near.id, "read-local")
            # (For a while not, where one of them has been answered late.)
            wait_until(runs_next_door, 40, "scripts next door")

            # One that this node has never heard of: the replica lacks it, the primary has it.
            with primary.redis.connect() as far:
                unknown = far.cmd("SCRIPT", "LOAD", "return 'far' .. KEYS[1]").decode()
            assert direct.cmd("SCRIPT", "EXISTS", unknown) == [0]
            got = client.pipeline(["GET", "k"], ["EVALSHA_RO", unknown, "1", "k"], ["GET", "k"], ["EVALSHA_RO", sha, "1", "k"],
                                  ["GET", "k"])
            assert got == [b"99", b"fark", b"99", b"99", b"99"], got
            # What is known nowhere says so, in its turn.
            got = client.pipeline(["GET", "k"], ["EVALSHA_RO", "f" * 40, "0"], ["FCALL_RO", "none", "0"], ["GET", "k"],
                                  ["EVAL_RO", "return redis.call('SET', KEYS[1], 'x')", "1", "k"],
                                  ["EVAL_RO", "return {err='MINE own'}", "0"], ["GET", "k"])
            assert [str(each).split()[0] for each in got[1:3]] == ["NOSCRIPT", "ERR"], got
            assert "Write commands are not allowed" in str(got[4]) and str(got[5]).startswith("MINE own"), got
            assert [got[0], got[3], got[6]] == [b"99"] * 3, got


@only_azimuth
def a_script_that_does_not_end_leaves_the_replica_to_the_others(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        for node in cluster.nodes:
            with node.redis.connect() as direct:
                assert direct.cmd("CONFIG", "SET", "busy-reply-threshold", "200") == "OK"
        with near.client(timeout=30) as client, near.client(timeout=30) as other:
            client.cmd("SET", "k", "v")
            reads_next_door(client)
            reads_next_door(other)
            client.send("EVAL_RO", "while true do end", "0")
            wait_until(lambda: route(other, "EVAL_RO", "return 1", "0") == (primary.id, "not-ready"), what="no scripts there")
            wait_until(lambda: str(other.cmd("GET", "k")).startswith("BUSY"), what="it runs at the primary, too")
            # Nobody waits for the one at the replica any more: its node ends it. The other is a client's to end.
            with near.redis.connect() as direct:
                wait_until(lambda: direct.cmd("GET", "k") == b"v", what="the replica's script has ended")
            assert other.cmd("SCRIPT", "KILL") == "OK"
            assert "Script killed" in str(client.read())
            reads_next_door(other)


@only_azimuth
def a_script_that_does_not_end_does_not_go_from_primary_to_primary(stage):
    """It costs the primary that runs it, and is not sent to the next one."""
    with Cluster(stage, text="redis_silence_ms = 1000\n") as cluster:
        primary = cluster.wait_whole()
        for node in cluster.nodes:
            with node.redis.connect() as direct:
                assert direct.cmd("CONFIG", "SET", "busy-reply-threshold", "3000") == "OK"
        with replicas_of(cluster, primary)[0].client(timeout=60) as client:
            client.cmd("SET", "k", "v")
            reads_next_door(client)
            client.send("EVAL_RO", "while true do end", "0")
            told = str(client.read())
            assert told.startswith("UNCERTAIN"), told
        successor = cluster.wait_primary(but=primary, seconds=60)
        assert cluster.wait_whole(90) is successor, "it went on to the next one"


@only_azimuth
def a_listener_may_bound_staleness(stage):
    with Cluster(stage, members=2, listen='consistency = "bounded-staleness"\nstaleness_ms = 250') as cluster:
        node = replicas_of(cluster, cluster.wait_whole())[0]
        with node.client() as client:
            assert client.cmd("AZIMUTH", "CONSISTENCY") == b"bounded-staleness 250"
            assert client.cmd("SET", "k", "v") == "OK"
            reads_next_door(client)


@only_azimuth
def a_strong_session_s_replies_are_in_order_and_wait_for_the_voters(stage):
    with Cluster(stage, text="hold_timeout_ms = 4000\n") as cluster:
        primary = cluster.wait_whole()
        others = replicas_of(cluster, primary)
        for node in cluster.nodes:
            with node.client(timeout=20) as client:
                assert client.cmd("AZIMUTH", "CONSISTENCY", "strong") == "OK"
                for i in range(30):
                    client.send("SET", "s", str(i))
                    client.send("EVAL_RO", "return 1", "0")
                    client.send("GET", "s")
                    client.send("EVAL", "return redis.call('GET', 's')", "0")
                    client.send("GET", "s")
                    value = str(i).encode()
                    assert [client.read() for _ in range(5)] == ["OK", 1, value, value, value]
                assert route(client, "GET", "s") == (primary.id, "primary-only")
        for node in others:
            os.kill(node.redis.process.pid, signal.SIGSTOP)
        try:
            with primary.client(timeout=20) as client:
                assert client.cmd("SET", "s", "alone") == "OK"  # async: this primary alone has it
                assert client.cmd("GET", "s") == b"alone"
                assert client.cmd("AZIMUTH", "CONSISTENCY", "strong") == "OK"
                assert str(client.cmd("GET", "s")).startswith("CLUSTERDOWN "), "shown too early"
        finally:
            for node in others:
                os.kill(node.redis.process.pid, signal.SIGCONT)


@only_azimuth
def eventual_reads_what_is_there(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        with near.client() as client, near.redis.connect() as direct:
            client.cmd("SET", "k", "old")
            reads_next_door(client)
            assert client.cmd("AZIMUTH", "CONSISTENCY", "eventual") == "OK"
            direct.cmd("CLIENT", "PAUSE", "20000", "WRITE")
            client.cmd("SET", "k", "new")
            reads_the_past(client)
            direct.cmd("CLIENT", "UNPAUSE")


@only_azimuth
def i4_a_sidecar_reads_at_a_replica_of_its_region(stage):
    with Cluster(stage, sidecars=1, text="[reads]\nwait_ms = 1000\n") as cluster:
        primary = cluster.wait_whole()
        sidecar = cluster.nodes[-1]
        with sidecar.client(timeout=10) as client:
            client.cmd("SET", "k", "0")

            def in_region():
                client.cmd("GET", "k")
                node, reason = route(client, "GET", "k")
                return node if reason == "read-region" else None
            node = wait_until(in_region, what="reads in the region")
            assert node != primary.id
            for i in range(300):
                assert client.cmd("SET", "k", str(i)) == "OK"
                assert client.cmd("GET", "k") == str(i).encode()
            served = reads(sidecar)
            assert served["read-region"] > 50, served
            # It stops: the reads go on elsewhere, and come back to one that answers.
            replica = cluster.by_id(node)
            os.kill(replica.redis.process.pid, signal.SIGSTOP)
            try:
                for i in range(300, 400):
                    client.cmd("SET", "k", str(i))
                    assert client.cmd("GET", "k") == str(i).encode()
                    time.sleep(0.003)
            finally:
                os.kill(replica.redis.process.pid, signal.SIGCONT)


@only_azimuth
def i4_where_the_one_next_door_does_not_follow_another_is_read(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        near, other = replicas_of(cluster, primary)
        with near.client(timeout=10) as client:
            client.cmd("SET", "k", "0")
            reads_next_door(client)
            near.redis.kill()
            last = 0

            def in_region():
                nonlocal last
                last += 1
                assert client.cmd("SET", "k", str(last)) == "OK"
                assert client.cmd("GET", "k") == str(last).encode()
                return route(client, "GET", "k") == (other.id, "read-region")
            wait_until(in_region, what="reads at the other replica")
            near.redis.restart()
            wait_until(lambda: client.cmd("GET", "k") == str(last).encode() and
                       route(client, "GET", "k") == (near.id, "read-local"), what="local reads again")


@only_azimuth
def a_user_who_may_not_ask_role_reads_at_the_primary(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        for node in cluster.nodes:
            with node.redis.connect() as direct:
                direct.cmd("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-@dangerous")
        with near.client() as client:
            assert client.cmd("AUTH", "app", "secret") == "OK"
            for i in range(50):
                assert client.cmd("SET", "k", str(i)) == "OK"
                assert client.cmd("GET", "k") == str(i).encode()
            assert route(client, "GET", "k")[0] == primary.id
        wait_until(lambda: near.events("role_denied"), what="told")


@only_azimuth
def i4_a_lost_write_is_told_behind_the_transaction_not_inside(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        others = replicas_of(cluster, primary)
        with others[0].client(timeout=20) as client:
            lose_a_write(cluster, client, primary)
            for command in (["MULTI"], ["GET", "k"], ["ECHO", "here"], ["EXEC"], ["GET", "k"], ["GET", "k"]):
                client.send(*command)
            replies = [client.read() for _ in range(6)]
            assert replies[:3] == ["OK", "QUEUED", "QUEUED"], replies
            assert replies[3] == [b"kept", b"here"], replies
            assert str(replies[4]).startswith("TRYAGAIN azimuth: ") and replies[5] == b"kept", replies


@only_azimuth
def i4_a_lost_write_is_told_once(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        others = replicas_of(cluster, primary)
        with others[0].client(timeout=20) as client:
            lose_a_write(cluster, client, primary)
            first = client.cmd("GET", "k")
            assert str(first).startswith("TRYAGAIN azimuth: "), first
            assert client.cmd("GET", "k") == b"kept"
            assert any(node.events("floor_lost") for node in others)


@only_azimuth
def i4_what_waits_for_a_primary_is_told_of_the_loss(stage):
    """It came before anybody knew what the next primary has."""
    with Cluster(stage, text="hold_timeout_ms = 20000\n") as cluster:
        primary = cluster.wait_whole()
        others = replicas_of(cluster, primary)
        with others[0].client(timeout=60) as client:
            commands = [["SET", "seen", "later"], ["GET", "seen"], ["GET", "k"]]
            lose_a_write(cluster, client, primary,
                         meanwhile=lambda: [client.send(*command) for command in commands])
            replies = [client.read() for _ in commands]
            assert str(replies[0]).startswith("TRYAGAIN azimuth: "), replies
            assert replies[1:] == [None, b"kept"], replies


@only_azimuth
def i4_a_token_is_not_made_of_what_is_left(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        others = replicas_of(cluster, primary)
        with others[0].client(timeout=20) as client, others[1].client() as elsewhere:
            lose_a_write(cluster, client, primary)
            first = client.cmd("AZIMUTH", "TOKEN")
            assert str(first).startswith("TRYAGAIN azimuth: "), first
            assert elsewhere.cmd("AZIMUTH", "TOKEN", client.cmd("AZIMUTH", "TOKEN")) == "OK"
            assert elsewhere.cmd("GET", "k") == b"kept"


if __name__ == "__main__":
    harness.run(__doc__)
