#!/usr/bin/python3
"""redis-py with its Python parser and with hiredis's, and libhiredis from C: the same program must
print the same transcript against redis-server and against azimuth."""
import difflib
import os
import subprocess
import tempfile
import threading

import harness
import redis
from harness import wait_until
from redis.connection import HiredisParser, PythonParser

SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")


def settle(call, *args, **named):
    """The value of a call, or its error as a value."""
    try:
        return call(*args, **named)
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"


class Player:
    """redis-py's conversation with one server."""

    def __init__(self, address, parser):
        self.address, self.parser = address, parser
        self.notes = []
        self.redis = self.open()

    def open(self, **options):
        pool = redis.ConnectionPool(
            host=self.address[0], port=self.address[1], parser_class=self.parser, socket_timeout=30, **options
        )
        return redis.Redis(connection_pool=pool)

    def note(self, *what):
        self.notes.append(repr(what))

    def commands(self):
        r = self.redis
        self.note(r.set("k", "v"), r.get("k"), r.set("bin", b"\0\xff\r\n"), r.get("bin"), r.mget("k", "none"))
        self.note(
            r.hset("h", mapping={"f": 1, "g": "two"}),
            sorted(r.hgetall("h").items()),
            r.hincrbyfloat("h", "f", 1.5),
        )
        self.note(r.rpush("l", 1, 2, 3), r.lrange("l", 0, -1), r.lpop("l", 2), settle(r.incr, "l"))
        self.note(
            r.zadd("z", {"a": 1.5, "b": 2}),
            r.zrange("z", 0, -1, withscores=True),
            r.zscore("z", "a"),
            r.sadd("s", 1, 2),
            r.smembers("s"),
        )
        self.note(
            r.xadd("x", {"f": "v"}, id="1-1"),
            r.xrange("x"),
            r.geoadd("g", (13.4, 52.5, "b")),
            r.geopos("g", "b"),
            r.pfadd("p", "a", "b"),
            r.pfcount("p"),
        )
        self.note(
            settle(r.execute_command, "NOSUCH", "x"),
            settle(r.execute_command, "GET"),
            r.object("encoding", "k"),
            r.type("z"),
        )
        self.note(
            r.setex("t", 100, "x"),
            0 < r.ttl("t") <= 100,
            r.expireat("t", 4000000000),
            r.dbsize(),
            r.ping(),
            r.echo("x"),
        )
        self.note(
            r.client_setname("me"),
            r.client_getname(),
            r.client_id() > 0,
            r.client_info()["name"],
            r.config_get("maxmemory-policy"),
        )
        self.note(
            r.info("server")["redis_version"],
            r.command_count(),
            sorted(r.acl_cat())[:3],
            r.acl_whoami(),
            len(r.time()),
        )
        big = b"z" * 3_000_000
        self.note(r.set("big", big), r.get("big") == big, r.strlen("big"))
        keys = [b"scan:%d" % n for n in range(300)]
        r.mset(dict.fromkeys(keys, 1))
        self.note(sorted(r.scan_iter("scan:*", count=20)) == sorted(keys), r.delete(*keys))

    def pipelines(self):
        pipe = self.redis.pipeline(transaction=False)
        for n in range(5000):
            pipe.incr("n")
            pipe.get("n")
            pipe.echo("e%d" % n)
        got = pipe.execute()
        self.note(all(got[3 * n : 3 * n + 3] == [n + 1, b"%d" % (n + 1), b"e%d" % n] for n in range(5000)))
        pipe = self.redis.pipeline(transaction=False)
        pipe.set("k", "v").lpush("k", "x").get("k")
        self.note(list(map(str, pipe.execute(raise_on_error=False))))

    def transactions(self):
        pipe = self.redis.pipeline()
        self.note(pipe.set("t", 1).incr("t").hgetall("h2").execute())
        self.note(settle(self.redis.pipeline().set("t", 1).execute_command("NOSUCH").execute))
        wins = []

        def work():
            client, won = self.open(), 0
            while won < 20:
                with client.pipeline() as pipe:
                    try:
                        pipe.watch("race")
                        value = int(pipe.get("race") or 0)
                        pipe.multi()
                        pipe.set("race", value + 1)
                        pipe.execute()
                        won += 1
                    except redis.WatchError:
                        pass
            wins.append(won)

        threads = [threading.Thread(target=work) for _ in range(5)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        self.note(
            wins,
            self.redis.get("race"),
            self.redis.transaction(lambda pipe: pipe.multi() or pipe.incr("tr"), "tr"),
        )

    def pubsub(self):
        sub = self.open().pubsub()
        sub.subscribe("news", "more")
        sub.psubscribe("p*")
        for _ in range(3):
            self.note(sub.get_message(timeout=10))
        for n in range(20):
            self.redis.publish("news", n)
        self.redis.publish("p1", "pattern")
        for _ in range(21):
            self.note(sub.get_message(timeout=10))
        sub.ping("still")
        self.note(sub.get_message(timeout=10))
        sub.unsubscribe("news", "more")
        sub.punsubscribe()
        for _ in range(3):
            self.note(sub.get_message(timeout=10))
        sub.close()
        with self.open().monitor() as monitor:
            self.redis.set("watched", "x")
            while True:
                command = monitor.next_command()
                if "watched" in command["command"]:
                    self.note(command["command"], command["db"], command["client_type"])
                    break

    def blocking(self):
        waiting, got = self.open(), []
        thread = threading.Thread(target=lambda: got.append(waiting.blpop(["q", "q2"], 20)))
        thread.start()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 1, what="blocked")
        self.redis.rpush("q2", "job")
        thread.join()
        self.note(
            got, waiting.brpop("none", 0.01), waiting.blmove("l", "l2", 0.01), waiting.bzpopmin("none", 0.01)
        )
        lock = self.redis.lock("lock", timeout=30)
        self.note(
            lock.acquire(blocking=False), self.open().lock("lock").acquire(blocking=False), lock.release()
        )

    def streams(self):
        r = self.redis
        self.note(r.xgroup_create("st", "g", "$", mkstream=True))
        got = []
        thread = threading.Thread(
            target=lambda: got.append(self.open().xreadgroup("g", "one", {"st": ">"}, count=5, block=20000))
        )
        thread.start()
        wait_until(lambda: r.info("clients")["blocked_clients"] == 1, what="blocked")
        r.xadd("st", {"f": "v"}, id="5-1")
        thread.join()
        self.note(
            got,
            r.xpending("st", "g"),
            r.xack("st", "g", "5-1"),
            r.xread({"st": "0"}),
            r.xautoclaim("st", "g", "two", 0),
            r.xinfo_groups("st"),
        )

    def scripts(self):
        r = self.redis
        twice = r.register_script("return {redis.call('GET', KEYS[1]), ARGV[1] .. ARGV[1]}")
        self.note(
            twice(keys=["k"], args=["x"]),
            r.script_flush(),
            twice(keys=["k"], args=["y"]),
            r.script_exists(twice.sha),
        )
        pipe = r.pipeline()
        twice(keys=["k"], args=["z"], client=pipe)
        self.note(
            pipe.execute(), settle(r.evalsha, "0" * 40, 0), settle(r.eval, "return redis.call('NOSUCH')", 0)
        )
        self.note(
            r.execute_command(
                "FUNCTION",
                "LOAD",
                "#!lua name=plib\nredis.register_function('pf', function(k, a) return a[1] end)",
            ),
            r.execute_command("FCALL", "pf", 0, "arg"),
            r.execute_command("FUNCTION", "DELETE", "plib"),
        )

    def users(self):
        r = self.redis
        self.note(
            r.acl_setuser(
                "py", enabled=True, passwords=["+secret"], keys=["py:*"], commands=["+@all", "-flushall"]
            )
        )
        user = self.open(username="py", password="secret", db=4, client_name="as-user")
        self.note(
            user.acl_whoami(),
            user.client_getname(),
            user.set("py:k", 1),
            settle(user.get, "other"),
            settle(user.flushall),
            r.get("py:k"),
        )
        self.note(
            settle(self.open(username="py", password="bad").ping), settle(self.open(password="needless").ping)
        )
        self.note(r.acl_deluser("py"))


