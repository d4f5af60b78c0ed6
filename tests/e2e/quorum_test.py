"""Durability `quorum`: what is acknowledged, and how long a client waits for what is not."""
import time

import harness
from cluster import Cluster
from harness import held, in_time, only_azimuth, wait_until
from resp import encode

HOLD_MS = 1000
# Redis's own time-out is not what these are about.
TEXT = f"redis_silence_ms = 120000\nhold_timeout_ms = {HOLD_MS}\n"


def ask(client, commands):
    """(replies, seconds) of one packet."""
    began = time.monotonic()
    client.send_raw(b"".join(encode(each) for each in commands))
    return [client.reply() for _ in commands], time.monotonic() - began


def sets(count, name="k"):
    return [["SET", f"{name}{index}", "v"] for index in range(count)]


def transaction(name):
    return [["MULTI"], ["SET", name, "v"], ["EXEC"]]


# Each begins on a connection of the client's own, which WATCH or MULTI takes it to.
PIPELINES = {
    "writes behind WATCH": [["WATCH", "w"], *sets(6)],
    "a transaction, then writes": [*transaction("t"), *sets(6)],
    "transactions": [each for index in range(5) for each in transaction(f"t{index}")],
    "writes and transactions": [each for index in range(3) for each in (*sets(1), *transaction(f"t{index}"))],
}


@only_azimuth
def a_pipeline_waits_once_for_its_quorum(stage):
    with Cluster(stage, members=3, text=TEXT) as cluster:
        primary = cluster.wait_whole()
        replicas = [node for node in cluster.nodes if node is not primary]
        for node in (primary, replicas[0]):
            for name, commands in PIPELINES.items():
                with node.client(timeout=60) as client:
                    assert client.cmd("AZIMUTH", "DURABILITY", "quorum") == "OK"
                    assert ask(client, commands[:1])[0] == ["OK"] and commands[0][0] in ("WATCH", "MULTI", "SET")
                    for replica in replicas:
                        replica.redis.freeze()
                    replies, seconds = ask(client, commands[1:])
                    for replica in replicas:
                        replica.redis.thaw()
                uncertain = [each for each in replies if str(each).startswith("UNCERTAIN")]
                held(uncertain, f"{name} at {node.name}: nobody has it, and it is acknowledged: {replies}")
                # (What had begun when it was sent may be a batch of its own.)
                in_time(seconds < 2.9 * HOLD_MS / 1000, f"{name} at {node.name}: {seconds:.1f} s: {replies}")
                print(f"       {name} at {node.name}: {seconds:.1f} s", flush=True)


@only_azimuth
def what_stands_in_front_of_a_transaction_is_told_before_exec(stage):
    """A client that goes by the reply of its write before it sends EXEC gets it; and before what blocks is over."""
    with Cluster(stage, members=3, text=TEXT) as cluster:
        primary = cluster.wait_whole()
        for node in cluster.nodes:
            with node.client(timeout=30) as client, primary.client(timeout=30) as other:
                assert client.cmd("AZIMUTH", "DURABILITY", "quorum") == "OK"
                assert client.cmd("WATCH", "w") == "OK"
                replies, _ = ask(client, [["SET", "a", "1"], ["GET", "a"], ["MULTI"], ["INCR", "a"]])
                assert replies == ["OK", b"1", "OK", "QUEUED"], replies
                replies, _ = ask(client, [["GET", "a"], ["EXEC"], ["GET", "a"], ["SET", "a", "9"], ["GET", "a"]])
                assert replies == ["QUEUED", [2, b"2"], b"2", "OK", b"9"], replies
                other.cmd("DEL", "list")
                client.send_raw(b"".join(encode(each) for each in (["SET", "b", "1"], ["BLPOP", "list", "20"],
                                                                   ["SET", "c", "1"], ["GET", "c"])))
                assert client.reply() == "OK"  # while BLPOP blocks
                other.cmd("RPUSH", "list", "x")
                assert client.reply() == [b"list", b"x"]
                assert client.reply() == "OK" and client.reply() == b"1"
                large = "z" * 3_000_000
                replies, _ = ask(client, [["SET", "d", "1"], ["SET", "large", large], ["STRLEN", "large"],
                                          ["MULTI"], ["SET", "e", "1"], ["EXEC"]])
                assert replies == ["OK", "OK", len(large), "OK", "QUEUED", ["OK"]], replies


@only_azimuth
def a_sidecar_asks_for_as_many_copies_as_the_primary(stage):
    """Three voters, a member that does not vote, a sidecar: a copy at the one that does not vote is none."""
    with Cluster(stage, members=3, text=TEXT) as cluster:
        primary = cluster.wait_whole()
        reader = cluster.add("d1", voter=False, bootstrap=3)
        reader.start()
        sidecar = cluster.add("s1", member=False, bootstrap=3)
        sidecar.start()
        cluster.wait_whole()
        voters = [node for node in cluster.members() if node not in (primary, reader)]

        def write(node, key):
            with node.client(timeout=30) as client:
                assert client.cmd("AZIMUTH", "DURABILITY", "quorum") == "OK"
                return client.cmd("SET", key, "v")

        for node in (sidecar, primary, voters[0]):
            wait_until(lambda at=node: write(at, "before") == "OK", 20, f"a quorum write at {node.name}")
        for voter in voters:
            voter.redis.freeze()
        for node in (sidecar, primary, voters[0]):
            reply = write(node, "key")
            held(str(reply).startswith("UNCERTAIN"), f"{node.name}: only {reader.name} had it: {reply}")
        voters[0].redis.thaw()
        for node in (sidecar, primary, voters[0]):
            wait_until(lambda at=node: write(at, "after") == "OK", 20, f"a quorum write at {node.name}")
        voters[1].redis.thaw()


@only_azimuth
def quorum_writes_at_a_sidecar_go_on_while_members_come_and_go(stage):
    """Down to one member a sidecar that was started for three asks for no copy; and for one more as they come back."""
    with Cluster(stage, members=3, sidecars=1, text="hold_timeout_ms = 5000\n") as cluster:
        primary = cluster.wait_whole()
        sidecar = cluster.by_id("s1")

        def change(kind, node):
            def done():
                with primary.client(timeout=40) as client:
                    return client.cmd("AZIMUTH", "MEMBER", kind, node.id) == "OK"
            wait_until(done, 40, f"{kind} {node.id}")

        with sidecar.client(timeout=30) as client:
            assert client.cmd("AZIMUTH", "DURABILITY", "quorum") == "OK"

            def writes(when):
                for index in range(20):
                    began = time.monotonic()
                    reply = client.cmd("SET", f"{when}{index}", "v")
                    held(reply == "OK", f"{when}: {reply}")
                    in_time(time.monotonic() - began < 3, f"{when}: {time.monotonic() - began:.1f} s")

            writes("three")
            others = [node for node in cluster.members() if node is not primary]
            for node in others:
                change("REMOVE", node)
                writes(f"without {node.id}")
            for node in others:
                change("ADD", node)
                writes(f"again {node.id}")
            wait_until(lambda: len(primary.status()["cluster"]["voters"]) == 3, 40, "three voters")
            writes("three again")


if __name__ == "__main__":
    harness.run(__doc__)
