"""The control thread from outside: readiness, reload, the admin pages."""
import json
import os
import re
import signal
import socket
import threading

import harness
from harness import only_azimuth, wait_until
from node import Node


# --- the local Redis -----------------------------------------------------------------------------

@only_azimuth
def readiness_follows_redis(stage):
    redis = stage.redis(start=False)
    here = Node(stage, redis)
    here.wait_not_ready("is down")
    assert here.get("/healthz")[0] == 200, "a Redis that is away is no reason to restart azimuth"
    assert here.status()["redis"]["status"] == "down"
    redis.restart()
    here.wait_ready()
    first = here.status()
    assert first["redis"]["version"].startswith("7."), first
    assert first["role"] == "primary" and first["primary"] == "n1"
    assert first["members"][0]["alive"] and first["members"][0]["ready"]
    redis.kill()
    here.wait_not_ready("is down")
    assert not here.status()["members"][0]["alive"]
    redis.restart()
    here.wait_ready()
    assert here.status()["redis"]["run_id"] != first["redis"]["run_id"]
    assert len(here.events("redis_down")) == 2, here.log()
    assert len(here.events("redis_up")) == 2, here.log()
    assert len(here.events("redis_restarted")) == 1, here.log()
    here.stop()


@only_azimuth
def a_stuck_redis_is_told_from_a_dead_one(stage):
    redis = stage.redis()
    here = Node(stage, redis)
    here.wait_ready()
    redis.freeze()
    here.wait_not_ready("is stuck")
    status = here.status()
    assert status["redis"]["status"] == "stuck" and status["members"][0]["alive"], status
    redis.thaw()
    here.wait_ready()
    assert not here.events("redis_down"), here.log()
    here.stop()


@only_azimuth
def a_loading_redis_is_alive_and_not_ready(stage):
    redis = stage.redis("--enable-debug-command", "yes")
    with redis.connect() as client:
        assert client.cmd("DEBUG", "POPULATE", 3000, "key", 100) == "OK"
        assert client.cmd("SAVE") == "OK"
    redis.kill()
    redis.options += ["--key-load-delay", "4000", "--loading-process-events-interval-bytes", "1024"]
    here = Node(stage, redis)
    redis.start(wait=False)
    here.wait_not_ready("loading its data set")
    assert here.status()["redis"]["loading"]
    wait_until(lambda: here.get("/readyz")[0] == 200, 60, "/readyz 200")
    assert here.events("redis_loading") and here.events("redis_loaded"), here.log()
    here.stop()


@only_azimuth
def a_password_that_azimuth_lacks_is_no_death(stage):
    redis = stage.redis("--requirepass", "secret-of-ours")
    here = Node(stage, redis)
    here.wait_ready()
    wait_until(lambda: here.events("redis_refused"), what="redis_refused")
    assert here.status()["redis"]["version"] == ""
    here.write("", redis_keys='password = "secret-of-ours"\n')
    here.reload()
    wait_until(lambda: here.status()["redis"]["version"] != "", what="a login")
    here.write("", redis_keys='password = "wrong"\nusername = "nobody"\n')
    here.reload()
    line = wait_until(lambda: here.events("redis_login_refused"), what="redis_login_refused")[0]
    assert "user=nobody" in line and "WRONGPASS" in line, line
    here.wait_ready()
    assert "secret-of-ours" not in here.log() and "wrong" not in here.log().replace("WRONG", "")
    here.stop()


@only_azimuth
def a_user_that_may_ask_little_is_enough(stage):
    redis = stage.redis()
    with redis.connect() as client:
        assert client.cmd("ACL", "SETUSER", "watch", "on", ">pw", "+ping", "+role") == "OK"
    here = Node(stage, redis, extra=("--set", "redis.username=watch", "--set",
                                     "redis.password=pw", "--set", "log.level=debug"))
    here.wait_ready()
    wait_until(lambda: here.events("commands_unknown"), what="commands_unknown")
    wait_until(lambda: here.status()["redis"]["role"] == "master", what="ROLE")
    here.stop()


