#!/usr/bin/python3
"""azimuth's own face: the command line, settings files and their reload, `azimuth dev`, the admin
listener, the AZIMUTH command, its section in INFO, and what it refuses."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile

import harness
from harness import only_azimuth, wait_until
from resp import Client, Closed, RespError


def call(stage, *args, code=0, stdin=None):
    done = subprocess.run([stage.binary, *args], capture_output=True, timeout=60, text=True, stdin=subprocess.DEVNULL)
    assert code is None or done.returncode == code, (args, done.returncode, done.stdout[-600:], done.stderr[-1200:])
    return done.stdout, done.stderr


def write(name, text):
    path = os.path.join(tempfile.mkdtemp(dir=harness.directory()), name)
    with open(path, "w") as file:
        file.write(text)
    return path


def get(front, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", front.admin_port, timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


@only_azimuth
def command_line(stage):
    version = call(stage, "--version")[0]
    assert re.match(r"azimuth \d", version), version
    for args in (["--help"], ["run", "--help"], ["check", "--help"], ["dev", "--help"], ["status", "--help"], ["keygen", "--help"]):
        assert "azimuth" in call(stage, *args)[0] + call(stage, *args)[1]
    for args in ([], ["nosuch"], ["run", "--nosuch"], ["check"], ["run", "--listen"], ["run", "--listen", "nonsense::", "--redis", "127.0.0.1:1"],
                 ["run", "--config", "/nonexistent"], ["check", "--config", "/nonexistent"], ["dev", "--zones", "0"], ["run", "--listen", "127.0.0.1:1", "--redis", "127.0.0.1:1", "--workers", "-3"]):
        assert call(stage, *args, code=2)[1].strip(), f"{args}: says nothing"
    keys = [call(stage, "keygen")[0] for _ in range(2)]
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", key) for key in keys) and keys[0] != keys[1]
    assert "127.0.0.1:1" in call(stage, "status", "--addr", "127.0.0.1:1", code=1)[1]


@only_azimuth
def settings_files(stage):
    sample = call(stage, "run", "--print-defaults")[0]
    for key in ("listen", "address", "workers", "hold_timeout_ms", "client_output_bytes_max", "threshold_us"):
        assert key in sample, key
    call(stage, "check", "--config", write("sample.toml", sample))
    path = write("bad.toml", '[node]\nid = 5\nworkesr = 2\n\n[redis]\naddress = "nonsense"\n\n[[listen]]\nadress = "127.0.0.1:6380"\n')
    error = call(stage, "check", "--config", path, code=2)[1]
    for line, hint in ((2, "id"), (3, "workers"), (6, "address"), (9, "address")):
        assert re.search(rf"{re.escape(path)}:{line}:\d+: .*{hint}", error), f"line {line}:\n{error}"
    assert call(stage, "run", "--config", path, code=2)[1] == error
    broken = write("broken.toml", '[node\nid = "x"\n')
    assert re.search(rf"{re.escape(broken)}:1:\d+: ", call(stage, "check", "--config", broken, code=2)[1])
    good = write("good.toml", '[redis]\naddress = "127.0.0.1:6379"\n[[listen]]\naddress = "127.0.0.1:6380"\n')
    call(stage, "check", "--config", good)
    assert "--set nosuch.key=" in call(stage, "check", "--config", good, "--set", "nosuch.key=1", code=2)[1]


@only_azimuth
def a_port_that_is_taken(stage):
    redis = stage.redis()
    error = call(stage, "run", "--listen", redis.endpoint, "--redis", redis.endpoint, code=2)[1]
    assert str(redis.port) in error, error


@only_azimuth
def reload_by_sighup(stage):
    redis = stage.redis()
    port = harness.free_port()
    text = (f'[node]\nid = "reloader"\n[redis]\naddress = "{redis.endpoint}"\n[[listen]]\naddress = "127.0.0.1:{port}"\n'
            '[limits]\nclients_max = %s\n')
    path = write("reload.toml", text % "100")
    front = stage.azimuth(redis, config=path, listen=f"127.0.0.1:{port}")

    def reload(new, sign):
        with open(path, "w") as file:
            file.write(new)
        seen = front.log().count(b"\n")
        front.process.send_signal(signal.SIGHUP)
        wait_until(lambda: sign in b"\n".join(front.log().split(b"\n")[seen:]), what=f"{sign!r} in the log")

    with front.connect() as client:
        reload(text % "3", b"clients_max")
        held = [front.connect() for _ in range(2)]
        assert all(one.cmd("PING") == "PONG" for one in held)
        refused = front.connect()
        try:
            reply = refused.cmd("PING")
            assert isinstance(reply, RespError) and "max number of clients" in reply, reply
        except (Closed, OSError):
            pass
        reload(text % '"many"', b"clients_max")
        assert client.cmd("PING") == "PONG", "a wrong file changes nothing"
        reload((text % "50").replace("reloader", "renamed"), b"node.id")  # named as one that needs a restart
        more = [front.connect() for _ in range(10)]
        assert all(one.cmd("PING") == "PONG" for one in more)
        for one in held + more + [refused]:
            one.close()


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
        assert {"id", "zone", "region", "role", "alive", "ready", "position", "lag"} <= set(node["members"][0])
        shown = call(stage, "status", "--addr", f"127.0.0.1:{front.admin_port}")[0]
        assert node["node"] in shown and "primary" in shown, shown
        assert json.loads(call(stage, "status", "--addr", f"127.0.0.1:{front.admin_port}", "--json")[0])["node"] == node["node"]
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
            match = re.fullmatch(r'([a-zA-Z_:][\w:]*)(\{(?:[a-z_]\w*="(?:[^"\\\n]|\\.)*",?)*\})? (-?[\d.e+-]+|\+Inf|NaN)', line)
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
    twice = talk(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
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
            assert client.cmd("AZIMUTH", "CONSISTENCY", "strong") == "OK" and client.cmd("AZIMUTH", "CONSISTENCY") == b"strong"
            assert client.cmd("AZIMUTH", "DURABILITY") == b"async"
            assert isinstance(client.cmd("AZIMUTH", "CONSISTENCY", "nosuch"), RespError)
            assert client.cmd("AZIMUTH", "ROUTE", "GET", "k"), "where and why"
            assert client.cmd("AZIMUTH", "MEMBERS")
            for wrong in (["AZIMUTH"], ["AZIMUTH", "NOSUCH"], ["AZIMUTH", "ROUTE"], ["azimuth", "durability", "x"]):
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
        for command in (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"], ["SLAVEOF", "127.0.0.1", "1"], ["FAILOVER"], ["FAILOVER", "ABORT"],
                        ["SHUTDOWN"], ["SHUTDOWN", "NOSAVE"], ["CLUSTER", "RESET"], ["CLUSTER", "MEET", "127.0.0.1", "1"], ["CLUSTER", "FAILOVER"]):
            reply = client.cmd(*command)
            assert isinstance(reply, RespError) and "azimuth" in reply and command[0].lower() in reply.lower(), (command, reply)
            assert client.cmd("MULTI") == "OK"
            assert isinstance(client.cmd(*command), RespError)
            assert client.cmd("EXEC").startswith("EXECABORT"), command
        assert client.cmd("ROLE")[0] == b"master" and client.cmd("GET", "k") == b"v"
        script = "return redis.call('REPLICAOF', '127.0.0.1', '1')"
        assert isinstance(client.cmd("EVAL", script, "0"), RespError)
        for allowed in (["DEBUG", "SLEEP", "0"], ["CONFIG", "SET", "maxmemory-samples", "6"], ["ACL", "LIST"], ["MODULE", "LIST"], ["LATENCY", "RESET"],
                        ["MEMORY", "DOCTOR"], ["FUNCTION", "STATS"], ["CLUSTER", "KEYSLOT", "x"]):
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
            return [entry for entry in client.cmd("AZIMUTH", "SLOWLOG", "GET", "10") if entry[3][0].lower() == b"debug"]

        entry = wait_until(slept, what="an entry")[0]
        assert entry[2] >= 20000 and entry[5] == b"slow-one", entry
        assert client.cmd("AZIMUTH", "SLOWLOG", "LEN") >= 1
        assert client.cmd("AZIMUTH", "SLOWLOG", "RESET") == "OK"


def descendants(pid):
    found, wanted = [], {pid}
    rows = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    rows.append((int(name), int(stat.read().rsplit(")", 1)[1].split()[1])))
            except OSError:
                pass
    while True:
        more = [child for child, parent in rows if parent in wanted and child not in wanted]
        if not more:
            return found
        found += more
        wanted.update(more)


def start_dev(stage, *args):
    for _ in range(5):
        port = harness.free_port()
        log = tempfile.TemporaryFile(dir=harness.directory())
        dev = harness.spawn([stage.binary, "dev", "--base-port", str(port), *args], log, stdout=subprocess.PIPE)
        text = b""
        for line in dev.stdout:
            text += line
            if str(port).encode() in line:
                break
        try:
            client = wait_until(lambda: try_connect(port), 20, "azimuth dev serves")
            return dev, port, client
        except AssertionError:
            dev.kill()
    raise AssertionError("azimuth dev does not start")


def try_connect(port):
    try:
        return Client(("127.0.0.1", port))
    except OSError:
        return None


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@only_azimuth
def dev_leaves_nothing_behind(stage):
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        dev, port, client = start_dev(stage)
        assert client.pipeline(["SET", "hello", "world"], ["GET", "hello"]) == ["OK", b"world"]
        family = descendants(dev.pid)
        assert len(family) >= 2, "a redis-server and an azimuth"
        places = {os.readlink(f"/proc/{pid}/cwd") for pid in family if alive(pid)}
        where = client.cmd("CONFIG", "GET", "dir")[1].decode()
        dev.send_signal(how)
        code = dev.wait(40)
        assert how == signal.SIGKILL or code == 0, (how, code)
        wait_until(lambda: not [pid for pid in family if alive(pid)], 20, f"nobody left after {how.name}")
        wait_until(lambda: not os.path.exists(where), 20, f"no directory left after {how.name}: {where} {places}")
        assert try_connect(port) is None
        client.close()


@only_azimuth
def dev_keeps_a_directory_it_was_given(stage):
    place = tempfile.mkdtemp(dir=harness.directory())
    for turn in range(2):
        dev, _, client = start_dev(stage, "--dir", place)
        assert client.cmd("INCR", "turns") == turn + 1
        client.close()
        dev.send_signal(signal.SIGTERM)
        assert dev.wait(40) == 0
    assert os.listdir(place)


if __name__ == "__main__":
    harness.run(__doc__)
