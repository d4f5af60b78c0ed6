"""A node with a settings file of its own, for tests that reload it, ask its pages or end it."""
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile

import harness
from harness import Late, spawn, terminate, wait_until
from resp import Client


def get_page(port, path, method="GET", headers=None):
    """Status and body of a page of an admin listener."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def hang_up(process, done, what):
    """SIGHUP, until it is done: TSan was seen to hold a signal back for good."""
    for patience in (5, 10, 20):
        process.send_signal(signal.SIGHUP)
        try:
            return wait_until(done, patience, what)
        except Late as error:
            late = error
    raise late


class Node:
    """`azimuth run --config`, with a file that the test may rewrite. Ports are the kernel's choice."""

    def __init__(self, stage, redis, text="", listen=("127.0.0.1:0",), admin=True, extra=()):
        self.stage = stage
        self.dir = tempfile.mkdtemp(prefix="node-", dir=harness.directory())
        self.file = os.path.join(self.dir, "azimuth.toml")
        self.redis = redis if isinstance(redis, str) else redis.endpoint
        self.listen = listen
        self.admin = admin
        self.write(text)
        self.log_name = os.path.join(self.dir, "log")
        with open(self.log_name, "ab") as log:
            self.process = spawn([stage.binary, "run", "--config", self.file, *extra], log,
                                 stdout=subprocess.PIPE)
        self.ready_lines = []
        for _ in listen:
            line = self.process.stdout.readline().decode().strip()
            assert line.startswith("azimuth ready "), (line, self.log())
            self.ready_lines.append(line)
        self.addresses = [re.search(r"listen=(\S+)", line)[1] for line in self.ready_lines]

    def write(self, text, redis_keys="", node_keys=""):
        """The file anew: what the node needs, and `text`."""
        lines = [f'[node]\nid = "n1"\nzone = "z1"\nregion = "r1"\n{node_keys}',
                 f'[redis]\naddress = "{self.redis}"\n{redis_keys}']
        lines += [f'[[listen]]\naddress = "{each}"' for each in self.listen]
        if self.admin:
            lines.append('[admin]\naddress = "127.0.0.1:0"')
        with open(self.file, "w") as file:
            file.write("\n".join(lines) + "\n" + text)

    def reload(self, event="reloaded"):
        """SIGHUP; waits until the log says how it went."""
        before = self.log().count(f"event={event}")
        hang_up(self.process, lambda: self.log().count(f"event={event}") > before, f"{event} in the log")

    def client(self, index=0, **options):
        address = self.addresses[index]
        if address.startswith("unix:"):
            return Client(address[5:], **options)
        host, port = address.rsplit(":", 1)
        return Client((host.strip("[]"), int(port)), **options)

    def log(self):
        with open(self.log_name, errors="replace") as log:
            return log.read()

    def events(self, name):
        return [line for line in self.log().splitlines() if f" event={name} " in line + " "]

    def admin_port(self):
        line = wait_until(lambda: self.events("admin_open"), what="admin_open")[0]
        return int(re.search(r"addr=127\.0\.0\.1:(\d+)", line)[1])

    def get(self, path, method="GET"):
        return get_page(self.admin_port(), path, method)

    def status(self):
        return json.loads(self.get("/status")[1])

    def wait_ready(self):
        wait_until(lambda: self.get("/readyz")[0] == 200, what="/readyz 200")

    def wait_not_ready(self, reason):
        wait_until(lambda: self.get("/readyz")[0] == 503 and reason in self.get("/readyz")[1],
                   what=f"/readyz 503 {reason}")

    def end(self, seconds=40):
        return self.checked(self.process.wait(seconds))

    def checked(self, code):
        assert not harness.SANITIZER.search(self.log().encode()), self.log()[-6000:]
        return code

    def stop(self):
        code = self.checked(terminate(self.process, self.stage.slow))
        assert code == 0, (code, self.log()[-3000:])
