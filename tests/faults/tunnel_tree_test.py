"""A zone with two members takes the primary's stream over its boundary once: by the kernel's own counters, in namespaces. And
the link to the one in the middle is cut, in one direction and in both."""
import sys
import time

import netns
from netns import PlacedCluster, harness
from harness import only_azimuth, wait_until

ZONES = [("a", "r1"), ("a", "r1"), ("b", "r1"), ("b", "r1")]
FORMED = {"b1": "a1", "c1": "a1", "d1": "c1"}


def sources(node):
    return (node.status() or {}).get("cluster", {}).get("sources", {})


def offset_of(node):
    return int(node.redis_info("master_repl_offset"))


def write(node):
    """Three megabytes, in about a second."""
    with node.client(timeout=20) as client:
        for turn in range(100):
            assert client.pipeline(*[["SET", f"k{key}", f"{turn}" * 1000] for key in range(20)]) == ["OK"] * 20
            time.sleep(0.01)


def lead_by_first(cluster):
    first = cluster.nodes[0]
    if cluster.wait_whole() is not first:
        cluster.switch_over(cluster.nodes[1], first.id)
    wait_until(lambda: cluster.wait_whole() is first, what=f"{first.id} leads")
    return first


def crossing(cluster):
    """Bytes into zone b, and within it, on the cables, for a stream of so many."""
    primary = lead_by_first(cluster)
    c1, d1 = cluster.by_id("c1"), cluster.by_id("d1")
    chained = "tunnel_tree = false" not in cluster.text
    wait_until(lambda: sources(primary) == (FORMED if chained else dict.fromkeys(FORMED, "a1")), what="the tunnels")
    stream = offset_of(primary)
    before = {node.id: node.place.bytes() for node in cluster.nodes}
    write(primary)
    wait_until(lambda: offset_of(c1) == offset_of(d1) == offset_of(primary), what="both have it")
    stream = offset_of(primary) - stream
    received = {node.id: node.place.bytes()[0] - before[node.id][0] for node in cluster.nodes}
    sent = {node.id: node.place.bytes()[1] - before[node.id][1] for node in cluster.nodes}
    # What the two of zone b say to each other does not cross.
    within = min(sent["c1"], received["d1"]) if chained else 0
    return stream, received["c1"] + received["d1"] - within, within


@only_azimuth
def the_stream_crosses_once(stage):
    into, of = {}, {}
    for text in ("", "tunnel_tree = false\n"):
        with PlacedCluster(stage, members=4, zones=ZONES, peer_text='compression = "off"\n', text=text) as cluster:
            of[text], into[text], within = crossing(cluster)
            print(f"       {text.strip() or 'tunnel_tree = true'}: {of[text]} bytes of stream were {into[text]} into the zone "
                  f"and {within} within", flush=True)
    with_tree, without = into[""] / of[""], into["tunnel_tree = false\n"] / of["tunnel_tree = false\n"]
    assert with_tree < 1.4 and without > 2, (with_tree, without)


@only_azimuth
def the_one_in_the_middle_is_cut_off_from_the_primary(stage):
    with PlacedCluster(stage, members=4, zones=ZONES) as cluster:
        primary = lead_by_first(cluster)
        c1, d1 = cluster.by_id("c1"), cluster.by_id("d1")
        for both in (True, False):
            wait_until(lambda: sources(primary) == FORMED, 40, "the tunnels")
            copies = primary.redis_info("sync_full")
            cluster.cut(primary, c1)
            if both:
                cluster.cut(c1, primary)
            wait_until(lambda: sources(primary).get("d1") == "a1", 20, "d1 goes straight to the primary")
            cluster.write(primary, "k", str(both))
            wait_until(lambda: d1.redis_info("master_repl_offset") == primary.redis_info("master_repl_offset"), 5,
                       "d1 is current")
            cluster.mend(primary, c1)
            if both:
                cluster.mend(c1, primary)
            assert cluster.wait_whole() is primary, "an election"
            assert primary.redis_info("sync_full") == copies
        cluster.wait_same_data()


if __name__ == "__main__":
    reason = netns.available()
    if reason:
        print(f"skipped: no network namespaces here: {reason}")
        sys.exit(harness.SKIP)
    harness.run(__doc__)
