#!/usr/bin/python3
"""The files under examples/ are right: settings pass `azimuth check`, YAML and unit files say what they must."""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent.parent / "examples"

passed = failed = 0


def check(condition, what, detail=""):
    global passed, failed
    if condition:
        passed += 1
        print(f"ok: {what}", flush=True)
    else:
        failed += 1
        print(f"FAILED: {what} {detail}", flush=True)


def check_settings(azimuth, text, name):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        result = subprocess.run([azimuth, "check", "--config", file.name], capture_output=True, text=True,
                                timeout=60)
    check(result.returncode == 0, f"azimuth check accepts {name}", result.stdout + result.stderr)


def check_pod(azimuth):
    documents = list(yaml.safe_load_all((EXAMPLES / "sidecar/pod.yaml").read_text()))
    settings = next(d for d in documents if d["kind"] == "ConfigMap")["data"]["azimuth.toml"]
    check_settings(azimuth, settings, "the settings in sidecar/pod.yaml")
    spec = next(d for d in documents if d["kind"] == "Pod")["spec"]
    sidecar = next(c for c in spec["initContainers"] if c["name"] == "azimuth")
    check(sidecar.get("restartPolicy") == "Always", "the sidecar is a native one")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = sidecar[probe]["httpGet"]["port"]
        check(any(p["name"] == port for p in sidecar["ports"]), f"the {probe} asks a port that is there")
    admin = int(re.search(r'\[admin\]\s+address = ".*:(\d+)"', settings)[1])
    check(any(p["containerPort"] == admin for p in sidecar["ports"]), "the probes' port is the admin listener's")
    drain_s = int(re.search(r"drain_timeout_ms = (\d+)", settings)[1]) / 1000
    hook_s = int(sidecar["lifecycle"]["preStop"]["exec"]["command"][1])
    check(hook_s + drain_s < spec["terminationGracePeriodSeconds"], "the hook and the drain fit in the grace period")
    check("requests" in sidecar["resources"] and "limits" in sidecar["resources"], "the sidecar states resources")


def check_cluster_pod(azimuth):
    documents = list(yaml.safe_load_all((EXAMPLES / "sidecar/pod-cluster.yaml").read_text()))
    settings = next(d for d in documents if d["kind"] == "ConfigMap")["data"]["azimuth.toml"]
    spec = next(d for d in documents if d["kind"] == "Pod")["spec"]
    sidecar = next(c for c in spec["initContainers"] if c["name"] == "azimuth")
    check(sidecar.get("restartPolicy") == "Always", "the cluster's sidecar is a native one")
    labels = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in sidecar["env"]}
    for key, variable, label in (("zone", "ZONE", "zone"), ("region", "REGION", "region")):
        check(f'{key} = "env:{variable}"' in settings, f"the sidecar's {key} comes from the environment")
        check(labels[variable] == f"metadata.labels['topology.kubernetes.io/{label}']", f"{variable} is the pod's label")
    of_members = (EXAMPLES / "kubernetes/statefulset.yaml").read_text()
    for line in ("seeds = ", "bootstrap_expect = ", "key_file = ", "name = "):
        found = next(each.strip() for each in settings.splitlines() if each.strip().startswith(line))
        check(found in of_members, f"the sidecar and the members agree on {line.rstrip(' =')}")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(settings)
        file.flush()
        overrides = [word for word in sidecar["args"] if "=" in word]
        words = [word.replace("$(POD_NAME)", "shop").replace("$(POD_IP)", "10.0.0.9") for word in overrides]
        result = subprocess.run([azimuth, "check", "--config", file.name, *(w for each in words for w in ("--set", each))],
                                capture_output=True, text=True, timeout=60, env={"ZONE": "use1-az1", "REGION": "us-east-1"})
    check(result.returncode == 0, "azimuth check accepts the settings in sidecar/pod-cluster.yaml", result.stderr)


def check_compose():
    services = yaml.safe_load((EXAMPLES / "docker/compose.yaml").read_text())["services"]
    check(services["redis"]["image"] == "redis:7.0", "compose uses the official Redis image")
    check("ports" not in services["redis"], "compose publishes azimuth's port and not Redis's")
    build = services["azimuth"]["build"]
    context = (EXAMPLES / "docker" / build["context"]).resolve()
    check((context / build["dockerfile"]).is_file(), "compose builds a Dockerfile that exists")
    for copied in re.findall(r"^COPY (?:--chmod=\d+ )?(\S+) ", (context / build["dockerfile"]).read_text(), re.M):
        if not copied.startswith("--from"):
            check((context / copied).exists(), f"the Dockerfile copies what exists: {copied}")


