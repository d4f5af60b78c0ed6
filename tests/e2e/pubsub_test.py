#!/usr/bin/python3
"""Pub/sub, MONITOR, CLIENT TRACKING, CLIENT REPLY: connections on which Redis speaks unasked."""
import re

import harness
from harness import wait_until
from resp import Closed, Push, encode
from scenario import both


def subscribers(site, channel):
    return dict(zip(*[iter(site.admin.cmd("PUBSUB", "NUMSUB", channel))] * 2))[channel.encode()]


@both
def subscribe_resp2(site):
    sub, pub = site.connect(), site.connect()
    sub.send("SUBSCRIBE", "a", "b", "a")
    [sub.hear() for _ in range(3)]
    assert pub.say("PUBLISH", "a", "hello") == 1
    assert sub.hear() == [b"message", b"a", b"hello"]
    assert sub.say("PING") == [b"pong", b""]
    assert sub.say("PING", "text") == [b"pong", b"text"]
    for wrong in (
        ["GET", "x"],
        ["PUBLISH", "a", "x"],
        ["NOSUCH"],
        ["PING", "a", "b"],
        ["SUBSCRIBE"],
        ["MULTI"],
        ["CLIENT", "ID"],
        ["HELLO", "3"],
        ["AUTH", "x"],
        ["SELECT", "1"],
    ):
        sub.say(*wrong)
    sub.say("PSUBSCRIBE", "p?*")
    sub.say("SSUBSCRIBE", "shard")
    pub.say("PUBLISH", "p123", "by pattern")
    assert sub.hear() == [b"pmessage", b"p?*", b"p123", b"by pattern"]
    pub.say("SPUBLISH", "shard", "sharded")
    assert sub.hear() == [b"smessage", b"shard", b"sharded"]
    pub.say("PUBSUB", "NUMSUB", "a", "b", "none")
    pub.say("PUBSUB", "NUMPAT")
    pub.say("PUBSUB", "SHARDNUMSUB", "shard")
    assert set(pub.cmd("PUBSUB", "CHANNELS")) == {b"a", b"b"}
    sub.say("UNSUBSCRIBE", "a")
    pub.say("PUBLISH", "a", "nobody")
    sub.say("UNSUBSCRIBE")
    sub.say("UNSUBSCRIBE", "never")
    sub.say("PUNSUBSCRIBE")
    sub.say("SUNSUBSCRIBE")
    assert sub.say("SET", "x", "1") == "OK" and sub.say("GET", "x") == b"1"
    sub.say("UNSUBSCRIBE")
    sub.say("PUNSUBSCRIBE")
    sub.say("SUBSCRIBE", "again")
    assert sub.say("RESET") == "RESET"
    assert pub.say("PUBLISH", "again", "x") == 0
    assert sub.say("GET", "x") == b"1"
    sub.say("SUBSCRIBE", "again")
    sub.send("QUIT")
    site.note(sub.read_to_end())
    wait_until(lambda: subscribers(site, "again") == 0, what="QUIT unsubscribes")


@both
def subscribe_resp3(site):
    sub, pub = site.connect(resp=3), site.connect()
    sub.send("SUBSCRIBE", "a", "b")
    assert isinstance(sub.hear(), Push) and isinstance(sub.hear(), Push)
    assert sub.say("PING") == "PONG"
    assert sub.say("SET", "k", "v") == "OK"
    assert sub.say("GET", "k") == b"v"
    pub.say("PUBLISH", "a", "hello")
    assert sub.hear() == [b"message", b"a", b"hello"]
    sub.say("PSUBSCRIBE", "p*")
    sub.say("SSUBSCRIBE", "s")
    pub.say("PUBLISH", "pattern", "x")
    sub.hear()
    pub.say("SPUBLISH", "s", "x")
    sub.hear()
    sub.send_raw(encode(["SELECT", "3"]) + encode(["SET", "k", "three"]) + encode(["GET", "k"]))
    [sub.hear() for _ in range(3)]
    sub.say("MULTI")
    sub.say("GET", "k")
    sub.say("EXEC")
    sub.send("PUBLISH", "a", "to myself")
    [sub.hear() for _ in range(2)]
    sub.say("UNSUBSCRIBE", "a")
    sub.say("UNSUBSCRIBE", "b")
    sub.say("PUNSUBSCRIBE")
    sub.say("SUNSUBSCRIBE")
    sub.say("UNSUBSCRIBE")
    assert sub.say("GET", "k") == b"three", "the database holds"
    sub.say("SUBSCRIBE", "c")
    sub.say("RESET")
    assert sub.say("GET", "k") == b"v", "RESET goes back to database 0"
    assert pub.say("PUBLISH", "c", "x") == 0


