"""What has state on a connection, and load, across planned moves of the primary (I3, I6, I7).

A switchover and a SIGTERM of the primary's azimuth show no client an error and lose nothing.
Subscriptions, open transactions, watched keys and blocked clients cross it truthfully.
"""
import threading
import time

from writers import Writers

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until
from resp import RespError, encode


def rounds_option(parser):
    parser.add_argument("--rounds", type=int, default=4)


def move(cluster, primary):
    """A planned move to somebody else; the new primary."""
    cluster.switch_over(primary)
    successor = cluster.wait_whole()
    assert successor is not primary
    return successor


def full_syncs(cluster):
    return {node.id: node.redis_info("sync_full") for node in cluster.members()}


def assert_no_error(writers):
    assert not any(client.errors for client in writers.clients), writers.summary()


class Moved:
    """A group in which the primary is about to move; a client of each node for each thing."""

    def __init__(self, stage, **options):
        self.cluster = Cluster(stage, **options)

    def __enter__(self):
        self.cluster.__enter__()
        self.primary = self.cluster.wait_whole()
        self.clients = []
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.close()
        self.cluster.__exit__(*_)

    def at_each(self, **options):
        """One client at each node, the primary's first."""
        nodes = sorted(self.cluster.nodes, key=lambda node: node is not self.primary)
        made = [node.client(**options) for node in nodes]
        self.clients += made
        return made

    def one(self, **options):
        return self.at_each(**options)[0]

    def move(self):
        self.primary = move(self.cluster, self.primary)

    def kill(self):
        """The primary's Redis dies; somebody else leads."""
        old = self.primary
        old.redis.kill()
        self.primary = self.cluster.wait_primary(but=old)
        self.cluster.write(self.primary, "written-at", self.primary.id)

    def blocked(self):
        """How many clients the primary's Redis says are blocked."""
        return int(self.primary.redis_info("blocked_clients"))


# --- load ----------------------------------------------------------------------------------------

@only_azimuth
def switchovers_under_load_show_no_error(stage):
    with Cluster(stage, workers=2) as cluster:
        primary = cluster.wait_whole()
        full = full_syncs(cluster)
        with Writers(stage, cluster.nodes, 6) as writers:
            for _ in range(stage.options.rounds):
                writers.progress(30)
                primary = move(cluster, primary)
            writers.progress(30)
            writers.stop()
            assert_no_error(writers)
            assert not any(client.uncertain for client in writers.clients)
            cluster.wait_same_data()
            assert writers.audit(primary.redis) == 0
            print(f"       {writers.summary()}", flush=True)
        cluster.assert_no_full_sync(full)


def warnings(cluster):
    return [line for node in cluster.nodes for line in node.events("upstream_lost") if "level=warn" in line]


@only_azimuth
def a_planned_move_is_no_news_for_each_connection(stage):
    """Nothing went wrong: no warning, at the start neither, and few lines whatever the number of connections."""
    with Moved(stage) as stand:
        clients = [client for _ in range(10) for client in stand.at_each()]
        for client in clients:
            assert client.cmd("WATCH", "k") == "OK"  # one that has a connection of its own
        before = [len(node.events("upstream_lost")) for node in stand.cluster.nodes]
        stand.move()
        for client in clients:
            assert client.cmd("SET", "k", "v") == "OK"
        assert not warnings(stand.cluster), warnings(stand.cluster)
        for node, count in zip(stand.cluster.nodes, before):
            assert count <= 2, node.events("upstream_lost")
            assert len(node.events("upstream_lost")) - count <= 3, node.events("upstream_lost")


