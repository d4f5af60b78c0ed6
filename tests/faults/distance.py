"""Distance between nodes on one machine: a relay for TCP and UDP that delays, and loses datagrams.

Each node advertises its relay's port; whatever the others send it goes through there. A program of its own, so that
the load does not wait for it: distance.py DELAY_MS JITTER_MS LOSS LISTEN:TARGET ..., on loopback; it says "ready" and ends
when its standard input does.
"""
import asyncio
import os
import random
import subprocess
import sys

HOST = "127.0.0.1"
SOURCES_MAX = 256


class Way:
    """One direction: what enters leaves after the delay, in its order."""

    def __init__(self, delay, jitter):
        self.delay, self.jitter, self.last = delay, jitter, 0.0

    def carry(self, deliver, data, ordered=True):
        loop = asyncio.get_running_loop()
        due = loop.time() + self.delay + random.uniform(0, self.jitter)
        if ordered:  # (asyncio runs what is due at one instant in any order)
            due = self.last = max(due, self.last + 1e-6)
        loop.call_at(due, deliver, data)


class Distance:
    def __init__(self, delay_ms, jitter_ms, loss):
        self.delay, self.jitter, self.loss = delay_ms / 1000, jitter_ms / 1000, loss

    async def pipe(self, reader, writer):
        way = Way(self.delay, self.jitter)

        def deliver(data):
            if writer.is_closing():
                return
            if data:
                writer.write(data)
            else:
                writer.close()
        try:
            while data := await reader.read(1 << 18):
                way.carry(deliver, data)
        except OSError:
            pass
        way.carry(deliver, b"")

    async def tcp(self, listen, target):
        async def accept(reader, writer):
            try:
                far_reader, far_writer = await asyncio.open_connection(HOST, target)
            except OSError:
                return writer.close()
            await asyncio.gather(self.pipe(reader, far_writer), self.pipe(far_reader, writer))
        await asyncio.start_server(accept, HOST, listen)

    async def udp(self, listen, target):
        distance, loop, sources = self, asyncio.get_running_loop(), {}

        class Back(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

        class Front(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.way = Way(distance.delay, distance.jitter)

            def datagram_received(self, data, source):
                if random.random() < distance.loss:
                    return
                if source not in sources and len(sources) < SOURCES_MAX:
                    sources[source] = loop.create_task(
                        loop.create_datagram_endpoint(Back, remote_addr=(HOST, target)))
                self.way.carry(lambda _: self.forward(source, data), None, ordered=False)

            @staticmethod
            def forward(source, data):
                made = sources.get(source)
                if made and made.done() and not made.exception():
                    made.result()[0].sendto(data)
        await loop.create_datagram_endpoint(Front, local_addr=(HOST, listen))

    async def run(self, pairs):
        for listen, target in pairs:
            await self.tcp(listen, target)
            await self.udp(listen, target)
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class DistantCluster:
    """Makes ClusterNodes advertise relays: distant(cluster, ...) before they start."""

    def __init__(self, cluster, delay_ms, jitter_ms=0.0, loss=0.0):
        from harness import free_port
        pairs = []
        for node in cluster.nodes:
            node.advertise_port = free_port()
            pairs.append(f"{node.advertise_port}:{node.peer_port}")
        cluster.seeds = lambda: [f"{HOST}:{node.advertise_port}" for node in cluster.nodes if node.member]
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), str(delay_ms), str(jitter_ms),
                                         str(loss), *pairs], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


if __name__ == "__main__":
    delay_ms, jitter_ms, loss = map(float, sys.argv[1:4])
    asyncio.run(Distance(delay_ms, jitter_ms, loss).run(
        [tuple(map(int, pair.split(":"))) for pair in sys.argv[4:]]))