@both
def subscribe_in_a_pipeline(site):
    """Commands before, between and after in one packet: all replies, in order."""
    for resp in (2, 3):
        sub = site.connect(resp=resp)
        sub.send_raw(
            b"".join(
                map(
                    encode,
                    [
                        ["SET", "k", "1"],
                        ["INCR", "k"],
                        ["SUBSCRIBE", "a", "b"],
                        ["PING"],
                        ["PING", "x"],
                        ["GET", "k"],
                        ["UNSUBSCRIBE", "a"],
                        ["UNSUBSCRIBE", "b"],
                        ["GET", "k"],
                        ["SUBSCRIBE", "c"],
                        ["RESET"],
                        ["GET", "k"],
                    ],
                )
            )
        )
        [sub.hear() for _ in range(13)]
        other = site.connect(resp=resp)
        other.say("MULTI")
        other.say("SUBSCRIBE", "one")
        other.say("EXEC")
        other.close()


@both
def messages_keep_their_order(site):
    subs = [site.connect(resp=2 + index % 2) for index in range(5)]
    for sub in subs:
        sub.send("SUBSCRIBE", "news")
        sub.read()
    pubs = [site.connect() for _ in range(3)]
    for n in range(300):
        for index, pub in enumerate(pubs):
            pub.send("PUBLISH", "news", f"{index}:{n}")
    for pub in pubs:
        assert pub.read_n(300) == [5] * 300
    for sub in subs:
        seen = [sub.read()[2].decode() for _ in range(900)]
        for index in range(3):
            assert [item for item in seen if item.startswith(f"{index}:")] == [
                f"{index}:{n}" for n in range(300)
            ]


@both
def many_subscribers(site):
    subs = [site.connect() for _ in range(60)]
    for index, sub in enumerate(subs):
        sub.send("SUBSCRIBE", "all", "only%d" % index)
    [sub.read_n(2) for sub in subs]
    pub = site.connect()
    assert pub.cmd("PUBLISH", "all", "x") == 60
    for index, sub in enumerate(subs):
        assert pub.cmd("PUBLISH", "only%d" % index, index) == 1
        assert sub.read_n(2) == [[b"message", b"all", b"x"], [b"message", b"only%d" % index, b"%d" % index]]
    for sub in subs[:30]:
        sub.close()
    wait_until(lambda: subscribers(site, "all") == 30, what="those who left are gone")
    assert pub.cmd("PUBLISH", "all", "y") == 30


@both(redis=["--notify-keyspace-events", "KEA"])
def keyspace_notifications(site):
    sub, other = site.connect(), site.connect()
    sub.say("PSUBSCRIBE", "__key*__:*")
    other.say("SET", "k", "v")
    [sub.hear() for _ in range(2)]
    other.say("SELECT", "5")
    other.say("EXPIRE", "k", "-1")
    other.say("LPUSH", "l", "x")
    [sub.hear() for _ in range(2)]
    other.say("SET", "gone", "v", "PX", "20")
    [sub.hear() for _ in range(4)]
    wait_until(lambda: other.cmd("EXISTS", "gone") == 0, what="expired")
    [sub.hear() for _ in range(2)]


@both
def large_messages(site):
    for resp in (2, 3):
        sub, pub = site.connect(resp=resp), site.connect()
        sub.send("SUBSCRIBE", "big")
        sub.read()
        for size in (1000, 16384, 65536, 300_000, 3_000_000):
            body = bytes(site.random.randbytes(size))
            assert pub.cmd("PUBLISH", "big", body) == 1
            assert sub.read() == [b"message", b"big", body]
        sub.close()
        wait_until(lambda: subscribers(site, "big") == 0, what="gone")