def check_cluster_compose(azimuth):
    services = yaml.safe_load((EXAMPLES / "docker/compose-cluster.yaml").read_text())["services"]
    settings = (EXAMPLES / "docker/cluster.toml").read_text()
    zones = sorted(name for name in services if name.startswith("zone-"))
    expected = int(re.search(r"bootstrap_expect = (\d+)", settings)[1])
    check(len(zones) == expected, "as many zones as bootstrap_expect says")
    for zone in zones:
        letter = zone.removeprefix("zone-")
        redis, node = services[f"redis-{letter}"], services[f"azimuth-{letter}"]
        check(f'"{zone}:7380"' in settings, f"{zone} is a seed")
        check(redis["network_mode"] == node["network_mode"] == f"service:{zone}",
              f"Redis and azimuth of {zone} share its network")
        check(redis["command"][-4:-2] == ["--min-replicas-to-write", "999999"], f"the Redis of {zone} boots fenced")
        address = services[zone]["networks"]["nodes"]["ipv4_address"]
        check(f"peer.advertise={address}:7380" in node["command"], f"{zone} advertises its own address")
        overrides = [word for word in node["command"] if "=" in word]
        check_overrides(azimuth, "docker/cluster.toml", overrides)


def check_overrides(azimuth, file, overrides):
    words = [word for each in overrides for word in ("--set", each)]
    result = subprocess.run([azimuth, "check", "--config", str(EXAMPLES / file), *words], capture_output=True,
                            text=True, timeout=60)
    check(result.returncode == 0, f"azimuth check accepts {file} with {' '.join(overrides)}",
          result.stdout + result.stderr)


def check_statefulset(azimuth):
    documents = list(yaml.safe_load_all((EXAMPLES / "kubernetes/statefulset.yaml").read_text()))
    settings = next(d for d in documents if d["kind"] == "ConfigMap")["data"]["azimuth.toml"]
    check_settings(azimuth, settings, "the settings in kubernetes/statefulset.yaml")
    spec = next(d for d in documents if d["kind"] == "StatefulSet")["spec"]
    pod = spec["template"]["spec"]
    services = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "Service"}
    nodes = services[spec["serviceName"]]
    check(spec["podManagementPolicy"] == "Parallel", "no pod waits for another to be ready: none is before all are")
    check(nodes["publishNotReadyAddresses"], "nodes find each other before they are ready")
    check({p["protocol"] for p in nodes["ports"]} == {"TCP", "UDP"}, "nodes speak TCP and UDP")
    seeds = re.findall(r'"([\w-]+)\.([\w-]+):7380"', settings)
    check(seeds == [(f"orders-{i}", spec["serviceName"]) for i in range(spec["replicas"])], "each pod is a seed")
    check(int(re.search(r"bootstrap_expect = (\d+)", settings)[1]) == spec["replicas"], "bootstrap_expect is replicas")
    node = pod["containers"][0]
    redis = next(c for c in pod["initContainers"] if c["name"] == "redis")
    check(redis.get("restartPolicy") == "Always", "Redis is a native sidecar, so it stops after azimuth")
    check("--min-replicas-to-write" in redis["command"], "Redis boots fenced")
    for probe in ("readinessProbe", "livenessProbe"):
        port = node[probe]["httpGet"]["port"]
        check(any(p["name"] == port for p in node["ports"]), f"the {probe} asks a port that is there")
    drain_s = int(re.search(r"drain_timeout_ms = (\d+)", settings)[1]) / 1000
    hook_s = int(node["lifecycle"]["preStop"]["exec"]["command"][1])
    check(hook_s + 5 + drain_s < pod["terminationGracePeriodSeconds"],
          "hook, hand-over and drain fit in the grace period")
    mounted = {m["name"] for c in pod["initContainers"] + pod["containers"] for m in c["volumeMounts"]}
    volumes = {v["name"] for v in pod["volumes"]} | {v["metadata"]["name"] for v in spec["volumeClaimTemplates"]}
    check(mounted == volumes, "every volume is there and mounted", str(mounted ^ volumes))


def check_unit():
    unit = EXAMPLES / "systemd/azimuth.service"
    if not shutil.which("systemd-analyze"):
        print("not checked: systemd-analyze is not installed")
        return
    result = subprocess.run(["systemd-analyze", "security", "--offline=yes", str(unit)], capture_output=True,
                            text=True, timeout=60)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    check(level and float(level[1]) <= 2.0, "the unit is hardened (exposure at most 2.0 of 10)",
          level[1] if level else result.stderr)
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True,
                            timeout=60)
    # That azimuth and its user are not installed on this machine is no fault of the unit.
    faults = [line for line in result.stderr.splitlines()
              if "azimuth.service" in line and "not executable" not in line and "No such file" not in line]
    check(not faults, "systemd understands every line of the unit", "\n".join(faults))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--azimuth", required=True, help="path of the binary")
    azimuth = parser.parse_args().azimuth
    for path in sorted(EXAMPLES.rglob("*.toml")):
        check_settings(azimuth, path.read_text(), str(path.relative_to(EXAMPLES)))
    check_pod(azimuth)
    check_cluster_pod(azimuth)
    check_compose()
    check_cluster_compose(azimuth)
    check_statefulset(azimuth)
    check_unit()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