def compare(stage, parser):
    parts = ("commands", "pipelines", "transactions", "pubsub", "blocking", "streams", "scripts", "users")
    played = []
    for workers in (0, 1) if stage.direct else (0, 1, 2):
        server = stage.redis()
        front = server if workers == 0 else stage.azimuth(server, workers=workers)
        player = Player(front.address, parser)
        for part in parts:
            player.note("---", part)
            getattr(player, part)()
        played.append(player.notes)
        assert played[0] == player.notes, f"with {workers} worker(s):\n" + "\n".join(
            list(difflib.unified_diff(played[0], player.notes, "redis", "azimuth", n=1, lineterm=""))[:40]
        )


@harness.test
def redis_py_with_its_own_parser(stage):
    compare(stage, PythonParser)


@harness.test
def redis_py_with_hiredis(stage):
    compare(stage, HiredisParser)


@harness.test
def libhiredis(stage):
    program = os.path.join(tempfile.mkdtemp(dir=harness.directory()), "hiredis_client")
    subprocess.run(
        ["cc", "-O1", "-o", program, os.path.join(SOURCE, "hiredis_client.c"), "-lhiredis"],
        check=True,
        timeout=120,
    )
    outputs = []
    for front in (stage.redis(), stage.azimuth(stage.redis())):
        done = subprocess.run(
            [program, front.address[0], str(front.address[1])], capture_output=True, timeout=60, text=True
        )
        assert done.returncode == 0 and done.stdout.endswith("--- end\n"), (
            done.stdout[-800:] + done.stderr[-800:]
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1], "\n".join(
        difflib.unified_diff(
            outputs[0].splitlines(), outputs[1].splitlines(), "redis", "azimuth", n=1, lineterm=""
        )
    )


if __name__ == "__main__":
    harness.run(__doc__)