@both
def monitor(site):
    watcher, other = site.connect(), site.connect()
    assert watcher.cmd("MONITOR") == "OK"
    other.pipeline(
        ["SET", "k", 'one "two"\n'],
        ["SELECT", "3"],
        ["LPUSH", "l", "\x01bin"],
        ["NOSUCH"],
        ["AUTH", "secret"],
    )
    lines = []

    def until(text):
        while True:
            line = str(watcher.read())
            if text in line:
                match = re.fullmatch(r"\d+\.\d{6} \[(\d+) 127\.0\.0\.1:\d+\] (.*)", line)
                assert match, line
                lines.append(match.groups())
                return

    until('"SET"')
    until('"LPUSH"')
    assert lines == [("0", '"SET" "k" "one \\"two\\"\\n"'), ("3", '"LPUSH" "l" "\\x01bin"')], lines
    watcher.send("QUIT")
    watcher.read_to_end()
    again = site.connect()
    assert again.cmd("MONITOR") == "OK"
    again.send("RESET")
    while str(again.read()) != "RESET":
        pass
    assert again.cmd("SET", "after", "monitor") == "OK"
    assert again.cmd("GET", "after") == b"monitor"
    assert again.silent(0.02), "no longer a monitor"


@both
def tracking_default(site):
    one, other = site.connect(resp=3), site.connect()
    other.cmd("MSET", "a", "1", "b", "2", "c", "3")
    assert one.say("CLIENT", "TRACKING", "on") == "OK"
    one.say("CLIENT", "TRACKINGINFO")
    one.say("CLIENT", "GETREDIR")
    one.say("GET", "a")
    one.say("MGET", "b", "c")
    other.cmd("SET", "a", "x")
    assert one.hear() == [b"invalidate", [b"a"]]
    other.cmd("SET", "a", "y")
    other.cmd("DEL", "b")
    assert one.hear() == [b"invalidate", [b"b"]], "told once until read again"
    one.say("GET", "a")
    one.say("SET", "a", "mine")
    one.hear()
    one.say("GET", "a")
    one.say("MULTI")
    one.say("GET", "c")
    one.say("EXEC")
    other.cmd("INCR", "c")
    one.hear()
    other.cmd("FLUSHALL")
    assert one.hear() == [b"invalidate", None]
    one.say("SELECT", "2")
    one.say("GET", "a")
    other.pipeline(["SELECT", "2"], ["SET", "a", "two"])
    one.hear()
    one.say("CLIENT", "TRACKING", "off")
    one.say("CLIENT", "TRACKINGINFO")
    one.say("GET", "a")
    other.cmd("SET", "a", "z")
    assert one.say("PING") == "PONG" and one.silent(0.02)


