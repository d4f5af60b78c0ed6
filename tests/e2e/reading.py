"""What tests of reads at replicas have in common: where a read goes, and how a write gets lost."""
import os
import signal

from harness import Late, wait_until


def words(reply):
    return [each.decode() if isinstance(each, bytes) else each for each in reply]


def route(client, *command):
    """(node, reason) of AZIMUTH ROUTE."""
    told = words(client.cmd("AZIMUTH", "ROUTE", *command))
    told = dict(zip(told[::2], told[1::2]))
    return told["node"], told["reason"]


def reads(node):
    return node.status()["counters"]["reads"]


def replicas_of(cluster, primary):
    return [node for node in cluster.members() if node is not primary]


def reads_next_door(client, key="k", reason="read-local"):
    """The session's reads have come to be local; the node at which they are served."""
    def local():
        client.cmd("GET", key)
        node, told = route(client, "GET", key)
        return node if told == reason else None
    return wait_until(local, what="local reads")


def reads_the_past(client, key="k", value=b"old"):
    """It is served by the replica that lags: nothing that it has seen forbids it. (A replica that is silent for a
    moment, on a busy machine, is not read either.)"""
    got = client.cmd("GET", key)
    if got != value:
        raise Late(f"{got!r} is not from the replica that lags")


def lose_a_write(cluster, client, primary, seen_by=(), meanwhile=None):
    """The primary dies with a write of `client`'s that it has acknowledged, `seen_by` have read, and nobody has.
    `meanwhile`: done while there is no primary."""
    client.cmd("SET", "k", "kept")
    cluster.wait_same_data()
    others = replicas_of(cluster, primary)
    for node in others:
        os.kill(node.redis.process.pid, signal.SIGSTOP)
    with primary.redis.connect() as direct:
        # What is on its way to them would reach them yet. (The first of these is its own azimuth's tap.)
        links = direct.cmd("CLIENT", "LIST", "TYPE", "replica").decode().splitlines()
        for link in sorted(int(line.split()[0].removeprefix("id=")) for line in links if line)[1:]:
            assert direct.cmd("CLIENT", "KILL", "ID", str(link)) == 1
        assert [port for _, port, _ in direct.cmd("ROLE")[2]] == [b"0"], direct.cmd("ROLE")
    assert client.cmd("SET", "k", "lost") == "OK"
    for each in seen_by:
        assert each.cmd("GET", "k") == b"lost"
    primary.redis.kill()
    if meanwhile:
        wait_until(lambda: all(node.status()["primary"] is None for node in others), what="no primary")
        meanwhile()
    for node in others:
        os.kill(node.redis.process.pid, signal.SIGCONT)
    cluster.wait_primary(but=primary)