@only_azimuth
def a_quorum_pipeline_crosses_a_move_in_the_middle(stage):
    """Its replicas are slow: what waits behind a WAIT is kept here, and not left to a Redis that is fenced by then."""
    with Moved(stage) as stand:
        primary = stand.primary
        others = [node for node in stand.cluster.nodes if node is not primary]
        clients = stand.at_each(timeout=40)
        for client in clients:
            assert client.cmd("AZIMUTH", "DURABILITY", "quorum") == "OK"
        for node in others:
            node.redis.freeze()
        switched = threading.Thread(target=stand.move)
        try:
            for number, client in enumerate(clients):
                client.send_raw(b"".join(encode([str(word).encode() for word in words]) for words in (
                    ["MULTI"], ["RPUSH", f"list{number}", "first"], ["EXEC"],
                    *(["RPUSH", f"list{number}", index] for index in range(15)))))
            wait_until(lambda: stand.blocked() == len(clients), what="each waits for its replicas")
            switched.start()
            wait_until(lambda: fence_of(primary) == b"999999", what="the fence is up")
        finally:
            for node in others:
                node.redis.thaw()
        for number, client in enumerate(clients):
            replies = client.read_n(18)
            assert replies[:2] == ["OK", "QUEUED"], replies
            assert replies[2] == [1], replies
            assert replies[3:] == list(range(2, 17)), replies
        switched.join(60)


def fence_of(node):
    with node.redis.connect(timeout=5) as client:
        return client.cmd("CONFIG", "GET", "min-replicas-to-write")[1]


@only_azimuth
def a_rolling_restart_under_load_shows_no_error(stage):
    """SIGTERM of each azimuth in turn. Its own clients see it close; nobody sees an error."""
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        full = full_syncs(cluster)
        with Writers(stage, cluster.nodes, 6) as writers:
            for _ in range(stage.options.rounds):
                writers.progress(30)
                primary.end()
                primary.start()
                primary = cluster.wait_whole()
            writers.progress(30)
            writers.stop()
            assert_no_error(writers)
            cluster.wait_same_data()
            assert writers.audit(primary.redis) == 0
            print(f"       {writers.summary()}", flush=True)
        cluster.assert_no_full_sync(full)


@only_azimuth
def clients_of_others_do_not_notice_a_stopping_primary(stage):
    """Writers at the two others: neither an error nor an uncertain write, nor a closed connection."""
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        others = [node for node in cluster.nodes if node is not primary]
        with Writers(stage, others, 4) as writers:
            writers.progress(30)
            primary.end()
            successor = cluster.wait_primary(but=primary, among=others)
            writers.progress(30)
            writers.stop()
            assert_no_error(writers)
            assert not any(client.uncertain for client in writers.clients), writers.summary()
            assert [client.turn for client in writers.clients] == [client.number + 1 for client in writers.clients]
            assert writers.audit(successor.redis) == 0


@only_azimuth
def a_stopping_primary_without_a_successor_loses_nothing(stage):
    """The others are gone: it cannot hand over, stops all the same, and what it took is there later."""
    with Cluster(stage) as cluster:
        primary = cluster.wait_whole()
        others = [node for node in cluster.nodes if node is not primary]
        with Writers(stage, [primary], 2) as writers:
            writers.progress(50)
            for node in others:
                node.kill()
            for client in writers.clients:
                client.over.set()
            primary.end()
            for client in writers.clients:
                client.join(60)
                assert not client.is_alive()
            for node in cluster.nodes:
                node.start()
            leader = cluster.wait_whole()
            cluster.wait_same_data()
            assert writers.audit(leader.redis) == 0


# --- state of a connection -----------------------------------------------------------------------

@only_azimuth
def subscriptions_cross_a_switchover(stage):
    with Moved(stage) as moved:
        twos, threes = moved.at_each(), moved.at_each(resp=3)
        for client in twos + threes:
            assert client.cmd("SUBSCRIBE", "news") if client in twos else client.send("SUBSCRIBE", "news") is None
            client.send("PSUBSCRIBE", "n?ws")
        for client in twos:
            assert client.read() == [b"psubscribe", b"n?ws", 2]
        for client in threes:
            assert [client.push(), client.push()] == [[b"subscribe", b"news", 1], [b"psubscribe", b"n?ws", 2]]
        for round_ in range(3):
            moved.move()
            text = b"message %d" % round_
            for node in moved.cluster.nodes:
                with node.client() as client:
                    wait_until(lambda: client.cmd("PUBSUB", "NUMSUB", "news")[1] >= 6, what="six subscribers")
            with moved.primary.client() as client:
                assert client.cmd("PUBLISH", "news", text) >= 12
            for client in twos + threes:
                assert [client.read(), client.read()] == [
                    [b"message", b"news", text], [b"pmessage", b"n?ws", b"news", text]]
        for client in threes:  # RESP3: also commands in between
            assert client.cmd("ECHO", "here") == b"here"
            assert client.silent(0.1)