@both
def tracking_modes(site):
    other = site.connect()
    bcast = site.connect(resp=3)
    bcast.say("CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "user:", "PREFIX", "item:")
    bcast.say("CLIENT", "TRACKINGINFO")
    other.cmd("SET", "user:1", "x")
    bcast.hear()
    other.cmd("SET", "else", "x")
    other.cmd("SET", "item:1", "x")
    bcast.hear()
    bcast.say("CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "user:a")
    noloop = site.connect(resp=3)
    noloop.say("CLIENT", "TRACKING", "on", "NOLOOP")
    noloop.say("GET", "n")
    noloop.say("SET", "n", "mine")
    noloop.say("GET", "n")
    other.cmd("SET", "n", "theirs")
    assert noloop.hear() == [b"invalidate", [b"n"]]
    optin = site.connect(resp=3)
    optin.say("CLIENT", "TRACKING", "on", "OPTIN")
    optin.say("GET", "quiet")
    optin.say("CLIENT", "CACHING", "yes")
    optin.say("GET", "loud")
    other.pipeline(["SET", "quiet", "x"], ["SET", "loud", "x"])
    assert optin.hear() == [b"invalidate", [b"loud"]]
    optin.say("CLIENT", "CACHING", "no")
    optout = site.connect(resp=3)
    optout.say("CLIENT", "TRACKING", "on", "OPTOUT")
    optout.say("CLIENT", "CACHING", "no")
    optout.say("GET", "quiet")
    optout.say("GET", "loud")
    other.pipeline(["SET", "quiet", "y"], ["SET", "loud", "y"])
    assert optout.hear() == [b"invalidate", [b"loud"]]
    wrong = site.connect()
    for args in (
        ["on", "OPTIN", "OPTOUT"],
        ["on", "PREFIX", "x"],
        ["on", "BCAST", "OPTIN"],
        ["maybe"],
        ["on", "NOSUCH"],
        ["on", "REDIRECT", "99999999"],
        ["on", "REDIRECT", "x"],
        ["on", "BCAST", "PREFIX", "a", "PREFIX", "ab"],
        ["off", "x"],
        [],
    ):
        wrong.say("CLIENT", "TRACKING", *args)
    wrong.say("CLIENT", "CACHING", "yes")
    wrong.say("CLIENT", "TRACKINGINFO")
    wrong.say("GET", "a")


@both
def tracking_redirected(site):
    sink, one, other = site.connect(), site.connect(), site.connect()
    number = sink.id()
    sink.cmd("SUBSCRIBE", "__redis__:invalidate")
    assert one.cmd("CLIENT", "TRACKING", "on", "REDIRECT", number) == "OK"
    assert one.cmd("CLIENT", "GETREDIR") == number
    info = one.cmd("CLIENT", "TRACKINGINFO")
    assert info[info.index(b"redirect") + 1] == number, info
    one.cmd("GET", "a")
    other.cmd("SET", "a", "x")
    assert sink.hear() == [b"message", b"__redis__:invalidate", [b"a"]]
    third = site.connect(resp=3)
    assert third.cmd("CLIENT", "TRACKING", "on", "REDIRECT", number, "BCAST") == "OK"
    other.cmd("SET", "b", "x")
    assert sink.hear() == [b"message", b"__redis__:invalidate", [b"b"]]
    assert one.say("PING") == "PONG"
    sink.close()

    def broken():
        info = one.cmd("CLIENT", "TRACKINGINFO")
        one.cmd("GET", "a")
        other.cmd("SET", "a", "again")
        return b"broken_redirect" in info[1]

    wait_until(broken, what="the redirection is noted as broken")


@both
def client_reply(site):
    for resp in (2, 3):
        client = site.connect(resp=resp)
        client.send_raw(
            b"".join(
                map(
                    encode,
                    [
                        ["CLIENT", "REPLY", "OFF"],
                        ["SET", "k", "1"],
                        ["INCR", "k"],
                        ["NOSUCH"],
                        ["GET"],
                        ["SELECT", "3"],
                        ["PING"],
                        ["MULTI"],
                        ["SET", "three", "x"],
                        ["EXEC"],
                        ["CLIENT", "REPLY", "ON"],
                        ["GET", "three"],
                        ["SELECT", "0"],
                        ["GET", "k"],
                    ],
                )
            )
        )
        assert client.read_n(4) == ["OK", b"x", "OK", b"2"]
        client.send_raw(
            b"".join(
                map(
                    encode,
                    [
                        ["CLIENT", "REPLY", "SKIP"],
                        ["INCR", "k"],
                        ["GET", "k"],
                        ["CLIENT", "REPLY", "SKIP"],
                        ["CLIENT", "REPLY", "SKIP"],
                        ["PING", "lost"],
                        ["PING", "heard"],
                        ["CLIENT", "REPLY", "SKIP"],
                        ["CLIENT", "SETNAME", "x"],
                        ["CLIENT", "GETNAME"],
                        ["CLIENT", "REPLY", "OFF"],
                        ["CLIENT", "REPLY", "SKIP"],
                        ["PING"],
                        ["CLIENT", "REPLY", "ON"],
                        ["PING", "end"],
                    ],
                )
            )
        )
        assert client.read_n(5) == [b"3", b"heard", b"x", "OK", b"end"]
        client.send_raw(
            encode(["CLIENT", "REPLY", "OFF"])
            + encode(["BLPOP", "q", "0.005"])
            + encode(["SUBSCRIBE", "c"])
            + encode(["UNSUBSCRIBE", "c"])
            + encode(["CLIENT", "REPLY", "ON"])
            + encode(["PING", "end"])
        )
        while client.hear() != b"end":
            pass
        client.cmd("CLIENT", "REPLY", "x")
        other = site.connect()
        other.send_raw(
            (encode(["CLIENT", "REPLY", "SKIP"]) + encode(["INCR", "n%d" % resp])) * 1000
            + encode(["GET", "n%d" % resp])
        )
        assert other.read() == b"1000"


@both
def a_subscriber_is_killed(site):
    sub, other = site.connect(), site.connect()
    number = sub.id()
    sub.cmd("SUBSCRIBE", "c")
    assert other.cmd("CLIENT", "KILL", "ID", number) == 1
    try:
        sub.read()
        raise AssertionError("a killed subscriber heard something")
    except Closed:
        pass
    wait_until(lambda: other.cmd("PUBLISH", "c", "x") == 0, what="unsubscribed")


if __name__ == "__main__":
    harness.run(__doc__)
