#!/usr/bin/python3
"""Bugs that were found by reading and by attack, each as the shortest conversation that showed it."""
import os
import signal
import socket
import time

import harness
from harness import only_azimuth, test, wait_until


def front_of(stage, redis, **named):
    return redis if stage.direct else stage.azimuth(redis, **named)


@test
def a_database_is_kept_while_redis_is_busy(stage):
    """A SELECT that Redis refuses (BUSY) must not leave a command to run on another database."""
    redis = stage.redis("--busy-reply-threshold", "1")
    front = front_of(stage, redis)
    with front.connect() as five, front.connect() as zero, front.connect() as stuck:
        five.cmd("SELECT", 5)
        zero.cmd("SET", "where", "zero")
        stuck.send("EVAL", "while true do end", "0")
        wait_until(lambda: str(five.cmd("SET", "probe", "x")).startswith("BUSY"), what="busy")
        zero.cmd("SCRIPT", "KILL")
        stuck.read()
        assert five.cmd("SET", "probe", "five") == "OK"
        assert zero.cmd("EXISTS", "probe") == 0, "written to database 0"
        assert five.cmd("GET", "probe") == b"five"


@test
def a_collected_reply_ends_no_other_wait(stage):
    """INFO's reply must not release a client that waits for SELECT."""
    redis = stage.redis()
    front = front_of(stage, redis)
    with front.connect() as client, front.connect() as zero:
        for turn in range(100):
            client.cmd("SELECT", 0)
            client.send("SET", "a", turn)
            client.send("INFO", "everything")
            client.send("SELECT", 7)
            client.send("SET", f"s{turn}", "seven")
            for _ in range(4):
                client.read()
        assert zero.cmd("KEYS", "s*") == [], "written to database 0"


@test
def replies_owed_at_the_end_arrive_and_then_the_end(stage):
    """A client that shuts down its sending side gets all its replies, and then a close."""
    redis = stage.redis()
    front = front_of(stage, redis)
    with front.connect() as client:
        client.cmd("SET", "big", "x" * 60_000)
    with front.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        for _ in range(52):
            client.send("GET", "big")
        client.sock.shutdown(socket.SHUT_WR)
        data = client.read_to_end(timeout=20)
        if not stage.direct:  # redis-server may close before it has written them all
            assert data.count(b"$60000\r\n") == 52, data.count(b"$60000\r\n")


@test
def unsubscribe_from_nothing_without_ping(stage):
    """What azimuth adds to find the end of UNSUBSCRIBE's confirmations may be forbidden to the user."""
    redis = stage.redis()
    front = front_of(stage, redis)
    with front.connect() as client:
        client.cmd("ACL", "SETUSER", "quiet", "on", "nopass", "~*", "&*", "+@all", "-ping")
        client.cmd("AUTH", "quiet", "x")
        client.send("UNSUBSCRIBE")
        assert client.read() == [b"unsubscribe", None, 0]
        assert client.cmd("SET", "k", "v") == "OK"
        assert client.cmd("GET", "k") == b"v"


@test
def a_list_that_looks_like_a_message(stage):
    """Once nothing is subscribed, an array that begins with "message" is a reply like any other."""
    redis = stage.redis()
    front = front_of(stage, redis)
    with front.connect() as client:
        client.cmd("RPUSH", "l", "message", "a", "b")
        client.cmd("SUBSCRIBE", "c")
        client.cmd("UNSUBSCRIBE", "c")
        assert client.cmd("LRANGE", "l", 0, -1) == [b"message", b"a", b"b"]
        assert client.cmd("CLIENT", "GETNAME") is None
        assert client.cmd("SELECT", 1) == "OK"


@only_azimuth
def a_password_set_behind_azimuths_back(stage):
    redis = stage.redis()
    front = stage.azimuth(redis)
    with front.connect() as old, redis.connect() as admin:
        assert old.cmd("SET", "k", "v") == "OK"
        admin.cmd("CONFIG", "SET", "requirepass", "late")

        def refused():
            with front.connect() as fresh:
                return str(fresh.cmd("GET", "k")).startswith("NOAUTH")

        wait_until(refused, what="the password is noticed")


@only_azimuth
def any_password_makes_no_crowd_of_connections(stage):
    """A user without a password takes any: each makes an identity, and none may stay for long."""
    redis = stage.redis()
    front = stage.azimuth(redis)
    with front.connect() as client, redis.connect() as admin:
        for turn in range(300):
            assert client.cmd("AUTH", "default", f"p{turn}") == "OK"
        wait_until(
            lambda: len(admin.cmd("CLIENT", "LIST").splitlines()) < 120, what="the connections are closed"
        )


@only_azimuth
def one_lost_connection_is_not_an_outage(stage):
    """A subscriber's connection is killed; later Redis restarts, and writes are held as ever."""
    redis = stage.redis()
    front = stage.azimuth(redis, settings=["cluster.hold_timeout_ms=3000"])
    with front.connect() as writer, front.connect() as subscriber, redis.connect() as admin:
        subscriber.cmd("SUBSCRIBE", "c")
        admin.cmd("CLIENT", "KILL", "TYPE", "pubsub")
        assert subscriber.read_to_end(timeout=20) == b""
        assert writer.cmd("SET", "k", "1") == "OK"
        # Longer than the hold: a clock that was left running would have run out by now.
        deadline = time.monotonic() + 3.5
        wait_until(lambda: time.monotonic() > deadline, what="the time has passed")
        redis.kill()
        writer.send("SET", "k", "2")
        redis.restart()
        assert writer.read() == "OK"


@only_azimuth
def clients_that_leave_while_redis_is_silent_are_released(stage):
    redis = stage.redis()
    front = stage.azimuth(redis, settings=["cluster.hold_timeout_ms=500"])
    with front.connect() as observer:
        before = len(observer.cmd("CLIENT", "LIST").splitlines())
        os.kill(redis.process.pid, signal.SIGSTOP)
        try:
            for _ in range(5):
                with front.connect() as client:
                    client.send("SET", "a", "b")
            deadline = time.monotonic() + 4
            wait_until(lambda: time.monotonic() > deadline, what="they had their time")
        finally:
            os.kill(redis.process.pid, signal.SIGCONT)
        assert len(observer.cmd("CLIENT", "LIST").splitlines()) == before


if __name__ == "__main__":
    harness.run(__doc__)
