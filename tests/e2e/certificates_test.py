"""Links between nodes by certificates: who is let in, new files by SIGHUP, from the key alone to certificates."""
import os
import re
import subprocess
import tempfile

import harness
from cluster import Cluster
from harness import only_azimuth, wait_until
from node import hang_up


class Authority:
    """A CA of the test's own, by the openssl command."""

    def __init__(self, name):
        self.dir = tempfile.mkdtemp(prefix=f"ca-{name}-", dir=harness.directory())
        self.file = os.path.join(self.dir, "ca.crt")
        self.key = os.path.join(self.dir, "ca.key")
        self.request(self.file, self.key, name, 90, "basicConstraints=critical,CA:TRUE")

    @staticmethod
    def request(certificate, key, name, days, *extensions, more=()):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                   "-subj", f"/CN={name}", "-days", str(days), "-keyout", key, "-out", certificate, *more]
        for each in extensions:
            command += ["-addext", each]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        os.chmod(key, 0o600)

    def give(self, node, days=90, trusts=None):
        """Puts a certificate, its key and the CAs that it trusts beside the node's settings, and names them there."""
        files = {name: os.path.join(node.dir, name) for name in ("node.crt", "node.key", "ca.crt")}
        self.request(files["node.crt"], files["node.key"], node.id, days, "basicConstraints=critical,CA:FALSE",
                     "extendedKeyUsage=serverAuth,clientAuth", more=("-CA", self.file, "-CAkey", self.key))
        with open(files["ca.crt"], "w") as file:
            for each in trusts or [self]:
                with open(each.file) as ca:
                    file.write(ca.read())
        node.peer_text = (f'tls_cert_file = "{files["node.crt"]}"\ntls_key_file = "{files["node.key"]}"\n'
                          f'tls_ca_file = "{files["ca.crt"]}"')


def reload(node, event="reloaded"):
    """The file anew, and SIGHUP; the new lines of the log once it says how it went."""
    node.write()
    before = len(node.log())
    hang_up(node.process, lambda: f" event={event} " in node.log()[before:], f"{event} in {node.name}'s log")
    return node.log()[before:]


def refusals(node):
    return "\n".join(line for line in node.events("link_lost") if "fault=unsafe" in line)


def expiry(node):
    found = re.search(r"^azimuth_tls_certificate_expiry_timestamp_seconds (\d+)$", node.get("/metrics")[1], re.M)
    return int(found[1]) if found else None


@only_azimuth
def three_members_link_by_certificates_and_a_stranger_does_not(stage):
    with Cluster(stage, start=False) as cluster:
        authority, foreign = Authority("orders"), Authority("elsewhere")
        for node in cluster.nodes:
            authority.give(node, days=5 if node.name == "b1" else 90)
            node.start()
        primary = cluster.wait_whole()
        for node in cluster.nodes:
            cluster.write(node, f"from-{node.id}", "x")
        cluster.wait_same_data()
        assert all(not refusals(node) for node in cluster.nodes), [refusals(node) for node in cluster.nodes]
        assert expiry(cluster.nodes[0]) == cluster.nodes[0].status()["cluster"]["certificate_ends"]
        assert expiry(cluster.nodes[1]) < expiry(cluster.nodes[0])
        line = wait_until(lambda: cluster.nodes[1].events("certificate_ends_soon"), what="a warning")[0]
        assert re.search(" days_left=[45] ", line), line
        assert not cluster.nodes[0].events("certificate_ends_soon")

        primary.redis.kill()
        successor = cluster.wait_primary(but=primary)
        cluster.write(primary, "after", "the failover")  # through a link, since its own Redis is dead
        primary.redis.restart()
        assert cluster.wait_whole() is successor

        # One that has the cluster's key, and a certificate of another CA: it gets no data.
        stranger = cluster.add("d1")
        foreign.give(stranger)
        stranger.start()
        wait_until(lambda: "comes from no CA" in refusals(stranger) or "tls_ca_file lacks it" in refusals(stranger),
                   what="a reason in the stranger's log")
        wait_until(lambda: "comes from no CA" in refusals(successor) or "tls_ca_file lacks it" in refusals(successor),
                   what="a reason in the primary's log")
        assert stranger.redis_info("master_link_status") in (None, "down")
        with stranger.redis.connect() as client:
            assert client.cmd("DBSIZE") == 0
        cluster.write(successor, "and", "still serves")
        assert successor.status()["cluster"]["links"]["refused"] > 0 or refusals(successor)
        # The right one is read on SIGHUP.
        authority.give(stranger)
        reload(stranger)
        cluster.wait_whole()
        cluster.wait_same_data()


