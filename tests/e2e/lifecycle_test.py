"""A node's start, its faults at the start, and its end."""
import os
import signal
import socket
import subprocess
import threading

import harness
from harness import only_azimuth, wait_until
from node import Node
from resp import Closed, RespError


def run_to_the_end(stage, *arguments):
    return subprocess.run([stage.binary, *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30)


# --- start ---------------------------------------------------------------------------------------

@only_azimuth
def one_ready_line_an_endpoint(stage):
    redis = stage.redis()
    path = os.path.join(harness.directory(), "clients.sock")
    here = Node(stage, redis, listen=("127.0.0.1:0", "[::1]:0", f"unix:{path}"))
    assert all(line.endswith(" node=n1") for line in here.ready_lines), here.ready_lines
    assert [address.rsplit(":", 1)[0] for address in here.addresses] == \
        ["127.0.0.1", "[::1]", "unix"], here.addresses
    for index in range(3):
        with here.client(index) as client:
            assert client.cmd("INCR", "met") == index + 1
    here.stop()
    assert not os.path.exists(path), "the socket's file stays behind"


@only_azimuth
def workers_share_each_endpoint(stage):
    redis = stage.redis()
    path = os.path.join(harness.directory(), "shared.sock")
    here = Node(stage, redis, listen=("127.0.0.1:0", f"unix:{path}"),
                extra=("--set", "node.workers=3"))
    for index in range(2):
        clients = [here.client(index) for _ in range(24)]
        for client in clients:
            assert client.cmd("PING") == "PONG"
        for client in clients:
            client.close()
    status = here.status()
    assert status["workers"] == 3 and len(status["listen"]) == 2
    here.stop()


@only_azimuth
def a_taken_address_ends_the_start(stage):
    redis = stage.redis()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_to_the_end(stage, "run", "--listen", f"127.0.0.1:{port}", "--redis",
                                redis.endpoint)
        assert result.returncode == 2, result
        assert f"azimuth: cannot listen on 127.0.0.1:{port}: Address already in use;" in \
            result.stderr, result.stderr
        assert "ready" not in result.stdout
        # The admin address is as much a part of what was asked for.
        result = run_to_the_end(stage, "run", "--listen", "127.0.0.1:0", "--redis", redis.endpoint,
                                "--set", f"admin.address=127.0.0.1:{port}")
        assert result.returncode == 2 and str(port) in result.stderr, result
        assert "ready" not in result.stdout
    # Nor does another node share it, each with a part of the clients, though the kernel would.
    here = Node(stage, redis)
    result = run_to_the_end(stage, "run", "--listen", here.addresses[0], "--redis", redis.endpoint)
    assert result.returncode == 2 and "Address already in use" in result.stderr, result
    here.stop()


@only_azimuth
def an_address_of_another_machine_is_explained(stage):
    result = run_to_the_end(stage, "run", "--listen", "192.0.2.1:6380", "--redis",
                            "127.0.0.1:6379")
    assert result.returncode == 2, result
    assert "cannot listen on 192.0.2.1:6380" in result.stderr and "0.0.0.0" in result.stderr


@only_azimuth
def a_live_unix_socket_is_not_taken_over(stage):
    redis = stage.redis()
    path = os.path.join(harness.directory(), "busy.sock")
    here = Node(stage, redis, listen=(f"unix:{path}",), admin=False)
    result = run_to_the_end(stage, "run", "--listen", f"unix:{path}", "--redis", redis.endpoint)
    assert result.returncode == 2 and "cannot listen on unix:" in result.stderr, result
    with here.client() as client:
        assert client.cmd("PING") == "PONG"
    here.process.kill()
    here.process.wait(20)
    assert os.path.exists(path)  # left behind, and no obstacle
    again = Node(stage, redis, listen=(f"unix:{path}",), admin=False)
    with again.client() as client:
        assert client.cmd("PING") == "PONG"
    again.stop()


# --- the drain -----------------------------------------------------------------------------------

@only_azimuth
def sigterm_under_load_breaks_no_reply(stage):
    redis = stage.redis()
    here = Node(stage, redis, admin=False, extra=("--set", "node.workers=2"))
    threads, results = [], []
    started = threading.Barrier(9)

    def load(number):
        acked, client = 0, here.client()
        key, batch = f"count:{number}", 20
        try:
            for turn in range(10 ** 9):
                if turn == 3:
                    started.wait(30)
                client.send_raw(b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" %
                                (len(key), key.encode()) * batch)
                for _ in range(batch):
                    reply = client.read()
                    if isinstance(reply, RespError):
                        results.append((number, acked, f"error {reply}", b""))
                        return
                    assert reply == acked + 1, (reply, acked)  # each from its own request
                    acked = reply
        except Closed:
            results.append((number, acked, "", bytes(client.buf)))
        except (BrokenPipeError, ConnectionResetError):
            results.append((number, acked, "", bytes(client.buf)))
        except Exception as error:  # the main thread reports it
            results.append((number, acked, repr(error), b""))

    for number in range(8):
        threads.append(threading.Thread(target=load, args=(number,), daemon=True))
        threads[-1].start()
    started.wait(30)
    here.process.send_signal(signal.SIGTERM)
    assert here.end() == 0, here.log()[-3000:]
    for thread in threads:
        thread.join(30)
    assert len(results) == 8, results
    with redis.connect() as direct:
        for number, acked, trouble, rest in results:
            assert not trouble, (trouble, acked)
            assert rest == b"", f"half a reply: {rest!r}"
            count = int(direct.cmd("GET", f"count:{number}") or 0)
            assert count == acked, f"{count - acked} requests ran and were not answered"
    assert here.events("draining") and here.events("stopped"), here.log()


@only_azimuth
def a_draining_node_is_not_ready_and_takes_nobody(stage):
    redis = stage.redis()
    here = Node(stage, redis, "[limits]\ndrain_timeout_ms = 600000\n")
    here.wait_ready()
    busy = here.client()
    assert busy.cmd("SET", "k", "v") == "OK"
    redis.freeze()
    busy.send("GET", "k")  # its reply is owed
    wait_until(lambda: here.status()["counters"]["clients"]["bytes_in"] >= 45, what="GET to come")
    here.process.send_signal(signal.SIGTERM)
    wait_until(lambda: here.get("/readyz") == (503, "not ready: draining\n"), what="draining")
    assert here.status()["draining"]
    try:
        with here.client() as late:
            assert late.read_to_end() == b""
    except ConnectionRefusedError:
        pass
    redis.thaw()
    assert busy.read() == b"v", "the drain did not wait for what was owed"
    assert busy.read_to_end() == b""
    assert here.end() == 0


@only_azimuth
def a_second_signal_waits_for_nobody(stage):
    redis = stage.redis()
    here = Node(stage, redis, "[limits]\ndrain_timeout_ms = 600000\n")
    here.wait_ready()
    busy = here.client()
    assert busy.cmd("SET", "k", "v") == "OK"
    redis.freeze()
    busy.send("GET", "k")
    wait_until(lambda: here.status()["counters"]["clients"]["bytes_in"] >= 45, what="GET to come")
    here.process.send_signal(signal.SIGTERM)
    wait_until(lambda: here.events("draining"), what="draining")
    here.process.send_signal(signal.SIGINT)
    assert here.end() == 0
    assert here.events("drain_cut_short"), here.log()
    redis.thaw()


@only_azimuth
def an_idle_node_ends_at_once(stage):
    redis = stage.redis()
    for number in (signal.SIGTERM, signal.SIGINT):
        here = Node(stage, redis, "[limits]\ndrain_timeout_ms = 600000\n")
        idle = [here.client() for _ in range(10)]
        blocked = here.client()
        blocked.send("BLPOP", "nothing", 0)
        subscriber = here.client()
        assert subscriber.cmd("SUBSCRIBE", "news")[0] == b"subscribe"
        here.process.send_signal(number)
        assert here.end(20) == 0
        for client in idle + [blocked, subscriber]:
            assert client.read_to_end() == b""


@only_azimuth
def a_redis_that_is_away_does_not_keep_a_node_alive(stage):
    redis = stage.redis(start=False)
    here = Node(stage, redis)
    here.wait_not_ready("is down")
    here.stop()


if __name__ == "__main__":
    harness.run(__doc__)
