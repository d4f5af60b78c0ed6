"""Sidecars: where their reads go, what members hold for them, and where they learn in which zone they are."""
import os
import select
import subprocess
import threading
import time

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until
from reading import reads, replicas_of, route

IDLE_S = 25  # kSparingIdleMsMax, and time for a busy machine


def sidecar(cluster, name, zone, settings=""):
    node = cluster.add(name, member=False)
    node.zone, node.bootstrap = zone, len(cluster.members())
    node.peer_text = settings
    node.start()
    return node


def gets(node):
    with node.redis.connect(timeout=10) as client:
        lines = client.cmd("INFO", "commandstats").decode().splitlines()
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines if line.startswith("cmdstat_get:"))


def connections(node):
    """Clients of a member's Redis, but for the one that asks."""
    with node.redis.connect(timeout=10) as client:
        return len(client.cmd("CLIENT", "LIST").decode().splitlines()) - 1


def links(node, peer):
    """TCP connections from `node`'s process to `peer`'s port."""
    inodes = set()
    for entry in os.listdir(f"/proc/{node.process.pid}/fd"):
        try:
            target = os.readlink(f"/proc/{node.process.pid}/fd/{entry}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if row[9] in inodes and row[3] == "01" and
               int(row[2].rsplit(":", 1)[1], 16) == peer.peer_port)


def read_until(client, node, reason, key="k"):
    """GETs until one is answered for that reason."""
    def once():
        before = reads(node).get(reason, 0)
        client.cmd("GET", key)
        return reads(node).get(reason, 0) > before
    wait_until(once, 20, f"a read for {reason}")