@only_azimuth
def a_reload_takes_new_certificates_and_refuses_broken_ones(stage):
    with Cluster(stage, start=False) as cluster:
        old, new = Authority("old"), Authority("new")
        for node in cluster.nodes:
            old.give(node, days=30)
            node.start()
        primary = cluster.wait_whole()
        node = next(each for each in cluster.nodes if each is not primary)
        was = expiry(node)
        key_file = os.path.join(node.dir, "node.key")
        with open(key_file) as file:
            key = file.read()
        old.give(node, days=60)
        with open(key_file, "w") as file:
            file.write(key)  # a new certificate, and the key of the old one
        said = reload(node, "reload_refused")
        assert "event=reload_error" in said and "tls_key_file" in said and "does not belong" in said, said
        assert f"{node.file}:" in said, said
        assert expiry(node) == was
        cluster.write(node, "refused", "and goes on")

        # A CA is replaced in three rounds: trust both, change the certificates, trust the new one.
        for authority, trusts in ((old, [old, new]), (new, [old, new]), (new, [new])):
            for each in cluster.nodes:
                authority.give(each, days=60, trusts=trusts)
                assert "event=certificates_read" in reload(each)
            assert cluster.wait_whole() is primary
        assert expiry(node) > was
        # Links that are made now are of the new CA.
        node.kill()
        node.start()
        assert cluster.wait_whole() is primary
        cluster.write(node, "after", "the rotation")
        cluster.wait_same_data()
        assert all(not refusals(each) for each in cluster.nodes), [refusals(each) for each in cluster.nodes]


@only_azimuth
def from_keys_to_certificates_without_a_stop(stage):
    with Cluster(stage) as cluster:
        authority = Authority("orders")
        primary = cluster.wait_whole()
        epoch = primary.status()["epoch"]
        first = next(each for each in cluster.nodes if each is not primary)
        authority.give(first)
        first.kill()
        first.start()  # a link that is made anew, while the others link by the key alone
        for node in (first, primary):
            line = wait_until(lambda: refusals(node), what=f"the reason in {node.name}'s log")
            assert "by certificates" in line and "by the cluster key alone" in line, line
        assert expiry(primary) is None
        for node in cluster.nodes:
            if node is not first:
                authority.give(node)
                reload(node)
        assert cluster.wait_whole() is primary
        assert primary.status()["epoch"] == epoch
        cluster.write(first, "through", "a link by certificates")
        cluster.wait_same_data()


@only_azimuth
def what_is_wrong_with_the_files_stops_the_start(stage):
    def check(node):
        node.write()
        done = subprocess.run([stage.binary, "check", "--config", node.file], capture_output=True, text=True,
                              timeout=30)
        return done.returncode, done.stderr

    with Cluster(stage, members=1, start=False) as cluster:
        node, authority = cluster.nodes[0], Authority("orders")
        authority.give(node)
        assert check(node) == (0, "")
        certificate, key = os.path.join(node.dir, "node.crt"), os.path.join(node.dir, "node.key")
        with open(node.file) as file:
            place = next(number for number, line in enumerate(file, 1) if line.startswith("tls_key_file"))
        os.chmod(key, 0o644)
        code, said = check(node)
        assert code == 2 and said.startswith(f"{node.file}:{place}:16: tls_key_file {key} "), said
        assert "chmod 600" in said, said
        os.chmod(key, 0o600)
        whole = node.peer_text
        node.peer_text = f'tls_cert_file = "{certificate}"'
        code, said = check(node)
        assert code == 2 and "tls_key_file" in said and "tls_ca_file" in said, said
        node.peer_text = whole + "\nplaintext = true"
        code, said = check(node)
        assert code == 2 and "exclude each other" in said, said
        node.peer_text = whole
        os.unlink(certificate)
        code, said = check(node)
        assert code == 2 and "cannot be opened" in said, said
        node.start(wait=False)
        assert node.process.wait(20) == 2
        assert "tls_cert_file" in node.log() and "cannot be opened" in node.log(), node.log()


if __name__ == "__main__":
    harness.run(__doc__)