@only_azimuth
def a_lost_primary_does_not_end_subscriptions(stage):
    with Moved(stage) as moved:
        clients = moved.at_each()
        for client in clients:
            assert client.cmd("SUBSCRIBE", "news") == [b"subscribe", b"news", 1]
        moved.kill()
        with moved.primary.client() as client:
            wait_until(lambda: client.cmd("PUBSUB", "NUMSUB", "news")[1] == 3, what="three subscribers")
            assert client.cmd("PUBLISH", "news", "on") == 3
        for client in clients:
            assert client.read() == [b"message", b"news", b"on"]
            assert client.silent(0.1)


@only_azimuth
def a_transaction_runs_whole_or_not_at_all(stage):
    """Open while the primary moves, planned and not; with depth in flight too."""
    with Moved(stage) as moved:
        for index, way in enumerate((moved.move, moved.move, moved.kill)):
            clients = moved.at_each()
            for number, client in enumerate(clients):
                replies = client.pipeline(["MULTI"], ["INCR", f"a{index}{number}"], ["INCR", f"b{index}{number}"])
                assert replies == ["OK", "QUEUED", "QUEUED"]
            way()
            ends = [client.cmd("EXEC") for client in clients]
            for number, (client, end) in enumerate(zip(clients, ends)):
                values = client.cmd("MGET", f"a{index}{number}", f"b{index}{number}")
                if end == [1, 1]:
                    assert values == [b"1", b"1"]
                else:
                    assert isinstance(end, RespError) and end.startswith("EXECABORT azimuth: the primary moved"), end
                    assert values == [None, None], (end, values)
                # The connection is out of the transaction and good for another.
                assert client.pipeline(["MULTI"], ["ECHO", "x"], ["EXEC"])[-1] == [b"x"]


PACES = (("pipe", 0, 1), ("pipe", 0, 7), ("step", 0, 1), ("step", 0.004, 1), ("halves", 0.004, 1), ("watch", 0.002, 1))


class Transactions(threading.Thread):
    """One client that counts by transactions, at its own pace, until it is told to end; `wrong`: what it was told."""

    def __init__(self, client, name, way, pause, depth):
        super().__init__(daemon=True)
        self.client, self.way, self.pause, self.depth = client, way, pause, depth
        self.keys = [f"{name}-a", f"{name}-b"]
        self.over, self.wrong, self.done, self.turned = threading.Event(), [], 0, 0

    def run(self):
        words = [["MULTI"], *(["INCR", key] for key in self.keys), ["EXEC"]]
        if self.way == "watch":
            words.insert(0, ["WATCH", self.keys[0]])
        try:
            while not self.over.is_set():
                self.turn(words)
                self.turned += 1
        except Exception as error:  # the test's own thread looks at it
            self.wrong.append(error)

    def turn(self, words):
        if self.way in ("step", "watch"):
            replies = []
            for each in words:
                replies.append(self.client.cmd(*each))
                time.sleep(self.pause)
        else:
            sent = b"".join(encode([word.encode() for word in each]) for each in words) * self.depth
            half = len(sent) // 2 if self.way == "halves" else 0
            self.client.send_raw(sent[:half])
            time.sleep(self.pause)
            self.client.send_raw(sent[half:])
            replies = self.client.read_n(len(words) * self.depth)
        for end in replies[len(words) - 1::len(words)]:
            self.done += isinstance(end, list)
        errors = [reply for reply in replies if isinstance(reply, RespError)]
        lost = [end for end in replies[len(words) - 1::len(words)] if end is None and self.way != "watch"]
        # Who is slower than the limit of a move (the machine may be) is told so, and nothing else.
        self.wrong += [reply for reply in errors if not reply.startswith("EXECABORT azimuth: the primary moved")] + lost


