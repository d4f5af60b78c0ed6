"""The command line: what scripts rely on, and what a mistake is answered with."""
import os
import re
import subprocess
import tempfile
import threading

import harness
from harness import free_port, only_azimuth


def azimuth(stage, *arguments, **options):
    return subprocess.run([stage.binary, *arguments], timeout=30, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def write(text):
    handle, name = tempfile.mkstemp(suffix=".toml", dir=harness.directory())
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return name


@only_azimuth
def help_and_version(stage):
    assert re.fullmatch(r"azimuth \d+\.\d+\.\d+\n", azimuth(stage, "--version").stdout)
    done = azimuth(stage, "--help")
    assert done.returncode == 0
    for command in ("run", "check", "dev", "status", "keygen"):
        assert re.search(rf"^ +{command} ", done.stdout, re.M), done.stdout
        assert azimuth(stage, command, "--help").returncode == 0
    assert "dev-child" not in done.stdout


@only_azimuth
def mistakes_are_exit_code_2_with_a_reason(stage):
    for arguments in ([], ["fly"], ["run"], ["run", "--listen"], ["run", "--no-such"], ["check"],
                      ["run", "--workers", "many"], ["dev", "--base-port", "0"],
                      ["dev", "--base-port", "70000"], ["dev", "--zones", "-1"],
                      ["status", "--addr", "nonsense"], ["dev-child"],
                      ["run", "--listen", "127.0.0.1:1"],
                      ["run", "--listen", "127.0.0.1:0", "--redis", "127.0.0.1:1",
                       "--set", "limits.no_such=1"]):
        done = azimuth(stage, *arguments)
        assert done.returncode == 2, (arguments, done)
        assert done.stderr.strip() and not done.stdout, (arguments, done)


@only_azimuth
def a_mistake_is_told_by_its_name(stage):
    listen = ["--listen", "127.0.0.1:1", "--redis", "127.0.0.1:2"]
    long_path = "unix:/" + "x" * 120
    for arguments, words in (
            (["fly"], "fly"),
            (["run", *listen, "--workers", "-1"], "from 1 to 64"),
            (["run", "--listen", long_path, "--redis", "127.0.0.1:2"], "107"),
            (["status", "--addr", long_path], "107")):
        done = azimuth(stage, *arguments)
        assert done.returncode == 2 and words in done.stderr, (arguments, done)


@only_azimuth
def check_positions_every_error(stage):
    name = write('[node]\nidd = "a"\n[redis]\naddress = "127.0.0.1:6379"\n'
                 '[[listen]]\naddress = "127.0.0.1"\n')
    done = azimuth(stage, "check", "--config", name)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2, lines
    assert lines[0].startswith(f"{name}:2:1: "), lines
    assert lines[1].startswith(f"{name}:6:"), lines
    # run says the same, before it opens anything.
    again = azimuth(stage, "run", "--config", name)
    assert (again.returncode, again.stderr) == (2, done.stderr)


@only_azimuth
def the_printed_defaults_check_out(stage):
    done = azimuth(stage, "run", "--print-defaults")
    assert done.returncode == 0 and "[[listen]]" in done.stdout
    checked = azimuth(stage, "check", "--config", write(done.stdout))
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.endswith(": ok\n")


@only_azimuth
def an_override_beats_the_file_and_the_short_options(stage):
    name = write('[redis]\naddress = "127.0.0.1:6379"\n[[listen]]\naddress = "127.0.0.1:6380"\n')
    done = azimuth(stage, "check", "--config", name, "--set", "redis.address=nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("--set redis.address=nonsense: "), done.stderr
    assert azimuth(stage, "check", "--config", name, "--set", "node.workers=2",
                   "--set", "log.level=debug").returncode == 0
    done = azimuth(stage, "run", "--listen", "127.0.0.1:0", "--redis", "127.0.0.1:1",
                   "--set", "listen.0.address=nonsense")
    assert done.returncode == 2 and "nonsense" in done.stderr, done.stderr


@only_azimuth
def files_that_cannot_be_read_are_named(stage):
    for name in (os.path.join(harness.directory(), "not-there.toml"), harness.directory()):
        done = azimuth(stage, "check", "--config", name)
        assert done.returncode == 2
        assert name in done.stderr, done.stderr


@only_azimuth
def a_file_of_any_size_is_bounded(stage):
    done = azimuth(stage, "check", "--config", write("# " + "x" * (8 << 20)))
    assert done.returncode == 2 and done.stderr.strip()
    assert azimuth(stage, "check", "--config", "/dev/zero").returncode == 2


@only_azimuth
def keygen_makes_a_new_key_each_time(stage):
    keys = {azimuth(stage, "keygen").stdout for _ in range(4)}
    assert len(keys) == 4
    for key in keys:
        assert re.fullmatch(r"[0-9a-f]{64}\n", key), key
    with open("/dev/full", "w") as full:
        done = subprocess.run([stage.binary, "keygen"], timeout=20, stdout=full)
    assert done.returncode == 1


@only_azimuth
def status_of_a_node_that_is_not_there(stage):
    port = free_port()
    done = azimuth(stage, "status", "--addr", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr and "refused" in done.stderr, done.stderr
    assert "--addr" in done.stderr
    socket = os.path.join(harness.directory(), "none.sock")
    assert azimuth(stage, "status", "--addr", f"unix:{socket}").returncode == 1


@only_azimuth
def status_of_what_is_no_azimuth(stage):
    redis = stage.redis()
    done = azimuth(stage, "status", "--addr", redis.endpoint)
    assert done.returncode == 1 and "no answer" in done.stderr, done.stderr
    hostile = [b"HTTP/1.1 200 OK\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\n[[[", b"", b"HTTP/1.1 500 X\r\n\r\n",
               b'HTTP/1.1 200 OK\r\n\r\n{"node":5,"counters":[],"members":{"a":1},"redis":7}',
               b'HTTP/1.1 200 OK\r\n\r\n{"node":"\\u001b[2J","members":[1,[],{"position":3}]}']
    import socket as sockets
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            for reply in hostile:
                peer, _ = listener.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(reply)
        server = threading.Thread(target=serve)
        server.start()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        codes = []
        for _ in hostile:
            done = azimuth(stage, "status", "--addr", address)
            codes.append(done.returncode)
            assert "\x1b" not in done.stdout
        server.join(20)
    assert codes == [1, 1, 1, 1, 0, 0], codes


if __name__ == "__main__":
    harness.run(__doc__)