@only_azimuth
def a_new_redis_is_asked_for_its_commands_once(stage):
    redis = stage.redis()
    here = Node(stage, redis, '[log]\nlevel = "debug"\n')
    line = wait_until(lambda: here.events("commands_known"), what="commands_known")[0]
    listed, extra = (int(n) for n in re.search(r"listed=(\d+) extra=(\d+)", line).groups())
    assert listed > 240 and extra == 0, line  # the table has all of the Redis that we test with
    redis.kill()
    redis.restart()
    wait_until(lambda: len(here.events("commands_known")) == 2, what="asked again")
    with redis.connect() as client:
        client.cmd("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_until(lambda: len(here.events("redis_up")) == 3, what="connected again")
    with redis.connect() as client:
        asked = client.cmd("INFO", "commandstats").decode()
    assert "cmdstat_command:calls=1," in asked, asked
    here.stop()


class OddRedis:
    """Answers what a test says, to whoever asks: a Redis that is none, or a hostile one."""

    def __init__(self, replies):
        self.replies = replies
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.open = True
        self.connections = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while self.open:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        rest = b""
        try:
            while True:
                data = connection.recv(65536)
                if not data:
                    return
                rest += data
                while True:
                    match = re.match(rb"\*(\d+)\r\n((?:\$\d+\r\n[^\r]*\r\n)*)", rest)
                    if not match or match[2].count(b"$") < int(match[1]):
                        break
                    words = re.findall(rb"\$\d+\r\n([^\r]*)\r\n", match[2])
                    rest = rest[match.end():]
                    name = b" ".join(words).upper().decode()
                    reply = self.replies.get(name)
                    if reply is None:
                        reply = self.replies.get(words[0].upper().decode(), b"+OK\r\n")
                    connection.sendall(reply)
        except OSError:
            pass

    def close(self):
        self.open = False
        self.socket.close()
        for connection in self.connections:
            connection.close()


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


SERVER = bulk(b"# Server\r\nredis_version:9.9.9\r\nredis_mode:standalone\r\nrun_id:" + b"a" * 40 +
              b"\r\n")
REPLICATION = bulk(b"# Replication\r\nrole:master\r\nmaster_replid:" + b"b" * 40 +
                   b"\r\nmaster_repl_offset:77\r\n")
MASTER = b"*3\r\n$6\r\nmaster\r\n:77\r\n*0\r\n"


@only_azimuth
def commands_that_only_the_backend_knows_are_routed(stage):
    row = (b"*10\r\n$8\r\nmod.read\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*0\r\n"
           b"*0\r\n*0\r\n*0\r\n")
    odd = OddRedis({"INFO SERVER": SERVER, "INFO REPLICATION": REPLICATION, "ROLE": MASTER,
                    "INFO PERSISTENCE": bulk(b"loading:0\r\n"), "COMMAND": b"*1\r\n" + row,
                    "INFO": bulk(b"")})
    here = Node(stage, odd, '[log]\nlevel = "debug"\n')
    line = wait_until(lambda: here.events("commands_known"), what="commands_known")[0]
    assert "listed=1 extra=1" in line, line
    status = here.status()
    assert status["redis"]["version"] == "9.9.9" and status["redis"]["offset"] == 77, status
    here.stop()
    odd.close()


@only_azimuth
def a_hostile_redis_costs_bounded_memory(stage):
    endless = b"*100000000\r\n" + b"*65000\r\n" * 8
    odd = OddRedis({"INFO SERVER": SERVER, "INFO REPLICATION": REPLICATION, "ROLE": MASTER,
                    "INFO PERSISTENCE": bulk(b"loading:0\r\n"), "COMMAND": endless,
                    "INFO": bulk(b"")})
    here = Node(stage, odd, '[log]\nlevel = "debug"\n')
    wait_until(lambda: here.events("redis_down"), what="the connection to be given up")
    here.wait_ready()  # it is not asked that again
    odd.replies["INFO SERVER"] = b"$600000000\r\n" + b"x" * (20 << 20)
    wait_until(lambda: any("16 MiB" in line for line in here.events("redis_down")),
               what="a reply without end to be given up")
    odd.replies["INFO SERVER"] = b"?what\r\n"
    wait_until(lambda: any("no RESP" in line for line in here.events("redis_down")),
               what="no RESP")
    if not stage.slow:
        assert harness.memory_kib(here.process.pid, "VmHWM") < 128 * 1024
    odd.replies["INFO SERVER"] = SERVER
    here.wait_ready()
    here.stop()
    odd.close()


@only_azimuth
def a_host_name_is_looked_up(stage):
    redis = stage.redis()
    here = Node(stage, f"localhost:{redis.port}")
    here.wait_ready()
    with here.client() as client:
        assert client.cmd("SET", "k", "v") == "OK"
    redis.kill()
    here.wait_not_ready("is down")
    redis.restart()
    here.wait_ready()
    here.stop()
    nowhere = Node(stage, "no-such-host.invalid:6379")
    nowhere.wait_not_ready("no-such-host.invalid:6379")
    assert nowhere.events("redis_address_unknown")
    nowhere.stop()


# --- reload --------------------------------------------------------------------------------------

@only_azimuth
def a_reload_applies_what_needs_no_restart(stage):
    redis = stage.redis()
    here = Node(stage, redis, '[limits]\nclients_max = 100\n')
    here.wait_ready()
    kept = here.client()
    assert kept.cmd("PING") == "PONG"
    here.write('[limits]\nclients_max = 1\n[slowlog]\nthreshold_us = 0\n[log]\nlevel = "debug"\n',
               node_keys="workers = 2\n")
    here.reload()
    changed = " ".join(here.events("setting_changed"))
    assert "key=limits.clients_max before=100 after=1" in changed, changed
    assert "key=slowlog.threshold_us" in changed and "key=log.level" in changed, changed
    left = here.events("setting_needs_restart")
    assert len(left) == 1 and "key=node.workers in_force=1 in_file=2" in left[0], left
    with here.client() as late:
        assert late.read_to_end().startswith(b"-ERR max number of clients reached")
    assert kept.cmd("GET", "a") is None
    slow = kept.cmd("AZIMUTH", "SLOWLOG", "GET")
    assert isinstance(slow, list) and slow, slow
    assert here.status()["workers"] == 1
    here.reload()  # nothing new: only what still waits for a restart
    assert "changed=0 need_restart=1" in here.events("reloaded")[-1], here.log()
    kept.close()
    here.stop()


@only_azimuth
def a_faulty_file_is_refused_whole(stage):
    redis = stage.redis()
    here = Node(stage, redis, '[limits]\nclients_max = 3\n')
    here.write('[limits]\nclients_max = 1\nclient_idle_timeout_s = "soon"\n[lmits]\na = 1\n')
    here.reload("reload_refused")
    errors = here.events("reload_error")
    assert len(errors) == 2, here.log()
    assert all(re.search(r"position=\S*azimuth\.toml:\d+:\d+", line) for line in errors), errors
    clients = [here.client() for _ in range(3)]
    assert all(client.cmd("PING") == "PONG" for client in clients), "the old limit is gone"
    os.unlink(here.file)
    here.reload("reload_refused")
    assert "cannot read" in here.events("reload_refused")[-1]
    here.write('[limits]\nclients_max = 4\n')
    here.reload()
    assert here.client().cmd("PING") == "PONG"
    here.stop()


@only_azimuth
def overrides_outlive_a_reload(stage):
    redis = stage.redis()
    here = Node(stage, redis, '[limits]\nclients_max = 100\n',
                extra=("--set", "limits.clients_max=2"))
    here.write('[limits]\nclients_max = 50\n')
    here.reload()
    assert "changed=0" in here.events("reloaded")[-1], here.log()
    here.stop()


@only_azimuth
def without_a_file_sighup_changes_nothing(stage):
    redis = stage.redis()
    azimuth = stage.azimuth(redis)

    def skipped():
        # Sent again while it is awaited: TSan was seen to hold one back for good.
        azimuth.process.send_signal(signal.SIGHUP)
        return b"event=reload_skipped" in azimuth.log()

    wait_until(skipped, what="reload_skipped")
    with azimuth.connect() as client:
        assert client.cmd("PING") == "PONG"


# --- pages ---------------------------------------------------------------------------------------

@only_azimuth
def the_pages_tell_one_story(stage):
    redis = stage.redis()
    here = Node(stage, redis, extra=("--set", "node.workers=2"))
    here.wait_ready()
    with here.client() as client, here.client(resp=3) as other:
        for number in range(50):
            assert client.cmd("SET", f"k{number}", "v") == "OK"
            assert other.cmd("GET", f"k{number}") == b"v"
        # A pass through the workers: what they have counted is there to see.
        assert b"azimuth_node:n1\r\n" in client.cmd("INFO", "azimuth")
        info = client.cmd("INFO").decode()
        assert "# Server" in info and "# Azimuth" in info
        lines = dict(line.split(":", 1) for line in info.split("# Azimuth\r\n")[1].splitlines()
                     if ":" in line)
        assert lines["azimuth_zone"] == "z1" and lines["azimuth_workers"] == "2", lines
        assert lines["azimuth_connected_clients"] == "2", lines
        assert int(lines["azimuth_commands_processed"]) >= 100, lines

        mine = json.loads(client.cmd("AZIMUTH", "STATUS"))
        page = here.status()
        for key in ("node", "zone", "region", "role", "epoch", "primary", "workers", "listen"):
            assert mine[key] == page[key], key
        assert page["counters"]["commands"]["writes"] >= 50, page["counters"]
        assert page["counters"]["clients"]["connected"] == 2
        assert page["process"]["resident_bytes"] > 0

        metrics = here.get("/metrics")[1]
        assert re.search(r'azimuth_commands_total\{[^}]*command="set"[^}]*\} 50\b', metrics), \
            metrics[:3000]
    assert here.get("/")[0] == 200
    assert here.get("/nothing")[0] == 404
    assert here.get("/status", method="POST")[0] == 405
    assert here.get("/status", method="HEAD") == (200, "")
    here.stop()


@only_azimuth
def no_admin_address_means_no_listener(stage):
    redis = stage.redis()
    here = Node(stage, redis, admin=False)
    with here.client() as client:
        assert client.cmd("PING") == "PONG"
    assert not here.events("admin_open")
    listening = set()
    inodes = {os.readlink(f"/proc/{here.process.pid}/fd/{fd}")
              for fd in os.listdir(f"/proc/{here.process.pid}/fd")
              if os.path.islink(f"/proc/{here.process.pid}/fd/{fd}")}
    for name in ("tcp", "tcp6"):
        with open(f"/proc/net/{name}") as table:
            for row in table.readlines()[1:]:
                fields = row.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    listening.add(int(fields[1].rsplit(":", 1)[1], 16))
    assert listening == {int(here.addresses[0].rsplit(":", 1)[1])}, listening
    here.stop()


if __name__ == "__main__":
    harness.run(__doc__)