@only_azimuth
def reads_stay_in_the_zone(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        with primary.client() as client:
            client.cmd("SET", "k", "v")
        cluster.wait_same_data()
        replicas = replicas_of(cluster, primary)
        for number, member in enumerate([primary, *replicas]):
            node = sidecar(cluster, f"s{number}", member.zone)
            with node.client(timeout=20) as client:
                assert client.cmd("GET", "k") == b"v"
                if member is not primary:
                    read_until(client, node, "read-region")
                before = {each.id: gets(each) for each in cluster.members()}
                for _ in range(300):
                    assert client.cmd("GET", "k") == b"v"
                after = {each.id: gets(each) - before[each.id] for each in cluster.members()}
                # (A gate that closes, on a busy machine, sends some to the primary.)
                assert after[member.id] >= 200, (member.id, after)
                others = [each.id for each in replicas if each is not member]
                assert all(after[each] == 0 for each in others), after
        # A zone without a member: somebody of the region answers.
        node = sidecar(cluster, "s9", "z-nowhere")
        with node.client(timeout=20) as client:
            read_until(client, node, "read-region")


def equal_members(stage):
    """A cluster whose members are all in one zone."""
    cluster = Cluster(stage, members=3, start=False)
    for node in cluster.nodes:
        node.zone = "z1"
        node.start()
    return cluster


def reads_by(one, two, read):
    """Reads that each of the two answers while `read` is done."""
    before = gets(one), gets(two)
    read()
    return gets(one) - before[0], gets(two) - before[1]


def home_of(cluster, client, node):
    """Where it reads when both replicas have said how far they are, which they are asked five times a second."""
    read_until(client, node, "read-region")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert client.cmd("GET", "k") == b"v"
    return cluster.by_id(wait_until(lambda: (lambda told: told[1] == "read-region" and told[0])(route(client, "GET", "k")),
                                    20, "a home"))


@only_azimuth
def nodes_spread_over_equal_replicas(stage):
    with equal_members(stage) as cluster:
        primary = cluster.wait_whole()
        with primary.client() as client:
            client.cmd("SET", "k", "v")
        cluster.wait_same_data()
        one, two = replicas_of(cluster, primary)
        homes = []
        for number in range(6):
            node = sidecar(cluster, f"s{number}", "z-elsewhere")
            with node.client(timeout=20) as client:
                home = home_of(cluster, client, node)

                def read():
                    for _ in range(100):
                        assert client.cmd("GET", "k") == b"v"

                def at_home():
                    """(One that is late, on a busy machine, is left for a second.)"""
                    there, elsewhere = reads_by(home, two if home is one else one, read)
                    return there >= 80 and elsewhere <= 20
                wait_until(at_home, 20, "reads at home")
                homes.append(home)
        assert homes.count(one) in (2, 3, 4), [each.id for each in homes]


@only_azimuth
def what_a_slow_home_does_not_get_done_the_other_replica_answers(stage):
    with equal_members(stage) as cluster:
        primary = cluster.wait_whole()
        with primary.client() as client:
            client.cmd("SET", "k", "v")
        cluster.wait_same_data()
        replicas = replicas_of(cluster, primary)
        node = sidecar(cluster, "s1", "z-elsewhere")
        clients = [node.client(timeout=20) for _ in range(40)]
        home = home_of(cluster, clients[0], node)
        other = next(each for each in replicas if each is not home)

        def read(some):
            for each in some:
                each.send("GET", "k")
            for each in some:
                assert each.read() == b"v"

        def shared():
            """While it sleeps for a moment, too short to be taken for silent, others come."""
            with home.redis.connect(timeout=30) as direct:
                before = gets(other)
                direct.send("DEBUG", "SLEEP", "0.04")
                sleeper = threading.Thread(target=read, args=(clients[:20],))
                sleeper.start()
                sleeper.join(0.01)
                read(clients[20:])
                sleeper.join()
                direct.read()
            return gets(other) - before >= 15
        wait_until(shared, 30, "reads at the other one")
        # One that is silent gets no more, and comes back when it is not.
        with home.redis.connect(timeout=30) as direct:
            direct.send("DEBUG", "SLEEP", "2")
            before = gets(other)
            for _ in range(50):
                read(clients)
            assert gets(other) - before >= 500
            direct.read()
        wait_until(lambda: reads_by(home, other, lambda: [read(clients[:1]) for _ in range(20)])[0] >= 10, 20, "reads at home")
        for each in clients:
            each.close()


@only_azimuth
def i4_a_session_of_many_connections_reads_its_writes_at_both_replicas(stage):
    with equal_members(stage) as cluster:
        primary = cluster.wait_whole()
        node = sidecar(cluster, "s1", "z-elsewhere")
        clients = [node.client(timeout=20) for _ in range(16)]
        clients[0].cmd("SET", "n", "0")
        read_until(clients[0], node, "read-region", "n")
        one, two = replicas_of(cluster, primary)
        over = threading.Event()

        def be_slow(replica):
            """Now and then, so that what comes meanwhile goes to the other one."""
            with replica.redis.connect(timeout=30) as direct:
                while not over.wait(0.005):
                    direct.cmd("DEBUG", "SLEEP", "0.004")
        slow = [threading.Thread(target=be_slow, args=(each,)) for each in (one, two)]
        for each in slow:
            each.start()

        def write_and_read():
            for i in range(1, 300):
                writer = clients[i % len(clients)]
                assert writer.cmd("SET", "n", str(i)) == "OK"
                for each in clients:
                    each.send("GET", "n")
                for each in clients:
                    assert int(each.read()) == i
        try:
            found = reads_by(one, two, write_and_read)
        finally:
            over.set()
            for each in slow:
                each.join()
        assert min(found) >= 100, found
        # A session of one connection too, whichever replica it is at.
        for each in clients:
            assert each.cmd("AZIMUTH", "SESSION", "connection") == "OK"
        for i in range(300, 450):
            for number, each in enumerate(clients):
                each.send("SET", f"n{number}", str(i))
            for each in clients:
                assert each.read() == "OK"
            for number, each in enumerate(clients):
                each.send("GET", f"n{number}")
            for each in clients:
                assert int(each.read()) == i
        for each in clients:
            each.close()


@only_azimuth
def members_hold_what_sidecars_use(stage):
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        near = replicas_of(cluster, primary)[0]
        quiet = {node.id: connections(node) for node in cluster.members()}
        sidecars = [sidecar(cluster, f"s{number}", near.zone) for number in range(3)]
        clients = [node.client(timeout=20) for node in sidecars for _ in range(10)]
        for each in clients:
            assert each.cmd("SET", "k", "v") == "OK"
        for number, node in enumerate(sidecars):
            read_until(clients[number * 10], node, "read-region")
        for _ in range(20):
            for each in clients:
                each.send("GET", "k")
            for each in clients:
                assert each.read() == b"v"
        for node in sidecars:
            assert links(node, primary) == 1
            assert links(node, near) == 1
        # Ten clients of one user: one connection each for logins, reads and writes, and one for reads at the replica.
        assert connections(primary) <= quiet[primary.id] + 3 * len(sidecars), connections(primary)
        assert connections(near) <= quiet[near.id] + len(sidecars), connections(near)
        # Clients that stay and are silent cost the members nothing ...
        wait_until(lambda: connections(primary) <= quiet[primary.id] and connections(near) <= quiet[near.id],
                   IDLE_S, "connections that nobody uses are closed")
        # ... and notice nothing.
        for each in clients:
            assert each.cmd("GET", "k") == b"v"
            assert each.cmd("INCR", "n")
        with clients[0] as client:
            client.send("MULTI")
            client.send("SET", "k", "w")
            client.send("EXEC")
            assert [client.read() for _ in range(3)] == ["OK", "QUEUED", ["OK"]]
            client.send("BLPOP", "q", "10")
            clients[1].cmd("RPUSH", "q", "x")
            assert client.read() == [b"q", b"x"]


@only_azimuth
def who_comes_to_a_sidecar_that_sleeps_meets_the_rule_of_this_moment(stage):
    with Cluster(stage, start=False) as cluster:
        for node in cluster.nodes:
            with node.redis.connect() as direct:
                assert direct.cmd("ACL", "SETUSER", "azimuth", "on", ">pw", "+@all", "~*", "&*") == "OK"
            node.redis_text = 'username = "azimuth"\npassword = "pw"\n'
            node.start()
        primary = cluster.wait_whole()
        direct = primary.redis.connect()
        assert direct.cmd("AUTH", "azimuth", "pw") == "OK"

        def asleep():
            return 'azimuth_peer_links{kind="streams"} 0\n' in node.get("/metrics")[1]
        node = sidecar(cluster, "s1", "z-elsewhere")
        with node.client(timeout=20) as client:
            assert client.cmd("SET", "k", "v") == "OK"
        wait_until(asleep, 2 * IDLE_S, "a sidecar that sleeps")
        assert direct.cmd("ACL", "SETUSER", "default", "resetpass", ">secret") == "OK"
        # A pool comes at once: none of them gets in by what was known of the others.
        pool = [node.client(timeout=20) for _ in range(8)]
        for client in pool:
            client.send("GET", "k")
        for client in pool:
            assert str(client.read()).startswith("NOAUTH")
            assert client.cmd("AUTH", "secret") == "OK"
            assert client.cmd("GET", "k") == b"v"
            client.close()
        wait_until(asleep, 2 * IDLE_S, "a sidecar that sleeps")
        assert direct.cmd("ACL", "SETUSER", "default", "nopass") == "OK"
        with node.client(timeout=20) as client, node.client(timeout=20) as steady:
            assert client.cmd("GET", "k") == b"v"
            assert direct.cmd("ACL", "SETUSER", "limited", "on", ">pw", "+@all", "~*", "&*") == "OK"
            assert client.cmd("AUTH", "limited", "pw") == "OK"
            assert direct.cmd("ACL", "SETUSER", "default", "resetpass", ">secret") == "OK"
            # RESET makes it the default user's, whose connection still stands.
            ends = time.monotonic() + IDLE_S + 2
            while time.monotonic() < ends:
                assert steady.cmd("GET", "k") == b"v"
                time.sleep(0.2)  # so that it is in use; what was known grows old meanwhile
            assert client.cmd("RESET") in ("RESET", b"RESET")
            assert str(client.cmd("GET", "k")).startswith("NOAUTH")
        direct.close()


@only_azimuth
def a_member_serves_no_more_connections_than_it_may(stage):
    with Cluster(stage, text="[limits]\npeer_connections_max = 16\n") as cluster:
        primary = cluster.wait_whole()
        before = connections(primary)
        node = sidecar(cluster, "s1", "z-elsewhere")
        blocked = [node.client(timeout=30) for _ in range(40)]
        with node.client(timeout=30) as client:
            assert client.cmd("SET", "k", "v") == "OK"
            read_until(client, node, "read-region")
            for each in blocked:
                each.send("BLPOP", "q", "0")
            # (The other members have three each: for logins, reads and writes. The last quarter is not for one that blocks.)
            wait_until(lambda: connections(primary) >= before + 6, 20, "connections up to the bound")
            assert connections(primary) <= before + 6
            other = sidecar(cluster, "s2", "z-elsewhere")
            with other.client(timeout=20) as unhindered:
                assert unhindered.cmd("SET", "k2", "v") == "OK"
            assert primary.events("peer_connections_full")
            # Those that stand serve on, and replication is not counted.
            assert client.cmd("SET", "k", "w") == "OK"
            assert client.cmd("GET", "k") == b"w"
            cluster.wait_same_data()
            # The others wait, as for a primary, and are told that nothing has run.
            told = select.select([each.sock for each in blocked], [], [], 20)[0]
            assert told
            for each in blocked:
                if each.sock in told:
                    assert str(each.read()).startswith("CLUSTERDOWN")
        for each in blocked:
            each.close()


def check(stage, text, environment=None):
    path = os.path.join(harness.directory(), "place.toml")
    with open(path, "w") as file:
        file.write(text)
    found = subprocess.run([stage.binary, "check", "--config", path], capture_output=True, text=True, timeout=20,
                           env={**os.environ, **(environment or {})})
    return found.returncode, found.stderr.replace(path, "f")


@only_azimuth
def a_zone_comes_from_the_surroundings(stage):
    base = '[redis]\naddress = "127.0.0.1:1"\n[[listen]]\naddress = "127.0.0.1:0"\n[node]\n'
    place = os.path.join(harness.directory(), "zone")
    with open(place, "w") as file:
        file.write("projects/1234/zones/europe-west1-b\n")
    good = base + f'zone = "env:AZIMUTH_TEST_ZONE"\nregion = "file:{place}"\n'
    assert check(stage, good, {"AZIMUTH_TEST_ZONE": " use1-az1 "}) == (0, ""), check(stage, good)
    assert check(stage, good) == (
        2, 'f:6:8: zone = "env:AZIMUTH_TEST_ZONE": there is no such variable in the environment\n')
    code, said = check(stage, good, {"AZIMUTH_TEST_ZONE": "no name"})
    assert code == 2 and said.startswith('f:6:8: zone = "env:AZIMUTH_TEST_ZONE": it holds "no name", which is no name'), said
    code, said = check(stage, good, {"AZIMUTH_TEST_ZONE": ""})
    assert code == 2 and said == 'f:6:8: zone = "env:AZIMUTH_TEST_ZONE": it is empty\n', said
    code, said = check(stage, base + 'zone = "file:/no/such/file"\n')
    assert code == 2 and said.startswith('f:6:8: zone = "file:/no/such/file": cannot read /no/such/file: No such file'), said
    code, said = check(stage, base + 'zone = "file:/dev/zero"\n')
    assert (code, said) == (2, 'f:6:8: zone = "file:/dev/zero": it is not a regular file\n'), said
    for content in (b"", b" \n", b"x" * 200, b"\x00\x01\xff", b"a b", os.urandom(1 << 16)):
        with open(place, "wb") as file:
            file.write(content)
        code, said = check(stage, base + f'zone = "file:{place}"\n')
        assert code == 2 and said.startswith(f'f:6:8: zone = "file:{place}": it '), said
        assert len(said) < 600 and said.isascii() and said[:-1].isprintable(), said
    with open(place, "w") as file:
        file.write("projects/1234/zones/europe-west1-b\n")
    for wrong in ("env:", "env:1A", "env:A-B", "file:", "file:zone", "environment:AZ"):
        code, said = check(stage, base + f'zone = "{wrong}"\n')
        assert code == 2 and said.startswith(f'f:6:8: zone = "{wrong}" '), said

    with Cluster(stage, members=1, start=False) as cluster:
        cluster.nodes[0].zone = f"file:{place}"
        cluster.nodes[0].start()
        primary = cluster.wait_whole()
        assert primary.status()["zone"] == "europe-west1-b", primary.status()


if __name__ == "__main__":
    harness.run(__doc__)
