#!/usr/bin/python3
"""Builds the container image of examples/docker with buildah and runs it in front of a redis-server.

Exits 77, saying why, where an image cannot be built (no root, no buildah, no way to make a base image or
to reach package servers). Everything lives in a temporary directory, except the bare root file system
that base_root.sh keeps outside the repository. Takes a few minutes: the image compiles azimuth.
"""

import argparse
import atexit
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
BASE_IMAGE = "localhost/azimuth-test-base"
IMAGE = "localhost/azimuth-test"
START_SECONDS_MAX = 30
BUILD_SECONDS_MAX = 1500

passed = 0


def skip(why):
    print(f"skipped: {why}", flush=True)
    sys.exit(77)


def check(condition, what):
    global passed
    if not condition:
        print(f"FAILED: {what}\n{passed} passed, 1 failed", flush=True)
        sys.exit(1)
    passed += 1
    print(f"ok: {what}", flush=True)


def wait_until(condition, what, seconds=START_SECONDS_MAX):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            check(False, f"{what} within {seconds} s")
        time.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Buildah:
    """buildah with a storage of its own, which is gone when the test ends."""

    def __init__(self, directory):
        self.directory = directory
        self.storage = directory / "storage"
        self.driver = "overlay"
        if self.run("from", "scratch", check=False).returncode != 0:
            self.driver = "vfs"  # slower, but works where overlay mounts do not

    def command(self, *words):
        return ["buildah", "--root", str(self.storage), "--runroot", str(self.directory / "run"),
                "--storage-driver", self.driver, *words]

    def run(self, *words, check=True, timeout=600):
        result = subprocess.run(
            self.command(*words), stdin=subprocess.DEVNULL, text=True, errors="replace", timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and result.returncode != 0:
            print(result.stdout or "", result.stderr or "", sep="")
            raise SystemExit(f"FAILED: buildah {' '.join(words[:3])} ended with {result.returncode}")
        return result

    def in_container(self, container, *words, **options):
        return self.run("run", "--isolation", "chroot", container, "--", *words, **options)

    def remove(self):
        self.run("rm", "--all", check=False)
        self.run("umount", "--all", check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


def prerequisites():
    if os.geteuid() != 0:
        skip("building an image without a container engine takes root")
    for tool in ("buildah", "redis-server", "redis-cli"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    base = subprocess.run([HERE / "base_root.sh"], stdout=subprocess.PIPE, text=True)
    if base.returncode == 77:
        skip("no bare root file system to build on")
    check(base.returncode == 0, "a bare bookworm root file system")
    return pathlib.Path(base.stdout.strip())


def make_base_image(buildah, tar):
    """debian:bookworm-slim's stand-in, which also knows how this machine reaches package servers."""
    root = buildah.directory / "base"
    root.mkdir()
    subprocess.run(["tar", "-C", root, "-xf", tar], check=True)
    subprocess.run([HERE / "lend_network.sh", root], check=True)
    container = buildah.run("from", "scratch").stdout.strip()
    buildah.run("add", container, str(root), "/")
    shutil.rmtree(root)
    if buildah.in_container(container, "true", check=False).returncode != 0:
        skip("buildah cannot run a command in a container here (--isolation chroot)")
    # Only to learn whether it can; the lists are fetched again by the build.
    fetch = buildah.in_container(container, "apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any",
                                 check=False)
    if fetch.returncode != 0:
        skip("package servers cannot be reached from a container here")
    buildah.run("commit", container, BASE_IMAGE)
    buildah.run("rm", container)


def build_image(buildah):
    print("building the image (a few minutes)", flush=True)
    started = time.monotonic()
    built = buildah.run(
        "bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--build-arg", f"BASE={BASE_IMAGE}",
        "--ignorefile", str(REPOSITORY / "examples/docker/Dockerfile.dockerignore"),
        "-f", str(REPOSITORY / "examples/docker/Dockerfile"), "-t", IMAGE, str(REPOSITORY),
        check=False, timeout=BUILD_SECONDS_MAX)
    if built.returncode != 0:
        said = built.stdout + built.stderr
        print("\n".join(said.splitlines()[-40:]))
        if any(each in said for each in ("Unable to fetch", "Failed to fetch", "Temporary failure", "Connection timed out")):
            skip("package servers cannot be reached any more")
    check(built.returncode == 0, f"the image builds ({time.monotonic() - started:.0f} s)")


def check_config(buildah):
    config = json.loads(buildah.run("inspect", "--type", "image", IMAGE).stdout)["Docker"]["config"]
    check(config["User"] == "65532:65532", "the image's user is not root, and a number")
    check(config["Entrypoint"] == ["azimuth"], "the entry point is azimuth")
    check(config["Healthcheck"]["Test"][:3] == ["CMD", "azimuth", "status"], "it has a health check")
    return config


def start_redis(directory):
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)],
        stdout=subprocess.DEVNULL)
    atexit.register(end, server)
    wait_until(lambda: redis_cli(port, "ping") == "PONG", "redis-server answers")
    return port


