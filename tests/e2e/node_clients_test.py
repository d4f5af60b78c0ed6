#!/usr/bin/python3
"""ioredis and node-redis (tests/clients) against redis-server and against azimuth: the same scripts
must print the same transcript. The modules are installed beside the binary, never into the source.
Exits 77 when npm can reach no registry and no modules are there from an earlier time."""
import difflib
import hashlib
import os
import shutil
import subprocess
import sys

import harness

SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")


def modules_directory(options):
    if options.modules:
        return options.modules
    if options.azimuth == "direct":
        return os.path.join(harness.directory(), "clients")
    return os.path.join(os.path.dirname(os.path.abspath(options.azimuth)), "clients")


def digest():
    whole = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        with open(os.path.join(SOURCE, name), "rb") as file:
            whole.update(file.read())
    return whole.hexdigest()


def install(directory):
    """Modules for this very lock file; None, or why they cannot be had."""
    os.makedirs(directory, exist_ok=True)
    for name in os.listdir(SOURCE):
        if name.endswith((".mjs", ".json")):
            shutil.copy(os.path.join(SOURCE, name), directory)
    stamp = os.path.join(directory, "installed")
    if os.path.exists(stamp) and open(stamp).read() == digest():
        return None
    if not shutil.which("npm") or not shutil.which("node"):
        return "nodejs and npm are not here"
    print("       npm installs the client libraries", flush=True)
    try:
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"],
            cwd=directory,
            capture_output=True,
            timeout=240,
            text=True,
        )
        error = done.stdout + done.stderr if done.returncode else ""
    except subprocess.TimeoutExpired:
        error = "npm timed out"
    if error:
        return error
    with open(stamp, "w") as file:
        file.write(digest())
    return None


def transcript(directory, script, address):
    done = subprocess.run(
        ["node", script, address[0], str(address[1])],
        cwd=directory,
        capture_output=True,
        timeout=180,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.endswith(
        "--- end\n"
    ), f"{script} failed:\n{done.stdout[-1500:]}\n{done.stderr[-2500:]}"
    return done.stdout.splitlines()


def compare(stage, script):
    directory = modules_directory(stage.options)
    expected = transcript(directory, script, stage.redis().address)
    for workers in (1,) if stage.direct else (1, 2):
        front = stage.azimuth(stage.redis(), workers=workers)
        got = transcript(directory, script, front.address)
        assert got == expected, f"with {workers} worker(s):\n" + "\n".join(
            list(difflib.unified_diff(expected, got, "redis", "azimuth", n=1, lineterm=""))[:60]
        )
    print(f"       {len(expected)} lines", flush=True)


@harness.test
def ioredis(stage):
    compare(stage, "ioredis.mjs")


@harness.test
def node_redis(stage):
    compare(stage, "node_redis.mjs")


def add_options(parser):
    parser.add_argument("--modules", default="", help="where to install the modules")


if __name__ == "__main__":
    why = install(modules_directory(harness.parse_options(__doc__, add_options)))
    if why:
        print(f"skipped: npm reaches no registry and the modules are not there yet:\n{why[-600:]}")
        sys.exit(harness.SKIP)
    harness.run(__doc__, add_options)
