#!/usr/bin/python3
"""What azimuth says for itself: the numbers of its admin pages, the AZIMUTH command, its section in
INFO, its slow log, and what it refuses."""
import http.client
import json
import re
import socket
import subprocess

import harness
from harness import only_azimuth, wait_until
from resp import RespError


def call(stage, *args, code=0, stdin=None):
    done = subprocess.run(
        [stage.binary, *args], capture_output=True, timeout=60, text=True, stdin=subprocess.DEVNULL
    )
    assert code is None or done.returncode == code, (
        args,
        done.returncode,
        done.stdout[-600:],
        done.stderr[-1200:],
    )
    return done.stdout, done.stderr


def get(front, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", front.admin_port, timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


@only_azimuth
def admin_pages(stage):
    redis = stage.redis()
    front = stage.azimuth(redis, admin=True)
    wait_until(lambda: get(front, "/readyz")[0] == 200, what="ready")
    assert get(front, "/healthz")[0] == 200
    with front.connect() as client:
        client.pipeline(*[["SET", "k", "v"]] * 100, *[["GET", "k"]] * 200, ["NOSUCH"], ["LPUSH", "k", "x"])
        status, headers, body = get(front, "/status")
        assert status == 200 and headers["Content-Type"].startswith("application/json")
        node = json.loads(body)
        for key in ("node", "zone", "region", "role", "epoch", "primary", "members"):
            assert key in node, key
        assert node["role"] == "primary" and node["primary"] == node["node"], node
        assert [member["id"] for member in node["members"]] == [node["node"]]
        assert {"id", "zone", "region", "role", "alive", "ready", "position", "lag"} <= set(
            node["members"][0]
        )
        shown = call(stage, "status", "--addr", f"127.0.0.1:{front.admin_port}")[0]
        assert node["node"] in shown and "primary" in shown, shown
        assert (
            json.loads(call(stage, "status", "--addr", f"127.0.0.1:{front.admin_port}", "--json")[0])["node"]
            == node["node"]
        )
        metrics = check_metrics(get(front, "/metrics"))
        counted = {name: value for name, value in metrics.items() if "command" in name}
        assert any('"set"' in name and value == 100 for name, value in counted.items()), sorted(counted)[:40]
        assert any('"get"' in name and value == 200 for name, value in counted.items()), sorted(counted)[:40]
        assert get(front, "/")[0] == 200 and "<html" in get(front, "/")[2].lower()
        assert get(front, "/nosuch")[0] == 404 and get(front, "/metrics", "POST")[0] == 405
        status, headers, body = get(front, "/status", "HEAD")
        assert status == 200 and body == "" and int(headers["Content-Length"]) > 0
        redis.kill()
        wait_until(lambda: get(front, "/readyz")[0] == 503, what="not ready without Redis")
        assert get(front, "/healthz")[0] == 200, "azimuth itself lives"
        redis.restart()
        wait_until(lambda: get(front, "/readyz")[0] == 200, what="ready again")
        assert client.cmd("PING") == "PONG"


def check_metrics(answer):
    status, headers, body = answer
    assert status == 200 and headers["Content-Type"].startswith("text/plain"), headers
    samples, types = {}, {}
    for line in body.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} has two TYPE lines"
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(
                r'([a-zA-Z_:][\w:]*)(\{(?:[a-z_]\w*="(?:[^"\\\n]|\\.)*",?)*\})? (-?[\d.e+-]+|\+Inf|NaN)', line
            )
            assert match, f"no sample of Prometheus text: {line!r}"
            base = re.sub(r"_(bucket|sum|count)$", "", match.group(1))
            assert match.group(1) in types or types.get(base) == "histogram", f"no TYPE before {line!r}"
            key = match.group(1) + (match.group(2) or "")
            assert key not in samples, f"twice: {key}"
            samples[key] = float(match.group(3))
    assert any(kind == "histogram" for kind in types.values()), "latency histograms"
    assert body.endswith("\n")
    return samples