@only_azimuth
def transactions_under_load_cross_a_switchover(stage):
    """Of every pace, through each node: no error of Redis's roles, none of azimuth's, and none applied by half."""
    with Moved(stage) as moved:
        loads = [Transactions(client, f"{way}-{pause}-{depth}-{place}", way, pause, depth)
                 for way, pause, depth in PACES for place, client in enumerate(moved.at_each())]
        for load in loads:
            load.start()
        for _ in range(stage.options.rounds):
            before = [load.turned for load in loads]
            wait_until(lambda: all(load.turned > count + 2 for load, count in zip(loads, before)) or
                       any(load.wrong for load in loads), what="all go on")
            moved.move()
        for load in loads:
            load.over.set()
        for load in loads:
            load.join(30)
            assert not load.is_alive() and not load.wrong, (load.way, load.wrong)
        with moved.primary.client() as client:
            for load in loads:
                assert client.cmd("MGET", *load.keys) == [b"%d" % load.done] * 2, load.keys


@only_azimuth
def a_transaction_left_open_is_told_that_the_primary_moved(stage):
    with Moved(stage) as moved:
        clients = moved.at_each()
        for client in clients:
            assert client.pipeline(["MULTI"], ["INCR", "n"]) == ["OK", "QUEUED"]
        moved.move()
        for client in clients:
            assert client.cmd("INCR", "n") == "QUEUED"
            assert client.cmd("EXEC").startswith("EXECABORT azimuth: the primary moved"), "in azimuth's words"
            assert client.pipeline(["MULTI"], ["ECHO", "x"], ["EXEC"])[-1] == [b"x"]
        for client in clients:
            assert client.pipeline(["MULTI"], ["INCR", "n"]) == ["OK", "QUEUED"]
        moved.move()
        for client in clients:
            assert client.cmd("DISCARD") == "OK"
            assert client.cmd("GET", "n") is None


@only_azimuth
def a_transaction_without_its_exec_goes_to_the_next_primary(stage):
    """The primary dies before it has said anything to MULTI: nothing of it ran, and nobody has to know."""
    with Moved(stage) as moved:
        clients = moved.at_each()
        for client in clients:
            assert client.pipeline(["MULTI"], ["ECHO", "x"], ["EXEC"])[-1] == [b"x"]
        moved.primary.redis.freeze()
        for number, client in enumerate(clients):
            client.send_raw(b"".join(encode(words) for words in (
                [b"MULTI"], [b"INCR", b"n%d" % number], [b"INCR", b"n%d" % number])))
        with moved.primary.client() as other:
            other.send("AZIMUTH", "HELP")
            other.read()
        moved.primary.redis.process.kill()  # at once: harness's kill lets it run on before
        moved.primary.redis.process.wait(20)
        moved.kill()
        for client in clients:
            assert client.read_n(3) == ["OK", "QUEUED", "QUEUED"]
            end = client.cmd("EXEC")
            assert end == [1, 2], end


@only_azimuth
def large_values_cross_a_switchover(stage):
    """They stream through connections of their own: none meets a Redis that is fenced or demoted."""
    with Moved(stage) as moved:
        over, wrong, turned = threading.Event(), [], [0, 0, 0]

        def write(place, client):
            try:
                while not over.is_set():
                    reply = client.cmd("SET", f"large{place}", b"v" * 200_000)
                    turned[place] += 1
                    if reply != "OK":
                        wrong.append(reply)
                    time.sleep(0.05)  # or the replicas are too far behind for a planned move
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=write, args=each, daemon=True) for each in enumerate(moved.at_each(timeout=40))]
        for thread in threads:
            thread.start()
        for _ in range(stage.options.rounds):
            before = list(turned)
            wait_until(lambda: wrong or all(now > then + 2 for now, then in zip(turned, before)), what="all go on")
            moved.move()
        over.set()
        for thread in threads:
            thread.join(30)
        assert not wrong, wrong