def redis_cli(port, *words):
    result = subprocess.run(["redis-cli", "-p", str(port), *words], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, timeout=20)
    return result.stdout.strip()


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def process_listening_on(port):
    """The process that holds the listening socket of a loopback port, or None."""
    inodes = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{words[9]}]")
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor) in inodes:
                        return int(entry.name)
    return None


def run_image(buildah, config):
    redis_port, port, admin_port = start_redis(buildah.directory), free_port(), free_port()
    container = buildah.run("from", "--pull-never", IMAGE).stdout.strip()
    check(buildah.in_container(container, "id", "-u").stdout.strip() == "65532", "it runs as user 65532")
    libraries = buildah.in_container(container, "ldd", "/usr/local/bin/azimuth").stdout
    check("not found" not in libraries, "every library is in the image")
    check(buildah.in_container(container, "azimuth", "check", "--config", "/etc/azimuth/azimuth.toml",
                               check=False).returncode == 0, "the image's own settings are right")

    # chroot isolation shares the host's network, so the ports are free ones instead of the image's.
    running = subprocess.Popen(
        buildah.command("run", "--isolation", "chroot", container, "--", "azimuth", "run",
                        "--config", "/etc/azimuth/azimuth.toml",
                        "--set", f"redis.address=127.0.0.1:{redis_port}",
                        "--set", f"listen.0.address=127.0.0.1:{port}",
                        "--set", f"admin.address=127.0.0.1:{admin_port}"),
        stdin=subprocess.DEVNULL)
    atexit.register(end, running)
    wait_until(lambda: redis_cli(port, "ping") == "PONG", "azimuth in the container answers")
    check(redis_cli(port, "set", "greeting", "hello") == "OK", "SET through the container")
    check(redis_cli(port, "get", "greeting") == "hello", "GET through the container")
    check(redis_cli(redis_port, "get", "greeting") == "hello", "and Redis has it")

    health = config["Healthcheck"]["Test"][1:]
    health = [word.replace("127.0.0.1:9380", f"127.0.0.1:{admin_port}") for word in health]
    check(buildah.in_container(container, *health, check=False).returncode == 0, "the health check passes")
    check_drain(buildah, container, port, admin_port)

    azimuth = process_listening_on(port)
    check(azimuth is not None and os.stat(f"/proc/{azimuth}").st_uid == 65532, "the process is not root's")
    os.kill(azimuth, signal.SIGTERM)
    check(running.wait(30) == 0, "SIGTERM ends it with exit code 0")
    check(buildah.in_container(container, *health, check=False).returncode != 0,
          "the health check fails once it is gone")


def check_drain(buildah, container, port, admin_port):
    """azimuth-drain, the preStop hook, waits for clients and gives up in time."""
    drain = ["azimuth-drain", "2", f"127.0.0.1:{admin_port}"]
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"PING\r\n")
        check(client.recv(16) == b"+PONG\r\n", "a client is connected")
        check(buildah.in_container(container, *drain, check=False).returncode == 1,
              "azimuth-drain waits while a client is connected")
    drain[1] = "20"
    check(buildah.in_container(container, *drain, check=False).returncode == 0,
          "azimuth-drain ends when the last client has gone")


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    # SIGTERM (ctest's timeout) runs the exit handlers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    tar = prerequisites()
    buildah = Buildah(pathlib.Path(tempfile.mkdtemp(prefix="azimuth-image-")))
    atexit.register(buildah.remove)
    make_base_image(buildah, tar)
    build_image(buildah)
    run_image(buildah, check_config(buildah))
    print(f"{passed} passed, 0 failed")


if __name__ == "__main__":
    main()