@only_azimuth
def admin_and_bad_http(stage):
    redis = stage.redis()
    front = stage.azimuth(redis, admin=True)
    address = ("127.0.0.1", front.admin_port)

    def talk(data, shut=False):
        with socket.create_connection(address, 10) as sock:
            try:
                sock.sendall(data)
                if shut:
                    sock.shutdown(socket.SHUT_WR)
                out = b""
                while True:
                    piece = sock.recv(65536)
                    if not piece:
                        return out
                    out += piece
            except ConnectionError:
                return out

    assert talk(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert b" 431 " in talk(b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n")[:40]
    assert talk(b"*1\r\n$4\r\nPING\r\n").startswith(b"HTTP/1.1 400")
    twice = talk(
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert twice.count(b"HTTP/1.1 200") == 2, twice
    talk(b"GET /sta", shut=True)
    idle = [socket.create_connection(address, 10) for _ in range(80)]
    for sock in idle[40:]:
        sock.close()

    def answers():
        try:
            return get(front, "/healthz")[0] == 200
        except OSError:
            return False

    wait_until(answers, what="still answers")
    for sock in idle[:40]:
        sock.close()


@only_azimuth
def own_command(stage):
    redis = stage.redis()
    front = stage.azimuth(redis)
    for resp in (2, 3):
        with front.connect(resp=resp) as client:
            assert len(client.cmd("AZIMUTH", "HELP")) > 5
            assert json.loads(client.cmd("AZIMUTH", "STATUS"))["node"]
            assert client.cmd("AZIMUTH", "CONSISTENCY") == b"causal"
            assert (
                client.cmd("AZIMUTH", "CONSISTENCY", "strong") == "OK"
                and client.cmd("AZIMUTH", "CONSISTENCY") == b"strong"
            )
            assert client.cmd("AZIMUTH", "DURABILITY") == b"async"
            assert isinstance(client.cmd("AZIMUTH", "CONSISTENCY", "nosuch"), RespError)
            assert client.cmd("AZIMUTH", "ROUTE", "GET", "k"), "where and why"
            assert client.cmd("AZIMUTH", "MEMBERS")
            for wrong in (
                ["AZIMUTH"],
                ["AZIMUTH", "NOSUCH"],
                ["AZIMUTH", "ROUTE"],
                ["azimuth", "durability", "x"],
            ):
                assert isinstance(client.cmd(*wrong), RespError), wrong
            text = client.cmd("INFO").decode()
            assert "# Server\r\n" in text and "# Azimuth\r\n" in text and "redis_version:7" in text
            assert "# Azimuth" in client.cmd("INFO", "azimuth").decode()
            assert "# Azimuth" not in client.cmd("INFO", "memory").decode()
            assert "# Azimuth" in client.cmd("INFO", "everything").decode()


@only_azimuth
def refused_commands(stage):
    redis = stage.redis("--enable-debug-command", "yes")
    front = stage.azimuth(redis)
    with front.connect() as client:
        client.cmd("SET", "k", "v")
        for command in (
            ["REPLICAOF", "127.0.0.1", "1"],
            ["REPLICAOF", "NO", "ONE"],
            ["SLAVEOF", "127.0.0.1", "1"],
            ["FAILOVER"],
            ["FAILOVER", "ABORT"],
            ["SHUTDOWN"],
            ["SHUTDOWN", "NOSAVE"],
            ["CLUSTER", "RESET"],
            ["CLUSTER", "MEET", "127.0.0.1", "1"],
            ["CLUSTER", "FAILOVER"],
        ):
            reply = client.cmd(*command)
            assert (
                isinstance(reply, RespError) and "azimuth" in reply and command[0].lower() in reply.lower()
            ), (command, reply)
            assert client.cmd("MULTI") == "OK"
            assert isinstance(client.cmd(*command), RespError)
            assert client.cmd("EXEC").startswith("EXECABORT"), command
        assert client.cmd("ROLE")[0] == b"master" and client.cmd("GET", "k") == b"v"
        script = "return redis.call('REPLICAOF', '127.0.0.1', '1')"
        assert isinstance(client.cmd("EVAL", script, "0"), RespError)
        for allowed in (
            ["DEBUG", "SLEEP", "0"],
            ["CONFIG", "SET", "maxmemory-samples", "6"],
            ["ACL", "LIST"],
            ["MODULE", "LIST"],
            ["LATENCY", "RESET"],
            ["MEMORY", "DOCTOR"],
            ["FUNCTION", "STATS"],
            ["CLUSTER", "KEYSLOT", "x"],
        ):
            reply = client.cmd(*allowed)
            assert not (isinstance(reply, RespError) and "azimuth" in reply), (allowed, reply)


@only_azimuth
def slow_log(stage):
    redis = stage.redis("--enable-debug-command", "yes")
    front = stage.azimuth(redis, settings=["slowlog.threshold_us=20000"])
    with front.connect() as client:
        client.cmd("CLIENT", "SETNAME", "slow-one")
        assert client.cmd("DEBUG", "SLEEP", "0.05") == "OK"

        def slept():
            return [
                entry
                for entry in client.cmd("AZIMUTH", "SLOWLOG", "GET", "10")
                if entry[3][0].lower() == b"debug"
            ]

        entry = wait_until(slept, what="an entry")[0]
        assert entry[2] >= 20000 and entry[5] == b"slow-one", entry
        assert client.cmd("AZIMUTH", "SLOWLOG", "LEN") >= 1
        assert client.cmd("AZIMUTH", "SLOWLOG", "RESET") == "OK"


if __name__ == "__main__":
    harness.run(__doc__)