@only_azimuth
def without_a_primary_the_reason_is_said(stage):
    """The group's own; and who was refused a MULTI is not left inside it."""
    with Cluster(stage, text="hold_timeout_ms = 1000") as cluster:
        primary = cluster.wait_whole()
        client, other = primary.client(timeout=20), primary.client(timeout=20)
        assert client.cmd("SET", "k", "v") == other.cmd("PING").replace("PONG", "OK") == "OK"
        for node in cluster.nodes:
            if node is not primary:
                node.kill()
        wait_until(lambda: primary.status()["primary"] is None, what="it has no majority")
        reply = client.cmd("SET", "k", "v")
        assert reply.startswith("CLUSTERDOWN azimuth: there is no primary ("), reply
        assert "no majority of the voters" in reply, reply
        assert "out of reach" not in reply, reply
        assert other.cmd("MULTI").startswith("CLUSTERDOWN azimuth: there is no primary")
        assert other.read_to_end(timeout=20) == b""
        client.close()
        other.close()


@only_azimuth
def scripts_known_here_are_known_where_the_primary_goes(stage):
    """Also for what was queued while the primary moved."""
    with Moved(stage) as moved:
        client = moved.primary.client(timeout=30)
        moved.clients.append(client)
        sha = client.cmd("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")
        request = encode([b"EVALSHA", sha, b"1", b"n"])
        over, replies = threading.Event(), []

        def call():
            while not over.is_set():
                client.send_raw(request * 20)
                replies.extend(client.read_n(20))

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        for _ in range(stage.options.rounds):
            count = len(replies)
            wait_until(lambda: len(replies) > count + 100 or not thread.is_alive(), what="it goes on")
            moved.move()
        over.set()
        thread.join(30)
        assert replies == list(range(1, len(replies) + 1)), [reply for reply in replies if isinstance(reply, RespError)][:3]


@only_azimuth
def a_watched_key_never_counts_as_untouched_by_mistake(stage):
    """Nil from EXEC is always right after a move; what is wrong is to run although the key was touched."""
    with Moved(stage) as moved:
        for index, way in enumerate((moved.move, moved.kill)):
            key = f"watched{index}"
            moved.cluster.write(moved.primary, key, "1")
            moved.cluster.wait_same_data()
            clients = moved.at_each()
            for client in clients:
                assert client.cmd("WATCH", key) == "OK"
            way()
            with moved.primary.client() as other:
                assert other.cmd("INCR", key) == 2
            for client in clients:
                end = client.pipeline(["MULTI"], ["SET", key, "overwritten"], ["EXEC"])[-1]
                assert end is None or str(end).startswith("EXECABORT"), end
                assert client.cmd("GET", key) == b"2"
                assert client.cmd("WATCH", f"other{index}") == "OK"
                assert client.pipeline(["MULTI"], ["ECHO", "x"], ["EXEC"])[-1] == [b"x"]


@only_azimuth
def a_key_touched_before_the_move_stays_touched(stage):
    with Moved(stage) as moved:
        moved.cluster.write(moved.primary, "k", "1")
        clients = moved.at_each()
        for client in clients:
            assert client.cmd("WATCH", "k") == "OK"
        with moved.primary.client() as other:
            assert other.cmd("INCR", "k") == 2
        moved.move()
        for client in clients:
            end = client.pipeline(["MULTI"], ["SET", "k", "overwritten"], ["EXEC"])[-1]
            assert end is None or str(end).startswith("EXECABORT"), end
            assert client.cmd("GET", "k") == b"2"


def blocked_ones_are_served(moved, way):
    clients = moved.at_each()
    for number, client in enumerate(clients):
        client.send("BLPOP", f"queue{number}", "0")
    wait_until(lambda: moved.blocked() == 3, what="three blocked")
    way()
    answered = []
    for number, client in enumerate(clients):
        with moved.primary.client() as other:
            assert isinstance(other.cmd("RPUSH", f"queue{number}", f"element{number}"), int)
        value = client.read()
        if isinstance(value, RespError):  # Redis's own word when a primary becomes a replica
            assert value.split(" ")[0] in ("UNBLOCKED", "UNCERTAIN"), value
            value = client.cmd("BLPOP", f"queue{number}", "0")
        else:
            answered.append(number)
        assert value == [b"queue%d" % number, b"element%d" % number], value
        with moved.primary.client() as other:
            assert other.cmd("EXISTS", f"queue{number}") == 0
    return answered


@only_azimuth
def a_blocked_client_is_served_at_the_new_primary(stage):
    """It waits on there, or is told -UNBLOCKED, as Redis does when a primary becomes a replica."""
    for way in ("move", "kill"):
        with Moved(stage) as moved:
            waited = blocked_ones_are_served(moved, getattr(moved, way))
            print(f"       {way}: {len(waited)} of 3 waited on", flush=True)


@only_azimuth
def a_blocked_client_waits_no_longer_than_it_asked(stage):
    with Moved(stage) as moved:
        client = moved.one()
        began = time.monotonic()
        client.send("BLPOP", "never", "3")
        wait_until(lambda: moved.blocked() == 1, what="one blocked")
        told = []
        reader = threading.Thread(target=lambda: told.append((client.read(), time.monotonic() - began)), daemon=True)
        reader.start()
        moved.move()
        reader.join(30)
        value, took = told[0]
        assert took < (8 if stage.slow else 4.5), took
        assert value is None and took >= 2.9 or str(value).startswith("UNBLOCKED"), (value, took)


@only_azimuth
def a_stream_of_pops_gets_each_element_once(stage):
    """Consumers in BLPOP, a producer, and the primary moves: each element to one consumer, none twice."""
    with Moved(stage) as moved:
        total, got, trouble = 600, [], []

        def consume(client):
            try:
                while True:
                    value = client.cmd("BLPOP", "work", "0")
                    if isinstance(value, RespError) and value.startswith("UNBLOCKED "):
                        continue  # Redis's own word for: nothing was taken, ask again
                    if value[1] == b"end":
                        return
                    got.append(int(value[1]))
            except Exception as error:  # the test's own thread looks at it
                trouble.append(error)

        threads = [threading.Thread(target=consume, args=(client,), daemon=True) for client in moved.at_each()]
        for thread in threads:
            thread.start()
        producer = moved.one()
        for index in range(total):
            assert isinstance(producer.cmd("RPUSH", "work", index), int)
            if index in (200, 400):
                moved.move()
        for _ in threads:
            producer.cmd("RPUSH", "work", "end")
        for thread in threads:
            thread.join(30)
        assert not trouble, trouble
        assert not any(thread.is_alive() for thread in threads)
        assert sorted(got) == list(range(total)), (len(got), len(set(got)))


@only_azimuth
def scripts_and_names_are_known_at_the_new_primary(stage):
    """SCRIPT LOAD and SELECT before the move hold after it."""
    with Moved(stage) as moved:
        clients = moved.at_each()
        sha = clients[0].cmd("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")
        for number, client in enumerate(clients):
            assert client.cmd("SELECT", number + 1) == "OK"
            assert client.cmd("EVALSHA", sha, "1", "n") == 1
        moved.move()
        for number, client in enumerate(clients):
            value = client.cmd("EVALSHA", sha, "1", "n")
            # (The others' scripts are not known to this node: as after a failover of Redis itself, clients send EVAL.)
            if number != 0 and str(value).startswith("NOSCRIPT"):
                value = client.cmd("EVAL", "return redis.call('INCR', KEYS[1])", "1", "n")
            assert value == 2, value
            assert client.cmd("GET", "n") == b"2"


if __name__ == "__main__":
    harness.run(__doc__, rounds_option)
